"""The gradebook, and the ways in which schools hand out and collect: what a person wrote is never lost."""

import base64
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import grade
import httpx
import nbformat
import pytest
import yaml
from release import LESSONS, release
from results import Graded, Result, Student, read_all

pytest.importorskip("nbgrader", reason="the extra 'grade' is not installed")

from book import Book, BookError, rubric
from collect import Collected, Submission, collect
from nbgrader.api import Gradebook
from nbgrader.apps.api import NbGraderAPI
from nbgrader.auth import Authenticator
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange.default import ExchangeCollect as Collect
from nbgrader.exchange.default import ExchangeFetchAssignment as Fetch
from nbgrader.exchange.default import ExchangeReleaseAssignment as Release
from nbgrader.exchange.default import ExchangeSubmit as Submit
from sqlalchemy import text
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

ROOT = Path(__file__).resolve().parent.parent
LESSON = "02_forward_diffusion"
COMPLETE = nbformat.read(LESSONS / f"{LESSON}.ipynb", as_version=4)
RELEASED = release(COMPLETE, LESSON)
HANDED_IN = datetime(2026, 11, 20, 13, 30, tzinfo=timezone(timedelta(hours=2)))  # 90 minutes after DUE
DUE = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)


def executed(answer: str, *more):
    """A notebook as it was run, with an answer to the open question and cells of the student's own."""
    notebook = nbformat.from_dict(RELEASED)
    notebook.cells = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    cell_of(notebook, "ex-2-5").source = answer
    notebook.cells += more
    return notebook


def cell_of(notebook, name: str):
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)


def result(*points: float, id: str = "ada", name: str = "Ada King Lovelace") -> Result:
    """What the checks found in lesson 02; the open question waits."""
    graded = [Graded(f"2.{i}", "a title", p, 2, f"sentence {i}") for i, p in enumerate(points, start=1)]
    open_question = Graded("2.5", "an open question", None, 3)
    return Result(Student(id, name, f"{id}@example.org"), LESSON, "", "", HANDED_IN, exercises=[*graded, open_question])


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A course with two graded notebooks."""
    folder = tmp_path_factory.mktemp("course")
    with Book(folder) as book:
        book.prepare(LESSON, RELEASED, DUE)
        book.store(result(2, 1.5, 0, 2), executed("Because."))
        book.store(result(0, 0, 0.25, 1, id="zoë_müller", name="Zoë"), executed("No idea."))
    return folder


@pytest.fixture
def course(graded, tmp_path):
    """A copy of it for each test."""
    return Path(shutil.copytree(graded, tmp_path / "graded"))


def nbgrader(course: Path) -> NbGraderAPI:
    """What formgrader works with."""
    config = Config()
    config.CourseDirectory.root = str(course)
    return NbGraderAPI(config=config)


def give(course: Path, cell: str, manual=None, extra=None, comment=None, student: str = "ada") -> None:
    """What formgrader writes when a teacher types points or a comment."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        grade = book.find_grade(cell, LESSON, LESSON, student)
        grade.manual_score, grade.extra_credit = manual, extra
        grade.needs_manual_grade = manual is None and grade.auto_score is None
        if comment:
            book.find_comment(cell.removesuffix("-check"), LESSON, LESSON, student).manual_comment = comment
        book.db.commit()


def read(course: Path, *points: float) -> dict[str, tuple]:
    with Book(course) as book:
        return {one.number: (one.points, one.comment) for one in book.read(result(*points)).exercises}


def again(course: Path, answer: str, *points: float) -> dict[str, tuple]:
    """Graded a second time."""
    with Book(course) as book:
        book.prepare(LESSON, RELEASED)
        book.store(result(*points), executed(answer))
    return read(course, *points)


# ---------------------------------------------------------------- the gradebook


def test_formgrader_finds_points_names_and_how_late_a_notebook_was(course):
    ada, zoe = nbgrader(course).get_submissions(LESSON)
    assert (ada["score"], ada["max_score"], zoe["score"]) == (5.5, 11, 1.25)
    assert (ada["first_name"], ada["last_name"], zoe["last_name"]) == ("Ada King", "Lovelace", "Zoë")
    assert ada["needs_manual_grade"] and ada["autograded"] and ada["submitted"]
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        assert book.find_submission(LESSON, "ada").total_seconds_late == 90 * 60
        assert book.find_student("zoë_müller").email == "zoë_müller@example.org"
        assert book.find_comment("ex-2-2", LESSON, LESSON, "ada").auto_comment == "sentence 2"


