"""How the cost of drawing and training grows, on a CPU: a table of times with exponents, and a plot.

    python benchmarks/growth.py [--out benchmarks/growth.png]

Each line changes one size and leaves the others at the course's own. An exponent is the slope of a straight line
through the logarithms of size and seconds: 1 is in proportion, 0 is for nothing.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure

from tinyldm import recipes
from tinyldm.data import CaptionedMNIST, _measure
from tinyldm.devices import describe_hardware
from tinyldm.pipeline import TextToImage

PLOT = Path(__file__).with_name("growth.png")
Line = tuple[list[int], list[float]]


def main(
    out: Annotated[Path, typer.Option(help="Where to draw the plot.")] = PLOT,
    small: Annotated[bool, typer.Option("--small", help="The two smallest sizes of everything.")] = False,
) -> None:
    """Measure, print and plot."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    last = 2 if small else None
    pipeline = TextToImage.from_pretrained(device="cpu", precision="fp32")
    captions = CaptionedMNIST("test", limit=64).captions
    lines: dict[str, Line] = {}

    def measure(name: str, sizes: list[int], work: Callable[[int], object], clear: Callable[[], object] = int) -> None:
        lines[name] = sizes[:last], [seconds(lambda size=size: work(size), clear) for size in sizes[:last]]

    @torch.no_grad()
    def step(height: int) -> None:
        x, context = torch.zeros(1, 4, height, height), torch.zeros(1, 77, 128)
        pipeline.unet(x, 500, context)

    measure("height of the latents, one step", [8, 16, 32, 64], step)
    measure(
        "pictures drawn together", [1, 2, 4, 8, 16, 32, 64], lambda count: pipeline.images(captions[:count], seed=0)
    )
    measure("steps of the sampler, 4 pictures", [3, 6, 12, 24, 48], lambda count: draw(pipeline, captions, count))
    rows = [500, 1000, 2000, 4000]
    measure("rows of data, measured", rows, lambda count: CaptionedMNIST("train", limit=count), _measure.cache_clear)
    steps = {count: recipes.ldm(rows=count, batch_size=32).run(checkpoint=None) for count in rows[:last]}
    measure("rows of data, a training step", rows, lambda count: next(steps[count]))
    measure("threads, 64 pictures", [1, 2], lambda count: draw_with(pipeline, captions, count))
    print(f"{describe_hardware()}, seconds on the clock, float32\n")
    print("| what grows | sizes | seconds | exponent |\n|---|---|---|---|")
    for name, (sizes, taken) in lines.items():
        exponent = np.polyfit(np.log(sizes), np.log(taken), 1)[0]
        cells = [", ".join(map(str, sizes)), ", ".join(f"{value:.3g}" for value in taken)]
        print(f"| {name} | {' | '.join(cells)} | {exponent:.2f} |")
    plot(lines, out)


def seconds(work: Callable[[], object], clear: Callable[[], object] = int) -> float:
    """The median of three calls after one."""
    taken = []
    for _ in range(4):
        clear()
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def draw(pipeline: TextToImage, captions: list[str], steps: int) -> None:
    pipeline.images(captions[:4], seed=0, num_inference_steps=steps)


def draw_with(pipeline: TextToImage, captions: list[str], threads: int) -> None:
    torch.set_num_threads(threads)
    pipeline.images(captions, seed=0)
    torch.set_num_threads(1)


def plot(lines: dict[str, Line], path: Path) -> None:
    figure = Figure(figsize=(8, 4), dpi=80, layout="constrained")
    axis = figure.subplots()
    for name, (sizes, taken) in lines.items():
        axis.loglog(np.array(sizes) / sizes[0], np.array(taken) / taken[0], "o-", label=name)
    grid = np.array([1, 64])
    axis.loglog(grid, grid, color="grey", linestyle=":", label="in proportion")
    axis.set(xlabel="size, divided by the smallest", ylabel="time, divided by that of the smallest")
    axis.legend(fontsize="small")
    figure.savefig(path)


if __name__ == "__main__":
    typer.run(main)
