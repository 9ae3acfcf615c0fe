"""The judge of grading, which knows a function only by data, gives what the check gives that has it in its hands."""

from across import across
from test_exercises import RIGHT, WRONG, defined, every_exercise, forms


def points(one, function, N=None, secret="a class") -> float:
    """The share of the parts that are right."""
    import judge

    with across(function) as there:
        parts, _ = judge.judged(one.number, N, there, secret)
    return sum(right for _, right in parts) / len(parts)


@forms
@every_exercise
def test_right_answers_in_unusual_forms_get_all_points(one, variant):
    N = one.twist.numbers[-1] if variant else None
    for secret, body in enumerate([None, *RIGHT[one.number]]):
        function = defined(one, body) if body else one.answer
        assert points(one, one.variant(N).form(function) if variant else function, N, f"{secret}") == 1, body


@every_exercise
def test_wrong_answers_do_not(one):
    for body, says in WRONG[one.number]:
        if "come to an end" not in says:
            assert points(one, defined(one, body)) < 1, body
