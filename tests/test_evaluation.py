"""The measures are measured: on pictures whose truth is known, and against the formulas written out."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from scipy import linalg
from torch import nn

from tinyldm import UserError, evaluation
from tinyldm.captions import Description
from tinyldm.data import MNIST, CaptionedMNIST, load_mnist
from tinyldm.evaluation import (
    Judge,
    JudgeConfig,
    Report,
    digit_shares,
    evaluate,
    frechet_beside_floor,
    frechet_distance,
    grey,
    jitter,
    judge_accuracy,
    prompt_fidelity,
    psnr,
    read,
)
from tinyldm.measure import BACKGROUNDS, INKS, paint

N = 300  # pictures in most tests: more than the judge's 128 features


@pytest.fixture(scope="module")
def judge():
    return Judge.from_pretrained()


@pytest.fixture(scope="module")
def rows():
    return CaptionedMNIST("test", seed=0, limit=N)


@pytest.fixture(scope="module")
def pictures(rows):
    return rows.images(torch.arange(N))


@pytest.fixture(scope="module")
def digits():
    return load_mnist("test").padded()[:N]


@pytest.fixture(scope="module")
def train_digits():
    """The first 1,600 of the training set."""
    return MNIST(load_mnist("train").images[:1600], torch.zeros(1600)).padded()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- the judge ----------------------------------------------------------------------------------------------------


def test_the_shipped_judge_reads_at_least_993_of_1000_test_digits(judge):
    assert judge_accuracy(judge) >= 0.993


class AlwaysSeven(nn.Linear):
    def __init__(self):
        super().__init__(1, 1)

    def forward(self, images):
        return torch.eye(10)[7].expand(len(images), 10)


def test_accuracy_is_the_share_of_right_answers():
    assert judge_accuracy(AlwaysSeven()) == pytest.approx(0.1028)  # MNIST's test set has 1,028 sevens


def test_the_judge_sees_no_colours(judge):
    coverage = load_mnist("test").padded()[:5, 0] / 2 + 0.5
    for ink, background in itertools.product(INKS, BACKGROUNDS):
        if ink != background:
            colours = [torch.tensor([palette[name]] * 5) for palette, name in ((INKS, ink), (BACKGROUNDS, background))]
            seen = grey(paint(coverage, *colours))
            assert (seen[:, 0] - (coverage * 2 - 1)).abs().mean() < 0.01
            assert judge(seen).argmax(1).tolist() == [7, 2, 1, 0, 4]


def test_grey_pictures_are_what_the_judge_sees_already(digits):
    assert torch.equal(grey(digits), digits)


def test_the_judge_answers_from_its_features(judge, digits):
    features = judge.features(digits[:20])
    assert features.shape == (20, judge.config.features)
    assert torch.equal(judge.to_scores(features), judge(digits[:20]))


def test_pictures_follow_the_judge_to_its_device(digits):
    assert Judge().to("meta")(digits[:2]).device.type == "meta"


def test_jitter_moves_each_digit_a_little_and_leaves_it_readable(judge, digits):
    moved = jitter(digits, seeded())
    assert torch.equal(moved, jitter(digits, seeded()))
    assert ((moved - digits).abs().amax((1, 2, 3)) > 0.2).all()
    assert moved.min() >= -1 - 1e-6 and moved.max() <= 1 + 1e-6
    assert (moved[:, 0, 0, 0] == -1).all()  # paper comes in from outside
    same = judge(moved).argmax(1) == judge(digits).argmax(1)
    assert same.float().mean() > 0.98


def test_jitter_moves_at_most_two_pixels_and_turns_at_most_ten_degrees():
    two_dots = torch.full((2000, 1, 32, 32), -1.0)
    two_dots[:, 0, 15:17, 15:17] = 1  # in the middle
    moved = (jitter(two_dots, seeded()) + 1)[:, 0]
    x = torch.arange(32) - 15.5
    across, down = ((moved * axis).sum((1, 2)) / moved.sum((1, 2)) for axis in (x, x[:, None]))
    for shift in (across, down):
        assert 1.7 < shift.abs().max() < 2.8  # 1.9, and a little more where it is also enlarged
        assert shift.mean().abs() < 0.1

    bars = torch.full((2000, 1, 32, 32), -1.0)
    bars[:, 0, 15:17, 8:24] = 1  # lies across
    moved = (jitter(bars, seeded()) + 1)[:, 0]
    x0 = x - (moved * x).sum((1, 2), keepdim=True) / moved.sum((1, 2), keepdim=True)
    y0 = x[:, None] - (moved * x[:, None]).sum((1, 2), keepdim=True) / moved.sum((1, 2), keepdim=True)
    angle = torch.atan((moved * x0 * y0).sum((1, 2)) / (moved * x0**2).sum((1, 2)))
    assert 0.15 < angle.abs().max() < 0.22
    assert angle.mean().abs() < 0.02


# --- does the picture match the prompt? ---------------------------------------------------------------------------


def test_read_says_what_was_painted(judge, rows, pictures):
    seen = read(pictures, judge)
    clear = {"stroke": rows.clear_stroke.tolist(), "slant": rows.clear_slant.tolist()}  # as a caption may name them
    for name, least in [("digit", 0.99), ("ink", 1), ("background", 1), ("stroke", 0.99), ("slant", 0.99)]:
        told = [i for i in range(N) if clear.get(name, [True] * N)[i]]
        right = [getattr(seen[i], name) == getattr(rows.describe(i), name) for i in told]
        assert len(told) > N / 2 and sum(right) / len(told) >= least, name


def test_fidelity_by_hand():
    named = [
        Description(7, "red", None, "thick", None),
        Description(7, None, None, "thin", None),
        Description(None, "blue", "white", None, None),
        Description(),
    ]
    seen = [
        Description(7, "red", "grey", "thin", "left"),  # stroke wrong
        Description(1, "red", "black", "thin", "left"),  # digit wrong
        Description(3, "blue", "white", "thick", "right"),  # all right
        Description(4, "cyan", "black", "medium", "upright"),  # nothing was named, so nothing is wrong
    ]
    fidelity = prompt_fidelity(named, seen)
    assert fidelity.pop("slant") != fidelity.get("slant")  # nan: no caption names it
    assert fidelity == {"digit": 0.5, "ink": 1.0, "background": 1.0, "stroke": 0.5, "all": 0.5}


@pytest.mark.parametrize("wrong", ["digit", "ink", "background", "stroke", "slant"])
def test_one_wrong_attribute_is_enough_for_a_picture_not_to_be_all_right(wrong):
    said = Description(7, "red", "white", "thin", "left")
    others = {"digit": 1, "ink": "blue", "background": "grey", "stroke": "thick", "slant": "upright"}
    right, there = said, replace(said, **{wrong: others[wrong]})
    shares = prompt_fidelity([said, said, said, said], [right, there, there, right])
    assert shares == {name: 0.5 if name in (wrong, "all") else 1.0 for name in (*others, "all")}


def test_fidelity_wants_as_many_pictures_as_captions():
    with pytest.raises(ValueError):
        prompt_fidelity([Description(7)] * 2, [Description(7)])


def test_a_digit_zero_is_named_too():
    assert prompt_fidelity([Description(0)], [Description(8)])["digit"] == 0
    assert prompt_fidelity([Description(0)], [Description(0)])["digit"] == 1


# --- Fréchet distance ---------------------------------------------------------------------------------------------


class PlainJudge(nn.Module):
    """A judge whose features are the pixels."""

    def __init__(self, features: int):
        super().__init__()
        self.config = JudgeConfig(features=features)

    def features(self, images):
        return images.flatten(1)


def image_set(features: torch.Tensor) -> torch.Tensor:
    return features[:, None, None]  # (N, features) -> pictures (N, 1, 1, features)


def by_formula(first: torch.Tensor, second: torch.Tensor) -> float:
    """|μ_1 - μ_2|² + tr(Σ_1 + Σ_2 - 2 (Σ_1 Σ_2)^(1/2)), with scipy's matrix root."""
    one, two = first.double(), second.double()
    root = linalg.sqrtm((one.T.cov() @ two.T.cov()).numpy()).real
    distance = (one.mean(0) - two.mean(0)).square().sum() + one.T.cov().trace() + two.T.cov().trace()
    return distance.item() - 2 * root.trace()


