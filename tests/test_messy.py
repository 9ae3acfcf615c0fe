"""Notebooks of honest people, as editors, platforms and habits leave them."""

import contextlib
import re
import socket
import threading

import numpy as np
import pytest

pytest.importorskip("nbgrader")

import release
import repair
from across import needs_a_box
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell
from test_instructor import cell_of, exercises_of, solved
from test_sandbox import COMPLETE, FUNCTION, LESSON, RIGHT, graded, hand_in

pytestmark = needs_a_box

RELEASED = release.release(COMPLETE, LESSON.stem)
BLANK = {  # what editors do to space
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "CR": lambda text: text.replace("\n", "\r"),
    "tabs": lambda text: re.sub("^(?: {4})+", lambda found: "\t" * (len(found[0]) // 4), text, flags=re.MULTILINE),
    "at the end": lambda text: text.replace("\n", "  \n") + "\n\n",
}


@pytest.mark.parametrize("change", BLANK.values(), ids=BLANK)
def test_a_cell_that_differs_only_in_space_is_one_that_came_back_unchanged(change):
    notebook = hand_in()
    for cell in notebook.cells:
        cell.source = change(cell.source)
    ready, _ = repair.repair(notebook, RELEASED)
    kept = [cell.source for cell in ready.cells if cell.cell_type == "code"]
    assert len(kept) == 2 * len(exercises_of(COMPLETE))


def test_marks_of_another_lesson_or_on_another_type_of_cell_do_no_harm():
    notebook = hand_in()
    stranger = new_markdown_cell("hello", metadata={"nbgrader": {"grade_id": "ex-7-6", "grade": True}})
    check = new_code_cell("1", metadata={"nbgrader": {"grade_id": "ex-7-1-check", "grade": True, "locked": True}})
    notebook.cells += [stranger, check]
    answer = cell_of(notebook, "ex-2-1")
    place = notebook.cells.index(answer)
    notebook.cells[place] = new_markdown_cell(f"```python\n{answer.source}\n```", metadata=answer.metadata)
    result, _ = graded(notebook)
    assert [one.points for one in result.exercises] == [2, 2, 2, 2, None]


def test_a_wrong_answer_beside_the_stub_is_told_what_is_wrong():
    stub = f"{FUNCTION}raise NotImplementedError('exercise 2.1: one step')"
    result, _ = graded(hand_in(answer=f"{FUNCTION}return (1 - beta) * x + beta * noise\n\n{stub}"))
    assert "ariances were used" in result.exercises[0].sentence


def test_a_notebook_can_import_the_file_that_it_wrote():
    notebook = hand_in(f"%%writefile mine.py\n{FUNCTION}{RIGHT}", "from mine import forward_step", answer="# above")
    result, _ = graded(notebook)
    assert result.points == 8 and not result.cells


def test_an_answer_in_the_cell_of_the_check_is_noted_as_that():
    notebook = hand_in(answer="")
    cell_of(notebook, "ex-2-1-check").source += f"\n{FUNCTION}{RIGHT}"
    result, _ = graded(notebook)
    assert result.points == 8 and any("beside the check: its functions count" in note for note in result.notes)


MISSING = {  # in place of a function; what is said
    f"{FUNCTION}{RIGHT})": "cell 14 has one, but it did not run: SyntaxError: .* \\(line 2\\)",
    f"{FUNCTION}{RIGHT}".replace("    ", "\N{NO-BREAK SPACE}" * 4): "U\\+00A0",
    f"{FUNCTION}{RIGHT}".replace("forward_step", "foward_step"): "cell 14 has `foward_step`",
    f"class Answers:\n    {FUNCTION}    {RIGHT}": "inside of something else",
    "# nothing": "^There is no function `forward_step`.$",
}


@pytest.mark.parametrize("source", MISSING, ids=range(len(MISSING)))
def test_of_a_function_that_is_not_there_the_page_says_why(source):
    result, _ = graded(hand_in(answer=source))
    assert result.exercises[0].points == 0 and re.search(MISSING[source], result.exercises[0].sentence)


ELSEWHERE = {"text": new_markdown_cell, "raw": new_raw_cell, "comments": lambda text: new_code_cell(f"# {text}")}


@pytest.mark.parametrize("make", ELSEWHERE.values(), ids=ELSEWHERE)
@pytest.mark.parametrize("deleted", [False, True], ids=["below", "in its place"])
def test_an_open_answer_in_a_cell_of_its_own_waits_for_a_person(make, deleted):
    notebook = solved(release, COMPLETE, *exercises_of(COMPLETE))
    cell = cell_of(notebook, "ex-2-5")
    place = notebook.cells.index(cell)
    cell.source = release.WRITE_HERE
    notebook.cells[place : place + deleted] = [make("Because.")] if deleted else [cell, make("Because.")][1:]
    if not deleted:
        notebook.cells[place], notebook.cells[place + 1] = notebook.cells[place + 1], notebook.cells[place]
    ready, notes = repair.repair(notebook, RELEASED)
    assert "Because." in cell_of(ready, "ex-2-5").source and any("ex-2-5" in note for note in notes)


def test_an_open_answer_below_the_question_in_its_cell_waits_for_a_person():
    notebook = solved(release, COMPLETE, *exercises_of(COMPLETE))
    cell = cell_of(notebook, "ex-2-5")
    cell.source = release.WRITE_HERE
    notebook.cells[notebook.cells.index(cell) - 1].source += "\n\nBecause."
    ready, _ = repair.repair(notebook, RELEASED)
    assert cell_of(ready, "ex-2-5").source == "Because."


def test_arrays_and_sets_go_over_the_wire_and_changes_to_them_come_back():
    from wire import Lost, Peer, Wire

    def change(array, numbers, value):
        array += 1
        numbers.add(9)
        return value

    here, there = socket.socketpair()
    peer, other = Peer(Wire(here)), Peer(Wire(there))
    other.functions.append(change)

    def serve() -> None:
        with contextlib.suppress(Lost):
            while True:
                other.answer(*other.wire.receive())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        array, numbers, value = np.arange(3), {1}, {frozenset({1, 2}), (3, frozenset())}
        assert peer.function(0, "change", [["all", 2, False]])(array, numbers, value) == value
        assert array.tolist() == [1, 2, 3] and numbers == {1, 9}
    finally:
        here.shutdown(socket.SHUT_RDWR)
        thread.join()
        here.close()
        there.close()