def kept(course: Path, *files: tuple[str, str]) -> None:
    """Notebooks graded as students of these ids, each with its file."""
    with Book(course) as book:
        book.prepare(LESSON, RELEASED)
        for id, path in files:
            one = replace(result(2, 1, 0, 2, id=id, name=f"Named {id}"), path=path, sha256=path)
            grade._keep(grade.Course(course), book, one, executed(f"By {id}."))
            grade.write_pages(grade.Course(course), [one])


def now(course: Path, *files: tuple[str, str, str]) -> list[str]:
    """The same files as they are known now: whose each is, its path, and why it is not graded."""
    known = [
        Submission(path, path, HANDED_IN, Student(id, f"Called {id}"), LESSON, None, executed(""), reason, [])
        for id, path, reason in files
    ]
    with Book(course) as book:
        return grade.bring_up_to_date(grade.Course(course), book, Collected(known, [], []))


def by_file(course: Path) -> dict[str, tuple]:
    """Of each file, the id and the points for the open question in grades.csv."""
    with Book(course) as book:
        found = [book.read(one) for one in read_all(course / "results")]
    return {one.path: (one.student.id, one.exercises[-1].points) for one in found}


def test_points_by_hand_follow_a_student_to_the_id_that_a_roster_gives(tmp_path):
    kept(tmp_path, ("ada-1f", "a"), ("bo-2e", "b"))
    give(tmp_path, "ex-2-5", 2.5, comment="Good.", student="ada-1f")
    assert now(tmp_path, ("s1", "a", ""), ("bo-2e", "b", "")) == []
    assert by_file(tmp_path) == {"a": ("s1", 2.5), "b": ("bo-2e", None)}
    assert {one["id"]: one["last_name"] for one in nbgrader(tmp_path).get_students()} == {"s1": "s1", "bo-2e": "bo-2e"}
    for folder in ("feedback", "autograded", "submitted"):
        assert "ada-1f" not in {path.name for path in (tmp_path / folder).iterdir()}
    with Book(tmp_path) as book:
        (one,) = (one for one in read_all(tmp_path / "results") if one.path == "a")
        book.store(one, executed("By ada-1f."))
    assert by_file(tmp_path)["a"] == ("s1", 2.5), "the same answer needs no second look"
    assert (one.student.name, book.read(one).exercises[-1].comment) == ("Called s1", "Good.")


def test_a_file_that_lies_elsewhere_now_is_asked_about_and_nobody_is_moved(tmp_path):
    kept(tmp_path, ("ada-1f", "moodle.zip/a"), ("bo", "b"))
    elsewhere = Submission("a", "moodle.zip/a", HANDED_IN, Student("s1", "Ada"), LESSON, None, executed(""), "", [])
    with Book(tmp_path) as book:
        (line,) = grade.bring_up_to_date(grade.Course(tmp_path), book, Collected([elsewhere], [], []))
    assert line.startswith("Named ada-1f (ada-1f) was graded before, from the same file as a, which is Ada's.")
    assert by_file(tmp_path) == {"moodle.zip/a": ("ada-1f", None), "b": ("bo", None)}


def test_two_students_whose_ids_were_mixed_up_change_places(tmp_path):
    kept(tmp_path, ("s1", "a"), ("s2", "b"))
    give(tmp_path, "ex-2-5", 2.5, student="s1")
    give(tmp_path, "ex-2-5", 1, student="s2")
    now(tmp_path, ("s2", "a", ""), ("s1", "b", ""))
    assert by_file(tmp_path) == {"a": ("s2", 2.5), "b": ("s1", 1)}
    assert {one["id"] for one in nbgrader(tmp_path).get_students()} == {"s1", "s2"}


