"""The autoencoder: compress an image to a few numbers, its latents, and back. Diffusion then works on the latents.

Design choices:
- ``VAE`` is Stable Diffusion's, with the module names and shapes of diffusers' ``AutoencoderKL``; with the real one's
  settings it has the real one's 83,653,863 parameters.
- ``Encoder`` and ``Decoder`` know nothing about distributions, so another bottleneck can be put between them.
- The scaling factor (1 / standard deviation of the latents) belongs to the model, not to the caller: ``encode`` returns
  scaled latents and ``decode`` takes them, so that diffusion always works on latents of standard deviation 1.
- The KL term is lightly weighted: enough to keep latents near N(0, I), not a full bound (Rombach et al. 2022, 3.1).
- Randomness comes from the ``torch.Generator`` that is passed in; sampling without one is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.devices import device_of, seeded_generator
from tinyldm.unet import Attention, Context, Downsample, ResidualBlock, Upsample
from tinyldm.weights import load_into

EPS = 1e-6  # for every group norm here; the UNet's residual blocks use 1e-5


@dataclass(frozen=True)
class VAEConfig:
    """Settings of a :class:`VAE`; the defaults turn 3x32x32 pixels into 4x8x8 latents.

    Stable Diffusion 1.x is ``VAEConfig(block_out_channels=(128, 256, 512, 512), layers_per_block=2,
    scaling_factor=0.18215)``.

    Args:
        in_channels: channels of the image.
        latent_channels: channels of the latents.
        block_out_channels: channels at each level, from the finest to the coarsest; each level halves H and W.
        layers_per_block: residual blocks per level of the encoder; the decoder has one more.
        norm_num_groups: groups of every group norm.
        scaling_factor: what latents are multiplied by, 1 / their standard deviation over the training set.

    Raises:
        ValueError: if the settings contradict each other.
    """

    in_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (32, 64, 128)
    layers_per_block: int = 1
    norm_num_groups: int = 32
    scaling_factor: float = 1.0

    def __post_init__(self) -> None:
        # Settings read back from a checkpoint's JSON arrive as lists; tuples keep them hashable and comparable.
        object.__setattr__(self, "block_out_channels", tuple(self.block_out_channels))
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(f"{channels} channels do not divide into {self.norm_num_groups} groups")
        if not self.scaling_factor > 0:
            raise ValueError(f"scaling_factor is 1 / a standard deviation and must be positive: {self.scaling_factor}")

    @property
    def downsampling(self) -> int:
        """Ratio of the image's height to the latents'."""
        return 2 ** (len(self.block_out_channels) - 1)


class ImageAttention(Attention):
    """Single-head self-attention over all pixels, added to the image (Esser et al. 2021, VQGAN)."""

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__(channels, heads=1, qkv_bias=True)
        self.group_norm = nn.GroupNorm(groups, channels, eps=EPS)

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); there is no context."""
        h = self.group_norm(x).flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)
        h = super().forward(h)
        return x + h.transpose(1, 2).unflatten(2, x.shape[2:])  # (B, H*W, C) -> (B, C, H, W)


class MidBlock(nn.Module):
    """The coarsest level, where each pixel can see the whole image: residual block, attention, residual block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResidualBlock(channels, channels, groups=groups, eps=EPS) for _ in range(2))
        self.attentions = nn.ModuleList([ImageAttention(channels, groups)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Level(nn.Module):
    """Residual blocks at one resolution, then a change of resolution.

    Args:
        in_channels: channels of the input.
        out_channels: channels of this level.
        layers: number of residual blocks.
        groups: groups of every group norm.
        resize: "down", "up", or None to keep the size.
    """

    def __init__(self, in_channels: int, out_channels: int, layers: int, groups: int, resize: str | None) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResidualBlock(in_channels if i == 0 else out_channels, out_channels, groups=groups, eps=EPS)
            for i in range(layers)
        )
        self.downsamplers = nn.ModuleList([Downsample(out_channels, asymmetric=True)] if resize == "down" else [])
        self.upsamplers = nn.ModuleList([Upsample(out_channels)] if resize == "up" else [])

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W), with H and W halved or doubled by ``resize``."""
        for layer in (*self.resnets, *self.downsamplers, *self.upsamplers):
            x = layer(x)
        return x


