"""What Python says and draws, for the browser to be compared with: python reference.py FILE.

Twenty prompts with settings, noise, final latents and pictures of `TextToImage`; the tokens and remarks of many texts;
with --judge FILE, how many of the pictures in it, drawn by the browser, show the digit that was asked for; and with
--png FILE, the pixels of a picture that the browser saved.
"""

from __future__ import annotations

import base64
import json
import random
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tinyldm.captions import DIGIT_WORDS, INK_WORDS, Description, write_caption
from tinyldm.images import image_and_mask
from tinyldm.pipeline import TextToImage
from tinyldm.text import tokenize

DRAWINGS = (
    {"prompt": "a thick red seven leaning left"},
    {"prompt": "7, blue on white", "seed": 1},
    {"prompt": "the digit three, thin strokes", "seed": 2, "sampler": "ddim"},
    {"prompt": "a bold yellow 5 on dark blue, leaning right", "seed": 3, "steps": 20},
    {"prompt": "", "seed": 4},
    {"prompt": "an emerald eight, upright", "seed": 5, "guidance": 7.5},
    {"prompt": "a purple 2 on white paper", "seed": 6, "guidance": 1.0},
    {"prompt": "zero", "seed": 7, "steps": 1},
    {"prompt": "zero", "seed": 7, "steps": 2},
    {"prompt": "one in orange ink", "seed": 8, "steps": 16, "sampler": "ddim"},
    {"prompt": "a paradise cosmic beach with a nine", "seed": 9},
    {"prompt": "four", "seed": 10, "negative": "thick strokes"},
    {"prompt": "six", "seed": 11, "negative": "red", "guidance": 5.0, "steps": 8},
    {"prompt": "TURQUOISE 0!!", "seed": 12, "guidance": 0.0},
    {"prompt": "a fat cyan 1, tilted to the right", "seed": 4294967295},
    {"prompt": "draw a wispy white 4 on slate", "seed": 123456789, "steps": 50},
    {"prompt": "a red five " * 40, "seed": 13},
    {"prompt": "émeraude 8 \U0001f600 <script>alert(1)</script>", "seed": 14},
    {"prompt": "a thin blue seven", "seed": 15, "strength": 0.6},
    {"prompt": "a green two", "seed": 16, "strength": 1.0, "masked": True},
    {"prompt": "a red seven", "seed": 17, "strength": 0.5, "masked": True, "sampler": "ddim", "steps": 25},
    {"prompt": "nine", "seed": 18, "count": 4},
)  # fmt: skip
SAID = (
    "", " ", "12", "a seven, then 2", "twenty", "a black seven", "5 on red", "white on white", "a seven, not red",
    "a red sevn", "a paradise cosmic beach", "a seven that isn't red", "blue background: white 3", "no slant, 5",
    "not leaning left 5", "without any slant", "3.14", "7s and 8s", "a pink seven on brown", "red and blue 5",
    "a red seven with black around it", "background color red", "colour: navy 4", "a grene 5", "blakc 3 on wite",
    "don't draw a seven", "I can’t see 4", "a 7 on a light grey wall", "seven_red", "\U0001f600 7", "ÜBER nine", "½ 7",
    "one one", "one two", "number one of a hundred", "ＦＵＬＬ width ７", "a\tred\nseven", "'s 't seven's",
    "thik siix gery",
    "<|endoftext|> seven", "<|startoftext|>", "x" * 300, "日本語 の 七", "e\u0301clair 5", "red" * 30, "semen whine",
    "a yellow 5 on dark-blue, leaning right", "4 in front of a deep blue wall", "nor 7", "dark blue seven", "silver 8",
)  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    if sys.argv[1] == "--judge":
        return judge(Path(sys.argv[2]))
    if sys.argv[1] == "--png":
        return middles(Path(sys.argv[2]))
    pipeline = TextToImage.from_pretrained(device="cpu", precision="fp32")
    rng = random.Random(0)
    texts = [*SAID, *(write_caption(_anything(rng), rng) for _ in range(300)), *(_garbage(rng) for _ in range(150))]
    content = {
        "picture": _pack(_picture(pipeline)),
        "mask": _pack(_mask()),
        "drawings": [_drawn(pipeline, **drawing) for drawing in DRAWINGS],
        "texts": [_read(pipeline, text) for text in texts],
        "captions": [_caption(rng) for _ in range(200)],
    }
    Path(sys.argv[1]).write_text(json.dumps(content), encoding="utf-8")


