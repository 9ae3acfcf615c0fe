"""The gradebook, ``graded/gradebook.db``: nbgrader's own, so that its formgrader shows what `grade` has found.

Notebooks are run and graded elsewhere (`grade`); here their points go into the database, and the notebooks to where
formgrader looks for them. What a person wrote there, points, extra credit and comments, is never overwritten.

    graded/gradebook.db                            points and comments
    graded/nbgrader_config.py                      for formgrader
    graded/source/LESSON/LESSON.ipynb              the lesson as released
    graded/autograded/STUDENT/LESSON/LESSON.ipynb  as it was run, and the rubric above the open answer

A notebook's points are changed in one transaction, and the file follows: killed in between, the next run sees an older
answer than the graded one and asks for a second look, which loses nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nbformat
import release
from bleach import ALLOWED_TAGS
from filelock import FileLock, Timeout
from nbconvert.preprocessors.sanitize import SanitizeHTML
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.preprocessors import ComputeChecksums, LockCells, SaveCells
from repair import grade_id
from results import Graded, Result, Student
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, OperationalError, SAWarning
from sqlalchemy.orm import scoped_session, sessionmaker

from tinyldm.weights import atomic_write

CONFIG = '''"""For nbgrader's formgrader (`make grade-open`); written by `make grade` if it is missing."""

import os

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor, TagRemovePreprocessor
from nbgrader.converters import Autograde
from nbgrader.preprocessors import GetGrades
from traitlets import default

c = get_config()  # noqa: F821
c.CourseDirectory.root = os.path.dirname(os.path.abspath(__file__))


class WithoutRubric(TagRemovePreprocessor):
    """Feedback is for students: without the cells that show the rubric."""

    @default("remove_cell_tags")
    def _tags(self):
        return {"rubric"}


c.GenerateFeedback.preprocessors = [GetGrades, CSSHTMLHeaderPreprocessor, WithoutRubric]


def refuse(self):
    """nbgrader would run students' code here, unprotected."""
    raise SystemExit("Use `make grade`: it runs notebooks with limits.")


