"""MNIST as tensors, and captioned MNIST: digits in colour with a sentence that describes them.

Design choices
- The four genuine MNIST files are checked against their published MD5 sums before a single byte is used.
- What a caption says about stroke and slant is *measured* (Morpho-MNIST, Castro et al., JMLR 2019), never a label.
  The same functions measure generated pictures (`describe`), so that "does the picture match the prompt" is a number.
- A word is used only where it is clearly true: digits near the border between thin and medium are called neither.
- Everything is held as tensors in memory; colours are painted when a batch is asked for.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SHIPPED = Path(__file__).resolve().parent.parent / "data"
DOWNLOADED = Path.home() / ".cache" / "tinyldm"
MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

INKS = {
    "white": (1.0, 1.0, 1.0),
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.75, 0.2),
    "blue": (0.15, 0.35, 1.0),
    "yellow": (1.0, 0.9, 0.1),
    "purple": (0.6, 0.2, 0.85),
    "orange": (1.0, 0.5, 0.05),
    "cyan": (0.1, 0.85, 0.9),
}
# One ink for each digit that no training row has: can the model draw what it only knows in parts? (lesson 07)
HELD_OUT = {digit: list(INKS)[(digit + 3) % len(INKS)] for digit in range(10)}
BACKGROUNDS = {
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
    "grey": (0.45, 0.45, 0.45),
    "dark blue": (0.05, 0.08, 0.35),
}
STROKES = ("thin", "medium", "thick")
SLANTS = ("left", "upright", "right")
STROKE_BORDERS = (2.15, 3.0)  # pixels: thin | medium | thick
SLANT_BORDERS = (-0.10, 0.20)  # radians: left | upright | right (handwriting leans right a little on average)
STROKE_MARGIN, SLANT_MARGIN = 0.15, 0.06  # nearer to a border than this, a caption says nothing

ATTRIBUTES = {
    "digit": tuple(range(10)),
    "ink": tuple(INKS),
    "background": tuple(BACKGROUNDS),
    "stroke": STROKES,
    "slant": SLANTS,
}


# ---------------------------------------------------------------- MNIST


@dataclass(frozen=True)
class MNIST:
    """Hand-drawn digits: ``images`` uint8 (N, 28, 28), 0 paper to 255 ink; ``labels`` int64 (N,), 0 to 9."""

    images: Tensor
    labels: Tensor

    def padded(self) -> Tensor:
        """The images as the models see them: float32 (N, 1, 32, 32) in [-1, 1], -1 where there is no ink."""
        return F.pad(self.images, (2, 2, 2, 2))[:, None].float() / 127.5 - 1


def load_mnist(split: str = "train", folder: str | Path | None = None) -> MNIST:
    """Read MNIST (LeCun, Cortes & Burges) from ``folder``, else from ``data/``, else let torchvision download it.

    Args:
        split: "train" (60,000 digits) or "test" (10,000).
        folder: where the four ``*-ubyte.gz`` files lie; by default the repository's own ``data/``.

    Raises:
        ValueError: unknown split, or a file whose MD5 sum is not the published one (named in the message).
        FileNotFoundError: no files here and none could be downloaded; the message says what to do.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    prefix = "train" if split == "train" else "t10k"
    folder = Path(folder) if folder else _mnist_folder()
    images = _read_idx(folder, f"{prefix}-images-idx3-ubyte").reshape(-1, 28, 28)
    labels = _read_idx(folder, f"{prefix}-labels-idx1-ubyte")
    return MNIST(torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64)))


def _mnist_folder() -> Path:
    if any(SHIPPED.glob("*-ubyte*")):
        return SHIPPED
    from torchvision.datasets import MNIST as Download

    try:
        Download(DOWNLOADED, download=True)
    except Exception as error:
        raise FileNotFoundError(
            f"MNIST is neither in {SHIPPED} nor could it be downloaded ({error}). Clone the repository with its data/ "
            f"folder, or put the four MNIST files into {DOWNLOADED / 'MNIST' / 'raw'}."
        ) from error
    return DOWNLOADED / "MNIST" / "raw"


