"""The exercises of lesson 09, Stable Diffusion."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ..checks import Exercise, Twist
from ..published import compvis_unet_name
from ..stable_diffusion import SD1_UNET
from ..unet import ResidualBlock
from . import twists

Shapes = dict[str, tuple[int, ...]]


# ---------------------------------------------------------------- 9.1


def weights_of_block(inputs: int, outputs: int, time: int) -> int:
    def convolution(inputs, outputs, kernel=3):  # type: ignore[no-untyped-def]
        return inputs * outputs * kernel**2 + outputs

    first = 2 * inputs + convolution(inputs, outputs) + convolution(time, outputs, 1)
    second = 2 * outputs + convolution(outputs, outputs)
    shortcut = convolution(inputs, outputs, 1) if inputs != outputs else 0
    return first + second + shortcut


# More channels out than in, fewer, and as many; the time's numbers are neither.
BLOCKS = (
    (32, 64, 16), (24, 24, 10), (7, 3, 5), (5, 5, 11), (12, 20, 7), (20, 12, 9), (40, 40, 3), (6, 17, 4),
)  # fmt: skip


def _counted(inputs: int, outputs: int, time: int) -> int:
    with torch.device("meta"):
        block = ResidualBlock(inputs, outputs, time, groups=1)
    return sum(parameter.numel() for parameter in block.parameters())


def _convolution(inputs: int, outputs: int, kernel: int = 3) -> int:
    return inputs * outputs * kernel**2 + outputs


def _but(change: Callable[[int, int, int], int]) -> Callable:
    """The right number, with something more or less."""
    return lambda inputs, outputs, time: weights_of_block(inputs, outputs, time) + change(inputs, outputs, time)


def _one_by_one(inputs: int, outputs: int) -> int:
    return _convolution(inputs, outputs, 1) if inputs != outputs else 0


BLOCK = Exercise(
    "9.1",
    weights_of_block,
    lambda random: [dict(zip(("inputs", "outputs", "time"), sizes, strict=True)) for sizes in BLOCKS],
    Twist(
        "return bytes, {N} for each weight.",
        twists.DOUBLINGS,
        read=lambda N, answer: answer // N,
        give=lambda N, answer: answer * N,
    ),
    reference=_counted,
    mistakes=(
        (
            "The shortcut is missing: where the channels change, there is a 1 × 1 convolution more.",
            _but(lambda i, o, t: -_one_by_one(i, o)),
        ),
        (
            "There is a shortcut where the channels stay the same; there, nothing is needed.",
            _but(lambda i, o, t: _convolution(i, o, 1) if i == o else 0),
        ),
        (
            "The shortcut stands where the channels stay the same; it is needed where they change.",
            _but(lambda i, o, t: _convolution(i, o, 1) if i == o else -_convolution(i, o, 1)),
        ),
        (
            "The shortcut was counted with a kernel of 3 × 3; it is 1 × 1.",
            _but(lambda i, o, t: 8 * i * o if i != o else 0),
        ),
        ("The shortcut has biases, too, one for each new channel.", _but(lambda i, o, t: -o if i != o else 0)),
        (
            "The layer for the time is missing: it goes from the time's numbers to the new channels.",
            _but(lambda i, o, t: -_convolution(t, o, 1)),
        ),
        ("The layer for the time has biases, too, one for each new channel.", _but(lambda i, o, t: -o)),
        (
            "The layer for the time was counted with a kernel of 3 × 3; a linear layer is one of 1 × 1.",
            _but(lambda i, o, t: 8 * t * o),
        ),
        (
            "The layer for the time leads to the *new* channels, not to those that come in.",
            _but(lambda i, o, t: _convolution(t, i, 1) - _convolution(t, o, 1)),
        ),
        (
            "The norms are missing: they have 2 numbers for each channel that a norm is given.",
            _but(lambda i, o, t: -2 * i - 2 * o),
        ),
        ("The first norm is missing.", _but(lambda i, o, t: -2 * i)),
        ("The second norm is missing.", _but(lambda i, o, t: -2 * o)),
        ("A norm has 2 numbers for each channel, a factor and a summand; 1 was counted.", _but(lambda i, o, t: -i - o)),
        (
            "The second norm is given the new channels; it was counted with those that come in.",
            _but(lambda i, o, t: 2 * i - 2 * o),
        ),
        (
            "The first norm is given the channels that come in; it was counted with the new ones.",
            _but(lambda i, o, t: 2 * o - 2 * i),
        ),
        (
            "The second convolution goes from the new channels to the new channels.",
            _but(lambda i, o, t: _convolution(i, o) - _convolution(o, o)),
        ),
        (
            "The second convolution goes from the new channels to the new channels, not back.",
            _but(lambda i, o, t: _convolution(o, i) - _convolution(o, o)),
        ),
        ("There are two convolutions of 3 × 3; the second one is missing.", _but(lambda i, o, t: -_convolution(o, o))),
        ("There are two convolutions of 3 × 3; the first one is missing.", _but(lambda i, o, t: -_convolution(i, o))),
        (
            "The first convolution goes from `inputs` to `outputs`; it was counted with the same number on both sides.",
            _but(lambda i, o, t: _convolution(i, i) - _convolution(i, o)),
        ),
        (
            "Biases are missing, in the convolutions and in the layer for the time: each has one for each "
            "channel that it puts out.",
            _but(lambda i, o, t: -3 * o - (o if i != o else 0)),
        ),
        (
            "The time's numbers were added to the channels of the first convolution; they have a linear layer "
            "of their own.",
            _but(lambda i, o, t: 9 * t * o - _convolution(t, o, 1)),
        ),
        (
            "A norm was counted with 2 numbers in all; it has 2 for each channel.",
            _but(lambda i, o, t: 4 - 2 * i - 2 * o),
        ),
        (
            "The layer for the time was counted with twice as many new channels, as if it made a factor and a summand; "
            "here it makes one number for each.",
            _but(lambda i, o, t: _convolution(t, o, 1)),
        ),
        (
            "The channels change in the first convolution, not in the second: that one sees only the new ones.",
            _but(lambda i, o, t: _convolution(i, i) - _convolution(o, o)),
        ),
    ),
    right="Right, and the same for the largest block of Stable Diffusion: 49 million weights.",
)


# ---------------------------------------------------------------- 9.2


def compvis_name(name: str, layers: int = 2) -> str:
    _, level, kind, i = name.split(".")
    entry = 1 + int(level) * (layers + 1) + int(i)
    return f"input_blocks.{entry}.{1 if kind == 'attentions' else 0}"


NAMES = (
    ("down_blocks.0.resnets.1", 2), ("down_blocks.1.resnets.0", 2), ("down_blocks.2.attentions.1", 2),
    ("down_blocks.0.attentions.0", 2), ("down_blocks.3.resnets.1", 2), ("down_blocks.2.resnets.0", 1),
    ("down_blocks.1.attentions.2", 3), ("down_blocks.3.attentions.0", 1), ("down_blocks.2.resnets.4", 5),
    ("down_blocks.0.resnets.0", 3), ("down_blocks.1.resnets.12", 14), ("down_blocks.3.attentions.10", 11),
)  # fmt: skip


def _published(name: str, layers: int = 2) -> str:
    config = replace(SD1_UNET, layers_per_block=layers)
    return ".".join(compvis_unet_name(f"{name}.norm1.weight", config).split(".")[:3])


def _numbered(
    entry: Callable[[int, int, int, int], Any], last: Callable[[int, int], Any] = lambda attends, i: attends
) -> Callable:
    """A name with another rule for its entry, made of level, i, layers and whether it is an attention."""

    def named(name: str, layers: int = 2) -> str:
        _, level, kind, i = name.split(".")
        attends = int(kind == "attentions")
        return f"input_blocks.{entry(int(level), int(i), layers, attends)}.{last(attends, int(i))}"

    return named


def _entry(level: int, i: int, layers: int, attends: int) -> int:
    return 1 + level * (layers + 1) + i


NAME = Exercise(
    "9.2",
    compvis_name,
    lambda random: [{"name": name, "layers": layers} for name, layers in NAMES],
    Twist(
        "this layout counts its entries from {N}: what is `input_blocks.0.0` above is `input_blocks.{N}.0`.",
        twists.FEW,
        read=lambda N, answer: _shifted(answer, -N),
        give=lambda N, answer: _shifted(answer, N),
    ),
    reference=_published,
    mistakes=(
        (
            "Entry 0 is the first convolution, so the first residual block is entry 1.",
            _numbered(lambda level, i, layers, a: level * (layers + 1) + i),
        ),
        (
            "The step to half the size has an entry of its own: a level takes `layers + 1` of them.",
            _numbered(lambda level, i, layers, a: 1 + level * layers + i),
        ),
        (
            "Entry 0 was forgotten, and the step to half the size too, which has an entry of its own.",
            _numbered(lambda level, i, layers, a: level * layers + i),
        ),
        (
            "`layers` is not used: 2 was written down, and it may be another number.",
            _numbered(lambda level, i, layers, a: 1 + level * 3 + i),
        ),
        (
            "A level takes one entry too many here: its residual blocks, and one for the step to half the size.",
            _numbered(lambda level, i, layers, a: 1 + level * (layers + 2) + i),
        ),
        (
            "An attention stands in the entry of its residual block, not in the one after it.",
            _numbered(lambda level, i, layers, a: _entry(level, i, layers, a) + a),
        ),
        (
            "Residual block and attention share an entry; here each has one of its own.",
            _numbered(lambda level, i, layers, a: 1 + level * (2 * layers + 1) + 2 * i + a),
        ),
        ("The last number is always 0; that of an attention is 1.", _numbered(_entry, lambda attends, i: 0)),
        ("The last number is always 1; that of a residual block is 0.", _numbered(_entry, lambda attends, i: 1)),
        (
            "The last numbers have changed places: 0 is the residual block's, 1 the attention's.",
            _numbered(_entry, lambda attends, i: 1 - attends),
        ),
        (
            "The last number says what it is, 0 for a residual block and 1 for an attention; `i` stands there.",
            _numbered(_entry, lambda attends, i: i),
        ),
        (
            "An attention's last number is 1, whichever it is; `i` stands there.",
            _numbered(_entry, lambda attends, i: i if attends else 0),
        ),
        (
            "Residual block and attention share an entry, and only the last number tells them apart; here each has an "
            "entry of its own, and a 0 behind it.",
            _numbered(lambda level, i, layers, a: 1 + level * (2 * layers + 1) + 2 * i + a, lambda attends, i: 0),
        ),
        (
            "It is one entry too far: entry 0 is the first convolution, and the first residual block is entry 1.",
            _numbered(lambda level, i, layers, a: _entry(level, i, layers, a) + 1),
        ),
        (
            "On the last level one was subtracted; its missing step to half the size would come *after* its blocks.",
            _numbered(lambda level, i, layers, a: _entry(level, i, layers, a) - (level == 3)),
        ),
        (
            "Only one digit of a number was read; a name may have more: take it apart at its dots.",
            lambda name, layers=2: compvis_name(f"{name[:13]}.{name.split('.')[2]}.{name[-1]}", layers),
        ),
        (
            "`i` is left out: the blocks of a level have entries one after another.",
            _numbered(lambda level, i, layers, a: 1 + level * (layers + 1)),
        ),
        (
            "The level is left out: the entries are counted on across the levels.",
            _numbered(lambda level, i, layers, a: 1 + i),
        ),
        ("Level and `i` have changed places.", _numbered(lambda level, i, layers, a: 1 + i * (layers + 1) + level)),
        (
            "The brackets are missing: a level takes `layers + 1` entries.",
            _numbered(lambda level, i, layers, a: 1 + level * layers + 1 + i),
        ),
        (
            "Texts were put one after another, as '1' + '0' makes '10': `int(...)` makes numbers of them.",
            lambda name, layers=2: f"input_blocks.{name.split('.')[1] + name.split('.')[3]}.{int('att' in name)}",
        ),
        (
            "Only the first part of the name was changed; the numbers have another meaning, too.",
            lambda name, layers=2: name.replace("down", "input"),
        ),
        (
            "`.weight` was put at its end; the names end before it.",
            lambda name, layers=2: compvis_name(name, layers) + ".weight",
        ),
        (
            "The name ends with the entry; a second number says whether it is a residual block or an attention.",
            lambda name, layers=2: compvis_name(name, layers).rsplit(".", 1)[0],
        ),
        (
            "It begins with `down_blocks` still; in CompVis' layout it is `input_blocks`.",
            lambda name, layers=2: compvis_name(name, layers).replace("input", "down"),
        ),
        (
            "`output_blocks` are those of the way up; these blocks lie on the way down.",
            lambda name, layers=2: compvis_name(name, layers).replace("input", "output"),
        ),
        (
            "It is `input_blocks`, with an s at its end.",
            lambda name, layers=2: compvis_name(name, layers).replace("blocks", "block"),
        ),
        (
            "The dots are missing or replaced: the parts of a name are joined by dots.",
            lambda name, layers=2: compvis_name(name, layers).replace(".", "_"),
        ),
    ),
    right="Right: the package's rule says the same for the whole way down.",
)


def _shifted(name: str, by: int) -> str:
    """Its entry counted from somewhere else."""
    return re.sub(r"\.\d+\.", lambda found: f".{int(found[0][1:-1]) + by}.", name)


# ---------------------------------------------------------------- 9.3


def misfits(wanted: Shapes, given: Shapes) -> tuple[list[str], list[str], list[str]]:
    both = set(wanted) & set(given)
    return (
        sorted(set(wanted) - set(given)),
        sorted(set(given) - set(wanted)),
        sorted(name for name in both if wanted[name] != given[name]),
    )


# Names out of order; shapes that agree in their first number, their product, their numbers, their length; and nothing.
FILES: tuple[tuple[Shapes, Shapes], ...] = (
    (
        {"out.bias": (3,), "conv.weight": (8, 4, 3, 3), "conv.bias": (8,), "mid.weight": (5, 6), "in.weight": (7, 2)},
        {"mid.weight": (6, 5), "conv.weight": (8, 4, 1, 1), "betas": (1000,), "conv.bias": (8,), "alphas": (1000,)},
    ),
    (
        {"up.1": (2, 9), "norm": (4,), "down.0": (3, 5), "attn": (12, 2), "skip": (6, 1), "mix": (2, 2, 5)},
        {"skip": (6,), "mix": (2, 5, 5), "ema": (4,), "attn": (3, 8), "down.0": (3, 5), "zero": (2,), "norm": (4,)},
    ),
    ({"b": (2, 3), "a": (4,)}, {"a": (4,), "b": (2, 3)}),
    ({"q": (5, 5), "k": (7,), "v": (2, 8)}, {}),
    ({}, {"z": (3,), "y": (6, 2)}),
    ({"t.2": (3, 4), "t.10": (5,), "t.1": (9, 2)}, {"t.10": (6,), "t.1": (2, 9), "t.2": (3, 4, 1), "T.1": (9, 2)}),
)


def _judged(same: Callable[[tuple, tuple], bool]) -> Callable:
    """Misfits by another comparison of shapes."""

    def found(wanted: Shapes, given: Shapes) -> Any:
        missing, left, _ = misfits(wanted, given)
        return missing, left, sorted(name for name in set(wanted) & set(given) if not same(wanted[name], given[name]))

    return found


def _lists(change: Callable[[Shapes, Shapes, list, list, list], Any]) -> Callable:
    """Something else made of the right three lists."""
    return lambda wanted, given: change(wanted, given, *misfits(wanted, given))


MISFITS = Exercise(
    "9.3",
    misfits,
    lambda random: [  # equal shapes are not one and the same tuple, as of a file and a model they aren't either
        {"wanted": wanted, "given": {name: tuple(list(shape)) for name, shape in given.items()}}
        for wanted, given in FILES
    ],
    Twist(
        "each name in `given` begins with `{N}.`, which must be removed before you compare; return names without it.",
        ("model", "network", "unet", "module", "diffusion"),
        ask=lambda N, wanted, given: {"given": {f"{N}.{name}": shape for name, shape in given.items()}},
        take=lambda N, wanted, given: {"given": {name.removeprefix(f"{N}."): shape for name, shape in given.items()}},
    ),
    mistakes=(
        (
            "Missing and left over have changed places: missing is what the model wants and the file lacks.",
            _lists(lambda w, g, missing, left, other: (left, missing, other)),
        ),
        (
            "Only names that are in both can be misshapen; one that is missing has no shape in the file.",
            _lists(lambda w, g, missing, left, other: (missing, left, sorted([*missing, *other]))),
        ),
        (
            "Only names that are in both can be misshapen; one that is left over has no shape in the model.",
            _lists(lambda w, g, missing, left, other: (missing, left, sorted([*left, *other]))),
        ),
        (
            "Names that are in one of the two only were called misshapen; only those in both can be.",
            _lists(lambda w, g, missing, left, other: (missing, left, sorted([*missing, *left, *other]))),
        ),
        (
            "The lists are in the order of the dictionaries; they were to be sorted.",
            _lists(
                lambda w, g, missing, left, other: (
                    [n for n in w if n in missing],
                    [n for n in g if n in left],
                    [n for n in w if n in other],
                )
            ),
        ),
        (
            "The first list is in the order of the dictionary; all three were to be sorted.",
            _lists(lambda w, g, missing, left, other: ([n for n in w if n in missing], left, other)),
        ),
        (
            "The second list is in the order of the dictionary; all three were to be sorted.",
            _lists(lambda w, g, missing, left, other: (missing, [n for n in g if n in left], other)),
        ),
        (
            "The third list is in the order of the dictionary; all three were to be sorted.",
            _lists(lambda w, g, missing, left, other: (missing, left, [n for n in w if n in other])),
        ),
        (
            "The lists are sorted backwards.",
            _lists(lambda w, g, missing, left, other: (missing[::-1], left[::-1], other[::-1])),
        ),
        (
            "The numbers of entries were compared: (5, 6) and (6, 5) have as many, and are different shapes.",
            _judged(lambda a, b: math.prod(a) == math.prod(b)),
        ),
        ("The order of a shape's numbers counts: (5, 6) is not (6, 5).", _judged(lambda a, b: sorted(a) == sorted(b))),
        (
            "Shapes were compared as sets, so that neither order nor repetition counts; they are lists of numbers.",
            _judged(lambda a, b: set(a) == set(b)),
        ),
        ("Only the first numbers of the shapes were compared.", _judged(lambda a, b: a[0] == b[0])),
        ("Only the last numbers of the shapes were compared.", _judged(lambda a, b: a[-1] == b[-1])),
        (
            "Only the lengths of the shapes were compared, how many numbers they have.",
            _judged(lambda a, b: len(a) == len(b)),
        ),
        (
            "The third list has the names whose shapes agree; it must have those whose shapes differ.",
            _judged(lambda a, b: a != b),
        ),
        (
            "The third list has all names that are in both; it must have those whose shapes differ. (`==` and `!=` "
            "compare shapes; `is` doesn't.)",
            _judged(lambda a, b: False),
        ),
        ("Shapes are not compared: the third list is always empty.", _judged(lambda a, b: True)),
        (
            "The order is missing, left over, misshapen; here misshapen comes first.",
            _lists(lambda w, g, missing, left, other: (other, missing, left)),
        ),
        (
            "The order is missing, left over, misshapen; here left over comes last.",
            _lists(lambda w, g, missing, left, other: (missing, other, left)),
        ),
        (
            "Numbers of names came out; return the names.",
            _lists(lambda w, g, missing, left, other: (len(missing), len(left), len(other))),
        ),
        (
            "All names were put into one list; three were asked for.",
            _lists(lambda w, g, missing, left, other: missing + left + other),
        ),
        (
            "The third list is missing: names that are in both, but whose shapes differ.",
            _lists(lambda w, g, missing, left, other: (missing, left)),
        ),
        (
            "Missing and left over are in one list here, the names that are in one of the two only; keep them apart.",
            _lists(lambda w, g, missing, left, other: (sorted(missing + left), other)),
        ),
        (
            "Shapes came out where names belong.",
            _lists(
                lambda w, g, missing, left, other: (
                    [w[n] for n in missing],
                    [g[n] for n in left],
                    [g[n] for n in other],
                )
            ),
        ),
    ),
    right="Right. The package names the first one and stops, but for known leftovers of training, such as betas.",
)

EXERCISES = (BLOCK, NAME, MISFITS)
