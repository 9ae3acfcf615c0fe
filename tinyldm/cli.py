"""The command line: ``tinyldm generate``, ``evaluate``, ``export`` and ``train``.

Design choices
- A ``train`` command's defaults are the recipe of the shipped file of that name.
- Whatever a user can get wrong ends in one line on stderr and exit code 2; tracebacks are for bugs.
- Imports of torch and friends happen inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from tinyldm import __version__

_UsageError = typer.BadParameter.__mro__[2]  # click's ClickException, also where typer brings its own click
MAX_PICTURES = 10_000
MAX_IN_GRID = 64

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
train_app = typer.Typer(no_args_is_help=True)
app.add_typer(train_app, name="train", help="Train a model; the defaults are the recipe of the shipped weights.")


def main() -> None:
    """Run the command line; an error that a user can cause becomes one line on stderr and exit code 2."""
    command = typer.main.get_command(app)
    try:
        sys.exit(command(standalone_mode=False))
    except _UsageError as error:
        problem = error.format_message()
    except OSError as error:
        problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except ValueError as error:
        problem = str(error)
    except (KeyboardInterrupt, typer.Abort):
        print("tinyldm: stopped", file=sys.stderr)
        sys.exit(130)  # as shells say of a program that Ctrl-C ended
    if problem:
        print(f"tinyldm: {' '.join(problem.split())}", file=sys.stderr)
    sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tinyldm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Type a prompt, get an image: a text-to-image latent diffusion model of handwritten digits."""


# ---------------------------------------------------------------- generate and evaluate

Guidance = Annotated[float | None, typer.Option(help="0: no prompt, 1: the prompt, more: exaggerated (default 3).")]
Inference = Annotated[int | None, typer.Option("--steps", help="Steps of the sampler, 1 to 1000 (default 12).")]
Sampler = Annotated[str | None, typer.Option(help="ddpm, ddim, dpm++, euler or heun (default dpm++).")]
Models = Annotated[Path | None, typer.Option(help="Folder of weights to use (default: the shipped ones).")]


