"""The VQ-VAE, whose latents are entries of a codebook, and the transformer that generates new ones.

Design choices
- Encoder and decoder are the VAE's; only the bottleneck differs: the nearest code vector instead of a sample.
- A code is an index into the codebook; a code vector is the row at that index.
- The prior sees only codes, in reading order, after a first token that says which digit to draw.

van den Oord et al. 2017 (VQ-VAE); Esser et al. 2021 (a transformer as its prior).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.devices import device_of, seeded_generator
from tinyldm.vae import Decoder, Encoder
from tinyldm.weights import load_into


@dataclass(frozen=True)
class VQVAEConfig:
    """Settings of a :class:`VQVAE`; the defaults turn 3x32x32 pixels into 8x8 codes.

    Args:
        in_channels: channels of the image.
        codebook_size: how many codes there are.
        code_dim: length of each code vector.
        block_out_channels, layers_per_block, norm_num_groups: as in :class:`VAEConfig`.
        normalize: compare directions only, with code vectors and latents scaled to length 1, which steadies training
            (Yu et al. 2022, section 3.2).

    Raises:
        ValueError: if the settings contradict each other.
    """

    in_channels: int = 3
    codebook_size: int = 256
    code_dim: int = 8
    block_out_channels: tuple[int, ...] = (32, 32, 64)
    layers_per_block: int = 1
    norm_num_groups: int = 16
    normalize: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "block_out_channels", tuple(self.block_out_channels))
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(f"{channels} channels do not divide into {self.norm_num_groups} groups")
        if self.codebook_size < 2 or self.code_dim < 1:
            raise ValueError("a codebook needs at least two codes of at least one number")


class VQVAE(nn.Module):
    """An autoencoder whose latents are entries of a codebook (van den Oord et al. 2017).

    Encoder and decoder are the VAE's; only the bottleneck differs: the nearest code vector instead of a sample.

    Args:
        config: settings, kept as ``.config``.
    """

    def __init__(self, config: VQVAEConfig = VQVAEConfig()) -> None:
        super().__init__()
        self.config = config
        channels, layers, groups = config.block_out_channels, config.layers_per_block, config.norm_num_groups
        self.encoder = Encoder(config.in_channels, config.code_dim, channels, layers, groups)
        self.decoder = Decoder(config.code_dim, config.in_channels, channels, layers, groups)
        self.codebook = nn.Parameter(torch.empty(config.codebook_size, config.code_dim))
        nn.init.normal_(self.codebook)

    def code_vectors(self) -> Tensor:
        """The codebook as it is used, (codebook_size, code_dim)."""
        return F.normalize(self.codebook, dim=1) if self.config.normalize else self.codebook

    def latents(self, x: Tensor) -> Tensor:
        """The encoder's output, before any code is chosen: (B, in_channels, H, W) -> (B, code_dim, H/f, W/f)."""
        z = self.encoder(x)
        return F.normalize(z, dim=1) if self.config.normalize else z

    def nearest(self, z: Tensor) -> Tensor:
        """Indices of the code vectors nearest to latents: k = argmin_j |z - e_j|  (van den Oord et al. 2017, eq. 1).

        Args:
            z: (B, code_dim, h, w).

        Returns:
            int64 (B, h, w).
        """
        rows = z.permute(0, 2, 3, 1)  # (B, D, h, w) -> (B, h, w, D)
        return torch.cdist(rows.flatten(0, 2), self.code_vectors()).argmin(1).view(rows.shape[:3])

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) to code vectors (B, code_dim, h, w)."""
        return self.code_vectors()[codes].permute(0, 3, 1, 2)

    def encode(self, x: Tensor) -> Tensor:
        """Images (B, in_channels, H, W) in [-1, 1] to codes, int64 (B, H/f, W/f)."""
        return self.nearest(self.latents(x))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, h, w) to images (B, in_channels, h*f, w*f) near [-1, 1]."""
        return self.decoder(self.lookup(codes))

    @torch.no_grad()
    def images(self, prior: CodePrior, n: int, seed: int = 0, progress: bool = False) -> Tensor:
        """``n`` new images of random digits, with codes drawn from ``prior``: (n, in_channels, H, W) in [-1, 1]."""
        from tqdm.auto import tqdm

        generator, parts, batch = seeded_generator(seed), [], 250
        digits = torch.randint(prior.config.digits, (n,), generator=generator)
        for part in tqdm(digits.split(batch), desc=f"batches of {batch}", disable=not progress):
            codes = prior.sample(part, generator)
            side = math.isqrt(codes.shape[1])
            parts.append(self.decode(codes.view(-1, side, side).to(device_of(self))).clamp(-1, 1))
        return torch.cat(parts)

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> VQVAE:
        """The shipped model (made by `tinyldm train vqvae`), or one from ``folder``."""
        return load_into(cls, VQVAEConfig, "vqvae", folder)