def test_two_students_who_are_one_keep_the_newer_notebook(tmp_path):
    kept(tmp_path, ("ada-1f", "old"), ("ada-2e", "new"), ("bo", "b"))
    give(tmp_path, "ex-2-5", 2.5, student="ada-2e")
    (line,) = now(tmp_path, ("s1", "old", "not graded: there is a newer one"), ("s1", "new", ""), ("bo", "b", ""))
    assert line == "old was graded as Named ada-1f's and is now Called s1's: there is a newer one."
    assert by_file(tmp_path) == {"new": ("s1", 2.5), "b": ("bo", None)}
    assert {one["id"] for one in nbgrader(tmp_path).get_students()} == {"s1", "bo"}


def test_points_by_hand_for_an_older_notebook_are_not_thrown_away(tmp_path):
    kept(tmp_path, ("ada-1f", "old"), ("s1", "new"))
    give(tmp_path, "ex-2-5", 2.5, student="ada-1f")
    (line,) = now(tmp_path, ("s1", "old", "not graded: there is a newer one"), ("s1", "new", ""))
    assert "still in formgrader" in line and by_file(tmp_path) == {"new": ("s1", None)}
    assert {one["id"] for one in nbgrader(tmp_path).get_students()} == {"s1", "ada-1f"}


def test_hints_of_the_lesson_fold_out_in_formgrader_and_a_students_html_is_text(course):
    hint = next(cell for cell in RELEASED.cells if "<details>" in cell.source)
    own = nbformat.v4.new_markdown_cell("<details>mine</details>")
    with Book(course) as book:
        book.store(result(2, 1, 0, 2), executed("Because.", nbformat.from_dict(hint), own))
    shown = (course / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb").read_text("utf-8")
    sources = [cell.source for cell in nbformat.reads(shown, as_version=4).cells]
    assert hint.source in sources and own.source not in sources


def test_an_open_question_waits_until_a_person_has_graded_it(course):
    assert read(course, 2, 1.5, 0, 2)["2.5"] == (None, "")
    give(course, "ex-2-5", 2.5, comment="A *good* start.")
    assert again(course, "Because.", 2, 1.5, 0, 2)["2.5"] == (2.5, "A *good* start.")


def test_a_changed_answer_waits_again_and_its_points_are_kept(course):
    give(course, "ex-2-5", 2.5, comment="A start.")
    assert again(course, "Because of this.", 2, 1.5, 0, 2)["2.5"] == (None, "A start.")
    assert again(course, "Because of this.", 2, 1.5, 0, 2)["2.5"] == (None, "A start."), "a second run forgets nothing"
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        assert book.find_grade("ex-2-5", LESSON, LESSON, "ada").manual_score == 2.5
    give(course, "ex-2-5", 2.5)
    assert again(course, "Because of this.", 2, 1.5, 0, 2)["2.5"] == (2.5, "A start.")


def test_points_that_overrule_a_check_stay_and_extra_credit_is_added(course):
    give(course, "ex-2-3-check", 1.75, comment="The idea is right.")
    give(course, "ex-2-1-check", extra=0.5)
    after = again(course, "Because.", 2, 2, 0, 2)
    assert after["2.3"] == (1.75, "The idea is right.")
    assert after["2.1"] == (2.5, "") and after["2.2"] == (2, ""), "a check's own points follow the check"


def test_what_has_not_been_stored_is_read_as_it_is(course):
    with Book(course) as book:
        stranger = result(1, 1, 1, 1, id="stranger")
        assert book.read(stranger) == stranger


def test_a_changed_release_keeps_what_was_graded(course):
    give(course, "ex-2-5", 2, comment="Yes.")
    changed = nbformat.from_dict(RELEASED)
    cell_of(changed, "ex-2-5").metadata.nbgrader.points = 4
    cell_of(changed, "ex-2-1").source += "\n# a hint"
    with Book(course) as book:
        book.prepare(LESSON, changed)
    assert read(course, 2, 1.5, 0, 2)["2.5"] == (2, "Yes.")
    ada, _ = nbgrader(course).get_submissions(LESSON)
    assert (ada["score"], ada["max_score"]) == (7.5, 12)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        assert book.find_assignment(LESSON).duedate == DUE.replace(tzinfo=None)


def test_a_release_with_other_exercises_needs_another_folder(course):
    fewer = nbformat.from_dict(RELEASED)
    fewer.cells.remove(cell_of(fewer, "ex-2-4-check"))
    with Book(course) as book, pytest.raises(BookError, match=r"rename .* and grade again"):
        book.prepare(LESSON, fewer)
    assert nbgrader(course).get_submissions(LESSON)[0]["score"] == 5.5


def test_a_book_that_is_open_or_no_gradebook_says_so(course, tmp_path):
    with Book(course), pytest.raises(BookError, match="by another process: wait"):
        Book(course)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "gradebook.db").write_text("student,points\n" * 100)
    with pytest.raises(BookError, match="is not a gradebook: move it away"):
        Book(tmp_path / "other")


