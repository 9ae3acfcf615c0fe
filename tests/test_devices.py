"""What the machine has decides the device, the precision, the batches and how long things run; a seed draws the same on
all of them."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from pretend import pretend_gpu
from torch import nn

from tinyldm import UserError
from tinyldm.data import CaptionedMNIST
from tinyldm.devices import (
    best_device,
    best_precision,
    budget,
    checked_seed,
    describe_hardware,
    device_named,
    device_of,
    generator_from,
    pictures_per_batch,
    seeded_generator,
)
from tinyldm.diffusion import DiffusionConfig, DiffusionModel, diffusion_loss
from tinyldm.evaluation import Judge, digit_shares, frechet_distance, psnr, read
from tinyldm.gan import Discriminator, GANConfig, Generator, discriminator_loss, generator_loss, train_gan
from tinyldm.images import image_and_mask, to_pil
from tinyldm.measure import describe, nearest_colour, slant_angle, stroke_thickness, unpaint
from tinyldm.pipeline import TextToImage
from tinyldm.plotting import image_grid
from tinyldm.samplers import SAMPLERS, denoiser, sample
from tinyldm.schedule import KINDS, NoiseSchedule, stratified_timesteps
from tinyldm.stable_diffusion import load_stable_diffusion
from tinyldm.text import CLIP, ImageEncoder, TextConfig, TextEncoder, keep_unknown_silent, tokenize
from tinyldm.training import TrainSettings
from tinyldm.unet import UNetConfig
from tinyldm.vae import VAE, VAEConfig, vae_loss
from tinyldm.vqvae import VQVAE, CodePrior, CodePriorConfig, VQVAEConfig, perplexity, vq_loss

# ---------------------------------------------------------------- which device


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_nvidias_gpu_is_preferred_to_apples_and_that_to_the_cpu(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert best_device() == torch.device(expected)


def test_nothing_is_assumed_of_apples_gpu(monkeypatch):
    monkeypatch.delenv("TINYLDM_PROFILE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert best_precision() == "no" and budget(fast=1, cpu=2, gpu=3) == 2
    assert pictures_per_batch(best_device()) == 64 and describe_hardware().startswith("Apple GPU")


NOWHERE = ["cuda:99", "xpu", "meta", "lazy", "vulkan", "hpu", "opengl", "privateuseone", "gpu", "CPU", "", "cuda:x", []]


@pytest.mark.parametrize("name", NOWHERE, ids=str)
def test_a_device_that_does_not_exist_is_named(name):
    with pytest.raises(UserError, match=r"^there is no device '.*' here, only cpu( and (cuda|mps))?$") as raised:
        device_named(name)
    assert repr(str(name)) in str(raised.value)


@pytest.mark.parametrize("load", [TextToImage.from_pretrained, load_stable_diffusion])
def test_it_is_named_before_anything_is_read(load):
    with pytest.raises(UserError, match="no device 'gpu' here"):
        load("nowhere", device="gpu")


def test_a_device_that_exists_is_taken_by_any_of_its_names():
    assert device_named("cpu") == device_named(torch.device("cpu")) == torch.device("cpu")
    assert device_named(None) == best_device()
    with pretend_gpu() as device:
        assert device_named("cuda:0") == device_named(device) == device


# ---------------------------------------------------------------- precision, batches, time


@pytest.mark.parametrize(
    "cuda, gpu_bf16, cpu_bf16, expected",
    [
        (True, True, False, "bf16"),
        (True, False, True, "fp16"),
        (False, False, True, "bf16"),
        (False, False, False, "no"),
    ],
    ids=["new GPU", "old GPU", "new CPU", "old CPU"],
)
def test_the_best_precision_is_what_the_hardware_multiplies(monkeypatch, cuda, gpu_bf16, cpu_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    said = {True: True, False: gpu_bf16}  # with emulation every GPU says yes, slow ones too
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: said[including_emulation])
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": cpu_bf16})
    assert best_precision() == expected


@pytest.mark.parametrize(("profile", "value"), [("fast", 1), ("cpu", 2), ("gpu", 3)])
def test_the_profile_decides_how_long_things_run(monkeypatch, profile, value):
    monkeypatch.setenv("TINYLDM_PROFILE", profile)
    assert budget(fast=1, cpu=2, gpu=3) == value


@pytest.mark.parametrize(("has_gpu", "value"), [(False, 2), (True, 3)])
def test_without_a_profile_the_hardware_decides(monkeypatch, has_gpu, value):
    monkeypatch.delenv("TINYLDM_PROFILE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    assert budget(fast=1, cpu=2, gpu=3) == value


def test_an_unknown_profile_is_named(monkeypatch):
    monkeypatch.setenv("TINYLDM_PROFILE", "slow")
    with pytest.raises(UserError, match="fast, cpu, gpu, not 'slow'"):
        budget(fast=1, cpu=2, gpu=3)


def test_a_module_is_where_its_parameters_are():
    model = nn.Sequential(nn.ReLU(), nn.Linear(2, 3))
    assert device_of(model) == torch.device("cpu")
    assert device_of(model.to("meta")) == torch.device("meta")


def test_a_gpu_gets_larger_batches():
    assert pictures_per_batch(torch.device("cuda")) > pictures_per_batch(torch.device("cpu")) > 1


# ---------------------------------------------------------------- seeds


def test_the_same_seed_draws_the_same_and_no_seed_something_else_each_time():
    def draw(seed):
        return torch.rand(4, generator=seeded_generator(seed))

    assert torch.equal(draw(3), draw(3)) and not torch.equal(draw(3), draw(4))
    assert not torch.equal(draw(None), draw(None))


INTEGERS = [
    *(kind(7) for kind in (int, np.int64, np.uint8, np.int32, torch.tensor, np.array)),
    torch.tensor(7, dtype=torch.uint8),
]
NO_SEEDS = [
    -1,
    2**63,
    np.uint64(2**63),
    True,
    np.bool_(True),
    torch.tensor(True),
    7.0,
    np.float64(7),
    torch.tensor(7.0),
]
NO_SEEDS += ["7", [7], torch.tensor([7]), np.array([7]), float("nan")]
NO_SEED = r"^seed must be an integer between 0 and 2\^63 - 1, not .*$"
TINY_GAN = GANConfig(channels=(4, 4, 4))


def drawn_with(seed):
    """What each function that takes a seed makes with it."""
    gan, opponent = Generator(TINY_GAN), Discriminator(TINY_GAN)
    vae, codes = (
        VAE(VAEConfig(block_out_channels=(8,), norm_num_groups=4)),
        CodePriorConfig(length=4, channels=6, layers=1),
    )
    vqvae, prior = VQVAE(VQVAEConfig(block_out_channels=(8,), norm_num_groups=4)), CodePrior(codes)
    unet = UNetConfig(1, 1, (8,), attention=(False,), context_dim=None, norm_num_groups=4)
    pixels = DiffusionModel(DiffusionConfig(unet))
    return {
        "generator_from": lambda: torch.rand(3, generator=generator_from(seed, None)),
        "TrainSettings": lambda: TrainSettings(steps=1, seed=seed).seed,
        "CaptionedMNIST": lambda: CaptionedMNIST("test", seed=seed, limit=3).captions,
        "Generator.images": lambda: gan.images(2, seed),
        "VAE.images": lambda: vae.images(2, seed),
        "VQVAE.images": lambda: vqvae.images(prior, 2, seed),
        "DiffusionModel.images": lambda: pixels.images(2, seed=seed, num_inference_steps=1),
        "train_gan": lambda: next(train_gan(gan, opponent, torch.zeros(4, 1, 32, 32), 1, 2, seed=seed)).fakes.shape,
    }


@pytest.mark.parametrize("name", drawn_with(0))
def test_seeds_may_be_numpys_and_torchs_integers_and_nothing_else(name):
    torch.manual_seed(0)
    expected = drawn_with(7)[name]()
    for seed in (np.int64(7), torch.tensor(7)):
        torch.manual_seed(0)  # of the untrained models
        assert same(drawn_with(seed)[name](), expected), repr(seed)
    for seed in (-1, True, 7.0):
        with pytest.raises(UserError, match=NO_SEED):
            drawn_with(seed)[name]()


def same(a, b):
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_a_checked_seed_is_a_python_int():
    for seed in INTEGERS:
        assert type(checked_seed(seed)) is int and checked_seed(seed) == 7
    for seed in NO_SEEDS:
        with pytest.raises(UserError, match=NO_SEED):
            checked_seed(seed)


def test_a_generator_takes_the_place_of_a_seed(pipeline):
    options = [{}, {"image": torch.zeros(3, 32, 32)}, {"image": torch.zeros(3, 32, 32), "mask": torch.ones(32, 32)}]
    for given in options:
        seeded = pipeline.images(["7", "two"], seed=3, **given)
        assert torch.equal(pipeline.images(["7", "two"], generator=seeded_generator(3), **given), seeded)
        assert not torch.equal(pipeline.images(["7", "two"], generator=seeded_generator(4), **given), seeded)
    generator = seeded_generator(3)
    first, second = (pipeline("7", generator=generator) for _ in range(2))
    assert first.tobytes() == pipeline("7", seed=3).tobytes() != second.tobytes()
    image = to_pil(torch.zeros(3, 32, 32))
    assert pipeline.image_to_image(image, "7", generator=seeded_generator(3)).size == (32, 32)
    assert pipeline.inpaint(image, Image.new("L", (32, 32), 255), "7", generator=seeded_generator(3)).size == (32, 32)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seed": 3, "generator": torch.Generator()}, "give a seed or a generator, not both"),
        ({"generator": np.random.default_rng(0)}, "generator must be a torch.Generator, not "),
        ({"generator": [torch.Generator()]}, "generator must be a torch.Generator, not "),
    ],
)
def test_what_is_no_generator_gets_one_line(pipeline, given, message):
    with pytest.raises(UserError, match=f"^{message}.*$"):
        pipeline("7", **given)


# ---------------------------------------------------------------- the same on every device, and no float64 there

DIGITS = torch.arange(4)
MODELS = {
    "vae": lambda: VAE(VAEConfig(block_out_channels=(8, 8), norm_num_groups=4)),
    "vqvae": lambda: VQVAE(VQVAEConfig(block_out_channels=(8, 8), norm_num_groups=4)),
    "prior": lambda: CodePrior(CodePriorConfig(length=16, channels=12, layers=1)),
    "gan": lambda: Generator(TINY_GAN).eval(),
    "clip": lambda: CLIP(TextEncoder(TextConfig(16, 32, 1, 2, 16)), ImageEncoder(16, (8, 8, 8))),
    "judge": Judge.from_pretrained,
}


def model(name, device):
    """One of them with the same weights on any device."""
    torch.manual_seed(1)
    made = MODELS[name]()
    return made.requires_grad_(True).to(device)


def noisy(schedule, x, device):
    t = torch.tensor([999, 3, 500, 0], device=device)
    gray = x.mean(1, keepdim=True)
    ways = [
        schedule.add_noise(x, 1 - x, t),
        schedule.target(x, 1 - x, 7, "v_prediction"),
        schedule.to_x0(x, x, t // 2),
    ]
    return [*ways, schedule.to_noise(gray, gray, t, "sample"), schedule.betas, schedule.snr]


def sampled(name, x):
    schedule = NoiseSchedule.create()
    denoise = denoiser(lambda x_t, t: 0.9 * x_t * (t[:, None, None, None] / 1000), schedule)
    return [step.x for step in sample(denoise, schedule, x=x, steps=3, sampler=name, generator=seeded_generator(2))]


def gan_losses(x, device):
    torch.manual_seed(1)
    fakes, rival = model("gan", device).images(3, 1), Discriminator(TINY_GAN).to(device)
    return [fakes, discriminator_loss(rival(x[:, :1]), rival(fakes)), generator_loss(rival(fakes))]


def clip_loss(x, device):
    clip, tokens = model("clip", device), tokenize(["7", "a red two", "8", "on paper"]).to(device)
    keep_unknown_silent(clip.text, tokens.cpu())
    return [clip.similarity(x, tokens), clip(x, tokens)]


ON_A_DEVICE = {
    "measure": lambda x, device: [stroke_thickness(x[:, 0] + 1), slant_angle(x[:, 0] + 1), *unpaint(x)],
    "describe": lambda x, device: [describe(x, DIGITS.to(device)), nearest_colour(x[:, :, 0, 0], {"red": (1.0, 0, 0)})],
    "images": lambda x, device: [to_pil(x[0]).tobytes(), *image_and_mask(x[0], (x[0] > 0).float()[0], 16)],
    "plotting": lambda x, device: [len(image_grid(x).axes)],
    **{f"schedule {kind}": lambda x, device, kind=kind: noisy(NoiseSchedule.create(kind), x, device) for kind in KINDS},
    "a schedule made of a tensor on it": lambda x, device: noisy(
        NoiseSchedule(torch.linspace(0.9, 0.1, 1000, device=device)).rescale_zero_terminal_snr(), x, device
    ),
    **{f"sampler {name}": lambda x, device, name=name: sampled(name, x) for name in SAMPLERS},
    "diffusion_loss": lambda x, device: [
        diffusion_loss(lambda x, t: x * 0.5, NoiseSchedule.create(), x, seeded_generator(3), "sample")
    ],
    "vae": lambda x, device: [
        model("vae", device).encode(x, seeded_generator(1)),
        model("vae", device).images(3, 1, 4),
        *vae_loss(model("vae", device), x, 0.1, seeded_generator(1)),
    ],
    "vqvae": lambda x, device: [
        model("vqvae", device).images(model("prior", device), 3, 1),
        *vq_loss(model("vqvae", device), x),
        perplexity(model("vqvae", device).encode(x), 256),
    ],
    "prior": lambda x, device: [
        model("prior", device).loss(DIGITS.to(device), torch.arange(64, device=device).view(4, 16))
    ],
    "gan": gan_losses,
    "clip": clip_loss,
    "evaluation": lambda x, device: [
        read(x, model("judge", device)),
        digit_shares(x, model("judge", device)),
        psnr(x, x.flip(0)),
        frechet_distance(x.cpu(), x, model("judge", device)),
    ],
}


@pytest.mark.parametrize("name", ON_A_DEVICE)
def test_a_device_gives_what_the_cpu_gives_and_never_sees_float64(name, rows):
    x = rows.images(DIGITS)
    torch.manual_seed(0)
    expected = ON_A_DEVICE[name](x, "cpu")
    with pretend_gpu() as device:
        torch.manual_seed(0)
        got = ON_A_DEVICE[name](x.to(device), device)
        compare(got, expected)


def compare(got, expected):
    for ours, theirs in zip(got, expected, strict=True):
        if isinstance(theirs, dict):
            compare(ours.values(), theirs.values())
        elif isinstance(theirs, torch.Tensor | float):
            ours, theirs = torch.as_tensor(ours).detach().cpu(), torch.as_tensor(theirs).detach()
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        else:
            assert ours == theirs


PICTURES = {
    "text": {"negative_prompt": "red"},
    **{name: {"sampler": name} for name in SAMPLERS},
    "image to image": {"image": to_pil(torch.linspace(-1, 1, 3 * 20 * 30).view(3, 20, 30)), "strength": 0.7},
    "inpainting": {"image": torch.zeros(3, 32, 32), "mask": torch.eye(32)},
}


@pytest.mark.parametrize("options", PICTURES.values(), ids=PICTURES)
def test_a_seed_is_the_same_picture_on_every_device(pipeline, options):
    prompts = ["a thick red seven", "two"]
    expected = pipeline.images(prompts, seed=5, num_inference_steps=3, **options)
    with pretend_gpu() as device:
        elsewhere = copy.deepcopy(pipeline).to(device)
        got = elsewhere.images(prompts, seed=5, num_inference_steps=3, **options)
        assert got.device == device
    torch.testing.assert_close(got.on_cpu, expected, rtol=0, atol=1 / 255)  # attention is computed in another order


def test_attention_and_pixels_are_the_same_on_every_device(pipeline):
    unet = UNetConfig(1, 1, (8,), attention=(False,), context_dim=None, norm_num_groups=4)
    pixels = DiffusionModel(DiffusionConfig(unet, sampler="ddpm")).eval()
    expected = [pixels.images(3, seed=2, num_inference_steps=3), *pipeline.attention_by_word("a red seven", seed=1)]
    with pretend_gpu() as device:
        there, machine = copy.deepcopy(pixels).to(device), copy.deepcopy(pipeline).to(device)
        got = [there.images(3, seed=2, num_inference_steps=3), *machine.attention_by_word("a red seven", seed=1)]
        compare(got, expected)


def test_the_pretended_device_keeps_the_rules_of_a_real_one():
    with pretend_gpu() as device:
        x = torch.arange(3.0, device=device)
        assert x.device == device and (x + 1).device == device and (2 * x).tolist() == [0, 2, 4]
        for broken in (lambda: x.double(), lambda: torch.rand(2, dtype=torch.float64, device=device)):
            with pytest.raises(TypeError, match="float64 on a device that has none"):
                broken()
        with pytest.raises(RuntimeError, match="on the device, another on the CPU"):
            x + torch.ones(3)
        assert type(x.cpu()) is torch.Tensor


def test_steps_are_drawn_in_double_precision_only_where_there_is_some():
    with pretend_gpu() as device:
        generator = seeded_generator(1)
        assert stratified_timesteps(5, 1000, generator).device.type == "cpu"
        assert device.type != "cpu"
