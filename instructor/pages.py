"""Feedback pages: what a student gets back, one HTML file for each notebook, which shows everything and runs nothing.

The notebook comes from a stranger, and a teacher opens thirty of these pages. Design choices:
- `page.html` escapes whatever it shows. HTML and Markdown of a notebook go through bleach with a short list of tags, no
  style, no id, no class but those of highlighted code. Pictures are those that Pillow opens; SVG is left out.
- Nothing is loaded from anywhere, and a Content-Security-Policy forbids what might have been overlooked.
- Everything is cut before it is parsed, and a page has at most LIMIT bytes: graded cells first, then the others.
- A notebook's cells are counted from 1. That is the number in `Graded.place` ("cell 12") and in `Result.cells`.
"""

from __future__ import annotations

import base64
import io
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bleach.sanitizer import ALLOWED_TAGS, Cleaner
from bs4 import BeautifulSoup, Tag
from jinja2 import Environment, Template
from markupsafe import Markup, escape
from mistune import HTMLRenderer
from nbconvert.filters.ansi import strip_ansi
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from results import Graded, Result, lesson_title, points

LIMIT = 1_000_000  # bytes of a page
PICTURES = 0.65  # of what the exercises leave, for pictures
PICTURE = 60_000  # bytes of a picture that is shown as it is; a larger one is saved again, smaller
PIXELS = 25_000_000  # of a picture that is opened
SHOWN = (1200, 2400)  # pixels across and down that are shown
CELL = 20_000  # characters of a cell's text that are shown
OUTPUT = 8_000  # and of an output
OUTPUTS = 20  # of a cell
SECONDS = 10.0  # for cleaning Markdown, HTML and pictures; what is left then is shown as text or left out
SAID = 600  # characters of a sentence of the result

