"""How a wrong result is related to the right one, in a sentence; and how values are shown.

`related` looks for what holds between both results in all cases of an exercise: a sign, a factor, a shape, a root, some
rows only. `differs` names the first number that differs, when nothing else can be said.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import Case, Outcome, near, same


def entry(place: int, sentence: str) -> str:
    """A sentence about one of several results; or about an entry of one of them."""
    inner = re.sub(r"^Entry (\d+) of the result: ", r"in its entry \1, ", sentence)
    return f"Entry {place} of the result: {inner[0].lower()}{inner[1:]}"


# ---------------------------------------------------------------- relations between two results


def related(cases: list[Case], got: list[Outcome], wanted: list[Outcome]) -> Iterator[str]:
    """What holds between both results in all cases."""
    if any(outcome.error for outcome in [*got, *wanted]) or len(got) != len(wanted):
        return
    pairs = [(one.result, other.result) for one, other in zip(got, wanted, strict=True)]
    listed = all(isinstance(part, list | tuple) for pair in pairs for part in pair)
    if listed and all(len(one) == len(other) for one, other in pairs):
        for place in range(len(pairs[0][1])):
            parts = [(one[place], other[place]) for one, other in pairs]
            numeric = all(isinstance(part, Tensor | float) for pair in parts for part in pair)
            if numeric and not all(same(*pair) for pair in parts):
                for sentence in relations(cases, *map(list, zip(*parts, strict=True))):
                    yield entry(place, sentence)
    elif all(isinstance(part, Tensor) or _manageable(part) for pair in pairs for part in pair):
        yield from relations(cases, [one for one, _ in pairs], [other for _, other in pairs])
        wrong = [i for i, pair in enumerate(pairs) if not same(*pair)]
        if len(wrong) < len(pairs) and all(isinstance(p, Tensor) and p.numel() > 7 for i in wrong for p in pairs[i]):
            yield from relations([cases[i] for i in wrong], *([pairs[i][k] for i in wrong] for k in (0, 1)))


def _manageable(value: Any) -> bool:
    """Whether this is a number that fits into a tensor."""
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**63)


def relations(cases: list[Case], got: list, wanted: list) -> Iterator[str]:
    mine = [torch.as_tensor(one).detach() for one in got]
    asked = [torch.as_tensor(one).detach() for one in wanted]
    if any(one.is_complex() for one in mine):
        yield "Complex numbers come out: a root of a negative number was taken."
        return
    for name in cases[0]:
        given = [case.get(name) for case in cases]  # None: left to its default
        if all(
            isinstance(one, Tensor) and one.shape == m.shape and near(m, one)
            for one, m in zip(given, mine, strict=True)
        ):
            yield f"`{name}` comes out as it went in."
    if any(one.shape != other.shape for one, other in zip(mine, asked, strict=True)):
        yield from _shapes(mine, asked)
        return
    if len(mine) > 2 and asked[0].ndim == 0 and all(near(one, mine[0]) for one in mine):
        yield f"It gives {short(got[0])} in every case, whatever it is given."
    for name in cases[0]:
        given = [case.get(name) for case in cases]
        for says, made in (
            (f"`{name}` was added to the right answer: leave it out.", lambda one, other: one - other),
            (f"`{name}` was subtracted from the right answer: leave it out.", lambda one, other: other - one),
            (f"It is `{name}` minus the right answer: leave `{name}` out.", lambda one, other: one + other),
            (
                f"It is the mean of the right answer and `{name}`: leave `{name}` out.",
                lambda one, other: 2 * one - other,
            ),
        ):
            if all(
                isinstance(one, Tensor) and one.is_floating_point() and one.shape == m.shape and one.numel() > 1
                and near(made(m.double(), a.double()), one)
                for one, m, a in zip(given, mine, asked, strict=True)
            ):  # fmt: skip
                yield says
    yield from _fixed(cases, [one.double() for one in mine], [one.double() for one in asked])
    yield from _numbers(cases, [one.double() for one in mine], [one.double() for one in asked])


def _shapes(mine: list[Tensor], asked: list[Tensor]) -> Iterator[str]:
    one, other = next((a, b) for a, b in zip(mine, asked, strict=True) if a.shape != b.shape)
    shapes = f"(the shape is {tuple(one.shape)}, and should be {tuple(other.shape)})"
    if one.ndim == other.ndim and sorted(one.shape) == sorted(other.shape):
        for order in itertools.permutations(range(one.ndim)):
            if one.permute(order).shape == other.shape and near(one.permute(order), other):
                yield f"It is transposed: the right numbers with their axes in another order {shapes}."
    rows = list(other) if other.ndim else []
    inside = [i for i, row in enumerate(rows) if row.shape == one.shape and near(one, row)]
    if inside and len(rows) > 1:
        which = {0: "the first", len(rows) - 1: "the last"}.get(inside[0], f"number {inside[0]}")
        cure = "was only that one computed" + (", or is the `return` inside the loop?" if inside[0] == 0 else "?")
        yield f"Of {len(rows)} rows only {which} comes out {shapes}: {cure}"
    for place, which in ((0, "first"), (-1, "last")):
        if all(
            b.ndim and len(b) > 1 and a.numel() == b[place].numel() and a.shape in (b.shape[1:], (1, *b.shape[1:]))
            and near(a.reshape(b.shape[1:]), b[place])
            for a, b in zip(mine, asked, strict=True)
        ):  # fmt: skip
            yield f"Only the {which} of {len(other)} along axis 0 came out {shapes}."
    if one.numel() == other.numel() and near(one.reshape(other.shape), other):
        yield f"The right numbers, but in another shape {shapes}."
    for axes in (axes for n in range(1, one.ndim + 1) for axes in itertools.combinations(range(one.ndim), n)):
        for reduce, name in ((torch.mean, "mean"), (torch.sum, "sum")):
            for keep in (False, True):
                small = reduce(one.double(), axes, keepdim=keep)
                if small.shape == other.shape and near(small, other):
                    yield f"The {name} over {_axes(axes)} is still to be taken {shapes}."
    for axes in (axes for n in range(1, other.ndim + 1) for axes in itertools.combinations(range(other.ndim), n)):
        for reduce, name in ((torch.mean, "mean"), (torch.sum, "sum")):
            small = reduce(other.double(), axes)
            if small.shape == one.shape and near(one, small):
                yield f"The {name} was taken over {_axes(axes)} too {shapes}."
    if one.ndim != other.ndim:
        yield f"The shape is {tuple(one.shape)}, and should be {tuple(other.shape)}: {abs(one.ndim - other.ndim)} " + (
            "axis too many." if one.ndim == other.ndim + 1 else "axes too many." if one.ndim > other.ndim else
            "axis is missing." if one.ndim == other.ndim - 1 else "axes are missing."
        )  # fmt: skip
    wrong = [
        f"axis {i} has {a} instead of {b}"
        for i, (a, b) in enumerate(zip(one.shape, other.shape, strict=False))
        if a != b
    ]
    yield f"The shape is {tuple(one.shape)}, and should be {tuple(other.shape)}: {', '.join(wrong)}."


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def _numbers(cases: list[Case], mine: list[Tensor], asked: list[Tensor]) -> Iterator[str]:
    """Relations of results that have the right shapes, over all cases together."""
    one, other = torch.cat([t.flatten() for t in mine]), torch.cat([t.flatten() for t in asked])
    if one.isnan().any() and not other.isnan().any():
        yield "There is nan in it: a root or logarithm of a negative number, 0 · log 0, or a division of 0 by 0."
    if one.isinf().any() and not other.isinf().any():
        yield "There is infinity in it: a division by 0, or a logarithm of 0."
    if near(one, -other):
        yield "The sign is the wrong way round: exactly the negative came out."
    yield from _factors(cases, mine, asked)
    fine = other.isfinite() & one.isfinite()
    one, other = one[fine], other[fine]
    if len(one) > 1 and near(one - other, (one - other)[:1].expand_as(one)) and not near(one, other):
        by, way = short((one - other)[0].abs().item()), "large" if (one - other)[0] > 0 else "small"
        yield f"It is too {way} by the same number everywhere, {by.removesuffix('.0')}."
    for name, made in (
        ("the square of the right answer", other.square()), ("the square root of the right answer", other.abs().sqrt()),
        ("the logarithm of the right answer", other.abs().log()),
        ("minus the logarithm of the right answer", -other.abs().log()),
        ("1 divided by the right answer", 1 / other), ("e to the power of the right answer", other.exp()),
        ("1 minus the right answer", 1 - other), ("the right answer without its sign", other.abs()),
        ("the right answer clamped to [-1, 1]", other.clamp(-1, 1)), ("the right answer, rounded", other.round()),
    ):  # fmt: skip
        if len(one) and not near(other, made) and near(one, made):
            yield f"This is {name}."
    for digits in (1, 2, 3, 4):
        made = (other * 10**digits).round() / 10**digits
        if len(one) and not near(other, made) and near(one, made):
            yield f"This is the right answer, rounded to {digits} decimal place{'s' * (digits > 1)}: don't round it."
    yield from _places(mine, asked)


def _factors(cases: list[Case], mine: list[Tensor], asked: list[Tensor]) -> Iterator[str]:
    """A constant factor, or one that is a size."""
    ratios = []
    for one, other in zip(mine, asked, strict=True):
        used = other.abs() > 1e-9
        if not used.any() or (one[~used].abs() > 1e-6).any():
            return
        ratio = (one[used] / other[used]).flatten()
        if not near(ratio, ratio[:1].expand_as(ratio)):
            return
        ratios.append(ratio[0].item())
    if all(math.isclose(ratio, ratios[0], rel_tol=1e-3) for ratio in ratios):
        if abs(ratios[0]) > 1e-6 and len(torch.cat([t.flatten() for t in mine])) > 1:
            base = next((n for n in (2, 10) if math.isclose(abs(ratios[0]), 1 / math.log(n), rel_tol=1e-4)), None)
            said = f", as by a logarithm to base {base} in place of the natural one" if base else ""
            yield f"It is {short(ratios[0])} times as large as it should be, everywhere{said}."
        if abs(ratios[0]) <= 1e-6:
            yield "Only zeros come out."
    elif all(ratio > 0 for ratio in ratios):
        larger = ratios[0] > 1
        factors = [ratio if larger else 1 / ratio for ratio in ratios]
        way = "large" if larger else "small"
        for product in _products(cases):
            if all(math.isclose(one, two, rel_tol=1e-3) for one, two in zip(factors, product[1:], strict=True)):
                yield f"It is too {way} by the factor {product[0]}, in every case."
        if all(_is_size(factor, case, right) for factor, case, right in zip(factors, cases, asked, strict=True)):
            shown = ", then ".join(short(factor) for factor in factors)
            says = "a sum was taken where a mean belongs" if larger else "a mean was taken where a sum belongs"
            yield f"It is too {way} by a factor that is a size ({shown}): {says}."


def _products(cases: list[Case]) -> Iterator[tuple[Any, ...]]:
    """Products of at most three arguments that are whole numbers: their names, and their value in each case."""
    names = [name for name in cases[0] if all(type(case.get(name)) is int for case in cases)]
    for count in (1, 2, 3):
        for chosen in itertools.combinations_with_replacement(names, count):
            yield " · ".join(f"`{name}`" for name in chosen), *(math.prod(case[n] for n in chosen) for case in cases)


def _is_size(factor: float, case: Case, right: Tensor) -> bool:
    """Whether a factor is the number of entries along some axes of an argument, or of the result."""
    shapes = [value.shape for value in [*case.values(), right] if isinstance(value, Tensor)]
    sizes = {math.prod(axes) for s in shapes for n in range(1, len(s) + 1) for axes in itertools.combinations(s, n)}
    return any(math.isclose(factor, size, rel_tol=1e-3) for size in sizes)


def _fixed(cases: list[Case], mine: list[Tensor], asked: list[Tensor]) -> Iterator[str]:
    """A sum divided by a fixed number that is a size only in the lesson."""
    if any(one.ndim or not one.isfinite() or other.abs() < 1e-9 for one, other in zip(mine, asked, strict=True)):
        return
    ratios = [(one / other).item() for one, other in zip(mine, asked, strict=True)]
    for name in cases[0]:
        values: list[Any] = [case.get(name) for case in cases]
        if all(isinstance(value, Tensor) and value.ndim for value in values):
            for size, count in (("len({})", len), ("{}.numel()", torch.numel)):
                sizes = [count(value) for value in values]
                by = sizes[0] / ratios[0] if ratios[0] else 0
                pairs = zip(sizes, ratios, strict=True)
                if abs(by - round(by)) > 1e-3 * by or by < 2:
                    continue
                if len(set(sizes)) > 1 and all(math.isclose(n, by * ratio, rel_tol=1e-3) for n, ratio in pairs):
                    what = size.format(name)
                    yield f"It is divided by {by:g}, whatever is given; a size belongs there, such as `{what}`."


def _places(mine: list[Tensor], asked: list[Tensor]) -> Iterator[str]:
    """Right in some rows or places only; right rows in another order."""
    wrong = [(a, b) for a, b in zip(mine, asked, strict=True) if a.ndim and len(a) > 1 and not near(a, b)]
    in_all = all(any(near(a[i], b[i]) for i in range(len(a))) for a, b in wrong)
    for one, other in zip(mine, asked, strict=True):
        if one.ndim == 0 or len(one) < 2 or near(one, other):
            continue
        if near(one, other.flip(0)):
            yield "The right rows, in reverse order."
        right = [i for i in range(len(one)) if near(one[i], other[i])]
        if right == [0, len(one) - 1] and len(one) > 3 and in_all:
            yield "The first and the last row are right, those between them are not."
        if right and in_all and _quite_other(one, other):
            yield f"Only row{'s' * (len(right) > 1)} {', '.join(map(str, right))} of {len(one)} (counted from 0) " + (
                f"{'are' if len(right) > 1 else 'is'} right: does each row use what belongs to it?"
            )
        for axis in range(1, one.ndim):
            right = [i for i in range(one.shape[axis]) if near(one.select(axis, i), other.select(axis, i))]
            if right:
                shown = ", ".join(map(str, right))
                be = "are" if len(right) > 1 else "is"
                yield f"Along axis {axis}, only {shown} of {one.shape[axis]} (counted from 0) {be} right."
        if all(near(a, a[:1].expand_as(a)) for a, _ in wrong) and not near(other, other[:1].expand_as(other)):
            yield "All rows are the same: does each use what belongs to it?"


def _quite_other(one: Tensor, other: Tensor) -> bool:
    """Whether rows that are wrong are wrong in most places."""
    off = ~torch.isclose(one, other, rtol=1e-4, atol=1e-6)
    return all(row.double().mean() > 0.5 for row in off if row.any())


def with_arguments(case: Case | None) -> str:
    """How a sentence about a case begins: with its arguments, if they are numbers and texts."""
    if not case or not all(isinstance(value, int | float | str) for value in case.values()):
        return "It"
    *most, last = [f"`{name}` = {short(value)}" for name, value in case.items()]
    return f"With {', '.join(most)} and {last}, it" if most else f"With {last}, it"


def differs(got: Any, wanted: Any, case: Case | None = None) -> Iterator[str]:
    """The first place that differs."""
    if isinstance(wanted, Tensor) and isinstance(got, Tensor) and got.shape == wanted.shape and got.ndim:
        wrong = (got.double() - wanted.double()).abs()
        where = tuple((wrong > 1e-4 * wanted.double().abs().clamp(min=1e-3)).nonzero()[0].tolist())
        share = (wrong > 1e-4 * wanted.double().abs().clamp(min=1e-3)).double().mean().item()
        some = "All values differ" if share == 1 else f"{share:.0%} of the values differ"
        place = ", ".join(map(str, where))
        yield f"{some}: at [{place}] it should be {short(wanted[where])}, and is {short(got[where])}."
    if isinstance(wanted, list | tuple) and isinstance(got, list | tuple):
        if len(got) != len(wanted):
            yield f"{len(wanted)} entries were asked for, and this has {len(got)}."
        for number, (one, other) in enumerate(zip(got, wanted, strict=False)):
            if not same(one, other):
                for sentence in differs(one, other):
                    yield entry(number, sentence)
    if isinstance(got, str) and isinstance(wanted, str):
        if got.lower() == wanted.lower():
            yield f"Capital and small letters differ: it should be {short(wanted)}, and is {short(got)}."
        if "".join(got.split()) == "".join(wanted.split()):
            yield f"Spaces differ: it should be {short(wanted)}, and is {short(got)}."
    start = with_arguments(case)
    yield f"{start} should be {short(wanted)}{' here' * (start == 'It')}, and is {short(got)}."


# ---------------------------------------------------------------- how things are shown


def type_and_shape(value: Any) -> str:
    """A value's type and shape, in words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape}"
    if isinstance(value, list | tuple):
        return f"a {'list' if isinstance(value, list) else 'tuple'} of {len(value)}"
    return "a function" if inspect.isfunction(value) else f"a {type(value).__name__}"


