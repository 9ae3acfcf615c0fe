"""Grade students' notebooks: ``make grade SUBMISSIONS=folder``.

    python instructor/grade.py FOLDER_OR_ZIP [--out graded]

THIS RUNS STUDENTS' CODE. Do it where it can do no harm: instructor/README.md shows how, in a container with no network.

Notebooks are found in the folder (or zip) and everything below it. The lesson is taken from a notebook's file name, or
else from its first heading; the student is the rest of the name, or the folder that it is in. Each is copied, repaired
(`repair`) and graded by nbgrader; ``grades.csv`` has a row for every notebook, and ``feedback/`` a page.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
import tempfile
import unicodedata
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import nbformat
import typer
from release import LESSONS, release
from repair import repair
from tqdm import tqdm
from variant import MARK

COLUMNS = ("student", "lesson", "points", "of", "by_hand", "exercises", "notes", "file")


@dataclass
class Submission:
    """A file that was handed in, and what became of it."""

    file: Path
    student: str
    lesson: str | None
    notes: list[str] = field(default_factory=list)
    scores: list[tuple[str, float, float, bool]] = field(default_factory=list)  # exercise, points, of, by hand

    def row(self) -> dict:
        """For grades.csv; no points where nothing could be graded."""
        given = [
            f"{name.removesuffix('-check')} {points:g}/{most:g}" for name, points, most, hand in self.scores if not hand
        ]
        return {
            "student": self.student,
            "lesson": self.lesson or "",
            "points": sum(points for _, points, _, _ in self.scores) if self.scores else "",
            "of": sum(most for _, _, most, _ in self.scores) if self.scores else "",
            "by_hand": sum(most for _, _, most, hand in self.scores if hand) if self.scores else "",
            "exercises": "; ".join(given),
            "notes": "; ".join(self.notes),
            "file": self.file.name,
        }


def find(folder: Path) -> list[Submission]:
    """Every file below ``folder`` that could be a submission, oldest first."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    files = [path for path in files if "__MACOSX" not in path.parts and ".ipynb_checkpoints" not in path.parts]
    return [_who_and_what(path, folder) for path in sorted(files, key=lambda path: (path.stat().st_mtime, path.name))]


def _who_and_what(path: Path, folder: Path) -> Submission:
    stem = unicodedata.normalize("NFC", path.stem)
    lesson = next((name for name in lessons() if name in stem.lower()), None)
    if lesson:
        rest = re.sub(re.escape(lesson), " ", stem, flags=re.IGNORECASE)
        student = re.sub(r"\s*\(\d+\)$", "", " ".join(re.split(r"[\s_]+", rest))).strip(" -")
    else:
        lesson, student = _lesson_by_heading(path), stem
    if not student and path.parent != folder:
        student = path.parent.name
    return Submission(path, student or "nobody", lesson)


def lessons() -> list[str]:
    """The names of all lessons."""
    return sorted(path.stem for path in LESSONS.glob("[0-9][0-9]_*.ipynb"))


def _lesson_by_heading(path: Path) -> str | None:
    try:
        heading = re.search(r"# Lesson (\d\d): ", path.read_text("utf-8", errors="replace"))
    except OSError:
        return None
    return next((name for name in lessons() if heading and name.startswith(heading[1])), None)


