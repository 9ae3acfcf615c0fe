"""The exercises of lesson 05, latent space."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..checks import Exercise, Twist
from ..vae import kl_divergence, sample_posterior
from ..vqvae import VQVAE, vq_loss
from . import twists

WORDS = {"mean": "μ", "logvar": "log σ²", "noise": "ε"}


def _randn(random: Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=random)


# ---------------------------------------------------------------- 5.1


def draw(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    return mean + torch.exp(0.5 * logvar) * noise


def _sample(mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """The package's draws its own noise: what it adds to the mean is σ times that, so σ times ``noise`` follows."""
    drawn = torch.randn(mean.shape, generator=Generator().manual_seed(0), dtype=torch.float64)
    point = sample_posterior(mean.double(), logvar.double(), Generator().manual_seed(0))
    return (mean + (point - mean) / drawn * noise).float()


DRAW = Exercise(
    "5.1",
    draw,
    lambda random: [
        {"mean": _randn(random, *shape), "logvar": 1.4 * _randn(random, *shape), "noise": _randn(random, *shape)}
        for shape in ((3, 2, 5, 4), (2, 4, 3))
    ],
    Twist(
        "the encoder's `logvar` is the logarithm of σ² to base {N}.",
        (2, 3, 5, 10),
        ask=lambda N, logvar, **given: {"logvar": logvar / torch.tensor(N).log()},
        take=lambda N, logvar, **given: {"logvar": logvar * torch.tensor(N).log()},
    ),
    reference=_sample,
    mistakes=(
        (
            "σ² was used where σ belongs: `logvar.exp()` is the variance, and σ is its square root.",
            lambda mean, logvar, noise: mean + logvar.exp() * noise,
        ),
        (
            "`logvar` is a logarithm, and was used as if it were σ.",
            lambda mean, logvar, noise: mean + logvar * noise,
        ),
        (
            "`logvar` is a logarithm, and was used as if it were σ².",
            lambda mean, logvar, noise: mean + logvar**0.5 * noise,
        ),
        (
            "Half of `logvar` is the logarithm of σ: still a logarithm, not σ itself.",
            lambda mean, logvar, noise: mean + 0.5 * logvar * noise,
        ),
        (
            "The sign of `logvar` is the wrong way round: 1/σ came out where σ belongs.",
            lambda mean, logvar, noise: mean + torch.exp(-0.5 * logvar) * noise,
        ),
        (
            "The noise came in as it is: a cloud of standard deviation 1, whatever σ is.",
            lambda mean, logvar, noise: mean + noise,
        ),
        (
            "The mean alone is the middle of the cloud; a point of it is drawn with the noise.",
            lambda mean, logvar, noise: mean * 1,
        ),
        (
            "The noise is multiplied by σ alone; the mean must stay as it is.",
            lambda mean, logvar, noise: (mean + noise) * torch.exp(0.5 * logvar),
        ),
        (
            "This takes the cloud away: subtracting μ and dividing by σ makes standard noise of a point. The other way "
            "round is asked for.",
            lambda mean, logvar, noise: (noise - mean) / torch.exp(0.5 * logvar),
        ),
        (
            "σ is one number for all here, a mean: each number has a σ of its own.",
            lambda mean, logvar, noise: mean + torch.exp(0.5 * logvar).mean() * noise,
        ),
    ),
    gradients=("mean", "logvar"),
    words=WORDS,
    right="Right: with μ = 2, σ = 0.5 and ε = -0.6, it is 1.7. The package calls it sample_posterior.",
)


# ---------------------------------------------------------------- 5.2


def kl(mean: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).flatten(1).sum(1)


def _each(mean: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar)


