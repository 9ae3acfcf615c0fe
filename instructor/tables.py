"""What a teacher takes along from a graded class: ``grades.csv``, and a file that Canvas or Moodle imports.

- Names, notes and paths come from strangers, and a spreadsheet runs a cell that begins with "=": such text gets an
  apostrophe in front (`harmless`). Numbers are ours and stay numbers.
- A learning platform finds its own students best. So `lms_file` fills in the file that it exported, and changes nothing
  else there: who is not found in it, without doubt, is named instead.
- Answers are compared by their syntax trees. Equal trees are a sign, not a verdict: short answers, and those that a
  third of the class gives, are not mentioned.
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from results import Result, Student, Ungraded, lesson_title, points

from tinyldm import UserError
from tinyldm.weights import atomic_write

LONGEST = 30_000  # characters of a cell; a spreadsheet has at most 32,767
UNSEEN = r"[\s\"'\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*"
RUNS = re.compile(rf"(^|[;|]){UNSEEN}(?=[=+\-@＝＋－＠﹢﹣﹦﹫])")


def one_line(text: str) -> str:
    """Text without line breaks, and without anything that a terminal or a spreadsheet would obey."""
    bad = ("Cc", "Cs", "Zl", "Zp")
    kept = "".join(" " if unicodedata.category(one) in bad else one for one in text[:LONGEST]).strip()
    return kept + "…" if len(text) > LONGEST else kept


def harmless(text: str) -> str:
    """Text as a cell that no spreadsheet runs, whichever character it takes for the separator."""
    return RUNS.sub(r"\1'", one_line(text))


# ---------------------------------------------------------------- grades.csv


def grades_csv(
    results: Iterable[Result], ungraded: Iterable[Ungraded], path: Path, due: datetime | None = None
) -> Path:
    """Write a row for each student and lesson, then one for each file that was not graded.

    Args:
        results: in the order of the rows.
        ungraded: with their reasons, which stand among the notes.
        path: of the CSV file (UTF-8 with a byte order mark, so that spreadsheets read umlauts).
        due: when notebooks had to be handed in; without a time zone, it is local time.
    """
    results = list(results)
    numbers = sorted({one.number for result in results for one in result.exercises}, key=in_order)
    before, after = ["student id", "name", "email", "lesson"], ["points", "of", "waiting", "late minutes"]
    titles = [f"exercise {number}" for number in numbers]  # a spreadsheet may take "2.1" for the second of January
    rows = [[*before, *titles, *after, "notes", "path", "time", "sha256"]]
    rows += [_graded_row(result, numbers, due) for result in results]
    rows += [_ungraded_row(Ungraded(*one), len(numbers), due) for one in ungraded]
    return _write(rows, path, bom=True)


def _graded_row(result: Result, numbers: list[str], due: datetime | None) -> list[str]:
    given = {one.number: "" if one.open else points(one.points) for one in result.exercises}
    totals = [points(result.points), points(result.of), points(result.waiting), late_minutes(result.time, due)]
    notes = [f"cell {number}: {what}" for number, what in result.cells] + result.notes
    file = (result.path, _local(result.time), result.sha256)
    return [*_who(result.student, result.lesson), *(given.get(n, "") for n in numbers), *totals, *_texts(notes, *file)]


def _ungraded_row(one: Ungraded, exercises: int, due: datetime | None) -> list[str]:
    totals = ["", "", "", late_minutes(one.time, due)]
    texts = _texts([f"not graded: {one.reason}"], one.path, _local(one.time), one.sha256)
    return [*_who(one.student or Student("", ""), one.lesson or ""), *[""] * exercises, *totals, *texts]


def _who(student: Student, lesson: str) -> list[str]:
    return [harmless(text) for text in (student.id, student.name, student.email, lesson)]


def _texts(notes: list[str], *rest: str) -> list[str]:
    return [harmless(text) for text in ("; ".join(notes), *rest)]


def late_minutes(time: datetime | None, due: datetime | None) -> str:
    """How many minutes after ``due``, begun ones counted; "" if in time, "unknown" if nothing says when."""
    if due is None:
        return ""
    if time is None:
        return "unknown"
    late = math.ceil((time.astimezone() - due.astimezone()).total_seconds() / 60)
    return str(late) if late > 0 else ""


def _local(time: datetime | None) -> str:
    return time.astimezone().isoformat(" ", "seconds") if time else ""


def in_order(number: str) -> list[tuple[int, str]]:
    """2.10 after 2.9."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"[.\s]", number)]


