"""Make the exercises from the lessons: ``make release``.

    python instructor/release.py                    # writes notebooks/exercises/
    python instructor/release.py --variant SEED     # different numbers in the exercises (`variant`): private/SEED/

The lessons remain the single source. In a release, answers become stubs that raise ``NotImplementedError`` with the
exercise's name, outputs are removed, check cells are locked, and links and the Colab badge point to the released files.
The same lessons and the same seed give the same files, byte for byte.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from variant import SOLUTION, TITLE, vary

LESSONS = Path(__file__).resolve().parent.parent / "notebooks"
EXERCISES = LESSONS / "exercises"
PRIVATE = LESSONS.parent / "private"
ON_COLAB = re.compile(r"(/blob/[^/]+/notebooks/)")
BADGE = re.compile(r"\[!\[Open in Colab\]\(.*?\)\]\(.*?\)")
UPLOAD = "*Open this file in JupyterLab, or upload it to [Colab](https://colab.research.google.com).*"
HIDDEN = re.compile(r"^ *### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", re.DOTALL | re.MULTILINE)


def release(lesson, variant: str | None = None):
    """A lesson as an assignment, public or a private ``variant``; the notebook passed in is not changed."""
    notebook = vary(lesson, variant) if variant else nbformat.from_dict(lesson)
    titles = {f"ex-{int(a)}-{b}": f"exercise {int(a)}.{b}: {title}" for a, b, title in TITLE.findall(_text(notebook))}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution"):
            _clear(cell, titles[marks["grade_id"]])
        elif marks.get("grade"):
            cell.source = HIDDEN.sub("", cell.source)
        if marks.get("locked"):
            cell.metadata.update(editable=False, deletable=False)
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../")
            cell.source = ON_COLAB.sub(r"\1exercises/", cell.source)
            cell.source = BADGE.sub(UPLOAD, cell.source) if variant else cell.source
    for measured in ("minutes", "longest", "parts"):
        notebook.metadata.pop(measured, None)
    return notebook


def _text(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _clear(cell, title: str) -> None:
    stub = "*Your answer:*" if cell.cell_type == "markdown" else f'raise NotImplementedError("{title}")'
    cell.source = SOLUTION.sub(lambda found: found[1] + stub, cell.source)
    cell.metadata.pop("cellView", None)
    cell.metadata.pop("jupyter", None)


def main(
    variant: Annotated[str | None, typer.Option(help="Any word for a private variant; grade with the same.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: notebooks/exercises or private/VARIANT).")] = None,
) -> None:
    """Make the exercises from the lessons."""
    if variant and not re.fullmatch(r"[\w.-]*\w", variant):
        raise typer.BadParameter(f"letters, digits, '.', '-' and '_' only, not {variant!r}", param_hint="--variant")
    folder = out or (PRIVATE / variant if variant else EXERCISES)
    folder.mkdir(parents=True, exist_ok=True)
    lessons = sorted(LESSONS.glob("[0-9][0-9]_*.ipynb"))
    for path in lessons:
        nbformat.write(release(nbformat.read(path, as_version=4), variant), folder / path.name)
    print(f"{len(lessons)} lessons as exercises in {folder}")


if __name__ == "__main__":
    typer.run(main)
