"""The grammar of captions: they say what is named, nothing else, and in very many ways that people use too."""

import random
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyldm import captions
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
    near_miss,
    shorten,
    unmet,
    word_list,
    words_of,
    write_caption,
)
from tinyldm.data import CaptionedMNIST
from tinyldm.measure import ATTRIBUTES, BACKGROUNDS, INKS

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


# ---------------------------------------------------------------- what prompts ask for that cannot be drawn

INKS_LISTED = f"(inks: {', '.join(INKS)})"
BACKGROUNDS_LISTED = f"(backgrounds: {', '.join(BACKGROUNDS)})"

UNMET = {
    "12": "not 12",
    "3.14": "not 3.14",
    "77": "not 77",
    "1,000": "not 1,000",
    "a red seven and another three": "not seven and three",
    "a seven, then 2": "not seven and 2",
    "twenty": "not twenty",
    "Seventeen in blue": "not seventeen",
    "red sevens": "not sevens",
    "a row of 7s": "not 7s",
    "one seven": 'not one and seven ("one" always means 1)',
    "a black seven on white": f"no black ink {INKS_LISTED}",
    "7 in black ink": "no black ink",
    "a 7 drawn with a thick black pen on white": "no black ink",
    "a black seven with a red pen": "no black ink",
    "seven, pink": "no pink ink",
    "a brown or pink seven": "no brown or pink ink",
    "a silver 7": "no silver ink",
    "dark-blue 7": "no dark blue ink",
    "white on white": "white ink cannot be seen on a white background",
    "a snow-white 7 on plain white paper": "white ink cannot be seen on a white background",
    "5 on red": f"no red background {BACKGROUNDS_LISTED}",
    "5 on a bright red wall": "no bright red background",
    "5 on light pink paper": "no pink background",
    "a yellow 5, green background": "no green background",
    "background: sky blue. 3": "no sky blue background",
    "7, background color: red": "no red background",
    "7 on a background of pale green": "no green background",
    "black_7": "no black ink",
    "9 with orange behind it": "no orange background",
    "a half red, half blue 7": "one ink at a time, not red and blue",
    "a seven, not red": '"not" is not understood (what to avoid goes into the negative prompt: --negative, ',
    "a seven without blue": '"without" is not understood',
    "don't make it red, 7": '"don\'t" is not understood',
    "a 7 that isn’t thick": '"isn\'t" is not understood',
    "no 7": '"no" is not understood',
    "a 7 not leaning to the left": '"not" is not understood',
}


@pytest.mark.parametrize(("prompt", "clause"), UNMET.items(), ids=UNMET)
def test_what_cannot_be_met_is_said_in_one_clause(prompt, clause):
    (said,) = unmet(prompt)
    assert clause in said


def test_every_demand_of_a_prompt_gets_its_clause():
    said = unmet("a black 12 on red, not a blue or yellow one")
    starts = ("one digit at a time, 0 to 9, not 12 and one", "no black ink", "no red", "one ink at a time", '"not" is')
    assert len(said) == 5 and all(clause.startswith(start) for clause, start in zip(said, starts, strict=True))


@pytest.mark.parametrize(
    "prompt",
    [
        "", "paradise cosmic beach", "the red one", "a seven (7)", "7, 7", "No. 7", "7, blue on white", "an orange 1",
        "a bold yellow 5 on dark blue, leaning right", "a seven not leaning", "3 without a tilt, in red", "ruby red 7",
        "blue background: white", "a red 7 with black around it", "black and white photo of a 7", "white on black",
        "a golden yellow 2", "7 on a blackboard", "a seven on the left", "a 7 in front of a black board", "redder 7",
        "knot 7", "phone 1",
    ],
    ids=ascii,
)  # fmt: skip
def test_what_can_be_met_or_is_merely_unknown_is_left_alone(prompt):
    assert unmet(prompt) == []


def test_no_caption_asks_for_what_cannot_be_met():
    rng, told_off = random.Random(5), []
    values = [(None, *range(10)), (None, *INKS), (None, *BACKGROUNDS), (None, *STROKE_WORDS), (None, *SLANT_WORDS)]
    for _ in range(15_000):
        said = Description(*(rng.choice(of) for of in values))
        caption = write_caption(said, rng)
        if unmet(caption) and said.ink != said.background:
            told_off.append((caption, unmet(caption)))
    assert told_off == []


def test_white_ink_on_white_is_found_in_captions_too():
    rng = random.Random(2)
    captions = [write_caption(Description(rng.randrange(10), "white", "white"), rng) for _ in range(500)]
    assert sum(unmet(caption) == ["white ink cannot be seen on a white background"] for caption in captions) > 450


@given(st.text())
def test_any_text_has_words_and_short_clauses(text):
    assert all(word and not any(c.isspace() for c in word) for word in words_of(text))
    assert all(len(clause) < 200 and clause.isprintable() for clause in unmet(text))
    line = shorten(text, 20)
    assert len(line) <= 20 and line.isprintable() and line == " ".join(line.split())


def test_words_are_whole_in_every_script():
    assert words_of("It's a RED cafe\u0301, don’t: 78") == ["it's", "a", "red", "café", "don’t", "7", "8"]
    assert words_of("सात लाल") == ["सात", "लाल"]
    assert words_of("日本 7👍🏽!") == ["日本", "7", "👍"]
    assert words_of(" ''..\u0301 \ufe0f_-") == []


SLIPS = {
    "sevn": "seven", "sevne": "seven", "seveen": "seven", "sebven": "seven", "seben": "seven", "esven": "seven",
    "eigth": "eight", "fuor": "four", "thre": "three", "nien": "nine", "zreo": "zero", "rde": "red", "rred": "red",
    "yelow": "yellow", "purpel": "purple", "oragne": "orange", "wihte": "white", "thikc": "thick", "lefft": "left",
    "upriht": "upright", "balck": "black", "thinn": "thin",
}  # fmt: skip


@pytest.mark.parametrize(("typed", "meant"), SLIPS.items(), ids=SLIPS)
def test_a_slip_of_a_name_is_recognised(typed, meant):
    assert near_miss(typed) == meant


def test_what_is_no_slip_is_not_taken_for_one():
    others = "wine bed night ten tone fix eleven sixteen sevens redder bluer orangey stone blackboard a i be 七"
    assert [word for word in others.split() if near_miss(word)] == []
    every_word = {word for words in (*INK_WORDS.values(), *BACKGROUND_WORDS.values()) for word in words}
    assert [word for word in (*DIGIT_WORDS, *INKS, *STROKE_WORDS, "gray", "navy") if near_miss(word)] == []
    assert {word for word in every_word if near_miss(word)} == set()


def test_the_list_of_words_holds_every_word_of_the_tables_in_80_columns():
    listed = word_list()
    assert max(map(len, listed.splitlines())) < 80
    flat = " ".join(listed.split())
    every = {word for words in WORDS.values() for of in words.values() for word in of if not word.isdigit()}
    assert len(every) > 150 and [word for word in every if word not in flat] == []


def test_the_slips_listed_by_hand_are_slips():
    assert all(near_miss(word) for word in captions.SLIPS)
