"""The course's classes are Stable Diffusion 1.x: its counts and names, its files, diffusers' pictures, both ways."""

import contextlib
import copy
import json
import math
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
)
from packaging.version import Version
from safetensors.torch import load_file, save_file

from tinyldm import TinyldmWarning, UserError
from tinyldm.diffusion import DiffusionConfig
from tinyldm.pipeline import TextToImage
from tinyldm.published import compvis_unet_name, compvis_vae_name
from tinyldm.stable_diffusion import (
    SD1,
    SD1_TEXT,
    SD1_UNET,
    SD1_VAE,
    _compvis_names,
    _scheduler_settings,
    _text_settings,
    _unet_settings,
    _vae_settings,
    convert_pickle,
    load_stable_diffusion,
    save_compvis,
    save_diffusers,
)
from tinyldm.text import TextConfig, TextEncoder, clip_merges, clip_vocabulary, tokenize
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig
from tinyldm.weights import WeightsError

# Stable Diffusion 1.x in small: four levels, two blocks each, attention at the upper three.
UNET = UNetConfig(4, 4, (16, 32, 48, 48), 2, (True, True, True, False), 2, 16, 8)
AUTOENCODER = VAEConfig(3, 4, (8, 16, 16, 16), 2, norm_num_groups=4, scaling_factor=0.18215)
TEXT = TextConfig(16, 32, 2, 2, 16)
CONFIG = DiffusionConfig(
    UNET,
    8,
    zero_terminal_snr=False,
    prediction_type="epsilon",
    sampler="ddim",
    num_inference_steps=4,
    guidance_below=1000,
    guidance_rescale=0.0,
)
SD1_SIZED = replace(CONFIG, sample_size=64)
PROMPT, NEGATIVE = "a thick red seven", "blue"


