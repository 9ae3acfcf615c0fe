"""The exercises of lesson 02, forward diffusion."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..checks import Case, Exercise, Twist
from ..schedule import NoiseSchedule
from . import twists

ALPHAS = torch.tensor([0.93, 0.81, 0.58, 0.37, 0.16])  # not the running product of any of them
FALLING = (
    [0.9, 0.52, 0.3, 0.1], [0.97, 0.93, 0.8, 0.72, 0.68, 0.45, 0.2], [0.6, 0.48], [0.99, 0.7, 0.64, 0.51, 0.49, 0.02],
    [0.95, 0.9, 0.75, 0.71, 0.6, 0.55, 0.53, 0.4, 0.3], [0.8, 0.34, 0.32, 0.26], [0.7, 0.66, 0.5, 0.4], [0.4, 0.3, 0.2],
)  # fmt: skip
WORDS = {"a": "ᾱ_t", "beta": "β"}


# ---------------------------------------------------------------- 2.1


def forward_step(x: Tensor, noise: Tensor, beta: float) -> Tensor:
    return (1 - beta) ** 0.5 * x + beta**0.5 * noise


def _steps(random: Generator) -> list[Case]:
    return [
        {"x": torch.randn(shape, generator=random), "noise": torch.randn(shape, generator=random), "beta": beta}
        for shape, beta in (((3, 5), 0.36), ((2, 4), 0.07))
    ]


def _ten_steps(x: Tensor, noise: Tensor, beta: float) -> Tensor:
    for _ in range(10):
        x = forward_step(x, noise, beta)
    return x


def _normalised(x: Tensor, noise: Tensor, beta: float) -> Tensor:
    return forward_step(x, noise, beta) / forward_step(x, noise, beta).std()


STEP = Exercise(
    "2.1",
    forward_step,
    _steps,
    twists.larger("noise", "`noise` has a standard deviation of {N}. The step needs one of 1: divide first."),
    mistakes=(
        (
            "β is a variance; here it was taken for a standard deviation, and squared.",
            lambda x, noise, beta: forward_step(x, noise, beta**2),
        ),
        (
            "Of the picture, √(1 - β) is left; 1 - √β is something else.",
            lambda x, noise, beta: (1 - beta**0.5) * x + beta**0.5 * noise,
        ),
        (
            "This is many steps with the same noise; one was asked for.",
            _ten_steps,
        ),
        (
            "The picture must shrink too, and β is a variance: it is its square root that multiplies the noise.",
            lambda x, noise, beta: x + beta * noise,
        ),
        (
            "Each pixel keeps something of its own value; here the mean of all was used.",
            lambda x, noise, beta: forward_step(x.mean(), noise, beta),
        ),
        (
            "The result was divided by its own standard deviation; the step does no such thing.",
            _normalised,
        ),
        (
            "Variances were used where their square roots belong: β and 1 - β are variances.",
            lambda x, noise, beta: (1 - beta) * x + beta * noise,
        ),
        (
            "Signal and noise have changed places: β is the noise's.",
            lambda x, noise, beta: beta**0.5 * x + (1 - beta) ** 0.5 * noise,
        ),
        (
            "The picture must shrink too, else its variance grows with every step.",
            lambda x, noise, beta: x + beta**0.5 * noise,
        ),
    ),
    words=WORDS,
    right="Right: of β = 0.36, √0.64 = 0.8 of the signal is left, and √0.36 = 0.6 times the noise comes in.",
)


# ---------------------------------------------------------------- 2.2


def add_noise(x0: Tensor, noise: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    a = alphas_cumprod[t][:, None, None, None]  # (B,) -> (B, 1, 1, 1)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def _pictures(random: Generator, first: str) -> list[Case]:
    return [
        {
            first: torch.randn(len(t), *shape, generator=random),
            "noise": torch.randn(len(t), *shape, generator=random),
            "t": torch.tensor(t),
            "alphas_cumprod": ALPHAS,
        }
        for t, shape in (([3, 0, 2], (2, 5, 4)), ([1, 4], (3, 4, 5)))
    ]


def _multiplied_up(x0: Tensor, noise: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    return add_noise(x0, noise, t, (1 - alphas_cumprod).cumprod(0))


def _without_reshaping(x0: Tensor, noise: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    a = alphas_cumprod[t]
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def _one_step(x0: Tensor, noise: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    before = torch.cat([torch.ones(1), alphas_cumprod])
    return add_noise(x0, noise, t, alphas_cumprod / before[:-1])


def _walked(x0: Tensor, noise: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Step by step, with the same noise in each."""
    steps = alphas_cumprod / torch.cat([torch.ones(1), alphas_cumprod])[:-1]
    pictures = []
    for x, one, last in zip(x0, noise, t.tolist(), strict=True):
        for alpha in steps[: last + 1]:
            x = forward_step(x, one, 1 - alpha)
        pictures.append(x)
    return torch.stack(pictures)


