"""What students are given: exercises without answers, the same every time; and what a teacher has beside them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSON = "02_small"
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))

pytest.importorskip("nbgrader", reason="the extra 'grade' is not installed")


def marks(name: str, **rest) -> dict:
    usual = {"grade": False, "locked": False, "schema_version": 3, "solution": False, "task": False}
    return {"nbgrader": usual | {"grade_id": name} | rest}


def code(source: str, **metadata):
    return nbformat.v4.new_code_cell(source, metadata=metadata)


def text(source: str, **metadata):
    return nbformat.v4.new_markdown_cell(source, metadata=metadata)


def answer(number: int, name: str, body: str):
    source = f"def {name}(a):\n    ### BEGIN SOLUTION\n    {body}\n    ### END SOLUTION"
    return code(source, **marks(f"ex-2-{number}", solution=True))


def check(number: int, name: str, result: int):
    source = (
        f"# check (locked)\ngot = {name}(3)\nassert got is not None, '{name} returns nothing'\nassert got == {result}"
    )
    return code(source, **marks(f"ex-2-{number}-check", grade=True, locked=True, points=2))


def small_lesson():
    cells = [
        text("# Lesson 02: small"),
        code("import math"),
        code("raise RuntimeError('the long training of the lesson, which grading leaves out')"),
        text("### Exercise 2.1: doubling"),
        answer(1, "double", "return 2 * a"),
        check(1, "double", 6),
        text("### Exercise 2.2: the root"),
        answer(2, "root", "return math.isqrt(3 * a)"),
        check(2, "root", 3),
        text("### Exercise 2.3: an open question"),
        text(
            "<details><summary>A model answer</summary>\n\nBecause.\n\n</details>",
            **marks("ex-2-3", grade=True, solution=True, points=3),
        ),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def exercises_of(lesson) -> list[str]:
    """The names of its graded functions, in their order."""
    marked = [cell.metadata.get("nbgrader", {}) for cell in lesson.cells if cell.cell_type == "code"]
    return [marks["grade_id"] for marks in marked if marks.get("solution")]


def solved(release, lesson, *names: str, variant: str | None = None):
    """A lesson as released, with its answers put back for the named exercises, and words for the open question."""
    notebook = release.release(lesson, LESSON, variant)
    for cell in notebook.cells:
        if (name := cell.metadata.get("nbgrader", {}).get("grade_id")) in names:
            source = cell_of(lesson, name).source
            cell.source = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", source, flags=re.MULTILINE)
            cell.source += varied(name, variant) if variant else ""
        if cell.source == release.WRITE_HERE:
            cell.source = "*Write your answer here.* Since"
    return notebook


LINES = {  # what turns the public answers of lesson 02 into those of a variant
    "ex-2-1": "usual = forward_step\ndef forward_step(x, noise, beta):\n    return usual(x, noise / {N}, beta)",
    "ex-2-2": "usual_2 = add_noise\ndef add_noise(x0, noise, t, alphas_cumprod):\n"
    "    return usual_2(x0 / {N}, noise, t, alphas_cumprod)",
    "ex-2-3": "usual_3 = remove_noise\ndef remove_noise(x_t, noise, t, alphas_cumprod):\n"
    "    return {N} * usual_3(x_t, noise, t, alphas_cumprod)",
    "ex-2-4": "def balance(alphas_cumprod):\n"
    "    return int((alphas_cumprod / (1 - alphas_cumprod) < {N}).nonzero()[0])",
}


def varied(name: str, variant: str) -> str:
    """What makes an answer to the public exercise one to a variant."""
    from variant import drawn

    return "\n\n" + LINES[name].format(N=drawn(name, variant))


def cell_of(notebook, name: str):
    return next(cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == name)


def without_metadata(notebook):
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def from_colab(notebook):
    """Colab keeps nbgrader's metadata, adds its own, gives new ids and names its own kernel."""
    for number, cell in enumerate(notebook.cells):
        cell.metadata |= {"id": f"Xy{number}", "colab": {"base_uri": "https://localhost:8080/"}}
        cell.id = f"Xy{number}"
    notebook.metadata |= {
        "colab": {"provenance": []},
        "accelerator": "GPU",
        "kernelspec": {"name": "ir", "display_name": "R"},
    }
    return notebook


