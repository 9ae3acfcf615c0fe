"""The training loop: interrupted and continued it is the same run, and so it is on two processes."""

import itertools
import math
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from tinyldm import UserError, training
from tinyldm.training import (
    Checkpoint,
    TrainSettings,
    TrainStep,
    mix_seeds,
    progress,
    rows_of_step,
    stop_on_signal,
    train,
)

ROWS = 37  # so that no batch size divides it and batches reach from one epoch into the next
SETTINGS = TrainSettings(steps=30, batch_size=8, learning_rate=0.02, warmup=5, seed=3)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def inputs() -> torch.Tensor:
    return torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(9))


def noisy_loss(model, index, generator):
    """Depends on the rows, on their order and on what is drawn at random: nothing may differ after a kill."""
    x = inputs()[index]
    noise = torch.randn(x.shape, generator=generator)
    return (model(x + noise) - x.sum(1, keepdim=True) + 0.1 * noise[:, :1]).square().mean()


def run(model, loss=noisy_loss, settings=SETTINGS, until=None, **options):
    """Train, break out of the loop after step ``until``, and return the records and the averaged parameters."""
    records = []
    options = {"mixed_precision": "no", **options}
    for step in train(model, loss, ROWS, settings, **options):
        records.append(step)
        if step.index == until:
            break
    return records, [parameter.clone() for parameter in records[-1].ema.parameters()]


def equal(ours, theirs) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def near(ours, theirs) -> bool:
    """Up to the rounding of a learning rate that lies in a tensor."""
    return all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(ours, theirs, strict=True))


@pytest.fixture
def hook():
    """Look at every optimizer just before or after it steps."""
    handles = []

    def add(before=None, after=None):
        if before:
            handles.append(register_optimizer_step_pre_hook(lambda optimizer, *_: before(optimizer)))
        if after:
            handles.append(register_optimizer_step_post_hook(lambda optimizer, *_: after(optimizer)))

    yield add
    for handle in handles:
        handle.remove()


# --- it learns ----------------------------------------------------------------------------------------------------


def test_a_linear_regression_finds_its_answer():
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    answer, offset = torch.tensor([[1.5], [-2.0], [0.5]]), 0.7
    y = x @ answer + offset

    def loss(model, index, generator):
        return (model(x[index]) - y[index]).square().mean()

    torch.manual_seed(1)
    model = nn.Linear(3, 1)
    settings = TrainSettings(400, 32, learning_rate=0.1, warmup=10, weight_decay=0.0, ema_decay=0.9)
    steps = list(train(model, loss, len(x), settings, mixed_precision="no"))
    assert [step.index for step in steps] == list(range(400))
    for learned in (model, steps[-1].ema):
        assert (learned.weight.T - answer).abs().max() < 1e-3
        assert (learned.bias - offset).abs().max() < 1e-3
    assert steps[-1].loss < 1e-5 < 1 < steps[0].loss


def test_the_loss_of_a_record_is_that_of_the_model_before_the_step():
    model = network()
    generator = torch.Generator().manual_seed(mix_seeds(SETTINGS.seed, 0, 0))
    expected = noisy_loss(model, rows_of_step(ROWS, 8, 0, SETTINGS.seed), generator).item()
    assert run(model, until=0)[0][0].loss == pytest.approx(expected, rel=1e-6)


def test_the_same_seed_gives_the_same_training_and_another_seed_another():
    first, second, other = network(), network(), network()
    losses = [[step.loss for step in run(model)[0]] for model in (first, second)]
    assert losses[0] == losses[1]
    assert equal(first.parameters(), second.parameters())
    run(other, settings=replace(SETTINGS, seed=4))
    assert not equal(first.parameters(), other.parameters())


def test_the_global_random_state_is_neither_read_nor_changed():
    models = network(), network()
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        run(model)
        assert torch.equal(torch.get_rng_state(), before)
    assert equal(models[0].parameters(), models[1].parameters())


def test_every_step_draws_its_own_noise():
    drawn = []

    def loss(model, index, generator):
        drawn.append(torch.randn(4, generator=generator))
        return model(inputs()[index]).square().mean()

    run(network(), loss)
    distances = torch.cdist(torch.stack(drawn), torch.stack(drawn))
    assert (distances + torch.eye(30) > 1e-3).all()


