"""Say in one sentence what is wrong with an answer, knowing only what it gave and what it should have given.

`explain` takes the first of these that fits: what happened (an exception in the learner's own line, nothing returned,
an endless loop, a function called wrongly), a mistake that the exercise names, a mutant of its answer
(`tinyldm.mutations`), a relation between both results (`tinyldm.relations`), and else the first number that differs.
"""

from __future__ import annotations

import ast
import dis
import inspect
import itertools
import linecache
import math
import numbers
import re
import sys
import textwrap
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .checks import Call, Case, Endless, Exercise, NotYet, Outcome, _tensors, agree, near, observe, same, same_kind
from .mutations import mutants
from .relations import differs, entry, related, relations, short, type_and_shape, with_arguments


def explain(exercise: Exercise, function: Callable, got: list[Outcome], wanted: list[Outcome]) -> str:
    """One sentence about a wrong answer.

    Args:
        exercise: what was asked.
        function: what the learner wrote.
        got: what it did in each case.
        wanted: what it should have done.
    """
    cases = exercise.inputs()
    first = next(i for i, (one, other) in enumerate(zip(got, wanted, strict=False)) if not agree(exercise, one, other))
    given, did, should = cases[first], got[first], wanted[first]
    sentences = itertools.chain(
        _happened(function, did, should, got),
        _known(exercise, got, wanted),
        _instead(function),
        _drew(exercise, function, given, did, should),
        _raised(function, given, did, should),
        _none(function, did, should),
        _type(did.result, should.result),
        _seeded(function, did, should),
        _mutated(exercise, got, wanted),
        _differentiated(exercise, function, did, should),
        _unused(function, given, did),
        _called(given, did, should, exercise),
        _changed(did, should),
        _lengths(did.result, should.result),
        _undefined(exercise, function, given, did, should),
        _clamped(exercise, function, did, should),
        related(cases, got, wanted),
        differs(did.result, should.result, given),
    )
    return next(sentences)


# ---------------------------------------------------------------- what happened


def misfit(function: Any, exercise: Exercise) -> str | None:
    """What keeps a function from being called as the exercise calls it."""
    if not callable(function):
        return f"The check needs the function itself, not what it returns: a {type(function).__name__} was given."
    asked = list(inspect.signature(exercise.answer).parameters)
    try:
        inspect.signature(function).bind(*asked)
    except TypeError:
        has = ", ".join(inspect.signature(function).parameters)
        return f"The function's arguments were changed: ({', '.join(asked)}) was asked for, yours takes ({has})."
    return None


def _happened(function: Callable, did: Outcome, should: Outcome, got: list[Outcome]) -> Iterator[str]:
    name = getattr(function, "__name__", "the function")
    if isinstance(did.error, Endless):
        yield f"`{name}` does not come to an end: is there a loop whose condition never changes?"
    elif isinstance(did.error, RecursionError):
        yield f"`{name}` calls itself without end."
    elif did.error is None and did.result is None and should.result is not None:
        if did.printed:
            yield f"`{name}` prints its result and returns nothing: use `return` in place of `print`."
        if any(one.result is not None for one in got):
            yield f"`{name}` returns nothing here, and something in other cases: each way through it needs a `return`."
        if _may_return(function):
            yield f"`{name}` came to its end without meeting a `return`: is one missing there, or a case left out?"
        yield f"`{name}` returns nothing: is the last line a `return`?"
    elif should.error is not None and did.error is None:
        what = type(should.error).__name__
        yield f"Here a {what} must be raised ({should.error}); yours returns {short(did.result)}."
    elif should.error is not None and not isinstance(did.error, type(should.error) | NameError | NotYet):
        what, instead = type(should.error).__name__, type(did.error).__name__
        text = f" ({did.error})" if str(did.error) else ""
        yield f"Here a {what} must be raised ({should.error}); yours raises {instead}{text}."


