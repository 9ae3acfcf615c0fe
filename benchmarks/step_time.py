"""One step of Stable Diffusion 1.x's UNet: tinyldm beside diffusers, with the same random weights and inputs.

    python benchmarks/step_time.py --help

Both run in eager mode and take turns; the figure that counts is the median ratio of neighbouring runs, since a busy
machine slows down both. Needs the extra "dev" and 4 GB of memory.
"""

import statistics
import time
from typing import Annotated

import torch
import typer
from diffusers import UNet2DConditionModel

from tinyldm.devices import best_device
from tinyldm.stable_diffusion import SD1, SD1_UNET, _unet_settings
from tinyldm.unet import UNet

Size = Annotated[int, typer.Option(help="Height and width of the latents: 64 is a 512x512 image.")]
Batch = Annotated[int, typer.Option(help="Batch size; 2 is one image with guidance.")]
Pairs = Annotated[int, typer.Option(min=1, help="How many times to measure each.")]


@torch.no_grad()
def main(size: Size = 64, batch: Batch = 2, pairs: Pairs = 7) -> None:
    """Print the seconds per step and the ratio tinyldm / diffusers."""
    device = best_device()
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    theirs = UNet2DConditionModel.from_config(_unet_settings(SD1)).eval()
    with torch.device("meta"):
        ours = UNet(SD1_UNET).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)  # the same tensors, not copies of them
    for model in (theirs, ours):
        model.to(device, dtype)
    x, context = torch.randn(batch, 4, size, size), torch.randn(batch, 77, 768)
    x, t, context = x.to(device, dtype), torch.tensor(537, device=device), context.to(device, dtype)
    steps = {"diffusers": lambda: theirs(x, t, context).sample, "tinyldm": lambda: ours(x, t, context)}
    difference = (steps["tinyldm"]() - steps["diffusers"]()).abs().max().item()  # also warms both up
    seconds = {name: [] for name in steps}
    for pair in range(pairs):
        for name in sorted(steps, reverse=pair % 2 == 1):  # take turns going first
            seconds[name].append(measure(steps[name], device))
    ratios = [ours / theirs for ours, theirs in zip(seconds["tinyldm"], seconds["diffusers"], strict=True)]
    print(f"{device.type}, {dtype}, latents {batch} x 4 x {size} x {size}, {pairs} pairs")
    for name, times in seconds.items():
        print(f"{name:10} {statistics.median(times):8.3f} seconds per step (median)")
    print(f"ratio tinyldm / diffusers: median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    print(f"largest difference between the outputs: {difference:.1e}")


def measure(step, device: torch.device) -> float:
    """Seconds taken by one call."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    step()
    synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    typer.run(main)
