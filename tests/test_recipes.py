"""Every recipe feeds what it says and minimises what it says; a training that is interrupted loses nothing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from tinyldm import UserError, recipes
from tinyldm.data import CaptionedMNIST, load_mnist
from tinyldm.evaluation import Judge
from tinyldm.pipeline import TextToImage
from tinyldm.schedule import NoiseSchedule, stratified_timesteps
from tinyldm.text import UNKNOWN, TextEncoder, drop_captions, sprinkle_unknown, tokenize
from tinyldm.training import Stopped
from tinyldm.vae import VAE, kl_divergence, sample_posterior
from tinyldm.vqvae import VQVAE, vq_loss

ROWS = 48
NAMES = ("judge", "vae", "clip", "ldm", "gan", "pixel", "vqvae", "prior")
FILES = {"clip": "text_encoder", "ldm": "unet"}
WITH_LOSS = [name for name in NAMES if name != "gan"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Full precision, and nothing is measured on thousands of digits."""
    monkeypatch.setattr("tinyldm.training.best_precision", lambda: "no")
    monkeypatch.setattr(recipes, "autocast", contextlib.nullcontext)


def recipe_of(name: str, **options) -> recipes.Recipe:
    return getattr(recipes, name)(**{"rows": ROWS, "batch_size": 16, **options})


OUT_OF_RANGE = [
    ("ldm", {"captions": 20_000}, "pictures to measure must be between 2 and 10,000, not 20,000"),
    ("gan", {"samples": 1}, "pictures to measure must be between 2 and 10,000, not 1"),
    ("pixel", {"samples": 10_001}, "not 10,001"),
    ("prior", {"samples": -1}, "not -1"),
    *((name, {"rows": 60_001}, "rows must be between 1 and 60,000, not 60,001") for name in NAMES),
    *((name, {"rows": 0}, "rows must be between 1 and 60,000, not 0") for name in NAMES),
    *((name, {"batch_size": 10**12}, "is larger than the training set of ") for name in NAMES),
    *((name, {"steps": 0}, "steps must be at least 1") for name in NAMES),
]


@pytest.mark.parametrize(("name", "options", "message"), OUT_OF_RANGE, ids=lambda value: str(value)[:24])
def test_numbers_out_of_range_are_refused_before_any_work(monkeypatch, name, options, message):
    for work in ("load_mnist", "CaptionedMNIST", "_in_batches", "_seeded"):
        monkeypatch.setattr(recipes, work, None)
    with pytest.raises(UserError, match=re.escape(message)):
        recipe_of(name, **options)


def loss_of(recipe: recipes.Recipe):
    """The model and the loss that a recipe hands to `train`."""
    model, loss, *_ = recipe.run.args
    return model, loss


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Recorder(nn.Module):
    """Stands in for a network: remembers what it is shown and answers ``answer(x)``."""

    def __init__(self, answer):
        super().__init__()
        self.place, self.answer, self.seen = nn.Parameter(torch.zeros(1)), answer, []

    def forward(self, *inputs):
        self.seen.append(inputs)
        return self.answer(inputs[0]) + 0 * self.place


INDEX = torch.tensor([31, 4, 17, 40, 8])


# --- what is fed, and what is minimised ---------------------------------------------------------------------------


def test_the_judge_sees_jittered_digits_and_is_told_their_labels_a_little_smoothed():
    answer = torch.linspace(-1, 2, 10).roll(3)
    model, (_, loss) = Recorder(lambda x: answer.expand(len(x), 10)), loss_of(recipe_of("judge"))
    value = loss(model, INDEX, seeded())
    mnist = load_mnist("train")
    log_shares = answer.log_softmax(0)
    expected = -0.95 * log_shares[mnist.labels[INDEX]] - 0.05 * log_shares.mean()
    torch.testing.assert_close(value.detach(), expected.mean())
    ((images,),) = model.seen
    originals = mnist.padded()[INDEX]
    assert images.shape == originals.shape and images.min() >= -1 and images.max() <= 1
    alike = F.cosine_similarity(images.flatten(1) + 1, originals.flatten(1) + 1)
    assert (alike > 0.4).all() and (alike < 0.999).all()  # moved, and still the same digit
    other = Recorder(model.answer)
    loss(other, INDEX, seeded(1))
    assert not torch.equal(other.seen[0][0], images)


