"""Guidance goes from the negative prompt towards the prompt and beyond; inpainting keeps what is known."""

import pytest
import torch
from conftest import context_of

from tinyldm.guidance import guide, keep_known


@pytest.fixture(autouse=True)
def same_weights_every_time():
    torch.manual_seed(0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- guidance -----------------------------------------------------------------------------------------------------


def moments():
    return torch.randn(2, 4, 8, 8, generator=seeded(1)), torch.tensor([999, 20])


@pytest.mark.parametrize("scale", [0.5, 3.0, 30.0])
def test_guidance_goes_from_the_negative_towards_the_prompt_and_beyond(pipeline, calls, scale):
    x, t = moments()
    context = context_of(pipeline, "a red seven", "a thin blue two")
    negative = context_of(pipeline, "", "")
    towards = pipeline.unet(x, t, context)
    away = pipeline.unet(x, t, negative)
    assert (towards - away).abs().max() > 0.05
    calls.clear()
    guided = guide(pipeline.unet, context, negative, scale)(x, t)
    assert torch.allclose(guided, (1 - scale) * away + scale * towards, atol=1e-4 * max(1, scale))
    assert [len(call[0]) for call in calls] == [4]  # one call, with both halves


@pytest.mark.parametrize("scale, which", [(0, "negative"), (1, "context"), (1.0, "context")])
def test_without_guidance_half_of_the_work_is_saved(pipeline, calls, scale, which):
    x, t = moments()
    given = {"context": context_of(pipeline, "a red seven", "a two"), "negative": context_of(pipeline, "", "")}
    guided = guide(pipeline.unet, given["context"], given["negative"], scale)(x, t)
    assert torch.equal(guided, pipeline.unet(x, t, given[which]))
    assert [len(call[0]) for call in calls] == [2, 2]


def test_guidance_acts_only_below_its_step(pipeline, calls):
    x, _ = moments()
    given = {"context": context_of(pipeline, "a red seven", "a two"), "negative": context_of(pipeline, "", "")}
    predict = guide(pipeline.unet, **given, guidance_scale=3.0, below=650)
    plain = predict(x, torch.tensor([650, 650]))
    assert [len(call[0]) for call in calls] == [2]
    assert torch.equal(plain, pipeline.unet(x, torch.tensor([650, 650]), given["context"]))
    calls.clear()
    predict(x, torch.tensor([649, 649]))
    assert [len(call[0]) for call in calls] == [4]


@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
def test_rescaled_guidance_has_the_size_of_the_plain_prediction(pipeline, rescale):
    x, t = moments()
    given = {"context": context_of(pipeline, "a red seven", "a two"), "negative": context_of(pipeline, "", "")}
    plain, large = (guide(pipeline.unet, **given, guidance_scale=scale)(x, t) for scale in (1, 30.0))
    got = guide(pipeline.unet, **given, guidance_scale=30.0, rescale=rescale)(x, t)
    sizes = rescale * plain.std((1, 2, 3)) + (1 - rescale) * large.std((1, 2, 3))  # Lin et al. 2023, eq. 15 and 16
    assert (large.std((1, 2, 3)) > 1.02 * plain.std((1, 2, 3))).all()
    assert torch.allclose(got.std((1, 2, 3)), sizes, atol=1e-5)
    assert torch.allclose(got / got.std((1, 2, 3), keepdim=True), large / large.std((1, 2, 3), keepdim=True), atol=1e-4)


def test_each_picture_is_guided_by_its_own_prompt(pipeline):
    x, t = moments()
    context, negative = context_of(pipeline, "a red seven", "a thin blue two"), context_of(pipeline, "white", "paper")
    together = guide(pipeline.unet, context, negative, 2.0)(x, t)
    for i in range(2):
        alone = guide(pipeline.unet, context[i : i + 1], negative[i : i + 1], 2.0)(x[i : i + 1], t[i : i + 1])
        assert (together[i] - alone[0]).abs().max() < 1e-5


# --- inpainting ---------------------------------------------------------------------------------------------------


def test_the_truth_stands_where_the_mask_is_0_and_the_guess_where_it_is_1():
    x, guess, known = (torch.randn(2, 4, 8, 8, generator=seeded(seed)) for seed in (1, 2, 3))
    mask, asked = torch.zeros(1, 1, 8, 8), []
    mask[..., 2:5, :3] = 1

    def denoise(x, t):
        asked.append((x, t))
        return guess

    x0 = keep_known(denoise, known, mask)(x, 650)
    assert asked == [(x, 650)]
    changed = (x0 != known).all(dim=(0, 1))  # in every picture and channel
    assert torch.equal(changed, mask[0, 0] == 1)
    assert torch.equal(x0[..., 2:5, :3], guess[..., 2:5, :3])
    assert torch.equal(x0[..., ~changed], known[..., ~changed])


def test_guidance_is_continuous_in_its_scale(pipeline):
    """At the steps where exaggeration is off, and with rescaling, too: no jump at 0, nor at 1."""
    x, t = moments()
    given = {"context": context_of(pipeline, "a red seven", "a two"), "negative": context_of(pipeline, "", "thin")}
    for below, rescale in ((1000, 0.0), (500, 1.0), (0, 0.7)):
        at = [
            guide(pipeline.unet, **given, guidance_scale=s, below=below, rescale=rescale)(x, t)
            for s in (0, 1e-3, 1 - 1e-3, 1, 1 + 1e-3)
        ]
        assert (at[0] - at[3]).abs().max() > 0.05
        for a, b in ((0, 1), (2, 3), (3, 4)):
            assert (at[a] - at[b]).abs().max() < 0.01
