"""Make the exercises from the lessons: ``make release``.

    python instructor/release.py                    # writes notebooks/exercises/
    python instructor/release.py --variant SEED     # different numbers in the exercises (`variant`): private/SEED/

The lessons remain the single source. In a release, answers become stubs that raise ``NotImplementedError`` with the
exercise's name, rubrics and outputs are removed, check cells are locked, and links and the Colab badge point to the
released files. Which release a notebook is from is written in its metadata, and its first cell has a line for the
student's name.
The same lessons and the same seed give the same files, byte for byte. The public release renews the glossary, too: each
sentence of the lessons that introduces a term, marked ``<dfn>term</dfn>``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from variant import TITLE, fingerprint, vary

from tinyldm import __version__
from tinyldm.weights import atomic_write

LESSONS = Path(__file__).resolve().parent.parent / "notebooks"
EXERCISES = LESSONS / "exercises"
PRIVATE = LESSONS.parent / "private"
ON_COLAB = re.compile(r"(/blob/[^/]+/notebooks/)")
BADGE = re.compile(r"\[!\[Open in Colab\]\(.*?\)\]\(.*?\)")
UPLOAD = "*Open this file in JupyterLab, or upload it to [Colab](https://colab.research.google.com).*"
SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?### END SOLUTION$", re.DOTALL | re.MULTILINE)
FOLDED = re.compile(r"^<details><summary>A model answer</summary>\n\n.*\n\n</details>$", re.DOTALL)
RUBRIC = re.compile(r"\n*<details><summary>Rubric</summary>\n.*?\n</details>", re.DOTALL)  # for whoever gives points
WRITE_HERE = "*Write your answer here.*"
YOUR_NAME = "Handing this in? Your name:"
EXERCISE_FORM = re.compile(r"^Work through it yourself: .*$", re.MULTILINE)  # the line below the badge
TERM = re.compile(r"<dfn>(.*?)</dfn>", re.DOTALL)
SENTENCE_END = re.compile(r"(?<! al)(?<! eq)[.?!][)*]*(?=\s|\Z)|\n\n|^#.*$|^[-*] |\| ", re.MULTILINE)
GLOSSARY = """# Glossary

The terms of the course, each with the sentence that introduces it (from `make release`).

| term | what it is | lesson |
|---|---|---|"""


def release(lesson, name: str, variant: str | None = None):
    """The lesson of a name ("02_forward_diffusion") as an assignment, public or a private ``variant``.

    The notebook passed in is not changed.
    """
    notebook = vary(lesson, variant) if variant else nbformat.from_dict(lesson)
    titles = {f"ex-{int(a)}-{b}": f"exercise {int(a)}.{b}: {title}" for a, b, title in TITLE.findall(_text(notebook))}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution"):
            _clear(cell, titles[marks["grade_id"]])
        if marks.get("locked"):
            cell.metadata.update(editable=False, deletable=False)
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("](../", "](../../").replace("](glossary.md)", "](../glossary.md)")
            cell.source = ON_COLAB.sub(r"\1exercises/", cell.source)
            cell.source = BADGE.sub(UPLOAD, cell.source) if variant else cell.source
            complete = "" if variant else f"The same lesson with answers and outputs: [complete](../{name}.ipynb)."
            cell.source = RUBRIC.sub("", EXERCISE_FORM.sub(complete, cell.source))
    for measured in ("minutes", "longest", "parts"):
        notebook.metadata.pop(measured, None)
    notebook.cells[0].source += f"\n\n{YOUR_NAME}"
    notebook.metadata.tinyldm = {
        "lesson": name[:2], "version": __version__, "variant": fingerprint(variant) if variant else ""
    }  # fmt: skip
    return notebook


def _text(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def _clear(cell, title: str) -> None:
    if cell.cell_type == "markdown":
        cell.source, replaced = FOLDED.subn(WRITE_HERE, cell.source)
    else:
        stub = ("# Write your answer here, in place of the next line.", f'raise NotImplementedError("{title}")')
        cell.source, replaced = SOLUTION.subn(lambda f: "\n".join(f[1] + line for line in stub), cell.source)
    if replaced != 1:
        raise ValueError(f"{title}: {replaced} answers in one cell")
    cell.metadata.pop("cellView", None)
    cell.metadata.pop("jupyter", None)


def glossary() -> str:
    """Every term that a lesson introduces, with the sentence that says what it is and a link to the lesson."""
    lessons = {path: nbformat.read(path, as_version=4) for path in sorted(LESSONS.glob("[0-9][0-9]_*.ipynb"))}
    everything, rows = "\n".join(map(_text, lessons.values())), {}
    for path, lesson in lessons.items():
        for cell in lesson.cells:
            for term in TERM.finditer(cell.source if cell.cell_type == "markdown" else ""):
                name = " ".join(term[1].split())
                if name.lower() in rows:
                    raise ValueError(f"{path.name} introduces {name!r}, which an earlier lesson has introduced")
                shown = name.lower() if name.lower() in everything else name  # "Mode collapse is", but "Euler's method"
                link = f"[{path.stem[:2]}]({path.name})"
                rows[name.lower()] = f"| {shown} | {_sentence(cell.source, term.start())} | {link} |"
    return "\n".join([GLOSSARY, *(rows[name] for name in sorted(rows)), ""])


def _sentence(text: str, place: int) -> str:
    """The sentence around a place in Markdown, on one line of a table."""
    start = max([end.end() for end in SENTENCE_END.finditer(text) if end.end() <= place], default=0)
    stop = SENTENCE_END.search(text, place)
    sentence = " ".join(TERM.sub(r"\1", text[start : stop.end() if stop else len(text)]).split())
    sentence = sentence.lstrip("-> ").replace("**", "")
    if sentence.startswith("(") or sentence.count("(") != sentence.count(")"):
        sentence = sentence.strip("()")
    return re.sub(":$", ".", sentence.replace("|", "\\|"))


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
        nbformat.write(release(nbformat.read(path, as_version=4), path.stem, variant), folder / path.name)
    if folder == EXERCISES:
        with atomic_write(LESSONS / "glossary.md") as unfinished:
            unfinished.write_text(glossary(), "utf-8")
    print(f"{len(lessons)} lessons as exercises in {folder}")


if __name__ == "__main__":
    typer.run(main)
