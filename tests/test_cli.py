"""The command line: what a person types, what they get, and what they are told when something is wrong."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import tinyldm.weights
from tinyldm import cli, recipes
from tinyldm.diffusion import DiffusionConfig, DiffusionModel
from tinyldm.evaluation import digit_shares
from tinyldm.gan import Generator
from tinyldm.images import to_pil
from tinyldm.pipeline import TextToImage
from tinyldm.stable_diffusion import load_stable_diffusion
from tinyldm.vqvae import VQVAE, CodePrior

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
    options = {"steps": 5, "guidance": 3.5, "sampler": "ddim", "negative": "blue", "seed": 7}
    tinyldm_command("generate", PROMPT, "--out", "x.png", *[word for k, v in options.items() for word in (f"--{k}", v)])
    expected = TextToImage.from_pretrained()(
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
    "seed negative": (["generate", "7", "--seed", "-1"], "seed must be between 0"),
    "seed huge": (["generate", "7", "--seed", str(2**64)], "seed must be between 0"),
    "not png": (["generate", "7", "--out", "7.jpg"], "--out must be a .png file"),
    "png for many": (["generate", "7", "8", "--out", "x.png"], "--out must be a folder"),
    "unwritable": (["generate", "7", "--out", "prompts.txt/x.png"], f"cannot write {Path('prompts.txt/x.png')}"),
    "no prompts file": (["generate", "--prompts", "none.txt"], "none.txt"),
    "prompts not text": (["generate", "--prompts", "binary"], "binary is not a text file"),
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
    "an unknown layout": (["export", "x", "--to", "onnx"], "--to must be diffusers or compvis, not 'onnx'"),
    "a layout without its ending": (["export", "x", "--to", "compvis"], "must end in .safetensors"),
    "a folder that is not empty": (["export", ".", "--to", "diffusers"], "already exists"),
    "train 0": (["train", "vae", "--steps", "0"], "--steps"),
    "train on too many rows": (["train", "vae", "--rows", "60001"], "--rows"),
    "measure on too many captions": (["train", "ldm", "--captions", "20000"], "--captions"),
    "measure one picture": (["train", "pixel", "--samples", "1"], "--samples"),
    "train into a file": (["train", "judge", "--out", "binary"], "--out must be a folder, not binary"),
    "train below a file": (["train", "judge", "--out", "binary/w"], f"cannot write {Path('binary/w')}"),
    "a seed too large": (["train", "judge", "--seed", str(2**63)], "--seed"),
    "a batch larger than the data": (["train", "judge", "--rows", "9", "--batch-size", "10"], "a batch of 10 rows is"),
    "an unknown recipe": (["train", "everything"], "everything"),
    "no such models": (["train", "prior", "--models", "nowhere"], "no weights at nowhere"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD)
def test_bad_input_gets_one_line_and_code_2_and_leaves_nothing(tinyldm_command, tmp_path, arguments, message):
    (tmp_path / "prompts.txt").write_text("7\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    Image.new("L", (4, 4)).save(tmp_path / "dot.png")
    Image.new("L", (4, 1)).save(tmp_path / "line.png")
    code, out, err = tinyldm_command(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("tinyldm: ") and len(err.strip().splitlines()) == 1
    assert message in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["binary", "dot.png", "line.png", "prompts.txt"]


@pytest.mark.parametrize(("layout", "target"), [("diffusers", "folder"), ("compvis", "model.safetensors")])
def test_an_exported_model_draws_the_same_picture(tinyldm_command, tmp_path, layout, target):
    code, out, _ = tinyldm_command("export", target, "--to", layout)
    assert (code, out) == (0, f"{target}\n") and [path.name for path in tmp_path.iterdir()] == [target]
    again, shipped = load_stable_diffusion(tmp_path / target, "cpu"), TextToImage.from_pretrained(device="cpu")
    assert again.config == shipped.config
    assert (again.images([PROMPT], seed=0) - shipped.images([PROMPT], seed=0)).abs().max() < 1e-5


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
    options = "prompts negative steps guidance sampler seed count out image mask strength"
    assert all(f"--{option}" in out for option in options.split())
    assert code == 0


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
        assert shapes == expected_shapes and settings == expected_settings
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
    monkeypatch.setattr("tinyldm.ladder.ladder", lambda n, seed: f"the table of {n} pictures, seed {seed}")
    code, out, _ = tinyldm_command("ladder", "--n", 6, "--seed", 3)
    assert (code, out) == (0, "the table of 6 pictures, seed 3\n")
