"""Find out who handed in what, in a folder, a zip or a file, without losing or merging anybody.

    python instructor/collect.py handed-in.zip [--roster instructor/roster.csv]      # lists it, and grades nothing

Whose a file is, its folder decides, then its name, then the name typed in the notebook's first cell; all three are
looked up in the roster, if there is one. What a learning platform wrote counts more than what a student chose. Whatever
could be two students is two students, and is asked about. Which lesson it is, the notebook's content decides, then the
names. If a student handed in a lesson several times, the newest counts.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Annotated

import release as releases
import typer
from names import Mark, clean, leftover, lessons_in, marked, read_submitters, without_ending, words
from nbformat import NotebookNode
from opened import Opened, opened
from results import Student
from roster import Match, Person, Roster, read_roster
from unpack import File, Limits, Unpacker

from tinyldm import UserError

GRADESCOPE = re.compile(r"(assignment_\d+_export/)?submission_metadata\.yml")  # where no student's file can be
HEADING = re.compile(r"^#+ *Lesson (\d\d)\b", re.MULTILINE)
TYPED = re.compile(r"\b(?:name|nom|nombre|nome|naam|navn)s?\b[^:\n]{0,20}:(.*)", re.IGNORECASE)
SAFE_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,38}[A-Za-z0-9])?")
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # no folder's name on Windows
HASHED = re.compile(r".*-[0-9a-f]{12}")
SEVERAL = 3  # files of one lesson in a folder with no name on them; if there are more, it is a class
LASTING = ("Canvas", "Brightspace", "nbgrader")  # platforms on which a person has one number or name in all lessons
LONG_AGO = datetime(1, 1, 2, tzinfo=UTC)
ANYBODY = {"participant", "teilnehmer", "student", "group", "team", "user", "gruppe"}


@dataclass(frozen=True)
class Release:
    """Which release a notebook says it is from; "" where it says nothing, and for the public ``variant``."""

    lesson: str = ""
    version: str = ""
    variant: str = ""


@dataclass
class Submission:
    """A file that was handed in.

    Args:
        path: inside the hand-in, with "/"; zips count as folders: "s.zip/ada/02_forward_diffusion.ipynb".
        sha256: of the file's bytes.
        time: of handing in: the platform's, or else that of the zip's entry or the file; None if nothing says so.
        student: None only if it is not a notebook, and nothing says whose it is.
        lesson: "02_forward_diffusion".
        release: as written in the notebook.
        notebook: of format 4, valid; None if there is none.
        reason: why it is not graded, in words; "" if it is.
        notes: what was noticed, in words.
    """

    path: str
    sha256: str
    time: datetime | None
    student: Student | None
    lesson: str | None
    release: Release
    notebook: NotebookNode | None
    reason: str
    notes: list[str]


@dataclass
class Collected:
    """All that was handed in; questions for the instructor; what was not opened, each with its reason."""

    submissions: list[Submission]
    questions: list[str]
    refused: list[str]


def collect(handed_in: Path, roster: Path | None = None, limits: Limits = Limits()) -> Collected:  # noqa: B008 (frozen)
    """Read everything that was handed in.

    Raises:
        UserError: if there is nothing at ``handed_in``, or the roster is none.
    """
    if not handed_in.exists():
        raise UserError(f"there is nothing at {handed_in}; give the folder or the zip with the students' notebooks")
    lessons = sorted(path.stem for path in releases.LESSONS.glob("[0-9][0-9]_*.ipynb"))
    people = read_roster(roster) if roster else None
    unpacker = Unpacker(limits)
    alone = handed_in.is_file() and handed_in.suffix.lower() == ".zip"  # its name says nothing about a student
    found, submitters, times = [], {}, {}
    for file in _without_exchange(unpacker.files(handed_in), times, lessons, int(alone)):
        found.append(_found(file, lessons, skip=int(alone)))
        if GRADESCOPE.fullmatch("/".join(file.path.split("/")[alone:])):
            submitters |= read_submitters(file.data)
    found.sort(key=lambda one: one.submission.path)
    for one in found:
        one.submission.time = times.get(one.submission.path.rpartition("/")[0], one.submission.time)
        if one.mark and one.mark.identity in submitters:
            one.mark = submitters[one.mark.identity]
            one.submission.time = one.mark.time or one.submission.time
    questions = list(people.questions) if people else []
    questions += _assign(found, people)
    questions += _choose_newest(found)
    return Collected([one.submission for one in found], list(dict.fromkeys(questions)), unpacker.refused)


def _without_exchange(
    files: Iterator[File], times: dict[str, datetime], lessons: list[str], skip: int
) -> Iterator[File]:
    """Leave out what nbgrader's exchange adds to a folder, and note the time of handing in that it says.

    It counts only in STUDENT/LESSON/, and neither in a zip that was handed in nor below what another platform wrote:
    there, it is a student's own file.
    """
    for file in files:
        folder, _, name = file.path.rpartition("/")
        parts = folder.split("/")
        theirs = parts[-1] in lessons and len(file.zips) <= skip and not any(marked(part, lessons) for part in parts)
        if name == "timestamp.txt" and theirs and re.fullmatch(rb"[-\d]{10} [:.\d]{8,15} UTC\s*", file.data):
            with suppress(ValueError):
                times[folder] = datetime.fromisoformat(file.data.decode().split(" UTC")[0]).replace(tzinfo=UTC)
        elif name != "submission_secret.txt":
            yield file


# ---------------------------------------------------------------- one file


@dataclass
class Found:
    """A file, and what its path and its content say.

    Args:
        mark: what a platform wrote into the path.
        folders: of each folder above it, outermost first, its name and what it says besides lessons and the like.
        name: the file's name, and what that says.
        typed: the name in its first cell.
        inner: the time of the file itself, within a zip that was handed in.
        kind: what it was that told the student: "roster", "Canvas", "folder", "file", "typed" or "path".
    """

    submission: Submission
    mark: Mark | None
    folders: list[tuple[str, str]]
    name: tuple[str, str]
    typed: str
    inner: datetime | None
    kind: str = ""

    @property
    def is_notebook(self) -> bool:
        """Whether it is a notebook, or was meant to be one."""
        return self.submission.notebook is not None or ".ipynb" in self.submission.path.lower()


def _found(file: File, lessons: list[str], skip: int = 0) -> Found:
    *folders, name = file.path.split("/")
    parts = [re.sub(r"\.zip$", "", part, flags=re.IGNORECASE) for part in folders[skip:]] + [without_ending(name)]
    marks = [marked(part, lessons) for part in parts]
    at = next((number for number, mark in enumerate(marks) if mark), None)
    mark = None if at is None else marks[at]
    given = mark.rest if mark and at == len(parts) - 1 else parts[-1]  # the file's name, as its student gave it
    said = [_about_lesson(part, one) for part, one in zip(parts, marks, strict=True)]
    submission = _opened(file, lessons, said)
    above = [(part, leftover(part, lessons)) for part in parts[:-1]]
    about = [number for number, (_, text) in enumerate(above) if text]
    decides = at if at is not None else about[-1] if about else len(parts)
    zips = [time for number, time in file.zips[skip:] if number - skip > decides]
    if mark and mark.platform == "Canvas" and re.search(r"(?:^|_)LATE_", parts[at].removesuffix(mark.rest)):
        submission.notes.append("Canvas says that it came late")
    submission.time = (mark.time if mark else None) or (zips[0] if zips else file.time)
    typed = _typed(submission.notebook) if submission.notebook else ""
    name_says = leftover(given, lessons, submission.lesson)
    return Found(submission, mark, [one for one in above if one[1]], (given, name_says), typed, file.time)


def _about_lesson(part: str, mark: Mark | None) -> str:
    """What of a part of a path can speak of a lesson."""
    if mark is None or mark.platform in ("Blackboard", "nbgrader"):
        return part
    return mark.rest


def _opened(file: File, lessons: list[str], parts: list[str]) -> Submission:
    try:
        found = opened(file.data, file.path.rpartition("/")[2])
    except Exception as error:  # of a stranger's file that nobody has thought of: it must not stop the class
        found = Opened(reason=f"not graded: it cannot be read ({type(error).__name__})")
    lesson, release, notes = _lesson(found.notebook, lessons, parts)
    reason = found.reason
    if found.notebook and lesson is None:
        reason = "not graded: neither its content nor its name says which lesson it is"
    digest = hashlib.sha256(file.data).hexdigest()
    return Submission(file.path, digest, None, None, lesson, release, found.notebook, reason, found.notes + notes)


def _lesson(
    notebook: NotebookNode | None, lessons: list[str], parts: list[str]
) -> tuple[str | None, Release, list[str]]:
    """The lesson by its content, or else by the file's name and then its folders'; its release; notes."""
    named = [said[0] for said in (lessons_in(part, lessons) for part in reversed(parts)) if len(said) == 1]
    by_name = named[0] if named else None
    if notebook is None:
        return by_name, Release(), []
    release = _release(notebook)
    heading = next((found[1] for cell in notebook.cells[:5] if (found := HEADING.search(cell.source))), "")
    by_content = [name for number in (release.lesson, heading) for name in lessons if number and name[:2] == number]
    notes = []
    if len(set(by_content)) > 1:
        notes.append(f"its release says {by_content[0]}, its heading {by_content[1]}")
    elif by_content and by_name and by_name != by_content[0]:
        notes.append(f"its name says {by_name}, but it is {by_content[0]}")
    return (by_content[0] if by_content else by_name), release, notes


def _release(notebook: NotebookNode) -> Release:
    said = notebook.metadata.get("tinyldm", {})
    values = [said.get(key, "") for key in ("lesson", "version", "variant")]
    return Release(*(value if isinstance(value, str) and len(value) < 40 else "" for value in values))


def _typed(notebook: NotebookNode) -> str:
    """The name that a student typed in the first cells; "" if none."""
    for cell in notebook.cells[:3]:
        if cell.cell_type == "markdown" and (found := TYPED.search(cell.source)):
            following = cell.source[found.end() :].strip().partition("\n")[0]
            if name := _as_name(found[1]) or _as_name(following):
                return name
    first = notebook.cells[0].source.strip() if notebook.cells else ""
    replaced = HEADING.search(first) and first.count("\n") > 1 and first.rpartition("\n\n")[2]
    return _as_name(replaced) if replaced and not re.search(r"[.:()\[\]\n]", replaced) else ""


def _as_name(text: str) -> str:
    if len(text) > 500:
        return ""
    text = " ".join(re.sub(r"<[^>]*>|[*_`#>|\\]+|\.{2,}|…", " ", clean(text)).split()).strip(" -.,:;()[]")
    return text if len(text) <= 60 and len(text.split()) <= 6 and re.search(r"[^\W\d_]|\d{3}", text) else ""


# ---------------------------------------------------------------- who


def _assign(found: list[Found], roster: Roster | None) -> list[str]:
    """Give each file its student; what is to be asked."""
    questions: list[str] = []
    if roster:
        guesses = [_look_up(one, roster, questions) for one in found]
        _withdraw_doubtful(guesses, questions)
        for guess in guesses:
            if len(guess.people) == 1:
                _give_person(guess, roster, questions)
            elif guess.people:
                questions += _give_path(guess.found, f"it could be {_labels(guess.people)}")
    taken = {value.lower() for person in roster.people for value in person.ids} if roster else set()
    for one in found:
        if not one.kind:
            questions += _give_own(one, taken)
    questions += _split(found, with_roster=roster is not None)
    return questions + (_not_in_roster(found, roster) if roster else []) + _alike(found)


@dataclass
class Guess:
    """Who of the roster handed in a file, perhaps one of several; whether that is sure; the text that says so."""

    found: Found
    people: frozenset[Person] = frozenset()
    sure: bool = False
    said: str = ""


def _look_up(one: Found, roster: Roster, questions: list[str]) -> Guess:
    folders, label = one.folders, "/".join(text for _, text in one.folders)
    if one.mark:  # what else the path and the notebook say, is the student's own
        folders, label = [(text, text) for text in one.mark.known_as if text], one.mark.name or one.mark.identity
        if one.mark.platform == "Blackboard":  # what of "Homework_j_doe" is the user's name, the roster says
            folders = next(([text] for text in folders if roster.find(text[1]).sure), folders)
    match = _speaks_of(folders, roster)
    guess = Guess(one, match.people, match.sure, label)
    for match, said in ((_speaks_of([one.name], roster), one.name[1]), (roster.find(one.typed), one.typed)):
        both = guess.people & match.people
        if not guess.people and not one.mark:
            guess = Guess(one, match.people, match.sure, said)
        elif len(guess.people) > 1 and len(both) == 1:
            guess = Guess(one, both, match.sure, said)
        elif match.sure and len(match.people) == 1 and not both:
            questions.append(_contradiction(guess, said, match.people))
            if guess.people and not guess.sure:
                guess.people |= match.people
    return guess


def _contradiction(guess: Guess, said: str, people: frozenset[Person]) -> str:
    first = f"{guess.said!r} " + (f"is {_labels(guess.people)}" if guess.people else "is not in the roster")
    return (
        f"{guess.found.submission.path}: {first}, but {said!r} is {_labels(people)}: was the file copied, or "
        "handed in for somebody else?"
    )


def _labels(people: frozenset[Person]) -> str:
    labels = [person.label for person in people]
    with_ids = [" ".join([one.label, *(f"({id})" for id in one.ids if id != one.label)]) for one in people]
    return " or ".join(sorted(with_ids if len(set(labels)) < len(labels) else labels))


def _speaks_of(texts: list[tuple[str, str]], roster: Roster) -> Match:
    """Whom the names of folders (or of a file) speak of, given with what is left of each."""
    matches = [roster.find(text) for _, text in texts if text]
    sure = [match.people for match in matches if match.sure]
    people = frozenset().union(*(sure or [match.people for match in matches]))
    if sure and len(both := frozenset.intersection(*sure)) == 1:  # of two with one name, the one with this number
        people = both
    if not sure and len(people) > 1 and (joined := roster.find(" ".join(text for _, text in texts))).sure:
        people, sure = joined.people, [joined.people]
    stripped = [roster.named_in(name) - roster.named_in(text) for name, text in texts]  # "Ada Final" may be a person
    return Match(people.union(*stripped), bool(sure))


def _withdraw_doubtful(guesses: list[Guess], questions: list[str]) -> None:
    """Of files that seem to be one person's, take away those that may be somebody else's."""
    by_lesson, by_platform = defaultdict(list), defaultdict(list)
    for guess in guesses:
        if len(guess.people) == 1:
            by_lesson[guess.people, guess.found.submission.lesson].append(guess)
            if guess.found.mark and guess.found.mark.platform in LASTING:
                by_platform[guess.people, guess.found.mark.platform].append(guess)
    doubtful = [guess for group in by_lesson.values() for guess in _of_other_names(group) + _of_other_accounts(group)]
    doubtful += [guess for group in by_platform.values() for guess in _of_other_accounts(group)]
    for guess in doubtful:
        if guess.people:
            questions.append(
                f"{guess.found.submission.path}: is it {_labels(guess.people)}'s? Other files are, but come under "
                "another name or number. It is a student of its own; rename it, or add whoever it is to the roster."
            )
        guess.people = frozenset()


def _of_other_names(group: list[Guess]) -> list[Guess]:
    """Those known by only a part of a name, if others are sure, or known by another part."""
    unsure = [guess for guess in group if not guess.sure]
    if len(unsure) < len(group) or len({words(guess.said) for guess in unsure}) > 1:
        return unsure
    return []


def _of_other_accounts(group: list[Guess]) -> list[Guess]:
    """All that come from two accounts on one platform, which are two people's."""
    accounts = defaultdict(set)
    for mark in (guess.found.mark for guess in group if guess.found.mark):
        accounts[mark.platform].add(mark.identity)
    return [guess for guess in group if guess.found.mark and len(accounts[guess.found.mark.platform]) > 1]


