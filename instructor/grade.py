"""Grade students' notebooks: ``make grade SUBMISSIONS=folder-or-zip``.

    python instructor/grade.py HANDED_IN [--out graded] [--variant SEED] [--roster roster.csv] [--due 2027-01-31T23:59]

Who handed in what is found out by `collect`; each notebook runs in a box of its own (`sandbox`) and is judged from
outside (`judge`), two at a time. What is found is written at once: the result (`results`), nbgrader's gradebook
(`book`), a page for the student (`pages`), and ``grades.csv`` (`tables`). So an interrupted run loses nothing, and a
second one grades only what is new or has changed; points and comments given by hand stay.
"""

from __future__ import annotations

import contextlib
import glob
import multiprocessing
import os
import re
import resource
import signal
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Any

import judge
import nbformat
import torch
import typer
from book import Book, BookError
from collect import Collected, Submission, collect
from nbformat import NotebookNode
from pages import page
from release import LESSONS, PRIVATE, release
from results import Result, Student, Ungraded, read, read_all
from sandbox import ABOUT, MEMORY, adopt_orphans, clear_away, end_with_parent, kind
from tables import check_template, grades_csv, lms_file, one_line
from variant import MARK, drawn, fingerprint, number_of

from tinyldm.weights import UserError, atomic_write

NUMBER = re.compile(r'check\("(\d+)\.(\d+)", \w+, N=(.*)\)$', re.MULTILINE)  # in a variant's check cell
ROSTER = Path(__file__).resolve().parent / "roster.csv"


@dataclass(frozen=True)
class Course:
    """Where results are kept, and what was handed out.

    Args:
        out: the folder of everything that grading writes.
        variant: the seed of the private variant that was handed out.
        due: when notebooks had to be handed in.
        timeout: seconds that a cell may run.
    """

    out: Path
    variant: str | None = None
    due: datetime | None = None
    timeout: float = 60

    def released(self, lesson: str) -> NotebookNode:
        """What students were given."""
        return release(nbformat.read(LESSONS / f"{lesson}.ipynb", as_version=4), lesson, self.variant)

    def numbers(self, released: NotebookNode) -> dict[str, Any]:
        """Of the variant, by exercise."""
        marks = [cell.metadata.nbgrader for cell in released.cells if "nbgrader" in cell.metadata]
        names = [one.grade_id for one in marks if one.solution and not one.grade]
        return {number_of(name): drawn(name, self.variant) for name in names} if self.variant else {}

    def task(self, one: Submission) -> judge.Task:
        """What is to be graded, for `judge`."""
        released = self.released(one.lesson)
        return judge.Task(
            student=one.student,
            lesson=one.lesson,
            notebook=one.notebook,
            released=released,
            numbers=self.numbers(released),
            secret=f"{self.variant} {one.lesson}",
            timeout=self.timeout,
            total=5 * self.timeout,
            file=(one.path, one.sha256, one.time),
            version=one.release.version,
            variant=fingerprint(self.variant) if self.variant else "",
            notes=tuple(one.notes),
        )

    def earlier(self, one: Submission) -> Result | None:
        """The result of the same notebook, if it has been graded already."""
        path = self.out / "results" / one.lesson / f"{one.student.id}.json"
        if not path.exists() or not (self.out / "gradebook.db").exists():
            return None
        found = read(path)
        same = (one.sha256, fingerprint(self.variant) if self.variant else "")
        return found if (found.sha256, found.variant) == same else None


# ---------------------------------------------------------------- which release


def right_release(submissions: list[Submission], variant: str | None) -> list[str]:
    """Note what is from another release; if all are, the seed is wrong.

    Returns:
        Nothing, or lines that say what was handed out.
    """
    asked = fingerprint(variant) if variant else ""
    said = [one for one in submissions if one.notebook and one.release.version]
    right = sum(one.release.variant == asked for one in said)
    if said and (
        right == 0 or (not variant and 2 * right < len(said))
    ):  # with a seed, one notebook shows that it is right
        return _wrong_release(said, variant)
    for one in [one for one in submissions if one.notebook and one.lesson]:
        found = one.release.variant if one.release.version else _variant_by_text(one, variant)
        if found and found != asked:
            one.reason = one.reason or f"it is from {_named(found)}, not from {_named(asked)}"
        elif found != asked:
            one.notes.append("it is the public notebook, graded as the variant")
    return []


