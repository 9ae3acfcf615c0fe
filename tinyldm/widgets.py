"""Interactive notebook elements: sliders, a sketchpad, the playground. What they lack, they name, and do without."""

from __future__ import annotations

import base64
import contextlib
import inspect
import io
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

SCRIPT = Path(__file__).with_name("sketchpad.js")
PLAYGROUND = Path(__file__).parents[1] / "site" / "playground" / "dist"
_CANVAS = """<canvas width=256 height=256 style="background:black; touch-action:none; cursor:crosshair"></canvas>
<button>clear</button>
<script>{script}</script>"""


def sliders(draw: Callable[..., Any], **choices: Sequence[Any]) -> None:
    """Show ``draw(...)`` under sliders and menus; without ipywidgets, say so and show nothing.

    Args:
        draw: makes a figure from arguments that have the names of ``choices``; they start at its defaults.
        choices: for each argument a pair (lowest, highest) of numbers, or the strings to choose from.
    """
    try:
        from IPython.display import display
        from ipywidgets import interact, interactive
    except ImportError:
        print("Sliders need ipywidgets (pip install ipywidgets). The picture below comes from the same function.")
        return
    starts = {name: parameter.default for name, parameter in inspect.signature(draw).parameters.items()}
    menus = {
        name: interactive.widget_from_abbrev(list(choice) if isinstance(choice[0], str) else choice, starts[name])
        for name, choice in choices.items()
    }
    interact(lambda **chosen: display(draw(**chosen)), **menus)


class Sketchpad:
    """A black square to draw in with the mouse, in a notebook; until something is drawn, an example takes its place.

    The browser writes the drawing as a PNG into a hidden text widget, which JupyterLab and Colab pass back to Python.
    """

    def __init__(self) -> None:
        self._text = None
        with contextlib.suppress(ImportError):
            from ipywidgets import Layout, Textarea

            self._text = Textarea(layout=Layout(display="none"))
            self._text.add_class("tinyldm-sketch")

    def show(self) -> None:
        """Put the square on the page."""
        if self._text is None:
            print("The sketchpad needs ipywidgets (pip install ipywidgets). An example stands in for a drawing.")
            return
        from IPython.display import HTML, display

        display(self._text, HTML(_CANVAS.format(script=SCRIPT.read_text("utf-8"))))

    def picture(self) -> PILImage:
        """The drawing as a PIL image, white on black."""
        from PIL import Image, ImageDraw

        if self._text is not None and self._text.value:
            return Image.open(io.BytesIO(base64.b64decode(self._text.value.split(",")[1]))).convert("RGB")
        example = Image.new("RGB", (256, 256))
        ImageDraw.Draw(example).line([(70, 50), (60, 140), (190, 135)], "white", 22, joint="curve")
        ImageDraw.Draw(example).line([(180, 70), (165, 220)], "white", 22)
        return example


def playground(height: int = 900) -> None:
    """Show the web page's playground in a notebook cell, from the files that ``make site`` builds in a clone.

    Without these files, it says how to get them. The notebook must run on the computer that shows it, or on Colab.

    Args:
        height: of the cell, in pixels.
    """
    if not (PLAYGROUND / "index.html").exists():
        print("The playground is not built here: `make site` in a clone of the course does so, with Node 20 or newer.")
        return
    port = _serve(PLAYGROUND)
    if "google.colab" in sys.modules:  # whose browser reaches this computer only through Colab
        sys.modules["google.colab"].output.serve_kernel_port_as_iframe(port, height=str(height))
        return
    from IPython.display import IFrame, display

    display(IFrame(f"http://127.0.0.1:{port}/", "100%", height))


class _Files(SimpleHTTPRequestHandler):
    """Serves a folder without a word; some Windows systems would call a script a plain text."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".js": "text/javascript"}

    def log_message(self, *arguments: Any) -> None:
        pass


@cache
def _serve(folder: Path) -> int:
    """Serve a folder to this computer alone, for as long as the notebook runs: the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port
