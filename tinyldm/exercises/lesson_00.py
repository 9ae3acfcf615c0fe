"""The exercises of lesson 00, the overview."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Generator, Tensor

from ..checks import Case, Exercise, Twist
from ..images import to_pil
from . import twists

# ---------------------------------------------------------------- 0.1


def pad(words: list[int]) -> list[int]:
    words = words[:75]
    return [49406, *words, *[49407] * (76 - len(words))]


def _prompts(random: Generator) -> list[Case]:
    counts = (3, 8, 74, 75, 76, 120, 1, 0)
    prompts = [{"words": torch.randint(300, 49000, (count,), generator=random).tolist()} for count in counts]
    prompts[1]["words"][5] = prompts[1]["words"][2]  # "a red seven on a red ground"
    return prompts


PAD = Exercise(
    "0.1",
    pad,
    _prompts,
    Twist(
        "this tokenizer's ids are {N} higher than CLIP's: the start token is 49406 + {N}, the end token 49407 + "
        "{N}, and {N} has already been added to those in `words`.",
        twists.MANY,
        ask=lambda N, words: {"words": [number + N for number in words]},
        take=lambda N, words: {"words": [number - N for number in words]},
        read=lambda N, answer: [number - N for number in answer],
        give=lambda N, answer: [number + N for number in answer],
    ),
    mistakes=(
        (
            "A word that comes twice was left out the second time; all words stay, in their order.",
            lambda words: pad(list(dict.fromkeys(words))),
        ),
        (
            "The list has 76 entries, one too few: start mark, words and end marks together make 77.",
            lambda words: [49406, *words[:75], *[49407] * (75 - len(words[:75]))],
        ),
        (
            "The number of end marks does not depend on the words: the more words, the fewer end marks.",
            lambda words: [49406, *words[:75], *[49407] * 70],
        ),
        (
            "The end marks stand before the words: behind the start mark come the words, and then end marks.",
            lambda words: [49406, *[49407] * (76 - len(words[:75])), *words[:75]],
        ),
        (
            "The list has 78 entries, one too many: the start mark counts among the 77, too.",
            lambda words: [49406, *words[:75], *[49407] * (77 - len(words[:75]))],
        ),
        (
            "A long prompt leaves no room for an end mark: of the 77, one is the start mark and one at least an "
            "end mark.",
            lambda words: [49406, *words, *[49407] * 76][:77],
        ),
        (
            "Of a long prompt, the first 75 words stay; here only 74 do.",
            lambda words: [49406, *words[:74], *[49407] * (76 - len(words[:74]))],
        ),
        (
            "A long prompt is not cut: of more than 75 words, the rest has to go.",
            lambda words: [49406, *words, *[49407] * (76 - len(words))],
        ),
        (
            "A long prompt is not cut: of more than 75 words, the rest has to go.",
            lambda words: [49406, *words, 49407, *[49407] * (75 - len(words))],
        ),
        (
            "Of a long prompt, the last words stayed; the first 75 are to stay.",
            lambda words: [49406, *words[-75:], *[49407] * (76 - len(words[-75:]))],
        ),
        (
            "The start mark, 49406, is missing at the front.",
            lambda words: [*words[:75], *[49407] * (77 - len(words[:75]))],
        ),
        (
            "The start mark, 49406, is missing at the front.",
            lambda words: [*words[:76], *[49407] * (77 - len(words[:76]))],
        ),
        (
            "The start mark, 49406, is missing at the front.",
            lambda words: [*words[:75], *[49407] * (76 - len(words[:75]))],
        ),
        ("The start mark, 49406, is missing at the front.", lambda words: [*words, *[49407] * (77 - len(words))]),
        (
            "After the words comes nothing but the end mark, 49407, again and again; here one end mark is "
            "followed by zeros.",
            lambda words: [49406, *words, 49407, *[0] * (75 - len(words))],
        ),
        (
            "Both marks have changed places: 49406 begins, 49407 ends.",
            lambda words: [49407, *words[:75], *[49406] * (76 - len(words[:75]))],
        ),
        (
            "After the words comes nothing but the end mark, 49407, again and again; here one end mark is "
            "followed by zeros.",
            lambda words: [49406, *words[:75], 49407, *[0] * (75 - len(words[:75]))],
        ),
        (
            "The end marks are counted with words that were cut off: of a long prompt, one end mark must remain.",
            lambda words: [49406, *words[:75], *[49407] * (76 - len(words))],
        ),
        (
            "After the words comes nothing but the end mark, 49407; here there are zeros.",
            lambda words: [49406, *words[:75], *[0] * (76 - len(words[:75]))],
        ),
        (
            "The list is filled up to 77 with the start mark; it is the end mark, 49407, that is repeated.",
            lambda words: [*[49406] * (76 - len(words[:75])), *words[:75], 49407],
        ),
        (
            "The end mark stands once; it must be repeated until the list has 77 entries.",
            lambda words: [49406, *words[:75], 49407],
        ),
        (
            "The number of end marks does not depend on the words: 77 is the length of the whole list.",
            lambda words: [49406, *words[:75], *[49407] * 77],
        ),
    ),
    words={},
    right="Right: exactly what `tokenize` does.",
)


# ---------------------------------------------------------------- 0.2


def compression(image_shape: tuple[int, int, int], latent_shape: tuple[int, int, int]) -> float:
    c, h, w = image_shape
    latent_c, latent_h, latent_w = latent_shape
    return (c * h * w) / (latent_c * latent_h * latent_w)


def _shapes(random: Generator) -> list[Case]:
    pairs = [((3, 40, 28), (7, 5, 9)), ((5, 24, 36), (4, 7, 11)), ((3, 32, 48), (4, 8, 6)), ((2, 10, 30), (13, 5, 11))]
    return [{"image_shape": image, "latent_shape": latent} for image, latent in pairs]


COMPRESSION = Exercise(
    "0.2",
    compression,
    _shapes,
    twists.result(
        "count bytes: how many bytes of the picture are there for each byte of the latents? A number in the "
        "picture takes 1 byte, one in the latents {N}.",
        lambda N: 1 / N,
        twists.DOUBLINGS,
    ),
    reference=lambda image_shape, latent_shape: math.prod(image_shape) / math.prod(latent_shape),
    mistakes=(
        (
            "The quotients of the three sizes are averaged; first count the numbers on each side, then divide once.",
            lambda image_shape, latent_shape: sum(a / b for a, b in zip(image_shape, latent_shape, strict=True)) / 3,
        ),
        (
            "Only the heights are compared, and squared; channels and widths count too.",
            lambda image_shape, latent_shape: (image_shape[1] / latent_shape[1]) ** 2,
        ),
        (
            "That is the share of the latents, in percent; how many times as many numbers the picture has was asked "
            "for.",
            lambda image_shape, latent_shape: 100 * math.prod(latent_shape) / math.prod(image_shape),
        ),
        (
            "Height and width need not be equal: one of them was used for both.",
            lambda image_shape, latent_shape: (
                image_shape[0] * image_shape[1] ** 2 / (latent_shape[0] * latent_shape[1] ** 2)
            ),
        ),
        (
            "Height and width need not be equal: one of them was used for both.",
            lambda image_shape, latent_shape: (
                image_shape[0] * image_shape[2] ** 2 / (latent_shape[0] * latent_shape[2] ** 2)
            ),
        ),
        (
            "The widths are missing: channels × height × width.",
            lambda image_shape, latent_shape: math.prod(image_shape[:2]) / math.prod(latent_shape[:2]),
        ),
        (
            "The heights are missing: channels × height × width.",
            lambda image_shape, latent_shape: math.prod(image_shape[::2]) / math.prod(latent_shape[::2]),
        ),
        (
            "The lesson's channels, 3 and 4, stand in it as fixed numbers; they are the first entries of the shapes.",
            lambda image_shape, latent_shape: 3 * math.prod(image_shape[1:]) / (4 * math.prod(latent_shape[1:])),
        ),
        (
            "That is the share of the numbers that is saved; how many times fewer there are is a quotient of both.",
            lambda image_shape, latent_shape: 1 - math.prod(latent_shape) / math.prod(image_shape),
        ),
        (
            "That is the share of the numbers that is saved; how many times fewer there are is a quotient of both.",
            lambda image_shape, latent_shape: 100 * (1 - math.prod(latent_shape) / math.prod(image_shape)),
        ),
        (
            "The other way round: the picture has more numbers than the latents, so it is divided by theirs.",
            lambda image_shape, latent_shape: math.prod(latent_shape) / math.prod(image_shape),
        ),
        (
            "The channels count too: a picture of 3 channels has 3 numbers for each pixel.",
            lambda image_shape, latent_shape: math.prod(image_shape[1:]) / math.prod(latent_shape[1:]),
        ),
        (
            "Only the heights are compared; channels and widths count too.",
            lambda image_shape, latent_shape: image_shape[1] / latent_shape[1],
        ),
        (
            "Only the last entries are compared; channels and heights count too.",
            lambda image_shape, latent_shape: image_shape[2] / latent_shape[2],
        ),
        (
            "Only the channels are compared; heights and widths count too.",
            lambda image_shape, latent_shape: image_shape[0] / latent_shape[0],
        ),
        (
            "`len` counts the sizes, three on both sides; it is their product that counts the numbers.",
            lambda image_shape, latent_shape: len(image_shape) / len(latent_shape),
        ),
        (
            "The three sizes are added up; channels × height × width is how many numbers there are.",
            lambda image_shape, latent_shape: sum(image_shape) / sum(latent_shape),
        ),
        (
            "Rounded down to an integer: the answer may lie between two integers, so divide with `/`, not `//`.",
            lambda image_shape, latent_shape: math.prod(image_shape) // math.prod(latent_shape),
        ),
        (
            "Rounded to an integer: the answer may lie between two integers.",
            lambda image_shape, latent_shape: round(math.prod(image_shape) / math.prod(latent_shape)),
        ),
        (
            "That is how many more numbers the picture has, a difference; how many times as many was asked for.",
            lambda image_shape, latent_shape: math.prod(image_shape) - math.prod(latent_shape),
        ),
        (
            "That is how many numbers the picture has; they are still to be divided by those of the latents.",
            lambda image_shape, latent_shape: math.prod(image_shape),
        ),
        (
            "Each division by the one before it: brackets are missing around the latents' numbers.",
            lambda image_shape, latent_shape: (
                math.prod(image_shape) / latent_shape[0] * latent_shape[1] * latent_shape[2]
            ),
        ),
    ),
    right="Right: ours compresses 12 times, Stable Diffusion's 48 times.",
)


# ---------------------------------------------------------------- 0.3


def to_bytes(image: Tensor) -> Tensor:
    return ((image + 1) * 127.5).clamp(0, 255).round().byte()


def _pixels(random: Generator) -> list[Case]:
    inside = torch.rand(3, 6, 5, generator=random) * 1.98 - 0.99
    beyond = torch.randn(3, 4, 7, generator=random) * 0.9
    ends = torch.linspace(-1.4, 1.3, 24)
    ends[:6] = torch.tensor([-1.0, 1.0, -3.0, 1.2, 0.999, 0.5])
    return [{"image": inside}, {"image": beyond}, {"image": ends.view(3, 2, 4)}]


TO_BYTES = Exercise(
    "0.3",
    to_bytes,
    _pixels,
    twists.larger("image", "pixels are between -{N} and {N} instead of -1 and 1, and some values lie outside."),
    reference=lambda image: torch.from_numpy(np.array(to_pil(image.clamp(-1, 1)))).permute(2, 0, 1),
    mistakes=(
        (
            "Values below 0 are not cut off, and nothing is rounded: clamp on both sides, then round, then `.byte()`.",
            lambda image: ((image + 1) * 127.5).clamp(max=255).byte(),
        ),
        (
            "The sign is lost: -1 is black and must become 0, not 255.",
            lambda image: (image.abs() * 255).clamp(0, 255).round().byte(),
        ),
        (
            "-1 must become 0: with `image * 127 + 128` it becomes 1.",
            lambda image: (image * 127 + 128).clamp(0, 255).round().byte(),
        ),
        (
            "-1 must become 0, and 1 must become 255: half of 255 is 127.5, and not 128.",
            lambda image: (image * 128 + 127).clamp(0, 255).round().byte(),
        ),
        (
            "Rounded before it is stretched: only black and white are left.",
            lambda image: (((image + 1) / 2).round() * 255).clamp(0, 255).byte(),
        ),
        (
            "Clamped after the shift, to a range for the pixels before it: the brighter half, between 1 and 2, is "
            "cut off.",
            lambda image: ((image + 1).clamp(-1, 1) * 127.5).round().byte(),
        ),
        (
            "Clamped after the shift, to a range for the pixels before it: the brighter half, between 1 and 2, is "
            "cut off.",
            lambda image: ((image + 1).clamp(0, 1) * 127.5).round().byte(),
        ),
        (
            "Everything below 0, half of all greys, becomes black: -1 must become 0, so something has to be "
            "added first.",
            lambda image: (image * 255).clamp(0, 255).round().byte(),
        ),
        (
            "The range is not shifted: -1 must become 0, so something has to be added first.",
            lambda image: (image * 127.5).clamp(0, 255).round().byte(),
        ),
        (
            "-1 must become 0, so 1 is to be added before the range is stretched, not subtracted.",
            lambda image: ((image - 1) * 127.5).clamp(0, 255).round().byte(),
        ),
        (
            "The range is not stretched: 1 must become 255, so the shifted pixels are to be multiplied.",
            lambda image: (image + 1).clamp(0, 255).round().byte(),
        ),
        (
            "The range is not stretched: 1 must become 255, so what lies between 0 and 1 is to be multiplied.",
            lambda image: ((image + 1) / 2).clamp(0, 1).round().byte(),
        ),
        (
            "The range is not stretched: 1 must become 255, so what lies between 0 and 1 is to be multiplied.",
            lambda image: ((image + 1) / 2).clamp(0, 255).round().byte(),
        ),
        (
            "Black and white have changed places: -1, which is black, must become 0.",
            lambda image: ((1 - image) * 127.5).clamp(0, 255).round().byte(),
        ),
        (
            "The shift comes too late: with `image * 127.5 + 1`, -1 does not become 0.",
            lambda image: (image * 127.5 + 1).clamp(0, 255).round().byte(),
        ),
        (
            "After the shift, pixels lie between 0 and 2: multiplied by 255 they reach 510.",
            lambda image: ((image + 1) * 255).clamp(0, 255).round().byte(),
        ),
        (
            "Clamp before `.byte()`: a value beyond 1 gives more than 255, and that does not fit into a byte.",
            lambda image: ((image + 1) * 127.5).round().byte(),
        ),
        (
            "Values below 0 are not cut off: what lies below -1 must become 0.",
            lambda image: ((image + 1) * 127.5).clamp(max=255).round().byte(),
        ),
        (
            "Values above 255 are not cut off: what lies above 1 must become 255.",
            lambda image: ((image + 1) * 127.5).clamp(min=0).round().byte(),
        ),
        (
            "Round before `.byte()`, which only cuts off what follows the point.",
            lambda image: ((image + 1) * 127.5).clamp(0, 255).byte(),
        ),
        (
            "Clamp and round before `.byte()`: it cuts off what follows the point, and above 255 it begins again at 0.",
            lambda image: ((image + 1) * 127.5).byte(),
        ),
        (
            "1 must become 255, not 254: between -1 and 1 lies 2, so the factor is 255 / 2.",
            lambda image: ((image + 1) * 127).clamp(0, 255).round().byte(),
        ),
        (
            "Pixels lie between -1 and 1: they are to be shifted and stretched before anything is cut off.",
            lambda image: image.clamp(0, 255).round().byte(),
        ),
        (
            "Pixels lie between -1 and 1: they are to be shifted and stretched before anything is cut off.",
            lambda image: image.clamp(0, 255).byte(),
        ),
        (
            "Rounded up: the nearest integer was asked for.",
            lambda image: ((image + 1) * 127.5).clamp(0, 255).ceil().byte(),
        ),
        (
            "1 must become 255, not 256: there are 256 integers from 0 to 255, and 255 steps between them.",
            lambda image: ((image + 1) * 128).clamp(0, 255).round().byte(),
        ),
        (
            "1 must become 255, not 256: there are 256 integers from 0 to 255, and 255 steps between them.",
            lambda image: ((image + 1) * 128).clamp(0, 255).byte(),
        ),
        (
            "Clamped to [0, 1] before it is shifted: pixels lie between -1 and 1.",
            lambda image: ((image.clamp(0, 1) + 1) * 127.5).round().byte(),
        ),
        (
            "Stretched by the picture's own darkest and brightest value; it is always -1 that becomes 0, and 1 "
            "that becomes 255.",
            lambda image: ((image - image.min()) / (image.max() - image.min()) * 255).round().byte(),
        ),
        (
            "Rounded before it is stretched: only three values are left.",
            lambda image: ((image.round() + 1) * 127.5).clamp(0, 255).byte(),
        ),
    ),
    right="Right: the same bytes as in the pipeline's own picture.",
)


EXERCISES = (PAD, COMPRESSION, TO_BYTES)