def test_the_autoencoder_copies_captioned_digits_with_a_light_weight_on_kl():
    model, loss = loss_of(recipe_of("vae"))
    images = CaptionedMNIST("train", limit=ROWS).images(INDEX)
    mean, logvar = model.moments(images)
    copies = model.decode(sample_posterior(mean, logvar, seeded()))  # a new one has a scaling factor of 1
    kl = kl_divergence(mean, logvar).mean() / mean[0].numel()
    expected = (copies - images).square().mean() + 0.0001 * kl
    torch.testing.assert_close(loss(model, INDEX, seeded()), expected)
    assert 0.0001 * kl < 0.05 * expected


def test_the_codebook_is_trained_with_the_papers_loss_on_captioned_digits():
    model, loss = loss_of(recipe_of("vqvae"))
    images = CaptionedMNIST("train", limit=ROWS).images(INDEX)
    torch.testing.assert_close(loss(model, INDEX, seeded()), vq_loss(model, images)[0])


def test_clip_sees_digits_with_their_own_captions_into_more_than_half_of_which_unknown_words_were_put():
    recipe = recipe_of("clip")
    model, loss = loss_of(recipe)
    seen = []
    model.register_forward_pre_hook(lambda model, inputs: seen.append(inputs))
    data = CaptionedMNIST("train", limit=ROWS, copies=2)
    value = loss(model, torch.arange(len(data)), seeded())
    ((images, tokens),) = seen
    assert torch.equal(images, data.images(torch.arange(len(data))))
    sprinkled = (tokens == UNKNOWN).any(1)
    assert 0.4 < sprinkled.float().mean() < 0.75
    untouched = tokenize(data.captions)[:, : tokens.shape[1]]
    assert torch.equal(tokens[~sprinkled], untouched[~sprinkled])
    assert tokens.shape[1] < 77  # trimmed
    torch.testing.assert_close(value, model(images, tokens))


def test_clip_trains_the_tokens_of_its_captions_only():
    recipe = recipe_of("clip")
    model, loss = loss_of(recipe)
    loss(model, INDEX, seeded()).backward()
    learned = model.text.table.grad.any(1).nonzero()[:, 0]
    captions = CaptionedMNIST("train", limit=ROWS, copies=2).captions
    assert len(learned) > 5 and set(learned.tolist()) <= set(tokenize(captions).unique().tolist())


def test_the_latent_model_predicts_v_of_noisy_latents_and_reads_its_captions_of_which_a_tenth_are_dropped():
    _, loss = loss_of(recipe_of("ldm", seed=5))
    data, text = CaptionedMNIST("train", limit=ROWS, copies=2), TextEncoder.from_pretrained()
    index = torch.arange(len(data)).repeat(20)  # 1,920 rows
    model = Recorder(torch.zeros_like)
    value = loss(model, index, seeded(2))
    ((x_t, t, context),) = model.seen

    with torch.no_grad():
        latents = VAE.from_pretrained().encode(data.images(torch.arange(len(data))), seeded(5))[index]
    random = seeded(2)
    captions = tokenize(data.captions)[index]
    read = drop_captions(sprinkle_unknown(captions, random), random)
    expected_t = stratified_timesteps(len(index), 1000, random)
    noise = torch.randn(latents.shape, generator=random)
    schedule = NoiseSchedule.create("scaled_linear").rescale_zero_terminal_snr()
    assert torch.equal(t, expected_t)
    torch.testing.assert_close(x_t, schedule.add_noise(latents, noise, t))
    torch.testing.assert_close(value.detach(), schedule.target(latents, noise, t, "v_prediction").square().mean())
    assert latents.std() == pytest.approx(1, abs=0.1)

    with torch.no_grad():
        torch.testing.assert_close(context, text(read))
        empty = text(tokenize([""]))
    dropped = (context == empty).flatten(1).all(1)
    assert dropped.float().mean() == pytest.approx(0.1, abs=3 * (0.09 / len(index)) ** 0.5)
    kept = read[~dropped]
    assert 0.5 < (kept == UNKNOWN).any(1).float().mean() < 0.65
    again = Recorder(torch.zeros_like)
    loss(again, index, seeded(2))
    assert torch.equal(again.seen[0][2], context)  # the captions themselves are not changed by it


