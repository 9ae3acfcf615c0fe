"""Grade one notebook: run it in a box, judge its functions from outside, and say what was found where.

A student's functions stay in the box (`sandbox`, `worker`). Here are the cases and the answers; arguments and results
go over the wall as data (`wire`), so a notebook earns what its functions earn, whatever else it does. Each function of
the right name counts, wherever it stands, and the best of them is taken. Where the notebook as a whole does not get
full points, its imports, functions and constants are tried alone, in a new box: a cell that breaks something else then
costs nothing.
"""

from __future__ import annotations

import builtins
import difflib
import hashlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import torch
from nbformat import NotebookNode
from repair import DEFINES, as_text, definitions, grade_id, only_defines, repair
from results import Graded, Result, Student
from sandbox import Box, Broken
from variant import number_of
from wire import Died, Lost, Peer, Wire, signature

import tinyldm.exercises
from tinyldm.checks import SECONDS, Case, Endless, Exercise, Outcome, agree, observe, same, untouched
from tinyldm.exercises import exercise
from tinyldm.explanations import misfit

TITLE = re.compile(r"^### Exercise (\d+\.\d+): (.*)$", re.MULTILINE)
ALL, MOST, HIDDEN = (
    "the values for all inputs",
    "the values for at least half of the inputs",
    "the values for other inputs",
)
GRADIENT, KEPT = "the gradients", "the arguments are left as they were"
CALLS = "what it calls, and how often"
NOT_ANSWERED = "not answered"
Parts = list[tuple[str, bool]]
TRIES = 20  # functions of one name that are judged, the last ones
DISPLAYED = 6_000_000  # characters of a cell's outputs; a worker that nobody has changed sends fewer
KEPT_IN_ALL = 30_000_000  # and of a notebook's
ODD = (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError)  # what a message can cause


class Found(NamedTuple):
    """A function of a name that is asked for: its number in the box, cell, parameters; its type, if it is none."""

    name: str
    number: int
    place: int
    parameters: list
    kind: str


@dataclass(frozen=True)
class Task:
    """A notebook to grade.

    Args:
        notebook: what was handed in.
        released: what was handed out.
        numbers: of the private variant, by exercise ("2.2"); empty for the public exercises.
        secret: from which the hidden inputs are drawn.
        timeout: seconds that a cell may run.
        total: seconds for all cells together.
        file: path inside what was handed in, checksum, and when that was, as in `Result`.
        version, variant, notes: as in `Result`.
    """

    student: Student
    lesson: str
    notebook: NotebookNode
    released: NotebookNode
    numbers: dict[str, Any] = field(default_factory=dict)
    secret: str = ""
    timeout: float = 60
    total: float = 300
    file: tuple[str, str, datetime | None] = ("", "", None)
    version: str = ""
    variant: str = ""
    notes: tuple[str, ...] = ()


def grade(task: Task) -> tuple[Result, NotebookNode]:
    """The result, and the notebook as it ran, in which the check cells say what was found."""
    began = time.monotonic()
    ready, notes = repair(task.notebook, task.released)
    titles = dict(TITLE.findall("\n".join(cell.source for cell in task.released.cells)))
    result = Result(task.student, task.lesson, *task.file, task.version, task.variant, notes=[*task.notes, *notes])
    graded = {number: Graded(number, titles[number], 0.0, of) for number, of in _asked(task.released).items()}
    for name, number in _functions(task.released).items():
        graded[number].sentence = f"There is no function `{name}`."
    with _Notebook(task, result) as whole:
        whole.run(ready)
        whole.judge(graded)
    missing = [one for one in graded.values() if one.points != one.of]
    if missing and whole.did_more:
        with _Notebook(task, result) as parts:
            parts.run_definitions(ready)
            parts.judge(graded)
    for name, number in _functions(task.released).items():
        one = graded[number]
        if not one.place and (sentence := _missing(name, ready, dict(result.cells))):
            one.sentence = sentence
    _open_questions(graded, ready, task.released)
    result.exercises = list(graded.values())
    _say(result, ready)
    result.seconds = round(time.monotonic() - began, 1)
    return result, ready


