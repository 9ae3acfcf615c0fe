"""The exercises of lesson 06, latent diffusion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.flop_counter import conv_flop_count

from ..checks import Case, Exercise, Twist
from ..schedule import NoiseSchedule
from ..vae import VAE
from . import twists

# ---------------------------------------------------------------- 6.1


def scaling_factor(latents: Tensor) -> float:
    return 1 / latents.std().item()


def _latents(random: Generator) -> list[Case]:
    """Channels and pictures around different means; so many numbers that N or N - 1 makes no difference."""
    made = []
    for b, c, h, w, size in ((17, 6, 8, 9, 5.0), (23, 5, 7, 8, 0.3), (20, 3, 11, 10, 1.7)):
        x = torch.linspace(-1.2, 1.7, b * c * h * w)
        rising = (size * (x + 0.5 * x**3)).view(c, b, h * w)  # no number twice
        mixed = rising[:, torch.randperm(b, generator=random)][:, :, torch.randperm(h * w, generator=random)]
        made.append({"latents": mixed.transpose(0, 1).reshape(b, c, h, w)})
    return made


SCALING = Exercise(
    "6.1",
    scaling_factor,
    _latents,
    twists.result("the latents should have a standard deviation of {N}.", lambda N: N),
    reference=VAE.measure_scaling_factor,
    mistakes=(
        (
            "That is 1 / variance; the standard deviation is its square root.",
            lambda latents: 1 / latents.var().item(),
        ),
        (
            "Multiplying by the standard deviation makes it larger still: divide.",
            lambda latents: latents.std().item(),
        ),
        (
            "1 / √(standard deviation): `std` has taken the root already.",
            lambda latents: 1 / latents.std().sqrt().item(),
        ),
        (
            "The root mean square was taken: the standard deviation is measured around the mean of the latents.",
            lambda latents: 1 / latents.square().mean().sqrt().item(),
        ),
        (
            "The mean of each channel's standard deviation was taken. One for all numbers together is needed: channels "
            "around different means spread further.",
            lambda latents: 1 / latents.std((0, 2, 3)).mean().item(),
        ),
        (
            "The mean of each picture's standard deviation was taken; one for all pictures together is needed.",
            lambda latents: 1 / latents.flatten(1).std(1).mean().item(),
        ),
        (
            "The mean of each number's standard deviation over the pictures was taken; one for all numbers together is "
            "needed.",
            lambda latents: 1 / latents.std(0).mean().item(),
        ),
        (
            "Only the first channel was measured.",
            lambda latents: 1 / latents[:, 0].std().item(),
        ),
        (
            "Only the first picture was measured.",
            lambda latents: 1 / latents[0].std().item(),
        ),
        (
            "Divided by the largest value, latents lie between -1 and 1; a standard deviation of 1 was asked for.",
            lambda latents: 1 / latents.abs().max().item(),
        ),
        (
            "1 / mean: the mean says where the latents lie, not how far they spread.",
            lambda latents: 1 / latents.mean().item(),
        ),
        (
            "1 came out, the standard deviation of scaled latents; the factor that does it was asked for.",
            lambda latents: 1.0,
        ),
        (
            "The mean of the absolute values is not the standard deviation.",
            lambda latents: 1 / latents.abs().mean().item(),
        ),
        (
            "A factor for each channel came out; one number for all of them together was asked for.",
            lambda latents: 1 / latents.std((0, 2, 3)),
        ),
        (
            "The mean of each channel's factor was taken. One for all numbers together is needed: channels around "
            "different means spread further.",
            lambda latents: (1 / latents.std((0, 2, 3))).mean().item(),
        ),
        (
            "The variances of the channels were averaged, which leaves out how far their means lie apart.",
            lambda latents: latents.var((0, 2, 3)).mean().rsqrt().item(),
        ),
        (
            "Four channels were counted, as in the lesson, each around a mean of its own; take all numbers together.",
            lambda latents: latents.var((0, 2, 3))[:4].mean().rsqrt().item(),
        ),
        ("The scaled latents came out; return the factor alone.", lambda latents: latents / latents.std()),
        (
            "Latents with a mean of 0 and a standard deviation of 1 came out; return the factor alone.",
            lambda latents: (latents - latents.mean()) / latents.std(),
        ),
    ),
    right="Right. The package calls it VAE.measure_scaling_factor.",
)


# ---------------------------------------------------------------- 6.2


WEIGHT = torch.tensor(0.8, requires_grad=True)  # of the model below: what training would change


def latent_loss(
    model: Callable, schedule: NoiseSchedule, encode: Callable, factor: float, images: Tensor, noise: Tensor, t: Tensor
) -> Tensor:
    latents = factor * encode(images)
    x_t = schedule.add_noise(latents, noise, t)
    return F.mse_loss(model(x_t, t), noise)


def model(x: Tensor, t: Tensor) -> Tensor:
    """An answer made up of all that it is given, and of a weight."""
    return WEIGHT * torch.sin(x + 0.3 * t[:, None, None, None]) + 0.2 * x


def encode(images: Tensor) -> Tensor:
    """(B, 2, H, W) -> (B, 6, H/2, W/2)."""
    small = F.avg_pool2d(images, 2)
    return torch.cat([1.5 * small, small.square() - 0.4, torch.cos(2 * small) + 0.3], 1)


def _learns(loss: Any) -> Any:
    """Refuse a loss by which nothing can be learned."""
    if isinstance(loss, Tensor) and not loss.requires_grad:
        raise RuntimeError("this loss has no gradient, so the model cannot learn by it")
    return loss


def _rows(random: Generator) -> list[Case]:
    return [
        {
            "model": model,
            "schedule": NoiseSchedule(torch.tensor([0.93, 0.81, 0.58, 0.37, 0.16])),
            "encode": encode,
            "factor": factor,
            "images": torch.randn(len(t), 2, 2 * h, 2 * w, generator=random),
            "noise": torch.randn(len(t), 6, h, w, generator=random),
            "t": torch.tensor(t),
        }
        for t, h, w, factor in (([3, 0, 2], 4, 5, 0.7), ([1, 4], 5, 3, 1.6))
    ]


def _loss_with(
    noised: Callable | None = None, target: Callable | None = None, told: Callable | None = None
) -> Callable:
    """The loss with something else noised (of encode, factor, images), aimed at (of latents, noise), told (of t)."""

    def loss(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
        latents = noised(encode, factor, images) if noised else factor * encode(images)
        answer = model(schedule.add_noise(latents, noise, t), told(t) if told else t)
        return F.mse_loss(answer, target(factor * encode(images), noise) if target else noise)

    return loss


def _clean(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    return F.mse_loss(model(factor * encode(images), t), noise)


def _scaled_afterwards(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    return F.mse_loss(model(factor * schedule.add_noise(encode(images), noise, t), t), noise)


def _against_noisy(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    x_t = schedule.add_noise(factor * encode(images), noise, t)
    return F.mse_loss(model(x_t, t), x_t)


def _without_gradient(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    return latent_loss(model, schedule, encode, factor, images, noise, t).detach()


def _as_a_sum(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    x_t = schedule.add_noise(factor * encode(images), noise, t)
    return (model(x_t, t) - noise).square().sum()


def _square_of_mean(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    x_t = schedule.add_noise(factor * encode(images), noise, t)
    return (model(x_t, t) - noise).mean().square()


def _each(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    x_t = schedule.add_noise(factor * encode(images), noise, t)
    return (model(x_t, t) - noise).square()


def _noise_from_the_start(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    return F.mse_loss(model(factor * encode(images) + noise, t), noise)


def _noise_taken_away(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    x_t = schedule.add_noise(factor * encode(images), noise, t)
    return F.mse_loss(x_t - model(x_t, t), factor * encode(images))


def _aimed_at_v(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    latents = factor * encode(images)
    return F.mse_loss(
        model(schedule.add_noise(latents, noise, t), t), schedule.target(latents, noise, t, "v_prediction")
    )


def _scaled_loss(model, schedule, encode, factor, images, noise, t):  # type: ignore[no-untyped-def]
    return factor * latent_loss(model, schedule, encode, 1.0, images, noise, t)


LOSS = Exercise(
    "6.2",
    latent_loss,
    _rows,
    Twist(
        "this autoencoder has a *shift*, as in Stable Diffusion 3: subtract {N} from what `encode` returns; then "
        "scale.",
        twists.DOUBLINGS,
        ask=lambda N, encode, **given: {"encode": _shifted(encode, N)},
        take=lambda N, encode, **given: {"encode": _shifted(encode, -N)},
    ),
    mistakes=(
        (
            "The loss has no gradient, so the model cannot learn by it: is it detached, computed under `no_grad`, or "
            "without the model?",
            _without_gradient,
        ),
        (
            "The scaling factor is missing: noise was added to latents of the encoder's own size.",
            _loss_with(noised=lambda encode, factor, images: encode(images)),
        ),
        (
            "Multiply the latents by the factor; dividing makes large ones larger.",
            _loss_with(noised=lambda encode, factor, images: encode(images) / factor),
        ),
        (
            "The noise was added to the pictures: encode them first.",
            _loss_with(noised=lambda encode, factor, images: images),
        ),
        (
            "The pictures were scaled before they were encoded: the factor belongs to the latents.",
            _loss_with(noised=lambda encode, factor, images: encode(factor * images)),
        ),
        (
            "The factor came after the noise, and has scaled it, too: scale the latents, then add noise.",
            _scaled_afterwards,
        ),
        (
            "The model saw clean latents: add the noise first.",
            _clean,
        ),
        (
            "The noise was added as it is: `schedule.add_noise` mixes as much of both as t says.",
            _noise_from_the_start,
        ),
        (
            "The model's answer was compared with the latents; it is to say the noise.",
            _loss_with(target=lambda latents, noise: latents),
        ),
        (
            "The model's answer was compared with the noisy latents that it was given; it is to say the noise.",
            _against_noisy,
        ),
        (
            "The model must be told t as it is; it was told zeros.",
            _loss_with(told=torch.zeros_like),
        ),
        (
            "The sum of the squares was taken; their mean was asked for.",
            _as_a_sum,
        ),
        (
            "The answer was subtracted from the noisy latents, and the rest compared with the latents; compare the "
            "answer itself with the noise.",
            _noise_taken_away,
        ),
        (
            "The answer was compared with v; this model is to say the noise.",
            _aimed_at_v,
        ),
        (
            "The factor multiplies the loss here; it is the latents that must be scaled, before they get noise.",
            _scaled_loss,
        ),
        (
            "The latents were divided by their own standard deviation; the factor that is given was measured on many.",
            _loss_with(noised=lambda encode, factor, images: encode(images) / encode(images).std()),
        ),
        (
            "Stable Diffusion's factor, 0.18215, is written down; ours comes as an argument.",
            _loss_with(noised=lambda encode, factor, images: 0.18215 * encode(images)),
        ),
        (
            "The mean was taken before the square: positive and negative errors cancel.",
            _square_of_mean,
        ),
        (
            "One squared error for each number came out; the loss is their mean.",
            _each,
        ),
    ),
    finish=_learns,
    words={"x_t": "x_t"},
    right="Right: this is lesson 03's loss, with scaled latents in place of pictures.",
)


def _shifted(encode: Callable, by: float) -> Callable:
    def shifted(images: Tensor) -> Tensor:
        return encode(images) + by

    return shifted


# ---------------------------------------------------------------- 6.3


def operations(c_in: int, c_out: int, h: int, w: int, kernel: int = 3) -> int:
    return 2 * kernel * kernel * c_in * c_out * h * w


def _counted(c_in: int, c_out: int, h: int, w: int, kernel: int = 3) -> int:
    """PyTorch's own counter."""
    images, answer = [1, c_in, h, w], [1, c_out, h, w]
    return int(conv_flop_count(images, [c_out, c_in, kernel, kernel], answer))


