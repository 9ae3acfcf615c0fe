"""A diffusion model is sampled as its settings say, with the schedule that they name, and comes back from its file."""

import pytest
import torch
from conftest import perturb

from tinyldm import UserError
from tinyldm.diffusion import DiffusionConfig, DiffusionModel, diffusion_loss
from tinyldm.samplers import denoiser, sample
from tinyldm.schedule import NoiseSchedule
from tinyldm.unet import UNetConfig
from tinyldm.weights import save_weights


@pytest.fixture(autouse=True)
def same_weights_every_time():
    torch.manual_seed(0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_schedule_is_stable_diffusions_made_to_end_in_pure_noise_or_what_the_settings_say():
    default = DiffusionConfig().schedule().alphas_cumprod
    assert default[-1] == 0
    assert torch.equal(default, NoiseSchedule.create("scaled_linear").rescale_zero_terminal_snr().alphas_cumprod)
    cosine = DiffusionConfig(schedule_kind="cosine", zero_terminal_snr=False).schedule().alphas_cumprod
    assert torch.equal(cosine, NoiseSchedule.create("cosine").alphas_cumprod)


# ---------------------------------------------------------------- the loss

B = 6
SHAPE = (B, 2, 3, 5)  # no size is another one, none is 1


class Answer(torch.nn.Module):
    """A hand-made model: ``weight * x + t / 1000``, plus the mean of the text if there is one; remembers its inputs."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.tensor(0.3)), []

    def forward(self, x, t, context=None):
        self.seen.append((x, t, context))
        answer = self.weight * x + t[:, None, None, None] / 1000
        return answer if context is None else answer + context.mean((1, 2))[:, None, None, None]


@pytest.fixture
def clean() -> torch.Tensor:
    return torch.randn(SHAPE, generator=seeded(1)) * 0.5 + 0.2


BY_HAND = {  # the target, from √ᾱ, √(1 - ᾱ), x_0 and ε
    "epsilon": lambda a, b, x0, noise: noise,
    "v_prediction": lambda a, b, x0, noise: a * noise - b * x0,
    "sample": lambda a, b, x0, noise: x0,
}


@pytest.mark.parametrize("with_text", [False, True])
@pytest.mark.parametrize("prediction_type", BY_HAND)
def test_the_loss_is_the_one_written_out_by_hand(clean, prediction_type, with_text):
    model, schedule = Answer(), NoiseSchedule.create("linear")
    context = torch.rand(B, 7, 4, generator=seeded(2)) if with_text else None
    loss = diffusion_loss(model, schedule, clean, seeded(3), prediction_type, context)
    ((x_t, t, read),) = model.seen
    kept = schedule.alphas_cumprod[t][:, None, None, None]
    a, b = kept.sqrt(), (1 - kept).sqrt()
    noise = (x_t - a * clean) / b
    answer = 0.3 * x_t + t[:, None, None, None] / 1000
    if with_text:
        assert read is context
        answer = answer + context.mean((1, 2))[:, None, None, None]
    target = BY_HAND[prediction_type](a, b, clean, noise)
    assert loss.item() == pytest.approx(((answer - target) ** 2).mean().item(), rel=1e-4)
    assert noise.mean().abs() < 0.3 and noise.std() == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("prediction_type", BY_HAND)
def test_a_model_that_knows_the_answer_has_no_loss_and_one_that_says_nothing_the_size_of_the_target(
    clean, prediction_type
):
    schedule = NoiseSchedule.create("cosine")

    def oracle(x_t, t):
        a = schedule.alphas_cumprod[t][:, None, None, None]
        noise = (x_t - a.sqrt() * clean) / (1 - a).sqrt()
        return schedule.target(clean, noise, t, prediction_type)

    assert diffusion_loss(oracle, schedule, clean, seeded(), prediction_type) < 1e-6
    many = clean.repeat(400, 1, 1, 1)
    silent = diffusion_loss(lambda x, t: 0 * x, schedule, many, seeded(), prediction_type).item()
    size = many.square().mean()
    kept = schedule.alphas_cumprod.mean()
    expected = {"epsilon": 1, "sample": size, "v_prediction": kept + (1 - kept) * size}[prediction_type]
    assert silent == pytest.approx(float(expected), rel=0.03)


def test_steps_are_spread_evenly_over_the_schedule(clean):
    model = Answer()
    diffusion_loss(model, NoiseSchedule.create(), clean[:5], seeded(4))
    t = model.seen[0][1]
    assert t.dtype == torch.int64 and sorted((t // 200).tolist()) == [0, 1, 2, 3, 4]


def test_the_same_seed_gives_the_same_loss_and_another_seed_another(clean):
    losses = [diffusion_loss(Answer(), NoiseSchedule.create(), clean, seeded(seed)).item() for seed in (5, 5, 6)]
    assert losses[0] == losses[1] != losses[2]


def test_the_gradient_reaches_the_model_and_not_the_images(clean):
    model = Answer()
    diffusion_loss(model, NoiseSchedule.create(), clean, seeded(), "v_prediction").backward()
    assert model.weight.grad.abs() > 0 and clean.grad is None


# ---------------------------------------------------------------- pixels, without text


@pytest.fixture
def pixels() -> DiffusionModel:
    shape = {"in_channels": 1, "out_channels": 1, "attention": (False, False), "context_dim": None}
    unet = UNetConfig(block_out_channels=(8, 16), norm_num_groups=4, **shape)
    config = DiffusionConfig(unet, 16, "cosine", False, "epsilon", num_inference_steps=3)
    return perturb(DiffusionModel(config), 0.2)


def test_a_model_of_pixels_draws_what_its_settings_say(pixels):
    """By hand: its schedule, epsilon, the guess kept between black and white, its sampler, spacing and steps."""
    schedule = NoiseSchedule.create("cosine")
    *_, last = sample(
        denoiser(pixels, schedule, "epsilon", clip=1), schedule, (5, 1, 16, 16), 3, "dpm++", generator=seeded(7)
    )
    images = pixels.images(5, seed=7)
    torch.testing.assert_close(images, last.x.clamp(-1, 1))
    assert not torch.equal(images, pixels.images(5, seed=8))
    assert not torch.equal(images, pixels.images(5, seed=7, num_inference_steps=4))
    assert not torch.equal(images, pixels.images(5, seed=7, sampler="euler"))
    with pytest.raises(UserError, match="steps must be in"):
        pixels.images(5, num_inference_steps=0)


def test_a_model_of_pixels_comes_back_from_its_file(pixels, tmp_path):
    save_weights(tmp_path / "pixel.safetensors", pixels.weights(), pixels.config)
    again = DiffusionModel.from_pretrained("pixel", tmp_path)
    assert again.config == pixels.config
    torch.testing.assert_close(again.images(2), pixels.images(2), atol=0.02, rtol=0)  # stored in half precision
