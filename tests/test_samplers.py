"""Facts about sampling: parity with diffusers over whole trajectories, and what must happen with a perfect denoiser."""

import dataclasses
import itertools

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler

from tinyldm.samplers import SAMPLERS, denoiser, sample, timesteps
from tinyldm.schedule import NoiseSchedule

SCHEDULE = NoiseSchedule.create()
SD = dict(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
DETERMINISTIC = ["ddim", "dpm++", "euler", "heun"]
SPACINGS = [("trailing", 0), ("leading", 0), ("leading", 1)]
LINSPACE = ("linspace", 0)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def noise_batch(*shape, seed=0):
    return torch.randn(shape or (2, 3, 4, 4), generator=seeded(seed))


def network(prediction_type):
    """A fixed smooth "network": right about unit Gaussian data, plus a wave that depends on image and step."""

    def model(x, t):
        t = torch.as_tensor(t).long().expand(len(x)).view(-1, 1, 1, 1)
        a = SCHEDULE.alphas_cumprod[t].to(x)
        wave = 0.4 * torch.sin(2 * x + t / 150) * a.sqrt()
        return (1 - a).sqrt() * x + wave if prediction_type == "epsilon" else wave

    return model


def trajectory(sampler, prediction_type="epsilon", x=None, seed=7, schedule=SCHEDULE, clip=None, **options):
    denoise = denoiser(network(prediction_type), schedule, prediction_type, clip)
    x = noise_batch() if x is None else x
    return list(sample(denoise, schedule, x=x, sampler=sampler, generator=seeded(seed), **options))


def assert_parity(mine, theirs):
    """Each step's x, the maximal difference over the whole trajectory, in float32."""
    assert len(mine) == len(theirs)
    worst = max((a.x - b).abs().max().item() for a, b in zip(mine, theirs, strict=True))
    assert worst < 1e-5, f"differs from diffusers by {worst:.1e}"
    movement = (mine[0].x - mine[-1].x).abs().max().item()
    assert movement > 0.1, "nothing happened, so nothing was compared"


# ---------------------------------------------------------------------------------------------- timesteps


def test_timesteps_by_eye():
    ten = NoiseSchedule.create("linear", 10)
    assert timesteps(ten, 5) == [9, 7, 5, 3, 1]
    assert timesteps(ten, 5, "leading") == [8, 6, 4, 2, 0]
    assert timesteps(ten, 5, "leading", offset=1) == [9, 7, 5, 3, 1]
    assert timesteps(ten, 3) == [9, 6, 2]
    assert timesteps(ten, 10) == timesteps(ten, 10, "leading") == list(range(9, -1, -1))


@pytest.mark.parametrize("spacing, offset", SPACINGS)
def test_timesteps_are_those_of_diffusers(spacing, offset):
    theirs = DDIMScheduler(**SD, timestep_spacing=spacing, steps_offset=offset)
    for steps in [*range(1, 120), 192, 250, 333, 500, 777, 999, 1000 - offset]:
        if offset and 1000 // steps * (steps - 1) + offset >= 1000:
            continue
        theirs.set_timesteps(steps)
        # diffusers' arange can end on one -1 too many, which is no step: 1000 - i·(1000/steps) rounded at i = steps
        expected = [t for t in theirs.timesteps.tolist() if t >= 0]
        assert timesteps(SCHEDULE, steps, spacing, offset) == expected


@pytest.mark.parametrize(
    "sampler, Theirs",
    [
        ("ddim", DDIMScheduler),
        ("ddpm", DDPMScheduler),
        ("dpm++", DPMSolverMultistepScheduler),
        ("euler", EulerDiscreteScheduler),
        ("heun", HeunDiscreteScheduler),
    ],
)
@pytest.mark.parametrize("spacing, offset", [*SPACINGS, LINSPACE])
def test_each_sampler_visits_diffusers_timesteps(sampler, Theirs, spacing, offset):
    theirs = Theirs(**SD, timestep_spacing=spacing, steps_offset=offset)
    for steps in (2, 3, 7, 25, 30, 50):
        theirs.set_timesteps(steps)
        expected = list(dict.fromkeys(theirs.timesteps.tolist()))  # heun's stand there twice
        assert timesteps(SCHEDULE, steps, spacing, offset, sampler) == pytest.approx(expected, abs=1e-4)


def test_linspace_begins_at_the_noisiest_step_even_if_it_is_the_only_one():
    assert timesteps(SCHEDULE, 1, "linspace") == timesteps(SCHEDULE, 1, "linspace", sampler="euler") == [999]
    assert timesteps(SCHEDULE, 1000, "linspace", sampler="dpm++") == list(range(999, -1, -1))


def test_steps_are_reported_in_order():
    got = trajectory("ddim", steps=20)
    assert [s.index for s in got] == list(range(20))
    assert [s.t for s in got] == timesteps(SCHEDULE, 20)
    with pytest.raises(dataclasses.FrozenInstanceError):
        got[0].t = 3


# ---------------------------------------------------------------------------------------------- parity with diffusers


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing, offset", [*SPACINGS, LINSPACE])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_ddpm_equals_diffusers(prediction_type, spacing, offset, clip):
    theirs = DDPMScheduler(
        **SD,
        prediction_type=prediction_type,
        timestep_spacing=spacing,
        steps_offset=offset,
        clip_sample=clip is not None,
        clip_sample_range=clip or 1.0,
    )
    theirs.set_timesteps(25)
    model, x, g, expected = network(prediction_type), noise_batch(), seeded(7), []
    for t in theirs.timesteps:
        x = theirs.step(model(x, t), t, x, generator=g).prev_sample
        expected.append(x)
    assert_parity(trajectory("ddpm", prediction_type, steps=25, spacing=spacing, offset=offset, clip=clip), expected)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing, offset", SPACINGS)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("to_one", [True, False])
def test_ddim_equals_diffusers(prediction_type, spacing, offset, eta, to_one):
    theirs = DDIMScheduler(
        **SD,
        prediction_type=prediction_type,
        timestep_spacing=spacing,
        steps_offset=offset,
        clip_sample=False,
        set_alpha_to_one=to_one,
    )
    theirs.set_timesteps(25)
    model, x, g, expected = network(prediction_type), noise_batch(), seeded(7), []
    for t in theirs.timesteps:
        x = theirs.step(model(x, t), t, x, eta=eta, generator=g).prev_sample
        expected.append(x)
    final = 1.0 if to_one else SCHEDULE.alphas_cumprod[0]
    options = dict(steps=25, spacing=spacing, offset=offset, eta=eta, final_alpha=final)
    assert_parity(trajectory("ddim", prediction_type, **options), expected)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing, offset", [*SPACINGS, LINSPACE])
@pytest.mark.parametrize("steps", [10, 25])  # diffusers treats fewer than 15 steps apart
def test_dpmpp_2m_equals_diffusers(prediction_type, spacing, offset, steps):
    options = {"timestep_spacing": spacing, "steps_offset": offset}
    theirs = DPMSolverMultistepScheduler(**SD, prediction_type=prediction_type, **options)
    theirs.set_timesteps(steps)
    model, x, expected = network(prediction_type), noise_batch(), []
    for t in theirs.timesteps:
        x = theirs.step(model(x, t), t, x).prev_sample
        expected.append(x)
    assert_parity(trajectory("dpm++", prediction_type, steps=steps, spacing=spacing, offset=offset), expected)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("spacing, offset", [*SPACINGS, LINSPACE])
@pytest.mark.parametrize("sampler, Theirs", [("euler", EulerDiscreteScheduler), ("heun", HeunDiscreteScheduler)])
def test_euler_and_heun_equal_diffusers(sampler, Theirs, prediction_type, spacing, offset):
    theirs = Theirs(**SD, prediction_type=prediction_type, timestep_spacing=spacing, steps_offset=offset)
    theirs.set_timesteps(25)
    model, expected = network(prediction_type), []
    x = noise_batch() * (1 + theirs.sigmas[0] ** 2) ** 0.5  # to the coordinates x_0 + σ ε
    for i, t in enumerate(theirs.timesteps):
        x = theirs.step(model(theirs.scale_model_input(x, t), t), t, x).prev_sample
        whole = sampler == "euler" or theirs.state_in_first_order or i == len(theirs.timesteps) - 1
        if whole:  # of Heun's steps but the last, every other one is only a trial
            expected.append(x / (1 + theirs.sigmas[theirs.step_index] ** 2) ** 0.5)
    assert_parity(trajectory(sampler, prediction_type, steps=25, spacing=spacing, offset=offset), expected)


def test_zero_terminal_snr_equals_diffusers():
    theirs = DDIMScheduler(
        **SD,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        rescale_betas_zero_snr=True,
    )
    theirs.set_timesteps(25)
    model, x, expected = network("v_prediction"), noise_batch(), []
    for t in theirs.timesteps:
        x = theirs.step(model(x, t), t, x).prev_sample
        expected.append(x)
    schedule = SCHEDULE.rescale_zero_terminal_snr()
    assert_parity(trajectory("ddim", "v_prediction", schedule=schedule, steps=25), expected)


def test_euler_begins_at_the_same_amount_of_noise_as_diffusers_where_the_schedule_ends_in_pure_noise():
    theirs = EulerDiscreteScheduler(
        **SD, prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True
    )
    theirs.set_timesteps(25)
    sigma, sigma_next = theirs.sigmas[:2].double()
    x = noise_batch()
    step = next(sample(lambda x, t: 10 + 0 * x, SCHEDULE.rescale_zero_terminal_snr(), x=x, steps=25, sampler="euler"))
    y = x.double() * (1 + sigma**2).sqrt()
    y = y + (sigma_next - sigma) * (y - 10) / sigma
    torch.testing.assert_close(step.x.double(), y / (1 + sigma_next**2).sqrt(), atol=1e-4, rtol=0)


# ---------------------------------------------------------------------------------------------- perfect denoisers


def ideal_denoiser(data, schedule, weights=None):
    """E[x_0 | x_t] if x_0 is one of ``data``: a mean of the data, weighted by how likely each is to have become x_t."""

    def denoise(x_t, t):
        a = schedule.alphas_cumprod[t].to(x_t).view(-1, 1)
        distance = (x_t.flatten(1)[:, None] - a[..., None].sqrt() * data.flatten(1)).square().sum(-1)  # (B, N)
        likelihood = -distance / (2 * (1 - a))
        if weights is not None:
            likelihood = likelihood + weights.log()
        return (likelihood.softmax(-1) @ data.flatten(1)).view_as(x_t)

    return denoise


ZERO_SNR = SCHEDULE.rescale_zero_terminal_snr()


@pytest.mark.parametrize("schedule", [SCHEDULE, ZERO_SNR, NoiseSchedule.create("cosine")], ids=["sd", "zero", "cosine"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_ideal_denoiser_leads_to_the_data(sampler, schedule):
    data = 2 * noise_batch(4, 1, 2, 2, seed=5)
    denoise = ideal_denoiser(data, schedule)
    *_, last = sample(denoise, schedule, (64, 1, 2, 2), steps=40, sampler=sampler, generator=seeded(0))
    distance = (last.x[:, None] - data).flatten(2).norm(dim=-1)  # (64, 4)
    assert distance.min(1).values.max() < 1e-3
    assert set(distance.argmin(1).tolist()) == {0, 1, 2, 3}, "the noise, not the sampler, chooses which image"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_come_as_often_as_they_are_in_the_data(sampler):
    data, weights = torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1), torch.tensor([0.2, 0.8])
    denoise = ideal_denoiser(data, ZERO_SNR, weights)
    *_, last = sample(denoise, ZERO_SNR, (1500, 1, 1, 1), steps=30, sampler=sampler, generator=seeded(0))
    assert (last.x.abs() - 1).abs().max() < 0.02, "only noise right on the watershed may be undecided"
    assert (last.x > 0).float().mean().item() == pytest.approx(0.8, abs=0.04)


def gaussian_denoiser(std):
    """E[x_0 | x_t] for x_0 ~ N(0, std²), for which the ODE can be solved on paper."""

    def denoise(x_t, t):
        a = SCHEDULE.alphas_cumprod[t].view(-1, 1, 1, 1).to(x_t)
        return a.sqrt() * std**2 / (a * std**2 + 1 - a) * x_t

    return denoise


def ode_error(sampler, gap, std=0.5):
    """From t = 999 to t = 199 in equal steps: the relative distance from the exact x_t ∝ sqrt(ᾱ std² + 1 - ᾱ)."""
    x, times = torch.ones(1, 1, 1, 1, dtype=torch.float64), list(range(999, 198, -gap))
    *_, end, _ = SAMPLERS[sampler](gaussian_denoiser(std), SCHEDULE, x, times)  # the last step goes on from 199 to x_0
    spread = (SCHEDULE.alphas_cumprod.double() * (std**2 - 1) + 1).sqrt()
    return abs(end.x.item() / (spread[199] / spread[999]).item() - 1)


@pytest.mark.parametrize("sampler, order", [("ddim", 1), ("euler", 1), ("dpm++", 2), ("heun", 2)])
def test_order_of_convergence(sampler, order):
    """Steps half as long leave about 1/2 of the error in first order, 1/4 in second."""
    errors = [ode_error(sampler, gap) for gap in (20, 10, 5)]
    for longer, shorter in itertools.pairwise(errors):
        assert longer / shorter == pytest.approx(2**order, rel=0.15)


def test_ddpm_keeps_the_variance_of_the_data():
    shape, std = (4000, 1, 1, 1), 0.5
    *_, last = sample(gaussian_denoiser(std), SCHEDULE, shape, 500, "ddpm", generator=seeded(0))
    assert last.x.std().item() == pytest.approx(std, rel=0.04)


def test_ddim_with_eta_1_is_ddpm():
    ddim, ddpm = trajectory("ddim", steps=25, eta=1.0), trajectory("ddpm", steps=25)
    assert max((a.x - b.x).abs().max() for a, b in zip(ddim, ddpm, strict=True)) < 1e-5


def test_ddim_without_noise_is_euler():
    """In Karras' coordinates they are the same line (Song et al. 2021, eq. 14)."""
    ddim, euler = trajectory("ddim", steps=25), trajectory("euler", steps=25)
    assert max((a.x - b.x).abs().max() for a, b in zip(ddim, euler, strict=True)) < 1e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_last_step_is_an_estimate_without_noise(sampler):
    last = trajectory(sampler, steps=10)[-1]
    torch.testing.assert_close(last.x, last.x0, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_x0_is_the_denoisers_answer_about_the_batch_before(sampler):
    x, denoise = noise_batch(), denoiser(network("epsilon"), SCHEDULE)
    for step in sample(denoise, SCHEDULE, x=x, steps=10, sampler=sampler, generator=seeded(0)):
        torch.testing.assert_close(step.x0, denoise(x, torch.full((2,), step.t)), atol=1e-5, rtol=0)
        x = step.x


@pytest.mark.parametrize("sampler, per_step", [("ddpm", 1), ("ddim", 1), ("dpm++", 1), ("euler", 1), ("heun", 2)])
def test_how_often_the_denoiser_is_asked_and_when(sampler, per_step):
    asked = []

    def denoise(x, t):
        assert t.shape == (len(x),) and t.dtype == torch.long and not torch.is_grad_enabled()
        asked.append(t[0].item())
        return 0.5 * x

    list(sample(denoise, SCHEDULE, (3, 1, 2, 2), 5, sampler, generator=seeded(0)))
    assert asked == [999] + [t for t in (799, 599, 399, 199) for _ in range(per_step)]


# ---------------------------------------------------------------------------------------------- image-to-image, clip


@pytest.mark.parametrize("sampler", ["ddim", "euler", "heun"])
def test_starting_halfway_continues_the_same_path(sampler):
    whole = trajectory(sampler, steps=20)
    rest = trajectory(sampler, steps=20, x=whole[7].x, start=8)
    assert [s.t for s in rest] == timesteps(SCHEDULE, 20)[8:]
    assert [s.index for s in rest] == list(range(12))
    torch.testing.assert_close(rest[-1].x, whole[-1].x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_later_start_keeps_more_of_the_image(sampler):
    image, std = torch.full((500, 1, 1, 1), 0.9), 0.5
    denoise, distance = gaussian_denoiser(std), []
    for start in (0, 14, 18):
        x = SCHEDULE.add_noise(image, noise_batch(500, 1, 1, 1), timesteps(SCHEDULE, 20)[start])
        *_, last = sample(denoise, SCHEDULE, x=x, steps=20, sampler=sampler, start=start, generator=seeded(1))
        distance.append((last.x - image).square().mean().item())
    assert distance[0] > 1.5 * distance[1] > 4 * distance[2], distance


def test_clip_keeps_the_estimates_in_range():
    free, clipped = trajectory("ddim", steps=10), trajectory("ddim", steps=10, clip=0.5)
    assert max(s.x0.abs().max() for s in free) > 1
    assert max(s.x0.abs().max() for s in clipped) == 0.5


# ---------------------------------------------------------------------------------------------- randomness


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_decides(sampler):
    def run(seed):
        denoise = denoiser(network("epsilon"), SCHEDULE)
        *_, last = sample(denoise, SCHEDULE, (2, 1, 4, 4), 10, sampler, generator=seeded(seed))
        return last.x

    before = torch.random.get_rng_state()
    assert torch.equal(run(1), run(1))
    assert (run(1) - run(2)).abs().max() > 0.1
    assert torch.equal(before, torch.random.get_rng_state()), "the global random state is not ours to use"


@pytest.mark.parametrize(
    "sampler, same", [("ddpm", False), ("ddim", True), ("dpm++", True), ("euler", True), ("heun", True)]
)
def test_only_ddpm_draws_after_the_start(sampler, same):
    assert torch.equal(trajectory(sampler, steps=10, seed=1)[-1].x, trajectory(sampler, steps=10, seed=2)[-1].x) == same


def test_without_a_generator_each_call_differs():
    denoise = denoiser(network("epsilon"), SCHEDULE)
    first, second = (next(sample(denoise, SCHEDULE, (1, 1, 4, 4))).x for _ in range(2))
    assert not torch.equal(first, second)


def test_the_starting_batch_is_left_as_it_was():
    x = noise_batch()
    for sampler in SAMPLERS:
        trajectory(sampler, x=x, steps=5)
    assert torch.equal(x, noise_batch())


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(sampler="dimm"), "unknown sampler 'dimm'; choose one of ddpm, ddim, dpm\\+\\+, euler, heun"),
        (dict(steps=0), r"steps must be in \[1, 1000\], not 0"),
        (dict(steps=1001), r"steps must be in \[1, 1000\], not 1001"),
        (dict(spacing="even"), "unknown spacing 'even'; choose one of trailing, leading"),
        (dict(steps=1000, spacing="leading", offset=1), "offset 1 with 1000 steps goes outside"),
        (dict(start=50, x=torch.zeros(1, 1, 2, 2), shape=None), r"start must be in \[0, 50\), not 50"),
        (dict(start=3), "required when start > 0"),
        (dict(shape=None), "either shape"),
        (dict(x=torch.zeros(1, 1, 2, 2)), "either shape"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_step(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample(lambda x, t: x, SCHEDULE, **{"shape": (1, 1, 2, 2), **arguments})


def test_options_of_other_samplers_are_refused():
    with pytest.raises(ValueError, match="euler takes no eta; only ddim does"):
        sample(lambda x, t: x, SCHEDULE, (1, 1, 2, 2), sampler="euler", eta=1.0)
    with pytest.raises(ValueError, match="eta and final_alpha must be in"):
        next(sample(lambda x, t: x, SCHEDULE, (1, 1, 2, 2), eta=1.5))


def test_a_step_without_noise_is_refused():
    with pytest.raises(ValueError, match="no noise to remove"):
        sample(lambda x, t: x, NoiseSchedule([1.0, 0.5]), (1, 1, 2, 2), steps=2)


def test_denoiser_refuses_what_cannot_work():
    with pytest.raises(ValueError, match="'eps'; choose one of epsilon, v_prediction, sample"):
        denoiser(network("epsilon"), SCHEDULE, "eps")
    with pytest.raises(ValueError, match="use v_prediction"):
        denoiser(network("epsilon"), ZERO_SNR, "epsilon")