def vq_loss(model: VQVAE, x: Tensor, commitment: float = 0.25) -> tuple[Tensor, dict[str, Tensor]]:
    """Reconstruction error, and two terms that pull code vectors and latents towards each other.

    L = mse + |sg(z) - e|² + β |z - sg(e)|²                              (van den Oord et al. 2017, eq. 3)

    sg stops the gradient. Choosing the nearest code has no gradient at all, so the decoder's is passed straight
    through to the encoder: decoder(z + sg(e - z)).

    Args:
        model: the model.
        x: images in [-1, 1], (B, in_channels, H, W).
        commitment: β, how strongly latents are held to their code vectors.

    Returns:
        The loss, (), with gradient, and {"mse": (), "codes": (B, h, w)} without, for logging.
    """
    z = model.latents(x)
    codes = model.nearest(z)
    e = model.lookup(codes)
    mse = F.mse_loss(model.decoder(z + (e - z).detach()), x)
    loss = mse + F.mse_loss(e, z.detach()) + commitment * F.mse_loss(z, e.detach())
    return loss, {"mse": mse.detach(), "codes": codes}


def perplexity(codes: Tensor, codebook_size: int) -> float:
    """The effective number of codes in use: e to the power of their entropy, from 1 to ``codebook_size``.

    Args:
        codes: codes, any shape.
        codebook_size: how many codes there are.
    """
    share = torch.bincount(codes.flatten(), minlength=codebook_size) / codes.numel()
    return torch.special.entr(share).sum().exp().item()


@dataclass(frozen=True)
class CodePriorConfig:
    """Settings of a :class:`CodePrior`: digits, codebook size, codes per image, and the sizes of the transformer."""

    digits: int = 10
    codebook_size: int = 256
    length: int = 64
    channels: int = 192
    layers: int = 6
    heads: int = 6


class CodePrior(nn.Module):
    """Which code comes next? A small transformer that writes images code by code (Esser et al. 2021, section 3.2).

    The first token of its sequence is the digit to draw; the codes follow, in reading order.

    Args:
        config: settings, kept as ``.config``.
    """

    def __init__(self, config: CodePriorConfig = CodePriorConfig()) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.codebook_size + config.digits, config.channels)  # codes, then digits
        self.position = nn.Parameter(torch.empty(config.length, config.channels))
        nn.init.normal_(self.position, std=0.02)
        sizes: dict[str, Any] = {"dim_feedforward": 4 * config.channels, "dropout": 0.0, "activation": "gelu"}
        layer = nn.TransformerEncoderLayer(config.channels, config.heads, batch_first=True, norm_first=True, **sizes)
        self.blocks = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(config.channels)
        self.to_scores = nn.Linear(config.channels, config.codebook_size)

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> CodePrior:
        """The shipped model (made by `tinyldm train prior`), or one from ``folder``."""
        return load_into(cls, CodePriorConfig, "prior", folder)

    def forward(self, digits: Tensor, codes: Tensor) -> Tensor:
        """Scores (logits) for each code of an image, given only what comes before it.

        Args:
            digits: the digits to draw, int64 (B,) from 0 to ``digits - 1``.
            codes: codes in reading order, int64 (B, n), n at most ``length - 1``; (B, 0) asks for the first.

        Returns:
            (B, n + 1, codebook_size): row i is for code i.
        """
        tokens = torch.cat([self.config.codebook_size + digits[:, None], codes], 1)
        h = self.token(tokens) + self.position[: tokens.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(h.shape[1], device=h.device)
        return self.to_scores(self.norm(self.blocks(h, mask=mask, is_causal=True)))

    def loss(self, digits: Tensor, codes: Tensor) -> Tensor:
        """Mean cross-entropy of each code given those before it, in nats: digits (B,), codes (B, length) -> ()."""
        return F.cross_entropy(self(digits, codes[:, :-1]).transpose(1, 2), codes)

    @torch.no_grad()
    def sample(self, digits: Tensor, generator: torch.Generator) -> Tensor:
        """Draw the codes of an image for each of ``digits`` (B,), one after another: int64 (B, length)."""
        device = device_of(self)
        digits, codes = digits.to(device), torch.zeros(len(digits), 0, dtype=torch.int64, device=device)
        for _ in range(self.config.length):
            probabilities = self(digits, codes)[:, -1].float().softmax(1).to(generator.device)
            codes = torch.cat([codes, torch.multinomial(probabilities, 1, generator=generator).to(device)], 1)
        return codes
