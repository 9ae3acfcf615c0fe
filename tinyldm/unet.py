"""The noise predictor: Stable Diffusion's UNet, in one class from digits to the real thing.

Design choices:
- One class, three sizes. Without attention and text it denoises pixels (lesson 03), with both it is the tiny latent
  model (lesson 07), and with Stable Diffusion 1.x's settings it is that model: 859,520,964 parameters.
- Module names and shapes are those of diffusers' ``UNet2DConditionModel``, so weights load both ways without renaming.
- Text enters in one place only, the cross-attention inside ``TransformerBlock``.
- Each block's last layer starts at zero: a new block changes nothing, a new model predicts zero (loss 1).
- Attention is ``scaled_dot_product_attention``; ``Attention.attention_map`` writes the weights out, to look at.
- No dropout and no switches for other models' variants.

Read it from small to large: time embedding, residual block, attention, transformer, levels, UNet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class UNetConfig:
    """Settings of a :class:`UNet`; the defaults are the tiny latent model with text (4.7 million parameters).

    Stable Diffusion 1.x is ``UNetConfig(block_out_channels=(320, 640, 1280, 1280), layers_per_block=2,
    attention=(True, True, True, False), num_heads=8, context_dim=768)``.

    Args:
        in_channels: channels of the noisy input (4 for Stable Diffusion's latents, 1 for greyscale pixels).
        out_channels: channels of the prediction.
        block_out_channels: channels at each level, from the finest to the coarsest; each level halves H and W.
        layers_per_block: residual blocks per level on the way down; the way up has one more.
        attention: per level, whether each residual block is followed by a spatial transformer.
        num_heads: attention heads at every level (diffusers calls this number ``attention_head_dim``).
        context_dim: width of a text embedding; None for a model without text.
        norm_num_groups: groups of every group norm.

    Raises:
        ValueError: if the settings contradict each other.
    """

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (96, 128)
    layers_per_block: int = 1
    attention: tuple[bool, ...] = (False, True)
    num_heads: int = 4
    context_dim: int | None = 128
    norm_num_groups: int = 32

    def __post_init__(self) -> None:
        # Settings read back from a checkpoint's JSON arrive as lists; tuples keep them hashable and comparable.
        object.__setattr__(self, "block_out_channels", tuple(self.block_out_channels))
        object.__setattr__(self, "attention", tuple(self.attention))
        if len(self.attention) != len(self.block_out_channels):
            raise ValueError(
                f"attention={self.attention} needs one entry per level, block_out_channels={self.block_out_channels}"
            )
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups or channels % 2:
                raise ValueError(f"{channels} channels must be even and divide into {self.norm_num_groups} groups")
            if self.mid_attention and channels % self.num_heads:
                raise ValueError(f"{channels} channels do not divide into {self.num_heads} heads")
        if self.context_dim is not None and not self.mid_attention:
            raise ValueError("text enters through attention: enable it on at least one level, or set context_dim=None")

    @property
    def mid_attention(self) -> bool:
        """Whether the middle block has attention: if any level does."""
        return any(self.attention)

    @property
    def time_channels(self) -> int:
        """Width of the time embedding that every residual block receives."""
        return 4 * self.block_out_channels[0]

    @property
    def downsampling(self) -> int:
        """Ratio of the input's height to the coarsest level's."""
        return 2 ** (len(self.block_out_channels) - 1)


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """Encode each step as ``dim`` waves, from fast to slow, so that nearby steps look alike and distant ones do not.

    e(t) = [cos(t ω_0), ..., cos(t ω_{d/2-1}), sin(t ω_0), ...],   ω_i = 10000^(-i / (d/2))
    (Vaswani et al. 2017, section 3.5; cosines before sines as in Stable Diffusion)

    Args:
        t: steps, integer or float, (B,).
        dim: even number of values per step.

    Returns:
        float32 values in [-1, 1], (B, dim). Always float32: bfloat16 cannot tell step 999 from step 1000.

    Raises:
        ValueError: if ``dim`` is odd.
    """
    if dim % 2:
        raise ValueError(f"cosines and sines come in pairs: dim must be even, got {dim}")
    half = dim // 2
    # The order of operations matters: at step 999 a rounding error in ω grows a thousandfold.
    omega = torch.exp(-math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * omega  # (B, 1) * (half,) -> (B, half)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def zeroed(layer: nn.Module) -> nn.Module:
    """Set a layer's parameters to zero.

    diffusers leaves these layers random, since it mostly loads trained weights. Here models train from scratch: with
    the end of each branch at zero, every block starts as the identity, which trains better (as in Ho et al.'s code).
    """
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class TimeEmbedding(nn.Module):
    """Two linear layers that turn the waves of :func:`timestep_embedding` into features for the blocks."""

    def __init__(self, dim: int, time_channels: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(dim, time_channels)
        self.linear_2 = nn.Linear(time_channels, time_channels)

    def forward(self, waves: Tensor) -> Tensor:
        """(B, dim) -> (B, time_channels)."""
        return self.linear_2(F.silu(self.linear_1(waves)))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut around them; the time embedding is added in between.

    h = conv1(silu(norm1(x))) + W silu(temb);   y = shortcut(x) + conv2(silu(norm2(h)))
    (He et al. 2016; time as in Ho et al. 2020, appendix B)

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output; if they differ, the shortcut is a 1x1 convolution.
        time_channels: width of the time embedding; None for a block without time (the autoencoder's).
        groups: groups of both group norms.
        eps: their epsilon; 1e-5 in the UNet, 1e-6 in the autoencoder.
    """

    def __init__(
        self, in_channels: int, out_channels: int, time_channels: int | None = None, groups: int = 32, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_channels, out_channels) if time_channels else None
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.conv2 = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.conv_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor, temb: Tensor | None = None) -> Tensor:
        """(B, in_channels, H, W) and (B, time_channels) -> (B, out_channels, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_emb_proj is not None:
            assert temb is not None, "this block needs a time embedding"
            # One number per channel, the same at every pixel: (B, C) -> (B, C, 1, 1).
            h = h + self.time_emb_proj(F.silu(temb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


# What a cross-attention may be given: nothing, a text, or what each layer has read of it before.
Context = Tensor | dict[nn.Module, Tensor] | None


class Attention(nn.Module):
    """Multi-head attention: each position asks a question (query), and all positions answer (key, value).

    softmax(Q K^T / sqrt(d)) V                                      (Vaswani et al. 2017, eq. 1)

    Args:
        channels: width of the sequence that gives the queries, and of the output.
        context_dim: width of the sequence that gives keys and values; None for self-attention.
        heads: number of heads, each with channels / heads dimensions.
        qkv_bias: whether queries, keys and values have a bias (autoencoder: yes, UNet: no).
    """

    def __init__(self, channels: int, context_dim: int | None = None, heads: int = 1, qkv_bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=qkv_bias)
        self.to_k = nn.Linear(context_dim or channels, channels, bias=qkv_bias)
        self.to_v = nn.Linear(context_dim or channels, channels, bias=qkv_bias)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])  # in a list: to_out.0, as in diffusers

    def read(self, source: Tensor) -> Tensor:
        """Keys and values of a sequence, side by side: (B, M, context_dim) -> (B, M, 2 * channels)."""
        return torch.cat([self.to_k(source), self.to_v(source)], dim=-1)

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """Attend to ``context``, or without one to ``x`` itself.

        Args:
            x: what asks, (B, N, channels).
            context: what answers, (B, M, context_dim), or for each layer what it has `read` of it.

        Returns:
            (B, N, channels).
        """
        q, k, v = self._heads_of(x, context)
        h = dot_product_attention(q, k, v)
        return self.to_out[0](h.transpose(1, 2).flatten(2))  # (B, heads, N, d) -> (B, N, heads*d)

    def attention_map(self, x: Tensor, context: Context = None) -> Tensor:
        """Which position attends to which: softmax(Q K^T / sqrt(d)), written out; same arguments as ``forward``.

        Returns:
            Weights in [0, 1] that sum to 1 over the last axis, (B, heads, N, M).
        """
        q, k, _ = self._heads_of(x, context)
        return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)

    def _heads_of(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        if isinstance(context, dict):
            k, v = context[self].chunk(2, dim=-1)
        else:
            source = x if context is None else context
            k, v = self.to_k(source), self.to_v(source)
        q, k, v = (split_heads(h, self.heads) for h in (self.to_q(x), k, v))
        return q, k, v


def split_heads(h: Tensor, heads: int) -> Tensor:
    """Give each head its share of the channels: (B, N, heads*d) -> (B, heads, N, d)."""
    return h.unflatten(-1, (heads, -1)).transpose(1, 2)


def dot_product_attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V; on CPUs, whose bfloat16 backward pass is slow, half precision trains in float32.

    Args:
        q, k, v: queries (B, heads, N, d), keys and values (B, heads, M, d).
        causal: whether position n sees only positions 0 to n; then N = M.

    Returns:
        (B, heads, N, d).
    """
    trains = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    if not trains or q.device.type != "cpu" or q.dtype not in (torch.bfloat16, torch.float16):
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=causal).to(v.dtype)


