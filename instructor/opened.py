"""A notebook from the bytes of a file, whatever happened to it on its way; or a sentence that says what the file is.

Students' files come in any encoding, with something behind the end, in old formats, without ids, with metadata that no
notebook program would write. What can be read is made a valid notebook of format 4, and notes say what was mended. Its
outputs are left out, since it will be run again, and so are metadata that say nothing about grading.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import nbformat
from nbformat import NotebookNode
from nbformat.v4.rwbase import rejoin_lines

CELLS = 2000  # more than that is no one's work
UNPACK = "which is not opened here: unpack it and put the notebooks in its place"
MAGIC = (
    (b"PK\x03\x04", "it is a zip archive or an Office document, saved under another name or damaged"),
    (b"PK\x05\x06", "it is an empty zip archive"),
    (b"Rar!", f"it is a RAR archive, {UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"it is a 7-Zip archive, {UNPACK}"),
    (b"\x1f\x8b", f"it is a gzip archive, {UNPACK}"),
    (b"BZh", f"it is a bzip2 archive, {UNPACK}"),
    (b"\xfd7zXZ", f"it is an xz archive, {UNPACK}"),
    (b"%PDF", "it is a PDF, not a notebook: ask for the .ipynb file"),
    (b"\x89PNG", "it is a picture, not a notebook: ask for the .ipynb file"),
    (b"\xff\xd8\xff", "it is a picture, not a notebook: ask for the .ipynb file"),
    (b"{\\rtf", "it is a text document (RTF), not a notebook: ask for the .ipynb file"),
    (b"version https://git-lfs", "it is a pointer to a file that Git LFS keeps: run `git lfs pull` first"),
)
ARCHIVES = {".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz"}
PAGE = re.compile(
    r"\s*(<\?xml[^>]*>\s*)?(<!--((?!-->).)*-->\s*)*<(!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class NoNotebook(Exception):
    """Why a file is not a notebook, in words."""


@dataclass
class Opened:
    """A notebook, or else the reason why there is none; and what was noticed."""

    notebook: NotebookNode | None = None
    reason: str = ""
    notes: list[str] = field(default_factory=list)


def opened(data: bytes, name: str) -> Opened:
    """What a file of this name holds."""
    result = Opened()
    try:
        result.notebook = _mended(_parsed(data, name, result.notes), result.notes)
    except NoNotebook as reason:
        result.reason = f"not graded: {reason}"
    except (RecursionError, MemoryError):
        result.reason = "not graded: it is nested too deeply to be a notebook"
    return result


def _parsed(data: bytes, name: str, notes: list[str]) -> dict:
    if not data.strip(b"\0\t\r\n "):
        raise NoNotebook(f"the file {'holds only zeros' if data else 'is empty'}")
    for magic, sentence in MAGIC:
        if data.startswith(magic):
            raise NoNotebook(sentence)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in ARCHIVES:
        raise NoNotebook(f"it is a {suffix} archive, {UNPACK}")
    text = _text(data, notes).lstrip("\ufeff\0\t\r\n ")
    is_named = re.search(r"\.ipynb(?![^\W_])", name, re.IGNORECASE)
    is_one = text.startswith("{") and ('"cells"' in text or '"worksheets"' in text)
    if not is_named and not is_one:
        raise NoNotebook(f"a {suffix} file, not a notebook" if suffix else "not a notebook")
    if suffix != ".ipynb":
        notes.append(f"the file's name ends with {suffix}" if suffix else "the file's name has no ending")
    return _json(text, notes)


def _text(data: bytes, notes: list[str]) -> str:
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        notes.append("not in UTF-8: read as Windows-1252, so some letters may be wrong")
        return data.decode("cp1252", "replace")
    if not encoding.startswith("utf-8"):
        notes.append(f"read as {encoding[:6].upper()}")
    return text


def _json(text: str, notes: list[str]) -> dict:
    try:
        found, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        raise NoNotebook(_what_is(text, error)) from None
    except ValueError:
        raise NoNotebook("it has a number too long to be a notebook's") from None
    if not isinstance(found, dict):
        raise NoNotebook("its text is JSON, but not a notebook")
    if text[end:].strip("\0\t\r\n "):
        notes.append("there was something behind the notebook's end, which is left out")
    if SURROGATE.search(text):  # half a character, which cannot be written again
        found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
    return found


def _what_is(text: str, error: json.JSONDecodeError) -> str:
    if PAGE.match(text[:20_000]):
        return "it is a web page saved under a notebook's name: ask for a download of the notebook itself"
    if CONFLICT.search(text):
        return "it holds a Git conflict (lines with <<<<<<< and >>>>>>>), which its author must settle"
    if not text.startswith("{"):
        return "its text is not a notebook's"
    if not text[error.pos :].strip() or error.msg.startswith("Unterminated"):
        return "it ends in the middle, perhaps since its upload broke off"
    return f"its text is damaged in line {error.lineno}"


def _mended(raw: dict, notes: list[str]) -> NotebookNode:
    """The parsed text as a valid notebook of format 4."""
    if "cells" not in raw and "worksheets" in raw:
        raw = _upgraded(raw, notes)
    if not isinstance(raw.get("cells"), list):
        raise NoNotebook("its text is JSON, but it has no cells")
    if len(raw["cells"]) > CELLS:
        raise NoNotebook(f"it has more than {CELLS} cells")
    cells = [_cell(cell, notes) for cell in raw["cells"] if isinstance(cell, dict)]
    if len(cells) < len(raw["cells"]):
        notes.append("something in its list of cells is not a cell, and is left out")
    _give_ids(cells)
    metadata = _notebook_metadata(raw.get("metadata"), notes)
    return _valid({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}, notes)


def _upgraded(raw: dict, notes: list[str]) -> dict:
    """A notebook of format 1 to 3, as old programs write it."""
    found = raw.get("nbformat")
    major = int(found) if found in (1, 2, 3) else 3
    try:
        whole = {"metadata": {}} | raw | {"nbformat": major, "nbformat_minor": 0}
        new = nbformat.convert(nbformat.versions[major].to_notebook_json(whole), 4)  # joins the lines of cells
    except RecursionError:
        raise
    except Exception:  # whatever the old format's reader stumbles over
        raise NoNotebook(f"it is in notebook format {major}, and damaged") from None
    notes.append(f"it was in notebook format {major}")
    for name in ("orig_nbformat", "orig_nbformat_minor"):
        new.metadata.pop(name, None)
    return new | {"cells": [{**cell, "id": None} for cell in new.cells]}  # its new ids are random


def _cell(cell: dict, notes: list[str]) -> dict:
    kind = cell.get("cell_type")
    if kind not in ("code", "markdown", "raw"):
        notes.append(f"a cell of the unknown kind {str(kind)[:20]!r}")
        kind = "code" if "outputs" in cell else "markdown"
    new = {"cell_type": kind, "source": _joined(cell.get("source")), "metadata": _metadata(cell.get("metadata"), notes)}
    new["id"] = cell.get("id")
    if kind == "code":
        new |= {"execution_count": None, "outputs": []}  # it will be run again
    elif isinstance(cell.get("attachments"), dict):
        new["attachments"] = cell["attachments"]
    return new


def _joined(source) -> str:
    if isinstance(source, list):
        return "".join(map(_joined, source))
    return source if isinstance(source, str) else "" if source is None else str(source)


def _metadata(found, notes: list[str]) -> dict:
    if not isinstance(found, dict):
        notes += ["a cell's metadata is of the wrong type"] * (found is not None)
        return {}
    marks = found.get("nbgrader", {})
    if not isinstance(marks, dict) or not isinstance(marks.get("grade_id", ""), str):
        notes.append("a cell's nbgrader metadata is of the wrong type")
        return {}
    return {"nbgrader": marks} if marks else {}


def _notebook_metadata(found, notes: list[str]) -> dict:
    if not isinstance(found, dict):
        notes.append("the notebook's metadata is missing or of the wrong type")
        return {}
    wanted = {"kernelspec": ("name", "display_name"), "language_info": ("name",), "tinyldm": ()}
    kept = {}
    for key, names in wanted.items():
        value = found.get(key)
        if isinstance(value, dict) and all(isinstance(value.get(name), str) for name in names):
            kept[key] = value
        elif key in found:
            notes.append(f"the notebook's metadata {key!r} is of the wrong type")
    return kept


def _give_ids(cells: list[dict]) -> None:
    """A new id to each cell without one that is valid and its own."""
    taken = set()
    for number, cell in enumerate(cells):
        if not isinstance(cell["id"], str) or not re.fullmatch(r"[\w-]{1,64}", cell["id"], re.ASCII):
            cell["id"] = f"mended-{number}"
        while cell["id"] in taken:
            cell["id"] = f"mended-{number}-{len(taken)}"
        taken.add(cell["id"])


def _valid(notebook: dict, notes: list[str]) -> NotebookNode:
    try:
        return _validated(notebook)
    except RecursionError:
        raise
    except Exception:  # anything can be in a stranger's attachments and metadata
        notes.append("attachments and metadata that no notebook program writes are left out")
    for cell in notebook["cells"]:
        cell.pop("attachments", None)
    notebook["metadata"] = {key: value for key, value in notebook["metadata"].items() if key == "tinyldm"}
    try:
        return _validated(notebook)
    except nbformat.ValidationError as error:
        raise NoNotebook(f"it cannot be mended: {' '.join(error.message.split())[:100]}") from None


def _validated(notebook: dict) -> NotebookNode:
    node = rejoin_lines(nbformat.from_dict(notebook))
    nbformat.validate(node)
    return node
