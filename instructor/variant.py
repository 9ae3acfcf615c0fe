"""Private variants: every graded exercise with something changed, drawn from a seed: ``make release VARIANT=seed``.

What can change in an exercise is its `Twist` (`tinyldm.checks`), which stands beside its answer in
`tinyldm/exercises/`: noise with another standard deviation, a logarithm to another base, a layout that counts from
another number. The question says so in one extra sentence. The answer that anyone can read in the public lesson then
fails the check; those who understand it need one more line.

The check cell of a variant returns the student's function converted to the usual exercise, as ``usual_NAME``, and the
cells below it call that; so they work as they are.
"""

from __future__ import annotations

import ast
import hashlib
import io
import random
import re
import tokenize
from functools import cache
from typing import Any

import nbformat
from repair import plain

from tinyldm.checks import asked
from tinyldm.exercises import exercise

TITLE = re.compile(r"^### Exercise (\d+)\.(\d+): (.*)$", re.MULTILINE)
MARK = "**In your version:**"
REMINDER = "# Note what is different in your version: see above. (The docstring describes the usual one.)"


def vary(lesson, seed: str):
    """A lesson as a variant; its answers are still those to the public exercises. The notebook passed in is unchanged.

    The same seed gives the same variant; each exercise draws its own number.
    """
    notebook = nbformat.from_dict(lesson)
    for position, cell in enumerate(notebook.cells):
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution") and not marks.get("grade"):
            number, N = number_of(marks["grade_id"]), drawn(marks["grade_id"], seed)
            _ask(notebook.cells[:position], number, asked(exercise(number).twist, N))
            name = next(node.name for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef))
            cell.source = f"{REMINDER}\n{cell.source}"
            for following in notebook.cells[position + 1 :]:
                if following.cell_type == "code" and not following.metadata.get("nbgrader", {}).get("grade_id"):
                    following.source = _renamed(following.source, name)
            check = notebook.cells[position + 1]
            check.source = check.source.replace(
                f'check("{number}", {name})', f'usual_{name} = check("{number}", {name}, N={N!r})'
            )
    return notebook


@cache
def fingerprint(seed: str) -> str:
    """What a released variant says of its seed: enough to recognise it; to try a seed costs 16 MiB and some time."""
    return hashlib.scrypt(seed.encode(), salt=b"tinyldm variant", n=2**14, r=8, p=1, dklen=6).hex()


def number_of(grade_id: str) -> str:
    """ "ex-2-1" -> "2.1"."""
    return grade_id.removeprefix("ex-").replace("-", ".")


def drawn(grade_id: str, seed: str) -> Any:
    """The number that a seed draws for an exercise."""
    return random.Random(f"{seed} {grade_id}").choice(exercise(number_of(grade_id)).twist.numbers)


def _ask(cells: list, number: str, says: str) -> None:
    """Put the new sentence after the exercise's question."""
    for cell in cells:
        for title in TITLE.finditer(cell.source if cell.cell_type == "markdown" else ""):
            if f"{int(title[1])}.{title[2]}" == number:
                hint = cell.source.index("\n\n<details>", title.end())
                cell.source = f"{cell.source[:hint]}\n\n{MARK} {says}{cell.source[hint:]}"
                return
    raise ValueError(f"exercise {number} has no heading and hint of its own")


def _renamed(source: str, function: str) -> str:
    """Code that calls ``usual_function``."""
    lines, before = source.splitlines(keepends=True), None
    positions = []
    for token in tokenize.generate_tokens(io.StringIO(plain(source)).readline):
        if token.type == tokenize.NAME and token.string == function and before != ".":
            positions.append(token.start)
        before = token.string
    for row, column in reversed(positions):
        lines[row - 1] = f"{lines[row - 1][:column]}usual_{lines[row - 1][column:]}"
    return "".join(lines)
