"""Every exercise names what is wrong: written-down answers, generated mutants, untouched lessons, private variants."""

import ast
import importlib
import inspect
import itertools
import linecache
import re
import subprocess
import sys
import textwrap

import pytest
import torch
import torch.nn.functional as F
from mutants import TAGS, mutated, random_inputs
from test_notebooks import PATHS, graded, read
from variant import MARK, number_of, vary

from tinyldm.checks import NotYet, agree, observe, same
from tinyldm.exercises import LESSONS, check, examine, exercise, exercises

ALL = [one for lesson in LESSONS for one in exercises(lesson).values()]
BY_NUMBER = [pytest.param(one, id=one.number) for one in ALL]
every_exercise = pytest.mark.parametrize("one", BY_NUMBER)
forms = pytest.mark.parametrize("variant", [False, True], ids=["public", "variant"])


def answers(kind: str) -> dict:
    """RIGHT or WRONG of all lessons."""
    modules = [importlib.import_module(f"answers.lesson_{lesson}") for lesson in LESSONS]
    return {number: given for module in modules for number, given in getattr(module, kind).items()}


RIGHT, WRONG = answers("RIGHT"), answers("WRONG")


def function_of(one, source: str, name: str | None = None):
    """A function as it comes out of a notebook's cell, so that messages can quote its lines."""
    file = f"<cell {hash(source)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    space = {"torch": torch, "F": F, "math": importlib.import_module("math")}
    space |= {f"lesson_{argument}": torch.tensor([0.3, 0.7]) for argument in inspect.signature(one.answer).parameters}
    exec(compile(source, file, "exec"), space)
    return space[name or one.answer.__name__]


def defined(one, body: str):
    """An answer given as the lines behind ``def ...:``, with what the exercise's own stub provides before them."""
    taken = inspect.signature(one.answer).parameters.values()
    arguments = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in taken)
    given = textwrap.indent(GIVEN.get(one.number, ""), "    ")
    return function_of(one, f"def {one.answer.__name__}({arguments}):\n{given}{textwrap.indent(body, '    ')}\n")


def _given() -> dict[str, str]:
    """What a stub contains already, as 9.1's ``convolution``."""
    found = {}
    for path in PATHS:
        for cell in graded(read(path), solution=True, grade=False):
            tree = ast.parse(cell.source.split("### BEGIN SOLUTION")[0] + "pass")
            function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
            inner = [node for node in function.body if isinstance(node, ast.FunctionDef)]
            found[number_of(cell.metadata.nbgrader.grade_id)] = "".join(ast.unparse(node) + "\n" for node in inner)
    return found


GIVEN = _given()


def told(one, function) -> str:
    """What a check says of a wrong answer; "" if it accepts it."""
    try:
        examine(one, function)
    except NotYet as wrong:
        return str(wrong)
    return ""


# ---------------------------------------------------------------- one source


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_lesson_and_the_package_have_the_same_exercises_and_answers(path):
    found = {}
    for cell in graded(read(path), solution=True, grade=False):
        (function,) = [node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)]
        found[number_of(cell.metadata.nbgrader.grade_id)] = bare(function)
    assert found == {
        n: bare(ast.parse(inspect.getsource(o.answer)).body[0]) for n, o in exercises(path.stem[:2]).items()
    }


def bare(function: ast.FunctionDef) -> str:
    """A function's code, without docstrings and types."""
    for node in ast.walk(function):
        if isinstance(node, ast.FunctionDef):
            node.returns, node.body = None, [part for part in node.body if not is_text(part)]
        if isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(function)


def is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_check_cell_is_one_line(path):
    for cell in graded(read(path), solution=False, grade=True):
        number = number_of(cell.metadata.nbgrader.grade_id.removesuffix("-check"))
        assert cell.source == f'# check (locked)\ncheck("{number}", {exercise(number).answer.__name__})'


@every_exercise
def test_the_answer_gives_what_the_package_gives(one):
    if one.reference is None:
        pytest.skip("the package has no function for it")
    for case in [*one.inputs(), *random_inputs(one)]:
        assert agree(one, observe(one, one.reference, case), observe(one, one.answer, case))
    assert list(inspect.signature(one.reference).parameters) == list(inspect.signature(one.answer).parameters)


@every_exercise
def test_in_the_first_case_nothing_coincides(one):
    tensors = [value for value in one.inputs()[0].values() if isinstance(value, torch.Tensor)]
    for tensor in tensors:
        is_mask = set(tensor.unique().tolist()) == {0, 1}
        if tensor.is_floating_point() and tensor.numel() > 1 and not is_mask:
            assert 1 not in tensor.shape and tensor.unique().numel() == tensor.numel() and tensor.all()
    for a, b in itertools.combinations(tensors, 2):
        assert a.shape != b.shape or not same(a, b)
    assert len(one.inputs()) >= 2


@every_exercise
def test_no_two_named_mistakes_give_the_same(one):
    results = [(says, one.run(wrong)) for says, wrong in one.mistakes]
    right = one.run(one.answer)
    for says, outcomes in results:
        assert not all(agree(one, a, b) for a, b in zip(outcomes, right, strict=True)), f"this is right: {says}"
    for (says, ours), (other, theirs) in itertools.combinations(results, 2):
        alike = all(agree(one, a, b) and str(a.error) == str(b.error) for a, b in zip(ours, theirs, strict=True))
        assert says == other or not alike, f"{says!r} and {other!r} give the same"


