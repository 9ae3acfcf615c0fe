"""The exercises of lesson 04, reverse diffusion."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ..checks import Case, Exercise, Twist
from ..samplers import ddim, ddpm, dpmpp_2m
from ..schedule import NoiseSchedule
from . import twists

WORDS = {"a": "ᾱ", "a_next": "ᾱ_next", "eps": "ε", "x0": "x̂₀", "alpha": "α", "sigma": "σ"}
STEPS = (((3, 2, 5, 4), 0.12, 0.31), ((2, 5, 3), 0.57, 0.83), ((4, 3), 0.46, 1.0))  # the last ends without noise


def _randn(random: Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=random)


def _schedule(*alphas: float) -> NoiseSchedule:
    return NoiseSchedule(torch.tensor(alphas, dtype=torch.float64))


# ---------------------------------------------------------------- 4.1


def ddim_step(x: Tensor, eps: Tensor, a: float, a_next: float) -> Tensor:
    x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
    return a_next**0.5 * x0 + (1 - a_next) ** 0.5 * eps


def _ddim(x: Tensor, eps: Tensor, a: float, a_next: float) -> Tensor:
    schedule = _schedule(a)
    return next(ddim(lambda x, t: schedule.to_x0(eps, x, t, "epsilon"), schedule, x, [0], final_alpha=a_next)).x


def _guess(x: Tensor, eps: Tensor, a: float) -> Tensor:
    return (x - (1 - a) ** 0.5 * eps) / a**0.5


def _clamped_ddim(x: Tensor, eps: Tensor, a: float, a_next: float) -> Tensor:
    return a_next**0.5 * _guess(x, eps, a).clamp(-1, 1) + (1 - a_next) ** 0.5 * eps


def _one_minus_root(x: Tensor, eps: Tensor, a: float, a_next: float) -> Tensor:
    x0 = (x - (1 - a**0.5) * eps) / a**0.5
    return a_next**0.5 * x0 + (1 - a_next**0.5) * eps


DDIM = Exercise(
    "4.1",
    ddim_step,
    lambda random: [
        {"x": _randn(random, *shape), "eps": _randn(random, *shape), "a": a, "a_next": a_next}
        for shape, a, a_next in STEPS
    ],
    twists.larger("eps", "the network's output `eps` is {N} times too large: divide it by {N} first."),
    reference=_ddim,
    mistakes=(
        (
            "This goes a part of the way from x to the guess; the guess and its noise are to be mixed anew, in the "
            "amounts of ᾱ_next.",
            lambda x, eps, a, a_next: x + (a_next - a) * (_guess(x, eps, a) - x),
        ),
        (
            "Only the noise's share was changed, from √(1 - ᾱ) to √(1 - ᾱ_next); the guess's share must change, too.",
            lambda x, eps, a, a_next: x - ((1 - a) ** 0.5 - (1 - a_next) ** 0.5) * eps,
        ),
        (
            "This adds noise, as lesson 02's step did. DDIM takes x apart first, into the guess and its noise.",
            lambda x, eps, a, a_next: (a / a_next) ** 0.5 * x + (1 - a / a_next) ** 0.5 * eps,
        ),
        (
            "This undoes lesson 02's step as if ε had come in by that step alone; ε is all the noise in x. Make the "
            "guess first.",
            lambda x, eps, a, a_next: (x - (1 - a / a_next) ** 0.5 * eps) / (a / a_next) ** 0.5,
        ),
        (
            "That is the mean of DDPM's step, which comes later; DDIM mixes the guess and all of its noise.",
            lambda x, eps, a, a_next: (x - (1 - a / a_next) / (1 - a) ** 0.5 * eps) / (a / a_next) ** 0.5,
        ),
        (
            "That is the guess of the clean picture. The step goes on: mix the guess with noise again.",
            lambda x, eps, a, a_next: _guess(x, eps, a),
        ),
        (
            "The picture comes out as it went in: guess and noise were mixed in the amounts in which they were taken "
            "apart. Take apart with `a`, mix with `a_next`.",
            lambda x, eps, a, a_next: x,
        ),
        (
            "The guess was cut off at -1 and 1. This step cuts nothing off: with another guess, the noise would be "
            "another one, too.",
            _clamped_ddim,
        ),
        (
            "ᾱ and 1 - ᾱ have changed places: √ᾱ is the picture's factor, and √(1 - ᾱ) the noise's.",
            lambda x, eps, a, a_next: ddim_step(x, eps, 1 - a, 1 - a_next),
        ),
        ("Of the noise, √(1 - ᾱ) is needed; 1 - √ᾱ is something else.", _one_minus_root),
        (
            "The guess is right. In the mixture, ᾱ_next and 1 - ᾱ_next are variances; their square roots belong there.",
            lambda x, eps, a, a_next: a_next * _guess(x, eps, a) + (1 - a_next) * eps,
        ),
        (
            "In the guess, ᾱ and 1 - ᾱ are variances; their square roots belong there. (The mixture is right.)",
            lambda x, eps, a, a_next: a_next**0.5 * (x - (1 - a) * eps) / a + (1 - a_next) ** 0.5 * eps,
        ),
        (
            "The guess was made without dividing by √ᾱ: x holds only √ᾱ of the picture.",
            lambda x, eps, a, a_next: a_next**0.5 * (x - (1 - a) ** 0.5 * eps) + (1 - a_next) ** 0.5 * eps,
        ),
        (
            "The guess was mixed with x in place of the noise: x is a mixture already.",
            lambda x, eps, a, a_next: a_next**0.5 * _guess(x, eps, a) + (1 - a_next) ** 0.5 * x,
        ),
    ),
    words=WORDS,
    right="Right: what the package's DDIM does. With a_next = 1 the step ends on the guess itself.",
)


# ---------------------------------------------------------------- 4.2


def ddpm_step(x: Tensor, eps: Tensor, z: Tensor, a: float, a_next: float) -> Tensor:
    alpha = a / a_next
    mean = (x - (1 - alpha) / (1 - a) ** 0.5 * eps) / alpha**0.5
    sigma = ((1 - a_next) / (1 - a) * (1 - alpha)) ** 0.5
    return mean + sigma * z


def _ddpm(x: Tensor, eps: Tensor, z: Tensor, a: float, a_next: float) -> Tensor:
    """The package's step draws its own noise; ``z`` takes its place."""
    alphas = [a] if a_next == 1 else [a_next, a]
    schedule, random = _schedule(*alphas), Generator().manual_seed(0)
    drawn = torch.randn(x.shape, generator=Generator().manual_seed(0)).to(x.device)
    times = range(len(alphas))[::-1]
    step = next(ddpm(lambda x, t: schedule.to_x0(eps, x, t, "epsilon"), schedule, x, times, random))
    return step.x + ((1 - a_next) / (1 - a) * (1 - a / a_next)) ** 0.5 * (z - drawn)


