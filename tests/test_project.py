"""The frame of the house: one source of dependencies, two commands, imports that only go upwards."""

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import tinyldm
from tinyldm.captions import word_list

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
MODULES = sorted((ROOT / "tinyldm").rglob("*.py"))
EXERCISES = [path for path in MODULES if path.parent.name == "exercises"]

# From the ground up: a module imports only from lower floors, and from its own floor what stands left of it.
FLOORS = (
    (
        "schedule",
        "unet",
        "captions",
        "weights",
        "devices",
        "images",
        "checks",
        "mutations",
        "relations",
        "explanations",
    ),
    ("measure", "samplers", "vae", "text", "training", "gan"),
    ("data", "vqvae", "guidance", "diffusion"),
    ("pipeline", "evaluation", "plotting", "widgets"),
    ("published", "stable_diffusion", "portable", "recipes", "ladder"),
    ("cli", "exercises"),
    ("__main__",),
)
ROOMS = [room for floor in FLOORS for room in floor]

needs_make = pytest.mark.skipif(
    os.name == "nt" or shutil.which("make") is None or shutil.which("bash") is None, reason="needs make and bash"
)


# ---------------------------------------------------------------- one source of dependencies


def test_requirements_are_lower_bounds_only():
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]:
        assert re.fullmatch(r"[a-z0-9-]+>=[0-9.]+", line), f"{line!r} is not a lower bound"


def test_conda_environment_repeats_nothing_that_pyproject_does_not_say():
    lines = [line.strip() for line in (ROOT / "environment.yml").read_text().splitlines()]
    items = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    extra = re.fullmatch(r"-e \.\[(\w+)\]", items[-1])
    assert items[:-1] == ["conda-forge", f"python{PROJECT['requires-python']}", "pip", "pip:"]
    assert extra and extra[1] == "lab" and extra[1] in PROJECT["optional-dependencies"]
    assert f"name: {PROJECT['name']}" in lines