def _give_person(guess: Guess, roster: Roster, questions: list[str]) -> None:
    (person,) = guess.people
    one = guess.found
    one.kind = "roster"
    one.submission.student = Student(roster_id(person, roster), person.label, person.email)
    if not guess.sure:
        questions.append(
            f"{one.submission.path}: {guess.said!r} was taken to mean {person.label}, since nobody else in the roster "
            "fits. If that is wrong, rename the file or correct the roster."
        )


def _give_own(one: Found, taken: set[str]) -> list[str]:
    """A student for a file that the roster, if there is one, does not know; what is to be asked."""
    folder = "/".join(text for _, text in one.folders)
    if one.mark:
        one.kind, text, name = one.mark.platform, one.mark.identity, one.mark.name or one.mark.identity
    elif folder:
        one.kind, text, name = "folder", folder, folder
        if one.name[1] and not _same_words(one.name[1], folder):
            text, name = f"{folder}/{one.name[1]}", f"{one.name[1]} ({folder})"
    elif one.name[1]:
        one.kind, text, name = "file", one.name[1], one.name[1]
    elif one.typed:
        one.kind, text, name = "typed", one.typed, one.typed
    else:
        return _give_path(one, "nothing says whose it is")
    one.submission.student = Student(student_id(one.kind, text, name, taken), name)
    return []