@app.command()
def generate(
    prompt: Annotated[list[str] | None, typer.Argument(help="One or more prompts, each in quotes.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="A text file with one prompt a line.")] = None,
    negative: Annotated[str, typer.Option(help="What the pictures should get away from.")] = "",
    steps: Inference = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same pictures.")] = 0,
    count: Annotated[int, typer.Option(help="Pictures for each prompt.")] = 1,
    image: Annotated[Path | None, typer.Option(help="Start from this picture instead of noise.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Draw --image anew only where this picture is white.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="How much --image may change, 0 to 1 (default 0.6, with --mask 1).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A .png file, or a folder for several (default: the prompt, or `pictures`).")
    ] = None,
) -> None:
    """Draw pictures: `tinyldm generate "a thick red seven leaning left"`.

    Several pictures become 0000.png, 0001.png, ... in the order of the prompts, and grid.png shows them side by side.
    """
    texts = _all_prompts(prompt or [], prompts, count)
    if image is None and (mask is not None or strength is not None):
        raise ValueError("--mask and --strength need --image, the picture to start from")
    target = _target(texts, out)
    with _without_garbage_collection(), _plain_warnings():
        from tinyldm.pipeline import TextToImage, to_pil

        pipeline = TextToImage.from_pretrained()
        options = {"negative_prompt": negative, "num_inference_steps": steps, "guidance_scale": guidance}
        if image is not None:
            usual = 0.6 if mask is None else 1.0
            options |= {"image": image, "mask": mask, "strength": usual if strength is None else strength}
        images = pipeline.images(texts, seed=seed, sampler=sampler, progress=True, **options)
    if len(texts) == 1:
        _write(target, lambda path: to_pil(images[0]).save(path, "PNG"))
        print(target)
        return
    for number, image in enumerate(images):
        _write(target / f"{number:04d}.png", lambda path, image=image: to_pil(image).save(path, "PNG"))
    from tinyldm.plotting import image_grid

    shown = min(len(texts), MAX_IN_GRID)
    _write(target / "grid.png", lambda path: image_grid(images[:shown], texts[:shown]).savefig(path, format="png"))
    print(f"{len(texts)} pictures in {target}, {shown} of them side by side in {target / 'grid.png'}")


@app.command()
def evaluate(
    n: Annotated[int, typer.Option("--n", help="How many held-out captions, 2 to 10,000.")] = 2000,
    steps: Inference = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    seed: Annotated[int, typer.Option(help="Of captions and pictures.")] = 0,
    models: Models = None,
) -> None:
    """Measure the model: does it draw what held-out captions say, and do its digits look like real ones?"""
    from tinyldm.evaluation import evaluate
    from tinyldm.pipeline import TextToImage

    pipeline = TextToImage.from_pretrained(models)
    options = {"num_inference_steps": steps, "guidance_scale": guidance, "sampler": sampler, "progress": True}
    print(evaluate(lambda captions: pipeline.images(captions, seed=seed, **options), n=n, seed=seed))


@app.command("ladder")
def _ladder(
    n: Annotated[int, typer.Option("--n", min=2, max=10_000, help="How many pictures of each method.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of pictures and captions.")] = 0,
) -> None:
    """Compare all methods of the course, from the shipped weights, in one table."""
    print(ladder(n, seed))


def ladder(n: int = 1000, seed: int = 0) -> str:
    """All methods of the course side by side, from the shipped weights: a Markdown table.

    Parameters and minutes of training are those of all files that a method needs; for the empty prompt of "latent
    diffusion", which is always the same, the text encoder isn't counted. Fréchet distances are those of ``n`` pictures,
    of their shapes alone; "all named right" is the share of pictures that match their captions.
    """
    from tqdm.auto import tqdm

    from tinyldm.autoencoder import VQVAE, CodePrior
    from tinyldm.data import CaptionedMNIST
    from tinyldm.gan import Generator
    from tinyldm.pipeline import DiffusionModel, TextToImage

    machine, test = TextToImage.from_pretrained(), CaptionedMNIST("test", seed=seed, limit=n)
    gan, pixel = Generator.from_pretrained(), DiffusionModel.from_pretrained("pixel")
    vqvae, prior = VQVAE.from_pretrained(), CodePrior.from_pretrained()
    for model in (gan, pixel, vqvae, prior):
        model.to(machine.device)
    latent = ["vae", "unet"]
    methods = [  # name, files, and how to draw n pictures
        ("GAN", ["gan"], lambda n: gan.images(n, seed)),
        ("diffusion on pixels", ["pixel"], lambda n: pixel.images(n, seed=seed)),
        ("VAE alone, latents from N(0, 1)", ["vae"], lambda n: machine.vae.images(n, seed)),
        ("VQ-VAE with its prior", ["vqvae", "prior"], lambda n: vqvae.images(prior, n, seed)),
        ("latent diffusion", latent, lambda n: machine.images([""] * n, seed=seed, guidance_scale=0)),
        (
            "latent diffusion with text",
            [*latent, "text_encoder"],
            lambda n: machine.images(test.captions[:n], seed=seed),
        ),
    ]
    rungs = [_rung(*method, test) for method in tqdm(methods, desc="ladder", unit="method", leave=False)]
    floor = rungs[0][1]
    distance = f"Fréchet distance at N = {n:,} (real against real: {floor:.2f})"
    head = ["method", "million parameters", "minutes of training", "on", "ms a picture", distance, "all named right"]
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *[line for line, _ in rungs]])


def _rung(name: str, files: list[str], draw, test) -> tuple[str, float]:
    """A line of the ladder, and the distance of real from real digits."""
    import time

    from tinyldm.evaluation import Judge, frechet_beside_floor, prompt_fidelity, read
    from tinyldm.weights import read_weights

    draw(2)  # the first call is slower
    start = time.perf_counter()
    images = draw(len(test)).cpu()
    milliseconds = 1000 * (time.perf_counter() - start) / len(test)
    distance, floor = frechet_beside_floor(images)
    named = "-"
    if "text_encoder" in files:
        seen = [row for part in images.split(500) for row in read(part, Judge.from_pretrained())]
        named = f"{prompt_fidelity(test.named, seen)['all']:.1%}"
    weights = [read_weights(file) for file in files]
    parameters = sum(tensor.numel() for state, _ in weights for tensor in state.values()) / 1e6
    minutes = sum(story["seconds"] for _, story in weights) / 60
    hardware = "; ".join(dict.fromkeys(story["hardware"] for _, story in weights))
    cells = [f"{parameters:.2f}", f"{minutes:.0f}", hardware, f"{milliseconds:.1f}", f"{distance:.2f}", named]
    return f"| {name} | {' | '.join(cells)} |", floor


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="A new folder for diffusers, a .safetensors file for compvis.")],
    to: Annotated[str, typer.Option(help="diffusers: a folder that its pipelines open; compvis: a single file.")],
    models: Models = None,
) -> None:
    """Write the model in one of Stable Diffusion's two layouts, for other programs."""
    from tinyldm.pipeline import TextToImage
    from tinyldm.stable_diffusion import save_compvis, save_diffusers

    layouts = {"diffusers": save_diffusers, "compvis": save_compvis}
    if to not in layouts:
        raise ValueError(f"--to must be diffusers or compvis, not {to!r}")
    layouts[to](TextToImage.from_pretrained(models, device="cpu"), path)
    print(path)


