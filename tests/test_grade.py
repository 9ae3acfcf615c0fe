"""A class comes back from two platforms in every condition: each gets the right grade, and nothing is lost."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="the extra 'grade' is not installed")

import grade
import release
from across import needs_a_box
from results import read_all
from test_instructor import LESSONS, cell_of, exercises_of, from_colab, solved, without_metadata

pytestmark = needs_a_box

GRADE = Path(grade.__file__)
PATH = LESSONS[2]
NAME = PATH.stem
COMPLETE = nbformat.read(PATH, as_version=4)
FIRST, *OTHERS = EVERY = exercises_of(COMPLETE)
MOST, REST = 8, 6  # points of all functions, and without the first
WRONG = "def forward_step(x, noise, beta):\n    return 17"


def answers(*names: str, variant: str | None = None):
    return solved(release, COMPLETE, *names, variant=variant)


def with_first(source: str, *names: str):
    notebook = answers(*names)
    cell_of(notebook, FIRST).source = source
    return notebook


def without(cell_name: str, *names: str):
    notebook = answers(*names)
    notebook.cells.remove(cell_of(notebook, cell_name))
    return notebook


def edited(cell_name: str, source: str, *names: str):
    notebook = answers(*names)
    cell_of(notebook, cell_name).source = source
    return notebook


def kinds() -> dict[str, tuple]:
    """Notebooks as they come back; with each the points expected, and a word that the notes must have."""
    endless = "def forward_step(x, noise, beta):\n    while True: pass"
    doubled = answers(*EVERY)
    at = doubled.cells.index(cell_of(doubled, FIRST))
    doubled.cells.insert(at, nbformat.from_dict(doubled.cells[at] | {"source": WRONG}))
    extra = answers(*EVERY)
    extra.cells.insert(4, nbformat.v4.new_code_cell("1 / 0"))
    kernel = answers(*EVERY)
    kernel.metadata.kernelspec = {"name": "julia", "display_name": "Julia"}
    blank = answers(*EVERY)
    cell_of(blank, "ex-2-5").source = release.WRITE_HERE
    return {
        "All Right": (answers(*EVERY), MOST, ""),
        "All Stubs": (answers(), 0, ""),
        "Only First": (answers(FIRST), 2, ""),
        "First Wrong": (with_first(WRONG, *OTHERS), REST, ""),
        "End Less": (with_first(endless, *OTHERS), REST, ""),
        "Check Deleted": (without(f"{FIRST}-check", *OTHERS), REST, f"{FIRST}-check: was missing"),
        "Answer Deleted": (without(FIRST, *OTHERS), REST, f"{FIRST}: was missing"),
        "Check Edited": (edited(f"{FIRST}-check", "# check (locked)\nassert True", *OTHERS), REST, ""),
        "Meta Stripped": (without_metadata(answers(*EVERY)), MOST, "lost its metadata"),
        "Co Lab": (from_colab(answers(*EVERY)), MOST, "kernel 'ir' became python3"),
        "Zoë Müller": (answers(*EVERY), MOST, ""),
        "Twice Pasted": (doubled, MOST, f"{FIRST}: a copy of the cell"),
        "Extra Error": (extra, MOST, "ZeroDivisionError"),
        "Other Kernel": (kernel, MOST, "kernel 'julia' became python3"),
        "No Words": (blank, MOST, ""),
    }


def hand_in(folder: Path) -> dict[str, tuple]:
    """Fifteen from Moodle, in a zip; others in folders; files that are no notebooks."""
    class_ = kinds()
    with zipfile.ZipFile(folder / "moodle.zip", "w") as archive:
        for number, (student, (notebook, _, _)) in enumerate(class_.items()):
            where = f"{student}_{7000 + number}_assignsubmission_file_"
            archive.writestr(f"{where}/{NAME}.ipynb", nbformat.writes(notebook))
    twice = folder / "Twice Sent"
    twice.mkdir()
    nbformat.write(answers(*EVERY), twice / f"{NAME}.ipynb")
    nbformat.write(answers(*OTHERS), twice / f"{NAME} (1).ipynb")
    os.utime(twice / f"{NAME}.ipynb", (10**9, 10**9))
    for student, points in (("Same Name", MOST), ("Name Same", REST)):  # a file of one name in two folders
        (folder / student).mkdir()
        nbformat.write(answers(*(EVERY if points == MOST else OTHERS)), folder / student / "homework.ipynb")
    (folder / "No Notebook").mkdir()
    (folder / "No Notebook" / f"{NAME}.ipynb").write_text("%PDF-1.4")
    (folder / "No Notebook" / "essay.docx").write_text("About diffusion")
    expected = {student: (points, note) for student, (_, points, note) in class_.items()}
    return expected | {"Twice Sent": (REST, ""), "Same Name": (MOST, ""), "Name Same": (REST, "")}


def run(*arguments, expect: int = 0) -> str:
    command = [sys.executable, GRADE, *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows_of(out: Path) -> list[dict]:
    with (out / "grades.csv").open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def class_(tmp_path_factory):
    """A class, graded once: what was handed in, where the grades are, what was expected and what was printed."""
    folder = tmp_path_factory.mktemp("class")
    (folder / "in").mkdir()
    expected = hand_in(folder / "in")
    before = {path: path.read_bytes() for path in (folder / "in").rglob("*") if path.is_file()}
    printed = run(folder / "in", "--out", folder / "out", "--timeout", 20)
    assert before == {path: path.read_bytes() for path in (folder / "in").rglob("*") if path.is_file()}
    return folder / "in", folder / "out", expected, printed


def test_everybody_gets_the_right_grade(class_):
    _, out, expected, _ = class_
    rows = {row["name"]: row for row in rows_of(out) if row["points"]}
    assert set(rows) == set(expected)
    for student, (points, note) in expected.items():
        row = rows[student]
        assert float(row["points"]) == points and note in row["notes"], row
        asleep = "" if student == "No Words" else "3" if student != "All Stubs" else row["waiting"]
        assert (row["waiting"] or "") in (asleep, "0"), row
        page = (out / "feedback" / row["student id"] / f"{NAME}.html").read_text("utf-8")
        assert student in page and "Traceback (" not in page and str(out.parent) not in page


def test_every_file_is_accounted_for(class_):
    _, out, expected, printed = class_
    rows = rows_of(out)
    assert len(rows) == len(expected) + 3  # the older one, a PDF, an essay
    reasons = {row["path"]: row["notes"] for row in rows if not row["points"]}
    assert "newer" in reasons[f"Twice Sent/{NAME}.ipynb"] and "PDF" in reasons[f"No Notebook/{NAME}.ipynb"]
    assert any(path.endswith("essay.docx") for path in reasons)
    lines = printed.splitlines()
    assert sum(line.startswith("[") for line in lines) == len(expected)
    assert not any(word in printed for word in ("Warning", "Traceback", "WARNING:traitlets"))


def test_a_second_run_grades_what_is_new_and_keeps_what_people_gave(class_):
    folder, out, _, _ = class_
    before = {one.student.name: one for one in read_all(out / "results")}
    with grade.Book(out) as book:
        grades = book._book.find_submission(NAME, before["All Right"].student.id).notebooks[0].grades
        open_question = next(one for one in grades if one.name == "ex-2-5")
        open_question.manual_score, open_question.needs_manual_grade = 2.5, False
        book._book.db.commit()
    late = folder / "Tardy Person"
    late.mkdir()
    nbformat.write(answers(FIRST), late / f"{NAME}.ipynb")
    nbformat.write(answers(*EVERY), folder / "Name Same" / "homework.ipynb")
    printed = run(folder, "--out", out, "--timeout", 20, "--due", "2020-01-01T12:00")
    assert printed.count("[") == 2 and "Tardy Person" in printed and "Name Same" in printed
    rows = {row["name"]: row for row in rows_of(out) if row["points"]}
    assert (rows["Name Same"]["points"], rows["Tardy Person"]["points"]) == ("8", "2")
    assert (rows["All Right"]["points"], rows["All Right"]["of"], rows["All Right"]["waiting"]) == ("10.5", "11", "0")
    assert int(rows["Tardy Person"]["late minutes"]) > 1_000_000
    page = (out / "feedback" / rows["All Right"]["student id"] / f"{NAME}.html").read_text("utf-8")
    assert "10.5 of 11 points" in page
    assert "[1/1] All Right" in run(folder, "--out", out, "--force", "all right")
    rows = {row["name"]: row for row in rows_of(out) if row["points"]}
    assert rows["All Right"]["points"] == "10.5", "graded again, and the points by hand are kept"


def test_a_mistake_in_the_command_is_said_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/essay.docx").write_text("About diffusion")
    Path("export.csv").write_text("a,b\n1,2\n")
    notebook = Path(f"Ada Byron {NAME}.ipynb")
    nbformat.write(answers(), notebook)
    for submissions, options, says in (
        (Path("in"), {}, "no notebook that can be graded in in;"),
        (Path("nowhere.zip"), {}, "there is nothing at"),
        (notebook, {"due": "1.12.2026"}, "DUE=2026-12-01T23:59"),
        (notebook, {"lms": "blackboard"}, "LMS=canvas or LMS=moodle"),
        (notebook, {"template": Path("export.csv")}, "LMS=canvas or LMS=moodle"),
        (notebook, {"lms": "canvas", "template": Path("export.csv")}, "Export Entire Gradebook"),
        (notebook, {"lms": "canvas", "template": Path("nowhere.csv")}, "nowhere.csv cannot be read"),
        (notebook, {"force": ["Alan"]}, "FORCE=Alan is nobody's"),
    ):
        with pytest.raises(SystemExit, match=says) as stopped:
            grade.main(submissions, out=Path("out"), **options)
        assert isinstance(stopped.value.code, str), "a sentence, and not zero"
    assert not Path("out").exists()


def test_a_deadline_without_a_time_lasts_until_midnight():
    assert grade.deadline("2026-12-01").isoformat() == "2026-12-01T23:59:59"
    assert grade.deadline(" 2026-12-01T12:30").isoformat() == "2026-12-01T12:30:00"
    assert grade.deadline("2026-12-01 23:59+01:00").isoformat() == "2026-12-01T23:59:00+01:00"


def test_the_time_of_a_download_is_asked_about_since_nobody_was_late_then(tmp_path):
    for name, seconds in (("canvas", 0), ("moodle", 700)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for number, student in enumerate(STUDENTS[:4]):
                moment = (2026, 12, 2, 10, number * seconds // 60, 20)
                archive.writestr(zipfile.ZipInfo(f"{student}/{NAME}.ipynb", moment), nbformat.writes(answers()))
    (question,) = grade.downloads(grade.collect(tmp_path).submissions)
    assert question.startswith("all files in canvas.zip have the same time, 2026-12-02 10:00.")


# ---------------------------------------------------------------- variants


def test_a_private_variant_is_graded_with_its_seed(monkeypatch, tmp_path):
    copied = answers(variant="autumn")
    for name in EVERY:
        cell_of(copied, name).source = cell_of(COMPLETE, name).source  # found in the public lesson
    class_ = {"Own Words": answers(*EVERY, variant="autumn"), "Copied It": copied, "Public One": answers(*EVERY)}
    for student, notebook in class_.items():
        (tmp_path / "in" / student).mkdir(parents=True)
        nbformat.write(notebook, tmp_path / "in" / student / f"{NAME}.ipynb")
    run(tmp_path / "in", "--out", tmp_path / "out", "--variant", "autumn")
    rows = {row["name"]: row for row in rows_of(tmp_path / "out")}
    assert {name: row["points"] for name, row in rows.items()} == {
        "Own Words": "8",
        "Copied It": "0",
        "Public One": "0",
    }
    assert "the public notebook" in rows["Public One"]["notes"]
    sentences = [one.sentence for result in read_all(tmp_path / "out" / "results") for one in result.exercises]
    assert sum("the answer to the public exercise" in sentence for sentence in sentences) >= 6
    said = run(tmp_path / "in" / "Public One", "--out", tmp_path / "out", expect=1)
    assert "holds grades of another variant" in said and "Rename it first" in said


@pytest.mark.parametrize(("given", "says"), [("autum", "VARIANT=autum was given"), (None, "no VARIANT was given")])
def test_the_wrong_seed_stops_the_run_and_says_what_was_handed_out(monkeypatch, tmp_path, given, says):
    monkeypatch.setattr(grade, "PRIVATE", tmp_path / "private")
    (tmp_path / "private" / "autumn").mkdir(parents=True)
    nbformat.write(answers(*EVERY, variant="autumn"), tmp_path / f"Ada Byron {NAME}.ipynb")
    collected = grade.collect(tmp_path / f"Ada Byron {NAME}.ipynb")
    lines = "\n".join(grade.right_release(collected.submissions, given))
    assert says in lines and "1 notebook is from the variant autumn" in lines and "VARIANT=autumn?" in lines
    assert grade.right_release(collected.submissions, "autumn") == []


@pytest.mark.parametrize(("given", "said"), [("autumn", ""), ("spring", "another variant"), (None, "another variant")])
def test_a_variant_without_its_metadata_is_known_by_its_numbers(tmp_path, given, said):
    lost = without_metadata(answers(*EVERY, variant="autumn"))
    lost.metadata = {}
    nbformat.write(lost, tmp_path / f"Ada Byron {NAME}.ipynb")
    (one,) = (collected := grade.collect(tmp_path)).submissions
    assert grade.right_release(collected.submissions, given) == []
    assert said in one.reason and bool(said) == bool(one.reason)


def test_if_most_notebooks_are_a_variant_its_seed_is_asked_for(tmp_path):
    for student, variant in (("Ada Byron", "autumn"), ("Bo Lark", "autumn"), ("Cem Moss", None)):
        nbformat.write(answers(*EVERY, variant=variant), tmp_path / f"{student} {NAME}.ipynb")
    submissions = grade.collect(tmp_path).submissions
    assert "no VARIANT was given" in grade.right_release(submissions, None)[-1]
    assert grade.right_release(submissions, "autumn") == []


def test_if_most_notebooks_are_public_no_seed_is_right(tmp_path):
    for student, variant in (("Ada Byron", None), ("Bo Lark", None), ("Cem Moss", "autumn")):
        nbformat.write(answers(variant=variant), tmp_path / f"{student} {NAME}.ipynb")
    lines = grade.right_release(grade.collect(tmp_path).submissions, "autum")
    assert lines[0] == "2 notebooks are from the public exercises." and lines[-1].endswith("Leave VARIANT out.")


# ---------------------------------------------------------------- kill -9

STUDENTS = [f"{first} {last}" for first in ("Ada", "Bo", "Cem", "Dana", "Emmy") for last in ("Lark", "Moss")]


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.full)])
def test_a_killed_grader_loses_nothing_and_goes_on(tmp_path, kills):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(kills):
        nbformat.write(answers(*EVERY[: number % 5]), folder / f"{STUDENTS[number]} {NAME}.ipynb")
    command = [sys.executable, GRADE, folder, "--out", tmp_path / "out"]
    moments = random.Random(kills)
    for _ in range(kills):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(moments.uniform(1, 12))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if (tmp_path / "out" / "grades.csv").exists():
            rows_of(tmp_path / "out")
    run(*command[2:])
    rows = {row["name"]: row["points"] for row in rows_of(tmp_path / "out")}
    assert rows == {STUDENTS[number]: f"{2 * (number % 5)}" for number in range(kills)}
    assert not list((tmp_path / "out").rglob("*.unfinished"))
    found = subprocess.run(["pgrep", "-f", "worker.py"], check=False, capture_output=True, text=True).stdout
    assert not [one for one in found.split() if str(folder) in Path(f"/proc/{one}/cmdline").read_text()]


def test_one_notebook_that_cannot_be_kept_or_shown_stops_nobody(monkeypatch, tmp_path, capsys):
    two = [grade.Result(grade.judge.Student(name, name), "02", f"{name}.ipynb", "") for name in ("\x1b[31ma", "b")]
    shown = grade.page

    def page(result, notebook):
        if notebook["cells"] and result is two[0]:
            raise RecursionError
        return shown(result, notebook)

    monkeypatch.setattr(grade, "page", page)
    assert "While" not in grade._page(two[0], {"cells": [{"cell_type": "raw", "source": "s"}]})
    said = capsys.readouterr().out
    assert "RecursionError" in said and "\x1b" not in said and said.count("\n") == 1
