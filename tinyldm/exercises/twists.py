"""What the private variants of exercises have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..checks import Twist

DOUBLINGS = (2, 4, 8, 16)  # multiplying by them and dividing again is exact
FEW = (3, 4, 5, 6, 7)
MANY = (10, 20, 50, 200, 500, 1000)


def larger(argument: str, says: str, numbers: tuple = DOUBLINGS) -> Twist:
    """An argument is N times as large."""
    return Twist(
        says,
        numbers,
        ask=lambda N, **given: {argument: given[argument] * N},
        take=lambda N, **given: {argument: given[argument] / N},
    )


def scaled_down(argument: str, says: str, numbers: tuple = DOUBLINGS) -> Twist:
    """An argument is divided by N."""
    return Twist(
        says,
        numbers,
        ask=lambda N, **given: {argument: given[argument] / N},
        take=lambda N, **given: {argument: given[argument] * N},
    )


def result(says: str, times: Callable[[Any], Any], numbers: tuple = FEW) -> Twist:
    """The result must be ``times(N)`` as large."""
    return Twist(says, numbers, read=lambda N, answer: answer / times(N), give=lambda N, answer: answer * times(N))


def counted(says: str, numbers: tuple = MANY) -> Twist:
    """The result, a number of something, counts from N."""
    return Twist(says, numbers, read=lambda N, answer: answer - N, give=lambda N, answer: answer + N)
