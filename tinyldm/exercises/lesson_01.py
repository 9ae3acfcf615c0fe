"""The exercises of lesson 01, the GAN."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..checks import Case, Exercise, Twist
from ..gan import discriminator_loss, generator_loss
from . import twists

Layer = Callable[[Tensor], Tensor]


# ---------------------------------------------------------------- 1.1


def detective(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    return -real_scores.sigmoid().log().mean() - (1 - fake_scores.sigmoid()).log().mean()


def _scores(random: Generator) -> list[Case]:
    return [
        {
            "real_scores": torch.randn(count, generator=random) * 1.7 + 0.6,
            "fake_scores": torch.randn(count, generator=random) * 1.7 - 0.3,
        }
        for count in (5, 3)
    ]


DETECTIVE = Exercise(
    "1.1",
    detective,
    _scores,
    Twist(
        "use logarithms to base {N} instead of natural logarithms.",
        (2, 3, 5, 10),
        read=lambda N, answer: answer * math.log(N),
        give=lambda N, answer: answer / math.log(N),
    ),
    reference=discriminator_loss,
    gradients=("real_scores", "fake_scores"),
    mistakes=(
        (
            "That is the share of right answers; the loss counts how sure they were, by a logarithm.",
            lambda real_scores, fake_scores: ((real_scores > 0).float().mean() + (fake_scores < 0).float().mean()) / 2,
        ),
        (
            "The logarithm of a share is weighted by that share in an entropy; a cross-entropy is a plain mean.",
            lambda real_scores, fake_scores: (
                torch.special.entr(real_scores.sigmoid()).mean() + torch.special.entr((-fake_scores).sigmoid()).mean()
            ),
        ),
        (
            "1 is subtracted too late: log(1 - p) was asked for, and 1 - log p is something else.",
            lambda real_scores, fake_scores: generator_loss(real_scores) - (1 - fake_scores.sigmoid().log()).mean(),
        ),
        (
            "A score is not a probability yet: of a negative one there is no logarithm. The sigmoid comes first.",
            lambda real_scores, fake_scores: -real_scores.log().mean() - (1 - fake_scores).log().mean(),
        ),
        (
            "A surprise is never negative: it is minus the logarithm of a probability, in both sums.",
            lambda real_scores, fake_scores: -detective(real_scores, fake_scores),
        ),
        (
            "Of a generated picture it is true that it is *not* real: its probability is 1 - p, and the "
            "surprise is of that.",
            lambda real_scores, fake_scores: generator_loss(real_scores) + generator_loss(fake_scores),
        ),
        (
            "Real and generated have changed places: the discriminator wants a high p for real pictures.",
            lambda real_scores, fake_scores: detective(fake_scores, real_scores),
        ),
        (
            "The mean of each kind is asked for, not the sum: a loss must not grow with the batch.",
            lambda real_scores, fake_scores: detective(real_scores, fake_scores) * len(real_scores),
        ),
        (
            "This is the mean over all 2B pictures, half of what is asked for: the mean of the real ones plus "
            "the mean of the generated ones.",
            lambda real_scores, fake_scores: detective(real_scores, fake_scores) / 2,
        ),
        (
            "First the logarithm of each picture's probability, then the mean; here it is the logarithm of a mean.",
            lambda real_scores, fake_scores: (
                -real_scores.sigmoid().mean().log() - (1 - fake_scores.sigmoid()).mean().log()
            ),
        ),
        (
            "First the sigmoid of each score, then the mean; here the scores are averaged first.",
            lambda real_scores, fake_scores: detective(real_scores.mean(), fake_scores.mean()),
        ),
        (
            "The logarithms are to base 2; natural ones, `.log()`, were asked for.",
            lambda real_scores, fake_scores: detective(real_scores, fake_scores) / math.log(2),
        ),
        (
            "The logarithms are to base 10; natural ones, `.log()`, were asked for.",
            lambda real_scores, fake_scores: detective(real_scores, fake_scores) / math.log(10),
        ),
        (
            "The logarithm is missing: the surprise is minus the logarithm of the probability.",
            lambda real_scores, fake_scores: -real_scores.sigmoid().mean() - (1 - fake_scores.sigmoid()).mean(),
        ),
        (
            "The logarithm is missing: 1 - p is not the surprise; minus the logarithm of p is.",
            lambda real_scores, fake_scores: (1 - real_scores.sigmoid()).mean() + fake_scores.sigmoid().mean(),
        ),
        (
            "1 is subtracted from the probability, not from the score: first the sigmoid, then 1 - p.",
            lambda real_scores, fake_scores: generator_loss(real_scores) + generator_loss(1 - fake_scores),
        ),
        (
            "Brackets are missing around 1 - p: it is the logarithm of all of it.",
            lambda real_scores, fake_scores: generator_loss(real_scores) - 1 + generator_loss(fake_scores),
        ),
        (
            "Only the real pictures are counted; the mean of -log(1 - p) over the generated ones is to be added.",
            lambda real_scores, fake_scores: generator_loss(real_scores),
        ),
        (
            "Only the generated pictures are counted; the mean of -log p over the real ones is to be added.",
            lambda real_scores, fake_scores: generator_loss(-fake_scores),
        ),
        (
            "The first sum has the wrong sign: both surprises are minus a logarithm.",
            lambda real_scores, fake_scores: generator_loss(-fake_scores) - generator_loss(real_scores),
        ),
        (
            "The two sums are subtracted from one another; both surprises are to be added.",
            lambda real_scores, fake_scores: generator_loss(real_scores) - generator_loss(-fake_scores),
        ),
        (
            "The squared distance from 1 and 0 is another loss (of the least-squares GAN); here it is minus a "
            "logarithm.",
            lambda real_scores, fake_scores: (
                (real_scores.sigmoid() - 1).square().mean() + fake_scores.sigmoid().square().mean()
            ),
        ),
        (
            "The hinge, which counts scores beyond 1 as perfect, is another loss; here it is minus a logarithm.",
            lambda real_scores, fake_scores: F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean(),
        ),
        (
            "The difference of mean scores is another loss (of the Wasserstein GAN); here scores become "
            "probabilities first, and the loss is minus their logarithm.",
            lambda real_scores, fake_scores: fake_scores.mean() - real_scores.mean(),
        ),
        (
            "The softmax compares pictures with each other; each score becomes a probability for itself, by the "
            "sigmoid.",
            lambda real_scores, fake_scores: (
                -real_scores.softmax(0).log().mean() - (1 - fake_scores.softmax(0)).log().mean()
            ),
        ),
        (
            "The sigmoid was taken twice: its result is a probability already.",
            lambda real_scores, fake_scores: detective(real_scores.sigmoid(), fake_scores.sigmoid()),
        ),
    ),
    right=("Right. A discriminator that always says 'no idea' has a loss of 2 · log 2 = 1.386: remember this number."),
)


# ---------------------------------------------------------------- 1.2


def forger(fake_scores: Tensor) -> Tensor:
    return -fake_scores.sigmoid().log().mean()


FORGER = Exercise(
    "1.2",
    forger,
    lambda random: [{"fake_scores": torch.randn(count, generator=random) * 1.7 - 0.4} for count in (5, 3, 7)],
    twists.larger("fake_scores", "this discriminator's scores are {N} times too large: p is sigmoid(score / {N})."),
    reference=generator_loss,
    gradients=("fake_scores",),
    mistakes=(
        (
            "The probability must be made first: the sigmoid of the score, and then its logarithm.",
            lambda fake_scores: -fake_scores.log().sigmoid().mean(),
        ),
        (
            "The labels are smoothed: the discriminator is told 'nearly real'. Here it is told 'real', which is "
            "label 1.",
            lambda fake_scores: F.binary_cross_entropy_with_logits(fake_scores, torch.full_like(fake_scores, 0.9)),
        ),
        (
            "That is the share of pictures that are caught: it has no slope to learn from. The surprise has one.",
            lambda fake_scores: (fake_scores < 0).float().mean(),
        ),
        (
            "Only -log p was asked for: the sum with log(1 - p) is the discriminator's.",
            lambda fake_scores: generator_loss(fake_scores) + generator_loss(-fake_scores),
        ),
        (
            "A score is not a probability yet: of a negative one there is no logarithm. The sigmoid comes first.",
            lambda fake_scores: -fake_scores.log().mean(),
        ),
        (
            "A surprise is never negative: it is minus the logarithm of a probability.",
            lambda fake_scores: -generator_loss(fake_scores),
        ),
        (
            "That is the discriminator's view: its surprise about generated pictures. The generator wants p to "
            "be high.",
            lambda fake_scores: generator_loss(-fake_scores),
        ),
        (
            "This is log(1 - p), the alternative of the figure, which hardly changes while the generator is "
            "always caught; -log p is asked for.",
            lambda fake_scores: -generator_loss(-fake_scores),
        ),
        (
            "The mean is asked for, not the sum: a loss must not grow with the batch.",
            lambda fake_scores: generator_loss(fake_scores) * len(fake_scores),
        ),
        (
            "First the logarithm of each picture's probability, then the mean; here it is the logarithm of a mean.",
            lambda fake_scores: -fake_scores.sigmoid().mean().log(),
        ),
        (
            "First the sigmoid of each score, then the mean; here the scores are averaged first.",
            lambda fake_scores: forger(fake_scores.mean()),
        ),
        (
            "The logarithm is missing: the surprise is minus the logarithm of the probability.",
            lambda fake_scores: -fake_scores.sigmoid().mean(),
        ),
        (
            "The logarithm is missing: 1 - p is not the surprise; minus the logarithm of p is.",
            lambda fake_scores: (1 - fake_scores.sigmoid()).mean(),
        ),
        (
            "The hinge, which counts scores beyond 1 as perfect, is another loss; here it is minus a logarithm.",
            lambda fake_scores: F.relu(1 - fake_scores).mean(),
        ),
        (
            "The logarithm of a share is weighted by that share in an entropy; a cross-entropy is a plain mean.",
            lambda fake_scores: -(fake_scores.sigmoid() * fake_scores.sigmoid().log()).mean(),
        ),
        (
            "The mean score with a minus is another loss (of the Wasserstein GAN); here scores become "
            "probabilities first, and the loss is minus their logarithm.",
            lambda fake_scores: -fake_scores.mean(),
        ),
        (
            "The squared distance from 1 is another loss (of the least-squares GAN); here it is minus a logarithm.",
            lambda fake_scores: (fake_scores.sigmoid() - 1).square().mean(),
        ),
        (
            "The softmax compares pictures with each other; each score becomes a probability for itself, by the "
            "sigmoid.",
            lambda fake_scores: -fake_scores.softmax(0).log().mean(),
        ),
        (
            "The logarithms are to base 2; natural ones, `.log()`, were asked for.",
            lambda fake_scores: generator_loss(fake_scores) / math.log(2),
        ),
        (
            "The logarithms are to base 10; natural ones, `.log()`, were asked for.",
            lambda fake_scores: generator_loss(fake_scores) / math.log(10),
        ),
        (
            "The sigmoid was taken twice: its result is a probability already.",
            lambda fake_scores: forger(fake_scores.sigmoid()),
        ),
    ),
    right="Right: for scores -2 and 0, (2.127 + 0.693) / 2 = 1.410.",
)


# ---------------------------------------------------------------- 1.3


def walk(z1: Tensor, z2: Tensor, n: int) -> Tensor:
    w = torch.linspace(0, 1, n)[:, None]
    return (1 - w) * z1 + w * z2


def _ends(random: Generator) -> list[Case]:
    return [
        {"z1": torch.randn(d, generator=random), "z2": torch.randn(d, generator=random), "n": n}
        for d, n in ((4, 6), (7, 3), (5, 2))
    ]


def _weighted(w: Tensor, z1: Tensor, z2: Tensor) -> Tensor:
    return (1 - w[:, None]) * z1 + w[:, None] * z2


def _sphere(z1: Tensor, z2: Tensor, n: int) -> Tensor:
    angle = torch.linspace(0, math.pi / 2, n)[:, None]
    return angle.cos() * z1 + angle.sin() * z2


def _halving(z1: Tensor, z2: Tensor, n: int) -> Tensor:
    vectors = [z1]
    for _ in range(n - 2):
        vectors.append((vectors[-1] + z2) / 2)
    return torch.stack([*vectors, z2])


def _great_circle(z1: Tensor, z2: Tensor, n: int) -> Tensor:
    w, between = torch.linspace(0, 1, n)[:, None], F.cosine_similarity(z1, z2, dim=0).acos()
    return (((1 - w) * between).sin() * z1 + (w * between).sin() * z2) / between.sin()


WALK = Exercise(
    "1.3",
    walk,
    _ends,
    twists.result(
        "this generator expects z {N} times as large: multiply the whole walk by {N}.", lambda N: N, twists.DOUBLINGS
    ),
    mistakes=(
        (
            "Each vector lies halfway between the one before it and z2; the steps must all be equal.",
            _halving,
        ),
        (
            "This is a walk on a circle from z1 to z2; a straight line was asked for.",
            _great_circle,
        ),
        (
            "Only the first number of each vector is walked, and used for all the others, too.",
            lambda z1, z2, n: walk(z1[:1], z2[:1], n).expand(n, len(z1)),
        ),
        ("It runs from z2 to z1: the first vector must be z1.", lambda z1, z2, n: walk(z2, z1, n)),
        (
            "The end, z2, is never reached: n vectors have n - 1 steps between them.",
            lambda z1, z2, n: _weighted(torch.arange(n) / n, z1, z2),
        ),
        (
            "The walk begins one step too late, and leaves out z1: both ends belong to it.",
            lambda z1, z2, n: _weighted(torch.arange(1, n + 1) / n, z1, z2),
        ),
        (
            "Both ends are left out: the first vector must be z1, and the last z2.",
            lambda z1, z2, n: _weighted(torch.linspace(0, 1, n + 2)[1:-1], z1, z2),
        ),
        (
            "The walk goes beyond z2: the last share must be 1.",
            lambda z1, z2, n: _weighted(torch.arange(n).float(), z1, z2),
        ),
        (
            "The walk goes beyond z2: the last share must be 1.",
            lambda z1, z2, n: _weighted(torch.linspace(0, n, n), z1, z2),
        ),
        (
            "There is one vector too many: n vectors, both ends included, have n - 1 steps between them.",
            lambda z1, z2, n: walk(z1, z2, n + 1),
        ),
        (
            "There are two vectors too many: both ends are among the n.",
            lambda z1, z2, n: walk(z1, z2, n + 2),
        ),
        (
            "There is one vector too few: n counts vectors, not steps.",
            lambda z1, z2, n: walk(z1, z2, n - 1),
        ),
        (
            "All of z1 stays in every vector, and z2 is added to it: as z2's share grows, z1's must shrink.",
            lambda z1, z2, n: z1 + torch.linspace(0, 1, n)[:, None] * z2,
        ),
        (
            "z1 and z2 get the same share: as z2's grows, z1's must shrink.",
            lambda z1, z2, n: torch.linspace(0, 1, n)[:, None] * (z1 + z2),
        ),
        (
            "This begins at z1 and goes in the direction away from z2: the step is z2 - z1.",
            lambda z1, z2, n: z1 + torch.linspace(0, 1, n)[:, None] * (z1 - z2),
        ),
        (
            "It starts from 0, not from z1: this is only the way from z1 to z2, to be added to z1.",
            lambda z1, z2, n: torch.linspace(0, 1, n)[:, None] * (z2 - z1),
        ),
        (
            "The steps are not equal: each share is squared.",
            lambda z1, z2, n: _weighted(torch.linspace(0, 1, n) ** 2, z1, z2),
        ),
        (
            "The steps are not equal: the shares follow a root.",
            lambda z1, z2, n: _weighted(torch.linspace(0, 1, n).sqrt(), z1, z2),
        ),
        (
            "The shares are squared roots of what they should be (their squares add up to 1); on a straight "
            "line, the shares themselves add up to 1.",
            lambda z1, z2, n: (
                (1 - torch.linspace(0, 1, n)[:, None]).sqrt() * z1 + torch.linspace(0, 1, n)[:, None].sqrt() * z2
            ),
        ),
        ("All n vectors are z1: the walk never leaves it.", lambda z1, z2, n: z1.expand(n, -1)),
        (
            "All n vectors are the same, the middle between z1 and z2.",
            lambda z1, z2, n: ((z1 + z2) / 2).expand(n, -1),
        ),
        (
            "The shares of z1 and z2 must add up to 1; here z2's is 1 + w.",
            lambda z1, z2, n: walk(z1, z2, n) + z2,
        ),
        ("This is a walk on a circle from z1 to z2; a straight line was asked for.", _sphere),
        (
            "The shares run from -1 to 1; they must run from 0 to 1.",
            lambda z1, z2, n: _weighted(torch.linspace(-1, 1, n), z1, z2),
        ),
    ),
    right="Right: from z1 to z2 in equal steps, both ends included.",
)


# ---------------------------------------------------------------- 1.4


def effective_digits(shares: Tensor) -> Tensor:
    q = shares[shares > 0]
    return (-(q * q.log()).sum()).exp()


def _histograms(random: Generator) -> list[Case]:
    full = torch.rand(10, generator=random) + 0.05
    some = torch.rand(10, generator=random) + 0.02
    few = torch.rand(10, generator=random)
    some[1] = 0.003  # rare, but not missing
    some[[2, 5, 9]], few[[0, 1, 3, 4, 6, 8, 9]] = 0, 0
    single = torch.eye(10)[3]
    return [{"shares": shares / shares.sum()} for shares in (full, some, few, single)]


EFFECTIVE = Exercise(
    "1.4",
    effective_digits,
    _histograms,
    twists.larger("shares", "you are given counts, not shares: how many of {N} pictures show each digit.", twists.MANY),
    finish=lambda answer: torch.tensor(float(answer)) if isinstance(answer, numbers.Real) else answer,
    mistakes=(
        (
            "That is the entropy, as a share of its largest value; e to the power of it was asked for.",
            lambda shares: effective_digits(shares).log() / math.log(10),
        ),
        (
            "Logarithm and power do not fit: with natural logarithms, it is e that is raised to the power of the "
            "entropy, not 10.",
            lambda shares: 10 ** effective_digits(shares).log(),
        ),
        (
            "0 · log 0 gave nan, and then 0 stood for the whole sum: only the term of a missing digit is 0.",
            lambda shares: (-(shares * shares.log()).sum().nan_to_num()).exp(),
        ),
        (
            "The shares are probabilities already: a softmax makes them nearly equal.",
            lambda shares: effective_digits(shares.softmax(0)),
        ),
        (
            "That is the entropy, stretched so that its largest value is 10; e to the power of it was asked for.",
            lambda shares: 10 * effective_digits(shares).log() / math.log(10),
        ),
        (
            "What was added to the shares, so that none is 0, changes the result: leave out shares of 0 instead.",
            lambda shares: (-((shares + 0.1) * (shares + 0.1).log()).sum()).exp(),
        ),
        (
            "What was added to the shares, so that none is 0, changes the result: leave out shares of 0 instead.",
            lambda shares: (-(shares * (shares + 0.1).log()).sum()).exp(),
        ),
        (
            "What was added to the shares, so that none is 0, changes the result: leave out shares of 0 instead.",
            lambda shares: (-((shares + 0.01) * (shares + 0.01).log()).sum()).exp(),
        ),
        (
            "What was added to the shares, so that none is 0, changes the result: leave out shares of 0 instead.",
            lambda shares: (-(shares * (shares + 0.01).log()).sum()).exp(),
        ),
        (
            "What was added to the shares, so that none is 0, changes the result: leave out shares of 0 instead.",
            lambda shares: (-((shares + 0.001) * (shares + 0.001).log()).sum()).exp(),
        ),
        (
            "What was added to the shares, so that none is 0, changes the result: leave out shares of 0 instead.",
            lambda shares: (-(shares * (shares + 0.001).log()).sum()).exp(),
        ),
        (
            "That is the entropy; e to the power of it was asked for.",
            lambda shares: effective_digits(shares).log(),
        ),
        (
            "That is the entropy with the wrong sign; e to the power of the entropy was asked for.",
            lambda shares: -effective_digits(shares).log(),
        ),
        (
            "The minus in the exponent is missing: the logarithm of a share is negative, the entropy is not.",
            lambda shares: 1 / effective_digits(shares),
        ),
        (
            "The minus stands before the whole; it belongs into the exponent, before the sum.",
            lambda shares: -1 / effective_digits(shares),
        ),
        (
            "0 · log 0 gave nan, as soon as a digit never occurs: leave out shares of 0.",
            lambda shares: (-(shares * shares.log()).sum()).exp(),
        ),
        (
            "How evenly the digits come counts too, not only which of them come at all.",
            lambda shares: (shares > 0).sum().float(),
        ),
        (
            "How evenly the digits come counts too, not only which of them come at all.",
            lambda shares: (shares > 0).sum(),
        ),
        (
            "Each logarithm must be weighted by its share, q · log q, before all are added up.",
            lambda shares: (-shares[shares > 0].log().sum()).exp(),
        ),
        (
            "Each logarithm must be weighted by its share, q · log q; a plain mean of the logarithms counts "
            "rare digits as much as frequent ones.",
            lambda shares: (-shares[shares > 0].log().mean()).exp(),
        ),
        (
            "The sum is asked for, not the mean: the shares are the weights already.",
            lambda shares: (-(shares[shares > 0] * shares[shares > 0].log()).mean()).exp(),
        ),
        (
            "The mean over all ten was taken; the sum is asked for: the shares are the weights already.",
            lambda shares: (-torch.special.xlogy(shares, shares).mean()).exp(),
        ),
        (
            "Logarithm and power do not fit: with logarithms to base 2, it is 2 that is raised to the power of "
            "the entropy.",
            lambda shares: (-(shares[shares > 0] * shares[shares > 0].log2()).sum()).exp(),
        ),
        (
            "Logarithm and power do not fit: with natural logarithms, it is e that is raised to the power of "
            "the entropy, not 2.",
            lambda shares: 2 ** effective_digits(shares).log(),
        ),
        (
            "1 / Σ q² is another way to count evenly used kinds; here it is e to the power of the entropy.",
            lambda shares: 1 / shares.square().sum(),
        ),
        (
            "1 divided by the largest share is another way to count; here it is e to the power of the entropy.",
            lambda shares: 1 / shares.max(),
        ),
        (
            "Each term is raised on its own; first add up q · log q over all digits, then take e to the power "
            "of minus that.",
            lambda shares: (-(shares[shares > 0] * shares[shares > 0].log())).exp().sum(),
        ),
        (
            "Shares below 0.1 are left out; every share above 0 counts.",
            lambda shares: effective_digits(torch.where(shares < 0.1, 0.0, shares)),
        ),
        (
            "Shares below 0.05 are left out; every share above 0 counts.",
            lambda shares: effective_digits(torch.where(shares < 0.05, 0.0, shares)),
        ),
        (
            "Shares below 0.01 are left out; every share above 0 counts.",
            lambda shares: effective_digits(torch.where(shares < 0.01, 0.0, shares)),
        ),
    ),
    right="Right: 10 for even shares, 1 for a single digit.",
)


# ---------------------------------------------------------------- 1.5


def z_to_picture(z: Tensor, linear: Layer, norms: list[Layer], convs: list[Layer]) -> Tensor:
    h = linear(z).unflatten(1, (-1, 4, 4))  # (B, C, 4, 4)
    for norm, conv in zip(norms[:-1], convs[:-1], strict=True):
        h = conv(F.interpolate(F.relu(norm(h)), scale_factor=2))
    return convs[-1](F.relu(norms[-1](h))).tanh()


def _layers(random: Generator) -> list[Case]:
    return [_generator(random, 3, 9, (7, 6, 5, 2)), _generator(random, 2, 7, (3, 5, 6, 4))]


def _generator(random: Generator, batch: int, d: int, channels: tuple[int, ...]) -> Case:
    """The layers of a small generator; the last convolution makes as many channels as the first gets."""
    matrix = torch.randn(d, channels[0] * 16, generator=random) / d**0.5

    def linear(z: Tensor) -> Tensor:
        return z @ matrix

    pairs = zip(channels, (*channels[1:], channels[0]), strict=True)
    return {
        "z": torch.randn(batch, d, generator=random),
        "linear": linear,
        "norms": [_norm(random, count) for count in channels],
        "convs": [_convolution(random, before, after) for before, after in pairs],
    }


def _norm(random: Generator, channels: int) -> Layer:
    scale, shift = torch.rand(2, channels, 1, 1, generator=random) + 0.3

    def norm(h: Tensor) -> Tensor:
        if h.shape[1] != channels:
            raise ValueError(f"this norm takes {channels} channels, and was given {h.shape[1]}")
        return h * scale + shift - 0.6

    return norm


def _convolution(random: Generator, before: int, after: int) -> Layer:
    weight = torch.randn(after, before, 3, 3, generator=random) / (1.5 * before**0.5)

    def conv(h: Tensor) -> Tensor:
        if h.shape[1] != before:
            raise ValueError(f"this convolution takes {before} channels, and was given {h.shape[1]}")
        return F.conv2d(h, weight, padding=1)

    return conv


def _drawn(
    z: Tensor,
    linear: Layer,
    norms: list[Layer],
    convs: list[Layer],
    *,
    fold: Callable[[Tensor], Tensor] = lambda h: h.unflatten(1, (-1, 4, 4)),
    step: Callable[[Layer, Layer, Tensor], Tensor] = lambda norm, conv, h: conv(_doubled(F.relu(norm(h)))),
    last: Callable[[Layer, Layer, Tensor], Tensor] = lambda norm, conv, h: conv(F.relu(norm(h))).tanh(),
) -> Tensor:
    """The answer, with other ways to fold, to double or to end."""
    h = fold(linear(z))
    for norm, conv in zip(norms[:-1], convs[:-1], strict=True):
        h = step(norm, conv, h)
    return last(norms[-1], convs[-1], h)


def _doubled(h: Tensor) -> Tensor:
    return F.interpolate(h, scale_factor=2)


def _tiled(h: Tensor) -> Tensor:
    return h.repeat(1, 1, 2, 2)


def _drawing(**changes: Callable) -> Callable:
    """`_drawn` with a change, as a function of the exercise's arguments."""

    def function(z: Tensor, linear: Layer, norms: list[Layer], convs: list[Layer]) -> Tensor:
        return _drawn(z, linear, norms, convs, **changes)

    return function


