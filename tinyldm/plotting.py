"""Figures and tables: image grids, rows of the data set, the map of the course, the losses of a training run.

Functions return a matplotlib figure and show nothing themselves, except for `live`, which is for notebooks.
"""

from __future__ import annotations

import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tinyldm.captions import shorten
from tinyldm.data import CaptionedMNIST
from tinyldm.training import Record, losses_of
from tinyldm.unet import UNetConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_TITLE = 150  # characters
MAX_TOLD = 300


@cache
def _told_figure() -> type[Figure]:
    """A figure whose text form says what it shows: a notebook stores it beside the picture, for who cannot see that."""
    from matplotlib.figure import Figure

    class ToldFigure(Figure):
        def __repr__(self) -> str:
            return str(self.get_label())

    return ToldFigure


def _figure(shows: str, inches: tuple[float, float], **options: Any) -> Figure:
    """A new figure, and in words what it is going to show."""
    figure = _told_figure()(figsize=inches, dpi=100, **options)
    figure.set_label(shorten(shows, MAX_TOLD))
    return figure


def _first_line(function: Callable[..., Any]) -> str:
    return str(function.__doc__).split("\n")[0]


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
    columns = columns or min(8, max(1, round(len(images) ** 0.5 + 0.49)), len(images))
    rows = -(-len(images) // columns)
    wrapped = [textwrap.fill(_showable(title), int(13 * size)) for title in titles or []]
    wrapped += [""] * (len(images) - len(wrapped))
    lines = max(text.count("\n") + bool(text) for text in wrapped)
    told = "; ".join(dict.fromkeys(filter(None, titles or [])))
    shows = f"{len(images)} pictures{': ' * bool(told)}{told}"
    figure = _figure(shows, (columns * size, rows * (size + 0.14 * lines)), layout="constrained")
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
    "sampler": (6.0, 2.0, "sampler", "04, 06, 07, 08"),
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
    from matplotlib.patches import FancyBboxPatch

    if unknown := set(lit) - set(PARTS):
        raise ValueError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    width, height = 1.4, 0.9
    figure = _figure(f"The map of the course{', lit: ' * bool(lit)}{', '.join(lit)}", (9, 2.5))
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


# Fill colours of the drawings: what computes, and what carries numbers (a picture or its channels).
_BLOCK, _DATA = "#ffd166", "#e8eef7"


def draw_residual_block() -> Figure:
    """A residual block from left to right: two convolutions, time in between, and the shortcut around them.

    (`unet.ResidualBlock`; He et al. 2016, time as in Ho et al. 2020, appendix B)
    """
    figure, axis = _drawing(draw_residual_block, (9, 2.9), (0, 18), (-3.1, 2.9))
    _box(axis, (0.9, 0), "x", fill=_DATA, width=1.2)
    _box(axis, (4.1, 0), "norm, SiLU\nconv 3 × 3", width=3.0)
    _box(axis, (7.4, 0), "+", width=0.9)
    _box(axis, (10.7, 0), "norm, SiLU\nconv 3 × 3", width=3.0)
    _box(axis, (14.0, 0), "+", width=0.9)
    _box(axis, (16.9, 0), "output", fill=_DATA, width=2.0)
    _box(axis, (2.1, -2.3), "time vector", fill=_DATA, width=3.6)
    _box(axis, (7.4, -2.3), "SiLU, linear", width=3.2)
    for start, end in [(1.5, 2.6), (5.6, 6.95), (7.85, 9.2), (12.2, 13.55), (14.45, 15.9)]:
        _arrow(axis, (start, 0), (end, 0))
    _arrow(axis, (3.9, -2.3), (5.8, -2.3))
    _arrow(axis, (7.4, -1.75), (7.4, -0.6))
    axis.text(7.6, -1.15, "one number per channel", va="center", fontsize=9)
    axis.plot([0.9, 0.9, 14.0], [0.6, 2.0, 2.0], color="#555555", linewidth=1.2)
    _arrow(axis, (14.0, 2.0), (14.0, 0.6))
    shortcut = "shortcut: x itself (through a 1 × 1 convolution if the channels change)"
    axis.text(7.4, 2.15, shortcut, ha="center", fontsize=9)
    return figure


def draw_unet(widths: Sequence[int] = (16, 48, 96, 128), size: int = 32) -> Figure:
    """A small UNet as a U: down on the left, the middle at the bottom, up on the right, skips across.

    One residual block at each size on either side; each box shows channels x height x width of its result.

    Args:
        widths: channels at each size, the finest first; the last are the middle's.
        size: height and width of the picture, divisible by 2 for each step down.
    """
    steps = len(widths) - 1
    figure, axis = _drawing(draw_unet, (9, 1.2 + 1.0 * steps), (-3.6, 4.2 * steps + 8.0), (-1.9 * steps - 1.3, 1.1))
    right = 4.2 * steps + 4.4  # centre of the last box on the way up
    sizes = [f"{width} × {size >> i} × {size >> i}" for i, width in enumerate(widths)]
    for i, text in enumerate(sizes[:-1]):
        x, y = 2.1 * i, -1.9 * i
        _box(axis, (x, y), text)
        _box(axis, (right - x, y), text)
        _arrow(axis, (x + 1.75, y), (right - x - 1.75, y), color="#118ab2", linestyle="--")
        _arrow(axis, (x + 0.6, y - 0.6), (x + 1.5, y - 1.3), color="#d1495b")
        _arrow(axis, (right - x - 1.5, y - 1.3), (right - x - 0.6, y - 0.6), color="#2a9d4a")
    _box(axis, (right / 2, -1.9 * steps), sizes[-1], width=right - 4.2 * (steps - 1) - 2.2)
    for x, text in [(-2.9, "noisy\npicture"), (right + 2.9, "noise")]:
        axis.text(x, 0, text, ha="center", va="center", fontsize=9)
    _arrow(axis, (-2.2, 0), (-1.75, 0))
    _arrow(axis, (right + 1.75, 0), (right + 2.3, 0))
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    key: list[Any] = [Patch(facecolor=_BLOCK, edgecolor="#111111", label="residual block")]
    lines: list[tuple[str, Any, str]] = [
        ("#d1495b", "-", "downsample"),
        ("#118ab2", "--", "skip"),
        ("#2a9d4a", "-", "upsample"),
    ]
    for color, style, label in lines:
        key.append(Line2D([], [], color=color, linestyle=style, label=label))
    axis.legend(handles=key, loc="lower right", fontsize=8, frameon=False)
    return figure


def _drawing(
    draws: Callable[..., Figure], inches: tuple[float, float], across: tuple[float, float], up: tuple[float, float]
) -> tuple[Figure, Any]:
    """An empty sheet with coordinates and no axes to be seen, for the function that draws on it."""
    figure = _figure(_first_line(draws), inches)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=across, ylim=up)
    axis.axis("off")
    return figure, axis


