"""First-order mistakes of an answer, made by rewriting its syntax tree, each with words that a right sentence contains.

Made without regard to `tinyldm.mutations`, which names such mistakes to learners: what that module cannot name, or
names wrongly, must show. A mutant that computes the same as the answer is not a mistake: `random_inputs` tells them
apart.
"""

import ast
import copy
import inspect
import random
import textwrap
from collections.abc import Callable, Iterator

import torch

TAGS = {
    "plus and minus": "add|subtract|plus|minus|sign|negative|too large|too small",
    "times and over": "multipl|divi|factor|times as large|reciprocal|1 divided",
    "power": "power|root|square|number|times|multipl|divi",
    "root": "root|square|varianc|standard",
    "minus": "minus|sign|negative|way round|subtract",
    "term": "term|missing|never used|comes out|Only zeros|side",
    "factor": "factor|missing|never used|division|times as|comes out",
    "call dropped": "must be raised|missing|gradient|detach|type|asked for|shape|nan|clamp",
    "detach": "gradient|detach",
    "clamp": "clamp|every case",
    "exchange": "changed places|used where|places|order|transpos|way round|given|asked for|takes",
    "index": "entry|index|counted|row|Row|first|too large|too small|off|must be|bounds|loop|`None`",
    "axis": "axis|axes|dim|transpos|shape|over|number is off|Row|row",
    "reduction": "mean|sum|largest|smallest|product|shape|size",
    "constant": "is reached|must be raised|number|comparison|as if|factor|times as|too large|too small|missing|root|"
    "square|sign|minus|axis|shape",
    "replaced": "used where|never used|changed places|comes out|places|given|missing|asked for|takes|[Rr]ow",
    "the lesson's": "variable of the lesson|never used|used where|missing",
    "rounding": "round|cut|int",
    "in place": "in place",
    "no gradient": "gradient|detach|item",
    "list": "list|plain|asked for",
    "comparison": "is reached|must be raised|comparison|Comparison|way round|case|bound",
    "flow": "case|loop|Both|only|missing|must be raised|times|first|last|backwards|reverse|each",
    "function": "needed, not|asked for|logarithm|exponential|root|square|smallest|largest|mean|sum|order|way round",
}

OPERATORS = {
    ast.Add: [("plus and minus", ast.Sub), ("plus and minus", ast.Mult)],
    ast.Sub: [("plus and minus", ast.Add)],
    ast.Mult: [("times and over", ast.Div), ("times and over", ast.Add)],
    ast.Div: [("times and over", ast.Mult)],
    ast.Pow: [("power", ast.Mult)],
    ast.FloorDiv: [("times and over", ast.Mult)],
    ast.Lt: [("comparison", ast.LtE), ("comparison", ast.Gt)],
    ast.LtE: [("comparison", ast.Lt), ("comparison", ast.Gt)],
    ast.Gt: [("comparison", ast.GtE), ("comparison", ast.Lt)],
    ast.GtE: [("comparison", ast.Gt), ("comparison", ast.Lt)],
    ast.Eq: [("comparison", ast.NotEq)],
    ast.NotEq: [("comparison", ast.Eq)],
    ast.And: [("comparison", ast.Or)],
    ast.Or: [("comparison", ast.And)],
}
NAMES = [("reduction", "mean", "sum"), ("function", "argmax", "argmin"), ("function", "exp", "log"),
         ("rounding", "round", "floor"), ("rounding", "round", "ceil"), ("rounding", "round", "int"),
         ("function", "std", "var"), ("function", "mse_loss", "l1_loss"), ("function", "softmax", "sigmoid"),
         ("function", "triu", "tril"), ("function", "sigmoid", "tanh")]  # fmt: skip