Autograde.start = refuse
'''
FOR_YOU = "**For the teacher: students do not see this cell.**"
SHEETS = Path(__file__).resolve().parent / "sheets"
ADVICE = re.compile(r"^## The open question .*?\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
FOLDED = r"<details><summary>{}</summary>\n\n(.*?)\n\n</details>"
PICTURES = ("image/png", "image/jpeg")
CLEANED = 20_000  # characters of an output's HTML or Markdown: to clean what is nested takes the square of its length
HTML = re.compile(r"<(?=[a-zA-Z/!?])|&(?=[#a-zA-Z])|(?<!http)(?<!https)(?<!attachment)(?=:)")
TAGS = ("p", "br", "pre", "div", "span", "sub", "sup", "table", "thead", "tbody", "tr", "th", "td")
CLEANER = SanitizeHTML(enabled=True, tags=[*ALLOWED_TAGS, *TAGS])


class BookError(Exception):
    """Something about the gradebook that a teacher can put right."""


class Book:
    """The gradebook of a class; one process at a time has it open.

    Args:
        course: the folder for it, usually ``graded/``.

    Raises:
        BookError: if another process has it open, or the file is something else.

    >>> with Book(Path("graded")) as book:
    ...     book.prepare("02_forward_diffusion", released)
    ...     book.store(result, executed)
    ...     result = book.read(result)
    """

    def __init__(self, course: Path):
        self.course = course.resolve()
        self._url = f"sqlite:///{self.course / 'gradebook.db'}"
        self._lock = FileLock(self.course / ".gradebook.lock")
        try:
            self.course.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._book = self._opened()
        except Timeout as error:
            raise BookError(f"{course} is being graded into by another process: wait until it has finished") from error
        except OSError as error:
            raise BookError(f"cannot write to {course}: {error.strerror}") from error
        if not (self.course / "nbgrader_config.py").exists():
            self._write("nbgrader_config.py", CONFIG)

    def _opened(self) -> Gradebook:
        path = self.course / "gradebook.db"
        try:
            if not path.exists():
                _create(path)
            return Gradebook(self._url)
        except DatabaseError as error:
            self._lock.release()
            reason = "cannot be written" if isinstance(error, OperationalError) else "is not a gradebook: move it away"
            raise BookError(f"{path} {reason} ({error.orig})") from error

    def __enter__(self) -> Book:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have it."""
        self._book.close()
        self._lock.release()

    def prepare(self, lesson: str, released: Any, due: datetime | None = None) -> None:
        """Enter a lesson as an assignment, or bring it up to date; what has been graded stays.

        Args:
            lesson: "02_forward_diffusion".
            released: its notebook, as `release.release` makes it.
            due: the deadline, with a time zone; without one, an earlier deadline stays.

        Raises:
            BookError: if exercises were added or removed after notebooks have been graded.
        """
        source = nbformat.from_dict(released)
        self._book.update_or_create_assignment(lesson, **({"duedate": _utc(due)} if due else {}))
        resources = {"nbgrader": {"notebook": lesson, "assignment": lesson, "db_url": self._url}}
        try:
            for step in (LockCells(), ComputeChecksums(), SaveCells()):
                source, resources = step.preprocess(source, resources)
        except RuntimeError as error:
            advice = f"rename {self.course.name}/ and grade again"
            raise BookError(
                f"{lesson} has other exercises than when its first notebooks were graded: {advice}"
            ) from error
        self._write(f"source/{lesson}/{lesson}.ipynb", nbformat.writes(source))

    def store(self, result: Result, notebook: Any) -> None:
        """Enter a graded notebook.

        Points given by hand stay. If the answer has changed since, they wait for a second look.

        Args:
            result: what the checks found, not what `read` returned.
            notebook: as it was run, with its outputs and nbgrader's metadata.
        """
        lesson, student = result.lesson, result.student
        source = nbformat.read(self.course / "source" / lesson / f"{lesson}.ipynb", as_version=4)
        shown, path = _for_formgrader(notebook, source), f"autograded/{student.id}/{lesson}/{lesson}.ipynb"
        before, now = self._answers(path), _answers(shown)
        time = _utc(result.time) if result.time else None
        with self._at_once() as book:
            _enter_student(book, student)
            book.update_or_create_submission(lesson, student.id, timestamp=time)
            for one, grade, comment in _entries(book, result):
                _enter(one, grade, comment, changed=before.get(comment.name) != now.get(comment.name))
        if time:  # formgrader compares the two
            self._write(f"submitted/{student.id}/{lesson}/timestamp.txt", f"{time:%Y-%m-%d %H:%M:%S.%f} UTC")
        _insert_rubric(shown, rubric(lesson))
        self._write(path, nbformat.writes(shown))

    def give(self, result: Result, student: Student) -> None:
        """Give a graded notebook to the student as whom its file is known now, with all that people gave by hand.

        Killed in between, it can be called again. The student must not have another notebook of the lesson.
        """
        lesson, old = result.lesson, result.student.id
        with self._at_once() as book:
            entered = _enter_student(book, student)
            if (submission := _submission(book, lesson, old)) and old != student.id:
                submission.student = entered
                book.db.flush()
                _forget_idle(book, old)
        for kind in ("autograded", "submitted"):
            there, here = (self.course / kind / one / lesson for one in (old, student.id))
            if there.exists() and not here.exists():
                here.parent.mkdir(parents=True, exist_ok=True)
                there.rename(here)
                _remove_empty(there.parent)

    def forget(self, result: Result) -> bool:
        """Remove a notebook that is graded as somebody else's; no, if a person has given points or comments for it."""
        lesson, student = result.lesson, result.student.id
        with self._at_once() as book:
            if submission := _submission(book, lesson, student):
                if any(map(_touched, submission.notebooks)):
                    return False
                book.remove_submission(lesson, student)
                _forget_idle(book, student)
        for kind in ("autograded", "submitted"):
            shutil.rmtree(self.course / kind / student / lesson, ignore_errors=True)
            _remove_empty(self.course / kind / student)
        return True

    def read(self, result: Result) -> Result:
        """The result with what people gave by hand: points with extra credit, and comments.

        Points are None where a person has yet to grade, or to look again at an answer that has changed.
        """
        self._book.db.rollback()  # formgrader may have written since
        try:
            return replace(result, exercises=[_by_hand(*entry) for entry in _entries(self._book, result)])
        except MissingEntry:  # not stored yet
            return result

    @contextmanager
    def _at_once(self) -> Iterator[Gradebook]:
        """The gradebook in a transaction: nbgrader's own commits are only steps of it."""
        sessions = self._book.db
        sessions.remove()
        try:
            with self._book.engine.connect() as connection, warnings.catch_warnings():
                warnings.simplefilter("ignore", SAWarning)  # about how nbgrader adds a submission
                connection.execute(text("BEGIN IMMEDIATE"))
                self._book.db = scoped_session(sessionmaker(connection, join_transaction_mode="create_savepoint"))
                yield self._book
                self._book.db.commit()
                self._book.db.remove()
                connection.commit()
        except OperationalError as error:
            raise BookError(f"cannot write to {self.course / 'gradebook.db'}: {error.orig}") from error
        finally:
            self._book.db = sessions

    def _answers(self, path: str) -> dict[str, str]:
        """The answers that were there before."""
        file = self.course / path
        return _answers(nbformat.read(file, as_version=4)) if file.exists() else {}

    def _write(self, path: str, content: str) -> None:
        with atomic_write(self.course / path) as unfinished:
            unfinished.write_text(content, "utf-8")


def _create(path: Path) -> None:
    """A new gradebook: all of its tables, or none."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with patch.dict(os.environ, PATH=programs), atomic_write(path) as unfinished:  # nbgrader runs `alembic`
        Gradebook(f"sqlite:///{unfinished}").close()


def _utc(time: datetime) -> datetime:
    """As nbgrader keeps it: in UTC, without saying so."""
    return time.astimezone(UTC).replace(tzinfo=None)


def _sayable(text: str) -> str:
    """Without halves of characters, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _enter_student(book: Gradebook, student: Student):
    first, _, last = _sayable(student.name).translate({60: "‹", 62: "›"}).rpartition(" ")  # it goes into pages raw
    names = {"first_name": first, "last_name": last, "email": student.email or None}
    return book.update_or_create_student(student.id, **names)


def _submission(book: Gradebook, lesson: str, student: str):
    try:
        return book.find_submission(lesson, student)
    except MissingEntry:
        return None


def _forget_idle(book: Gradebook, student: str) -> None:
    """Remove a student who has no notebook any more, for example since the roster has another id now."""
    found = book.find_student(student)
    book.db.refresh(found)
    if not found.submissions:
        book.remove_student(student)


def _touched(notebook) -> bool:
    """Whether a person has given points or comments."""
    return any(grade.manual_score is not None or grade.extra_credit for grade in notebook.grades) or any(
        comment.manual_comment for comment in notebook.comments
    )


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _answer_id(one: Graded) -> str:
    return f"ex-{one.number.replace('.', '-')}"


def _entries(book: Gradebook, result: Result) -> list[tuple]:
    """Each exercise, with nbgrader's grade and comment."""
    notebook = book.find_submission_notebook(result.lesson, result.lesson, result.student.id)
    grades = {grade.name: grade for grade in notebook.grades}
    comments = {comment.name: comment for comment in notebook.comments}
    names = [_answer_id(one) for one in result.exercises]
    found = [(grades.get(f"{name}-check") or grades[name], comments[name]) for name in names]
    return [(one, *entry) for one, entry in zip(result.exercises, found, strict=True)]


def _enter(one: Graded, grade, comment, changed: bool) -> None:
    by_hand = grade.manual_score is not None
    if changed or not by_hand:
        grade.auto_score, grade.needs_manual_grade = one.points, by_hand or one.open
    comment.auto_comment = _sayable(one.sentence) or None


def _by_hand(one: Graded, grade, comment) -> Graded:
    return replace(one, points=None if grade.needs_manual_grade else grade.score, comment=comment.manual_comment or "")


def _answers(notebook) -> dict[str, str]:
    return {grade_id(cell): cell.source for cell in notebook.cells if grade_id(cell)}


def _for_formgrader(notebook, source):
    """A copy in which every graded cell stands once, as the release marks it, and nothing runs in a browser."""
    marked = {grade_id(cell): cell for cell in source.cells if grade_id(cell)}
    missing, shown = dict(marked), nbformat.from_dict(notebook)
    ours = {cell.source for cell in source.cells}  # with hints that fold out
    shown.metadata = source.metadata
    for cell in shown.cells:
        wanted = missing.pop(grade_id(cell), None)
        cell.metadata = nbformat.from_dict(wanted.metadata) if wanted else nbformat.from_dict({})
        _clean(cell, ours)
    shown.cells += missing.values()
    return nbformat.reads(_sayable(nbformat.writes(shown)), as_version=4)


def _clean(cell, ours: set[str]) -> None:
    """Leave text, tables and pictures; HTML in a student's Markdown is shown as text."""
    if pictures := cell.pop("attachments", None):
        cell.attachments = {name: {k: v for k, v in of.items() if k in PICTURES} for name, of in pictures.items()}
    if cell.cell_type != "code":
        cell.source = cell.source if cell.source in ours else _only_markdown(cell.source)
        return
    for output in cell.outputs:
        if "data" in output:
            output.metadata = nbformat.from_dict({})  # a width of "1 onload=..."
            kept = {kind: of for kind, of in output.data.items() if isinstance(of, str) and _is_small(kind, of)}
            output.data = nbformat.from_dict(kept or {"text/plain": "[left out: it is too long]"})
        if "text/markdown" in output.get("data", {}):
            output.data["text/markdown"] = _only_markdown(output.data["text/markdown"])
    CLEANER.preprocess_cell(cell, {}, 0)


def _is_small(kind: str, of: str) -> bool:
    return kind not in ("text/html", "text/markdown") or len(of) <= CLEANED


def _only_markdown(source: str) -> str:
    """With a zero-width space in everything that could be a tag, an entity or the scheme of a link."""
    return HTML.sub("\\g<0>\u200b", source)


def rubric(lesson: str) -> str:
    """The open question of a lesson with rubric, model answer and what the teaching sheet says, for the teacher only.

    Markdown; empty for a lesson without an open question.
    """
    cells = nbformat.read(release.LESSONS / f"{lesson}.ipynb", as_version=4).cells
    at = next((i for i, cell in enumerate(cells) if _is_open(cell)), None)
    if at is None:
        return ""
    sheet = SHEETS / f"{lesson}.md"
    advice = ADVICE.search(sheet.read_text("utf-8")) if sheet.exists() else None
    how = [f"**How to award points**\n\n{advice[1].strip()}"] if advice else []
    question = cells[at - 1].source[cells[at - 1].source.rindex("### ") :]
    everything = "\n\n".join([FOR_YOU, question, *how, cells[at].source])
    for title in ("Rubric", "A model answer"):
        everything = re.sub(FOLDED.format(title), rf"**{title}**\n\n\1", everything, flags=re.DOTALL)
    return everything


def _is_open(cell) -> bool:
    marks = cell.metadata.get("nbgrader", {})
    return bool(marks.get("grade") and marks.get("solution"))


def _insert_rubric(notebook, says: str) -> None:
    for at in [i for i, cell in enumerate(notebook.cells) if says and _is_open(cell)]:
        notebook.cells.insert(at, nbformat.v4.new_markdown_cell(says, metadata={"tags": ["rubric"]}))
