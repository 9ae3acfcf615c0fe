"""How good is it? The judge reads digits, `measure` the rest; the Fréchet distance compares sets of images.

Design choices
- The judge is a small classifier of MNIST digits that sees only where the ink is, never its colour: colours, stroke
  and slant are measured (`measure.describe`), not classified.
- A Fréchet distance is never shown without that between two sets of real digits of the same size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import UserError
from tinyldm.captions import Description
from tinyldm.data import MNIST, CaptionedMNIST, load_mnist
from tinyldm.devices import device_of, seeded_generator
from tinyldm.measure import ATTRIBUTES, describe, unpaint
from tinyldm.weights import load_into


@dataclass(frozen=True)
class JudgeConfig:
    """Settings of a `Judge`: channels of its three convolutions, and the number of features that it classifies by."""

    channels: tuple[int, int, int] = (32, 64, 128)
    features: int = 128


class Judge(nn.Module):
    """A digit classifier for 32x32 images: three convolutions, one layer of features, ten scores."""

    def __init__(self, config: JudgeConfig = JudgeConfig()):
        super().__init__()
        self.config = config
        layers, width = [], 1
        for channels in config.channels:  # (B, width, H, W) -> (B, channels, H/2, W/2)
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.GELU(), nn.MaxPool2d(2)]
            width = channels
        self.convolutions = nn.Sequential(*layers)
        self.to_features = nn.Linear(width * 4 * 4, config.features)
        self.to_scores = nn.Linear(config.features, 10)

    def features(self, images: Tensor) -> Tensor:
        """The features that the judge classifies by: (B, 1, 32, 32) in [-1, 1] -> (B, features)."""
        images = images.to(device_of(self))  # they may be on any device
        return F.gelu(self.to_features(self.convolutions(images).flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (logits) for the ten digits: (B, 1, 32, 32) in [-1, 1] -> (B, 10)."""
        return self.to_scores(self.features(images))

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> Judge:
        """The shipped judge (made by `tinyldm train judge`), or one from ``folder``."""
        return load_into(cls, JudgeConfig, "judge", folder)


def grey(images: Tensor) -> Tensor:
    """What the judge sees of an image: colour images (B, 3, H, W) become (B, 1, H, W), both in [-1, 1]."""
    return images if images.shape[1] == 1 else unpaint(images)[0][:, None] * 2 - 1


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Rotate, shear, scale and shift every image a little, so that the judge learns digits and not pixels.

    Args:
        images: (B, 1, H, W) in [-1, 1].
        generator: source of the amounts: up to 10 degrees, a shear of 0.2, 12% in size and 2 pixels.
    """

    def draw(limit: float) -> Tensor:
        return (torch.rand(len(images), generator=generator, device=generator.device) * 2 - 1) * limit

    angle, scale, shear = draw(0.17), 1 + draw(0.12), draw(0.2)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([cos, shear - sin, draw(0.12), sin, cos, draw(0.12)], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1  # + 1: zero padding is background


@torch.no_grad()
def judge_accuracy(judge: Judge) -> float:
    """Fraction of MNIST's 10,000 test digits that the judge reads correctly, in [0, 1]."""
    test = load_mnist("test")
    answers = torch.cat([judge(part).argmax(1).cpu() for part in test.padded().split(500)])
    return (answers == test.labels).float().mean().item()


# ---------------------------------------------------------------- does the image match the prompt?


def read(images: Tensor, judge: Judge) -> list[Description]:
    """Describe images (B, 3, 32, 32) in [-1, 1]: the judge reads the digit, the rest is measured."""
    return describe(images, judge(grey(images)).argmax(1))


def prompt_fidelity(named: Sequence[Description], seen: Sequence[Description]) -> dict[str, float]:
    """How much of what the captions name is really in the images.

    Args:
        named: what each caption says.
        seen: what is in each image, from `read`.

    Returns:
        For each attribute, the fraction that is right among the captions that name it, and "all": the fraction of
        images in which everything named is right. In [0, 1]; nan for an attribute that no caption names.
    """
    right: dict[str, list[bool]] = {name: [] for name in ATTRIBUTES}
    for said, there in zip(named, seen, strict=True):
        for name in ATTRIBUTES:
            if getattr(said, name) is not None:
                right[name].append(getattr(said, name) == getattr(there, name))
    everything = [
        all(getattr(said, name) in (None, getattr(there, name)) for name in ATTRIBUTES)
        for said, there in zip(named, seen, strict=True)
    ]
    return {name: _share(answers) for name, answers in {**right, "all": everything}.items()}


def _share(answers: list[bool]) -> float:
    return sum(answers) / len(answers) if answers else float("nan")


# ---------------------------------------------------------------- do the images look like the real ones?


def check_pictures(images: Tensor) -> None:
    """Refuse to measure what is no set of pictures: (N, 1 or 3, 32, 32), N at least 2, of finite numbers.

    Raises:
        UserError: with the first image that is not finite.
    """
    if images.ndim != 4 or len(images) < 2:
        raise UserError(f"at least two pictures (N, C, H, W) can be measured, not {tuple(images.shape)}")
    if len(bad := (~images.flatten(1).isfinite().all(1)).nonzero()):
        raise UserError(
            f"{len(bad)} of {len(images)} pictures have nan or infinite numbers, the first is {bad[0].item()}"
        )