TAGS = ALLOWED_TAGS | {"br", "caption", "dd", "del", "details", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6"}
TAGS |= {"hr", "img", "kbd", "mark", "p", "pre", "s", "samp", "small", "span", "sub", "summary", "sup", "u", "var"}
TAGS |= {"table", "tbody", "td", "tfoot", "th", "thead", "tr"}
WITH_CONTENTS = ("script", "style", "svg", "math", "iframe", "object", "noscript", "template", "title", "textarea")
LINK = re.compile(r"(?:https?://|mailto:)[^\s\\]+\Z")
HIGHLIGHTED = re.compile(r"highlight|[a-z][a-z0-9]{0,2}\Z")  # the classes that Pygments gives
# Control characters, and those that turn text round.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
TITLES = re.compile("\x1b[\\]PX^_].*?(?:\x07|\x1b\\\\|$)", re.DOTALL)  # a terminal's title, and links in its text
RASTER = ("image/png", "image/jpeg", "image/gif", "image/webp")
CHECK = "# check (locked)"

OWN_FRAME = re.compile(r"\s*(?:Cell In ?\[|Input In ?\[|<ipython-input)")
OTHER_FRAME = re.compile(r"\s*(?:File\b|~?/|[A-Za-z]:\\|During handling|The above exception|-{20})")
FOLDERS = r"~(?=/)|/(?:home|Users|root|tmp|var|private|opt|usr|mnt|srv|media|content|workspace)(?=/)|[A-Za-z]:\\"
PACKAGES = r"(?:[A-Za-z]:)?[/\\][^\s'\"<>()]{0,300}[/\\](?:site|dist)-packages(?=[/\\])"
REST = r"[^\s'\"<>|:;,()\[\]]*"  # of a path, behind its folder


@dataclass
class Room:
    """What a page still has room for, in bytes, and the addresses of the pictures in it."""

    text: int
    pictures: int
    until: float = field(default_factory=lambda: time.monotonic() + SECONDS)
    addresses: set[str] = field(default_factory=set)


def page(result: Result, notebook: Any, *, rubric: Mapping[str, str] | None = None) -> str:
    """The feedback on a graded notebook, as HTML.

    Args:
        result: what is known of it.
        notebook: as it ran, nbformat 4; anything may be in it.
        rubric: of open questions, Markdown by number; shown beside the points.
    """
    cells = [cell for cell in _list(_get(notebook, "cells")) if isinstance(cell, dict)]
    places = {one.number: _place(one, cells) for one in result.exercises}
    frame = _frame(result, places, rubric or {})
    left = LIMIT - _size(_template().render(**frame)) - 5_000  # those for "cells 3 to 9 are left out"
    room = Room(left - int(PICTURES * left), int(PICTURES * left))
    return _encodable(_template().render(**frame | {"notebook": _cells(cells, result, places, room)}))


def total(result: Result) -> str:
    """ "7.5 of 8 points, and 3 more when a person has read your answer to 2.5"."""
    waiting = [one.number for one in result.exercises if one.open]
    if not result.exercises:
        return "Nothing in this notebook could be graded."
    read = f"when a person has read your answer{'s' * (len(waiting) > 1)} to {listed(waiting)}"
    if len(waiting) == len(result.exercises):
        return f"up to {points(result.waiting)} points {read}"
    return f"{points(result.points)} of {points(result.of)} points" + (
        f", and up to {points(result.waiting)} more {read}" if waiting else ""
    )


def listed(words: list[str]) -> str:
    """ "2.5", "2.5 and 2.6", "2.5, 2.6 and 2.7"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def unplaced(text: str) -> str:
    """Text without the folders of this machine: of a path, the last part is left."""
    return _paths().sub(lambda path: "…/" + re.split(r"[/\\]", path[0].rstrip("/\\"))[-1], text)


@cache
def _paths() -> re.Pattern[str]:
    course = Path(__file__).resolve().parent.parent
    known = {Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix), Path.cwd(), course}
    folders = sorted((str(path) for path in known if len(path.parts) > 1), key=len, reverse=True)
    ours = "|".join(re.escape(folder) + r"(?!\w)" for folder in folders)  # with spaces in them, perhaps
    return re.compile(rf"(?<![\w/.…])(?:file://)?(?:{ours}|{FOLDERS}|{PACKAGES}){REST}")


# ---------------------------------------------------------------- what the page says


@cache
def _template() -> Template:
    source = Path(__file__).with_name("page.html").read_text("utf-8")
    return Environment(autoescape=True, trim_blocks=True).from_string(source)


def _frame(result: Result, places: dict[str, int | None], rubric: Mapping[str, str]) -> dict[str, Any]:
    """Everything but the notebook."""
    room = Room(0, 0)
    exercises = [
        {
            "number": _cut(one.number, 20),
            "title": _cut(one.title, 150),
            "anchor": _anchor(one.number),
            "shown": places[one.number] is not None,
            "place": _cut(one.place, 100),
            "state": _state(one),
            "points": _points(one),
            "sentence": _said(one.sentence),
            "parts": [(_cut(part, 150), right) for part, right in one.parts[:20]] if _is_mixed(one) else [],
            "comment": _cut(one.comment, 5_000),
            "rubric": _markdown(rubric[one.number], {}, room) if one.number in rubric else "",
        }
        for one in result.exercises
    ]
    return {
        "name": _cut(result.student.name or result.student.id, 200),
        "title": _cut(lesson_title(result.lesson), 200),
        "total": total(result),
        "exercises": exercises,
        "notes": _notes(result),
        "light": Markup(HtmlFormatter(style="friendly").get_style_defs(".highlight").replace("</", "")),
        "dark": Markup(HtmlFormatter(style="github-dark").get_style_defs(".highlight").replace("</", "")),
    }


def _state(one: Graded) -> str:
    if one.open:
        return "waiting"
    return "right" if one.points >= one.of else "partly" if one.points > 0 else "wrong"


def _points(one: Graded) -> str:
    return f"waiting for a person (up to {points(one.of)})" if one.open else f"{points(one.points)} of {points(one.of)}"


def _notes(result: Result) -> list[Markup]:
    notes = [_said(f"Cell {number}: {what}") for number, what in result.cells] + [_said(note) for note in result.notes]
    more = [_said(f"And {len(notes) - 40} more of these.")] if len(notes) > 40 else []
    return notes[:40] + more


def _anchor(number: str) -> str:
    return "exercise-" + re.sub(r"\W", "-", number)


def _place(one: Graded, cells: list[dict]) -> int | None:
    """The cell (counted from 1) at which the page gives a verdict, if there is one."""
    found = re.match(r"cells? (\d{1,9})\b", one.place)
    if found and (at := _position(int(found[1]), cells)):
        return at
    wanted = "ex-" + one.number.replace(".", "-")
    return next((at for at, cell in enumerate(cells, 1) if _grade_id(cell) == wanted), None)


def _is_mixed(one: Graded) -> bool:
    return len({right for _, right in one.parts}) > 1


def _position(number: int, cells: list[dict]) -> int | None:
    """The place, counted from 1, of a cell that was the student's cell ``number``; `repair` leaves some out."""
    return next((at for at, cell in enumerate(cells, 1) if _number(cell, at) == number), None)


def _number(cell: dict, at: int) -> int:
    """Which cell of the student's notebook this was; ``at`` if that isn't known."""
    number = _get(_get(_get(cell, "metadata"), "tinyldm"), "cell")
    return number if isinstance(number, int) else at


def _grade_id(cell: dict) -> str:
    return str(_get(_get(_get(cell, "metadata"), "nbgrader"), "grade_id"))


# ---------------------------------------------------------------- the notebook


def _cells(cells: list[dict], result: Result, places: dict[str, int | None], room: Room) -> Markup:
    """The cells as HTML. Those with a verdict have room first; where there is no more, the rest is left out."""
    verdicts: dict[int, list[Graded]] = {}
    for one in result.exercises:
        verdicts.setdefault(places[one.number] or 0, []).append(one)
    events: dict[int, list[str]] = {}
    for number, event in result.cells:
        events.setdefault(_position(number, cells) or 0, []).append(event)
    shown: dict[int, Markup] = {}
    for number in sorted(range(1, len(cells) + 1), key=lambda number: number not in verdicts):
        said = (verdicts.get(number, []), events.get(number, []))
        html, size = _measured(number, cells[number - 1], said, room)
        if size > room.text and number in verdicts:
            html, size = _measured(number, {"source": "(This cell is too long for the page.)"}, said, room)
        if size > room.text:
            break
        shown[number] = html
        room.text -= size
    return Markup("\n").join(_with_gaps(shown, len(cells)))


def _with_gaps(shown: dict[int, Markup], count: int) -> list[Markup]:
    pieces, before = [], 0
    for number in [*sorted(shown), count + 1]:
        if number > before + 1:
            which = f"Cells {before + 1} to {number - 1} are" if number > before + 2 else f"Cell {before + 1} is"
            pieces.append(_left_out(f"{which} left out: a page has at most {LIMIT // 1_000_000} MB."))
        if number in shown:
            pieces.append(shown[number])
        before = number
    return pieces


def _measured(number: int, cell: dict, said: tuple[list[Graded], list[str]], room: Room) -> tuple[Markup, int]:
    """A cell as HTML, and its bytes without the pictures."""
    before = room.pictures
    html = _cell(number, cell, *said, room)
    return html, _size(html) - (before - room.pictures)


def _cell(number: int, cell: dict, verdicts: list[Graded], events: list[str], room: Room) -> Markup:
    try:
        body = _body(cell, bool(verdicts), room)
    except Exception as error:  # whatever a stranger's notebook may cause
        body = _left_out(f"This cell cannot be shown ({type(error).__name__}).")
    notes = [Markup('<p class="left-out">This cell: {}</p>').format(_said(event)) for event in events[:5]]
    label = Markup('<div class="one-cell" id="cell-{0}"><div class="cell-number">cell {1}</div>\n').format(
        number, _number(cell, number)
    )
    return label + body + Markup("").join([*notes, Markup("</div>"), *map(_verdict, verdicts)])


def _verdict(one: Graded) -> Markup:
    return Markup('<div class="verdict-box state-{}" id="{}"><strong>Exercise {}: {}{}</strong> {}</div>').format(
        _state(one),
        _anchor(one.number),
        _cut(one.number, 20),
        _points(one),
        "" if one.open else " points",
        Markup("<p>{}</p>").format(_said(one.sentence)) if one.sentence else "",
    )


def _body(cell: dict, graded: bool, room: Room) -> Markup:
    kind, source = _get(cell, "cell_type"), _joined(_get(cell, "source"))
    if not graded and (source.lstrip().startswith(CHECK) or _grade_id(cell).endswith("-check")):
        return _left_out("The check of an exercise.")  # what it says stands with the answer
    if kind == "markdown":
        return _shortened(_markdown(source[:CELL], _get(cell, "attachments"), room), len(source), CELL)
    if kind != "code":
        return _pre(source[:CELL])
    code = Markup(highlight(_clean(source[:CELL]), PythonLexer(stripnl=False), HtmlFormatter()))
    return _shortened(code, len(source), CELL) + _outputs(_list(_get(cell, "outputs")), room)


def _outputs(outputs: list, room: Room) -> Markup:
    shown = list(islice(_shown(outputs, room), OUTPUTS + 1))
    if len(shown) > OUTPUTS:
        shown[OUTPUTS:] = [_left_out(f"Of this cell, the first {OUTPUTS} outputs are shown.")]
    return Markup("").join(Markup('<div class="cell-output">{}</div>').format(one) for one in shown if one)


def _shown(outputs: list, room: Room) -> Iterator[Markup]:
    """One output after the other; what was printed in pieces is one."""
    for stream, group in groupby((one for one in outputs if isinstance(one, dict)), key=_stream):
        if stream:
            yield _text("".join(_joined(_get(one, "text")) for one in group), stream)
        else:
            yield from (_output(one, room) for one in group)


def _stream(output: dict) -> str:
    """Which stream an output is of; "" of none."""
    if _get(output, "output_type") != "stream":
        return ""
    return "stderr" if _get(output, "name") == "stderr" else "stdout"


def _text(text: str, stream: str = "stdout") -> Markup:
    """What was printed: its beginning and its end, if it is long."""
    shown = Markup('<pre class="from-{}">{}</pre>')
    if len(text) <= OUTPUT:
        return shown.format(stream, _printed(text)) if text else Markup("")
    head, tail = text[: OUTPUT * 3 // 4], text[-(OUTPUT // 4) :]
    gap = _left_out(f"… {len(text) - OUTPUT:,} characters are left out …")
    return shown.format(stream, _printed(head)) + gap + shown.format(stream, _printed(tail))


def _printed(text: str) -> str:
    """As a terminal shows it: no codes, and of a line that overwrites itself the last state."""
    text = _clean(strip_ansi(TITLES.sub("", text)))
    return unplaced("\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")))


