"""A weights file says how it was made; a bad one is one clear line that names it; writing leaves nothing half done."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from tinyldm import UserError
from tinyldm.data import CaptionedMNIST
from tinyldm.diffusion import DiffusionConfig, DiffusionModel
from tinyldm.evaluation import Judge, JudgeConfig, grey
from tinyldm.gan import Generator
from tinyldm.pipeline import TextToImage
from tinyldm.stable_diffusion import load_stable_diffusion
from tinyldm.text import TextConfig, TextEncoder
from tinyldm.unet import UNetConfig
from tinyldm.vae import VAE, VAEConfig
from tinyldm.vqvae import VQVAE, CodePrior
from tinyldm.weights import (
    SHIPPED,
    WeightsError,
    atomic_write,
    checksum,
    load_into,
    read_weights,
    save_weights,
    state_to_save,
)

READERS = {
    "gan": Generator.from_pretrained,
    "judge": Judge.from_pretrained,
    "pixel": lambda folder: DiffusionModel.from_pretrained("pixel", folder),
    "prior": CodePrior.from_pretrained,
    "vqvae": VQVAE.from_pretrained,
}  # of the other files: TextToImage
NAMES = ("gan", "judge", "pixel", "prior", "text_encoder", "unet", "vae", "vqvae")


@dataclass(frozen=True)
class Size:
    """Settings of the smallest model there is."""

    width: int = 3

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"width must be positive, not {self.width}")


class Line(nn.Linear):
    def __init__(self, config: Size):
        super().__init__(config.width, 1)


@pytest.fixture
def file(tmp_path) -> Path:
    """A good file of a small model."""
    torch.manual_seed(0)
    save_weights(tmp_path / "line.safetensors", Line(Size()).state_dict(), Size(), seed=7, measured={"loss": 0.5})
    return tmp_path / "line.safetensors"


def rewrite(path: Path, tensors=None, **metadata) -> None:
    """Write the file again with something changed, and a new checksum; None takes something out."""
    with safe_open(path, "pt") as old:
        known = {**old.metadata(), **metadata}
    new = {name: value for name, value in {**load_file(path), **(tensors or {})}.items() if value is not None}
    known["sha256"] = json.dumps(checksum(new, known["settings"] or ""))
    save_file(new, path, {key: value for key, value in known.items() if value is not None})


# --- there and back -----------------------------------------------------------------------------------------------


def test_tensors_settings_and_record_come_back(file):
    state, metadata = read_weights("line", file.parent)
    torch.manual_seed(0)
    expected = Line(Size()).state_dict()
    assert metadata == {"settings": {"width": 3}, "seed": 7, "measured": {"loss": 0.5}}
    assert state.keys() == expected.keys()
    for name, value in state.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[name].half().float())


def test_numbers_are_stored_in_half_precision_and_whole_ones_exactly(tmp_path):
    whole = torch.tensor([2049, 49407], dtype=torch.int32)  # half precision has neither
    save_weights(tmp_path / "x.safetensors", {"whole": whole, "third": torch.tensor([1 / 3])}, Size())
    stored = load_file(tmp_path / "x.safetensors")
    assert stored["third"].dtype == torch.float16
    state, _ = read_weights("x", tmp_path)
    assert state["whole"].tolist() == [2049, 49407] and state["whole"].dtype == torch.int32
    assert state["third"].item() == pytest.approx(1 / 3, abs=1e-4)


def test_what_was_read_and_is_saved_again_is_the_same_file(file):
    state, metadata = read_weights("line", file.parent)
    settings = Size(**metadata.pop("settings"))
    save_weights(file.parent / "again.safetensors", state, settings, **metadata)
    again, metadata_again = read_weights("again", file.parent)
    assert metadata_again == {"settings": {"width": 3}, **metadata}
    assert all(torch.equal(state[name], again[name]) for name in state)


def test_a_loaded_model_is_the_saved_one_ready_for_use(file):
    model = load_into(Line, Size, "line", file.parent)
    state, _ = read_weights("line", file.parent)
    assert torch.equal(model.weight, state["weight"]) and torch.equal(model.bias, state["bias"])
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_settings_that_hold_settings_come_back(tmp_path):
    tiny = UNetConfig(block_out_channels=(8, 16), num_heads=2, context_dim=16, norm_num_groups=4)
    config = DiffusionConfig(unet=tiny, sampler="heun", guidance_scale=1.5, zero_terminal_snr=False)
    save_weights(tmp_path / "unet.safetensors", DiffusionModel(config).weights(), config)
    assert load_into(DiffusionModel, DiffusionConfig, "unet", tmp_path).config == config


def test_nothing_else_is_left(file):
    assert [path.name for path in file.parent.iterdir()] == ["line.safetensors"]


# --- writing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_a_kill_while_saving_leaves_the_file_before(file, monkeypatch, moment):
    before = file.read_bytes()

    def half(state, path, metadata):
        Path(path).write_bytes(before[:100])
        raise KeyboardInterrupt

    def never(*paths):
        raise KeyboardInterrupt

    target = ("safetensors.torch.save_file", half) if moment == "writing" else ("os.replace", never)
    monkeypatch.setattr(*target)
    with pytest.raises(KeyboardInterrupt):
        save_weights(file, Line(Size()).state_dict(), Size())
    assert file.read_bytes() == before
    monkeypatch.undo()
    save_weights(file, Line(Size()).state_dict(), Size(), seed=8)
    assert read_weights("line", file.parent)[1]["seed"] == 8
    assert [path.name for path in file.parent.iterdir()] == ["line.safetensors"]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize(("umask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o000, 0o666)])
def test_a_file_gets_the_permissions_that_any_new_file_gets(tmp_path, umask, expected):
    before = os.umask(umask)
    try:
        save_weights(tmp_path / "line.safetensors", Line(Size()).state_dict(), Size())
        with atomic_write(tmp_path / "folder") as unfinished:
            (unfinished / "deeper").mkdir(parents=True)
            save_file({"x": torch.zeros(2)}, unfinished / "deeper" / "x.safetensors")
        assert os.umask(umask) == umask  # not changed by it
    finally:
        os.umask(before)
    for path in (tmp_path / "line.safetensors", tmp_path / "folder" / "deeper" / "x.safetensors"):
        assert path.stat().st_mode & 0o777 == expected


@pytest.mark.parametrize("name", ["x.txt", "odd [name].txt" if os.name == "nt" else "odd [name] *?.txt", "Ünïcode"])
@pytest.mark.parametrize("failure", [ValueError("a bug"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_whatever_fails_nothing_is_left_and_the_old_file_stays(tmp_path, name, failure):
    path = tmp_path / name
    path.write_text("old")
    raised = UserError if isinstance(failure, OSError) else type(failure)
    with pytest.raises(raised) as caught, atomic_write(path) as unfinished:
        unfinished.write_text("half")
        assert unfinished.parent.parent == path.parent and unfinished.name == name
        raise failure
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [(name, "old")]
    if raised is UserError:
        assert str(caught.value) == f"cannot write {path}: No space left on device"


def test_an_error_about_another_file_is_not_taken_for_one_about_this_file(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "copy"):
        (tmp_path.parent / "there is no such file").read_text()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cause", [ImportError("no transformers"), MemoryError()])
def test_what_is_not_the_files_fault_is_not_blamed_on_it(file, cause):
    def no_model(config):
        raise cause

    with pytest.raises(type(cause)):
        load_into(no_model, Size, "line", file.parent)


def test_a_folder_appears_whole_also_in_the_place_of_an_empty_one(tmp_path):
    for target in ("new", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with atomic_write(tmp_path / target) as unfinished:
            unfinished.mkdir()
            (unfinished / "a").write_text(target)
            assert not (tmp_path / target / "a").exists()
        assert [path.name for path in (tmp_path / target).iterdir()] == ["a"]
    with pytest.raises(UserError, match=r"cannot write .*new: "), atomic_write(tmp_path / "new") as unfinished:
        unfinished.mkdir()
    assert (tmp_path / "new" / "a").read_text() == "new"


LEFT_BEHIND = {  # what somebody was writing: machine, process, age in seconds; whether it is cleared away
    "of this process, as the first in a container always is": ("here", os.getpid(), 0, True),
    "of a process that is gone": ("here", 2**22 + 1, 0, True),
    "of one that is at work": ("here", os.getppid(), 4000, False),
    "of another machine's": ("there", 2**22 + 1, 60, False),
    "of a neighbour's in our domain": ("there.edu", 2**22 + 1, 60, False),
    "of another machine's, long ago": ("there", os.getppid(), 4000, True),
    "of an older version's": (None, 2**22 + 1, 60, False),
    "of an older version's, long ago": (None, 2**22 + 1, 4000, True),
}


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize(("machine", "process", "age", "cleared"), LEFT_BEHIND.values(), ids=LEFT_BEHIND)
def test_what_a_killed_process_left_is_cleared_away_and_stops_nobody(
    tmp_path, monkeypatch, kind, machine, process, age, cleared
):
    nodes = {"here": "here.edu", "there": "there", "there.edu": "there.edu"}
    for name in ("a", "ab"):
        if machine is None:
            left = tmp_path / f".{name}.{process}.unfinished"
        else:
            monkeypatch.setattr("platform.node", lambda: nodes[machine])
            monkeypatch.setattr("os.getpid", lambda: process)
            with pytest.raises(UserError), atomic_write(tmp_path / name) as unfinished:
                raise OSError(5, "just to learn its name")
            left = unfinished.parent
            monkeypatch.undo()
        if kind == "folder":
            left.mkdir()
        (left / "x" if kind == "folder" else left).write_text("half")
        os.utime(left, (time.time() - age,) * 2)
    monkeypatch.setattr("platform.node", lambda: nodes["here"])
    with atomic_write(tmp_path / "a") as unfinished:
        unfinished.write_text("whole")
    others = [left] if cleared else [left, left.with_name(left.name.replace(".ab.", ".a."))]
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a", *others])


WRITER = """
import sys
from pathlib import Path
from tinyldm.weights import atomic_write
for _ in range(50):
    with atomic_write(sys.argv[1]) as unfinished:
        unfinished.write_text(sys.argv[2] * 100_000)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace a file that is being read")
