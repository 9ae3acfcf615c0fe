"""The old method: a forger and a detective (Goodfellow et al. 2014), with the layers of DCGAN (Radford et al. 2016).

Design choices
- Generator and discriminator are mirror images: the one doubles 4x4 three times to 32x32, the other halves it again.
- The losses are functions of the discriminator's scores alone, so that each can be looked at on one batch.
- Two networks that train against each other do not fit the loop of ``training.py``, which lowers one loss; the loop
  here alternates. It is a generator too: it yields one small record a step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.weights import load_into


@dataclass(frozen=True)
class GANConfig:
    """Settings of a `Generator` and its `Discriminator`: length of z, and channels at 4x4, 8x8 and 16x16."""

    latent_dim: int = 64
    channels: tuple[int, int, int] = (128, 64, 32)


class Generator(nn.Module):
    """Random numbers to pictures: z (B, latent_dim) -> (B, 1, 32, 32) in [-1, 1]."""

    def __init__(self, config: GANConfig = GANConfig()):
        super().__init__()
        self.config = config
        width = config.channels[0]
        layers = [nn.Linear(config.latent_dim, width * 4 * 4, bias=False), nn.Unflatten(1, (width, 4, 4))]
        for out in (*config.channels[1:], config.channels[-1]):  # (B, width, H, W) -> (B, out, 2H, 2W)
            layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Upsample(scale_factor=2)]
            layers += [nn.Conv2d(width, out, 3, padding=1, bias=False)]
            width = out
        layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1), nn.Tanh()]
        self.net = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent_dim) -> (B, 1, 32, 32)."""
        return self.net(z)

    @torch.no_grad()
    def images(self, n: int, seed: int = 0) -> Tensor:
        """``n`` pictures from random z, (n, 1, 32, 32) in [-1, 1]."""
        device = next(self.parameters()).device
        z = torch.randn(n, self.config.latent_dim, generator=torch.Generator().manual_seed(seed))
        return torch.cat([self(part.to(device)) for part in z.split(500)])

    @classmethod
    def from_pretrained(cls, folder=None) -> Generator:
        """The shipped generator (`tinyldm train gan` made it), or one from ``folder``."""
        return load_into(cls, GANConfig, "gan", folder)


class Discriminator(nn.Module):
    """Pictures to scores: (B, 1, 32, 32) -> (B,); above 0 means "I think that this one is real"."""

    def __init__(self, config: GANConfig = GANConfig()):
        super().__init__()
        layers, width = [], 1
        for out in reversed(config.channels):  # (B, width, H, W) -> (B, out, H/2, W/2)
            layers += [nn.Conv2d(width, out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            width = out
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * 4 * 4, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, 32, 32) -> (B,)."""
        return self.net(images)[:, 0]


def discriminator_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """The detective's loss: real pictures should score high, forgeries low.

    -E[log D(x)] - E[log(1 - D(G(z)))],   D = sigmoid(score)                    (Goodfellow et al. 2014, eq. 1)

    Args:
        real_scores, fake_scores: of the discriminator, (B,) each.

    Returns:
        A number; 2 log 2 = 1.386 for a discriminator that always answers "half and half".
    """
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()  # -log sigmoid(s) = softplus(-s)


def generator_loss(fake_scores: Tensor) -> Tensor:
    """The forger's loss: forgeries should score high.

    -E[log D(G(z))], the form with the strong gradient                           (Goodfellow et al. 2014, section 3)

    Args:
        fake_scores: the discriminator's opinion of the forgeries, (B,).
    """
    return F.softplus(-fake_scores).mean()


@dataclass(frozen=True)
class GANStep:
    """What `train_gan` yields after step ``index`` (0-based): both losses, the last one's forgeries, seconds so far."""

    index: int
    discriminator_loss: float
    generator_loss: float
    fakes: Tensor
    seconds: float


def train_gan(
    generator: Generator,
    discriminator: Discriminator,
    images: Tensor,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 2e-4,
    generator_steps: int = 1,
    seed: int = 0,
) -> Iterator[GANStep]:
    """Train both in place, in turns: the detective one step, then the forger.

    Args:
        generator, discriminator: on the same device.
        images: real pictures, (N, 1, 32, 32) in [-1, 1].
        steps: how many turns.
        generator_steps: steps of the forger in each turn; with many it runs after the detective's blind spots.
        learning_rate: of both Adams, with β = (0.5, 0.999)                       (Radford et al. 2016, section 4)
        seed: of the batches and of every z.
    """
    random, began = torch.Generator().manual_seed(seed), time.perf_counter()
    device = next(generator.parameters()).device
    adam = {"lr": learning_rate, "betas": (0.5, 0.999)}
    forger, detective = (torch.optim.Adam(model.parameters(), **adam) for model in (generator, discriminator))
    generator.train()
    discriminator.train()

    def forge() -> Tensor:
        return generator(torch.randn(batch_size, generator.config.latent_dim, generator=random).to(device))

    for index in range(steps):
        real = images[torch.randint(len(images), (batch_size,), generator=random)].to(device)
        fakes = forge()
        d_loss = discriminator_loss(discriminator(real), discriminator(fakes.detach()))  # not the forger's turn
        _step(detective, d_loss)
        for _ in range(generator_steps):
            fakes = forge()
            g_loss = generator_loss(discriminator(fakes))
            _step(forger, g_loss)
        seconds = time.perf_counter() - began
        yield GANStep(index, d_loss.item(), g_loss.item(), fakes.detach(), seconds)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of one of the two; gradients that the other's loss has left in it are dropped."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