def _write(rows: Sequence[Sequence[str]], path: Path, delimiter: str = ",", bom: bool = False) -> Path:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(text.getvalue().encode("utf-8-sig" if bom else "utf-8", "replace"))
    return path


# ---------------------------------------------------------------- Canvas and Moodle

# The headings of columns, in English and German, in lower case. Moodle writes them in its user's language, and expects
# them back in the same.
IDS = ("id", "sis user id", "sis login id", "integration id", "id number", "identifier", "username", "id-nummer")
IDS += ("anmeldename",)
NAMES = ("student", "full name", "name", "vollständiger name")
FIRST, LAST = ("first name", "firstname", "vorname"), ("last name", "lastname", "surname", "nachname")
EMAILS = ("email address", "email", "e-mail-adresse", "e-mail")
GRADE, MOST = ("grade", "bewertung"), ("maximum grade", "bestwertung")
CHANGES = ("grade can be changed", "bewertung kann geändert werden")
PARTICIPANT = re.compile(r"^(Participant |Teilnehmer/in ?)(?=\d+$)")  # Moodle's identifier
EXPORT = {
    "canvas": "in Canvas: Grades > Export > Export Entire Gradebook",
    "moodle": "in Moodle: the assignment > Submissions > Actions > Download grading worksheet, in English or German",
}


@dataclass
class Sheet:
    """A table as a learning platform exported it."""

    name: str
    delimiter: str
    bom: bool
    rows: list[list[str]]

    @property
    def header(self) -> list[str]:
        """Its first row."""
        return self.rows[0]

    def columns(self, headings: Iterable[str]) -> list[int]:
        """The places of columns with one of these headings."""
        return [at for at, heading in enumerate(self.header) if _key(heading) in headings]

    def _cells(self, row: int, headings: Iterable[str]) -> list[str]:
        return [self.rows[row][at] for at in self.columns(headings) if self.rows[row][at].strip()]

    @cached_property
    def ids(self) -> list[set[str]]:
        """Whatever each row's student may be called by; of Moodle's "Participant 1234", the number."""
        found = [self._cells(row, IDS) for row in range(len(self.rows))]
        return [{_key(PARTICIPANT.sub("", text)) for text in cells} for cells in found]

    @cached_property
    def mails(self) -> list[set[str]]:
        """E-mail addresses, which may be a log-in, too."""
        found = [self._cells(row, EMAILS + IDS) for row in range(len(self.rows))]
        return [{_key(text) for text in cells if "@" in text} for cells in found]

    @cached_property
    def names(self) -> list[set[str]]:
        """Names, from one column or two."""
        both = [" ".join(self._cells(row, FIRST) + self._cells(row, LAST)) for row in range(len(self.rows))]
        return [{_name(text) for text in (*self._cells(row, NAMES), name) if text} for row, name in enumerate(both)]


def check_template(kind: str | None, template: Path | None) -> None:
    """Whether `lms_file` will know the platform and can read its file, before anything is graded.

    Raises:
        UserError: if not.
    """
    if kind is None and template:
        raise UserError("a TEMPLATE needs the name of its platform: LMS=canvas or LMS=moodle")
    if kind is not None and kind not in EXPORT:
        raise UserError(f"the file can be for canvas or moodle, not for {kind!r}: LMS=canvas or LMS=moodle")
    if template:
        _read(Path(template), kind)