class Encoder(nn.Module):
    """Image to features: levels that halve the size, then the middle block.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the result (for a VAE, twice the latents': mean and log-variance).
        block_out_channels: channels at each level, from the finest to the coarsest.
        layers_per_block: residual blocks per level.
        groups: groups of every group norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        block_out_channels: Sequence[int],
        layers_per_block: int = 1,
        groups: int = 32,
    ) -> None:
        super().__init__()
        channels, last = block_out_channels[0], len(block_out_channels) - 1
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for i, out in enumerate(block_out_channels):
            self.down_blocks.append(Level(channels, out, layers_per_block, groups, None if i == last else "down"))
            channels = out
        self.mid_block = MidBlock(channels, groups)
        self.conv_norm_out = nn.GroupNorm(groups, channels, eps=EPS)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H/f, W/f), f = 2^(levels - 1)."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """Features to image: the mirror image of the encoder, with one more residual block per level.

    Args:
        in_channels: channels of the latents.
        out_channels: channels of the image.
        block_out_channels: channels at each level as in the encoder, from the finest to the coarsest.
        layers_per_block: residual blocks per level of the encoder.
        groups: groups of every group norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        block_out_channels: Sequence[int],
        layers_per_block: int = 1,
        groups: int = 32,
    ) -> None:
        super().__init__()
        channels, last = block_out_channels[-1], len(block_out_channels) - 1
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.mid_block = MidBlock(channels, groups)
        self.up_blocks = nn.ModuleList()
        for i, out in enumerate(reversed(block_out_channels)):
            self.up_blocks.append(Level(channels, out, layers_per_block + 1, groups, None if i == last else "up"))
            channels = out
        self.conv_norm_out = nn.GroupNorm(groups, channels, eps=EPS)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, out_channels, h*f, w*f), f = 2^(levels - 1)."""
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class VAE(nn.Module):
    """Stable Diffusion's autoencoder: each image becomes a Gaussian over latents.

    q(z|x) = N(μ(x), σ²(x)),   x̂ = D(z)             (Kingma & Welling 2014, section 3; Rombach et al. 2022, 3.1)

    ``.config`` may be replaced by one with a measured scaling factor after training:
    ``vae.config = dataclasses.replace(vae.config, scaling_factor=VAE.measure_scaling_factor(latents))``.

    Args:
        config: settings, kept as ``.config``.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        channels, layers, groups = config.block_out_channels, config.layers_per_block, config.norm_num_groups
        latent = config.latent_channels
        self.encoder = Encoder(config.in_channels, 2 * latent, channels, layers, groups)
        self.quant_conv = nn.Conv2d(2 * latent, 2 * latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, latent, 1)
        self.decoder = Decoder(latent, config.in_channels, channels, layers, groups)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior q(z|x), not scaled.

        Args:
            x: images in [-1, 1], (B, in_channels, H, W).

        Returns:
            μ, and log σ² clamped to [-30, 20] so that σ² stays finite, each (B, latent_channels, H/f, W/f).

        Raises:
            ValueError: if the shape does not fit the model.
        """
        config = self.config
        if x.ndim != 4 or x.shape[1] != config.in_channels:
            raise ValueError(f"images have shape {tuple(x.shape)}, this model takes (B, {config.in_channels}, H, W)")
        if x.shape[2] % config.downsampling or x.shape[3] % config.downsampling:
            raise ValueError(f"height and width {tuple(x.shape[2:])} must be multiples of {config.downsampling}")
        mean, logvar = self.quant_conv(self.encoder(x)).chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    def encode(self, x: Tensor, generator: torch.Generator | None = None, sample: bool = True) -> Tensor:
        """Image to scaled latents.

        Args:
            x: images in [-1, 1], (B, in_channels, H, W).
            generator: source of randomness; required if ``sample``.
            sample: whether to draw from the posterior or take its mean.

        Returns:
            Latents times the scaling factor, (B, latent_channels, H/f, W/f).

        Raises:
            ValueError: if the shape does not fit the model, or ``sample`` is set without a generator.
        """
        mean, logvar = self.moments(x)
        z = sample_posterior(mean, logvar, generator) if sample else mean
        return z * self.config.scaling_factor

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents to image.

        Args:
            latents: as ``encode`` returns them, (B, latent_channels, h, w).

        Returns:
            Images near [-1, 1] (not clamped, so that gradients pass), (B, in_channels, h*f, w*f).

        Raises:
            ValueError: if the shape does not fit the model.
        """
        if latents.ndim != 4 or latents.shape[1] != self.config.latent_channels:
            expected = f"(B, {self.config.latent_channels}, h, w)"
            raise ValueError(f"latents have shape {tuple(latents.shape)}, this model takes {expected}")
        return self.decoder(self.post_quant_conv(latents / self.config.scaling_factor))

    @torch.no_grad()
    def images(self, n: int, seed: int = 0, size: int = 8) -> Tensor:
        """``n`` images decoded from N(0, I), all that a VAE alone can invent: (n, in_channels, H, W) in [-1, 1].

        ``size`` is the height and width of the latents.
        """
        generator, device = seeded_generator(seed), device_of(self)
        latents = torch.randn(n, self.config.latent_channels, size, size, generator=generator)
        return torch.cat([self.decode(part.to(device)).clamp(-1, 1) for part in latents.split(250)])

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None) -> VAE:
        """The shipped model (made by `tinyldm train vae`), or one from ``folder``."""
        return load_into(cls, VAEConfig, "vae", folder)

    @torch.no_grad()
    def standardize(self, latents: Tensor) -> None:
        """Give each channel of the latents mean 0 and standard deviation 1; the decoder undoes it.

        z' = (z - m) / s: the 1x1 convolutions after the encoder and before the decoder take it in, so that the
        reconstructions stay the same. One factor for all channels would leave some of them louder than others.

        Args:
            latents: many latents, not scaled, (N, latent_channels, h, w).

        Raises:
            ValueError: if a channel does not vary or is not finite.
        """
        mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
        if not (std.isfinite() & (std > 0)).all():
            raise ValueError(f"the latents' standard deviations are {std.tolist()}: a channel is constant or diverged")
        before, after, c = self.quant_conv, self.post_quant_conv, self.config.latent_channels
        assert before.bias is not None and after.bias is not None
        before.bias[:c] -= mean
        for part in (before.weight[:c], before.bias[:c]):
            part /= std.view(-1, *[1] * (part.ndim - 1))
        before.bias[c:] -= 2 * std.log()  # the log-variance
        after.bias += after.weight[:, :, 0, 0] @ mean
        after.weight *= std.view(1, -1, 1, 1)

    @staticmethod
    def measure_scaling_factor(latents: Tensor) -> float:
        """The factor that gives latents a standard deviation of 1 (Rombach et al. 2022, appendix G).

        Args:
            latents: many latents, not scaled (from ``moments``, or ``encode`` with a scaling factor of 1), any shape.

        Returns:
            1 / standard deviation over all elements.

        Raises:
            ValueError: if the latents do not vary or are not finite.
        """
        std = latents.float().std().item()
        if not 0 < std < float("inf"):
            raise ValueError(f"the latents' standard deviation is {std}: the encoder has collapsed or diverged")
        return 1.0 / std


