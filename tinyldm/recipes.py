"""How each shipped weights file is made: what is fed, what is minimised, for how long, and what is measured.

Design choices
- A recipe is a function whose defaults are the numbers of the shipped file. It returns a `Recipe`; nothing is trained
  before `make` is called with it.
- The weights are written before they are measured, and again with the figures. The checkpoint stays until then: after a
  measurement that failed, the same command measures again and trains nothing.
- The command line (`tinyldm train NAME`) calls a recipe and adds nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from filelock import FileLock, Timeout
from torch import Tensor, nn
from tqdm.auto import tqdm

from tinyldm import UserError
from tinyldm.data import CaptionedMNIST, load_mnist
from tinyldm.devices import autocast, best_device, checked_seed, describe_hardware, seeded_generator
from tinyldm.diffusion import DiffusionConfig, DiffusionModel, diffusion_loss
from tinyldm.evaluation import (
    Judge,
    Report,
    digit_shares,
    evaluate,
    frechet_beside_floor,
    jitter,
    judge_accuracy,
    psnr,
)
from tinyldm.gan import Discriminator, GANStep, Generator, train_gan
from tinyldm.pipeline import TextToImage
from tinyldm.text import (
    CLIP,
    DROPPED,
    ImageEncoder,
    TextEncoder,
    drop_captions,
    keep_unknown_silent,
    sprinkle_unknown,
    tokenize,
    trim,
)
from tinyldm.training import (
    LossFunction,
    Stopped,
    TrainSettings,
    TrainStep,
    check_batch,
    fingerprint,
    progress,
    skip,
    stop_on_signal,
    train,
)
from tinyldm.unet import UNetConfig
from tinyldm.vae import VAE, VAEConfig, vae_loss
from tinyldm.vqvae import VQVAE, CodePrior, perplexity, vq_loss
from tinyldm.weights import atomic_write, check_writable, read_weights, save_weights, state_to_save, weights_path

Figures = dict[str, float]
TRAINING_DIGITS = 60_000
TEST_DIGITS = 2000  # test digits that autoencoders and text encoder are measured on
ENCODING_BATCH = 60  # fits the caches of a CPU
CHECKPOINT_COPIES = 10  # of all parameters: model, average, two moments; the new file beside the old one; the weights


@dataclass(frozen=True)
class Recipe:
    """Everything that it takes to make a weights file.

    Args:
        name: of the file.
        model: with its first values.
        settings: of the training.
        run: ``run(checkpoint=..., stop=...)`` trains the model and yields a record a step, as `training.train` does.
        measure: figures of the trained model.
        finish: turns the trained model into the one to save.
    """

    name: str
    model: nn.Module
    settings: TrainSettings
    run: Callable[..., Iterator[TrainStep | GANStep]]
    measure: Callable[[Any], Figures]
    finish: Callable[[Any], nn.Module] = field(default=lambda model: model)


def make(recipe: Recipe, out: str | Path, command: str = "", bar: Any = None, share: float = 0.0) -> str:
    """Train with a progress bar, write ``out/name.safetensors``, measure, and add the figures to the file.

    An interrupted run continues from ``out/name.checkpoint``. Of many processes the first one writes.

    Args:
        recipe: what to make.
        out: folder.
        command: what the user typed, for the metadata.
        bar, share: as for `training.progress`.

    Returns:
        A line that says what was made; an empty one on the other processes.

    Raises:
        UserError: the checkpoint belongs to another run, another training writes it, the loss is not finite, or the
            folder cannot be written to.
        Stopped: Ctrl-C or SIGTERM; the message says after which step.
    """
    path, checkpoint = Path(out) / f"{recipe.name}.safetensors", Path(out) / f"{recipe.name}.checkpoint"
    check_writable(path, CHECKPOINT_COPIES * 4e-6 * sum(value.numel() for value in recipe.model.state_dict().values()))
    with _alone(checkpoint):
        return _make(recipe, path, checkpoint, command, bar, share)


def _make(recipe: Recipe, path: Path, checkpoint: Path, command: str, bar: Any, share: float) -> str:
    total = recipe.settings.steps
    with stop_on_signal() as requested:
        run = recipe.run(checkpoint=checkpoint, stop=requested.is_set)
        for step in progress(run, total, recipe.name, bar, share):
            last = step
    if not last.is_main:
        return ""
    if last.index + 1 < total:
        raise Stopped(f"stopped after step {last.index + 1:,} of {total:,}; the same command continues there")
    record: dict[str, Any] = {"command": command, "seed": recipe.settings.seed, "seconds": round(last.seconds)}
    record["hardware"] = describe_hardware()
    trained = (last.ema if isinstance(last, TrainStep) else recipe.model).eval().cpu()
    model = recipe.finish(trained)
    trained.half().float()  # as the file will hold it
    save = partial(save_weights, path, state_to_save(model), model.config, **record)
    save()
    with _all_cores():
        figures = recipe.measure(trained)
    save(measured=figures)
    checkpoint.unlink(missing_ok=True)
    return f"{path}: {last.seconds / 60:.1f} minutes on {record['hardware']}, {figures}"


@contextmanager
def _alone(checkpoint: Path) -> Iterator[None]:
    """Refuse to train where another training does; the system forgets the lock of a process that was killed."""
    if os.environ.get("RANK", "0") != "0":  # of many processes of one training, the first one asks
        yield
        return
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    path = checkpoint.with_name(f".{checkpoint.stem}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"another training writes {checkpoint}: wait for it, or choose another folder") from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does so by itself
            path.unlink()  # before the release, so that nobody else can hold it
        lock.release()


@contextmanager
def _all_cores() -> Iterator[None]:
    """The other processes of the training are done: their cores help to measure."""
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# ---------------------------------------------------------------- the whole machine

# What a quick machine's recipes are given, and how many minutes each stage takes: quick on two cores of a CPU, and at
# its full length on the hardware that the shipped files were trained on.
QUICK: dict[str, dict[str, Any]] = {
    "vae": {"steps": 2000, "batch_size": 16, "standardized": True},
    "clip": {"steps": 500},
    "ldm": {"steps": 1900, "copies": 1, "unknown": False},
}
MINUTES = {"vae": (6.0, 27.0), "clip": (5.5, 41.0), "ldm": (15.0, 294.0)}
FILES = {"vae": "vae", "clip": "text_encoder", "ldm": "unet"}


def make_all(
    out: str | Path, quick: bool = False, seed: int = 0, rows: int = 60_000, captions: int = 2000, command: str = ""
) -> str:
    """Train a whole machine from nothing: autoencoder, text encoder and UNet, one after the other, under one bar.

    The judge, which only measures, is copied from the shipped one. An interrupted run continues where it was.

    Args:
        out: folder, that of `TextToImage.from_pretrained` afterwards.
        quick: in about half an hour on two cores of a CPU, instead of with all the steps of the shipped files.
        seed, rows: as in every recipe.
        captions: how many held-out captions the machine is measured on.
        command: what the user typed; files of another command are not built upon.

    Returns:
        A few lines that say what was made, how good it is, and how to draw with it.

    Raises:
        UserError: the folder has files of another command, or as for `make`.
        Stopped: as for `make`.
    """
    out = Path(out)
    if int(os.environ.get("WORLD_SIZE") or 1) > 1:
        raise UserError("a whole machine is trained by one process: start it without torchrun, or unset WORLD_SIZE")
    check_writable(out / "unet.safetensors")
    done = [name for name in FILES if _is_made(out, name, command)]
    if not weights_path("judge", out).exists():
        out.mkdir(parents=True, exist_ok=True)
        with atomic_write(weights_path("judge", out)) as unfinished:
            unfinished.write_bytes(weights_path("judge").read_bytes())
    shares = {name: minutes[0 if quick else 1] for name, minutes in MINUTES.items()}
    look = "{desc}{percentage:3.0f}% |{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=sum(shares.values()), bar_format=look, mininterval=1.0) as bar:
        for name, share in shares.items():
            if name in done:
                skip(bar, share)
                continue
            bar.set_description(f"{FILES[name]}, getting ready")
            options = {"seed": seed, "rows": rows, **(QUICK[name] if quick else {})}
            if name == "ldm":
                options |= {"models": out, "captions": captions}
            make(globals()[name](**options), out, command, bar, share)
    return _about_machine(out)


def _is_made(out: Path, name: str, command: str) -> bool:
    """Whether this command has made that stage's file."""
    path = weights_path(FILES[name], out)
    if not path.exists() or path.with_suffix(".checkpoint").exists():
        return False
    other = read_weights(FILES[name], out)[1].get("command")
    if other != command:
        raise UserError(f"{path} was made by another command ({other!r}): choose another folder, or delete it")
    return True