def lms_file(
    results: Iterable[Result], kind: str, path: Path, template: Path | None = None, handed_in: Iterable[str] = ()
) -> list[str]:
    """Write a file that a learning platform imports: for each lesson a column, with the points so far.

    Args:
        results: graded notebooks.
        kind: "canvas" or "moodle".
        path: of the CSV file.
        template: what the platform exported: Canvas's gradebook, or Moodle's grading worksheet (of one assignment) or
            gradebook. Only its grades are changed. Without one, students are named by id, name and e-mail.
        handed_in: the lessons handed in this time, which a worksheet is about if there are results of others, too.

    Returns:
        Whatever a teacher must know or do by hand, a line each; first of all, who is not in the file.

    Raises:
        UserError: if the template cannot be what it should be, or has two columns that could be a lesson's.
    """
    check_template(kind, None)
    results = list(results)
    lessons = sorted({result.lesson for result in results})
    sheet, lines = (_read(Path(template), kind), []) if template else _from_results(results, kind)
    if kind == "moodle" and sheet.columns(GRADE) and len(lessons) > 1:
        lessons = [lesson for lesson in lessons if lesson in set(handed_in)] or lessons
        if len(lessons) > 1:
            raise UserError(
                f"{template} is for one assignment, but there are results of {', '.join(lessons)}; use Moodle's "
                "gradebook (Grades > Export > Plain text file) instead, or give make grade one lesson's zip at a time"
            )
    for lesson in lessons:
        lines += _fill(sheet, lesson, [result for result in results if result.lesson == lesson], kind)
    _write(sheet.rows, path, sheet.delimiter, sheet.bom)
    return lines


def _read(path: Path, kind: str) -> Sheet:
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); it should be the export, {EXPORT[kind]}") from None
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")  # saved again by a spreadsheet
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=lambda one: len(next(csv.reader([first], delimiter=one), [])))
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
    except csv.Error as error:
        raise UserError(f"{path} cannot be read as CSV ({error}); export it again, {EXPORT[kind]}") from None
    widest = max(map(len, rows), default=0)
    rows = [row + [""] * (widest - len(row)) for row in rows]
    sheet = Sheet(path.name, delimiter, content.startswith(b"\xef\xbb\xbf"), rows)
    if not rows or not sheet.columns(IDS + EMAILS) or (kind == "canvas" and "Student" not in rows[0][0]):
        raise UserError(f"{path} has no columns that say who the students are; export it again, {EXPORT[kind]}")
    return sheet


def _from_results(results: list[Result], kind: str) -> tuple[Sheet, list[str]]:
    students = list({result.student.id: result.student for result in results}.values())
    if kind == "canvas":
        rows = [["Student", "ID", "SIS User ID", "SIS Login ID", "Section"], ["    Points Possible", "", "", "", ""]]
        rows += [[harmless(s.name), "", harmless(s.id), harmless(s.email), ""] for s in students]
    else:
        rows = [["ID number", "Full name", "Email address"]]
        rows += [[harmless(s.id), harmless(s.name), harmless(s.email)] for s in students]
    advice = f"{kind.capitalize()} finds students most surely in the file that it exports itself ({EXPORT[kind]})"
    return Sheet("the new file", ",", False, rows), [f"{advice}: without it, look closely at the import's preview."]


def _fill(sheet: Sheet, lesson: str, results: list[Result], kind: str) -> list[str]:
    """Enter the points of one lesson; what could not be entered, and what else there is to say."""
    most = max(result.of + result.waiting for result in results)
    at, notes = _grade_column(sheet, lesson, most, kind)
    comma = any(re.fullmatch(r"\d+,\d+", cell) for row in sheet.rows[1:] for cell in row[4:])
    closed, lines, taken = sheet.columns(CHANGES), [], Counter()
    found = [(result, _rows_of(result.student, sheet)) for result in results]
    taken.update(rows[0] for _, rows in found if len(rows) == 1)
    for result, rows in found:
        problem = _problem(rows, taken, sheet, closed)
        if problem:
            lines.append(f"{_called(result.student)}: {problem}; {points(result.points)} points in {lesson}")
        else:
            sheet.rows[rows[0]][at] = points(result.points).replace(".", "," if comma else ".")
    waiting = sum(result.waiting > 0 for result in results)
    if waiting:
        notes.append(f"{lesson}: {waiting} of {len(results)} have answers that wait for a person; import again then.")
    return lines + notes


