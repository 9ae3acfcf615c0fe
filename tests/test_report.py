"""What a graded class found hard, and which answers are alike."""

from pathlib import Path

import nbformat
import pytest
from report import alike, form, main, public_answers, report
from test_tables import result

from tinyldm.exercises import LESSONS, exercises


def test_the_report_has_shares_averages_and_the_commonest_sentences():
    class_ = [result(f"s{n}", given=(2, n % 3 * 0.5, None), seconds=2) for n in range(9)]
    class_[0].exercises[1].sentence = "Another \x1b[31mone|."
    said = report(class_)
    assert said.startswith(
        "# 9 students, 9 notebooks\n\n## Lesson 02: forward diffusion\n\n9 notebooks, graded in 18 s.\n"
    )
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if line.startswith("|")]
    assert cells[2] == ["2.1 task 1", "5", "9 of 9, 100 %", "2.0 of 2", ""]
    assert cells[3] == ["2.2 task 2", "8", "0 of 9, 0 %", "0.5 of 2", ""] and cells[4][2:] == ["", "", "9"]
    assert "- 2.2:\n  - 8x Sentence 2.\n  - 1x Another  [31mone|." in said and "2.1:" not in said


def test_the_report_of_one_student_and_of_none():
    assert report([]) == "Nothing has been graded yet.\n"
    said = report([result()])
    assert said.startswith("# 1 student, 1 notebook\n") and "graded in" not in said and said.endswith("None.\n")


A = """
def guess(model, x, t, context, scale):
    '''Guided noise.'''
    both = model(torch.cat([x, x]), torch.cat([t, t]), context)
    without, with_ = both.chunk(2)  # in this order
    return without + 2.0 * scale * (with_ - without)
"""
B = """
def my_guess(net, latents, step, words: Tensor, s: float) -> Tensor:
    out = net( torch.cat([latents,latents]),
               torch.cat([step, step]), words )
    "a comment, sort of"
    u, c = out.chunk(2)
    return u+2*s*(c-u)
"""
OTHER = B.replace("2*s*(c-u)", "2*s*(u-c)")


def others(count: int) -> dict[str, str]:
    """Answers that have nothing to do with each other."""
    return {f"s{n}": f"def f(x):\n    return {' + '.join(f'g{n}(x, {m * n})' for m in range(9))}" for n in range(count)}


def test_answers_are_alike_up_to_names_spacing_comments_and_numbers():
    class_ = others(10) | {"ada": A, "bob": B, "cem": OTHER}
    assert alike(class_) == [("ada", "bob")]
    names = {"ada": "Ada Lovelace", "bob": "Bob"}
    results = [result(one, "07_text_conditioning", [0], names.get(one, one)) for one in class_]
    for one in results:
        one.exercises[0].answer = class_[one.student.id]
    said = report(results, lambda number: [])
    assert "- 7.1: Ada Lovelace, Bob\n" in said and "a sign, not a verdict" in said


def test_what_everybody_writes_is_not_mentioned():
    class_ = others(9)
    assert alike(class_ | {"ada": A, "bob": B}, known=[OTHER]) == [("ada", "bob")]
    assert alike(class_ | {"ada": A, "bob": B}, known=[A]) == []
    crowd = {f"t{n}": A for n in range(4)}
    assert alike(others(8) | crowd) == []  # 4 of 12: a third
    assert len(alike(others(9) | crowd)) == 6  # 4 of 13
    short = "def forward_step(x, noise, beta):\n    return (1 - beta) ** 0.5 * x + beta**0.5 * noise"
    assert alike(class_ | {"ada": short, "bob": short.replace("x", "y")}) == []
    stub = A.replace("return", 'raise NotImplementedError("exercise 7.5: guided noise")\n    return')
    assert alike(class_ | {"ada": stub, "bob": stub}) == []
    assert alike({}) == [] and alike({"ada": A}) == [] and alike({"ada": A, "bob": B}) == [("ada", "bob")]


def test_answers_that_are_no_python_are_compared_by_their_letters():
    broken = A.replace("both =", "both ==== ")
    assert alike(others(5) | {"ada": broken, "bob": "# mine\n" + broken.replace(" ", "  ")}) == [("ada", "bob")]
    deep = {"ada": "(" * 5000, "bob": "-" * 200_000 + "1", "cem": "x\x00", "dan": "\ud800", "eve": "%pip install x"}
    assert alike(deep) == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_public_answers_are_those_of_the_lessons(lesson):
    [path] = (Path(__file__).parent.parent / "notebooks").glob(f"{lesson}_*.ipynb")
    cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source for cell in nbformat.read(path, 4).cells}
    for number in exercises(lesson):
        in_lesson = cells["ex-" + number.replace(".", "-")]
        assert form(in_lesson)[0] in [form(source)[0] for source in public_answers(number)], number
    assert public_answers("99.9") == [] and public_answers("x") == []


def test_the_report_of_a_folder_without_grades_writes_nothing(tmp_path):
    with pytest.raises(SystemExit, match=r"nothing has been graded in .*nowhere yet: make grade"):
        main(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
