"""What comes back from a class is graded rightly, whatever happened to it on the way, and nothing of it is lost."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSON = "02_small"

pytest.importorskip("nbgrader", reason="the extra 'grade' is not installed")


def marks(name: str, **rest) -> dict:
    usual = {"grade": False, "locked": False, "schema_version": 3, "solution": False, "task": False}
    return {"nbgrader": usual | {"grade_id": name} | rest}


def code(source: str, **metadata):
    return nbformat.v4.new_code_cell(source, metadata=metadata)


def text(source: str, **metadata):
    return nbformat.v4.new_markdown_cell(source, metadata=metadata)


def answer(number: int, name: str, body: str):
    source = f"def {name}(a):\n    ### BEGIN SOLUTION\n    {body}\n    ### END SOLUTION"
    return code(source, **marks(f"ex-2-{number}", solution=True))


def check(number: int, name: str, result: int):
    source = (
        f"# check (locked)\ngot = {name}(3)\nassert got is not None, '{name} returns nothing'\nassert got == {result}"
    )
    return code(source, **marks(f"ex-2-{number}-check", grade=True, locked=True, points=2))


def small_lesson():
    cells = [
        text("# Lesson 02: small"),
        code("import math"),
        code("raise RuntimeError('the long training of the lesson, which grading leaves out')"),
        text("### Exercise 2.1: doubling"),
        answer(1, "double", "return 2 * a"),
        check(1, "double", 6),
        text("### Exercise 2.2: the root"),
        answer(2, "root", "return math.isqrt(3 * a)"),
        check(2, "root", 3),
        text("### Exercise 2.3: an open question"),
        text("### BEGIN SOLUTION\nBecause.\n### END SOLUTION", **marks("ex-2-3", grade=True, solution=True, points=3)),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """The instructor's modules, working on one small lesson."""
    monkeypatch.syspath_prepend(ROOT / "instructor")
    import grade
    import release
    import repair

    lessons = tmp_path / "lessons"
    lessons.mkdir()
    nbformat.write(small_lesson(), lessons / f"{LESSON}.ipynb")
    monkeypatch.setattr(release, "LESSONS", lessons)
    monkeypatch.setattr(grade, "LESSONS", lessons)
    yield grade, release, repair
    for name in ("grade", "release", "repair"):
        sys.modules.pop(name)


def solved(release, *names: str):
    """The released lesson with right answers for the named exercises, and an answer to the question."""
    notebook = release.release(small_lesson())
    right = {"double": "def double(a):\n    return a + a", "root": "def root(a):\n    return round(math.sqrt(3 * a))"}
    for cell in notebook.cells:
        for name in names:
            if cell.source.startswith(f"def {name}"):
                cell.source = right[name]
        if cell.source == "*Your answer:*":
            cell.source = "*Your answer:* since"
    return notebook


def cell_of(notebook, name: str):
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)


def without_metadata(notebook):
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def from_colab(notebook):
    """Colab keeps nbgrader's metadata, adds its own, gives new ids and names its own kernel."""
    for number, cell in enumerate(notebook.cells):
        cell.metadata |= {"id": f"Xy{number}", "colab": {"base_uri": "https://localhost:8080/"}}
        cell.id = f"Xy{number}"
    notebook.metadata |= {
        "colab": {"provenance": []},
        "accelerator": "GPU",
        "kernelspec": {"name": "ir", "display_name": "R"},
    }
    return notebook


# ---------------------------------------------------------------- a class


def hand_in(tools, folder: Path) -> dict[str, tuple]:
    """One file of every kind; for each student the points expected, and a word that the notes must have."""
    _, release, _ = tools
    both, one = solved(release, "double", "root"), solved(release, "root")
    class_ = {"all right": (solved(release, "double", "root"), 4, ""), "all stubs": (solved(release), 0, "")}

    edited = solved(release, "root")
    cell_of(edited, "ex-2-1-check").source = "# check (locked)\nassert True"
    class_["check edited"] = (edited, 2, "")

    deleted = solved(release, "root")
    deleted.cells.remove(cell_of(deleted, "ex-2-1-check"))
    class_["check deleted"] = (deleted, 2, "ex-2-1-check: was missing")

    class_["stripped"] = (without_metadata(solved(release, "double", "root")), 4, "lost its metadata")

    doubled = solved(release, "double", "root")
    at = doubled.cells.index(cell_of(doubled, "ex-2-1"))
    doubled.cells.insert(at, nbformat.from_dict(doubled.cells[at]))
    doubled.cells[at].source = "def double(a):\n    return 5  # first try"
    class_["doubled"] = (doubled, 4, "ex-2-1: a copy of the cell does not count")

    extra = solved(release, "double", "root")
    extra.cells.insert(4, code("1 / 0"))
    class_["extra error"] = (extra, 4, "")

    endless = solved(release, "root")
    cell_of(endless, "ex-2-1").source = "def double(a):\n    while True:\n        pass"
    class_["endless"] = (endless, 2, "")

    unknown = solved(release, "double", "root")
    unknown.metadata.kernelspec = {"name": "julia", "display_name": "Julia"}
    class_["kernel"] = (unknown, 4, "kernel 'julia' became python3")
    class_["colab"] = (from_colab(solved(release, "double", "root")), 4, "kernel 'ir' became python3")
    class_["Zoë Müller"] = (both, 4, "")
    for student, (notebook, _, _) in class_.items():
        nbformat.write(notebook, folder / f"{student} {LESSON}.ipynb")

    twice = folder / "twice"  # a folder for a student, with two submissions; the newer one counts
    twice.mkdir()
    nbformat.write(both, twice / f"{LESSON}.ipynb")
    nbformat.write(one, twice / f"{LESSON} (1).ipynb")
    os.utime(twice / f"{LESSON}.ipynb", (1, 1))
    (folder / f"no notebook {LESSON}.ipynb").write_text("%PDF-1.4")
    (folder / f"empty {LESSON}.ipynb").write_text("")
    (folder / "essay.docx").write_text("About diffusion")
    expected = {student: (points, note) for student, (_, points, note) in class_.items()}
    return expected | {
        "twice": (2, ""),
        "no notebook": ("", "not graded"),
        "empty": ("", "not graded"),
        "essay": ("", "neither its name nor its heading"),
    }