def _asked(released: NotebookNode) -> dict[str, float]:
    """Exercises of a lesson with their points, open questions included."""
    marks = [cell.metadata.nbgrader for cell in released.cells if grade_id(cell)]
    return {number_of(one.grade_id.removesuffix("-check")): float(one.points) for one in marks if one.grade}


def _found(name: str, number: Any, parameters: Any, kind: Any, place: int) -> Found:
    """A function that a box tells of; an error, if it is none."""
    signature(parameters)
    return Found(name, int(number), place, parameters, str(kind)[:100])


class _Notebook:
    """A student's notebook while it runs; a box that breaks is replaced, and what went well before runs again."""

    def __init__(self, task: Task, result: Result) -> None:
        self.task, self.result = task, result
        self.functions = _functions(task.released)  # name of an exercise's function -> number
        self.until = time.monotonic() + task.total
        self.did_more = False  # than to define something
        self.room = KEPT_IN_ALL
        self.done: list[tuple[str, dict, int]] = []  # what the box was asked to do, and did
        self.found: list[Found] = []

    def __enter__(self) -> _Notebook:
        self._begin()
        return self

    def __exit__(self, *_: Any) -> None:
        self.box.close()

    def _begin(self) -> None:
        self.box = Box()
        self.peer = Peer(Wire(self.box.end, self.box.watch), most_seconds=SECONDS + 3)
        try:
            self._ask("begin", 120, pieces=self._lesson(), names=list(self.functions))
        except (Lost, Broken) as error:
            complaint = self.box.complaint() or error
            self.box.close()
            raise RuntimeError(f"Python did not start in the box: {complaint}") from None

    def _lesson(self) -> list[str]:
        return [piece for cell in self.task.released.cells for piece in _lesson(cell)]

    def _ask(self, what: str, within: float, **details: Any) -> dict:
        self.peer.wire.deadline = time.monotonic() + within
        self.peer.wire.send({"do": what, "with": details}, [])
        return self.peer.wire.receive()[0]

    def _begin_again(self) -> None:
        """A new box, in the state of the old one before it broke."""
        self.box.close()
        done, self.done, self.found = self.done, [], []
        self._begin()
        for what, details, place in done:
            self._step(what, place, **details)

    # ------------------------------------------------------------ running cells

    def run(self, ready: NotebookNode) -> None:
        """Run all cells, and put what they show into them."""
        for cell in ready.cells:
            place = cell.metadata.get("tinyldm", {}).get("cell", 0)
            if cell.cell_type == "code" and not _is_check(cell):
                self.did_more |= not only_defines(cell.source)
                cell.outputs = self._cell(cell.source, place)
            elif self.functions.keys() & set(DEFINES.findall(cell.source)) and definitions(cell.source):
                self._step("define", place, pieces=definitions(cell.source))
                is_code = cell.cell_type == "code"
                what = "holds an answer beside the check" if is_code else "holds code, but is no code cell"
                self.result.notes.append(f"cell {place} {what}: its functions count")

    def run_definitions(self, ready: NotebookNode) -> None:
        """Run only what the cells define; nothing that hides what the lesson imports, or Python's own."""
        imports = re.findall(r"(?:import|as|,) (\w+)", "\n".join(self._lesson()))
        taken = {*dir(builtins), *imports}
        for cell in ready.cells:
            if cell.cell_type == "code" and not _is_check(cell):
                place = cell.metadata.get("tinyldm", {}).get("cell", 0)
                self._step("define", place, pieces=definitions(cell.source, taken))

    def _cell(self, source: str, place: int) -> list[NotebookNode]:
        """Run a cell, and say what it did; what it shows."""
        reply = self._step("cell", place, source=source)
        outputs, error = reply.get("outputs", []), reply.get("error")
        self.room -= sum(map(_size, outputs))
        if self.room < 0 and outputs:
            text = "[left out: this notebook has displayed more than fits]"
            outputs = [nbformat.v4.new_output("stream", text=text)]
        if error:
            stopped = f"stopped after {self.task.timeout:.0f} s"
            said = f"{error.ename}: {error.evalue}"[:200].strip(": ")
            self._tell(place, stopped if error.ename == "Stopped" else said)
            outputs.append(error)
        return outputs

    def _step(self, what: str, place: int, **details: Any) -> dict:
        """Let the box do something with a cell; if it breaks by that, go on without."""
        seconds = min(self.task.timeout, self.until - time.monotonic())
        if seconds <= 0:
            self._tell(place, f"not run: the notebook had its {self.task.total:.0f} s")
            return {}
        try:
            reply = self._ask(what, seconds + 2, **details, seconds=seconds)
            new = [_found(*one, place) for one in reply["found"] if one[0] in self.functions]
            error = _error(reply["error"]) if reply.get("error") else None
            read = {"outputs": _outputs(reply.get("outputs", [])), "error": error}
        except (Lost, Broken, *ODD) as error:
            self._tell(place, _why(error, seconds))
            self._begin_again()
            return {}
        self.found += new
        self.done.append((what, details, place))
        return read

    def _tell(self, place: int, what: str) -> None:
        if (place, what) not in self.result.cells:
            self.result.cells.append((place, what))

    # ------------------------------------------------------------ judging functions

    def judge(self, graded: dict[str, Graded]) -> None:
        """Judge each function of an exercise, the last one first, until one gets all points; then explain the others.

        To explain, the answers go into the box. So it comes last: what is judged must not find them there.
        """
        self.until = time.monotonic() + self.task.total
        unsaid: dict[str, int] = {}  # of which exercise the best function is to be explained
        for name, number in self.functions.items():
            best, count = graded[number], len(self._tries(name))
            for at in range(count - 1, max(-1, count - 1 - TRIES), -1):
                if best.points == best.of:
                    break
                if time.monotonic() > self.until:
                    best.sentence = best.sentence or f"There was no time left for `{name}`."
                    self.result.notes.append(f"`{name}`: no time was left to try all that are defined")
                    break
                tries = self._tries(name)  # with other numbers, if the box had to be replaced
                if at < len(tries) and self._judge_one(best, tries[at]):
                    unsaid[name] = at
            if count > TRIES and best.points != best.of:
                self.result.notes.append(f"`{name}` is defined {count} times: the last {TRIES} were tried")
        for name, at in unsaid.items():
            best, tries = graded[self.functions[name]], self._tries(name)
            if not best.sentence and at < len(tries) and time.monotonic() < self.until:
                best.sentence = self._explained(best.number, tries[at])
            best.sentence = best.sentence or _generic(best.parts)

    def _tries(self, name: str) -> list[Found]:
        return [one for one in self.found if one.name == name]

    def _judge_one(self, best: Graded, found: Found) -> bool:
        """Whether it is better than those before; then ``best`` has its points, perhaps still without a sentence."""
        parts, sentence = self._parts(best.number, self.task.numbers.get(best.number), found)
        points = round(best.of * sum(right for _, right in parts) / len(parts), 2)
        if best.parts and points <= (best.points or 0.0) and best.sentence != NOT_ANSWERED:
            return False
        best.points, best.parts, best.place = points, parts, f"cell {found.place}" if found.place else ""
        best.sentence = (exercise(best.number).right if points == best.of else sentence)[:1000]
        code = [details.get("source", "") for _, details, place in self.done if place == found.place]
        best.answer = _source((code or [""])[0], found.name)
        return True

    def _parts(self, number: str, N: Any, found: Found) -> tuple[Parts, str]:
        """What of a function is right; and a sentence, if it is known already what is to be said."""
        name, none = found.name, _nothing(exercise(number))
        if found.kind:
            return none, f"`{name}` is not a function here: it is of type {found.kind}."
        try:
            reply = self._ask("judge", 20, number=found.number)
            function = self.peer.function(reply["ready"], name, found.parameters)
            parts, sentence = judged(number, N, function, self.task.secret)
            self.peer.wire.send({"do": "finish"}, [])
            self.peer.wire.deadline = time.monotonic() + 20
            self.peer.wire.receive()
            return parts, sentence
        except Died:
            return none, f"`{name}` ends the whole process when it is called."
        except (Lost, Broken, *ODD) as error:
            self._begin_again()
            return none, f"`{name}` had to be stopped: it {_why(error, SECONDS)}."

    def _explained(self, number: str, found: Found) -> str:
        """The sentence of the check that students have, from inside the box: it is for reading, it gives no points."""
        late = {"files": _course(), "number": number, "N": self.task.numbers.get(number)}
        try:
            reply = self._ask("judge", 60, number=found.number, late=late)
            if "said" in reply:
                self.peer.wire.receive()  # that the copy has ended
            return str(reply.get("said", ""))[:1000]
        except (Lost, Broken, *ODD):
            self._begin_again()
            return ""