def _same_words(one: str, other: str) -> bool:
    return sorted(words(one)) == sorted(words(other)) or "".join(words(one)) == "".join(words(other))


def _give_path(one: Found, why: str) -> list[str]:
    """A student of its own for a file that may be anybody's, and the question whose it is."""
    one.kind, path = "path", one.submission.path
    if not one.is_notebook:
        return []
    one.submission.student = Student(student_id("path", f"{path} {one.submission.sha256}", path), path)
    return [
        f"{path}: {why}, so it is a student of its own. Put it into a folder with the student's name (or id, if there "
        "is a roster), or write the name into the file's name."
    ]


def roster_id(person: Person, roster: Roster) -> str:
    """The roster's own id if it is safe and nobody else's."""
    same = [one for one in roster.people if person.ids and person.ids[0].lower() in map(str.lower, one.ids)]
    if len(same) == 1 and _is_safe(person.ids[0]):
        return person.ids[0]
    return student_id("roster", " ".join((*person.ids, person.email, person.name)), person.label)


def _is_safe(text: str) -> bool:
    return bool(SAFE_ID.fullmatch(text)) and not DEVICES.fullmatch(text) and not HASHED.match(text)


def student_id(kind: str, text: str, name: str, taken: set[str] | frozenset = frozenset()) -> str:
    """An id that depends only on who it is, is safe as a folder's name, and belongs to nobody else.

    A folder's name that is safe as it is remains; all others end with a hash, since "Müller" and "muller" differ.
    """
    if kind == "folder" and _is_safe(text) and text == text.lower() and text not in taken:
        return text
    ascii_name = "-".join(word for word in words(name) if word.isascii())[:30].strip("-") or "student"
    return f"{ascii_name}-{hashlib.sha256(f'{kind} {text}'.encode()).hexdigest()[:12]}"


