"""The pixel recipe of this course beside other libraries for diffusion, with the same CPU time on MNIST.

    pip install smalldiffusion torch-ema denoising-diffusion-pytorch diffusers
    python benchmarks/peers.py --seconds 600 --out pictures --json peers.json

Design choices
- Each contender trains in a process of its own, on one thread, until its training has used ``--seconds`` of that
  process's CPU time. Imports, data and first values come before, drawing comes after; neither counts.
- A peer keeps its own published settings for MNIST, or the nearest to them; each function says whose and where. They
  were chosen for GPUs: ``--peer-batch-size`` tells what smaller batches do. Nobody mirrors digits.
- bf16 where the CPU is fast at it and the peer's own trainer offers it, unless float32 is faster.
- One judge looks at all pictures. The floor is what real digits reach; what counts is the excess over it.
- A budget under a minute only shows that everything runs: few pictures, in few sampling steps.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tinyldm import __version__, recipes
from tinyldm.data import load_mnist
from tinyldm.devices import autocast, best_device, best_precision, describe_hardware
from tinyldm.evaluation import Judge, frechet_beside_floor
from tinyldm.plotting import image_grid

DRAWING_BATCH = 50
OUR_BATCH = 64  # the shipped file's 512 keep a GPU busy
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}


@dataclass(frozen=True)
class Plan:
    """CPU seconds of a training, pictures, the most steps to draw them in; ``batch_size`` 0 is a peer's own."""

    seconds: float
    pictures: int
    draw_steps: int
    batch_size: int
    seed: int


@dataclass(frozen=True)
class Ready:
    """A contender before its first step.

    Each ``next(steps)`` trains for one step, ``draw(n)`` gives pictures (n, 1, 28 or 32, 28 or 32) in about [-1, 1];
    ``spent`` CPU seconds of training are gone already.
    """

    model: nn.Module
    steps: Iterator[Any]
    draw: Callable[[int], Tensor]
    precision: str
    spent: float = 0.0


# ---------------------------------------------------------------- the contenders


def tinyldm(plan: Plan) -> Ready:
    """`recipes.pixel` as it is, but for the number of steps, and batches that fit a CPU.

    The learning rate is zero at the last step, so their number must be known in advance. A twentieth of the budget, or
    two steps, goes to a model that is thrown away and tells how long a step takes.
    """
    pilot: list[float] = []
    for _ in spend(recipes.pixel(batch_size=OUR_BATCH, seed=plan.seed).run(), plan.seconds / 20, pilot, least=2):
        pass
    left = plan.seconds - sum(pilot)
    steps = max(1, round(left / statistics.median(pilot[1:])))
    recipe = recipes.pixel(steps, OUR_BATCH, plan.seed)
    trained = recipe.model

    def averaging() -> Iterator[Any]:
        nonlocal trained
        for step in recipe.run():
            trained = step.ema
            yield

    def draw(n: int) -> Tensor:
        model = recipe.finish(trained.eval())
        number = min(plan.draw_steps, model.config.num_inference_steps)
        return model.images(n, seed=torch.initial_seed(), num_inference_steps=number)

    return Ready(recipe.model, averaging(), draw, best_precision(), sum(pilot))


def smalldiffusion(plan: Plan) -> Ready:
    """Its UNet example, which is for Fashion-MNIST: as many pictures of the same size.

    https://github.com/yuanchenyang/smalldiffusion/blob/main/examples/fashion_mnist_unet.py: network, noise levels,
    batch, learning rate, average (torch-ema) and sampler. Its training loop takes an Accelerator: bf16.
    """
    from accelerate import Accelerator
    from smalldiffusion import Scaled, ScheduleLogLinear, Unet, samples, training_loop
    from torch_ema import ExponentialMovingAverage

    accelerator = Accelerator(mixed_precision=best_precision(), cpu=True)
    schedule = ScheduleLogLinear(N=800, sigma_min=0.01, sigma_max=20)
    model = Scaled(Unet)(28, 1, 1, ch=64, ch_mult=(1, 1, 2), attn_resolutions=(14,))
    average = ExponentialMovingAverage(model.parameters(), decay=0.999)
    loader = digits(plan.batch_size or 1024)

    def steps() -> Iterator[Any]:
        loop = training_loop(loader, model, schedule, accelerator, epochs=300, lr=7e-4)
        next(loop)  # it yields between a loss and its update
        for _ in loop:
            average.update()
            yield

    def draw(n: int) -> Tensor:
        sigmas = schedule.sample_sigmas(min(plan.draw_steps, 20))
        with average.average_parameters():
            *_, x0 = samples(model, sigmas, gam=1.6, batchsize=n, accelerator=accelerator)
        return x0

    return Ready(model, steps(), draw, best_precision())


