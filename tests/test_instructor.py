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
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

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
        text(
            "<details><summary>A model answer</summary>\n\nBecause.\n\n</details>",
            **marks("ex-2-3", grade=True, solution=True, points=3),
        ),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """The instructor's modules, working on one small lesson."""
    import grade
    import release
    import repair

    lessons = tmp_path / "lessons"
    lessons.mkdir()
    nbformat.write(small_lesson(), lessons / f"{LESSON}.ipynb")
    monkeypatch.setattr(release, "LESSONS", lessons)
    monkeypatch.setattr(grade, "LESSONS", lessons)
    return grade, release, repair


def exercises_of(lesson) -> list[str]:
    """The names of its graded functions, in their order."""
    marked = [cell.metadata.get("nbgrader", {}) for cell in lesson.cells if cell.cell_type == "code"]
    return [marks["grade_id"] for marks in marked if marks.get("solution")]


def solved(release, lesson, *names: str, variant: str | None = None):
    """A lesson as released, with its answers put back for the named exercises, and words for the open question."""
    notebook = release.release(lesson, LESSON, variant)
    for cell in notebook.cells:
        if (name := cell.metadata.get("nbgrader", {}).get("grade_id")) in names:
            source = cell_of(lesson, name).source
            cell.source = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", source, flags=re.MULTILINE)
            cell.source += varied(name, source, variant) if variant else ""
        if cell.source == release.WRITE_HERE:
            cell.source = "*Write your answer here.* Since"
    return notebook


def varied(name: str, source: str, variant: str) -> str:
    """The line that makes an answer to the public exercise one to a variant."""
    from variant import drawn, number_of

    function = re.search(r"^def (\w+)\(", source, re.MULTILINE)[1]
    exercise = f'__import__("tinyldm.exercises").exercises.exercise("{number_of(name)}", N={drawn(name, variant)!r})'
    return f"\n\n{function} = {exercise}.form({function})"


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


def hand_in(release, lesson, name: str, folder: Path) -> dict[str, tuple]:
    """Twenty files of every kind; for each student the points expected, and a word that the notes must have."""
    first, *others = every = exercises_of(lesson)
    points = {e: cell_of(lesson, f"{e}-check").metadata.nbgrader.points for e in every}
    most, rest = sum(points.values()), sum(points[e] for e in others)

    def answers(*names: str):
        return solved(release, lesson, *names)

    def with_first(source: str, *names: str):
        notebook = answers(*names)
        cell_of(notebook, first).source = source
        return notebook

    def without(cell_name: str):
        notebook = answers(*others)
        notebook.cells.remove(cell_of(notebook, cell_name))
        return notebook

    function = re.search(r"def (\w+)\(", cell_of(lesson, first).source)[1]
    class_ = {"all right": (answers(*every), most, ""), "all stubs": (answers(), 0, "")}
    class_["only the first"] = (answers(first), points[first], "")
    class_["first wrong"] = (with_first(f"def {function}(*all):\n    return 17", *others), rest, "")
    class_["endless"] = (with_first(f"def {function}(*all):\n    while True:\n        pass", *others), rest, "")
    class_["check deleted"] = (without(f"{first}-check"), rest, f"{first}-check: was missing")
    class_["answer deleted"] = (without(first), rest, f"{first}: was missing")
    class_["stripped"] = (without_metadata(answers(*every)), most, "lost its metadata")
    class_["colab"] = (from_colab(answers(*every)), most, "kernel 'ir' became python3")
    class_["Zoë Müller"] = (answers(*every), most, "")

    edited = answers(*others)
    cell_of(edited, f"{first}-check").source = "# check (locked)\nassert True"
    class_["check edited"] = (edited, rest, "")

    doubled = answers(*every)
    at = doubled.cells.index(cell_of(doubled, first))
    doubled.cells.insert(at, nbformat.from_dict(doubled.cells[at]))
    doubled.cells[at].source = f"def {function}(*all):\n    return 5  # first try"
    class_["doubled"] = (doubled, most, f"{first}: a copy of the cell does not count")

    extra = answers(*every)
    extra.cells.insert(4, code("1 / 0"))
    class_["extra error"] = (extra, most, "")

    unknown = answers(*every)
    unknown.metadata.kernelspec = {"name": "julia", "display_name": "Julia"}
    class_["kernel"] = (unknown, most, "kernel 'julia' became python3")
    for student, (notebook, _, _) in class_.items():
        nbformat.write(notebook, folder / f"{student} {name}.ipynb")

    twice = folder / "twice"  # a folder for a student, with two submissions; the newer one counts
    twice.mkdir()
    nbformat.write(answers(*every), twice / f"{name}.ipynb")
    nbformat.write(answers(*others), twice / f"{name} (1).ipynb")
    os.utime(twice / f"{name}.ipynb", (1, 1))
    nbformat.write(answers(*every), folder / "homework.ipynb")
    (folder / f"no notebook {name}.ipynb").write_text("%PDF-1.4")
    (folder / f"empty {name}.ipynb").write_text("")
    (folder / "essay.docx").write_text("About diffusion")
    expected = {student: (points, note) for student, (_, points, note) in class_.items()}
    return expected | {
        "twice": (rest, ""),
        "homework": (most, ""),
        "no notebook": ("", "not graded"),
        "empty": ("", "not graded"),
        "essay": ("", "neither its name nor its heading"),
    }


