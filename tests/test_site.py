"""The site: lessons as pages, links that lead somewhere, pictures with a text, docstrings that keep their shape."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import lessons
import links
import make_site
import nbformat
import pytest
import yaml
from dress import as_written, make_readable_aloud
from lessons import alt_text, lesson_page

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
SOURCE = make_site.SOURCE


@pytest.fixture(scope="module", params=LESSONS, ids=lambda path: path.stem[:2])
def lesson(request):
    """A stored lesson and its page."""
    notebook = lessons.read(request.param)
    return notebook, lesson_page(notebook, request.param.stem), request.param.stem


def pictures(notebook) -> list:
    """Cells with pictures."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and any("image/png" in output.get("data", {}) for output in cell.outputs)
    ]


# ---------------------------------------------------------------- lessons


def test_a_page_keeps_every_cell_and_every_picture_of_its_lesson(lesson):
    notebook, page, _ = lesson
    assert [cell.cell_type for cell in page.cells] == [cell.cell_type for cell in notebook.cells]
    assert len(pictures(page)) == len(pictures(notebook)) > 2


def test_every_picture_has_a_text_of_its_own_words(lesson):
    _, page, _ = lesson
    texts = [cell.metadata["mystnb"]["image"]["alt"] for cell in pictures(page)]
    assert all(20 <= len(text) <= lessons.MAX_ALT for text in texts)
    assert not [text for text in texts if re.search(r"[`*<>\n]|\]\(|Figure size", text)]
    assert len(set(texts)) > 0.6 * len(texts)


def test_buttons_take_the_place_of_the_badge_and_of_the_line_below_it(lesson):
    _, page, name = lesson
    first = page.cells[0].source
    targets = re.findall(r'<a href="([^"]*)"', first)
    colab = f"https://colab.research.google.com/github/tinyldm/tinyldm/blob/v{make_site.tinyldm.__version__}/notebooks"
    assert targets == [f"{colab}/{name}.ipynb", f"{colab}/exercises/{name}.ipynb", f"../exercises/{name}.ipynb"]
    assert (ROOT / "notebooks" / "exercises" / f"{name}.ipynb").exists()
    assert "badge" not in first and "exercise form](" not in first
    with_playground = lesson_page(lesson[0], name, playground=True).cells[0].source
    assert '<a href="../playground/index.html">' in with_playground and "../playground" not in first


def test_every_answer_and_the_set_up_are_folded_and_nothing_else(lesson):
    notebook, page, _ = lesson
    for before, after in zip(notebook.cells, page.cells, strict=True):
        answer = before.cell_type == "code" and "### BEGIN SOLUTION" in before.source
        folded = answer or before.source.startswith("# Set-up, the same")
        assert ("hide-input" in after.metadata.get("tags", [])) == folded
        if answer:
            assert after.metadata["mystnb"]["code_prompt_show"] == "Show an answer"
            assert "SOLUTION" not in after.source and "return" in after.source


def test_what_is_inside_of_details_is_read_as_markdown(lesson):
    _, page, _ = lesson
    text = "\n".join(cell.source for cell in page.cells if cell.cell_type == "markdown")
    assert text.count("<details>") == text.count("</details>") >= 3
    assert len(re.findall(r"</summary>\n\n\S", text)) == text.count("<details>")
    assert len(re.findall(r"\S\n\n</details>", text)) == text.count("<details>")


def test_widgets_are_left_out_and_their_pictures_stay():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("pad.show()")])
    html = {"text/html": "<canvas></canvas>\n<script>draw()</script>", "text/plain": "HTML"}
    picture = {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", data) for data in (html, picture)]
    (shown,) = lesson_page(notebook, "08").cells[0].outputs
    assert "image/png" in shown.data


# ---------------------------------------------------------------- texts of pictures

ALTS = {
    "titles written out": ('image_grid(x, ["a seven", "an eight"])', "Pictures side by side: a seven, an eight"),
    "titles above": ('titles = ["one", "two"]\nimage_grid(x, titles)', "Pictures side by side: one, two"),
    "parts of the map": ('%matplotlib inline\ncourse_map("judge")', "Map of the course: judge"),
    "a chart": ('axis.plot(x, label="loss")\naxis.set(xlabel="step t")', "Chart: loss; step t"),
    "neither": ("pipeline(prompt)", "Picture"),
    "no Python": ("!ls (", "Picture"),
}


@pytest.mark.parametrize(("code", "text"), ALTS.values(), ids=ALTS)
def test_the_text_of_a_picture_comes_from_the_code_that_draws_it(code, text):
    assert alt_text(code, "") == text


def test_and_from_the_last_sentence_before_it():
    said = "## Seeds\n\nFirst. A <dfn>seed</dfn> of [ours](x.md) is `3`:\n\n> **Try:** another?\n"
    assert alt_text("draw()", said) == "Picture. A seed of ours is 3"
    assert alt_text("draw()", "Before.\n\n## Only a heading\n\n- a list") == "Picture. Only a heading"
    assert len(alt_text("draw()", "Long " * 100)) <= lessons.MAX_ALT


def test_a_figure_that_says_what_it_shows_is_believed():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("draw()")])
    picture = {"image/png": "iVBORw0KGgo=", "text/plain": "2 pictures: a seven; an eight"}
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", picture)]
    assert lesson_page(notebook, "08").cells[0].metadata.mystnb.image.alt == "2 pictures: a seven; an eight"


# ---------------------------------------------------------------- pages


