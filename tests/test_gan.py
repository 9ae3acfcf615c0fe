"""The two losses are the paper's, the two players move in turns, and training brings forgeries near to real ones."""

import math

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tinyldm import UserError, gan
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


def test_both_adams_have_the_papers_rate_and_betas(players):
    """Radford et al. 2016, section 4: 0.0002 and β₁ = 0.5."""
    seen = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: seen.append(optimizer.param_groups[0]))
    try:
        next(train_gan(*players, bright_squares(), steps=1, batch_size=8))
    finally:
        handle.remove()
    assert [(group["lr"], group["betas"]) for group in seen] == [(2e-4, (0.5, 0.999))] * 2


@pytest.mark.parametrize("stopped_after", [1, 4])
def test_an_interrupted_game_ends_as_one_that_was_not(tmp_path, stopped_after):
    def play(**options):
        torch.manual_seed(0)
        pair = Generator(TINY), Discriminator(TINY)
        steps = list(train_gan(*pair, bright_squares(), steps=6, batch_size=8, seed=2, generator_steps=2, **options))
        return pair, [(step.index, step.discriminator_loss, step.generator_loss) for step in steps]

    unbroken, records = play()
    asked = iter(range(1, 99))
    checkpoint = tmp_path / "gan.checkpoint"
    _, first = play(checkpoint=checkpoint, stop=lambda: next(asked) == stopped_after)
    again, rest = play(checkpoint=checkpoint, save_every=2)
    assert first + rest == records and len(first) == stopped_after
    for ours, expected in zip(again, unbroken, strict=True):
        assert all(torch.equal(value, expected.state_dict()[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("change", "says"),
    [({"steps": 7}, "steps 6 there, 7 here"), ({"generator_steps": 2}, "generator_steps 1 there, 2 here")],
)
def test_a_checkpoint_of_another_game_is_refused(players, tmp_path, change, says):
    options = {"steps": 6, "batch_size": 8, "checkpoint": tmp_path / "gan.checkpoint"}
    list(train_gan(*players, bright_squares(), **options, stop=lambda: True))
    with pytest.raises(UserError, match=f"belongs to another run \\({says}\\)"):
        next(train_gan(*players, bright_squares(), **{**options, **change}))
    with pytest.raises(UserError, match=r"belongs to another run \(rows 64 there, 65 here\)"):
        next(train_gan(*players, bright_squares(65), **options))


def test_a_game_without_a_move_or_without_a_number_is_refused(players):
    with pytest.raises(UserError, match="generator_steps must be at least 1, not 0"):
        next(train_gan(*players, bright_squares(), steps=1, generator_steps=0))
    with pytest.raises(UserError, match="the loss of step 0 is nan and nan: try another seed or a lower learning rate"):
        next(train_gan(*players, bright_squares() * math.nan, steps=1, batch_size=8))


def test_a_game_that_had_ended_gives_its_last_record_again(players, tmp_path):
    options = {"steps": 3, "batch_size": 8, "checkpoint": tmp_path / "gan.checkpoint"}
    list(train_gan(*players, bright_squares(), **options))
    torch.manual_seed(5)
    others = Generator(TINY), Discriminator(TINY)
    (step,) = train_gan(*others, bright_squares(), **options)
    assert step.index == 2 and math.isnan(step.generator_loss)
    assert all(torch.equal(a, b) for a, b in zip(players[0].parameters(), others[0].parameters(), strict=True))


def test_more_than_one_process_or_row_than_there_is_is_refused(players, monkeypatch):
    with pytest.raises(UserError, match="a batch of 65 rows is larger than the training set of 64"):
        next(train_gan(*players, bright_squares(), steps=1, batch_size=65))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="start it without torchrun, or unset WORLD_SIZE"):
        next(train_gan(*players, bright_squares(), steps=1, batch_size=8))


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