@torch.no_grad()
def perturb(model, amount=0.05):
    """Zeroed layers and equal biases would hide mistakes: move every weight."""
    for name, parameter in model.named_parameters():
        parameter.add_(amount * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    return model.eval().requires_grad_(False)


def make(config=CONFIG, vae=AUTOENCODER) -> TextToImage:
    torch.manual_seed(0)
    return TextToImage(perturb(VAE(vae)), perturb(TextEncoder(TEXT)), perturb(UNet(config.unet)), config)


@pytest.fixture(scope="module")
def pipeline():
    return make()


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sd") / "diffusers"
    save_diffusers(pipeline, folder)
    return folder


@pytest.fixture(scope="module")
def file(pipeline, tmp_path_factory):
    file = tmp_path_factory.mktemp("sd") / "compvis.safetensors"
    save_compvis(pipeline, file)
    return file


def states(pipeline):
    parts = {"unet": pipeline.unet, "vae": pipeline.vae, "text": pipeline.text_encoder}
    return {f"{part}.{name}": value for part, model in parts.items() for name, value in model.state_dict().items()}


def change(path, **settings):
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def first_noise(config=CONFIG, seed=0):
    shape = (1, 4, config.sample_size, config.sample_size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def theirs(pipe, **options):
    """diffusers' picture as ours: (1, 3, H, W) in [-1, 1]."""
    pipe.set_progress_bar_config(disable=True)
    image = pipe(PROMPT, negative_prompt=NEGATIVE, output_type="np", **options).images
    return torch.from_numpy(image).permute(0, 3, 1, 2) * 2 - 1


# ---------------------------------------------------------------- the real sizes and names


def test_the_classes_have_stable_diffusions_parameters_and_tensors():
    with torch.device("meta"):
        unet, vae, text = UNet(SD1_UNET), VAE(SD1_VAE), TextEncoder(SD1_TEXT)
    counts = [(sum(p.numel() for p in m.parameters()), len(m.state_dict())) for m in (unet, vae, text)]
    assert counts == [(859_520_964, 686), (83_653_863, 248), (123_060_480, 196)]


def test_names_are_those_of_the_published_checkpoint():
    unet = {
        "time_embedding.linear_2.bias": "time_embed.2.bias",
        "conv_in.weight": "input_blocks.0.0.weight",
        "down_blocks.0.resnets.0.norm1.weight": "input_blocks.1.0.in_layers.0.weight",
        "down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k.weight": (
            "input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
        ),
        "down_blocks.0.downsamplers.0.conv.weight": "input_blocks.3.0.op.weight",
        "down_blocks.3.resnets.1.time_emb_proj.weight": "input_blocks.11.0.emb_layers.1.weight",
        "mid_block.resnets.1.conv2.weight": "middle_block.2.out_layers.3.weight",
        "mid_block.attentions.0.proj_in.weight": "middle_block.1.proj_in.weight",
        "up_blocks.0.upsamplers.0.conv.weight": "output_blocks.2.1.conv.weight",
        "up_blocks.1.upsamplers.0.conv.weight": "output_blocks.5.2.conv.weight",
        "up_blocks.3.resnets.2.conv_shortcut.weight": "output_blocks.11.0.skip_connection.weight",
        "conv_norm_out.weight": "out.0.weight",
        "conv_out.bias": "out.2.bias",
    }
    assert {name: compvis_unet_name(name, SD1_UNET) for name in unet} == unet
    vae = {
        "encoder.down_blocks.0.downsamplers.0.conv.weight": "encoder.down.0.downsample.conv.weight",
        "encoder.mid_block.attentions.0.to_q.weight": "encoder.mid.attn_1.q.weight",
        "encoder.mid_block.attentions.0.to_out.0.bias": "encoder.mid.attn_1.proj_out.bias",
        "decoder.up_blocks.0.resnets.2.norm1.weight": "decoder.up.3.block.2.norm1.weight",
        "decoder.up_blocks.2.resnets.0.conv_shortcut.weight": "decoder.up.1.block.0.nin_shortcut.weight",
        "decoder.up_blocks.2.upsamplers.0.conv.weight": "decoder.up.1.upsample.conv.weight",
        "decoder.conv_norm_out.weight": "decoder.norm_out.weight",
        "quant_conv.weight": "quant_conv.weight",
    }
    assert {name: compvis_vae_name(name, SD1_VAE) for name in vae} == vae


# ---------------------------------------------------------------- both layouts, both ways


def test_what_was_saved_is_loaded_bit_by_bit(pipeline, folder, file):
    before = states(pipeline)
    for path in (folder, file):
        again = load_stable_diffusion(path)
        after = states(again)
        assert before.keys() == after.keys()
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert (again.config, again.vae.config, again.text_encoder.config) == (CONFIG, AUTOENCODER, TEXT)
        assert (again.images([PROMPT], seed=0) - pipeline.images([PROMPT], seed=0)).abs().max() < 1e-5


def test_diffusers_opens_the_folder_and_draws_the_same_picture(pipeline, folder):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(folder)
    options = {"num_inference_steps": 4, "guidance_scale": 3.0}
    expected = theirs(pipe, latents=first_noise(), **options)
    ours = pipeline.images([PROMPT], negative_prompt=NEGATIVE, seed=0, **options)
    assert ours.std() > 0.05 and (ours - expected).abs().max() < 1e-4


def test_our_own_model_too_with_its_three_levels_its_schedule_and_its_guidance(tmp_path):
    from diffusers import StableDiffusionPipeline

    config = DiffusionConfig(UNetConfig(context_dim=16), sampler="ddim", guidance_below=1000)
    pipeline = make(config, VAEConfig(block_out_channels=(8, 16, 16), norm_num_groups=8))
    save_diffusers(pipeline, tmp_path / "tiny")
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "tiny")
    options = {"num_inference_steps": 5, "guidance_scale": 4.0}
    ours = pipeline.images([PROMPT], negative_prompt=NEGATIVE, seed=0, **options)
    expected = theirs(pipe, latents=first_noise(config), guidance_rescale=config.guidance_rescale, **options)
    assert expected.shape == (1, 3, 32, 32) and (ours - expected).abs().max() < 1e-4
    assert (ours - theirs(pipe, latents=first_noise(config), **options)).abs().max() > 1e-3  # without rescaling


def test_diffusers_image_to_image_and_inpainting_run_on_the_folder(folder):
    from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
    from PIL import Image

    image, mask = Image.new("RGB", (64, 64), "red"), Image.new("L", (64, 64), 255)
    options = {"image": image, "num_inference_steps": 4, "strength": 0.5, "generator": torch.Generator().manual_seed(0)}
    again = theirs(StableDiffusionImg2ImgPipeline.from_pretrained(folder), **options)
    painted = theirs(StableDiffusionInpaintPipeline.from_pretrained(folder), mask_image=mask, **options)
    assert again.shape == painted.shape == (1, 3, 64, 64) and again.std() > 0.01 and painted.std() > 0.01


def test_diffusers_reads_the_single_file(pipeline, folder, file):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_single_file(file, config=str(folder), local_files_only=True)
    for mine, other in ((pipeline.unet, pipe.unet), (pipeline.vae, pipe.vae)):
        other = other.state_dict()
        assert all(torch.equal(other[name], value) for name, value in mine.state_dict().items())
    options = {"num_inference_steps": 4, "guidance_scale": 3.0}
    ours = pipeline.images([PROMPT], negative_prompt=NEGATIVE, seed=0, **options)
    pipe.scheduler = StableDiffusionPipeline.from_pretrained(folder).scheduler
    assert (ours - theirs(pipe, latents=first_noise(), **options)).abs().max() < 1e-4


SCHEDULERS = [DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler]


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("Scheduler", SCHEDULERS)
def test_each_scheduler_that_a_folder_may_have_draws_diffusers_picture(folder, tmp_path, Scheduler, spacing):
    from diffusers import StableDiffusionPipeline

    options = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
    plain = {"clip_sample": False} if Scheduler in (DDIMScheduler, DDPMScheduler) else {}
    theirs_scheduler = Scheduler(timestep_spacing=spacing, **options, **plain)
    other = shutil.copytree(folder, tmp_path / "other")
    theirs_scheduler.save_pretrained(other / "scheduler")
    ours = load_stable_diffusion(other)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.scheduler = theirs_scheduler
    steps = 8 if (Scheduler, spacing) == (DDIMScheduler, "trailing") else 7  # its steps overlap unless they divide 1000
    generator, options = seeded(), {"num_inference_steps": steps, "guidance_scale": 3.0}
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    expected = theirs(pipe, latents=latents, generator=generator, **options)
    drawn = ours.images([PROMPT], negative_prompt=NEGATIVE, seed=0, **options)
    assert drawn.std() > 0.05 and (drawn - expected).abs().max() < 1e-5


def test_the_published_scheduler_is_followed(pipeline, folder, tmp_path):
    """Stable Diffusion 1.x was published with PNDM, leading spacing, offset 1 and a last step that ends on t = 0."""
    from diffusers import StableDiffusionPipeline

    published = shutil.copytree(folder, tmp_path / "published")
    settings = {"_class_name": "PNDMScheduler", "_diffusers_version": "0.8.0.dev0", "skip_prk_steps": True}
    settings |= {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False}
    settings |= {"num_train_timesteps": 1000, "set_alpha_to_one": False, "steps_offset": 1, "trained_betas": None}
    (published / "scheduler" / "scheduler_config.json").write_text(json.dumps(settings))
    with pytest.warns(TinyldmWarning, match=r'there is no PNDMScheduler here; the sampler is "dpm\+\+"'):
        ours = load_stable_diffusion(published)
    assert (ours.config.spacing, ours.config.steps_offset, ours.config.set_alpha_to_one) == ("leading", 1, False)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    options = {"num_inference_steps": 7, "guidance_scale": 3.0}
    for sampler, scheduler in (("ddim", DDIMScheduler), ("dpm++", DPMSolverMultistepScheduler)):
        pipe.scheduler = scheduler.from_config(settings | {"timestep_spacing": "leading"})
        drawn = ours.images([PROMPT], negative_prompt=NEGATIVE, seed=0, sampler=sampler, **options)
        assert (drawn - theirs(pipe, latents=first_noise(), **options)).abs().max() < 1e-5


def test_our_way_of_sampling_survives_diffusers(pipeline, folder, tmp_path):
    from diffusers import StableDiffusionPipeline

    ours = TextToImage(pipeline.vae, pipeline.text_encoder, pipeline.unet, replace(CONFIG, **OWN))
    save_diffusers(ours, tmp_path / "ours")
    StableDiffusionPipeline.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    assert load_stable_diffusion(tmp_path / "theirs").config == ours.config
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "theirs")
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.save_pretrained(tmp_path / "euler")
    assert load_stable_diffusion(tmp_path / "euler").config == replace(ours.config, sampler="euler")