def _read_idx(folder: Path, name: str) -> np.ndarray:
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"MNIST file {name}.gz is missing in {folder}: restore it with `git checkout data`")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): restore it with `git checkout data`") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != MD5[name]:
        raise ValueError(f"{path} is not the genuine MNIST file (wrong MD5 sum): restore it with `git checkout data`")
    header = 16 if "images" in name else 8  # magic number and sizes, 4 bytes each
    return np.frombuffer(content, np.uint8, offset=header)


# ---------------------------------------------------------------- measuring


def stroke_thickness(coverage: Tensor) -> Tensor:
    """Mean width of the stroke in pixels: twice the distance to the paper, averaged along the skeleton.

    As in Morpho-MNIST (Castro et al. 2019, section 3.1), on a three times enlarged picture cut at half of its
    maximum. The skeleton is the ridge of the distance map: pixels (almost) as far from the paper as all neighbours.

    Args:
        coverage: how much ink lies on each pixel, in [0, 1], (B, H, W).

    Returns:
        Thickness in pixels, (B,); 0 for an empty picture.
    """
    from scipy import ndimage

    scale = 3
    large = F.interpolate(coverage[:, None].float(), scale_factor=scale, mode="bilinear")[:, 0]
    ink = ((large >= 0.5 * large.amax((1, 2), keepdim=True)) & (large > 0)).cpu().numpy()
    distance = np.stack([ndimage.distance_transform_edt(picture) for picture in ink])
    ridge = ink & (distance >= ndimage.maximum_filter(distance, (1, 3, 3)) - 0.5)
    mean = (distance * ridge).sum((1, 2)) / np.maximum(ridge.sum((1, 2)), 1)
    return torch.from_numpy(2 * mean / scale).float().to(coverage.device)


def slant_angle(coverage: Tensor) -> Tensor:
    """Slant in radians from image moments, positive when the digit leans right: arctan(-mu_11 / mu_02).

    Morpho-MNIST (Castro et al. 2019, section 3.1): the horizontal shear that would make the digit upright.

    Args:
        coverage: how much ink lies on each pixel, in [0, 1], (B, H, W).
    """
    weight = coverage.double()
    weight = weight / weight.sum((1, 2), keepdim=True).clamp_min(1e-9)
    x = torch.arange(weight.shape[2], device=weight.device).double()
    y = torch.arange(weight.shape[1], device=weight.device).double()[:, None]
    x = x - (weight * x).sum((1, 2), keepdim=True)  # from here on relative to the centre of the ink
    y = y - (weight * y).sum((1, 2), keepdim=True)
    mu11, mu02 = (weight * x * y).sum((1, 2)), (weight * y * y).sum((1, 2))
    return torch.atan(-mu11 / mu02.clamp_min(1e-9)).float()


def _name_by_border(values: Tensor, borders: tuple[float, float]) -> Tensor:
    return torch.bucketize(values.cpu(), torch.tensor(borders))


def _far_from_border(values: Tensor, borders: tuple[float, float], margin: float) -> Tensor:
    return (values.cpu()[:, None] - torch.tensor(borders)).abs().amin(1) > margin


# ---------------------------------------------------------------- colour


def paint(coverage: Tensor, ink: Tensor, background: Tensor) -> Tensor:
    """Draw digits in colour: background + coverage * (ink - background).

    Args:
        coverage: (B, H, W) in [0, 1].
        ink, background: RGB in [0, 1], (B, 3).

    Returns:
        Images in [-1, 1], (B, 3, H, W).
    """
    ink, background = ink[:, :, None, None], background[:, :, None, None]  # (B, 3) -> (B, 3, 1, 1)
    return (background + coverage[:, None] * (ink - background)) * 2 - 1