def rows_of(out: Path) -> list[dict]:
    with (out / "grades.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("path", "timeout"), [(None, 4), pytest.param(LESSONS[2], 20, marks=pytest.mark.full)], ids=["small", "real"]
)
def test_a_class_gets_the_right_grades(tools, monkeypatch, tmp_path, path, timeout):
    grade, release, _ = tools
    lesson, name = (small_lesson(), LESSON) if path is None else (nbformat.read(path, as_version=4), path.stem)
    if path:
        monkeypatch.setattr(grade, "LESSONS", path.parent)
    folder, out = tmp_path / "handed in", tmp_path / "graded"
    folder.mkdir()
    expected = hand_in(release, lesson, name, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    grade.main(folder, out, timeout=timeout)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    rows = rows_of(out)
    assert len(rows) == len(before) == 20
    newest = {row["student"]: row for row in rows if "a newer one" not in row["notes"]}
    assert set(newest) == set(expected)
    most = f"{expected['all right'][0] + 3:.1f}"  # with those of the open question
    for student, (points, note) in expected.items():
        row = newest[student]
        got = float(row["points"]) if row["points"] else ""
        assert got == points and note in row["notes"], row
        if points != "":
            assert (row["of"], row["by_hand"]) == (most, "3.0")
            page = (out / "feedback" / f"{student} {name}.html").read_text("utf-8")
            assert "Comments" in page or "Score" in page
    assert sum("a newer one" in row["notes"] for row in rows) == 1
    assert "-1 0/2; " in newest["check edited"]["exercises"]


def test_a_private_variant_is_graded_with_its_seed(tools, monkeypatch, tmp_path):
    grade, release, _ = tools
    path = LESSONS[2]
    monkeypatch.setattr(grade, "LESSONS", path.parent)
    lesson, folder = nbformat.read(path, as_version=4), tmp_path / "handed in"
    folder.mkdir()
    names = exercises_of(lesson)
    copied = solved(release, lesson, variant="autumn")
    for name in names:
        cell_of(copied, name).source = cell_of(lesson, name).source  # found in the public lesson
    nbformat.write(solved(release, lesson, *names, variant="autumn"), folder / f"own {path.stem}.ipynb")
    nbformat.write(copied, folder / f"copied {path.stem}.ipynb")
    nbformat.write(solved(release, lesson, *names), folder / f"public {path.stem}.ipynb")
    grade.main(folder, tmp_path / "a", timeout=20, variant="autumn")
    assert {row["student"]: row["points"] for row in rows_of(tmp_path / "a")} == {
        "own": "8.0", "copied": "0.0", "public": "0.0"
    }  # fmt: skip
    (folder / f"public {path.stem}.ipynb").unlink()
    grade.main(folder, tmp_path / "b", timeout=20)
    assert all("grade it with VARIANT=" in row["notes"] for row in rows_of(tmp_path / "b"))


def test_a_zip_is_read_like_a_folder(tools, tmp_path):
    import zipfile

    grade, release, _ = tools
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr(f"moodle/anna_{LESSON}.ipynb", nbformat.writes(solved(release, small_lesson(), "ex-2-1")))
    grade.main(tmp_path / "all.zip", tmp_path / "graded", timeout=20)
    (row,) = rows_of(tmp_path / "graded")
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
    nbformat.write(release.release(small_lesson(), LESSON), path)
    (found,) = grade.find(tmp_path / "in")
    assert (found.student, found.lesson) == (student, LESSON)


def test_a_notebook_whose_name_says_nothing_is_known_by_its_heading(tools, tmp_path):
    grade, release, _ = tools
    folder = tmp_path / "in"
    folder.mkdir()
    nbformat.write(release.release(small_lesson(), LESSON), folder / "homework.ipynb")
    (found,) = grade.find(folder)
    assert (found.student, found.lesson) == ("homework", LESSON)


# ---------------------------------------------------------------- teaching sheets


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
    released = release.release(lesson, LESSON)
    assert "### BEGIN" not in json.dumps(released) and not any(cell.get("outputs") for cell in released.cells)
    stub = cell_of(released, "ex-2-1").source
    here = "    # Write your answer here, in place of the next line.\n"
    assert stub == f'def double(a):\n{here}    raise NotImplementedError("exercise 2.1: doubling")'
    assert cell_of(released, "ex-2-1-check").metadata.editable is False
    assert cell_of(released, "ex-2-3").source == "*Write your answer here.*"
    assert lesson.cells[1].outputs and "BEGIN SOLUTION" in cell_of(lesson, "ex-2-1").source, "the lesson is as it was"


def make_release(*arguments):
    command = [sys.executable, ROOT / "instructor" / "release.py", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_same_lessons_give_the_same_files(tmp_path):
    import release

    for name in ("a", "b"):
        make_release("--out", tmp_path / name)
    assert release.glossary() == (ROOT / "notebooks" / "glossary.md").read_text(), "run `make release`"
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    for name in files:
        made = (tmp_path / "a" / name).read_bytes()
        assert made == (tmp_path / "b" / name).read_bytes()
        assert made == (ROOT / "notebooks" / "exercises" / name).read_bytes(), f"run `make release`: {name} is old"


def test_a_variant_is_made_again_from_its_seed_and_names_no_public_page(tmp_path):
    for name, seed in (("a", "autumn"), ("b", "autumn"), ("c", "spring")):
        assert make_release("--variant", seed, "--out", tmp_path / name).returncode == 0
    for path in sorted((tmp_path / "a").iterdir()):
        made = path.read_bytes()
        assert made == (tmp_path / "b" / path.name).read_bytes() != (tmp_path / "c" / path.name).read_bytes()
        text = made.decode()
        assert "colab-badge" not in text and "autumn" not in text and "### BEGIN" not in text
    refused = make_release("--variant", "../up")
    assert refused.returncode == 2 and "'../up'" in refused.stderr