OWN = {"sampler": "heun", "num_inference_steps": 9, "guidance_scale": 2.5, "guidance_below": 700}


def test_a_folder_of_an_older_version_of_ours_is_read(folder, tmp_path):
    old = shutil.copytree(folder, tmp_path / "old")
    change(old / "scheduler" / "scheduler_config.json", _tinyldm=None)
    (old / "tinyldm.json").write_text(json.dumps(OWN))
    assert load_stable_diffusion(old).config == replace(CONFIG, **OWN, guidance_rescale=0)


def test_what_a_folder_does_not_say_is_taken_from_stable_diffusion(folder, tmp_path):
    plain = shutil.copytree(folder, tmp_path / "plain")
    change(plain / "scheduler" / "scheduler_config.json", _tinyldm=None)
    config = load_stable_diffusion(plain).config
    assert (config.sampler, config.guidance_scale) == ("ddim", SD1.guidance_scale) == ("ddim", 7.5)
    assert (config.guidance_below, config.guidance_rescale) == (1000, 0)


def test_the_older_names_of_the_autoencoders_attention_are_known(pipeline, folder, tmp_path):
    old = shutil.copytree(folder, tmp_path / "old")
    path, names = old / "vae" / "diffusion_pytorch_model.safetensors", {"to_q": "query", "to_k": "key", "to_v": "value"}
    state = load_file(path)
    for new, name in {**names, "to_out.0": "proj_attn"}.items():
        state = {key.replace(f".{new}.", f".{name}."): value for key, value in state.items()}
    assert any(".proj_attn." in key for key in state)
    save_file(state, path)
    after = states(load_stable_diffusion(old))
    assert all(torch.equal(after[name], value) for name, value in states(pipeline).items())