def _about_machine(out: Path) -> str:
    records = {name: read_weights(name, out)[1] for name in FILES.values()}
    minutes, figures = sum(record["seconds"] for record in records.values()) / 60, records["unet"]["measured"]
    shares = ", ".join(f"{name} {figures[name]:.1%}" for name in ("digit", "ink", "background", "slant", "stroke"))
    return "\n".join(
        [
            f"{out}: {minutes:.1f} minutes of training on {records['unet']['hardware']}",
            f"right on {figures['n']:,} held-out captions: {shares}; all that is named {figures['all']:.1%}",
            f"Fréchet distance {figures['frechet']:.2f} (real against real {figures['frechet_floor']:.2f})",
            f'to draw with it: tinyldm generate "a thick red seven leaning left" --models {out}',
        ]
    )


# ---------------------------------------------------------------- what measures


def judge(steps: int = 3000, batch_size: int = 128, seed: int = 0, rows: int = 60_000) -> Recipe:
    """The judge: the classifier that says which digit is in a picture."""
    settings = TrainSettings(steps, batch_size, learning_rate=2e-3, weight_decay=0.05, seed=seed)
    _check(batch_size, rows)
    mnist, device = load_mnist("train"), best_device()
    images, labels = mnist.padded()[:rows].to(device), mnist.labels[:rows].to(device)

    def loss(model: nn.Module, index: Tensor, generator: torch.Generator) -> Tensor:
        return F.cross_entropy(model(jitter(images[index], generator)), labels[index], label_smoothing=0.05)

    def measure(model: Judge) -> Figures:
        return {"accuracy": judge_accuracy(model)}

    model = _seeded(seed, Judge)
    return Recipe("judge", model, settings, _training(model, loss, len(labels), settings), measure)