def test_links_lead_to_pages_of_the_site_or_to_the_file_on_github():
    text = "[a](04_reverse_diffusion.ipynb) [b](glossary.md#eta) [c](../tinyldm/unet.py) [d](../tinyldm/cli.py) [e](https://x.y)"
    changed = make_site.relinked(text, ROOT / "notebooks", "lessons")
    targets = re.findall(r"\]\(([^)]*)\)", changed)
    unet, cli = "../api/unet.rst", f"{SOURCE}/tinyldm/cli.py"
    assert targets == ["04_reverse_diffusion.ipynb", "../glossary.md#eta", unet, cli, "https://x.y"]


def test_the_glossary_keeps_all_its_terms():
    table = (ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8")
    listed = make_site.glossary(table)
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 60 and re.findall(r"^(\S.*)\n    \S", listed, re.MULTILINE) == rows
    assert "β |z − sg(e)|²" in listed and r"\|" not in listed


def test_the_landing_page_has_a_card_for_each_lesson():
    cards = re.findall(r'href="lessons/(\w+)\.html"', make_site.landing()["cards"])
    assert cards == [path.stem for path in LESSONS]
    listed = re.findall(r"^lessons/(\w+)$", (ROOT / "site" / "index.md").read_text(), re.MULTILINE)
    assert listed == cards


def test_every_module_has_a_page():
    rooms = {path.stem for path in (ROOT / "tinyldm").glob("[a-z]*.py")} - {"cli"}
    assert make_site.modules() == rooms


DOCSTRINGS = {
    "a formula keeps its line": (
        ["Jump.", "", "x_t = a * |b|   (eq. 4)"],
        ["Jump.", "", r"| x_t = a \* \|b\|   (eq. 4)", ""],
    ),
    "code stays": (["``a*`` and `b|`, not a_ nor c*"], [r"``a*`` and `b|`, not a\_ nor c\*", ""]),
    "a list is set apart": (["Choices", "- one", "  more"], ["Choices", "", "- one", "  more", ""]),
    "sections are left to napoleon": (["Args:", "    x: a = b * c"], ["Args:", r"    x: a = b \* c", ""]),
}


@pytest.mark.parametrize(("lines", "expected"), DOCSTRINGS.values(), ids=DOCSTRINGS)
def test_docstrings_keep_their_signs_and_their_lines(lines, expected):
    assert [line.replace("\u00a0", " ") for line in as_written(lines)] == expected


def test_pages_are_mended_for_screen_readers():
    context = {
        "furo_navigation_tree": '<p class="caption" role="heading">The course</p>',
        "body": '<dt class="sig sig-object py"><dl>\n<dd>x: int,</dd>\n</dl>\n</dt><dl><dd>stays</dd></dl>'
        '<summary aria-label="Toggle hidden content">Show an answer</summary><strong>x</strong> -- a size',
    }
    make_readable_aloud(None, "page", "page.html", context, None)
    assert context == {
        "furo_navigation_tree": '<p class="caption" role="heading" aria-level="2">The course</p>',
        "body": '<dt class="sig sig-object py"><div>\n<div>x: int,</div>\n</div>\n</dt><dl><dd>stays</dd></dl>'
        "<summary>Show an answer</summary><strong>x</strong> – a size",
    }


# ---------------------------------------------------------------- what is looked over


def test_faults_of_a_site_are_named(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "index.html").write_text('<h1 id="here">x</h1><img src="../p.png" alt="a picture">')
    (tmp_path / "p.png").write_bytes(b"")
    good = (
        '<a href="sub/#here"></a><a href="sub/index.html#here"></a><a href="https://x.y"></a><img src="p.png" alt="p">'
    )
    (tmp_path / "good.html").write_text(good)
    assert links.faults(tmp_path) == []
    bad = '<a href="sub/#there"></a><a href="gone.html"></a><img src="p.png" alt=""><script src="https://x.y/z.js"></script>'
    (tmp_path / "bad.html").write_text(bad)
    assert links.faults(tmp_path) == [
        "bad.html: leads nowhere: sub/#there",
        "bad.html: leads nowhere: gone.html",
        "bad.html: fetched from elsewhere: https://x.y/z.js",
        "bad.html: a picture without a text: p.png",
    ]
    (tmp_path / "bad.html").unlink()
    (tmp_path / "p.png").write_bytes(bytes(2_000_000))
    assert links.faults(tmp_path) == ["good.html: needs 2.0 MB at once", "sub/index.html: needs 2.0 MB at once"]
    (tmp_path / "good.html").write_text(good.replace("<img", '<img loading="lazy"'))
    assert links.faults(tmp_path) == ["sub/index.html: needs 2.0 MB at once"]


def test_the_workflow_publishes_what_make_builds():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "pages.yml").read_text())
    steps = workflow["jobs"]["build"]["steps"]
    assert {"run": "make site"} in steps
    paths = [step["with"]["path"] for step in steps if "upload" in step.get("uses", "")]
    assert [ROOT / path for path in paths] == [make_site.OUT, make_site.PLAYGROUND]
    assert workflow["jobs"]["publish"]["needs"] == workflow["jobs"]["release"]["needs"] == "build"


@pytest.mark.skipif(os.name == "nt" or shutil.which("make") is None, reason="needs make")
def test_make_serve_says_what_to_do_first(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(["make", "serve"], cwd=tmp_path, env=quiet, capture_output=True, text=True)
    assert run.returncode != 0 and run.stderr.startswith("no site built yet: make site\n")


@pytest.mark.full
def test_the_whole_site_is_built_without_a_warning(tmp_path, monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.setattr(make_site, "WORK", tmp_path)
    monkeypatch.setattr(make_site, "PAGES", tmp_path / "pages")
    monkeypatch.setattr(make_site, "OUT", tmp_path / "site")
    assert make_site.main() == 0
    assert len(list((tmp_path / "site").rglob("*.html"))) > 60