def _with_alpha(alpha: Callable, sigma: Callable | None = None) -> Callable:
    """DDPM's step with another α, or another σ (of α, ᾱ and ᾱ_next)."""

    def step(x: Tensor, eps: Tensor, z: Tensor, a: float, a_next: float) -> Tensor:
        kept = alpha(a, a_next)
        spread = ((1 - a_next) / (1 - a) * (1 - kept)) ** 0.5 if sigma is None else sigma(kept, a, a_next)
        return (x - (1 - kept) / (1 - a) ** 0.5 * eps) / kept**0.5 + spread * z

    return step


def _usual_alpha(a: float, a_next: float) -> float:
    return a / a_next


def _trust_exchanged(x: Tensor, eps: Tensor, z: Tensor, a: float, a_next: float) -> Tensor:
    by_step, by_guess = a_next / a - 1, 1 - a_next
    trust = (1 / by_guess) / (1 / by_step + 1 / by_guess)
    mean = trust * x / (a / a_next) ** 0.5 + (1 - trust) * a_next**0.5 * _guess(x, eps, a)
    return mean + (1 / by_step + 1 / by_guess) ** -0.5 * z


def _all_by_sigma(x: Tensor, eps: Tensor, z: Tensor, a: float, a_next: float) -> Tensor:
    mean = ddpm_step(x, eps, 0 * z, a, a_next)
    return (mean + z) * ((1 - a_next) / (1 - a) * (1 - a / a_next)) ** 0.5