def denoising_diffusion_pytorch(plan: Plan) -> Ready:
    """The network that its author gave for MNIST, trained and drawn from as in its README.

    https://github.com/lucidrains/denoising-diffusion-pytorch/issues/119: network, 28x28 grey, 1,000 noise levels.
    https://github.com/lucidrains/denoising-diffusion-pytorch#usage: batch, accumulation, learning rate, average, amp,
    250 steps of DDIM; the rest are defaults of its Trainer, which reads picture files and is not used itself. Its amp
    is fp16 unless ``mixed_precision_type`` says otherwise: bf16.
    """
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    sampling = {"timesteps": 1000, "sampling_timesteps": min(plan.draw_steps, 250)}
    diffusion = GaussianDiffusion(Unet(dim=64, dim_mults=(1, 2), channels=1), image_size=28, **sampling)
    optimizer = torch.optim.Adam(diffusion.parameters(), lr=8e-5, betas=(0.9, 0.99))
    average = EMA(diffusion, beta=0.995, update_every=10)
    parts = 1 if plan.batch_size else 2
    batches = endless(digits(plan.batch_size or 32))

    def steps() -> Iterator[Any]:
        while True:
            for images in itertools.islice(batches, parts):
                with autocast():
                    loss = diffusion(images / 2 + 0.5) / parts  # it expects [0, 1]
                loss.backward()
            nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            average.update()
            yield

    def draw(n: int) -> Tensor:
        return average.ema_model.eval().sample(batch_size=n) * 2 - 1

    return Ready(diffusion, steps(), draw, best_precision())