def _drawn(pipeline: TextToImage, prompt: str, seed: int = 0, count: int = 1, masked: bool = False, **given) -> dict:
    names = {"steps": "num_inference_steps", "guidance": "guidance_scale", "negative": "negative_prompt"}
    options = {names.get(name, name): value for name, value in given.items()}
    if "strength" in given:
        options["image"] = _picture(pipeline)[0]
    if masked:
        options["mask"] = _mask()
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = pipeline.images([prompt] * count, generator=generator, **options)
        latents = _latents(pipeline, [prompt] * count, seed, options)
    levels = ((images + 1) * 127.5).round().byte()
    drawing = {"prompt": prompt, "seed": seed, "count": count, "masked": masked, **given}
    return {**drawing, "noise": _pack(noise), "latents": _pack(latents), "levels": levels.flatten().tolist()}


def _latents(pipeline: TextToImage, prompts: list[str], seed: int, options: dict) -> Tensor:
    options = dict(options)
    image, mask = options.pop("image", None), options.pop("mask", None)
    if image is not None:
        given, redrawn = image_and_mask(image, mask, 32)
        options["init_latents"] = pipeline.encode(given)
        if redrawn is not None:
            options["mask"] = torch.nn.functional.max_pool2d(redrawn, 4)
    for step in pipeline.stream(prompts, generator=torch.Generator().manual_seed(seed), warn=False, **options):
        latents = step.x
    return latents


def _picture(pipeline: TextToImage) -> Tensor:
    """A blue four on white, in 256 levels, (1, 3, 32, 32)."""
    images = pipeline.images(["a blue 4 on white"], seed=3)
    return ((images + 1) * 127.5).round() / 127.5 - 1


def _mask() -> Tensor:
    mask = torch.zeros(32, 32)
    mask[5:22, 9:27] = 1
    return mask


def _read(pipeline: TextToImage, text: str) -> dict:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ids = tokenize(text)[0].tolist()
        cut = [str(warning.message) for warning in caught]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline._warn([text], "")
    return {"text": text, "ids": ids, "said": [str(warning.message) for warning in caught], "cut": cut}


def _anything(rng: random.Random) -> Description:
    return Description(
        rng.choice([None, *range(10)]),
        rng.choice([None, *INK_WORDS]),
        rng.choice([None, "black", "grey", "dark blue"]),
        rng.choice([None, "thin", "medium", "thick"]),
        rng.choice([None, "left", "upright", "right"]),
    )


def _caption(rng: random.Random) -> dict:
    said = Description(**{**_anything(rng).__dict__, "digit": rng.randrange(10)})
    return {"caption": write_caption(said, rng), "digit": said.digit}


def _garbage(rng: random.Random) -> str:
    """Known words, misspelt ones, numbers, signs and letters of many scripts, in any order."""
    words = [*DIGIT_WORDS, "red", "blu", "on", "not", "no", "pink", "background", "paper", "12", "7", "isn't", "-"]
    scripts = ((32, 127), (160, 0x2FFF), (0x1F300, 0x1F650))
    signs = [chr(rng.randrange(*rng.choice(scripts))) for _ in range(4)]
    return rng.choice((" ", ", ", "")).join(rng.choice([*words, *signs]) for _ in range(rng.randrange(1, 12)))


def judge(file: Path) -> None:
    """Print the share of pictures, as levels in a JSON file beside the digits asked for, that show their digit."""
    from tinyldm.evaluation import Judge, read

    drawn = json.loads(file.read_text("utf-8"))
    images = torch.tensor([picture["levels"] for picture in drawn]).view(-1, 3, 32, 32) / 127.5 - 1
    found = read(images, Judge.from_pretrained())
    right = [row.digit == picture["digit"] for row, picture in zip(found, drawn, strict=True)]
    print(json.dumps({"right": sum(right), "of": len(right)}))


def middles(file: Path) -> None:
    """Print the levels of a picture of 32 x 32 squares of one colour, (3, 32, 32)."""
    from PIL import Image

    large = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1)
    squares = large.unflatten(1, (32, -1)).unflatten(3, (32, -1))  # (3, 32, side, 32, side)
    assert (squares == squares[:, :, :1, :, :1]).all(), "a square has more than one colour"
    print(json.dumps(squares[:, :, 0, :, 0].flatten().tolist()))


def _pack(values: Tensor) -> str:
    return base64.b64encode(values.numpy().astype(np.float32).tobytes()).decode()


if __name__ == "__main__":
    main()
