"""Whatever shows a picture is taken as a person would see it, and what is written is what was drawn, or nothing."""

import io
import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageDraw, ImageOps

from tinyldm import UserError, images
from tinyldm.images import image_and_mask, mask_to_tensor, open_image, open_mask, save_png, to_pil, to_tensor

# --- pictures in --------------------------------------------------------------------------------------------------

few = settings(max_examples=40, deadline=None, derandomize=True)
SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))

# --- pictures in --------------------------------------------------------------------------------------------------


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
    image = torch.full(shape, -0.5)
    image[..., 5, 2] = 1
    pixels = np.asarray(open_image(image))
    assert pixels.shape == (8, 6, 3) and (pixels[5, 2] == 255).all() and pixels.sum() == 3 * (255 + 47 * 64)
    assert (np.asarray(open_image(pixels)) == pixels).all() and (np.asarray(open_image(pixels[..., 0])) == pixels).all()


@pytest.fixture(scope="module")
def colours() -> np.ndarray:
    """A picture of 5 x 7 random colours, uint8 (5, 7, 3)."""
    return np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)


def to_unit_tensor(image: Image.Image) -> torch.Tensor:
    """What torchvision's to_tensor makes of a picture: (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255


ARRAYS = {
    "levels": lambda x: x,
    "levels as long integers": lambda x: x.astype(np.int64),
    "16 bits": lambda x: x.astype(np.uint16) * 257,
    "16 bits the other way round": lambda x: (x.astype(np.uint16) * 257).astype(">u2"),
    "floats to 1": lambda x: x / 255,
    "halves to 1": lambda x: (x / 255).astype(np.float16),
    "floats to 255": lambda x: x.astype(np.float32),
    "channels first": lambda x: x.transpose(2, 0, 1),
    "channels first to 1": lambda x: (x / 255).transpose(2, 0, 1)[None],
    "with alpha": lambda x: np.dstack([x, np.full(x.shape[:2], 255)]),
    "a tensor": lambda x: torch.from_numpy(x / 127.5 - 1).permute(2, 0, 1),
    "a tensor in bfloat16": lambda x: torch.from_numpy(x / 127.5 - 1).permute(2, 0, 1)[None].bfloat16(),
    "a tensor with channels last": lambda x: torch.from_numpy(x / 127.5 - 1).float().requires_grad_(),
    "a tensor of levels": lambda x: torch.from_numpy(x).permute(2, 0, 1),
    "a tensor of levels as floats": lambda x: torch.from_numpy(x).permute(2, 0, 1).float(),
    "torchvision's bytes": lambda x: torch.from_numpy(x).permute(2, 0, 1),
    "torchvision's floats": lambda x: to_unit_tensor(Image.fromarray(x)) * 2 - 1,
    "matplotlib's": lambda x: plt.imread(file_of(x, "PNG")),
}


def file_of(pixels: np.ndarray, kind: str, mode: str = "RGB", **options) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", ARRAYS)
def test_numbers_are_read_in_the_range_that_they_have(colours, kind):
    assert (np.asarray(open_image(ARRAYS[kind](colours))) == colours).all()


@few
@given(size=SIZES, seed=st.integers(0, 99), mode=st.sampled_from(["RGB", "RGBA", "CMYK", "PNG", "TIFF", "WEBP", "BMP"]))
def test_every_mode_that_keeps_a_colour_picture_gives_the_same_tensor(size, seed, mode):
    pixels = np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8)
    if mode in ("PNG", "TIFF", "WEBP", "BMP"):
        image = Image.open(file_of(pixels, mode, **({"lossless": True} if mode == "WEBP" else {})))
    else:
        image = Image.fromarray(pixels).convert(mode)
    assert torch.equal(image_and_mask(image, None, 32)[0], image_and_mask(pixels, None, 32)[0])


@few
@given(size=SIZES, seed=st.integers(0, 99), mode=st.sampled_from(["L", "LA", "P", "I", "I;16", "F", "F to 1"]))
def test_every_mode_that_keeps_a_grey_picture_gives_the_same_tensor(size, seed, mode):
    pixels = np.random.default_rng(seed).integers(256, size=size, dtype=np.uint8)
    pixels[0, 0] = 255  # floats of 1 and 0 alone would mean white and black
    match mode:
        case "I" | "I;16":
            image = Image.fromarray(pixels.astype(np.int32 if mode == "I" else np.uint16) * 257)
        case "F" | "F to 1":
            image = Image.fromarray(pixels.astype(np.float32) / (255 if mode == "F to 1" else 1))
        case _:
            image = Image.fromarray(pixels).convert(mode)
    assert image.mode == mode[:4].removesuffix(" to")
    assert torch.equal(image_and_mask(image, None, 32)[0], image_and_mask(pixels, None, 32)[0])


@few
@given(size=SIZES, seed=st.integers(0, 99))
def test_a_picture_is_placed_and_resized_as_pil_does_it(size, seed):
    image = Image.fromarray(np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8))
    if 32 * min(size) <= max(size):
        return  # so thin that PIL's own function finds nothing left of it
    expected = np.asarray(ImageOps.pad(image, (32, 32), color=image.getpixel((0, 0))))
    assert (np.asarray(to_pil(to_tensor(image, 32)[0])) == expected).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 1000), (1000, 1), (3000, 7)])
def test_no_picture_is_too_small_or_too_thin(size):
    picture, mask = image_and_mask(Image.new("RGB", size, (200, 30, 90)), Image.new("1", size, 1), 32)
    assert ((picture + 1) * 127.5).round().amax((2, 3)).tolist() == [[200, 30, 90]]
    assert mask.any(-1).sum() == max(1, round(32 * size[1] / max(size)))
    assert mask.any(-2).sum() == max(1, round(32 * size[0] / max(size)))


def test_where_both_ends_of_a_shape_could_be_channels_they_are_the_last_of_an_array_and_the_first_of_a_tensor():
    levels = np.random.default_rng(0).integers(256, size=(3, 5, 3), dtype=np.uint8)
    assert (np.asarray(open_image(levels)) == levels).all()
    assert (np.asarray(open_image(torch.from_numpy(levels))) == levels.transpose(1, 2, 0)).all()


def test_numbers_a_hair_out_of_range_are_rounding_errors():
    assert np.asarray(open_image(np.array([[-0.005, 0.5, 1.005]])))[0, :, 0].tolist() == [0, 128, 255]
    assert np.asarray(open_image(torch.tensor([[-1.005, 0, 1.005]])))[0, :, 0].tolist() == [0, 128, 255]
    for beyond in (np.array([[-0.02, 0.5]]), np.array([[0.5, 1.02]]), torch.tensor([[-1.02, 1]])):
        with pytest.raises(UserError, match=r"^the picture has numbers from "):
            open_image(beyond)


NUMBERS = {
    "between the ranges": (np.linspace(0, 2, 12).reshape(3, 4), "numbers from 0 to 2: give floats in [0, 1] or"),
    "below 0": (np.linspace(-1, 1, 12).reshape(3, 4), "numbers from -1 to 1: give floats in [0, 1] or integers"),
    "above 255": (np.full((3, 4), 256.0), "numbers from 256 to 256: give floats in [0, 1]"),
    "integers below 0": (np.int32([[-1, 5]]), "numbers from -1 to 5: give floats in [0, 1] or integers in [0, 255]"),
    "more than 16 bits": (np.int64([[0, 65536]]), "numbers from 0 to 65536"),
    "nan": (np.float32([[0, np.nan]]), "numbers that are NaN or infinite"),
    "infinite": (np.float32([[0, np.inf]]), "numbers that are NaN or infinite"),
    "a tensor below -1": (torch.tensor([[-2.0, 1]]), "numbers from -2 to 1: give floats in [-1, 1] or integers"),
    "a tensor with nan": (torch.tensor([[-1, torch.nan]]), "numbers that are NaN or infinite"),
    "a float tiff with nan": (Image.fromarray(np.float32([[np.nan, 1]])), "numbers that are NaN or infinite"),
    "a row": (np.zeros(9), "must be (H, W, 3) of numbers, not float64 (9,)"),
    "two pictures": (np.zeros((2, 9, 9), np.uint8), "must be (H, W, 3) of numbers, not uint8 (2, 9, 9)"),
    "complex": (np.zeros((9, 9), complex), "must be (H, W, 3) of numbers, not complex128 (9, 9)"),
    "text": (np.array([["a"]]), "must be (H, W, 3) of numbers, not <U1 (1, 1)"),
    "latents": (torch.zeros(4, 8, 8), "floats (3, H, W) in [-1, 1], not float32 (4, 8, 8)"),
    "nothing": (np.zeros((0, 5, 3)), "is empty"),
}


@pytest.mark.parametrize("read", [open_image, open_mask])
@pytest.mark.parametrize(("given", "says"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_may_mean_several_things_are_refused_in_one_line(given, says, read):
    if read is open_mask and isinstance(given, torch.Tensor) and "[-1, 1] or" in says:
        says = "numbers from -2 to 1"
    with pytest.raises(UserError) as caught:
        read(given)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_tensor_that_may_be_torchvisions_is_read_as_ours_with_a_warning(colours):
    image = to_unit_tensor(Image.fromarray(colours))
    with pytest.warns(UserWarning, match=r"below 0: if it is in \[0, 1\], give 2 \* x - 1$"):
        seen = open_image(image)
    assert np.asarray(seen).min() >= 127
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (np.asarray(open_image(2 * image - 1)) == colours).all()  # the advice, followed
        assert np.asarray(open_image(torch.ones(3, 4, 4))).min() == 255  # white in either range


def test_white_strokes_on_a_clear_layer_can_be_seen():
    layer = Image.new("LA", (32, 32), (255, 0))
    layer.paste((255, 255), (8, 8, 24, 24))
    ink = image_and_mask(layer, None, 32)[0][0, 0]
    assert (ink[8:24, 8:24] == 1).all() and ink.sum() == 16 * 16 - (32 * 32 - 16 * 16)
    assert open_image(Image.new("RGBA", (4, 4), "white")).getcolors() == [(16, (255, 255, 255))]


def test_published_pictures_are_seen_as_they_are():
    """Matplotlib's own: a JPEG, and a PNG with a clear ground."""
    for name, corner in (("grace_hopper.jpg", None), ("Minduka_Present_Blue_Pack.png", (255, 255, 255))):
        with get_sample_data(name) as file:
            picture = open_image(file)
            file.seek(0)
            theirs = plt.imread(file, format=name[-3:])
        assert picture.size == theirs.shape[1::-1] and theirs.std() > 0
        again = np.asarray(open_image(theirs))
        assert (again == np.asarray(picture)).all()
        assert corner is None or picture.getpixel((0, 0)) == corner