def test_a_class_gets_the_right_grades(tools, tmp_path):
    grade, *_ = tools
    folder, out = tmp_path / "handed in", tmp_path / "graded"
    folder.mkdir()
    expected = hand_in(tools, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    grade.main(folder, out, timeout=4)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with (out / "grades.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(before)
    newest = {row["student"]: row for row in rows if "a newer one" not in row["notes"]}
    assert set(newest) == set(expected)
    for student, (points, note) in expected.items():
        row = newest[student]
        got = float(row["points"]) if row["points"] else ""
        assert got == points and note in row["notes"], row
        if points != "":
            assert (row["of"], row["by_hand"]) == ("7.0", "3.0")
            page = (out / "feedback" / f"{student} {LESSON}.html").read_text("utf-8")
            assert "Comments" in page or "Score" in page
    assert sum("a newer one" in row["notes"] for row in rows) == 1
    assert newest["check edited"]["exercises"] == "ex-2-1 0/2; ex-2-2 2/2"


def test_a_zip_is_read_like_a_folder(tools, tmp_path):
    import zipfile

    grade, release, _ = tools
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr(f"moodle/anna_{LESSON}.ipynb", nbformat.writes(solved(release, "double")))
    grade.main(tmp_path / "all.zip", tmp_path / "graded", timeout=20)
    (row,) = csv.DictReader((tmp_path / "graded" / "grades.csv").open(encoding="utf-8"))
    assert (row["student"], row["points"]) == ("anna", "2.0")


@pytest.mark.parametrize(
    ("name", "student"),
    [
        (f"{LESSON}_s1234567.ipynb", "s1234567"),
        (f"müller-{LESSON}.ipynb", "müller"),
        (f"Anna B {LESSON} (2).ipynb", "Anna B"),
        (f"s7/{LESSON}.ipynb", "s7"),
    ],
)
def test_the_student_is_what_the_name_says_beside_the_lesson(tools, tmp_path, name, student):
    grade, release, _ = tools
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True)
    nbformat.write(solved(release), path)
    (found,) = grade.find(tmp_path / "in")
    assert (found.student, found.lesson) == (student, LESSON)


def test_a_notebook_whose_name_says_nothing_is_known_by_its_heading(tools, tmp_path):
    grade, release, _ = tools
    folder = tmp_path / "in"
    folder.mkdir()
    nbformat.write(solved(release), folder / "homework.ipynb")
    (found,) = grade.find(folder)
    assert (found.student, found.lesson) == ("homework", LESSON)


# ---------------------------------------------------------------- teaching sheets


LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_a_teaching_sheet_with_its_measured_parts(path):
    sheet = (ROOT / "instructor" / "sheets" / f"{path.stem}.md").read_text("utf-8")
    titles = ["## Plan, ", "## What learners stumble over", "## Questions to discuss", "## The open question ("]
    assert "**Aims.**" in sheet and all(title in sheet for title in titles)
    measured = nbformat.read(path, as_version=4).metadata.get("parts", {}).get("cpu", [])
    assert re.findall(r"^\| (.*) \| (\d+) \| (?:\d+|not measured) \|$", sheet, re.MULTILINE) == [
        (part, f"{seconds:.0f}") for part, seconds in measured
    ]


# ---------------------------------------------------------------- release


def test_a_release_has_stubs_with_names_and_no_answers_or_outputs(tools):
    _, release, _ = tools
    lesson = small_lesson()
    lesson.cells[1].outputs, lesson.cells[1].execution_count = [nbformat.v4.new_output("stream", text="7")], 3
    released = release.release(lesson)
    assert "### BEGIN" not in json.dumps(released) and not any(cell.get("outputs") for cell in released.cells)
    stub = cell_of(released, "ex-2-1").source
    assert stub == 'def double(a):\n    raise NotImplementedError("exercise 2.1: doubling")'
    assert cell_of(released, "ex-2-1-check").metadata.editable is False
    assert cell_of(released, "ex-2-3").source == "*Your answer:*"
    assert lesson.cells[1].outputs and "BEGIN SOLUTION" in cell_of(lesson, "ex-2-1").source, "the lesson is as it was"


def test_the_same_lessons_give_the_same_files(tmp_path):
    for name in ("a", "b"):
        subprocess.run([sys.executable, ROOT / "instructor" / "release.py", tmp_path / name], check=True)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    for name in files:
        made = (tmp_path / "a" / name).read_bytes()
        assert made == (tmp_path / "b" / name).read_bytes()
        assert made == (ROOT / "notebooks" / "exercises" / name).read_bytes(), f"run `make release`: {name} is old"
