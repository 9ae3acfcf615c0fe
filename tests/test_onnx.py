"""The machine as ONNX files, run by another program's engine: the same numbers in half the space, all or nothing."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import TEXT, perturb

from tinyldm import UserError, __version__, cli, portable
from tinyldm.captions import DIGIT_WORDS, caption_words, words_of
from tinyldm.data import CaptionedMNIST
from tinyldm.diffusion import DiffusionConfig
from tinyldm.guidance import guide
from tinyldm.measure import BACKGROUNDS, INKS
from tinyldm.pipeline import TextToImage
from tinyldm.portable import save_onnx
from tinyldm.samplers import denoiser, sample
from tinyldm.text import END, START, tokenize
from tinyldm.unet import UNet, UNetConfig
from tinyldm.weights import read_weights

PROMPTS = ["a thick red seven leaning left", "7, blue on white", "", "a paradise cosmic beach, 3", "bold 0 " * 60]


class Exported:
    """The files of a folder, run by onnxruntime."""

    def __init__(self, folder: Path):
        self.folder, self.settings = folder, json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self.sessions = {
            file.stem: onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
            for file in folder.glob("*.onnx")
        }

    def __call__(self, name: str, **inputs: torch.Tensor) -> list[torch.Tensor]:
        found = self.sessions[name].run(None, {key: value.numpy() for key, value in inputs.items()})
        return [torch.from_numpy(value) for value in found]

    def rows(self, prompts: list[str]) -> torch.Tensor:
        """What a program without our token table makes of tokens."""
        row_of = {token: row for row, token in enumerate(self.settings["known_tokens"], start=1)}
        return torch.tensor([[row_of.get(token, 0) for token in row] for row in tokenize(prompts).tolist()])

    def context(self, prompts: list[str]) -> torch.Tensor:
        return self("text", rows=self.rows(prompts))[0]


@pytest.fixture(scope="module")
def shipped() -> TextToImage:
    return TextToImage.from_pretrained(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Exported:
    """The shipped machine, as the command line exports it."""
    folder = tmp_path_factory.mktemp("site") / "model"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["tinyldm", "export", str(folder), "--to", "onnx"])
        cli.main()
    assert not ended.value.code
    return Exported(folder)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape and found.dtype == torch.float32
    return (found - expected).abs().max().item()


@torch.no_grad()
def attention_of(unet: UNet, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> list[torch.Tensor]:
    """Each layer's weights, (B, heads, N, 77), from torch's own layers."""
    maps = []
    hooks = [
        layer.register_forward_hook(lambda layer, inputs, _: maps.append(layer.attention_map(*inputs)))
        for layer in unet.cross_attentions
    ]
    unet(x, t, context)
    for hook in hooks:
        hook.remove()
    return maps


# ---------------------------------------------------------------- the same numbers


@pytest.mark.filterwarnings("ignore::tinyldm.text.PromptWarning")
@pytest.mark.parametrize("batch", [1, 2, 5])
@torch.no_grad()
def test_every_network_computes_what_torch_computes_for_any_batch(exported, shipped, batch):
    prompts, t = PROMPTS[-batch:], torch.tensor([0, 999, 417, 83, 650][:batch])
    context = shipped.text_encoder(tokenize(prompts))
    assert difference(exported.context(prompts), context) < 1e-4
    x = noise(batch, 4, 8, 8)
    prediction, attention = exported("unet", x=x, t=t, context=context)
    assert difference(prediction, shipped.unet(x, t, context)) < 1e-4
    expected = torch.stack(attention_of(shipped.unet, x, t, context), dim=1).mean(2)
    assert attention.shape == (batch, 4, 16, 77) and difference(attention, expected) < 1e-4
    assert difference(exported("decoder", latents=1.3 * x)[0], shipped.vae.decode(1.3 * x)) < 1e-4
    images = CaptionedMNIST("test", limit=batch).images(torch.arange(batch))
    assert difference(exported("encoder", images=images)[0], shipped.vae.encode(images, sample=False)) < 1e-4


@pytest.mark.filterwarnings("ignore::tinyldm.text.PromptWarning")
@pytest.mark.parametrize("prompts", [PROMPTS, ["three"]])
def test_a_whole_drawing_of_twelve_guided_steps_ends_in_the_same_picture(exported, shipped, prompts):
    """Only the networks are replaced: the loop is the package's, with the settings of model.json."""
    settings = exported.settings

    def predict(x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return exported("unet", x=x, t=t.expand(len(x)).contiguous(), context=context)[0]

    context, empty = exported.context(prompts), exported.context([""]).expand(len(prompts), -1, -1)
    below, rescale = settings["guidance_below"], settings["guidance_rescale"]
    guided = guide(predict, context, empty, settings["guidance"], below, rescale)
    schedule = shipped.config.schedule()
    denoise = denoiser(guided, schedule, settings["prediction_type"])
    x = torch.randn(len(prompts), *settings["sizes"]["latents"], generator=torch.Generator().manual_seed(5))
    options = {"steps": settings["steps"], "sampler": settings["sampler"], "spacing": settings["spacing"]}
    steps = list(sample(denoise, schedule, x=x, generator=torch.Generator().manual_seed(0), **options))
    expected = list(shipped.stream(prompts, generator=torch.Generator().manual_seed(5), warn=False))
    assert len(steps) == len(expected) == 12
    assert difference(steps[-1].x, expected[-1].x) < 1e-4
    images = exported("decoder", latents=steps[-1].x)[0].clamp(-1, 1)
    assert difference(images, shipped.decode(expected[-1].x)) < 1e-4


def test_every_token_that_was_not_trained_is_row_0(exported, shipped):
    tokens = exported.settings["known_tokens"]
    assert tokens == sorted(set(tokens)) == shipped.text_encoder.table.any(dim=1).nonzero()[:, 0].tolist()
    assert exported.settings["start"] == START in tokens and exported.settings["end"] == END in tokens
    rows = exported.rows(["beach seven", "zebra seven"])
    assert (rows[:, 1] == 0).all() and rows[0, 2] > 0
    assert torch.equal(*exported("text", rows=rows)[0])


# ---------------------------------------------------------------- the files


def test_all_files_together_take_at_most_14_mb_and_model_json_knows_their_sizes(exported):
    sizes = {file.name: file.stat().st_size for file in exported.folder.iterdir()}
    assert set(sizes) == {"text.onnx", "unet.onnx", "decoder.onnx", "encoder.onnx", "model.json"}
    assert sum(sizes.values()) <= 14_000_000
    del sizes["model.json"]
    assert exported.settings["files"] == sizes


def stored(folder: Path, name: str) -> dict[str, np.ndarray]:
    model = onnx.load(folder / f"{name}.onnx")
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("name", ["text", "unet", "decoder", "encoder"])
def test_a_file_is_a_valid_graph_of_half_precision_that_names_no_folder_of_its_maker(exported, name):
    model = onnx.load(exported.folder / f"{name}.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version >= 18) for opset in model.opset_import] == [("", True)]
    assert all(value.type.tensor_type.shape.dim[0].dim_param for value in [*model.graph.input, *model.graph.output])
    weights = [value for value in stored(exported.folder, name).values() if value.size >= 64]
    assert len(weights) > 10 and {value.dtype for value in weights if value.dtype != np.int64} == {np.dtype("float16")}
    content = (exported.folder / f"{name}.onnx").read_bytes()
    assert b".py" not in content and str(Path(portable.__file__).parents[1]).encode() not in content


def test_model_json_has_all_that_a_program_needs_to_draw(exported, shipped):
    settings, config = exported.settings, shipped.config
    assert (settings["format"], settings["tinyldm"]) == (1, __version__)
    assert settings["prediction_type"] == config.prediction_type == "v_prediction"
    assert np.array_equal(np.float32(settings["alphas_cumprod"]), shipped.schedule.alphas_cumprod.numpy())
    assert (settings["sampler"], settings["steps"], settings["guidance"]) == ("dpm++", 12, 3.0)
    assert (settings["guidance_below"], settings["guidance_rescale"]) == (800, 1.0)
    assert (settings["spacing"], settings["steps_offset"], settings["set_alpha_to_one"]) == ("trailing", 0, True)
    assert settings["sizes"] == {"latents": [4, 8, 8], "image": [3, 32, 32], "tokens": 77, "width": 128}
    for palette, colours in ((settings["inks"], INKS), (settings["backgrounds"], BACKGROUNDS)):
        assert {name: tuple(colour) for name, colour in palette.items()} == colours
    measured = read_weights("unet")[1]["measured"]
    assert settings["figures"] == {**measured, "command": "tinyldm train ldm"} and measured["digit"] > 0.99


def test_its_words_are_those_with_an_effect_and_each_is_offered_once(exported, shipped):
    words = exported.settings["words"]
    assert len(words) == len(set(words)) > 150 and words[:12] == [*"0123456789", "zero", "one"]
    assert {*DIGIT_WORDS, *INKS, "navy", "spindly", "leaning", "bolt", "paper"} <= set(words)
    assert shipped.text_encoder.unknown_words(" ".join(words)) == []


def test_every_word_of_every_caption_is_among_the_caption_words(rows):
    assert set(words_of(" ".join(rows.captions))) <= set(caption_words())


# ---------------------------------------------------------------- other machines


def test_a_machine_of_other_widths_and_depth_in_full_precision_is_exported_as_it_is(pipeline, tmp_path):
    """Numbers that half precision cannot hold stay float32; of attention at several sizes the coarsest is shown."""
    settings = UNetConfig(
        block_out_channels=(8, 16, 24),
        layers_per_block=2,
        attention=(False, True, True),
        num_heads=2,
        context_dim=16,
        norm_num_groups=4,
    )
    unet = perturb(UNet(settings))
    save_onnx(TextToImage(pipeline.vae, pipeline.text_encoder, unet, DiffusionConfig(settings)), tmp_path / "deep")
    deep, prompts = Exported(tmp_path / "deep"), ["a thick red seven", "two on paper", "a zebra"]
    kinds = {value.dtype for value in stored(tmp_path / "deep", "unet").values()}
    assert kinds == {np.dtype("float32"), np.dtype("int64")}
    assert deep.settings["sizes"]["width"] == TEXT.hidden_size and deep.settings["figures"] == {}
    assert "seven" in deep.settings["words"] and "eight" not in deep.settings["words"]
    context = pipeline.embed(prompts)
    assert difference(deep.context(prompts), context) < 1e-5
    x, t = noise(3, 4, 8, 8), torch.tensor([7, 800, 31])
    prediction, attention = deep("unet", x=x, t=t, context=context)
    maps = attention_of(unet, x, t, context)
    assert {weights.shape[2] for weights in maps} == {16, 4}
    expected = torch.stack([weights.mean(1) for weights in maps if weights.shape[2] == 4], dim=1)
    with torch.no_grad():
        assert difference(prediction, unet(x, t, context)) < 1e-5 and difference(attention, expected) < 1e-5
    assert difference(deep("encoder", images=noise(3, 3, 32, 32))[0], pipeline.encode(noise(3, 3, 32, 32))) < 1e-5


# ---------------------------------------------------------------- whole or not at all


def test_what_is_there_is_not_overwritten(pipeline, tmp_path):
    full, file = tmp_path / "full", tmp_path / "file"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    file.write_text("mine")
    for path in (full, file, file / "below"):
        with pytest.raises(UserError, match=r"already exists: choose a new folder|cannot write .*below"):
            save_onnx(pipeline, path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "mine.txt"]
    assert file.read_text() == (full / "mine.txt").read_text() == "mine"


@pytest.fixture
def written(monkeypatch) -> list[Path]:
    """The files that networks were written to; they are written in no time, and empty."""
    files: list[Path] = []

    def write(network: Any, file: Path) -> None:
        files.append(file)
        file.touch()

    monkeypatch.setattr(portable._Network, "write", write)
    return files


def test_an_empty_folder_is_filled(pipeline, tmp_path, written):
    (tmp_path / "new").mkdir()
    save_onnx(pipeline, tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*(file.name for file in written), "model.json"}
    assert len(written) == 4 and [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), RuntimeError("bug"), OSError(28, "No space left on device")])