IMPOSSIBLE = [
    *({name: value} for name in ("steps", "batch_size") for value in (0, -1, math.nan)),
    *({name: value} for name in ("learning_rate", "max_grad_norm") for value in (0, -1, math.nan, math.inf)),
    *({name: value} for name in ("warmup", "weight_decay", "seed") for value in (-1, math.nan, math.inf)),
    *({"ema_decay": value} for value in (-0.1, 1, 2, math.nan)),
    *({"restarts": value} for value in ((0,), (10,), (99,), (5, 5), (7, 3), (-1,))),
    {"seed": 2**63},
]


@pytest.mark.parametrize("settings", IMPOSSIBLE, ids=str)
def test_settings_that_cannot_be_are_refused(settings):
    ((name, _),) = settings.items()
    with pytest.raises(UserError, match=f"^{name} must "):
        TrainSettings(**{"steps": 10, **settings})


def test_settings_at_the_edges_are_allowed():
    edges = TrainSettings(2, 1, warmup=0, weight_decay=0.0, ema_decay=0.0, seed=2**63 - 1, restarts=(1,))
    assert len(run(network(), settings=edges)[0]) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_checkpoint(tmp_path, value):
    checkpoint = tmp_path / "x.checkpoint"
    run(network(), until=6, checkpoint=checkpoint, save_every=7)
    good = checkpoint.read_bytes()
    calls = itertools.count(7)

    def breaks(model, index, generator):
        return noisy_loss(model, index, generator) * (value if next(calls) == 13 else 1)

    with pytest.raises(UserError, match=r"the loss of step 13 is (nan|inf): try another seed or a lower learning rate"):
        run(network(), breaks, checkpoint=checkpoint, save_every=7)
    assert checkpoint.read_bytes() == good


def test_a_batch_larger_than_the_training_set_is_refused():
    with pytest.raises(UserError, match="a batch of 1,000 rows is larger than the training set of 37"):
        run(network(), settings=replace(SETTINGS, batch_size=1000))


# --- which rows ---------------------------------------------------------------------------------------------------


def test_every_step_of_every_process_has_a_seed_of_its_own():
    seeds = {mix_seeds(seed, step, rank) for seed in range(5) for step in range(200) for rank in range(4)}
    assert len(seeds) == 5 * 200 * 4 and all(0 <= seed < 2**63 for seed in seeds)
    assert mix_seeds(0, 1) != mix_seeds(0, 1, 0)  # the order of an epoch and the noise of a step


