"""First-order mistakes of an answer: its syntax tree with one thing changed, and a sentence that says what.

The exercises name the mistakes that a teacher expects; this module supplies those that nobody wrote down: a sign, a
root, an index, two arguments exchanged. A learner whose result is that of a mutant has, in effect, made its mistake, in
whatever form the code is written. (Mutants are DeMillo, Lipton & Sayward's, 1978; explaining a student's program by the
smallest change that accounts for it is Singh, Gulwani & Solar-Lezama's, 2013.)

A sentence shows only the piece of the answer that is concerned, in the symbols of the lesson (``words``).
"""

from __future__ import annotations

import ast
import copy
import inspect
import itertools
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# What is easily taken for one another, and how a sentence calls it.
FAMILIES: tuple[dict[str, str], ...] = (
    {"mean": "the mean", "sum": "the sum", "amax": "the largest", "amin": "the smallest", "median": "the median"},
    {"argmax": "the index of the largest", "argmin": "the index of the smallest"},
    {"exp": "the exponential", "log": "the logarithm", "sqrt": "the square root", "square": "the square"},
    {"round": "rounding", "floor": "rounding down", "ceil": "rounding up", "int": "cutting off"},
    {"softmax": "the softmax", "log_softmax": "the log-softmax", "sigmoid": "the sigmoid", "tanh": "the tanh"},
    {"std": "the standard deviation", "var": "the variance"},
    {"mse_loss": "the mean squared error", "l1_loss": "the mean absolute error"},
    {"triu": "the upper triangle", "tril": "the lower triangle"},
    {"cumsum": "the running sum", "cumprod": "the running product"},
    {"nearest": "nearest-neighbour", "bilinear": "bilinear"},
)  # fmt: skip
CALLED = {name: said for family in FAMILIES for name, said in family.items()} | {
    "detach": "the `detach`", "clamp": "the clamp", "norm": "the length", "sorted": "the sorting",
    "abs": "the absolute value",
    "transpose": "the transpose", "masked_fill": "the mask", "flatten": "the flattening", "item": "the `.item()`",
    "relu": "the ReLU", "leaky_relu": "the leaky ReLU", "silu": "the SiLU", "set": "the set",
    "interpolate": "the resizing",
    "T": "the transpose", "mT": "the transpose", "permute": "the permuting of axes", "byte": "the `.byte()`",
}  # fmt: skip
DONE = {  # what is done with the right side of an operation
    ast.Add: "{} is to be added", ast.Sub: "{} is to be subtracted", ast.Mult: "it is to be multiplied by {}",
    ast.Div: "it is to be divided by {}", ast.Pow: "it is to be raised to the power of {}",
}  # fmt: skip
COMPARISONS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
EVERYWHERE = {  # mistakes that are made at all places at once, too
    "no root": "Square roots are missing: where a standard deviation belongs, its square, the variance, was used.",
    "no square": "The squares are missing.",
    "half": "Half was taken where a square root belongs: `** 1/2` is `(** 1) / 2` to Python; `** 0.5` is the root.",
    "sum": "Each mean has become a sum.",
    "mean": "Each sum has become a mean.",
    "no index": "Nothing is indexed: an entry was asked for, the whole list was used.",
    "no detach": "Nothing is detached.",
}
UNLIKELY = ("variable", "1 -", "number", "excess", "power")  # tried last: others say the same better


@dataclass(frozen=True)
class Mutant:
    """A wrong answer, and what is wrong with it."""

    says: str
    function: Callable


@dataclass(frozen=True)
class Change:
    """A node put in the place of another (None: nothing), a name for this kind of change, and a sentence."""

    kind: str
    new: ast.AST | None
    says: str


