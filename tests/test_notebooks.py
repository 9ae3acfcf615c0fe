"""The lessons keep their promises: one rhythm, one set-up, true outputs, checks that check. nbval runs their cells."""

import ast
import contextlib
import importlib.metadata
import itertools
import pkgutil
import re
import tomllib
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from release import FOLDED, SOLUTION
from repair import plain

import tinyldm
from tinyldm.plotting import PARTS

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PATHS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

HEADINGS = [
    "## What you will be able to do", "## Set-up", "## Where we are", "## Exercises", "## What can go wrong",
    "## What you built", "## Where Stable Diffusion differs", "## Sources",
]  # fmt: skip

every_lesson = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def read(path: Path):
    return nbformat.read(path, as_version=4)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(notebook) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def graded(notebook, **flags: bool) -> list:
    wanted = flags.items()
    return [cell for cell in notebook.cells if wanted <= cell.metadata.get("nbgrader", {}).items()]


# ---------------------------------------------------------------- one rhythm


@every_lesson
def test_a_lesson_has_the_rhythm(path):
    notebook = read(path)
    lines = text_of(notebook).splitlines()
    assert [line for line in lines if line in HEADINGS] == HEADINGS
    assert lines[0].startswith(f"# Lesson {path.stem[:2]}: ")


@every_lesson
def test_its_map_lights_the_parts_that_bear_its_number(path):
    code, number = "\n".join(cell.source for cell in code_cells(read(path))), path.stem[:2]
    (arguments,) = re.findall(r"^course_map\((.*)\)$", code, re.MULTILINE)
    lit = set(re.findall(r'"(.*?)"', arguments))
    assert number in ("00", "09") or lit == {part for part, (*_, lessons) in PARTS.items() if number in lessons}


@every_lesson
def test_cells_are_short(path):
    for cell in read(path).cells:
        most = 30 if cell.cell_type == "code" else 40
        assert cell.source.count("\n") < most, f"a cell of more than {most} lines:\n{cell.source[:200]}"


@every_lesson
def test_a_lesson_checks_its_small_numbers(path):
    tagged = [cell for cell in code_cells(read(path)) if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert len(tagged) >= 2 and all(cell.outputs for cell in tagged)


@every_lesson
def test_paragraphs_and_brackets_are_short(path):
    for cell in read(path).cells:
        for paragraph in cell.source.split("\n\n") if cell.cell_type == "markdown" else []:
            prose = [line for line in paragraph.splitlines() if not re.match(r" *([-*|]|\d\.) ?", line)]
            assert len(" ".join(prose).split()) <= 90, paragraph
            for bracket in re.findall(r"(?<!\])\(([^()]*)\)", " ".join(prose)):
                assert len(bracket.split()) <= 20 or ". " in bracket or bracket.endswith("."), bracket


@every_lesson
def test_a_lesson_leads_to_its_exercise_form_and_to_the_next_lesson(path):
    text, after = text_of(read(path)), PATHS[PATHS.index(path) + 1 :][:1]
    assert f"\n\nWork through it yourself: [exercise form](exercises/{path.name}).\n" in text
    links = re.findall(r"^\*\*Next:\*\* \[lesson [^]]*\]\((.*?)\)", text, re.MULTILINE)
    assert links == [following.name for following in after] and "(glossary.md)" in text
    form = text_of(read(path.parent / "exercises" / path.name))
    assert f"[complete](../{path.name})" in form and "(../glossary.md)" in form and "Work through" not in form


@every_lesson
def test_every_link_of_a_lesson_leads_somewhere(path):
    for place in (path, path.parent / "exercises" / path.name):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text_of(read(place))):
            assert (place.parent / link).exists(), f"{place}: {link}"


def test_every_term_of_the_glossary_is_introduced_once_and_explained():
    rows = re.findall(r"^\| (.+?) \| (.+) \| \[\d\d\]", (ROOT / "notebooks" / "glossary.md").read_text(), re.MULTILINE)
    terms = re.findall(r"<dfn>(.*?)</dfn>", "\n".join(text_of(read(path)) for path in PATHS))
    assert len(rows) == len(terms) == len({term.lower() for term in terms}) >= 80
    for term, sentence in rows:
        assert term.lower() in sentence.lower() and len(sentence.split()) >= 6, sentence


# ---------------------------------------------------------------- one set-up


def test_the_set_up_cell_is_the_same_everywhere_and_installs_this_version():
    cells = {code_cells(read(path))[0].source for path in PATHS}
    assert len(cells) == 1
    found = re.findall(r'%pip install (.*)"tinyldm @ git\+(\S+)"', cells.pop())
    assert found == [("-q ", f"{PROJECT['urls']['Repository']}@v{PROJECT['version']}")]


