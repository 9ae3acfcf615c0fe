"""MNIST and captioned MNIST: genuine files, honest measures, captions that say what is in the picture."""

import gzip
import hashlib
import random
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from scipy import ndimage
from scipy.stats import spearmanr

from tinyldm import data
from tinyldm.data import (
    ATTRIBUTES,
    BACKGROUND_WORDS,
    BACKGROUNDS,
    DIGIT_WORDS,
    HELD_OUT,
    INK_WORDS,
    INKS,
    LEANING,
    LEANS,
    SIDE_WORDS,
    SLANT_BORDERS,
    SLANT_MARGIN,
    STROKE_ADVERBS,
    STROKE_BORDERS,
    STROKE_MARGIN,
    STROKE_WORDS,
    UPRIGHT_ADJECTIVES,
    UPRIGHT_FORMS,
    CaptionedMNIST,
    Description,
    load_mnist,
    nearest_colour,
    paint,
    slant_angle,
    stroke_thickness,
    unpaint,
    write_caption,
)


@pytest.fixture(scope="module")
def digits():
    """Coverage of the first 2,000 test digits, (2000, 32, 32) in [0, 1]."""
    return F.pad(load_mnist("test").images[:2000], (2, 2, 2, 2)) / 255


@pytest.fixture(scope="module")
def rows():
    return CaptionedMNIST("test", seed=0, limit=1000)


