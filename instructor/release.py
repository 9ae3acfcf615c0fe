"""Make the exercises from the lessons: ``make release``.

    python instructor/release.py            # writes notebooks/exercises/
    python instructor/release.py FOLDER     # somewhere else

The lessons stay the single source. In a release answers are stubs that raise ``NotImplementedError`` with the
exercise's name, outputs are gone, check cells are locked, and links and the Colab badge lead to where the release lies.
The same lessons give the same files, byte for byte.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nbformat

LESSONS = Path(__file__).resolve().parent.parent / "notebooks"
EXERCISES = LESSONS / "exercises"
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION$", re.DOTALL | re.MULTILINE)
HIDDEN = re.compile(r"^ *### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", re.DOTALL | re.MULTILINE)
TITLE = re.compile(r"^### Exercise (\d+)\.(\d+): (.*)$", re.MULTILINE)


def release(lesson):
    """A lesson as an assignment; the notebook that is given stays as it is."""
    notebook = nbformat.from_dict(lesson)
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
            cell.source = cell.source.replace("/main/notebooks/", "/main/notebooks/exercises/")
    for measured in ("minutes", "parts"):
        notebook.metadata.pop(measured, None)
    return notebook


def _text(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _clear(cell, title: str) -> None:
    stub = "*Your answer:*" if cell.cell_type == "markdown" else f'raise NotImplementedError("{title}")'
    cell.source = SOLUTION.sub(lambda found: found[1] + stub, cell.source)
    cell.metadata.pop("cellView", None)
    cell.metadata.pop("jupyter", None)


def main(arguments: list[str]) -> None:
    """Write all exercises."""
    folder = Path(arguments[0]) if arguments else EXERCISES
    folder.mkdir(parents=True, exist_ok=True)
    lessons = sorted(LESSONS.glob("[0-9][0-9]_*.ipynb"))
    for path in lessons:
        nbformat.write(release(nbformat.read(path, as_version=4)), folder / path.name)
    print(f"{len(lessons)} lessons as exercises in {folder}")


if __name__ == "__main__":
    main(sys.argv[1:])