class GEGLU(nn.Module):
    """A linear layer whose second half, through a GELU, gates the first (Shazeer 2020, eq. 5)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels) -> (..., hidden)."""
        h, gate = self.proj(x).chunk(2, dim=-1)
        return h * F.gelu(gate)


class FeedForward(nn.Module):
    """Widen fourfold, gate, narrow again: the part of a transformer that treats each position on its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # net.1 takes the place of diffusers' dropout, so that the last layer is called net.2 in both.
        self.net = nn.Sequential(GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels) -> (..., channels)."""
        return self.net(x)


class TransformerBlock(nn.Module):
    """Self-attention within the image, cross-attention to the text, feed-forward; each adds to its input.

    x += attn1(norm1(x));   x += attn2(norm2(x), context);   x += ff(norm3(x))   (Rombach et al. 2022, E.2.1)
    The middle term is all that a model with text adds to one without.
    """

    def __init__(self, channels: int, heads: int, context_dim: int | None = None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads=heads)
        with_text = context_dim is not None
        self.norm2 = nn.LayerNorm(channels) if with_text else None
        self.attn2 = Attention(channels, context_dim, heads) if with_text else None
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """(B, N, channels) and (B, tokens, context_dim) -> (B, N, channels)."""
        x = x + self.attn1(self.norm1(x))
        if self.norm2 is not None and self.attn2 is not None:
            x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Read an image as a sequence of pixels, apply a transformer block, write it back (Rombach et al. 2022, E.2.1)."""

    def __init__(self, channels: int, heads: int, context_dim: int | None = None, groups: int = 32) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, heads, context_dim)])
        self.proj_out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """(B, C, H, W) and (B, tokens, context_dim) -> (B, C, H, W)."""
        h = self.proj_in(self.norm(x))
        h = h.flatten(2).transpose(1, 2)  # (B, C, H, W) -> (B, H*W, C)
        for block in self.transformer_blocks:
            h = block(h, context)
        h = h.transpose(1, 2).unflatten(2, x.shape[2:])  # (B, H*W, C) -> (B, C, H, W)
        return x + self.proj_out(h)


class Downsample(nn.Module):
    """Halve height and width with a convolution of stride 2.

    Args:
        channels: channels in and out.
        asymmetric: pad right and bottom only, as Stable Diffusion's autoencoder does; otherwise all around.
    """

    def __init__(self, channels: int, asymmetric: bool = False) -> None:
        super().__init__()
        self.asymmetric = asymmetric
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=0 if asymmetric else 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)) if self.asymmetric else x)


class Upsample(nn.Module):
    """Double height and width: repeat each pixel, then smooth with a convolution.

    Unlike a transposed convolution this leaves no checkerboard (Odena et al. 2016).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _residual(in_channels: int, out_channels: int, config: UNetConfig) -> ResidualBlock:
    return ResidualBlock(in_channels, out_channels, config.time_channels, config.norm_num_groups)