def test_captions_without_unknown_words_are_read_once_and_no_row_gets_anothers():
    recipe = recipe_of("ldm", copies=2, unknown=False)
    tokens = tokenize(CaptionedMNIST("train", limit=ROWS, copies=2).captions)
    index = torch.randint(len(tokens), (500,), generator=seeded(1))
    model, random = Recorder(torch.zeros_like), seeded(2)
    loss_of(recipe)[1](model, index, seeded(2))
    with torch.no_grad():
        expected = TextEncoder.from_pretrained()(drop_captions(tokens[index], random))
    torch.testing.assert_close(model.seen[0][2], expected, atol=0.02, rtol=0.02)  # kept in bfloat16


@pytest.mark.parametrize("unknown", [True, False])
def test_the_latent_models_frozen_parts_get_no_gradient(unknown):
    _, loss = loss_of(recipe_of("ldm", unknown=unknown))
    model = Recorder(torch.zeros_like)
    loss(model, INDEX, seeded())
    x_t, _, context = model.seen[0]
    assert not x_t.requires_grad and not context.requires_grad


def test_the_pixel_model_predicts_v_of_noisy_digits_without_text():
    _, loss = loss_of(recipe_of("pixel"))
    model = Recorder(torch.zeros_like)
    value = loss(model, INDEX, seeded(2))
    ((x_t, t),) = model.seen
    random, images = seeded(2), load_mnist("train").padded()[INDEX]
    expected_t, noise = stratified_timesteps(5, 1000, random), torch.randn(images.shape, generator=random)
    schedule = NoiseSchedule.create("cosine")
    assert torch.equal(t, expected_t)
    torch.testing.assert_close(x_t, schedule.add_noise(images, noise, t))
    torch.testing.assert_close(value.detach(), schedule.target(images, noise, t, "v_prediction").square().mean())


def test_the_prior_reads_the_shipped_codes_of_its_digits_in_reading_order():
    model, loss = loss_of(recipe_of("prior"))
    data = CaptionedMNIST("train", limit=ROWS, copies=4)
    index = torch.tensor([3, 60, 150, 95])
    with torch.no_grad():
        codes = VQVAE.from_pretrained().encode(data.images(index)).flatten(1)
    torch.testing.assert_close(loss(model, index, seeded()), model.loss(data.labels[index], codes))
    assert len(data.labels[index].unique()) > 1


def test_the_gan_sees_all_its_digits_with_both_adams_at_the_papers_rate():
    recipe = recipe_of("gan", seed=9)
    generator, _, images, steps, batch_size = recipe.run.args
    assert recipe.model is generator and torch.equal(images, load_mnist("train").padded()[:ROWS])
    assert (steps, batch_size) == (10_000, 16)
    assert recipe.run.keywords == {"learning_rate": 2e-4, "seed": 9}