@torch.no_grad()
def frechet_distance(real: Tensor, other: Tensor, judge: Judge) -> float:
    """Fréchet distance between two sets of images, on the judge's features.

    |μ_1 - μ_2|² + tr(Σ_1 + Σ_2 - 2 (Σ_1 Σ_2)^(1/2))                    (Heusel et al. 2017, eq. 6; torchmetrics)

    It falls as the sets grow, so compare it only with others for the same number of images.

    Args:
        real, other: (N, 1 or 3, 32, 32) in [-1, 1]; with N below the judge's number of features it is mostly chance.

    Raises:
        UserError: if a number is nan or infinite, or a set has less than 2 images.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    for images in (real, other):
        check_pictures(images)
    alone: dict[str, Any] = {"sync_on_compute": False}  # one process may measure after the others have ended
    metric = FrechetInceptionDistance(feature=_Features(judge), normalize=True, **alone)
    for images, is_real in ((real, True), (other, False)):
        for part in images.split(500):
            metric.update(grey(part), real=is_real)
    return metric.compute().item()


def frechet_beside_floor(images: Tensor, seed: int = 0, judge: Judge | None = None) -> tuple[float, float]:
    """Fréchet distance of images to MNIST's test digits, and of as many training digits to the same test digits.

    Args:
        images: (N, 1 or 3, 32, 32) in [-1, 1], N at most 10,000.
        seed: random seed for the choice of training digits.
        judge: by default the shipped one.
    """
    n, judge = len(images), judge or Judge.from_pretrained()
    real, train = load_mnist("test").padded()[:n], load_mnist("train")
    chosen = torch.randperm(len(train.images), generator=seeded_generator(seed))[:n]
    others = MNIST(train.images[chosen], train.labels[chosen]).padded()
    return frechet_distance(real, images, judge), frechet_distance(real, others, judge)


def psnr(images: Tensor, again: Tensor) -> float:
    """Peak signal-to-noise ratio of copies, in decibels (10 dB more: a tenth of the squared error).

    10 log10(4 / mse), averaged over all images; 4 is the square of the range from -1 to 1.

    Args:
        images, again: (B, C, H, W) in [-1, 1].
    """
    return (10 * torch.log10(4 / (again - images).square().mean((1, 2, 3)))).mean().item()


@torch.no_grad()
def digit_shares(images: Tensor, judge: Judge | None = None) -> Tensor:
    """How often each digit occurs in images, as read by the judge: (N, 1 or 3, 32, 32) -> (10,), summing to 1.

    A model that has lost some digits (mode collapse) has shares near 0 for them.
    """
    judge = judge or Judge.from_pretrained()
    answers = torch.cat([judge(grey(part)).argmax(1).cpu() for part in images.split(500)])
    return torch.bincount(answers, minlength=10) / len(images)


class _Features(nn.Module):
    """The judge in the form that torchmetrics expects: a module that returns features."""

    def __init__(self, judge: Judge):
        super().__init__()
        self.judge, self.num_features = judge, judge.config.features

    def forward(self, images: Tensor) -> Tensor:
        return self.judge.features(images).cpu()


# ---------------------------------------------------------------- the whole report


@dataclass(frozen=True)
class Report:
    """What `evaluate` measured on ``n`` images; fidelity in [0, 1]."""

    n: int
    fidelity: dict[str, float]
    frechet: float
    floor: float
    seconds_per_image: float

    def __str__(self) -> str:
        lines = [f"{name:<22}{100 * value:6.1f} %" for name, value in self.fidelity.items() if name != "all"]
        beside = f"real against real at N = {self.n:,}: {self.floor:.2f}, ratio {self.frechet / self.floor:.2f}"
        return "\n".join(
            [
                f"{self.n:,} held-out captions; each share is of the captions that name it",
                *lines,
                f"{'all that is named':<22}{100 * self.fidelity['all']:6.1f} %",
                f"{'Fréchet distance':<22}{self.frechet:6.2f}   ({beside})",
                f"{'seconds per image':<22}{self.seconds_per_image:8.3f}",
            ]
        )


def evaluate(draw: Callable[[list[str]], Tensor], n: int = 2000, seed: int = 0, judge: Judge | None = None) -> Report:
    """Generate images for the captions of ``n`` held-out digits, and measure them.

    Args:
        draw: prompts -> images (len(prompts), 3, 32, 32) in [-1, 1].
        n: how many captions, at most 10,000 (all test digits).
        seed: random seed for captions and colours, and for the training digits of the real-against-real floor.
        judge: by default the shipped one.

    Raises:
        UserError: if n is out of range.
    """
    if not 2 <= n <= 10_000:
        raise UserError(f"n must be between 2 and 10,000 (there are no more test digits), not {n}")
    judge = judge or Judge.from_pretrained()
    test = CaptionedMNIST("test", seed=seed, limit=n)
    start = time.perf_counter()
    images = draw(test.captions).cpu()
    seconds = (time.perf_counter() - start) / n
    check_pictures(images)
    fidelity = prompt_fidelity(test.named, [row for part in images.split(500) for row in read(part, judge)])
    return Report(n, fidelity, *frechet_beside_floor(images, seed, judge), seconds)