def test_two_processes_that_write_the_same_file_leave_one_whole_one(tmp_path):
    path = tmp_path / "shared"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(path.read_text())
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen <= {"a" * 100_000, "b" * 100_000} and list(tmp_path.iterdir()) == [path]


# --- bad files ----------------------------------------------------------------------------------------------------

HALF_BYTE = getattr(torch, "float4_e2m1fn_x2", torch.uint8)
BAD_FILES = {
    "missing": (Path.unlink, "no weights at .*: train it with `tinyldm train`, or reinstall"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "no weights at"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "is damaged"),
    "cut in its header": (lambda path: path.write_bytes(path.read_bytes()[:40]), "is damaged"),
    "longer than it says": (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "is damaged"),
    "text": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid 123\n"), "is damaged"),
    "a pickle": (lambda path: torch.save({"weight": torch.zeros(1, 3)}, path), "is damaged"),
    "without settings": (lambda path: rewrite(path, settings=None), "does not state its settings"),
    "another program's": (lambda p: save_file({"weight": torch.zeros(1, 3)}, p, {"format": "pt"}), "does not state"),
    "without metadata": (lambda path: save_file({"weight": torch.zeros(1, 3)}, path), "does not state its settings"),
    "settings not JSON": (lambda path: rewrite(path, settings="width=3"), "does not match its settings"),
    "settings a list": (lambda path: rewrite(path, settings="[3]"), "does not match its settings"),
    "unknown setting": (lambda path: rewrite(path, settings='{"width": 3, "depth": 2}'), "match its.*depth"),
    "impossible setting": (lambda path: rewrite(path, settings='{"width": -1}'), "match.*must be positive"),
    "a setting that is no number": (lambda path: rewrite(path, settings='{"width": "3"}'), "does not match"),
    "a size beyond memory": (
        lambda path: rewrite(path, settings='{"width": 1000000000}'),
        "match.*width is 1000000000",
    ),
    "a setting that is true": (lambda path: rewrite(path, settings='{"width": true}'), "match.*width is True"),
    "settings of another size": (lambda path: rewrite(path, settings='{"width": 4}'), r"match.*size mismatch"),
    "tensor missing": (lambda path: rewrite(path, {"bias": None}), "match.*bias"),
    "tensor too many": (lambda path: rewrite(path, {"extra": torch.zeros(2)}), "match.*extra"),
    "tensor of complex numbers": (lambda path: rewrite(path, {"weight": torch.zeros(1, 3) + 1j}), "match.*complex"),
    "tensor of integers": (lambda path: rewrite(path, {"weight": torch.zeros(1, 3).char()}), "match.*weight"),
    "tensor of no numbers": (lambda path: rewrite(path, {"weight": torch.zeros(0, 3)}), "match.*weight"),
    "tensor of half bytes": (lambda path: rewrite(path, {"weight": torch.zeros(1, 3).byte().view(HALF_BYTE)}), "match"),
    "tensor of another shape": (lambda path: rewrite(path, {"weight": torch.zeros(1, 2)}), "match.*weight"),
}