def judged(number: str, N: Any, function: Callable, secret: str = "") -> tuple[Parts, str]:
    """What of a function is right, part by part, and what to say of it if that is known.

    Args:
        number: of the exercise.
        N: of its private variant, or None.
        function: a student's; `wire` calls it where it is.
        secret: from which the inputs are drawn that the check does not have.
    """
    asked = exercise(number, N)
    if sentence := misfit(function, asked):
        return _nothing(asked), sentence
    shown, hidden = _cases(asked, secret)
    before = sys.gettrace()
    sys.settrace(lambda *_: None)  # time is limited at the other side; see `tinyldm.checks._limited`
    try:
        got: list[Outcome] = []
        for case in shown + hidden:
            got.append(observe(asked, function, case))
            if untouched(got[-1].error):
                return _nothing(asked), NOT_ANSWERED
            if isinstance(got[-1].error, Endless):
                break
    finally:
        sys.settrace(before)
    return _compared(asked, got, _wanted(number, N, secret), len(shown)), ""


def _compared(asked: Exercise, got: list[Outcome], wanted: list[Outcome], shown: int) -> Parts:
    values = [_right(asked, one, other) for one, other in zip(got, wanted, strict=False)]
    values += [False] * (len(wanted) - len(values))
    real = any(right and other.error is None for right, other in zip(values, wanted, strict=True))
    every = all(values[:shown])
    parts = [(MOST, real and 2 * sum(values[:shown]) >= shown), (ALL, every), (HIDDEN, every and all(values[shown:]))]
    if asked.gradients or asked.watch:
        whole = all(_agree(asked, one, other) for one, other in zip(got, wanted, strict=False))
        parts.append((GRADIENT if asked.gradients else CALLS, all(values) and whole))
    return [*parts, (KEPT, all(values) and not any(one.changed for one in got))]