def _output(output: dict, room: Room) -> Markup:
    if _get(output, "output_type") == "error":
        return _error(output)
    data = _get(output, "data")
    data = data if isinstance(data, dict) else {}
    for kind in RASTER:
        if kind in data:
            return _picture(_joined(data[kind]), room)
    if "image/svg+xml" in data:
        return _left_out("A drawing (SVG) is left out: it could run code. PNG pictures are shown.")
    for kind, show in (("text/html", _html), ("text/markdown", _markdown)):
        if kind in data:
            text = _joined(data[kind])
            return _shortened(show(unplaced(text[:CELL]), {}, room), len(text), CELL)
    if "application/javascript" in data:
        return _left_out("A script is left out.")
    return _text(_joined(data.get("text/latex") or data.get("text/plain", "")))


def _error(output: dict) -> Markup:
    """A student's own error: the lines of the notebook that led to it, and what it says; nothing of other files."""
    text = "\n".join(str(line)[:OUTPUT] for line in _list(_get(output, "traceback"))[:200])
    last = _printed(f"{_joined(_get(output, 'ename'))[:100]}: {_joined(_get(output, 'evalue'))[:SAID]}")
    own, lines = False, []
    for line in _printed(text[: 10 * OUTPUT]).splitlines():
        own = bool(OWN_FRAME.match(line)) or (own and not OTHER_FRAME.match(line))
        if own and line.strip() and line.strip() != last.strip():
            lines.append(line[:300])
    before = Markup("<pre>{}</pre>").format("\n".join(lines[:40])) if lines else ""
    return before + Markup('<pre class="last-line">{}</pre>').format(last)


