"""What the benchmarks share: programs that take turns, each in a process of its own, on one thread.

A busy or throttled machine slows down all programs alike. So what counts is the ratio of neighbouring turns, in CPU
seconds of the whole process; its median over the rounds is printed, and how far the rounds were apart.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]


def serve(work: Callable[[], object]) -> None:
    """Be a program that takes turns: get ready, work once for each line that comes in, say how long it took."""
    work()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        work()
        print(time.process_time() - start, flush=True)


def take_turns(programs: dict[str, list[str]], rounds: int, threads: int = 1) -> dict[str, list[float]]:
    """CPU seconds of each program in each round.

    Args:
        programs: command lines by name; each runs `serve`. One may begin with "PYTHONPATH=...", for another version.
        rounds: how many.
        threads: of each program.
    """
    running = {}
    for name, command in programs.items():
        folder, command = (
            (command[0], command[1:]) if command[0].startswith("PYTHONPATH=") else (f"PYTHONPATH={HERE}", command)
        )
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": folder.removeprefix("PYTHONPATH=")}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        running[name] = subprocess.Popen([sys.executable, *command], env=environment, text=True, **pipes)
    for name, program in running.items():
        if program.stdout.readline().strip() != "ready":
            raise SystemExit(f"{name} did not start: try `{' '.join(programs[name])}`")
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(rounds):
        for name in sorted(running, reverse=turn % 2 == 1):  # each goes first now and then
            running[name].stdin.write("go\n")
            running[name].stdin.flush()
            seconds[name].append(float(running[name].stdout.readline()))
    for program in running.values():
        program.stdin.close()
        program.wait()
    return seconds


def table(seconds: dict[str, list[float]], unit: float = 1.0, of: str = "CPU seconds") -> str:
    """A Markdown table: each program's median, and the first one's ratio to it, with its range over the rounds."""
    first = next(iter(seconds))
    lines = [f"| program | {of} | {first} takes, times that | from | to |", "|---|---|---|---|---|"]
    for name, taken in seconds.items():
        ratios = [a / b for a, b in zip(seconds[first], taken, strict=True)]
        cells = [f"{value:.2f}" for value in (statistics.median(ratios), min(ratios), max(ratios))]
        lines.append(f"| {name} | {statistics.median(taken) / unit:.3g} | {' | '.join(cells)} |")
    return "\n".join(lines)