def _split(found: list[Found], with_roster: bool) -> list[str]:
    """Take apart what may be several students': a folder with many nameless files, or with different names typed in.

    With a roster, also all that it doesn't know.
    """
    groups, questions = defaultdict(list), []
    kinds = ("folder", "file", "typed") if with_roster else ("folder",)
    for one in found:
        if one.kind in kinds and one.submission.notebook:
            groups[one.submission.student.id, None if with_roster else one.submission.lesson].append(one)
    for group in groups.values():
        typed = {frozenset(words(one.typed)) for one in group if one.typed}
        if len(group) > (1 if with_roster else SEVERAL) or len(typed) > 1:
            why = f"there are {len(group)} such files, perhaps of several people"
            questions += [question for one in group for question in _give_path(one, why)]
    return questions


def _not_in_roster(found: list[Found], roster: Roster) -> list[str]:
    """Who is not in the roster, and whom it may be."""
    unknown: dict[Student, str] = {}
    for one in found:
        if one.is_notebook and one.kind not in ("roster", "path"):
            unknown.setdefault(one.submission.student, one.submission.path)
    questions = []
    for student, path in unknown.items():
        near = roster.nearest(student.name)
        guess = f"; is it {near.label}?" if near else "."
        questions.append(f"{student.name} ({path}) is not in the roster{guess} Correct the roster, or rename the file.")
    return questions


