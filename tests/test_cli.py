"""The command line: what a person types, what they get, and what they are told when something is wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import tinyldm.weights
from tinyldm import UserError, cli, recipes
from tinyldm.diffusion import DiffusionConfig, DiffusionModel
from tinyldm.evaluation import Judge, digit_shares
from tinyldm.gan import Generator
from tinyldm.images import to_pil
from tinyldm.pipeline import TextToImage
from tinyldm.recipes import ldm
from tinyldm.stable_diffusion import load_stable_diffusion
from tinyldm.training import Checkpoint
from tinyldm.vqvae import VQVAE, CodePrior
from tinyldm.weights import save_weights

PROMPT = "a thick red seven leaning left"


@pytest.fixture
def tinyldm_command(monkeypatch, capsys, tmp_path):
    """Run the command line in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["tinyldm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return run


def pixels(path):
    return np.asarray(Image.open(path))


# ---------------------------------------------------------------- generate


def test_one_prompt_becomes_a_picture_named_after_it(tinyldm_command, tmp_path):
    code, out, _ = tinyldm_command("generate", PROMPT)
    path = tmp_path / "a-thick-red-seven-leaning-left.png"
    assert code == 0 and out.strip() == path.name
    assert pixels(path).shape == (32, 32, 3)
    expected = TextToImage.from_pretrained()(PROMPT, seed=0)
    assert (pixels(path) == np.asarray(expected)).all()


def test_the_seed_decides_the_picture(tinyldm_command):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        tinyldm_command("generate", PROMPT, "--seed", seed, "--out", f"{name}.png")
    assert (pixels("a.png") == pixels("b.png")).all()
    assert (pixels("a.png") != pixels("c.png")).any()


def test_options_reach_the_sampler(tinyldm_command):
    options = {"steps": 5, "guidance": 3.5, "sampler": "ddim", "negative": "blue", "seed": 7, "precision": "bf16"}
    tinyldm_command("generate", PROMPT, "--out", "x.png", *[word for k, v in options.items() for word in (f"--{k}", v)])
    expected = TextToImage.from_pretrained(precision="bf16")(
        PROMPT, num_inference_steps=5, guidance_scale=3.5, sampler="ddim", negative_prompt="blue", seed=7
    )
    assert (pixels("x.png") == np.asarray(expected)).all()


def test_many_prompts_become_a_folder_in_their_order_with_a_grid(tinyldm_command, tmp_path):
    (tmp_path / "prompts.txt").write_text("7, blue on white\n\na bold green three\n")
    code, _, _ = tinyldm_command("generate", "one", "--prompts", "prompts.txt", "--count", 2, "--out", "new/folder")
    texts = [text for text in ("one", "7, blue on white", "", "a bold green three") for _ in range(2)]
    assert code == 0
    assert sorted(p.name for p in Path("new/folder").iterdir()) == [f"{n:04d}.png" for n in range(8)] + ["grid.png"]
    for n, image in enumerate(TextToImage.from_pretrained().images(texts, seed=0)):
        assert (pixels(f"new/folder/{n:04d}.png") == np.asarray(to_pil(image))).all()
    assert pixels("new/folder/grid.png").shape[0] > 100


def test_unknown_words_and_lost_words_are_named_in_one_line_each(tinyldm_command):
    _, _, err = tinyldm_command("generate", "a paradise cosmic beach seven", "--out", "x.png")
    assert err.strip().splitlines() == ["tinyldm: no effect: paradise, cosmic, beach (never seen in training)"]
    _, _, err = tinyldm_command("generate", "seven " * 80, "--out", "x.png")
    assert len(err.strip().splitlines()) == 1 and "seven seven seven seven seven" in err and "cut" in err


def test_a_warning_is_given_once_for_many_batches(tinyldm_command):
    code, _, err = tinyldm_command("generate", "a cosmic seven", "--count", 70, "--steps", 1)
    assert code == 0
    assert re.findall(r"[^\n\r]*cosmic.*", err) == ["tinyldm: no effect: cosmic (never seen in training)"]


def test_the_words_that_prompts_are_made_of_are_listed_in_80_columns(tinyldm_command):
    code, out, err = tinyldm_command("words")
    assert (code, err) == (0, "") and max(map(len, out.splitlines())) < 80
    headings = [line for line in out.splitlines() if line[0] != " "]
    assert headings == ["digits", "inks", "backgrounds", "strokes", "slants"]
    assert {"seven,", "crimson,", "navy,", "spindly,", "leaning", "straight,"} <= set(out.split())


def test_each_prompt_that_cannot_be_met_gets_a_line_of_its_own(tinyldm_command):
    _, _, err = tinyldm_command("generate", "7", "12", "a red sevn", "12", "--out", "x", "--steps", 1)
    assert err.splitlines() == [
        "tinyldm: '12': one digit at a time, 0 to 9, not 12",
        "tinyldm: 'a red sevn': no effect: sevn (never seen in training); did you mean seven? (sevn is used as typed)",
    ]


PROMPTS_FILES = {
    "windows": b"\xef\xbb\xbf7 in red\r\n\r\na blue 2\r\n",
    "odd": "日本 7\n$x^{$\n👍\nسبعة\n\u202e7\na\tb\x1b[31m\n".encode() + b"7 " * 150,
}


@pytest.mark.parametrize(("name", "pictures"), [("windows", 3), ("odd", 7)])
def test_any_text_of_a_prompts_file_becomes_pictures_with_a_grid(tinyldm_command, tmp_path, name, pictures):
    (tmp_path / "prompts.txt").write_bytes(PROMPTS_FILES[name])
    code, _, err = tinyldm_command("generate", "--prompts", "prompts.txt", "--steps", 1, "--out", "x")
    assert code == 0 and len(list(Path("x").glob("0*.png"))) == pictures and Path("x/grid.png").exists()
    assert all(line.startswith("tinyldm: ") and line.isprintable() for line in err.splitlines())
    assert len(err.splitlines()) <= pictures + 1 and (name == "odd" or err == "")


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
@pytest.mark.parametrize("place", ["pipe", "/dev/zero"])
def test_what_may_never_end_is_not_read(tinyldm_command, tmp_path, place):
    os.mkfifo(tmp_path / "pipe")
    code, _, err = tinyldm_command("generate", "--prompts", place)
    assert (code, err) == (2, f"tinyldm: {place} is not a file; --prompts needs one with a prompt on each line\n")


COMMAND_LINE = """
import sys, types
table = "Fr\\xe9chet distance \\u1fb1 of this table"
sys.modules["tinyldm.ladder"] = types.SimpleNamespace(ladder=lambda *arguments: table)
from tinyldm.cli import main
main()
"""


def run_with(arguments, folder, **environment):
    """The command line in a process of its own, with a quick ladder: (exit code, stdout, stderr), in bytes."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(tinyldm.__file__).parent.parent), **environment}
    run = subprocess.run([sys.executable, "-c", COMMAND_LINE, *arguments], cwd=folder, env=env, capture_output=True)
    return run.returncode, run.stdout, run.stderr


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, b"Fr?chet distance ? of"),
        ({"PYTHONIOENCODING": "cp1252"}, b"Fr\xe9chet distance ? of"),
        ({"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, b"Fr?chet distance ? of"),
        ({"PYTHONUTF8": "1"}, "Fréchet distance ᾱ of".encode()),
    ],
    ids=["ascii", "cp1252", "the C locale", "UTF-8"],
)
def test_a_result_that_the_terminal_cannot_show_is_not_lost(tmp_path, environment, shown):
    code, out, err = run_with(["ladder"], tmp_path, **environment)
    assert (code, out.splitlines(), err) == (0, [shown + b" this table"], b"")


@pytest.mark.skipif(os.name == "nt", reason="arguments are bytes on POSIX only")
def test_arguments_are_read_as_utf_8_in_any_locale_or_refused_in_one_line(tmp_path):
    locale = {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    code, out, err = run_with(["generate", "a café 7", "--steps", "1", "--out", "é.png"], tmp_path, **locale)
    assert (code, out) == (0, b"??.png\n") and (tmp_path / "é.png").exists()
    assert err == b"tinyldm: no effect: caf\\xe9 (never seen in training)\n"
    for arguments in ([b"a caf\xe9 7"], ["7", "--negative", b"caf\xe9"], [b"7", "--prompts", b"caf\xe9"]):
        code, out, err = run_with(["generate", *arguments], tmp_path, PYTHONUTF8="1")
        assert (code, out) == (2, b"") and err.startswith(b"tinyldm: ") and len(err.splitlines()) == 1
        assert b"caf\\udce9" in err


def test_an_empty_folder_in_which_one_stands_is_not_replaced(tinyldm_command, tmp_path):
    code, _, err = tinyldm_command("export", ".", "--to", "diffusers")
    assert code == 2 and "choose a new folder" in err and not list(tmp_path.iterdir())


def test_from_a_cold_start_in_any_folder_within_its_memory(tmp_path):
    status = Path(
        "/proc/self/status"
    )  # of Linux; getrusage would count the tests' own memory, which a child begins with
    report = f"import atexit; atexit.register(lambda: print(open({str(status)!r}).read()))" if status.exists() else ""
    run = f"{report}\nimport runpy\nrunpy.run_module('tinyldm', None, '__main__')"
    command = [sys.executable, "-c", run, "generate", "7", "--out", "7.png"]
    out = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert pixels(tmp_path / "7.png").shape == (32, 32, 3)
    if report:
        assert int(re.search(r"VmHWM:\s+(\d+) kB", out)[1]) < 1.2e6


# ---------------------------------------------------------------- size, animation, viewer, names


def test_an_enlarged_picture_has_the_same_pixels_as_squares(tinyldm_command):
    tinyldm_command("generate", PROMPT, "--out", "small.png")
    tinyldm_command("generate", PROMPT, "--out", "large.png", "--size", 96)
    assert (pixels("large.png") == pixels("small.png").repeat(3, 0).repeat(3, 1)).all()
    tinyldm_command("generate", PROMPT, "7", "--size", 100, "--steps", 2)
    assert pixels("pictures/0000.png").shape == pixels("pictures/0001.png").shape == (100, 100, 3)


@pytest.mark.parametrize("count", [1, 3])
def test_the_animation_shows_what_each_step_expects_and_holds_the_result(tinyldm_command, count):
    given = ["generate", PROMPT, "--count", count, "--seed", 2, "--gif", "steps.gif", "--size", 32]
    code, out, _ = tinyldm_command(*given)
    assert code == 0 and out.splitlines()[-1] == "steps.gif"
    pipeline = TextToImage.from_pretrained()
    *forming, drawn = pipeline.frames([PROMPT] * count, seed=2)
    assert torch.equal(drawn, pipeline.images([PROMPT] * count, seed=2)) and len(forming) == 12
    with Image.open("steps.gif") as gif:
        shown, held = [], []
        for number in range(gif.n_frames):
            gif.seek(number)
            shown.append(np.asarray(gif.convert("RGB")).astype(int))
            held.append(gif.info["duration"])
        assert gif.info["loop"] == 0 and held[:-1] == [150] * (len(held) - 1) and held[-1] >= 2000
    corner = slice(None) if count == 1 else slice(1, 33)  # several have white lines around them
    for frame, image in ((shown[0], forming[0][0]), (shown[-1], drawn[0])):
        assert abs(frame[corner, corner] - np.asarray(to_pil(image))).max() <= 16  # a GIF has 256 colours
    if count == 3:  # two by two, the last place empty
        assert shown[-1].shape == (68, 68, 3) and (shown[-1][34:, 34:] == 255).all()


def test_show_opens_what_was_written_and_a_machine_without_display_says_so(tinyldm_command, monkeypatch):
    opened, small = [], ["--steps", 1, "--show"]
    monkeypatch.setattr(cli.typer, "launch", lambda path: opened.append(path) or 0)
    monkeypatch.setenv("DISPLAY", ":0")
    tinyldm_command("generate", "7", *small)
    tinyldm_command("generate", "7", "8", *small)
    tinyldm_command("generate", "7", "--gif", "x.gif", *small)
    assert opened == ["7.png", str(Path("pictures/grid.png")), "x.gif"]
    monkeypatch.setattr(cli.typer, "launch", lambda path: 1)
    code, out, err = tinyldm_command("generate", "7", *small)
    assert (code, out, err) == (0, "7.png\n", "tinyldm: no program to show 7.png was found\n")
    monkeypatch.setattr(cli.typer, "launch", None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    code, out, err = tinyldm_command("generate", "7", *small)
    assert (code, out) == (0, "7.png\n") and err.startswith("tinyldm: nothing to show 7.png on")


def test_pictures_never_mix_with_an_earlier_runs(tinyldm_command, tmp_path):
    def run(count, *out):
        return tinyldm_command("generate", "7", "--steps", 1, "--count", count, *out)

    run(3), run(2)
    assert sorted(path.name for path in (tmp_path / "pictures-2").iterdir()) == ["0000.png", "0001.png", "grid.png"]
    assert len(list((tmp_path / "pictures").iterdir())) == 4
    code, _, err = run(2, "--out", "pictures")
    assert code == 2 and "pictures has pictures of an earlier run (0002.png)" in err
    assert run(3, "--out", "pictures")[0] == run(4, "--out", "pictures")[0] == 0
    for path in (tmp_path / "pictures").iterdir():
        path.unlink()
    assert run(2)[1].startswith("2 pictures in pictures,")  # an empty folder is as good as none


@pytest.mark.parametrize(
    "prompt", ["con", "NUL", "aux", "Prn", "com1", "lpt9", "C:\\x", "..\\..\\7", "/etc/7", "七", "7" * 300]
)
def test_a_prompt_becomes_a_file_name_that_every_system_has(prompt):
    target = cli._target([prompt], None)
    assert re.fullmatch(r"[a-z0-9-]{1,88}\.png", str(target))
    assert not PureWindowsPath(target).is_reserved() and len(PureWindowsPath(target).parts) == 1


@pytest.fixture
def disk(tmp_path):
    """Make a small disk in the current folder: ``disk("size=64k")``."""
    place = tmp_path / "disk"

    def mount(options):
        place.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], capture_output=True).returncode:
            pytest.skip("this machine mounts nothing")

    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounts a disk")
    yield mount
    subprocess.run(["umount", place], capture_output=True)


WORK = {
    "7.png": ["generate", "7", "--out"],
    "w": ["train", "judge", "--steps", "1", "--out"],
    "x.safetensors": ["export", "--to", "compvis"],
}


@pytest.mark.parametrize(("name", "command"), WORK.items(), ids=WORK)
@pytest.mark.parametrize(
    ("options", "reason"), [("ro", "not a writable folder (Read-only file system)"), ("size=64k", "MB are free")]
)
def test_a_full_or_read_only_disk_is_noticed_before_the_work(
    tinyldm_command, monkeypatch, disk, name, command, options, reason
):
    disk(options)
    for work in ("tinyldm.pipeline.TextToImage.from_pretrained", "tinyldm.training.train"):
        monkeypatch.setattr(work, None)
    code, out, err = tinyldm_command(*command, f"disk/{name}")
    assert (code, out) == (2, "") and err.startswith("tinyldm: cannot write disk/") and reason in err


def test_a_disk_that_fills_up_during_training_gets_one_line(tmp_path, disk):
    disk("size=300k")
    with pytest.raises(UserError, match=r"cannot write .*x\.checkpoint: No space left on device"):
        Checkpoint(tmp_path / "disk" / "x.checkpoint", {}, {"model": torch.nn.Linear(300, 300)}).save(1, 1.0)
    assert not list((tmp_path / "disk").iterdir())


# ---------------------------------------------------------------- bad input

BAD = {
    "no prompt": (["generate"], "nothing to draw"),
    "steps 0": (["generate", "7", "--steps", "0"], "steps must be in [1, 1000], not 0"),
    "steps 1001": (["generate", "7", "--steps", "1001"], "steps must be in [1, 1000]"),
    "steps word": (["generate", "7", "--steps", "many"], "--steps"),
    "guidance negative": (["generate", "7", "--guidance", "-1"], "guidance must be between 0 and 30"),
    "guidance nan": (["generate", "7", "--guidance", "nan"], "guidance must be between 0 and 30"),
    "sampler": (["generate", "7", "--sampler", "magic"], "unknown sampler 'magic'; choose one of ddpm"),
    "count 0": (["generate", "7", "--count", "0"], "--count must be between 1"),
    "count huge": (["generate", "7", "--count", "10001"], "--count must be between 1"),
    "seed negative": (["generate", "7", "--seed", "-1"], "seed must be an integer between 0"),
    "seed huge": (["generate", "7", "--seed", str(2**64)], "seed must be an integer between 0"),
    "no such device": (["generate", "7", "--device", "gpu"], "there is no device 'gpu' here, only cpu"),
    "no such device to measure on": (["evaluate", "--device", "cuda:99"], "there is no device 'cuda:99' here"),
    "no such device for the ladder": (["ladder", "--device", "tpu"], "there is no device 'tpu' here"),
    "no such precision": (["generate", "7", "--precision", "half"], "precision must be one of fp32, bf16, fp16, not"),
    "no such precision to measure in": (["evaluate", "--precision", "int8"], "precision must be one of fp32, bf16"),
    "no such machine": (["generate", "7", "--models", "nowhere"], "no weights at nowhere"),
    "a machine in a file": (["train", "all", "--out", "binary"], "--out must be a folder, not binary"),
    "a size too small": (["generate", "7", "--size", "31"], "--size must be between 32 and 2048 pixels, not 31"),
    "a size too large": (["generate", "7", "--size", "2049"], "--size must be between 32 and 2048 pixels, not 2049"),
    "a gif that is none": (["generate", "7", "--gif", "7.png"], "--gif must be a .gif file, not 7.png"),
    "a gif of many": (["generate", "7", "--count", "65", "--gif", "7.gif"], "at most 64 pictures side by side, not 65"),
    "a gif too large": (["generate", "7", "8", "--size", "1800", "--gif", "7.gif"], "choose a smaller --size"),
    "a gif nowhere": (["generate", "7", "--gif", "binary/7.gif"], f"cannot write {Path('binary/7.gif')}"),
    "export nowhere": (["export", "binary/x", "--to", "diffusers"], f"cannot write {Path('binary/x')}"),
    "a prompt without a command": (["a red seven", "--seed", "3"], '`tinyldm generate "a red seven" --seed 3`'),
    "two prompts without a command": (["7", "a blue 8"], '`tinyldm generate 7 "a blue 8"`'),
    "a command with a typo": (["genrate", "7"], "no such command: genrate; did you mean generate?"),
    "not png": (["generate", "7", "--out", "7.jpg"], "--out must be a .png file"),
    "png for many": (["generate", "7", "8", "--out", "x.png"], "--out must be a folder"),
    "unwritable": (["generate", "7", "--out", "prompts.txt/x.png"], f"cannot write {Path('prompts.txt/x.png')}"),
    "no prompts file": (["generate", "--prompts", "none.txt"], "none.txt"),
    "prompts not text": (["generate", "--prompts", "binary"], "binary is not a text file"),
    "prompts in UTF-16": (["generate", "--prompts", "utf-16"], "utf-16 is not a text file in UTF-8; save it in that"),
    "too many prompts": (["generate", "--prompts", "large"], "large is larger than 10 MB, too large for a list of"),
    "a folder of prompts": (["generate", "--prompts", "."], ". is not a file; --prompts needs one"),
    "unknown option": (["generate", "7", "--magic"], "--magic"),
    "unknown command": (["paint", "7"], "paint"),
    "evaluate 1": (["evaluate", "--n", "1"], "n must be between 2 and 10,000"),
    "a strength without a picture": (["generate", "7", "--strength", "0.5"], "--mask and --strength need --image"),
    "a mask without a picture": (["generate", "7", "--mask", "dot.png"], "--mask and --strength need --image"),
    "no such picture": (["generate", "7", "--image", "nothing.png"], "nothing.png is not a readable picture"),
    "a picture that is none": (["generate", "7", "--image", "binary"], "binary is not a readable picture"),
    "a mask that is none": (["generate", "7", "--image", "dot.png", "--mask", "binary"], "binary is not a readable"),
    "a mask of another size": (["generate", "7", "--image", "dot.png", "--mask", "line.png"], "not 4x4 and 4x1"),
    "a strength of 2": (["generate", "7", "--image", "dot.png", "--strength", "2"], "strength must be between 0 and 1"),
    "an unknown layout": (["export", "x", "--to", "ckpt"], "--to must be diffusers or compvis or onnx, not 'ckpt'"),
    "a layout without its ending": (["export", "x", "--to", "compvis"], "must end in .safetensors"),
    "a folder that is not empty": (["export", ".", "--to", "diffusers"], "already exists"),
    "a file for onnx": (["export", "binary", "--to", "onnx"], "binary already exists: choose a new folder"),
    "onnx below a file": (["export", "binary/x", "--to", "onnx"], f"cannot write {Path('binary/x')}"),
    "onnx of no machine": (["export", "x", "--to", "onnx", "--models", "nowhere"], "no weights at nowhere"),
    "train 0": (["train", "vae", "--steps", "0"], "--steps"),
    "train on too many rows": (["train", "vae", "--rows", "60001"], "--rows"),
    "measure on too many captions": (["train", "ldm", "--captions", "20000"], "--captions"),
    "measure one picture": (["train", "pixel", "--samples", "1"], "--samples"),
    "train into a file": (["train", "judge", "--out", "binary"], "--out must be a folder, not binary"),
    "train below a file": (["train", "judge", "--out", "binary/w"], f"cannot write {Path('binary/w')}"),
    "a seed too large": (["train", "judge", "--seed", str(2**63)], "--seed"),
    **{
        f"a batch beyond memory for {name}": (
            ["train", name, "--batch-size", str(10**12)],
            "a batch of 1,000,000,000,000",
        )
        for name in ("judge", "vae", "clip", "ldm", "gan", "pixel", "vqvae", "prior")
    },
    "a batch larger than the data": (["train", "judge", "--rows", "9", "--batch-size", "10"], "a batch of 10 rows is"),
    "an unknown recipe": (["train", "everything"], "everything"),
    "no such models": (["train", "prior", "--models", "nowhere"], "no weights at nowhere"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD)
def test_bad_input_gets_one_line_and_code_2_and_leaves_nothing(tinyldm_command, tmp_path, arguments, message):
    (tmp_path / "prompts.txt").write_text("7\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    (tmp_path / "utf-16").write_bytes("7\n8\n".encode("utf-16-le"))
    if "large" in arguments:
        (tmp_path / "large").write_bytes(b"7\n" * 5_000_001)
    Image.new("L", (4, 4)).save(tmp_path / "dot.png")
    Image.new("L", (4, 1)).save(tmp_path / "line.png")
    code, out, err = tinyldm_command(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("tinyldm: ") and len(err.strip().splitlines()) == 1
    assert message in err
    there = {p.name for p in tmp_path.iterdir()} - {"large"}
    assert there == {"binary", "dot.png", "line.png", "prompts.txt", "utf-16"}


@pytest.mark.parametrize(("layout", "target"), [("diffusers", "folder"), ("compvis", "model.safetensors")])
def test_an_exported_model_draws_the_same_picture(tinyldm_command, tmp_path, layout, target):
    code, out, _ = tinyldm_command("export", target, "--to", layout)
    assert (code, out) == (0, f"{target}\n") and [path.name for path in tmp_path.iterdir()] == [target]
    again, shipped = load_stable_diffusion(tmp_path / target, "cpu"), TextToImage.from_pretrained(device="cpu")
    assert again.config == shipped.config
    assert (again.images([PROMPT], seed=0) - shipped.images([PROMPT], seed=0)).abs().max() < 1e-5


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("layout", "target"), [("diffusers", "folder"), ("compvis", "model.safetensors")])
def test_an_export_that_was_killed_leaves_nothing_in_the_way_of_the_next(tinyldm_command, tmp_path, layout, target):
    environment = {**os.environ, "PYTHONPATH": str(Path(tinyldm.__file__).parents[1])}
    command = [sys.executable, "-m", "tinyldm", "export", target, "--to", layout]
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as first:
        while not list(tmp_path.iterdir()):
            assert first.poll() is None
        first.kill()
    assert not (tmp_path / target).exists() and len(list(tmp_path.iterdir())) == 1
    assert tinyldm_command("export", target, "--to", layout)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == [target]


def test_the_models_of_a_folder_are_measured_by_its_own_judge(tinyldm_command, tmp_path, monkeypatch):
    """And a model that is trained on them, too."""
    here, measured = tmp_path / "w", []
    shutil.copytree(tinyldm.weights.SHIPPED, here)
    (here / "judge.safetensors").unlink()
    for command in (["evaluate", "--n", 2], ["train", "ldm", "--rows", 8, "--batch-size", 4]):
        code, _, err = tinyldm_command(*command, "--models", "w")
        assert code == 2 and "no weights at w/judge.safetensors" in err.replace(os.sep, "/")
    torch.manual_seed(0)
    own = Judge()
    save_weights(here / "judge.safetensors", own.state_dict(), own.config)
    for module in ("evaluation", "recipes"):
        monkeypatch.setattr(f"tinyldm.{module}.evaluate", lambda *_, judge, **__: measured.append(judge))
    monkeypatch.setattr("tinyldm.recipes._as_figures", lambda report: {})
    assert tinyldm_command("evaluate", "--n", 2, "--models", "w")[0] == 0
    ldm(steps=1, rows=8, batch_size=4, models=here).measure(DiffusionModel.from_pretrained())
    expected = load_file(here / "judge.safetensors")
    for judge in measured:
        assert all(torch.equal(value.half(), expected[name]) for name, value in judge.state_dict().items())
    assert len(measured) == 2


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_bad_weights_get_one_line_that_names_the_file(tinyldm_command, tmp_path, monkeypatch, damage):
    shipped, here = tinyldm.weights.SHIPPED, tmp_path / "w"
    here.mkdir()
    for name in ("vae", "text_encoder", "unet"):
        content = (shipped / f"{name}.safetensors").read_bytes()
        if name != "unet":
            (here / f"{name}.safetensors").write_bytes(content)
        elif damage == "cut":
            (here / f"{name}.safetensors").write_bytes(content[: len(content) // 2])
    monkeypatch.setattr(tinyldm.weights, "SHIPPED", here)
    code, _, err = tinyldm_command("generate", "7")
    assert code == 2 and len(err.strip().splitlines()) == 1 and "unet.safetensors" in err
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_a_write_that_fails_half_way_leaves_nothing(tinyldm_command, tmp_path, monkeypatch):
    def full_disk(self, path, *_):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    code, _, err = tinyldm_command("generate", "7", "--out", "seven.png")
    assert code == 2 and "cannot write seven.png: No space left on device" in err
    assert list(tmp_path.iterdir()) == []


def test_a_bug_shows_its_traceback(tinyldm_command, monkeypatch):
    def broken(*_, **__):
        raise ValueError("a shape that nobody can have typed")

    monkeypatch.setattr(TextToImage, "images", broken)
    with pytest.raises(ValueError, match="nobody can have typed"):
        tinyldm_command("generate", "7")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_gets_one_line(tmp_path):
    command = [sys.executable, "-m", "tinyldm", "generate", "7", "--count", "9000"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background would not, nor its children
    run = subprocess.Popen(command, cwd=tmp_path, preexec_fn=hears, **pipes)
    run.stderr.read(20)  # of the progress bar
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err.splitlines()[-1]) == (130, "", "tinyldm: stopped")
    assert not list(tmp_path.iterdir())


def test_version_and_help(tinyldm_command):
    assert tinyldm_command("--version")[:2] == (0, f"tinyldm {tinyldm.__version__}\n")
    code, out, _ = tinyldm_command("generate", "--help")
    options = "prompts negative steps guidance sampler seed count out image mask strength size gif show device"
    assert all(f"--{option}" in out for option in options.split())
    assert code == 0


@pytest.mark.parametrize(
    "command", [[], ["generate"], ["evaluate"], ["ladder"], ["export"], ["train"], ["train", "vae"]]
)
def test_h_is_help_everywhere(tinyldm_command, command):
    assert tinyldm_command(*command, "-h") == tinyldm_command(*command, "--help")
    assert tinyldm_command(*command, "-h")[0] == 0


def test_a_picture_to_start_from_and_a_mask(tinyldm_command, tmp_path):
    tinyldm_command("generate", "a thick red seven", "--out", "seven.png")
    white = Image.new("L", (32, 32), 255)
    white.paste(0, (0, 0, 16, 32))
    white.save("mask.png")
    pipeline, start = TextToImage.from_pretrained(), ["--image", "seven.png", "--seed", 1]
    for arguments, options in (([], {}), (["--strength", 0.3], {"strength": 0.3})):
        assert tinyldm_command("generate", "a thick blue seven", *start, *arguments, "--out", "blue.png")[0] == 0
        expected = pipeline.image_to_image("seven.png", "a thick blue seven", seed=1, **options)
        assert (pixels("blue.png") == np.asarray(expected)).all()
    assert tinyldm_command("generate", "a blue two", *start, "--mask", "mask.png", "--out", "half.png")[0] == 0
    expected = pipeline.inpaint("seven.png", "mask.png", "a blue two", seed=1)
    assert (pixels("half.png") == np.asarray(expected)).all()
    assert (pixels("half.png")[:, :16] == pixels("seven.png")[:, :16]).all()
    assert (pixels("half.png")[:, 16:] != pixels("seven.png")[:, 16:]).any()


# ---------------------------------------------------------------- train and evaluate


def shapes_and_settings(path):
    with safe_open(path, "pt") as file:
        shapes = {k: tuple(file.get_slice(k).get_shape()) for k in file.keys() if not k.startswith("known_")}  # noqa: SIM118
        settings = json.loads(file.metadata()["settings"])
    if "unet" in settings:
        settings = asdict(DiffusionConfig(**settings))  # newer settings have defaults
        if settings["unet"]["context_dim"] is None:  # no text, so nothing is guided
            settings = {name: value for name, value in settings.items() if not name.startswith("guidance")}
    return shapes, settings


def test_a_machine_of_ones_own_draws_and_has_a_row_in_the_ladder(tinyldm_command, tmp_path):
    own, shipped = tmp_path / "w", tinyldm.weights.SHIPPED
    shutil.copytree(shipped, own)
    model = DiffusionModel.from_pretrained()
    model.unet.conv_out.bias.data += 0.3
    save_weights(own / "unet.safetensors", model.weights(), model.config, seconds=90, hardware="a small computer")
    tinyldm_command("generate", PROMPT, "--out", "shipped.png")
    tinyldm_command("generate", PROMPT, "--out", "own.png", "--models", "w")
    assert (pixels("own.png") != pixels("shipped.png")).mean() > 0.1
    code, out, _ = tinyldm_command("ladder", "--n", 2, "--models", "w")
    *_, row = out.strip().splitlines()
    assert code == 0 and row.startswith("| your own | 5.92 | ") and "a small computer" in row


def test_every_recipe_makes_what_is_shipped(tinyldm_command, tmp_path, monkeypatch):
    """Two steps of each recipe, each from the one before; the results have the shipped files' shapes and settings."""
    monkeypatch.setattr(recipes, "TEST_DIGITS", 100)
    monkeypatch.setattr(recipes, "judge_accuracy", lambda judge: 0.1)
    small = ["--steps", 2, "--batch-size", 8, "--rows", 64, "--out", "w"]
    for name in ("judge", "vae", "clip"):
        assert tinyldm_command("train", name, *small)[0] == 0, name
    assert tinyldm_command("train", "ldm", *small, "--models", "w", "--captions", 4)[0] == 0
    assert tinyldm_command("train", "vqvae", *small)[0] == 0
    for name in ("gan", "pixel", "prior"):
        models = ["--models", "w"] if name == "prior" else []
        assert tinyldm_command("train", name, *small, "--samples", 4, *models)[0] == 0, name
        with safe_open(tmp_path / "w" / f"{name}.safetensors", "pt") as file:
            measured = json.loads(file.metadata()["measured"])
        assert measured["n"] == 4 and measured["frechet"] > 0 and measured["frechet_floor"] > 0
    for shipped in tinyldm.weights.SHIPPED.glob("*.safetensors"):
        shapes, settings = shapes_and_settings(tmp_path / "w" / shipped.name)
        expected_shapes, expected_settings = shapes_and_settings(shipped)
        if shipped.stem == "vae":  # measured, so another one after two steps
            assert settings.pop("scaling_factor") > 0 and expected_settings.pop("scaling_factor") > 0
        assert shapes == expected_shapes and settings.items() >= expected_settings.items()  # some are newer
    assert not list(tmp_path.glob("w/*.checkpoint"))
    assert TextToImage.from_pretrained("w")("7", seed=0).size == (32, 32)


WITHOUT_TEXT = {
    "gan": lambda: Generator.from_pretrained().images(100, seed=1),
    "pixel": lambda: DiffusionModel.from_pretrained("pixel").images(
        100, seed=1, num_inference_steps=12, sampler="dpm++"
    ),
    "prior": lambda: VQVAE.from_pretrained().images(CodePrior.from_pretrained(), 100, seed=1),
}


@pytest.mark.parametrize("name", WITHOUT_TEXT)
def test_shipped_models_without_text_draw_every_digit(name):
    images = WITHOUT_TEXT[name]()
    assert images.shape == (100, 3 if name == "prior" else 1, 32, 32) and images.abs().max() <= 1
    assert digit_shares(images).min() > 0.02


def test_two_processes_train_the_latent_diffusion_model(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tinyldm"]
    small = ["train", "ldm", "--steps", "2", "--batch-size", "8", "--rows", "32", "--out", "w", "--captions", "4"]
    run = subprocess.run(
        [*launch, *small], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.count("unet.safetensors") == 1  # one process writes and says so
    with safe_open(tmp_path / "w" / "unet.safetensors", "pt") as file:
        assert "2 processes" in file.metadata()["hardware"]
        assert all(torch.isfinite(file.get_tensor(key)).all() for key in file.keys())  # noqa: SIM118


def test_evaluate_prints_the_table(tinyldm_command):
    code, out, _ = tinyldm_command("evaluate", "--n", 200)
    assert code == 0
    for word in ("digit", "ink", "background", "stroke", "slant", "all that is named", "real against real at N = 200"):
        assert word in out
    shares = {line.split()[0]: float(line.split()[-2]) for line in out.splitlines() if line.endswith("%")}
    assert shares["digit"] > 95 and shares["ink"] > 95 and shares["background"] > 95


def test_the_ladder_is_printed_for_as_many_pictures_and_the_seed_that_were_asked_for(tinyldm_command, monkeypatch):
    monkeypatch.setattr("tinyldm.ladder.ladder", lambda *given: f"the table of {given}")
    code, out, _ = tinyldm_command("ladder", "--n", 6, "--seed", 3, "--device", "cpu")
    assert (code, out) == (0, "the table of (6, 3, 'cpu', None)\n")
