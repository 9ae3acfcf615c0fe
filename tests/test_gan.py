"""The two losses are the paper's, the two players move in turns, and training brings forgeries near to real ones."""

import math

import pytest
import torch

from tinyldm import gan
from tinyldm.gan import Discriminator, GANConfig, Generator, discriminator_loss, generator_loss, train_gan

TINY = GANConfig(latent_dim=4, channels=(8, 8, 4))


@pytest.fixture
def players():
    torch.manual_seed(0)
    return Generator(TINY), Discriminator(TINY)


def bright_squares(n: int = 64) -> torch.Tensor:
    images = torch.full((n, 1, 32, 32), -1.0)
    images[:, :, 8:24, 8:24] = 1.0
    return images


def copies(model) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def changed(before, model) -> bool:
    return any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_losses_are_the_papers_in_terms_of_probabilities():
    """With D = sigmoid(score): -E[log D(x)] - E[log(1 - D(G(z)))], and -E[log D(G(z))]."""
    real, fake = torch.tensor([0.3, -1.2]), torch.tensor([2.0, 0.1])
    d_real, d_fake = real.sigmoid(), fake.sigmoid()
    torch.testing.assert_close(discriminator_loss(real, fake), -d_real.log().mean() - (1 - d_fake).log().mean())
    torch.testing.assert_close(generator_loss(fake), -d_fake.log().mean())


def test_a_detective_who_cannot_tell_has_a_loss_of_two_log_two():
    assert discriminator_loss(torch.zeros(8), torch.zeros(8)).item() == pytest.approx(2 * math.log(2))


def test_the_generators_gradient_stays_strong_when_it_is_caught():
    """The reason for -log D instead of log(1 - D): at a score of -10 the latter's gradient has all but vanished."""
    score = torch.tensor([-10.0], requires_grad=True)
    (strong,) = torch.autograd.grad(generator_loss(score), score)
    (weak,) = torch.autograd.grad((1 - score.sigmoid()).log().mean(), score)
    assert strong.abs() > 0.99 and weak.abs() < 1e-4


def test_pictures_stay_between_black_and_white(players):
    fakes = players[0](torch.randn(16, 4) * 100)
    assert fakes.shape == (16, 1, 32, 32) and fakes.abs().max() <= 1


def test_losses_of_a_step_are_those_of_its_batch(players):
    """Both losses of the first step, computed by hand from the same random numbers."""
    generator, discriminator = players
    images = torch.rand(64, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    random = torch.Generator().manual_seed(7)
    real = images[torch.randint(64, (8,), generator=random)]
    z = torch.randn(8, 4, generator=random)
    generator.train()
    expected = discriminator_loss(discriminator(real), discriminator(generator(z))).item()
    step = next(train_gan(generator, discriminator, images, steps=1, batch_size=8, seed=7))
    assert step.discriminator_loss == pytest.approx(expected, rel=1e-5)
    assert step.fakes.shape == (8, 1, 32, 32) and not step.fakes.requires_grad


@pytest.fixture
def idle_forger(monkeypatch):
    """From now on the forger's loss is a constant, so that only the detective's can change anything."""
    return lambda: monkeypatch.setattr(gan, "generator_loss", lambda scores: 0 * scores.sum())


def test_the_detectives_loss_leaves_the_forger_alone(players, idle_forger):
    """Without detaching, the forger would be trained to be caught."""
    idle_forger()
    before = [copies(player) for player in players]
    next(train_gan(*players, bright_squares(), steps=1, batch_size=8))
    assert [changed(old, player) for old, player in zip(before, players, strict=True)] == [False, True]


def test_the_forgers_loss_leaves_the_detective_alone(players, idle_forger):
    """A detective trained by it too would be bribed: it would learn to call forgeries real."""
    torch.manual_seed(0)
    twins = Generator(TINY), Discriminator(TINY)
    before = copies(players[0])
    next(train_gan(*players, bright_squares(), steps=1, batch_size=8))
    idle_forger()
    next(train_gan(*twins, bright_squares(), steps=1, batch_size=8))
    assert changed(before, players[0])
    assert not changed(copies(players[1]), twins[1])


def test_forgeries_come_near_to_the_real_ones(players):
    generator, discriminator = players
    images = bright_squares()
    distances = [
        (step.fakes.mean(0) - images[0]).abs().mean().item()
        for step in train_gan(generator, discriminator, images, steps=150, batch_size=16, learning_rate=2e-3)
    ]
    assert distances[0] > 0.8 and distances[-1] < 0.3


def test_same_seed_same_training_other_seed_another():
    def losses(seed):
        torch.manual_seed(0)
        steps = train_gan(Generator(TINY), Discriminator(TINY), bright_squares(), steps=3, batch_size=8, seed=seed)
        return [(step.index, step.discriminator_loss, step.generator_loss) for step in steps]

    assert losses(1) == losses(1) != losses(2)
    assert [index for index, *_ in losses(1)] == [0, 1, 2]


def test_pictures_follow_from_the_seed_and_the_generator(players):
    generator = players[0].eval()
    z = torch.randn(600, 4, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(generator.images(600, seed=5), generator(z))
    assert not torch.equal(generator.images(4, seed=5), generator.images(4, seed=6))