KL = Exercise(
    "5.2",
    kl,
    lambda random: [
        {"mean": _randn(random, *shape), "logvar": 1.4 * _randn(random, *shape)}
        for shape in ((3, 2, 5, 4), (4, 3, 2, 6))
    ],
    Twist(
        "measure how far the Gaussians are from one with mean 0 and σ = {N}, not σ = 1. (In units of {N}, that one has "
        "σ = 1 again. What do μ and σ become?)",
        twists.DOUBLINGS,
        ask=lambda N, mean, logvar: {"mean": mean * N, "logvar": logvar + 2 * torch.tensor(N).log()},
        take=lambda N, mean, logvar: {"mean": mean / N, "logvar": logvar - 2 * torch.tensor(N).log()},
    ),
    reference=kl_divergence,
    mistakes=(
        (
            "The mean over a picture's numbers was taken; the sum was asked for.",
            lambda mean, logvar: _each(mean, logvar).flatten(1).mean(1),
        ),
        (
            "The sum goes over all pictures too: return one number per picture, (B,).",
            lambda mean, logvar: _each(mean, logvar).sum(),
        ),
        (
            "The sum was taken over the pictures of the batch; it belongs over everything else.",
            lambda mean, logvar: _each(mean, logvar).sum(0),
        ),
        (
            "The sum was taken over the pictures of the batch; it belongs over everything else.",
            lambda mean, logvar: _each(mean, logvar).flatten(1).sum(0),
        ),
        (
            "The sum was taken over the channels only: height and width belong to it, too.",
            lambda mean, logvar: _each(mean, logvar).sum(1),
        ),
        (
            "The sum was taken over the channels, then a mean over height and width: everything is to be summed.",
            lambda mean, logvar: _each(mean, logvar).sum(1).flatten(1).mean(1),
        ),
        (
            "The sum was taken over height and width only: the channels belong to it, too.",
            lambda mean, logvar: _each(mean, logvar).sum((2, 3)),
        ),
        (
            "σ was used where σ² belongs: `logvar.exp()` is σ² already.",
            lambda mean, logvar: 0.5 * (mean**2 + (0.5 * logvar).exp() - 1 - logvar).flatten(1).sum(1),
        ),
        (
            "σ² is not `logvar ** 2`: `logvar` is a logarithm.",
            lambda mean, logvar: 0.5 * (mean**2 + logvar**2 - 1 - logvar).flatten(1).sum(1),
        ),
        (
            "`logvar` is the logarithm of σ² already: no further log.",
            lambda mean, logvar: 0.5 * (mean**2 + logvar.exp() - 1 - 2 * logvar).flatten(1).sum(1),
        ),
        (
            "The sign is wrong: a KL divergence is never negative.",
            lambda mean, logvar: -kl(mean, logvar),
        ),
        (
            "One -1 was subtracted per picture; each of its numbers has one.",
            lambda mean, logvar: 0.5 * ((mean**2 + logvar.exp() - logvar).flatten(1).sum(1) - 1),
        ),
        (
            "`logvar.exp()` was taken for σ, then squared, and its logarithm doubled: it is σ² already.",
            lambda mean, logvar: 0.5 * (mean**2 + logvar.exp() ** 2 - 1 - 2 * logvar).flatten(1).sum(1),
        ),
        (
            "The sum was taken over the pictures, and the channels were left: sum over all axes but the first.",
            lambda mean, logvar: _each(mean, logvar).sum((0, 2, 3)),
        ),
        (
            "μ was added up before it was squared: square each one, then add.",
            lambda mean, logvar: 0.5 * (mean.flatten(1).sum(1) ** 2 + (logvar.exp() - 1 - logvar).flatten(1).sum(1)),
        ),
        (
            "The half is missing, and so is log σ².",
            lambda mean, logvar: (mean**2 + logvar.exp() - 1).flatten(1).sum(1),
        ),
    ),
    gradients=("mean", "logvar"),
    words=WORDS,
    right="Right: never negative, and 0 for N(0, 1) alone. This is the package's kl_divergence.",
)


# ---------------------------------------------------------------- 5.3


def nearest(z: Tensor, codes: Tensor) -> Tensor:
    difference = z.permute(0, 2, 3, 1)[..., None, :] - codes  # (B, h, w, K, D)
    return difference.square().sum(-1).argmin(-1)


def _positions(z: Tensor) -> Tensor:
    """(B, D, h, w) -> (B, h, w, D)."""
    return z.permute(0, 2, 3, 1)


def _in_place_of_d(z: Tensor, codes: Tensor) -> Tensor:
    batch, d, height, width = z.shape
    return nearest(z.reshape(batch, height, width, d).permute(0, 3, 1, 2), codes)


