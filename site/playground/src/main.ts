// The page: starts the machine, keeps settings, link and views in step, and says in a line what goes wrong.

import { compare_view } from "./compare.ts";
import { get } from "./dom.ts";
import { draw_view } from "./draw.ts";
import { guess_view } from "./guess.ts";
import { Machine } from "./machine.ts";
import type { Model, Progress } from "./messages.ts";
import { Playground, type View } from "./playground.ts";
import { prompt_box } from "./prompt.ts";
import { sketch_view } from "./sketch.ts";
import { DEFAULTS, from_link, type Settings, to_link, VIEWS } from "./state.ts";
import { fetching } from "./waiting.ts";

const said = get("said");
const say = (text: string): void => void (said.textContent = text);
const trouble = (text: string): void => void (get("trouble").textContent = text);
const fail = (error: unknown): void => trouble(error instanceof Error ? error.message : String(error));

function start(machine: Machine, model: Model, typed: string): void {
  Object.assign(DEFAULTS, { sampler: model.sampler, steps: model.steps, guidance: model.guidance });
  const { settings, remark } = from_link(location.hash);
  settings.prompt = typed;
  trouble(remark);
  let later = 0;

  const change = (some: Partial<Settings>): void => {
    const opened = some.view && some.view !== playground.settings.view;
    playground.settings = { ...playground.settings, ...some };
    trouble("");
    clearTimeout(later);
    const keep = (): void => history.replaceState(null, "", to_link(playground.settings));
    if (opened) history.pushState(null, "", to_link(playground.settings));
    else later = window.setTimeout(keep, 250); // a slider moves often
    refresh();
  };
  const playground = new Playground(machine, model, settings, say, fail, change);
  const draw = draw_view(playground);
  const views: Record<Settings["view"], View> = {
    draw,
    compare: compare_view(playground),
    sketch: sketch_view(playground, draw.finished),
    guess: guess_view(playground),
  };
  const prompt = prompt_box(playground);

  function refresh(): void {
    const { view } = playground.settings;
    for (const name of VIEWS) {
      get(name).hidden = name !== view;
      get(`tab-${name}`).setAttribute("aria-selected", `${name === view}`);
      get(`tab-${name}`).tabIndex = name === view ? 0 : -1;
    }
    get("prompt-form").hidden = view === "guess";
    prompt.refresh();
    views[view].refresh();
  }

  for (const [i, view] of VIEWS.entries()) {
    const tab = get(`tab-${view}`);
    tab.addEventListener("click", () => change({ view }));
    tab.addEventListener("keydown", ({ key }) => {
      const by = { ArrowRight: 1, ArrowLeft: VIEWS.length - 1 }[key];
      if (by) get(`tab-${VIEWS[(i + by) % VIEWS.length]}`).focus();
    });
  }
  addEventListener("popstate", () => {
    const asked = from_link(location.hash);
    playground.settings = asked.settings;
    trouble(asked.remark);
    refresh();
  });
  scrub_by_keys(playground);
  void offer_gpu(playground);
  Object.assign(globalThis, { tinyldm: playground }); // for the browser's console, and for tests
  get("figures").textContent = figures(model);
  document.body.classList.add("ready");
  refresh();
}

/** ← and → move the slider of the film on the screen, unless they have another meaning where the focus is. */
function scrub_by_keys(playground: Playground): void {
  addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const focused = document.activeElement;
    if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
    if (focused?.closest("input, select, textarea, [role=tab], [role=application]")) return;
    const slider = get(playground.settings.view).querySelector<HTMLInputElement>(".scrub input:not(:disabled)");
    if (!slider) return;
    slider.value = `${slider.valueAsNumber + by}`;
    slider.dispatchEvent(new Event("input"));
    event.preventDefault();
  });
}

/** Where there is a graphics card that the browser lends, it can be tried; the faster of the two goes on. */
async function offer_gpu({ machine, fail }: Playground): Promise<void> {
  const { gpu } = navigator as { gpu?: { requestAdapter: () => Promise<object | null> } };
  const adapter = await gpu?.requestAdapter().catch(() => null);
  if (!adapter) return;
  const [button, line] = [get<HTMLButtonElement>("gpu"), get("gpu-said")];
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const progress = ({ loaded, total }: Progress): void => {
        const share = Math.floor((100 * loaded) / total);
        line.textContent = share < 100 ? `Fetching: ${share} %` : "Trying the graphics card …";
      };
      const { processor, card } = await machine.give("use_gpu", undefined, { progress }).result;
      const times = `a step takes ${card.toFixed(0)} ms there, ${processor.toFixed(0)} ms on the processor`;
      line.textContent =
        card < processor ? `Drawing on the graphics card: ${times}.` : `The processor goes on: ${times}.`;
    } catch (error) {
      line.textContent = "";
      fail(error);
    }
  });
}

function figures({ figures: measured, tinyldm }: Model): string {
  const { digit, n } = measured as { digit?: number; n?: number };
  const share =
    digit && n ? ` Of ${n.toLocaleString("en")} prompts it got ${(100 * digit).toFixed(1)} % of the digits right.` : "";
  return `tinyldm ${tinyldm}, trained on MNIST's handwritten digits.${share}`;
}

/** What this browser lacks, in a line, or nothing. */
function lacks(): string {
  const simd = Uint8Array.from([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
  ]);
  if (typeof WebAssembly !== "object")
    return "This browser has WebAssembly switched off, in which the machine is written. Another browser will do.";
  if (!WebAssembly.validate(simd)) return "This browser is too old to run the machine. One from 2023 or later will do.";
  return "";
}

/** The prompt box can be typed in while the model is fetched; Enter waits. */
function prompt_box_at_once(): HTMLInputElement {
  const input = get<HTMLInputElement>("prompt");
  input.value = from_link(location.hash).settings.prompt;
  get("prompt-form").addEventListener("submit", (event) => event.preventDefault());
  return input;
}

async function main(): Promise<void> {
  const missing = lacks();
  if (missing) return trouble(missing);
  const prompt = prompt_box_at_once();
  const waiting = fetching(get("film"));
  try {
    const machine = new Machine();
    const model = await machine.load((progress: Progress) => waiting.tell(progress));
    waiting.end();
    start(machine, model, prompt.value);
  } catch (error) {
    waiting.end();
    fail(error);
  }
  if ("serviceWorker" in navigator) navigator.serviceWorker.register("./sw.js").catch(() => {}); // not without https
}

void main();