def test_an_export_that_fails_half_way_leaves_nothing(pipeline, tmp_path, monkeypatch, written, fault):
    def fail(*arguments: Any) -> None:
        raise fault

    monkeypatch.setattr(portable, "model_settings", fail)
    with pytest.raises(UserError if isinstance(fault, OSError) else type(fault)) as raised:
        save_onnx(pipeline, tmp_path / "model")
    assert len(written) == 4 and not list(tmp_path.iterdir())
    assert not isinstance(fault, OSError) or str(raised.value).endswith("model: No space left on device")


def test_a_file_that_computes_something_else_is_never_given_its_name(pipeline, tmp_path, monkeypatch):
    def spoil(model):
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.size > 64:
                tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.01), tensor.name))

    monkeypatch.setattr(portable, "_halve", spoil)
    with pytest.raises(RuntimeError, match="differs from its module by"):
        save_onnx(pipeline, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_without_its_packages_it_says_how_to_install_those_that_are_missing(pipeline, tmp_path, monkeypatch):
    there = portable.importlib.util.find_spec
    monkeypatch.setattr(portable.importlib.util, "find_spec", lambda name: None if "script" in name else there(name))
    with pytest.raises(UserError, match=r"what is missing: pip install onnxscript$"):
        save_onnx(pipeline, tmp_path / "model")


def test_a_machine_without_weights_is_named_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tinyldm", "export", str(tmp_path / "x"), "--to", "onnx", "--models", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and "no weights at nowhere" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