def _variant_by_text(one: Submission, variant: str | None) -> str:
    """The fingerprint of a notebook's variant, where its metadata are lost: from the numbers in its check cells."""
    text = "\n".join(cell.source for cell in one.notebook.cells)
    if MARK not in text:
        return ""
    given = {f"ex-{a}-{b}": N for a, b, N in NUMBER.findall(text)}
    same = variant and given and all(repr(drawn(name, variant)) == N for name, N in given.items())
    return fingerprint(variant) if same else "unknown"


def _wrong_release(said: list[Submission], variant: str | None) -> list[str]:
    kinds = sorted({one.release.variant for one in said})
    counts = [(sum(one.release.variant == kind for one in said), _named(kind)) for kind in kinds]
    lines = [f"{many} {'notebook is' if many == 1 else 'notebooks are'} from {what}." for many, what in counts]
    given = f"VARIANT={variant}" if variant else "no VARIANT"
    advice = "Give the seed that you released with, VARIANT=seed." if any(kinds) else "Leave VARIANT out."
    seeds = [seed for kind in kinds if (seed := _seed(kind))]
    advice = f"Did you mean VARIANT={seeds[0]}?" if seeds else advice
    if variant and sum(not one.release.variant for one in said) > len(said) / 2:
        advice = "Leave VARIANT out."
    return [*lines, f"Nothing was graded: {given} was given, which is not what was handed out. {advice}"]


def _named(variant: str) -> str:
    seed = _seed(variant)
    name = f"the variant {seed}" if seed else "another variant, or one whose seed you did not give"
    return name if variant else "the public exercises"


def _seed(variant: str) -> str:
    """The seed of a fingerprint, if its release lies in private/."""
    seeds = [path.name for path in sorted(PRIVATE.glob("*")) if path.is_dir()]
    return next((seed for seed in seeds if variant and fingerprint(seed) == variant), "")


def other_variant(out: Path, variant: str | None) -> str:
    """What to say if a folder holds grades of another variant, which these would replace."""
    asked = fingerprint(variant) if variant else ""
    others = sorted({one.variant for one in read_all(out / "results")} - {asked})
    if not others:
        return ""
    return f"{out} holds grades of {_named(others[0])}, which would be replaced. Rename it first, and nothing is lost."


def downloads(submissions: list[Submission]) -> list[str]:
    """Zips whose files all have one time, which is no time of handing in: late minutes would be wrong for everybody."""
    times = defaultdict(list)
    for one in submissions:
        if one.time and (inside := re.match(r"[^/]+\.zip(?=/)", one.path, re.IGNORECASE)):
            times[inside[0]].append(one.time)
    return [
        f"all files in {name} have the same time, {max(of).astimezone():%Y-%m-%d %H:%M}. Is it that of your download? "
        "Then the late minutes mean nothing; the platform itself says who was late."
        for name, of in times.items()
        if len(of) > 3 and (max(of) - min(of)).total_seconds() < 120
    ]


# ---------------------------------------------------------------- several at a time


def graded(tasks: list[judge.Task], jobs: int) -> Iterator[tuple[judge.Task, tuple[Result, NotebookNode] | str]]:
    """Grade notebooks, each in a process of its own; with each, its result and itself as it ran, or what went wrong."""
    waiting, running = list(reversed(tasks)), {}
    context = multiprocessing.get_context("fork")  # everything is imported already
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task, (here, there) = waiting.pop(), context.Pipe(duplex=False)
                process = context.Process(target=_judge, args=(task, there), daemon=True)
                process.start()
                there.close()
                running[here] = task, process, time.monotonic() + 6 * task.total + 300
            for here in wait(list(running), timeout=0.5):
                task, process, _ = running.pop(here)
                yield task, _received(here)
                process.join()
            for here in [one for one, (_, _, until) in running.items() if time.monotonic() > until]:
                task, process, _ = running.pop(here)
                process.kill()
                yield task, "it could not be graded in time"
    finally:
        for _, process, _ in running.values():
            process.terminate()
            process.join()


def _judge(task: judge.Task, there: Connection) -> None:
    """In a process of its own: grade, and send what came of it."""
    end_with_parent()
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the grader
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # closes the box
    warnings.simplefilter("ignore")
    with contextlib.suppress(OSError, ValueError):  # functions that we hand over may be called with anything
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY + 2 * 2**30,) * 2)
    try:
        there.send(judge.grade(task))
    except Exception as error:  # whatever a stranger's file may cause
        there.send(f"the grader failed on it ({type(error).__name__}: {' '.join(str(error).split())[:200]})")