# ---------------------------------------------------------------- strangers' HTML, Markdown and pictures


class _Renderer(IPythonRenderer):
    def image(self, text: str, url: str, title: str | None = None) -> str:
        return HTMLRenderer.image(self, text, url, title)  # attachments are looked up in `_html`


def _markdown(source: str, attachments: Any, room: Room) -> Markup:
    if time.monotonic() > room.until:
        return _pre(source)
    rendered = MarkdownWithMath(_Renderer(escape=False, exclude_anchor_links=True)).render(_clean(source))
    return _html(rendered, attachments, room)


def _html(source: str, attachments: Any, room: Room) -> Markup:
    """Cleaned HTML: what is not on the lists is gone."""
    if time.monotonic() > room.until:
        return _pre(source)
    soup = BeautifulSoup(_clean(source), "html.parser")
    for tag in soup(WITH_CONTENTS):
        tag.decompose()
    for image in soup("img"):
        image.replace_with(BeautifulSoup(_image(image, attachments, room), "html.parser"))

    def allowed(tag: str, name: str, value: str) -> bool:
        return _allowed(tag, name, value) or ((tag, name) == ("img", "src") and value in room.addresses)

    protocols = ("http", "https", "mailto", "data")  # "data": of the pictures; `allowed` looks closer
    return Markup(Cleaner(TAGS, allowed, protocols, strip=True, strip_comments=True).clean(str(soup)))


