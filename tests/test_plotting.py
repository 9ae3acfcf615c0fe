"""Pictures of pictures show the pixels that they were given, under their titles; tables say what was measured."""

import io
import subprocess
import sys
import warnings

import matplotlib.image
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tinyldm.data import CaptionedMNIST
from tinyldm.gan import GANStep
from tinyldm.plotting import (
    PARTS,
    blocks_of,
    course_map,
    draw_residual_block,
    draw_unet,
    image_grid,
    live,
    losses_figure,
    rows_table,
    show_rows,
    text_in_unet,
)
from tinyldm.stable_diffusion import SD1_UNET
from tinyldm.unet import ResidualBlock, SpatialTransformer, UNet, UNetConfig

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0), "black": (0, 0, 0)}


@pytest.fixture(scope="module")
def rows():
    return CaptionedMNIST("test", seed=0, limit=20)


def plain(*names: str) -> torch.Tensor:
    """One picture of one colour each, (B, 3, 32, 32) in [-1, 1]."""
    colours = torch.tensor([COLOURS[name] for name in names]) * 2.0 - 1
    return colours[:, :, None, None].expand(-1, -1, 32, 32)


def render(figure) -> np.ndarray:
    """The figure's pixels, RGB in [0, 1], (height, width, 3)."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    return matplotlib.image.imread(file)[..., :3]


def test_a_grid_needs_no_latex_whatever_the_users_style(monkeypatch):
    expected = render(image_grid(plain("red", "blue"), ["50 % of $x_1", "blue"]))
    monkeypatch.setattr("matplotlib.texmanager.TexManager.make_dvi", None)  # as where there is no LaTeX
    with matplotlib.rc_context({"text.usetex": True}):
        assert (render(image_grid(plain("red", "blue"), ["50 % of $x_1", "blue"])) == expected).all()


def panels(figure) -> list[np.ndarray]:
    """What is drawn inside of each pair of axes, from the first row's left to the last row's right."""
    pixels = render(figure)
    boxes = [[round(edge) for edge in axis.get_window_extent().extents] for axis in figure.axes]
    return [pixels[len(pixels) - y1 + 2 : len(pixels) - y0 - 2, x0 + 2 : x1 - 2] for x0, y0, x1, y1 in boxes]


def titles(figure) -> list[str]:
    return [axis.get_title().replace("\n", " ") for axis in figure.axes]


def test_every_panel_shows_its_picture_under_its_title():
    names = list(COLOURS)
    figure = image_grid(plain(*names), names, columns=3)
    shown = panels(figure)
    assert len(shown) == 6  # two rows of three
    for name, panel in zip(names, shown, strict=False):
        assert panel.size and np.abs(panel - COLOURS[name]).max() < 0.01, name
    assert (shown[5] == 1).all()  # no picture, no frame, only paper
    assert titles(figure) == [*names, ""]
    lefts = [figure.axes[i].get_position().x0 for i in range(3)]
    assert lefts == sorted(lefts) and figure.axes[0].get_position().y0 > figure.axes[3].get_position().y0


def test_a_title_stands_above_its_picture_and_is_drawn():
    def ink(title):
        figure = image_grid(plain("red", "red"), [title, title], columns=2)
        return (render(figure)[:, :, 0] < 0.5).sum()  # neither paper nor red

    assert ink("MMMM") > 50 > 0 == ink("")
    figure = image_grid(plain("red"), ["M"])
    render(figure)
    (axis,) = figure.axes
    assert axis.title.get_window_extent().y0 >= axis.get_window_extent().y1


def test_pictures_without_a_title_are_shown_too():
    figure = image_grid(plain("red", "red", "red"), ["first"], columns=3)
    assert titles(figure) == ["first", "", ""]
    for panel in panels(figure):
        assert np.abs(panel - COLOURS["red"]).max() < 0.01


def test_long_titles_are_wrapped_and_lose_no_word():
    title = "a thick red seven leaning left on a sheet of dark blue paper, please"
    figure = image_grid(plain("red", "blue"), [title, "short"])
    render(figure)
    left, right = (axis.title.get_window_extent() for axis in figure.axes)
    assert titles(figure) == [title, "short"]
    assert left.x1 <= right.x0 and left.x0 >= 0
    assert left.y1 <= figure.bbox.height + 2  # and they find room in the figure; the highest line is rarely full
    without = panels(image_grid(plain("red", "blue")))[0]
    assert len(panels(figure)[0]) > 0.9 * len(without)  # which grows with them, so that pictures do not shrink


ODD_TITLES = {
    "$x^{$ and $7$": "$x^{$ and $7$",
    r"\frac{1}": r"\frac{1}",
    "日本 7 🤖": "□□ 7 □",
    "cafe\u0301": "café",
    "7\u0489\ufe0f\u1ab0": None,  # marks, of which the font may have some
    "سبعة שבע": "سبعة שבע",
    "a\tb\nc\x00\x1b[31m\ud800": "a b c [31m",
    "seven " * 60: None,
    "W" * 300: None,
    "": "",
}


@pytest.mark.parametrize(("title", "shown"), ODD_TITLES.items(), ids=lambda value: ascii(value)[:20])
def test_any_text_is_a_literal_title_without_a_warning(title, shown):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = image_grid(plain("red", "red"), [title, "7"])
        height = len(render(figure))
    assert shown is None or titles(figure) == [shown, "7"]
    assert height < 450 and len(titles(figure)[0]) < 170  # a megabyte of title does not make a figure of a mile


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.text(max_size=12))
def test_no_text_makes_a_title_that_cannot_be_drawn(title):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = image_grid(plain("red"), [title])
        render(figure)
    assert all(character.isprintable() or character == "\n" for shown in titles(figure) for character in shown)


def test_pixels_are_where_they_were_and_between_black_and_white():
    image = torch.full((1, 1, 32, 32), -1.0)
    image[:, :, :16, :16] = 1  # white at the top left
    image[:, :, 16:, 16:] = 0  # middle grey at the bottom right
    (panel,) = panels(image_grid(image))
    h, w = panel.shape[0] // 4, panel.shape[1] // 4
    corners = [panel[y, x].tolist() for y in (h, 3 * h) for x in (w, 3 * w)]
    expected = [[1] * 3, [0] * 3, [0] * 3, [0.5] * 3]
    assert np.abs(np.array(corners) - expected).max() < 0.01


def test_what_lies_outside_of_the_range_is_black_or_white():
    dark, light = panels(image_grid(torch.tensor([-3.0, 3.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8), columns=2))
    assert (dark == 0).all() and (light == 1).all()


@pytest.mark.parametrize("count, rows, columns", [(1, 1, 1), (2, 1, 2), (4, 2, 2), (5, 2, 3), (64, 8, 8), (70, 9, 8)])
def test_a_grid_is_near_to_a_square_and_at_most_eight_wide(count, rows, columns):
    figure = image_grid(torch.zeros(count, 1, 4, 4))
    assert figure.axes[0].get_gridspec().get_geometry() == (rows, columns)


def test_rows_are_shown_with_their_captions(rows):
    index = [3, 0, 7]
    figure = show_rows(rows, index, columns=2)
    assert titles(figure)[:3] == [rows.captions[i] for i in index]
    for i, panel in zip(index, panels(figure), strict=False):
        image = (rows.images(torch.tensor([i]))[0].permute(1, 2, 0) + 1) / 2
        middle = (torch.arange(32) + 0.5) / 32  # the middle of every pixel, in the drawing
        y, x = ((middle * side).long().numpy() for side in panel.shape[:2])
        assert np.abs(panel[y][:, x] - image.numpy()).mean() < 0.02


def test_the_table_says_what_is_true_and_what_was_measured(rows):
    header, *lines = rows_table(rows, range(20)).splitlines()
    assert " ".join(header.split()) == "row digit ink background stroke (px) slant (rad) caption"
    assert len(lines) == 20
    for i, line in enumerate(lines):
        true = rows.describe(i)
        facts = line.removesuffix(rows.captions[i]).split()
        ink, background = true.ink, true.background
        stroke, slant = f"{true.stroke} {rows.thickness[i]:.1f}", f"{true.slant} {rows.angle[i]:+.2f}"
        assert facts == f"{i} {true.digit} {ink} {background} {stroke} {slant}".split()
        for title, fact in [("ink", ink), ("background", background), ("stroke", stroke), ("slant", slant)]:
            assert line.startswith(fact, header.index(title)), title  # under its title
        assert line.startswith(rows.captions[i], header.index("caption"))


def test_drawing_needs_no_screen_and_leaves_pyplot_alone():
    """A figure of pyplot's would stay in memory, and be shown a second time in a notebook."""
    code = """
import io, sys, torch
from tinyldm.plotting import image_grid
image_grid(torch.zeros(1, 1, 4, 4)).savefig(io.BytesIO(), format="png")
print("matplotlib.pyplot" in sys.modules)
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.stdout.strip() == "False", finished.stderr


# ---------------------------------------------------------------- the map of the system


def boxes(figure) -> dict[tuple[float, float], tuple]:
    """Corner of every box and the colour that fills it."""
    return {(box.get_x(), box.get_y()): box.get_facecolor() for box in figure.axes[0].patches if hasattr(box, "get_x")}


def test_the_map_shows_every_part_and_lights_only_the_named_ones():
    figure = course_map("decoder", "GAN")
    assert {text.get_text() for text in figure.axes[0].texts} >= {text for part in PARTS.values() for text in part[2:]}
    dark = set(boxes(course_map()).values())
    assert len(dark) == 1
    lit = {corner for corner, colour in boxes(figure).items() if colour not in dark}
    assert lit == {PARTS[name][:2] for name in ("decoder", "GAN")}


def test_a_part_that_the_system_does_not_have_is_named():
    with pytest.raises(ValueError, match="no such part: engine; there are prompt, "):
        course_map("engine")


# ---------------------------------------------------------------- drawings of networks


def words(figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def overlaps(figure) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other, and texts that stick out."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    drawn = [(text, text.get_window_extent(renderer)) for text in figure.axes[0].texts if text.get_text()]
    pairs = [(a.get_text(), b.get_text()) for i, (a, at) in enumerate(drawn) for b, bt in drawn[:i] if at.overlaps(bt)]
    return pairs + [(a.get_text(), "the edge") for a, at in drawn if at.x0 < 0 or at.x1 > figure.bbox.x1]


@pytest.mark.parametrize("widths, size", [((16, 48, 96, 128), 32), ((8, 24), 12)])
def test_the_u_shows_what_leaves_each_size_of_such_a_network(widths, size):
    figure = draw_unet(widths, size)
    config = UNetConfig(1, 1, widths, attention=(False,) * len(widths), context_dim=None, norm_num_groups=8)
    shown, shapes = words(figure), []
    unet = UNet(config)
    for module in [*(block.resnets[0] for block in unet.down_blocks), *(block.resnets[1] for block in unet.up_blocks)]:
        module.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape[1:]))
    unet(torch.zeros(1, 1, size, size), 0)
    expected = [" × ".join(map(str, shape)) for shape in shapes]
    assert {text for text in shown if "×" in text} == set(expected)
    *both_sides, middle = expected[: len(widths)]
    assert all(shown.count(text) == 2 for text in both_sides) and shown.count(middle) == 1
    assert not overlaps(figure)


def test_the_colours_of_the_u_have_a_key():
    (legend,) = [figure.axes[0].get_legend() for figure in [draw_unet()]]
    assert [text.get_text() for text in legend.texts] == ["residual block", "downsample", "skip", "upsample"]


def test_the_residual_block_adds_twice_and_time_comes_in_between():
    figure = draw_residual_block()
    assert words(figure).count("+") == 2 and not overlaps(figure)
    places = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    first, second = sorted(t.get_position()[0] for t in figure.axes[0].texts if t.get_text() == "+")
    assert places["SiLU, linear"][0] == first < second and places["x"][0] < first


# ---------------------------------------------------------------- where text enters the UNet

UNETS = {
    "ours": (UNetConfig(), 8),
    "Stable Diffusion": (SD1_UNET, 64),
    "odd": (UNetConfig(4, 4, (32, 64, 96), 3, (True, False, True), num_heads=2, context_dim=7), 24),
}


@pytest.mark.parametrize("name", UNETS)
def test_the_drawn_blocks_are_those_that_run_in_their_order(name):
    config, size = UNETS[name]
    with torch.device("meta"):
        unet = UNet(config)
        ran = []
        for part in unet.modules():
            if isinstance(part, ResidualBlock | SpatialTransformer):
                kind = "residual block" if isinstance(part, ResidualBlock) else "text-reading block"
                part.register_forward_hook(lambda *call, kind=kind: ran.append((kind, call[2].shape[-1])))
        unet(torch.empty(1, 4, size, size), torch.zeros(1), torch.empty(1, 77, config.context_dim))
    first, *blocks, last = [(kind, size // 2**level) for kind, level in blocks_of(config)]
    assert blocks == ran and first == last == ("convolution", size)


@pytest.mark.parametrize("name", UNETS)
def test_the_text_leads_to_every_block_that_reads_it_and_to_no_other(name):
    config, size = UNETS[name]
    axis = text_in_unet(config, size).axes[0]
    yellow = (1.0, 0.819607843137255, 0.4, 1.0)
    reading = {round(box.get_x() + 0.3, 3) for box in axis.patches if box.get_facecolor() == pytest.approx(yellow)}
    fed = [
        round(text.xy[0], 3)
        for text in axis.texts
        if getattr(text, "arrow_patch", None) and text.xy[0] == text.xyann[0]
    ]
    assert len(reading) == [kind for kind, _ in blocks_of(config)].count("text-reading block")
    assert sorted(fed) == sorted(reading)
    words = " ".join(text.get_text() for text in axis.texts)
    assert f"{config.context_dim} numbers" in words
    for level, channels in enumerate(config.block_out_channels):
        assert f"{size // 2**level} × {size // 2**level},\n{channels} channels" in words


def test_a_unet_without_text_has_no_such_drawing():
    with pytest.raises(ValueError, match="reads no text"):
        text_in_unet(UNetConfig(context_dim=None), 8)


# ---------------------------------------------------------------- the loss while it falls


def turns(n: int) -> list[GANStep]:
    return [GANStep(i, 1.0 + i, 2.0, torch.zeros(1), seconds=6.0 * (i + 1)) for i in range(n)]


def test_live_passes_every_record_on_and_shows_one_picture_that_it_updates(monkeypatch):
    display = pytest.importorskip("IPython.display")
    shown = []

    class Handle:
        def update(self, figure):
            shown.append(figure)

    monkeypatch.setattr(display, "display", lambda figure, display_id: shown.append(figure) or Handle())
    steps = turns(4)
    assert list(live(iter(steps), 4, lambda step: torch.zeros(2, 1, 4, 4), every=0)) == steps
    assert len(shown) == 4
    shown.clear()
    list(live(iter(steps), 4, every=1000))
    assert len(shown) == 2, "the first and the last, whatever the time between"
    (axis,) = shown[-1].axes
    assert [text.get_text() for text in axis.get_legend().texts] == [
        "discriminator loss: 2.500",
        "generator loss: 2.000",
    ]


def test_the_losses_are_drawn_with_the_time_that_is_left():
    step = turns(4)[-1]
    figure = losses_figure({"loss": [1.0, 2.0, 3.0, 4.0]}, step, total=14)
    (axis,) = figure.axes
    assert axis.get_title() == "step 4 of 14, 1.0 minutes left"  # 6 seconds each, 10 to go
    smooth, every = axis.lines
    assert list(every.get_ydata()) == [1, 2, 3, 4] and list(smooth.get_ydata()) == [2.5]


def test_pictures_beside_the_losses_keep_their_order():
    images = torch.linspace(-1, 1, 10)[:, None, None, None].expand(-1, 1, 2, 2)
    figure = losses_figure({"loss": [1.0]}, turns(1)[0], 1, images)
    sheet = np.asarray(figure.axes[1].images[0].get_array())[..., 0]
    assert sheet.shape == (2, 16)  # the last two of ten do not fill a row of eight
    assert sheet[0, ::2] == pytest.approx(((images[:8, 0, 0, 0] + 1) / 2).numpy())


# ---------------------------------------------------------------- in words


def test_every_figure_says_what_it_shows_in_one_line():
    """Its text form is stored beside the picture, for whoever cannot see that."""
    last = turns(500)[-1]
    said = [
        repr(image_grid(torch.zeros(3, 1, 4, 4), ["a seven", "an eight", "a seven"])),
        repr(image_grid(torch.zeros(2, 1, 4, 4))),
        repr(course_map("judge", "GAN")),
        repr(losses_figure({"loss": [0.5, 0.25]}, last, 500)),
    ]
    assert said == [
        "3 pictures: a seven; an eight",
        "2 pictures",
        "The map of the course, lit: judge, GAN",
        "Losses over 500 steps; the last: loss 0.250",
    ]
    drawings = [repr(draw_residual_block()), repr(draw_unet()), repr(text_in_unet(UNetConfig(), 8))]
    assert [text.split()[:3] for text in drawings] == [
        ["A", "residual", "block"],
        ["A", "small", "UNet"],
        ["Where", "text", "enters"],
    ]
    assert len(repr(image_grid(torch.zeros(1, 1, 4, 4), ["long " * 1000]))) <= 300