DDPM = Exercise(
    "4.2",
    ddpm_step,
    lambda random: [
        {"x": _randn(random, *s), "eps": _randn(random, *s), "z": _randn(random, *s), "a": a, "a_next": a_next}
        for s, a, a_next in STEPS
    ],
    twists.larger("z", "`z` has a standard deviation of {N}. The one in the formula has 1.", twists.FEW),
    reference=_ddpm,
    mistakes=(
        (
            "None of the old noise is left in it: this is the guess with σz, and DDPM's mean keeps a part of the "
            "noise.",
            lambda x, eps, z, a, a_next: (
                a_next**0.5 * _guess(x, eps, a) + ((1 - a_next) / (1 - a) * (1 - a / a_next)) ** 0.5 * z
            ),
        ),
        (
            "σ multiplies the mean, too; it belongs to z alone.",
            _all_by_sigma,
        ),
        (
            "α is what one step keeps, ᾱ / ᾱ_next. ᾱ_next itself was used for it.",
            _with_alpha(lambda a, a_next: a_next),
        ),
        (
            "α is what one step keeps, less than 1: it is ᾱ / ᾱ_next, and here it was divided the other way round.",
            _with_alpha(
                lambda a, a_next: a_next / a, lambda alpha, a, a_next: ((1 - a_next) / (1 - a) * abs(1 - alpha)) ** 0.5
            ),
        ),
        (
            "The fresh noise stands inside the bracket, and is divided by √α with it; σz is added behind.",
            _with_alpha(_usual_alpha, lambda alpha, a, a_next: ((1 - a_next) / (1 - a) * (1 - alpha) / alpha) ** 0.5),
        ),
        (
            "α is what one step keeps, ᾱ / ᾱ_next: a share. 1 minus the difference of both is something else.",
            _with_alpha(lambda a, a_next: 1 - (a_next - a)),
        ),
        (
            "The trust in the two witnesses has changed places: the one with the smaller variance counts for more.",
            _trust_exchanged,
        ),
        (
            "The mean is right, but the fresh noise is missing: add σ times z.",
            _with_alpha(_usual_alpha, lambda alpha, a, a_next: 0),
        ),
        (
            "The mean is right, but z came in without σ: fresh noise only fills the gap.",
            _with_alpha(_usual_alpha, lambda alpha, a, a_next: 1),
        ),
        (
            "The mean is right, but σ² was used where σ belongs: the noise is multiplied by the square root.",
            _with_alpha(_usual_alpha, lambda alpha, a, a_next: (1 - a_next) / (1 - a) * (1 - alpha)),
        ),
        (
            "The mean is right, and σ² = 1 - α is a choice that Ho et al. allow, too; asked for is the smaller one, "
            "with the fraction (1 - ᾱ_next) / (1 - ᾱ) before it.",
            _with_alpha(_usual_alpha, lambda alpha, a, a_next: (1 - alpha) ** 0.5),
        ),
        (
            "The mean is right, but z got all the noise that belongs to ᾱ_next. A part of it is still in the mean.",
            _with_alpha(_usual_alpha, lambda alpha, a, a_next: (1 - a_next) ** 0.5),
        ),
        (
            "α is what one step keeps, ᾱ / ᾱ_next. ᾱ itself was used for it, which all steps together have kept.",
            _with_alpha(lambda a, a_next: a),
        ),
        (
            "α is what one step keeps, ᾱ / ᾱ_next. 1 - ᾱ was used for it.",
            _with_alpha(lambda a, a_next: 1 - a),
        ),
        (
            "α is what one step keeps, ᾱ / ᾱ_next: a share, not the difference of both.",
            _with_alpha(lambda a, a_next: a_next - a),
        ),
        (
            "In the bracket, ε came in with √(1 - α): below the fraction belongs √(1 - ᾱ), with the ᾱ of all steps.",
            lambda x, eps, z, a, a_next: (
                (x - (1 - a / a_next) ** 0.5 * eps) / (a / a_next) ** 0.5
                + ((1 - a_next) / (1 - a) * (1 - a / a_next)) ** 0.5 * z
            ),
        ),
        (
            "This is DDIM's step with z on top: all of the old noise is still there. DDPM's mean has less of it.",
            lambda x, eps, z, a, a_next: (
                ddim_step(x, eps, a, a_next) + ((1 - a_next) / (1 - a) * (1 - a / a_next)) ** 0.5 * z
            ),
        ),
        (
            "This is DDIM with fresh noise in place of all of the old. DDPM replaces only a part of it.",
            lambda x, eps, z, a, a_next: ddim_step(x, eps, a, a_next) + (1 - a_next) ** 0.5 * (z - eps),
        ),
    ),
    words=WORDS,
    right="Right: what the package's DDPM does.",
)