def test_formgrader_that_is_saving_is_waited_for_or_named(course):
    with Book(course) as book, Gradebook(f"sqlite:///{course / 'gradebook.db'}") as teacher:
        teacher.find_student("ada").last_name = "Byron"
        teacher.db.flush()  # and holds the database
        with pytest.raises(BookError, match="database is locked"):
            book.store(result(0, 0, 0, 0), executed("Because."))
        teacher.db.commit()
        book.store(result(2, 2, 2, 2), executed("Because."))
        assert book.read(result(2, 2, 2, 2)).points == 8


def test_killed_at_any_moment_a_notebook_has_all_its_points_or_none(course):
    """Notebooks of new students, and two gradings of one that take turns; then kill -9."""
    seconds = random.Random(7)
    for attempt in range(10):
        here, there = os.pipe()
        child = os.fork()
        if child == 0:
            with Book(course) as book:
                for number in range(1000):
                    os.write(there, b".")
                    book.store(result(2, 2, 2, 2, id=f"new-{attempt}-{number}"), executed("one"))
                    book.store(result(*[number % 3] * 4, id="eve"), executed(f"answer {number}"))
        os.read(here, 1)  # it has begun
        time.sleep(seconds.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with Book(course), Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
            assert book.db.execute(text("PRAGMA integrity_check")).scalar() == "ok"
            for submission in book.assignment_submissions(LESSON):
                scores = [grade.auto_score for grade in submission.notebooks[0].grades if grade.name != "ex-2-5"]
                eve = submission.student.id == "eve"
                assert len(set(scores)) == 1 if eve else None not in scores, (submission.student.id, scores)
        os.close(here), os.close(there)
    assert len(nbgrader(course).get_submissions(LESSON)) > 5, "something was done between the kills"
    assert again(course, "Because.", 2, 1.5, 0, 2)["2.2"] == (1.5, "")
    for path in (course / "autograded").glob(f"*/{LESSON}/{LESSON}.ipynb"):
        assert len(nbformat.read(path, as_version=4).cells) == len(executed("").cells) + 1


# ---------------------------------------------------------------- what formgrader shows


def page(course: Path, student: str = "ada") -> str:
    """The page on which formgrader shows a notebook."""
    from nbconvert.exporters import HTMLExporter
    from nbgrader.server_extensions.formgrader import handlers

    exporter = HTMLExporter(template_name="formgrade", extra_template_basedirs=[handlers.template_path])
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        who = book.find_student(student)
        names = {"first_name": who.first_name, "last_name": who.last_name, "student": who.id, "index": 0, "total": 1}
    file = course / "autograded" / student / LESSON / f"{LESSON}.ipynb"
    return exporter.from_filename(str(file), resources=names | {"notebook_id": LESSON, "notebook_path": ""})[0]


def config_of(course: Path, monkeypatch) -> Config:
    """What the course's own configuration says; it changes nbgrader for this test only."""
    monkeypatch.setattr(Autograde, "start", Autograde.start)
    return PyFileConfigLoader("nbgrader_config.py", path=str(course)).load_config()


def test_rubric_and_model_answer_stand_beside_the_open_answer_and_nowhere_else(course, monkeypatch):
    shown = page(course)
    says = [
        shown.index(text) for text in ("<strong>Rubric", "<strong>How to award", "<strong>A model answer", "Because.")
    ]
    assert says == sorted(says)
    assert nbgrader(course).get_submission(LESSON, "ada")["autograded"]
    made = NbGraderAPI(config=config_of(course, monkeypatch)).generate_feedback(LESSON, "ada")
    assert made["success"], made
    feedback = (course / "feedback" / "ada" / LESSON / f"{LESSON}.html").read_text("utf-8")
    assert "Because." in feedback and "sentence 2" in feedback
    assert "A model answer" not in feedback and "How to award" not in feedback


@pytest.mark.parametrize("path", sorted(LESSONS.glob("[0-9][0-9]_*.ipynb")), ids=lambda path: path.stem)
def test_every_lesson_has_a_rubric_and_a_model_answer(path):
    says = rubric(path.stem)
    assert all(f"**{title}**" in says for title in ("Rubric", "A model answer", "How to award points"))
    assert "<details" not in says and says.count("###") == 1


def test_formgrader_cannot_be_made_to_run_notebooks(course, monkeypatch):
    before = page(course)
    answer = NbGraderAPI(config=config_of(course, monkeypatch)).autograde(LESSON, "ada")
    assert not answer["success"] and "make grade" in answer["error"]
    assert page(course) == before


RUNS = {"script", "iframe", "object", "embed", "svg", "math", "form", "meta", "base", "link", "style", "video", "audio"}
SCHEME = re.compile(r"(java|vb)script:|data:(?!image/(png|jpeg);)", re.IGNORECASE)


class Active(HTMLParser):
    """Everything in a page that could run."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        harmful = [(k, v) for k, v in attributes if k.startswith("on") or SCHEME.match("".join((v or "").split()))]
        if tag in RUNS or harmful:
            self.found.append((tag, *harmful))


HTML = [  # the kinds of OWASP's cheat sheet on cross-site scripting
    "<script>alert(1)</script>",
    "<ScRiPt src=//example.org/x.js>",
    "<img src=x onerror=alert(1)>",
    '<img """><script>alert(1)</script>"\\>',
    "<svg/onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href='jAvAsCrIpT:alert(1)'>x</a>",
    "<a href='jav&#x09;ascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](javascript\\://%0aalert(1))",
    "[x](&#x6a;avascript&colon;alert(1))",
    "[x](<java\tscript:alert(1)>)",
    "[x]\n\n[x]: vbscript:alert(1)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    '![x" onerror="alert(1)](y)',
    "`<script>alert(1)</script>` and <`x`script>alert(1)</script>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<<script>alert(1);//<</script>",
    "<details open ontoggle=alert(1)>",
    "<style>@import 'javascript:alert(1)'</style>",
    "$x$ <!--><img src=x onerror=alert(1)>-->",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
]


