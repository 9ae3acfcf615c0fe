"""A weights file says how it was made; a bad one is one clear line that names it; writing leaves nothing half done."""

import json
import os
import shutil
import subprocess
import sys
import time
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
from tinyldm.evaluation import Judge, grey
from tinyldm.gan import Generator
from tinyldm.pipeline import TextToImage
from tinyldm.text import TextConfig, TextEncoder
from tinyldm.unet import UNetConfig
from tinyldm.vae import VAE, VAEConfig
from tinyldm.vqvae import VQVAE, CodePrior
from tinyldm.weights import SHIPPED, WeightsError, atomic_write, load_into, read_weights, save_weights, state_to_save

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
    """Write the file again with something changed; None takes something out."""
    with safe_open(path, "pt") as old:
        known = {**old.metadata(), **metadata}
    new = {name: value for name, value in {**load_file(path), **(tensors or {})}.items() if value is not None}
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
        assert unfinished.parent == path.parent and unfinished != path
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


def test_what_a_killed_process_left_is_cleared_away_an_hour_later_and_stops_nobody(tmp_path):
    old, young, other = (tmp_path / f".{name}.unfinished" for name in ("a.1", "a.2", "ab.3"))
    for path in (old, young, other):
        path.write_text("half")
        os.utime(path, (time.time() - (60 if path == young else 4000),) * 2)
    with atomic_write(tmp_path / "a") as unfinished:
        unfinished.write_text("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([".a.2.unfinished", ".ab.3.unfinished", "a"])


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

BAD_FILES = {
    "missing": (Path.unlink, "no weights at .*: train them with `tinyldm train`, or reinstall"),
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
    "settings of another size": (lambda path: rewrite(path, settings='{"width": 4}'), r"match.*size mismatch"),
    "tensor missing": (lambda path: rewrite(path, {"bias": None}), "match.*bias"),
    "tensor too many": (lambda path: rewrite(path, {"extra": torch.zeros(2)}), "match.*extra"),
    "tensor of another shape": (lambda path: rewrite(path, {"weight": torch.zeros(1, 2)}), "match.*weight"),
}


@pytest.mark.parametrize("damage, says", BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_is_one_clear_line_that_names_it(file, damage, says):
    damage(file)
    with pytest.raises(WeightsError, match=says) as caught:
        load_into(Line, Size, "line", file.parent)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_file_that_may_not_be_read_is_named_too(file, monkeypatch):
    def refuse(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("safetensors.safe_open", refuse)
    with pytest.raises(WeightsError, match=r"line\.safetensors is damaged"):
        read_weights("line", file.parent)


BAD_TEXT_ENCODERS = {
    "no table": ({"known_tokens": None}, {}),
    "a token there is not": ({"known_tokens": torch.tensor([5, 49408], dtype=torch.int32)}, {}),
    "a table of another width": ({"known_embeddings": torch.zeros(2, 8)}, {}),
    "more tokens than embeddings": ({"known_tokens": torch.arange(3, dtype=torch.int32)}, {}),
    "settings of another width": ({}, {"hidden_size": 32}),
    "heads that do not divide": ({}, {"num_attention_heads": 3}),
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
