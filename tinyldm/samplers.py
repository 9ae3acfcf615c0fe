"""From noise to image: five ways to run the forward process in reverse.

Design choices:
- A sampler never sees the network. It sees a *denoiser*: any callable ``denoise(x_t, t) -> x0`` that takes a noisy
  batch (B, C, H, W) and its steps (B,) and returns its best guess of the clean batch. ``denoiser`` makes one from a
  network; guidance, inpainting and the ideal denoiser of a data set are others. So a sampler is only its equations.
- A sampler is a generator: it yields a ``SampleStep`` after each step, and the loop belongs to the caller.
- Inputs and outputs have the variance-preserving scale of Ho et al. (x_t has variance 1 if x_0 does). Internally, Euler
  and Heun work in the coordinates of Karras et al.: x / sqrt(ᾱ), with noise of standard deviation σ = sqrt(1/ᾱ - 1).
- The last step goes to ᾱ = 1: every sampler ends on a noise-free estimate of x_0. (DDIM can be told otherwise.)
- Coefficients are Python floats, computed in double precision: only the image itself is a tensor.

Here a is ᾱ_t where a step begins and a_next is ᾱ where it ends, with less noise: the papers' ᾱ_{t-1}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import Any

import torch
from torch import Generator, Tensor

from tinyldm import UserError
from tinyldm.devices import seeded_generator
from tinyldm.schedule import PREDICTION_TYPES, SMALLEST_ALPHA, NoiseSchedule

Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SampleStep:
    """The state of a sampler after a step.

    Attributes:
        index: how many steps were taken before this one: 0, 1, 2, ...
        t: the step of the noise schedule at which this one began; with "linspace", it may lie between two.
        x: the batch after this step, (B, C, H, W); after the last step, the result.
        x0: the denoiser's estimate of the clean batch that this step used, same shape.
    """

    index: int
    t: float
    x: Tensor
    x0: Tensor


def denoiser(
    model: Callable[[Tensor, Tensor], Tensor],
    schedule: NoiseSchedule,
    prediction_type: str = "epsilon",
    clip: float | None = None,
) -> Denoiser:
    """Turn a network into a denoiser.

    Args:
        model: ``model(x_t, t)`` returns a prediction of the same shape as ``x_t``; t is (B,).
        schedule: the schedule it was trained with.
        prediction_type: what it predicts: "epsilon", "v_prediction" or "sample".
        clip: clamp the estimate of x_0 to [-clip, clip]: right for pixels (clip=1), not for latents (unbounded).

    Returns:
        ``denoise(x_t, t) -> x0``.

    Raises:
        ValueError: if the prediction type is unknown, or is "epsilon" with a schedule that ends in pure noise, where ε
            says nothing about x_0.
    """
    if prediction_type not in PREDICTION_TYPES:
        raise ValueError(f"unknown prediction type {prediction_type!r}; choose one of {', '.join(PREDICTION_TYPES)}")
    if prediction_type == "epsilon" and schedule.alphas_cumprod[-1] == 0:
        raise ValueError("with zero terminal SNR, epsilon says nothing about x0 at the last step; use v_prediction")

    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        x0 = schedule.to_x0(model(x_t, t), x_t, t, prediction_type)
        return x0 if clip is None else x0.clamp(-clip, clip)

    return denoise


SPACINGS = ("trailing", "leading", "linspace")


def timesteps(
    schedule: NoiseSchedule, steps: int, spacing: str = "trailing", offset: int = 0, sampler: str = "ddim"
) -> list[float]:
    """Which steps of the schedule to visit, noisiest first  (Lin et al. 2023, table 2; the same numbers as diffusers).

    Args:
        schedule: with T steps.
        steps: how many, in [1, T].
        spacing: "trailing" begins at T - 1, the noisiest step. "leading" ends at 0 and so begins below T - 1, expecting
            less noise than the x_T it is given; Stable Diffusion 1.x was published with it and offset=1. "linspace"
            goes from T - 1 to 0 in equal distances.
        offset: added to each step of "leading" (diffusers' steps_offset); the others take none.
        sampler: "dpm++" has no use for a last step at 0: with "leading" and "linspace" it takes one step more and drops
            the last. "euler" and "heun" also visit fractional steps of "linspace"; the others round them.

    Raises:
        ValueError: if ``steps`` is outside [1, T], the spacing is unknown, or the offset takes a step out of [0, T).
    """
    if sampler not in SAMPLERS:
        raise UserError(f"unknown sampler {sampler!r}; choose one of {', '.join(SAMPLERS)}")
    total = len(schedule)
    if not hasattr(steps, "__index__") or not 1 <= steps <= total:  # a slider may give 12.0, a form "12"
        raise UserError(f"steps must be in [1, {total}], not {steps!r}")
    if spacing not in SPACINGS:
        raise ValueError(f"unknown spacing {spacing!r}; choose one of {', '.join(SPACINGS)}")
    if spacing == "trailing":
        gap = total - (total - total / steps)  # total / steps, rounded as in diffusers' arange: this decides ties
        return [round(total - i * gap) - 1 for i in range(steps)]
    if sampler == "dpm++" and steps < total:
        return timesteps(schedule, steps + 1, spacing, offset)[:-1]
    if spacing == "linspace":
        gap = (total - 1) / max(1, steps - 1)
        times = [i * gap for i in reversed(range(steps))] if steps > 1 else [gap]
        return times if sampler in ("euler", "heun") else [round(t) for t in times]
    times = [i * (total // steps) + offset for i in reversed(range(steps))]
    if times[0] >= total or times[-1] < 0:
        raise UserError(f"offset {offset} with {steps} steps goes outside [0, {total})")
    return times


@torch.no_grad()
def ddpm(
    denoise: Denoiser, schedule: NoiseSchedule, x: Tensor, times: Sequence[float], generator: Generator | None = None
) -> Iterator[SampleStep]:
    """Draw from q(x_{t-1} | x_t, x_0) with the estimate in place of x_0  (Ho et al. 2020, alg. 2).

    Noise is removed and added again: DDIM with eta = 1, written as Ho et al. found it.
    """
    for i, t, a, a_next in _walk(schedule, times):
        x0 = denoise(x, _batch(t, x))
        alpha, beta = a / a_next, 1 - a / a_next  # of the jump from a_next to a, as if it were one step of the chain
        x = (sqrt(a_next) * beta * x0 + sqrt(alpha) * (1 - a_next) * x) / (1 - a)  # μ̃_t, eq. 7
        variance = (1 - a_next) / (1 - a) * beta  # β̃_t, eq. 7; 0 in the last step
        if variance > 0:
            x = x + sqrt(variance) * _noise(x, generator)
        yield SampleStep(i, t, x, x0)


@torch.no_grad()
def ddim(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    x: Tensor,
    times: Sequence[float],
    generator: Generator | None = None,
    eta: float = 0.0,
    final_alpha: float = 1.0,
    stride: int | None = None,
) -> Iterator[SampleStep]:
    """Split x_t into image and noise, and recombine them with less noise  (Song et al. 2021, eq. 12).

    Two of the other samplers are this one: with ``eta=1`` it is DDPM, with ``eta=0`` Euler (1e-6 apart over 25 steps).

    Args:
        eta: how much of the noise is fresh: 0 is deterministic, 1 is DDPM.
        final_alpha: ᾱ where the last step ends. 1 is diffusers' set_alpha_to_one=True; ``schedule.alphas_cumprod[0]``
            is set_alpha_to_one=False, which Stable Diffusion 1.x was published with.
        stride: end each step that many steps of the schedule below its beginning, as diffusers does with T // steps;
            by default it ends where the next one begins. The two differ if T / steps is no integer, or with "linspace".

    Raises:
        ValueError: if ``eta`` or ``final_alpha`` is outside [0, 1].
    """
    if not 0 <= eta <= 1 or not 0 <= final_alpha <= 1:
        raise ValueError(f"eta and final_alpha must be in [0, 1], not {eta} and {float(final_alpha)}")
    for i, t, a, a_next in _walk(schedule, times, float(final_alpha)):
        if stride is not None:
            a_next = schedule.at(t - stride).item() if t >= stride else float(final_alpha)
        x0 = denoise(x, _batch(t, x))
        noise = (x - sqrt(a) * x0) / sqrt(1 - a)
        variance = eta**2 * (1 - a_next) / (1 - a) * (1 - a / a_next)  # σ_t², eq. 16
        x = sqrt(a_next) * x0 + sqrt(max(1 - a_next - variance, 0)) * noise  # max: rounding can leave -1e-17
        if variance > 0:
            x = x + sqrt(variance) * _noise(x, generator)
        yield SampleStep(i, t, x, x0)


@torch.no_grad()
def dpmpp_2m(
    denoise: Denoiser, schedule: NoiseSchedule, x: Tensor, times: Sequence[float], generator: Generator | None = None
) -> Iterator[SampleStep]:
    """DPM-Solver++ (2M): the last two estimates show where x_0 is heading  (Lu et al. 2022, alg. 2, midpoint).

    Some steps are first order, which is DDIM: the first one has no earlier estimate, the last one is infinitely long
    in λ. With zero terminal SNR the first one is, too, so that the second one has nothing to compare its length with.
    """
    x0_before, h_before = None, inf
    for i, t, a, a_next in _walk(schedule, times):
        x0 = denoise(x, _batch(t, x))
        h = _log_snr(a_next) - _log_snr(a)  # the length of this step in λ = log(sqrt(ᾱ) / sqrt(1 - ᾱ))
        guess = x0
        if x0_before is not None and h < inf and h_before < inf:  # second order
            guess = x0 + 0.5 * h / h_before * (x0 - x0_before)  # D in alg. 2, with 1 / (2 r) = h / (2 h_before)
        x = sqrt((1 - a_next) / (1 - a)) * x - sqrt(a_next) * (exp(-h) - 1) * guess  # exact if x_0 stayed constant
        x0_before, h_before = x0, h
        yield SampleStep(i, t, x, x0)


@torch.no_grad()
def euler(
    denoise: Denoiser, schedule: NoiseSchedule, x: Tensor, times: Sequence[float], generator: Generator | None = None
) -> Iterator[SampleStep]:
    """Follow dy/dσ = (y - D(y; σ)) / σ in straight lines  (Karras et al. 2022, alg. 1 lines 4 and 5).

    In these coordinates a step of DDIM *is* a straight line, so the two are one method (Song et al. 2021, eq. 14).
    """
    for i, t, a, a_next in _walk(schedule, times, smallest=SMALLEST_ALPHA):
        sigma, sigma_next = sqrt(1 / a - 1), sqrt(1 / a_next - 1)
        x0 = denoise(x, _batch(t, x))
        y = x / sqrt(a)  # = x_0 + σ ε
        slope = (y - x0) / sigma
        y = y + (sigma_next - sigma) * slope
        x = sqrt(a_next) * y
        yield SampleStep(i, t, x, x0)


@torch.no_grad()
def heun(
    denoise: Denoiser, schedule: NoiseSchedule, x: Tensor, times: Sequence[float], generator: Generator | None = None
) -> Iterator[SampleStep]:
    """Euler, but with the mean of the slopes at both ends of the step  (Karras et al. 2022, alg. 1).

    It calls the denoiser twice per step, once in the last; ``SampleStep.x0`` is the first result.
    """
    for i, t, a, a_next in _walk(schedule, times, smallest=SMALLEST_ALPHA):
        sigma, sigma_next = sqrt(1 / a - 1), sqrt(1 / a_next - 1)
        x0 = denoise(x, _batch(t, x))
        y = x / sqrt(a)
        slope = (y - x0) / sigma  # line 4
        y_next = y + (sigma_next - sigma) * slope  # line 5
        if sigma_next > 0:
            x0_next = denoise(sqrt(a_next) * y_next, _batch(times[i + 1], x))
            slope_next = (y_next - x0_next) / sigma_next  # line 7
            y_next = y + (sigma_next - sigma) * (slope + slope_next) / 2  # line 8
        x = sqrt(a_next) * y_next
        yield SampleStep(i, t, x, x0)


SAMPLERS: dict[str, Callable[..., Iterator[SampleStep]]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpm++": dpmpp_2m,
    "euler": euler,
    "heun": heun,
}


def sample(
    denoise: Denoiser,
    schedule: NoiseSchedule,
    shape: Sequence[int] | None = None,
    steps: int = 50,
    sampler: str = "ddim",
    *,
    spacing: str = "trailing",
    offset: int = 0,
    generator: Generator | None = None,
    x: Tensor | None = None,
    start: int = 0,
    **options: Any,
) -> Iterator[SampleStep]:
    """Make images out of noise, one ``SampleStep`` at a time; the last one's ``x`` is the result.

    Args:
        denoise: ``denoise(x_t, t) -> x0``, with t (B,); see ``denoiser``.
        schedule: the noise schedule that the denoiser was made with.
        shape: (B, C, H, W) of the initial noise, drawn from N(0, I); or give ``x``.
        steps: how many of the schedule's steps to visit, in [1, T].
        sampler: "ddpm", "ddim", "dpm++", "euler" or "heun"; heun calls the denoiser twice per step.
        spacing, offset: see ``timesteps``.
        generator: source of all randomness. Without ``x``, sampling runs on its device. None creates a new one on the
            CPU, seeded by the operating system, so that each call differs.
        x: the noisy batch to start from, (B, C, H, W), instead of ``shape``.
        start: how many of the first steps to skip, in [0, steps). For image-to-image: ``x`` must then be noised to
            ``timesteps(schedule, steps, spacing, offset, sampler)[start]``.
        **options: ``eta``, ``final_alpha`` and ``stride``, for ddim only.

    Returns:
        An iterator over ``steps - start`` steps.

    Raises:
        ValueError: if the sampler or the spacing is unknown, a number is out of range, not exactly one of ``shape`` and
            ``x`` is given, another sampler is given ddim's options, or a visited step has ᾱ = 1: no noise to remove.
    """
    times = timesteps(schedule, steps, spacing, offset, sampler)
    if options and sampler != "ddim":
        raise ValueError(f"{sampler} takes no {' and no '.join(options)}; only ddim does")
    if not 0 <= start < steps:
        raise ValueError(f"start must be in [0, {steps}), not {start}")
    if schedule.at(times[-1]) == 1:
        raise ValueError(f"at step {times[-1]} the schedule has no noise to remove")
    if (shape is None) == (x is None) or (x is None and start > 0):
        raise ValueError("give either shape, to start from pure noise, or x, which is required when start > 0")
    if generator is None:
        generator = seeded_generator(None)
    if shape is not None:
        x = torch.randn(tuple(shape), generator=generator, device=generator.device, dtype=torch.float32)
    return SAMPLERS[sampler](denoise, schedule, x, times[start:], generator, **options)


def _walk(
    schedule: NoiseSchedule, times: Sequence[float], final: float = 1.0, smallest: float = 0.0
) -> Iterator[tuple[int, float, float, float]]:
    """(index, t, ᾱ at t, ᾱ where the step ends) for each step."""
    alphas = [max(schedule.at(t).item(), smallest) for t in times] + [final]
    return zip(range(len(times)), times, alphas[:-1], alphas[1:], strict=True)


def _batch(t: float, x: Tensor) -> Tensor:
    """The step in the form that networks expect: once per image, (B,)."""
    return torch.full((len(x),), t, device=x.device)


def _noise(x: Tensor, generator: Generator | None) -> Tensor:
    """z ~ N(0, I) shaped like x, drawn on the generator's device."""
    device = generator.device if generator is not None else x.device
    return torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)


def _log_snr(a: float) -> float:
    """λ = log(sqrt(ᾱ) / sqrt(1 - ᾱ)), from -∞ (pure noise) to ∞ (no noise)."""
    if a in (0, 1):
        return inf if a == 1 else -inf
    return 0.5 * log(a / (1 - a))