def test_a_set_that_moved_is_as_far_as_it_moved():
    here = torch.randn(300, 4, generator=seeded()).double()
    there = here + torch.tensor([3.0, 0, -4, 0])
    assert frechet_distance(image_set(here), image_set(there), PlainJudge(4)) == pytest.approx(25, rel=1e-4)


def test_a_set_that_grew_is_as_far_as_its_spread_grew():
    here = torch.randn(300, 4, generator=seeded()).double()
    here = here - here.mean(0)
    expected = here.T.cov().trace().item()  # tr(Σ + 4 Σ - 2 * 2 Σ)
    assert frechet_distance(image_set(here), image_set(2 * here), PlainJudge(4)) == pytest.approx(expected, rel=1e-4)


def test_the_distance_on_the_judges_features_is_that_of_the_formula(judge, digits, pictures, train_digits):
    other = train_digits[:N]
    with torch.no_grad():
        expected = by_formula(judge.features(digits), judge.features(other))
        coloured = by_formula(judge.features(digits), judge.features(grey(pictures)))
    assert frechet_distance(digits, other, judge) == pytest.approx(expected, rel=1e-3)
    assert frechet_distance(digits, pictures, judge) == pytest.approx(coloured, abs=0.01)
    assert expected > 1 > coloured  # colours are no difference to the judge