def outputs_of(attack: str) -> list:
    kinds = ("text/html", "text/markdown", "text/latex", "text/plain", "image/svg+xml", "application/javascript")
    kinds += ("image/png", "application/vnd.jupyter.widget-view+json", "application/x-unknown")
    shown = [nbformat.v4.new_output("display_data", data={kind: attack}) for kind in kinds]
    shown[0].metadata = {"text/html": {"isolated": True}}
    shown[6].metadata = {"image/png": {"width": "1 onload=alert(1)", "alt": attack}, "filenames": {"image/png": attack}}
    shown.append(nbformat.v4.new_output("stream", text=attack))
    return [*shown, nbformat.v4.new_output("error", ename=attack, evalue=attack, traceback=[attack])]


@pytest.mark.parametrize("attack", HTML)
def test_nothing_of_a_students_runs_in_the_teachers_browser(course, attack):
    own = nbformat.v4.new_code_cell(f"# {attack}", outputs=outputs_of(attack), metadata={"alt": attack})
    own_text = nbformat.v4.new_markdown_cell(attack, attachments={"a.svg": {"image/svg+xml": attack}})
    notebook = executed(f"{attack}\n\n    {attack}\n\n- {attack}", own, own_text, nbformat.v4.new_raw_cell(attack))
    notebook.metadata |= {"title": attack, "widgets": {"application/vnd.jupyter.widget-state+json": {"x": attack}}}
    cell_of(notebook, "ex-2-1").metadata.nbgrader.points = attack
    harmless = Active(page(course)).found
    with Book(course) as book:
        book.store(result(2, 1.5, 0, 2, name=f"Ada {attack}"), notebook)
    assert Active(page(course)).found == harmless


