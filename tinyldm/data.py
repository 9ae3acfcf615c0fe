"""MNIST as tensors, and captioned MNIST: digits in colour, each with a sentence that describes it.

Design choices
- The four genuine MNIST files are checked against their published MD5 sums before a single byte is used.
- A word is used only where it is clearly true: digits near the border between thin and medium are called neither.
- Everything is kept in memory as tensors; digits are coloured when a batch is requested.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyldm import UserError
from tinyldm.captions import Description, write_caption
from tinyldm.measure import (
    BACKGROUNDS,
    INKS,
    SLANT_BORDERS,
    SLANT_MARGIN,
    STROKE_BORDERS,
    STROKE_MARGIN,
    bin_by_borders,
    description_of,
    far_from_borders,
    paint,
    slant_angle,
    stroke_thickness,
)

SHIPPED = Path(__file__).resolve().parent.parent / "data"
DOWNLOADED = Path.home() / ".cache" / "tinyldm"
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

# For each digit, an ink it never has in training: can the model combine what it has only seen apart? (lesson 07)
HELD_OUT = {digit: list(INKS)[(digit + 3) % len(INKS)] for digit in range(10)}


# ---------------------------------------------------------------- MNIST


@dataclass(frozen=True)
class MNIST:
    """Handwritten digits: ``images`` uint8 (N, 28, 28), 0 background to 255 ink; ``labels`` int64 (N,), 0 to 9."""

    images: Tensor
    labels: Tensor

    def padded(self) -> Tensor:
        """The images as the models see them: float32 (N, 1, 32, 32) in [-1, 1], -1 where there is no ink."""
        return F.pad(self.images, (2, 2, 2, 2))[:, None].float() / 127.5 - 1


def load_mnist(split: str = "train", folder: str | Path | None = None) -> MNIST:
    """Read MNIST (LeCun, Cortes & Burges) from ``folder``, else from ``data/``, else let torchvision download it.

    Args:
        split: "train" (60,000 digits) or "test" (10,000).
        folder: where the four ``*-ubyte.gz`` files are; by default the repository's own ``data/``.

    Raises:
        ValueError: if the split is unknown.
        UserError: if a file does not have the published MD5 sum, or the files are missing and cannot be downloaded; the
            message names the file and says what to do.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    prefix = "train" if split == "train" else "t10k"
    folder = Path(folder) if folder else _mnist_folder()
    images = _read_idx(folder, f"{prefix}-images-idx3-ubyte").reshape(-1, 28, 28)
    labels = _read_idx(folder, f"{prefix}-labels-idx1-ubyte")
    return MNIST(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))


def _mnist_folder() -> Path:
    if any(SHIPPED.glob("*-ubyte*")):
        return SHIPPED
    from torchvision.datasets import MNIST as Download

    try:
        Download(DOWNLOADED, download=True)
    except Exception as error:
        raise UserError(
            f"MNIST is not in {SHIPPED} and could not be downloaded ({error}). Clone the repository with its data/ "
            f"folder, or put the four MNIST files into {DOWNLOADED / 'MNIST' / 'raw'}."
        ) from error
    return DOWNLOADED / "MNIST" / "raw"


def _read_idx(folder: Path, name: str) -> np.ndarray:
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise UserError(f"MNIST file {name}.gz is missing from {folder}: restore it with `git checkout data`")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): restore it with `git checkout data`") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5[name]:
        raise UserError(f"{path} is not the genuine MNIST file (wrong MD5 sum): restore it with `git checkout data`")
    header = 16 if "images" in name else 8  # magic number and sizes, 4 bytes each
    return np.frombuffer(content, np.uint8, offset=header)


# ---------------------------------------------------------------- captioned MNIST


@dataclass(frozen=True)
class Row:
    """A row of captioned MNIST: ``image`` (3, 32, 32) in [-1, 1], its caption, what that names, and what is true."""

    image: Tensor
    caption: str
    named: Description
    actual: Description


