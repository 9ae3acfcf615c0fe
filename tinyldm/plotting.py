"""Pictures for people: grids, tables of rows, the map of the course, the loss of a training while it runs.

Functions return a matplotlib figure and show nothing themselves. For notebooks only: `sliders`, `live`, `Sketchpad`.
"""

from __future__ import annotations

import base64
import contextlib
import io
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from tinyldm.data import CaptionedMNIST


def image_grid(images: Tensor, titles: Sequence[str] | None = None, columns: int | None = None, size: float = 1.5):
    """Images side by side, each under its title.

    Args:
        images: (B, 1 or 3, H, W) in [-1, 1].
        titles: a text per image, or for the first few; long ones are wrapped.
        columns: by default near to a square, at most 8.
        size: of one image, in inches.
    """
    from matplotlib.figure import Figure

    columns = columns or min(8, max(1, round(len(images) ** 0.5 + 0.49)), len(images))
    rows = -(-len(images) // columns)
    wrapped = [textwrap.fill(title, int(13 * size)) for title in titles or []]
    wrapped += [""] * (len(images) - len(wrapped))
    lines = max(text.count("\n") + bool(text) for text in wrapped)
    figure = Figure(figsize=(columns * size, rows * (size + 0.14 * lines)), dpi=100, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.axis("off")
    for axis, image, title in zip(axes, images, wrapped, strict=False):
        pixels = ((image.float().cpu() + 1) / 2).clamp(0, 1).permute(1, 2, 0)
        axis.imshow(pixels.expand(-1, -1, 3).numpy(), interpolation="nearest")
        axis.set_title(title, fontsize=7, pad=3)
    return figure


def show_rows(data: CaptionedMNIST, index: Sequence[int], columns: int = 4):
    """Rows of captioned MNIST: pictures with their captions."""
    index = torch.as_tensor(list(index))
    return image_grid(data.images(index), [data.captions[i] for i in index.tolist()], columns, size=2.0)


def rows_table(data: CaptionedMNIST, index: Sequence[int]) -> str:
    """Rows of captioned MNIST as a text table: what is true, what was measured, and the caption."""
    lines = [f"{'row':>5}  {'digit':<5}  {'ink':<7}{'background':<11}{'stroke (px)':<15}{'slant (rad)':<16}caption"]
    for i in index:
        true = data.describe(i)
        stroke = f"{true.stroke} {data.thickness[i]:.1f}"
        slant = f"{true.slant} {data.angle[i]:+.2f}"
        facts = f"{true.digit:<5}  {true.ink:<7}{true.background:<11}{stroke:<15}{slant:<16}"
        lines.append(f"{i:>5}  {facts}{data.captions[i]}")
    return "\n".join(lines)


# Every part of the system: left edge, bottom edge, what stands in its box, and the lessons that are about it.
PARTS = {
    "prompt": (0.0, 2.0, '"a thick\nred seven"', "07"),
    "text encoder": (2.0, 2.0, "text\nencoder", "07"),
    "noise predictor": (4.0, 2.0, "noise\npredictor", "03, 06, 07"),
    "sampler": (6.0, 2.0, "sampler", "04, 07, 08"),
    "decoder": (8.0, 2.0, "image\ndecoder", "05, 06"),
    "image": (10.0, 2.0, "image", "00"),
    "data": (0.0, 0.0, "digits and\ncaptions", "02"),
    "encoder": (2.0, 0.0, "image\nencoder", "05, 06, 08"),
    "training examples": (4.0, 0.0, "training\nexamples", "02, 06"),
    "GAN": (6.0, 0.0, "GAN: the\nold method", "01"),
    "VQ-VAE": (8.0, 0.0, "VQ-VAE\nand prior", "05"),
    "judge": (10.0, 0.0, "judge", "01"),
}
_ARROWS = [
    ("prompt", "text encoder", "->"), ("text encoder", "noise predictor", "->"), ("noise predictor", "sampler", "<->"),
    ("sampler", "decoder", "->"), ("decoder", "image", "->"), ("data", "encoder", "->"),
    ("encoder", "training examples", "->"), ("training examples", "noise predictor", "->"), ("image", "judge", "->"),
]  # fmt: skip


def course_map(*lit: str):
    """The whole system as boxes, with the parts of a lesson lit: above how a picture is made, below how it is learned.

    Small numbers say which lessons are about a part.

    Args:
        lit: names out of `PARTS`.

    Raises:
        ValueError: for a part that the system does not have.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyBboxPatch

    if unknown := set(lit) - set(PARTS):
        raise ValueError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    width, height = 1.4, 0.9
    figure = Figure(figsize=(9, 2.5), dpi=100)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.2, 11.6), ylim=(-0.2, 3.1), aspect="equal")
    axis.axis("off")
    for name, (x, y, text, lessons) in PARTS.items():
        fill, ink, weight = ("#ffd166", "#111111", "bold") if name in lit else ("#f2f2f2", "#777777", "normal")
        shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.08", fc=fill, ec=ink)
        axis.add_patch(shape)
        axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9, color=ink, weight=weight)
        axis.text(x + width, y, lessons, ha="right", va="bottom", fontsize=6, color=ink)
    for start, end, style in _ARROWS:
        (x, y, *_), (to_x, to_y, *_) = PARTS[start], PARTS[end]
        right, up = (to_x > x) - (to_x < x), (to_y > y) - (to_y < y)  # -1, 0 or 1
        tail = x + (1 + right) * width / 2 + 0.08 * right, y + (1 + up) * height / 2 + 0.08 * up
        head = to_x + (1 - right) * width / 2 - 0.08 * right, to_y + (1 - up) * height / 2 - 0.08 * up
        axis.annotate("", xy=head, xytext=tail, arrowprops={"arrowstyle": style, "color": "#555555"})
    return figure


def sliders(draw, **choices) -> None:
    """Show ``draw(...)`` under sliders and menus; without ipywidgets, say so and show nothing.

    Args:
        draw: makes a figure from arguments that have the names of ``choices``.
        choices: for each argument a pair (lowest, highest) of numbers, or the texts to choose from.
    """
    try:
        from IPython.display import display
        from ipywidgets import interact
    except ImportError:
        print("Sliders need ipywidgets (pip install ipywidgets). The picture below comes from the same function.")
        return
    menus = {name: list(choice) if isinstance(choice[0], str) else choice for name, choice in choices.items()}
    interact(lambda **chosen: display(draw(**chosen)), **menus)


class Sketchpad:
    """A black square to draw in with the mouse, in a notebook; until something is drawn, an example stands in.

    The browser writes the drawing as a PNG into a hidden text widget, which JupyterLab and Colab bring back to Python.
    """

    def __init__(self) -> None:
        self._text = None
        with contextlib.suppress(ImportError):
            from ipywidgets import Layout, Textarea

            self._text = Textarea(layout=Layout(display="none"))
            self._text.add_class("tinyldm-sketch")

    def show(self) -> None:
        """Put the square onto the page."""
        if self._text is None:
            print("The sketchpad needs ipywidgets (pip install ipywidgets). An example stands in for a drawing.")
            return
        from IPython.display import HTML, display

        display(self._text, HTML(_CANVAS))

    def picture(self):
        """The drawing as a PIL image, white on black."""
        from PIL import Image, ImageDraw

        if self._text is not None and self._text.value:
            return Image.open(io.BytesIO(base64.b64decode(self._text.value.split(",")[1]))).convert("RGB")
        example = Image.new("RGB", (256, 256))
        ImageDraw.Draw(example).line([(70, 50), (60, 140), (190, 135)], "white", 22, joint="curve")
        ImageDraw.Draw(example).line([(180, 70), (165, 220)], "white", 22)
        return example


_CANVAS = """<canvas width=256 height=256 style="background:black; touch-action:none; cursor:crosshair"></canvas>
<button>clear</button>
<script>(() => {
  const last = selector => [...document.querySelectorAll(selector)].pop();
  const script = document.currentScript, box = script ? script.parentElement : document;
  const canvas = box.querySelector("canvas"), pen = canvas.getContext("2d");
  const clear = () => { pen.fillStyle = "black"; pen.fillRect(0, 0, 256, 256); };
  const send = value => {
    const text = last(".tinyldm-sketch textarea");
    text.value = value;
    for (const name of ["input", "change"]) text.dispatchEvent(new Event(name, {bubbles: true}));
  };
  clear();
  Object.assign(pen, {strokeStyle: "white", lineWidth: 22, lineCap: "round", lineJoin: "round"});
  canvas.onpointerdown = e => {
    canvas.setPointerCapture(e.pointerId);
    pen.beginPath();
    pen.moveTo(e.offsetX, e.offsetY);
  };
  canvas.onpointermove = e => { if (e.buttons) { pen.lineTo(e.offsetX, e.offsetY); pen.stroke(); } };
  canvas.onpointerup = () => send(canvas.toDataURL());
  box.querySelector("button").onclick = () => { clear(); send(""); };
})()</script>"""


def live(steps: Iterable, total: int, pictures: Callable[..., Tensor] | None = None, every: float = 5.0) -> Iterator:
    """Pass the records of a training on and keep one picture of it up to date in the notebook.

    Args:
        steps: records with ``index``, ``seconds`` and at least one field whose name ends in "loss".
        total: how many there will be.
        pictures: from a record make a few images, (B, 1 or 3, H, W) in [-1, 1], to be shown beside the losses.
        every: seconds between two pictures.
    """
    from IPython.display import display

    losses, handle, shown = {}, None, float("-inf")
    for step in steps:
        for name, value in vars(step).items():
            if name.endswith("loss"):
                losses.setdefault(name.replace("_", " "), []).append(value)
        if time.perf_counter() - shown > every or step.index + 1 == total:
            figure = losses_figure(losses, step, total, pictures(step) if pictures else None)
            handle = handle.update(figure) or handle if handle else display(figure, display_id=True)
            shown = time.perf_counter()
        yield step


def losses_figure(losses: dict[str, list[float]], step, total: int, images: Tensor | None = None):
    """Losses over the steps so far, smoothed, with their last values and the time that is left; images beside them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(9, 2.6), dpi=100, layout="constrained")
    axis, *others = figure.subplots(1, 2 if images is not None else 1, squeeze=False)[0]
    for name, values in losses.items():
        values = torch.tensor(values)
        width = min(25, len(values))
        smooth = values.unfold(0, width, 1).mean(1)  # the mean of each ``width`` neighbours
        (line,) = axis.plot(torch.arange(len(smooth)) + width // 2, smooth, label=f"{name}: {smooth[-1]:.3f}")
        axis.plot(values, color=line.get_color(), alpha=0.4, linewidth=0.7)
    left = step.seconds / (step.index + 1) * (total - step.index - 1)
    axis.set(xlabel="step", yscale="log", xlim=(0, total))
    ticks = LogLocator(subs=(1, 1.4, 2, 3, 5, 7))
    axis.yaxis.set(major_locator=ticks, major_formatter="{x:g}", minor_locator=NullLocator())
    axis.tick_params(axis="y", labelsize=7)
    axis.set_title(f"step {step.index + 1} of {total}, {left / 60:.1f} minutes left", fontsize=9)
    axis.legend(fontsize=8)
    for other in others:
        columns = min(8, len(images))
        rows = images[: len(images) // columns * columns].unflatten(0, (-1, columns))  # (rows, columns, C, H, W)
        sheet = rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows * H, columns * W, C)
        other.imshow(((sheet.float().cpu() + 1) / 2).clamp(0, 1).expand(-1, -1, 3).numpy())
        other.axis("off")
    return figure