def _problem(rows: list[int], taken: Counter, sheet: Sheet, closed: list[int]) -> str:
    """Why a grade cannot be entered, if it cannot."""
    if not rows:
        return f"not in {sheet.name}, by id, e-mail or name"
    if len(rows) > 1:
        return f"in several rows of {sheet.name}: {', '.join(str(row + 1) for row in rows)}"
    if taken[rows[0]] > 1:
        return f"somebody else is also taken for row {rows[0] + 1} of {sheet.name}"
    if closed and _key(sheet.rows[rows[0]][closed[0]]) in ("no", "nein"):
        return f"{sheet.name} says that this grade cannot be changed"
    return ""


def _called(student: Student) -> str:
    return one_line(" ".join(filter(None, (student.name, f"({student.id})", student.email))))


def _rows_of(student: Student, sheet: Sheet) -> list[int]:
    """The rows that can be a student's: by id, or else by e-mail, or else by name. Another e-mail is somebody else."""
    mail, mails = _key(student.email), sheet.mails
    for wanted, keys in ((student.id, sheet.ids), (student.email, mails), (student.name, sheet.names)):
        rows = [at for at in range(1, len(sheet.rows)) if _name(wanted) in keys[at] and not _is_points(sheet.rows[at])]
        rows = [at for at in rows if not mail or not mails[at] or mail in mails[at]]
        if rows:
            return rows
    return []


def _key(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _name(text: str) -> str:
    """ "Lovelace, Ada" -> "ada lovelace"."""
    last, comma, first = _key(text).partition(", ")
    return f"{first} {last}" if comma and ", " not in first else _key(text)


def _grade_column(sheet: Sheet, lesson: str, most: float, kind: str) -> tuple[int, list[str]]:
    """The column of a lesson's points; a new one, if the sheet has none."""
    if kind == "moodle" and sheet.columns(GRADE):
        at = sheet.columns(GRADE)[0]
        highest = [row[column] for column in sheet.columns(MOST) for row in sheet.rows[1:2]]
    else:
        at = _named(sheet, lesson)
        highest = [row[at] for row in sheet.rows[1:] if at is not None and _is_points(row)]
    if at is None:
        return _new_column(sheet, lesson, most), [f"{lesson}: no column was called so; it has a new one, the last."]
    other = [text for text in highest if _number(text) not in (None, most)]
    says = f"{sheet.header[at]!r} has {other[0]} points, the lesson {points(most)}; change that there." if other else ""
    return at, [f"{lesson}: {says}"] if says else []


def _new_column(sheet: Sheet, lesson: str, most: float) -> int:
    for row in sheet.rows[1:]:
        row.append(points(most) if _is_points(row) else "")
    sheet.header.append(harmless(lesson_title(lesson)))
    return len(sheet.header) - 1


def _is_points(row: list[str]) -> bool:
    """Whether it is Canvas's row of the most points that there are."""
    return "points possible" in row[0].lower()


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None


def _named(sheet: Sheet, lesson: str) -> int | None:
    """The column that is called like a lesson: by its file's name or its title, or else by its number."""
    fixed = {at for row in sheet.rows[1:] if _is_points(row) for at, cell in enumerate(row) if cell.startswith("(")}
    fixed |= set(sheet.columns((*IDS, *NAMES, *EMAILS, *FIRST, *LAST, "section", "root account")))
    usual = {at: _words(re.sub(r"\(\d+\)$", "", text)) for at, text in enumerate(sheet.header) if at not in fixed}
    number, _, title = lesson.partition("_")
    for words in (lesson, lesson_title(lesson), title, f"lesson {number}", f"lesson {number.lstrip('0')}"):
        found = [at for at, text in usual.items() if _words(words) and f" {_words(words)} " in f" {text} "]
        if len(found) > 1:
            both = " and ".join(repr(sheet.header[at]) for at in found[:2])
            raise UserError(f"{sheet.name}: both {both} could be {lesson}; leave only the right one in the file")
        if found:
            return found[0]
    return None


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", _key(text.replace("_", " "))))
