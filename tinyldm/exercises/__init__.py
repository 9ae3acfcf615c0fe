"""The graded exercises, a module for each lesson, and the one function that their check cells call.

An exercise's answer, inputs, named mistakes and private variants stand together in its lesson's module: lessons,
releases, tests and grading use the same. Whoever wants to solve the exercises should not read on there.
"""

from __future__ import annotations

import html
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..checks import Endless, Exercise, NotYet, Outcome, agree, observe, untouched
from ..explanations import explain, misfit
from ..relations import table

LESSONS = tuple(f"{number:02}" for number in range(10))


@cache
def exercises(lesson: str) -> dict[str, Exercise]:
    """The graded exercises of a lesson ("02"), by number ("2.1")."""
    module = importlib.import_module(f".lesson_{lesson}", __name__)
    return {exercise.number: exercise for exercise in module.EXERCISES}


def exercise(number: str, N: Any = None) -> Exercise:
    """An exercise by its number, "2.2"; with ``N``, its private variant.

    Raises:
        KeyError: if there is none.
    """
    found = exercises(f"{int(number.split('.')[0]):02}")[number]
    return found if N is None else found.variant(N)


def check(number: str, function: Callable, N: Any = None) -> Callable | None:
    """Check an answer; untouched, say so and let the lesson go on with the right one, under the same name.

    Args:
        number: of the exercise, "2.2".
        function: what the learner wrote.
        N: the number of a private variant. Then the function that solves the usual exercise is returned.

    Raises:
        NotYet: if it is wrong, with one sentence that says what; while grading, if it is untouched, too.
    """
    public, asked = exercise(number), exercise(number, N)
    right = public.reference or public.answer
    try:
        examine(asked, function)
    except NotImplementedError as stub:
        if "NBGRADER_EXECUTION" in os.environ:
            raise NotYet(f"not answered: {stub}") from None
        where = "" if N is not None else ", from the complete lesson (link at the top)"
        print(f"Not answered yet: {stub}. The lesson goes on with the course's own answer{where}.")
        function.__globals__[function.__name__] = right  # cells below call it by this name
        return right if N is not None else None
    except NotYet as wrong:
        _show(wrong)
        raise
    print(public.right if N is None else "Right.")
    return public.usual(function, N) if N is not None else None


def examine(exercise: Exercise, function: Callable) -> None:
    """Compare a function with an exercise's answer.

    Raises:
        NotImplementedError: if it is untouched.
        NotYet: if it is wrong.
    """
    if sentence := misfit(function, exercise):
        raise NotYet(sentence)
    got: list[Outcome] = []
    for case in exercise.inputs():
        got.append(observe(exercise, function, case))
        if untouched(got[-1].error):
            raise got[-1].error  # type: ignore[misc]
        if isinstance(got[-1].error, Endless):
            break
    print(end=got[0].printed)  # a learner prints to find a mistake
    wanted = exercise.run(exercise.form(exercise.reference or exercise.answer))
    for case, one, other in zip(exercise.inputs(), got, wanted, strict=False):
        if not agree(exercise, one, other):
            raise NotYet(explain(exercise, function, got, wanted), table(case, one, other))
    for name in (name for outcome in got for name in outcome.changed):
        raise NotYet(f"The values are right, but `{name}` itself was changed in place, and it is still needed.")


@dataclass
class _Verdict:
    """A sentence with the values folded away below it, as a notebook or a terminal shows it."""

    wrong: NotYet

    def __repr__(self) -> str:
        return f"Not yet. {self.wrong}"

    def _repr_html_(self) -> str:
        values = f"<details><summary>values</summary><pre>{html.escape(self.wrong.values)}</pre></details>"
        return f"<b>Not yet.</b> {_marked(str(self.wrong))}{values if self.wrong.values else ''}"


def _marked(sentence: str) -> str:
    """`code` as HTML."""
    pieces = html.escape(sentence).split("`")
    return "".join(f"<code>{piece}</code>" if place % 2 else piece for place, piece in enumerate(pieces))


def _show(wrong: NotYet) -> None:
    try:
        from IPython import get_ipython
        from IPython.display import display
    except ImportError:
        return
    if get_ipython() is not None:
        display(_Verdict(wrong))