class CaptionedMNIST:
    """MNIST digits in colour, each with a sentence: RGB 32x32, eight inks, four backgrounds, measured stroke and slant.

    Half of the rows are on black; ink and background never have the same colour. A background other than black is
    always named, so a prompt that names none means black. No row of "train" shows a digit in its `HELD_OUT` ink.

    Args:
        split: "train" or "test".
        seed: random seed for colours and captions.
        limit: use only the first ``limit`` digits (measuring takes about half a millisecond each).
        copies: how many times each digit appears, each time in different colours and words.
        folder: as in `load_mnist`.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        limit: int | None = None,
        copies: int = 1,
        folder: str | Path | None = None,
    ):
        mnist = load_mnist(split, folder)
        self.coverage = F.pad(mnist.images[:limit], (2, 2, 2, 2))  # uint8 (N, 28, 28) -> (N, 32, 32)
        self.labels = mnist.labels[:limit]
        self._measure()
        for name, per_digit in list(vars(self).items()):
            setattr(self, name, torch.cat([per_digit] * copies))
        self._colour(torch.Generator().manual_seed(seed), held_out=split == "train")
        rng = random.Random(seed)
        self.named = [self.choose_named(i, rng) for i in range(len(self))]
        self.captions = [write_caption(named, rng) for named in self.named]

    def _measure(self) -> None:
        thickness, angle = [], []
        for chunk in self.coverage.split(1000):
            thickness.append(stroke_thickness(chunk / 255))
            angle.append(slant_angle(chunk / 255))
        self.thickness, self.angle = torch.cat(thickness), torch.cat(angle)
        self.stroke = bin_by_borders(self.thickness, STROKE_BORDERS)
        self.slant = bin_by_borders(self.angle, SLANT_BORDERS)
        self.clear_stroke = far_from_borders(self.thickness, STROKE_BORDERS, STROKE_MARGIN)
        self.clear_slant = far_from_borders(self.angle, SLANT_BORDERS, SLANT_MARGIN)

    def _colour(self, generator: torch.Generator, held_out: bool) -> None:
        n, inks, backgrounds = len(self), list(INKS), list(BACKGROUNDS)
        self.ink = torch.randint(len(inks), (n,), generator=generator)
        if held_out:
            avoid = torch.tensor([inks.index(ink) for ink in HELD_OUT.values()])[self.labels]
            self.ink = torch.where(self.ink == avoid, (self.ink + 1) % len(inks), self.ink)
        other = torch.randint(1, len(backgrounds), (n,), generator=generator)
        self.background = torch.where(torch.rand(n, generator=generator) < 0.5, 0, other)
        clash = (self.ink == inks.index("white")) & (self.background == backgrounds.index("white"))
        self.background[clash] = backgrounds.index("grey")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Row:
        return Row(self.images(torch.tensor([i]))[0], self.captions[i], self.named[i], self.describe(i))

    def images(self, index: Tensor) -> Tensor:
        """The digits of rows ``index`` (B,), in colour: (B, 3, 32, 32) in [-1, 1]."""
        ink = torch.tensor(list(INKS.values()))[self.ink[index]]
        background = torch.tensor(list(BACKGROUNDS.values()))[self.background[index]]
        return paint(self.coverage[index] / 255, ink, background)

    def describe(self, i: int) -> Description:
        """Everything that is true of row ``i``."""
        return description_of(self.labels[i], self.ink[i], self.background[i], self.stroke[i], self.slant[i])

    def choose_named(self, i: int, rng: random.Random) -> Description:
        """What a caption of row ``i`` names: the digit nearly always, the rest some of the time and only if clear."""
        true = self.describe(i)
        name_background = true.background != "black" or rng.random() < 0.25
        return Description(
            digit=true.digit if rng.random() < 0.97 else None,
            ink=true.ink if rng.random() < 0.7 else None,
            background=true.background if name_background else None,
            stroke=true.stroke if self.clear_stroke[i] and rng.random() < 0.55 else None,
            slant=true.slant if self.clear_slant[i] and rng.random() < 0.55 else None,
        )