# ---------------------------------------------------------------- 4.3


def walk(
    x: Tensor, take_apart: Callable, step: Callable, visited: list, alphas_cumprod: list, random: Generator
) -> Tensor:
    for i, t in enumerate(visited):
        a, a_next = alphas_cumprod[i], alphas_cumprod[i + 1]
        _, _, eps = take_apart(x, t, a)
        x = step(x, eps, torch.randn(x.shape, generator=random), a, a_next)
    return x


def take_apart(x: Tensor, t: int, a: float) -> tuple[Tensor, Tensor, Tensor]:
    """Three things made up of all that it is given."""
    if t != int(t):
        raise ValueError(f"t is one of the steps that are visited, an integer, and not {t}")
    return torch.cos(x + a) + 0.011 * t, torch.sin(1.3 * x - a) - 0.017 * t, 0.7 * x - a**2 + 0.013 * t


def step(x: Tensor, eps: Tensor, z: Tensor, a: float, a_next: float) -> Tensor:
    """A step made up of all that it is given."""
    return torch.sin(x + 0.4 * eps) + 0.3 * z + 0.9 * a - 0.5 * a_next * x


def _ways(random: Generator) -> list[Case]:
    return [
        {
            "x": _randn(random, *shape), "take_apart": take_apart, "step": step, "visited": visited,
            "alphas_cumprod": alphas, "random": Generator().manual_seed(seed),
        }
        for shape, visited, alphas, seed in (
            ((2, 3, 4), [96, 71, 33, 8], [0.07, 0.29, 0.64, 0.91, 1.0], 5),
            ((3, 2), [58, 21], [0.18, 0.55, 1.0], 6),
            ((4, 3), [44, 30, 17], [0.13, 0.37, 0.72, 1.0], 7),
        )
    ]  # fmt: skip


def _walked(
    pick: int | slice = 2,
    apart: str = "x",
    once: bool = False,
    start: str = "x",
    time: str = "t",
    z: Callable | None = None,
) -> Callable:
    """The loop with one of its habits changed."""

    def walked(x, take_apart, step, visited, alphas_cumprod, random):  # type: ignore[no-untyped-def]
        first, now = x, x
        noise = torch.randn(x.shape, generator=random) if once else None
        for i, t in enumerate(visited):
            a, a_next = alphas_cumprod[i], alphas_cumprod[i + 1]
            eps = take_apart(first if apart == "first" else now, t if time == "t" else i, a)[pick]
            fresh = noise if once else torch.randn(x.shape, generator=random)
            fresh = z(fresh) if z else fresh
            now = step(first if start == "first" else now, eps, fresh, a, a_next)
        return now

    return walked


def _backwards(x, take_apart, step, visited, alphas_cumprod, random):  # type: ignore[no-untyped-def]
    for i in reversed(range(len(visited))):
        a, a_next = alphas_cumprod[i], alphas_cumprod[i + 1]
        x = step(x, take_apart(x, visited[i], a)[2], torch.randn(x.shape, generator=random), a, a_next)
    return x


def _previous(x, take_apart, step, visited, alphas_cumprod, random):  # type: ignore[no-untyped-def]
    for i, t in enumerate(visited):
        a = alphas_cumprod[i]
        eps = take_apart(x, t, a)[2]
        x = step(x, eps, torch.randn(x.shape, generator=random), a, alphas_cumprod[i - 1])
    return x


