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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyldm import UserError
from tinyldm.captions import Description, write_caption
from tinyldm.devices import seeded_generator
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

_PACKAGE = Path(__file__).resolve().parent
SHIPPED = _PACKAGE / "mnist" if (_PACKAGE / "mnist").is_dir() else _PACKAGE.parent / "data"  # installed, or in a clone
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

MAX_COPIES = 100

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
    """Read MNIST (LeCun, Cortes & Burges): the shipped files, or those in ``folder``.

    Args:
        split: "train" (60,000 digits) or "test" (10,000).
        folder: where the four ``*-ubyte.gz`` files are, as published or unpacked, with "-idx" or ".idx" in their names.

    Raises:
        ValueError: if the split is unknown.
        UserError: if a file is missing or does not have the published MD5 sum; the message names the file and says what
            to do.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    prefix = "train" if split == "train" else "t10k"
    folder = Path(folder) if folder else SHIPPED
    images = _read_idx(folder, f"{prefix}-images-idx3-ubyte").reshape(-1, 28, 28)
    labels = _read_idx(folder, f"{prefix}-labels-idx1-ubyte")
    return MNIST(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))


def _read_idx(folder: Path, name: str) -> np.ndarray:
    dotted = name.replace("-idx", ".idx")  # what some programs unpack, and Kaggle has
    names = [f"{name}.gz", name, f"{dotted}.gz", dotted]
    path = next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):  # compressed, whatever its name: browsers may unpack and keep the .gz
            content = gzip.decompress(content)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {_how_to_restore(folder)}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}): {_how_to_restore(folder)}") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5[name]:
        raise UserError(f"{path} is not the genuine MNIST file (wrong MD5 sum): {_how_to_restore(folder)}")
    header = 16 if "images" in name else 8  # magic number and sizes, 4 bytes each
    return np.frombuffer(content, np.uint8, offset=header)


def _how_to_restore(folder: Path) -> str:
    if folder != SHIPPED:
        return "put MNIST's own file there"
    if (folder.parent / ".git").exists():
        return f'restore it with `git -C "{folder.parent}" checkout HEAD data`'
    return "repeat the `pip install` that installed tinyldm with --force-reinstall --no-deps"


# ---------------------------------------------------------------- captioned MNIST


@dataclass(frozen=True)
class Row:
    """A row of captioned MNIST: ``image`` (3, 32, 32) in [-1, 1], its caption, what that names, and what is true."""

    image: Tensor
    caption: str
    named: Description
    actual: Description


@lru_cache(maxsize=4)  # so that of several sets of the same digits only the first takes half a minute
def _measure(split: str, limit: int | None, folder: str | Path | None) -> tuple[Tensor, Tensor]:
    """Thickness and angle of each digit, (N,)."""
    chunks = [chunk / 255 for chunk in F.pad(load_mnist(split, folder).images[:limit], (2, 2, 2, 2)).split(500)]
    with ThreadPoolExecutor() as pool:  # scipy measures on all cores
        thickness = torch.cat(list(pool.map(stroke_thickness, chunks)))
    return thickness, torch.cat([slant_angle(chunk) for chunk in chunks])


class CaptionedMNIST:
    """MNIST digits in colour, each with a sentence: RGB 32x32, eight inks, four backgrounds, measured stroke and slant.

    Half of the rows are on black; ink and background never have the same colour. A background other than black is
    always named, so a prompt that names none means black. No row of "train" shows a digit in its `HELD_OUT` ink.

    Args:
        split: "train" or "test".
        seed: random seed for colours and captions.
        limit: use only the first ``limit`` digits, at least 1 (measuring takes about half a millisecond each).
        copies: how many times each digit appears, 1 to 100, each time in different colours and words.
        folder: as in `load_mnist`.

    Raises:
        UserError: if a number is out of range, or as for `load_mnist`.
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
        if not (limit is None or 1 <= limit <= len(mnist.labels)):
            raise UserError(f"limit must be between 1 and {len(mnist.labels):,} (the digits of {split!r}), not {limit}")
        if not 1 <= copies <= MAX_COPIES:
            raise UserError(f"copies must be between 1 and {MAX_COPIES}, not {copies}")
        generator = seeded_generator(seed)
        self.coverage = F.pad(mnist.images[:limit], (2, 2, 2, 2))  # uint8 (N, 28, 28) -> (N, 32, 32)
        self.labels = mnist.labels[:limit]
        self.thickness, self.angle = _measure(split, limit, folder)
        self.stroke = bin_by_borders(self.thickness, STROKE_BORDERS)
        self.slant = bin_by_borders(self.angle, SLANT_BORDERS)
        self.clear_stroke = far_from_borders(self.thickness, STROKE_BORDERS, STROKE_MARGIN)
        self.clear_slant = far_from_borders(self.angle, SLANT_BORDERS, SLANT_MARGIN)
        for name, per_digit in list(vars(self).items()):
            setattr(self, name, torch.cat([per_digit] * copies))
        self._colour(generator, held_out=split == "train")
        self._inks, self._backgrounds = torch.tensor(list(INKS.values())), torch.tensor(list(BACKGROUNDS.values()))
        rng = random.Random(generator.initial_seed())
        self.named = [self.choose_named(i, rng) for i in range(len(self))]
        self.captions = [write_caption(named, rng) for named in self.named]

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
        ink, background = self._inks[self.ink[index]], self._backgrounds[self.background[index]]
        return paint(self.coverage[index] / 255, ink, background)

    def to(self, device: torch.device) -> CaptionedMNIST:
        """Move all tensors to a device, so that `images` paints there; ``index`` must lie there, too."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

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