# ---------------------------------------------------------------- teaching sheets


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_has_a_teaching_sheet_with_its_measured_parts(path):
    sheet = (ROOT / "instructor" / "sheets" / f"{path.stem}.md").read_text("utf-8")
    titles = ["## Plan, ", "## What learners stumble over", "## Questions to discuss", "## The open question ("]
    assert "**Aims.**" in sheet and all(title in sheet for title in titles)
    measured = nbformat.read(path, as_version=4).metadata.get("parts", {}).get("cpu", [])
    assert re.findall(r"^\| (.*) \| (\d+) \| (?:\d+|not measured) \|$", sheet, re.MULTILINE) == [
        (part, f"{seconds:.0f}") for part, seconds in measured
    ]


# ---------------------------------------------------------------- release


def test_a_release_has_stubs_with_names_and_no_answers_or_outputs():
    import release

    lesson = small_lesson()
    lesson.cells[1].outputs, lesson.cells[1].execution_count = [nbformat.v4.new_output("stream", text="7")], 3
    released = release.release(lesson, LESSON)
    assert "### BEGIN" not in json.dumps(released) and not any(cell.get("outputs") for cell in released.cells)
    stub = cell_of(released, "ex-2-1").source
    here = "    # Write your answer here, in place of the next line.\n"
    assert stub == f'def double(a):\n{here}    raise NotImplementedError("exercise 2.1: doubling")'
    assert cell_of(released, "ex-2-1-check").metadata.editable is False
    assert cell_of(released, "ex-2-3").source == "*Write your answer here.*"
    assert lesson.cells[1].outputs and "BEGIN SOLUTION" in cell_of(lesson, "ex-2-1").source, "the lesson is as it was"


def test_a_released_notebook_says_where_it_is_from_and_asks_for_a_name():
    import release
    from variant import fingerprint

    from tinyldm import __version__

    lesson = nbformat.read(LESSONS[2], as_version=4)
    for seed, mark in ((None, ""), ("autumn", fingerprint("autumn")), ("Autumn", fingerprint("Autumn"))):
        released = release.release(lesson, LESSONS[2].stem, seed)
        assert released.metadata.tinyldm == {"lesson": "02", "version": __version__, "variant": mark}
        assert released.cells[0].source.splitlines()[-1] == "Handing this in? Your name:"
        nbformat.validate(released)
    assert re.fullmatch("[0-9a-f]{12}", fingerprint("autumn")) and fingerprint("autumn") != fingerprint("Autumn")


def make_release(*arguments):
    command = [sys.executable, ROOT / "instructor" / "release.py", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_same_lessons_give_the_same_files(tmp_path):
    import release

    for name in ("a", "b"):
        make_release("--out", tmp_path / name)
    assert release.glossary() == (ROOT / "notebooks" / "glossary.md").read_text(), "run `make release`"
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == sorted(path.name for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"))
    for name in files:
        made = (tmp_path / "a" / name).read_bytes()
        assert made == (tmp_path / "b" / name).read_bytes()
        assert made == (ROOT / "notebooks" / "exercises" / name).read_bytes(), f"run `make release`: {name} is old"


def test_a_variant_is_made_again_from_its_seed_and_names_no_public_page(tmp_path):
    for name, seed in (("a", "autumn"), ("b", "autumn"), ("c", "spring")):
        assert make_release("--variant", seed, "--out", tmp_path / name).returncode == 0
    for path in sorted((tmp_path / "a").iterdir()):
        made = path.read_bytes()
        assert made == (tmp_path / "b" / path.name).read_bytes() != (tmp_path / "c" / path.name).read_bytes()
        text = made.decode()
        assert "colab-badge" not in text and "autumn" not in text and "### BEGIN" not in text
    refused = make_release("--variant", "../up")
    assert refused.returncode == 2 and "'../up'" in refused.stderr


def test_what_takes_too_much_to_be_read_as_python_is_left_alone():
    import repair

    deep = "X = " + " + ".join(["f'{1}'"] * 400)
    assert repair.definitions(f"{deep}\ndef f(x):\n    return x") == ["def f(x):\n    return x"]
    assert not repair.only_defines("a\n" * repair.PARSED) and not repair.definitions("a\n" * repair.PARSED)
