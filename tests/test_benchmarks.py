"""The benchmarks run; what they measure is for their readers."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(name: str, *options: str, folder: Path) -> str:
    """What a benchmark prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "benchmarks" / name), *options]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout


def test_drawing_lets_four_programs_take_turns(tmp_path):
    lines = run("drawing.py", "--pictures", "2", "--rounds", "1", folder=tmp_path).splitlines()
    names = [line.split(" | ")[0] for line in lines if line.startswith("| ")]
    assert names == [
        "| program",
        "| tinyldm",
        "| tinyldm, float32",
        "| diffusers, float32",
        "| diffusers, bf16 autocast",
    ]
    assert all(float(line.split(" | ")[1]) > 0 for line in lines[4:])


def test_growth_measures_and_plots(tmp_path):
    printed = run("growth.py", "--small", "--out", "plot.png", folder=tmp_path)
    assert printed.count("\n| ") == 7 and (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_the_six_minutes_of_a_gpu_run_in_a_small_form_on_a_cpu(tmp_path):
    printed = run("gpu.py", "--small", "--json", "gpu.json", folder=tmp_path)
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert [row["name"] for row in result["recipes"]][-2:] == ["prior", "ldm, in diffusers"]
    assert len(result["recipes"]) == 9 and all(row["eager_ms"] > 0 for row in result["recipes"])
    assert "right on 20 held-out captions" in result["quick"]["says"] and result["quick"]["says"] in printed
    assert result["stable_diffusion"]["tinyldm"]["ms"] > 0


def test_peers_gives_this_course_its_seconds_and_measures_what_was_drawn(tmp_path):
    options = ["--only", "tinyldm", "--seconds", "2", "--pictures", "8", "--json", "figures.json", "--out", "grids"]
    printed = run("peers.py", *options, folder=tmp_path)
    (row,) = json.loads((tmp_path / "figures.json").read_text())["contenders"]
    assert row["cpu_seconds"] > 1 and row["steps"] >= 1  # two pilot steps may take longer than two seconds
    assert row["excess"] == row["frechet"] - row["floor"] > 0  # after two seconds nobody draws like MNIST
    assert f"| tinyldm | {row['version']} | {row['parameters']:,} | {row['steps']:,} |" in printed
    assert (tmp_path / "grids" / "tinyldm.png").read_bytes().startswith(b"\x89PNG")