def _agree(asked: Exercise, one: Outcome, other: Outcome) -> bool:
    try:
        return agree(asked, one, other)
    except Exception:  # a call with anything at all, which the exercise counts
        return False


def _nothing(asked: Exercise) -> Parts:
    """No part right."""
    more = [GRADIENT] if asked.gradients else [CALLS] if asked.watch else []
    return [(part, False) for part in (MOST, ALL, HIDDEN, *more, KEPT)]


def _right(asked: Exercise, one: Outcome, other: Outcome) -> bool:
    """Whether the values are right, whatever the gradients are."""
    if one.error or other.error:
        return type(one.error) is type(other.error)
    return same(one.result, other.result)


def _cases(asked: Exercise, secret: str) -> tuple[list[Case], list[Case]]:
    """The inputs of the check, and hidden ones."""
    seed = int.from_bytes(hashlib.sha256(f"{secret} {asked.number}".encode()).digest()[:7], "big")
    return asked.inputs(), asked.cases(torch.Generator().manual_seed(seed))


@cache
def _wanted(number: str, N: Any, secret: str) -> list[Outcome]:
    """What the answer gives for all inputs."""
    asked = exercise(number, N)
    shown, hidden = _cases(asked, secret)
    right = asked.form(asked.reference or asked.answer)
    return [observe(asked, right, case) for case in shown + hidden]


def _generic(parts: Parts) -> str:
    if not dict(parts)[ALL]:
        return "The values are not those that were asked for."
    if not dict(parts)[HIDDEN]:
        return "Right for the inputs of the check, wrong for others: is something written down instead of computed?"
    return f"The values are right; not so {', '.join(name for name, right in parts if not right)}."


def _is_check(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("locked"))


