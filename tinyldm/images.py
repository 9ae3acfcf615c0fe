"""Images in and out: files, PIL images, arrays and tensors become tensors in [-1, 1], and tensors become PIL images.

Design choices
- Whatever PIL can read is taken as a person would see it: rotated as the camera recorded, transparent parts on white.
- A mask is taken as the person who painted it meant it. What can be meant in two ways is refused, never guessed.
- An image that is not square is padded with the colour of its corner, not stretched; in a mask, padding is kept.
- A pixel of the result is redrawn if any of the mask's own pixels inside it is, so thin lines in large masks count.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyldm import UserError
from tinyldm.weights import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

FRAME_MS, LAST_FRAME_MS = 150, 2000  # how long an animation shows each image

ImageLike: TypeAlias = "PILImage | str | Path | np.ndarray | Tensor"

MAX_BYTES = 500 * 10**6  # of a picture's file; PIL itself refuses pictures of more than 178 million pixels
ROUNDING = 0.01  # how far numbers may lie outside of [0, 1] or [-1, 1]


def image_and_mask(image: ImageLike, mask: ImageLike | None, size: int) -> tuple[Tensor, Tensor | None]:
    """An image and its mask, if there is one, in the form that the pipeline expects.

    Args:
        image: a PIL image, a file, an array or a tensor; see `open_image`.
        mask: likewise, and of the same size; see `open_mask`.
        size: height and width of the result.

    Returns:
        The image, (1, 3, size, size) in [-1, 1], and the mask, (1, 1, size, size) of 0 (keep) and 1 (redraw), or None.

    Raises:
        UserError: if one of them cannot be read or understood, or their sizes differ.
    """
    picture = open_image(image)
    if mask is None:
        return to_tensor(picture, size), None
    redrawn = open_mask(mask)
    if redrawn.shape[::-1] != picture.size:
        sizes = [f"{width}x{height}" for width, height in (picture.size, redrawn.shape[::-1])]
        raise UserError(f"picture and mask must have the same size, not {' and '.join(sizes)}")
    return to_tensor(picture, size), mask_to_tensor(redrawn, size)


def open_image(image: ImageLike) -> PILImage:
    """A PIL image in RGB of whatever shows a picture.

    ==========================  =======================================================================================
    what is given               what becomes of it
    ==========================  =======================================================================================
    a file                      opened by PIL, up to 500 MB and 178 million pixels; of several pages or frames, the
                                first; turned as its EXIF data say
    mode 1, L, P, RGB, CMYK, …  converted by PIL
    LA, RGBA, tRNS in a PNG     laid on white; on black if nothing but white is drawn on a clear layer
    I, I;16; integers           levels up to 255 if none is larger, else 16 bits, up to 65535
    F; an array of floats       [0, 1], or [0, 255] if the largest number is 32 or more; between them it is refused
    a tensor of floats          [-1, 1], or [0, 255] likewise; a warning if all are in [0, 1], as torchvision has them
    an array or tensor of bool  False is black, True is white
    shapes                      (H, W), (H, W, C), (C, H, W) and a batch of one of these; C is 1, 3 or 4 (but 4 in a
                                tensor of floats would be latents: refused); if both ends could be C, it is the last of
                                an array and the first of a tensor
    NaN, infinite, negative     refused (but for -1 to 0 in a tensor of floats)
    no pixels; anything else    refused
    ==========================  =======================================================================================

    Raises:
        UserError: if it is refused, or the file cannot be read.
    """
    from PIL import Image

    opened = _load(image, "picture")
    if not opened.has_transparency_data:
        return opened.convert("RGB")
    layer = opened.convert("RGBA")
    seen = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if np.asarray(seen).min() >= 250 and np.asarray(layer)[..., 3].any():  # white on a clear layer, or all white
        seen = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer).convert("RGB")
    return seen


def open_mask(mask: ImageLike) -> np.ndarray:
    """Where a mask says that the picture is to be redrawn: an array of bool, (H, W).

    All that `open_image` takes is taken, except that a tensor of floats may also be in [0, 1]. The first line that fits
    decides.

    ===============================================  ==================================================================
    what is given                                    what is redrawn
    ===============================================  ==================================================================
    the many colours of a photograph, with or        refused: some programs redraw where such a one is clear, others
    without clear parts                              where it is bright
    transparency: alpha somewhere below half of its  what is drawn, in any colour: alpha above half of its largest
    largest value, or 0 everywhere                   value; where it is clear, the picture stays
    a palette image of the indices 0 and 1           1; but if 0 has the lighter colour, its colours decide, below
    levels of 0 and 1 only (labels)                  1
    black, and one other level (or colour)           all that isn't black
    black, and colours: at most 16 colours in all    all that isn't black
    all white, or nearly: 192 and more               everything
    nowhere black: nothing below 64                  refused
    nowhere 128 or more (several labels, dark grey)  refused
    0, 1 and 255 only (labels, with "don't know")    refused
    any other                                        white, grey from 128 on, and colours (channels 64 or more apart)
    ===============================================  ==================================================================

    Raises:
        UserError: as for `open_image`, or if the mask is refused.
    """
    opened = _load(mask, "mask")
    if _is_photo(opened):
        raise UserError("the mask is a photograph: make it black where the picture stays, white where it is redrawn")
    if opened.has_transparency_data:
        alpha = np.asarray(opened.convert("RGBA"))[..., 3]
        drawn = alpha > alpha.max() / 2
        if not drawn.all():
            return drawn
    if opened.mode == "P" and opened.getextrema() in ((0, 0), (0, 1), (1, 1)):
        colours = np.array([*(opened.getpalette() or []), *[0] * 6])[:6].reshape(2, 3)
        if colours[0].sum() <= colours[1].sum():
            return np.asarray(opened) == 1
    return _painted(opened.convert("RGB"))


def _is_photo(mask: PILImage) -> bool:
    """Whether what can be seen has the colours of a photograph: of 4,096 coarse ones, more than masks have."""
    seen = mask.convert("RGBA")
    seen = seen.crop(seen.getbbox())  # what is clear around it does not count
    pixels = np.asarray(seen.resize([min(side, 128) for side in seen.size], 0)).reshape(-1, 4)  # 0: no colour is new
    often = np.unique(pixels[pixels[:, 3] > 127, :3] // 16, axis=0, return_counts=True)[1] >= 4
    return bool(often.sum() > (64 if mask.has_transparency_data else 192))  # a JPEG of a painted mask has up to 150


def _painted(mask: PILImage) -> np.ndarray:
    """Where an opaque mask, RGB, says that the picture is to be redrawn; the lower part of the table of `open_mask`."""
    from PIL import ImageChops

    brightest, darkest = (reduce(compare, mask.split()) for compare in (ImageChops.lighter, ImageChops.darker))
    levels = [level for level, count in enumerate(brightest.histogram()) if count]
    value, lowest = np.asarray(brightest), np.asarray(darkest)
    coloured = value - lowest >= 64
    few_colours = coloured.any() and mask.getcolors(16) is not None
    if levels[-1] <= 1 or (levels[0] == 0 and (len(levels) == 2 or few_colours)):
        return value > 0
    if lowest.min() >= 192:
        return np.ones_like(value, bool)
    if levels[0] >= 64:
        raise UserError("the mask is nowhere black: make it black where the picture stays, white where it is redrawn")
    if levels[-1] < 128 or levels == [0, 1, 255]:
        shown = ", ".join(map(str, levels[:4])) + (", ..." if len(levels) > 4 else "")
        raise UserError(f"the mask's levels ({shown}) may mean several things: make it 0 and 255, where 255 is redrawn")
    return (value >= 128) | coloured


def _load(given: Any, what: str) -> PILImage:
    """A picture or mask (``what``) as a PIL image of 8 bits: 1, L, LA, P, RGB or RGBA."""
    from PIL import Image

    if isinstance(given, Tensor):
        return _from_array(_numpy(given), what, tensor=True)
    if hasattr(given, "__array__") and not isinstance(given, Image.Image):
        return _from_array(np.asarray(given), what)
    opened = _open(given)
    return _from_array(np.asarray(opened), what) if opened.mode[0] in "IF" else opened


def _open(given: Any) -> PILImage:
    """A file, or a PIL image, loaded and turned upright: 1, L, LA, P, RGB, RGBA, F, I or one of I;16."""
    from PIL import Image, ImageOps

    name = given if isinstance(given, str | os.PathLike) else f"the {type(given).__name__} given"
    try:
        opened = ImageOps.exif_transpose(given) if isinstance(given, Image.Image) else _read(given)
        if 0 in opened.size:
            raise UserError("the picture is empty")
        if opened.mode[0] in "IF" or opened.mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
            return opened
        return opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    except (UserError, ImportError, MemoryError):
        raise
    except Exception as error:  # of any kind, since a damaged file may contain anything
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{name} is not a readable picture ({reason})") from error


def _read(file: Any) -> PILImage:
    from PIL import Image, ImageOps

    if isinstance(file, str | bytes | os.PathLike) and (path := Path(os.fsdecode(file))).exists():
        if not path.is_file():
            raise OSError("a folder, pipe or device, not a file")  # opening a pipe would wait for ever
        if path.stat().st_size > MAX_BYTES:
            raise OSError(f"its file is larger than {MAX_BYTES // 10**6} MB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about many pixels (twice as many are an error), or damaged EXIF data
        with Image.open(file) as opened:
            return ImageOps.exif_transpose(opened)  # a phone records how it was held


def _numpy(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor).numpy()


def _from_array(array: np.ndarray, what: str, tensor: bool = False) -> PILImage:
    """Numbers as a PIL image: L, RGB or RGBA; those of a tensor may be negative, and its channels come first."""
    from PIL import Image

    floats = array.dtype.kind == "f"
    values = array[0] if array.ndim == 4 and len(array) == 1 else array
    places = (0, -1) if tensor and values.ndim == 3 else (-1, 0)
    values = values[..., None] if values.ndim == 2 else values
    channels = (1, 3) if tensor and floats else (1, 3, 4)
    axes = [axis for axis in places if values.ndim == 3 and values.shape[axis] in channels]
    if not axes or array.dtype.kind not in "buif":
        expected = "a tensor must be floats (3, H, W) in [-1, 1]" if tensor else "an array must be (H, W, 3) of numbers"
        raise UserError(f"a {what} given as {expected}, not {array.dtype} {array.shape}")
    if 0 in values.shape:
        raise UserError(f"the {what} is empty")
    signed = tensor and floats and (what == "picture" or values.min() < 0)
    levels = _levels(np.moveaxis(values, axes[0], -1), what, lowest=-1 if signed else 0)
    return Image.fromarray(np.ascontiguousarray(levels[..., 0] if levels.shape[2] == 1 else levels))


def _levels(values: np.ndarray, what: str, lowest: int) -> np.ndarray:
    """Numbers as levels from 0 to 255, uint8; see the table of `open_image`."""
    if values.dtype == bool:
        return values * np.uint8(255)
    low, high, floats = values.min().item(), values.max().item(), values.dtype.kind == "f"
    if not np.isfinite([low, high]).all():
        raise UserError(f"the {what} has numbers that are NaN or infinite")
    if floats and low >= lowest - ROUNDING and high <= 1 + ROUNDING:
        if lowest < 0 <= low < 1:
            warnings.warn(f"no number of the {what} is below 0: if it is in [0, 1], give 2 * x - 1", stacklevel=2)
        values = (values - lowest) / (1 - lowest) * 255
    elif not floats and low >= 0 and 255 < high <= 65535:
        values = values / 257
    elif low < 0 or high > 255 or (floats and high < 32):
        allowed = f"give floats in [{lowest}, 1] or integers in [0, 255]"
        raise UserError(f"the {what} has numbers from {low:g} to {high:g}: {allowed}")
    return np.rint(values).clip(0, 255).astype(np.uint8)


def to_tensor(image: PILImage, size: int) -> Tensor:
    """A PIL image in RGB as (1, 3, size, size) in [-1, 1]; one that is not square is padded."""
    from PIL import Image

    width, height, left, top = _placed(image.size, size)
    square = Image.new("RGB", (size, size), image.getpixel((0, 0)))
    square.paste(image.resize((width, height)), (left, top))
    pixels = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8).view(size, size, 3)
    return pixels.permute(2, 0, 1)[None] / 127.5 - 1


def mask_to_tensor(mask: np.ndarray, size: int) -> Tensor:
    """A mask (H, W) as (1, 1, size, size) of 0 and 1, placed like its picture; a pixel is 1 if any inside it is."""
    width, height, left, top = _placed(mask.shape[::-1], size)
    inside = F.adaptive_max_pool2d(torch.from_numpy(mask)[None, None].float(), (height, width))
    return F.pad(inside, (left, size - left - width, top, size - top - height))


def _placed(shape: tuple[int, ...], size: int) -> tuple[int, int, int, int]:
    """Width, height, left and top of a picture of ``shape`` (width, height) in the middle of a square."""
    width, height = (max(1, round(side / max(shape) * size)) for side in shape)
    return width, height, round((size - width) / 2), round((size - height) / 2)


def to_pil(image: Tensor) -> PILImage:
    """An image (3, H, W) in [-1, 1] as a PIL image."""
    from PIL import Image

    return Image.fromarray(((image + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy())


def save_png(image: Tensor, path: str | Path) -> None:
    """Write an image (3, H, W) in [-1, 1] as a PNG; the file appears only once it is complete.

    Raises:
        UserError: if it cannot be written.
    """
    with atomic_write(path) as unfinished:
        to_pil(image).save(unfinished, "PNG")


def magnify(images: Tensor, size: int | None) -> Tensor:
    """Images (B, 3, H, W) to (B, 3, size, size), each pixel as a square; None leaves them as they are."""
    return images if size is None else F.interpolate(images, size=(size, size), mode="nearest-exact")


def save_gif(frames: Sequence[Tensor], path: str | Path) -> None:
    """Write an animation as a GIF that repeats: frames (B, 3, H, W) in [-1, 1] show B images side by side.

    Raises:
        UserError: if it cannot be written.
    """
    pictures = [to_pil(_side_by_side(frame)) for frame in frames]
    times = [FRAME_MS] * (len(pictures) - 1) + [LAST_FRAME_MS]
    with atomic_write(path) as unfinished:
        pictures[0].save(unfinished, "GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0)


def _side_by_side(images: Tensor) -> Tensor:
    """(B, 3, H, W) to one image (3, rows * H, columns * W), nearly square, with white lines in between."""
    if len(images) == 1:
        return images[0]
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    framed = F.pad(images, (1, 1, 1, 1), value=1.0)
    full = torch.cat([framed, framed.new_ones(rows * columns - len(images), *framed.shape[1:])])
    return full.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