def _all_prompts(given: list[str], file: Path | None, count: int) -> list[str]:
    if not 1 <= count <= MAX_PICTURES:
        raise ValueError(f"--count must be between 1 and {MAX_PICTURES:,}, not {count}")
    try:
        lines = file.read_text("utf-8-sig").splitlines() if file else []
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not a text file in UTF-8") from error
    texts = [text for text in [*given, *lines] for _ in range(count)]
    if not texts:
        raise ValueError('nothing to draw: give a prompt, as in `tinyldm generate "a red seven"`, or --prompts FILE')
    if len(texts) > MAX_PICTURES:
        raise ValueError(f"{len(texts):,} pictures are too many at once; at most {MAX_PICTURES:,}")
    return texts


def _target(texts: list[str], out: Path | None) -> Path:
    """Where to write; looked at before the work begins, made when there is something to write."""
    if len(texts) > 1:
        out = out or Path("pictures")
        if out.suffix.lower() == ".png" or (out.exists() and not out.is_dir()):
            raise ValueError(f"--out must be a folder for {len(texts)} pictures, not {out}")
    else:
        out = out or Path((re.sub(r"[^a-z0-9]+", "-", texts[0].lower()).strip("-") or "picture")[:80] + ".png")
        if out.suffix.lower() != ".png" or out.is_dir():
            raise ValueError(f"--out must be a .png file for one picture, not {out}")
    nearest = next(parent for parent in [out.absolute(), *out.absolute().parents] if parent.exists())
    if not os.access(nearest, os.W_OK) or (nearest.is_file() and nearest != out.absolute()):
        raise ValueError(f"cannot write {out}: {nearest} is not a folder that may be written to")
    return out


def _write(path: Path, save) -> None:
    """Write under another name, then rename: a file is whole or not there."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(unfinished)
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ValueError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def _without_garbage_collection():
    """Thousands of modules are imported and none becomes garbage: not looking for it starts a second sooner."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _plain_warnings():
    """Warnings about prompts as one plain line each."""
    from tinyldm.text import PromptWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", PromptWarning)
        warnings.showwarning = lambda message, *_: print(f"tinyldm: {message}", file=sys.stderr)
        yield


# ---------------------------------------------------------------- train