def _transformers(count: int, channels: int, config: UNetConfig) -> nn.ModuleList:
    return nn.ModuleList(
        SpatialTransformer(channels, config.num_heads, config.context_dim, config.norm_num_groups) for _ in range(count)
    )


class DownBlock(nn.Module):
    """One level on the way down: residual blocks, then downsampling. Every result is kept as a skip for the way up."""

    def __init__(self, in_channels: int, out_channels: int, config: UNetConfig, attention: bool, last: bool) -> None:
        super().__init__()
        layers = config.layers_per_block
        self.resnets = nn.ModuleList(
            _residual(in_channels if i == 0 else out_channels, out_channels, config) for i in range(layers)
        )
        self.attentions = _transformers(layers if attention else 0, out_channels, config)
        self.downsamplers = nn.ModuleList([] if last else [Downsample(out_channels)])

    def forward(self, x: Tensor, temb: Tensor, context: Context = None) -> tuple[Tensor, list[Tensor]]:
        """(B, in_channels, H, W) -> the next level's input, and the skips in the order they were made."""
        skips = []
        for i, resnet in enumerate(self.resnets):
            x = resnet(x, temb)
            if self.attentions:
                x = self.attentions[i](x, context)
            skips.append(x)
        for downsample in self.downsamplers:
            x = downsample(x)
            skips.append(x)
        return x, skips