def test_what_students_write_is_shown_as_they_wrote_it(course):
    """With tables, formulas, links and pictures that were pasted."""
    table = "<table><thead><tr><th>loss</th></tr></thead><tbody><tr><td>0.25</td></tr></tbody></table>"
    own = nbformat.v4.new_code_cell(
        "table", outputs=[nbformat.v4.new_output("display_data", data={"text/html": table})]
    )
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    seen = nbformat.v4.new_markdown_cell(
        "See [it](https://example.org/a?b=1): ![dot](attachment:dot.png)", attachments={"dot.png": {"image/png": dot}}
    )
    with Book(course) as book:
        book.store(result(2, 1.5, 0, 2), executed("At t < 3 & `a<b`, **no**. $\\alpha < 1$", own, seen))
    shown = page(course).replace("\u200b", "")
    assert "At t &lt; 3 &amp; <code>a&lt;b</code>, <strong>no</strong>. $\\alpha &lt; 1$" in shown and table in shown
    assert '<a href="https://example.org/a?b=1">it</a>:' in shown and f'src="data:image/png;base64,{dot}"' in shown


def test_marks_of_the_students_own_count_for_nothing(course):
    """A second cell that says it is the check, worth 300 points; one that is missing comes back."""
    notebook = executed("Because.")
    twin = nbformat.from_dict(cell_of(notebook, "ex-2-1-check"))
    twin.metadata.nbgrader.points = 300
    notebook.cells.remove(cell_of(notebook, "ex-2-3"))
    notebook.cells += [twin, nbformat.v4.new_code_cell("1", metadata={"nbgrader": {"grade_id": "ex-9-9"}})]
    with Book(course) as book:
        book.store(result(2, 1.5, 0, 2), notebook)
    shown = nbformat.read(course / "autograded" / "ada" / LESSON / f"{LESSON}.ipynb", as_version=4)
    marks = sorted(cell.metadata.nbgrader.grade_id for cell in shown.cells if "nbgrader" in cell.metadata)
    assert marks == sorted(c.metadata.nbgrader.grade_id for c in RELEASED.cells if "nbgrader" in c.metadata)
    assert cell_of(shown, "ex-2-1-check").metadata.nbgrader.points == 2


def test_odd_texts_and_outputs_do_not_end_the_grading(course):
    half = "\ud83d"  # of an emoji
    own = nbformat.v4.new_code_cell(
        half, outputs=[nbformat.v4.new_output("display_data", data={"application/json": {"a": 1}, "text/html": half})]
    )
    odd = result(2, 2, 2, 2, name=f"Ada {half}")
    odd.exercises[0].sentence = half
    with Book(course) as book:
        book.store(odd, executed(half, own))
        give(course, "ex-2-5", 1)
        book.store(odd, executed(half, own))
        assert book.read(odd).exercises[4].points == 1, "an answer that has not changed"
    assert page(course).encode("utf-8")


@pytest.fixture
def server(course, tmp_path):
    """JupyterLab as `make grade-open` starts it; a client that is logged in."""
    with socket.socket() as one:
        one.bind(("localhost", 0))
        port = one.getsockname()[1]
    options = [f"--ServerApp.port={port}", "--ServerApp.ip=localhost", f"--ServerApp.root_dir={course}", "--no-browser"]
    options += ["--LabApp.default_url=/formgrader/gradebook", "--allow-root", "--IdentityProvider.token=secret"]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_RUNTIME_DIR": str(tmp_path)}
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", *options], cwd=course, env=environment, stdout=log, stderr=log
    )
    with httpx.Client(base_url=f"http://localhost:{port}", headers={"Authorization": "token secret"}) as client:
        for _ in range(150):
            try:
                client.get("/api/status").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield client
    process.terminate()
    process.wait()
    log.close()


