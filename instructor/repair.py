"""Bring a submitted notebook into a form that can be graded, and say what was done.

Students' notebooks come back with metadata lost or duplicated (Colab, copies), without check cells, with cells of
their own. The released lesson says what must be there. A repaired notebook contains every exercise's heading, answer
and check, and whatever the student added or changed; cells that came back unchanged and are not graded are left out,
since they train and draw for minutes: of them only imports and definitions are used (`definitions`). The submission
itself is never changed: `repair` works on a copy.
"""

from __future__ import annotations

import ast
import itertools
import re
from difflib import SequenceMatcher
from functools import partial

import nbformat
from nbformat import NotebookNode

ALIKE = 0.6  # share of a check cell's text that must match for it to be recognised without its metadata
PARSED = 200_000  # characters of a cell that is looked into: a tree of Python takes up a thousand times as much
LONGEST = 2_000  # characters of a check cell, many times over
HEADING = re.compile(r"^### Exercise \d+\.\d+: ", re.MULTILINE)
DEFINES = re.compile(r"^(?:async )?def (\w+)", re.MULTILINE)
HARMLESS = ("torch", "np", "numpy", "math", "range", "len", "list", "tuple", "dict", "int", "float")  # may be called


def repair(submission: NotebookNode, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    """A submission ready to be graded, and a list of what was repaired.

    In the result, ``metadata.tinyldm.cell`` of each cell is its place in the submission, from 1; cells that were
    missing there have none.

    Args:
        submission: a notebook that was handed in.
        released: the lesson as `release` made it.
    """
    copy, notes = nbformat.from_dict(submission), []
    place = {id(cell): number for number, cell in enumerate(copy.cells, 1)}
    handed_out = {as_text(cell.source) for cell in released.cells}
    found = _find_graded(copy, released, notes)
    _find_open_answers(copy, released, found, handed_out, notes)
    cells = [cell for cell in copy.cells if _is_kept(cell, handed_out, found)]
    _insert_missing(cells, found, released, notes)
    kernel = copy.metadata.get("kernelspec", {}).get("name")
    if kernel not in ("python3", None):
        notes.append(f"kernel {str(kernel)[:40]!r} became python3")
    metadata = {"kernelspec": released.metadata.kernelspec, "language_info": {"name": "python"}}
    repaired = nbformat.v4.new_notebook(cells=[_fresh(cell, place.get(id(cell))) for cell in cells], metadata=metadata)
    nbformat.validate(repaired)
    return repaired, notes


def as_text(source: str) -> str:
    """What a cell says, whatever an editor did to tabs, ends of lines and space at the end of them."""
    return "\n".join(line.expandtabs(4).rstrip() for line in source.splitlines()).strip()


def grade_id(cell: NotebookNode) -> str | None:
    """nbgrader's name for a cell, if it has one."""
    marks = cell.metadata.get("nbgrader")
    name = marks.get("grade_id") if isinstance(marks, dict) else None
    return name if isinstance(name, str) else None


def plain(source: str) -> str:
    """Code with the lines that only a notebook understands replaced by ``pass``."""
    return re.sub(r"^( *)[%!].*$", r"\1pass", source, flags=re.MULTILINE)


def definitions(source: str, taken: set[str] = frozenset()) -> list[str]:
    """A cell's imports, functions, classes and constants, each by itself; nothing that does anything.

    Args:
        source: of the cell.
        taken: names that no constant may have.
    """
    if len(source) > PARSED:
        return []
    found = [statement for statement in _statements(plain(source)) if _is_definition(statement)]
    return [ast.unparse(one) for one in found if not taken & {getattr(to, "id", "") for to in _targets(one)}]


def _targets(statement: ast.stmt) -> list[ast.expr]:
    return statement.targets if isinstance(statement, ast.Assign) else []


def only_defines(source: str) -> bool:
    """Whether a cell is Python that defines something, and does nothing else."""
    body = _parsed(source)
    return body is not None and all(_is_definition(statement) for statement in body)


def _statements(source: str) -> list[ast.stmt]:
    """The statements on the first level of a cell; if it is no Python, those parts of it that are."""
    if (body := _parsed(source)) is not None:
        return body
    parts = re.split(r"^(?=[^\s#)\]}])", source, flags=re.MULTILINE)  # each line that starts at the margin
    decorated = re.sub(r"(@[^\n]*\n)\0", r"\1", "\0".join(parts)).split("\0")
    return [statement for part in decorated for statement in _parsed(part) or []]


def _parsed(source: str) -> list[ast.stmt] | None:
    try:
        return ast.parse(source).body if len(source) <= PARSED else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _is_definition(statement: ast.stmt) -> bool:
    try:
        ast.unparse(statement)
    except RecursionError:  # hundreds of terms
        return False
    if isinstance(statement, ast.Assign):
        calls = [node for node in ast.walk(statement.value) if isinstance(node, ast.Call)]
        to_names = all(isinstance(target, ast.Name) for target in statement.targets)
        return to_names and all(ast.unparse(call.func).split(".")[0] in HARMLESS for call in calls)
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef) or _is_text(statement)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_kept(cell: NotebookNode, handed_out: set[str], found: dict) -> bool:
    return (
        as_text(cell.source) not in handed_out
        or any(cell is one for one in found.values())
        or (cell.cell_type == "markdown" and bool(HEADING.search(cell.source)))
    )


