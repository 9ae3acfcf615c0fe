"""How long a first picture takes, imports included: `tinyldm generate`, older versions of it, and diffusers.

    .venv/bin/python benchmarks/cold_start.py [CHECKOUT ...]

Every program runs in turn, several times; a CHECKOUT is a folder with another version of this repository
(`git worktree add CHECKOUT REVISION`). Printed are medians of seconds on the clock, each divided by this version's, and
the largest memory.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
ROUNDS = 7
DIFFUSERS = """
import sys, torch
from diffusers import StableDiffusionPipeline
pipe = StableDiffusionPipeline.from_pretrained(sys.argv[1])
pipe.set_progress_bar_config(disable=True)
options = {"num_inference_steps": 12, "guidance_scale": 3.0, "generator": torch.Generator().manual_seed(0)}
pipe("a blue four", **options).images[0].save(sys.argv[2])
"""


def seconds(command: list[str], folder: Path) -> tuple[float, float]:
    """Wall-clock seconds of a command, and the largest memory of any so far, in MB."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(folder)})
    return time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        exported, picture = str(Path(temporary) / "exported"), str(Path(temporary) / "four.png")
        generate = [sys.executable, "-m", "tinyldm", "generate", "a blue four", "--out", picture]
        programs = {"this version": (generate, HERE)}
        _, memory = seconds(*programs["this version"])  # before any other program, since only the largest is kept
        subprocess.run([sys.executable, "-m", "tinyldm", "export", "--to", "diffusers", exported], cwd=HERE, check=True)
        programs["diffusers"] = ([sys.executable, "-c", DIFFUSERS, exported, picture], HERE)
        programs |= {checkout: (generate, Path(checkout).resolve()) for checkout in sys.argv[1:]}
        taken: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(ROUNDS):
            for name, program in programs.items():
                taken[name].append(seconds(*program)[0])
        own = taken["this version"]
        print(f"this version: {statistics.median(own):.2f} s, {memory:.0f} MB")
        for name, others in taken.items():
            if name != "this version":
                ratio = statistics.median(a / b for a, b in zip(own, others, strict=True))
                print(f"{name}: {statistics.median(others):.2f} s; this version takes {ratio:.2f} times that")


if __name__ == "__main__":
    main()
