"""How long a training step takes on one CPU thread: tinyldm beside diffusers with accelerate, at equal shapes.

    python benchmarks/training.py [--rounds 7] [--older CHECKOUT]

- The latent text model: the step of `tinyldm train ldm` and one of diffusers' own example (text encoder, noise, UNet,
  loss, backward, clipping, AdamW, moving average) with UNet, text encoder and batch of the same sizes, both in bf16.
- The pixel model: the step of `tinyldm train pixel` beside that of the UNet2DModel of the Hugging Face course, each at
  its own size and batch, per row of the batch; the latter in bf16 and in float32, of which the faster counts.

CHECKOUT is a folder with another version of this repository (`git worktree add CHECKOUT REVISION`). Needs "dev".
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from torch import Tensor
from turns import HERE, serve, table, take_turns

ROWS = 2000
PIXEL_BATCH = 128  # the Hugging Face course's
COURSE_UNET = {  # https://huggingface.co/learn/diffusion-course/unit1/3
    "sample_size": 28,
    "in_channels": 1,
    "out_channels": 1,
    "layers_per_block": 2,
    "block_out_channels": (32, 64, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How many steps of each.")] = 7,
    older: Annotated[Path | None, typer.Option(help="A folder with an older version.")] = None,
) -> None:
    """Print CPU seconds a step, and the ratios to tinyldm."""
    with tempfile.TemporaryDirectory() as folder:
        from tinyldm.pipeline import TextToImage
        from tinyldm.stable_diffusion import save_diffusers

        exported = f"{folder}/exported"
        save_diffusers(TextToImage.from_pretrained(device="cpu"), Path(exported))
        for title, recipe, peers, unit in [
            ("latent text model, batch 128", "ldm", {"diffusers + accelerate, bf16": ["diffusers", exported]}, 1),
            (
                f"pixel model, batch {PIXEL_BATCH}",
                "pixel",
                {"UNet2DModel, bf16": ["course", "bf16"], "UNet2DModel, float32": ["course", "no"]},
                PIXEL_BATCH / 1000,
            ),
        ]:
            programs = {"tinyldm": [f"PYTHONPATH={HERE}", __file__, "serve", "tinyldm", recipe]}
            if older:
                programs["tinyldm, older version"] = [f"PYTHONPATH={older.resolve()}", *programs["tinyldm"][1:]]
            programs |= {name: [__file__, "serve", *rest] for name, rest in peers.items()}
            of = "CPU seconds a step" if unit == 1 else "CPU milliseconds a row"
            print(
                f"\n{title}, {rounds} rounds, one thread\n\n{table(take_turns(programs, rounds), unit, of)}", flush=True
            )


# ---------------------------------------------------------------- the programs that take turns


def train_with_tinyldm(name: str) -> None:
    from tinyldm import recipes

    options = {"batch_size": PIXEL_BATCH} if name == "pixel" else {}
    records = getattr(recipes, name)(rows=ROWS, **options).run(checkpoint=None)
    serve(lambda: next(records))


def train_with_diffusers(folder: str) -> None:
    """As in diffusers' examples/text_to_image/train_text_to_image.py, without its files and logs."""
    from diffusers import DDPMScheduler, StableDiffusionPipeline
    from diffusers.training_utils import EMAModel

    from tinyldm.data import CaptionedMNIST
    from tinyldm.text import tokenize

    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    text, unet = pipeline.text_encoder.requires_grad_(False), pipeline.unet
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    tokens = tokenize(CaptionedMNIST("train", limit=ROWS).captions)
    latents, average = torch.randn(ROWS, 4, 8, 8), EMAModel(unet.parameters())

    def loss(model: Callable[..., Tensor], index: Tensor) -> Tensor:
        x0 = latents[index]
        noise, t = torch.randn_like(x0), torch.randint(0, 1000, (len(index),))
        context = text(tokens[index])[0]
        prediction = model(scheduler.add_noise(x0, noise, t), t, context).sample
        return F.mse_loss(prediction.float(), scheduler.get_velocity(x0, noise, t))

    _serve_with_accelerate(unet, loss, "bf16", 128, lambda: average.step(unet.parameters()))


def train_with_course(precision: str) -> None:
    """As in unit 2 of the Hugging Face course, https://huggingface.co/learn/diffusion-course/unit2/3."""
    from diffusers import DDPMScheduler, UNet2DModel

    from tinyldm.data import load_mnist

    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    images = load_mnist("train").images[:ROWS, None].float() / 127.5 - 1

    def loss(model: Callable[..., Tensor], index: Tensor) -> Tensor:
        x0 = images[index]
        noise, t = torch.randn_like(x0), torch.randint(0, 999, (len(index),))
        return F.mse_loss(model(scheduler.add_noise(x0, noise, t), t).sample.float(), noise)

    _serve_with_accelerate(UNet2DModel(**COURSE_UNET), loss, precision, PIXEL_BATCH)


def _serve_with_accelerate(
    model: torch.nn.Module,
    loss: Callable[..., Tensor],
    precision: str,
    batch_size: int,
    average: Callable[[], None] = lambda: None,
) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision=precision, cpu=True)
    model, optimizer = accelerator.prepare(model.train(), torch.optim.AdamW(model.parameters(), lr=1e-4))

    def step() -> None:
        with accelerator.autocast():
            value = loss(model, torch.randint(0, ROWS, (batch_size,)))
        accelerator.backward(value)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average()
        value.item()

    serve(step)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    programs = {"tinyldm": train_with_tinyldm, "diffusers": train_with_diffusers, "course": train_with_course}
    if sys.argv[1:2] == ["serve"]:
        programs[sys.argv[2]](*sys.argv[3:])
    else:
        typer.run(main)