Steps = Annotated[int, typer.Option(min=1, help="Steps to train.")]
Batch = Annotated[int, typer.Option(min=1, help="Rows a step, over all processes together.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
Out = Annotated[Path, typer.Option(help="Folder for the weights, and for the checkpoint to go on from after a kill.")]
Rows = Annotated[int, typer.Option(min=1, help="Use only this many training digits.")]
Samples = Annotated[int, typer.Option(min=2, max=10_000, help="How many of its pictures to measure at the end.")]


@train_app.command("judge")
def train_judge(
    steps: Steps = 3000, batch_size: Batch = 128, seed: Seed = 0, out: Out = Path("weights"), rows: Rows = 60_000
) -> None:
    """The judge: the classifier that says which digit is in a picture."""
    import torch.nn.functional as F

    from tinyldm.data import load_mnist
    from tinyldm.evaluation import Judge, jitter, judge_accuracy

    mnist = load_mnist("train")
    images, labels = mnist.padded()[:rows], mnist.labels[:rows]

    def loss(model, index, generator):
        scores = model(jitter(images[index], generator).to(_device(model)))
        return F.cross_entropy(scores, labels[index].to(scores.device), label_smoothing=0.05)

    settings = _settings(steps, batch_size, seed, learning_rate=2e-3, weight_decay=0.05)
    _train_and_save("judge", Judge(), loss, len(labels), settings, out, lambda m: {"accuracy": judge_accuracy(m)})


@train_app.command("vae")
def train_vae(
    steps: Steps = 2400, batch_size: Batch = 64, seed: Seed = 0, out: Out = Path("weights"), rows: Rows = 60_000
) -> None:
    """The autoencoder: colour pictures to latents and back."""
    from tinyldm.autoencoder import VAE, VAEConfig, vae_loss
    from tinyldm.data import CaptionedMNIST

    data = CaptionedMNIST("train", limit=rows)

    def loss(model, index, generator):
        return vae_loss(model, data.images(index).to(_device(model)), kl_weight=1e-4, generator=generator)[0]

    settings = _settings(steps, batch_size, seed, learning_rate=2e-3, weight_decay=0.0)
    vae = VAE(VAEConfig(block_out_channels=(32, 32, 64), norm_num_groups=16))
    _train_and_save("vae", vae, loss, len(data), settings, out, lambda m: _scale_and_measure(m, data))


@train_app.command("clip")
def train_clip(
    steps: Steps = 2400, batch_size: Batch = 512, seed: Seed = 0, out: Out = Path("weights"), rows: Rows = 60_000
) -> None:
    """The text encoder, by contrast with pictures (CLIP).

    The batch is large because the fine distinctions need it: of 512 captions several share digit and ink with a
    picture, so that only "medium" or "upright" tells them apart.
    """
    from tinyldm.data import CaptionedMNIST
    from tinyldm.text import CLIP, ImageEncoder, TextEncoder, keep_unknown_silent, sprinkle_unknown, tokenize, trim

    settings = _settings(steps, batch_size, seed, learning_rate=1e-3)
    data = CaptionedMNIST("train", limit=rows, copies=2)
    tokens = tokenize(data.captions)
    text = TextEncoder()
    keep_unknown_silent(text, tokens)

    def loss(model, index, generator):
        captions = trim(sprinkle_unknown(tokens[index], generator))
        return model(data.images(index).to(_device(model)), captions.to(_device(model)))

    def measure(model):
        return {"retrieval": _retrieval(model)}

    _train_and_save("text_encoder", CLIP(text, ImageEncoder()), loss, len(data), settings, out, measure, "text")


@train_app.command("ldm")
def train_ldm(
    steps: Steps = 50_000,
    batch_size: Batch = 128,
    seed: Seed = 0,
    out: Out = Path("weights"),
    rows: Rows = 60_000,
    models: Models = None,
    captions: Annotated[int, typer.Option(help="How many held-out captions to measure it on at the end.")] = 2000,
) -> None:
    """The noise predictor of the latent diffusion model, steered by text."""
    import torch
    import torch.nn.functional as F

    from tinyldm.evaluation import Judge, evaluate
    from tinyldm.pipeline import DiffusionConfig, DiffusionModel
    from tinyldm.text import sprinkle_unknown
    from tinyldm.training import best_device

    config = DiffusionConfig()
    schedule = config.schedule()
    judge = Judge.from_pretrained(models)  # now, so that a missing one does not stop the end of a long training
    vae, text = _load_autoencoder_and_text(models)
    latents, tokens, empty = _latents_and_tokens(vae, rows, seed)

    def loss(model, index, generator):
        device = _device(model)
        text.to(device)
        x0 = latents[index]
        t = _even_steps(len(index), len(schedule), generator)
        noise = torch.randn(x0.shape, generator=generator)
        drop = torch.rand(len(index), generator=generator) < 0.1  # Ho & Salimans 2022: so that it knows "no prompt" too
        captions = torch.where(drop[:, None], empty, sprinkle_unknown(tokens[index], generator))
        with torch.no_grad():
            context = text(captions.to(device))
        prediction = model(schedule.add_noise(x0, noise, t).to(device), t.to(device), context)
        return F.mse_loss(prediction, schedule.target(x0, noise, t, config.prediction_type).to(device))

    def measure(model):
        from tinyldm.pipeline import TextToImage

        pipeline = TextToImage(vae, text, model, config).to(best_device())
        return _as_figures(evaluate(lambda prompts: pipeline.images(prompts, seed=0), captions, judge=judge))

    settings = _settings(steps, batch_size, seed, learning_rate=1e-3, restarts=(20_000, 34_000))
    _train_and_save("unet", DiffusionModel(config), loss, len(latents), settings, out, measure)


@train_app.command("gan")
def train_gan(
    steps: Steps = 10_000,
    batch_size: Batch = 64,
    seed: Seed = 0,
    out: Out = Path("weights"),
    rows: Rows = 60_000,
    samples: Samples = 10_000,
) -> None:
    """The generator of the GAN, the old method."""
    import torch
    from tqdm.auto import tqdm

    from tinyldm.data import load_mnist
    from tinyldm.gan import Discriminator, Generator
    from tinyldm.gan import train_gan as turns
    from tinyldm.training import best_device

    images = load_mnist("train").padded()[:rows]
    torch.manual_seed(seed)
    generator, discriminator = Generator().to(best_device()), Discriminator().to(best_device())
    game = turns(generator, discriminator, images, steps, batch_size, seed=seed)
    for step in tqdm(game, "gan", steps, unit="step", mininterval=1.0):
        last = step
    generator = generator.eval().cpu()
    _save("gan", generator, out, seed, last.seconds, _hardware(), _sample_figures(generator.images(samples)))


@train_app.command("pixel")
def train_pixel(
    steps: Steps = 6000,
    batch_size: Batch = 512,
    seed: Seed = 0,
    out: Out = Path("weights"),
    rows: Rows = 60_000,
    samples: Samples = 10_000,
) -> None:
    """The noise predictor of lesson 03: pixels, no text."""
    import torch
    import torch.nn.functional as F

    from tinyldm.data import load_mnist
    from tinyldm.pipeline import DiffusionConfig, DiffusionModel
    from tinyldm.training import best_device
    from tinyldm.unet import UNetConfig

    images = load_mnist("train").padded()[:rows]
    shape = {"in_channels": 1, "out_channels": 1, "block_out_channels": (32, 64, 96, 128), "norm_num_groups": 8}
    unet = UNetConfig(**shape, attention=(False,) * 4, context_dim=None)
    sampling = {"sampler": "ddpm", "num_inference_steps": 100}
    config = DiffusionConfig(unet, 32, "cosine", False, "v_prediction", **sampling)
    schedule = config.schedule()

    def loss(model, index, generator):
        x0, device = images[index], _device(model)
        t = _even_steps(len(index), len(schedule), generator)
        noise = torch.randn(x0.shape, generator=generator)
        prediction = model(schedule.add_noise(x0, noise, t).to(device), t.to(device))
        return F.mse_loss(prediction, schedule.target(x0, noise, t, config.prediction_type).to(device))

    settings = _settings(steps, batch_size, seed, learning_rate=2e-3)

    def measure(model):
        with _autocast():
            pictures = model.to(best_device()).images(samples, progress=True)
        return _sample_figures(pictures.cpu())

    _train_and_save("pixel", DiffusionModel(config), loss, len(images), settings, out, measure)


@train_app.command("vqvae")
def train_vqvae(
    steps: Steps = 4000, batch_size: Batch = 64, seed: Seed = 0, out: Out = Path("weights"), rows: Rows = 60_000
) -> None:
    """The autoencoder with a codebook: colour pictures to 8x8 code numbers and back."""
    import torch

    from tinyldm.autoencoder import VQVAE, perplexity, vq_loss
    from tinyldm.data import CaptionedMNIST

    data = CaptionedMNIST("train", limit=rows)

    def loss(model, index, generator):
        return vq_loss(model, data.images(index).to(_device(model)))[0]

    def measure(model):
        psnr, numbers = _psnr(lambda images: model.decode(model.encode(images))), []
        with torch.no_grad():
            for part in torch.arange(0, len(data), max(1, len(data) // 4000)).split(250):
                numbers.append(model.encode(data.images(part)))
        numbers, size = torch.cat(numbers), model.config.codebook_size
        used = len(numbers.unique()) / size
        return {"psnr": psnr, "codes_used": round(used, 3), "perplexity": round(perplexity(numbers, size), 1)}

    settings = _settings(steps, batch_size, seed, learning_rate=2e-3, weight_decay=0.0)
    _train_and_save("vqvae", VQVAE(), loss, len(data), settings, out, measure)


@train_app.command("prior")
def train_prior(
    steps: Steps = 9000,
    batch_size: Batch = 256,
    seed: Seed = 0,
    out: Out = Path("weights"),
    rows: Rows = 60_000,
    models: Models = None,
    samples: Samples = 10_000,
) -> None:
    """The transformer that writes the codes of new pictures."""
    import torch
    from tqdm.auto import tqdm

    from tinyldm.autoencoder import VQVAE, CodePrior
    from tinyldm.data import CaptionedMNIST
    from tinyldm.training import best_device

    data, vqvae = CaptionedMNIST("train", limit=rows, copies=4), VQVAE.from_pretrained(models).to(best_device())
    with torch.no_grad():
        parts = tqdm(torch.arange(len(data)).split(250), desc="codes", unit="batch", mininterval=1.0)
        numbers = torch.cat([vqvae.encode(data.images(part).to(best_device())).flatten(1).cpu() for part in parts])

    def loss(model, index, generator):
        device = _device(model)
        return model.loss(data.labels[index].to(device), numbers[index].to(device))

    def measure(model):
        with _autocast():
            pictures = vqvae.images(model.to(best_device()), samples, progress=True)
        return _sample_figures(pictures.float().cpu())

    settings = _settings(steps, batch_size, seed, learning_rate=1e-3)
    _train_and_save("prior", CodePrior(), loss, len(numbers), settings, out, measure)


def _even_steps(n: int, total: int, generator):
    """Steps for n rows, spread evenly over all: less left to chance (Kingma et al. 2021, appendix I.1)."""
    import torch

    even = (torch.arange(n) / n + torch.rand(1, generator=generator)) % 1
    return (even * total).long()


def _sample_figures(images) -> dict:
    """What is measured of a model without prompts, for the metadata of its weights file."""
    from tinyldm.evaluation import digit_shares, frechet_beside_floor

    frechet, floor = frechet_beside_floor(images)
    distances = {"frechet": round(frechet, 3), "frechet_floor": round(floor, 3)}
    return {"n": len(images), **distances, "rarest_digit": round(digit_shares(images).min().item(), 4)}


def _load_autoencoder_and_text(models: Path | None):
    from tinyldm.autoencoder import VAE
    from tinyldm.text import TextEncoder

    return VAE.from_pretrained(models), TextEncoder.from_pretrained(models)


def _latents_and_tokens(vae, rows: int, seed: int):
    """Encode the training set once: at this size the encoder would cost more than the network that is trained."""
    import torch
    from tqdm.auto import tqdm

    from tinyldm.data import CaptionedMNIST
    from tinyldm.text import tokenize
    from tinyldm.training import best_device

    data = CaptionedMNIST("train", limit=rows, copies=2)
    generator = torch.Generator().manual_seed(seed)
    device = best_device()
    vae.to(device)
    with torch.no_grad(), _autocast():
        parts = tqdm(torch.arange(len(data)).split(250), desc="latents", unit="batch", mininterval=1.0)
        latents = torch.cat([vae.encode(data.images(part).to(device), generator).float().cpu() for part in parts])
    return latents, tokenize(data.captions), tokenize([""])


def _as_figures(report) -> dict:
    """A report as plain rounded numbers, for the metadata of a weights file."""
    shares = {name: round(value, 4) for name, value in report.fidelity.items()}
    return {"n": report.n, **shares, "frechet": round(report.frechet, 3), "frechet_floor": round(report.floor, 3)}


def _settings(steps: int, batch_size: int, seed: int, **rest):
    """Settings of the training; call it before the model is made, whose first values it seeds."""
    import torch

    from tinyldm.training import TrainSettings

    torch.manual_seed(seed)  # layers draw their first values from torch's global generator
    return TrainSettings(steps, batch_size, seed=seed, **rest)


def _train_and_save(name, model, loss, rows, settings, out, measure, part=None) -> None:
    """Train with a progress bar, measure, and write ``out/name.safetensors``; many processes, one writer."""
    import torch

    from tinyldm.training import progress, train

    checkpoint = out / f"{name}.checkpoint"
    out.mkdir(parents=True, exist_ok=True)
    for step in progress(train(model, loss, rows, settings, checkpoint), settings.steps, name):
        last = step
    if not last.is_main:
        return
    hardware = _hardware()
    torch.set_num_threads(os.cpu_count())  # the other processes are done: their cores help to measure
    trained = last.ema.eval().cpu().half().float()  # as the file will hold it
    figures = measure(trained)
    trained = getattr(trained, part) if part else trained
    _save(name, trained, out, settings.seed, last.seconds, hardware, figures)
    checkpoint.unlink(missing_ok=True)


def _save(name, model, out, seed, seconds, hardware, figures) -> None:
    """Write a weights file with its whole story, and say so."""
    from tinyldm.weights import save_weights

    state = model.weights() if hasattr(model, "weights") else model.state_dict()
    record = {"seed": seed, "seconds": round(seconds), "hardware": hardware, "measured": figures}
    settings = getattr(model, "settings", model.config)
    save_weights(out / f"{name}.safetensors", state, settings, command=_command(), **record)
    print(f"{out / name}.safetensors: {seconds / 60:.1f} minutes on {hardware}, {figures}")


def _scale_and_measure(vae, data) -> dict:
    """Set the scaling factor from training latents, then measure."""
    import dataclasses

    import torch

    sample = torch.arange(0, len(data), max(1, len(data) // 4000))
    with torch.no_grad():
        latents = vae.encode(data.images(sample), torch.Generator().manual_seed(0))
    vae.config = dataclasses.replace(vae.config, scaling_factor=vae.measure_scaling_factor(latents))
    return {"psnr": _psnr(lambda images: vae.decode(vae.encode(images, sample=False)))}


def _psnr(there_and_back) -> float:
    """Of an autoencoder, on 2,000 held-out captioned digits, in dB."""
    import torch

    from tinyldm.data import CaptionedMNIST
    from tinyldm.evaluation import psnr

    images = CaptionedMNIST("test", limit=2000).images(torch.arange(2000))
    with torch.no_grad():
        again = torch.cat([there_and_back(part).clamp(-1, 1) for part in images.split(250)])
    return round(psnr(images, again), 2)


def _retrieval(clip) -> float:
    """How often the right one of 100 held-out captions is the nearest to a picture, in [0, 1], over 20 such groups."""
    import torch

    from tinyldm.data import CaptionedMNIST
    from tinyldm.text import tokenize

    test = CaptionedMNIST("test", limit=2000)
    tokens, right = tokenize(test.captions), 0
    with torch.no_grad():
        for part in torch.arange(len(test)).split(100):
            nearest = clip.similarity(test.images(part), tokens[part]).argmax(1)
            right += (nearest == torch.arange(len(part))).sum().item()
    return right / len(test)


def _autocast():
    """bfloat16 where the hardware is good at it, for work outside of `train`."""
    import torch

    from tinyldm.training import best_device, best_precision

    return torch.autocast(best_device().type, torch.bfloat16, enabled=best_precision() == "bf16")


def _device(model):
    return next(model.parameters()).device


def _hardware() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    processes, threads = int(os.environ.get("WORLD_SIZE", 1)), torch.get_num_threads()
    return f"CPU, {processes} process{'es' * (processes > 1)} of {threads} thread{'s' * (threads > 1)}"


def _command() -> str:
    return " ".join(["tinyldm", *sys.argv[1:]])


if __name__ == "__main__":
    main()