def test_a_set_has_no_distance_from_itself_in_any_order(judge, digits):
    order = torch.randperm(N, generator=seeded())
    assert frechet_distance(digits, digits[order], judge) == pytest.approx(0, abs=1e-3)


def test_the_distance_grows_with_corruption(judge, digits):
    noise = torch.randn(digits.shape, generator=seeded())
    distances = [frechet_distance(digits, (digits + s * noise).clamp(-1, 1), judge) for s in (0, 0.1, 0.3, 0.6)]
    assert distances == sorted(distances)
    assert distances[1] > 0.1 and distances[3] > 20 * distances[1]


def test_the_real_against_real_distance_falls_with_the_number_of_pictures(judge, train_digits):
    with torch.no_grad():
        test, train = judge.features(load_mnist("test").padded()[:1600]), judge.features(train_digits)
    floors = [
        frechet_distance(image_set(test[:n]), image_set(train[:n]), PlainJudge(128)) for n in (200, 400, 800, 1600)
    ]
    assert floors == sorted(floors, reverse=True)
    assert floors[0] > 2 * floors[3]


def test_real_digits_lie_below_their_floor_and_noise_far_above(judge, digits):
    distance, floor = frechet_beside_floor(digits, judge=judge)
    assert distance < 0.05 * floor
    noise, same_floor = frechet_beside_floor(torch.rand(N, 1, 32, 32, generator=seeded()) * 2 - 1, judge=judge)
    assert noise > 10 * floor and same_floor == floor
    assert frechet_beside_floor(digits, seed=1, judge=judge)[1] != floor


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", ["real", "other", "report"])
def test_a_picture_that_is_not_finite_is_said_before_anything_is_computed(judge, digits, monkeypatch, value, which):
    """The eigenvalues of a covariance with NaN end Python with a segmentation fault."""
    bad = digits[:5].clone()
    bad[3, 0, 7, 9] = value
    with pytest.raises(UserError, match=r"^1 of 5 pictures have nan or infinite numbers, the first is 3$"):
        if which == "report":
            monkeypatch.setattr(evaluation, "read", None)
            evaluate(lambda captions: bad.expand(-1, 3, -1, -1), n=5, judge=judge)
        else:
            frechet_distance(*((bad, digits[:5]) if which == "real" else (digits[:5], bad)), judge)


def test_psnr_is_the_mean_of_the_pictures_own():
    images = torch.zeros(2, 3, 4, 4)
    again = torch.stack([torch.full((3, 4, 4), 0.2), torch.full((3, 4, 4), -0.02)])  # 1/10 and 1/100 of the range
    assert psnr(images, again) == pytest.approx((20 + 40) / 2, abs=1e-3)


def test_digit_shares_are_those_of_the_labels(judge, digits):
    labels = load_mnist("test").labels[:N]
    expected = torch.bincount(labels, minlength=10) / N
    torch.testing.assert_close(digit_shares(digits, judge), expected, atol=0.01, rtol=0)
    ones = digits[labels == 1]
    assert digit_shares(ones, judge)[1] > 0.97 and digit_shares(ones, judge).sum() == pytest.approx(1)


