"""Sliders hand on what was chosen, a drawing comes back, and without ipywidgets both say so in one line."""

import base64
import io
import re
import sys
import urllib.error
import urllib.request

import pytest
from PIL import Image

from tinyldm import widgets
from tinyldm.widgets import Sketchpad, playground, sliders

# ---------------------------------------------------------------- sliders


def test_without_ipywidgets_sliders_say_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    sliders(lambda t: None, t=(0, 9))
    out = capsys.readouterr().out
    assert out.startswith("Sliders need ipywidgets") and out.count("\n") == 1


def test_sliders_call_the_function_with_the_chosen_values(monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets")
    given, drawn = {}, []
    monkeypatch.setattr(ipywidgets, "interact", lambda draw, **choices: given.update(draw=draw, **choices))
    sliders(lambda t, kind: drawn.append((t, kind)), t=(0, 9), kind=("linear", "cosine"))
    assert (given["t"].min, given["t"].max) == (0, 9) and given["kind"].options == ("linear", "cosine")
    given["draw"](t=3, kind="cosine")
    assert drawn == [(3, "cosine")]


def test_sliders_start_at_the_functions_own_defaults(monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets")
    given = {}
    monkeypatch.setattr(ipywidgets, "interact", lambda draw, **choices: given.update(choices))
    sliders(lambda t=7, s=0.25, kind="cosine": None, t=(0, 9), s=(0.0, 1.0), kind=("linear", "cosine"))
    assert {name: widget.value for name, widget in given.items()} == {"t": 7, "s": 0.25, "kind": "cosine"}


# ---------------------------------------------------------------- the sketchpad


def test_a_drawing_comes_back_as_a_picture():
    pytest.importorskip("ipywidgets")
    pad, drawn, png = Sketchpad(), Image.new("RGB", (256, 256), (0, 0, 200)), io.BytesIO()
    drawn.save(png, "PNG")
    pad._text.value = "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()  # what the browser writes
    assert pad.picture().tobytes() == drawn.tobytes()


def test_until_something_is_drawn_an_example_stands_in(monkeypatch, capsys):
    example = Sketchpad().picture()
    assert example.size == (256, 256) and example.getextrema()[0] == (0, 255)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    pad = Sketchpad()
    pad.show()
    assert capsys.readouterr().out.startswith("The sketchpad needs ipywidgets")
    assert pad.picture().tobytes() == example.tobytes()


# ---------------------------------------------------------------- the playground


def test_without_its_files_the_playground_says_how_to_get_them(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(widgets, "PLAYGROUND", tmp_path)
    playground()
    out = capsys.readouterr().out
    assert "make site" in out and out.count("\n") == 1


def test_the_playground_is_served_from_its_files_to_this_computer_alone(monkeypatch, tmp_path, capfd):
    display = pytest.importorskip("IPython.display")
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "page.js").write_text("the program")
    monkeypatch.setattr(widgets, "PLAYGROUND", tmp_path)
    shown = []
    monkeypatch.setattr(display, "display", shown.append)
    playground()
    playground()  # the same server serves both
    address, again = (re.search(r'src="(http://127\.0\.0\.1:\d+/)"', cell._repr_html_())[1] for cell in shown)
    assert address == again
    with urllib.request.urlopen(address) as page, urllib.request.urlopen(f"{address}page.js") as program:
        assert page.read() == b"the page" and program.headers["Content-Type"] == "text/javascript"
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(f"{address}../../etc/passwd")
    assert capfd.readouterr() == ("", "")