class MidBlock(nn.Module):
    """The coarsest level: residual block, spatial transformer (if the model has attention), residual block."""

    def __init__(self, channels: int, config: UNetConfig) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(_residual(channels, channels, config) for _ in range(2))
        self.attentions = _transformers(1 if config.mid_attention else 0, channels, config)

    def forward(self, x: Tensor, temb: Tensor, context: Context = None) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        x = self.resnets[0](x, temb)
        for attention in self.attentions:
            x = attention(x, context)
        return self.resnets[1](x, temb)


class UpBlock(nn.Module):
    """One level on the way up: each residual block also takes one skip, newest first; then upsampling.

    Args:
        in_channels: channels coming from the level below.
        out_channels: channels of this level.
        skip_channels: channels of each skip, in the order in which the residual blocks take them.
        config: settings of the whole model.
        attention: whether a spatial transformer follows each residual block.
        last: whether this is the finest level, which is not upsampled.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        skip_channels: list[int],
        config: UNetConfig,
        attention: bool,
        last: bool,
    ) -> None:
        super().__init__()
        inputs = [in_channels] + [out_channels] * (len(skip_channels) - 1)
        self.resnets = nn.ModuleList(
            _residual(channels + skip, out_channels, config)
            for channels, skip in zip(inputs, skip_channels, strict=True)
        )
        self.attentions = _transformers(len(skip_channels) if attention else 0, out_channels, config)
        self.upsamplers = nn.ModuleList([] if last else [Upsample(out_channels)])

    def forward(self, x: Tensor, skips: list[Tensor], temb: Tensor, context: Context = None) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, 2H, 2W); pops what it uses off the end of ``skips``."""
        for i, resnet in enumerate(self.resnets):
            x = resnet(torch.cat([x, skips.pop()], dim=1), temb)
            if self.attentions:
                x = self.attentions[i](x, context)
        for upsample in self.upsamplers:
            x = upsample(x)
        return x


