"""The grammar of captions: a description of an image becomes one of many sentences that say the same.

Design choices
- A `Description` holds what a caption says about an image, or what is true of it; the two are compared field by field.
- No template contains a number word, so "one" in a caption always means the digit.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Description:
    """What an image shows, or what a caption says it shows; None for what is left unsaid."""

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
    """Put a description into words, in one of many possible ways.

    Either a phrase ("draw a thick red 7 leaning left, on white") or a list of facts in any order
    ("7. white paper. red ink. bold strokes"). No template contains a number word, so "one" always means the digit.
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
    """Adjectives before the noun, phrases after it; each attribute goes to one side at random."""
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