def _last_without_noise(x, take_apart, step, visited, alphas_cumprod, random):  # type: ignore[no-untyped-def]
    for i, t in enumerate(visited):
        a, a_next = alphas_cumprod[i], alphas_cumprod[i + 1]
        z = torch.randn(x.shape, generator=random) if t != visited[-1] else torch.zeros_like(x)
        x = step(x, take_apart(x, t, a)[2], z, a, a_next)
    return x


def _from_the_guess(x, take_apart, step, visited, alphas_cumprod, random):  # type: ignore[no-untyped-def]
    for i, t in enumerate(visited):
        a, a_next = alphas_cumprod[i], alphas_cumprod[i + 1]
        _, x0, eps = take_apart(x, t, a)
        x = step(x0, eps, torch.randn(x.shape, generator=random), a, a_next)
    return x


def _other_start(x, take_apart, step, visited, alphas_cumprod, random):  # type: ignore[no-untyped-def]
    return walk(torch.randn(x.shape, generator=random), take_apart, step, visited, alphas_cumprod, random)


def _even(x, take_apart, step, visited, alphas_cumprod, random):  # type: ignore[no-untyped-def]
    for i, t in enumerate(visited):
        a, a_next = alphas_cumprod[i], alphas_cumprod[i + 1]
        x = step(x, take_apart(x, t, a)[2], torch.rand(x.shape, generator=random), a, a_next)
    return x


def _last_guess(x, take_apart, step, visited, alphas_cumprod, random):  # type: ignore[no-untyped-def]
    for i, t in enumerate(visited):
        a, a_next = alphas_cumprod[i], alphas_cumprod[i + 1]
        _, x0, eps = take_apart(x, t, a)
        x = step(x, eps, torch.randn(x.shape, generator=random), a, a_next)
    return x0


def _first_only(x, take_apart, step, visited, alphas_cumprod, random):  # type: ignore[no-untyped-def]
    return walk(x, take_apart, step, visited[:1], alphas_cumprod, random)


WALK = Exercise(
    "4.3",
    walk,
    _ways,
    Twist(
        "`visited` counts steps from {N}, but `take_apart` counts from 0, so pass it t - {N}.",
        twists.MANY,
        ask=lambda N, visited, **given: {"visited": [t + N for t in visited]},
        take=lambda N, visited, **given: {"visited": [t - N for t in visited]},
    ),
    mistakes=(
        (
            "In the last step z was 0. `step` sees to that itself, by its σ: hand it a new z in every step.",
            _last_without_noise,
        ),
        (
            "`step` got the guess in place of the noisy picture `x`.",
            _from_the_guess,
        ),
        (
            "The walk begins with new noise; it must begin with the `x` that is given.",
            _other_start,
        ),
        (
            "z was drawn by `torch.rand`, evenly between 0 and 1; noise is normal, `torch.randn`.",
            _even,
        ),
        (
            "The last guess is returned; what the last step made was asked for.",
            _last_guess,
        ),
        (
            "At every step the first picture was taken apart. It must be the one that the step before left.",
            _walked(apart="first"),
        ),
        (
            "Each step must begin where the one before ended: here each began with the first picture.",
            _walked(apart="first", start="first"),
        ),
        (
            "Each step must begin where the one before ended: what is taken apart does, but `step` got the first "
            "picture.",
            _walked(start="first"),
        ),
        (
            "The same z came in every step: draw a new one inside the loop, from a generator that is not set back.",
            _walked(once=True),
        ),
        (
            "All three things that `take_apart` returns were handed to `step` as eps: it needs the third of them.",
            _walked(pick=slice(None)),
        ),
        (
            "a_next is the entry after a, where the step ends with less noise; the one before was taken.",
            _previous,
        ),
        (
            "`take_apart` returns three things; `step` needs the third, the noise, and got the first.",
            _walked(pick=0),
        ),
        (
            "`take_apart` returns three things; `step` needs the third, the noise, and got the second, the guess.",
            _walked(pick=1),
        ),
        (
            "Begin with the noisiest step, the first of the lists: this walk goes backwards.",
            _backwards,
        ),
        (
            "`take_apart` must be told the step, `visited[i]`, not how many steps have been taken.",
            _walked(time="i"),
        ),
        (
            "No fresh noise came in: z was 0.",
            _walked(z=torch.zeros_like),
        ),
        (
            "The walk ends after its first step: is the `return` inside the loop?",
            _first_only,
        ),
    ),
    watch=lambda calls: sum(call.name == "step" for call in calls),
    words=WORDS,
)


