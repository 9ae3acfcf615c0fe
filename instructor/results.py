"""What is known of a graded notebook, and where it is kept: ``graded/results/LESSON/STUDENT.json``, one file for each.

Everything that a teacher reads (`tables`, `pages`, the gradebook) is made from these files, so an interrupted run loses
nothing, and a second one goes on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from tinyldm.weights import atomic_write


@dataclass(frozen=True)
class Student:
    """Who handed something in: an id that is safe as a folder's name, and what is known besides."""

    id: str
    name: str
    email: str = ""


@dataclass
class Graded:
    """An exercise of a notebook, graded.

    Args:
        number: "2.2".
        title: its heading, "jump to step t".
        points: None while an open question waits for a person.
        of: the most points there are.
        sentence: what the check says of the answer, in plain text with `code` in backquotes.
        parts: what was looked at, and whether it was right: [("the values", True), ("the gradient", False)].
        place: where the answer was found, "cell 12"; "" if nowhere.
        comment: what a person wrote about it.
        answer: the code of the function.
    """

    number: str
    title: str
    points: float | None
    of: float
    sentence: str = ""
    parts: list[tuple[str, bool]] = field(default_factory=list)
    place: str = ""
    comment: str = ""
    answer: str = ""

    @property
    def open(self) -> bool:
        """Whether a person must grade it."""
        return self.points is None


@dataclass
class Result:
    """A notebook, graded.

    Args:
        student: whose it is.
        lesson: "02_forward_diffusion".
        path: of the file inside what was handed in, "submissions.zip/ada/02_forward_diffusion.ipynb".
        sha256: its checksum.
        time: when it was handed in, with a time zone; None if nothing says so.
        version: of the release it comes from, "0.3.0"; "" if it does not say.
        variant: the fingerprint of the private variant as which it was graded; "" if none.
        exercises: in the order of the lesson.
        cells: what single cells did that a reader should know: (17, "stopped after 60 s").
        notes: what was repaired, and anything else, a sentence each.
        seconds: that grading took.
    """

    student: Student
    lesson: str
    path: str
    sha256: str
    time: datetime | None = None
    version: str = ""
    variant: str = ""
    exercises: list[Graded] = field(default_factory=list)
    cells: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def points(self) -> float:
        """Points so far."""
        return sum(one.points or 0.0 for one in self.exercises)

    @property
    def of(self) -> float:
        """Points that can be had, without those that wait for a person."""
        return sum(one.of for one in self.exercises if not one.open)

    @property
    def waiting(self) -> float:
        """Points that a person has yet to give."""
        return sum(one.of for one in self.exercises if one.open)

    def write(self, folder: Path) -> Path:
        """Keep it below ``folder``; never half of it."""
        path = folder / self.lesson / f"{self.student.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = asdict(self) | {"time": self.time.isoformat() if self.time else None}
        with atomic_write(path) as unfinished:
            unfinished.write_text(json.dumps(record, indent=1, ensure_ascii=False), "utf-8")
        return path


class Ungraded(NamedTuple):
    """A file that was handed in and could not be graded, and why; ``path``, ``sha256``, ``time`` as in `Result`."""

    path: str
    sha256: str
    time: datetime | None
    reason: str
    student: Student | None = None
    lesson: str | None = None


def points(number: float) -> str:
    """A number of points as people write it: "7.5", "8"."""
    return f"{round(number, 2):g}"


def lesson_title(lesson: str) -> str:
    """ "02_forward_diffusion" -> "Lesson 02: forward diffusion"."""
    number, _, name = lesson.partition("_")
    return f"Lesson {number}: {name.replace('_', ' ')}" if name else lesson


def read(path: Path) -> Result:
    """A result as it was written."""
    record = json.loads(path.read_text("utf-8"))
    record["student"] = Student(**record["student"])
    record["time"] = datetime.fromisoformat(record["time"]) if record["time"] else None
    record["exercises"] = [
        Graded(**one | {"parts": [(name, right) for name, right in one["parts"]]}) for one in record["exercises"]
    ]
    record["cells"] = [(number, text) for number, text in record["cells"]]
    return Result(**record)


def read_all(folder: Path) -> list[Result]:
    """Every result below ``folder``, by student and lesson."""
    return sorted(
        map(read, folder.glob("*/*.json")), key=lambda one: (one.student.name.lower(), one.student.id, one.lesson)
    )
