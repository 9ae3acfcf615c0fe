"""The command line: ``tinyldm generate``, ``words``, ``evaluate``, ``ladder``, ``export`` and ``train``.

Design choices
- Arguments in, one line out. What is done is done by the modules below; a recipe's numbers stand in `recipes` alone.
- Whatever a user can get wrong is a `UserError`, which becomes one line on stderr and exit code 2; tracebacks are for
  bugs.
- Imports of torch and friends happen inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import io
import itertools
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from tinyldm import TinyldmWarning, UserError, __version__
from tinyldm.captions import shorten, word_list

_UsageError: Any = typer.BadParameter.__mro__[2]  # click's ClickException, also where typer brings its own click
MAX_PICTURES = 10_000
MAX_IN_GRID = 64
MAX_PROMPTS_FILE = 10_000_000  # bytes
SIZES = 32, 2048  # pixels
GIF_SIZE = 128
STOPPED = 130  # the exit code of a program that Ctrl-C ended

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(context_settings=HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
train_app = typer.Typer(no_args_is_help=True)
app.add_typer(train_app, name="train", help="Train a model; by default as the shipped weights were trained.")


def main() -> None:
    """Run the command line; an error that a user can cause becomes one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what a terminal cannot show must not lose what it can; as on stderr
    command, problem, code = typer.main.get_command(app), "stopped", STOPPED
    try:
        _check_command(sys.argv[1:], list(command.commands))  # type: ignore[attr-defined]
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


def _check_command(words: list[str], commands: list[str]) -> None:
    """A prompt without a command in front of it is what a beginner types first."""
    if not words or words[0].startswith("-") or words[0] in commands:
        return
    if near := difflib.get_close_matches(words[0], commands, 1, cutoff=0.75):
        raise UserError(f"no such command: {words[0]}; did you mean {near[0]}?")
    line = " ".join(f'"{word}"' if re.search(r"[^\w./-]", word) else word for word in words)
    raise UserError(f"no such command; to draw it, type `tinyldm generate {line}` (`tinyldm -h` lists all commands)")


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

Guidance = Annotated[float | None, typer.Option(help="1 follows the prompt plainly, more exaggerates it (default 3).")]
SamplingSteps = Annotated[int | None, typer.Option("--steps", help="Sampling steps, 1 to 1000 (default 12).")]
Sampler = Annotated[str | None, typer.Option(help="ddpm, ddim, dpm++, euler or heun (default dpm++).")]
Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Random seed.")]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu (default: the first of them that is there).")]
Precision = Annotated[str | None, typer.Option(help="fp32, bf16 or fp16 (default: the fast one of this machine).")]
Models = Annotated[Path | None, typer.Option(help="Folder of all weights, the judge too (default: the shipped ones).")]


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
    mask: Annotated[Path | None, typer.Option(help="Redraw --image only where this is white, or painted.")] = None,
    strength: Annotated[
        float | None, typer.Option(help="How much --image may change, 0 to 1 (default 0.6, with --mask 1).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A .png file, or a folder for several (default: the prompt, or `pictures`).")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Enlarge to this height and width, 32 to 2048 pixels.")] = None,
    gif: Annotated[Path | None, typer.Option(help="Write how the pictures form as an animation, a .gif file.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Open what was written in the system's viewer.")] = False,
    device: Device = None,
    precision: Precision = None,
    models: Models = None,
) -> None:
    """Draw pictures: `tinyldm generate "a thick red seven leaning left"`.

    Several pictures become 0000.png, 0001.png, ... in the order of the prompts, and grid.png shows them side by side.
    """
    texts, negative = _all_prompts(prompt or [], prompts, count), _as_text(negative)
    if image is None and (mask is not None or strength is not None):
        raise UserError("--mask and --strength need --image, the picture to start from")
    target = _target(texts, out)
    _check_size(size, gif, len(texts))
    with _without_garbage_collection(), _plain_warnings():
        from tinyldm.images import magnify, save_gif, save_png
        from tinyldm.pipeline import TextToImage

        pipeline = TextToImage.from_pretrained(models, device, precision)
        options: dict[str, Any] = {
            "negative_prompt": negative,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
        }
        if image is not None:
            usual = 0.6 if mask is None else 1.0
            options |= {"image": image, "mask": mask, "strength": usual if strength is None else strength}
        options |= {"seed": seed, "sampler": sampler}
        if gif is None:
            images = pipeline.images(texts, progress=True, **options)
        else:
            frames = [frame.cpu() for frame in pipeline.frames(texts, **options)]
            images = frames[-1]
    if len(texts) == 1:
        save_png(magnify(images, size)[0], target)
        print(target)
    else:
        for number, drawn in enumerate(images.split(1)):
            save_png(magnify(drawn, size)[0], target / f"{number:04d}.png")
        grid, shown = target / "grid.png", min(len(texts), MAX_IN_GRID)
        _save_grid(images[:shown], texts[:shown], grid)
        print(f"{len(texts)} pictures in {target}, {shown} of them side by side in {grid}")
        target = grid
    if gif is not None:
        save_gif([magnify(frame, size or GIF_SIZE) for frame in frames], gif)
        print(gif)
    if show:
        _show(gif or target)