def _received(here: Connection) -> tuple[Result, NotebookNode] | str:
    try:
        return here.recv()
    except EOFError:
        return "the grader failed on it, and ended"


# ---------------------------------------------------------------- what was asked for


def deadline(text: str) -> datetime:
    """Local time, if no time zone is given; a day alone lasts until midnight.

    Raises:
        UserError: if it is no time.
    """
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text.strip()):
            return datetime.fromisoformat(f"{text.strip()}T23:59:59")
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise UserError(
            f"the deadline {text!r} cannot be read; write year, month, day and time like this: DUE=2026-12-01T23:59"
        ) from None


def unknown(names: list[str], collected: Collected) -> list[str]:
    """Those of the names given to --force that are nobody's."""
    return [name for name in names if not any(_named_by([name], one) for one in collected.submissions)]


def _check(collected: Collected, submissions: Path, force: list[str]) -> None:
    """What a mistake in the command looks like; better said now than after all notebooks have run."""
    if not any(one.notebook for one in collected.submissions):
        refused = "".join(f"\nNot opened: {text}" for text in collected.refused)
        files = [f"{one.path}: {one.reason.removeprefix('not graded: ')}" for one in collected.submissions]
        listed = "".join(f"\nNot graded: {text}" for text in files[:10]) + ("\n..." if len(files) > 10 else "")
        raise UserError(
            f"there is no notebook that can be graded in {submissions}; give the folder or the zip with the students' "
            f".ipynb files{listed}{refused}"
        )
    if names := unknown(force, collected):
        raise UserError(
            f"FORCE={names[0]} is nobody's id or name, and no file's name; grades.csv has them all. Nothing was graded."
        )


# ---------------------------------------------------------------- a class


def grade_all(collected: Collected, course: Course, force: list[str], jobs: int) -> tuple[list[Result], list[Ungraded]]:
    """Grade what has not been graded yet, and write everything as it comes."""
    ready = [one for one in collected.submissions if one.notebook and one.student and one.lesson and not one.reason]
    others = [one for one in collected.submissions if not any(one is other for other in ready)]
    failed = {one.path: one.reason.removeprefix("not graded: ") for one in others}
    with Book(course.out) as book:
        for line in bring_up_to_date(course, book, collected):
            print(f"Note: {line}")
        new = [one for one in ready if not course.earlier(one) or _named_by(force, one)]
        print(
            f"{_count(len(collected.submissions), 'file')}, {_count(len(ready), 'notebook')} to be graded, "
            f"{len(ready) - len(new) or 'none'} of them graded already."
        )
        for lesson in sorted({one.lesson for one in ready}):
            book.prepare(lesson, course.released(lesson), course.due)
        for number, (task, came) in enumerate(graded([course.task(one) for one in new], jobs), 1):
            about = f"[{number}/{len(new)}] {task.student.name}, {task.lesson[:2]}"
            if isinstance(came, str):
                failed[task.file[0]] = came
                _print(f"{about}: not graded: {came}")
                continue
            try:
                _keep(course, book, *came)
            except (BookError, UserError, OSError):  # about the disk or the gradebook
                raise
            except Exception as error:  # whatever a stranger's notebook may cause
                failed[task.file[0]] = f"what came of it cannot be kept ({type(error).__name__})"
                _print(f"{about}: not graded: {failed[task.file[0]]}")
                continue
            _print(f"{about}: {_in_short(came[0])}")
            _write_table(course, book, collected, failed)
        return _write_table(course, book, collected, failed)


def bring_up_to_date(course: Course, book: Book, collected: Collected) -> list[str]:
    """Graded notebooks follow their students: to the id, the name and the address that the roster has now.

    Nothing is run again, and points by hand go along. Without this, whoever answers a question with a roster would have
    each student twice.

    Returns:
        What a person must know.
    """
    now = {(one.path, one.sha256): one for one in collected.submissions if one.student and one.lesson}
    graded = read_all(course.out / "results")
    moving = [(one, now[one.path, one.sha256]) for one in graded if (one.path, one.sha256) in now]
    moving = [(one, to) for one, to in moving if to.student != one.student and to.lesson == one.lesson]
    leaving = {(one.student.id, one.lesson) for one, _ in moving}
    staying = {(one.student.id, one.lesson) for one in graded} - leaving
    lines = _elsewhere(graded, collected)
    for one, to in moving:
        if one.student.id == to.student.id or not (to.reason or (to.student.id, to.lesson) in staying):
            continue
        lines += _forget(course, book, one, to)
    moving = [(one, to) for one, to in moving if _as_it_ran(course, one).exists()]
    for number, (one, to) in enumerate(moving):  # two that change places go by way of a third
        if to.student.id != one.student.id and (to.student.id, to.lesson) in leaving:
            moving[number] = _give(course, book, one, Student(f"moving-{to.sha256[:12]}", to.student.name)), to
    for one, to in moving:
        _give(course, book, one, to.student)
    return lines


