"""Whatever shows a picture is taken as a person would see it, and what is written is what was drawn, or nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tinyldm import UserError
from tinyldm.images import image_and_mask, open_image, save_png, to_pil

# --- pictures in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [np.uint8([[0, 1]] * 2), np.uint8([[0, 255]] * 2), np.array([[False, True]] * 2)])
def test_a_mask_may_be_an_array_of_0_and_1_or_of_levels(array):
    mask = image_and_mask(Image.new("L", (2, 2)), array, 32)[1]
    assert torch.equal(mask, image_and_mask(Image.new("L", (2, 2)), torch.tensor([[0.0, 1]] * 2), 32)[1])
    assert not mask[..., :16].any() and mask[..., 18:].all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I", "I;16", "I;16B", "1"])
def test_a_picture_of_any_kind_and_size_is_taken(tmp_path, mode):
    """Left half black, right half grey, at the bottom a white row; with 16 bits, 257 times the number is the same."""
    grey, scale = 255 if mode == "1" else 100, 257 if mode.startswith("I") else 1
    picture = Image.new("I" if scale > 1 else "L", (50, 20), 0)
    picture.paste(grey * scale, (25, 0, 50, 20))
    picture.paste(255 * scale, (0, 19, 50, 20))
    picture = picture.convert(mode)
    picture.save(tmp_path / "picture.tiff")
    for image in (picture, tmp_path / "picture.tiff", str(tmp_path / "picture.tiff")):
        again = open_image(image)
        assert (again.mode, again.size) == ("RGB", (50, 20))
        for place, value in (((3, 3), 0), ((40, 3), grey), ((3, 19), 255)):
            assert again.getpixel(place) == (value,) * 3
    assert image_and_mask(picture, None, 32)[0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize("shape", [(3, 8, 6), (1, 3, 8, 6), (1, 8, 6), (8, 6), (1, 1, 8, 6)])
def test_a_picture_may_be_a_tensor_or_an_array(shape):
    image = torch.zeros(shape)
    image[..., 5, 2] = 1
    pixels = np.asarray(open_image(image))
    assert pixels.shape == (8, 6, 3) and (pixels[5, 2] == 255).all() and pixels.sum() == 3 * (255 + 47 * 128)
    assert (np.asarray(open_image(pixels)) == pixels).all() and (np.asarray(open_image(pixels[..., 0])) == pixels).all()


def test_a_photo_that_a_phone_turned_is_turned_back(tmp_path):
    picture, exif = Image.new("L", (40, 20)), Image.Exif()
    exif[0x0112] = 6  # orientation: turn it by 90 degrees clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    assert open_image(tmp_path / "turned.png").size == (20, 40)


def test_what_is_transparent_is_white_and_a_long_picture_keeps_its_proportions():
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    assert (image_and_mask(clear, None, 32)[0] == 1).all()
    long = Image.new("RGB", (64, 32), "black")
    long.paste("white", (16, 0, 48, 32))  # a white square in the middle
    ink = image_and_mask(long, None, 32)[0][0, 0] > 0
    assert ink.any(0).sum() == pytest.approx(16, abs=2) and ink.any(1).sum() == pytest.approx(16, abs=2)


# --- pictures out -------------------------------------------------------------------------------------------------


def test_pixels_go_from_black_at_minus_one_to_white_at_one():
    image = torch.tensor([[[-1.0, 0.0]], [[1.0, 0.5]], [[0.0, -0.5]]])  # (3, 1, 2)
    picture = to_pil(image)
    assert picture.size == (2, 1)
    assert [picture.getpixel((x, 0)) for x in (0, 1)] == [(0, 255, 128), (128, 191, 64)]


@pytest.fixture
def drawn() -> torch.Tensor:
    """A picture that is the same neither upside down nor turned, (3, 5, 7) in [-1, 1]."""
    return torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_saved_picture_is_what_to_pil_shows_in_a_new_folder_without_other_files(tmp_path, drawn):
    path = tmp_path / "new" / "folder" / "7.png"
    save_png(drawn, path)
    with Image.open(path) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (7, 5))
        assert picture.tobytes() == to_pil(drawn).tobytes()
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_a_picture_saved_in_the_place_of_another_replaces_it(tmp_path, drawn):
    for image in (drawn, -drawn):
        save_png(image, str(tmp_path / "7.png"))
    assert Image.open(tmp_path / "7.png").tobytes() == to_pil(-drawn).tobytes() != to_pil(drawn).tobytes()
    assert [file.name for file in tmp_path.iterdir()] == ["7.png"]


@pytest.fixture
def full_disk(monkeypatch):
    def save(self, path, *_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)


def test_on_a_full_disk_the_file_is_named_and_nothing_is_left(tmp_path, drawn, full_disk):
    path = tmp_path / "seven.png"
    with pytest.raises(UserError) as caught:
        save_png(drawn, path)
    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_on_a_full_disk_the_picture_that_was_there_stays_as_it_was(tmp_path, drawn, full_disk):
    (tmp_path / "seven.png").write_bytes(b"the picture of yesterday")
    with pytest.raises(UserError, match=r"seven\.png"):
        save_png(drawn, tmp_path / "seven.png")
    assert [file.name for file in tmp_path.iterdir()] == ["seven.png"]
    assert (tmp_path / "seven.png").read_bytes() == b"the picture of yesterday"


def test_a_picture_that_is_not_square_is_padded_with_the_colour_of_its_corner():
    wide = Image.new("RGB", (64, 32), (200, 30, 90))
    wide.paste((0, 0, 0), (20, 8, 44, 24))
    tensor, _ = image_and_mask(wide, None, 32)
    assert ((tensor + 1) * 127.5).round()[0, :, 2, 5].tolist() == [200, 30, 90]  # above the picture itself
    assert (tensor[0, :, 16, 16] == -1).all()
