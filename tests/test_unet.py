"""The UNet is diffusers' UNet2DConditionModel, weight for weight; text steers it, and only where it should."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from diffusers.models.embeddings import get_timestep_embedding

from tinyldm.unet import (
    Attention,
    ResidualBlock,
    SpatialTransformer,
    UNet,
    UNetConfig,
    timestep_embedding,
)

SD1 = UNetConfig(
    block_out_channels=(320, 640, 1280, 1280),
    layers_per_block=2,
    attention=(True, True, True, False),
    num_heads=8,
    context_dim=768,
)
SMALL_SD1 = replace(SD1, block_out_channels=(24, 32, 64, 64), context_dim=24, norm_num_groups=8)
TINY = UNetConfig(block_out_channels=(16, 32), context_dim=12, norm_num_groups=8)
PIXEL = UNetConfig(1, 1, (16, 32, 32), 2, (False, False, False), context_dim=None, norm_num_groups=8)
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}  # float64 also sees a wrong epsilon in a norm


@pytest.fixture(autouse=True)
def same_weights_every_time():
    torch.manual_seed(0)


def perturb(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Move every parameter a little, so that none is zero (a branch) or one (a norm) and hides what it does."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def oracle(config: UNetConfig) -> torch.nn.Module:
    """diffusers' model of the same settings; without attention it is UNet2DModel, which has the same names."""
    common = {
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": config.block_out_channels,
        "layers_per_block": config.layers_per_block,
        "norm_num_groups": config.norm_num_groups,
    }
    if not config.mid_attention:
        levels = len(config.attention)
        down, up = ("DownBlock2D",) * levels, ("UpBlock2D",) * levels
        return perturb(UNet2DModel(down_block_types=down, up_block_types=up, add_attention=False, **common))
    return perturb(
        UNet2DConditionModel(
            down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in config.attention),
            up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(config.attention)),
            attention_head_dim=config.num_heads,
            cross_attention_dim=config.context_dim,
            **common,
        )
    )


@pytest.fixture
def tiny() -> UNet:
    return perturb(UNet(TINY))


# --- the same model as diffusers' ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("config", [SMALL_SD1, TINY, PIXEL], ids=["stable-diffusion", "tiny", "pixel"])
@torch.no_grad()
def test_diffusers_weights_give_diffusers_output(config, dtype):
    theirs = oracle(config).to(dtype)
    ours = UNet(config).to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, t = randn(2, config.in_channels, 16, 24, dtype=dtype), torch.tensor([3, 940])
    args = (x, t, randn(2, 7, config.context_dim, seed=1, dtype=dtype)) if config.mid_attention else (x, t)
    expected = theirs(*args).sample
    assert expected.std() > 0.1
    assert (ours(*args) - expected).abs().max() < TOLERANCE[dtype]


def test_stable_diffusion_1_has_its_parameters_and_tensors():
    with torch.device("meta"):
        model = UNet(SD1)
    assert sum(p.numel() for p in model.parameters()) == 859_520_964
    assert len(model.state_dict()) == 686


def test_default_settings_stay_within_five_million_parameters():
    with torch.device("meta"):
        model = UNet(UNetConfig())
    assert sum(p.numel() for p in model.parameters()) <= 5_000_000


# --- time ---------------------------------------------------------------------------------------------------------


def test_timestep_embedding_by_hand():
    e = timestep_embedding(torch.tensor([0, 1, 100]), 4)  # frequencies 1 and 1/100
    t = torch.tensor([0.0, 1.0, 100.0])
    expected = torch.stack([t.cos(), (t / 100).cos(), t.sin(), (t / 100).sin()], dim=1)
    assert torch.allclose(e, expected, atol=1e-5)


