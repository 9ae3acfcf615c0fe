"""The old method, a GAN: a forger, the generator, against a detective, the discriminator (Goodfellow et al. 2014), with
the layers of DCGAN (Radford et al. 2016).

Design choices
- The two are mirror images: the generator doubles 4x4 three times to 32x32, the discriminator halves it back.
- The losses are functions of the discriminator's scores alone, so that each can be examined on one batch.
- Two networks that train against each other do not fit `training.train`, which minimises one loss; the loop here
  alternates. Otherwise the contract is the same: one record per step, the same checkpoints, the same stop on request.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm import UserError
from tinyldm.devices import checked_seed, device_of, seeded_generator
from tinyldm.training import Checkpoint, Stateful, check_batch, check_losses, fingerprint_model
from tinyldm.weights import load_into


@dataclass(frozen=True)
class GANConfig:
    """Settings of a `Generator` and its `Discriminator`: length of z, and channels at 4x4, 8x8 and 16x16."""

    latent_dim: int = 64
    channels: tuple[int, int, int] = (128, 64, 32)


class Generator(nn.Module):
    """From random numbers to images: z (B, latent_dim) -> (B, 1, 32, 32) in [-1, 1]."""

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
        """``n`` images from random z, (n, 1, 32, 32) in [-1, 1]."""
        device = device_of(self)
        z = torch.randn(n, self.config.latent_dim, generator=seeded_generator(seed))
        return torch.cat([self(part.to(device)) for part in z.split(500)])

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> Generator:
        """The shipped generator (made by `tinyldm train gan`), or one from ``folder``."""
        return load_into(cls, GANConfig, "gan", folder)


class Discriminator(nn.Module):
    """From images to scores: (B, 1, 32, 32) -> (B,); above 0 means "probably real"."""

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
    """The discriminator's loss: real images should score high, generated ones low.

    -E[log D(x)] - E[log(1 - D(G(z)))],   D = sigmoid(score)                    (Goodfellow et al. 2014, eq. 1)

    Args:
        real_scores, fake_scores: the discriminator's scores, (B,) each.

    Returns:
        The loss, (); 2 log 2 = 1.386 for a discriminator that cannot tell them apart.
    """
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()  # -log sigmoid(s) = softplus(-s)


def generator_loss(fake_scores: Tensor) -> Tensor:
    """The generator's loss: its images should score high.

    -E[log D(G(z))], the form with the strong gradient                           (Goodfellow et al. 2014, section 3)

    Args:
        fake_scores: the discriminator's scores of generated images, (B,).
    """
    return F.softplus(-fake_scores).mean()


@dataclass(frozen=True)
class GANStep:
    """What `train_gan` yields after step ``index`` (0-based).

    Both losses, the images that the generator was last trained on, and the seconds so far.
    """

    index: int
    discriminator_loss: float
    generator_loss: float
    fakes: Tensor
    seconds: float
    is_main: bool = True  # there is only one process


def train_gan(
    generator: Generator,
    discriminator: Discriminator,
    images: Tensor,
    steps: int,
    batch_size: int = 64,
    learning_rate: float = 2e-4,
    generator_steps: int = 1,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    save_every: int = 500,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[GANStep]:
    """Train both in place, in turn: one discriminator step, then the generator.

    Args:
        generator, discriminator: on the same device.
        images: real images, (N, 1, 32, 32) in [-1, 1].
        steps: how many rounds.
        batch_size: number of real and of generated images in each step.
        learning_rate: of both Adam optimizers, with β = (0.5, 0.999)             (Radford et al. 2016, section 4)
        generator_steps: steps of the generator in each round, at least 1; with many it exploits the discriminator's
            blind spots.
        seed: random seed for the batches and every z.
        checkpoint, save_every, stop: as for `training.train`.

    Raises:
        UserError: as for `training.train`, or if ``generator_steps`` is below 1.
    """
    if generator_steps < 1:
        raise UserError(f"generator_steps must be at least 1, not {generator_steps}")
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise UserError("a GAN is trained by one process: start it without torchrun, or unset WORLD_SIZE")
    check_batch(batch_size, len(images))
    seed = checked_seed(seed)
    rng, device = seeded_generator(seed), device_of(generator)
    adam: dict[str, Any] = {"lr": learning_rate, "betas": (0.5, 0.999)}
    generator_optimizer = torch.optim.Adam(generator.parameters(), **adam)
    discriminator_optimizer = torch.optim.Adam(discriminator.parameters(), **adam)
    generator.train()
    discriminator.train()
    run: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    run |= {"generator_steps": generator_steps, "rows": len(images)}
    run["model"] = fingerprint_model(generator, discriminator)
    parts: dict[str, Stateful] = {"generator": generator, "discriminator": discriminator, "random": _State(rng)}
    parts |= {"generator_optimizer": generator_optimizer, "discriminator_optimizer": discriminator_optimizer}
    saved = Checkpoint(checkpoint, run, parts)
    start, seconds = saved.load()
    if start == steps:
        yield GANStep(start - 1, math.nan, math.nan, images[:0], seconds)
    began = time.perf_counter() - seconds

    def generate() -> Tensor:
        return generator(torch.randn(batch_size, generator.config.latent_dim, generator=rng).to(device))

    for index in range(start, steps):
        real = images[torch.randint(len(images), (batch_size,), generator=rng)].to(device)
        fakes = generate().detach()  # no gradient reaches the generator in the discriminator's step
        d_loss = discriminator_loss(discriminator(real), discriminator(fakes))
        _step(discriminator_optimizer, d_loss)
        for _ in range(generator_steps):
            fakes = generate()
            g_loss = generator_loss(discriminator(fakes))
            _step(generator_optimizer, g_loss)
        losses = d_loss.item(), g_loss.item()
        check_losses(index, *losses)
        seconds, stopping = time.perf_counter() - began, stop()
        if (index + 1) % save_every == 0 or stopping or index + 1 == steps:
            saved.save(index + 1, seconds)
        yield GANStep(index, *losses, fakes.detach(), seconds)
        if stopping:
            return


@dataclass
class _State:
    """A random number generator as part of a checkpoint."""

    generator: torch.Generator

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.generator.set_state(state_dict["state"])


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of one of the two networks; gradients left in it by the other's loss are dropped."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
