"""Measure stroke thickness, slant and colours, in MNIST digits and in generated images.

Design choices
- Stroke and slant are *measured* (Morpho-MNIST, Castro et al., JMLR 2019), never taken from labels.
- The same functions measure training images, for their captions, and generated ones (`describe`), so "does the image
  match the prompt?" can be answered with a number.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tinyldm.captions import Description

INKS = {
    "white": (1.0, 1.0, 1.0),
    "red": (0.9, 0.1, 0.1),
    "green": (0.1, 0.75, 0.2),
    "blue": (0.15, 0.35, 1.0),
    "yellow": (1.0, 0.9, 0.1),
    "purple": (0.6, 0.2, 0.85),
    "orange": (1.0, 0.5, 0.05),
    "cyan": (0.1, 0.85, 0.9),
}
BACKGROUNDS = {
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
    "grey": (0.45, 0.45, 0.45),
    "dark blue": (0.05, 0.08, 0.35),
}
STROKES = ("thin", "medium", "thick")
SLANTS = ("left", "upright", "right")
STROKE_BORDERS = (2.15, 3.0)  # pixels: thin | medium | thick
SLANT_BORDERS = (-0.10, 0.20)  # radians: left | upright | right (handwriting leans right a little on average)
STROKE_MARGIN, SLANT_MARGIN = 0.15, 0.06  # closer to a border than this, the caption leaves it out

ATTRIBUTES = {
    "digit": tuple(range(10)),
    "ink": tuple(INKS),
    "background": tuple(BACKGROUNDS),
    "stroke": STROKES,
    "slant": SLANTS,
}


def stroke_thickness(coverage: Tensor) -> Tensor:
    """Mean width of the stroke in pixels: twice the distance to the background, averaged along the skeleton.

    As in Morpho-MNIST (Castro et al. 2019, section 3.1), on the image enlarged three times and thresholded at half its
    maximum. The skeleton is the ridge of the distance map: pixels (almost) as far from the background as any of their
    neighbours.

    Args:
        coverage: how much ink covers each pixel, in [0, 1], (B, H, W).

    Returns:
        Thickness in pixels, (B,); 0 for an empty image.
    """
    from scipy import ndimage

    scale = 3
    large = F.interpolate(coverage[:, None].float(), scale_factor=scale, mode="bilinear")[:, 0]
    ink = ((large >= 0.5 * large.amax((1, 2), keepdim=True)) & (large > 0)).cpu().numpy()
    distance = np.stack([ndimage.distance_transform_edt(picture) for picture in ink])
    ridge = ink & (distance >= ndimage.maximum_filter(distance, (1, 3, 3)) - 0.5)
    mean = (distance * ridge).sum((1, 2)) / np.maximum(ridge.sum((1, 2)), 1)
    return torch.from_numpy(2 * mean / scale).float().to(coverage.device)


def slant_angle(coverage: Tensor) -> Tensor:
    """Slant in radians from image moments, positive when the digit leans right: arctan(-mu_11 / mu_02).

    Morpho-MNIST (Castro et al. 2019, section 3.1): the horizontal shear that would make the digit upright.

    Args:
        coverage: how much ink covers each pixel, in [0, 1], (B, H, W).
    """
    weight = coverage.cpu().double()  # Apple's GPU has no float64
    weight = weight / weight.sum((1, 2), keepdim=True).clamp_min(1e-9)
    x = torch.arange(weight.shape[2]).double()
    y = torch.arange(weight.shape[1]).double()[:, None]
    x = x - (weight * x).sum((1, 2), keepdim=True)  # from here on relative to the centre of the ink
    y = y - (weight * y).sum((1, 2), keepdim=True)
    mu11, mu02 = (weight * x * y).sum((1, 2)), (weight * y * y).sum((1, 2))
    return torch.atan(-mu11 / mu02.clamp_min(1e-9)).float().to(coverage.device)


def bin_by_borders(values: Tensor, borders: tuple[float, float]) -> Tensor:
    """Index 0, 1 or 2 of the interval between ``borders`` that each of ``values`` (B,) falls into."""
    return torch.bucketize(values.cpu(), torch.tensor(borders))


def far_from_borders(values: Tensor, borders: tuple[float, float], margin: float) -> Tensor:
    """Whether each of ``values`` (B,) is further than ``margin`` from every border."""
    return (values.cpu()[:, None] - torch.tensor(borders)).abs().amin(1) > margin


# ---------------------------------------------------------------- colour


def paint(coverage: Tensor, ink: Tensor, background: Tensor) -> Tensor:
    """Draw digits in colour: background + coverage * (ink - background).

    Args:
        coverage: (B, H, W) in [0, 1].
        ink, background: RGB in [0, 1], (B, 3).

    Returns:
        Images in [-1, 1], (B, 3, H, W).
    """
    ink, background = ink[:, :, None, None], background[:, :, None, None]  # (B, 3) -> (B, 3, 1, 1)
    return (background + coverage[:, None] * (ink - background)) * 2 - 1


def unpaint(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of `paint`: recover coverage, ink and background from images, generated ones included.

    The background is the median colour of the outer frame; the ink is the mean of the pixels that differ most from it;
    the coverage of a pixel is how far its colour is along the line from background to ink.

    Args:
        images: (B, 3, H, W) in [-1, 1].

    Returns:
        coverage (B, H, W) in [0, 1], ink (B, 3), background (B, 3), both RGB in [0, 1].
    """
    pixels = (images.float() + 1) / 2
    edges = (pixels[..., :2, :], pixels[..., -2:, :], pixels[..., :2], pixels[..., -2:])
    frame = torch.cat([edge.flatten(2) for edge in edges], 2)
    background = frame.median(2).values
    flat = pixels.flatten(2)  # (B, 3, H, W) -> (B, 3, H*W)
    far = (flat - background[:, :, None]).norm(dim=1)
    core = (far >= 0.8 * far.amax(1, keepdim=True)).float()
    ink = (flat * core[:, None]).sum(2) / core.sum(1)[:, None]
    line = ink - background
    along = ((flat - background[:, :, None]) * line[:, :, None]).sum(1)
    coverage = along / line.square().sum(1).clamp_min(1e-4)[:, None]
    return coverage.clamp(0, 1).unflatten(1, images.shape[-2:]), ink, background


def nearest_colour(colours: Tensor, palette: dict) -> Tensor:
    """Index of the nearest colour of ``palette`` for each RGB row of ``colours`` (B, 3)."""
    return torch.cdist(colours.cpu(), torch.tensor(list(palette.values()))).argmin(1)


# ---------------------------------------------------------------- in words


def description_of(digit: Tensor, ink: Tensor, background: Tensor, stroke: Tensor, slant: Tensor) -> Description:
    """A description from a digit and the indices of ink, background, stroke and slant, each ()."""
    names = (tuple(INKS)[int(ink)], tuple(BACKGROUNDS)[int(background)], STROKES[int(stroke)], SLANTS[int(slant)])
    return Description(int(digit), *names)


def describe(images: Tensor, digits: Tensor) -> list[Description]:
    """Describe images, using the same measurements that the captions are written from.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        digits: what a classifier reads in them, (B,): the one attribute that cannot be measured with a ruler.
    """
    coverage, ink, background = unpaint(images)
    stroke = bin_by_borders(stroke_thickness(coverage), STROKE_BORDERS)
    slant = bin_by_borders(slant_angle(coverage), SLANT_BORDERS)
    columns = (digits.cpu(), nearest_colour(ink, INKS), nearest_colour(background, BACKGROUNDS), stroke, slant)
    return [description_of(*row) for row in zip(*columns, strict=True)]