@pytest.mark.parametrize("batch_size", [1, 4, 10, 25])
def test_every_epoch_visits_every_row_once(batch_size):
    rows = torch.cat([rows_of_step(10, batch_size, step, seed=0) for step in range(100 // batch_size)])
    epochs = rows.view(10, 10)
    assert (epochs.sort(1).values == torch.arange(10)).all()
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 10  # each in another order


def test_the_order_of_rows_belongs_to_the_seed_and_not_to_the_batch_size():
    def order(batch_size, seed):
        return torch.cat([rows_of_step(37, batch_size, step, seed) for step in range(120 // batch_size)])

    assert torch.equal(order(4, 0), order(4, 0))
    assert torch.equal(order(4, 0), order(24, 0))
    assert not torch.equal(order(4, 0), order(4, 1))


def test_the_order_of_an_epoch_is_made_once(monkeypatch):
    made, randperm = [], torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *given, **options: made.append(given) or randperm(*given, **options))
    training._order_of_epoch.cache_clear()
    run(network())
    assert len(made) == math.ceil(30 * 8 / ROWS)


# --- learning rate, gradient clipping, weight decay ---------------------------------------------------------------


def test_the_learning_rate_rises_and_then_falls_to_zero_along_a_cosine():
    settings = replace(SETTINGS, steps=8, warmup=4, learning_rate=2.0)
    rates = [step.learning_rate for step in run(network(), settings=settings)[0]]
    c = math.cos(math.pi / 8)  # cos² and sin² of multiples of π/16, written out
    half = math.sqrt(0.5)
    s = math.sin(math.pi / 8)
    expected = [0.25 * 2, 0.5 * (1 + c), 0.75 * (1 + half), 1 + s, 1, 1 - s, 1 - half, 1 - c]
    assert rates == pytest.approx(expected, abs=1e-12)


def test_a_restart_begins_a_second_rise_and_fall_and_changes_nothing_before_it():
    once = replace(SETTINGS, steps=8, warmup=4)
    rates, alone = (
        [step.learning_rate for step in run(network(), settings=settings)[0]]
        for settings in (replace(once, steps=16, restarts=(8,)), once)
    )
    assert rates == alone + alone


def test_a_restart_goes_on_from_the_averaged_model_with_a_fresh_optimizer():
    """The gradient turns round at the restart: only an Adam that has forgotten the old one moves by a whole rate."""
    model = nn.Linear(1, 1, bias=False)
    uphill = [1.0]
    settings = replace(SETTINGS, steps=16, restarts=(8,), weight_decay=0.0)
    steps = train(
        model, lambda model, index, generator: uphill[0] * model.weight.sum(), ROWS, settings, mixed_precision="no"
    )
    for step in steps:
        if step.index == 7:
            averaged = step.ema.weight.item()
            assert averaged != model.weight.item()
            uphill[0] = -1.0
        if step.index == 8:
            assert model.weight.item() - averaged == pytest.approx(step.learning_rate, rel=1e-3)


def test_the_recorded_learning_rate_is_the_one_that_is_used():
    """Under a constant gradient Adam moves by exactly its learning rate, whatever the gradient's size."""
    model = nn.Linear(1, 1, bias=False)
    places = [model.weight.item()]
    rates = []
    for step in train(
        model,
        lambda model, index, generator: 0.3 * model.weight.sum(),
        ROWS,
        replace(SETTINGS, weight_decay=0.0),
        mixed_precision="no",
    ):
        places.append(model.weight.item())
        rates.append(step.learning_rate)
    assert [before - after for before, after in itertools.pairwise(places)] == pytest.approx(rates, rel=1e-3, abs=1e-6)


def test_weight_decay_pulls_towards_zero_by_rate_times_decay():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    settings = replace(SETTINGS, steps=2, warmup=0, learning_rate=0.1, weight_decay=0.5)
    run(model, lambda model, index, generator: 0 * model.weight.sum(), settings)
    assert model.weight.item() == pytest.approx((1 - 0.1 * 0.5) * (1 - 0.05 * 0.5))


def test_gradients_are_clipped_to_their_greatest_norm_and_keep_their_direction(hook):
    direction = torch.tensor([[3.0, 4.0, 12.0]])  # of length 13
    sizes = [100.0, 0.01, 100.0, 0.02]
    seen = []
    hook(before=lambda optimizer: seen.append(optimizer.param_groups[0]["params"][0].grad.clone()))
    model = nn.Linear(3, 1, bias=False)
    calls = iter(sizes)

    def loss(model, index, generator):
        return next(calls) * (model.weight * direction).sum()

    run(model, loss, replace(SETTINGS, steps=4, max_grad_norm=0.5))
    for size, gradient in zip(sizes, seen, strict=True):
        assert torch.allclose(gradient, direction * min(size, 0.5 / 13), rtol=1e-4)


# --- the moving average -------------------------------------------------------------------------------------------


def test_the_moving_average_is_the_one_written_out_by_hand():
    model, decay = network(), 0.5  # the warm-up (1 + n) / (10 + n) reaches 0.5 at n = 8
    averaged, n = None, 0
    for step in train(model, noisy_loss, ROWS, replace(SETTINGS, ema_decay=decay), mixed_precision="no"):
        now = [parameter.detach().double().clone() for parameter in model.parameters()]
        if averaged is None:
            averaged = now
        else:
            d = min(decay, (1 + n) / (10 + n))
            averaged = [d * old + (1 - d) * new for old, new in zip(averaged, now, strict=True)]
        n += 1
        for ours, expected in zip(step.ema.parameters(), averaged, strict=True):
            assert (ours - expected).abs().max() < 1e-6
    assert n == 30


def test_early_on_the_moving_average_follows_the_model():
    """Without a warm-up it would have come 2% of the way in 20 steps."""
    model = nn.Linear(1, 1, bias=False)
    settings = TrainSettings(1000, 8, learning_rate=0.1, warmup=0, weight_decay=0.0, ema_decay=0.999)
    start = model.weight.item()
    records, _ = run(model, lambda model, index, generator: model.weight.sum(), settings, until=19)
    assert (records[-1].ema.weight.item() - start) / (model.weight.item() - start) > 0.7


# --- interrupted and continued ------------------------------------------------------------------------------------


@pytest.mark.parametrize("killed_at", [3, 6, 17, 28], ids=lambda step: f"step-{step}")
def test_a_training_that_was_killed_ends_as_one_that_was_not(tmp_path, killed_at):
    unbroken = network()
    records, averaged = run(unbroken)

    checkpoint = tmp_path / "deeper" / "run.checkpoint"
    first_records, _ = run(network(), until=killed_at, checkpoint=checkpoint, save_every=7)
    again = network(seed=1)  # other first values; with a checkpoint they do not count
    if killed_at < 6:
        again = network()
    second_records, averaged_again = run(again, checkpoint=checkpoint, save_every=7)

    start = (killed_at + 1) // 7 * 7  # the last checkpoint
    assert [step.index for step in second_records] == list(range(start, 30))
    assert [step.loss for step in first_records[:start] + second_records] == [step.loss for step in records]
    assert [step.learning_rate for step in second_records] == [step.learning_rate for step in records[start:]]
    assert equal(again.parameters(), unbroken.parameters())
    assert equal(averaged_again, averaged)


def test_killed_again_and_again_it_still_ends_the_same(tmp_path):
    unbroken = network()
    _, averaged = run(unbroken)
    for killed_at in (4, 9, 10, 22, None):
        model = network()
        _, averaged_again = run(model, until=killed_at, checkpoint=tmp_path / "x.checkpoint", save_every=3)
    assert equal(model.parameters(), unbroken.parameters())
    assert equal(averaged_again, averaged)


def test_seconds_count_the_time_before_the_kill_and_not_the_pause(tmp_path, monkeypatch):
    clock = itertools.count(100)
    monkeypatch.setattr(training.time, "perf_counter", lambda: float(next(clock)))
    before, _ = run(network(), until=13, checkpoint=tmp_path / "x.checkpoint", save_every=7)
    assert before[-1].seconds == 14
    clock = itertools.count(5000)
    after, _ = run(network(), checkpoint=tmp_path / "x.checkpoint", save_every=7)
    assert [after[0].seconds, after[-1].seconds] == [15, 30]


def test_a_kill_while_the_checkpoint_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    unbroken = network()
    run(unbroken)
    checkpoint = tmp_path / "x.checkpoint"
    run(network(), until=6, checkpoint=checkpoint, save_every=7)
    whole, save = checkpoint.read_bytes(), torch.save

    def killed_half_way(state, file):
        file.write(whole[:1000])
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed_half_way)
    with pytest.raises(KeyboardInterrupt):
        run(network(), checkpoint=checkpoint, save_every=7)
    assert checkpoint.read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["x.checkpoint"]

    monkeypatch.setattr(torch, "save", save)
    model = network()
    records, _ = run(model, checkpoint=checkpoint, save_every=7)
    assert records[0].index == 7
    assert equal(model.parameters(), unbroken.parameters())
    assert [path.name for path in tmp_path.iterdir()] == ["x.checkpoint"]


def test_the_gradient_scaler_of_fp16_goes_on_too(tmp_path, monkeypatch):
    """It can be put in on a CPU too. Here it grows every third step, and clipping then sees its scale."""
    make = training._accelerator

    def with_scaler(precision):
        accelerator = make(precision)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=0.25, growth_interval=3)
        return accelerator

    monkeypatch.setattr(training, "_accelerator", with_scaler)
    unbroken, model = network(), network()
    run(unbroken)
    run(network(), until=17, checkpoint=tmp_path / "x.checkpoint", save_every=7)
    run(model, checkpoint=tmp_path / "x.checkpoint", save_every=7)
    assert equal(model.parameters(), unbroken.parameters())


def test_without_a_checkpoint_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(network(), save_every=1)
    assert not list(tmp_path.iterdir())


def write_code_that_runs(path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return Path.touch, (path.parent / "trapped",)

    torch.save({"settings": Trap()}, path)


BAD_CHECKPOINTS = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "not a dictionary": lambda path: torch.save([1, 2], path),
    "keys missing": lambda path: torch.save({"settings": SETTINGS.__dict__}, path),
    "code that runs": write_code_that_runs,
}


@pytest.mark.parametrize("damage", BAD_CHECKPOINTS.values(), ids=BAD_CHECKPOINTS)
def test_a_damaged_checkpoint_is_an_error_that_names_the_file(tmp_path, damage):
    checkpoint = tmp_path / "x.checkpoint"
    run(network(), until=6, checkpoint=checkpoint, save_every=7)
    damage(checkpoint)
    with pytest.raises(ValueError, match=r"x\.checkpoint .*delete it") as caught:
        run(network(), checkpoint=checkpoint)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trapped").exists()


def test_a_checkpoint_that_cannot_be_opened_is_not_called_damaged(tmp_path):
    (tmp_path / "x.checkpoint").mkdir()
    with pytest.raises(UserError, match=r"^cannot read .*x\.checkpoint: Is a directory$"):
        run(network(), checkpoint=tmp_path / "x.checkpoint")


def test_a_bug_while_loading_is_not_blamed_on_the_checkpoint(tmp_path):
    class Broken(nn.Linear):
        def load_state_dict(self, *given, **options):
            raise RuntimeError("a bug")

    checkpoint = tmp_path / "x.checkpoint"
    run(Broken(3, 1), until=6, checkpoint=checkpoint, save_every=7)
    with pytest.raises(RuntimeError, match="a bug"):
        run(Broken(3, 1), checkpoint=checkpoint)


def test_a_run_that_had_ended_gives_its_last_record_and_its_model_again(tmp_path, capsys):
    first, averaged = run(network(), checkpoint=tmp_path / "x.checkpoint", save_every=7)
    model = network(seed=1)
    records, averaged_again = run(model, checkpoint=tmp_path / "x.checkpoint", save_every=7)
    assert [(step.index, step.seconds) for step in records] == [(29, first[-1].seconds)]
    assert math.isnan(records[0].loss) and equal(averaged_again, averaged)
    assert len(list(progress(records, 30, "digits"))) == 1
    assert "nan" not in capsys.readouterr().err


OTHER_RUNS = {  # what is changed, and what the message says of it
    "steps": ({"settings": replace(SETTINGS, steps=31)}, "steps 30 there, 31 here"),
    "seed": ({"settings": replace(SETTINGS, seed=4)}, "seed 3 there, 4 here"),
    "rate": ({"settings": replace(SETTINGS, learning_rate=0.1)}, "learning_rate 0.02 there, 0.1 here"),
    "restarts": ({"settings": replace(SETTINGS, restarts=(9,))}, r"restarts \[\] there, \[9\] here"),
    "rows": ({"num_rows": 38}, "rows 37 there, 38 here"),
    "precision": ({"mixed_precision": "bf16"}, "precision no there, bf16 here"),
    "another input": ({"inputs": {"vae": "abc"}}, "vae None there, abc here"),
    "two": ({"num_rows": 38, "settings": replace(SETTINGS, seed=4)}, "seed 3 there, 4 here, rows 37 there, 38 here"),
}


@pytest.mark.parametrize(("change", "says"), OTHER_RUNS.values(), ids=OTHER_RUNS)
def test_a_checkpoint_of_another_run_is_refused_with_what_differs(tmp_path, change, says):
    checkpoint = tmp_path / "x.checkpoint"
    run(network(), until=6, checkpoint=checkpoint, save_every=7)
    options = {"num_rows": ROWS, "settings": SETTINGS, "mixed_precision": "no", **change}
    with pytest.raises(UserError, match=rf"x\.checkpoint belongs to another run \({says}\): .* delete it"):
        next(train(network(), noisy_loss, checkpoint=checkpoint, **options))


class Configured(nn.Linear):
    """Models of equal shapes that differ in their settings only."""

    def __init__(self, config):
        super().__init__(3, 1)
        self.config = config


@pytest.mark.parametrize("other", [nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 1)), Configured("b")])
def test_a_checkpoint_of_another_model_is_refused(tmp_path, other):
    checkpoint = tmp_path / "x.checkpoint"
    run(Configured("a"), until=6, checkpoint=checkpoint, save_every=7)
    with pytest.raises(UserError, match=r"x\.checkpoint belongs to another run \(model \w+ there, \w+ here\)"):
        run(other, checkpoint=checkpoint)


def test_a_run_that_continues_with_its_own_inputs_is_not_refused(tmp_path):
    options = {"checkpoint": tmp_path / "x.checkpoint", "save_every": 7, "inputs": {"vae": "abc"}}
    run(network(), until=6, **options)
    assert run(network(), **options)[0][0].index == 7


# --- stopped ------------------------------------------------------------------------------------------------------


def test_a_run_that_is_asked_to_stop_writes_a_checkpoint_and_continues_as_if_it_had_not(tmp_path):
    unbroken, checkpoint = network(), tmp_path / "x.checkpoint"
    _, averaged = run(unbroken)
    asked = iter([False] * 10 + [True])
    records, _ = run(network(), checkpoint=checkpoint, save_every=500, stop=lambda: next(asked))
    assert [step.index for step in records] == list(range(11))
    model = network()
    records, averaged_again = run(model, checkpoint=checkpoint, save_every=500)
    assert records[0].index == 11
    assert equal(model.parameters(), unbroken.parameters()) and equal(averaged_again, averaged)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_its_old_handler_comes_back(number):
    before = signal.getsignal(number)
    with stop_on_signal() as requested:
        assert not requested.is_set()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # torchrun passes on what a terminal sends
        assert requested.is_set()
    assert signal.getsignal(number) is before


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_second_ctrl_c_some_seconds_later_ends_at_once(monkeypatch):
    clock = iter([100.0, 104.0])
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    with pytest.raises(KeyboardInterrupt), stop_on_signal():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_a_run_without_a_checkpoint_saves_and_loads_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nowhere = Checkpoint(None, {"seed": 1}, {"model": network()})
    nowhere.save(3, 1.0)
    assert nowhere.load() == (0, 0.0) and not list(tmp_path.iterdir())


# --- precision ----------------------------------------------------------------------------------------------------


def test_the_best_precision_is_the_default_and_one_kind_can_follow_another(monkeypatch):
    kinds = []

    def loss(model, index, generator):
        kinds.append(model(inputs()[index]).dtype)
        return noisy_loss(model, index, generator)

    for best, asked in [("bf16", None), ("no", None), ("no", "bf16"), ("bf16", "no")]:
        monkeypatch.setattr(training, "best_precision", lambda best=best: best)
        run(network(), loss, until=0, mixed_precision=asked)
    assert kinds == [torch.bfloat16, torch.float32, torch.bfloat16, torch.float32]


def test_bf16_multiplies_in_16_bits_and_keeps_parameters_in_32():
    plain, mixed = network(), network()
    steps = replace(SETTINGS, steps=200)
    exact, _ = run(plain, plain_loss, steps)
    rough, _ = run(mixed, plain_loss, steps, mixed_precision="bf16")
    assert all(parameter.dtype == torch.float32 for parameter in mixed.parameters())
    assert exact[0].loss != rough[0].loss == pytest.approx(exact[0].loss, rel=0.02)
    assert rough[-1].loss < 0.05 * rough[0].loss


# --- the progress bar ---------------------------------------------------------------------------------------------


def test_progress_passes_the_records_on_and_shows_loss_and_time_left(capsys):
    steps, _ = run(network())
    assert list(progress(iter(steps), 30, "digits")) == steps
    shown = capsys.readouterr().err
    assert "digits" in shown and "30/30" in shown and "loss=" in shown
    assert "<00:00" in shown  # time left at the end: none


def test_progress_of_a_training_that_goes_on_starts_where_it_is(capsys):
    steps, _ = run(network())
    assert list(progress(iter(steps[20:]), 30, "digits")) == steps[20:]
    shown = capsys.readouterr().err
    assert " 20/30 " in shown and " 30/30 " in shown and " 0/30 " not in shown
    assert list(progress(iter([]), 30, "digits")) == []  # it had ended before


def test_progress_is_silent_on_all_processes_but_one(capsys):
    steps, _ = run(network())
    assert len(list(progress((replace(step, is_main=False) for step in steps), 30, "digits"))) == 30
    assert capsys.readouterr().err == ""


# --- everything on the device -------------------------------------------------------------------------------------


def resident_loss(model, index, generator):
    x = inputs()[index]
    noise = torch.randn(x.shape, generator=generator, device=generator.device)
    return (model(x + noise) - x.sum(1, keepdim=True)).square().mean()


class Recorded(training._Replayed):
    """A CUDA graph where there is no GPU: from the fourth call on, nothing may be new but what is in the tensors."""

    def __init__(self, work, generator):
        self.work, self.generator, self.calls, self.seen = work, generator, 0, set()

    def __call__(self):
        self.calls += 1
        cells = dict(zip(self.work.__code__.co_freevars, self.work.__closure__, strict=True))
        places = {name: cells[name].cell_contents.data_ptr() for name in ("index", "weight")}
        groups = cells["optimizer"].cell_contents.param_groups
        rates = [group["lr"].data_ptr() for group in groups]  # tensors, which a recording reads anew each time
        for group in groups:
            group["capturable"] = False  # which a CPU's optimizer does not know
        assert cells["generator"].cell_contents is self.generator
        self.seen.add((*places.values(), *rates))
        assert len(self.seen) == 1
        return self.work()


@pytest.mark.parametrize("restarts", [(), (11, 20)])
def test_a_replayed_step_is_the_step(tmp_path, monkeypatch, restarts):
    settings = replace(SETTINGS, restarts=restarts)
    _, eager = run(network(), resident_loss, settings, resident=True)
    monkeypatch.setattr(training, "_can_capture", lambda accelerator: True)
    monkeypatch.setattr(training, "_Replayed", Recorded)
    steps, replayed = run(network(), resident_loss, settings, resident=True)
    assert near(eager, replayed) and all(isinstance(step.loss, float) for step in steps)
    path = tmp_path / "checkpoint"
    run(network(), resident_loss, settings, 12, resident=True, checkpoint=path, save_every=4)
    _, resumed = run(network(1), resident_loss, settings, resident=True, checkpoint=path)
    assert near(eager, resumed)


def test_only_a_single_process_on_an_nvidia_gpu_without_a_scaler_records_its_steps():
    def can(device="cuda", processes=1, scaler=None):
        return training._can_capture(
            SimpleNamespace(device=torch.device(device), num_processes=processes, scaler=scaler)
        )

    assert can() and not can("cpu") and not can("mps") and not can(processes=2) and not can(scaler=object())


def test_a_loss_is_read_when_somebody_asks_and_not_before():
    step = TrainStep(3, torch.tensor(0.25), 1e-3, 2.0, nn.Identity(), True)
    assert step.loss == 0.25 and training.losses_of(step) == {"loss": 0.25}


# --- two processes ------------------------------------------------------------------------------------------------

TWO_PROCESSES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch, test_training as here
from tinyldm import training

folder, rank = Path(sys.argv[2]), int(__import__("os").environ["RANK"])
torch.set_num_threads(1)
result, writes, save = {"rank": rank}, [], training.Checkpoint.save
training.Checkpoint.save = lambda self, done, seconds: self.path and (writes.append(done), save(self, done, seconds))

def watch(model, loss, until=None, seed=0, **options):
    seen, drawn = [], []
    def watched(model, index, generator):
        seen.append(index.clone())
        drawn.append(torch.randn(3, generator=torch.Generator().set_state(generator.get_state())))
        return loss(model, index, generator)
    records, averaged = here.run(model, watched, until=until, **options)
    return {"seen": seen, "drawn": drawn, "losses": [step.loss for step in records], "averaged": averaged,
            "is_main": records[-1].is_main, "parameters": [p.detach().clone() for p in model.parameters()]}

result["plain"] = watch(here.network(seed=rank), here.plain_loss)
result["unbroken"] = watch(here.network(), here.noisy_loss)
assert not writes
watch(here.network(), here.noisy_loss, until=17, checkpoint=folder / "x.checkpoint", save_every=7)
result["resumed"] = watch(here.network(), here.noisy_loss, checkpoint=folder / "x.checkpoint", save_every=7)
result["writes"] = list(writes)
asked = iter([False] * 5 + [rank == 1] * 99)  # only the second process is told
stopping = {"checkpoint": folder / "y.checkpoint", "stop": lambda: next(asked)}
result["stopped"] = watch(here.network(), here.noisy_loss, **stopping)["losses"]
result["last"] = writes[len(result["writes"]):]
try:
    here.run(here.network(), settings=here.replace(here.SETTINGS, batch_size=1))
except ValueError as error:
    result["error"] = str(error)
torch.save(result, folder / f"{rank}.pt")
"""


def plain_loss(model, index, generator):
    x = inputs()[index]
    return (model(x) - x.sum(1, keepdim=True)).square().mean()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes saw and did, started as a user would start them."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "script.py").write_text(TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    finished = subprocess.run(
        [*command, str(folder / "script.py"), str(Path(__file__).parent), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_each_process_sees_its_own_half_of_every_batch(two):
    for step, shares in enumerate(zip(two[0]["plain"]["seen"], two[1]["plain"]["seen"], strict=True)):
        assert [len(share) for share in shares] == [4, 4]
        assert torch.equal(torch.cat(shares), rows_of_step(ROWS, 8, step, SETTINGS.seed))


def test_two_processes_train_what_one_would(two):
    model = network(seed=0)
    records, averaged = run(model, plain_loss)
    for rank in two:  # rank 1 began with other parameters: it was given those of rank 0
        ours = rank["plain"]
        assert ours["losses"] == pytest.approx([step.loss for step in records], abs=1e-6)
        for mine, expected in zip(ours["parameters"], model.parameters(), strict=True):
            assert (mine - expected).abs().max() < 1e-5
        for mine, expected in zip(two[0]["plain"]["averaged"], averaged, strict=True):
            assert (mine - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["plain", "unbroken", "resumed"])
def test_parameters_and_losses_stay_equal_on_all_processes(two, name):
    first, second = two[0][name], two[1][name]
    assert equal(first["parameters"], second["parameters"])
    assert equal(first["averaged"], second["averaged"])
    assert first["losses"] == second["losses"]


def test_each_process_draws_its_own_noise(two):
    for mine, other in zip(two[0]["unbroken"]["drawn"], two[1]["unbroken"]["drawn"], strict=True):
        assert (mine - other).abs().min() > 1e-4


def test_one_process_writes_and_both_go_on_from_it(two):
    assert [rank["plain"]["is_main"] for rank in two] == [True, False]
    assert [rank["writes"] for rank in two] == [[7, 14, 21, 28, 30], []]
    for rank in two:
        assert len(rank["resumed"]["losses"]) == 30 - 14
        assert rank["resumed"]["losses"] == rank["unbroken"]["losses"][14:]
        assert equal(rank["resumed"]["parameters"], rank["unbroken"]["parameters"])
        assert equal(rank["resumed"]["averaged"], rank["unbroken"]["averaged"])


def test_one_process_that_is_asked_to_stop_stops_both(two):
    assert two[0]["stopped"] == two[1]["stopped"] == two[0]["unbroken"]["losses"][:6]
    assert [rank["last"] for rank in two] == [[6], []]


def test_a_batch_too_small_to_split_is_refused(two):
    assert [rank["error"] for rank in two] == ["a batch of 1 cannot be split across 2 processes"] * 2


def test_variables_of_a_cluster_that_are_not_all_there_get_one_line_with_advice_that_works():
    code = "from tinyldm.training import _accelerator; print(_accelerator('no').num_processes)"
    clean = {name: value for name, value in os.environ.items() if not re.match("WORLD_|(LOCAL_)?RANK|MASTER", name)}
    command = {"args": [sys.executable, "-c", code], "cwd": Path(__file__).parents[1], "text": True}
    for stray in ({"LOCAL_RANK": "0"}, {"WORLD_SIZE": ""}):
        failed = subprocess.run(**command, env=clean | stray, capture_output=True)
        advice = re.escape(f"or unset {next(iter(stray))} to train with one")
        assert re.fullmatch(f"tinyldm.UserError: .* {advice}", failed.stderr.splitlines()[-1])
    assert subprocess.run(**command, env=clean, capture_output=True).stdout == "1\n"
