"""The command line: ``tinyldm generate``, ``evaluate``, ``ladder``, ``export`` and ``train``.

Design choices
- Arguments in, one line out. What is done is done by the modules below; a recipe's numbers stand in `recipes` alone.
- Whatever a user can get wrong is a `UserError`, which becomes one line on stderr and exit code 2; tracebacks are for
  bugs.
- Imports of torch and friends happen inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tinyldm import UserError, __version__

_UsageError: Any = typer.BadParameter.__mro__[2]  # click's ClickException, also where typer brings its own click
MAX_PICTURES = 10_000
MAX_IN_GRID = 64
STOPPED = 130  # the exit code of a program that Ctrl-C ended

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
train_app = typer.Typer(no_args_is_help=True)
app.add_typer(train_app, name="train", help="Train a model; by default as the shipped weights were trained.")


def main() -> None:
    """Run the command line; an error that a user can cause becomes one line on stderr and exit code 2."""
    command, problem, code = typer.main.get_command(app), "stopped", STOPPED
    try:
        outcome = command(standalone_mode=False)  # Ctrl-C comes back as STOPPED, or as one of the exceptions
        if outcome != STOPPED:
            sys.exit(outcome)
    except _UsageError as error:
        problem, code = error.format_message(), 2
    except UserError as error:
        problem, code = str(error), error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        pass
    if problem:
        print(f"tinyldm: {' '.join(problem.split())}", file=sys.stderr)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"tinyldm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Type a prompt, get an image: a text-to-image latent diffusion model of handwritten digits."""


# ---------------------------------------------------------------- generate and evaluate

