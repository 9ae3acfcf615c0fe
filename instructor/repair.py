"""Bring a submitted notebook into a form that nbgrader can grade, and say what was done.

Students' notebooks come back with metadata lost or duplicated (Colab, copies), without check cells, with cells of
their own. The released lesson says what must be there. A repaired notebook contains the lesson's imports, every answer
and check, and whatever the student added or changed; cells that came back unchanged and are not graded are left out,
since they train and draw for minutes. The submission itself is never changed: `repair` works on a copy.
"""

from __future__ import annotations

import ast
import re
from difflib import SequenceMatcher

import nbformat

CHECK = "# check (locked)"
ALIKE = 0.6  # share of a check cell's text that must match for it to be recognised without its metadata


def repair(submission, released):
    """A submission ready to be graded, and a list of what was repaired.

    Args:
        submission: a notebook that was handed in.
        released: the lesson as `release` made it.
    """
    copy, notes = nbformat.from_dict(submission), []
    handed_out = {cell.source for cell in released.cells}
    found = _find_graded(copy, released, notes)
    own = [c for c in copy.cells if c.source not in handed_out or grade_id(c) in found]
    cells = [nbformat.v4.new_code_cell(imports_of(released)), *own]
    _insert_missing(cells, found, released, notes)
    kernel = copy.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        notes.append(f"kernel {kernel!r} became python3")
    metadata = {"kernelspec": released.metadata.kernelspec, "language_info": {"name": "python"}}
    repaired = nbformat.v4.new_notebook(cells=[_fresh(cell) for cell in cells], metadata=metadata)
    nbformat.validate(repaired)
    return repaired, notes


def grade_id(cell) -> str | None:
    """nbgrader's name for a cell, if it has one."""
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def imports_of(notebook) -> str:
    """All import statements of a lesson, so that its checks run without the rest of the lesson."""
    trees = [ast.parse(plain(cell.source)) for cell in notebook.cells if cell.cell_type == "code"]
    return "\n".join(ast.unparse(n) for tree in trees for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom))


def plain(source: str) -> str:
    """Code with the lines that only a notebook understands replaced by ``pass``."""
    return re.sub(r"^( *)[%!].*$", r"\1pass", source, flags=re.MULTILINE)


def _find_graded(copy, released, notes: list[str]) -> dict:
    """For each graded cell of the lesson, the submission's cell, which is given the lesson's metadata."""
    found = {}
    for wanted in released.cells:
        name = grade_id(wanted)
        if name is None:
            continue
        same = [cell for cell in copy.cells if grade_id(cell) == name and cell.cell_type == wanted.cell_type]
        if not same:
            lost = [cell for cell in copy.cells if grade_id(cell) is None and cell.cell_type == wanted.cell_type]
            same = [cell for cell in lost if _is_probably(cell, wanted)][:1]
            notes += [f"{name}: lost its metadata, recognised by its text"] * len(same)
        notes += [f"{name}: a copy of the cell does not count"] * (len(same) - 1)
        for cell in same:
            cell.metadata = {}
        if same:
            same[0].metadata = nbformat.from_dict(wanted.metadata)
            found[name] = same[0]
    return found


def _is_probably(cell, wanted) -> bool:
    if wanted.metadata.nbgrader.locked:
        return SequenceMatcher(None, cell.source, wanted.source, autojunk=False).ratio() > ALIKE
    if wanted.cell_type == "code":
        return bool(_functions(wanted.source)) and _functions(wanted.source) <= _functions(cell.source)
    return cell.source.startswith(wanted.source[:14])  # the open question's "*Write your a"


def _functions(source: str) -> set[str]:
    return set(re.findall(r"^def (\w+)", source, re.MULTILINE))


def _insert_missing(cells: list, found: dict, released, notes: list[str]) -> None:
    """Put what the student deleted back where it belongs: after the graded cell before it."""
    at = 0
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


def _fresh(cell):
    """The cell with a new id and no outputs: ids may have been duplicated or lost."""
    if cell.metadata.get("nbgrader", {}).get("locked"):  # whatever a student's own cells call `check`
        cell.source = cell.source.replace(CHECK, f"{CHECK}\nfrom tinyldm.exercises import check", 1)
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    return make.get(cell.cell_type, nbformat.v4.new_raw_cell)(cell.source, metadata=cell.metadata)