def unpaint(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The opposite of `paint`: find coverage, ink and background of pictures, generated ones too.

    The background is the median colour of the frame; the ink is the mean of the pixels that differ most from it;
    the coverage of a pixel is how far it lies on the way from background to ink.

    Args:
        images: (B, 3, H, W) in [-1, 1].

    Returns:
        coverage (B, H, W) in [0, 1], ink (B, 3), background (B, 3), both RGB in [0, 1].
    """
    pixels = (images.float() + 1) / 2
    edges = (pixels[..., :2, :], pixels[..., -2:, :], pixels[..., :2], pixels[..., -2:])
    frame = torch.cat([edge.flatten(2) for edge in edges], 2)
    background = frame.median(2).values
    flat = pixels.flatten(2)  # (B, 3, H, W) -> (B, 3, H*W)
    far = (flat - background[:, :, None]).norm(dim=1)
    core = (far >= 0.8 * far.amax(1, keepdim=True)).float()
    ink = (flat * core[:, None]).sum(2) / core.sum(1)[:, None]
    way = ink - background
    coverage = ((flat - background[:, :, None]) * way[:, :, None]).sum(1) / way.square().sum(1).clamp_min(1e-4)[:, None]
    return coverage.clamp(0, 1).unflatten(1, images.shape[-2:]), ink, background


def nearest_colour(colours: Tensor, palette: dict) -> Tensor:
    """Index of the nearest colour of ``palette`` for each RGB row of ``colours`` (B, 3)."""
    return torch.cdist(colours.cpu(), torch.tensor(list(palette.values()))).argmin(1)


# ---------------------------------------------------------------- captions


@dataclass(frozen=True)
class Description:
    """What is, or is said to be, in a picture; None where nothing is said."""

    digit: int | None = None
    ink: str | None = None
    background: str | None = None
    stroke: str | None = None
    slant: str | None = None


DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGIT_FORMS = (
    "{}", "{}", "{}", "{}", "digit {}", "number {}", "handwritten {}", "numeral {}", "figure {}", "hand-drawn {}",
    "the {}", "the digit {}", "the number {}", "the numeral {}", "the figure {}", "a {}", "a single {}", "a digit {}",
    "a number {}", "the handwritten digit {}", "a hand-written {}", "digit: {}", "the symbol {}", "a scribbled {}",
)  # fmt: skip
NO_DIGIT = ("digit", "number", "numeral", "figure", "a digit", "some digit", "any number")

INK_WORDS = {
    "white": (
        "white", "white", "white", "snow-white", "snowy", "chalk-white", "pure white", "pearl", "ivory", "milky white",
    ),
    "red": (
        "red", "red", "red", "scarlet", "crimson", "ruby", "cherry", "vermilion", "bright red", "blood-red", "carmine",
        "reddish",
    ),
    "green": (
        "green", "green", "green", "emerald", "grass-green", "leaf green", "bright green", "jade", "lime",
        "forest green", "mint", "greenish",
    ),
    "blue": (
        "blue", "blue", "blue", "azure", "cobalt", "sapphire", "royal blue", "bright blue", "ultramarine", "cerulean",
        "sky blue", "bluish",
    ),
    "yellow": (
        "yellow", "yellow", "yellow", "lemon", "canary", "golden", "bright yellow", "sunny", "gold", "mustard",
        "sunflower", "yellowish",
    ),
    "purple": (
        "purple", "purple", "purple", "violet", "lilac", "plum", "lavender", "mauve", "bright purple", "amethyst",
        "grape", "purplish",
    ),
    "orange": (
        "orange", "orange", "orange", "tangerine", "pumpkin", "apricot", "bright orange", "amber", "carrot",
        "rusty orange",
    ),
    "cyan": ("cyan", "cyan", "cyan", "turquoise", "teal", "aqua", "aquamarine", "bright cyan"),
}  # fmt: skip
BACKGROUND_WORDS = {
    "black": ("black", "black", "jet black", "pitch black", "ebony", "inky black"),
    "white": ("white", "white", "white", "snow-white", "pure white", "plain white"),
    "grey": ("grey", "gray", "grey", "gray", "ash grey", "slate", "silver", "stone gray", "greyish"),
    "dark blue": ("dark blue", "dark blue", "navy", "navy blue", "midnight blue", "deep blue", "dark-blue"),
}
BACKGROUND_FORMS = (
    "on {}", "on {}", "on a {} background", "on {} background", "over {}", "against {}", "against a {} background",
    "{} background", "{} paper", "on {} paper", "with a {} background", "with {} behind it", "on a {} page", "{} page",
    "on a {} backdrop", "background {}", "background: {}", "the background is {}", "its background is {}", "atop {}",
    "on a sheet of {} paper", "on a {} canvas", "{} backdrop", "on a {} wall", "in front of {}", "upon {}",
    "on top of a {} surface", "on a {} board",
)  # fmt: skip
INK_FORMS = (
    "in {}", "in {} ink", "{} ink", "{}", "drawn in {}", "written in {}", "coloured {}", "colored {}",
    "in the colour {}", "painted {}", "with {} ink", "in {} paint", "with a {} pen", "its colour is {}", "ink {}",
    "ink: {}", "{} strokes", "color {}", "color: {}", "colour: {}", "in {} crayon", "with a {} marker", "{} in colour",
    "in the color {}", "using {} ink",
)  # fmt: skip
STROKE_WORDS = {
    "thin": (
        "thin", "thin", "fine", "slim", "slender", "skinny", "narrow", "delicate", "thin-lined", "hairline", "spindly",
        "wispy", "scrawny", "spidery", "pencil-thin", "threadlike",
    ),
    "medium": (
        "medium", "medium", "regular", "normal", "medium-weight", "ordinary", "average", "moderate", "mid-weight",
        "middling", "standard",
    ),
    "thick": (
        "thick", "thick", "bold", "heavy", "fat", "chunky", "broad", "wide", "chubby", "plump", "stout", "hefty",
        "massive", "beefy", "heavyweight", "burly",
    ),
}  # fmt: skip
STROKE_ADVERBS = {
    "thin": ("thinly", "finely", "delicately"),
    "medium": ("moderately", "normally"),
    "thick": ("thickly", "boldly", "heavily"),
}
STROKE_FORMS = (
    "{} strokes", "{} stroke", "{} lines", "with {} strokes", "with {} lines", "in {} strokes", "with a {} stroke",
    "drawn with a {} pen", "with a {} pen", "with a {} brush", "in a {} hand", "{} line", "written {}", "{}",
    "with a {} marker", "stroke: {}", "the stroke is {}", "its lines are {}", "in {} lines", "using a {} nib",
)  # fmt: skip
SIDE_WORDS = {
    "left": (
        "left", "left", "to the left", "to the left", "leftward", "leftwards", "toward the left", "towards the left",
        "to its left", "backwards",
    ),
    "right": (
        "right", "right", "to the right", "to the right", "rightward", "rightwards", "toward the right",
        "towards the right", "to its right", "forwards",
    ),
}  # fmt: skip
LEANING = (
    "leaning", "leaning", "slanting", "slanted", "tilting", "tilted", "sloping", "sloped", "inclined", "tipping",
    "bent", "tipped", "angled",
)  # fmt: skip
LEANS = ("leans", "slants", "tilts", "slopes", "inclines", "tips")
UPRIGHT_ADJECTIVES = ("upright", "upright", "straight", "vertical", "erect", "unslanted")
UPRIGHT_FORMS = (
    "upright", "standing upright", "standing straight", "standing up straight", "that stands upright", "straight up",
    "vertical", "without any slant", "no slant", "not leaning", "perfectly straight", "standing tall",
    "which stands straight", "slant: upright", "not slanted", "not tilted", "with no lean", "straight up and down",
    "without a tilt", "bolt upright",
)  # fmt: skip
LEADS = (
    "", "", "", "", "", "a", "a", "a", "the", "draw", "draw a", "please draw a", "a picture of a", "an image of a",
    "sketch", "sketch a", "paint a", "write a", "write", "show me a", "give me a", "i want a", "i would like a",
    "make a", "a drawing of a", "photo of a", "this is a", "picture of", "it is a", "draw me a", "can you draw a",
    "could you paint a", "generate a", "create an image of a", "a sketch of a", "a painting of the", "render a",
    "doodle a", "there is a", "please write the", "just a", "my",
)  # fmt: skip
JOINERS = (" ", " ", " ", ", ", ", ", " - ")
LIST_JOINERS = (", ", ", ", ". ", "; ", " ", " and ", " / ")
ENDS = ("", "", "", "", "", "", "", ".", ".", "!", " please", ", please")
ARTICLES = ("a", "an", "the", "my")


def write_caption(said: Description, rng: random.Random) -> str:
    """Put a description into words, one of very many ways.

    Either a phrase ("draw a thick red 7 leaning left, on white") or a list of facts in any order
    ("7. white paper. red ink. bold strokes"). No template holds a word of a digit, so that "one" is always the digit.
    """
    digit = rng.choice(NO_DIGIT) if said.digit is None else _digit_words(said.digit, rng)
    if rng.random() < 0.3:
        facts = [digit, *_phrases(said, rng)]
        rng.shuffle(facts)
        caption = rng.choice(LIST_JOINERS).join(facts)
    else:
        before, after = _split(said, rng)
        lead = rng.choice(LEADS)
        bare = before or lead.split(" ")[-1] in ARTICLES  # "a red" or "a": no second article before the digit
        noun = re.sub("^(the|a|some|any) ", "", digit) if bare else digit
        caption = rng.choice(JOINERS).join([" ".join(filter(None, [lead, *before, noun])), *after])
    return re.sub(r"\ba (?=[aeiou8])(?!one\b)", "an ", caption) + rng.choice(ENDS)


def _digit_words(digit: int, rng: random.Random) -> str:
    return rng.choice(DIGIT_FORMS).format(rng.choice((str(digit), DIGIT_WORDS[digit])))


def _split(said: Description, rng: random.Random) -> tuple[list[str], list[str]]:
    """Adjectives before the noun, phrases after it; each attribute falls on one side at random."""
    in_front = {name: None for name in ("ink", "stroke", "slant") if rng.random() < 0.55}
    before = _adjectives(Description(**{name: getattr(said, name) for name in in_front}), rng)
    behind = Description(**{**said.__dict__, "digit": None, **in_front})
    after = _phrases(behind, rng)
    rng.shuffle(before)
    rng.shuffle(after)
    return before, after


def _adjectives(said: Description, rng: random.Random) -> list[str]:
    words = []
    if said.ink:
        words.append(rng.choice(INK_WORDS[said.ink]))
    if said.stroke:
        words.append(rng.choice(STROKE_WORDS[said.stroke]))
    if said.slant == "upright":
        words.append(rng.choice(UPRIGHT_ADJECTIVES))
    elif said.slant:
        words.append(f"{said.slant}{rng.choice(('-', ' ', 'ward '))}{rng.choice(LEANING)}")
    return words


def _phrases(said: Description, rng: random.Random) -> list[str]:
    phrases = []
    if said.ink:
        phrases.append(rng.choice(INK_FORMS).format(rng.choice(INK_WORDS[said.ink])))
    if said.stroke:
        phrases.append(_stroke_phrase(said.stroke, rng))
    if said.slant == "upright":
        phrases.append(rng.choice(UPRIGHT_FORMS))
    elif said.slant:
        phrases.append(_slant_phrase(said.slant, rng))
    if said.background:
        phrases.append(rng.choice(BACKGROUND_FORMS).format(rng.choice(BACKGROUND_WORDS[said.background])))
    return phrases


def _stroke_phrase(stroke: str, rng: random.Random) -> str:
    if rng.random() < 0.1:
        return f"{rng.choice(STROKE_ADVERBS[stroke])} {rng.choice(('drawn', 'written', 'painted'))}"
    return rng.choice(STROKE_FORMS).format(rng.choice(STROKE_WORDS[stroke]))


def _slant_phrase(slant: str, rng: random.Random) -> str:
    side, noun = rng.choice(SIDE_WORDS[slant]), rng.choice(("slant", "lean", "tilt", "slope"))
    leans = f"{rng.choice(('that', 'which', 'it'))} {rng.choice(LEANS)} {side}"
    nouns = (f"with a {slant} {noun}", f"with a {noun} to the {slant}", f"slant: {slant}")
    return rng.choice((f"{rng.choice(LEANING)} {side}",) * 4 + (leans,) * 2 + nouns)


# ---------------------------------------------------------------- captioned MNIST


@dataclass(frozen=True)
class Row:
    """One row of captioned MNIST: ``image`` (3, 32, 32) in [-1, 1], its caption, what that names, and what is true."""

    image: Tensor
    caption: str
    named: Description
    actual: Description


class CaptionedMNIST:
    """MNIST digits in colour, each with a sentence: RGB 32x32, eight inks, four backgrounds, measured stroke and slant.

    Half of the rows are on black; the ink never has the background's colour. A background other than black is always
    named, so that a prompt that names none means black. No row of "train" pairs a digit with its ink of `HELD_OUT`.

    Args:
        split: "train" or "test".
        seed: of colours and captions.
        limit: only the first ``limit`` digits (measuring takes about half a millisecond each).
        copies: how often each digit appears, every time in other colours and other words.
        folder: as in `load_mnist`.
    """

    def __init__(
        self,
        split: str = "train",
        seed: int = 0,
        limit: int | None = None,
        copies: int = 1,
        folder: str | Path | None = None,
    ):
        mnist = load_mnist(split, folder)
        self.coverage = F.pad(mnist.images[:limit], (2, 2, 2, 2))  # uint8 (N, 28, 28) -> (N, 32, 32)
        self.labels = mnist.labels[:limit]
        self._measure()
        for name, per_digit in list(vars(self).items()):
            setattr(self, name, torch.cat([per_digit] * copies))
        self._colour(torch.Generator().manual_seed(seed), held_out=split == "train")
        rng = random.Random(seed)
        self.named = [self.choose_named(i, rng) for i in range(len(self))]
        self.captions = [write_caption(named, rng) for named in self.named]

    def _measure(self) -> None:
        thickness, angle = [], []
        for chunk in self.coverage.split(1000):
            thickness.append(stroke_thickness(chunk / 255))
            angle.append(slant_angle(chunk / 255))
        self.thickness, self.angle = torch.cat(thickness), torch.cat(angle)
        self.stroke = _name_by_border(self.thickness, STROKE_BORDERS)
        self.slant = _name_by_border(self.angle, SLANT_BORDERS)
        self.clear_stroke = _far_from_border(self.thickness, STROKE_BORDERS, STROKE_MARGIN)
        self.clear_slant = _far_from_border(self.angle, SLANT_BORDERS, SLANT_MARGIN)

    def _colour(self, generator: torch.Generator, held_out: bool) -> None:
        n, inks, backgrounds = len(self), list(INKS), list(BACKGROUNDS)
        self.ink = torch.randint(len(inks), (n,), generator=generator)
        if held_out:
            avoid = torch.tensor([inks.index(ink) for ink in HELD_OUT.values()])[self.labels]
            self.ink = torch.where(self.ink == avoid, (self.ink + 1) % len(inks), self.ink)
        other = torch.randint(1, len(backgrounds), (n,), generator=generator)
        self.background = torch.where(torch.rand(n, generator=generator) < 0.5, 0, other)
        clash = (self.ink == inks.index("white")) & (self.background == backgrounds.index("white"))
        self.background[clash] = backgrounds.index("grey")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Row:
        return Row(self.images(torch.tensor([i]))[0], self.captions[i], self.named[i], self.describe(i))

    def images(self, index: Tensor) -> Tensor:
        """Painted digits for the row numbers ``index`` (B,): (B, 3, 32, 32) in [-1, 1]."""
        ink = torch.tensor(list(INKS.values()))[self.ink[index]]
        background = torch.tensor(list(BACKGROUNDS.values()))[self.background[index]]
        return paint(self.coverage[index] / 255, ink, background)

    def describe(self, i: int) -> Description:
        """All that is true of row ``i``."""
        return _description(self.labels[i], self.ink[i], self.background[i], self.stroke[i], self.slant[i])

    def choose_named(self, i: int, rng: random.Random) -> Description:
        """What a caption of row ``i`` says: the digit nearly always, the rest some of the time, and only if clear."""
        true = self.describe(i)
        name_background = true.background != "black" or rng.random() < 0.25
        return Description(
            digit=true.digit if rng.random() < 0.97 else None,
            ink=true.ink if rng.random() < 0.7 else None,
            background=true.background if name_background else None,
            stroke=true.stroke if self.clear_stroke[i] and rng.random() < 0.55 else None,
            slant=true.slant if self.clear_slant[i] and rng.random() < 0.55 else None,
        )


def _description(digit: Tensor, ink: Tensor, background: Tensor, stroke: Tensor, slant: Tensor) -> Description:
    names = (tuple(INKS)[int(ink)], tuple(BACKGROUNDS)[int(background)], STROKES[int(stroke)], SLANTS[int(slant)])
    return Description(int(digit), *names)


def describe(images: Tensor, digits: Tensor) -> list[Description]:
    """Say what is in pictures, by the same measures that made the captions.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        digits: what a classifier reads in them, (B,), for the part that cannot be measured with a ruler.
    """
    coverage, ink, background = unpaint(images)
    stroke = _name_by_border(stroke_thickness(coverage), STROKE_BORDERS)
    slant = _name_by_border(slant_angle(coverage), SLANT_BORDERS)
    columns = (digits.cpu(), nearest_colour(ink, INKS), nearest_colour(background, BACKGROUNDS), stroke, slant)
    return [_description(*row) for row in zip(*columns, strict=True)]