def test_leftovers_of_training_are_ignored(pipeline, file, tmp_path):
    left = {
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.diffusion_modelinput_blocks00weight": torch.zeros(2),
        "betas": torch.zeros(1000),
        "sqrt_alphas_cumprod": torch.zeros(1000),
        "model.alphas_cumprod": torch.zeros(1000),
        "first_stage_model.loss.discriminator.main.0.weight": torch.zeros(3),
        "cond_stage_model.logit_scale": torch.tensor(4.6),
        "cond_stage_model.text_projection": torch.zeros(2, 2),
        "cond_stage_model.transformer.text_projection.weight": torch.zeros(2, 2),
        "global_step": torch.tensor(470_000),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
    }
    save_file({**load_file(file), **left}, tmp_path / "old.safetensors", _metadata(file))
    after = states(load_stable_diffusion(tmp_path / "old.safetensors"))
    assert all(torch.equal(after[name], value) for name, value in states(pipeline).items())


def test_names_without_text_model_as_novelai_has_them_are_understood(pipeline, file, tmp_path):
    state = {name.replace("transformer.text_model.", "transformer."): value for name, value in load_file(file).items()}
    assert state.keys() != load_file(file).keys()
    save_file(state, tmp_path / "novel.safetensors", _metadata(file))
    after = states(load_stable_diffusion(tmp_path / "novel.safetensors"))
    assert all(torch.equal(after[name], value) for name, value in states(pipeline).items())


@pytest.mark.parametrize("wrapper", ["_orig_mod.", "module.", "module._orig_mod."])
def test_names_that_torch_compile_or_data_parallel_gave_are_understood(pipeline, folder, file, tmp_path, wrapper):
    whole = {wrapper + name: value for name, value in load_file(file).items()}
    save_file(whole, tmp_path / "wrapped.safetensors", _metadata(file))
    assert same_model(tmp_path / "wrapped.safetensors", pipeline)
    part = shutil.copytree(folder, tmp_path / "part") / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({wrapper + name: value for name, value in load_file(part).items()}, part)
    assert same_model(tmp_path / "part", pipeline)


@pytest.mark.parametrize(("start", "says"), [("first_stage", r"no autoencoder \(VAE\)"), ("cond_stage", "no text enc")])
def test_a_single_file_without_one_of_the_models_is_told_which(file, tmp_path, start, says):
    state = {name: value for name, value in load_file(file).items() if not name.startswith(start)}
    save_file(state, tmp_path / "without.safetensors", _metadata(file))
    with pytest.raises(WeightsError, match=rf"without\.safetensors has {says}"):
        load_stable_diffusion(tmp_path / "without.safetensors")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('parameterization: "v"', "v_prediction"),
        ("parameterization: v  # terminal SNR", "v_prediction"),
        ('parameterization: "eps"', "epsilon"),
        ('# parameterization: "v"', "epsilon"),
        (None, "epsilon"),
    ],
)
def test_a_yaml_beside_a_single_file_may_say_that_it_predicts_v(pipeline, file, tmp_path, monkeypatch, line, expected):
    monkeypatch.setattr("tinyldm.stable_diffusion.SD1", CONFIG)
    monkeypatch.setattr("tinyldm.stable_diffusion.SD1_VAE", AUTOENCODER)
    monkeypatch.setattr("tinyldm.stable_diffusion.SD1_TEXT", TEXT)
    save_file(load_file(file), tmp_path / "fluff.v11.safetensors")  # without our own settings
    if line:
        (tmp_path / "fluff.v11.yaml").write_text(f"model:\n  params:\n    {line}\n    linear_start: 0.00085\n")
    loaded = load_stable_diffusion(tmp_path / "fluff.v11.safetensors")
    assert loaded.config == replace(pipeline.config, prediction_type=expected)


def same_model(path, pipeline) -> bool:
    after = states(load_stable_diffusion(path))
    return all(torch.equal(after[name], value) for name, value in states(pipeline).items())


