"""What a GPU makes of the course, as a table and as JSON, in at most six minutes.

    python benchmarks/gpu.py [--json gpu.json] [--small] [--compile]

- Every recipe: milliseconds a step, run by Python and replayed as a CUDA graph, which share of that time the GPU
  computes (kernels of the profiler), pictures a second, largest memory; for the latent text model also diffusers with
  accelerate at equal shapes, and, with ``--compile``, torch.compile's "reduce-overhead".
- Stable Diffusion 1.x at 512 x 512 in fp16 with random weights: a step with guidance, beside diffusers, and its memory.
- The quick machine (`tinyldm train all --quick`): its seconds and figures.

``--small`` runs all of it in a small form, on a CPU as well; what needs a GPU is then left out. Needs "dev".
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import nn

from tinyldm import recipes, training
from tinyldm.devices import best_device, describe_hardware
from tinyldm.diffusion import DiffusionConfig
from tinyldm.stable_diffusion import SD1, SD1_UNET, _unet_settings
from tinyldm.text import TextEncoder, tokenize
from tinyldm.unet import UNet, UNetConfig

NAMES = ("judge", "vae", "clip", "ldm", "gan", "pixel", "vqvae", "prior")
TINY_SD = UNetConfig(block_out_channels=(32, 64), attention=(True, False), num_heads=4, context_dim=768)
Row = dict[str, Any]


def main(
    out: Annotated[Path | None, typer.Option("--json", help="Where to write all numbers.")] = None,
    small: Annotated[bool, typer.Option("--small", help="A few tiny steps of everything.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="Try torch.compile, too (a minute).")] = False,
) -> None:
    """Measure and print."""
    warnings.simplefilter("ignore")
    result: dict[str, Any] = {"hardware": describe_hardware(), "torch": torch.__version__, "recipes": []}
    print(f"{result['hardware']}, PyTorch {torch.__version__}\n", flush=True)
    print(
        "| recipe | batch | ms a step | as a CUDA graph | GPU busy | pictures a second | memory, GB |\n"
        + "|---" * 7
        + "|"
    )

    def tell(row: Row) -> None:
        result["recipes"].append(row)
        numbers = [_number(row.get(key)) for key in ("eager_ms", "graph_ms", "busy", "pictures_a_second", "gigabytes")]
        print(f"| {row['name']} | {row['batch']} | {' | '.join(numbers)} |", flush=True)
        if out:
            out.write_text(json.dumps(result, indent=1))

    for name in NAMES:
        tell(recipe_row(name, small))
    tell(diffusers_row(small))
    result["stable_diffusion"] = stable_diffusion(small)
    print("\nStable Diffusion 1.x, one 512 x 512 picture with guidance:")
    for name, row in result["stable_diffusion"].items():
        print(f"- {name}: {row['ms']:.1f} ms a step, {_number(row['gigabytes'])} GB", flush=True)
    result["quick"] = quick(small)
    print(f"\nQuick machine: {result['quick']['seconds']:.0f} seconds\n{result['quick']['says']}")
    if out:
        out.write_text(json.dumps(result, indent=1))
    if compiled:
        print()
        tell(recipe_row("ldm", small, compiled=True))


# ---------------------------------------------------------------- a training step


def recipe_row(name: str, small: bool, compiled: bool = False) -> Row:
    """One recipe at its own batch size, or at 8; with its UNet compiled in place of the CUDA graph."""
    options = {"rows": 600, "batch_size": 8} if small else {"rows": 6000}
    row: Row = {"name": name, "batch": getattr(recipes, name)(**options).settings.batch_size}
    captures = training._can_capture
    ways: dict[str, Callable[[Any], bool]] = {"eager_ms": lambda accelerator: False}
    if (
        best_device().type == "cuda" and name != "gan" and not compiled
    ):  # whose two networks take turns in a loop of their own
        ways["graph_ms"] = captures
    for way, can in ways.items():
        training._can_capture = can
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                recipe = getattr(recipes, name)(**options)
                if compiled:
                    recipe.model.unet.compile(mode="reduce-overhead")
                records = recipe.run(checkpoint=None)
                row[way], row["gigabytes"], busy = timed(lambda records=records: next(records), 3 if small else 40)
        finally:
            training._can_capture = captures
    fastest = row.get("graph_ms", row["eager_ms"])
    row["busy"] = busy / fastest if busy else None
    row["pictures_a_second"] = 1000 * row["batch"] / fastest
    return {**row, "name": name + ", torch.compile" * compiled}


def timed(work: Callable[[], object], repeats: int, warmup: int = 6) -> tuple[float, float | None, float | None]:
    """Milliseconds of a call, gigabytes of memory at most, and milliseconds in which the GPU computes."""
    on_gpu = best_device().type == "cuda"
    wait: Callable[[], object] = torch.cuda.synchronize if on_gpu else lambda: None
    for _ in range(warmup):
        work()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    taken = []
    for _ in range(3):
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        wait()
        taken.append(1000 * (time.perf_counter() - start) / repeats)
    if not on_gpu:
        return statistics.median(taken), None, None
    memory = torch.cuda.max_memory_allocated() / 1e9
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(5):
            work()
        wait()
    busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1000 / 5
    return statistics.median(taken), memory, busy


def diffusers_row(small: bool) -> Row:
    """The latent text model's step as diffusers' own example does it, with the same networks' sizes."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from diffusers.training_utils import EMAModel

    AcceleratorState._reset_state()
    device, batch = best_device(), 8 if small else 128
    accelerator = Accelerator(mixed_precision="bf16", cpu=device.type == "cpu")
    sizes = DiffusionConfig().unet
    unet: nn.Module = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=sizes.block_out_channels,
        layers_per_block=sizes.layers_per_block,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=sizes.context_dim,
        attention_head_dim=sizes.num_heads,
    ).to(device)
    average, text = EMAModel(unet.parameters()), TextEncoder().to(device)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-4)
    model, optimizer = accelerator.prepare(unet, optimizer)
    scheduler = DDPMScheduler(prediction_type="v_prediction")
    tokens, x0 = tokenize(["a red seven"] * batch).to(device), torch.randn(batch, 4, 8, 8, device=device)

    def step() -> None:
        noise, t = torch.randn_like(x0), torch.randint(0, 1000, (batch,), device=device)
        with torch.no_grad(), accelerator.autocast():
            context = text(tokens)
        with accelerator.autocast():
            prediction = model(scheduler.add_noise(x0, noise, t), t, context).sample
        accelerator.backward(F.mse_loss(prediction.float(), scheduler.get_velocity(x0, noise, t)))
        accelerator.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.step(unet.parameters())

    took, memory, busy = timed(step, 2 if small else 20)
    row: Row = {
        "name": "ldm, in diffusers",
        "batch": batch,
        "eager_ms": took,
        "gigabytes": memory,
        "pictures_a_second": 1000 * batch / took,
    }
    return {**row, "busy": busy / took if busy else None}