# ---------------------------------------------------------------- written-down answers


@forms
@every_exercise
def test_right_answers_in_unusual_forms_pass(one, variant):
    assert len(RIGHT[one.number]) >= 6
    asked = one.variant(one.twist.numbers[0]) if variant else one
    for body in [None, *RIGHT[one.number]]:
        function = defined(one, body) if body else one.answer
        assert told(asked, asked.form(function) if variant else function) == "", body


@every_exercise
def test_wrong_answers_are_told_what_is_wrong(one):
    for body, says in WRONG[one.number]:
        sentence = told(one, defined(one, body))
        assert re.search(says, sentence), f"{body}\n-> {sentence}"


@every_exercise
def test_an_answer_only_begun_returns_nothing(one):
    assert "returns nothing" in told(one, defined(one, "pass"))


# ---------------------------------------------------------------- generated mutants


@forms
@every_exercise
def test_every_mutant_is_refused_with_a_sentence_and_most_are_named(one, variant):
    asked = one.variant(one.twist.numbers[0]) if variant else one
    named, others = 0, []
    hand = {says for says, _ in asked.mistakes}
    for source, tag in mutated(one.answer):
        if variant and tag == "in place":  # converting to the variant makes a copy
            continue
        try:
            function = function_of(one, source)
        except (SyntaxError, TypeError):
            continue
        if computes_the_same(one, function) or (variant and tag == "in place"):  # a variant's form hands over copies
            continue
        sentence = told(asked, asked.form(function) if variant else function)
        assert sentence, f"accepted:\n{source}"
        if sentence in hand or re.search(TAGS[tag], sentence) or sentence.startswith("Line `"):
            named += 1
        else:
            others.append((tag, source, sentence))
    total = named + len(others)
    print(f"{one.number}: {total} mutants, {named} named")
    listed = "\n".join(f"[{tag}] {source}\n   -> {sentence}" for tag, source, sentence in others)
    assert named >= 0.85 * total, f"{named} of {total} named:\n{listed}"


def computes_the_same(one, function) -> bool:
    """Whether a mutant gives what the answer gives, and changes no argument, on other inputs than the check's."""
    for case in random_inputs(one):
        mine, right = observe(one, function, case), observe(one, one.answer, case)
        if not agree(one, mine, right) or mine.changed or type(mine.result) is not type(right.result):
            return False
    return True


# ---------------------------------------------------------------- untouched


@every_exercise
def test_an_untouched_exercise_says_so_and_the_lesson_goes_on(one, capsys):
    function = defined(one, f'raise NotImplementedError("exercise {one.number}: its title")')
    space, name = function.__globals__, one.answer.__name__
    check(one.number, function)
    out = capsys.readouterr().out
    assert out.startswith(f"Not answered yet: exercise {one.number}: its title.") and out.count("\n") == 1
    assert space[name] is (one.reference or one.answer)


def test_while_grading_an_untouched_exercise_fails(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    function = defined(exercise("2.1"), 'raise NotImplementedError("exercise 2.1: one step")')
    with pytest.raises(NotYet, match="not answered"):
        check("2.1", function)


RUN_ALL = """
import sys, nbformat
from IPython.terminal.interactiveshell import TerminalInteractiveShell
shell = TerminalInteractiveShell.instance(simple_prompt=True)
for cell in nbformat.read(sys.argv[1], as_version=4).cells:
    if cell.cell_type == "code":
        shell.run_cell(cell.source, store_history=True).raise_error()
"""


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_an_untouched_lesson_runs_to_its_end(path, monkeypatch):
    monkeypatch.setenv("TINYLDM_PROFILE", "fast")
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    ran = subprocess.run(
        [sys.executable, "-c", RUN_ALL, path.name], cwd=path.parent / "exercises", capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert ran.stdout.count("Not answered yet: exercise") == len(exercises(path.stem[:2]))


# ---------------------------------------------------------------- private variants


def test_a_variant_differs_in_each_exercise_and_follows_from_its_seed():
    path = PATHS[2]
    one, again, other = (vary(read(path), seed) for seed in ("autumn", "autumn", "spring"))
    assert one == again != other
    text = "\n".join(cell.source for cell in one.cells)
    assert text.count(MARK) == text.count("= check(") == len(exercises("02"))
    assert MARK not in "\n".join(cell.source for cell in read(path).cells)


@every_exercise
def test_whatever_number_is_drawn_the_public_answer_fails_and_the_variants_own_passes(one, monkeypatch, capsys):
    assert len(one.twist.numbers) >= 3 and "{N}" in one.twist.says
    for N in one.twist.numbers:
        asked = one.variant(N)
        own = asked.form(one.answer)
        assert told(asked, own) == ""
        assert "In your version" in told(asked, one.answer)
        usual = check(one.number, own, N=N)
        assert told(one, usual) == ""  # the cells below go on with it
