"""Figures and tables: image grids, rows of the data set, the map of the course, the losses of a training run.

Functions return a matplotlib figure and show nothing themselves, except for `live`, which is for notebooks.
"""

from __future__ import annotations

import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tinyldm.captions import shorten
from tinyldm.data import CaptionedMNIST
from tinyldm.training import Record, losses_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_TITLE = 150  # characters


def image_grid(
    images: Tensor, titles: Sequence[str] | None = None, columns: int | None = None, size: float = 1.5
) -> Figure:
    """Images side by side, each under its title.

    Args:
        images: (B, 1 or 3, H, W) in [-1, 1].
        titles: one for each image, or for the first few; long ones are wrapped, very long ones cut, and what the font
            cannot show becomes an empty box.
        columns: by default close to a square grid, at most 8.
        size: of one image, in inches.
    """
    from matplotlib.figure import Figure

    columns = columns or min(8, max(1, round(len(images) ** 0.5 + 0.49)), len(images))
    rows = -(-len(images) // columns)
    wrapped = [textwrap.fill(_showable(title), int(13 * size)) for title in titles or []]
    wrapped += [""] * (len(images) - len(wrapped))
    lines = max(text.count("\n") + bool(text) for text in wrapped)
    figure = Figure(figsize=(columns * size, rows * (size + 0.14 * lines)), dpi=100, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.set(xticks=[], yticks=[])  # though hidden, they would take LaTeX where a matplotlibrc asks for it
        axis.axis("off")
    for axis, image, title in zip(axes, images, wrapped, strict=False):
        pixels = ((image.float().cpu() + 1) / 2).clamp(0, 1).permute(1, 2, 0)
        axis.imshow(pixels.expand(-1, -1, 3).numpy(), interpolation="nearest")
        axis.set_title(title, fontsize=7, pad=3, parse_math=False, usetex=False)
    return figure


def _showable(title: str) -> str:
    """A title of which the font can show every character; an accent that it lacks is left out."""
    from matplotlib import font_manager

    path = font_manager.findfont(font_manager.FontProperties())
    glyphs = font_manager.get_font(path).get_charmap()
    text = unicodedata.normalize("NFC", shorten(title, MAX_TITLE))
    return "".join(c if ord(c) in glyphs else "" if unicodedata.category(c)[0] in "MC" else "\u25a1" for c in text)


def show_rows(data: CaptionedMNIST, index: Sequence[int], columns: int = 4) -> Figure:
    """Rows of captioned MNIST: images with their captions."""
    return image_grid(data.images(torch.as_tensor(index)), [data.captions[i] for i in index], columns, size=2.0)


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


# Every part of the system: left edge, bottom edge, the text in its box, and the lessons about it.
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


def course_map(*lit: str) -> Figure:
    """The whole system as boxes, with a lesson's parts highlighted: generation at the top, training at the bottom.

    Small numbers give the lessons about each part.

    Args:
        lit: names from `PARTS`.

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


def live(
    steps: Iterable[Record], total: int, pictures: Callable[[Record], Tensor] | None = None, every: float = 5.0
) -> Iterator[Record]:
    """Pass on the records of a training run and keep one figure of it up to date in the notebook.

    Args:
        steps: records with ``index``, ``seconds`` and at least one field whose name ends in "loss".
        total: how many there will be.
        pictures: makes a few images from a record, (B, 1 or 3, H, W) in [-1, 1], to show beside the losses.
        every: seconds between updates.
    """
    from IPython.display import display

    losses: dict[str, list[float]] = {}
    handle, shown = None, float("-inf")
    for step in steps:
        for name, value in losses_of(step).items():
            losses.setdefault(name, []).append(value)
        if time.perf_counter() - shown > every or step.index + 1 == total:
            figure = losses_figure(losses, step, total, pictures(step) if pictures else None)
            handle = handle.update(figure) or handle if handle else display(figure, display_id=True)
            shown = time.perf_counter()
        yield step


def losses_figure(losses: dict[str, list[float]], step: Any, total: int, images: Tensor | None = None) -> Figure:
    """Losses over the steps so far, smoothed, with their latest values and the time left; images beside them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    figure = Figure(figsize=(9, 2.6), dpi=100, layout="constrained")
    axis, *others = figure.subplots(1, 2 if images is not None else 1, squeeze=False)[0]
    for name, history in losses.items():
        values = torch.tensor(history)
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
    if images is not None:
        columns = min(8, len(images))
        rows = images[: len(images) // columns * columns].unflatten(0, (-1, columns))  # (rows, columns, C, H, W)
        sheet = rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)  # (rows * H, columns * W, C)
        others[0].imshow(((sheet.float().cpu() + 1) / 2).clamp(0, 1).expand(-1, -1, 3).numpy())
        others[0].axis("off")
    return figure