def _may_return(function: Callable) -> bool:
    """Whether some `return` of the code gives a value."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    steps = list(dis.get_instructions(code)) if code else []
    nothing = {"LOAD_CONST", "RETURN_CONST"}
    return any(
        one.opname == "RETURN_VALUE" and not (before.opname in nothing and before.argval is None)
        for before, one in itertools.pairwise(steps)
    )


def _none(function: Callable, did: Outcome, should: Outcome) -> Iterator[str]:
    """None among the results, made by a method that changes a list and returns nothing."""
    results = did.result if isinstance(did.result, list | tuple) else []
    found = _names(function) & {"sort", "reverse", "append", "extend"}
    if found and any(one is None for one in results) and not same(did.result, should.result):
        name = sorted(found)[0]
        cure = "`sorted` returns a new one" if name == "sort" else "call it in a line of its own"
        yield f"`.{name}()` changes the list itself and returns None: {cure}."


def _raised(function: Callable, case: Case, did: Outcome, should: Outcome) -> Iterator[str]:
    """An exception, in words, with the learner's line and the shapes that met there."""
    error = did.error
    if error is None:
        return
    if isinstance(error, NotYet):  # said by the exercise's own ``finish``
        yield str(error)
    refused = next((call for call in did.calls if call.error is not None), None)
    if refused:
        yield from _refused(refused, did, should)
    frame, line, piece = _own_line(error, function)
    if line.startswith("raise") and should.error is None:
        start = with_arguments(case)
        start = "Here " if start == "It" else start.removesuffix("it")
        yield f"{start}`{line}` is reached, where nothing is wrong with what was given."
    where = f"Line `{piece or line}`" if line else "It"
    sides = _operands(_assignment(line, piece), frame) if frame else ""
    found = sides if " and " in sides else _operands(piece or line, frame) if frame else ""
    met = f" Here {found}." if found else ""
    said = re.sub(r"\S+\.<locals>\.", "", " ".join(str(error).split()).rstrip("."))
    said = textwrap.shorten(said, 160, placeholder=" ...")
    if isinstance(error, NameError):
        yield f"{where} uses a name that does not exist there: {said}."
    if isinstance(error, UnboundLocalError):
        yield f"{where} uses a variable before it has a value: {said}."
    if isinstance(error, RuntimeError) and (
        "must match" in said or "shapes cannot" in said or "Sizes of tensors" in said or "size" in said
    ):
        yield f"{where}: the shapes don't fit.{met or ' ' + said + '.'}"
    if "must be Tensor, not" in said:
        kind = said.split("must be Tensor, not ")[1].split(" ")[0].rstrip(".")
        a = "an" if kind[0] in "aeio" else "a"
        both = "; `** 0.5`, for example, takes both" if kind in ("int", "float") else ""
        yield f"{where}: PyTorch's function takes a tensor, and this is {a} {kind}{both}."
    if "bitwise_xor" in said or "for ^:" in said:
        yield f"{where}: `^` is no power in Python; `**` is."
    if "does not require grad" in said and "backward" in (piece or line):
        yield f"{where}: the training loop calls `backward`, on what is returned; here it is too early."
    if isinstance(error, AttributeError):
        yield f"{where}: {said}.{met}"
    if isinstance(error, IndexError) and "used as indices" in said:
        yield f"{where}: an index must be an integer, or a tensor of integers or booleans.{met}"
    if isinstance(error, IndexError) and "shape of the mask" in said:
        yield f"{where}: the mask must have the shape of what it is put on.{met}"
    if isinstance(error, IndexError):
        yield f"{where}: the index is out of range ({said}).{met}"
    if isinstance(error, KeyError):
        yield f"{where}: the dictionary has no entry {said}.{'' if said in met else met}"
    if isinstance(error, ZeroDivisionError):
        yield f"{where} divides by zero.{met}"
    if "Boolean value of Tensor" in said:
        yield f"{where}: a whole tensor is neither true nor false; `if` and `and` need one number, or use masks.{met}"
    if "can't be cast" in said or "to Scalar" in said or "converted to" in said:
        yield f"{where}: there is more than one number (or another type) where a single one is needed ({said}).{met}"
    yield f"{where} fails: {type(error).__name__}: {said}.{met}"


