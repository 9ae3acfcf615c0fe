"""Each latent of the VQ-VAE becomes the nearest code, gradients pass all the same; the prior writes what it read."""

from dataclasses import replace

import pytest
import torch
from conftest import perturb

from tinyldm.vqvae import VQVAE, CodePrior, CodePriorConfig, VQVAEConfig, perplexity, vq_loss

TINY_VQ = VQVAEConfig(codebook_size=6, code_dim=4, block_out_channels=(8, 16), norm_num_groups=4)
TINY_PRIOR = CodePriorConfig(digits=3, codebook_size=5, length=4, channels=16, layers=2, heads=2)


@pytest.fixture(autouse=True)
def same_weights_every_time():
    torch.manual_seed(0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.rand(shape, generator=seeded(seed)) * 2 - 1).to(dtype)


# --- codes --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[True, False], ids=["directions", "points"])
def vqvae(request) -> VQVAE:
    return perturb(VQVAE(replace(TINY_VQ, normalize=request.param)))


def test_each_latent_gets_the_nearest_of_all_codes(vqvae):
    x = images(2, 3, 8, 8)
    z, codes, numbers = vqvae.latents(x), vqvae.code_vectors(), vqvae.encode(x)
    assert numbers.shape == (2, 4, 4) and numbers.dtype == torch.int64
    for b, h, w in [(0, 0, 0), (0, 3, 1), (1, 2, 3)]:  # by hand
        distances = [(z[b, :, h, w] - code).square().sum().item() for code in codes]
        assert numbers[b, h, w] == distances.index(min(distances))
        assert torch.equal(vqvae.lookup(numbers)[b, :, h, w], codes[numbers[b, h, w]])
    torch.testing.assert_close(vqvae.decode(numbers), vqvae.decoder(vqvae.lookup(numbers)))


def test_with_directions_only_lengths_do_not_matter():
    model = perturb(VQVAE(TINY_VQ))
    x = images(2, 3, 8, 8)
    numbers = model.encode(x)
    with torch.no_grad():
        model.codebook[2] *= 50
    assert torch.equal(model.encode(x), numbers)
    torch.testing.assert_close(model.latents(x).norm(dim=1), torch.ones(2, 4, 4))


def test_the_loss_is_the_papers_three_terms(vqvae):
    x = images(2, 3, 8, 8)
    z = vqvae.latents(x)
    e = vqvae.lookup(vqvae.nearest(z))
    loss, parts = vq_loss(vqvae, x, commitment=0.7)
    mse = (vqvae.decoder(e) - x).square().mean()
    torch.testing.assert_close(loss, mse + (1 + 0.7) * (z - e).square().mean())
    torch.testing.assert_close(parts["mse"], mse.detach())
    assert torch.equal(parts["codes"], vqvae.encode(x))


def test_the_decoders_gradient_goes_straight_through_to_the_encoder(vqvae):
    """As if the code itself were the latent: nothing is lost where the nearest code is chosen."""
    x = images(2, 3, 8, 8)
    with torch.no_grad():
        e = vqvae.lookup(vqvae.encode(x))
    as_latents = e.clone().requires_grad_()
    (expected,) = torch.autograd.grad((vqvae.decoder(as_latents) - x).square().mean(), as_latents)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        latents = vqvae.latents(x).detach().requires_grad_()
        patch.setattr(vqvae, "latents", lambda x: latents)
        vq_loss(vqvae, x, commitment=0.0)[0].backward()
        seen.append(latents.grad)
    torch.testing.assert_close(seen[0], expected)


def test_codes_learn_from_the_second_term_alone_and_latents_from_the_first_and_third(vqvae):
    """Neither the decoder nor the commitment pulls at a code vector, whatever the encoder does."""
    x = images(2, 3, 8, 8)
    z, e = vqvae.latents(x).detach(), vqvae.lookup(vqvae.encode(x))
    (expected,) = torch.autograd.grad((e - z).square().mean(), vqvae.codebook)
    vq_loss(vqvae, x, commitment=0.7)[0].backward()
    torch.testing.assert_close(vqvae.codebook.grad, expected)
    used = torch.bincount(vqvae.encode(x).flatten(), minlength=6) > 0
    assert (vqvae.codebook.grad.abs().sum(1) > 0).tolist() == used.tolist()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vqvae.parameters())
    with pytest.MonkeyPatch.context() as patch:
        latents = [z.clone().requires_grad_() for _ in range(2)]
        for commitment, leaf in zip((0.0, 0.7), latents, strict=True):
            patch.setattr(vqvae, "latents", lambda x, leaf=leaf: leaf)
            vq_loss(vqvae, x, commitment)[0].backward()
    torch.testing.assert_close(latents[1].grad - latents[0].grad, 0.7 * 2 * (z - e).detach() / z.numel())