def _allowed(tag: str, name: str, value: str) -> bool:
    if tag == "a":
        return name == "href" and bool(LINK.match(value))
    if name == "class":
        return tag in ("div", "span") and bool(HIGHLIGHTED.fullmatch(value))
    return (name == "alt" and tag == "img") or (name in ("colspan", "rowspan") and value.isdecimal() and len(value) < 3)


def _image(image: Tag, attachments: Any, room: Room) -> Markup:
    source = str(image.get("src", ""))
    if source.startswith("attachment:"):
        found = _get(attachments, unquote(source.removeprefix("attachment:")))
        data = next((_joined(_get(found, kind)) for kind in RASTER if _get(found, kind)), None)
    else:
        data = source.partition(";base64,")[2] if source.startswith("data:image/") else None
    if data:
        return _picture(data, room)
    return Markup("<i>[{}: a picture that is not in the notebook]</i>").format(image.get("alt", "") or "left out")


def _picture(data: str, room: Room) -> Markup:
    """A picture in base64, as the page shows it, or why it doesn't."""
    if len(data) > 10_000_000:
        return _left_out("A picture is left out: it has more than 10 MB.")
    try:
        with warnings.catch_warnings(action="error"):
            kind, content = _small(base64.b64decode(data), time.monotonic() < room.until)
    except (OSError, ValueError, SyntaxError, MemoryError, Warning, Image.DecompressionBombError):
        return _left_out("A picture is left out: it is damaged, too large, or not PNG, JPEG, GIF or WebP.")
    address = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    room.pictures -= len(address) + 50
    if room.pictures < 0:
        room.pictures += len(address) + 50
        return _left_out("A picture is left out: the pictures of this page have used up their space.")
    room.addresses.add(address)
    return Markup('<img alt="picture" src="{}">').format(address)


def _small(content: bytes, in_time: bool) -> tuple[str, bytes]:
    """Kind and bytes of a picture, saved again if it is large."""
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "GIF", "WEBP")) as image:
        kind, pixels = str(image.format).lower(), image.width * image.height
        if len(content) <= PICTURE and pixels <= SHOWN[0] * SHOWN[1]:
            image.verify()
            return kind, content
        if pixels > PIXELS or not in_time:
            raise ValueError("too large")
        image.thumbnail(SHOWN)
        again = io.BytesIO()
        image.convert("RGBA" if image.mode in ("P", "LA", "PA") else image.mode).save(again, "WEBP", quality=80)
    return "webp", again.getvalue()


# ---------------------------------------------------------------- small things


def _get(thing: Any, name: str) -> Any:
    """Of what should be a dictionary."""
    return thing.get(name, "") if isinstance(thing, dict) else ""


def _list(thing: Any) -> list:
    return thing if isinstance(thing, list) else []


def _joined(text: Any) -> str:
    """nbformat allows a string, or a list of strings."""
    return text if isinstance(text, str) else "".join(one for one in _list(text) if isinstance(one, str))


def _clean(text: str) -> str:
    return CONTROLS.sub("", text)


def _cut(text: str, most: int) -> str:
    text = unplaced(_clean(strip_ansi(str(text)[: 2 * most])))
    return text if len(text) <= most else text[: most - 1] + "…"


def _said(text: str) -> Markup:
    """A sentence, with what stands in backquotes as code."""
    return Markup(re.sub(r"`([^`\n]+)`", r"<code>\1</code>", str(escape(_cut(text, SAID)))))


def _pre(text: str) -> Markup:
    return Markup("<pre>{}</pre>").format(_clean(text))


def _left_out(why: str) -> Markup:
    return Markup('<p class="left-out">{}</p>').format(why)


def _shortened(shown: Markup, length: int, most: int) -> Markup:
    return shown + _left_out(f"Shortened: {most:,} of {length:,} characters are shown.") if length > most else shown


def _size(html: str) -> int:
    return len(html.encode("utf-8", "replace"))


def _encodable(html: str) -> str:
    return html.encode("utf-8", "replace").decode("utf-8")