def mutated(answer: Callable) -> Iterator[tuple[str, str]]:
    """Source of a mutant of a function, and the key of `TAGS` for what was done to it."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
    (function,) = tree.body
    function.returns, function.decorator_list = None, []
    for argument in function.args.args:
        argument.annotation = None
    seen = {ast.unparse(tree)}
    for tag, mutant in _all(function):
        with_body = ast.unparse(ast.fix_missing_locations(mutant))
        if with_body not in seen:
            seen.add(with_body)
            yield with_body, tag


def _all(function: ast.FunctionDef) -> Iterator[tuple[str, ast.FunctionDef]]:
    size = len(list(ast.walk(function)))
    for place in range(1, size):
        whole = copy.deepcopy(function)
        for tag, change in _changes(whole, list(ast.walk(whole))[place]):
            mutant = copy.deepcopy(function)
            node = list(ast.walk(mutant))[place]
            if (new := change(node)) is not None:
                yield tag, _replaced(mutant, node, new)
    yield from _wrapped(function)


def _replaced(tree: ast.AST, old: ast.AST, new: ast.AST) -> ast.AST:
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, field, new)
            elif isinstance(value, list) and any(item is old for item in value):
                setattr(parent, field, [new if item is old else item for item in value])
    return tree


def _changes(function: ast.FunctionDef, node: ast.AST) -> Iterator[tuple[str, Callable]]:
    """What can be done to a node: (tag, function that makes the new node from it)."""
    arguments = [argument.arg for argument in function.args.args]
    if isinstance(node, ast.BinOp):
        for tag, other in OPERATORS.get(type(node.op), []):
            yield tag, lambda n, o=other: ast.BinOp(n.left, o(), n.right)
        root = isinstance(node.op, ast.Pow) and ast.unparse(node.right) == "0.5"
        tag = "root" if root else "term" if isinstance(node.op, ast.Add | ast.Sub) else "factor"
        yield tag, lambda n: n.left
        if not isinstance(node.op, ast.Pow):
            yield tag, lambda n: n.right
            yield "exchange", lambda n: ast.BinOp(n.right, n.op, n.left)
        if isinstance(node.op, ast.Mult | ast.Div) and not isinstance(node.right, ast.Constant):
            yield "root", lambda n: ast.BinOp(n.left, n.op, ast.BinOp(n.right, ast.Pow(), ast.Constant(0.5)))
    elif isinstance(node, ast.Compare | ast.BoolOp):
        ops = node.ops if isinstance(node, ast.Compare) else [node.op]
        for tag, other in OPERATORS.get(type(ops[0]), []):
            if isinstance(node, ast.Compare):
                yield tag, lambda n, o=other: ast.Compare(n.left, [o(), *n.ops[1:]], n.comparators)
            else:
                yield tag, lambda n, o=other: ast.BoolOp(o(), n.values)
    elif isinstance(node, ast.UnaryOp):
        yield "minus", lambda n: n.operand
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield "index", lambda n: n.value
        if isinstance(node.slice, ast.Name | ast.Constant | ast.BinOp):
            for op in (ast.Add, ast.Sub):
                one = ast.Constant(1)
                yield "index", lambda n, o=op, c=one: ast.Subscript(n.value, ast.BinOp(n.slice, o(), c), n.ctx)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in arguments:
        for other in arguments:
            if other != node.id:
                yield "replaced", lambda n, o=other: ast.Name(o, n.ctx)
    elif isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        yield "exchange", lambda n: type(n)([n.elts[1], n.elts[0], *n.elts[2:]], n.ctx)
    elif isinstance(node, ast.IfExp):
        yield "flow", lambda n: n.body
        yield "flow", lambda n: n.orelse
    elif isinstance(node, ast.If):
        yield "flow", lambda n: ast.Pass()
    elif isinstance(node, ast.For):
        for text in ("reversed(list(it))", "list(it)[1:]", "list(it)[:-1]"):
            yield "flow", lambda n, t=text: ast.For(n.target, _filled(t, n.iter), n.body, n.orelse)


def _filled(text: str, node: ast.expr) -> ast.expr:
    tree = ast.parse(text, mode="eval").body
    return _replaced(tree, next(n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "it"), node)


def _calls(node: ast.Call) -> Iterator[tuple[str, Callable]]:
    method = isinstance(node.func, ast.Attribute)
    name = node.func.attr if method else getattr(node.func, "id", "")
    module = method and isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "F", "math")
    tag = {"sqrt": "root", "detach": "detach", "clamp": "clamp"}.get(name, "call dropped")
    if method and not module:
        yield tag, lambda n: n.func.value
    elif len(node.args) == 1:
        yield tag, lambda n: n.args[0]
    for kind, one, other in NAMES:
        for wanted, instead in ((one, other), (other, one)):
            if name == wanted and instead != "int":
                yield kind, lambda n, o=instead: _renamed(n, o)
    if len(node.args) > 1:
        yield "exchange", lambda n: ast.Call(n.func, [n.args[1], n.args[0], *n.args[2:]], n.keywords)
    for place, keyword in enumerate(node.keywords):
        if keyword.arg in ("dim", "axis"):
            yield "axis", lambda n, p=place: ast.Call(n.func, n.args, n.keywords[:p] + n.keywords[p + 1 :])


def _renamed(node: ast.Call, name: str) -> ast.Call:
    func = copy.copy(node.func)
    setattr(func, "attr" if isinstance(func, ast.Attribute) else "id", name)
    return ast.Call(func, node.args, node.keywords)


def _constants(node: ast.Constant) -> Iterator[tuple[str, Callable]]:
    value = node.value
    if type(value) in (int, float):
        for other in {value + 1, value - 1, 2 * value} - {value}:
            yield "constant", lambda n, o=other: ast.Constant(o)
    if value in ("nearest", "bilinear"):
        yield "function", lambda n: ast.Constant("bilinear" if n.value == "nearest" else "nearest")


def _wrapped(function: ast.FunctionDef) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Mistakes of the whole: arguments exchanged, in place, no gradient, a list, another's variable."""
    arguments = [argument.arg for argument in function.args.args]
    for i, one in enumerate(arguments):
        for other in arguments[i + 1 :]:
            swapped = copy.deepcopy(function)
            for node in ast.walk(swapped):
                if isinstance(node, ast.Name) and node.id in (one, other):
                    node.id = other if node.id == one else one
            yield "exchange", swapped
    for one in arguments:  # a variable that the lesson happens to have
        changed = copy.deepcopy(function)
        for node in ast.walk(changed):
            if isinstance(node, ast.Name) and node.id == one:
                node.id = f"lesson_{one}"
        yield "the lesson's", changed
    for tag, text in (("minus", "-(it)"), ("list", "it.tolist()"), ("no gradient", "it.detach()"),
                      ("clamp", "it.clamp(-0.5, 0.5)"), ("reduction", "it.mean()"),
                      ("axis", "it.flip(0)")):  # fmt: skip
        changed = copy.deepcopy(function)
        last = changed.body[-1]
        if isinstance(last, ast.Return):
            last.value = _filled(text, last.value)
            yield tag, changed
    for one in arguments:
        changed = copy.deepcopy(function)
        changed.body.insert(0, ast.parse(f"{one} = {one}.mul_(1.5).div_(1.5)").body[0])
        yield "in place", changed


