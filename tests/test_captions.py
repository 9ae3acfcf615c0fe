"""The grammar of captions: they say what is named, nothing else, and in very many ways that people use too."""

import random
import re
from collections import Counter

import pytest

from tinyldm.captions import (
    BACKGROUND_WORDS,
    DIGIT_WORDS,
    INK_WORDS,
    LEANING,
    LEANS,
    SIDE_WORDS,
    STROKE_ADVERBS,
    STROKE_WORDS,
    UPRIGHT_ADJECTIVES,
    UPRIGHT_FORMS,
    Description,
    write_caption,
)
from tinyldm.data import CaptionedMNIST
from tinyldm.measure import ATTRIBUTES

SLANT_WORDS = {
    "left": {*SIDE_WORDS["left"], "leftward"},
    "upright": {*UPRIGHT_ADJECTIVES, *UPRIGHT_FORMS},
    "right": {*SIDE_WORDS["right"], "rightward"},
}
ALL_STROKE_WORDS = {name: {*STROKE_WORDS[name], *STROKE_ADVERBS[name]} for name in STROKE_WORDS}
WORDS = {
    "digit": {i: {str(i), word} for i, word in enumerate(DIGIT_WORDS)},
    "ink": INK_WORDS,
    "background": BACKGROUND_WORDS,
    "stroke": ALL_STROKE_WORDS,
    "slant": SLANT_WORDS,
}


@pytest.fixture(scope="module")
def vocabulary(many_rows):
    """Every word of 20,000 captions."""
    return set(re.findall(r"[a-z]+|\d", " ".join(many_rows.captions)))


def says(caption: str, words) -> bool:
    """Whether one of the words or phrases stands in a caption, as whole words."""
    return any(re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", caption) for word in words)


def test_captions_say_what_is_named(rows):
    for caption, named in zip(rows.captions, rows.named, strict=True):
        for name, value in vars(named).items():
            assert value is None or says(caption, WORDS[name][value]), (caption, name, value)


def test_captions_say_nothing_else(rows):
    for caption, named in zip(rows.captions, rows.named, strict=True):
        for name in ("digit", "stroke", "slant"):
            others = {word for value, words in WORDS[name].items() if value != getattr(named, name) for word in words}
            own = WORDS[name].get(getattr(named, name), ())
            assert not says(caption, others - set(own)), (caption, name)
        colours = {word for words in (*INK_WORDS.values(), *BACKGROUND_WORDS.values()) for word in words}
        if named.ink is None and named.background is None:
            assert not says(caption, colours), caption


def test_a_word_means_only_one_thing():
    meanings = Counter()
    for name in ("digit", "stroke", "slant"):
        meanings.update(word for words in WORDS[name].values() for word in set(words))
    for palette in (INK_WORDS, BACKGROUND_WORDS):  # "white" may be ink or paper, but never another ink
        colours = Counter(word for words in palette.values() for word in set(words))
        assert max(colours.values()) == 1
        assert not set(colours) & set(meanings)
    leaning = {*LEANING, *LEANS} - {"slanted", "tilted", "leaning"}  # "not leaning" is upright
    assert max(meanings.values()) == 1 and not leaning & set(meanings)


def test_no_template_names_a_digit():
    nothing = [write_caption(Description(), random.Random(seed)) for seed in range(3000)]
    every_digit_word = {word for words in WORDS["digit"].values() for word in words}
    assert not [caption for caption in nothing if says(caption, every_digit_word)]


def test_every_word_of_the_lists_is_used_by_some_caption():
    rng = random.Random(0)
    for name in ("ink", "background", "stroke", "slant"):
        for value, words in WORDS[name].items():
            said = [write_caption(Description(digit=3, **{name: value}), rng) for _ in range(1500)]
            assert [word for word in words if not any(says(caption, [word]) for caption in said)] == []


def test_captions_read_naturally_where_articles_meet(rows):
    for caption in rows.captions:
        assert not re.search(r"\b(a|an|the) (a|an|the|some|any)\b", caption), caption
        assert not re.search(r"\ba (8|eight|orange|emerald|upright|azure|amber)\b", caption), caption
        assert not re.search(r"\ban ([^aeiou8]|one\b)", caption), caption
        assert caption == caption.strip() and "  " not in caption and "{" not in caption


def test_captions_hardly_repeat():
    captions = CaptionedMNIST("test", limit=1000, copies=2).captions
    assert len(captions) == 2000 and len(set(captions)) > 0.95 * 2000


def test_word_order_varies():
    captions = [write_caption(Description(7, "red", "white", "thick", "left"), random.Random(i)) for i in range(400)]
    words = {
        "digit": ("7", "seven"), "ink": INK_WORDS["red"], "background": BACKGROUND_WORDS["white"],
        "stroke": ALL_STROKE_WORDS["thick"], "slant": SLANT_WORDS["left"],
    }  # fmt: skip
    firsts = Counter()
    for caption in captions:
        place = {
            name: min(m.start() for word in words[name] for m in re.finditer(rf"\b{re.escape(word)}\b", caption))
            for name in ATTRIBUTES
        }
        firsts[min(place, key=place.get)] += 1
    assert set(firsts) == set(ATTRIBUTES) and min(firsts.values()) >= 10


@pytest.mark.parametrize(
    "prompt",
    [
        "sketch a chubby scarlet 2 that slopes right",
        "one. cyan. white paper.",
        "could you draw me a fat crimson nine tilting to the left",
        "five, navy backdrop, spidery yellow strokes",
        "the number zero written with a thick blue marker on white paper",
        "violet 6, slim lines, straight up and down, grey wall",
        "4 in emerald ink, delicate, slanting rightwards, midnight blue page",
        "give me the digit 3, tangerine, hefty, no slant",
        "a skinny aqua 1 over slate",
        "i would like an upright golden eight against jet black",
        "digit: 8, ink: turquoise, background: silver, stroke: bold, slant: left",
        "doodle my ruby seven, tipped backwards, with a broad brush",
        "a lavender four, thinly drawn, that leans towards the right",
        "heavy ivory 0 in front of deep blue",
        "please write the figure five in amber, medium-weight, tilted forwards",
        "canary 9 atop a greyish wall",
        "render a plump jade two, angled left, upon black",
        "cobalt six, wispy and erect",
    ],
)
def test_words_that_people_type_are_words_of_some_caption(prompt, vocabulary):
    assert [word for word in re.findall(r"[a-z]+|\d", prompt) if word not in vocabulary] == []