NUMBERS = {  # steps, batch size, learning rate, weight decay, restarts
    "judge": (3000, 128, 2e-3, 0.05, ()),
    "vae": (2400, 64, 2e-3, 0.0, ()),
    "clip": (2400, 512, 1e-3, 0.01, ()),
    "ldm": (50_000, 128, 1e-3, 0.01, (20_000, 34_000)),
    "gan": (10_000, 64, 2e-4, 0.01, ()),
    "pixel": (6000, 512, 2e-3, 0.01, ()),
    "vqvae": (4000, 64, 2e-3, 0.0, ()),
    "prior": (9000, 256, 1e-3, 0.01, ()),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_trains_for_as_long_and_as_fast_as_it_did_for_the_shipped_file(name):
    recipe = getattr(recipes, name)(rows=600)  # more than the largest batch
    s = recipe.settings
    assert (s.steps, s.batch_size, s.learning_rate, s.weight_decay, s.restarts) == NUMBERS[name]
    assert recipe.name == FILES.get(name, name) and (s.seed, s.warmup, s.ema_decay) == (0, 100, 0.999)
    if name != "gan":
        assert recipe.run.args[3] is s


@pytest.mark.parametrize("name", NAMES)
def test_first_values_follow_from_the_seed_and_leave_the_global_generator_alone(name):
    before = torch.get_rng_state()
    states = [recipe_of(name, seed=seed).model.state_dict() for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert any(not torch.equal(states[0][key], states[2][key]) for key in states[0])


FALLS_TO = {"judge": 0.8, "vae": 0.6, "clip": 0.9, "ldm": 0.9, "pixel": 0.8, "vqvae": 0.6, "prior": 0.85}


@pytest.mark.parametrize("name", WITH_LOSS)
def test_the_loss_falls_on_a_few_rows(name, tmp_path):
    recipe = recipe_of(name, steps=1000)
    losses = []
    for step in recipe.run(checkpoint=None, stop=lambda: len(losses) == 29):
        losses.append(step.loss)
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert last < FALLS_TO[name] * first


# --- interrupted --------------------------------------------------------------------------------------------------


def tensors(path) -> dict[str, torch.Tensor]:
    return load_file(path)


def metadata(path) -> dict:
    with safe_open(path, "pt") as file:
        return {key: json.loads(value) for key, value in file.metadata().items()}


def unmeasured(name: str, **options) -> recipes.Recipe:
    return replace(recipe_of(name, steps=5, **options), measure=lambda model: {"score": 0.25})


def interrupted_after(recipe: recipes.Recipe, steps: int) -> recipes.Recipe:
    """As if somebody had pressed Ctrl-C during that step."""
    asked = iter(range(1, 99))

    def run(checkpoint, stop):
        return recipe.run(checkpoint=checkpoint, stop=lambda: next(asked) == steps)

    return replace(recipe, run=run)


@pytest.mark.parametrize("name", NAMES)
def test_an_interrupted_training_ends_as_one_that_was_not(name, tmp_path):
    file = f"{FILES.get(name, name)}.safetensors"
    recipes.make(unmeasured(name), tmp_path / "unbroken")
    for done in (2, 4):
        with pytest.raises(Stopped, match=f"stopped after step {done} of 5; the same command continues there"):
            recipes.make(interrupted_after(unmeasured(name), 2), tmp_path / "broken")
    assert not (tmp_path / "broken" / file).exists()
    recipes.make(unmeasured(name), tmp_path / "broken")
    expected, got = tensors(tmp_path / "unbroken" / file), tensors(tmp_path / "broken" / file)
    assert expected.keys() == got.keys() and all(torch.equal(expected[key], got[key]) for key in expected)
    assert [path.name for path in (tmp_path / "broken").iterdir()] == [file]


def test_the_file_holds_the_averaged_model_in_half_precision(tmp_path):
    recipe, last = unmeasured("judge"), []

    def run(**options):
        for step in recipe.run(**options):
            last[:] = [{name: value.clone() for name, value in step.ema.state_dict().items()}]
            yield step

    recipes.make(replace(recipe, run=run), tmp_path)
    saved, latest = tensors(tmp_path / "judge.safetensors"), recipe.model.state_dict()
    assert all(torch.equal(saved[name], last[0][name].half()) for name in saved)
    assert any(not torch.equal(saved[name], latest[name].half()) for name in saved)


def test_the_weights_are_written_before_they_are_measured_and_the_figures_afterwards(tmp_path):
    there = tmp_path / "judge.safetensors"
    found = []

    def measure(model):
        found.append(metadata(there))
        return {"accuracy": 0.5}

    line = recipes.make(replace(recipe_of("judge", steps=2), measure=measure), tmp_path, "tinyldm train judge")
    assert "measured" not in found[0] and found[0]["command"] == "tinyldm train judge"
    assert metadata(there) == {**found[0], "measured": {"accuracy": 0.5}}
    assert line.startswith(f"{there}: ") and "'accuracy': 0.5" in line


@pytest.mark.parametrize("failure", [MemoryError("too many pictures"), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["judge", "gan"])
def test_a_measurement_that_fails_loses_nothing_and_the_same_command_measures_again(tmp_path, name, failure):
    def fails(model):
        raise failure

    threads = torch.get_num_threads()
    with pytest.raises(type(failure)):
        recipes.make(replace(recipe_of(name, steps=2), measure=fails), tmp_path)
    assert torch.get_num_threads() == threads
    file, trained = tmp_path / f"{name}.safetensors", tensors(tmp_path / f"{name}.safetensors")
    assert metadata(file)["seed"] == 0 and "measured" not in metadata(file)
    seconds = metadata(file)["seconds"]

    again = recipe_of(name, steps=2, seed=0)
    steps = []

    def run(**options):
        for step in again.run(**options):
            steps.append(step)
            yield step

    recipes.make(replace(again, run=run, measure=lambda model: {"score": 0.25}), tmp_path)
    assert [step.index for step in steps] == [1]  # nothing was trained
    assert metadata(file)["measured"] == {"score": 0.25} and metadata(file)["seconds"] == seconds
    assert all(torch.equal(value, trained[key]) for key, value in tensors(file).items())
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("name", ["ldm", "prior"])
def test_a_batch_that_is_too_large_is_refused_before_anything_is_encoded(name, monkeypatch):
    monkeypatch.setattr(recipes, "CaptionedMNIST", None)
    with pytest.raises(UserError, match="is larger than the training set of"):
        recipe_of(name, batch_size=1000)


def test_a_training_does_not_continue_with_other_input_files(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    for name in ("judge", "vae", "text_encoder"):
        content = recipes.weights_path(name).read_bytes()
        (models / f"{name}.safetensors").write_bytes(content)
    with pytest.raises(Stopped):
        recipes.make(interrupted_after(unmeasured("ldm", models=models), 2), tmp_path)
    recipes.save_weights(
        models / "vae.safetensors", recipes.state_to_save(VAE.from_pretrained()), VAE.from_pretrained().config
    )
    with pytest.raises(
        UserError, match=r"unet\.checkpoint belongs to another run \(vae\.safetensors \w+ there, \w+ here\)"
    ):
        recipes.make(unmeasured("ldm", models=models), tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("name", "number"), [("gan", signal.SIGTERM), ("judge", signal.SIGINT)])
def test_a_signal_ends_the_command_with_one_line_and_a_checkpoint(name, number, tmp_path):
    command = [sys.executable, "-m", "tinyldm", "train", name, "--steps", "100000", "--rows", "64", "--batch-size", "8"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    shown = ""
    while not re.search(r"\b[1-9]\d*/100000", shown):  # the bar: it trains
        shown += run.stderr.read(1)
        assert run.poll() is None, shown
    time.sleep(0.5)
    run.send_signal(number)
    _, rest = run.communicate(timeout=60)
    last = rest.strip().splitlines()[-1]
    assert run.returncode == 130
    assert last.startswith("tinyldm: stopped after step ") and last.endswith("the same command continues there")
    assert "Traceback" not in rest
    assert [path.name for path in (tmp_path / "weights").iterdir()] == [f"{name}.checkpoint"]


HOLDER = """
import sys
from pathlib import Path
from tinyldm.recipes import _alone
with _alone(Path(sys.argv[1])):
    print("alone", flush=True)
    sys.stdin.read()
"""


def test_a_second_training_in_the_same_folder_is_refused_until_the_first_has_ended_or_was_killed(tmp_path):
    refused = rf"another training writes {re.escape(str(tmp_path))}.*judge\.checkpoint: wait for it, or choose another"
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "judge.checkpoint")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "alone\n"
        with pytest.raises(UserError, match=refused):
            recipes.make(unmeasured("judge"), tmp_path)
        assert not list(tmp_path.glob("judge*"))
        with pytest.raises(Stopped):
            recipes.make(interrupted_after(unmeasured("gan"), 2), tmp_path)  # of another name: nothing is shared
        first.kill()
    with recipes._alone(tmp_path / "judge.checkpoint"), pytest.raises(UserError, match=refused):
        recipes.make(unmeasured("judge"), tmp_path)
    recipes.make(unmeasured("judge"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gan.checkpoint", "judge.safetensors"]


# ---------------------------------------------------------------- numbers beyond the data

TOO_MUCH = [
    ({"batch_size": 10**12}, "a batch of 1,000,000,000,000 rows is larger"),
    ({"rows": 60_001}, "rows must be"),
    ({"rows": 0}, "rows must be"),
]
UNMEASURABLE = {"ldm": "captions", "gan": "samples", "pixel": "samples", "prior": "samples"}


@pytest.mark.parametrize("name", NAMES)
def test_numbers_beyond_the_data_are_refused_before_anything_is_read(monkeypatch, name):
    for reads in ("load_mnist", "CaptionedMNIST", "VAE", "VQVAE", "Judge"):
        monkeypatch.setattr(recipes, reads, None)
    measured = [({UNMEASURABLE[name]: n}, f"not {n:,}$") for n in (1, 20_000)] if name in UNMEASURABLE else []
    for numbers, message in TOO_MUCH + measured:
        with pytest.raises(UserError, match=message):
            getattr(recipes, name)(**numbers)


# --- a whole machine ----------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch):
    """A few tiny steps of each stage; counts the trainings."""
    for options in recipes.QUICK.values():
        for name, value in {"steps": 3, "batch_size": 8}.items():
            monkeypatch.setitem(options, name, value)
    trained, make = [], recipes.make
    monkeypatch.setattr(recipes, "make", lambda recipe, *rest: trained.append(recipe.name) or make(recipe, *rest))
    return trained


def whole(out, command="all", **options) -> str:
    return recipes.make_all(out, quick=True, rows=ROWS, captions=20, command=command, **options)


def test_a_machine_from_nothing_draws_is_measured_and_is_not_made_twice(tmp_path, tiny, capsys):
    says = whole(tmp_path / "machine")
    assert tiny == ["vae", "text_encoder", "unet"]
    assert "right on 20 held-out captions: digit " in says and f"--models {tmp_path / 'machine'}" in says
    assert " 100% " in capsys.readouterr().err
    drawn = TextToImage.from_pretrained(tmp_path / "machine").images(["a red seven"], seed=0)
    shipped = TextToImage.from_pretrained().images(["a red seven"], seed=0)
    assert (drawn - shipped).abs().mean() > 0.05
    assert Judge.from_pretrained(tmp_path / "machine")
    tiny.clear()
    assert whole(tmp_path / "machine") == says and tiny == []
    with pytest.raises(UserError, match=r"was made by another command \('all'\): choose another folder, or delete it"):
        whole(tmp_path / "machine", command="all --seed 1", seed=1)


@pytest.mark.parametrize("killed", ["text_encoder"])
def test_a_machine_that_was_interrupted_goes_on_where_it_was(tmp_path, tiny, monkeypatch, killed):
    whole(tmp_path / "unbroken")
    progress = recipes.progress

    def interrupted(steps, total, name, *rest):
        for step in progress(steps, total, name, *rest):
            yield step
            if name == killed and step.index == 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(recipes, "progress", interrupted)
    with pytest.raises(KeyboardInterrupt):
        whole(tmp_path / "broken")
    monkeypatch.setattr(recipes, "progress", progress)
    tiny.clear()
    whole(tmp_path / "broken")
    assert tiny == ["text_encoder", "unet"][["text_encoder", "unet"].index(killed) :]
    for name in ("vae", "text_encoder", "unet"):
        ours, theirs = (load_file(tmp_path / folder / f"{name}.safetensors") for folder in ("broken", "unbroken"))
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_machine_is_trained_by_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="without torchrun"):
        whole(tmp_path)


# --- on a GPU, where a step is recorded and replayed ----------------------------------------------------------------

WAITS = ("_local_scalar_dense", "nonzero", "_unique2", "masked_select", "bincount")


class NothingWaits(TorchDispatchMode):
    """Refuses whatever makes Python wait for a GPU, or the shape of a result depend on numbers."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert not any(name in function.name() for name in WAITS), f"{function} waits for a result"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["judge", "vae", "clip", "ldm", "pixel", "vqvae", "prior"])
def test_no_loss_waits_for_a_result(name, monkeypatch):
    monkeypatch.setattr(
        NoiseSchedule, "at", lambda schedule, t: schedule.alphas_cumprod[t]
    )  # which looks at t if it can
    model, loss = loss_of(recipe_of(name))
    with NothingWaits():
        loss(model, INDEX, seeded()).backward()


def test_what_waits_is_noticed():
    with pytest.raises(AssertionError, match="waits for a result"), NothingWaits():
        torch.arange(3).sum().item()