def hugging_face_course(plan: Plan) -> Ready:
    """The UNet2DModel of unit 1, trained and drawn from as the same network is in unit 2, without labels.

    https://huggingface.co/learn/diffusion-course/unit1/3: the network (there it learns to undo another kind of noise).
    https://huggingface.co/learn/diffusion-course/unit2/3: noise schedule, batch, optimizer, 1,000 steps of DDPM.
    In float32, as published: 1.7 CPU seconds for 64 digits, against 2.5 in bf16 (Xeon with AMX).
    """
    from diffusers import DDPMScheduler, UNet2DModel

    model = UNet2DModel(
        sample_size=28,
        in_channels=1,
        out_channels=1,
        layers_per_block=2,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    )
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = endless(digits(plan.batch_size or 128))

    def steps() -> Iterator[Any]:
        for images in batches:
            noise, t = torch.randn_like(images), torch.randint(0, 999, (len(images),))  # 999 as published
            loss = F.mse_loss(model(scheduler.add_noise(images, noise, t), t).sample, noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield

    @torch.no_grad()
    def draw(n: int) -> Tensor:
        scheduler.set_timesteps(min(plan.draw_steps, 1000))
        x = torch.randn(n, 1, 28, 28)
        for t in scheduler.timesteps:
            x = scheduler.step(model(x, t).sample, t, x).prev_sample
        return x

    return Ready(model, steps(), draw, "no")


def digits(batch_size: int) -> DataLoader:
    """MNIST's training digits in random order: batches (B, 1, 28, 28) in [-1, 1]."""
    return DataLoader(load_mnist("train").images[:, None].float() / 127.5 - 1, batch_size, shuffle=True)


def endless(loader: Iterable[Tensor]) -> Iterator[Tensor]:
    return itertools.chain.from_iterable(itertools.repeat(loader))


CONTENDERS: dict[str, tuple[Callable[[Plan], Ready], tuple[str, ...]]] = {  # with the packages that they need
    "tinyldm": (tinyldm, ()),
    "smalldiffusion": (smalldiffusion, ("smalldiffusion", "torch-ema")),
    "denoising-diffusion-pytorch": (denoising_diffusion_pytorch, ("denoising-diffusion-pytorch",)),
    "hugging-face-course": (hugging_face_course, ("diffusers",)),
}
Name = StrEnum("Name", {name: name for name in CONTENDERS})


# ---------------------------------------------------------------- one of them, in a process of its own


def spend(steps: Iterator[Any], seconds: float, times: list[float], least: int = 1) -> Iterator[Any]:
    """Steps until they have used that much of the process's CPU time; ``times`` gets that of each."""
    start = time.process_time()
    for step in steps:
        times.append(time.process_time() - start - sum(times))
        yield step
        if sum(times) >= seconds and len(times) >= least:
            return


def contend(name: str, plan: Plan) -> tuple[Tensor, dict[str, Any]]:
    """Train, then draw: pictures (N, 1, 32, 32) in [-1, 1], and what it took."""
    import accelerate  # noqa: F401  trainers import both at their first step
    import torch._dynamo

    assert best_device().type == "cpu", "the CPU's time says nothing about another device"
    torch.set_num_threads(1)
    torch.manual_seed(plan.seed)
    function, packages = CONTENDERS[name]
    ready, times = function(plan), []
    for _ in spend(ready.steps, plan.seconds - ready.spent, times):
        pass
    start, parts = time.process_time(), []
    for first in range(0, plan.pictures, DRAWING_BATCH):
        torch.manual_seed(plan.seed + first)
        parts.append(ready.draw(min(DRAWING_BATCH, plan.pictures - first)).float().clamp(-1, 1))
    drawing, images = time.process_time() - start, torch.cat(parts)
    margin = (32 - images.shape[-1]) // 2  # two pixels of background around 28x28, as in MNIST.padded
    facts = {
        "contender": name,
        "version": metadata.version(packages[0]) if packages else __version__,
        "parameters": sum(p.numel() for p in ready.model.parameters() if p.requires_grad),
        "precision": ready.precision,
        "steps": len(times),
        "cpu_seconds": ready.spent + sum(times),
        "ms_a_picture": 1000 * drawing / plan.pictures,
    }
    return F.pad(images, (margin,) * 4, value=-1.0), facts


# ---------------------------------------------------------------- all of them


def measure(images: Tensor) -> dict[str, float]:
    """Fréchet distance, its floor, the excess over it, and both as multiples of the floor."""
    distance, floor = frechet_beside_floor(images, judge=Judge.from_pretrained())
    excess = {"excess": distance - floor, "times_floor": distance / floor, "excess_to_floor": distance / floor - 1}
    return {"frechet": distance, "floor": floor, **excess}


def table(rows: list[dict[str, Any]]) -> str:
    """As Markdown; excess relative to tinyldm's, where that is positive."""
    own = next((row["excess"] for row in rows if row["contender"] == "tinyldm"), 0.0)
    heads = ["contender", "version", "parameters", "steps", "CPU seconds", "Fréchet distance", "times the floor"]
    lines = [
        f"| {' | '.join(heads)} | excess over the floor, tinyldm = 1 | ms a picture |",
        "|---|---" + "|--:" * 7 + "|",
    ]
    for row in rows:
        cells = [row["contender"], row["version"], f"{row['parameters']:,}", f"{row['steps']:,}"]
        cells += [f"{row['cpu_seconds']:.0f}", f"{row['frechet']:.2f}", f"{row['times_floor']:.2f}"]
        cells += [f"{row['excess'] / own:.1f}" if own > 0 else "-", f"{row['ms_a_picture']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    seconds: Annotated[float, typer.Option(min=1, help="CPU time of each training.")] = 600,
    pictures: Annotated[int, typer.Option(max=10_000, help="Default: 1,000, or 16 under a minute.")] = 0,
    draw_steps: Annotated[int, typer.Option(help="At most. Default: as published, or 25 under a minute.")] = 0,
    only: Annotated[list[Name] | None, typer.Option(help="One contender; may be repeated.")] = None,
    peer_batch_size: Annotated[int, typer.Option(help="Of all peers. Default: as published.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for all figures.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for a grid of pictures of each.")] = None,
    result: Annotated[Path | None, typer.Option(hidden=True, help="In the process of one contender.")] = None,
) -> None:
    """Train each with the same CPU time, and print a table of how close its pictures come to MNIST."""
    usual = (16, 25) if seconds < 60 else (1000, 1000)  # nobody published more steps than that
    plan = Plan(seconds, pictures or usual[0], draw_steps or usual[1], peer_batch_size, seed)
    names = [name for name in CONTENDERS if not only or name in only]
    if result:
        torch.save(contend(names[0], plan), result)
        return
    needed = [package for name in names for package in CONTENDERS[name][1]]
    if missing := [package for package in needed if not list(metadata.distributions(name=package))]:
        raise SystemExit(f"error: {' and '.join(missing)} cannot be found: pip install {' '.join(missing)}")
    rows: list[dict[str, Any]] = []
    arguments = [f"--seconds={seconds}", f"--pictures={plan.pictures}", f"--draw-steps={plan.draw_steps}"]
    arguments += [f"--peer-batch-size={peer_batch_size}", f"--seed={seed}"]
    for name in names:
        print(f"{name}: {seconds:.0f} CPU seconds of training, then {plan.pictures:,} pictures", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "result"
            command = [sys.executable, __file__, *arguments, f"--only={name}", f"--result={path}"]
            subprocess.run(command, check=True, env={**os.environ, **ONE_THREAD})
            images, facts = torch.load(path, weights_only=True)
        rows.append({**facts, **measure(images)})
        if json_file:  # after each: the next may take hours
            story = {"hardware": describe_hardware(), "torch": torch.__version__, **vars(plan), "contenders": rows}
            json_file.write_text(json.dumps(story, indent=2) + "\n")
        if out:
            out.mkdir(parents=True, exist_ok=True)
            image_grid(images[:32], columns=8, size=0.75).savefig(out / f"{name}.png")
    print(f"N = {plan.pictures:,}, real against real: {rows[0]['floor']:.2f}\n\n{table(rows)}")
    excesses = {row["contender"]: row["excess"] for row in rows}
    if (own := excesses.pop("tinyldm", None)) is not None and excesses:
        best = min(excesses, key=excesses.__getitem__)
        print(f"\nExcess over the floor: {own:.2f}, {own / excesses[best]:.2f} of the best peer's ({best}).")


if __name__ == "__main__":
    typer.run(main)