# ---------------------------------------------------------------- the text-to-image model


def vae(
    steps: int = 2400, batch_size: int = 64, seed: int = 0, rows: int = 60_000, standardized: bool = False
) -> Recipe:
    """The autoencoder: colour pictures to latents and back.

    Args:
        steps, batch_size, seed, rows: as in every recipe.
        standardized: whether each channel of the latents gets the same mean and spread (`VAE.standardize`).
    """
    settings = TrainSettings(steps, batch_size, learning_rate=2e-3, weight_decay=0.0, seed=seed)
    _check(batch_size, rows)
    data = CaptionedMNIST("train", limit=rows).to(best_device())
    config = VAEConfig(block_out_channels=(32, 32, 64), norm_num_groups=16)

    def loss(model: VAE, index: Tensor, generator: torch.Generator) -> Tensor:
        return vae_loss(model, data.images(index), kl_weight=1e-4, generator=generator)[0]

    @torch.no_grad()
    def finish(model: VAE) -> VAE:
        """Measure the scaling factor on 4,000 training pictures."""
        sample = torch.arange(0, len(data), max(1, len(data) // 4000))
        pictures = data.images(sample.to(best_device())).cpu()
        if standardized:
            model.standardize(model.encode(pictures, seeded_generator(0)))
        latents = model.encode(pictures, seeded_generator(0))
        model.config = replace(model.config, scaling_factor=model.measure_scaling_factor(latents))
        return model

    def measure(model: VAE) -> Figures:
        return {"psnr": _psnr_of(lambda images: model.decode(model.encode(images, sample=False)))}

    model = _seeded(seed, lambda: VAE(config))
    return Recipe("vae", model, settings, _training(model, loss, len(data), settings), measure, finish)


def clip(steps: int = 2400, batch_size: int = 512, seed: int = 0, rows: int = 60_000) -> Recipe:
    """The text encoder, trained to match captions with pictures (CLIP).

    The batch is large because the fine distinctions need it: of 512 captions several share digit and ink with a
    picture, so that only "medium" or "upright" tells them apart.
    """
    settings = TrainSettings(steps, batch_size, learning_rate=1e-3, seed=seed)
    _check(batch_size, rows, copies=2)
    data = CaptionedMNIST("train", limit=rows, copies=2).to(best_device())
    tokens = tokenize(data.captions)
    longest = trim(tokens).shape[1] + 3  # with the unknown words
    tokens = tokens[:, :longest].to(best_device())
    model = _seeded(seed, lambda: CLIP(TextEncoder(), ImageEncoder()))
    keep_unknown_silent(model.text, tokens)

    def loss(model: CLIP, index: Tensor, generator: torch.Generator) -> Tensor:
        return model(data.images(index), sprinkle_unknown(tokens[index], generator))

    def measure(model: CLIP) -> Figures:
        return {"retrieval": _retrieval(model)}

    run = _training(model, loss, len(data), settings)
    return Recipe("text_encoder", model, settings, run, measure, finish=lambda model: model.text)


def ldm(
    steps: int = 50_000,
    batch_size: int = 128,
    seed: int = 0,
    rows: int = 60_000,
    models: Path | None = None,
    captions: int = 2000,
    copies: int = 2,
    unknown: bool = True,
) -> Recipe:
    """The noise predictor of the latent diffusion model, steered by text.

    Args:
        steps, batch_size, seed, rows: as in every recipe.
        models: folder of the judge, the autoencoder and the text encoder; by default the shipped ones.
        captions: how many held-out captions the model is measured on.
        copies: how many times each digit appears, in other colours and words.
        unknown: whether unknown words are sprinkled into the captions, so that it learns to ignore them.
    """
    restarts = tuple(step for step in (20_000, 34_000) if step < steps)
    settings = TrainSettings(steps, batch_size, learning_rate=1e-3, seed=seed, restarts=restarts)
    _check(batch_size, rows, copies=copies, measured=captions)
    config = DiffusionConfig()
    schedule = config.schedule()
    judge = Judge.from_pretrained(models)  # now, so that a missing one does not stop the end of a long training
    vae, text = VAE.from_pretrained(models), TextEncoder.from_pretrained(models)
    data = CaptionedMNIST("train", limit=rows, copies=copies)
    posterior, device = seeded_generator(seed), best_device()
    vae, text = vae.to(device), text.to(device)
    with torch.no_grad(), autocast():
        latents = _in_batches(
            "latents", len(data), lambda part: vae.encode(data.images(part).to(device), posterior).float()
        )
    context_of = _read_anew(text, data.captions) if unknown else _read_before(text, data.captions)

    def loss(model: nn.Module, index: Tensor, generator: torch.Generator) -> Tensor:
        context = context_of(index, generator)
        return diffusion_loss(model, schedule, latents[index], generator, config.prediction_type, context)

    def measure(model: DiffusionModel) -> Figures:
        pipeline = TextToImage(vae, text, model.unet, config).to(best_device())
        return _as_figures(evaluate(lambda prompts: pipeline.images(prompts, seed=0), captions, judge=judge))

    model, inputs = _seeded(seed, lambda: DiffusionModel(config)), _fingerprints(models, "vae", "text_encoder")
    run = _training(model, loss, len(latents), settings, inputs)
    return Recipe("unet", model, settings, run, measure)


# ---------------------------------------------------------------- the other methods of the course


def gan(steps: int = 10_000, batch_size: int = 64, seed: int = 0, rows: int = 60_000, samples: int = 10_000) -> Recipe:
    """The generator of the GAN, the old method; ``samples`` of its pictures are measured."""
    settings = TrainSettings(steps, batch_size, learning_rate=2e-4, seed=seed)
    _check(batch_size, rows, measured=samples)
    images = load_mnist("train").padded()[:rows].to(best_device())
    generator, discriminator = _seeded(seed, lambda: (Generator(), Discriminator()))
    generator, discriminator = generator.to(best_device()), discriminator.to(best_device())

    def measure(model: Generator) -> Figures:
        return _sample_figures(model.images(samples))

    rates: dict[str, Any] = {"learning_rate": settings.learning_rate, "seed": seed}
    run = partial(train_gan, generator, discriminator, images, steps, batch_size, **rates)
    return Recipe("gan", generator, settings, run, measure)


def pixel(steps: int = 6000, batch_size: int = 512, seed: int = 0, rows: int = 60_000, samples: int = 10_000) -> Recipe:
    """The noise predictor of lesson 03: pixels, no text; ``samples`` of its pictures are measured."""
    settings = TrainSettings(steps, batch_size, learning_rate=2e-3, seed=seed)
    _check(batch_size, rows, measured=samples)
    images = load_mnist("train").padded()[:rows].to(best_device())
    unet = UNetConfig(
        in_channels=1,
        out_channels=1,
        block_out_channels=(32, 64, 96, 128),
        attention=(False,) * 4,
        context_dim=None,
        norm_num_groups=8,
    )
    config = DiffusionConfig(
        unet,
        sample_size=32,
        schedule_kind="cosine",
        zero_terminal_snr=False,
        prediction_type="v_prediction",
        sampler="ddpm",
        num_inference_steps=100,
    )
    schedule = config.schedule()

    def loss(model: nn.Module, index: Tensor, generator: torch.Generator) -> Tensor:
        return diffusion_loss(model, schedule, images[index], generator, config.prediction_type)

    def measure(model: DiffusionModel) -> Figures:
        return _sample_figures(model.to(best_device()).images(samples, progress=True).cpu())

    model = _seeded(seed, lambda: DiffusionModel(config))
    return Recipe("pixel", model, settings, _training(model, loss, len(images), settings), measure)


def vqvae(steps: int = 4000, batch_size: int = 64, seed: int = 0, rows: int = 60_000) -> Recipe:
    """The autoencoder with a codebook: colour pictures to 8x8 codes and back."""
    settings = TrainSettings(steps, batch_size, learning_rate=2e-3, weight_decay=0.0, seed=seed)
    _check(batch_size, rows)
    data = CaptionedMNIST("train", limit=rows).to(best_device())

    def loss(model: VQVAE, index: Tensor, generator: torch.Generator) -> Tensor:
        return vq_loss(model, data.images(index))[0]

    @torch.no_grad()
    def measure(model: VQVAE) -> Figures:
        """PSNR on held-out digits; how much of the codebook 4,000 training pictures use."""
        sample = torch.arange(0, len(data), max(1, len(data) // 4000))
        parts = sample.to(best_device()).split(ENCODING_BATCH)
        codes = torch.cat([model.encode(data.images(part).cpu()) for part in parts])
        size = model.config.codebook_size
        used = {"codes_used": round(len(codes.unique()) / size, 3), "perplexity": round(perplexity(codes, size), 1)}
        return {"psnr": _psnr_of(lambda images: model.decode(model.encode(images))), **used}

    model = _seeded(seed, VQVAE)
    return Recipe("vqvae", model, settings, _training(model, loss, len(data), settings), measure)


def prior(
    steps: int = 9000,
    batch_size: int = 256,
    seed: int = 0,
    rows: int = 60_000,
    models: Path | None = None,
    samples: int = 10_000,
) -> Recipe:
    """The transformer that writes the codes of new pictures.

    Args:
        steps, batch_size, seed, rows: as in every recipe.
        models: folder of the VQ-VAE; by default the shipped one.
        samples: how many of its pictures are measured.
    """
    settings = TrainSettings(steps, batch_size, learning_rate=1e-3, seed=seed)
    _check(batch_size, rows, copies=4, measured=samples)
    vqvae, data = VQVAE.from_pretrained(models), CaptionedMNIST("train", limit=rows, copies=4)
    labels = data.labels.to(best_device())
    with torch.no_grad():
        vqvae = vqvae.to(best_device())
        codes = _in_batches(
            "codes", len(data), lambda part: vqvae.encode(data.images(part).to(best_device())).flatten(1)
        )

    def loss(model: CodePrior, index: Tensor, generator: torch.Generator) -> Tensor:
        return model.loss(labels[index], codes[index])

    def measure(model: CodePrior) -> Figures:
        with autocast():
            pictures = vqvae.images(model.to(best_device()), samples, progress=True)
        return _sample_figures(pictures.float().cpu())

    model, inputs = _seeded(seed, CodePrior), _fingerprints(models, "vqvae")
    return Recipe("prior", model, settings, _training(model, loss, len(codes), settings, inputs), measure)


# ---------------------------------------------------------------- what recipes share


def _check(batch_size: int, rows: int, copies: int = 1, measured: int = 2) -> None:
    """Refuse, before anything is read, what cannot be trained on or measured at the end.

    Args:
        batch_size: of a training on ``copies`` captions for each of the first ``rows`` digits.
        measured: how many pictures are compared with as many test digits at the end.
    """
    for name, number, least, most in (("rows", rows, 1, TRAINING_DIGITS), ("pictures to measure", measured, 2, 10_000)):
        if not least <= number <= most:
            raise UserError(f"{name} must be between {least} and {most:,}, not {number:,}")
    check_batch(batch_size, copies * rows)


def _seeded(seed: int, make_model: Callable[[], Any]) -> Any:
    """A model whose first values follow from ``seed``; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checked_seed(seed))
        return make_model()


def _training(
    model: nn.Module, loss: LossFunction, rows: int, settings: TrainSettings, inputs: dict[str, str] | None = None
) -> Callable[..., Iterator[TrainStep]]:
    """`training.train` for a loss whose data lie on the `best_device`."""
    return partial(train, model, loss, rows, settings, inputs=inputs, resident=True)


def _fingerprints(models: Path | None, *names: str) -> dict[str, str]:
    """Of the weights files that a training reads."""
    paths = [weights_path(name, models) for name in names]
    return {path.name: fingerprint(path.read_bytes()) for path in paths}


def _in_batches(what: str, rows: int, encode: Callable[[Tensor], Tensor]) -> Tensor:
    """Encode all rows once, given their numbers: an encoder costs as much as the network that is trained."""
    parts = tqdm(torch.arange(rows).split(ENCODING_BATCH), desc=what, unit="batch", mininterval=1.0, leave=False)
    return torch.cat([encode(part) for part in parts])


def _read_anew(text: TextEncoder, captions: list[str]) -> Callable[[Tensor, torch.Generator], Tensor]:
    """What the UNet reads of the rows' captions, with unknown words sprinkled in and some captions left out."""
    tokens = tokenize(captions).to(best_device())

    @torch.no_grad()
    def context_of(index: Tensor, generator: torch.Generator) -> Tensor:
        return text(drop_captions(sprinkle_unknown(tokens[index], generator), generator))

    return context_of


def _read_before(text: TextEncoder, captions: list[str]) -> Callable[[Tensor, torch.Generator], Tensor]:
    """As `_read_anew` without unknown words: then each caption need be encoded only once, in 20 kB."""
    different = list(dict.fromkeys(["", *captions]))
    tokens = tokenize(different).to(best_device())
    with torch.no_grad(), autocast():
        read = _in_batches("captions", len(different), lambda part: text(tokens[part]).bfloat16())
    places = {caption: place for place, caption in enumerate(different)}
    place_of_row = torch.tensor([places[caption] for caption in captions], device=best_device())

    def context_of(index: Tensor, generator: torch.Generator) -> Tensor:
        dropped = torch.rand(len(index), generator=generator, device=index.device) < DROPPED
        return read[torch.where(dropped, 0, place_of_row[index])].float()

    return context_of


def _as_figures(report: Report) -> Figures:
    shares = {name: round(value, 4) for name, value in report.fidelity.items()}
    return {"n": report.n, **shares, "frechet": round(report.frechet, 3), "frechet_floor": round(report.floor, 3)}


def _sample_figures(images: Tensor) -> Figures:
    """What is measured of a model without prompts."""
    frechet, floor = frechet_beside_floor(images)
    distances = {"frechet": round(frechet, 3), "frechet_floor": round(floor, 3)}
    return {"n": len(images), **distances, "rarest_digit": round(digit_shares(images).min().item(), 4)}


@torch.no_grad()
def _psnr_of(encode_and_decode: Callable[[Tensor], Tensor]) -> float:
    """Of an autoencoder, on held-out captioned digits, in dB."""
    images = CaptionedMNIST("test", limit=TEST_DIGITS).images(torch.arange(TEST_DIGITS))
    copies = torch.cat([encode_and_decode(part).clamp(-1, 1) for part in images.split(ENCODING_BATCH)])
    return round(psnr(images, copies), 2)


@torch.no_grad()
def _retrieval(model: CLIP) -> float:
    """How often the right one of 100 held-out captions is the nearest to a picture, in [0, 1], over 20 such groups."""
    test = CaptionedMNIST("test", limit=TEST_DIGITS)
    tokens, right = tokenize(test.captions), 0
    for part in torch.arange(len(test)).split(100):
        nearest = model.similarity(test.images(part), tokens[part]).argmax(1)
        right += int((nearest == torch.arange(len(part))).sum())
    return right / len(test)