def mutants(answer: Callable, words: dict[str, str]) -> Iterator[Mutant]:
    """Every first-order mutant of a function, and some kinds of mistake made at all places at once.

    Args:
        answer: a function whose source can be read, and which uses no variables of an outer function.
        words: how a sentence writes its variables, {"a": "ᾱ_t"}.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    function.decorator_list = []
    writer = _Writer(function, words)
    for place, node in enumerate(ast.walk(tree)):
        node.place = place  # type: ignore[attr-defined]
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    for one, other in itertools.combinations(writer.arguments, 2):
        names = {one: other, other: one}
        used = [node for node in nodes if isinstance(node, ast.Name) and node.id in names]
        says = f"`{writer.name(one)}` and `{writer.name(other)}` have changed places."
        yield from _made(tree, answer, {n.place: ast.Name(names[n.id], n.ctx) for n in used}, says)  # type: ignore[attr-defined]
    callees = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    changes = [(node.place, change) for node in nodes if id(node) not in callees for change in writer.changes(node)]  # type: ignore[attr-defined]
    for kind, says in EVERYWHERE.items():
        places = {place: change.new for place, change in changes if change.kind == kind}
        if len(places) > 1:
            yield from _made(tree, answer, places, says)
    for place, change in sorted(changes, key=lambda one: one[1].kind in UNLIKELY):
        yield from _made(tree, answer, {place: change.new}, change.says)


class _Put:
    """A copy of a tree with other nodes in some places; the tree itself stays. (A deep copy of it takes longer.)"""

    def __init__(self, places: dict[int, ast.AST | None]) -> None:
        self.places = places

    def visit(self, node: ast.AST) -> ast.AST | None:
        place = getattr(node, "place", None)
        if place not in self.places:
            return self._copied(node)
        new = self.places[place]
        others = _Put({other: put for other, put in self.places.items() if other != place})
        return None if new is None else others.visit(new)

    def _copied(self, node: ast.AST) -> ast.AST:
        if not node._fields:
            return node
        fields = {name: self._part(value) for name, value in ast.iter_fields(node)}
        return ast.copy_location(type(node)(**fields), node)

    def _part(self, value: Any) -> Any:
        if isinstance(value, list):
            parts = (self._part(one) for one in value)
            return [part for part, one in zip(parts, value, strict=True) if part is not None or one is None]
        return self.visit(value) if isinstance(value, ast.AST) else value


def _made(tree: ast.Module, answer: Callable, places: dict[int, ast.AST | None], says: str) -> Iterator[Mutant]:
    space = dict(answer.__globals__)
    try:
        changed = _Put(places).visit(tree)
        assert isinstance(changed, ast.Module)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # a mutant may be odd: 4[0]
            exec(compile(ast.fix_missing_locations(changed), "<mutant>", "exec"), space)
    except (SyntaxError, TypeError, ValueError):
        return
    yield Mutant(says, space[answer.__name__])


class _Writer:
    """Changes of a node, in words."""

    def __init__(self, function: ast.FunctionDef, words: dict[str, str]) -> None:
        self.words = words
        self.arguments = [argument.arg for argument in function.args.args]
        stored = [n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        self.names = list(dict.fromkeys([*self.arguments, *stored]))

    def name(self, name: str) -> str:
        """A variable in the lesson's symbols."""
        return self.words.get(name, name)

    def say(self, node: ast.AST) -> str:
        """A piece of the answer, as one would write it by hand."""
        text = ast.unparse(_Roots().visit(copy.deepcopy(node)))
        text = re.sub(r"\b(torch|F|math)\.", "", text)
        return (
            "`" + re.sub(r"\b[a-z_]\w*\b(?![(=])", lambda found: self.name(found[0]), text).replace(" ** 2", "²") + "`"
        )

    def changes(self, node: ast.AST) -> Iterator[Change]:
        """Everything that may be wrong at a node."""
        makers = {
            ast.BinOp: self._operation, ast.UnaryOp: self._minus, ast.Call: self._call, ast.Name: self._variable,
            ast.Subscript: self._index, ast.Constant: self._constant, ast.Compare: self._comparison,
            ast.If: self._branch, ast.IfExp: self._choice, ast.BoolOp: self._and_or,
            ast.Tuple: self._order, ast.List: self._order,
            ast.For: self._loop, ast.Return: self._returned, ast.Attribute: self._attribute, ast.Assign: self._assigned,
        }  # fmt: skip
        yield from makers.get(type(node), lambda _: ())(node)  # type: ignore[operator]

    def _operation(self, node: ast.BinOp) -> Iterator[Change]:
        left, right, op = self.say(node.left), self.say(node.right), type(node.op)
        if op is ast.Pow and _is_number(node.right, 0.5):
            yield Change("no root", node.left, f"A square root is missing: {self.say(node)} belongs where {left} is.")
        elif op is ast.Pow and _is_number(node.right, 2):
            yield Change("no square", node.left, f"A square is missing: {self.say(node)} belongs where {left} is.")
        if op is ast.Pow and _is_number(node.right, 0.5):
            yield Change("half", ast.BinOp(node.left, ast.Div(), ast.Constant(2)), EVERYWHERE["half"])
        if op is ast.Div and (inner := _under_root(node.right)) is not None:  # a / b ** 1 / 2
            halved = ast.BinOp(ast.BinOp(node.left, ast.Div(), inner), ast.Div(), ast.Constant(2))
            yield Change("half", halved, EVERYWHERE["half"])
        if op is ast.Sub and _is_number(node.left, 1):
            yield Change("dropped", node.right, f"A term is missing: {self.say(node)} belongs where {right} is.")
        for other in DONE:
            if other in (ast.Mult, ast.Div, ast.Pow) and _is_number(node.right, 1):
                continue  # as if it were missing
            if other is ast.Pow and _is_number(node.left, 1):
                continue  # always 1
            if other is not op and op in DONE:
                said = DONE[other].format("it").replace("it is to be ", "")
                said = said.removesuffix(" by it") if op in (ast.Add, ast.Sub) else said
                says = f"{DONE[op].format(right)}, not {said}."
                kind = "power" if other is ast.Pow else "operation"
                yield Change(kind, ast.BinOp(node.left, other(), node.right), says[:1].upper() + says[1:])
        if op in (ast.Sub, ast.Div, ast.Pow, ast.MatMult):
            says = f"{left} and {right} have changed places: {self.say(node)} is needed."
            yield Change("sides", ast.BinOp(node.right, node.op, node.left), says)
        yield from self._dropped(node)
        yield from self._brackets(node)
        for side in ("left", "right"):
            yield from self._excess(node, side)

    def _dropped(self, node: ast.BinOp) -> Iterator[Change]:
        """One of the two sides is missing."""
        op = type(node.op)
        for kept, lost in ((node.left, node.right), (node.right, node.left)):
            if op is ast.Pow and _is_number(node.right, 0.5) and kept is node.left:
                continue
            what = {
                ast.Add: "The term",
                ast.Sub: "The term",
                ast.Mult: "The factor",
                ast.MatMult: "The product with",
                ast.Div: "The numerator",
            }.get(op, "")
            if op in (ast.Div, ast.Pow) and lost is node.right:
                what = "The division by" if op is ast.Div else "The power of"
            on = f", on {self.say(kept)}" if op is ast.Mult and len(self.say(kept)) < 16 else ""
            yield Change("dropped", kept, f"{what} {self.say(lost)} is missing{on}.".strip())

    def _brackets(self, node: ast.BinOp) -> Iterator[Change]:
        """(a - b) / c written as a - b / c or a / c - b, and the reverse."""
        sums, products = (ast.Add, ast.Sub), (ast.Mult, ast.Div)
        if isinstance(node.op, products) and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, sums):
            a, b, c = node.left.left, node.left.right, node.right
            done = "divided" if isinstance(node.op, ast.Div) else "multiplied"
            says = f"The whole {self.say(node.left)} is to be {done}, not only one part of it."
            yield Change("brackets", ast.BinOp(a, node.left.op, ast.BinOp(b, node.op, c)), says)
            yield Change("brackets", ast.BinOp(ast.BinOp(a, node.op, c), node.left.op, b), says)
        if isinstance(node.op, products) and isinstance(node.right, ast.BinOp) and isinstance(node.right.op, sums):
            a, b, c = node.left, node.right.left, node.right.right
            says = f"Brackets are missing: all of {self.say(node.right)} belongs to it."
            yield Change("brackets", ast.BinOp(ast.BinOp(a, node.op, b), node.right.op, c), says)
        if isinstance(node.op, sums) and isinstance(node.right, ast.BinOp) and isinstance(node.right.op, products):
            a, b, c = node.left, node.right.left, node.right.right
            says = f"Brackets in the wrong place: only {self.say(b)} belongs together with {self.say(c)}."
            yield Change("brackets", ast.BinOp(ast.BinOp(a, node.op, b), node.right.op, c), says)
        if isinstance(node.op, ast.Sub) and isinstance(node.left, ast.BinOp) and isinstance(node.left.op, sums):
            a, b, c = node.left.left, node.left.right, node.right
            says = f"Brackets in the wrong place: {self.say(c)} is to be subtracted from all before it."
            yield Change("brackets", ast.BinOp(a, node.left.op, ast.BinOp(b, node.op, c)), says)

    def _excess(self, node: ast.AST, side: str) -> Iterator[Change]:
        """A minus, a root or a square too many on one part of a node."""
        part = getattr(node, side)
        if isinstance(part, ast.Constant):
            return
        for what, new in (
            ("a minus", ast.UnaryOp(ast.USub(), part)),
            ("a square root", ast.BinOp(part, ast.Pow(), ast.Constant(0.5))),
            ("a square", ast.BinOp(part, ast.Pow(), ast.Constant(2))),
        ):
            whole = copy.copy(node)
            setattr(whole, side, new)
            whole.place = -1  # type: ignore[attr-defined]
            yield Change("excess", whole, f"There is {what} too many, on {self.say(part)}.")

    def _minus(self, node: ast.UnaryOp) -> Iterator[Change]:
        if isinstance(node.op, ast.USub):
            yield Change("no minus", node.operand, f"A minus is missing before {self.say(node.operand)}.")
        else:
            yield Change(
                "not", node.operand, f"{self.say(node.operand)} is the wrong way round: true and false are exchanged."
            )

    def _call(self, node: ast.Call) -> Iterator[Change]:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        is_method = isinstance(node.func, ast.Attribute) and not _is_module(node.func.value)
        inner = node.func.value if is_method else node.args[0] if node.args else None  # type: ignore[attr-defined]
        called = CALLED.get(name, f"`{name}`")
        if inner is not None:
            kind = {"sqrt": "no root", "square": "no square"}.get(name, f"no {name}")
            yield Change(kind, inner, f"{called[0].upper()}{called[1:]} of {self.say(inner)} is missing.")
        if (under := _under_root(node)) is not None:
            yield Change("half", ast.BinOp(under, ast.Div(), ast.Constant(2)), EVERYWHERE["half"])
        for family in FAMILIES:
            for other in family if name in family else ():
                if other != name:
                    func = copy.copy(node.func)
                    setattr(func, "attr" if isinstance(func, ast.Attribute) else "id", other)
                    yield Change(
                        other,
                        ast.Call(func, node.args, node.keywords),
                        f"Of {self.say(inner or node)}, {called} is needed, not {family[other]}.",
                    )
        for one, two in itertools.combinations(range(len(node.args)), 2):
            parts = list(node.args)
            parts[one], parts[two] = parts[two], parts[one]
            new = ast.Call(node.func, parts, node.keywords)
            places = f"{self.say(node.args[one])} and {self.say(node.args[two])}"
            yield Change("arguments", new, f"In the call of `{name}`, {places} have changed places.")
        for keyword in node.keywords:
            new = copy.copy(node)
            new.keywords = [other for other in node.keywords if other is not keyword]
            new.place = -1  # type: ignore[attr-defined]
            yield Change("keyword", new, f"In the call of `{name}`, `{ast.unparse(keyword)}` is missing.")

    def _attribute(self, node: ast.Attribute) -> Iterator[Change]:
        if node.attr in CALLED and isinstance(node.ctx, ast.Load):
            yield Change("no T", node.value, f"{CALLED[node.attr].capitalize()} of {self.say(node.value)} is missing.")

    def _variable(self, node: ast.Name) -> Iterator[Change]:
        if not isinstance(node.ctx, ast.Load) or node.id not in self.names:
            return
        for other in self.names:
            if other not in (node.id, "_"):
                says = f"`{self.name(other)}` was used where `{self.name(node.id)}` belongs."
                yield Change("variable", ast.Name(other, node.ctx), says)
        says = f"`1 - {self.name(node.id)}` was used where `{self.name(node.id)}` belongs."
        yield Change("1 -", ast.BinOp(ast.Constant(1), ast.Sub(), node), says)

    def _index(self, node: ast.Subscript) -> Iterator[Change]:
        yield Change("no index", node.value, f"{self.say(node.value)} must be indexed: {self.say(node)}.")
        if isinstance(node.slice, ast.Slice | ast.Tuple):
            return
        for text, new in (
            ("the one before it", ast.BinOp(node.slice, ast.Sub(), ast.Constant(1))),
            ("the one after it", ast.BinOp(node.slice, ast.Add(), ast.Constant(1))),
            ("always the first", ast.BinOp(node.slice, ast.Mult(), ast.Constant(0))),
            ("one counted from the end", ast.UnaryOp(ast.USub(), node.slice)),
        ):
            changed = ast.Subscript(node.value, new, node.ctx)
            yield Change(
                text, changed, f"The entry {self.say(node)} is needed, not {text} (entries are counted from 0)."
            )

    def _constant(self, node: ast.Constant) -> Iterator[Change]:
        value = node.value
        others: list
        if isinstance(value, str):
            others = [other for family in FAMILIES if value in family for other in family if other != value]
        elif isinstance(value, bool) or not isinstance(value, int | float):
            return
        else:
            others = [o for o in (value + 1, value - 1, 2 * value, value / 2, -value, 0, 1, 2, 3) if o != value]
            others = [int(o) if isinstance(value, int) and o == int(o) else o for o in dict.fromkeys(others)]
        for other in others:
            yield Change(
                "number", ast.Constant(other), f"A number is off: it comes out as if {other} stood for {value}."
            )

    def _comparison(self, node: ast.Compare) -> Iterator[Change]:
        for other, sign in COMPARISONS.items():
            if len(node.ops) == 1 and type(node.ops[0]) is not other:
                says = f"The comparison should be {self.say(node)}, not with `{sign}`."
                yield Change("comparison", ast.Compare(node.left, [other()], node.comparators), says)
        for i in range(len(node.ops)) if len(node.ops) > 1 else ():
            ops, sides = list(node.ops), [node.left, *node.comparators]
            del ops[i], sides[0 if i == 0 else -1]
            yield Change(
                "bound", ast.Compare(sides[0], ops, sides[1:]), f"One of the two bounds of {self.say(node)} is missing."
            )

    def _branch(self, node: ast.If) -> Iterator[Change]:
        yield Change("no if", ast.Pass(), f"The case {self.say(node.test)} is not dealt with.")

    def _choice(self, node: ast.IfExp) -> Iterator[Change]:
        where = f"where {self.say(node.test)}"
        yield Change("choice", node.body, f"{self.say(node.body)} only {where}, otherwise {self.say(node.orelse)}.")
        yield Change("choice", node.orelse, f"The case {where} is missing: {self.say(node.body)} there.")
        yield Change(
            "choice",
            ast.IfExp(node.test, node.orelse, node.body),
            f"Both cases have changed places: {self.say(node.body)} {where}.",
        )

    def _order(self, node: ast.Tuple | ast.List) -> Iterator[Change]:
        if not isinstance(node.ctx, ast.Load):
            return
        for one, other in itertools.combinations(range(len(node.elts)), 2):
            parts = list(node.elts)
            parts[one], parts[other] = parts[other], parts[one]
            says = f"{self.say(parts[other])} and {self.say(parts[one])} have changed places."
            yield Change("order", type(node)(parts, node.ctx), says)
        for i, part in enumerate(node.elts):
            yield Change(
                "part",
                type(node)([p for p in node.elts if p is not part], node.ctx),
                f"{self.say(node.elts[i])} is missing.",
            )

    def _and_or(self, node: ast.BoolOp) -> Iterator[Change]:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield Change("and", ast.BoolOp(other, node.values), f"In {self.say(node)}, `and` and `or` are exchanged.")

    def _loop(self, node: ast.For) -> Iterator[Change]:
        listed = ast.Call(ast.Name("list", ast.Load()), [node.iter], [])
        for says, lower, upper, step in (
            ("The loop runs backwards.", None, None, -1),
            ("The loop leaves out the first.", 1, None, None),
            ("The loop leaves out the last.", None, -1, None),
            ("The loop ends after the first: is the `return` inside it?", None, 1, None),
        ):
            part = ast.Slice(*(None if bound is None else ast.Constant(bound) for bound in (lower, upper, step)))
            looped = ast.For(node.target, ast.Subscript(listed, part, ast.Load()), node.body, node.orelse)
            yield Change("loop", looped, says)

    def _returned(self, node: ast.Return) -> Iterator[Change]:
        if isinstance(node.value, ast.expr) and not isinstance(node.value, ast.Tuple):
            yield Change("sign", ast.Return(ast.UnaryOp(ast.USub(), node.value)), "The sign is the wrong way round.")

    def _assigned(self, node: ast.Assign) -> Iterator[Change]:
        if isinstance(node.targets[0], ast.Name) and node.targets[0].id in self.arguments:
            new = ast.Assign([ast.Name("unused", ast.Store())], node.value)
            yield Change(
                "not kept",
                new,
                f"`{self.name(node.targets[0].id)}` must be replaced by {self.say(node.value)}, each time.",
            )


class _Roots(ast.NodeTransformer):
    """√ in place of ``** 0.5`` and ``.sqrt()``."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return self._root(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return self._root(node)

    def _root(self, node: ast.expr) -> ast.AST:
        self.generic_visit(node)
        under = _under_root(node)
        return node if under is None else ast.Call(ast.Name("√", ast.Load()), [under], [])


def _under_root(node: ast.AST) -> ast.expr | None:
    """What a square root is taken of, ``** 0.5`` or ``.sqrt()``; None if it is none."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) and _is_number(node.right, 0.5):
        return node.left
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sqrt":
        return node.args[0] if _is_module(node.func.value) else node.func.value
    return None


def _is_number(node: ast.AST, value: float) -> bool:
    return isinstance(node, ast.Constant) and node.value == value


def _is_module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("torch", "F", "math")