CODES = Exercise(
    "5.3",
    nearest,
    lambda random: [
        {
            "z": 0.8 * _randn(random, b, d, h, w) + 0.2,
            "codes": _randn(random, k, d) * torch.linspace(0.4, 1.8, k)[:, None],  # short ones and long ones
        }
        for b, d, h, w, k in ((2, 3, 5, 4, 7), (3, 5, 2, 6, 4), (4, 2, 3, 5, 6))
    ],
    twists.larger(
        "z", "this encoder's `z` is {N} times too large: divide it by {N} before you compare.", (4, 8, 16)
    ),
    reference=lambda z, codes: VQVAE.nearest(SimpleNamespace(code_vectors=lambda: codes), z),  # type: ignore[arg-type]
    mistakes=(
        (
            "The farthest code was named: the nearest has the smallest distance.",
            lambda z, codes: (_positions(z)[..., None, :] - codes).square().sum(-1).argmax(-1),
        ),
        (
            "The distance came out; the index of the code that has it was asked for.",
            lambda z, codes: (_positions(z)[..., None, :] - codes).square().sum(-1).amin(-1),
        ),
        (
            "All distances came out, one for each code: name the nearest.",
            lambda z, codes: (_positions(z)[..., None, :] - codes).square().sum(-1),
        ),
        (
            "D is not where it should be: `view` and `reshape` cut the numbers anew, only `permute` brings axes to "
            "another place.",
            _in_place_of_d,
        ),
        (
            "The dot product was compared, not the distance: a long code then wins everywhere.",
            lambda z, codes: (_positions(z) @ codes.T).argmax(-1),
        ),
        (
            "The dot product is large where vectors are alike: here the smallest was looked for, and it is not the "
            "distance.",
            lambda z, codes: (_positions(z) @ codes.T).argmin(-1),
        ),
        (
            "Directions were compared (the cosine), not distances: the lengths count, too.",
            lambda z, codes: F.cosine_similarity(_positions(z)[..., None, :], codes, dim=-1).argmax(-1),
        ),
        (
            "The differences were added up as they are: positive and negative ones cancel. Square them first.",
            lambda z, codes: (_positions(z)[..., None, :] - codes).sum(-1).argmin(-1),
        ),
        (
            "The differences were added up before they were squared: square each of the D, then add.",
            lambda z, codes: (_positions(z)[..., None, :] - codes).sum(-1).square().argmin(-1),
        ),
        (
            "The absolute differences were added up; the distance has their squares.",
            lambda z, codes: (_positions(z)[..., None, :] - codes).abs().sum(-1).argmin(-1),
        ),
        (
            "The sum was taken over the codes, and the smallest looked for along D: add up over D, the last axis.",
            lambda z, codes: (_positions(z)[..., None, :] - codes).square().sum(-2).argmin(-1),
        ),
        (
            "The last code is never named.",
            lambda z, codes: nearest(z, codes[:-1]),
        ),
        (
            "The first code is never named, and the others are counted from 0 without it.",
            lambda z, codes: nearest(z, codes[1:]),
        ),
        (
            "Codes are counted from 0, not from 1.",
            lambda z, codes: nearest(z, codes) + 1,
        ),
        (
            "The second nearest code was named: in sorted distances, the nearest is the first.",
            lambda z, codes: (_positions(z)[..., None, :] - codes).square().sum(-1).argsort(-1)[..., 1],
        ),
        (
            "One number came out for everything: `argmin` needs the axis along which the codes lie.",
            lambda z, codes: (_positions(z)[..., None, :] - codes).square().sum(-1).argmin(),
        ),
        (
            "The code itself came out, (B, h, w, D); its index was asked for.",
            lambda z, codes: codes[nearest(z, codes)],
        ),
        (
            "One index per position, (B, h, w): height and width are the wrong way round.",
            lambda z, codes: nearest(z, codes).mT,
        ),
        (
            "The nearest z of each code came out (the axes of the codes and the positions were confused): for each "
            "position, the nearest code.",
            lambda z, codes: torch.cdist(_positions(z).flatten(0, 2), codes).argmin(0),
        ),
    ),
    words={"difference": "difference"},
    right="Right: what the package's VQVAE.nearest says.",
)  # fmt: skip


# ---------------------------------------------------------------- 5.4


