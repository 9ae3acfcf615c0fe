"""Honest measures: stroke, slant and colours of a picture are what geometry, Morpho-MNIST and the painter say."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.stats import spearmanr

from tinyldm.data import load_mnist
from tinyldm.measure import (
    ATTRIBUTES,
    BACKGROUNDS,
    INKS,
    describe,
    nearest_colour,
    paint,
    slant_angle,
    stroke_thickness,
    unpaint,
)


@pytest.fixture(scope="module")
def digits():
    """Coverage of the first 2,000 test digits, (2000, 32, 32) in [0, 1]."""
    return F.pad(load_mnist("test").images[:2000], (2, 2, 2, 2)) / 255


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


def test_only_white_is_an_ink_and_a_background():
    assert {name for name in INKS if INKS[name] in BACKGROUNDS.values()} == {"white"}


# ---------------------------------------------------------------- in words


def test_measuring_the_painted_picture_gives_the_rows_own_description(rows):
    measured = describe(rows.images(torch.arange(len(rows))), rows.labels)
    for name in ATTRIBUTES:
        named = [(getattr(a, name), getattr(b, name)) for a, b in zip(rows.named, measured, strict=True)]
        named = [(said, seen) for said, seen in named if said is not None]
        assert len(named) > 200
        assert np.mean([said == seen for said, seen in named]) >= 0.99, name
