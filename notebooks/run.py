"""Run lessons and write their outputs and measured minutes into them: ``make lessons``.

    python notebooks/run.py                          # all of them
    python notebooks/run.py 02_forward_diffusion     # one

A lesson that fails stays as it was. Minutes are recorded for the profile that they were
measured with ("cpu" or "gpu", see `tinyldm.devices.budget`); those of the other profile are
kept. The times of each part go into the lesson's teaching sheet. Outputs come from the
profile "cpu"; "gpu" writes minutes only; "fast" is for checks and writes nothing.
"""

from __future__ import annotations

import copy
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from tqdm import tqdm

from tinyldm.devices import budget
from tinyldm.weights import atomic_write

FOLDER = Path(__file__).resolve().parent
SHEETS = FOLDER.parent / "instructor" / "sheets"
MAX_BYTES = 1_500_000
WIDGET = "application/vnd.jupyter.widget-view+json"
TIMES = re.compile(
    r"<!-- times -->.*?(?=\n\n|\Z)", re.DOTALL
)  # a marker, and what follows it up to an empty line
TABLE = re.compile(r"<!-- lessons -->.*?(?=\n\n|\Z)", re.DOTALL)
PARTS = re.compile(r"<!-- parts -->.*?(?=\n\n|\Z)", re.DOTALL)


def lessons() -> list[Path]:
    """All lessons, in their order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))


def execute(notebook) -> list[float]:
    """Run all cells in place; return the seconds of each, without the kernel's start."""
    here = {"metadata": {"path": str(FOLDER)}}
    tidy = {
        "record_timing": False,
        "coalesce_streams": True,
    }  # so that outputs look the same after every run
    client = NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources=here, **tidy
    )
    seconds = []
    with client.setup_kernel():
        for number, cell in enumerate(tqdm(notebook.cells, unit="cell", leave=False)):
            start = time.perf_counter()
            client.execute_cell(cell, number)
            seconds.append(time.perf_counter() - start)
    return seconds


def seconds_by_part(notebook, seconds: list[float]) -> list[tuple[str, float]]:
    """The seconds of a lesson's cells, summed from one heading (##) to the next."""
    parts, part = {}, ""
    for cell, took in zip(notebook.cells, seconds, strict=True):
        if cell.cell_type == "markdown":
            part = ([part] + re.findall(r"^## (.*)$", cell.source, re.MULTILINE))[-1]
        else:
            parts[part] = parts.get(part, 0) + took
    return [(part, round(sum_of, 1)) for part, sum_of in parts.items()]


def clean(notebook) -> None:
    """Remove live widgets, which GitHub cannot show; pictures stand beside them."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {
        "name": "python"
    }  # otherwise it would change with every version of Python
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs if WIDGET not in output.get("data", {})
            ]


def minutes_line(minutes: dict[str, float]) -> str:
    """The line at the top of a lesson that says how long its cells run."""
    cpu, gpu = (
        f"{minutes[name]:.1f} minutes" if name in minutes else "not measured"
        for name in ("cpu", "gpu")
    )
    return f"**All cells together run for:** {cpu} on two CPU cores; {gpu} on a GPU."


def overview(all_minutes: dict[str, dict[str, float]]) -> str:
    """The table of lesson 00: each lesson with its minutes."""
    lines = ["| lesson | minutes on two CPU cores | on a GPU |", "|---|---|---|"]
    for name, minutes in all_minutes.items():
        cells = [
            f"{minutes[kind]:.1f}" if kind in minutes else "not measured"
            for kind in ("cpu", "gpu")
        ]
        lines.append(
            f"| [{name.replace('_', ' ')}]({name}.ipynb) | {cells[0]} | {cells[1]} |"
        )
    return "\n".join(lines)


def parts_table(parts: dict[str, list[tuple[str, float]]]) -> str:
    """The table of a teaching sheet: how long the cells of each part run."""
    lines = ["| part with code | seconds on two CPU cores | on a GPU |", "|---|---|---|"]
    seconds = {profile: dict(of_profile) for profile, of_profile in parts.items()}
    for part in dict.fromkeys(
        part for of_profile in seconds.values() for part in of_profile
    ):
        cells = [seconds.get(profile, {}).get(part) for profile in ("cpu", "gpu")]
        cells = ["not measured" if took is None else f"{took:.0f}" for took in cells]
        lines.append(f"| {part} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def renewed(pattern: re.Pattern, text: str, source: str) -> str:
    """``source`` with ``text`` after the marker of ``pattern``."""
    return pattern.sub(lambda found: found[0].split("\n")[0] + "\n" + text, source)


def rewrite(notebook, pattern: re.Pattern, text: str) -> None:
    """Put ``text`` after the marker of ``pattern`` in the cell that has it."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = renewed(pattern, text, cell.source)


def save(notebook, path: Path) -> None:
    """Write a lesson that GitHub can show."""
    with atomic_write(path) as unfinished:
        nbformat.write(notebook, unfinished)
        if (size := unfinished.stat().st_size) > MAX_BYTES:
            raise ValueError(
                f"{path.name} would have {size:,} bytes, more than {MAX_BYTES:,}: "
                "show smaller pictures"
            )


def main(names: list[str]) -> None:
    """Run the named lessons, or all of them; then renew the table in lesson 00."""
    profile = budget(fast="fast", cpu="cpu", gpu="gpu")
    chosen = [path for path in lessons() if not names or path.stem in names]
    if unknown := set(names) - {path.stem for path in chosen}:
        sys.exit(
            f"no such lesson: {', '.join(sorted(unknown))}; "
            f"there are {', '.join(p.stem for p in lessons())}"
        )
    for path in chosen:
        notebook = nbformat.read(path, as_version=4)
        ran = copy.deepcopy(notebook)
        seconds = execute(ran)
        if profile == "fast":
            print(f"{path.stem}: {sum(seconds):.0f} seconds, nothing written", flush=True)
            continue
        if profile == "cpu":
            notebook = ran
            clean(notebook)
        measured = {
            "minutes": round(sum(seconds) / 60, 1),
            "longest": round(max(seconds), 1),
        }
        for name, value in {
            **measured,
            "parts": seconds_by_part(notebook, seconds),
        }.items():
            notebook.metadata.setdefault(name, {})[profile] = value
        rewrite(notebook, TIMES, minutes_line(notebook.metadata.get("minutes", {})))
        save(notebook, path)
        print(
            f"{path.stem}: {sum(seconds):.0f} seconds, {path.stat().st_size / 1000:.0f} kB",
            flush=True,
        )
        sheet = SHEETS / f"{path.stem}.md"
        if sheet.exists():
            sheet.write_text(
                renewed(
                    PARTS,
                    parts_table(notebook.metadata.get("parts", {})),
                    sheet.read_text(),
                )
            )
    if profile == "fast":
        return
    all_lessons = {path: nbformat.read(path, as_version=4) for path in lessons()}
    first = lessons()[0]
    table = overview(
        {
            path.stem: notebook.metadata.get("minutes", {})
            for path, notebook in all_lessons.items()
        }
    )
    rewrite(all_lessons[first], TABLE, table)
    save(all_lessons[first], first)


if __name__ == "__main__":
    main(sys.argv[1:])