def test_parts_in_every_form_of_file_are_found(pipeline, folder, tmp_path):
    """Half precision beside the whole, shards with and without their index, and names that other programs give."""
    from diffusers import UNet2DConditionModel

    both = shutil.copytree(folder, tmp_path / "both")
    half = {name: value.half() for name, value in load_file(both / "unet" / PLAIN).items()}
    save_file(half, both / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert same_model(both, pipeline)
    (both / "unet" / PLAIN).unlink()
    loaded = load_stable_diffusion(both).unet.state_dict()
    assert all(torch.equal(loaded[name], value.float()) for name, value in half.items())

    sharded = shutil.copytree(folder, tmp_path / "sharded")
    (sharded / "unet" / PLAIN).unlink()
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    unet.save_pretrained(sharded / "unet", max_shard_size="300KB")
    index = sharded / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    assert index.is_file() and len(list((sharded / "unet").glob("*-of-*"))) > 1 and same_model(sharded, pipeline)
    content = json.loads(index.read_text())
    index.unlink()
    assert same_model(sharded, pipeline)
    content["weight_map"]["conv_in.bias"] = "../unet/elsewhere.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=r"index\.json: weight_map must give the file in this folder"):
        load_stable_diffusion(sharded)

    odd = shutil.copytree(folder, tmp_path / "odd")
    (odd / "unet" / PLAIN).rename(odd / "unet" / "diffusion_pytorch_model.non_ema.safetensors")
    assert same_model(odd, pipeline)
    shutil.copy(folder / "unet" / PLAIN, odd / "unet" / "another.safetensors")
    with pytest.raises(WeightsError, match=r"unet has another.safetensors and diffusion_.*: remove all but one"):
        load_stable_diffusion(odd)


PLAIN = "diffusion_pytorch_model.safetensors"


def _metadata(file):
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return opened.metadata()


# ---------------------------------------------------------------- what does not fit


CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop(CONV_IN), rf"no tensor {CONV_IN}"),
        (
            lambda state: state.update({"first_stage_model.extra": torch.zeros(1)}),
            r"first_stage_model\.extra has no place",
        ),
        (
            lambda state: state.update({CONV_IN: torch.zeros(16, 6, 3, 3)}),
            r"conv_in\.weight has shape \(16, 6, 3, 3\) instead of \(16, 4, 3, 3\)",
        ),
    ],
    ids=["missing", "left over", "misshapen"],
)
def test_a_tensor_that_does_not_fit_is_named(file, tmp_path, change, says):
    state = load_file(file)
    change(state)
    save_file(state, tmp_path / "bad.safetensors", _metadata(file))
    with pytest.raises(WeightsError, match=says):
        load_stable_diffusion(tmp_path / "bad.safetensors")


ODD = (None, True, -1, 0, 10**9, 0.5, math.nan, "", "x\n\ud800", [], [8, 8], [None], {}, [[8] * 4])


def _leaves(settings, path=()):
    for key, value in settings.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))


@pytest.mark.filterwarnings("ignore::tinyldm.TinyldmWarning")
@pytest.mark.parametrize("seed", range(30))
def test_whatever_a_single_files_settings_hold_it_is_loaded_or_refused_in_one_line(pipeline, file, tmp_path, seed):
    settings, rng, bad = json.loads(_metadata(file)["tinyldm"]), random.Random(seed), tmp_path / "bad.safetensors"
    *path, last = rng.choice(sorted(_leaves(settings)))
    inner = reduce(lambda values, key: values[key], path, settings)
    if rng.random() < 0.2:
        del inner[last]
    else:
        inner[last] = rng.choice(ODD)
    save_file(load_file(file), bad, {"tinyldm": json.dumps(settings)})
    try:
        again = load_stable_diffusion(bad, "cpu")
    except WeightsError as error:
        assert str(error).startswith(str(bad)) and str(error).isprintable() and len(str(error)) < 500
    else:
        assert torch.equal(again.unet.conv_in.weight, pipeline.unet.conv_in.weight)
        with contextlib.suppress(UserError):
            assert again("seven", seed=0, num_inference_steps=2).size == (8 * again.config.sample_size,) * 2


@pytest.mark.parametrize("shard", ["../vae/x.safetensors", "a\0b", "\ud800", None, 5, ["x"], "/etc/passwd", "a\nb"])
def test_shards_lie_in_their_folder(folder, tmp_path, shard):
    bad = shutil.copytree(folder, tmp_path / "bad")
    next((bad / "vae").glob("*.safetensors")).unlink()
    index = bad / "vae" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": shard}}))
    with pytest.raises(WeightsError, match=f"^{re.escape(str(index))}: weight_map must give the file in this folder"):
        load_stable_diffusion(bad)