def _save_grid(images: Any, texts: list[str], path: Path) -> None:
    from tinyldm.plotting import image_grid
    from tinyldm.weights import atomic_write

    with atomic_write(path) as unfinished:
        image_grid(images, texts).savefig(unfinished, format="png")


def _show(path: Path) -> None:
    """Open a picture in the system's viewer; where there is none, say so: the picture is written in any case."""
    linux = sys.platform.startswith("linux")
    if linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        print(f"tinyldm: nothing to show {path} on: this machine has no display", file=sys.stderr)
    elif typer.launch(str(path)) != 0:
        print(f"tinyldm: no program to show {path} was found", file=sys.stderr)


@app.command()
def words() -> None:
    """List the words that prompts are made of: digits, inks, backgrounds, strokes and slants, with their synonyms."""
    print(word_list())


@app.command()
def evaluate(
    n: Annotated[int, typer.Option("--n", help="How many held-out captions, 2 to 10,000.")] = 2000,
    steps: SamplingSteps = None,
    guidance: Guidance = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    models: Models = None,
    device: Device = None,
    precision: Precision = None,
) -> None:
    """Measure the model: does it draw what held-out captions say, and do its digits look like real ones?"""
    from tinyldm.evaluation import Judge, evaluate
    from tinyldm.pipeline import TextToImage

    judge, pipeline = Judge.from_pretrained(models), TextToImage.from_pretrained(models, device, precision)
    options: dict[str, Any] = {
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "sampler": sampler,
        "progress": True,
    }
    print(evaluate(lambda captions: pipeline.images(captions, seed=seed, **options), n=n, seed=seed, judge=judge))


@app.command()
def ladder(
    n: Annotated[int, typer.Option("--n", min=2, max=10_000, help="How many pictures of each method.")] = 1000,
    seed: Seed = 0,
    device: Device = None,
    models: Annotated[Path | None, typer.Option(help="Folder of your own machine, for one more row.")] = None,
) -> None:
    """Compare all methods of the course, from the shipped weights, in one table."""
    from tinyldm.ladder import ladder

    print(ladder(n, seed, device, models))


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="A new folder, or for compvis a .safetensors file.")],
    to: Annotated[
        str,
        typer.Option(
            help="diffusers: a folder for its pipelines; compvis: a single file; onnx: a folder for other programs."
        ),
    ],
    models: Models = None,
) -> None:
    """Write the model for other programs: in one of Stable Diffusion's two layouts, or as ONNX."""
    from tinyldm.pipeline import TextToImage
    from tinyldm.portable import figures_of, save_onnx
    from tinyldm.stable_diffusion import save_compvis, save_diffusers
    from tinyldm.weights import check_writable

    layouts = {
        "diffusers": save_diffusers,
        "compvis": save_compvis,
        "onnx": lambda pipeline, folder: save_onnx(pipeline, folder, figures_of(models)),
    }
    if to not in layouts:
        raise UserError(f"--to must be {' or '.join(layouts)}, not {to!r}")
    check_writable(path)
    layouts[to](TextToImage.from_pretrained(models, device="cpu"), path)
    print(path)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="A .ckpt or .bin, which programs save with torch.save.")],
    out: Annotated[Path | None, typer.Option(help="The new file (default: the same name, .safetensors).")] = None,
) -> None:
    """Copy the weights in a pickle into a safetensors file, running no code from it."""
    from tinyldm.stable_diffusion import convert_pickle

    print(convert_pickle(file, out))


def _all_prompts(given: list[str], file: Path | None, count: int) -> list[str]:
    if not 1 <= count <= MAX_PICTURES:
        raise UserError(f"--count must be between 1 and {MAX_PICTURES:,}, not {count}")
    lines = [*map(_as_text, given), *(_lines(file) if file else [])]
    texts = [text for text in lines for _ in range(count)]
    if not texts:
        raise UserError('nothing to draw: give a prompt, as in `tinyldm generate "a red seven"`, or --prompts FILE')
    if len(texts) > MAX_PICTURES:
        raise UserError(f"{len(texts):,} pictures are too many; the limit is {MAX_PICTURES:,}")
    return texts


def _as_text(given: str) -> str:
    """An argument as text, also where the system's locale did not read its bytes as UTF-8."""
    try:
        return given.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError as error:
        raise UserError(
            f"{shorten(ascii(given))} is not in UTF-8; the terminal or script that it comes from has to be"
        ) from error


