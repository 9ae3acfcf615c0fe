"""The tables of tinyldm.captions that the playground needs to say the same of a prompt, as src/captions.json.

python site/playground/caption_tables.py writes them; a test holds the file in step with the package.
"""

from __future__ import annotations

import json
from pathlib import Path

from tinyldm import captions

FILE = Path(__file__).parent / "src" / "captions.json"
NAMES = (
    "DIGIT_WORDS", "INK_WORDS", "BACKGROUND_WORDS", "BACKGROUND_FORMS", "INK_FORMS", "STROKE_WORDS", "SIDE_WORDS",
    "UPRIGHT_FORMS", "NUMBER_WORDS", "OTHER_COLOURS", "NEGATIONS", "SHADES", "SLIPS", "NO_SLIPS", "ARTICLES",
)  # fmt: skip


def tables() -> str:
    """The file's text: each table without repetitions, in its order."""
    return json.dumps({name: _distinct(getattr(captions, name)) for name in NAMES}, indent=1, ensure_ascii=False) + "\n"


def _distinct(table: dict[str, tuple[str, ...]] | tuple[str, ...]) -> dict[str, list[str]] | list[str]:
    if isinstance(table, dict):
        return {name: list(dict.fromkeys(words)) for name, words in table.items()}
    return list(dict.fromkeys(table))


if __name__ == "__main__":
    FILE.write_text(tables(), encoding="utf-8")
