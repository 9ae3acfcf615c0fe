"""What Sphinx does not do by itself: formulas without a script from elsewhere, docstrings as they are, lazy images."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils import nodes

FORMULA = re.compile(r" = |->| {3,}")
MARKED = re.compile(r"(``?[^`]+``?|:\w+:`[^`]+`|(?<!\S)\*\w+\*)")  # code, a reference, an emphasized word
SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Example):$")


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    app.connect("autodoc-process-docstring", docstring, priority=100)  # before napoleon's
    app.connect("doctree-read", let_pictures_wait)
    app.connect("html-page-context", make_readable_aloud, priority=900)  # after the theme's
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# ---------------------------------------------------------------- formulas


def inline_formula(writer: Any, node: nodes.Element) -> None:
    """A formula within a line, as MathML, which browsers set and read aloud themselves."""
    _write(writer, node, "inline")


def displayed_formula(writer: Any, node: nodes.Element) -> None:
    """A formula on a line of its own."""
    _write(writer, node, "block")


def _write(writer: Any, node: nodes.Element, display: str) -> None:
    from docutils.nodes import SkipNode
    from latex2mathml.converter import convert

    formula = convert(node.astext(), display=display).replace("\\&", "&amp;")  # which it leaves as it is
    writer.body.append(formula if display == "inline" else f'<div class="math">{formula}</div>')
    raise SkipNode


# ---------------------------------------------------------------- pictures


def let_pictures_wait(app: Any, document: nodes.document) -> None:
    """A browser fetches a picture when somebody scrolls near it."""
    from docutils.nodes import image

    for picture in document.findall(image):
        picture["loading"] = "lazy"


# ---------------------------------------------------------------- screen readers


def make_readable_aloud(app: Any, name: str, template: str, context: dict[str, Any], document: Any) -> None:
    """Mend what screen readers stumble over in the pages of the theme and of others."""
    if tree := context.get("furo_navigation_tree"):
        context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')
    if body := context.get("body"):
        body = re.sub(r"(</strong>|</a>) -- ", r"\1 – ", body)  # between an argument or error and what is said of it
        context["body"] = SIGNATURE.sub(_without_lists, body.replace(' aria-label="Toggle hidden content"', ""))


def _without_lists(signature: re.Match[str]) -> str:
    """A signature of several lines, which Sphinx writes as a list of definitions without terms."""
    return re.sub(r"<(/?)d[ld]>", r"<\1div>", signature[0])


# ---------------------------------------------------------------- docstrings


def docstring(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are read in a terminal first: keep formulas and tables line by line, and their signs as they are."""
    lines[:] = as_written(lines)
    if what == "property":
        lines.insert(0, "")  # else napoleon takes what stands before a colon in the first line for a type


def as_written(lines: list[str]) -> list[str]:
    """Lines of a docstring as reStructuredText that looks the same."""
    out: list[str] = []
    for paragraph in _paragraphs(lines):
        first = paragraph[0]
        indent = len(first) - len(first.lstrip())
        is_section = bool(SECTION.match(first))
        if is_section or first.lstrip().startswith((">>>", "- ", "* ", "1. ")):
            out += [line if ">>>" in first else _escaped(line) for line in paragraph]
        elif _is_drawing(paragraph) or (indent == 0 and any(FORMULA.search(line) for line in paragraph)):
            out += [f"{' ' * indent}| {_spaced(_escaped(line.strip()))}" for line in paragraph]
        else:
            out += map(_escaped, paragraph)
        out.append("")
    return out


def _paragraphs(lines: list[str]) -> list[list[str]]:
    """Runs of lines between empty ones; a list begins a new one, which reStructuredText wants to be told."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            if line.startswith("- ") and parts[-1] and not parts[-1][0].startswith("- "):
                parts.append([])
            parts[-1].append(line)
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def _is_drawing(paragraph: list[str]) -> bool:
    return any(sign in line for line in paragraph for sign in "─└┘")


def _spaced(line: str) -> str:
    """With its columns kept apart."""
    return re.sub(" {2,}", lambda gap: "\u00a0" * len(gap[0]), line)


def _escaped(line: str) -> str:
    """Stars, bars, underscores and "T." outside of code, which reStructuredText would take for markup."""
    line = re.sub(r"^(\s*\w+: |\s*)([A-Za-z0-9])\. ", r"\1\2\\. ", line)
    parts = MARKED.split(line)
    return "".join(part if i % 2 else re.sub(r"([*|]|_(?=\W|$))", r"\\\1", part) for i, part in enumerate(parts))