class Grader:
    """nbgrader with a course folder of its own."""

    def __init__(self, course: Path, timeout: int, variant: str | None):
        from nbgrader.apps.api import NbGraderAPI
        from traitlets.config import Config

        config = Config()
        config.CourseDirectory.root = str(course)
        config.CourseDirectory.student_id_exclude = ""
        config.Execute.timeout = timeout
        config.Execute.interrupt_on_timeout = True
        config.OverwriteCells.add_missing_cells = True
        config.NbConvertBase.log_level = 50
        self.course, self.api, self.released, self.variant = course, NbGraderAPI(config=config), {}, variant

    def prepare(self, lesson: str) -> None:
        """Tell nbgrader about a lesson: its graded cells and their points."""
        if lesson in self.released:
            return
        complete = nbformat.read(LESSONS / f"{lesson}.ipynb", as_version=4)
        self.released[lesson] = release(complete, lesson, self.variant)
        source, _ = repair(self.released[lesson], self.released[lesson])
        target = self.course / "source" / lesson / f"{lesson}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(source, target)
        self._do(self.api.generate_assignment(lesson, force=True, create=True))

    def grade(self, submission: Submission, key: str) -> None:
        """Repair and grade a notebook; notes and scores go into the submission."""
        notebook = nbformat.read(submission.file, as_version=4)
        nbformat.validate(notebook)
        if not self.variant and MARK in "".join(cell.source for cell in notebook.cells):
            raise ValueError("it is a private variant: grade it with VARIANT=seed, the seed of its release")
        ready, submission.notes[len(submission.notes) :] = repair(notebook, self.released[submission.lesson])
        target = self.course / "submitted" / key / submission.lesson / f"{submission.lesson}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(ready, target)
        self._do(self.api.autograde(submission.lesson, key, force=True, create=True))
        self._do(self.api.generate_feedback(submission.lesson, key, force=True))
        with self.api.gradebook as book:
            grades = book.find_submission(submission.lesson, key).notebooks[0].grades
            submission.scores = [(g.name, g.score, g.max_score, g.needs_manual_grade) for g in grades]

    @staticmethod
    def _do(result: dict) -> None:
        if not result["success"]:
            raise RuntimeError((result.get("error") or result.get("log") or "nbgrader failed").strip().splitlines()[-1])


def grade_all(submissions: list[Submission], grader: Grader, feedback: Path) -> None:
    """Grade every submission; one that fails is reported and does not stop the others."""
    latest = {(s.student, s.lesson): s for s in submissions}
    for number, submission in enumerate(tqdm(submissions, unit="notebook")):
        if submission.lesson is None:
            submission.notes.append("not graded: neither its name nor its heading says which lesson this is")
        elif latest[submission.student, submission.lesson] is not submission:
            submission.notes.append("not graded: the same student handed in a newer one")
        else:
            key = f"s{number}"  # nbgrader does not accept all letters in a name; grades.csv has the real one
            try:
                grader.prepare(submission.lesson)
                grader.grade(submission, key)
                page = grader.course / "feedback" / key / submission.lesson / f"{submission.lesson}.html"
                shutil.copy(page, feedback / f"{submission.student} {submission.lesson}.html".replace("/", "-"))
            except Exception as error:  # whatever a stranger's file may cause
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                submission.notes.append(f"not graded: {reason}")


def main(
    submissions: Annotated[Path, typer.Argument(exists=True, help="Folder or zip of students' notebooks.")],
    out: Annotated[Path, typer.Option(help="Folder for grades.csv and feedback/.")] = Path("graded"),
    timeout: Annotated[int, typer.Option(min=1, help="Time limit for each cell, in seconds.")] = 60,
    variant: Annotated[str | None, typer.Option(help="The seed given to `make release VARIANT=...`.")] = None,
) -> None:
    """Grade notebooks. This runs the code in them: read instructor/README.md first."""
    os.environ["TINYLDM_PROFILE"] = "fast"
    os.environ["PATH"] = os.pathsep.join([str(Path(os.sys.executable).parent), os.environ["PATH"]])
    (out / "feedback").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        if submissions.is_file():
            with zipfile.ZipFile(submissions) as archive:
                archive.extractall(Path(temporary) / "zip")
        found = find(submissions if submissions.is_dir() else Path(temporary) / "zip")
        grade_all(found, Grader(Path(temporary) / "course", timeout, variant), out / "feedback")
    with (out / "grades.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(submission.row() for submission in found)
    graded = sum(bool(submission.scores) for submission in found)
    print(f"{graded} of {len(found)} files graded: {out / 'grades.csv'}, pages in {out / 'feedback'}")


if __name__ == "__main__":
    typer.run(main)
