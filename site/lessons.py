"""Lessons as pages of the site: the stored notebooks, dressed for reading. Nothing is executed.

Design choices
- The notebook decides what is said; a page only adds what a reader outside of Jupyter lacks: buttons in place of the
  badge, answers that are folded until they are wanted, and a text for every picture.
- A widget is left out: the picture that stands beside it in the lesson shows the same.
"""

from __future__ import annotations

import ast
import copy
import re
from typing import Any

import nbformat

BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\(([^)]*)\)\n*")
EXERCISE_FORM = re.compile(r"^Work through it yourself: \[exercise form\]\([^)]*\)\.\n*", re.MULTILINE)
DETAILS = re.compile(r"<details><summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
MARKERS = re.compile(r"^ *### (?:BEGIN|END) SOLUTION\n?", re.MULTILINE)
SLIDERS = "In a notebook, sliders stand here. The picture below comes from the same function.\n"
AS_IT_RAN = (
    "*Here a notebook is shown as it ran. To run it yourself, open it in Colab or [install the course](../using.md).*"
)
SET_UP = "# Set-up, the same in every lesson"
MAX_ALT = 300  # characters

# What a function of ours draws, in the words that begin the text of its picture.
DRAWN = {
    "course_map": "Map of the course",
    "image_grid": "Pictures side by side",
    "show_rows": "Digits, each with its caption",
    "live": "Losses during the training",
    "losses_figure": "Losses during the training",
    "draw_residual_block": "Drawing of a residual block",
    "draw_unet": "Drawing of a UNet, as a U",
    "draw_attention": "Drawing of attention",
    "text_in_unet": "Drawing of where text enters the UNet",
}
LABELS = ("title", "set_title", "suptitle", "xlabel", "set_xlabel", "ylabel", "set_ylabel", "label")


def lesson_page(notebook: Any, name: str, playground: bool = False) -> Any:
    """A copy of a lesson as it stands on the site.

    Args:
        notebook: as nbformat reads it.
        name: the file's, without its ending.
        playground: whether the site has one to link to.
    """
    page = copy.deepcopy(notebook)
    page.metadata.language_info = {"name": "python", "pygments_lexer": "ipython3"}
    said = ""
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = _unfolded(_buttons(cell.source, name, playground))
            said += "\n\n" + cell.source
        elif cell.cell_type == "code":
            _dress(cell, said)
    return page


def _buttons(source: str, name: str, playground: bool) -> str:
    """Links where the badge stood."""
    badge = BADGE.search(source)
    if badge is None:
        return source
    colab = badge[1]
    form = colab.replace(f"/{name}.ipynb", f"/exercises/{name}.ipynb")
    links = {
        "Open in Colab": f'href="{colab}"',
        "Exercise form in Colab": f'href="{form}"',
        "Download the exercise form": f'href="../exercises/{name}.ipynb" download',
    }
    if playground:
        links["Draw in your browser"] = 'href="../playground/index.html"'
    row = "\n".join(f"<a {where}>{text}</a>" for text, where in links.items())
    buttons = f'<div class="buttons">\n{row}\n</div>\n\n{AS_IT_RAN}\n\n'
    return EXERCISE_FORM.sub("", BADGE.sub(buttons, source, count=1))


def _unfolded(source: str) -> str:
    """With empty lines around what is inside of `<details>`, so that it is read as Markdown."""

    def opened(found: re.Match[str]) -> str:
        return f"<details><summary>{found[1]}</summary>\n\n{found[2].strip()}\n\n</details>\n"

    return DETAILS.sub(opened, source)


def _dress(cell: Any, said: str) -> None:
    """Fold set-up and answers, describe pictures, drop widgets."""
    shown: dict[str, Any] = {}
    if cell.metadata.get("nbgrader", {}).get("solution"):
        cell.source = MARKERS.sub("", cell.source)
        shown = {"tag": "hide-input", "code_prompt_show": "Show an answer", "code_prompt_hide": "Hide the answer"}
    elif cell.source.startswith(SET_UP):
        shown = {"tag": "hide-input", "code_prompt_show": "Show the set-up", "code_prompt_hide": "Hide the set-up"}
    if tag := shown.pop("tag", None):
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), tag]
    cell.outputs = [output for output in cell.outputs if not _is_widget(output)]
    if re.search(r"^sliders\(", cell.source, re.MULTILINE):
        cell.outputs.append(nbformat.v4.new_output("stream", text=SLIDERS))
    if any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})):
        shown["image"] = {"alt": _told(cell.outputs) or alt_text(cell.source, said)}
    if shown:
        cell.metadata["mystnb"] = shown


def _is_widget(output: Any) -> bool:
    return "<script" in "".join(output.get("data", {}).get("text/html", ""))


# ---------------------------------------------------------------- a text for every picture


def _told(outputs: list[Any]) -> str:
    """What the figures of the package say of themselves, in the text that is stored beside their pictures."""
    texts = [output.data["text/plain"] for output in outputs if "image/png" in output.get("data", {})]
    return " ".join(text for text in texts if not text.startswith("<"))


def alt_text(source: str, said: str) -> str:
    """What the picture of a cell shows, from the code that draws it and the last sentence before it.

    Args:
        source: the cell's code.
        said: the Markdown before the cell.
    """
    told = ". ".join(filter(None, [_drawn(source), _last_sentence(said)]))
    return told if len(told) <= MAX_ALT else told[: MAX_ALT - 3].rsplit(" ", 1)[0] + "..."


def _drawn(source: str) -> str:
    code = re.sub(r"^\s*[%!].*$", "", source, flags=re.MULTILINE)  # IPython's own lines
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return "Picture"
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for call in reversed(calls):
        name = ast.unparse(call.func).split(".")[-1]
        if name in DRAWN:
            words = _words(call, tree)
            return DRAWN[name] + (f": {', '.join(words)}" if words else "")
    labels = list(dict.fromkeys(text for call in calls for text in _labels(call)))
    return f"Chart: {'; '.join(labels)}" if labels else "Picture"


def _words(call: ast.Call, tree: ast.AST) -> list[str]:
    """The titles that a call gives, where they are written out: in the call, or in a list above it."""
    lists = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: list[str] = []
    for argument in [*call.args, *(keyword.value for keyword in call.keywords)]:
        value = lists.get(argument.id, argument) if isinstance(argument, ast.Name) else argument
        items = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
        found += [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return [word for word in found if word]


def _labels(call: ast.Call) -> list[str]:
    """Titles and labels of axes and lines that a call of matplotlib's sets."""
    name = ast.unparse(call.func).split(".")[-1]
    given = [(keyword.arg, keyword.value) for keyword in call.keywords] + [(name, value) for value in call.args]
    return [
        value.value
        for label, value in given
        if label in LABELS and isinstance(value, ast.Constant) and isinstance(value.value, str)
    ]


def _last_sentence(markdown: str) -> str:
    """The last sentence of a text, without marks; if nothing but a list or table follows a heading, the heading."""
    paragraphs = [part for part in re.split(r"\n\s*\n", markdown.strip()) if not re.match(r"[|<`>$-]", part)]
    last = paragraphs[-1] if paragraphs else ""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)|<[^>]*>|^#+ |[*`$]", lambda found: found[1] or "", last)
    return re.split(r"(?<=[.?!])\s+(?=[A-Z])", " ".join(plain.split()))[-1].rstrip(".:")


def read(path: Any) -> Any:
    """A notebook file."""
    return nbformat.read(path, as_version=4)