def test_only_files_of_a_sensible_size_are_opened(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe") if hasattr(os, "mkfifo") else (tmp_path / "pipe").mkdir()
    for path in (tmp_path, os.devnull, tmp_path / "pipe", os.fsencode(tmp_path / "pipe")):
        with pytest.raises(UserError, match=r"is not a readable picture \(a folder, pipe or device, not a file\)$"):
            open_image(path)
    monkeypatch.setattr(images, "MAX_BYTES", 10**6)
    (tmp_path / "large.png").write_bytes(bytes(10**6 + 1))
    with pytest.raises(UserError, match=r"large.png is not a readable picture \(its file is larger than 1 MB\)$"):
        open_image(str(tmp_path / "large.png"))


def test_a_large_picture_is_taken_without_a_word_and_a_bomb_in_one_line(monkeypatch):
    file = file_of(np.full((100, 90), 77, np.uint8), "PNG", "L")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)
        assert open_image(file).getpixel((50, 50)) == (77, 77, 77)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
        with pytest.raises(UserError, match=r"^the BytesIO given is not a readable picture \(Image size \(9000 pixels"):
            open_image(file)


@few
@given(st.data(), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]))
def test_a_damaged_file_is_a_picture_or_one_line(data, kind):
    whole = bytearray(file_of(np.arange(600, dtype=np.uint8).reshape(20, 30), kind, "RGB").getvalue())
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    for read in (open_image, open_mask):
        try:
            assert 0 not in np.asarray(read(io.BytesIO(whole[: data.draw(st.integers(0, len(whole)))]))).shape
        except UserError as error:
            assert "\n" not in str(error)


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