# ---------------------------------------------------------------- 4.4


def solver_step(x: Tensor, x0: Tensor, x0_before: Tensor, a_before: float, a: float, a_next: float) -> Tensor:
    before, here, there = (0.5 * math.log(k / (1 - k)) for k in (a_before, a, a_next))
    middle = x0 + (there - here) / 2 * (x0 - x0_before) / (here - before)
    eps = (x - a**0.5 * middle) / (1 - a) ** 0.5
    return a_next**0.5 * middle + (1 - a_next) ** 0.5 * eps


def _solver(x: Tensor, x0: Tensor, x0_before: Tensor, a_before: float, a: float, a_next: float) -> Tensor:
    """The second step of the package's walk; ``x`` takes the place of what its first one made."""
    guesses = iter((x0_before, x0))
    steps = dpmpp_2m(lambda x, t: next(guesses), _schedule(a_next, a, a_before), x.clone(), [2, 1, 0])
    next(steps).x.copy_(x)
    return next(steps).x


def _mixed(middle: Callable, noise: Callable | None = None) -> Callable:
    """The step with another guess: ``middle`` of (x0, x0_before, λ before, here, there), ``noise`` of the old guess."""

    def mixed(x: Tensor, x0: Tensor, x0_before: Tensor, a_before: float, a: float, a_next: float) -> Tensor:
        guess = middle(x0, x0_before, *(0.5 * math.log(k / (1 - k)) for k in (a_before, a, a_next)))
        eps = (x - a**0.5 * (guess if noise is None else noise(x0, x0_before))) / (1 - a) ** 0.5
        return a_next**0.5 * guess + (1 - a_next) ** 0.5 * eps

    return mixed


def _carried(x0: Tensor, x0_before: Tensor, before: float, here: float, there: float) -> Tensor:
    return x0 + (there - here) / 2 * (x0 - x0_before) / (here - before)


def _in_other_lengths(length: Callable[[float], float]) -> Callable:
    def solver(x: Tensor, x0: Tensor, x0_before: Tensor, a_before: float, a: float, a_next: float) -> Tensor:
        before, here, there = (length(k) for k in (a_before, a, a_next))
        middle = _carried(x0, x0_before, before, here, there)
        return a_next**0.5 * middle + (1 - a_next) ** 0.5 * (x - a**0.5 * middle) / (1 - a) ** 0.5

    return solver


def _middle_only(x: Tensor, x0: Tensor, x0_before: Tensor, a_before: float, a: float, a_next: float) -> Tensor:
    return _carried(x0, x0_before, *(0.5 * math.log(k / (1 - k)) for k in (a_before, a, a_next)))


def _noise_exchanged(x: Tensor, x0: Tensor, x0_before: Tensor, a_before: float, a: float, a_next: float) -> Tensor:
    middle = _middle_only(x, x0, x0_before, a_before, a, a_next)
    return a_next**0.5 * middle + (1 - a_next) ** 0.5 * (x - (1 - a) ** 0.5 * middle) / a**0.5


