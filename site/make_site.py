"""Build the site: `make site`.

    python site/make_site.py            # into site/_build; nothing is executed, nothing is fetched

The pages are written from what the repository has (lessons, glossary, README, teaching sheets, docstrings) into
build/site, where Sphinx reads them. The playground is copied if it has been built. A link within the site that
leads nowhere, a picture without a text, and anything that a page would fetch from another host is an error.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT)]

from lessons import lesson_page, read  # noqa: E402
from links import faults  # noqa: E402

import tinyldm  # noqa: E402

WORK, OUT = ROOT / "build" / "site", HERE / "_build"
PAGES = WORK / "pages"
PLAYGROUND = HERE / "playground" / "dist"
SOURCE = f"https://github.com/tinyldm/tinyldm/blob/v{tinyldm.__version__}"
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Files of the repository that have a page of their own.
HOME = {
    "README.md": "index.md",
    "notebooks/glossary.md": "glossary.md",
    "benchmarks/README.md": "benchmarks.md",
    "instructor/README.md": "instructor/index.md",
    "instructor/syllabus.md": "instructor/syllabus.md",
    ".github/prompts.png": "prompts.png",
    "benchmarks/growth.png": "growth.png",
    "benchmarks/peers.png": "peers.png",
}


def main() -> int:
    """Write the pages, build them, look them over; the exit code. What was built before stays until that is done."""
    write_pages()
    built = WORK / "html"
    code = build(built)
    if code == 0 and (found := faults(built)):
        print("\n".join(found), file=sys.stderr)
        code = 1
    if code == 0:
        shutil.rmtree(OUT, ignore_errors=True)
        shutil.move(built, OUT)
        size = sum(file.stat().st_size for file in OUT.rglob("*") if file.is_file()) / 1e6
        print(f"{OUT}: {len(list(OUT.rglob('*.html')))} pages, {size:.0f} MB; look at them with `make serve`")
    return code


def build(out: Path) -> int:
    """Run Sphinx; the playground and the exercise forms are copied as they are."""
    extra = WORK / "extra"
    for folder in (extra, out):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "notebooks" / "exercises", extra / "exercises")
    if has_playground():
        shutil.copytree(PLAYGROUND, extra / "playground")
    sphinx = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-c", str(HERE)]
    environment = {**os.environ, "TINYLDM_EXTRA": str(extra)}
    run = [*sphinx, "-d", str(WORK / "doctrees"), str(PAGES), str(out)]
    return subprocess.run(run, env=environment, check=False).returncode


def has_playground() -> bool:
    """Whether it has been built."""
    return (PLAYGROUND / "index.html").exists()


# ---------------------------------------------------------------- pages


def write_pages() -> None:
    """All pages, from what the repository has."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        page = lesson_page(read(path), path.stem, has_playground())
        for cell in page.cells:
            if cell.cell_type == "markdown":
                cell.source = relinked(cell.source, path.parent, "lessons")
        target = PAGES / "lessons" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(page, target)
    write("glossary.md", glossary((ROOT / "notebooks" / "glossary.md").read_text(encoding="utf-8")))
    write("using.md", "# Using it\n\n" + sections("Installing", "Using it"))
    write("results.md", "# Figures and the ladder\n\n" + sections("How good it is", "The ladder", "How it was trained"))
    write("benchmarks.md", (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8"), ROOT / "benchmarks")
    write("commands.md", commands())
    write_instructor()
    write_reference()
    write("index.md", (HERE / "index.md").read_text(encoding="utf-8").format(**landing()))
    for file, page in HOME.items():
        if file.endswith(".png"):
            shutil.copy(ROOT / file, PAGES / page)


def write(name: str, text: str, home: Path = ROOT) -> None:
    """A page, its links changed from where they lead in the repository to where that is on the site.

    A percent sign stays on the line of its number.
    """
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    path = PAGES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(relinked(text, home, posixpath.dirname(name) or "."), encoding="utf-8")


def sections(*headings: str) -> str:
    """Sections of the README."""
    parts = {part.split("\n", 1)[0]: part for part in re.split(r"^## ", README, flags=re.MULTILINE)}
    return "".join(f"## {parts[heading]}" for heading in headings)


def relinked(text: str, home: Path, folder: str) -> str:
    """Links as they must be in a page of ``folder``: to other pages if there is one, else to the file on GitHub."""

    def change(link: re.Match[str]) -> str:
        path, anchor = link[2], link[3] or ""
        if path.startswith(("http", "mailto:")) or not (there := (home / path).resolve()).is_relative_to(ROOT):
            return link[0]
        if not there.exists():
            return link[0]
        page = page_of(there.relative_to(ROOT).as_posix())
        if page is None:
            return f"{link[1]}({SOURCE}/{there.relative_to(ROOT).as_posix()}{anchor})"
        return f"{link[1]}({posixpath.relpath(page, folder)}{anchor})"

    return re.sub(r"(\[[^]]*\])\(([^)#\s]+)(#[^)]*)?\)", change, text)


def page_of(file: str) -> str | None:
    """The page that shows a file of the repository, if one does."""
    if lesson := re.fullmatch(r"notebooks/(\d\d_\w+\.ipynb)", file):
        return f"lessons/{lesson[1]}"
    if sheet := re.fullmatch(r"instructor/sheets/(\w+\.md)", file):
        return f"instructor/sheets/{sheet[1]}"
    if module := re.fullmatch(r"tinyldm/(\w+)\.py", file):
        return f"api/{module[1]}.rst" if module[1] in modules() else None
    return HOME.get(file)


def glossary(table: str) -> str:
    """The glossary's table as a list of terms, which can be read on a phone."""
    rows = re.findall(r"^\| (?!term \|)([^|]+) \| ((?:\\\||[^|])+) \| \[(\d\d)\]\(([^)]+)\) \|$", table, re.MULTILINE)
    terms = "\n\n".join(
        f"{term}\n    {meaning.replace(chr(92) + '|', '|')} [Lesson {number}](lessons/{file})"
        for term, meaning, number, file in rows
    )
    intro = "The terms of the course, each with the sentence that introduces it."
    return f"# Glossary\n\n{intro}\n\n:::{{glossary}}\n{terms}\n:::\n"


def commands() -> str:
    """What each command does and takes, from the command line itself."""
    from typer.main import get_command

    from tinyldm.cli import app

    parts = ["# The commands", "In a terminal, `tinyldm COMMAND --help` says the same."]
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        parts += [f"## tinyldm {name}", *_about(command)]
        for inner, recipe in getattr(command, "commands", {}).items():
            parts += [f"### tinyldm {name} {inner}", *_about(recipe)]
    return "\n\n".join(parts) + "\n"


def _about(command: Any) -> list[str]:
    """A command's help, and a table of what it takes."""
    rows = []
    for given in command.params:
        name = given.opts[0] if given.opts[0].startswith("-") else given.name.upper()
        if given.help and name != "--help":
            rows.append(f"| `{name}` | {given.help.replace('|', chr(92) + '|')} |")
    table = "| argument | what it says |\n|---|---|\n" + "\n".join(rows)
    return [command.help or "", *([table] if rows else [])]


def write_instructor() -> None:
    """The instructor's guide, both syllabi and the teaching sheets."""
    folder = ROOT / "instructor"
    guide, sheets = (folder / "README.md").read_text(encoding="utf-8"), sorted((folder / "sheets").glob("*.md"))
    listed = "\n".join(["syllabus", *(f"sheets/{sheet.stem}" for sheet in sheets)])
    write("instructor/index.md", f"{guide}\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n", folder)
    write("instructor/syllabus.md", (folder / "syllabus.md").read_text(encoding="utf-8"), folder)
    for sheet in sheets:
        write(f"instructor/sheets/{sheet.name}", sheet.read_text(encoding="utf-8"), folder / "sheets")


def house() -> list[tuple[str, str, str]]:
    """The README's table of modules: floor, module, what it holds."""
    rows = re.findall(r"^\| (\d?) ?\| `(\w+)(?:\.py|/)` \| (.*) \|$", README, re.MULTILINE)
    return [(floor, module, holds) for floor, module, holds in rows if module not in ("cli", "exercises")]


def modules() -> set[str]:
    """Modules with a page in the reference."""
    return {module for _, module, _ in house()}


def write_reference() -> None:
    """A page for each module, from its docstrings."""
    rows = [f"| {floor} | [{module}]({module}.rst) | {holds} |" for floor, module, holds in house()]
    ways = sections("The house").split("|\n\n")[1].split("\n\n")[:2]
    listed = "\n".join(module for _, module, _ in house())
    table = "\n".join(["| floor | module | holds |", "|---|---|---|", *rows])
    contents = f"```{{toctree}}\n:hidden:\n\n{listed}\n```"
    write("api/index.md", "\n\n".join(["# The package", table, *ways, contents]) + "\n")
    for _, module, _ in house():
        title = f"tinyldm.{module}"
        page = f"{title}\n{'=' * len(title)}\n\n.. automodule:: {title}\n"
        (PAGES / "api" / f"{module}.rst").write_text(page, encoding="utf-8")


def landing() -> dict[str, str]:
    """What the landing page shows that stands elsewhere already."""
    rows = re.findall(r"^\| \[(\d\d) ([^\]]+)\]\(notebooks/([^)]+)\.ipynb\) \| (.*) \|$", README, re.MULTILINE)
    cards = "\n".join(
        f'<a class="card" href="lessons/{file}.html"><b>{number} {title}</b><span>{what}</span></a>'
        for number, title, file, what in rows
    )
    playground = "\n" + (HERE / "prompt.html").read_text(encoding="utf-8").strip() if has_playground() else ""
    return {"cards": cards, "playground": playground, "version": tinyldm.__version__}


if __name__ == "__main__":
    sys.exit(main())
