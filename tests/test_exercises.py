"""Checks teach: every known wrong answer is told what is wrong with it, and every right one passes, however written."""

import re
import textwrap

import pytest
from answers import RIGHT, WRONG
from test_notebooks import EXERCISES, SOLUTION, read, run_check

BY_NAME = {param.id: param.values for param in EXERCISES}


def attempt(name: str, body: str) -> None:
    """Run the check of an exercise with ``body`` in the place of its solution."""
    path, answer, check = BY_NAME[name]
    run_check(read(path), SOLUTION.sub(lambda found: textwrap.indent(body, found[1]), answer), check)


def test_every_exercise_has_its_catalogue():
    assert RIGHT.keys() == WRONG.keys() == BY_NAME.keys()
    assert min(len(answers) for answers in WRONG.values()) >= 3


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_written_differently_passes(name):
    attempt(name, RIGHT[name])


@pytest.mark.parametrize(("name", "body", "says"), [(name, *wrong) for name in WRONG for wrong in WRONG[name]])
def test_a_wrong_answer_is_told_what_is_wrong(name, body, says):
    with pytest.raises(AssertionError) as told:
        attempt(name, body)
    assert re.search(says, str(told.value)), told.value
