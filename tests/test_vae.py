"""The VAE is diffusers' AutoencoderKL, weight for weight; its latents have a unit, and its chance has an owner."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from conftest import perturb
from diffusers import AutoencoderKL
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from tinyldm.vae import VAE, VAEConfig, kl_divergence, sample_posterior, vae_loss

SD1 = VAEConfig(block_out_channels=(128, 256, 512, 512), layers_per_block=2, scaling_factor=0.18215)
TINY = VAEConfig(block_out_channels=(8, 16), norm_num_groups=4)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}  # float64 also sees a wrong epsilon in a norm


@pytest.fixture(autouse=True)
def same_weights_every_time():
    torch.manual_seed(0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.rand(shape, generator=seeded(seed)) * 2 - 1).to(dtype)


@pytest.fixture
def vae() -> VAE:
    return perturb(VAE(TINY))


# --- the same model as diffusers' ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    "config",
    [
        VAEConfig(block_out_channels=(16, 32, 48, 48), layers_per_block=2, norm_num_groups=8),
        VAEConfig(1, 3, (16, 32, 32), norm_num_groups=16),
    ],
    ids=["stable-diffusion", "tiny"],
)
@torch.no_grad()
def test_diffusers_weights_give_diffusers_output(config, dtype):
    levels = len(config.block_out_channels)
    theirs = AutoencoderKL(
        in_channels=config.in_channels,
        out_channels=config.in_channels,
        latent_channels=config.latent_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
    )
    theirs, ours = perturb(theirs).to(dtype), VAE(config).to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = images(2, config.in_channels, 32, 16, dtype=dtype)
    expected = theirs.encode(x).latent_dist
    mean, logvar = ours.moments(x)
    decoded = theirs.decode(expected.mean).sample
    assert decoded.std() > 0.1
    assert (mean - expected.mean).abs().max() < TOLERANCE[dtype]
    assert (logvar - expected.logvar).abs().max() < TOLERANCE[dtype]
    assert (ours.decode(expected.mean) - decoded).abs().max() < TOLERANCE[dtype]


def test_stable_diffusion_1_has_its_parameters_and_tensors():
    with torch.device("meta"):
        model = VAE(SD1)
    assert sum(p.numel() for p in model.parameters()) == 83_653_863
    assert len(model.state_dict()) == 248


# --- the KL divergence --------------------------------------------------------------------------------------------


def test_kl_equals_torch_distributions():
    mean, logvar = torch.randn(3, 4, 5, 5, generator=seeded()), torch.randn(3, 4, 5, 5, generator=seeded(1))
    expected = torch_kl(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(dim=(1, 2, 3))
    assert torch.allclose(kl_divergence(mean, logvar), expected, rtol=1e-5)


def test_kl_is_zero_at_the_standard_normal_and_positive_elsewhere():
    zero = torch.zeros(1, 2, 3, 3)
    assert kl_divergence(zero, zero).item() == 0
    for mean, logvar in [(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)]:
        assert kl_divergence(zero + mean, zero + logvar).item() > 0


def test_kl_by_hand_for_a_shifted_mean():
    # Two elements moved by 3, variance 1: 2 * 3² / 2 nats; the other image stays where it is.
    mean = torch.tensor([[3.0, 3.0], [0.0, 0.0]])
    assert kl_divergence(mean, torch.zeros(2, 2)).tolist() == [9.0, 0.0]


def test_kl_of_half_precision_does_not_overflow():
    kl = kl_divergence(torch.zeros(1, 1, dtype=torch.float16), torch.full((1, 1), 20.0, dtype=torch.float16))
    assert kl.item() == pytest.approx(0.5 * (torch.tensor(20.0).exp().item() - 21), rel=1e-4)


@torch.no_grad()
def test_logvar_is_kept_between_minus_30_and_20(vae):
    latent = TINY.latent_channels
    vae.quant_conv.bias[latent : latent + 2] = 1000.0
    vae.quant_conv.bias[latent + 2 :] = -1000.0
    vae.quant_conv.bias[:latent] = 1000.0  # the mean has no such bounds
    mean, logvar = vae.moments(images(1, 3, 8, 8))
    assert logvar[:, :2].unique().tolist() == [20.0]
    assert logvar[:, 2:].unique().tolist() == [-30.0]
    assert mean.min() > 900


# --- scaled latents -----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_encode_multiplies_and_decode_divides_by_the_scaling_factor(vae):
    x = images(2, 3, 8, 8)
    mean, _ = vae.moments(x)
    reconstruction = vae.decode(vae.encode(x, sample=False))
    drawn = vae.encode(x, seeded(3))
    vae.config = replace(vae.config, scaling_factor=4.0)
    assert torch.allclose(vae.encode(x, sample=False), 4.0 * mean)
    assert torch.allclose(vae.encode(x, seeded(3)), 4.0 * drawn)
    assert torch.allclose(vae.decode(4.0 * mean), reconstruction, atol=1e-5)
    assert (vae.decode(mean) - reconstruction).abs().max() > 1e-2


@torch.no_grad()
def test_measured_scaling_factor_gives_latents_of_standard_deviation_one(vae):
    x = images(32, 3, 8, 8)
    raw = vae.encode(x, seeded())
    assert abs(raw.std() - 1) > 0.05
    vae.config = replace(vae.config, scaling_factor=VAE.measure_scaling_factor(raw))
    assert vae.encode(x, seeded()).std().item() == pytest.approx(1.0, abs=1e-4)


@torch.no_grad()
def test_standardized_channels_have_equal_spread_and_give_the_same_pictures(vae):
    x = images(32, 3, 8, 8)
    raw = vae.encode(x, seeded())
    assert raw.std((0, 2, 3)).max() > 1.1 * raw.std((0, 2, 3)).min()
    drawn = vae.decode(raw)
    vae.standardize(raw)
    latents = vae.encode(x, seeded())  # the same noise, as loud as before beside the latents
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(latents.shape[1]), atol=1e-5)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(latents.shape[1]), atol=1e-5)
    assert torch.allclose(vae.decode(latents), drawn, atol=1e-5)


def test_latents_that_cannot_be_standardized(vae):
    constant = torch.stack([torch.zeros(4, 4), *torch.randn(3, 4, 4)])[None].repeat(2, 1, 1, 1)
    for latents in (constant, torch.full((2, 4, 4, 4), float("nan"))):
        before = vae.quant_conv.weight.clone()
        with pytest.raises(ValueError, match="constant or diverged"):
            vae.standardize(latents)
        assert torch.equal(vae.quant_conv.weight, before)


@pytest.mark.parametrize("latents", [torch.zeros(2, 4, 4, 4), torch.full((2, 4, 4, 4), float("nan"))])
def test_latents_that_cannot_be_scaled(latents):
    with pytest.raises(ValueError, match="collapsed or diverged"):
        VAE.measure_scaling_factor(latents)


# --- chance -------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_same_seed_same_latents_and_the_global_generator_is_left_alone(vae):
    x, state = images(2, 3, 8, 8), torch.get_rng_state()
    first = vae.encode(x, seeded(5))
    assert torch.equal(vae.encode(x, seeded(5)), first)
    assert (vae.encode(x, seeded(6)) - first).abs().max() > 1e-2
    assert torch.equal(torch.get_rng_state(), state)


def test_sampling_without_a_generator_is_an_error(vae):
    x = images(1, 3, 8, 8)
    with pytest.raises(ValueError, match="Generator"):
        vae.encode(x)
    with pytest.raises(ValueError, match="Generator"):
        vae_loss(vae, x, 1.0)


@torch.no_grad()
def test_samples_have_the_posteriors_mean_and_standard_deviation(vae):
    vae.quant_conv.bias[TINY.latent_channels :] = torch.tensor([-4.0, -2.0, 0.0, 2.0])
    x = images(1, 3, 8, 8)
    mean, logvar = vae.moments(x)
    n = 2000
    drawn = vae.encode(x.expand(n, -1, -1, -1), seeded())
    std = (0.5 * logvar[0]).exp()
    # The standard errors of a mean and of a standard deviation are σ/√n and σ/√(2n); 5 of them leave no doubt.
    assert ((drawn.mean(dim=0) - mean[0]).abs() < 5 * std / n**0.5).all()
    assert ((drawn.std(dim=0) - std).abs() < 5 * std / (2 * n) ** 0.5).all()


def test_gradient_passes_through_a_sample():
    mean, logvar = torch.zeros(4, requires_grad=True), torch.full((4,), 2.0, requires_grad=True)
    z = sample_posterior(mean, logvar, seeded())
    z.sum().backward()
    assert torch.equal(mean.grad, torch.ones(4))
    assert torch.allclose(logvar.grad, 0.5 * z.detach())  # dz/dlogσ² = σ ε / 2, and z = σ ε here


# --- the loss -----------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("scaling_factor", [1.0, 0.2])
def test_loss_is_pixel_error_plus_weighted_kl_per_element(vae, scaling_factor):
    vae.config = replace(vae.config, scaling_factor=scaling_factor)  # changes the latents' unit, not the loss
    x = images(3, 3, 8, 8)
    mean, logvar = vae.moments(x)
    kl = torch_kl(Normal(mean, (0.5 * logvar).exp()), Normal(0.0, 1.0)).mean()
    z = sample_posterior(mean, logvar, seeded(1))
    mse = (vae.decoder(vae.post_quant_conv(z)) - x).square().mean()
    loss, parts = vae_loss(vae, x, 0.25, seeded(1))
    assert parts["mse"].item() == pytest.approx(mse.item(), rel=1e-5)
    assert parts["kl"].item() == pytest.approx(kl.item(), rel=1e-5)
    assert loss.item() == pytest.approx((mse + 0.25 * kl).item(), rel=1e-5)


def test_gradient_reaches_every_parameter(vae):
    loss, _ = vae_loss(vae, images(2, 3, 8, 8), 0.1, seeded())
    loss.backward()
    # Softmax does not see what is added to all scores alike, so the bias of the keys has no gradient, by mathematics.
    idle = [name for name, p in vae.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-7]
    assert all(name.endswith("to_k.bias") for name in idle)


def test_a_new_vae_learns_to_reconstruct():
    model, generator = VAE(TINY), seeded()
    x = images(8, 3, 1, 1).expand(-1, -1, 8, 8)  # eight plain colours
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    history = []
    for _ in range(60):
        loss, parts = vae_loss(model, x, 1e-4, generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(parts["mse"].item())
    blind = (x - x.mean(dim=0)).square().mean().item()  # the best that one image for all could do
    assert history[-1] < 0.5 * blind < history[0]


# --- precision, settings and errors -------------------------------------------------------------------------------


@torch.no_grad()
def test_bfloat16_stays_near_float32(vae):
    x = images(2, 3, 8, 8)
    expected = vae.decode(vae.encode(x, sample=False))
    vae.to(torch.bfloat16)
    half = vae.decode(vae.encode(x.bfloat16(), sample=False))
    assert half.dtype == torch.bfloat16
    assert vae.encode(x.bfloat16(), seeded()).dtype == torch.bfloat16
    assert (half.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_new_pictures_are_decoded_from_standard_normal_latents(vae):
    latents = torch.randn(3, vae.config.latent_channels, 8, 8, generator=torch.Generator().manual_seed(5))
    images = vae.images(3, seed=5)
    torch.testing.assert_close(images, vae.decode(latents).clamp(-1, 1))
    assert not images.equal(vae.images(3, seed=6)) and not images.requires_grad


def test_settings_survive_json():
    assert VAEConfig(**json.loads(json.dumps(asdict(SD1)))) == SD1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"block_out_channels": (32, 50)}, "32 groups"), ({"scaling_factor": 0.0}, "must be positive")],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        VAEConfig(**settings)


@pytest.mark.parametrize(
    ("method", "shape", "message"),
    [
        ("moments", (1, 1, 8, 8), r"\(B, 3, H, W\)"),
        ("moments", (3, 8, 8), r"\(B, 3, H, W\)"),
        ("encode", (1, 3, 8, 7), "multiples of 2"),
        ("decode", (1, 3, 4, 4), r"\(B, 4, h, w\)"),
    ],
)
def test_inputs_that_do_not_fit(vae, method, shape, message):
    with pytest.raises(ValueError, match=message):
        getattr(vae, method)(images(*shape))
