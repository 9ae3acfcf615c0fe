"""MNIST and captioned MNIST: genuine files, and rows that name only what is clearly true."""

import gzip
import hashlib
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
import torchvision

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
    with pytest.raises(UserError, match=name):
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
    with pytest.raises(UserError) as error:
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