SIZES = ((4, 32, 8, 6, 3), (5, 7, 6, 8, 1), (3, 10, 4, 9, 5), (6, 2, 11, 5, 7), (9, 4, 3, 7, 2), (2, 5, 10, 3, 4))

OPERATIONS = Exercise(
    "6.3",
    operations,
    lambda random: [
        *(dict(zip(("c_in", "c_out", "h", "w", "kernel"), sizes, strict=True)) for sizes in SIZES),
        {"c_in": 7, "c_out": 11, "h": 5, "w": 4},  # a kernel of 3
    ],
    Twist(
        "count for a batch of {N} pictures.",
        twists.MANY,
        read=lambda N, answer: answer // N if isinstance(answer, int) else answer / N,
        give=lambda N, answer: answer * N,
    ),
    reference=_counted,
    mistakes=(
        (
            "Each product is a multiplication and an addition: twice as many operations.",
            lambda c_in, c_out, h, w, kernel=3: kernel * kernel * c_in * c_out * h * w,
        ),
        (
            "Each number of the answer is a sum over a window of kernel · kernel.",
            lambda c_in, c_out, h, w, kernel=3: 2 * c_in * c_out * h * w,
        ),
        (
            "The window is square: kernel counts twice.",
            lambda c_in, c_out, h, w, kernel=3: 2 * kernel * c_in * c_out * h * w,
        ),
        (
            "With no kernel given, it is to be 3, as in the first line of the stub.",
            lambda c_in, c_out, h, w, kernel=1: operations(c_in, c_out, h, w, kernel),
        ),
        (
            "The window was always taken to be 3 · 3: `kernel` says how large it is.",
            lambda c_in, c_out, h, w, kernel=3: 2 * 9 * c_in * c_out * h * w,
        ),
        (
            "This is for one position; the answer has h · w of them.",
            lambda c_in, c_out, h, w, kernel=3: 2 * kernel * kernel * c_in * c_out,
        ),
        (
            "This is for one channel of the answer; there are c_out.",
            lambda c_in, c_out, h, w, kernel=3: 2 * kernel * kernel * c_in * h * w,
        ),
        (
            "The window reaches through all c_in channels.",
            lambda c_in, c_out, h, w, kernel=3: 2 * kernel * kernel * c_out * h * w,
        ),
        (
            "c_in and c_out were added: every channel of the answer looks at every channel of the input.",
            lambda c_in, c_out, h, w, kernel=3: 2 * kernel * kernel * (c_in + c_out) * h * w,
        ),
        (
            "The answer has h · w positions, not h + w.",
            lambda c_in, c_out, h, w, kernel=3: 2 * kernel * kernel * c_in * c_out * (h + w),
        ),
        (
            "One addition too few in each sum. That is exact without a bias, but the usual count, and ours, is two "
            "operations for each product.",
            lambda c_in, c_out, h, w, kernel=3: (2 * kernel * kernel * c_in - 1) * c_out * h * w,
        ),
        (
            "The additions of a bias were counted, too: count two operations for each product, nothing else.",
            lambda c_in, c_out, h, w, kernel=3: (2 * kernel * kernel * c_in + 1) * c_out * h * w,
        ),
        (
            "Each product is two operations, a multiplication and an addition; here it is one, and one more was "
            "counted for each number of the answer.",
            lambda c_in, c_out, h, w, kernel=3: (kernel * kernel * c_in + 1) * c_out * h * w,
        ),
        (
            "The larger one of c_in and c_out was taken; every channel of the answer looks at every one of the input.",
            lambda c_in, c_out, h, w, kernel=3: 2 * kernel * kernel * max(c_in, c_out) * h * w,
        ),
        (
            "These are the weights of the convolution, not its operations: each weight is used at h · w positions, for "
            "two operations.",
            lambda c_in, c_out, h, w, kernel=3: kernel * kernel * c_in * c_out,
        ),
        (
            "These are the numbers of the answer; each of them takes many operations.",
            lambda c_in, c_out, h, w, kernel=3: c_out * h * w,
        ),
        (
            "The window fits everywhere, at the border with zeros around: the answer has h · w positions, as was said.",
            lambda c_in, c_out, h, w, kernel=3: (
                2 * kernel * kernel * c_in * c_out * (h - kernel + 1) * (w - kernel + 1)
            ),
        ),
    ),
    right="Right. PyTorch's own counter says the same.",
)


EXERCISES = (SCALING, LOSS, OPERATIONS)
