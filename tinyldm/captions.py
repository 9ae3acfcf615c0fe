"""The grammar of captions: a description of an image becomes one of many sentences that say the same.

Design choices
- A `Description` holds what a caption says about an image, or what is true of it; the two are compared field by field.
- No template contains a number word, so "one" in a caption always means the digit.
- The same tables tell what a prompt asks for that cannot be drawn (`unmet`); no caption asks for such a thing.
"""

from __future__ import annotations

import random
import re
import textwrap
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache


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
SLANT_NOUNS = ("slant", "lean", "tilt", "slope")
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
    side, noun = rng.choice(SIDE_WORDS[slant]), rng.choice(SLANT_NOUNS)
    leans = f"{rng.choice(('that', 'which', 'it'))} {rng.choice(LEANS)} {side}"
    nouns = (f"with a {slant} {noun}", f"with a {noun} to the {slant}", f"slant: {slant}")
    return rng.choice((f"{rng.choice(LEANING)} {side}",) * 4 + (leans,) * 2 + nouns)


# ---------------------------------------------------------------- prompts: their words, and what cannot be drawn

NUMBER_WORDS = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred", "thousand", "million",
    "dozen", "zeros", "zeroes", "ones", "twos", "threes", "fours", "fives", "sixes", "sevens", "eights", "nines",
)  # fmt: skip
OTHER_COLOURS = (
    "brown", "pink", "magenta", "maroon", "beige", "tan", "olive", "indigo", "burgundy", "bronze", "copper", "khaki",
    "fuchsia", "coral", "salmon", "peach", "cream", "charcoal", "rainbow", "multicoloured", "multicolored",
)  # fmt: skip
NEGATIONS = ("not", "no", "without", "never", "neither", "nor", "except", "avoid", "cannot", "dont", "isnt")
SHADES = ("light", "dark", "bright", "pale", "deep", "plain")  # may stand between "on a" and its colour
SLIPS = (  # not English, though CLIP's vocabulary has a token for them
    "ble", "blu", "gree", "gren", "gra", "gery", "gre", "gry", "erd", "rde", "redd", "rsd", "seve", "onee",
    "onne", "sii", "siix", "thik", "thn", "ttin", "teo", "tto", "wto", "zer", "lett",
)  # fmt: skip
NO_SLIPS = ("semen", "whine", "nave", "uptight")  # English, though CLIP's vocabulary has no token for them


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, its digits and signs (emoji) one by one; no punctuation."""
    kept = (_word_part(character) for character in unicodedata.normalize("NFC", text).lower())
    words = (word.strip("'’") for word in "".join(kept).split())
    return [word for word in words if word and unicodedata.category(word[0])[0] != "M"]


def _word_part(character: str) -> str:
    kind = unicodedata.category(character)
    if kind[0] in "LM" or character in "'’":
        return character
    return f" {character} " if kind[0] == "N" or kind == "So" else " "


def shorten(text: str, length: int = 60) -> str:
    """The text on one line, without control characters, cut to at most ``length`` characters."""
    start = text[: 20 * length]  # of a megabyte, the rest need not be looked at
    line = " ".join("".join(c if c.isprintable() else " " for c in start).split())
    return line if len(line) <= length and start == text else f"{line[: length - 3].rstrip()}..."


def unmet(prompt: str) -> list[str]:
    """What a prompt asks for that a picture of one digit, in one of our inks on one of our backgrounds, cannot show.

    Returns:
        A clause for each kind of demand; an empty list if all can be met, as it is for every caption of
        `write_caption` whose ink is not its background.
    """
    text = unicodedata.normalize("NFC", prompt).lower().replace("’", "'").replace("_", " ")
    text = re.sub(r"\bbackground colou?r\b", "background", " ".join(text.split()))
    return [*_too_many_digits(text), *_wrong_colours(text), *_negated(text)]


def is_explained(word: str) -> bool:
    """Whether a clause of `unmet` already speaks of a word, wherever it stands."""
    return word in (*NUMBER_WORDS, *NEGATIONS, *_colours()[2]) or bool(re.search("n['’]t$", word))


def _too_many_digits(text: str) -> list[str]:
    words = "|".join((*DIGIT_WORDS, *NUMBER_WORDS))
    named = re.findall(rf"[0-9]+(?:[.,:/][0-9]+)*(?:'?s\b)?|\b(?:{words})\b", text)
    digits = {str(DIGIT_WORDS.index(word)) if word in DIGIT_WORDS else word for word in named}
    if len(digits) <= 1 and not any(len(number) > 1 for number in digits):
        return []
    hint = ' ("one" always means 1)' if "one" in named else ""
    return [f"one digit at a time, 0 to 9, not {_listed(named, ' and ')}{hint}"]


@cache
def _colours() -> tuple[dict[str, str], dict[str, str], frozenset[str], re.Pattern[str]]:
    """Phrases to the inks that they name, and to the backgrounds; other colours; a pattern that finds them all."""
    inks = {phrase.replace("-", " "): name for name, phrases in INK_WORDS.items() for phrase in phrases}
    grounds = {phrase.replace("-", " "): name for name, phrases in BACKGROUND_WORDS.items() for phrase in phrases}
    others = frozenset(OTHER_COLOURS) - {*inks, *grounds}
    longest_first = "|".join(sorted({*inks, *grounds, *others}, key=len, reverse=True))
    return inks, grounds, others, re.compile(rf"\b(?:{longest_first.replace(' ', '[ -]')})\b")


def _heads(forms: Iterable[str]) -> re.Pattern[str]:
    """What stands before the colour in forms that end with it ("on", "on a light")."""
    words = "|".join(sorted({form.removesuffix(" {}") for form in forms if form.endswith(" {}")}))
    return re.compile(rf"\b(?:{words})(?: of)?(?: (?:{'|'.join(ARTICLES)}))?(?: (?:{'|'.join(SHADES)}))*[ -]$")


def _tails(forms: Iterable[str]) -> re.Pattern[str]:
    """What stands behind the colour in the other forms ("paper", "behind it")."""
    words = "|".join(sorted({form.split("{} ")[1] for form in forms if "{} " in form}))
    return re.compile(rf"[ -](?:{words})\b")


@cache
def _contexts() -> tuple[re.Pattern[str], ...]:
    on = [form for form in BACKGROUND_FORMS if "background" not in form]
    background = [form for form in BACKGROUND_FORMS if "background" in form]
    drawn = [*INK_FORMS, *(f"{{}} {digit}" for digit in ("[0-9]+", *DIGIT_WORDS))]
    return _heads(on), _heads(background), _tails(BACKGROUND_FORMS), _heads(INK_FORMS), _tails(drawn)


def _role(text: str, start: int, end: int) -> str:
    """What a colour is to be, by what stands around it: "background", "beside" such a word, "ink" or "free"."""
    on, background, paper, drawn_in, ink = _contexts()
    before, behind = text[max(0, start - 60) : start], text[end : end + 60]
    if on.search(before):
        return "background"
    if background.search(before) or paper.match(behind):
        return "beside"
    return "ink" if drawn_in.search(before) or ink.match(behind) else "free"


def _wrong_colours(text: str) -> list[str]:
    inks, grounds, _, pattern = _colours()
    said = dict.fromkeys((found[0].replace("-", " "), _role(text, *found.span())) for found in pattern.finditer(text))
    on = [(c, role) for c, role in said if role == "background" or (role == "beside" and c in grounds)]
    if not on:  # else "beside" is an ink: the blue one of "blue background: white"
        on = [(c, role) for c, role in said if role == "beside"]
    drawn = [pair for pair in said if pair not in on]
    named = list(dict.fromkeys(inks[c] for c, _ in drawn if c in inks))
    spare = grounds if named else {}  # "a red seven with black around it" asks for no black ink
    no_ink = [c for c, role in drawn if c not in inks and not (role == "free" and c in spare)]
    no_ground = [c for c, _ in on if c not in grounds]
    clauses = []
    if no_ink:
        clauses.append(f"no {_listed(no_ink, ' or ')} ink (inks: {', '.join(INK_WORDS)})")
    if no_ground:
        clauses.append(f"no {_listed(no_ground, ' or ')} background (backgrounds: {', '.join(BACKGROUND_WORDS)})")
    if len(named) > 1:
        clauses.append(f"one ink at a time, not {_listed(named, ' and ')}")
    elif named and {grounds.get(c) for c, _ in on} == set(named):
        clauses.append(f"{named[0]} ink cannot be seen on a {named[0]} background")
    return clauses


def _negated(text: str) -> list[str]:
    sides = "|".join(SIDE_WORDS)
    for form in sorted(UPRIGHT_FORMS, key=len, reverse=True):  # "not leaning" is understood, "not leaning left" isn't
        text = re.sub(rf"\b{form}\b(?! (?:to |towards? )?(?:the |its )?(?:{sides}))", "", text)
    found = re.findall(rf"\b(?:{'|'.join(NEGATIONS)})\b(?!\. ?[0-9])|\b\w+n't\b", text)
    hint = "what to avoid goes into the negative prompt: --negative, negative_prompt="
    return [f'"{shorten(found[0])}" is not understood ({hint})'] if found else []


def _listed(words: Iterable[str], joiner: str) -> str:
    return shorten(joiner.join(dict.fromkeys(words)))


@cache
def _names() -> tuple[str, ...]:
    """The words that a prompt hangs on."""
    names = (*DIGIT_WORDS, *INK_WORDS, *BACKGROUND_WORDS, "gray", "navy", *STROKE_WORDS, *SIDE_WORDS, "upright")
    return tuple(name for name in dict.fromkeys(names) if " " not in name)


@lru_cache(10_000)
def near_miss(word: str) -> str | None:
    """The name that somebody who types ``word`` may have meant, or None.

    It is one slip away from the name of a digit, an ink, a background, a stroke or a slant, and begins like it. Whether
    it is an English word itself ("seen", "think") cannot be told from here: ask only about words that are none.
    """
    if word in _names() or word in NO_SLIPS:
        return None
    return next((name for name in _names() if _one_slip(word, name)), None)


def _one_slip(typed: str, meant: str) -> bool:
    """A letter too many, too few, another one, or two in the wrong order.

    Not the first letter, nor a new one at the end: those make other words ("wine" and "nine", "blue" and "bluer").
    """
    same = next((i for i, pair in enumerate(zip(typed, meant, strict=False)) if len(set(pair)) == 2), None)
    if same is None:  # one begins with the other
        return typed == meant[:-1] or typed == meant + meant[-1]
    typed_rest, meant_rest = typed[same:], meant[same:]
    swapped = typed_rest[:2] == meant_rest[1::-1] and typed_rest[2:] == meant_rest[2:]
    one_off = typed_rest[1:] in (meant_rest, meant_rest[1:]) or typed_rest == meant_rest[1:]
    return swapped or (same > 0 and one_off)


def caption_words() -> list[str]:
    """Every word that a caption may contain, once, as `words_of` has it: those that name something stand first."""
    named = ("0123456789", DIGIT_WORDS, *INK_WORDS.values(), *BACKGROUND_WORDS.values())
    named += (*STROKE_WORDS.values(), *STROKE_ADVERBS.values(), *SIDE_WORDS.values())
    named += (LEANING, LEANS, SLANT_NOUNS, UPRIGHT_ADJECTIVES, UPRIGHT_FORMS)
    forms = (DIGIT_FORMS, NO_DIGIT, INK_FORMS, BACKGROUND_FORMS, STROKE_FORMS, LEADS, ENDS)
    phrases = [phrase.replace("{}", " ") for table in (*named, *forms) for phrase in table]
    return list(dict.fromkeys(words_of(" ".join(phrases))))


def word_list() -> str:
    """Everything that a prompt may name, with its synonyms, in lines of less than 80 characters."""
    tables: dict[str, dict[str, tuple[str, ...]]] = {
        "digits": {"0 to 9": DIGIT_WORDS},
        "inks": INK_WORDS,
        "backgrounds": BACKGROUND_WORDS,
        "strokes": {name: (*words, *STROKE_ADVERBS[name]) for name, words in STROKE_WORDS.items()},
        "slants": {**SIDE_WORDS, "leaning": (*LEANING, *LEANS), "upright": (*UPRIGHT_ADJECTIVES, *UPRIGHT_FORMS)},
    }
    lines = []
    for title, table in tables.items():
        lines.append(title)
        for name, words in table.items():
            synonyms = ", ".join(word for word in dict.fromkeys(words) if word != name)
            wrapped = textwrap.wrap(synonyms, 66, break_on_hyphens=False)
            lines.append(f"  {name:<11}" + f"\n{' ' * 13}".join(wrapped))
    return "\n".join(lines)
