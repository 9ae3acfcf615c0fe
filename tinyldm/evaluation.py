"""How good is it? The judge reads digits; rulers and palettes measure the rest; Fréchet distance compares crowds.

Design choices
- The judge is a small classifier of MNIST digits that sees only how much ink lies where, never colours: colours,
  stroke and slant are measured (`tinyldm.data.describe`), not classified.
- A Fréchet distance is never shown without the distance of real from real digits at the same number of pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.data import ATTRIBUTES, Description, describe, load_mnist, unpaint
from tinyldm.weights import load_into


@dataclass(frozen=True)
class JudgeConfig:
    """Settings of a `Judge`: channels of its three convolutions, and how many features it bases its answer on."""

    channels: tuple[int, int, int] = (32, 64, 128)
    features: int = 128


class Judge(nn.Module):
    """A digit classifier for pictures of 32x32: three convolutions, one layer of features, ten scores."""

    def __init__(self, config: JudgeConfig = JudgeConfig()):  # noqa: B008
        super().__init__()
        self.config = config
        layers, width = [], 1
        for channels in config.channels:  # (B, width, H, W) -> (B, channels, H/2, W/2)
            layers += [nn.Conv2d(width, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.GELU(), nn.MaxPool2d(2)]
            width = channels
        self.convolutions = nn.Sequential(*layers)
        self.to_features = nn.Linear(width * 4 * 4, config.features)
        self.to_scores = nn.Linear(config.features, 10)
        self.num_features = config.features  # torchmetrics asks for this name

    def features(self, images: Tensor) -> Tensor:
        """What the judge looks at before it answers: (B, 1, 32, 32) in [-1, 1] -> (B, features)."""
        return F.gelu(self.to_features(self.convolutions(images).flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """Scores (logits) for the ten digits: (B, 1, 32, 32) in [-1, 1] -> (B, 10)."""
        return self.to_scores(self.features(images))

    @classmethod
    def from_pretrained(cls, folder=None) -> Judge:
        """The shipped judge (`tinyldm train judge` made it), or one from ``folder``."""
        return load_into(cls, JudgeConfig, "judge", folder)


def grey(images: Tensor) -> Tensor:
    """What the judge sees of a picture: colour pictures (B, 3, H, W) become (B, 1, H, W), both in [-1, 1]."""
    return images if images.shape[1] == 1 else unpaint(images)[0][:, None] * 2 - 1


def jitter(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, shear, scale and move every picture a little, so that the judge learns digits and not pixels.

    Args:
        images: (B, 1, H, W) in [-1, 1].
        generator: up to 10 degrees, 0.2 of shear, 12% of size, 2 pixels.
    """

    def draw(spread: float) -> Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * spread

    angle, scale, shear = draw(0.17), 1 + draw(0.12), draw(0.2)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([cos, shear - sin, draw(0.12), sin, cos, draw(0.12)], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, align_corners=False) - 1  # + 1: what comes in from outside is paper


@torch.no_grad()
def judge_accuracy(judge: Judge) -> float:
    """Share of MNIST's 10,000 test digits that the judge reads right, in [0, 1]."""
    test = load_mnist("test")
    device = next(judge.parameters()).device
    answers = torch.cat([judge(part.to(device)).argmax(1).cpu() for part in test.padded().split(500)])
    return (answers == test.labels).float().mean().item()
