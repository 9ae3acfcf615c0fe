"""The check engine itself: what it shows, what it leaves alone, what switches it off (nothing)."""

import re

import pytest
import torch
from test_exercises import defined, told

from tinyldm import exercises
from tinyldm.checks import NotYet
from tinyldm.exercises import check, exercise

STEP, JUMP = exercise("2.1"), exercise("2.2")
WRONG_STEP = "return (1 - beta) ** 0.5 * x - beta**0.5 * noise"


def test_reassigning_what_a_check_may_use_changes_nothing(monkeypatch):
    monkeypatch.setattr(torch, "allclose", lambda *_, **__: True)
    monkeypatch.setattr(torch, "equal", lambda *_: True)
    monkeypatch.setattr(torch.testing, "assert_close", lambda *_, **__: None)
    assert told(STEP, defined(STEP, WRONG_STEP))


def test_a_check_leaves_the_lessons_random_numbers_and_variables_alone():
    function = defined(STEP, "torch.manual_seed(7)\nreturn x + torch.randn_like(x)")
    function.__globals__["seen"] = 3
    before, names = torch.get_rng_state(), set(function.__globals__)
    assert re.search("never used|random numbers of its own", told(STEP, function))
    assert (torch.get_rng_state() == before).all() and set(function.__globals__) == names
    assert torch.is_grad_enabled()


def test_a_wrong_answer_is_shown_as_one_sentence_with_the_values_folded(monkeypatch):
    shown = []
    monkeypatch.setattr(exercises, "_show", shown.append)
    with pytest.raises(NotYet) as wrong:
        check("2.1", defined(STEP, WRONG_STEP))
    assert shown == [wrong.value] and str(wrong.value).count("\n") == 0
    page = exercises._Verdict(wrong.value)._repr_html_()
    assert page.startswith("<b>Not yet.</b> ") and "<details><summary>values</summary>" in page
    assert wrong.value._render_traceback_() == ["The lesson stops here until the answer is right."]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("while True: pass", "does not come to an end"),
        ("try:\n    while True: pass\nexcept Exception: return x", "does not come to an end"),
        ("return forward_step(x, noise, beta)", "calls itself"),
        ("print(x)", "prints its result and returns nothing"),
        ("return [x, noise]", "a list of 2"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise).numpy()", "a numpy array of shape"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise).tolist()", "a list of"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise).T", "transposed"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise).flatten()", "another shape"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise)[None]", "another shape"),
        ("return 3 * ((1 - beta) ** 0.5 * x + beta**0.5 * noise)", "3.0 times as large"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise) ** 2", "the square of the right answer"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise) + 0.25", "too large by the same number everywhere, 0.25"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise).round()", "rounded"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise).clamp(-1, 1)", "clamped"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise).flip(0)", "reverse order"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise) + x", "`x` was added to the right answer"),
        ("return (x + (1 - beta) ** 0.5 * x + beta**0.5 * noise) / 2", "the mean of the right answer and `x`"),
        (
            "out = (1 - beta) ** 0.5 * x + beta**0.5 * noise\nreturn (out * 100).round() / 100",
            "2 decimal places: don't",
        ),
        ("return (1 - beta) ** 0.5 * x.clamp(-0.7, 0.7) + beta**0.5 * noise", "clamped by `clamp`"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise)[:1]", "Only the first of 3 along axis 0"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise)[-1]", "only the last comes out"),
        (
            "root = (1 - beta) ** 0.5 * x\nreturn root.sqrt() + noise",
            "in `root.sqrt\\(\\)`, the root of a negative number",
        ),
        ("torch.randn(3)\nreturn (1 - beta) * x + beta * noise", "root"),
        ("return ((1 - beta) ** 0.5 * x + beta**0.5 * noise).mean(0)", "mean was taken over axis 0"),
        ("return (x - 9 * noise).log() * beta", "nan"),
        ("return x", "`x` comes out as it went in|never used"),
        ("return x * nosie", "name 'nosie' is not defined"),
        ("return x @ noise", r"`x` is a tensor of shape \(3, 5\)"),
        ("return x[7]", "index is out of range"),
        ("if x > 0: return x", "neither true nor false"),
        ("return x / 0 if 0 else 1 // 0", "divides by zero"),
        ("return x.sqroot()", "no attribute 'sqroot'"),
        ("out = (1 - beta) ** 0.5 * x + beta**0.5 * noise\nout[1:] = 0\nreturn out", "Only row 0 of 3"),
    ],
)
def test_what_can_be_told_without_knowing_the_formula(body, says):
    sentence = told(STEP, defined(STEP, body))
    assert re.search(says, sentence), sentence
