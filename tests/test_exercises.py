"""Checks teach: every known wrong answer is told what is wrong with it, and every right one passes, however written.

All of it holds for the public exercises and for private variants of them.
"""

import ast
import contextlib
import dataclasses
import io
import re
import textwrap

import pytest
from answers import RIGHT, WRONG
from repair import imports_of
from test_notebooks import PATHS, graded, read, text_of
from variant import MARK, SOLUTION, TWISTS, answer, drawn, vary

VERSIONS = [None, "autumn"]  # None: the public one


def exercises(version: str | None, paths: list = PATHS) -> dict[str, tuple]:
    """For each exercise of a version: its notebook, and the sources of its answer and its check."""
    found = {}
    for path in paths:
        notebook = vary(read(path), version) if version else read(path)
        pairs = zip(graded(notebook, solution=True, grade=False), graded(notebook, solution=False), strict=True)
        found |= {cell.metadata.nbgrader.grade_id: (notebook, cell.source, check.source) for cell, check in pairs}
    return found


EXERCISES = {version: exercises(version) for version in VERSIONS}
versions = pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version or "public")
each = pytest.mark.parametrize("name", EXERCISES[None])


def attempt(name: str, body: str, version: str | None) -> None:
    """Run the check of an exercise with ``body`` in the place of its solution."""
    notebook, given, check = EXERCISES[version][name]
    source, space = SOLUTION.sub(lambda found: textwrap.indent(body, found[1]), given), {}
    with contextlib.redirect_stdout(io.StringIO()):
        for part in (imports_of(notebook), source, check):
            exec(part, space)


def solution_of(name: str, version: str | None) -> str:
    """The lesson's own answer to an exercise."""
    return textwrap.dedent("\n".join(SOLUTION.search(EXERCISES[version][name][1])[0].splitlines()[1:-1]))


def body_for(name: str, usual: str, version: str | None) -> str:
    """An answer to the public exercise, made one to a version of it by whoever understands the difference."""
    if version is None:
        return usual
    functions = ast.parse(EXERCISES[None][name][1]).body
    return answer(usual, drawn(name, version), next(f for f in functions if isinstance(f, ast.FunctionDef)))


def test_every_exercise_has_its_catalogue():
    assert RIGHT.keys() == WRONG.keys() == TWISTS.keys() == EXERCISES[None].keys()
    assert min(len(answers) for answers in WRONG.values()) >= 3


@versions
@each
def test_a_check_passes_with_the_answer_and_fails_without(name, version):
    attempt(name, solution_of(name, version), version)
    with pytest.raises(NotImplementedError):  # what a release puts in the answer's place
        attempt(name, "raise NotImplementedError()", version)
    with pytest.raises(AssertionError, match=r"returns nothing"):  # an answer begun, but not finished
        attempt(name, "pass", version)


@versions
@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_written_differently_passes(name, version):
    attempt(name, body_for(name, RIGHT[name], version), version)


@versions
@pytest.mark.parametrize(("name", "body", "says"), [(name, *wrong) for name in WRONG for wrong in WRONG[name]])
def test_a_wrong_answer_is_told_what_is_wrong(name, body, says, version):
    with pytest.raises(AssertionError) as told:
        attempt(name, body_for(name, body, version), version)
    assert re.search(says, str(told.value)), told.value


# ---------------------------------------------------------------- private variants


def test_a_variant_differs_in_each_exercise_and_follows_from_its_seed():
    path = PATHS[2]
    one, again, other = (vary(read(path), seed) for seed in ("autumn", "autumn", "spring"))
    assert one == again != other
    assert text_of(one).count(MARK) == len(graded(one, solution=True, grade=False))
    assert MARK not in text_of(read(path))


@pytest.mark.parametrize(("name", "number"), [(name, number) for name in TWISTS for number in TWISTS[name].numbers])
def test_whatever_number_is_drawn_the_public_answer_fails_and_the_variants_own_passes(monkeypatch, name, number):
    monkeypatch.setitem(TWISTS, name, dataclasses.replace(TWISTS[name], numbers=(number,)))
    lesson = int(name.split("-")[1])
    monkeypatch.setitem(EXERCISES, "drawn", exercises("drawn", [PATHS[lesson]]))
    attempt(name, body_for(name, RIGHT[name], "drawn"), "drawn")
    for public in (RIGHT[name], solution_of(name, None)):
        with pytest.raises((AssertionError, ValueError)):  # ValueError: a strength of 300
            attempt(name, public, "drawn")
