"""Sphinx's settings; `make_site.py` writes the pages that they apply to."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import tinyldm  # noqa: E402

project = "tinyldm"
author = "the authors of tinyldm"
project_copyright = "the authors of tinyldm; text under CC BY 4.0, code under Apache 2.0"
version = release = tinyldm.__version__
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "dress"]
root_doc = "index"
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
# A formula is no link, nor are two classes of one name (the UNet's MidBlock, the autoencoder's) a mistake.
suppress_warnings = ["ref.python"]

default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 60
napoleon_google_docstring = True
napoleon_numpy_docstring = False

smartquotes_action = "qe"  # quotes and ellipses; two dashes begin an option of a command

html_theme = "furo"
html_title = "tinyldm"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_favicon = str(HERE / "static" / "icon.svg")
html_copy_source = False
html_show_sphinx = False
html_permalinks_icon = "#"
html_math_renderer = "mathml"
html_extra_path = [path for path in (os.environ.get("TINYLDM_EXTRA"),) if path]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#9a3412", "color-brand-content": "#9a3412"},
    "dark_css_variables": {"color-brand-primary": "#ffb870", "color-brand-content": "#ffb870"},
    "source_repository": "https://github.com/tinyldm/tinyldm/",
}
pygments_style, pygments_dark_style = "a11y-high-contrast-light", "a11y-high-contrast-dark"