def _elsewhere(graded: list[Result], collected: Collected) -> list[str]:
    """Whoever was graded from a file that lies elsewhere now and is another student's: perhaps the same person."""
    paths = {one.path for one in collected.submissions}
    here = {(one.student.id, one.lesson) for one in collected.submissions if one.student}
    same = {(one.sha256, one.lesson): one for one in collected.submissions if one.student and not one.reason}
    return [
        f"{one.student.name} ({one.student.id}) was graded before, from the same file as {to.path}, which is "
        f"{to.student.name}'s. If they are one person, run make grade once with the files where they were, {one.path}: "
        "then points move along."
        for one in graded
        if (to := same.get((one.sha256, one.lesson))) and one.path not in paths
        if (one.student.id, one.lesson) not in here
    ]


def _give(course: Course, book: Book, result: Result, student: Student) -> Result:
    """Everything of a graded notebook to another student, its result last."""
    given = replace(result, student=student)
    book.give(result, student)
    if student.id != result.student.id:
        there, here = _as_it_ran(course, result), _as_it_ran(course, given)
        if there.exists():
            there.replace(here)
        _remove_page(course, result)
    given.write(course.out / "results")
    if student.id != result.student.id:
        (course.out / "results" / result.lesson / f"{result.student.id}.json").unlink(missing_ok=True)
    return given


def _forget(course: Course, book: Book, result: Result, to: Submission) -> list[str]:
    """What was graded as a student of its own is an older notebook of somebody else's."""
    kept = "" if book.forget(result) else " What you gave by hand for it is still in formgrader."
    for path in (course.out / "results" / result.lesson).glob(f"{glob.escape(result.student.id)}.*"):
        path.unlink()
    _remove_page(course, result)
    why = to.reason.removeprefix("not graded: ") or "is graded in place of an older one"
    return [f"{result.path} was graded as {result.student.name}'s and is now {to.student.name}'s: {why}.{kept}"]


def _remove_page(course: Course, result: Result) -> None:
    folder = course.out / "feedback" / result.student.id
    (folder / f"{result.lesson}.html").unlink(missing_ok=True)
    with suppress(OSError):  # there are others
        folder.rmdir()


def _keep(course: Course, book: Book, result: Result, notebook: NotebookNode) -> None:
    """Everything about one notebook; its result comes last, so that what is half done is done again."""
    book.store(result, notebook)
    with atomic_write(_as_it_ran(course, result)) as unfinished:
        unfinished.write_text(nbformat.writes(notebook), "utf-8")
    result.write(course.out / "results")


def _as_it_ran(course: Course, result: Result) -> Path:
    return course.out / "results" / result.lesson / f"{result.student.id}.ipynb"


def write_pages(course: Course, results: list[Result]) -> None:
    """A page of feedback for each result, with what people have given by hand."""
    for result in results:
        notebook = nbformat.read(_as_it_ran(course, result), as_version=4)
        with atomic_write(course.out / "feedback" / result.student.id / f"{result.lesson}.html") as unfinished:
            unfinished.write_text(_page(result, notebook), "utf-8")


def _page(result: Result, notebook: NotebookNode) -> str:
    try:
        return page(result, notebook)
    except Exception as error:  # whatever a stranger's notebook may cause
        _print(f"{result.path}: its page is without the notebook, which cannot be shown ({type(error).__name__})")
        return page(result, {"cells": []})


def _print(text: str) -> None:
    """Print a line, without anything that a terminal would obey: part of it may come from a notebook."""
    print(one_line(text), flush=True)