# --- masks --------------------------------------------------------------------------------------------------------

WHERE = np.zeros((6, 8), bool)
WHERE[2:5, 1:4] = True


def painted(colour, ground, mode: str) -> Image.Image:
    mask = Image.new(mode, (8, 6), ground)
    mask.paste(colour, (1, 2, 4, 5))
    return mask


def palette(colours, **options) -> Image.Image:
    mask = painted(1, 0, "P")
    mask.putpalette(colours)
    mask.info |= options
    return mask


def several_colours() -> Image.Image:
    mask = painted((40, 0, 0), "black", "RGB")
    mask.paste((0, 255, 0), (2, 3, 4, 5))
    return mask


def many_colours() -> np.ndarray:
    """Red, dark to bright, on grey from 0 to 29, as a JPEG might have it."""
    grey, red = np.random.default_rng(0).integers(30, size=WHERE.shape), np.linspace(-50, 300, WHERE.size)
    channels = np.where(WHERE, red.reshape(WHERE.shape), grey), *[np.where(WHERE, 0, grey)] * 2
    return np.dstack(channels).astype(np.uint8)


def soft_brush() -> Image.Image:
    """Its strokes fade; where they are less than half there, the picture stays."""
    alpha = np.where(WHERE, 140, np.linspace(0, 60, WHERE.size).reshape(WHERE.shape))
    return Image.fromarray(np.dstack([np.full_like(alpha, 255)] * 3 + [alpha]).astype(np.uint8))


