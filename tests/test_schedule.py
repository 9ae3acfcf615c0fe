"""Facts about the forward process, with the mathematics and diffusers as witnesses."""

import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from tinyldm.schedule import KINDS, PREDICTION_TYPES, NoiseSchedule, stratified_timesteps

DIFFUSERS_NAMES = {"linear": "linear", "scaled_linear": "scaled_linear", "sigmoid": "sigmoid"}
DIFFUSERS_NAMES["cosine"] = "squaredcos_cap_v2"
ENDS = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "sigmoid": (1e-4, 0.02)}  # where () should end up


def images(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("num_steps", [1000, 50])
@pytest.mark.parametrize(
    "kind, ends",
    [("cosine", ())] + [(kind, ends) for kind in ENDS for ends in [(), (0.00085, 0.012), (1e-4, 0.02)]],
)
def test_betas_and_alphas_are_those_of_diffusers(kind, num_steps, ends):
    mine = NoiseSchedule.create(kind, num_steps, *ends)
    start, end = ends or ENDS.get(kind, (1e-4, 0.02))
    theirs = DDPMScheduler(num_steps, beta_start=start, beta_end=end, beta_schedule=DIFFUSERS_NAMES[kind])
    torch.testing.assert_close(mine.betas, theirs.betas, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(mine.alphas_cumprod, theirs.alphas_cumprod, atol=1e-6, rtol=1e-4)


def test_quadratic_is_linear_in_the_root_of_beta_between_ddpm_ends():
    got = NoiseSchedule.create("quadratic", 200)
    torch.testing.assert_close(got.betas.sqrt(), torch.linspace(1e-4**0.5, 0.02**0.5, 200), atol=1e-5, rtol=0)
    same = NoiseSchedule.create("scaled_linear", 200, 1e-4, 0.02)
    assert torch.equal(got.alphas_cumprod, same.alphas_cumprod)


def test_cosine_follows_equation_17():
    def f(t):
        return math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    expected = torch.tensor([f(t) / f(0) for t in range(1, 1000)])  # the last step is the one whose beta is limited
    torch.testing.assert_close(NoiseSchedule.create("cosine").alphas_cumprod[:-1], expected, atol=1e-6, rtol=1e-4)


def test_the_default_is_stable_diffusion():
    schedule = NoiseSchedule.create()
    assert len(schedule) == 1000
    assert schedule.betas[0].item() == pytest.approx(0.00085, abs=1e-7)
    assert schedule.betas[-1].item() == pytest.approx(0.012, abs=1e-7)
    assert schedule.alphas_cumprod[-1].item() == pytest.approx(0.0047, abs=5e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_betas_and_snr_say_the_same_as_alphas_cumprod(kind):
    schedule = NoiseSchedule.create(kind, 300)
    a = schedule.alphas_cumprod.double()
    torch.testing.assert_close((1 - schedule.betas.double()).cumprod(0), a, atol=1e-6, rtol=1e-4)
    snr = schedule.snr.double()
    torch.testing.assert_close(snr / (1 + snr), a, atol=1e-6, rtol=1e-6)
    assert (schedule.betas > 0).all() and (snr.diff() < 0).all()


def test_numbers_to_follow_by_eye():
    schedule = NoiseSchedule(alphas_cumprod=[1.0, 0.64, 0.0])
    x0, noise = torch.ones(3, 1, 1, 1), torch.full((3, 1, 1, 1), 2.0)
    got = schedule.add_noise(x0, noise, torch.tensor([0, 1, 2])).flatten()
    torch.testing.assert_close(got, torch.tensor([1.0, 0.8 * 1 + 0.6 * 2, 2.0]))
    torch.testing.assert_close(schedule.betas, torch.tensor([0.0, 0.36, 1.0]))
    torch.testing.assert_close(schedule.snr, torch.tensor([math.inf, 0.64 / 0.36, 0.0]))


@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_has_the_mean_and_variance_of_the_chain(kind):
    schedule = NoiseSchedule.create(kind, 100)
    mean, variance = 0.8, 0.0
    for t, beta in enumerate(schedule.betas.double().tolist()):
        mean, variance = (1 - beta) ** 0.5 * mean, (1 - beta) * variance + beta  # Ho et al. 2020, eq. 2
        pixel = torch.full((1, 1, 1, 1), 0.8, dtype=torch.float64)
        zero, one = torch.zeros_like(pixel), torch.ones_like(pixel)
        assert schedule.add_noise(pixel, zero, t).item() == pytest.approx(mean, abs=1e-5)
        assert schedule.add_noise(zero, one, t).item() ** 2 == pytest.approx(variance, abs=1e-5)


def test_walking_the_chain_gives_the_statistics_of_the_jump():
    schedule, g = NoiseSchedule.create("linear", 40, 1e-3, 0.1), torch.Generator().manual_seed(0)
    walked = torch.full((200_000, 1, 1, 1), 0.8)
    for beta in schedule.betas.tolist():
        walked = (1 - beta) ** 0.5 * walked + beta**0.5 * torch.randn(walked.shape, generator=g)
    jumped = schedule.add_noise(torch.full_like(walked, 0.8), torch.randn(walked.shape, generator=g), 39)
    assert walked.mean().item() == pytest.approx(jumped.mean().item(), abs=0.01)
    assert walked.var().item() == pytest.approx(jumped.var().item(), abs=0.01)
    assert 0.2 < jumped.mean().item() < 0.4, "the comparison should not be between two kinds of pure noise"


def test_each_image_has_its_own_step():
    schedule, x0, noise = NoiseSchedule.create(), images(4, 3, 8, 8), images(4, 3, 8, 8, seed=1)
    t = torch.tensor([0, 999, 3, 500])
    together = schedule.add_noise(x0, noise, t)
    for i, step in enumerate(t.tolist()):
        torch.testing.assert_close(together[i], schedule.add_noise(x0[i : i + 1], noise[i : i + 1], step)[0])
    theirs = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    torch.testing.assert_close(together, theirs.add_noise(x0, noise, t), atol=1e-5, rtol=0)


def test_add_noise_keeps_unit_variance():
    x0, noise = images(1000, 1, 10, 10), images(1000, 1, 10, 10, seed=1)
    x_t = NoiseSchedule.create().add_noise(x0, noise, torch.arange(1000))
    assert x_t.var().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_terminal_snr_is_exact_and_equals_diffusers(kind):
    before = NoiseSchedule.create(kind)
    after = before.rescale_zero_terminal_snr()
    assert after.alphas_cumprod[-1] == 0 and after.snr[-1] == 0
    assert after.alphas_cumprod[0].item() == pytest.approx(before.alphas_cumprod[0].item(), abs=1e-7)
    assert (before.alphas_cumprod[-1] > 0) and (after.alphas_cumprod.diff() < 0).all()
    theirs = (1 - rescale_zero_terminal_snr(before.betas)).cumprod(0)
    torch.testing.assert_close(after.alphas_cumprod, theirs, atol=1e-5, rtol=0)
    noise = images(2, 1, 4, 4)
    assert torch.equal(after.add_noise(torch.full_like(noise, 9.0), noise, 999), noise), "nothing of the image is left"


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_conversions_undo_the_noising(prediction_type):
    schedule, t = NoiseSchedule.create(), torch.tensor([0, 1, 400, 998, 999])
    x0, noise = images(5, 4, 8, 8, dtype=torch.float64), images(5, 4, 8, 8, seed=1, dtype=torch.float64)
    x_t = schedule.add_noise(x0, noise, t)
    answer = schedule.target(x0, noise, t, prediction_type)
    torch.testing.assert_close(schedule.to_x0(answer, x_t, t, prediction_type), x0, atol=1e-9, rtol=0)
    torch.testing.assert_close(schedule.to_noise(answer, x_t, t, prediction_type), noise, atol=1e-9, rtol=0)


@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_conversions_undo_each_other(prediction_type):
    """Also for an answer that is wrong: x0 and noise taken from it make up x_t again, and say the same answer."""
    schedule, t = NoiseSchedule.create(), torch.tensor([0, 300, 999])
    x_t, answer = images(3, 1, 4, 4, dtype=torch.float64), images(3, 1, 4, 4, seed=1, dtype=torch.float64)
    x0 = schedule.to_x0(answer, x_t, t, prediction_type)
    noise = schedule.to_noise(answer, x_t, t, prediction_type)
    torch.testing.assert_close(schedule.add_noise(x0, noise, t), x_t, atol=1e-9, rtol=0)
    torch.testing.assert_close(schedule.target(x0, noise, t, prediction_type), answer, atol=1e-9, rtol=0)


def test_targets_are_what_their_names_say():
    schedule, t = NoiseSchedule.create(), torch.tensor([0, 500, 999])
    x0, noise = images(3, 4, 8, 8), images(3, 4, 8, 8, seed=1)
    assert torch.equal(schedule.target(x0, noise, t, "epsilon"), noise)
    assert torch.equal(schedule.target(x0, noise, t, "sample"), x0)
    theirs = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    velocity = schedule.target(x0, noise, t, "v_prediction")
    torch.testing.assert_close(velocity, theirs.get_velocity(x0, noise, t), atol=1e-5, rtol=0)


def test_v_prediction_survives_zero_terminal_snr():
    schedule = NoiseSchedule.create().rescale_zero_terminal_snr()
    x0, noise = images(2, 1, 4, 4), images(2, 1, 4, 4, seed=1)
    v = schedule.target(x0, noise, 999, "v_prediction")
    assert torch.equal(v, -x0), "at the last step v asks for the image itself"
    torch.testing.assert_close(schedule.to_x0(v, noise, 999, "v_prediction"), x0)
    torch.testing.assert_close(schedule.to_noise(v, noise, 999, "v_prediction"), noise)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_results_follow_the_dtype_of_the_images(dtype):
    """1 - ᾱ_0 = 0.00085 must be taken before rounding: in half precision ᾱ_0 rounds to 1 or to 0.999."""
    schedule, t = NoiseSchedule.create(), torch.tensor([0, 999])
    one = torch.ones(2, 1, 1, 1, dtype=dtype)
    noise_part = schedule.add_noise(torch.zeros_like(one), one, t)
    assert noise_part.dtype == schedule.to_x0(one, one, t).dtype == dtype
    expected = (1 - schedule.alphas_cumprod.double()[t]).sqrt()
    torch.testing.assert_close(noise_part.flatten().double(), expected, rtol=0.005, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_results_follow_the_device_of_the_images():
    schedule, x0, noise = NoiseSchedule.create(), images(2, 1, 4, 4), images(2, 1, 4, 4, seed=1)
    t = torch.tensor([3, 700])
    for steps in (t, t.cuda()):
        there = schedule.add_noise(x0.cuda(), noise.cuda(), steps)
        torch.testing.assert_close(there.cpu(), schedule.add_noise(x0, noise, t))


@pytest.mark.parametrize("t", [-1, 1000, torch.tensor([0, 1000]), torch.tensor([-1, 5])])
def test_steps_outside_the_schedule_are_refused(t):
    schedule, x = NoiseSchedule.create(), images(2, 1, 4, 4)
    for call in (schedule.add_noise, schedule.target, schedule.to_x0, schedule.to_noise):
        with pytest.raises(ValueError, match=r"steps must be in \[0, 1000\)"):
            call(x, x, t)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_images_of_integers_are_refused(dtype):
    """sqrt(ᾱ) as an integer is 0: nothing would be left of them."""
    schedule, x = NoiseSchedule.create(), (images(2, 1, 4, 4) > 0).to(dtype)
    for call in (schedule.add_noise, schedule.target, schedule.to_x0, schedule.to_noise):
        with pytest.raises(ValueError, match=r"^images must be floats in \[-1, 1\], not torch\.\w+: for bytes, x"):
            call(x, x, 3)


def test_an_unknown_prediction_type_is_answered_with_the_choices():
    schedule, x = NoiseSchedule.create(), images(2, 1, 4, 4)
    for call in (schedule.target, schedule.to_x0, schedule.to_noise):
        with pytest.raises(ValueError, match="'eps'; choose one of epsilon, v_prediction, sample"):
            call(x, x, 3, "eps")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("linaer",), "choose one of linear, scaled_linear, quadratic, sigmoid, cosine"),
        (("linear", 0), "num_steps must be at least 1"),
        (("linear", 10, 0.0, 0.02), "between 0 and 1"),
        (("cosine", 10, 0.001), "no beta_start"),
    ],
)
def test_schedules_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        NoiseSchedule.create(*arguments)


@pytest.mark.parametrize("alphas", [[0.5, 0.6], [1.1, 0.5], [0.5, -0.1], [], [[0.5, 0.4]], [math.nan, 0.1]])
def test_lists_that_are_no_schedule_are_refused(alphas):
    with pytest.raises(ValueError, match="alphas_cumprod must"):
        NoiseSchedule(alphas_cumprod=alphas)


@pytest.mark.parametrize(
    ("alphas", "first"), [([0.5, 0, 0], 1), ([0.5, 1e-50, 0], 1), ([0, 0], 0), ([1, 0.9, 0.3, 0, 0, 0], 3)]
)
def test_a_schedule_that_is_pure_noise_before_its_last_step_is_refused(alphas, first):
    with pytest.raises(ValueError, match=rf"^step {first} of {len(alphas)} is pure noise already"):
        NoiseSchedule(alphas)
    assert NoiseSchedule(alphas[: first + 1]).alphas_cumprod[-1] == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cosine"])
def test_ends_that_use_up_the_signal_early_are_refused(kind):
    with pytest.raises(ValueError, match="is pure noise already"):
        NoiseSchedule.create(kind, 1000, 0.5, 0.9)


def test_between_steps_pure_noise_counts_as_4096_times_the_signal():
    """The σ that diffusers gives ᾱ = 0, by its 2^-24."""
    schedule = NoiseSchedule([0.9, 0.5, 0.0])
    sigma = (1 + (2.0**24 - 1) ** 0.5) / 2  # halfway between that of 0.5, which is 1, and that of the last
    assert 1 / schedule.at(1.5).item() - 1 == pytest.approx(sigma**2, rel=1e-6)


def test_a_flat_schedule_cannot_be_rescaled():
    with pytest.raises(ValueError, match="cannot be rescaled"):
        NoiseSchedule([0.5, 0.5]).rescale_zero_terminal_snr()


# --- steps to train at --------------------------------------------------------------------------------------------

LARGEST = 1 - 2**-24  # the largest float32 below 1: what torch.rand gives once in 16 million times


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("n", "num_steps"), [(8, 1000), (125, 1000), (3, 513), (64, 4096), (7, 7), (1, 5)])
def test_every_stratum_gets_exactly_one_step(n, num_steps):
    for seed in range(300):
        strata = stratified_timesteps(n, num_steps, seeded(seed)) // (num_steps // n)
        assert strata.sort().values.tolist() == list(range(n)), seed


