"""The exercises of lesson 08, image to image."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from ..checks import Call, Case, Exercise, NotYet, Twist
from ..guidance import keep_known
from ..schedule import NoiseSchedule
from . import twists

# ---------------------------------------------------------------- 8.1


def begin_at(steps: int, strength: float) -> int:
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be between 0 and 1, not {strength}")
    return steps - round(strength * steps)


# Where cutting off, rounding up, rounding halves up and rounding the other part differ; then the ends and beyond.
STRENGTHS = (
    (12, 0.8), (10, 0.3), (5, 0.5), (7, 0.5), (20, 0.33), (9, 0.14), (50, 0.61), (6, 0.25), (13, 0.97), (4, 0.1),
    (8, 0.0), (11, 1.0), (10, -0.1), (10, 1.5), (30, -0.004), (30, 1.004),
)  # fmt: skip


def _starting(walked: Callable[[int, float], Any]) -> Callable:
    """Where to begin, with another number of steps to walk."""

    def start(steps: int, strength: float) -> Any:
        begin_at(steps, strength)
        return steps - walked(steps, strength)

    return start


def _bounded(inside: Callable[[float], bool]) -> Callable:
    """Where to begin, with other bounds."""

    def start(steps: int, strength: float) -> int:
        if not inside(strength):
            raise ValueError(strength)
        return steps - round(strength * steps)

    return start


def _either(says: str, walked: Callable[[int, float], Any]) -> tuple[tuple[str, Callable], ...]:
    """A mistake with and without the look at what is outside of 0 to 1."""
    return (says, _starting(walked)), (says, lambda steps, strength: steps - walked(steps, strength))


BEGIN = Exercise(
    "8.1",
    begin_at,
    lambda random: [{"steps": steps, "strength": strength} for steps, strength in STRENGTHS],
    twists.larger(
        "strength", "`strength` goes from 0 to {N}, not from 0 to 1; anything outside is an error.", twists.MANY
    ),
    mistakes=(
        *_either(
            "That many steps are to be *walked*; the index counts those that are left out before them.",
            lambda steps, strength: steps - round(strength * steps),
        ),
        *_either(
            "The number of steps is cut off, as by `int`: 0.8 of 12 steps are 9.6, rounded 10.",
            lambda steps, strength: int(strength * steps),
        ),
        *_either(
            "The number of steps is always rounded down, as by `//`: 0.8 of 12 steps are 9.6, rounded 10.",
            lambda steps, strength: math.floor(strength * steps),
        )[1:],
        *_either(
            "The number of steps is rounded up: of 1.26 steps, round to the nearest integer, 1.",
            lambda steps, strength: math.ceil(strength * steps),
        ),
        *_either(
            "Halves are rounded up here; Python's `round` takes 2.5 to 2 and 3.5 to 4, the even one.",
            lambda steps, strength: math.floor(strength * steps + 0.5),
        ),
        *_either(
            "Halves are rounded down here; Python's `round` takes 2.5 to 2 and 3.5 to 4, the even one.",
            lambda steps, strength: math.ceil(strength * steps - 0.5),
        ),
        *_either(
            "The steps left out were rounded; round the steps to *walk*, and subtract. For halves it makes a "
            "difference.",
            lambda steps, strength: steps - round(steps - strength * steps),
        ),
        *_either(
            "An index is an integer, and the number of steps to walk is not rounded.",
            lambda steps, strength: strength * steps,
        ),
        *_either(
            "The strength was rounded, to 0 or 1, before it met the steps: round the product.",
            lambda steps, strength: round(strength) * steps,
        ),
        *_either(
            "It is one too early: with 3 of 10 steps to walk, 7 are left out, so the first has the index 7.",
            lambda steps, strength: round(strength * steps) + 1,
        ),
        *_either(
            "It is one too late: indices count from 0, so that with 3 of 10 steps to walk the first one has "
            "the index 7.",
            lambda steps, strength: round(strength * steps) - 1,
        ),
        *_either(
            "It counts from the end, with a minus sign; the index counts from the beginning, 0 for the first step.",
            lambda steps, strength: steps + round(strength * steps),
        ),
        *_either(
            "At least one step is walked here; with a small strength, none may be, and the index is then `steps`.",
            lambda steps, strength: max(1, round(strength * steps)),
        ),
        *_either(
            "A strength of 1 walks all the steps, so it begins at index 0; here it walks none.",
            lambda steps, strength: 0 if strength == 1 else round(strength * steps),
        ),
        ("A strength of 0 is allowed, and gives `steps`: nothing is left to do.", _bounded(lambda s: 0 < s <= 1)),
        ("A strength of 1 is allowed, and gives 0: all the steps are walked.", _bounded(lambda s: 0 <= s < 1)),
        ("Strengths of 0 and of 1 are allowed; only what lies outside is an error.", _bounded(lambda s: 0 < s < 1)),
        (
            "Strengths of 0 to 1 raise an error here, and others don't: the condition is the wrong way round.",
            _bounded(lambda s: not 0 <= s <= 1),
        ),
        ("It raises an error whatever the strength is.", _bounded(lambda s: False)),
    ),
)


# ---------------------------------------------------------------- 8.2


def noise_and_walk(
    known: Tensor, noise: Tensor, start: int, schedule: NoiseSchedule, visited: list[int], walk: Callable
) -> Tensor:
    if start == len(visited):
        return known
    t = torch.full((len(known),), visited[start], device=known.device)
    return walk(schedule.add_noise(known, noise, t), start)


def _walk(x: Any, start: Any) -> Tensor:
    """Depends on the picture and on where it begins."""
    if not isinstance(x, Tensor) or not isinstance(start, int | Tensor):
        raise TypeError(f"the picture and the index were expected, not {type(x).__name__} and {type(start).__name__}")
    return 0.7 * x + torch.sin(2 * x) + 0.31 * start


def _journeys(random: Generator) -> list[Case]:
    """No start that counts the same from both ends; the last two have nothing, and everything, to walk."""
    cases = []
    for shape, start, visited in (
        ((2, 3, 4, 5), 3, [987, 801, 612, 395, 204]),
        ((3, 2, 5, 4), 1, [950, 720, 431, 160]),
        ((2, 4, 3, 6), 4, [999, 749, 499, 249]),
        ((3, 4, 5, 2), 0, [903, 550, 312]),
    ):
        known, noise = torch.randn(shape, generator=random), torch.randn(shape, generator=random)
        schedule = NoiseSchedule.create("scaled_linear")
        cases.append(
            {"known": known, "noise": noise, "start": start, "schedule": schedule, "visited": visited, "walk": _walk}
        )
    return cases


def _noised_to(step: Callable[[int, list[int]], int]) -> Callable:
    """Image to image, noised to another step than the one at which the walk begins."""

    def wrong(known, noise, start, schedule, visited, walk):  # type: ignore[no-untyped-def]
        if start == len(visited):
            return known
        return walk(schedule.add_noise(known, noise, torch.full((len(known),), step(start, visited))), start)

    return wrong


def _mixed(x: Callable[[Tensor, Tensor, float], Tensor]) -> Callable:
    """Image to image, with picture and noise mixed in another way; a is ᾱ at the right step."""

    def wrong(known, noise, start, schedule, visited, walk):  # type: ignore[no-untyped-def]
        if start == len(visited):
            return known
        return walk(x(known, noise, schedule.alphas_cumprod[visited[start]].item()), start)

    return wrong


def _walked_from(first: Callable[[int, list[int]], Any]) -> Callable:
    """Image to image, whose walk begins somewhere else."""

    def wrong(known, noise, start, schedule, visited, walk):  # type: ignore[no-untyped-def]
        if start == len(visited):
            return known
        t = torch.full((len(known),), visited[start])
        return walk(schedule.add_noise(known, noise, t), first(start, visited))

    return wrong


def _at_the_end(else_: Callable[..., Any]) -> Callable:
    """Image to image that does something else when there is no step to walk."""

    def wrong(known, noise, start, schedule, visited, walk):  # type: ignore[no-untyped-def]
        if start == len(visited):
            return else_(known, noise, start, walk, visited)
        return noise_and_walk(known, noise, start, schedule, visited, walk)

    return wrong


def _without_walking(known, noise, start, schedule, visited, walk):  # type: ignore[no-untyped-def]
    return noise_and_walk(known, noise, start, schedule, visited, lambda x, start: x)


def _counted_from_the_end(known, noise, start, schedule, visited, walk):  # type: ignore[no-untyped-def]
    if start == 0:
        return known
    return walk(schedule.add_noise(known, noise, torch.full((len(known),), visited[-start])), start)


def _times(calls: list[Call]) -> int:
    return len(calls)


JOURNEY = Exercise(
    "8.2",
    noise_and_walk,
    _journeys,
    twists.larger("noise", "`noise` has a standard deviation of {N}, but `add_noise` expects one of 1."),
    watch=_times,
    mistakes=(
        (
            "When `start` is the number of visited steps, there is nothing to walk: `visited[start]` does not "
            "exist, give `known` back.",
            _at_the_end(lambda known, noise, start, walk, visited: visited[start]),
        ),
        (
            "With no step to walk, the noise came back; `known` itself must.",
            _at_the_end(lambda known, noise, start, walk, visited: noise),
        ),
        (
            "With no step to walk, nothing is returned; `known` must come back.",
            _at_the_end(lambda known, noise, start, walk, visited: None),
        ),
        (
            "With no step to walk, `walk` must not be called; `known` comes back as it is.",
            _at_the_end(lambda known, noise, start, walk, visited: walk(known, start)),
        ),
        (
            "Noised to the step before the one at which the walk begins: too much noise. Both must be "
            "`visited[start]`.",
            _noised_to(lambda start, visited: visited[start - 1]),
        ),
        (
            "Noised to the step after the one at which the walk begins: too little noise. Both must be "
            "`visited[start]`.",
            _noised_to(lambda start, visited: visited[start + 1 if start + 1 < len(visited) else start]),
        ),
        (
            "`start` was taken for the number of steps to walk, or counted from the end (`visited[-start]`): "
            "it is an index, counted from the beginning.",
            _noised_to(lambda start, visited: visited[-start]),
        ),
        (
            "The visited steps are counted from the end (index 0 would be the last): index 0 is the first.",
            _noised_to(lambda start, visited: visited[-1 - start]),
        ),
        (
            "The index itself was taken for the step: noised to t = `start`, which is next to no noise.",
            _noised_to(lambda start, visited: start),
        ),
        (
            "Noised to the first visited step, all the way; the walk begins at index `start`.",
            _noised_to(lambda start, visited: visited[0]),
        ),
        (
            "Noised to the last visited step; the walk begins at index `start`.",
            _noised_to(lambda start, visited: visited[-1]),
        ),
        ("No noise was added: the picture walks as it is.", _mixed(lambda known, noise, a: known)),
        ("Only the noise walks: mix it with the picture.", _mixed(lambda known, noise, a: noise)),
        (
            "Picture and noise have changed places when they were mixed.",
            _mixed(lambda known, noise, a: a**0.5 * noise + (1 - a) ** 0.5 * known),
        ),
        (
            "Square roots are missing in the mixture: ᾱ and 1 − ᾱ are variances (`schedule.add_noise` does it right).",
            _mixed(lambda known, noise, a: a * known + (1 - a) * noise),
        ),
        (
            "The noise was added to a picture that didn't shrink: `schedule.add_noise` does both.",
            _mixed(lambda known, noise, a: known + (1 - a) ** 0.5 * noise),
        ),
        (
            "Picture and noise were added as they are: how much of each depends on the step.",
            _mixed(lambda known, noise, a: known + noise),
        ),
        (
            "The walk begins at index 0, and takes away noise that isn't there; it must begin at `start`.",
            _walked_from(lambda start, visited: 0),
        ),
        (
            "`walk` is given the step itself; it takes the index, `start`.",
            _walked_from(lambda start, visited: visited[start]),
        ),
        ("The walk begins one step too late.", _walked_from(lambda start, visited: start + 1)),
        ("The walk begins one step too early.", _walked_from(lambda start, visited: start - 1)),
        (
            "`walk` is given the number of steps that are left; it takes the index of the first.",
            _walked_from(lambda start, visited: len(visited) - start),
        ),
        ("The noised picture came back; return what `walk` makes of it.", _without_walking),
        (
            "With no step to walk, nothing is noised or walked: `known` comes back as it is. Here it was noised to the "
            "last visited step, and `walk` was called.",
            lambda known, noise, start, schedule, visited, walk: walk(
                schedule.add_noise(known, noise, torch.full((len(known),), visited[min(start, len(visited) - 1)])),
                start,
            ),
        ),
        (
            "`start` was taken for the number of steps to walk: `known` came back for 0, and `visited` was counted "
            "from the end. It is an index, counted from the beginning.",
            _counted_from_the_end,
        ),
    ),
)


# ---------------------------------------------------------------- 8.3


def knowing(denoise: Callable, known: Tensor, mask: Tensor) -> Callable:
    def tell(x, t):  # type: ignore[no-untyped-def]
        return torch.where(mask > 0, denoise(x, t), known)

    return tell


SHAPE = (2, 3, 6, 5)
NOISY, STEPS = torch.randn(SHAPE, generator=Generator().manual_seed(8)), torch.tensor([712, 35])


def _denoise(x: Tensor, t: Tensor) -> Tensor:
    """A guess that depends on the picture, its neighbourhood and the step; that may be one for all, as a number."""
    step = t if isinstance(t, Tensor) else torch.tensor([t])
    return 0.7 * x + torch.sin(3 * x) + 0.3 * x.roll(1, -1) + 0.001 * step[:, None, None, None]


def _parts(random: Generator) -> list[Case]:
    """Masks for each number, and for each position of all pictures; floating point, as in the lesson."""
    masks = [
        (torch.rand(SHAPE, generator=random) < 0.4).float(),
        (torch.rand(SHAPE, generator=random) < 0.6).float(),
        (torch.rand(1, 1, *SHAPE[2:], generator=random) < 0.5).float(),
    ]
    return [{"denoise": _denoise, "known": torch.randn(SHAPE, generator=random), "mask": mask} for mask in masks]


def _used(tell: Any) -> Tensor:
    """What the returned function makes of a noisy picture."""
    if not callable(tell):
        kind = "tensor" if isinstance(tell, Tensor) else type(tell).__name__
        raise NotYet(f"Return a function (x, t) -> guess, for the sampler to call at every step; this is a {kind}.")
    try:
        inspect.signature(tell).bind(NOISY, STEPS)
    except TypeError:
        raise NotYet("The function inside must take two arguments, (x, t), as every denoiser.") from None
    guess = tell(NOISY.clone(), STEPS.clone())
    if guess is None:
        raise NotYet("The function inside returns nothing: has it a `return` of its own?")
    return guess


def _told(guess: Callable[..., Tensor]) -> Callable:
    """A wrapped denoiser that tells something else."""
    return lambda denoise, known, mask: lambda x, t: guess(denoise, known, mask, x, t)


KNOWING = Exercise(
    "8.3",
    knowing,
    _parts,
    Twist(
        "the mask is 0 where something new is wanted, and {N} where the known picture must stay.",
        (2, 15, 31, 127, 255),
        ask=lambda N, mask, **given: {"mask": N * (1 - mask)},
        take=lambda N, mask, **given: {"mask": (N - mask) // N},
    ),
    reference=keep_known,
    finish=_used,
    mistakes=(
        (
            "0 and 1 have changed places: where the mask is 1, something new is wanted, and the guess stays.",
            _told(lambda denoise, known, mask, x, t: torch.where(mask > 0, known, denoise(x, t))),
        ),
        (
            "Where the mask is 0, zeros come out; the known picture belongs there.",
            _told(lambda denoise, known, mask, x, t: mask * denoise(x, t)),
        ),
        (
            "The guess comes out as it was: where the mask is 0, it must be replaced by `known`.",
            lambda denoise, known, mask: denoise,
        ),
        (
            "`known` comes out everywhere; where the mask is 1, the denoiser's guess is wanted.",
            _told(lambda denoise, known, mask, x, t: known),
        ),
        (
            "The *noisy* picture was replaced, before the denoiser saw it (as RePaint does); replace its guess.",
            _told(lambda denoise, known, mask, x, t: denoise(torch.where(mask > 0, x, known), t)),
        ),
        (
            "The noisy picture was replaced, too, before the denoiser saw it; replace only the guess.",
            _told(
                lambda denoise, known, mask, x, t: torch.where(
                    mask > 0, denoise(torch.where(mask > 0, x, known), t), known
                )
            ),
        ),
        (
            "Where the mask is 1, the noisy picture comes out as it is: nobody asked the denoiser.",
            _told(lambda denoise, known, mask, x, t: torch.where(mask > 0, x, known)),
        ),
        (
            "Where the mask is 0, the noisy picture comes out; the known one belongs there.",
            _told(lambda denoise, known, mask, x, t: torch.where(mask > 0, denoise(x, t), x)),
        ),
        (
            "`known` is added everywhere; it counts only where the mask is 0.",
            _told(lambda denoise, known, mask, x, t: mask * denoise(x, t) + known),
        ),
        (
            "The guess counts everywhere; where the mask is 0, only `known` does.",
            _told(lambda denoise, known, mask, x, t: denoise(x, t) + (1 - mask) * known),
        ),
        (
            "Where the mask is 1, zeros come out: the guess is missing.",
            _told(lambda denoise, known, mask, x, t: (1 - mask) * known),
        ),
        (
            "The first picture's mask was used for all of them: each may have its own.",
            _told(lambda denoise, known, mask, x, t: torch.where(mask[0, 0] > 0, denoise(x, t), known)),
        ),
        (
            "Guess and `known` were mixed half and half; the mask decides, at each position.",
            _told(lambda denoise, known, mask, x, t: (denoise(x, t) + known) / 2),
        ),
        (
            "Where the mask is 0, half of the guess is left; only `known` belongs there.",
            _told(lambda denoise, known, mask, x, t: torch.where(mask > 0, denoise(x, t), (denoise(x, t) + known) / 2)),
        ),
        (
            "Both parts were added and the mask forgotten.",
            _told(lambda denoise, known, mask, x, t: denoise(x, t) + known),
        ),
    ),
    right="Right: the package's keep_known.",
)

EXERCISES = (BEGIN, JOURNEY, KNOWING)