def jpeg(colour) -> Image.Image:
    large = Image.new("RGB", (256, 192))
    large.paste(colour, (32, 64, 128, 160))
    file = io.BytesIO()
    large.save(file, "JPEG", quality=60)
    return Image.open(file)


MASKS = {
    "white on black": painted(255, 0, "L"),
    "one bit": painted(1, 0, "1"),
    "labels": painted(1, 0, "L"),
    "labels in 16 bits": painted(1, 0, "I;16"),
    "one label among many": painted(15, 0, "L"),
    "16 bits": painted(65535, 0, "I;16"),
    "floats": painted(1.0, 0.0, "F"),
    "floats to 255": painted(255.0, 0.0, "F"),
    "grey on black": painted(100, 0, "L"),
    "nearly white on nearly black": painted(235, 16, "L"),
    "dark blue on black": painted((0, 0, 90), "black", "RGB"),
    "several colours on black": several_colours(),
    "many colours on nearly black": many_colours(),
    "cmyk": painted((0, 255, 255, 0), (0, 0, 0, 255), "CMYK"),
    "white on clear": painted((255, 255, 255, 255), (0, 0, 0, 0), "RGBA"),
    "black on clear white": painted((0, 0, 0, 255), (255, 255, 255, 0), "RGBA"),
    "a half clear brush": painted((255, 0, 0, 127), (255, 0, 0, 0), "RGBA"),
    "a soft brush": soft_brush(),
    "grey on clear": painted((30, 255), (0, 0), "LA"),
    "colours with soft alpha": painted((255, 255, 255, 255), (0, 0, 0, 200), "RGBA"),
    "palette: labels": palette([0, 0, 0, 1, 1, 1]),
    "palette: Pascal VOC": palette([0, 0, 0, 128, 0, 0]),
    "palette: red on white": palette([90, 200, 90, 255, 220, 220]),
    "palette: none": painted(1, 0, "P"),
    "palette: black is 1": ImageOps.invert(painted(255, 0, "L")).point(lambda v: v // 255).convert("P"),
    "palette: clear": palette([255, 255, 255, 0, 0, 0], transparency=0),
    "bools": WHERE,
    "zeros and ones": WHERE.astype(np.int64),
    "a tensor": torch.from_numpy(WHERE),
    "a tensor of long": torch.from_numpy(WHERE).long()[None],
    "a tensor of floats": torch.from_numpy(WHERE).float()[None, None],
    "a tensor from -1": torch.from_numpy(WHERE).float() * 2 - 1,
    "a soft one": np.where(WHERE, 0.6, 0.4) * (np.arange(6) > 0)[:, None],
}
MASKS["palette: black is 1"].putpalette([255, 255, 255, 0, 0, 0])


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_is_read_as_it_was_meant(mask):
    assert (open_mask(mask) == WHERE).all()
    if isinstance(mask, Image.Image) and mask.mode not in ("CMYK", "F"):
        file = io.BytesIO()
        mask.save(file, "PNG")
        assert (open_mask(file) == WHERE).all()


@pytest.mark.parametrize("colour", ["white", "red", (0, 0, 200), (255, 0, 255)])
def test_a_mask_may_be_a_jpeg(colour):
    grown = open_mask(jpeg(colour))
    assert grown[66:158, 34:126].all() and not grown[:60].any() and not grown[:, 136:].any()
    assert (mask_to_tensor(grown, 8)[0, 0, 3:6, 1:4] == 1).all()


@pytest.mark.parametrize(
    ("mask", "all_or_none"),
    [
        (np.ones((3, 4)), True),
        (np.zeros((3, 4)), False),
        (np.ones((3, 4), np.uint8), True),
        (np.ones((3, 4), bool), True),
        (torch.ones(3, 4), True),
        (torch.zeros(1, 3, 4), False),
        (Image.new("L", (4, 3), 255), True),
        (Image.new("RGB", (4, 3), (250, 255, 240)), True),
        (Image.new("RGBA", (4, 3), (255, 255, 255, 0)), False),
        (Image.new("L", (4, 3)).quantize(2), False),
        (Image.new("L", (4, 3), 255).quantize(2), True),
    ],
)
def test_a_mask_of_one_level_is_all_or_nothing(mask, all_or_none):
    assert open_mask(mask).shape == (3, 4) and (open_mask(mask) == all_or_none).all()


UNCLEAR = {
    "grey": (Image.new("L", (9, 9), 128), "nowhere black"),
    "red on white": (painted("red", "white", "RGB"), "nowhere black"),
    "white on grey": (painted(255, 128, "L"), "nowhere black"),
    "palette: white, red": (palette([255, 255, 255, 255, 0, 0]), "nowhere black"),
    "three labels": (np.uint8([[0, 1, 2]]), "the mask's levels (0, 1, 2) may mean several things"),
    "many labels": (np.uint8([[0, 1, 2, 7, 9]]), "the mask's levels (0, 1, 2, 7, ...) may mean several things"),
    "with labels to ignore": (np.uint8([[0, 1, 255]]), "the mask's levels (0, 1, 255) may mean several things"),
    "three labels as floats": (np.float32([[0, 1, 2]]), "the mask has numbers from 0 to 2"),
    "dark grey": (np.float32([[0.1, 0.2, 0.4]]), "the mask's levels (26, 51, 102) may mean several things"),
}


@pytest.mark.parametrize(("mask", "says"), UNCLEAR.values(), ids=UNCLEAR)
def test_a_mask_that_may_mean_several_things_is_refused_in_one_line(mask, says):
    with pytest.raises(UserError) as caught:
        open_mask(mask)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def photographs():
    """Matplotlib's photograph as people hand it in for a mask: as it is, with a hole, and cut out."""
    with get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB")
    hole, cut_out = Image.new("L", photo.size, 255), Image.new("L", photo.size)
    hole.paste(0, (150, 100, 330, 300))
    cut_out.paste(255, (150, 100, 330, 300))
    shown = {"opaque": photo, "hole": photo.copy(), "cut out": photo.copy()}
    shown["hole"].putalpha(hole)
    shown["cut out"].putalpha(cut_out)
    return shown


@pytest.mark.parametrize("size", [None, (512, 512), (128, 96)])
@pytest.mark.parametrize("kind", ["opaque", "hole", "cut out"])
def test_a_photograph_is_no_mask(kind, size):
    """Some programs redraw where it is clear, others where it is not, or where it is bright."""
    photo = photographs()[kind]
    photo = photo.resize(size, Image.Resampling.NEAREST) if size else photo
    for mask in (photo, np.asarray(photo)):
        with pytest.raises(UserError, match="is a photograph: make it black where the picture stays"):
            open_mask(mask)


@pytest.mark.parametrize("quality", [20, 75, 95, None])
def test_soft_brushes_and_labels_in_many_colours_are_masks(quality, tmp_path):
    y, x = np.mgrid[:256, :256]
    mask = np.zeros((256, 256, 3))
    for centre, colour in (((60, 60), (255, 0, 0)), ((180, 60), (0, 255, 0)), ((190, 190), (255, 255, 0))):
        mask = np.maximum(mask, np.clip(1.5 - np.hypot(x - centre[0], y - centre[1]) / 40, 0, 1)[..., None] * colour)
    name = f"mask.{'jpg' if quality else 'png'}"
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / name, **({"quality": quality} if quality else {}))
    drawn = open_mask(tmp_path / name)
    assert drawn[60, 60] and drawn[60, 180] and drawn[190, 190] and not drawn[120, 120] and not drawn[200, 60]