def _box(axis: Any, centre: tuple[float, float], text: str, fill: str = _BLOCK, width: float = 3.4) -> None:
    from matplotlib.patches import FancyBboxPatch

    corner, style = (centre[0] - width / 2 + 0.1, centre[1] - 0.45), "round,pad=0.1"
    axis.add_patch(FancyBboxPatch(corner, width - 0.2, 0.9, boxstyle=style, fc=fill, ec="#111111"))
    axis.text(*centre, text, ha="center", va="center", fontsize=9)


def _arrow(axis: Any, start: tuple[float, float], end: tuple[float, float], **style: Any) -> None:
    look = {"arrowstyle": "->", "color": "#555555", "shrinkA": 0, "shrinkB": 0, **style}
    axis.annotate("", xy=end, xytext=start, arrowprops=look)


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
    from matplotlib.ticker import LogLocator, NullLocator

    last = ", ".join(f"{name} {history[-1]:.3f}" for name, history in losses.items())
    figure = _figure(f"Losses over {step.index + 1} steps; the last: {last}", (9, 2.6), layout="constrained")
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


# ---------------------------------------------------------------- where text enters the UNet

_BLOCKS = {"convolution": "#ffffff", "residual block": "#d9d9d9", "text-reading block": "#ffd166"}
_INK, _LINE, _TEXT = "#111111", "#555555", "#c77d00"


def text_in_unet(config: UNetConfig, size: int) -> Figure:
    """Where text enters a UNet, and what becomes of attention's answer.

    Above: all blocks from left to right, lower where the features are coarser; skips are left out. Below: the parts of
    a text-reading block, each of whose answers is added to the features.

    Args:
        config: the UNet's settings.
        size: height and width of its input.

    Raises:
        ValueError: if it reads no text.
    """
    if config.context_dim is None:
        raise ValueError("this UNet reads no text: context_dim is None")
    figure = _figure(_first_line(text_in_unet), (9, 5.4))
    upper, lower = figure.add_axes((0, 0.4, 1, 0.6)), figure.add_axes((0, 0, 1, 0.4))
    _draw_blocks(upper, config, size)
    _draw_text_reading(lower)
    return figure