def _missing(name: str, ready: NotebookNode, told: dict[int, str]) -> str:
    """Why there is no function of a name, if a cell seems to define one, or one of a similar name; else nothing."""
    similar = ""
    for cell in ready.cells:
        place = cell.metadata.get("tinyldm", {}).get("cell")
        if not place:
            continue
        if re.search(rf"^\W*(?:async )?def {name}\b", cell.source, re.MULTILINE):
            why = (
                f"it did not run: {told[place]}"
                if place in told
                else "it stands inside of something else, or is deleted"
            )
            return f"There is no function `{name}`: cell {place} has one, but {why}."
        if cell.cell_type == "code":
            alike = difflib.get_close_matches(name, DEFINES.findall(cell.source), 1, 0.6)
            similar = similar or (f"There is no function `{name}`; cell {place} has `{alike[0]}`." if alike else "")
    return similar


def _source(cell: str, name: str) -> str:
    """The code of a function in a cell; the whole cell, if it is none that is defined there."""
    found = [one for one in definitions(cell) if one.startswith(f"def {name}(")]
    return (found or [cell])[-1][:10_000]


def _why(error: BaseException, seconds: float) -> str:
    """What a cell or a function did that broke its box."""
    if isinstance(error, Broken):
        return str(error)
    if not isinstance(error, Lost):
        return "gave an answer that cannot be read"
    known = {"closed": "ended Python", "it took too long": f"did not stop after {seconds:.0f} s"}
    return known.get(str(error), "broke the connection to the grader")


def _outputs(told: list) -> list[NotebookNode]:
    """What a cell displayed; an error, if it is not what a worker that nobody has changed would send."""
    outputs = []
    for one in told:
        if one["output_type"] == "stream":
            name = "stderr" if one["name"] == "stderr" else "stdout"
            outputs.append(nbformat.v4.new_output("stream", name=name, text=_string(one["text"])))
        else:
            data = {kind: _string(part) for kind, part in one["data"].items()}
            outputs.append(nbformat.v4.new_output("display_data", data=data))
    if len(outputs) > DISPLAYED // 1000 or sum(map(_size, outputs)) > DISPLAYED:
        raise ValueError("more than a cell may display")
    return outputs


def _string(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError("a text was expected")
    return text


def _size(output: NotebookNode) -> int:
    return sum(len(kind) + len(part) for kind, part in output.get("data", {"": output.get("text", "")}).items())


def _error(told: dict) -> NotebookNode:
    name, text, lines = str(told["ename"])[:100], str(told["evalue"])[:2000], list(told["traceback"])[:20]
    text = re.sub(r"\(<ipython-input[^>]*>, ", "(", text)  # the file of a cell is nothing that a student knows
    return nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[str(line)[:300] for line in lines])


# ---------------------------------------------------------------- the lesson


def _functions(released: NotebookNode) -> dict[str, str]:
    """Names of the functions that are asked for, and the numbers of their exercises."""
    found = {}
    for cell in released.cells:
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution"):
            found[DEFINES.findall(cell.source)[0]] = number_of(grade_id(cell))
    return found


def _lesson(cell: NotebookNode) -> list[str]:
    """What a cell of the lesson itself defines."""
    return definitions(cell.source) if cell.cell_type == "code" and not grade_id(cell) else []


@cache
def _course() -> dict[str, str]:
    folder = Path(tinyldm.exercises.__file__).parent
    return {path.name: path.read_text("utf-8") for path in folder.glob("*.py")}


def _open_questions(graded: dict[str, Graded], ready: NotebookNode, released: NotebookNode) -> None:
    """Open questions wait for a person, if there is an answer."""
    empty = {as_text(cell.source) for cell in released.cells}
    for cell in ready.cells:
        if cell.cell_type == "markdown" and grade_id(cell):
            one = graded[number_of(grade_id(cell))]
            answered = as_text(cell.source) not in empty and cell.source.strip()
            one.points, one.sentence = (None, "") if answered else (0.0, NOT_ANSWERED)
            place = cell.metadata.get("tinyldm", {}).get("cell")
            one.place = f"cell {place}" if place else ""


def _say(result: Result, ready: NotebookNode) -> None:
    """Put into each check cell what was found."""
    graded = {one.number: one for one in result.exercises}
    for cell in ready.cells:
        if cell.cell_type == "code" and (grade_id(cell) or "").endswith("-check"):
            one = graded[number_of(grade_id(cell).removesuffix("-check"))]
            text = f"{one.points:g} of {one.of:g} points. {one.sentence}"
            cell.outputs = [nbformat.v4.new_output("stream", text=text)]