@pytest.mark.parametrize("num_steps", [1, 2, 7, 513, 1000, 4096])
@pytest.mark.parametrize("u", [None, 0.0, LARGEST], ids=["any", "smallest", "largest"])
def test_stratified_steps_are_steps_of_the_schedule_whatever_is_drawn(monkeypatch, num_steps, u):
    if u is not None:
        monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.full(size, u))
    for n in (1, 2, 7, 513, 1000, 4096):
        for seed in range(20):
            t = stratified_timesteps(n, num_steps, seeded(seed))
            assert t.shape == (n,) and t.dtype == torch.int64
            assert t.min() >= 0 and t.max() < num_steps


def test_a_stratified_step_by_itself_is_uniform():
    """Row by row: all of 11 steps equally often, by chi-square, and none too high or too low on average."""
    n, num_steps, draws, generator = 4, 11, 20_000, seeded(0)
    steps = torch.stack([stratified_timesteps(n, num_steps, generator) for _ in range(draws)]).double()
    for row in steps.T:
        counts = row.long().bincount(minlength=num_steps)
        chi_square = ((counts - draws / num_steps).square() / (draws / num_steps)).sum().item()
        assert chi_square < 29.6  # 99.9 % of such sums, of 10 degrees of freedom, are smaller
        standard_error = ((num_steps**2 - 1) / 12 / draws) ** 0.5
        assert row.mean().item() == pytest.approx((num_steps - 1) / 2, abs=4 * standard_error)


def test_same_seed_same_steps_and_another_seed_others():
    before = torch.get_rng_state()
    first = stratified_timesteps(16, 1000, seeded(5))
    assert torch.equal(stratified_timesteps(16, 1000, seeded(5)), first)
    assert not torch.equal(stratified_timesteps(16, 1000, seeded(6)), first)
    assert torch.equal(torch.get_rng_state(), before)