def test_points_and_comments_given_in_formgrader_come_back(course, server):
    """What the page in the browser asks of the server, and sends to it."""
    assert "Manual Grading" in server.get("/formgrader/gradebook").text
    listed = server.get(f"/formgrader/api/submitted_notebooks/{LESSON}/{LESSON}").json()
    ada = next(one for one in listed if one["student"] == "ada")
    assert (ada["last_name"], ada["needs_manual_grade"], ada["score"]) == ("Lovelace", True, 5.5)
    shown = server.get(f"/formgrader/submissions/{ada['id']}/").text
    assert "A model answer" in shown and "Because." in shown
    asked = {"submission_id": ada["id"]}
    grades = {one["name"]: one["id"] for one in server.get("/formgrader/api/grades", params=asked).json()}
    comments = {one["name"]: one["id"] for one in server.get("/formgrader/api/comments", params=asked).json()}
    server.put(f"/formgrader/api/grade/{grades['ex-2-5']}", json={"manual_score": 2.5, "extra_credit": 0.25})
    server.put(f"/formgrader/api/comment/{comments['ex-2-5']}", json={"manual_comment": "Which amounts?"})
    assert again(course, "Because.", 2, 1.5, 0, 2)["2.5"] == (2.75, "Which amounts?")
    refused = server.post(f"/formgrader/api/submission/{LESSON}/ada/autograde").json()
    assert not refused["success"] and "make grade" in refused["error"]
    assert httpx.get(f"{server.base_url}/formgrader/gradebook").status_code != 200, "nobody else may"


# ---------------------------------------------------------------- GitHub


WORKFLOW = ROOT / "instructor" / "classroom.yml"


def steps() -> list[dict]:
    (job,) = yaml.safe_load(WORKFLOW.read_text("utf-8"))["jobs"].values()
    return job["steps"]


def test_the_workflow_has_the_names_that_classroom_looks_for_and_may_only_read():
    workflow = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    assert workflow["name"] == "Autograding Tests" and list(workflow["jobs"]) == ["run-autograding-tests"]
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow[True]) == {"push", "workflow_dispatch", "repository_dispatch"}  # YAML 1.1 reads `on` as true
    for step in steps():
        for path in re.findall(r"course/(\S+\.py)", step.get("run", "")):
            assert (ROOT / path).exists(), path


def run_points(folder: Path, graded: Path) -> tuple[str, str, dict]:
    """The step "Points" as GitHub runs it: what it prints, the page of the run, and its output, decoded."""
    (step,) = [step for step in steps() if step.get("id") == "checks"]
    (folder / "course").symlink_to(ROOT)
    files = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | files | {"PATH": paths, "PYTHONPATH": str(ROOT)}
    command = ["bash", "-e", "-c", step["run"].replace(" graded", f" {graded}")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    outputs = dict(line.split("=", 1) for line in (folder / "GITHUB_OUTPUT").read_text().splitlines())
    page = (folder / "GITHUB_STEP_SUMMARY").read_text("utf-8")
    return done.stdout, page, json.loads(base64.b64decode(outputs["result"]))


def test_points_are_reported_as_classroom_reads_them(tmp_path):
    one = result(2, 1.5, 0, 2)
    one.exercises[2].sentence = "a | b\nis wrong: über <x>"
    one.write(tmp_path / "graded" / "results")
    printed, page, report = run_points(tmp_path, tmp_path / "graded")
    assert printed.splitlines() == [
        "::notice title=Autograding complete::Points 5.5/8",
        '::notice title=Autograding report::{"totalPoints": 5.5, "maxPoints": 8}',
    ]
    assert (report["version"], report["status"], report["max_score"]) == (1, "fail", 8)
    assert [(test["status"], test["score"]) for test in report["tests"]] == [
        ("pass", 2), ("fail", 1.5), ("fail", 0), ("pass", 2)
    ]  # fmt: skip
    assert page.startswith("**5.5 of 8 points**\n\n| exercise")
    assert "| 2.3 a title | 0 / 2 | a \\| b is wrong: über <x> |" in page and "waits for a person" in page


def test_no_notebook_is_no_success(tmp_path):
    (tmp_path / "graded").mkdir()
    printed, page, report = run_points(tmp_path, tmp_path / "graded")
    assert "Points 0/0" in printed and report["status"] == "fail" and "No notebook" in page


# ---------------------------------------------------------------- nbgrader's exchange


@pytest.mark.skipif(sys.platform == "win32", reason="nbgrader's exchange needs POSIX permissions")
def test_a_release_goes_through_nbgraders_exchange_and_back(tmp_path, monkeypatch):
    """As in README.md: copied to release/, released, fetched, submitted, collected."""
    config, hub, home = Config(), tmp_path / "hub", tmp_path / "student"
    config.Exchange.root, config.Exchange.cache = str(tmp_path / "exchange"), str(tmp_path / "cache")
    config.CourseDirectory.course_id, config.CourseDirectory.root = "tinyldm", str(hub)
    config.CourseDirectory.assignment_id = LESSON
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)  # it runs `alembic`
    for folder in ("exchange", "cache", f"hub/release/{LESSON}", "student"):
        (tmp_path / folder).mkdir(parents=True)
    nbformat.write(RELEASED, hub / "release" / LESSON / f"{LESSON}.ipynb")
    for step, folder in ((Release, hub), (Fetch, home), (Submit, home), (Collect, hub)):
        monkeypatch.chdir(folder)
        course = CourseDirectory(config=config)
        step(coursedir=course, authenticator=Authenticator(config=config), config=config).start()
        if step is Fetch:
            nbformat.write(executed("Because."), home / LESSON / f"{LESSON}.ipynb")
    (folder,) = (hub / "submitted").glob(f"*/{LESSON}")
    time = datetime.fromisoformat((folder / "timestamp.txt").read_text().strip().replace(" UTC", "+00:00"))
    collected = nbformat.read(folder / f"{LESSON}.ipynb", as_version=4)
    assert cell_of(collected, "ex-2-5").source == "Because." and cell_of(collected, "ex-2-1-check")
    (one,) = collect(hub / "submitted").submissions
    assert (one.student.id, one.lesson, one.time) == (folder.parent.name, LESSON, time)