def test_perplexity_counts_codes_in_use():
    assert perplexity(torch.zeros(10, dtype=torch.int64), 8) == pytest.approx(1)
    assert perplexity(torch.arange(8).repeat(5), 8) == pytest.approx(8)
    assert perplexity(torch.tensor([0, 0, 1, 2]), 8) == pytest.approx(2 * 2**0.5)  # e^(entropy of 1/2, 1/4, 1/4)


def test_settings_of_a_codebook_that_make_no_sense():
    with pytest.raises(ValueError, match="do not divide into 5 groups"):
        VQVAEConfig(norm_num_groups=5)
    with pytest.raises(ValueError, match="at least two codes"):
        VQVAEConfig(codebook_size=1)


# --- the prior ----------------------------------------------------------------------------------------------------


def test_a_code_is_predicted_from_the_digit_and_from_those_before_it_only():
    prior = perturb(CodePrior(TINY_PRIOR))
    digit, numbers = torch.tensor([1]), torch.tensor([[0, 1, 2]])
    scores = prior(digit, numbers)
    assert scores.shape == (1, 4, 5)
    changed = prior(digit, torch.tensor([[0, 4, 2]]))
    torch.testing.assert_close(changed[:, :2], scores[:, :2])
    assert (changed[:, 2:] - scores[:, 2:]).abs().amax(2).min() > 1e-3
    assert (prior(digit + 1, numbers) - scores).abs().amax(2).min() > 1e-3
    torch.testing.assert_close(prior(digit, numbers[:, :1]), scores[:, :2])


def test_the_priors_loss_is_the_mean_surprise_of_its_own_predictions():
    prior = perturb(CodePrior(TINY_PRIOR))
    digits, numbers = torch.tensor([2, 0]), torch.tensor([[3, 1, 4, 0], [2, 2, 0, 1]])
    expected = []
    for digit, row in zip(digits, numbers, strict=True):
        for i, number in enumerate(row):  # each code alone, after those before it
            expected.append(-prior(digit[None], row[None, :i])[0, -1].log_softmax(0)[number])
    torch.testing.assert_close(prior.loss(digits, numbers), torch.stack(expected).mean())


def test_a_prior_learns_to_write_what_it_has_read():
    prior, digits = CodePrior(TINY_PRIOR), torch.tensor([0, 0, 2])
    text = torch.tensor([[3, 1, 4, 0], [0, 2, 2, 1], [4, 4, 1, 3]])
    optimizer = torch.optim.AdamW(prior.parameters(), 5e-3)
    for _ in range(400):
        optimizer.zero_grad()
        prior.loss(digits, text).backward()
        optimizer.step()
    asked = torch.tensor([0, 2]).repeat(20)
    written = prior.sample(asked, seeded())
    assert torch.equal(written, prior.sample(asked, seeded()))
    assert {tuple(row) for row in written[asked == 0].tolist()} == {(3, 1, 4, 0), (0, 2, 2, 1)}
    assert {tuple(row) for row in written[asked == 2].tolist()} == {(4, 4, 1, 3)}


def test_new_pictures_are_what_the_decoder_makes_of_the_priors_codes():
    model, prior = perturb(VQVAE(replace(TINY_VQ, codebook_size=5))), perturb(CodePrior(TINY_PRIOR))
    drawn, generator = model.images(prior, 3, seed=2), seeded(2)
    numbers = prior.sample(torch.randint(TINY_PRIOR.digits, (3,), generator=generator), generator)
    assert torch.equal(drawn, model.decode(numbers.view(3, 2, 2)).clamp(-1, 1).detach())
    assert not torch.equal(drawn, model.images(prior, 3, seed=3))