@pytest.mark.skipif(os.name == "nt", reason="links and pipes of POSIX")
@pytest.mark.parametrize("odd", ["a folder", "a link to itself", "a pipe", "a name of two lines"])
def test_odd_files_are_refused_in_one_line(folder, file, tmp_path, odd):
    bad, single = shutil.copytree(folder, tmp_path / "bad"), tmp_path / "single.safetensors"
    weights = bad / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    for path, tensors in ((weights, state), (single, load_file(file))):
        path.unlink(missing_ok=True)
        if odd == "a folder":
            path.mkdir()
        elif odd == "a link to itself":
            path.symlink_to(path.name)
        elif odd == "a pipe":
            os.mkfifo(path)
        else:
            save_file({**tensors, "two\nlines" * 100: torch.zeros(1)}, path)
    for path in (bad, single):
        with pytest.raises(WeightsError) as caught:
            load_stable_diffusion(path)
        assert str(path) in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_a_folder_whose_tensors_do_not_fit_is_named(folder, tmp_path):
    bad = shutil.copytree(folder, tmp_path / "bad")
    path = bad / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    save_file({**state, "extra.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"unet has a tensor extra\.weight that belongs nowhere"):
        load_stable_diffusion(bad)
    del state["conv_out.bias"]
    save_file(state, path)
    with pytest.raises(WeightsError, match=r"unet has no tensor conv_out\.bias of shape \(4,\)"):
        load_stable_diffusion(bad)


@pytest.mark.parametrize(
    ("part", "change", "says"),
    [
        ("unet/config.json", {"attention_head_dim": [5, 10]}, r"attention_head_dim is \[5, 10\]; it must be"),
        ("unet/config.json", {"use_linear_projection": True}, "use_linear_projection is true; .* has False"),
        ("scheduler/scheduler_config.json", {"beta_end": 0.02}, "beta_end is 0.02; a scaled_linear"),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1, 0.2]}, r"trained_betas is \[0.1, 0.2\]"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "predicts epsilon cannot begin"),
        ("vae/config.json", {"scaling_factor": float("inf")}, "scaling_factor is Infinity; it must be a positive"),
        ("text_encoder/config.json", {"hidden_act": "relu"}, "hidden_act must be one of"),
    ],
)
def test_other_models_are_refused_with_the_setting_that_differs(folder, tmp_path, part, change, says):
    other = shutil.copytree(folder, tmp_path / "other")
    (other / part).write_text(json.dumps(json.loads((other / part).read_text()) | change))
    with pytest.raises(WeightsError, match=says):
        load_stable_diffusion(other)


class FromATrainer:
    """An object that a checkpoint may hold; unpickling it would run code of ours."""

    def __reduce__(self):
        return (os.makedirs, ("ran",))


