"""What a graded class found hard, and answers that are alike: ``make report``.

    python instructor/report.py [graded]

Answers are compared by their syntax trees. Equal trees are a sign, not a verdict: short answers, and those that a third
of the class gives, are not mentioned.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from book import Book, BookError
from release import LESSONS
from repair import plain
from results import Graded, Result, lesson_title, points, read_all
from tables import LONGEST, in_order, one_line

from tinyldm.exercises import exercise

SHORT = 35  # nodes of a syntax tree: shorter answers are the same because there is nothing else to write
STUB = 'raise NotImplementedError("exercise '  # what a release has in place of an answer
CROWD = 3  # answers, and a third of the class: what so many write is the obvious answer
PLANNED = re.compile(r"^### Exercise (\d+\.\d+): .*\n+\*(\d+) minutes", re.MULTILINE)


def report(results: Iterable[Result], known: Callable[[str], list[str]] | None = None) -> str:
    """What a class found easy and hard, as text that is Markdown, too.

    Args:
        results: graded notebooks.
        known: the sources that everybody knows for an exercise (`public_answers`).
    """
    results = list(results)
    if not results:
        return "Nothing has been graded yet.\n"
    students = {result.student.id: result.student.name or result.student.id for result in results}
    parts = [f"# {_count(len(students), 'student')}, {_count(len(results), 'notebook')}"]
    for lesson in sorted({result.lesson for result in results}):
        parts += _lesson([result for result in results if result.lesson == lesson])
    found = "\n".join(_alike(_answers(results), students, known or public_answers))
    parts += ["## Answers that are alike", "The same up to names, spacing and comments: a sign, not a verdict."]
    parts.append(found or "None.")
    return "\n\n".join(parts) + "\n"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _lesson(results: list[Result]) -> Iterator[str]:
    seconds = sum(result.seconds for result in results)
    yield f"## {lesson_title(results[0].lesson)}"
    yield f"{_count(len(results), 'notebook')}" + (f", graded in {seconds:.0f} s." if seconds else ".")
    numbers = sorted({one.number for result in results for one in result.exercises}, key=in_order)
    exercises = [[one for result in results for one in result.exercises if one.number == number] for number in numbers]
    if exercises:
        yield _table([["exercise", "minutes planned", "all points", "on average", "waiting"], *map(_share, exercises)])
    said = [line for line in map(_sentences, exercises) if line]
    if said:
        yield "Said most often of what is not right yet:\n\n" + "\n".join(said)


def _share(all_of_one: list[Graded]) -> list[str]:
    first = all_of_one[0]
    read = [one for one in all_of_one if not one.open]
    right = sum(one.points >= one.of for one in read)
    waiting = len(all_of_one) - len(read)
    average = f"{sum(one.points for one in read) / len(read):.1f} of {points(first.of)}" if read else ""
    share = f"{right} of {len(read)}, {100 * right / len(read):.0f} %" if read else ""
    title = one_line(f"{first.number} {first.title}")
    return [title, _planned().get(first.number, ""), share, average, str(waiting or "")]


@cache
def _planned() -> dict[str, str]:
    """Minutes that a lesson plans for each exercise."""
    lessons = [nbformat.read(path, as_version=4) for path in sorted(LESSONS.glob("[0-9][0-9]_*.ipynb"))]
    return {
        number: minutes for one in lessons for cell in one.cells for number, minutes in PLANNED.findall(cell.source)
    }


def _table(rows: list[list[str]]) -> str:
    """Markdown that is lined up, too."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    rows = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join("| " + " | ".join(f"{c:{w}}" for c, w in zip(row, widths, strict=True)) + " |" for row in rows)


def _sentences(all_of_one: list[Graded]) -> str:
    """The three commonest sentences about answers without all points."""
    said = Counter(
        one_line(one.sentence) for one in all_of_one if not one.open and one.points < one.of and one.sentence
    )
    most = "".join(f"\n  - {times}x {sentence}" for sentence, times in said.most_common(3))
    return f"- {all_of_one[0].number}:{most}" if most else ""