PICTURE = Exercise(
    "1.5",
    z_to_picture,
    _layers,
    twists.larger("z", "`z` is {N} times too large for this generator: divide it by {N} first."),
    gradients=("z",),
    mistakes=(
        (
            "ReLU is missing before the convolutions: nothing bends between the layers.",
            _drawing(
                step=lambda norm, conv, h: conv(_doubled(norm(h))),
                last=lambda norm, conv, h: conv(norm(h)).tanh(),
            ),
        ),
        (
            "The norms are missing: each convolution has one before it.",
            _drawing(
                step=lambda norm, conv, h: conv(_doubled(F.relu(h))),
                last=lambda norm, conv, h: conv(F.relu(h)).tanh(),
            ),
        ),
        (
            "The last norm and its ReLU are missing: only the doubling is left out at the last pair.",
            _drawing(last=lambda norm, conv, h: conv(h).tanh()),
        ),
        (
            "The last ReLU is missing: only the doubling is left out at the last pair.",
            _drawing(last=lambda norm, conv, h: conv(norm(h)).tanh()),
        ),
        (
            "The doublings come one convolution too late: in each pair but the last, height and width are doubled "
            "before the convolution, which then smooths.",
            _drawing(step=lambda norm, conv, h: _doubled(conv(F.relu(norm(h))))),
        ),
        (
            "ReLU comes before the norm; the order is norm, ReLU, doubling, convolution.",
            _drawing(
                step=lambda norm, conv, h: conv(_doubled(norm(F.relu(h)))),
                last=lambda norm, conv, h: conv(norm(F.relu(h))).tanh(),
            ),
        ),
        (
            "The last pair doubles too, so the picture is twice as large as it should be; only the pairs before "
            "it double.",
            _drawing(last=lambda norm, conv, h: conv(_doubled(F.relu(norm(h)))).tanh()),
        ),
        (
            "The last pair doubles too, and tanh is missing: the last pair is different.",
            _drawing(last=lambda norm, conv, h: conv(_doubled(F.relu(norm(h))))),
        ),
        (
            "tanh comes after every convolution; it belongs only at the very end.",
            _drawing(step=lambda norm, conv, h: conv(_doubled(F.relu(norm(h)))).tanh()),
        ),
        (
            "tanh is missing at the very end: pixels must lie between -1 and 1.",
            _drawing(last=lambda norm, conv, h: conv(F.relu(norm(h)))),
        ),
        (
            "The sigmoid gives pixels between 0 and 1; tanh gives them between -1 and 1.",
            _drawing(last=lambda norm, conv, h: conv(F.relu(norm(h))).sigmoid()),
        ),
        (
            "Pixels are cut off at -1 and 1; tanh bends them into that range.",
            _drawing(last=lambda norm, conv, h: conv(F.relu(norm(h))).clamp(-1, 1)),
        ),
        (
            "The picture was enlarged smoothly; here each pixel is repeated, which is what `F.interpolate` does "
            "without a `mode`.",
            _drawing(
                step=lambda norm, conv, h: conv(F.interpolate(F.relu(norm(h)), scale_factor=2, mode="bilinear")),
            ),
        ),
        (
            "The whole picture is repeated side by side; each pixel is to become a square of four.",
            _drawing(step=lambda norm, conv, h: conv(_tiled(F.relu(norm(h))))),
        ),
        (
            "Folded with the channels last: of each channel's 16 numbers in a row one makes a 4 × 4 picture, "
            "(B, C, 4, 4).",
            _drawing(fold=lambda h: h.unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2)),
        ),
        (
            "There is a ReLU too many, right behind `linear`: the first norm comes before the first ReLU.",
            _drawing(fold=lambda h: F.relu(h).unflatten(1, (-1, 4, 4))),
        ),
        (
            "A leaky ReLU is the discriminator's; the generator's turns every negative number into 0.",
            _drawing(
                step=lambda norm, conv, h: conv(_doubled(F.leaky_relu(norm(h), 0.2))),
                last=lambda norm, conv, h: conv(F.leaky_relu(norm(h), 0.2)).tanh(),
            ),
        ),
        (
            "The last norm and convolution are not used: after the loop they come once more, without doubling.",
            _drawing(last=lambda norm, conv, h: h.tanh()),
        ),
        (
            "ReLU after the last convolution takes away everything below 0, which is black to grey; only tanh "
            "stands there.",
            _drawing(last=lambda norm, conv, h: F.relu(conv(F.relu(norm(h)))).tanh()),
        ),
        (
            "The result of `linear` is not folded: `h.unflatten(1, ...)` makes channels of 4 × 4 of its numbers.",
            _drawing(fold=lambda h: h),
        ),
        (
            "All doublings are made at once; one belongs before each convolution but the last.",
            _drawing(
                fold=lambda h: F.interpolate(h.unflatten(1, (-1, 4, 4)), scale_factor=8),
                step=lambda norm, conv, h: conv(F.relu(norm(h))),
            ),
        ),
    ),
    right="Right: this is the forward of the package's `Generator`.",
)


EXERCISES = (DETECTIVE, FORGER, WALK, EFFECTIVE, PICTURE)
