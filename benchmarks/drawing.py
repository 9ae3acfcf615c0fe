"""How long drawing takes on one CPU thread: tinyldm, an older version of it, and diffusers with the exported model.

    python benchmarks/drawing.py [--pictures 64] [--rounds 7] [--older CHECKOUT] [--stable-diffusion]

All draw the same prompts with the same weights, sampler and steps: tinyldm at its defaults and in float32, diffusers as
its user gets it (float32) and under bf16 autocast. CHECKOUT is a folder with another version of this repository
(`git worktree add CHECKOUT REVISION`). ``--stable-diffusion`` times a step of Stable Diffusion 1.x's UNet in float32,
random weights, one 512x512 picture with guidance (4 GB of memory). Needs the extra "dev".
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path
from typing import Annotated

import torch
import typer
from turns import HERE, serve, table, take_turns

ROUNDS = 7
SD_SIZE = 64  # height and width of the latents of a 512x512 picture


def main(
    pictures: Annotated[int, typer.Option(min=1, help="How many pictures at once.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="How many times each draws them.")] = ROUNDS,
    older: Annotated[Path | None, typer.Option(help="A folder with an older version.")] = None,
    stable_diffusion: Annotated[
        bool, typer.Option("--stable-diffusion", help="Time a step of its UNet instead.")
    ] = False,
) -> None:
    """Print CPU seconds, and the ratios to tinyldm."""
    programs = {}

    def add(name: str, kind: str, *rest: str, folder: Path = HERE) -> None:
        programs[name] = [f"PYTHONPATH={folder}", __file__, "serve", kind, str(pictures), *rest]

    if stable_diffusion:
        add("tinyldm, read before", "sd-read")
        add("tinyldm", "sd")
        add("diffusers", "sd-diffusers")
        print(table(take_turns(programs, rounds), of="CPU seconds a step"))
        return
    with tempfile.TemporaryDirectory() as folder:
        from tinyldm.pipeline import TextToImage
        from tinyldm.stable_diffusion import save_diffusers

        save_diffusers(TextToImage.from_pretrained(device="cpu"), Path(folder) / "exported")
        add("tinyldm", "tinyldm")
        add("tinyldm, float32", "tinyldm", "fp32")
        if older:
            add("tinyldm, older version", "tinyldm", folder=older.resolve())
        add("diffusers, float32", "diffusers", f"{folder}/exported")
        add("diffusers, bf16 autocast", "diffusers", f"{folder}/exported", "bf16")
        seconds = take_turns(programs, rounds)
    print(f"{pictures} pictures, 12 steps of DPM-Solver++, guidance 3, {rounds} rounds, one thread\n\n{table(seconds)}")


# ---------------------------------------------------------------- the programs that take turns


def draw_with_tinyldm(pictures: str, precision: str | None = None) -> None:
    from tinyldm.data import CaptionedMNIST
    from tinyldm.pipeline import TextToImage

    prompts = CaptionedMNIST("test", limit=int(pictures)).captions
    pipeline = TextToImage.from_pretrained(device="cpu")
    if precision:
        pipeline.precision = precision
    serve(lambda: pipeline.images(prompts, seed=0))


def draw_with_diffusers(pictures: str, folder: str, precision: str = "") -> None:
    from diffusers import StableDiffusionPipeline

    from tinyldm.data import CaptionedMNIST

    prompts = CaptionedMNIST("test", limit=int(pictures)).captions
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 12, "guidance_scale": 3.0, "output_type": "pt"}

    def work() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            pipeline(prompts, generator=torch.Generator().manual_seed(0), **options)

    serve(work)


@torch.no_grad()
def step_of_stable_diffusion(kind: str) -> None:
    x, context, t = torch.randn(2, 4, SD_SIZE, SD_SIZE), torch.randn(2, 77, 768), torch.tensor(537)
    if kind == "sd-diffusers":
        from diffusers import UNet2DConditionModel

        from tinyldm.stable_diffusion import SD1, _unet_settings

        theirs = UNet2DConditionModel.from_config(_unet_settings(SD1)).eval()
        serve(lambda: theirs(x, t, context))
    from tinyldm.stable_diffusion import SD1_UNET
    from tinyldm.unet import UNet

    ours = UNet(SD1_UNET).eval()
    read = ours.read(context)
    serve((lambda: ours(x, t, read=read)) if kind == "sd-read" else (lambda: ours(x, t, context)))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    match sys.argv[1:]:
        case ["serve", "tinyldm", *rest]:
            draw_with_tinyldm(*rest)
        case ["serve", "diffusers", *rest]:
            draw_with_diffusers(*rest)
        case ["serve", kind, *_]:
            step_of_stable_diffusion(kind)
        case _:
            typer.run(main)
