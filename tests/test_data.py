"""MNIST and captioned MNIST: genuine files, and rows that name only what is clearly true."""

import gzip
import hashlib
import os
import pkgutil
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch

import tinyldm
from tinyldm import UserError, data
from tinyldm.data import HELD_OUT, CaptionedMNIST, load_mnist
from tinyldm.measure import (
    ATTRIBUTES,
    BACKGROUNDS,
    INKS,
    SLANT_BORDERS,
    SLANT_MARGIN,
    STROKE_BORDERS,
    STROKE_MARGIN,
    paint,
)

# ---------------------------------------------------------------- the files

PUBLISHED_MD5 = {  # of the unpacked files, as in data/README.md
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


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
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name in TEST_FILES:
        shutil.copy(data.SHIPPED / f"{name}.gz", folder)
    return folder


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
    with pytest.raises(UserError, match=name):
        load_mnist("test", copied)


def test_unknown_split_is_named():
    with pytest.raises(ValueError, match="validation"):
        load_mnist("validation")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("ending", ["-ubyte.gz", "-ubyte"])
@pytest.mark.parametrize("joint", ["-", "."])
def test_mnists_own_files_have_any_of_their_usual_names_packed_or_not(tmp_path, joint, ending, packed):
    """Unpackers and Kaggle write "t10k-images.idx3-ubyte"; browsers unpack a file and may leave its name."""
    for name in TEST_FILES:
        content = (data.SHIPPED / f"{name}.gz").read_bytes()
        place = tmp_path / name.replace("-idx", f"{joint}idx").replace("-ubyte", ending)
        place.write_bytes(content if packed else gzip.decompress(content))
    if joint == ".":
        (tmp_path / TEST_FILES[0]).mkdir()  # Kaggle also has folders of that name
    read, shipped = data.load_mnist("test", tmp_path), data.load_mnist("test")
    assert torch.equal(read.images, shipped.images) and torch.equal(read.labels, shipped.labels)


@pytest.mark.parametrize("level", [1, 9])
def test_mnists_own_files_are_read_as_published_or_unpacked(tmp_path, level):
    """gzip's header holds a name and a time, and packs as it likes: only what is in the file counts."""
    images, labels = ((name, gzip.decompress((data.SHIPPED / f"{name}.gz").read_bytes())) for name in TEST_FILES)
    with gzip.GzipFile(images[0], "wb", level, (tmp_path / f"{images[0]}.gz").open("wb"), mtime=1e9) as packed:
        packed.write(images[1])
    (tmp_path / labels[0]).write_bytes(labels[1])
    loaded, expected = load_mnist("test", str(tmp_path)), load_mnist("test")
    assert torch.equal(loaded.images, expected.images) and torch.equal(loaded.labels, expected.labels)


@pytest.mark.parametrize("damage", ["missing", "cut"])
@pytest.mark.parametrize("place", ["clone", "wheel", "folder"])
def test_the_advice_fits_where_the_file_was(monkeypatch, copied, place, damage):
    folder = copied if place == "folder" else copied.rename(copied.parent / "data")
    if place != "folder":
        monkeypatch.setattr(data, "SHIPPED", folder)
    if place == "clone":
        (folder.parent / ".git").touch()  # a file in a worktree
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:100])
    advice = {
        "clone": f'restore it with `git -C "{folder.parent}" checkout HEAD data`',
        "wheel": "repeat the `pip install` that installed tinyldm with --force-reinstall --no-deps",
        "folder": "put MNIST's own file there",
    }
    with pytest.raises(UserError) as error:
        load_mnist("test", folder if place == "folder" else None)
    assert str(error.value).startswith(f"{path} is missing" if damage == "missing" else f"{path} cannot be read (")
    assert str(error.value).endswith(advice[place]) and "\n" not in str(error.value)


@pytest.mark.skipif(os.name == "nt", reason="users of POSIX")
def test_a_user_without_home_or_name_can_use_everything():
    """As in a container: no HOME, and nobody with this number in the list of users."""
    script = "import pwd\ndef nobody(uid): raise KeyError\npwd.getpwuid = nobody\n"
    script += "".join(
        f"import tinyldm.{module.name}\n" for module in pkgutil.iter_modules(tinyldm.__path__) if module.name[0] != "_"
    )
    script += "from tinyldm.data import CaptionedMNIST\nprint(len(CaptionedMNIST('test', limit=2)))"
    nameless = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME")
    }
    run = subprocess.run([sys.executable, "-c", script], env=nameless, capture_output=True, text=True, check=True)
    assert run.stdout == "2\n"


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


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        *(
            ({"limit": limit}, f"limit must be between 1 and 10,000 .*, not {limit}")
            for limit in (-1, 0, 10_001, 10**12)
        ),
        *(({"copies": copies}, f"copies must be between 1 and 100, not {copies}") for copies in (-1, 0, 101, 10**12)),
    ],
)
def test_numbers_of_rows_that_there_are_not_are_refused(numbers, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        CaptionedMNIST("test", **numbers)