def blocks_of(config: UNetConfig) -> list[tuple[str, int]]:
    """The blocks of a UNet in the order in which they run, each with its level, 0 for the finest."""
    levels, last = list(enumerate(config.attention)), len(config.attention) - 1

    def some(count: int, level: int, reads: bool) -> list[tuple[str, int]]:
        return ([("residual block", level)] + [("text-reading block", level)] * reads) * count

    down = [block for level, reads in levels for block in some(config.layers_per_block, level, reads)]
    middle = [*some(1, last, config.mid_attention), ("residual block", last)]
    up = [block for level, reads in reversed(levels) for block in some(config.layers_per_block + 1, level, reads)]
    return [("convolution", 0), *down, *middle, *up, ("convolution", 0)]


def _draw_blocks(axis: Any, config: UNetConfig, size: int) -> None:
    """The upper part of `text_in_unet`."""
    from matplotlib.patches import Patch, Rectangle

    blocks, lowest = blocks_of(config), -len(config.attention)
    margin = 0.16 * len(blocks)
    axis.set(xlim=(-margin, len(blocks) + 0.1), ylim=(lowest - 0.8, 1))
    axis.axis("off")
    for i, (kind, level) in enumerate(blocks):
        axis.add_patch(Rectangle((i + 0.15, -level - 0.3), 0.6, 0.6, fc=_BLOCKS[kind], ec=_INK))
        if kind == "text-reading block":
            _arrow(axis, (i + 0.45, lowest - 0.15), (i + 0.45, -level - 0.3), color=_TEXT)
        if i:
            _arrow(axis, (i - 0.25, -blocks[i - 1][1]), (i + 0.15, -level))
    for level, channels in enumerate(config.block_out_channels):
        name = f"{size // 2**level} × {size // 2**level},\n{channels} channels"
        axis.text(-0.92 * margin, -level, name, va="center", fontsize=8, color=_INK)
    axis.add_patch(Rectangle((0.15, lowest - 0.65), len(blocks) - 0.4, 0.5, fc="#ffefc2", ec=_TEXT))
    text = f"the text: 77 embedding vectors of {config.context_dim} numbers, the same for every block"
    axis.text(len(blocks) / 2, lowest - 0.4, text, ha="center", va="center", fontsize=9, color=_INK)
    key = [Patch(fc=colour, ec=_INK, label=name) for name, colour in _BLOCKS.items()]
    axis.legend(handles=key, loc="upper center", ncols=3, fontsize=8, frameon=False)


def _draw_text_reading(axis: Any) -> None:
    """The lower part of `text_in_unet`: features run along a line, and each part adds its answer to them."""
    from matplotlib.patches import FancyBboxPatch

    axis.set(xlim=(0, 12), ylim=(-1.3, 2.5))
    axis.axis("off")
    axis.text(0.1, 2.2, "Inside a text-reading block:", fontsize=9, weight="bold", color=_INK)
    _arrow(axis, (1.3, 0), (11.1, 0))
    axis.text(1.2, 0, "features,\na vector for\neach position", ha="right", va="center", fontsize=8, color=_INK)
    axis.text(11.2, 0, "features", va="center", fontsize=8, color=_INK)
    for x, name in ((2.0, "self-attention"), (4.9, "cross-attention"), (7.8, "feed-forward")):
        fill = _BLOCKS["text-reading block"] if name == "cross-attention" else "#f2f2f2"
        axis.add_patch(FancyBboxPatch((x, 0.9), 1.7, 0.5, boxstyle="round,pad=0.05", fc=fill, ec=_INK))
        axis.text(x + 0.85, 1.15, name, ha="center", va="center", fontsize=8, color=_INK)
        _arrow(axis, (x + 0.2, 0), (x + 0.2, 0.85))
        _arrow(axis, (x + 1.5, 0.85), (x + 1.5, 0.2))
        axis.text(x + 1.6, 0.5, "answer", va="center", fontsize=7, color=_LINE)
        _plus(axis, x + 1.5)
    axis.text(5.05, 0.5, "queries", ha="right", va="center", fontsize=7, color=_LINE)
    _arrow(axis, (5.75, 2.1), (5.75, 1.47), color=_TEXT)
    axis.text(5.85, 1.8, "keys and values, from the text", va="center", fontsize=8, color=_TEXT)
    axis.plot([1.6, 1.6, 10.5, 10.5], [0, -0.7, -0.7, -0.2], color=_LINE, linewidth=1)
    _plus(axis, 10.5)
    axis.text(6, -1.0, "what came in is added once more", ha="center", va="center", fontsize=8, color=_INK)


def _plus(axis: Any, x: float) -> None:
    circle = {"boxstyle": "circle,pad=0.1", "fc": "#ffffff", "ec": _INK}
    axis.text(x, 0, "+", ha="center", va="center", fontsize=11, color=_INK, bbox=circle)