class UNet(nn.Module):
    """Predict the noise in a noisy image, given the step (and a text).

        x_t ─ conv_in ─ down 0 ────── skips ────── up last ─ norm, silu, conv_out ─ ε
                           └─ down 1 ─ skips ─ up 0 ─┘
                                 └─── mid ──────┘

    Ronneberger et al. 2015 (the U), Ho et al. 2020 (time), Rombach et al. 2022 (text and latents).

    Args:
        config: settings, kept as ``.config``.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        first, coarsest = config.block_out_channels[0], config.block_out_channels[-1]
        self.conv_in = nn.Conv2d(config.in_channels, first, 3, padding=1)
        self.time_embedding = TimeEmbedding(first, config.time_channels)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        self._build_levels()
        self.mid_block = MidBlock(coarsest, config)
        self.conv_norm_out = nn.GroupNorm(config.norm_num_groups, first, eps=1e-5)
        self.conv_out = zeroed(nn.Conv2d(first, config.out_channels, 3, padding=1))
        self._read_widths = [2 * layer.to_k.out_features for layer in self.cross_attentions]

    def _build_levels(self) -> None:
        config, levels = self.config, list(zip(self.config.block_out_channels, self.config.attention, strict=True))
        channels = levels[0][0]
        skips = [channels]  # conv_in's result is the first skip
        for i, (out, attention) in enumerate(levels):
            last = i == len(levels) - 1
            self.down_blocks.append(DownBlock(channels, out, config, attention, last))
            skips += [out] * (config.layers_per_block + (not last))
            channels = out
        for i, (out, attention) in enumerate(reversed(levels)):
            taken = [skips.pop() for _ in range(config.layers_per_block + 1)]
            self.up_blocks.append(UpBlock(channels, out, taken, config, attention, last=i == len(levels) - 1))
            channels = out

    def read(self, context: Tensor) -> Tensor:
        """What all cross-attentions take from a text, their keys and values: the same at every step of a sampler.

        Args:
            context: embedded prompts, (B, tokens, context_dim).

        Returns:
            (B, tokens, R), to be given to `forward` as ``read``; R is twice the channels of all these layers together.
        """
        return torch.cat([layer.read(context) for layer in self.cross_attentions], dim=-1)

    def forward(
        self, x: Tensor, t: Tensor | float, context: Tensor | None = None, read: Tensor | None = None
    ) -> Tensor:
        """Predict the noise.

        ε_θ(x_t, t, c)                                        (Ho et al. 2020, eq. 11; Rombach et al. 2022, eq. 3)

        Args:
            x: noisy images or scaled latents, (B, in_channels, H, W).
            t: steps, integer or float, one for all or one per image, () or (B,).
            context: embedded prompts, (B, tokens, context_dim); None for a model without text.
            read: in place of ``context``, what `read` made of it; (B, tokens, R).

        Returns:
            The prediction (noise, or v if trained to predict it), (B, out_channels, H, W).

        Raises:
            ValueError: if the shapes do not fit the model, or a text is missing or not expected.
        """
        self._check(x, context, read)
        text: Context = context
        if read is not None:
            text = dict(zip(self.cross_attentions, read.split(self._read_widths, dim=-1), strict=True))
        temb = self._embed_time(x, t)
        x = self.conv_in(x)
        skips = [x]
        for block in self.down_blocks:
            x, new = block(x, temb, text)
            skips += new
        x = self.mid_block(x, temb, text)
        for block in self.up_blocks:
            x = block(x, skips, temb, text)
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    def _embed_time(self, x: Tensor, t: Tensor | float) -> Tensor:
        t = torch.as_tensor(t, device=x.device)
        if t.shape not in ((), (1,), x.shape[:1]):
            raise ValueError(f"t has shape {tuple(t.shape)}: give one step, or one for each of the {x.shape[0]} images")
        # x.shape[0] and not len(x), which would tie an exported model to the batch size of its example.
        waves = timestep_embedding(t.expand(x.shape[0]), self.config.block_out_channels[0])
        return self.time_embedding(waves.to(self.conv_in.weight.dtype))

    @property
    def cross_attentions(self) -> list[Attention]:
        """The layers that read the text, in the order in which `modules` has them."""
        blocks = [module for module in self.modules() if isinstance(module, TransformerBlock)]
        return [block.attn2 for block in blocks if block.attn2 is not None]

    def _check(self, x: Tensor, context: Tensor | None, read: Tensor | None) -> None:
        factor, width, name = self.config.downsampling, self.config.context_dim, "context"
        if x.ndim != 4 or x.shape[1] != self.config.in_channels:
            raise ValueError(f"x has shape {tuple(x.shape)}, this model takes (B, {self.config.in_channels}, H, W)")
        if x.shape[2] % factor or x.shape[3] % factor:
            raise ValueError(f"height and width {tuple(x.shape[2:])} must be multiples of {factor}")
        if read is not None:
            if context is not None:
                raise ValueError("give the text as context or as read, not both")
            context, width, name = read, width and sum(self._read_widths), "read"
        if width is None and context is not None:
            raise ValueError("this model takes no text (context_dim=None): call it without context")
        if width is not None and context is None:
            raise ValueError(f"this model needs text: pass context of shape (B, tokens, {width})")
        if context is not None and (context.ndim != 3 or context.shape[::2] != (x.shape[0], width)):
            raise ValueError(f"{name} has shape {tuple(context.shape)}, expected ({x.shape[0]}, tokens, {width})")
