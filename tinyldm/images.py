"""Images in and out: files, PIL images, arrays and tensors become tensors in [-1, 1], and tensors become PIL images.

Design choices
- Whatever PIL can read is taken as a person would see it: rotated as the camera recorded, transparent parts on white.
- An image that is not square is padded with the colour of its corner, not stretched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

from tinyldm import UserError
from tinyldm.weights import atomic_write

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

ImageLike: TypeAlias = "PILImage | str | Path | np.ndarray | Tensor"


def image_and_mask(image: ImageLike, mask: ImageLike | None, size: int) -> tuple[Tensor, Tensor | None]:
    """An image and its mask, if there is one, in the form that the pipeline expects.

    Args:
        image: a PIL image, a file, an array or a tensor; see `open_image`.
        mask: likewise, and of the same size; or a tensor (H, W) or an array of 0 and 1.
        size: height and width of the result.

    Returns:
        The image, (1, 3, size, size) in [-1, 1], and the mask, (1, 1, size, size) of 0 (keep) and 1 (redraw), or None.

    Raises:
        UserError: if one of them cannot be read as an image, or their sizes differ.
    """
    if isinstance(mask, np.ndarray) and mask.size and mask.max() <= 1:  # 0 and 1; PIL would read 1 as nearly black
        mask = torch.from_numpy(mask.astype(np.float32))
    picture = open_image(image)
    if mask is None:
        return to_tensor(picture, size), None
    where = open_image(mask * 2.0 - 1 if isinstance(mask, Tensor) else mask)
    if where.size != picture.size:
        sizes = [f"{width}x{height}" for width, height in (picture.size, where.size)]
        raise UserError(f"picture and mask must have the same size, not {' and '.join(sizes)}")
    return to_tensor(picture, size), (to_tensor(where, size)[:, :1] > 0).float()


def open_image(image: ImageLike) -> PILImage:
    """A PIL image in RGB; transparent parts become white.

    Args:
        image: a PIL image of any mode, a file, an array uint8 (H, W) or (H, W, 3), a tensor (3, H, W) in [-1, 1].

    Raises:
        UserError: if it cannot be read as an image, or is empty.
    """
    from PIL import Image, ImageOps

    if isinstance(image, Tensor):
        shape = image.shape[1:] if image.ndim == 4 and len(image) == 1 else image.shape
        if not image.is_floating_point() or len(shape) not in (2, 3) or shape[:-2] not in ((), (1,), (3,)):
            given = f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
            raise UserError(f"a picture given as a tensor must be floats (3, H, W) in [-1, 1], not {given}")
        image = to_pil(image.clamp(-1, 1).expand(1, 3, *shape[-2:])[0])
    else:
        name = image if isinstance(image, str | Path) else f"the {type(image).__name__} given"
        try:
            if not isinstance(image, Image.Image):
                image = Image.fromarray(image) if hasattr(image, "__array_interface__") else Image.open(image)
            image.load()
            image = ImageOps.exif_transpose(image)  # a phone records how it was held
            if image.mode.startswith("I") and (image.mode != "I" or cast(Any, image.getextrema())[1] > 255):
                image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")  # 16 bits to 8
            image = image.convert("RGBA")
        except (OSError, SyntaxError, TypeError, ValueError, AttributeError, Image.DecompressionBombError) as error:
            raise UserError(f"{name} is not a readable picture ({error})") from error
    if 0 in image.size:
        raise UserError("the picture is empty")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")


def to_tensor(image: PILImage, size: int) -> Tensor:
    """A PIL image in RGB as (1, 3, size, size) in [-1, 1]; one that is not square is padded."""
    from PIL import ImageOps

    corner: Any = image.getpixel((0, 0))
    image = ImageOps.pad(image, (size, size), color=corner)
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(size, size, 3)
    return pixels.permute(2, 0, 1)[None] / 127.5 - 1


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