# ---------------------------------------------------------------- a container


def in_the_image() -> list[str]:
    """The files of this clone that .dockerignore leaves for instructor/Dockerfile (patterns as plain as ours)."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    kept = [line[1:] for line in lines if line.startswith("!")]
    dropped = [line for line in lines[1:] if not line.startswith("!")]
    patterns = [pattern.removeprefix("**/") for pattern in dropped]
    files = [file for name in kept for file in [ROOT / name, *(ROOT / name).rglob("*")] if file.is_file()]
    inside = [file.relative_to(ROOT) for file in files]
    ignored = [path for path in inside if any(one.match(p) for one in [path, *path.parents] for p in patterns)]
    return sorted(str(path) for path in set(inside) - set(ignored))


def test_the_image_has_what_it_copies_and_nothing_about_students():
    dockerfile, files = (ROOT / "instructor" / "Dockerfile").read_text(), in_the_image()
    sources = re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.MULTILINE)
    assert sources == [".", "instructor", "notebooks"]
    assert {"instructor/grade.py", "notebooks/02_forward_diffusion.ipynb", "pyproject.toml"} <= set(files)
    assert not [path for path in files if path.startswith((".git", "tests", "private", "graded"))]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "instructor/roster.csv" in ignored, "names and addresses don't belong into an image"


@pytest.mark.full
def test_the_wheel_of_the_image_is_complete(tmp_path):
    """Built, as in the Dockerfile, from those files only; it needs the package index."""
    for path in in_the_image():
        (tmp_path / "source" / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / "source" / path)
    (command,) = re.findall(r"^RUN (pip wheel .*)$", (ROOT / "instructor" / "Dockerfile").read_text(), re.MULTILINE)
    arguments = (
        command.replace("/wheels", str(tmp_path / "wheels")).replace("/source", str(tmp_path / "source")).split()
    )
    subprocess.run([sys.executable, "-m", *arguments], check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    package = [path for path in in_the_image() if path.startswith("tinyldm/") and not path.endswith(".md")]
    assert {path for path in package if path.endswith((".py", ".safetensors"))} <= packed
    assert any(name.startswith("tinyldm/mnist/") and name.endswith(".gz") for name in packed)