def test_pickles_are_refused_with_advice_that_works(pipeline, folder, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared = load_file(file)
    shared["global_step"] = 3
    shared["alphas_cumprod"] = shared[CONV_IN].view(-1)[:9]  # shares its memory, which safetensors refuses
    torch.save({"state_dict": shared, "epoch": 1, "callbacks": {Version("1.0"): Version("2.0")}}, "model.ckpt")
    with pytest.raises(WeightsError, match=r"is a pickle.*`tinyldm convert (\S+)` makes") as told:
        load_stable_diffusion(tmp_path / "model.ckpt")
    run_advice(told.value)
    after = load_file("model.safetensors")
    assert all(torch.equal(after[name], value) for name, value in load_file(file).items())

    bins = shutil.copytree(folder, tmp_path / "bins")
    for part, name in (("unet", "diffusion_pytorch_model"), ("text_encoder", "model")):
        path = bins / part / f"{name}.safetensors"
        torch.save(load_file(path), path.with_name("pytorch_model.bin"))
        path.unlink()
        with pytest.raises(WeightsError, match=rf"{part}/pytorch_model\.bin is a pickle") as told:
            load_stable_diffusion(bins)
        run_advice(told.value)
    assert same_model(bins, pipeline)


def run_advice(error: Exception) -> None:
    command = re.search("`tinyldm (.*)`", str(error))[1]
    subprocess.run([sys.executable, "-m", "tinyldm", *shlex.split(command)], check=True, env=os.environ | PATHS)


PATHS = {"PYTHONPATH": str(Path(__file__).parents[1])}


def test_a_file_is_known_by_its_content_not_by_its_name(pipeline, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(file, "really.ckpt")
    assert same_model("really.ckpt", pipeline)
    for number, (name, new) in enumerate([("MODEL.CKPT", True), ("renamed.safetensors", True), ("old.pt", False)]):
        torch.save({"state_dict": load_file(file)}, name, _use_new_zipfile_serialization=new)
        with pytest.raises(WeightsError, match=f"{name} is a pickle.*`tinyldm convert {name}` makes"):
            load_stable_diffusion(name)
        convert_pickle(name)
        assert len([*tmp_path.glob("*.safetensors")]) == number + 1 + (number > 0)  # "renamed" itself is one
    assert torch.equal(load_file("renamed-converted.safetensors")[CONV_IN], load_file(file)[CONV_IN])
    save_file({"a": torch.ones(2)}, "length.safetensors", {"a": "x" * 559})
    assert Path("length.safetensors").read_bytes()[:2] == b"\x80\2"  # as old pickles begin
    with pytest.raises(WeightsError, match="no tensor"):
        load_stable_diffusion("length.safetensors")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:6ce0\nsize 4265146304\n", r"`git lfs pull`"),
        ("<!DOCTYPE html>\n<title>503 Service Unavailable</title>", "is a web page, not weights: download"),
        ('\n<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page, not weights: download"),
    ],
)
def test_what_was_not_downloaded_is_named(folder, tmp_path, content, says):
    part = shutil.copytree(folder, tmp_path / "part") / "vae" / "diffusion_pytorch_model.safetensors"
    part.write_text(content)
    with pytest.raises(WeightsError, match=rf"vae.diffusion_pytorch_model\.safetensors .*{says}"):
        load_stable_diffusion(tmp_path / "part")


def test_converting_runs_no_code_and_says_what_it_cannot_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(2)}, "trainer": FromATrainer()}, "evil.ckpt")
    with contextlib.suppress(WeightsError):
        convert_pickle("evil.ckpt")
    assert not Path("ran").exists()
    Path("text.bin").write_text("no checkpoint at all")
    torch.save([torch.ones(2)], "list.pt")
    for name, says in (("text.bin", "not a readable"), ("list.pt", "no tensors by"), ("none.ckpt", "cannot read")):
        with pytest.raises(WeightsError, match=rf"{name}.* {says}|{says} {name}"):
            convert_pickle(name)
    torch.save({"a": torch.ones(2)}, "good.pt")
    assert convert_pickle("good.pt") == Path("good.safetensors")
    with pytest.raises(UserError, match=r"good\.safetensors already exists"):
        convert_pickle("good.pt")


def test_what_is_not_there_or_damaged_is_said(folder, tmp_path):
    with pytest.raises(WeightsError, match="no weights at"):
        load_stable_diffusion(tmp_path / "nothing.safetensors")
    (tmp_path / "half.safetensors").write_bytes(b"half")
    with pytest.raises(WeightsError, match="is damaged, or no safetensors file"):
        load_stable_diffusion(tmp_path / "half.safetensors")
    empty = shutil.copytree(folder, tmp_path / "empty")
    shutil.rmtree(empty / "vae")
    with pytest.raises(WeightsError, match=r"vae/config\.json cannot be read"):
        load_stable_diffusion(empty)