Guidance = Annotated[
    float | None, typer.Option(help="0 ignores the prompt, 1 follows it, more exaggerates it (default 3).")
]
SamplingSteps = Annotated[int | None, typer.Option("--steps", help="Sampling steps, 1 to 1000 (default 12).")]
Sampler = Annotated[str | None, typer.Option(help="ddpm, ddim, dpm++, euler or heun (default dpm++).")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Random seed.")]
Models = Annotated[Path | None, typer.Option(help="Folder of weights to use (default: the shipped ones).")]


@app.command()
def generate(
    prompt: Annotated[list[str] | None, typer.Argument(help="One or more prompts, each in quotes.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="A text file with one prompt per line.")] = None,
    negative: Annotated[str, typer.Option(help="What to avoid.")] = "",
    steps: SamplingSteps = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    seed: Annotated[int, typer.Option(help="Random seed: the same seed gives the same pictures.")] = 0,
    count: Annotated[int, typer.Option(help="Pictures for each prompt.")] = 1,
    image: Annotated[Path | None, typer.Option(help="Start from this picture instead of noise.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Redraw --image only where this picture is white.")] = None,
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
        raise UserError("--mask and --strength need --image, the picture to start from")
    target = _target(texts, out)
    with _without_garbage_collection(), _plain_warnings():
        from tinyldm.images import save_png
        from tinyldm.pipeline import TextToImage

        pipeline = TextToImage.from_pretrained()
        options: dict[str, Any] = {
            "negative_prompt": negative,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
        }
        if image is not None:
            usual = 0.6 if mask is None else 1.0
            options |= {"image": image, "mask": mask, "strength": usual if strength is None else strength}
        images = pipeline.images(texts, seed=seed, sampler=sampler, progress=True, **options)
    if len(texts) == 1:
        save_png(images[0], target)
        print(target)
        return
    for number, drawn in enumerate(images):
        save_png(drawn, target / f"{number:04d}.png")
    from tinyldm.plotting import image_grid
    from tinyldm.weights import atomic_write

    shown = min(len(texts), MAX_IN_GRID)
    with atomic_write(target / "grid.png") as unfinished:
        image_grid(images[:shown], texts[:shown]).savefig(unfinished, format="png")
    print(f"{len(texts)} pictures in {target}, {shown} of them side by side in {target / 'grid.png'}")


@app.command()
def evaluate(
    n: Annotated[int, typer.Option("--n", help="How many held-out captions, 2 to 10,000.")] = 2000,
    steps: SamplingSteps = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    models: Models = None,
) -> None:
    """Measure the model: does it draw what held-out captions say, and do its digits look like real ones?"""
    from tinyldm.evaluation import evaluate
    from tinyldm.pipeline import TextToImage

    pipeline = TextToImage.from_pretrained(models)
    options: dict[str, Any] = {
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "sampler": sampler,
        "progress": True,
    }
    print(evaluate(lambda captions: pipeline.images(captions, seed=seed, **options), n=n, seed=seed))


@app.command()
def ladder(
    n: Annotated[int, typer.Option("--n", min=2, max=10_000, help="How many pictures of each method.")] = 1000,
    seed: Seed = 0,
) -> None:
    """Compare all methods of the course, from the shipped weights, in one table."""
    from tinyldm.ladder import ladder

    print(ladder(n, seed))


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
        raise UserError(f"--to must be diffusers or compvis, not {to!r}")
    layouts[to](TextToImage.from_pretrained(models, device="cpu"), path)
    print(path)


def _all_prompts(given: list[str], file: Path | None, count: int) -> list[str]:
    if not 1 <= count <= MAX_PICTURES:
        raise UserError(f"--count must be between 1 and {MAX_PICTURES:,}, not {count}")
    try:
        lines = file.read_text("utf-8-sig").splitlines() if file else []
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not a text file in UTF-8") from error
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    texts = [text for text in [*given, *lines] for _ in range(count)]
    if not texts:
        raise UserError('nothing to draw: give a prompt, as in `tinyldm generate "a red seven"`, or --prompts FILE')
    if len(texts) > MAX_PICTURES:
        raise UserError(f"{len(texts):,} pictures are too many; the limit is {MAX_PICTURES:,}")
    return texts


def _target(texts: list[str], out: Path | None) -> Path:
    """Where to write; looked at before the work begins, made when there is something to write."""
    if len(texts) > 1:
        out = out or Path("pictures")
        if out.suffix.lower() == ".png" or (out.exists() and not out.is_dir()):
            raise UserError(f"--out must be a folder for {len(texts)} pictures, not {out}")
    else:
        out = out or Path((re.sub(r"[^a-z0-9]+", "-", texts[0].lower()).strip("-") or "picture")[:80] + ".png")
        if out.suffix.lower() != ".png" or out.is_dir():
            raise UserError(f"--out must be a .png file for one picture, not {out}")
    return _writable(out)


def _writable(path: Path) -> Path:
    """The path, if something could be written to it; looked at before the work begins."""
    absolute = path.absolute()
    nearest = next(parent for parent in [absolute, *absolute.parents] if parent.exists())
    if not os.access(nearest, os.W_OK) or (nearest.is_file() and nearest != absolute):
        raise UserError(f"cannot write {path}: {nearest} is not a writable folder")
    return path


def _folder(path: Path) -> Path:
    if path.exists() and not path.is_dir():
        raise UserError(f"--out must be a folder, not {path}")
    return _writable(path)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Imports make thousands of objects and no garbage: not looking for any makes the start a second shorter."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Each warning about a prompt as one plain line, once."""
    from tqdm import tqdm

    from tinyldm.text import PromptWarning

    with warnings.catch_warnings():
        warnings.simplefilter("default", PromptWarning)
        show = warnings.showwarning

        def show_plainly(message: Any, category: type[Warning], *rest: Any) -> None:
            if issubclass(category, PromptWarning):
                tqdm.write(f"tinyldm: {message}", file=sys.stderr)  # on a line of its own, also beside a bar
            else:
                show(message, category, *rest)

        warnings.showwarning = show_plainly  # type: ignore[assignment]
        yield


# ---------------------------------------------------------------- train

# What is not given is left to the recipe, whose defaults are the numbers of the shipped file.
Steps = Annotated[int | None, typer.Option(min=1, help="Training steps (default: the recipe's).")]
Batch = Annotated[
    int | None, typer.Option(min=1, help="Batch size, over all processes together (default: the recipe's).")
]
Rows = Annotated[int | None, typer.Option(min=1, max=60_000, help="Use only this many training digits (default: all).")]
Out = Annotated[Path, typer.Option(callback=_folder, help="Folder for the weights, and for the checkpoint meanwhile.")]
Samples = Annotated[int | None, typer.Option(min=2, max=10_000, help="How many pictures to measure at the end.")]
Captions = Annotated[
    int | None, typer.Option(min=2, max=10_000, help="How many held-out captions to measure at the end.")
]
WEIGHTS = Path("weights")


@train_app.command("judge")
def train_judge(
    steps: Steps = None, batch_size: Batch = None, seed: Seed = 0, out: Out = WEIGHTS, rows: Rows = None
) -> None:
    """The judge: the classifier that says which digit is in a picture."""
    _train("judge", out, steps=steps, batch_size=batch_size, seed=seed, rows=rows)


@train_app.command("vae")
def train_vae(
    steps: Steps = None, batch_size: Batch = None, seed: Seed = 0, out: Out = WEIGHTS, rows: Rows = None
) -> None:
    """The autoencoder: colour pictures to latents and back."""
    _train("vae", out, steps=steps, batch_size=batch_size, seed=seed, rows=rows)


@train_app.command("clip")
def train_clip(
    steps: Steps = None, batch_size: Batch = None, seed: Seed = 0, out: Out = WEIGHTS, rows: Rows = None
) -> None:
    """The text encoder, trained to match captions with pictures (CLIP)."""
    _train("clip", out, steps=steps, batch_size=batch_size, seed=seed, rows=rows)


@train_app.command("ldm")
def train_ldm(
    steps: Steps = None,
    batch_size: Batch = None,
    seed: Seed = 0,
    out: Out = WEIGHTS,
    rows: Rows = None,
    models: Models = None,
    captions: Captions = None,
) -> None:
    """The noise predictor of the latent diffusion model, steered by text."""
    _train("ldm", out, steps=steps, batch_size=batch_size, seed=seed, rows=rows, models=models, captions=captions)


@train_app.command("gan")
def train_gan(
    steps: Steps = None,
    batch_size: Batch = None,
    seed: Seed = 0,
    out: Out = WEIGHTS,
    rows: Rows = None,
    samples: Samples = None,
) -> None:
    """The generator of the GAN, the old method."""
    _train("gan", out, steps=steps, batch_size=batch_size, seed=seed, rows=rows, samples=samples)


@train_app.command("pixel")
def train_pixel(
    steps: Steps = None,
    batch_size: Batch = None,
    seed: Seed = 0,
    out: Out = WEIGHTS,
    rows: Rows = None,
    samples: Samples = None,
) -> None:
    """The noise predictor of lesson 03: pixels, no text."""
    _train("pixel", out, steps=steps, batch_size=batch_size, seed=seed, rows=rows, samples=samples)


@train_app.command("vqvae")
def train_vqvae(
    steps: Steps = None, batch_size: Batch = None, seed: Seed = 0, out: Out = WEIGHTS, rows: Rows = None
) -> None:
    """The autoencoder with a codebook: colour pictures to 8x8 codes and back."""
    _train("vqvae", out, steps=steps, batch_size=batch_size, seed=seed, rows=rows)


@train_app.command("prior")
def train_prior(
    steps: Steps = None,
    batch_size: Batch = None,
    seed: Seed = 0,
    out: Out = WEIGHTS,
    rows: Rows = None,
    models: Models = None,
    samples: Samples = None,
) -> None:
    """The transformer that writes the codes of new pictures."""
    _train("prior", out, steps=steps, batch_size=batch_size, seed=seed, rows=rows, models=models, samples=samples)


def _train(name: str, out: Path, **options: Any) -> None:
    from tinyldm import recipes

    given = {option: value for option, value in options.items() if value is not None}
    if line := recipes.make(getattr(recipes, name)(**given), out, " ".join(["tinyldm", *sys.argv[1:]])):
        print(line)