# ---------------------------------------------------------------- what computes the same


def random_inputs(exercise, rounds: int = 6) -> list[dict]:
    """Arguments with other values than those of the check."""
    made = RANDOM.get(exercise.number)
    if made:
        dice = random.Random(0)
        return [exercise_arguments(exercise, made(dice)) for _ in range(60)]
    return [case for seed in range(1, rounds) for case in exercise.cases(torch.Generator().manual_seed(seed))]


def exercise_arguments(exercise, values) -> dict:
    """Values by the names of an exercise's arguments."""
    return dict(zip(inspect.signature(exercise.answer).parameters, values, strict=False))


def _falling(dice: random.Random) -> list[float]:
    return sorted((dice.random() for _ in range(dice.randint(2, 9))), reverse=True)


def _part(dice: random.Random) -> str:
    return f"down_blocks.{dice.randint(0, 3)}.{dice.choice(['resnets', 'attentions'])}.{dice.randint(0, 4)}"


def _file(dice: random.Random) -> dict:
    names = dice.sample("abcdefg", dice.randint(0, 6))
    return {name: tuple(dice.choices((2, 3), k=dice.randint(1, 2))) for name in names}


# For exercises whose cases don't depend on the generator: many other inputs.
RANDOM: dict[str, Callable] = {
    "2.4": lambda dice: [torch.tensor([*_falling(dice), 0.01])],
    "8.1": lambda dice: [dice.randint(1, 60), dice.choice([0, 0.25, 0.5, 1, -0.3, 1.2, dice.random(), dice.random()])],
    "9.1": lambda dice: [size := dice.randint(2, 60), dice.choice([size, dice.randint(2, 60)]), dice.randint(2, 60)],
    "9.2": lambda dice: [_part(dice), dice.randint(1, 5)],
    "9.3": lambda dice: [_file(dice), _file(dice)],
}