def _alike(found: list[Found]) -> list[str]:
    """Students whose names are the same, or a part of one another, and who may be one person."""
    paths: dict[Student, str] = {}
    for one in found:
        if one.is_notebook and one.kind != "path":
            paths.setdefault(one.submission.student, one.submission.path)
    known = {student: {word for word in words(student.name) if not word.isdigit()} - ANYBODY for student in paths}
    rostered = {one.submission.student for one in found if one.kind == "roster"}
    return [
        f"{one.name} ({paths[one]}) and {other.name} ({paths[other]}) are taken as two students. If they are one, give "
        "both the same folder name, or use a roster with their id."
        for one, other in combinations(paths, 2)
        if known[one] and known[other] and (known[one] <= known[other] or known[other] <= known[one])
        if not {one, other} <= rostered
    ]


# ---------------------------------------------------------------- the newest


def _choose_newest(found: list[Found]) -> list[str]:
    """Of several notebooks of a lesson by one student, leave the newest that can be read to be graded."""
    groups, questions = defaultdict(list), []
    for one in found:
        if one.submission.student and one.submission.lesson:
            groups[one.submission.student.id, one.submission.lesson].append(one)
    for group in groups.values():
        *older, newest = sorted((one for one in group if one.submission.notebook), key=_age) or [None]
        for one in older:
            one.submission.reason = f"not graded: the same student handed in a newer one, {newest.submission.path}"
        if older:
            questions += _about_choice(older, newest)
        for one in group:
            if newest and one.is_notebook and not one.submission.notebook and _age(one) > _age(newest):
                newest.submission.notes.append(f"a newer one, {one.submission.path}, cannot be read")
    return questions