JUMP = Exercise(
    "2.2",
    add_noise,
    lambda random: _pictures(random, "x0"),
    twists.larger("x0", "`x0` is {N} times too large. Divide it, not the noise, by {N} first."),
    reference=lambda x0, noise, t, alphas_cumprod: NoiseSchedule(alphas_cumprod).add_noise(x0, noise, t),
    mistakes=(
        (
            "ᾱ_t has the factor of step t, too; here the product ends with the step before.",
            lambda x0, noise, t, alphas_cumprod: add_noise(x0, noise, t, torch.cat([torch.ones(1), alphas_cumprod])),
        ),
        (
            "All pictures get the first one's step: each has its own t.",
            lambda x0, noise, t, alphas_cumprod: add_noise(x0, noise, t[:1], alphas_cumprod),
        ),
        (
            "All pictures get the mean of the steps: each has its own t.",
            lambda x0, noise, t, alphas_cumprod: add_noise(x0, noise, t.float().mean().long()[None], alphas_cumprod),
        ),
        (
            "Of the noise, √(1 - ᾱ_t) is needed; 1 - √ᾱ_t is something else.",
            lambda x0, noise, t, alphas_cumprod: (
                add_noise(x0, 0 * noise, t, alphas_cumprod)
                + (1 - alphas_cumprod[t].sqrt())[:, None, None, None] * noise
            ),
        ),
        (
            "That is the step from t - 1 to t, as if the clean picture stood at t - 1; the jump begins before the "
            "first step.",
            _one_step,
        ),
        (
            "That is the step from t - 1 to t, as if the clean picture stood at t - 1; the jump begins before the "
            "first step.",
            lambda x0, noise, t, alphas_cumprod: add_noise(
                x0, noise, t, alphas_cumprod / alphas_cumprod[(torch.arange(len(alphas_cumprod)) - 1).clamp(min=0)]
            ),
        ),
        (
            "β differs from step to step, so ᾱ_t is not a power of the first one: it is the entry t of "
            "`alphas_cumprod`.",
            lambda x0, noise, t, alphas_cumprod: add_noise(
                x0, noise, t, alphas_cumprod[0] ** torch.arange(len(alphas_cumprod))
            ),
        ),
        (
            "β differs from step to step, so ᾱ_t is not a power of the first one: it is the entry t of "
            "`alphas_cumprod`.",
            lambda x0, noise, t, alphas_cumprod: add_noise(
                x0, noise, t, alphas_cumprod[0] ** torch.arange(1, len(alphas_cumprod) + 1)
            ),
        ),
        (
            "`alphas_cumprod` is a running product already: nothing is to be multiplied up again.",
            lambda x0, noise, t, alphas_cumprod: add_noise(x0, noise, t, alphas_cumprod.cumprod(0)),
        ),
        (
            "The same noise came in at every step, so it adds up to too much. Jump: one factor for the picture, one "
            "for the noise.",
            _walked,
        ),
        ("`alphas_cumprod` holds ᾱ already, not β: nothing is to be multiplied up again.", _multiplied_up),
        (
            "`alphas_cumprod[t]` is (B,), one entry per picture: it met (B, C, H, W) without reshaping.",
            _without_reshaping,
        ),
        (
            "Steps are counted from 0: `alphas_cumprod[t]`, not `[t - 1]`.",
            lambda x0, noise, t, alphas_cumprod: add_noise(x0, noise, t - 1, alphas_cumprod),
        ),
    ),
    words=WORDS,
    right="Right: with ᾱ = 0.64, 0.8 of the picture and 0.6 of the noise.",
)


# ---------------------------------------------------------------- 2.3


