"""The diffusion model: a UNet with its noise schedule, and the loss that it is trained with.

Design choices
- `diffusion_loss` is the objective of every diffusion model here, on pixels or latents, with text or without.
- What a model was trained with (schedule, prediction type) and is best sampled with is stored in its weights file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyldm.devices import autocast, checked_precision, device_of, pictures_per_batch, seeded_generator
from tinyldm.samplers import SAMPLERS, SPACINGS, denoiser, sample
from tinyldm.schedule import KINDS, PREDICTION_TYPES, NoiseSchedule, stratified_timesteps
from tinyldm.unet import UNet, UNetConfig
from tinyldm.weights import load_into


@dataclass(frozen=True)
class DiffusionConfig:
    """Settings of a diffusion model: its UNet, its noise schedule, and how it is sampled by default.

    The defaults are the latent model's. Its schedule is Stable Diffusion's, changed to end in pure noise (Lin et al.
    2023); that needs v-prediction. ``sample_size`` is the height and width of what the UNet denoises;
    ``guidance_below`` and ``guidance_rescale`` are explained in `guide`. The last two are details of Stable Diffusion
    1.x's sampling, named as in diffusers; see ``offset`` of `samplers.timesteps`, ``final_alpha`` of `samplers.ddim`.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    sample_size: int = 8
    schedule_kind: str = "scaled_linear"
    zero_terminal_snr: bool = True
    prediction_type: str = "v_prediction"
    sampler: str = "dpm++"
    spacing: str = "trailing"
    num_inference_steps: int = 12
    guidance_scale: float = 3.0
    guidance_below: int = 800
    guidance_rescale: float = 1.0
    steps_offset: int = 0
    set_alpha_to_one: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.unet, dict):  # as read from a file
            object.__setattr__(self, "unet", UNetConfig(**self.unet))
        choices = {"schedule_kind": KINDS, "prediction_type": PREDICTION_TYPES, "sampler": tuple(SAMPLERS)}
        choices["spacing"] = SPACINGS
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")

    def schedule(self) -> NoiseSchedule:
        """The noise schedule that the UNet is trained and sampled with."""
        schedule = NoiseSchedule.create(self.schedule_kind)
        return schedule.rescale_zero_terminal_snr() if self.zero_terminal_snr else schedule


class DiffusionModel(nn.Module):
    """A UNet with the settings of its whole model: ``model(x_t, t, context)`` predicts, ``images`` generates.

    Its weights file stores the UNet's tensors under their own names.

    Args:
        config: settings, kept as ``.config``.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet)

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        """The UNet's prediction, noise or v: arguments and result as in `UNet.forward`."""
        return self.unet(x, t, context)

    def weights(self) -> dict[str, Tensor]:
        """The state to save."""
        return self.unet.state_dict()

    def load_weights(self, state: dict[str, Tensor]) -> None:
        """The inverse of `weights`."""
        self.unet.load_state_dict(state, assign=True)

    @classmethod
    def from_pretrained(cls, name: str = "unet", folder: str | Path | None = None) -> DiffusionModel:
        """The shipped "unet" (latents, with text) or "pixel" (pixels, without), or one from ``folder``.

        Raises:
            WeightsError: if the file is missing, damaged, or does not match its settings.
        """
        return load_into(cls, DiffusionConfig, name, folder)

    def images(
        self,
        n: int,
        *,
        seed: int = 0,
        num_inference_steps: int | None = None,
        sampler: str | None = None,
        progress: bool = False,
        precision: str | None = None,
    ) -> Tensor:
        """``n`` images from a model of pixels without text: (n, C, H, W) in [-1, 1].

        ``seed`` and ``precision`` as for `TextToImage`, the other options as for `sample`.
        """
        from tqdm.auto import tqdm

        config, schedule, device = self.config, self.config.schedule(), device_of(self)
        checked_precision(precision)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            x = x.contiguous(memory_format=torch.channels_last)  # convolutions of few channels are faster
            with autocast(precision, device, len(x)):
                return self(x, t).float()

        denoise = denoiser(predict, schedule, config.prediction_type, clip=1)
        generator, parts = seeded_generator(seed), []
        options: dict[str, Any] = {"spacing": config.spacing, "generator": generator}
        options["steps"] = config.num_inference_steps if num_inference_steps is None else num_inference_steps
        options["sampler"] = config.sampler if sampler is None else sampler
        batch = pictures_per_batch(device)
        for first in tqdm(range(0, n, batch), desc=f"batches of {batch}", disable=not progress):
            shape = (min(batch, n - first), config.unet.in_channels, config.sample_size, config.sample_size)
            noise = torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32).to(device)
            for step in sample(denoise, schedule, x=noise, **options):
                x = step.x
            parts.append(x.clamp(-1, 1))
        return torch.cat(parts)


def diffusion_loss(
    model: Callable[..., Tensor],
    schedule: NoiseSchedule,
    x0: Tensor,
    generator: torch.Generator,
    prediction_type: str = "epsilon",
    context: Tensor | None = None,
) -> Tensor:
    """How far the model's prediction is from its target, at steps spread evenly over the schedule.

    L = E_t,ε |target - model(x_t, t, context)|²,   x_t = sqrt(ᾱ_t) x_0 + sqrt(1 - ᾱ_t) ε    (Ho et al. 2020, eq. 14)

    The target is ε, v or x_0, as ``prediction_type`` says (`NoiseSchedule.target`).

    Args:
        model: ``model(x_t, t)``, or ``model(x_t, t, context)`` for one with text, t int64 (B,).
        schedule: the noise schedule.
        x0: clean images in [-1, 1] or scaled latents, (B, C, H, W).
        generator: source of t and the noise; one on the CPU works for any device.
        prediction_type: "epsilon", "v_prediction" or "sample".
        context: embedded prompts, (B, tokens, dim); None for a model without text.

    Returns:
        The mean squared error over all elements, ().
    """
    t = stratified_timesteps(len(x0), len(schedule), generator).to(x0.device)
    noise = torch.randn(x0.shape, generator=generator, device=generator.device, dtype=x0.dtype).to(x0.device)
    x_t, target = schedule.add_noise(x0, noise, t), schedule.target(x0, noise, t, prediction_type)
    prediction = model(x_t, t) if context is None else model(x_t, t, context)
    return F.mse_loss(prediction, target)
