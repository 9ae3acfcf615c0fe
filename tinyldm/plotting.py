"""Pictures of pictures: grids with captions. Every function returns a matplotlib figure and shows nothing itself."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import torch
from torch import Tensor

from tinyldm.data import CaptionedMNIST


def image_grid(images: Tensor, titles: Sequence[str] | None = None, columns: int | None = None, size: float = 1.5):
    """Images side by side, each under its title.

    Args:
        images: (B, 1 or 3, H, W) in [-1, 1].
        titles: a text per image; long ones are wrapped.
        columns: by default near to a square, at most 8.
        size: of one image, in inches.
    """
    from matplotlib.figure import Figure

    columns = columns or min(8, max(1, round(len(images) ** 0.5 + 0.49)), len(images))
    rows = -(-len(images) // columns)
    wrapped = [textwrap.fill(title, int(13 * size)) for title in titles or [""] * len(images)]
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