def test_timestep_embedding_equals_diffusers():
    t = torch.tensor([0.0, 0.5, 17.0, 999.0])
    expected = get_timestep_embedding(t, 320, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.allclose(timestep_embedding(t, 320), expected, atol=1e-6)
    with pytest.raises(ValueError, match="even"):
        timestep_embedding(t, 5)


@torch.no_grad()
def test_one_step_for_all_is_the_same_step_for_each(tiny):
    x, context = randn(2, 4, 8, 8), randn(2, 5, 12, seed=1)
    each = tiny(x, torch.tensor([7, 7]), context)
    for t in (7, 7.0, torch.tensor(7), torch.tensor([7]), torch.tensor([7.0, 7.0])):
        assert torch.equal(tiny(x, t, context), each)
    for other in (8, 7.5):
        assert (tiny(x, other, context) - each).abs().max() > 1e-3


# --- a new model --------------------------------------------------------------------------------------------------


def test_new_model_predicts_zero_so_its_loss_is_the_noise_itself():
    prediction = UNet(TINY)(randn(2, 4, 8, 8), 10, randn(2, 5, 12))
    assert torch.equal(prediction, torch.zeros(2, 4, 8, 8))


def test_new_blocks_change_nothing():
    x = randn(2, 16, 8, 8)
    assert torch.equal(ResidualBlock(16, 16, 32, groups=8)(x, randn(2, 32)), x)
    assert torch.equal(SpatialTransformer(16, heads=4, context_dim=12, groups=8)(x, randn(2, 5, 12)), x)


@pytest.mark.parametrize("config", [TINY, PIXEL, replace(TINY, context_dim=None)], ids=["text", "pixel", "no-text"])
def test_gradient_reaches_every_parameter(config):
    model = perturb(UNet(config))
    context = None if config.context_dim is None else randn(2, 5, config.context_dim, seed=1)
    model(randn(2, config.in_channels, 8, 8), torch.tensor([3, 500]), context).square().mean().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


# --- text ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_text_steers_its_own_image_and_no_other(tiny):
    x, t, context = randn(3, 4, 8, 8), torch.tensor([5, 300, 900]), randn(3, 5, 12, seed=1)
    before = tiny(x, t, context)
    context[1] = randn(5, 12, seed=2)
    change = (tiny(x, t, context) - before).abs().amax(dim=(1, 2, 3))
    assert change[1] > 1e-2
    assert change[[0, 2]].max() < 1e-6


@torch.no_grad()
def test_images_time_and_text_stay_together_when_the_batch_is_reordered(tiny):
    x, t, context = randn(3, 4, 8, 8), torch.tensor([5, 300, 900]), randn(3, 5, 12, seed=1)
    order = torch.tensor([2, 0, 1])
    assert torch.allclose(tiny(x[order], t[order], context[order]), tiny(x, t, context)[order], atol=1e-5)


@torch.no_grad()
def test_the_order_of_tokens_is_the_text_encoders_business(tiny):
    x, context = randn(1, 4, 8, 8), randn(1, 5, 12, seed=1)
    assert torch.allclose(tiny(x, 9, context.flip(1)), tiny(x, 9, context), atol=1e-5)


@torch.no_grad()
def test_a_model_without_text_is_the_model_with_silent_cross_attention(tiny):
    without = UNet(replace(TINY, context_dim=None)).eval()
    result = without.load_state_dict(tiny.state_dict(), strict=False)
    assert not result.missing_keys
    assert all(".attn2." in key or ".norm2." in key for key in result.unexpected_keys)
    for name, parameter in tiny.named_parameters():
        if ".attn2.to_out." in name:
            parameter.zero_()
    x = randn(2, 4, 8, 8)
    assert torch.allclose(without(x, 3), tiny(x, 3, randn(2, 5, 12)), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("context", [None, randn(2, 5, 12, seed=1)], ids=["self", "cross"])
def test_attention_is_the_map_times_the_values(context):
    attention = Attention(16, None if context is None else 12, heads=4)
    x = randn(2, 9, 16)
    weights = attention.attention_map(x, context)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 4, 9))
    values = attention.to_v(x if context is None else context)
    heads = [weights[:, i] @ values[..., 4 * i : 4 * i + 4] for i in range(4)]
    assert torch.allclose(attention(x, context), attention.to_out[0](torch.cat(heads, dim=-1)), atol=1e-6)