@pytest.fixture(scope="module")
def many_rows():
    """All 10,000 test digits, twice; thickness, which takes long and means nothing here, is drawn by lot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "stroke_thickness", lambda coverage: 1.5 + 3 * torch.rand(len(coverage)))
        return CaptionedMNIST("test", seed=0, copies=2)


@pytest.fixture(scope="module")
def vocabulary(many_rows):
    """Every word of 20,000 captions."""
    return set(re.findall(r"[a-z]+|\d", " ".join(many_rows.captions)))


# ---------------------------------------------------------------- the files

PUBLISHED_MD5 = {  # of the unpacked files, as in data/README.md
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


@pytest.mark.parametrize("name", PUBLISHED_MD5)
def test_shipped_file_is_the_genuine_one(name):
    packed = (data.SHIPPED / f"{name}.gz").read_bytes()
    assert hashlib.md5(gzip.decompress(packed), usedforsecurity=False).hexdigest() == PUBLISHED_MD5[name]
    assert data.MD5[name] == PUBLISHED_MD5[name]
    readme = (data.SHIPPED / "README.md").read_text()
    assert PUBLISHED_MD5[name] in readme and hashlib.sha256(packed).hexdigest() in readme


@pytest.mark.parametrize(("split", "count", "first"), [("train", 60_000, [5, 0, 4, 1]), ("test", 10_000, [7, 2, 1, 0])])
def test_mnist_has_its_published_sizes_and_order(split, count, first):
    mnist = load_mnist(split)
    assert mnist.images.shape == (count, 28, 28) and mnist.labels.shape == (count,)
    assert mnist.labels[:4].tolist() == first
    assert set(mnist.labels.tolist()) == set(range(10))


def test_padded_puts_the_picture_in_the_middle_of_minus_one():
    image = torch.zeros(1, 28, 28, dtype=torch.uint8)
    image[0, 0, 27] = 255
    padded = data.MNIST(image, torch.zeros(1)).padded()
    assert padded[0, 0, 2, 29] == 1
    assert padded.sum() == 1 - (32 * 32 - 1)


@pytest.fixture
def copied(tmp_path):
    """A folder with copies of the two test files, to be damaged."""
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        shutil.copy(data.SHIPPED / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_truncated_file_is_named(copied, name, kept):
    content = (copied / name).read_bytes()
    (copied / name).write_bytes(content[:kept])
    with pytest.raises(ValueError, match=name):
        load_mnist("test", copied)


def test_any_altered_byte_is_noticed_and_the_file_named(copied):
    path = copied / "t10k-labels-idx1-ubyte.gz"
    content = path.read_bytes()
    for place in range(10, len(content), 41):  # the first ten bytes are gzip's own header
        altered = bytearray(content)
        altered[place] ^= 0x10
        path.write_bytes(altered)
        with pytest.raises(ValueError, match=path.name):
            data._read_idx(copied, "t10k-labels-idx1-ubyte")


def test_another_file_that_is_sound_in_itself_is_refused(copied):
    path = copied / "t10k-labels-idx1-ubyte.gz"
    labels = bytearray(gzip.decompress(path.read_bytes()))
    labels[8] = 1  # the first label is 7
    path.write_bytes(gzip.compress(labels))
    with pytest.raises(ValueError, match=f"{path.name} is not the genuine"):
        load_mnist("test", copied)


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(FileNotFoundError, match=name):
        load_mnist("test", copied)


def test_unknown_split_is_named():
    with pytest.raises(ValueError, match="validation"):
        load_mnist("validation")


def test_without_files_and_network_the_message_says_what_to_do(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(data, "SHIPPED", tmp_path / "data")
    monkeypatch.setattr(data, "DOWNLOADED", tmp_path / "cache")
    monkeypatch.setattr(torchvision.datasets, "MNIST", offline)
    with pytest.raises(FileNotFoundError) as error:
        load_mnist("test")
    message = str(error.value)
    assert "no route to host" in message and "Clone the repository" in message
    assert str(tmp_path / "data") in message and str(tmp_path / "cache" / "MNIST" / "raw") in message


def test_without_shipped_files_torchvisions_download_is_read_and_checked(monkeypatch, tmp_path):
    def download(root, download):
        assert download
        folder = root / "MNIST" / "raw"  # where torchvision unpacks them
        folder.mkdir(parents=True)
        for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
            (folder / name).write_bytes(gzip.decompress((shipped / f"{name}.gz").read_bytes()))

    shipped = data.SHIPPED
    expected = load_mnist("test")
    monkeypatch.setattr(data, "SHIPPED", tmp_path / "data")
    monkeypatch.setattr(data, "DOWNLOADED", tmp_path / "cache")
    monkeypatch.setattr(torchvision.datasets, "MNIST", download)
    loaded = load_mnist("test")
    assert torch.equal(loaded.images, expected.images) and torch.equal(loaded.labels, expected.labels)


# ---------------------------------------------------------------- stroke

# Digit number in the test set: thickness in pixels and slant in radians, as Morpho-MNIST defines them (Castro et al.,
# JMLR 20(178), 2019, section 3.1, and https://github.com/dccastro/Morpho-MNIST): the picture enlarged four times with
# cubic splines (skimage.transform.pyramid_expand); thickness is twice the mean distance on the medial axis
# (skimage.morphology.medial_axis) of what is brighter than half, slant is arctan(-mu_11 / mu_02).
# Computed once with scikit-image 0.26, which the project itself does not need.
MORPHO_MNIST = {
    0: (2.147, 0.070), 50: (2.186, 0.125), 100: (1.510, -0.191), 150: (2.458, -0.148), 200: (4.832, 0.118),
    250: (4.120, -0.179), 300: (1.852, 0.158), 350: (3.527, -0.219), 400: (2.738, 0.380), 450: (4.579, -0.018),
    500: (3.280, -0.142), 550: (1.671, 0.026), 600: (2.029, -0.058), 650: (2.010, 0.240), 700: (2.859, -0.257),
    750: (2.001, 0.077), 800: (2.190, -0.032), 850: (3.086, 0.118), 900: (1.958, 0.022), 950: (2.589, 0.283),
    1000: (2.835, 0.303), 1050: (1.294, 0.450), 1100: (3.941, 0.074), 1150: (2.354, -0.008), 1200: (1.719, 0.150),
    1250: (2.295, 0.260), 1300: (1.922, 0.067), 1350: (2.702, 0.075), 1400: (3.880, 0.066), 1450: (2.354, -0.070),
    1500: (1.805, 0.141), 1550: (1.946, 0.341), 1600: (2.263, -0.017), 1650: (2.400, 0.231), 1700: (2.013, 0.035),
    1750: (1.565, -0.334), 1800: (3.478, -0.264), 1850: (2.230, -0.078), 1900: (3.830, 0.609), 1950: (2.119, -0.121),
}  # fmt: skip


@pytest.mark.parametrize("width", [2, 4, 6])
def test_a_bar_is_as_thick_as_it_was_drawn(width):
    bar = torch.zeros(2, 32, 32)
    start = 16 - width // 2
    bar[0, 6:26, start : start + width] = 1
    bar[1, start : start + width, 6:26] = 1
    assert stroke_thickness(bar).tolist() == pytest.approx([width] * 2, rel=0.15)


def test_no_ink_has_no_thickness():
    assert stroke_thickness(torch.zeros(2, 32, 32)).tolist() == [0, 0]


def test_thickness_does_not_depend_on_how_dark_the_ink_is(digits):
    assert torch.allclose(stroke_thickness(digits[:50] * 0.5), stroke_thickness(digits[:50]), atol=1e-5)


def test_dilation_makes_every_digit_thicker_by_about_its_width(digits):
    dilated = torch.from_numpy(ndimage.grey_dilation(digits[:200].numpy(), (1, 3, 3)))  # one pixel more on each side
    growth = stroke_thickness(dilated) - stroke_thickness(digits[:200])
    assert growth.min() > 1
    assert growth.median() == pytest.approx(2.6, abs=0.4)  # 2 across, 2√2 along the diagonal


def test_mirrored_and_turned_digits_are_as_thick(digits):
    thickness = stroke_thickness(digits[:100])
    for turned in (digits[:100].flip(1), digits[:100].flip(2), digits[:100].transpose(1, 2)):
        assert torch.allclose(stroke_thickness(turned), thickness, atol=0.05)


def test_thickness_agrees_with_morpho_mnist(digits):
    measured = stroke_thickness(digits[list(MORPHO_MNIST)])
    reference = np.array([thickness for thickness, _ in MORPHO_MNIST.values()])
    assert spearmanr(measured, reference).statistic >= 0.97


# ---------------------------------------------------------------- slant


@pytest.mark.parametrize("angle", [-0.5, -0.2, 0.0, 0.2, 0.5])
def test_a_sheared_bar_has_the_angle_of_its_shear_and_right_is_positive(angle):
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    centre = 15.5 + np.tan(angle) * (15.5 - y)  # the top (small y) goes right when the angle is positive
    bar = torch.exp(-(((x - centre) / 1.5) ** 2)) * (y >= 8) * (y < 24)
    assert slant_angle(bar[None]).item() == pytest.approx(angle, abs=0.005)


def test_slant_is_the_shear_from_explicit_moments(digits):
    for picture, angle in zip(digits[:200].double().numpy(), slant_angle(digits[:200]).tolist(), strict=True):
        m = {(p, q): 0.0 for p, q in [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]}
        for row, column in zip(*np.nonzero(picture), strict=True):
            for p, q in m:
                m[p, q] += picture[row, column] * column**p * row**q
        mu11 = m[1, 1] / m[0, 0] - m[1, 0] * m[0, 1] / m[0, 0] ** 2
        mu02 = m[0, 2] / m[0, 0] - (m[0, 1] / m[0, 0]) ** 2
        assert angle == pytest.approx(np.arctan(-mu11 / mu02), abs=1e-5)


def test_the_mirror_turns_the_slant_round_and_place_does_not_matter(digits):
    angle = slant_angle(digits[:200])
    assert torch.allclose(slant_angle(digits[:200].flip(2)), -angle, atol=1e-5)
    assert torch.allclose(slant_angle(F.pad(digits[:200], (5, 0, 0, 3))), angle, atol=1e-5)


def test_slant_agrees_with_morpho_mnist(digits):
    measured = slant_angle(digits[list(MORPHO_MNIST)])
    reference = np.array([slant for _, slant in MORPHO_MNIST.values()])
    assert spearmanr(measured, reference).statistic >= 0.99
    assert np.abs(measured.numpy() - reference).max() < 0.05


# ---------------------------------------------------------------- colour


def test_paint_mixes_background_and_ink_by_coverage():
    coverage = torch.tensor([[[0.0, 0.5, 1.0]]])
    painted = paint(coverage, torch.tensor([[1.0, 0.5, 0.0]]), torch.tensor([[0.0, 0.5, 0.5]]))
    assert painted[0, :, 0].tolist() == [[-1, 0, 1], [0, 0, 0], [0, -0.5, -1]]


@pytest.mark.parametrize(("ink", "background"), [(i, b) for i in INKS for b in BACKGROUNDS if i != b])
def test_unpaint_finds_what_was_painted(digits, ink, background):
    coverage = digits[:40]
    colours = [torch.tensor([rgb]).repeat(40, 1) for rgb in (INKS[ink], BACKGROUNDS[background])]
    found, found_ink, found_background = unpaint(paint(coverage, *colours))
    assert [tuple(INKS)[i] for i in nearest_colour(found_ink, INKS)] == [ink] * 40
    assert torch.allclose(found_background, colours[1], atol=1e-6)
    assert (found - coverage).abs().mean() < 0.005
    assert (stroke_thickness(found) - stroke_thickness(coverage)).abs().max() < 0.25


def test_the_colours_of_the_design_are_there():
    assert tuple(INKS) == ("white", "red", "green", "blue", "yellow", "purple", "orange", "cyan")
    assert {"black", "white", "grey", "dark blue"} <= set(BACKGROUNDS)
    assert not {tuple(rgb) for name, rgb in INKS.items() if name != "white"} & set(BACKGROUNDS.values())


# ---------------------------------------------------------------- rows


def test_half_of_the_rows_are_on_black_and_the_others_share_the_rest(many_rows):
    share = {name: (many_rows.background == i).double().mean().item() for i, name in enumerate(BACKGROUNDS)}
    assert share["black"] == pytest.approx(0.5, abs=0.03)
    assert all(share[name] == pytest.approx(1 / 6, abs=0.03) for name in BACKGROUNDS if name != "black")
    inks = torch.bincount(many_rows.ink).double() / len(many_rows)
    assert inks.tolist() == pytest.approx([1 / 8] * 8, abs=0.02)


def test_ink_never_has_the_colour_of_its_background(many_rows):
    ink = torch.tensor(list(INKS.values()))[many_rows.ink]
    background = torch.tensor(list(BACKGROUNDS.values()))[many_rows.background]
    assert (ink - background).abs().amax(1).min() > 0.2


def test_training_never_pairs_a_digit_with_its_held_out_ink_and_the_test_split_does(many_rows):
    def pairs(rows):
        inks = [list(INKS)[i] for i in rows.ink]
        return Counter(zip(rows.labels.tolist(), inks, strict=True))

    train, test = pairs(CaptionedMNIST("train", seed=0, limit=2000, copies=2)), pairs(many_rows)
    assert sorted(HELD_OUT) == list(range(10))
    assert all(train[pair] == 0 < test[pair] for pair in HELD_OUT.items())
    assert len(train) == 70  # all other pairs of ten digits and eight inks


def test_what_is_named_is_true_and_a_background_other_than_black_is_always_named(many_rows):
    for i, named in enumerate(many_rows.named):
        actual = many_rows.describe(i)
        assert all(said in (None, getattr(actual, name)) for name, said in vars(named).items())
        assert named.background is not None or actual.background == "black"


def test_each_attribute_is_named_only_some_of_the_time(rows):
    share = {name: np.mean([getattr(named, name) is not None for named in rows.named]) for name in ATTRIBUTES}
    assert share["digit"] > 0.9
    assert 0.6 < share["ink"] < 0.8
    assert 0.25 < share["stroke"] < 0.6 and 0.25 < share["slant"] < 0.6
    black = [named.background for i, named in enumerate(rows.named) if rows.background[i] == 0]
    assert 0.1 < np.mean([background == "black" for background in black]) < 0.4
    for name in ATTRIBUTES:  # and each of its values is really met with
        assert {getattr(named, name) for named in rows.named} >= set(ATTRIBUTES[name])


def test_stroke_and_slant_are_named_only_where_they_are_clear(rows):
    for i, named in enumerate(rows.named):
        if named.stroke:
            assert min(abs(rows.thickness[i] - border) for border in STROKE_BORDERS) > STROKE_MARGIN
        if named.slant:
            assert min(abs(rows.angle[i] - border) for border in SLANT_BORDERS) > SLANT_MARGIN


def test_names_follow_the_measures(rows):
    for i in range(len(rows)):
        actual = rows.describe(i)
        thin, thick = rows.thickness[i] <= STROKE_BORDERS[0], rows.thickness[i] > STROKE_BORDERS[1]
        left, right = rows.angle[i] <= SLANT_BORDERS[0], rows.angle[i] > SLANT_BORDERS[1]
        assert actual.stroke == ("thin" if thin else "thick" if thick else "medium")
        assert actual.slant == ("left" if left else "right" if right else "upright")
        assert actual.digit == rows.labels[i]


def test_measuring_the_painted_picture_gives_the_rows_own_description(rows):
    measured = data.describe(rows.images(torch.arange(len(rows))), rows.labels)
    for name in ATTRIBUTES:
        named = [(getattr(a, name), getattr(b, name)) for a, b in zip(rows.named, measured, strict=True)]
        named = [(said, seen) for said, seen in named if said is not None]
        assert len(named) > 200
        assert np.mean([said == seen for said, seen in named]) >= 0.99, name


def test_a_row_by_its_number_is_the_same_as_in_a_batch(rows):
    row = rows[17]
    assert torch.equal(row.image, rows.images(torch.tensor([3, 17]))[1])
    assert (row.caption, row.named, row.actual) == (rows.captions[17], rows.named[17], rows.describe(17))
    ink, background = (torch.tensor([rgb]) for rgb in (INKS[row.actual.ink], BACKGROUNDS[row.actual.background]))
    assert torch.equal(row.image, paint(rows.coverage[17:18] / 255, ink, background)[0])
    assert torch.equal(rows.coverage[17, 2:30, 2:30], load_mnist("test").images[17])


def test_same_seed_same_rows_and_another_seed_others(rows):
    same, other = (CaptionedMNIST("test", seed=seed, limit=200) for seed in (7, 8))
    again = CaptionedMNIST("test", seed=7, limit=200)
    assert again.captions == same.captions and again.named == same.named
    assert torch.equal(again.images(torch.arange(200)), same.images(torch.arange(200)))
    assert np.mean([a == b for a, b in zip(same.captions, other.captions, strict=True)]) < 0.02
    assert (same.ink == other.ink).double().mean() < 0.3
    assert torch.equal(same.thickness, other.thickness), "the seed is of colours and words, not of the digits"


def test_copies_are_the_same_digits_in_other_colours_and_words():
    rows = CaptionedMNIST("test", limit=100, copies=3)
    assert len(rows) == len(rows.captions) == 300
    assert torch.equal(rows.coverage[:100], rows.coverage[200:]) and torch.equal(rows.labels[:100], rows.labels[200:])
    assert torch.equal(rows.thickness[:100], rows.thickness[100:200])
    assert (rows.ink[:100] == rows.ink[100:200]).double().mean() < 0.3
    assert np.mean([a == b for a, b in zip(rows.captions[:100], rows.captions[100:200], strict=True)]) < 0.05


# ---------------------------------------------------------------- captions

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