def test_saving_never_overwrites_and_leaves_nothing_half_written(pipeline, folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="already exists"):
        save_diffusers(pipeline, folder)
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        save_compvis(pipeline, tmp_path / "model.ckpt")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr("tinyldm.stable_diffusion._write_json", fail)
    with pytest.raises(UserError, match=r"cannot write .*new: no space left"):
        save_diffusers(pipeline, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- half precision, slices


def test_half_precision_draws_nearly_the_same_picture(pipeline, folder):
    half = load_stable_diffusion(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in half.unet.parameters()} == {torch.bfloat16}
    full, rough = (model.images([PROMPT], seed=0, num_inference_steps=2) for model in (pipeline, half))
    assert rough.dtype == torch.float32 and 0 < (full - rough).abs().mean() < 0.02


def test_large_pictures_are_drawn_and_decoded_one_by_one(pipeline):
    seen = []
    hook = pipeline.vae.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    large = TextToImage(pipeline.vae, pipeline.text_encoder, pipeline.unet, SD1_SIZED)
    assert pipeline.batch == 64 and large.batch == 1
    pipeline_elsewhere, large_elsewhere = (copy.deepcopy(model).to("meta") for model in (pipeline, large))
    assert pipeline_elsewhere.batch == 1024 and large_elsewhere.batch == 1
    large.decode(torch.zeros(3, 4, 8, 8))
    hook.remove()
    assert seen == [1, 1, 1]


def test_every_name_of_every_model_is_another():
    names = [theirs for part in _compvis_names(make()).values() for theirs in part.values()]
    assert len(names) == len(set(names))


# ---------------------------------------------------------------- the real thing, with random weights: make test-full


@pytest.fixture(scope="module")
def all_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count())
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def real(all_threads):
    """Stable Diffusion 1.x by diffusers with random weights, and our classes around the very same tensors."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    with torch.device("meta"):
        unet, vae = UNet(SD1_UNET), VAE(SD1_VAE)
    text = TextEncoder(SD1_TEXT).eval().requires_grad_(False)
    torch.nn.init.normal_(text.table, std=0.02)
    ours = TextToImage(vae, text, unet, SD1)
    clip = CLIPTextModel(CLIPTextConfig(**_text_settings(SD1_TEXT)))
    own = {name.removeprefix("text_model."): value for name, value in text.state_dict().items()}
    clip.load_state_dict({name: own[name.removeprefix("text_model.")] for name in clip.state_dict()})
    parts = {
        "unet": UNet2DConditionModel.from_config(_unet_settings(SD1)),
        "vae": AutoencoderKL.from_config(_vae_settings(ours)),
    }
    for name, model in parts.items():
        perturb(model.eval(), 0.01)
        getattr(ours, name).load_state_dict(model.state_dict(), strict=True, assign=True)
    quiet = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    scheduler = DDIMScheduler.from_config(_scheduler_settings(SD1))
    pipe = StableDiffusionPipeline(
        text_encoder=clip.eval(),
        tokenizer=CLIPTokenizer(vocab=clip_vocabulary(), merges=clip_merges(), model_max_length=77),
        scheduler=scheduler,
        **parts,
        **quiet,
    )
    return ours, pipe


@pytest.mark.full
@torch.no_grad()
def test_the_full_unet_and_autoencoder_equal_diffusers(real):
    ours, pipe = real
    latents, context = first_noise(SD1), torch.randn(1, 77, 768, generator=torch.Generator().manual_seed(1))
    expected = pipe.unet(latents, torch.tensor(537), context).sample
    assert expected.std() > 0.01 and (ours.unet(latents, torch.tensor(537), context) - expected).abs().max() < 1e-5
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(2)) * 2 - 1
    assert (ours.vae.moments(image)[0] - pipe.vae.encode(image).latent_dist.mean).abs().max() < 1e-5
    expected = pipe.vae.decode(latents[..., :32, :32]).sample
    scaled = latents[..., :32, :32] * SD1_VAE.scaling_factor
    assert expected.std() > 0.01 and (ours.vae.decode(scaled) - expected).abs().max() < 1e-5


@pytest.mark.full
def test_the_full_machine_draws_diffusers_picture(real):
    ours, pipe = real
    options = {"num_inference_steps": 2, "guidance_scale": 7.5}
    expected = theirs(pipe, latents=first_noise(SD1), **options)
    drawn = ours.images([PROMPT], negative_prompt=NEGATIVE, seed=0, sampler="ddim", **options)
    assert drawn.shape == (1, 3, 512, 512) and drawn.std() > 0.01
    assert (drawn - expected).abs().max() < 1e-4


# ---------------------------------------------------------------- an older pair of libraries: make test-full

OLD_PYTHON = Path(__file__).parents[1] / ".venv-old" / ("Scripts" if os.name == "nt" else "bin") / "python"
DRAW_THERE = """
import sys, torch, transformers, diffusers
pipe = diffusers.StableDiffusionPipeline.from_pretrained(sys.argv[1])
x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
image = pipe("a thick red seven", latents=x, num_inference_steps=5, guidance_scale=3.0, output_type="np").images
torch.save({"image": torch.from_numpy(image), "ids": pipe.tokenizer("a thick red seven").input_ids}, sys.argv[2])
print(transformers.__version__, diffusers.__version__)
"""


@pytest.mark.full
@pytest.mark.skipif(not OLD_PYTHON.exists(), reason="make test-full installs the older pair")
def test_old_and_new_libraries_draw_the_same_picture_from_the_exported_folder(tmp_path):
    save_diffusers(TextToImage.from_pretrained(device="cpu"), tmp_path / "folder")
    drawn = []
    for python, versions in ((sys.executable, "5."), (OLD_PYTHON, "4.57")):
        out = tmp_path / f"{versions}.pt"
        command = [python, "-c", DRAW_THERE, tmp_path / "folder", out]
        done = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
        assert done.stdout.startswith(versions)
        drawn.append(torch.load(out, weights_only=True))
    assert drawn[0]["ids"] == drawn[1]["ids"] == tokenize("a thick red seven")[0, :6].tolist()
    assert drawn[0]["image"].std() > 0.1 and (drawn[0]["image"] - drawn[1]["image"]).abs().max() < 1e-5