def test_version_is_said_the_same_everywhere():
    """Badges and set-up cells of the lessons: see test_notebooks.py."""
    assert tinyldm.__version__ == PROJECT["version"]
    citation = (ROOT / "CITATION.cff").read_text()
    latest, date = re.search(r"^## (\S+) \((\S+)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE).groups()
    assert latest == PROJECT["version"]
    assert f"\nversion: {latest}\n" in citation and f'\ndate-released: "{date}"\n' in citation
    assert PROJECT["urls"]["Repository"] in citation and PROJECT["license"] in citation


def test_the_workflows_run_what_there_is():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    linux, others = workflow["jobs"]["linux"], workflow["jobs"]["others"]
    commands = [step["run"] for job in (linux, others) for step in job["steps"] if "run" in step]
    assert "bash .ci/run" in commands and (ROOT / ".ci" / "run").exists()
    assert {"run": "make test-oldest"} in workflow["jobs"]["oldest"]["steps"]
    extras = re.findall(r"-e '\.\[(.*)\]'", "\n".join(commands))
    assert set(extras[0].split(",")) <= set(PROJECT["optional-dependencies"])
    (generate,) = [shlex.split(command) for command in commands if command.startswith("tinyldm generate ")]
    listed = re.search(r"^PROMPTS := (.*?)\n\n", (ROOT / "Makefile").read_text(), re.MULTILINE | re.DOTALL)[1]
    prompts = shlex.split(listed.replace("\\\n", " "))
    assert len(prompts) == 4 and set(prompts) <= set(generate)


def test_a_wheel_holds_every_module_and_every_data_file(tmp_path):
    pytest.importorskip("setuptools")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("tinyldm", "data"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*pip, str(tmp_path)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("tinyldm/")}
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tinyldm").rglob("*") if path.is_file()}
    mnist = {f"tinyldm/mnist/{path.name}" for path in (ROOT / "data").iterdir()}
    assert len(mnist) == 5 and packed == mnist | {name for name in there if "__pycache__" not in name}
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    script = "from tinyldm.data import SHIPPED, load_mnist; print(SHIPPED, len(load_mnist('test').labels))"
    run = [sys.executable, "-c", script]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    out = subprocess.run(run, cwd=tmp_path.parent, env=env, check=True, capture_output=True, text=True).stdout
    assert out == f"{tmp_path / 'installed' / 'tinyldm' / 'mnist'} 10000\n"


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
    for tool in ("pip", "ruff", "mypy", "tinyldm", "python"):
        profile = " in profile $TINYLDM_PROFILE on $OMP_NUM_THREADS thread" if tool == "python" else ""
        stub(tmp_path / ".venv" / "bin" / tool, f'echo "{tool} $*{profile}" >> log')
    return tmp_path


@needs_make
def test_make_test_installs_once_then_lints_then_tests(house):
    for _ in range(2):
        assert call("make", "test", cwd=house).returncode == 0
    install, *checks = (house / "log").read_text().splitlines()
    assert install == "pip install -q -e .[lab,dev,grade]"
    assert [line.split()[0] for line in checks] == ["ruff", "mypy", "python"] * 2
    assert checks[2].startswith("python -m pytest ") and checks[2].endswith(" in profile fast on 1 thread")


@needs_make
def test_make_test_oldest_installs_every_lower_bound_and_runs_the_unit_tests_on_it(house):
    stub(house / "python", """mkdir -p .venv-oldest/bin && cp .venv/bin/pip .venv/bin/python .venv-oldest/bin/""")
    assert call("make", "test-oldest", "PYTHON=./python", cwd=house).returncode == 0
    install, run = (house / "log").read_text().splitlines()
    assert install == "pip install -q -c .venv-oldest/oldest.txt -e .[lab,dev,grade]"
    assert re.fullmatch("python -m pytest .* tests in profile fast on 1 thread", run)
    pinned = (house / ".venv-oldest" / "oldest.txt").read_text().split()
    assert pinned == [line.replace(">=", "==") for line in PROJECT["dependencies"]]


@needs_make
@pytest.mark.parametrize("tool", ["pip", "ruff", "mypy", "python"])
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
    assert {"demo", "test"} <= {a or b for a, b in named} <= targets


# ---------------------------------------------------------------- imports


IN_INIT = ("__version__", "UserError", "TinyldmWarning")


def imported_modules(path: Path) -> set[str]:
    """Names of the modules of tinyldm that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            origin = ["tinyldm"] * bool(node.level) + (node.module or "").split(".") * bool(node.module)
            if origin == ["tinyldm"]:
                found |= {alias.name for alias in node.names if alias.name not in IN_INIT}
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


def test_every_module_has_its_room_and_the_readme_shows_it():
    assert {path.stem for path in MODULES if path not in EXERCISES} | {"exercises"} == {*ROOMS, "__init__"}
    rows = re.findall(r"^\| (\d?) ?\| `(\w+)(?:\.py|/)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert [room for _, room in rows] == [room for room in ROOMS if room != "__main__"]
    starts = {room: floor for floor, room in rows if floor}
    assert starts == {floor[0]: str(number) for number, floor in enumerate(FLOORS[:-1], start=1)}


def test_the_readme_lists_the_words_that_prompts_are_made_of():
    listed = "\n".join("    " + line for line in word_list().splitlines())
    assert f"\n\n{listed}\n\n" in (ROOT / "README.md").read_text()


def test_every_link_of_the_documents_leads_somewhere():
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "instructor/README.md"):
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / document).read_text()):
            assert "://" in link or (ROOT / document).parent.joinpath(link).exists(), f"{document}: {link}"


@pytest.mark.parametrize("name", ["__init__", *ROOMS])
def test_a_module_imports_only_what_lies_below_it(name):
    below = ROOMS[: ROOMS.index(name)] if name in ROOMS else []
    files = EXERCISES if name == "exercises" else [ROOT / "tinyldm" / f"{name}.py"]
    own = {path.stem for path in EXERCISES} if name == "exercises" else set()
    assert set().union(*map(imported_modules, files)) <= {*below, *own}


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


def test_help_is_quick_since_it_needs_nothing_heavy():
    script = (
        "import sys; sys.argv = ['tinyldm', '--help']\n"
        "from tinyldm.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(run.stdout.splitlines()[-1].split())
    assert "typer" in loaded and "Type a prompt" in run.stdout
    assert not loaded & {"torch", "numpy", "transformers", "matplotlib", "scipy", "torchvision", "accelerate", "PIL"}