def sample_posterior(mean: Tensor, logvar: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw from N(μ, σ²) so that gradients reach μ and σ: z = μ + σ ε (Kingma & Welling 2014, section 2.4).

    Args:
        mean: μ, any shape.
        logvar: log σ², same shape.
        generator: source of ε; a CPU generator works for latents on any device.

    Returns:
        A sample, same shape.

    Raises:
        ValueError: if there is no generator.
    """
    if generator is None:
        raise ValueError("sampling needs a torch.Generator: pass generator=..., or sample=False for the mean")
    noise = torch.randn(mean.shape, generator=generator, device=generator.device, dtype=mean.dtype).to(mean.device)
    return mean + torch.exp(0.5 * logvar) * noise


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """How far each image's posterior is from N(0, I).

    KL = -1/2 Σ (1 + log σ² - μ² - σ²)                                (Kingma & Welling 2014, appendix B)

    Args:
        mean: μ, (B, ...).
        logvar: log σ², same shape.

    Returns:
        Nats per image, summed over its latent elements, >= 0, float32, (B,).
    """
    mean, logvar = mean.float(), logvar.float()  # exp(20) overflows float16
    return -0.5 * (1 + logvar - mean.square() - logvar.exp()).flatten(1).sum(dim=1)


def vae_loss(
    vae: VAE, x: Tensor, kl_weight: float, generator: torch.Generator | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Reconstruction error plus a light pull of the latents towards N(0, I).

    L = mse + kl_weight * kl                                            (Higgins et al. 2017, eq. 4, per element)

    Both terms are means, so that a weight means the same at every image size: ``mse`` is the mean squared error per
    pixel and channel (images in [-1, 1]), ``kl`` is in nats per latent element.

    Args:
        vae: the model.
        x: images in [-1, 1], (B, in_channels, H, W).
        kl_weight: weight of the KL term, >= 0.
        generator: source of randomness for the posterior sample; required.

    Returns:
        The loss, (), with gradient, and {"mse": (), "kl": ()} without, for logging.

    Raises:
        ValueError: if the shape does not fit the model, or there is no generator.
    """
    mean, logvar = vae.moments(x)
    z = sample_posterior(mean, logvar, generator)
    mse = F.mse_loss(vae.decode(z * vae.config.scaling_factor), x)
    kl = kl_divergence(mean, logvar).mean() / mean[0].numel()
    return mse + kl_weight * kl, {"mse": mse.detach(), "kl": kl.detach()}