def quantise(z: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return z + (e - z).detach(), F.mse_loss(e, z.detach()), F.mse_loss(z, e.detach())


def _by_the_package(z: Tensor, e: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`vq_loss` of a model that is nothing but this z and this e; what its decoder is given is caught."""
    caught: list[Tensor] = []

    def decoder(given: Tensor) -> Tensor:
        caught.append(given)
        return torch.zeros_like(given)

    model = SimpleNamespace(latents=lambda x: z, nearest=lambda z: None, lookup=lambda codes: e, decoder=decoder)
    codebook, both = (vq_loss(model, torch.zeros_like(z), weight)[0] for weight in (0, 1))  # type: ignore[arg-type]
    return caught[0], codebook, both - codebook


def _three(first: Callable | None = None, second: Callable | None = None, third: Callable | None = None) -> Callable:
    """The answer with one of its three parts another."""

    def quantised(z: Tensor, e: Tensor) -> tuple:
        parts = quantise(z, e)
        return tuple(
            right if put is None else put(z, e) for right, put in zip(parts, (first, second, third), strict=True)
        )

    return quantised


QUANTISE = Exercise(
    "5.4",
    quantise,
    lambda random: [
        {"z": _randn(random, *shape), "e": _randn(random, *shape) + 0.3} for shape in ((3, 2, 5, 4), (2, 4, 3))
    ],
    Twist(
        "return the third term multiplied by its weight, β = {N}.",
        (0.125, 0.25, 0.5, 2, 4),
        read=lambda N, answer: (*answer[:2], answer[2] / N),
        give=lambda N, answer: (*answer[:2], answer[2] * N),
    ),
    reference=_by_the_package,
    mistakes=(
        (
            "The decoder gets e itself: the values are right, but its gradient reaches e and not z. It must go "
            "straight through to z.",
            _three(first=lambda z, e: e * 1),
        ),
        (
            "The decoder gets z: going forward, it must get the code e.",
            _three(first=lambda z, e: z * 1),
        ),
        (
            "The decoder's gradient reaches e, too: detach the whole difference e - z.",
            _three(first=lambda z, e: z + e - z.detach()),
        ),
        (
            "The first is cut off from everything: the decoder's gradient must reach z.",
            _three(first=lambda z, e: e.detach()),
        ),
        (
            "In what the decoder gets, z and e have changed places: forward it must be e, and backward the gradient is "
            "z's.",
            _three(first=lambda z, e: e + (z - e).detach()),
        ),
        (
            "Both terms are means of absolute differences; of squared ones they were asked for.",
            _three(second=lambda z, e: F.l1_loss(e, z.detach()), third=lambda z, e: F.l1_loss(z, e.detach())),
        ),
        (
            "The second and the third have changed places: the codebook's term comes first, and moves the codes only.",
            lambda z, e: (quantise(z, e)[0], quantise(z, e)[2], quantise(z, e)[1]),
        ),
        (
            "Both terms move both, z and e: in each, one side must be detached.",
            _three(second=lambda z, e: F.mse_loss(e, z), third=lambda z, e: F.mse_loss(z, e)),
        ),
        (
            "The second term moves z as well: detach z, so that it moves the codes only.",
            _three(second=lambda z, e: F.mse_loss(e, z)),
        ),
        (
            "The third term moves e as well: detach e, so that it moves the answers only.",
            _three(third=lambda z, e: F.mse_loss(z, e)),
        ),
        (
            "The second term moves nothing: one of its sides is detached, not both.",
            _three(second=lambda z, e: F.mse_loss(e.detach(), z.detach())),
        ),
        (
            "The third term moves nothing: one of its sides is detached, not both.",
            _three(third=lambda z, e: F.mse_loss(z.detach(), e.detach())),
        ),
        (
            "Both terms are sums of squares; their means were asked for.",
            _three(
                second=lambda z, e: (e - z.detach()).square().sum(), third=lambda z, e: (z - e.detach()).square().sum()
            ),
        ),
        (
            "Both terms are lengths, the root of the sum of the squares; the mean of the squares was asked for.",
            _three(second=lambda z, e: (e - z.detach()).norm(), third=lambda z, e: (z - e.detach()).norm()),
        ),
        (
            "Both terms compare e with what the decoder gets, which is e itself, so they are 0: compare it with z.",
            _three(
                second=lambda z, e: F.mse_loss(e, (z + (e - z).detach()).detach()),
                third=lambda z, e: F.mse_loss(z + (e - z).detach(), e.detach()),
            ),
        ),
        (
            "The third term is returned without β; it was multiplied by 0.25 here.",
            _three(third=lambda z, e: 0.25 * F.mse_loss(z, e.detach())),
        ),
        (
            "Neither term is squared yet: F.mse_loss is the mean of squared differences.",
            _three(second=lambda z, e: (e - z.detach()).mean(), third=lambda z, e: (z - e.detach()).mean()),
        ),
        (
            "Three things were asked for; only the loss came out, all in one.",
            lambda z, e: F.mse_loss(e, z.detach()) + 0.25 * F.mse_loss(z, e.detach()),
        ),
    ),
    gradients=("z", "e"),
    right="Right: error of the copy + codes + 0.25 · commitment is the package's vq_loss.",
)  # fmt: skip


EXERCISES = (DRAW, KL, CODES, QUANTISE)