def _own_line(error: BaseException, function: Callable) -> tuple[FrameType | None, str, str]:
    """The innermost frame in the learner's code, its line, and the piece of it that failed."""
    files = {getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", "")}
    found: tuple[FrameType | None, str, str] = None, "", ""
    for step, summary in zip(
        traceback.walk_tb(error.__traceback__), traceback.extract_tb(error.__traceback__), strict=True
    ):
        frame = step[0]
        if frame.f_code.co_filename in files:
            line = linecache.getline(frame.f_code.co_filename, summary.lineno or 0)
            one = summary.end_lineno == summary.lineno and summary.colno is not None
            piece = line.encode()[summary.colno : summary.end_colno].decode(errors="ignore") if one else ""
            found = frame, line.strip(), piece.strip()
    return found


def _assignment(line: str, piece: str) -> str:
    """Both sides of a line like `rows[:, 0] = x`, if it is its left side that failed."""
    try:
        (tree,) = ast.parse(line).body
        if isinstance(tree, ast.Assign) and ast.unparse(tree.targets[0]) == ast.unparse(ast.parse(piece)):
            return f"[{ast.unparse(tree.targets[0])}, {ast.unparse(tree.value)}]"
    except (SyntaxError, ValueError):
        pass
    return ""


def _operands(text: str, frame: FrameType) -> str:
    """What met in a piece of a line: "`a` of shape (3,) and `x0` of shape (3, 2, 5, 4)"."""
    try:
        tree = ast.parse(text.strip().removeprefix("return ").rstrip(":"), mode="eval").body
    except SyntaxError:
        return ""
    parts: list[ast.expr] = []
    if isinstance(tree, ast.BinOp):
        parts = [tree.left, tree.right]
    elif isinstance(tree, ast.Call):
        parts = [tree.func.value] if isinstance(tree.func, ast.Attribute) else []
        parts += [part for one in tree.args for part in (one.elts if isinstance(one, ast.List | ast.Tuple) else [one])]
    elif isinstance(tree, ast.List):
        parts = tree.elts
    elif isinstance(tree, ast.Subscript | ast.Attribute):
        parts = [tree.value] + ([tree.slice] if isinstance(tree, ast.Subscript) else [])
    told = []
    for part in parts:
        if not any(isinstance(node, ast.Name) for node in ast.walk(part)):  # a literal says its value itself
            continue
        if any(_changes(node) for node in ast.walk(part)):  # run again, it would give something else
            continue
        if isinstance(part, ast.Slice | ast.Tuple) and any(isinstance(node, ast.Slice) for node in ast.walk(part)):
            continue
        try:
            value = eval(compile(ast.Expression(part), "<piece>", "eval"), frame.f_globals, frame.f_locals)
        except Exception:
            continue
        if isinstance(value, Tensor | numbers.Number | str | np.ndarray | list | tuple):
            shown = short(value) if isinstance(value, numbers.Number | str) else type_and_shape(value)
            told.append(f"`{ast.unparse(part)}` is {shown}")
    return " and ".join(told)


def _changes(node: ast.AST) -> bool:
    """Whether a node is a call that changes what it is called on: `skips.pop()`, `next(rows)`, `x.add_(1)`."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name.endswith("_") or name in ("pop", "popitem", "append", "extend", "insert", "remove", "next")


def _refused(call: Call, did: Outcome, should: Outcome) -> Iterator[str]:
    """A function that the exercise hands over could not do with what it was given."""
    number = next(i for i, one in enumerate(c for c in did.calls if c.name == call.name) if one is call)
    asked = [one for one in should.calls if one.name == call.name]
    if not asked:
        return
    expected = asked[min(number, len(asked) - 1)].given
    takes = ", ".join(expected)
    if call.given.keys() != expected.keys():
        count = f"{len(call.given)} argument{'s' * (len(call.given) != 1)}"
        yield f"`{call.name}` takes ({takes}); it was called with {count}."
    yield from _arguments(call, expected, {})


def _arguments(call: Call, expected: Case, case: Case) -> Iterator[str]:
    """Which argument of a call is not what it should be, and what it is instead."""
    wrong = [name for name in expected if name in call.given and not same(call.given[name], expected[name])]
    for one, other in itertools.combinations(wrong, 2):
        if same(call.given[one], expected[other]) and same(call.given[other], expected[one]):
            yield f"In the call of `{call.name}`, `{one}` and `{other}` have changed places."
    for name in sorted(wrong, key=lambda name: not _is_related(case, call.given[name], expected[name])):
        got, asked = call.given[name], expected[name]
        if name in case and isinstance(got, Tensor) and same(got, case[name]):
            if got.shape != getattr(asked, "shape", got.shape):
                shapes = f"of shape {tuple(got.shape)}; it should be given one of shape {tuple(asked.shape)}"
                yield f"`{call.name}` was given `{name}` as it came in, {shapes}."
            yield f"`{call.name}` was given `{name}` as it came in: something is to be done with it first."
        for other, value in case.items():
            if (
                other != name
                and isinstance(value, Tensor | int | float)
                and type(value) is type(got)
                and same(got, value)
            ):
                yield f"`{call.name}` was given `{other}` as its `{name}`, which is not what it needs."
        if isinstance(got, Tensor) and isinstance(asked, Tensor):
            found = next(relations([{}], [got], [asked]), None)
            found = found or next(differs(got, asked))
            yield f"What `{call.name}` is given as `{name}` is wrong: {found[0].lower()}{found[1:]}"
        yield f"`{call.name}` is given a wrong `{name}`: {short(got)}, and it should be {short(asked)}."


def _is_related(case: Case, got: Any, asked: Any) -> bool:
    """Whether more can be said of an argument than that its values differ."""
    continuous = all(isinstance(one, Tensor) and one.is_floating_point() for one in (got, asked))
    return continuous and any(relations([case], [got], [asked]))


def _called(case: Case, did: Outcome, should: Outcome, exercise: Exercise) -> Iterator[str]:
    """Functions handed over that were called too often, never, or with something else."""
    if did.error:
        return
    names = dict.fromkeys(call.name for call in [*should.calls, *did.calls])
    calls = {
        name: [[call for call in outcome.calls if call.name == name] for outcome in (did, should)] for name in names
    }
    for name, (mine, asked) in calls.items():
        if asked and not mine:
            yield f"`{name}` is never called."
        if mine and not asked:
            yield f"`{name}` must not be called in this case."
    for name, (mine, asked) in calls.items():
        if exercise.watch and len(mine) != len(asked):
            times = "once" if len(asked) == 1 else f"{len(asked)} times"
            yield f"`{name}` must be called {times}; it was called {len(mine)} times."
        for argument in asked[0].given if len(mine) > 1 and len(asked) > 1 else ():
            if _all_same(argument, mine) and not _all_same(argument, asked):
                yield f"`{name}` is given the same `{argument}` in every call; it must be another each time."
    ordered = list(zip(did.calls, should.calls, strict=False))
    if [call.name for call in did.calls] != [call.name for call in should.calls]:
        ordered = [pair for mine, asked in calls.values() for pair in zip(mine, asked, strict=False)]
    for one, other in ordered:  # the first that is wrong makes those after it wrong
        if not same(one.given, other.given):
            yield from _arguments(one, other.given, case)


def _all_same(argument: str, calls: list[Call]) -> bool:
    values = [call.given.get(argument) for call in calls]
    return isinstance(values[0], Tensor | int | float) and all(same(value, values[0]) for value in values)


# ---------------------------------------------------------------- mistakes that are known


def _known(exercise: Exercise, got: list[Outcome], wanted: list[Outcome]) -> Iterator[str]:
    yield from (sentence for sentence, outcomes in _of_mistakes(exercise) if _fits(exercise, outcomes, got, wanted))


def _mutated(exercise: Exercise, got: list[Outcome], wanted: list[Outcome]) -> Iterator[str]:
    """Of numbers without rounding, several mistakes may give the same by chance: then none of them is named."""
    if got[0].error is None and not _constant(got):
        found = _of_mutants(exercise)
        fitting = [sentence for sentence, outcomes in found if _fits(exercise, outcomes, got, wanted)]
        if _continuous(got[0].result) or len({repr(outcome.result) for outcome in got}) > 2 or len(set(fitting)) == 1:
            yield from fitting


def _constant(got: list[Outcome]) -> bool:
    """Whether one number, and no nan, came out in every case."""
    results = [one.result for one in got]
    if len(got) < 3 or not all(isinstance(one, Tensor | float) and _continuous(one) for one in results):
        return False
    return all(same(one, results[0]) for one in results) and bool(torch.as_tensor(results[0]).isfinite().all())


@cache
def _of_mistakes(exercise: Exercise) -> list[tuple[str, _Runs]]:
    return [(sentence, _Runs(exercise, wrong)) for sentence, wrong in exercise.mistakes]


@cache
def _of_mutants(exercise: Exercise) -> list[tuple[str, _Runs]]:
    made = mutants(exercise.answer, exercise.words)
    return [(one.says, _Runs(exercise, exercise.form(one.function))) for one in made]


class _Runs:
    """What a wrong function does in each case, found out when it is asked for: the first case refutes most."""

    def __init__(self, exercise: Exercise, wrong: Callable) -> None:
        self.exercise, self.wrong, self.cases = exercise, wrong, exercise.inputs()
        self.seen: list[Outcome] = []

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Outcome]:
        for number, case in enumerate(self.cases):
            if number == len(self.seen):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # what PyTorch warns of in a mutant is no learner's business
                    self.seen.append(observe(self.exercise, self.wrong, case))
            yield self.seen[number]


def _continuous(result: Any) -> bool:
    """Whether equal results mean equal formulas."""
    if isinstance(result, list | tuple):
        return any(map(_continuous, result))
    return isinstance(result, float) or (isinstance(result, Tensor) and result.is_floating_point())


def _fits(exercise: Exercise, outcomes: _Runs, got: list[Outcome], wanted: list[Outcome]) -> bool:
    """Whether a function did in all cases what the learner's did.

    Of exceptions the texts must be the same too, but for a kind that is asked for: its text is the learner's own.
    """
    asked = {type(outcome.error) for outcome in wanted}
    first = next(i for i, (one, other) in enumerate(zip(got, wanted, strict=False)) if not agree(exercise, one, other))
    later = got[first].error is None and _continuous(got[first].result)  # then an exception further on may be another
    return len(got) == len(outcomes) and all(
        (later and mine.error and type(mine.error) not in asked)
        or (
            agree(exercise, mine, its)
            and (not mine.error or type(mine.error) in asked or str(mine.error) == str(its.error))
        )
        for mine, its in zip(got, outcomes, strict=True)
    )


def _instead(function: Callable) -> Iterator[str]:
    """A variable of the lesson that the code reads in the place of an argument."""
    unread, strangers = _read(function)
    if unread and strangers:
        yield f"The argument `{unread[0]}` is never used; it uses `{strangers[0]}`, a variable of the lesson."


def _unused(function: Callable, case: Case, did: Outcome) -> Iterator[str]:
    """An argument that the code never reads, or a variable of the lesson that it reads."""
    unread, strangers = ([], []) if did.error else _read(function)
    unread = [name for name in unread if not inspect.isfunction(case.get(name))]  # of these: "is never called"
    if unread:
        yield f"The argument `{unread[0]}` is never used."
    if strangers:
        yield f"It uses `{strangers[0]}`, a variable of the lesson: everything it needs comes as an argument."


def _read(function: Callable) -> tuple[list[str], list[str]]:
    """Arguments that the code never reads, and variables of the lesson that it reads."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return [], []
    read = {
        step.argval
        for step in dis.get_instructions(code)
        if step.opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_CLOSURE"))
    }
    read |= {name for step in dis.get_instructions(code) if isinstance(step.argval, tuple) for name in step.argval}
    unread = [name for name in code.co_varnames[: code.co_argcount] if name not in read]
    strangers = [
        name
        for name in code.co_names
        if isinstance(function.__globals__.get(name), Tensor | numbers.Number | list | dict)
    ]
    return unread, strangers


# ---------------------------------------------------------------- types


def _type(got: Any, wanted: Any) -> Iterator[str]:
    """The result is of another kind than was asked for."""
    if wanted is None or got is None:
        return
    if isinstance(wanted, Tensor):
        if isinstance(got, Tensor):
            yield from _dtype(got, wanted)
        elif isinstance(got, int | float) and wanted.ndim == 0:
            kind = type(got).__name__
            if math.isclose(got, wanted.item(), rel_tol=1e-4):
                yield (
                    f"A tensor was asked for, and this is a plain {kind}: "
                    "`.item()` cuts off the gradient; leave it out."
                )
            yield f"A tensor was asked for, and this is a plain {kind}, {short(got)}."
        else:
            yield f"A tensor was asked for, and this is {type_and_shape(got)}."
    elif isinstance(wanted, int | float) and not isinstance(wanted, bool):
        asked = "an int" if isinstance(wanted, int) else "a plain number"
        if isinstance(got, Tensor | np.ndarray) and math.prod(got.shape) == 1:
            cure = "int(...)" if isinstance(wanted, int) else "`.item()`"
            yield (
                f"Not a tensor but {asked} was asked for: {cure} makes one."
                if _value(got, wanted)
                else _off(got, wanted)
            )
        if isinstance(got, float) and isinstance(wanted, int) and got == wanted:
            yield f"The value is right, but {asked} was asked for, not a float."
        if type(got) is bool or not isinstance(got, numbers.Real):
            yield f"{asked.capitalize()} was asked for, and this is {type_and_shape(got)}."
    elif isinstance(wanted, list | tuple):
        if not isinstance(got, list | tuple):
            asked = f"A list of {len(wanted)} was" if isinstance(wanted, list) else f"{len(wanted)} things were"
            yield f"{asked} asked for, and this is {type_and_shape(got)}."
        for place, (one, other) in enumerate(zip(got, wanted, strict=False)):
            if len(got) == len(wanted) and not same(one, other):
                for sentence in _type(one, other):
                    yield entry(place, sentence)
    elif callable(wanted) and not callable(got):
        yield f"A function was asked for, and this is {type_and_shape(got)}."
    elif type(got) is not type(wanted) and not isinstance(wanted, dict):
        yield f"A {type(wanted).__name__} was asked for, and this is {type_and_shape(got)}."


def _lengths(got: Any, wanted: Any) -> Iterator[str]:
    """A list that is too long or too short."""
    if isinstance(wanted, list | tuple) and isinstance(got, list | tuple):
        inner = next((i for i, part in enumerate(got) if isinstance(part, list | tuple)), None)
        if inner is not None and not any(isinstance(part, list | tuple) for part in wanted):
            yield f"Entry {inner} is a list itself; one flat list was asked for: `+` joins lists."
        if all(isinstance(part, str) for part in [*got, *wanted]):
            yield from (f"{short(part)} does not belong in it." for part in got if part not in wanted)
            yield from (f"{short(part)} is missing in it." for part in wanted if part not in got)
        if len(got) != len(wanted):
            yield f"{len(wanted)} entries were asked for, and this has {len(got)}."
        for place, (one, other) in enumerate(zip(got, wanted, strict=False)):
            for sentence in _lengths(one, other):
                yield entry(place, sentence)


def _value(got: Any, wanted: float) -> bool:
    return math.isclose(float(got.item()), wanted, rel_tol=1e-4)


def _off(got: Any, wanted: float) -> str:
    return (
        f"A plain number was asked for, not a tensor; and it should be {short(wanted)} here, not {short(got.item())}."
    )


def _dtype(got: Tensor, wanted: Tensor) -> Iterator[str]:
    if got.shape == wanted.shape and not same_kind(got, wanted):
        if got.is_complex():
            yield "Complex numbers come out: a root of a negative number was taken."
        if near(got, wanted):
            yield f"The values are right, but of type {got.dtype}; {wanted.dtype} was asked for."
        shown = (f": {short(wanted)}", f": {short(got)}") if got.numel() <= 8 else ("", "")
        if not wanted.is_floating_point() and got.is_floating_point():
            yield f"Integers, {wanted.dtype}, were asked for{shown[0]}; these are {got.dtype}{shown[1]}."
        yield f"The type should be {wanted.dtype}, and is {got.dtype}."


# ---------------------------------------------------------------- gradients and random numbers


def _drew(exercise: Exercise, function: Callable, case: Case, did: Outcome, should: Outcome) -> Iterator[str]:
    """Random numbers of its own, if anything depends on them (weights that are only counted do not)."""
    if not did.drew or should.drew:
        return
    tries = []
    with torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.manual_seed(seed)
            tries.append(observe(exercise, function, case))
    if not agree(exercise, *tries) or str(tries[0].error) != str(tries[1].error):
        yield "It draws random numbers of its own; all randomness must come from the arguments."


def _seeded(function: Callable, did: Outcome, should: Outcome) -> Iterator[str]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is not None and not did.error and {"Generator", "default_rng"} & {*code.co_names}:
        yield "It makes random numbers of its own, from its own seed; all randomness must come from the arguments."


def _changed(did: Outcome, should: Outcome) -> Iterator[str]:
    """An argument changed in place, which may be why the values are wrong."""
    if did.error is None and not same(did.result, should.result):
        for name in did.changed:
            yield f"`{name}` itself is changed in place, so that later lines, and the lesson, see a changed `{name}`."


def _differentiated(exercise: Exercise, function: Callable, did: Outcome, should: Outcome) -> Iterator[str]:
    if did.error or not same(did.result, should.result):
        return
    if did.stuck and (did.changed or "in-place" in str(did.stuck)):
        which = f"`{did.changed[0]}` itself" if did.changed else "an argument"
        yield f"The values are right, but {which} was changed in place, and no gradient can pass."
    if did.stuck:
        yield f"The values are right, but no gradient can pass: {' '.join(str(did.stuck).split()).rstrip('.')}."
    for name in exercise.gradients:
        for place, (mine, asked) in enumerate(zip(did.gradients.get(name, []), should.gradients[name], strict=False)):
            part = f" from entry {place} of the result" if len(should.gradients[name]) > 1 else ""
            if mine is None and asked is not None:
                yield f"The values are right, but no gradient reaches `{name}`{part}: {_cut(function)}"
            if mine is not None and asked is None:
                yield f"The values are right, but a gradient reaches `{name}`{part} and must not: detach something."
            if mine is not None and asked is not None and not same(mine, asked):
                yield f"The values are right, but not the gradient for `{name}`{part}: it is partly detached."


def _cut(function: Callable) -> str:
    """What in the code cuts gradients off."""
    names, cutting = _names(function), {"item": ".item()", "tolist": ".tolist()", "numpy": ".numpy()"}
    cutting |= {"no_grad": "no_grad", "inference_mode": "inference_mode", "tensor": "torch.tensor(...)"}
    found = [f"`{text}`" for name, text in cutting.items() if name in names]
    return f"{found[0]} cuts it off." if found and "detach" not in names else "was it detached?"


def _names(function: Callable) -> set[str]:
    """Names of functions, methods and variables of the lesson in a function's code, and in what it defines."""
    names, codes = set(), [getattr(inspect.unwrap(function), "__code__", None)]
    while codes:
        code = codes.pop()
        if inspect.iscode(code):
            names |= set(code.co_names)
            codes += code.co_consts
    return names


NAN = {
    "sqrt": "the root of a negative number", "rsqrt": "the root of a negative number",
    "pow": "a root or power of a negative number", "log": "the logarithm of a negative number",
    "div": "0 divided by 0, or by something infinite", "mul": "0 times infinity", "sub": "infinity minus infinity",
    "softmax": "a row in which all is −∞", "mean": "the mean of nothing",
}  # fmt: skip


class _Undefined(TorchFunctionMode):
    """Notes the first call that makes nan of numbers, and the piece of the learner's line that made it."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file, self.piece, self.why = file, "", ""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        if not self.piece and _has_nan(result) and not any(map(_has_nan, [*args, *(kwargs or {}).values()])):
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_code.co_filename != self.file:
                frame = frame.f_back
            if frame is not None:
                start, end, left, right = list(frame.f_code.co_positions())[frame.f_lasti // 2]
                line = linecache.getline(self.file, start or 0).encode()
                self.piece = line[left:right].decode(errors="ignore").strip() if start == end else ""
                name = getattr(func, "__name__", "").strip("_").removeprefix("true")
                self.why = NAN.get(name.removesuffix("2").removesuffix("10"), NAN.get(name[1:], ""))  # rsub, rpow
        return result


def _has_nan(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and bool(value.isnan().any())


def _undefined(exercise: Exercise, function: Callable, case: Case, did: Outcome, should: Outcome) -> Iterator[str]:
    """Where nan comes from."""
    if did.error or not any(map(_has_nan, _tensors(did.result))) or any(map(_has_nan, _tensors(should.result))):
        return
    with _Undefined(getattr(getattr(inspect.unwrap(function), "__code__", None), "co_filename", "")) as seen:
        observe(exercise, function, case)
    if seen.piece:
        yield f"nan appears first in `{seen.piece}`{', ' + seen.why if seen.why else ''}."


def _clamped(exercise: Exercise, function: Callable, did: Outcome, should: Outcome) -> Iterator[str]:
    """Some numbers right, others not, and a `clamp` that the answer does without."""
    clamps = {"clamp", "clip", "clamp_", "clip_"}
    used = _names(function) & clamps
    one, other = did.result, should.result
    if not used or _names(exercise.answer) & clamps or not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return
    if one.shape == other.shape and one.numel() > 7 and torch.isclose(one, other, rtol=1e-4).any():
        name = sorted(used)[0]
        yield f"Numbers are clamped by `{name}`, which cuts off what lies outside its bounds: leave it out."
