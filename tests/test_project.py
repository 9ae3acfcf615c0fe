"""The frame of the house: one source of dependencies, two commands, imports that only go upwards."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tinyldm

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "tinyldm").rglob("*.py"))

# The design's table: a module imports only modules that stand before it.
ORDER = (
    "data", "gan", "schedule", "unet", "training", "samplers", "autoencoder", "text", "pipeline", "stable_diffusion",
    "cli",
)  # fmt: skip
FILES_ONLY = {"weights", "vocabulary"}  # packages that hold files and no code: open to all
ALLOWED = {name: {*ORDER[:i], *FILES_ONLY} for i, name in enumerate(ORDER)}
ALLOWED |= {"evaluation": {"data", *FILES_ONLY}, "plotting": {"data"}, "__init__": set(), "__main__": {"cli"}}
ALLOWED["cli"] |= {"evaluation", "plotting"}

needs_make = pytest.mark.skipif(
    os.name == "nt" or shutil.which("make") is None or shutil.which("bash") is None, reason="needs make and bash"
)


# ---------------------------------------------------------------- one source of dependencies


def test_core_requirements_are_the_designs_and_lower_bounds_only():
    names = {re.split(r"[<>=!~\[; ]", line)[0] for line in PROJECT["dependencies"]}
    assert names == {
        "torch", "torchvision", "transformers", "numpy", "safetensors", "accelerate", "torchmetrics", "matplotlib",
        "tqdm", "typer", "scipy",
    }  # fmt: skip
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]:
        assert re.fullmatch(r"[a-z0-9-]+(>=[0-9.]+)?", line), f"{line!r} is more than a lower bound"


def test_every_extra_of_the_design_exists():
    assert set(PROJECT["optional-dependencies"]) == {"lab", "grade", "site", "dev"}


def test_conda_environment_repeats_nothing_that_pyproject_does_not_say():
    lines = [line.strip() for line in (ROOT / "environment.yml").read_text().splitlines()]
    items = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    extra = re.fullmatch(r"-e \.\[(\w+)\]", items[-1])
    assert items[:-1] == ["conda-forge", f"python{PROJECT['requires-python']}", "pip", "pip:"]
    assert extra and extra[1] == "lab" and extra[1] in PROJECT["optional-dependencies"]
    assert f"name: {PROJECT['name']}" in lines


def test_version_is_said_the_same_everywhere():
    assert tinyldm.__version__ == PROJECT["version"]


def test_licence_is_the_one_pyproject_names():
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_every_folder_of_code_is_packaged():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES if path.name == "__init__.py"}
    assert set(packages) == folders


# ---------------------------------------------------------------- make and continuous integration


def stub(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def call(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a command as a person would, though these tests themselves may run under make."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=cwd, env={**env, **variables}, capture_output=True, text=True, timeout=60)


@pytest.fixture
def house(tmp_path):
    """Makefile and pyproject with a .venv of stubs that only write down how they were called."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for tool in ("pip", "ruff", "tinyldm", "python"):
        profile = " in profile $TINYLDM_PROFILE" if tool == "python" else ""
        stub(tmp_path / ".venv" / "bin" / tool, f'echo "{tool} $*{profile}" >> log')
    return tmp_path


@needs_make
def test_make_test_installs_once_then_lints_then_tests(house):
    for _ in range(2):
        assert call("make", "test", cwd=house).returncode == 0
    assert (house / "log").read_text().splitlines() == [
        "pip install -q -e .[lab,dev,grade]",
        "ruff check .",
        "python -m pytest -q --nbval-lax --nbval-current-env in profile fast",
        "ruff check .",
        "python -m pytest -q --nbval-lax --nbval-current-env in profile fast",
    ]


@needs_make
@pytest.mark.parametrize("tool", ["pip", "ruff", "python"])
def test_make_test_fails_when_a_step_fails(house, tool):
    stub(house / ".venv" / "bin" / tool, "exit 1")
    assert call("make", "test", cwd=house).returncode != 0
    if tool == "pip":
        assert not list((house / ".venv").glob(".installed*")), "a failed installation must be tried again"