def remove_noise(x_t: Tensor, noise: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    a = alphas_cumprod[t][:, None, None, None]
    return (x_t - (1 - a).sqrt() * noise) / a.sqrt()


def _walked_back(x_t: Tensor, noise: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Step by step, with the same noise in each."""
    steps = alphas_cumprod / torch.cat([torch.ones(1), alphas_cumprod])[:-1]
    pictures = []
    for x, one, last in zip(x_t, noise, t.tolist(), strict=True):
        for alpha in steps[: last + 1].flip(0):
            x = (x - (1 - alpha) ** 0.5 * one) / alpha**0.5
        pictures.append(x)
    return torch.stack(pictures)


BACK = Exercise(
    "2.3",
    remove_noise,
    lambda random: _pictures(random, "x_t"),
    twists.result("return the clean picture multiplied by {N}.", lambda N: N),
    reference=lambda x_t, noise, t, alphas_cumprod: NoiseSchedule(alphas_cumprod).to_x0(noise, x_t, t, "epsilon"),
    mistakes=(
        (
            "The noise is to be multiplied by √(1 - ᾱ_t); here x_t was divided by it.",
            lambda x_t, noise, t, alphas_cumprod: (
                remove_noise(x_t, noise, t, alphas_cumprod) / (1 - alphas_cumprod[t]).sqrt()[:, None, None, None]
            ),
        ),
        (
            "This adds the noise once more, as in exercise 2.2; solve that formula for x0.",
            lambda x_t, noise, t, alphas_cumprod: add_noise(x_t, noise, t, alphas_cumprod),
        ),
        (
            "All pictures get the first one's step: each has its own t.",
            lambda x_t, noise, t, alphas_cumprod: remove_noise(x_t, noise, t[:1], alphas_cumprod),
        ),
        (
            "The noise is the one of the whole jump, not of each step: take it away at once.",
            _walked_back,
        ),
        (
            "`alphas_cumprod` is a running product already: nothing is to be multiplied up again.",
            lambda x_t, noise, t, alphas_cumprod: remove_noise(x_t, noise, t, alphas_cumprod.cumprod(0)),
        ),
    ),
    words=WORDS,
    right="Right: with ᾱ = 0.64, (2.0 - 0.6 · 2.0) / 0.8 = 1.0.",
)


# ---------------------------------------------------------------- 2.4


def balance(alphas_cumprod: Tensor) -> int:
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return int((snr < 1).int().argmax())


BALANCE = Exercise(
    "2.4",
    balance,
    lambda random: [{"alphas_cumprod": torch.tensor(a)} for a in FALLING],
    Twist(
        "find the first t at which the SNR is below {N}.",
        (0.25, 0.5, 2, 3, 4),
        ask=lambda N, alphas_cumprod: {"alphas_cumprod": _moved(alphas_cumprod, N)},
        take=lambda N, alphas_cumprod: {"alphas_cumprod": _moved(alphas_cumprod, 1 / N)},
    ),
    mistakes=(
        (
            "One step too early: that is the last one with more picture than noise.",
            lambda alphas_cumprod: int((alphas_cumprod > 0.5).sum()) - 1,
        ),
        (
            "Picture and noise balance where ᾱ is 0.5; here √ᾱ is compared with it.",
            lambda alphas_cumprod: int((alphas_cumprod < 0.25).int().argmax()),
        ),
        (
            "That is the step at which both are nearest to each other; the first with less picture than noise was "
            "asked for.",
            lambda alphas_cumprod: int((alphas_cumprod - 0.5).abs().argmin()),
        ),
        (
            "That is ᾱ at the step; the number of the step was asked for.",
            lambda alphas_cumprod: alphas_cumprod[balance(alphas_cumprod)].item(),
        ),
        (
            "That is the SNR at the step; the number of the step was asked for.",
            lambda alphas_cumprod: (alphas_cumprod / (1 - alphas_cumprod))[balance(alphas_cumprod)].item(),
        ),
        (
            "That is the middle of the schedule, whatever its ᾱ: where both balance depends on them.",
            lambda alphas_cumprod: len(alphas_cumprod) // 2,
        ),
        (
            "That is how many steps have more noise than picture; the number of the first of them was asked for.",
            lambda alphas_cumprod: int((alphas_cumprod < 0.5).sum()),
        ),
        (
            "That is the last step; the first with more noise than picture was asked for.",
            lambda alphas_cumprod: len(alphas_cumprod) - 1,
        ),
        (
            "The SNR is ᾱ divided by 1 - ᾱ, without a root.",
            lambda alphas_cumprod: int((alphas_cumprod < (1 - alphas_cumprod).sqrt()).int().argmax()),
        ),
        (
            "The SNR is ᾱ divided by 1 - ᾱ, without a root.",
            lambda alphas_cumprod: int((alphas_cumprod.sqrt() < 1 - alphas_cumprod).int().argmax()),
        ),
        (
            "`alphas_cumprod` is a running product already: nothing is to be multiplied up again.",
            lambda alphas_cumprod: balance(alphas_cumprod.cumprod(0)),
        ),
        (
            "`alphas_cumprod` holds ᾱ, not β: nothing is to be multiplied up.",
            lambda alphas_cumprod: balance((1 - alphas_cumprod).cumprod(0)),
        ),
        (
            "The logarithm of the SNR is compared with 1; where the SNR is 1, its logarithm is 0.",
            lambda alphas_cumprod: int(((alphas_cumprod / (1 - alphas_cumprod)).log() < 1).int().argmax()),
        ),
        (
            "One step too early: there, there is still more picture than noise.",
            lambda alphas_cumprod: balance(alphas_cumprod) - 1,
        ),
        (
            "Always 0, where there is usually more picture than noise: is there a comparison, and is it the right "
            "way round?",
            lambda alphas_cumprod: 0,
        ),
    ),
    words=WORDS,
)


def _moved(alphas_cumprod: Tensor, factor: float) -> Tensor:
    """ᾱ for an SNR that is ``factor`` times as large."""
    snr = factor * alphas_cumprod / (1 - alphas_cumprod)
    return snr / (1 + snr)


EXERCISES = (STEP, JUMP, BACK, BALANCE)