def _age(one: Found) -> tuple:
    stem = re.sub(r"\.\w+$", "", one.submission.path)  # "02" before "02 (1)" before "02 (10)"
    parts = [part.lstrip("0") if part.isdecimal() else part for part in re.split(r"(\d+)", stem)]
    natural = [(number % 2 * len(part), part) for number, part in enumerate(parts)]  # every other part is a number
    order = one.mark.order if one.mark else 0
    return one.submission.time or LONG_AGO, order, one.inner or LONG_AGO, natural


def _about_choice(older: list[Found], newest: Found) -> list[str]:
    """Notes about a tie; a question if it is not sure that the files are one student's."""
    last, chosen = older[-1].submission, newest.submission
    if last.time == chosen.time:
        chosen.notes.append(f"nothing says that it is newer than {last.path}, except their names")
    places = {one.mark.identity if one.mark else one.submission.path.rpartition("/")[0] for one in (*older, newest)}
    if newest.kind not in ("folder", "typed") and len(places) == 1:
        return _about_parts(older, newest)
    paths = ", ".join(one.submission.path for one in older)
    return [f"{paths} and {chosen.path} are taken as {chosen.student.name}'s, and the last one counts. Is that right?"]


def _about_parts(older: list[Found], newest: Found) -> list[str]:
    """A question about notebooks handed in together that may be two halves of one."""
    chosen = newest.submission
    together = [one for one in older if one.submission.time == chosen.time and one.name[1] != newest.name[1]]
    if not together:
        return []
    paths = ", ".join(one.submission.path for one in together)
    return [
        f"{paths} and {chosen.path}: {chosen.student.name} handed them in at the same time, and only the last one is "
        "graded. If they are parts of one, copy their cells into one notebook, in place of these."
    ]


def main(
    handed_in: Annotated[Path, typer.Argument(help="Folder or zip of students' notebooks.")],
    roster: Annotated[Path | None, typer.Option(help="CSV file with the columns id, name, email.")] = None,
) -> None:
    """List who handed in what, with all questions; nothing is graded."""
    try:
        collected = collect(handed_in, roster)
    except UserError as error:
        raise SystemExit(str(error)) from None
    for one in collected.submissions:
        who = f"{one.student.name} [{one.student.id}]" if one.student else "nobody"
        print(f"{one.path}: {who}, {one.lesson or 'no lesson'}{f'; {one.reason}' if one.reason else ''}")
    for title, lines in (("not opened", collected.refused), ("questions", collected.questions)):
        print(f"\n{len(lines)} {title}", *lines, sep="\n- ")


if __name__ == "__main__":
    typer.run(main)