SOLVER = Exercise(
    "4.4",
    solver_step,
    lambda random: [
        {
            "x": _randn(random, *shape), "x0": _randn(random, *shape), "x0_before": _randn(random, *shape),
            "a_before": a_before, "a": a, "a_next": a_next,
        }
        for shape, a_before, a, a_next in (((3, 2, 5, 4), 0.08, 0.27, 0.66), ((2, 4, 3), 0.41, 0.52, 0.95))
    ],
    twists.larger("x0_before", "`x0_before` is {N} times too large: divide it by {N} first."),
    reference=_solver,
    mistakes=(
        (
            'The way to the middle was halved twice: it is half of the next step.',
            _mixed(lambda x0, x0_before, b, h, t: x0 + (t - h) / 4 * (x0 - x0_before) / (h - b)),
        ),
        (
            "Steps were measured in Euler's coordinates, √(1 / ᾱ - 1); here their length is a difference of λ, a "
            "logarithm.",
            _in_other_lengths(lambda k: (1 / k - 1) ** 0.5),
        ),
        (
            'That is the mean of both guesses, between them; the guess goes on in its direction, beyond the newer one.',
            _mixed(lambda x0, x0_before, before, here, there: (x0 + x0_before) / 2),
        ),
        (
            'λ is the logarithm of the whole of ᾱ / (1 - ᾱ): here the logarithm of ᾱ alone was divided.',
            _in_other_lengths(lambda k: math.log(k) / (1 - k)),
        ),
        (
            "The better guess needs its own noise: ε was computed from the old guess, so that guess and noise no "
            "longer mix to x.",
            _mixed(_carried, lambda x0, x0_before: x0),
        ),
        (
            "This is DDIM's step: the guess before was not used.",
            _mixed(lambda x0, x0_before, before, here, there: x0),
        ),
        (
            "This is DDIM's step with the older of the two guesses.",
            _mixed(lambda x0, x0_before, before, here, there: x0_before),
        ),
        (
            "This is the guess for the end of the step; for its middle, go half as far.",
            _mixed(lambda x0, x0_before, b, h, t: x0 + (t - h) * (x0 - x0_before) / (h - b)),
        ),
        (
            "The guess was carried on backwards: it has moved from `x0_before` to `x0`.",
            _mixed(lambda x0, x0_before, b, h, t: x0 - (t - h) / 2 * (x0 - x0_before) / (h - b)),
        ),
        (
            "The way goes on from the newer guess, `x0`; here it was started at `x0_before`.",
            _mixed(lambda x0, x0_before, b, h, t: x0_before + (t - h) / 2 * (x0 - x0_before) / (h - b)),
        ),
        (
            "Half of the last change was added, as if both steps were equally long: their lengths in λ differ.",
            _mixed(lambda x0, x0_before, b, h, t: x0 + (x0 - x0_before) / 2),
        ),
        (
            "The lengths of the two steps have changed places: divide by the one that the guess has moved over.",
            _mixed(lambda x0, x0_before, b, h, t: x0 + (h - b) / 2 * (x0 - x0_before) / (t - h)),
        ),
        (
            "Steps were measured in ᾱ. Their length is a difference of λ, half the logarithm of ᾱ / (1 - ᾱ).",
            _in_other_lengths(lambda k: k),
        ),
        (
            "λ is a logarithm: steps were measured in ᾱ / (1 - ᾱ) itself.",
            _in_other_lengths(lambda k: k / (1 - k)),
        ),
        (
            "λ is the logarithm of ᾱ / (1 - ᾱ); the logarithm of ᾱ was taken.",
            _in_other_lengths(math.log),
        ),
        (
            "The guess for the middle was cut off at -1 and 1. This step cuts nothing off.",
            _mixed(lambda *given: _carried(*given).clamp(-1, 1)),
        ),
        (
            "The guess for the middle is right. In the noise, ᾱ and 1 - ᾱ have changed places: x is √ᾱ times the guess "
            "plus √(1 - ᾱ) times ε.",
            _noise_exchanged,
        ),
        (
            "The picture comes out as it went in: guess and noise were mixed in the amounts of `a`, not of `a_next`.",
            lambda x, x0, x0_before, a_before, a, a_next: x,
        ),
        (
            "That is the guess for the middle. The step goes on: find the noise that belongs to it, and mix.",
            _middle_only,
        ),
    ),
    words={
        **WORDS, "x0_before": "x̂₀_before", "a_before": "ᾱ_before", "before": "λ_before", "here": "λ",
        "there": "λ_next", "middle": "x̂_mid",
    },
    right="Right: what the package's DPM-Solver++ does.",
)  # fmt: skip


EXERCISES = (DDIM, DDPM, WALK, SOLVER)