@few
@given(size=SIZES, seed=st.integers(0, 99), colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_what_is_painted_is_redrawn_whatever_the_colour(size, seed, colour):
    where = np.random.default_rng(seed).random(size) < 0.3
    where[0, 0] = False
    alpha = np.dstack([where[..., None] * np.uint8(colour), where * np.uint8(255)])
    assert (open_mask(alpha) == where).all()
    if any(colour):
        assert (open_mask(alpha[..., :3]) == where).all()


@few
@given(size=SIZES, seed=st.integers(0, 99), side=st.sampled_from([8, 32]))
def test_a_pixel_is_redrawn_if_any_of_the_masks_inside_it_is(size, seed, side):
    where = np.random.default_rng(seed).random(size) < 0.02
    mask, box = (mask_to_tensor(given, side)[0, 0].numpy() for given in (where, np.ones(size, bool)))
    if side * min(size) > max(size):
        placed = ImageOps.pad(Image.new("L", size[::-1], 255), (side, side), color=0)
        assert (box == np.asarray(placed) / 255).all()  # PIL's own: padding is kept
    expected = np.zeros((side, side))
    (top, left), (height, width) = np.argwhere(box).min(0), (box.any(1).sum(), box.any(0).sum())
    for y, x in np.argwhere(where):
        rows = slice(top + y * height // size[0], top - -(y + 1) * height // size[0])
        expected[rows, left + x * width // size[1] : left - -(x + 1) * width // size[1]] = 1
    assert (mask == expected).all()


def test_a_line_of_one_pixel_in_a_large_mask_is_not_lost():
    mask = Image.new("L", (3000, 2000))
    ImageDraw.Draw(mask).line([(0, 0), (2999, 1999)], 255)
    small = image_and_mask(Image.new("RGB", mask.size), mask, 32)[1][0, 0]
    assert small.any(0).all() and small.any(1).sum() == round(32 * 2 / 3)


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