@pytest.mark.parametrize("damage, says", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_one_clear_line_that_names_it(file, damage, says):
    damage(file)
    with pytest.raises(WeightsError, match=says) as caught:
        load_into(Line, Size, "line", file.parent)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("hidden", [".", "line.safetensors"], ids=["folder", "file"])
def test_a_file_that_may_not_be_read_is_called_that_and_not_damaged(file, monkeypatch, hidden):
    real = {"open": Path.open, "stat": Path.stat}

    def refusing(name):
        def refuse(path, *args, **kwargs):
            if path == file and (hidden == "." or name == "open"):  # in a closed folder nothing can be looked at
                raise PermissionError(13, "Permission denied", str(path))
            return real[name](path, *args, **kwargs)

        return refuse

    for name in real:
        monkeypatch.setattr(Path, name, refusing(name))
    for read in (lambda: read_weights("line", file.parent), lambda: load_stable_diffusion(file, "cpu")):
        with pytest.raises(WeightsError, match=rf"^cannot read {re.escape(str(file))}: Permission denied$"):
            read()


@pytest.mark.parametrize("name", ["line", "judge"])
def test_whatever_byte_changes_a_file_has_its_old_values_or_is_refused(file, name):
    """300 mutants of each: of the length of the header, of the header, of the numbers."""
    path, model = file.parent / f"{name}.safetensors", (Line, Size) if name == "line" else (Judge, JudgeConfig)
    if name == "judge":
        shutil.copy(SHIPPED / "judge.safetensors", path)
    good, (state, metadata), rng = path.read_bytes(), read_weights(name, file.parent), random.Random(0)
    header, refused = 8 + int.from_bytes(good[:8], "little"), 0
    for number in range(300):
        start, end = [(0, 8), (8, header), (header, len(good))][number % 3]
        mutant = bytearray(good)
        for _ in range(rng.choice([1, 1, 4])):
            at = rng.randrange(start, end)
            mutant[at] = rng.choice([mutant[at] ^ (1 << rng.randrange(8)), ord("9"), ord('"'), 255])
        path.write_bytes(mutant)
        try:
            changed, settings = load_into(*model, name, file.parent), read_weights(name, file.parent)[1]["settings"]
            assert settings == metadata["settings"]
            assert all(torch.equal(value, state[key]) for key, value in changed.state_dict().items())
        except WeightsError as error:
            refused += mutant != good
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 200


BAD_TEXT_ENCODERS = {
    "no table": ({"known_tokens": None}, {}),
    "a token there is not": ({"known_tokens": torch.tensor([5, 49408], dtype=torch.int32)}, {}),
    "a token below zero": ({"known_tokens": torch.tensor([5, -3], dtype=torch.int32)}, {}),
    "tokens in a square": ({"known_tokens": torch.tensor([[5, 6]], dtype=torch.int32)}, {}),
    "a table of another width": ({"known_embeddings": torch.zeros(2, 8)}, {}),
    "more tokens than embeddings": ({"known_tokens": torch.arange(3, dtype=torch.int32)}, {}),
    "settings of another width": ({}, {"hidden_size": 32}),
    "heads that do not divide": ({}, {"num_attention_heads": 3}),
    "heads below zero": ({}, {"num_attention_heads": -2}),
    "a norm below zero": ({}, {"layer_norm_eps": -1e-5}),
    "no heads": ({}, {"num_attention_heads": 0}),
    "an unknown setting": ({}, {"depth": 3}),
    "a layer more": ({}, {"num_hidden_layers": 2}),
}


@pytest.mark.parametrize("tensors, settings", BAD_TEXT_ENCODERS.values(), ids=BAD_TEXT_ENCODERS)
def test_a_bad_text_encoder_is_one_clear_line_that_names_it(tmp_path, tensors, settings):
    config = TextConfig(16, 32, num_hidden_layers=1, num_attention_heads=2, projection_dim=16)
    encoder = TextEncoder(config)
    nn.init.ones_(encoder.table[5:7])
    path = tmp_path / "text_encoder.safetensors"
    save_weights(path, encoder.weights(), config)
    assert TextEncoder.from_pretrained(tmp_path).config == config
    rewrite(path, tensors, settings=json.dumps({**asdict(config), **settings}))
    with pytest.raises(WeightsError, match="does not match its settings") as caught:
        TextEncoder.from_pretrained(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


BAD_MODELS = {
    "unet of another size": ("unet", {"unet": {"block_out_channels": [8, 16], "layers_per_block": 2}}),
    "unet settings no settings": ("unet", {"unet": 5}),
    "no groups": ("unet", {"unet": {"norm_num_groups": 0}}),
    "unknown schedule": ("unet", {"schedule_kind": "bent"}),
    "unknown prediction": ("unet", {"prediction_type": "luck"}),
    "unknown sampler": ("unet", {"sampler": "dice"}),
    "unknown spacing": ("unet", {"spacing": "wide"}),
    "steps in words": ("unet", {"num_inference_steps": "seven"}),
    "no guidance": ("unet", {"guidance_scale": None}),
    "a picture beyond memory": ("unet", {"sample_size": 10**9}),
    "layers without end": ("unet", {"unet": {"layers_per_block": 10**9}}),
    "levels without end": ("vae", {"block_out_channels": [4] * 1000}),
    "a number that is none": ("vae", {"scaling_factor": float("nan")}),
    "more latents": ("vae", {"latent_channels": 5}),
    "no scale": ("vae", {"scaling_factor": 0}),
    "an autoencoder's settings": ("unet", {"latent_channels": 4}),
}


@pytest.mark.parametrize("name, settings", BAD_MODELS.values(), ids=BAD_MODELS)
def test_settings_of_another_model_are_one_clear_line_that_names_the_file(tmp_path, name, settings):
    tiny = UNetConfig(block_out_channels=(8, 16), num_heads=2, context_dim=16, norm_num_groups=4)
    kinds = {
        "unet": (DiffusionModel, DiffusionConfig, DiffusionConfig(unet=tiny)),
        "vae": (VAE, VAEConfig, VAEConfig(block_out_channels=(8, 16), norm_num_groups=4)),
    }
    model_class, config_class, config = kinds[name]
    path = tmp_path / f"{name}.safetensors"
    save_weights(path, state_to_save(model_class(config)), config)
    load_into(model_class, config_class, name, tmp_path)
    rewrite(path, settings=json.dumps({**asdict(config), **settings}))
    with pytest.raises(WeightsError, match="does not match its settings") as caught:
        load_into(model_class, config_class, name, tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# --- the shipped files --------------------------------------------------------------------------------------------


def test_the_shipped_files_have_40_megabytes_at_most():
    files = {path.stem: path.stat().st_size for path in SHIPPED.glob("*.safetensors")}
    assert tuple(sorted(files)) == NAMES
    assert sum(files.values()) <= 40e6


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_says_how_it_was_made_and_what_was_measured(name):
    state, metadata = read_weights(name)
    command = {"unet": "ldm", "text_encoder": "clip"}.get(name, name)
    assert metadata["command"].split()[:3] == ["tinyldm", "train", command]
    assert isinstance(metadata["settings"], dict) and metadata["settings"]
    assert isinstance(metadata["seed"], int)
    assert metadata["seconds"] > 60
    assert any(word in metadata["hardware"] for word in ("CPU", "NVIDIA", "GPU"))
    assert metadata["measured"]
    assert all(tensor.isfinite().all() for tensor in state.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_file_holds_half_precision_and_no_more_than_its_model_needs(name):
    with safe_open(SHIPPED / f"{name}.safetensors", "pt") as file:
        kinds = {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    whole = ("known_tokens", "num_batches_tracked")  # of the text encoder, of batch norm
    assert {kind for key, kind in kinds.items() if not key.endswith(whole)} == {"F16"}


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_copy_of_a_shipped_file_is_refused_by_its_model(tmp_path, name):
    for other in NAMES:
        shutil.copy(SHIPPED / f"{other}.safetensors", tmp_path)
    path = tmp_path / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(WeightsError, match=f"{name}.safetensors is damaged"):
        READERS.get(name, TextToImage.from_pretrained)(tmp_path)


def test_eight_threads_load_all_shipped_models_at_once_and_leave_torch_as_it_was():
    readers = [*(lambda folder=None, read=read: read(folder) for read in READERS.values()), TextToImage.from_pretrained]
    with ThreadPoolExecutor(8) as threads:
        models = list(threads.map(lambda number: readers[number % len(readers)](), range(4 * len(readers))))
    for number, model in enumerate(models):
        for name in ("vae", "text_encoder", "unet") if isinstance(model, TextToImage) else (None,):
            first, again = (getattr(m, name) if name else m for m in (models[number % len(readers)], model))
            assert not again.training
            for value, expected in zip(again.state_dict().values(), first.state_dict().values(), strict=True):
                assert torch.equal(value, expected)
    state = read_weights("judge")[0]
    assert all(torch.equal(value, state[key]) for key, value in models[1].state_dict().items())
    assert nn.Linear(3, 2).weight.abs().max() <= 3**-0.5  # a new layer has first values again


def test_a_weights_error_is_a_value_error_and_not_safetensors_own():
    assert issubclass(WeightsError, ValueError) and not issubclass(WeightsError, SafetensorError)


def test_the_shipped_models_reach_what_they_were_made_for():
    measured = {name: read_weights(name)[1]["measured"] for name in ("pixel", "prior", "vae", "vqvae")}
    for name, times in (("pixel", 3), ("prior", 10)):
        assert measured[name]["n"] == 10_000
        assert measured[name]["frechet"] <= times * measured[name]["frechet_floor"]
    assert measured["vae"]["psnr"] >= 30
    assert measured["vqvae"]["psnr"] >= 27 and measured["vqvae"]["codes_used"] >= 0.9


def test_the_judge_reads_the_vaes_copies_nearly_as_well_as_the_pictures():
    vae, judge, data = VAE.from_pretrained(), Judge.from_pretrained(), CaptionedMNIST("test", limit=1000)
    pictures = data.images(torch.arange(1000))
    copies = vae.decode(vae.encode(pictures, sample=False)).clamp(-1, 1)
    right = [(judge(grey(x)).argmax(1) == data.labels).float().mean() for x in (pictures, copies)]
    assert right[1] >= right[0] - 0.005


def test_scaled_latents_of_training_pictures_have_standard_deviation_1():
    vae, data = VAE.from_pretrained(), CaptionedMNIST("train", limit=2000, seed=1)
    latents = vae.encode(data.images(torch.arange(2000)), torch.Generator().manual_seed(0))
    assert latents.std().item() == pytest.approx(1, abs=0.02)


IN_README = {
    "accuracy": lambda share: f"{100 * share:.2f} % of MNIST's test digits",
    "psnr": lambda value: f"{value:.1f} dB",
    "retrieval": lambda share: f"for {100 * share:.0f} % of pictures",
    "codes_used": lambda share: f"{100 * share:.0f} % of 256 codes",
    "frechet": lambda value: f"Fréchet distance {value:.2f} at N = 10,000",
    "frechet_floor": lambda value: f"(real against real: {value:.2f})",
}


def test_the_readme_tells_what_the_files_tell():
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    for name in NAMES:
        _, metadata = read_weights(name)
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}.safetensors`"))
        assert f"`{metadata['command']}`" in row and f"{metadata['seconds'] / 60:.0f} min" in row
        for figure, value in metadata["measured"].items() if name != "unet" else ():
            assert figure not in IN_README or IN_README[figure](value) in row
