// While the model is fetched: noise where the picture will be, and how much has come.

import { make } from "./dom.ts";
import type { Progress } from "./messages.ts";
import { randn } from "./noise.ts";
import { canvas_of, show } from "./pictures.ts";

export function fetching(place: HTMLElement): { tell: (progress: Progress) => void; end: () => void } {
  const canvas = canvas_of(32, 32);
  canvas.setAttribute("aria-hidden", "true");
  show(
    canvas,
    randn(0, 3 * 32 * 32).map((value) => value / 2),
  );
  const bar = make("progress", { max: "1", value: "0", "aria-label": "Fetching the machine" });
  const line = make("p", { role: "status" }, "Fetching the machine …");
  const element = make("div", { class: "waiting" }, make("div", { class: "cell" }, canvas), bar, line);
  place.append(element);
  let said = "";
  return {
    tell: ({ loaded, total }) => {
      bar.value = loaded / total;
      const text =
        loaded < total ? `Fetching the machine: ${mega(loaded)} of ${mega(total)} MB` : "Starting the machine …";
      if (text !== said) line.textContent = said = text;
    },
    end: () => element.remove(),
  };
}

const mega = (bytes: number): string => (bytes / 1e6).toFixed(0);