# ---------------------------------------------------------------- Stable Diffusion, and the quick machine


@torch.no_grad()
def stable_diffusion(small: bool) -> dict[str, Row]:
    """A step of the UNet of Stable Diffusion 1.x, random weights, the same in both."""
    from diffusers import UNet2DConditionModel

    device = best_device()
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    size = 8 if small else 64
    with torch.device(device):
        ours: nn.Module = UNet(TINY_SD if small else SD1_UNET).to(dtype).eval()
    x, context, t = torch.randn(2, 4, size, size), torch.randn(2, 77, 768), torch.tensor(537, device=device)
    x, context = x.to(device, dtype), context.to(device, dtype)
    read = ours.read(context)
    rows = {"tinyldm, the prompt read before": timed(lambda: ours(x, t, read=read), 2 if small else 10, 3)}
    rows["tinyldm"] = timed(lambda: ours(x, t, context), 2 if small else 10, 3)
    if not small:
        with torch.device("meta"):
            theirs = UNet2DConditionModel.from_config(_unet_settings(SD1)).eval()
        theirs.load_state_dict(ours.state_dict(), assign=True)
        rows["diffusers"] = timed(lambda: theirs(x, t, context), 10, 3)
    return {name: {"ms": took, "gigabytes": memory} for name, (took, memory, _) in rows.items()}


def quick(small: bool) -> Row:
    """`tinyldm train all --quick`, measuring included."""
    options: dict[str, Any] = {"rows": 600, "captions": 20} if small else {}
    with tempfile.TemporaryDirectory() as folder, _tiny_steps() if small else contextlib.nullcontext():
        start = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):
            says = recipes.make_all(folder, quick=True, **options)
        return {"seconds": time.perf_counter() - start, "says": says.rsplit("\n", 1)[0]}


@contextlib.contextmanager
def _tiny_steps() -> Iterator[None]:
    before = {name: dict(options) for name, options in recipes.QUICK.items()}
    for options in recipes.QUICK.values():
        options.update(steps=2, batch_size=8)
    try:
        yield
    finally:
        recipes.QUICK.update(before)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    typer.run(main)