@every_lesson
def test_the_badge_opens_this_lesson_of_this_version_on_colab(path):
    owner_and_name = PROJECT["urls"]["Repository"].removeprefix("https://github.com/")
    place = f"{owner_and_name}/blob/v{PROJECT['version']}/notebooks/{path.name}"
    address = f"https://colab.research.google.com/github/{place}"
    assert re.findall(r"\]\((https://colab\.research\.google\.com/github/\S+)\)", text_of(read(path))) == [address]


def colab() -> dict[str, Version]:
    lines = (ROOT / "tests" / "colab.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name: Version(version) for name, version in pairs}


def test_installing_on_colab_changes_nothing_that_colab_has():
    there = colab()
    assert there["python"] in SpecifierSet(PROJECT["requires-python"])
    waiting, seen = [Requirement(line) for line in PROJECT["dependencies"]], set()
    while waiting:
        needed = waiting.pop()
        if needed.marker and not needed.marker.evaluate({"extra": "", "python_version": "3.13"}):
            continue
        name = needed.name.lower().replace("_", "-")
        if name in there:
            assert there[name] in needed.specifier, f"{needed} would replace Colab's {name} {there[name]}"
        elif name not in seen:  # not on the list: what it needs in turn must leave Colab's packages alone too
            seen.add(name)
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                waiting += [Requirement(line) for line in importlib.metadata.requires(name) or []]
    assert {"torchmetrics", "typer", "scipy"} <= seen


# ---------------------------------------------------------------- committed with true outputs


@every_lesson
def test_the_minutes_in_its_head_are_those_that_the_runner_measured_and_not_too_many(path, runner):
    notebook = read(path)
    minutes, longest = notebook.metadata.minutes, notebook.metadata.longest
    assert runner.minutes_line(minutes) in text_of(notebook)
    assert minutes["cpu"] <= 20 and minutes.get("gpu", 0) <= 5
    assert longest["cpu"] <= 300, "seconds of one cell"


def test_lesson_00_tells_the_minutes_of_all(runner):
    assert runner.overview({path.stem: read(path).metadata.minutes for path in PATHS}) in text_of(read(PATHS[0]))


@every_lesson
def test_beside_every_slider_stands_a_picture_from_the_same_function(path):
    cells = code_cells(read(path))
    for cell, following in itertools.pairwise(cells):
        if called := re.search(r"^sliders\((\w+)", cell.source, re.MULTILINE):
            assert f"{called[1]}(" in following.source, f"{called[1]} is not called after its sliders"
            assert any("image/png" in output.get("data", {}) for output in following.outputs)


@every_lesson
def test_outputs_are_those_of_one_run_from_top_to_bottom_without_errors(path):
    notebook = read(path)
    cells = [cell for cell in code_cells(notebook) if cell.source]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", f"warnings and bars do not belong on the page: {output.text[:200]}"


@every_lesson
def test_github_can_show_it(path):
    assert path.stat().st_size < 1_500_000
    notebook = read(path)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    assert "widget-view" not in path.read_text()


# ---------------------------------------------------------------- no second truth


@every_lesson
def test_lessons_use_the_modules_and_not_the_command_line(path):
    assert not re.search(r"tinyldm\.cli\b", "\n".join(cell.source for cell in code_cells(read(path))))


def names_of_the_package() -> set[str]:
    """Public functions, classes and methods of all modules."""
    names = set()
    for module in pkgutil.iter_modules(tinyldm.__path__):
        file = Path(tinyldm.__path__[0]) / f"{module.name}.py"
        nodes = ast.parse(file.read_text()).body if file.exists() else []
        nodes = nodes + [inner for node in nodes if isinstance(node, ast.ClassDef) for inner in node.body]
        names |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return {name for name in names if not name.startswith("_")} - {"main", "forward"}


@every_lesson
def test_what_a_lesson_writes_again_is_compared_with_the_package(path):
    cells, known = code_cells(read(path)), names_of_the_package()
    for number, cell in enumerate(cells):
        defined = {n.name for n in ast.parse(plain(cell.source)).body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
        near = "\n".join(following.source for following in cells[number : number + 2])
        for name in defined & known:
            compared = rf'assert.*\.{name}\(|check\("[\d.]+", {name}\)'
            assert re.search(compared, near), f"{name} is not compared with the package's"


# ---------------------------------------------------------------- exercises


@every_lesson
def test_a_lesson_has_three_graded_exercises_and_an_open_question(path):
    notebook = read(path)
    text = text_of(notebook)
    answers, checks = graded(notebook, solution=True, grade=False), graded(notebook, solution=False, grade=True)
    assert len(answers) == len(checks) >= 3
    for answer, check in zip(answers, checks, strict=True):
        assert check.metadata.nbgrader.grade_id == f"{answer.metadata.nbgrader.grade_id}-check"
        assert check.metadata.nbgrader.locked and check.metadata.nbgrader.points > 0
        assert SOLUTION.search(answer.source) and check.source.startswith("# check (locked)")
    (question,) = graded(notebook, solution=True, grade=True)
    assert FOLDED.search(question.source) and question.cell_type == "markdown" and "*Rubric, " in text
    titles = re.findall(rf"^### Exercise {int(path.stem[:2])}\.(\d): ", text, re.MULTILINE)
    assert titles == [str(number + 1) for number in range(len(answers) + 1)]
    assert len(re.findall(r"^\*\d+ minutes, difficulty [1-5] of 5\.\*", text, re.MULTILINE)) == len(titles)
    assert text.count("<summary>Hint</summary>") >= len(answers)


@every_lesson
def test_nobody_is_told_an_answer_before_trying(path):
    notebook = read(path)
    for cell in graded(notebook, solution=True):
        assert cell.metadata.jupyter.source_hidden, "JupyterLab shows the answer"
        assert cell.cell_type == "markdown" or cell.metadata.cellView == "form", "Colab shows the answer"


# ---------------------------------------------------------------- the script that runs them


@pytest.fixture
def runner():
    import run

    return run


def small_lesson(path: Path, *sources: str) -> Path:
    head = "# A lesson\n\n## Small\n\n<!-- times -->\nold\n\n<!-- lessons -->\nold"
    cells = [nbformat.v4.new_markdown_cell(head)]
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_the_runner_writes_outputs_and_minutes_back_without_widgets(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    monkeypatch.setenv("TINYLDM_PROFILE", "cpu")
    widget = "display({'application/vnd.jupyter.widget-view+json': {}, 'text/plain': 'slider'}, raw=True)"
    path = small_lesson(tmp_path / "00_small.ipynb", "print(6 * 7)", widget, "import time\ntime.sleep(0.3)\n2 + 2")
    monkeypatch.setattr(runner, "SHEETS", tmp_path)
    sheet = tmp_path / "00_small.md"
    sheet.write_text("<!-- parts -->\nold\n\n## Aims\n")
    runner.main([])
    notebook = read(path)
    first, second, third = code_cells(notebook)
    assert first.outputs[0].text == "42\n" and third.outputs[0].data["text/plain"] == "4" and not second.outputs
    assert 0.3 <= notebook.metadata.longest.cpu < 60
    assert notebook.metadata.minutes.cpu >= 0 and "minutes on two CPU cores" in notebook.cells[0].source
    assert "old" not in notebook.cells[0].source and "[00 small](00_small.ipynb)" in notebook.cells[0].source
    ((part, seconds),) = notebook.metadata.parts.cpu
    assert part == "Small" and seconds >= 0
    assert "old" not in sheet.read_text() and "| Small | 0 | not measured |\n\n## Aims" in sheet.read_text()


def test_a_run_on_a_gpu_leaves_the_outputs_and_adds_its_minutes(runner, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    path = small_lesson(tmp_path / "00_small.ipynb", "import os\nos.environ['TINYLDM_PROFILE']")
    for profile in ("cpu", "gpu"):
        monkeypatch.setenv("TINYLDM_PROFILE", profile)
        runner.main([])
    notebook = read(path)
    assert code_cells(notebook)[0].outputs[0].data["text/plain"] == "'cpu'"
    assert set(notebook.metadata.minutes) == set(notebook.metadata.longest) == {"cpu", "gpu"}


@pytest.mark.parametrize(("profile", "source"), [("cpu", "1 / 0"), ("fast", "6 * 7")])
def test_a_lesson_that_fails_or_runs_in_its_fast_form_stays_as_it_was(runner, tmp_path, monkeypatch, profile, source):
    from nbclient.exceptions import CellExecutionError

    monkeypatch.setattr(runner, "FOLDER", tmp_path)
    monkeypatch.setenv("TINYLDM_PROFILE", profile)
    path = small_lesson(tmp_path / "00_small.ipynb", source)
    before = path.read_bytes()
    with pytest.raises(CellExecutionError) if profile == "cpu" else contextlib.nullcontext():
        runner.main(["00_small"])
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["00_small.ipynb"]


def test_an_unknown_lesson_is_named(runner):
    with pytest.raises(SystemExit, match="no such lesson: 99_nothing"):
        runner.main(["99_nothing"])
