"""Ten digits from MNIST's test set, in colour, for "Guess the noise": src/digits.png and their captions, digits.json.

python site/playground/digits.py writes them. MNIST is under CC BY-SA 3.0 (data/README.md), and so is digits.png.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F

from tinyldm.data import load_mnist
from tinyldm.images import save_png
from tinyldm.measure import BACKGROUNDS, INKS, paint

FOLDER = Path(__file__).parent / "src"
COLOURS = (
    ("cyan", "black"), ("orange", "dark blue"), ("blue", "white"), ("yellow", "black"), ("green", "black"),
    ("red", "grey"), ("white", "dark blue"), ("purple", "white"), ("white", "black"), ("red", "black"),
)  # fmt: skip
CHOSEN = (0, 2, 1, 1, 0, 2, 0, 0, 1, 3)  # which of each digit's pictures: clear ones


def digits() -> tuple[torch.Tensor, list[str]]:
    """The ten pictures, (10, 3, 32, 32) in [-1, 1], and a caption for each."""
    mnist = load_mnist("test")
    rows = [(mnist.labels == digit).nonzero()[n, 0] for digit, n in enumerate(CHOSEN)]
    coverage = F.pad(mnist.images[torch.stack(rows)], (2, 2, 2, 2)) / 255
    inks = torch.tensor([INKS[ink] for ink, _ in COLOURS])
    backgrounds = torch.tensor([BACKGROUNDS[background] for _, background in COLOURS])
    captions = [f"a {ink} {digit} on {background}" for digit, (ink, background) in enumerate(COLOURS)]
    return paint(coverage, inks, backgrounds), [caption.replace("a orange", "an orange") for caption in captions]


if __name__ == "__main__":
    pictures, captions = digits()
    save_png(torch.cat(list(pictures), dim=2), FOLDER / "digits.png")
    (FOLDER / "digits.json").write_text(json.dumps(captions, indent=1) + "\n", encoding="utf-8")