def _answers(results: list[Result]) -> dict[str, dict[str, str]]:
    """By exercise and student's id, the code of each answer."""
    found: dict[str, dict[str, str]] = {}
    for result in results:
        for one in result.exercises:
            if one.answer:
                found.setdefault(one.number, {})[result.student.id] = one.answer
    return found


def _alike(
    answers: Mapping[str, Mapping[str, str]], students: Mapping[str, str], known: Callable[[str], list[str]]
) -> Iterator[str]:
    for number in sorted(answers, key=in_order):
        for group in _groups(answers[number], known(number)):
            yield f"- {number}: {one_line(', '.join(students.get(student, student) for student in group))}"


def public_answers(number: str) -> list[str]:
    """The answer of the public lesson, as source; none for an exercise that the course does not know."""
    try:
        return [textwrap.dedent(inspect.getsource(exercise(number).answer))]
    except (KeyError, ValueError, ImportError, OSError, TypeError):
        return []


def alike(answers: Mapping[str, str], known: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Pairs of students whose answers to one exercise are the same up to names, spacing, comments and ways of writing
    numbers.

    Args:
        answers: source by student.
        known: sources that may be the same without a reason to ask: the public answer, for example. The released stub
            and other short answers, and what a third of the class writes, are left out in any case.
    """
    return [pair for group in _groups(answers, known) for pair in combinations(group, 2)]


def _groups(answers: Mapping[str, str], known: Iterable[str]) -> list[list[str]]:
    public = {form(source)[0] for source in known}
    groups: dict[str, list[str]] = {}
    for student in sorted(answers):
        shape, nodes = form(answers[student])
        if nodes >= SHORT and shape not in public and STUB not in answers[student]:
            groups.setdefault(shape, []).append(student)
    obvious = max(CROWD, math.ceil(len(answers) / 3))
    return [group for group in groups.values() if 1 < len(group) < obvious]


def form(source: str) -> tuple[str, int]:
    """Code without what is easily changed, and the number of its nodes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = _Plain().visit(ast.parse(plain(source[:LONGEST])))
            nodes = sum(not isinstance(node, ast.expr_context | ast.operator) for node in ast.walk(tree))
            return ast.dump(tree), nodes
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        text = "".join(re.sub(r"#.*", "", source).split())
        return text, len(text) // 4


class _Plain(ast.NodeTransformer):
    """Names that the answer gives become numbers; docstrings, annotations and lone values go."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def visit_Module(self, node: ast.Module) -> ast.AST:
        for inner in ast.walk(node):
            for name in _given(inner):
                self.names.setdefault(name, f"_{len(self.names)}")
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self.names[node.arg])

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name, node.returns = self.names[node.name], None
        return self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> ast.AST:
        return ast.alias(node.name, self.names.get(node.asname))

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return self.visit(ast.Assign([node.target], node.value, lineno=0)) if node.value else None

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        whole = isinstance(node.value, float) and node.value.is_integer()
        return ast.Constant(int(node.value) if whole else node.value)


def _given(node: ast.AST) -> Iterator[str]:
    """The names that a node gives to something."""
    if isinstance(node, ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg
    elif isinstance(node, ast.alias) and node.asname:
        yield node.asname
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id


def main(graded: Annotated[Path, typer.Argument(help="The folder that make grade wrote.")] = Path("graded")) -> None:
    """Print what a graded class found hard."""
    if not (graded / "gradebook.db").exists():
        raise SystemExit(f"nothing has been graded in {graded} yet: make grade SUBMISSIONS=handed-in.zip")
    try:
        with Book(graded) as book:
            print(report(book.read(one) for one in read_all(graded / "results")), end="")
    except BookError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    typer.run(main)
