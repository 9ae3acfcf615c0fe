"""Run a learner's function beside the right one, and compare what comes out.

`observe` runs a function on one case, `agree` compares what two of them did. What is then said of a wrong answer
(`tinyldm.explanations`) depends on what it *gives*, never on how it is written.

Design choices:
- Whatever runs here may be run twice: arguments are copied, the global random numbers are put back afterwards.
- Inputs must be generic: no size 1, none equal to another, no constant, no value at which two formulas agree. Then no
  two mistakes give the same, and a sentence about one is true.
- No function of PyTorch is replaced and no assertion used, so nothing is switched off by assigning to one.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import io
import math
import numbers
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor

SECONDS = 5.0  # that a function may run on one case before it is called endless
CLOSE = 1e-4  # relative to the largest number of a result
_LIBRARIES = (os.path.dirname(os.__file__), os.path.dirname(torch.__file__), "<frozen")  # whose lines are not watched
Case = dict[str, Any]  # arguments by name, in their order


class NotYet(AssertionError):
    """An answer that is not right yet; its text is one sentence, ``values`` what was given, got and expected."""

    def __init__(self, sentence: str, values: str = "") -> None:
        super().__init__(sentence)
        self.values = values

    def _render_traceback_(self) -> list[str]:
        """What Jupyter shows in place of a traceback; the sentence stands above it (`tinyldm.exercises.check`)."""
        return ["The lesson stops here until the answer is right."]


class Endless(BaseException):
    """The function ran for more than SECONDS. (Not an Exception, which an answer may catch.)"""


@dataclass(frozen=True)
class Twist:
    """What a private variant changes in an exercise, for a number N that is drawn.

    Args:
        says: the sentence added to the question, with {N} for the number.
        numbers: N is one of these.
        ask: (N, usual arguments) -> those arguments that differ in the variant.
        take: (N, the variant's arguments) -> the usual ones.
        read: (N, the variant's result) -> the usual one.
        give: (N, usual result) -> the variant's.
    """

    says: str
    numbers: tuple
    ask: Callable[..., Case] = lambda N, **given: {}
    take: Callable[..., Case] = lambda N, **given: {}
    read: Callable[[Any, Any], Any] = lambda N, answer: answer
    give: Callable[[Any, Any], Any] = lambda N, answer: answer


@dataclass(frozen=True, eq=False)
class Exercise:
    """What a check knows of an exercise.

    Args:
        number: as in its heading, "2.2".
        answer: a right answer, the same as in the lesson; from it the mutants are made.
        cases: makes arguments from a seeded generator: several sets of them, by name, in the order of the function.
        twist: what a private variant changes.
        reference: the package's own function with these arguments, if there is one; must give what ``answer`` gives.
        mistakes: a sentence, and a function that makes that mistake; the first that gives the learner's result counts.
        gradients: arguments whose gradients must be those of ``answer``.
        watch: what of the calls of functions handed over must be as in ``answer``, made of the list of `Call`.
        finish: turns a result that cannot be compared, as a function, into one that can.
        words: how a sentence writes the answer's variables, {"a": "ᾱ_t"}.
        right: what is printed of a right answer.
        form: turns a function of the usual form into one of the variant's.
    """

    number: str
    answer: Callable
    cases: Callable[[torch.Generator], list[Case]]
    twist: Twist
    reference: Callable | None = None
    mistakes: tuple[tuple[str, Callable], ...] = ()
    gradients: tuple[str, ...] = ()
    watch: Callable[[list[Call]], Any] | None = None
    finish: Callable[[Any], Any] | None = None
    words: dict[str, str] = field(default_factory=dict)
    right: str = "Right."
    form: Callable[[Callable], Callable] = lambda function: function

    def inputs(self) -> list[Case]:
        """The cases; the same every time."""
        return self.cases(torch.Generator().manual_seed(0))

    def run(self, function: Callable) -> list[Outcome]:
        """What a function of this exercise's form does on each case."""
        return [observe(self, function, case) for case in self.inputs()]

    def variant(self, N: Any) -> Exercise:
        """The exercise of a private variant whose number is ``N``."""
        twist = self.twist

        def form(function: Callable) -> Callable:
            @functools.wraps(function)
            def varied(*values: Any, **named: Any) -> Any:
                given = inspect.signature(self.answer).bind(*values, **named).arguments
                return twist.give(N, function(**{**given, **twist.take(N, **given)}))

            return varied

        def cases(generator: torch.Generator) -> list[Case]:
            return [{**case, **twist.ask(N, **case)} for case in self.cases(generator)]

        says = f"This is the answer to the public exercise. In your version, {asked(twist, N)}"
        mistakes = ((says, self.answer), *((sentence, form(function)) for sentence, function in self.mistakes))
        return replace(self, cases=cases, mistakes=mistakes, form=form)

    def usual(self, function: Callable, N: Any) -> Callable:
        """A function that answers the variant as one that answers the usual exercise: for the cells that follow."""

        def usual(*values: Any, **named: Any) -> Any:
            given = inspect.signature(self.answer).bind(*values, **named).arguments
            return self.twist.read(N, function(**{**given, **self.twist.ask(N, **given)}))

        return usual


def asked(twist: Twist, N: Any) -> str:
    """The sentence of a variant, with its number."""
    return twist.says.replace("{N}", str(N))


# ---------------------------------------------------------------- running a function and watching it


@dataclass
class Call:
    """A call of a function that the exercise handed over: its name, and its arguments by name."""

    name: str
    given: Case
    error: Exception | None = None


@dataclass
class Outcome:
    """What came of running a function on one case."""

    result: Any = None
    error: BaseException | None = None
    calls: list[Call] = field(default_factory=list)
    printed: str = ""
    changed: list[str] = field(default_factory=list)  # arguments changed in place
    drew: bool = False  # from the global random numbers
    gradients: dict[str, list[Tensor | None]] = field(default_factory=dict)  # for each argument, of each result
    stuck: Exception | None = None  # what kept gradients from being computed


def observe(exercise: Exercise, function: Callable, case: Case) -> Outcome:
    """Run a function on copies of a case's arguments, and note what happens."""
    seen, state, printed = Outcome(), torch.get_rng_state(), io.StringIO()
    before = {name: _copied(value) for name, value in case.items()}
    given = {name: _spied(name, _copied(value), seen.calls) for name, value in case.items()}
    try:
        with contextlib.redirect_stdout(printed), _limited():
            seen.result = function(*given.values())
            if exercise.finish and seen.result is not None:
                seen.result = exercise.finish(seen.result)
    except (Exception, Endless) as error:
        seen.error = error
    seen.printed, seen.drew = printed.getvalue(), bool((state != torch.get_rng_state()).any())
    seen.changed = [name for name, value in before.items() if not same(given[name], value)]
    if exercise.gradients and seen.error is None:
        _differentiate(exercise, function, case, seen)
    torch.set_rng_state(state)
    return seen


def _differentiate(exercise: Exercise, function: Callable, case: Case, seen: Outcome) -> None:
    """Gradients of each tensor of the result, weighted unevenly, for each argument that is asked about."""
    given = {name: _copied(value) for name, value in case.items()}
    wanted = [given[name].requires_grad_() for name in exercise.gradients]
    try:
        with contextlib.redirect_stdout(io.StringIO()), _limited():
            results = _tensors(function(*given.values()))
        rows = [_gradients(result, wanted) for result in results]
        seen.gradients = {name: [row[i] for row in rows] for i, name in enumerate(exercise.gradients)}
    except (Exception, Endless) as error:
        seen.stuck = error if isinstance(error, Exception) else RuntimeError("it takes too long")


def _gradients(result: Tensor, wanted: list[Tensor]) -> list[Tensor | None]:
    if not result.requires_grad:
        return [None] * len(wanted)
    weights = torch.linspace(0.5, 1.5, max(result.numel(), 1)).to(result).view_as(result)
    found = torch.autograd.grad((result * weights).sum(), wanted, retain_graph=True, allow_unused=True)
    return [gradient if gradient is not None and gradient.any() else None for gradient in found]


def _tensors(result: Any) -> list[Tensor]:
    if isinstance(result, list | tuple):
        return [tensor for part in result for tensor in _tensors(part)]
    return [result] if isinstance(result, Tensor) else []


def _copied(value: Any) -> Any:
    """A copy of an argument that a function may do with as it likes."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, torch.Generator):
        return torch.Generator().set_state(value.get_state())
    return copy.deepcopy(value) if isinstance(value, list | dict) else value


def _spied(name: str, value: Any, calls: list[Call]) -> Any:
    """A function that notes its calls, in place of a function; other values as they are."""
    if not inspect.isfunction(value):
        return value
    signature = inspect.signature(value)

    def spied(*values: Any, **named: Any) -> Any:
        call = Call(name, {str(place): _copied(one) for place, one in enumerate(values)} | named)
        calls.append(call)
        try:
            bound = signature.bind(*values, **named)
            call.given = {parameter: _copied(one) for parameter, one in bound.arguments.items()}
            return value(*bound.args, **bound.kwargs)
        except Exception as error:
            call.error = error
            raise

    spied.__signature__ = signature  # type: ignore[attr-defined]
    return spied


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise Endless in whatever line runs when the time is over (a signal would not do on Windows or in a thread)."""
    end, before = time.monotonic() + SECONDS, sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True  # `while True: pass` never begins a new line
        if time.monotonic() > end:
            raise Endless
        return None if frame.f_code.co_filename.startswith(_LIBRARIES) else trace

    if before is None:  # else a debugger is at work
        sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


# ---------------------------------------------------------------- comparing


def same(got: Any, wanted: Any) -> bool:
    """Equal, up to rounding and to what does not matter: float64, a list for a tuple, numpy's numbers."""
    if isinstance(wanted, Tensor):
        alike = isinstance(got, Tensor) and got.shape == wanted.shape and same_kind(got, wanted)
        return alike and near(got, wanted)
    if isinstance(wanted, bool | str) or wanted is None:
        return type(got) is type(wanted) and got == wanted
    if isinstance(wanted, int):
        return type(got) is not bool and isinstance(got, numbers.Integral) and got == wanted
    if isinstance(wanted, float):
        try:
            return isinstance(got, numbers.Real) and math.isclose(got, wanted, rel_tol=CLOSE, abs_tol=1e-9)
        except OverflowError:  # an int too large for a float
            return False
    if isinstance(wanted, list | tuple):
        alike = isinstance(got, list | tuple) and len(got) == len(wanted)
        return alike and all(same(one, other) for one, other in zip(got, wanted, strict=True))
    if isinstance(wanted, dict):
        return isinstance(got, dict) and got.keys() == wanted.keys() and all(same(got[k], wanted[k]) for k in wanted)
    if isinstance(wanted, set | frozenset):
        return isinstance(got, set | frozenset) and got == wanted
    return type(got) is type(wanted)  # what is only handed through, as a schedule


def same_kind(got: Tensor, wanted: Tensor) -> bool:
    """Both floating point, or both integers; bytes and bools only if both are."""
    if torch.bool in (got.dtype, wanted.dtype) or wanted.dtype == torch.uint8:
        return got.dtype == wanted.dtype
    return got.is_floating_point() == wanted.is_floating_point()


def near(got: Tensor, wanted: Tensor) -> bool:
    """Equal up to rounding, for tensors of one shape."""
    kind = torch.complex128 if got.is_complex() or wanted.is_complex() else torch.float64
    got, wanted = got.detach().to(kind), wanted.detach().to(kind)
    scale = wanted[wanted.isfinite()].abs().max().item() if wanted.isfinite().any() else 0.0
    close = (got - wanted).abs() <= CLOSE * (wanted.abs() + scale / 10)
    return bool((close | (got == wanted) | (got.isnan() & wanted.isnan())).all())


def agree(exercise: Exercise, one: Outcome, other: Outcome) -> bool:
    """Whether two functions did the same on a case: result and gradients, or kind of error; and calls, if watched."""
    if one.error or other.error:
        return type(one.error) is type(other.error)
    if exercise.watch and not same(exercise.watch(one.calls), exercise.watch(other.calls)):
        return False
    if bool(one.stuck) != bool(other.stuck):
        return False
    return same(one.result, other.result) and same(one.gradients, other.gradients)


def untouched(error: BaseException | None) -> bool:
    """Whether this is what the stub of an exercise raises."""
    return isinstance(error, NotImplementedError) and str(error).startswith("exercise ")