@torch.no_grad()
def test_a_text_read_before_gives_the_same_prediction_and_the_same_maps(tiny):
    x, context = randn(2, 4, 8, 8), randn(2, 5, 12, seed=1)
    read = tiny.read(context)
    assert read.shape == (2, 5, sum(2 * layer.to_k.out_features for layer in tiny.cross_attentions))
    assert torch.allclose(tiny(x, 3, read=read), tiny(x, 3, context), atol=1e-6)
    assert not torch.allclose(tiny(x, 3, read=read.flip(0)), tiny(x, 3, context), atol=1e-3)
    layer, h = tiny.cross_attentions[0], randn(2, 16, tiny.cross_attentions[0].to_q.in_features)
    assert torch.allclose(layer.attention_map(h, {layer: layer.read(context)}), layer.attention_map(h, context))
    with pytest.raises(ValueError, match="not both"):
        tiny(x, 3, context, read)
    with pytest.raises(ValueError, match=r"read has shape \(2, 5, 12\), expected \(2, tokens, \d+\)"):
        tiny(x, 3, read=context)


# --- precision and layout -----------------------------------------------------------------------------------------


@torch.no_grad()
def test_bfloat16_and_autocast_stay_near_float32(tiny):
    x, context = randn(2, 4, 8, 8), randn(2, 5, 12, seed=1)
    expected = tiny(x, 999, context)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = tiny(x, 999, context)
    tiny.to(torch.bfloat16)
    half = tiny(x.bfloat16(), 999, context.bfloat16())
    assert half.dtype == torch.bfloat16
    for result in (mixed, half):
        assert (result.float() - expected).abs().max() < 0.05 * expected.abs().max()


@torch.no_grad()
def test_bfloat16_still_tells_neighbouring_steps_apart(tiny):
    # bfloat16 rounds 999 to 1000: the embedding must be computed before the cast.
    tiny.to(torch.bfloat16)
    x, context = randn(1, 4, 8, 8).bfloat16(), randn(1, 5, 12).bfloat16()
    assert not torch.equal(tiny(x, 999, context), tiny(x, 1000, context))


@torch.no_grad()
def test_channels_last_is_the_same_model(tiny):
    x, context = randn(2, 4, 8, 8), randn(2, 5, 12)
    expected = tiny(x, 3, context)
    assert torch.allclose(tiny.to(memory_format=torch.channels_last)(x, 3, context), expected, atol=1e-5)


# --- settings and errors ------------------------------------------------------------------------------------------


def test_settings_survive_json():
    assert UNetConfig(**json.loads(json.dumps(asdict(SD1)))) == SD1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention": (True,)}, "one entry per level"),
        ({"block_out_channels": (64, 100)}, "32 groups"),
        ({"num_heads": 7}, "7 heads"),
        ({"attention": (False, False)}, "context_dim=None"),
    ],
)
def test_settings_that_contradict_each_other(settings, message):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**settings)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((randn(2, 4, 8, 8), 1), "needs text"),
        ((randn(2, 4, 8, 8), 1, randn(2, 5, 13)), r"expected \(2, tokens, 12\)"),
        ((randn(2, 4, 8, 8), 1, randn(1, 5, 12)), r"expected \(2, tokens, 12\)"),
        ((randn(2, 4, 8, 8), 1, randn(2, 12)), r"expected \(2, tokens, 12\)"),
        ((randn(2, 4, 8, 7), 1, randn(2, 5, 12)), "multiples of 2"),
        ((randn(2, 3, 8, 8), 1, randn(2, 5, 12)), r"\(B, 4, H, W\)"),
        ((randn(2, 4, 8, 8), torch.tensor([1, 2, 3]), randn(2, 5, 12)), "one for each of the 2 images"),
    ],
)
def test_inputs_that_do_not_fit(tiny, args, message):
    with pytest.raises(ValueError, match=message):
        tiny(*args)


def test_needless_text():
    with pytest.raises(ValueError, match="without context"):
        UNet(PIXEL)(randn(1, 1, 8, 8), 1, randn(1, 5, 12))