def _lines(file: Path) -> list[str]:
    try:
        if file.stat() and not file.is_file():  # a pipe or a device may never end
            raise UserError(f"{file} is not a file; --prompts needs one with a prompt on each line")
        with file.open("rb") as opened:
            content = opened.read(MAX_PROMPTS_FILE + 1)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    if len(content) > MAX_PROMPTS_FILE:
        raise UserError(f"{file} is larger than {MAX_PROMPTS_FILE // 10**6} MB, too large for a list of prompts")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # of UTF-16, for one
        raise UserError(f"{file} is not a text file in UTF-8; save it in that encoding")
    return text.splitlines()


def _check_size(size: int | None, gif: Path | None, count: int) -> None:
    """What --size and --gif ask for; looked at before the work begins."""
    if size is not None and not SIZES[0] <= size <= SIZES[1]:
        raise UserError(f"--size must be between {SIZES[0]} and {SIZES[1]} pixels, not {size}")
    if gif is None:
        return
    if gif.suffix.lower() != ".gif" or os.path.isdir(gif):
        raise UserError(f"--gif must be a .gif file, not {gif}")
    if count > MAX_IN_GRID:
        raise UserError(f"--gif shows at most {MAX_IN_GRID} pictures side by side, not {count:,}")
    if (size or 0) ** 2 * count > SIZES[1] ** 2:
        raise UserError(f"a GIF of {count} pictures of {size} pixels is too large: choose a smaller --size")
    _writable(gif)


# Windows gives these names, whatever their ending, to devices.
_RESERVED = re.compile("con|prn|aux|nul|(com|lpt)[0-9]")


def _target(texts: list[str], out: Path | None) -> Path:
    """Where to write; looked at before the work begins, made when there is something to write."""
    if len(texts) > 1:
        target = _new_folder() if out is None else out
        if target.suffix.lower() == ".png" or (os.path.exists(target) and not os.path.isdir(target)):
            raise UserError(f"--out must be a folder for {len(texts)} pictures, not {target}")
        if older := [name for name in _pictures_in(target) if int(name[:4]) >= len(texts)]:
            raise UserError(f"{target} has pictures of an earlier run ({older[-1]}): delete them or change --out")
    else:
        name = re.sub(r"[^a-z0-9]+", "-", texts[0].lower()).strip("-")[:80] or "picture"
        target = out or Path(f"picture-{name}.png" if _RESERVED.fullmatch(name) else f"{name}.png")
        if target.suffix.lower() != ".png" or os.path.isdir(target):
            raise UserError(f"--out must be a .png file for one picture, not {target}")
    return _writable(target)


def _new_folder() -> Path:
    """`pictures`, or where something is in it already, `pictures-2` and so on."""
    names = (Path("pictures" if number == 1 else f"pictures-{number}") for number in itertools.count(1))
    return next(path for path in names if not path.exists() or (path.is_dir() and not any(path.iterdir())))


def _pictures_in(folder: Path) -> list[str]:
    """The names that this command gives to pictures, of those that are in a folder."""
    return sorted(path.name for path in folder.glob("*.png") if re.fullmatch("[0-9]{4}", path.stem))


def _writable(path: Path) -> Path:
    from tinyldm.weights import check_writable

    return check_writable(path)


def _folder(path: Path) -> Path:
    if os.path.exists(path) and not os.path.isdir(path):  # Path's methods raise errors where nobody may look
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
    """Each warning of ours as one plain line, once."""
    from tqdm import tqdm

    with warnings.catch_warnings():
        warnings.simplefilter("default", TinyldmWarning)
        show = warnings.showwarning

        def show_plainly(message: Any, category: type[Warning], *rest: Any) -> None:
            if issubclass(category, TinyldmWarning):
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


@train_app.command("all")
def train_all(
    quick: Annotated[bool, typer.Option("--quick", help="In about half an hour on two cores, instead of six.")] = False,
    seed: Seed = 0,
    out: Out = WEIGHTS,
    rows: Rows = None,
    captions: Captions = None,
) -> None:
    """A whole machine from nothing: autoencoder, text encoder and UNet, one after the other, then measured."""
    from tinyldm import recipes

    given = {name: value for name, value in {"rows": rows, "captions": captions}.items() if value is not None}
    print(recipes.make_all(out, quick, seed, **given, command=_command()))


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


def _command() -> str:
    """What the user typed."""
    return " ".join(["tinyldm", *sys.argv[1:]])


def _train(name: str, out: Path, **options: Any) -> None:
    from tinyldm import recipes

    given = {option: value for option, value in options.items() if value is not None}
    if line := recipes.make(getattr(recipes, name)(**given), out, _command()):
        print(line)
    if "TORCHELASTIC_RUN_ID" in os.environ:  # of many processes: a thread of their group may abort Python as it ends
        sys.stdout.flush()
        os._exit(0)