@needs_make
def test_make_demo_draws_four_prompts_and_says_where(house):
    stub(house / ".venv" / "bin" / "tinyldm", "printf '%s\\n' \"$@\" > arguments")
    result = call("make", "demo", cwd=house)
    command, *prompts, out, folder = (house / "arguments").read_text().splitlines()
    assert (house / "log").read_text() == "pip install -q -e .\n"
    assert (command, out, folder) == ("generate", "--out", "demo")
    assert len(prompts) == 4 and "a thick red seven leaning left" in prompts and "7, blue on white" in prompts
    assert str(house / "demo") in result.stdout.splitlines()[-1]


@needs_make
def test_a_changed_pyproject_is_installed_again(house):
    call("make", "demo", cwd=house)
    later = (house / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(house / "pyproject.toml", (later, later))
    call("make", "demo", cwd=house)
    assert (house / "log").read_text().count("pip install") == 2


@needs_make
def test_an_old_python_gets_one_clear_line(house):
    shutil.rmtree(house / ".venv")
    stub(house / "old-python", "exit 1")
    result = call("make", "test", "PYTHON=./old-python", cwd=house)
    said = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert result.returncode != 0 and len(said) == 1 and "Python 3.11 or newer" in said[0]
    assert not (house / ".venv").exists()


@needs_make
def test_continuous_integration_runs_make_test_in_the_root_and_passes_its_failure_on(tmp_path):
    stub(tmp_path / "make", f'echo "$(pwd -P) $*" > "{tmp_path}/log"; exit 7')
    result = call(str(ROOT / ".ci" / "run"), cwd=tmp_path, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (tmp_path / "log").read_text() == f"{ROOT} test\n"
    assert result.returncode == 7


def test_every_make_command_in_the_readme_is_a_target():
    named = set(re.findall(r"\bmake ([a-z-]+)$|`make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets == {"help", "demo", "test", "test-full", "lint", "lessons", "release", "grade", "clean"}
    assert {a or b for a, b in named} <= targets


# ---------------------------------------------------------------- imports


def imported_modules(path: Path) -> set[str]:
    """Names of the modules of tinyldm that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            origin = ["tinyldm"] * bool(node.level) + (node.module or "").split(".") * bool(node.module)
            if origin == ["tinyldm"]:
                found |= {alias.name for alias in node.names if alias.name != "__version__"}
            elif origin[0] == "tinyldm":
                found.add(origin[1])
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            found |= {name[1] for name in names if name[0] == "tinyldm" and len(name) > 1}
    return found


def test_imports_are_found_however_they_are_written(tmp_path):
    source = "import tinyldm.unet\ndef f():\n from tinyldm.text import g\n from . import data\n from .gan import h\n"
    (tmp_path / "module.py").write_text(source + "from tinyldm import cli, __version__\nimport torch, tinyldm\n")
    assert imported_modules(tmp_path / "module.py") == {"unet", "text", "data", "gan", "cli"}


@pytest.mark.parametrize("path", sorted((ROOT / "tinyldm").glob("*.py")), ids=lambda path: path.stem)
def test_a_module_imports_only_modules_above_it(path):
    assert path.stem in ALLOWED, f"{path.name} is not in the design's table"
    assert imported_modules(path) <= ALLOWED[path.stem]


def test_nothing_unpickles_what_it_is_given():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
                assert not names & {"pickle", "joblib", "dill"}, f"{path}:{node.lineno}"
                assert not (getattr(node, "module", "") == "torch" and "load" in names), f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert options.get("weights_only") == "True", f"{path}:{node.lineno}"


def test_import_is_quick_and_brings_nothing_heavy():
    script = (
        "import sys, time, torch; start = time.perf_counter(); import tinyldm; took = time.perf_counter() - start;"
        "heavy = {'transformers', 'matplotlib', 'diffusers', 'scipy', 'torchvision', 'accelerate', 'torchmetrics'};"
        "print(took, *sorted(heavy & set(sys.modules)))"
    )
    runs = []
    for _ in range(3):  # the quickest of three: another process may hold the core
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
        runs.append(run.stdout.split())
        assert runs[-1][1:] == [], "imported before it is needed"
        if float(runs[-1][0]) <= 0.3:
            break
    assert min(float(run[0]) for run in runs) <= 0.3