# --- the whole report ---------------------------------------------------------------------------------------------


def test_true_pictures_get_a_perfect_report(judge, rows, pictures, digits):
    asked = []
    report = evaluate(lambda prompts: asked.extend(prompts) or pictures, n=N, seed=0, judge=judge)
    assert asked == rows.captions
    assert report.n == N
    assert report.fidelity["all"] >= 0.985
    assert report.fidelity["ink"] == report.fidelity["background"] == 1
    assert 0 <= report.frechet < 0.05 * report.floor
    chosen = torch.randperm(60_000, generator=seeded())[:N]
    floor = frechet_distance(digits, MNIST(load_mnist("train").images[chosen], chosen).padded(), judge)
    assert report.floor == pytest.approx(floor, rel=1e-4)


def test_true_pictures_of_other_captions_are_wrong_however_real_they_look(judge, pictures):
    report = evaluate(lambda prompts: pictures.roll(1, 0), n=N, seed=0, judge=judge)
    assert 0.05 < report.fidelity["digit"] < 0.17
    assert report.fidelity["ink"] < 0.25
    assert report.fidelity["all"] < 0.1
    assert report.frechet < 0.05 * report.floor


def test_right_pictures_of_a_poor_hand_are_far_from_real_ones(judge, pictures):
    blurred = F.avg_pool2d(F.pad(pictures, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
    report = evaluate(lambda prompts: blurred, n=N, seed=0, judge=judge)
    assert report.fidelity["digit"] > 0.95 > 0.5 > report.fidelity["stroke"]
    assert report.frechet > 1.5 * report.floor


def test_another_seed_asks_for_other_captions_and_takes_another_floor(judge):
    def first(seed):
        asked = []
        report = evaluate(lambda prompts: asked.extend(prompts) or torch.zeros(20, 3, 32, 32), 20, seed, judge)
        return asked, report.floor

    assert first(1) == first(1)
    (captions, floor), (others, other_floor) = first(1), first(2)
    assert captions != others and floor != other_floor


def test_seconds_per_image_are_those_of_drawing(judge, monkeypatch):
    clock = itertools.count(0, 5)
    monkeypatch.setattr(evaluation.time, "perf_counter", lambda: float(next(clock)))
    report = evaluate(lambda prompts: torch.zeros(20, 3, 32, 32), n=20, judge=judge)
    assert report.seconds_per_image == 0.25


@pytest.mark.parametrize("n", [-5, 0, 1, 10_001])
def test_a_number_of_captions_out_of_range_is_refused_before_anything_is_drawn(n):
    with pytest.raises(ValueError, match=f"^n must be between 2 and 10,000 .*, not {n}$"):
        evaluate(lambda prompts: pytest.fail("drawn"), n)


def test_the_shipped_judge_is_the_default(judge):
    pictures = CaptionedMNIST("test", seed=0, limit=20).images(torch.arange(20))
    ours, given = (evaluate(lambda prompts: pictures, 20, judge=j) for j in (None, judge))
    assert ours.fidelity["digit"] == given.fidelity["digit"] and ours.floor == given.floor


def test_the_printed_report_has_every_measure_and_the_distance_beside_its_floor():
    fidelity = {"digit": 0.993, "ink": 1.0, "background": 0.5, "stroke": math.nan, "slant": 0.25, "all": 0.9}
    lines = str(Report(2000, fidelity, 10.26, 8.2, 0.0314)).splitlines()
    assert "2,000" in lines[0]
    shown = dict(zip([line[:22].strip() for line in lines[1:]], [line[22:].split() for line in lines[1:]], strict=True))
    assert shown["digit"] == ["99.3", "%"] and shown["slant"] == ["25.0", "%"] and shown["stroke"] == ["nan", "%"]
    assert shown["all that is named"] == ["90.0", "%"]
    assert shown["seconds per image"] == ["0.031"]
    assert shown["Fréchet distance"][0] == "10.26"
    assert "real against real at N = 2,000: 8.20, ratio 1.25" in str(Report(2000, fidelity, 10.26, 8.2, 0.0314))