def short(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, Tensor):
        if value.ndim == 0:
            return short(value.item())
        return f"{type_and_shape(value)}" if value.numel() > 8 else str([_rounded(v) for v in value.flatten().tolist()])
    if isinstance(value, float):
        return str(_rounded(value))
    if isinstance(value, int) and not _manageable(value):
        return f"an integer of about {round(value.bit_length() * math.log10(2))} digits"
    listed = isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value)
    if listed or repr(value).startswith("<"):  # <function ... at 0x7f...>
        return type_and_shape(value)
    return textwrap.shorten(repr(value), 80, placeholder="...")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def table(case: Case, got: Outcome, wanted: Outcome) -> str:
    """What was given, what should have come out and what did, for whoever unfolds it."""
    rows = {name: full(value) for name, value in case.items()}
    for name, outcome in (("should give", wanted), ("yours gives", got)):
        error = f"{type(outcome.error).__name__}: {outcome.error}" if outcome.error else ""
        rows[name] = error or full(outcome.result)
    width = max(map(len, rows)) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in rows.items())


def full(value: Any) -> str:
    """A value with its shape and its numbers, the first of them if there are many."""
    if isinstance(value, Tensor):
        flat, shown = value.detach().flatten(), 12
        numbers_ = ", ".join(f"{number:.4g}" for number in flat[:shown].tolist())
        return f"{tuple(value.shape)}: {numbers_}{', ...' if len(flat) > shown else ''}" if value.ndim else numbers_
    if isinstance(value, list | tuple) and any(isinstance(part, Tensor) for part in value):
        return "; ".join(map(full, value))
    return f"the function {value.__name__}" if inspect.isfunction(value) else textwrap.shorten(repr(value), 300)
