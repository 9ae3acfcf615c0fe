"""How much noise there is at each step: the forward process of diffusion.

Design choices:
- A schedule *is* one list of numbers, ᾱ_t: the fraction of the image's variance that is left after step t. Betas and
  signal-to-noise ratios are derived from it, so they can never contradict it.
- Steps are counted from 0 as in diffusers: t = 0 has the least noise and t = T - 1 the most.
- ᾱ is computed in float64 and kept in float32, on the CPU; what the methods return follows the dtype and device of
  their inputs. (Apple's GPU has no float64.)
- Not a module: there is nothing to train, and nothing to put in a checkpoint except the arguments of ``create``.

Notation: x_0 a clean image, ε ~ N(0, I) the noise, x_t = sqrt(ᾱ_t) x_0 + sqrt(1 - ᾱ_t) ε the noisy image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("linear", "scaled_linear", "quadratic", "sigmoid", "cosine")
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")
SMALLEST_ALPHA = 2.0**-24  # where σ is needed, as in diffusers: at ᾱ = 0, it would be infinite; this makes it 4096

# The published end points (β_0, β_{T-1}) of each kind, for T = 1000.
ENDS = {
    "linear": (1e-4, 0.02),  # Ho et al. 2020
    "scaled_linear": (0.00085, 0.012),  # Rombach et al. 2022: Stable Diffusion 1.x and 2.x
    "quadratic": (1e-4, 0.02),  # the same curve as scaled_linear between DDPM's ends
    "sigmoid": (1e-4, 0.02),
}


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The amounts of noise of a diffusion process with T steps.

    Args:
        alphas_cumprod: ᾱ_t for t = 0..T-1, never rising, each in [0, 1], only the last may be 0; a tensor or a list of
            length T >= 1.

    Raises:
        ValueError: if ``alphas_cumprod`` is not such a list.
    """

    alphas_cumprod: Tensor

    def __post_init__(self) -> None:
        a = torch.as_tensor(self.alphas_cumprod).cpu().float()
        if a.ndim != 1 or a.numel() == 0:
            raise ValueError(f"alphas_cumprod must be a list of numbers, one per step, not of shape {tuple(a.shape)}")
        if not ((a >= 0) & (a <= 1)).all() or (a.diff() > 0).any():
            raise ValueError("alphas_cumprod must lie in [0, 1] and never rise from one step to the next")
        if (a[:-1] == 0).any():
            first = (a == 0).nonzero()[0].item()
            raise ValueError(f"step {first} of {len(a)} is pure noise already (ᾱ = 0); only the last may be")
        object.__setattr__(self, "alphas_cumprod", a)
        object.__setattr__(self, "_copies", {a.device: a})

    @classmethod
    def create(
        cls,
        kind: str = "scaled_linear",
        num_steps: int = 1000,
        beta_start: float | None = None,
        beta_end: float | None = None,
    ) -> NoiseSchedule:
        """Make a schedule by name.

        Args:
            kind: "linear" (Ho et al. 2020), "scaled_linear" (linear in sqrt(β), Stable Diffusion), "quadratic" (that
                curve between DDPM's ends), "sigmoid" (GeoDiff, Xu et al. 2022) or "cosine" (Nichol & Dhariwal 2021).
            num_steps: T. The usual end points of β assume T = 1000: with a smaller T, the last step is less noisy.
            beta_start: β at t = 0, in (0, 1), by default the published value; not for "cosine".
            beta_end: β at t = T - 1, likewise.

        Raises:
            ValueError: if the kind is unknown, T < 1, or an end point is outside (0, 1) or given for "cosine".
        """
        if kind not in KINDS:
            raise ValueError(f"unknown schedule {kind!r}; choose one of {', '.join(KINDS)}")
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, not {num_steps}")
        if kind == "cosine":
            if beta_start is not None or beta_end is not None:
                raise ValueError("the cosine schedule has no beta_start or beta_end")
            betas = _cosine_betas(num_steps)
        else:
            start = ENDS[kind][0] if beta_start is None else beta_start
            end = ENDS[kind][1] if beta_end is None else beta_end
            if not 0 < start < 1 or not 0 < end < 1:
                raise ValueError(f"beta_start and beta_end must lie between 0 and 1, not {start} and {end}")
            betas = _betas_between(kind, start, end, num_steps)
        return cls((1 - betas).cumprod(0))  # ᾱ_t = Π_{s<=t} (1 - β_s)      (Ho et al. 2020, section 2)

    def __len__(self) -> int:
        return self.alphas_cumprod.numel()

    @property
    def betas(self) -> Tensor:
        """β_t = 1 - ᾱ_t / ᾱ_{t-1}: the variance of the noise that step t adds, (T,) in [0, 1]; ᾱ_{-1} is 1."""
        a = self.alphas_cumprod.double()
        return (1 - a / torch.cat([a.new_ones(1), a[:-1]])).float()

    @property
    def snr(self) -> Tensor:
        """ᾱ_t / (1 - ᾱ_t): signal to noise as a ratio of variances, (T,) in [0, ∞]  (Kingma et al. 2021, eq. 2)."""
        a = self.alphas_cumprod.double()
        return (a / (1 - a)).float()

    def rescale_zero_terminal_snr(self) -> NoiseSchedule:
        """A copy whose last step is pure noise: ᾱ_{T-1} = 0  (Lin et al. 2023, algorithm 1).

        A network that predicts epsilon learns nothing at that step (its output is its input): use "v_prediction".

        Raises:
            ValueError: if all steps have the same amount of noise, so that there is nothing to stretch.
        """
        root = self.alphas_cumprod.double().sqrt()
        first, last = root[0], root[-1]
        if first == last:
            raise ValueError("a schedule whose first and last steps are the same cannot be rescaled")
        # Shift so that the last is 0, then stretch so that the first is unchanged.
        return NoiseSchedule(((root - last) * first / (first - last)).square())

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
        """Jump straight to step ``t`` of the forward process.

        x_t = sqrt(ᾱ_t) x_0 + sqrt(1 - ᾱ_t) ε          (Ho et al. 2020, eq. 4)

        Args:
            x0: clean images in [-1, 1] or scaled latents, (B, C, H, W).
            noise: ε ~ N(0, I), same shape as ``x0``.
            t: steps in [0, T), (B,), or one step for all; a fractional one lies between two (see `at`).

        Returns:
            Noisy images, same shape as ``x0``.

        Raises:
            ValueError: if a step is outside [0, T), or ``x0`` holds integers (as do all methods below).
        """
        root_a, root_1a = self._roots(t, like=x0)
        return root_a * x0 + root_1a * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor | float, prediction_type: str = "epsilon") -> Tensor:
        """What the network should predict when given ``add_noise(x0, noise, t)``.

        "epsilon": ε.   "sample": x_0.   "v_prediction": v = sqrt(ᾱ_t) ε - sqrt(1 - ᾱ_t) x_0
                                                                     (Salimans & Ho 2022, section 4)

        Args:
            x0, noise, t: as for ``add_noise``.
            prediction_type: "epsilon", "v_prediction" or "sample", the names that diffusers uses.

        Returns:
            The target of the loss, same shape as ``x0``.

        Raises:
            ValueError: if the prediction type is unknown or a step is outside [0, T).
        """
        root_a, root_1a = self._roots(t, like=x0)
        match prediction_type:
            case "epsilon":
                return noise
            case "v_prediction":
                return root_a * noise - root_1a * x0
            case "sample":
                return x0
        raise _unknown_prediction(prediction_type)

    def to_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor | float, prediction_type: str = "epsilon") -> Tensor:
        """The clean image that a prediction at ``x_t`` implies.

        Each line is x_t = sqrt(ᾱ_t) x_0 + sqrt(1 - ᾱ_t) ε solved for x_0. From ε this divides by sqrt(ᾱ_t): where
        ᾱ_t = 0 there is no answer and the result is not finite.

        Args:
            prediction: the network's output, (B, C, H, W).
            x_t: its input, same shape.
            t: integer steps in [0, T), (B,), or one step for all.
            prediction_type: "epsilon", "v_prediction" or "sample".

        Returns:
            The estimate of x_0, same shape.

        Raises:
            ValueError: if the prediction type is unknown or a step is outside [0, T).
        """
        root_a, root_1a = self._roots(t, like=x_t)
        match prediction_type:
            case "epsilon":
                return (x_t - root_1a * prediction) / root_a  # Ho et al. 2020, eq. 15
            case "v_prediction":
                return root_a * x_t - root_1a * prediction  # Salimans & Ho 2022, appendix D
            case "sample":
                return prediction
        raise _unknown_prediction(prediction_type)

    def to_noise(self, prediction: Tensor, x_t: Tensor, t: Tensor | float, prediction_type: str = "epsilon") -> Tensor:
        """The noise that a prediction at ``x_t`` implies: the companion of ``to_x0``, same arguments and errors.

        From x_0 this divides by sqrt(1 - ᾱ_t): where ᾱ_t = 1 there is no noise to find and the result is not finite.
        """
        root_a, root_1a = self._roots(t, like=x_t)
        match prediction_type:
            case "epsilon":
                return prediction
            case "v_prediction":
                return root_a * prediction + root_1a * x_t  # Salimans & Ho 2022, appendix D
            case "sample":
                return (x_t - root_a * prediction) / root_1a
        raise _unknown_prediction(prediction_type)

    def at(self, t: Tensor | float) -> Tensor:
        """ᾱ at steps ``t``, of the same shape; between two steps, σ = sqrt(1/ᾱ - 1) is interpolated, as in diffusers.

        Raises:
            ValueError: if a step is outside [0, T).
        """
        t = torch.as_tensor(t)
        replayed = t.is_cuda and torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()
        if not replayed and ((t < 0) | (t > len(self) - 1)).any():
            raise ValueError(f"steps must be in [0, {len(self)}), not from {t.min().item()} to {t.max().item()}")
        alphas = self._on(t.device)
        if not t.is_floating_point() or (t == t.round()).all():
            return alphas[t.long()]
        sigmas = (1 / alphas.clamp_min(SMALLEST_ALPHA) - 1).sqrt()
        return 1 / (1 + torch.lerp(sigmas[t.floor().long()], sigmas[t.ceil().long()], t.frac()).square())

    def _on(self, device: torch.device) -> Tensor:
        """ᾱ on a device, copied there once."""
        copies: dict[torch.device, Tensor] = vars(self)["_copies"]
        if device not in copies:
            copies[device] = self.alphas_cumprod.to(device)
        return copies[device]

    def _roots(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(ᾱ_t) and sqrt(1 - ᾱ_t), (B, 1, 1, 1), with the dtype and device of ``like``."""
        if not like.is_floating_point():  # the roots, rounded to integers, would all be 0
            raise ValueError(f"images must be floats in [-1, 1], not {like.dtype}: for bytes, x / 127.5 - 1")
        a = self.at(torch.as_tensor(t, device=like.device)).reshape(-1, *[1] * (like.ndim - 1))  # (B,) -> (B, 1, 1, 1)
        a = a.to(torch.promote_types(a.dtype, like.dtype))  # at least float32: half precision rounds 0.9999 to 1
        return a.sqrt().to(like.dtype), (1 - a).sqrt().to(like.dtype)


def stratified_timesteps(n: int, num_steps: int, generator: torch.Generator) -> Tensor:
    """Random steps for a batch, spread evenly over the schedule so that the loss varies less from batch to batch.

    t_i = floor(T · ((u + i / n) mod 1)),   one u ~ U[0, 1) for all        (Kingma et al. 2021, appendix I.1)

    Args:
        n: batch size.
        num_steps: T.
        generator: source of u.

    Returns:
        int64 in [0, T), (n,); each on its own is uniform, and they are in ascending order except for one wrap-around.
    """
    device = generator.device
    exact = (
        torch.device("cpu") if device.type == "mps" else device
    )  # which has no float64; in float32 neighbours may meet
    dtype = torch.float64 if exact == device else torch.float32
    u = torch.rand(1, generator=generator, dtype=dtype, device=device).to(exact, torch.float64)
    return ((torch.arange(n, device=exact) / n + u) % 1 * num_steps).long().to(device)


def _betas_between(kind: str, start: float, end: float, num_steps: int) -> Tensor:
    """β from ``start`` to ``end``, (T,) in float64."""
    if kind == "linear":
        return torch.linspace(start, end, num_steps, dtype=torch.float64)
    if kind == "sigmoid":  # the middle of an S: -6 and 6 are where the curve is flat to within 0.25 %
        return start + (end - start) * torch.linspace(-6, 6, num_steps, dtype=torch.float64).sigmoid()
    return torch.linspace(start**0.5, end**0.5, num_steps, dtype=torch.float64).square()


def _cosine_betas(num_steps: int) -> Tensor:
    """β of the cosine schedule, (T,) in float64.

    ᾱ_t = f(t) / f(0),   f(t) = cos²(π/2 · (t/T + s) / (1 + s)),   s = 0.008      (Nichol & Dhariwal 2021, eq. 17)
    """
    u = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    f = torch.cos((u + 0.008) / 1.008 * math.pi / 2).square()
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)  # unclamped, the last step would divide by zero


def _unknown_prediction(prediction_type: str) -> ValueError:
    return ValueError(f"unknown prediction type {prediction_type!r}; choose one of {', '.join(PREDICTION_TYPES)}")