def _find_graded(copy: NotebookNode, released: NotebookNode, notes: list[str]) -> dict[str, NotebookNode]:
    """For each graded cell of the lesson, the submission's cell, which is given the lesson's metadata."""
    found: dict[str, NotebookNode] = {}
    for position, wanted in enumerate(released.cells):
        name = grade_id(wanted)
        if name is None:
            continue
        same = [cell for cell in copy.cells if grade_id(cell) == name and cell.cell_type == wanted.cell_type]
        if not same:
            lost = [cell for cell in copy.cells if grade_id(cell) is None and cell.cell_type == wanted.cell_type]
            same = [cell for cell in lost if _is_probably(cell, wanted)] or _below(copy, released, position)
            same = [cell for cell in same if not any(cell is one for one in found.values())][:1]
            notes += [f"{name}: lost its metadata, recognised by its text"] * len(same)
        notes += [f"{name}: a copy of the cell, with {len(same)} in all"] * (len(same) > 1)
        for cell in same:
            cell.metadata = {}
        if same:
            same[0].metadata = nbformat.from_dict(wanted.metadata)
            found[name] = same[0]
    for cell in copy.cells:  # another lesson's, or of another type: not to be taken for this lesson's
        if not any(cell is one for one in found.values()):
            cell.metadata.pop("nbgrader", None)
    return found


def _is_probably(cell: NotebookNode, wanted: NotebookNode) -> bool:
    if wanted.metadata.nbgrader.locked:
        matcher = SequenceMatcher(None, cell.source[:LONGEST], wanted.source, autojunk=False)
        return len(cell.source) <= LONGEST and matcher.quick_ratio() > ALIKE and matcher.ratio() > ALIKE
    if wanted.cell_type == "code":
        functions = set(DEFINES.findall(wanted.source))
        return bool(functions) and functions <= set(DEFINES.findall(cell.source))
    return cell.source.startswith(wanted.source[:14])  # the open question's "*Write your a"


def _below(copy: NotebookNode, released: NotebookNode, position: int) -> list[NotebookNode]:
    """What stands where an open question's answer was, right below the question, and was not handed out."""
    if released.cells[position].cell_type != "markdown":
        return []
    question = released.cells[position - 1].source
    handed_out = {as_text(cell.source) for cell in released.cells}
    title = HEADING.search(question)
    after = [i + 1 for i, cell in enumerate(copy.cells) if title and title[0] in cell.source]
    below = [copy.cells[i] for i in after if i < len(copy.cells)]
    return [cell for cell in below if cell.cell_type == "markdown" and as_text(cell.source) not in handed_out]


def _find_open_answers(copy: NotebookNode, released: NotebookNode, found: dict, handed_out: set, notes: list) -> None:
    """Where an open question's own cell is empty or gone, take what the student wrote beside it, or in the question."""
    for question, wanted in zip(released.cells, released.cells[1:], strict=False):
        name = grade_id(wanted)
        own = found.get(name or "")
        if name is None or wanted.cell_type != "markdown" or (own and as_text(own.source) not in {*handed_out, ""}):
            continue
        asked, title = as_text(question.source), HEADING.search(question.source)
        for at, cell in enumerate(copy.cells):
            if cell.cell_type != "markdown" or not title or title[0] not in cell.source:
                continue
            beside = list(itertools.takewhile(partial(_is_prose, own=own, handed_out=handed_out), copy.cells[at + 1 :]))
            texts = [as_text(cell.source).removeprefix(asked)] * as_text(cell.source).startswith(asked)
            texts += [one.source for one in beside if one is not own]
            if text := "\n\n".join(text.strip() for text in texts if text.strip()):
                if own is None:
                    own = found[name] = nbformat.from_dict(wanted)
                    copy.cells.insert(at + 1, own)
                own.source = text
                notes.append(f"{name}: its cell was empty or missing; the answer was found beside it")
                break


def _is_prose(cell: NotebookNode, own: NotebookNode | None, handed_out: set[str]) -> bool:
    """Whether a cell below an open question may hold the answer to it: text, or code that only says something."""
    if cell is own:
        return True
    if grade_id(cell) or as_text(cell.source) in handed_out or HEADING.search(cell.source):
        return False
    return cell.cell_type != "code" or cell.source.lstrip().startswith(("#", '"', "'", "print("))


def _insert_missing(cells: list, found: dict, released: NotebookNode, notes: list[str]) -> None:
    """Put what the student deleted back where it belongs: after the graded cell before it."""
    at = -1
    for wanted in released.cells:
        name = grade_id(wanted)
        if name is None:
            continue
        if name in found:
            at = next(i for i, cell in enumerate(cells) if cell is found[name])
            continue
        notes.append(f"{name}: was missing")
        at += 1
        cells.insert(at, nbformat.from_dict(wanted))


def _fresh(cell: NotebookNode, place: int | None) -> NotebookNode:
    """The cell with a new id, its place, and no outputs: ids may have been duplicated or lost."""
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    marks = cell.metadata.get("nbgrader")
    metadata = ({"nbgrader": marks} if grade_id(cell) else {}) | ({"tinyldm": {"cell": place}} if place else {})
    return make.get(cell.cell_type, nbformat.v4.new_raw_cell)(cell.source, metadata=metadata)