def _write_table(
    course: Course, book: Book, collected: Collected, failed: dict[str, str]
) -> tuple[list[Result], list[Ungraded]]:
    """grades.csv, with points by hand."""
    results = [book.read(one) for one in read_all(course.out / "results")]
    ungraded = [
        Ungraded(one.path, one.sha256, one.time, failed[one.path], one.student, one.lesson)
        for one in collected.submissions
        if one.path in failed
    ]
    grades_csv(results, ungraded, course.out / "grades.csv", course.due)
    return results, ungraded


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + "s" * (number != 1)


def _in_short(result: Result) -> str:
    text = f"{result.points:g} of {result.of:g} points"
    text += f", {result.waiting:g} more wait for a person" if result.waiting else ""
    unsaid = [one.number for one in result.exercises if one.points is not None and one.points < one.of]
    return text + (f"; not all in {', '.join(unsaid)}" if unsaid else "") + f" ({result.seconds:.0f} s)"


def _named_by(names: list[str], one: Submission) -> bool:
    """Whether --force names a student, a file or everything."""
    who = {one.student.id.lower(), one.student.name.lower()} if one.student else set()
    known = who | {one.path.lower(), Path(one.path).name.lower()}
    return any(name == "all" or name.lower() in known for name in names)


def main(
    submissions: Annotated[Path, typer.Argument(help="Folder, zip or notebook that was handed in.")],
    out: Annotated[Path, typer.Option(help="Folder for everything that grading writes.")] = Path("graded"),
    variant: Annotated[str | None, typer.Option(help="The seed given to `make release VARIANT=...`.")] = None,
    roster: Annotated[
        Path | None, typer.Option(help="CSV with id, name, e-mail (instructor/roster.csv if there).")
    ] = None,
    due: Annotated[str | None, typer.Option(help="2026-12-01T23:59, local: grades.csv then has late minutes.")] = None,
    force: Annotated[list[str], typer.Option(help="Grade again: a student, a file, or all.")] = [],  # noqa: B006
    lms: Annotated[str | None, typer.Option(help="canvas or moodle: write that system's import file.")] = None,
    template: Annotated[Path | None, typer.Option(help="The file that this system has exported, to fill in.")] = None,
    timeout: Annotated[int, typer.Option(min=1, help="Time limit for each cell, in seconds.")] = 60,
    jobs: Annotated[int, typer.Option(min=1, help="Notebooks at a time.")] = min(2, os.cpu_count() or 1),
) -> None:
    """Grade notebooks. This runs the code in them: read instructor/README.md first."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    torch.set_num_threads(1)  # a process that forks must not have threads
    clear_away()
    try:
        until = deadline(due) if due else None
        check_template(lms, template)
        print(f"On this machine {ABOUT[kind()]}.")
        collected = collect(
            submissions.expanduser(), (roster.expanduser() if roster else None) or (ROSTER if ROSTER.exists() else None)
        )
        _check(collected, submissions, force)
        if wrong := right_release(collected.submissions, variant):
            raise UserError("\n".join(wrong))
        if said := other_variant(out, variant):
            raise UserError(said)
        collected.questions += downloads(collected.submissions) if until else []
        course = Course(out, variant, until, timeout)
        results, ungraded = grade_all(collected, course, force, jobs)
        write_pages(course, results)
        handed_in = {one.lesson for one in collected.submissions if one.lesson}
        lines = lms_file(results, lms, out / f"{lms}.csv", template, handed_in) if lms else []
    except (UserError, BookError) as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(f"Interrupted. What was graded is in {out}; the same command goes on.") from None
    _summary(collected, results, ungraded, out, lines)
    if lms:
        print(f"To import into {lms.capitalize()}: {out / lms}.csv")


def _summary(
    collected: Collected, results: list[Result], ungraded: list[Ungraded], out: Path, lines: list[str]
) -> None:
    """What a person must know at the end."""
    for one in ungraded:
        _print(f"Not graded: {one.path}: {one.reason}")
    for title, texts in (("Not opened", collected.refused), ("Import file", lines)):
        for text in texts:
            _print(f"{title}: {text}")
    for question in collected.questions:
        _print(f"Question: {question}")
    waiting = sum(any(exercise.open for exercise in one.exercises) for one in results)
    by_hand = f" {waiting} {'waits' if waiting == 1 else 'wait'} for a person: make grade-open." if waiting else ""
    print(f"{_count(len(results), 'notebook')} graded: {out / 'grades.csv'}, pages in {out / 'feedback'}.{by_hand}")


if __name__ == "__main__":
    typer.run(main)
