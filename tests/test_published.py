"""Published settings are read as the libraries read them; what is no Stable Diffusion 1.x is named for what it is."""

import inspect
import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from transformers import CLIPTextConfig

from tinyldm import TinyldmWarning
from tinyldm.published import DEFAULTS, SCHEDULERS, diffusion_config, read_json, text_config, vae_config
from tinyldm.stable_diffusion import SD1, SD1_TEXT, SD1_VAE, load_stable_diffusion
from tinyldm.weights import WeightsError

# What three published folders hold, key by key: https://huggingface.co/CompVis/stable-diffusion-v1-4 (its Flax branch
# has its UNet and autoencoder under other names), stable-diffusion-v1-5 in two ages.
LEVELS = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
UP = ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
UNET = {"attention_head_dim": 8, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768}
UNET |= {"down_block_types": LEVELS, "up_block_types": UP, "freq_shift": 0, "in_channels": 4, "out_channels": 4}
UNET |= {"layers_per_block": 2, "sample_size": 64}
VAE = {"act_fn": "silu", "block_out_channels": [128, 256, 512, 512], "in_channels": 3, "latent_channels": 4}
VAE |= {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "out_channels": 3}
VAE |= {"layers_per_block": 2, "norm_num_groups": 32, "sample_size": 512}
TEXT = {"_name_or_path": "openai/clip-vit-large-patch14", "architectures": ["CLIPTextModel"], "bos_token_id": 0}
TEXT |= {"eos_token_id": 2, "pad_token_id": 1, "hidden_act": "quick_gelu", "hidden_size": 768, "vocab_size": 49408}
TEXT |= {"intermediate_size": 3072, "layer_norm_eps": 1e-05, "max_position_embeddings": 77, "dropout": 0.0}
TEXT |= {"model_type": "clip_text_model", "num_attention_heads": 12, "num_hidden_layers": 12, "attention_dropout": 0.0}
BETAS = {"beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000}
PNDM = {**BETAS, "_class_name": "PNDMScheduler", "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1}
SINCE_0_10 = {"center_input_sample": False, "downsample_padding": 1, "dual_cross_attention": False, "norm_eps": 1e-05}
SINCE_0_10 |= {"flip_sin_to_cos": True, "mid_block_scale_factor": 1, "norm_num_groups": 32, "num_class_embeds": None}
SINCE_0_10 |= {"only_cross_attention": False, "upcast_attention": False, "use_linear_projection": False}
SINCE_0_31 = SINCE_0_10 | {"addition_embed_type": None, "attention_type": "default", "class_embed_type": None}
SINCE_0_31 |= {"mid_block_type": "UNetMidBlock2DCrossAttn", "transformer_layers_per_block": 1, "dropout": 0.0}
SINCE_0_31 |= {"time_embedding_type": "positional", "num_attention_heads": None, "resnet_out_scale_factor": 1.0}
PUBLISHED = {
    "1.4 for Flax": (
        {"_class_name": "FlaxUNet2DConditionModel", "_diffusers_version": "0.5.0.dev0", "dropout": 0.0, **UNET},
        {"_class_name": "FlaxAutoencoderKL", **VAE},
        TEXT | {"transformers_version": "4.23.1"},  # before there was a projection_dim
        PNDM | {"_diffusers_version": "0.7.0.dev0", "clip_sample": False, "trained_betas": None},
    ),
    "1.5 of 2022": (
        {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.10.2", **UNET, **SINCE_0_10},
        {"_class_name": "AutoencoderKL", "scaling_factor": 0.18215, **VAE},
        TEXT | {"projection_dim": 768},
        PNDM | {"clip_sample": False},
    ),
    "1.5 of 2024": (
        {"_class_name": "UNet2DConditionModel", "_diffusers_version": "0.31.0", **UNET, **SINCE_0_31},
        {"_class_name": "AutoencoderKL", "force_upcast": True, "shift_factor": None, "use_quant_conv": True, **VAE},
        {"model_type": "clip", "text_config": TEXT | {"projection_dim": 768}},
        PNDM | {"prediction_type": "epsilon", "timestep_spacing": "leading"},
    ),
}
FILES = ("unet/config.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json")


def write(folder, settings):
    for name, content in zip(FILES, settings, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return folder


def diffusion(folder):
    return diffusion_config(folder, SD1)


def read(folder):
    return diffusion(folder), vae_config(folder), text_config(folder)


@pytest.mark.filterwarnings("ignore:.*there is no PNDMScheduler")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_are_stable_diffusions(tmp_path, name):
    model, vae, text = read(write(tmp_path, PUBLISHED[name]))
    assert model == replace(SD1, spacing="leading", steps_offset=1, set_alpha_to_one=False)
    assert vae == SD1_VAE
    assert text in (SD1_TEXT, replace(SD1_TEXT, projection_dim=512))  # a projection that no tensor of it uses


def test_the_defaults_are_the_libraries_own():
    classes = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "scheduler": DDIMScheduler}
    own = {("unet", "sample_size"), ("scheduler", "set_alpha_to_one"), ("scheduler", "timestep_spacing")}
    for kind, settings in DEFAULTS.items():
        if kind == "text_encoder":
            theirs = CLIPTextConfig().to_dict()
        else:
            parameters = inspect.signature(classes[kind].__init__).parameters
            theirs = {name: parameter.default for name, parameter in parameters.items()}
        for name, value in {**settings["read"], **settings["fixed"]}.items():
            if (kind, name) not in own:
                assert value == (list(theirs[name]) if isinstance(theirs[name], tuple) else theirs[name]), (kind, name)


def test_a_schedulers_spacing_and_last_step_are_its_classs_own(tmp_path):
    write(tmp_path, PUBLISHED["1.5 of 2022"])
    for scheduler in (DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler):
        (tmp_path / FILES[3]).write_text(json.dumps(BETAS | {"_class_name": scheduler.__name__, "steps_offset": 1}))
        config = diffusion_config(tmp_path, SD1)
        assert config.spacing == scheduler().config.timestep_spacing
        assert config.sampler == SCHEDULERS[scheduler.__name__][0]
        assert config.set_alpha_to_one
    (tmp_path / FILES[3]).write_text(json.dumps(BETAS | {"_class_name": "PNDMScheduler", "steps_offset": 1}))
    with pytest.warns(TinyldmWarning, match="there is no PNDMScheduler"):
        config = diffusion_config(tmp_path, SD1)
    assert (config.spacing, config.set_alpha_to_one) == ("leading", PNDMScheduler().config.set_alpha_to_one)


@pytest.mark.filterwarnings("ignore:.*there is no PNDMScheduler")
def test_a_missing_or_null_key_takes_its_default(tmp_path):
    settings = PUBLISHED["1.5 of 2024"]
    kinds = ("unet", "vae", "text_encoder", "scheduler")
    for i, kind in enumerate(kinds):
        for name, default in DEFAULTS[kind]["read"].items():
            if default is None or name.startswith("beta_"):  # Stable Diffusion is not what is trained with those
                continue
            results = []
            for content in ({name: None}, {name: default}, {}):
                changed = dict(settings[i].get("text_config", settings[i]))
                changed.pop(name, None)
                folder = write(tmp_path, [*settings[:i], changed | content, *settings[i + 1 :]])
                try:
                    results.append(read(folder))
                except WeightsError as error:  # as block_out_channels alone no longer fits the levels
                    results.append(str(error))
            if (kind, name) == ("scheduler", "set_alpha_to_one"):
                continue
            assert results[0] == results[1] == results[2], (kind, name)


ODD = [None, True, False, 0, 1, -1, 3, 2.5, 10**9, 10**30, float("nan"), float("inf"), "", "gelu", [], {}, [8, 8, 8, 8]]
ODD += [[8, 16], [[]], [None], {"a": 1}, [True], "64", [1.5], ["DownBlock2D"], -0.0, [0], "linspace", "DDIMScheduler"]


@pytest.mark.filterwarnings("ignore::tinyldm.TinyldmWarning")
def test_whatever_a_key_holds_it_is_read_or_refused_with_file_and_key(tmp_path):
    settings, refused = PUBLISHED["1.5 of 2024"], 0
    write(tmp_path, settings)
    readers = {"unet": diffusion, "vae": vae_config, "text_encoder": text_config, "scheduler": diffusion}
    for file, content, (kind, reader) in zip(FILES, settings, readers.items(), strict=True):
        before, content = (tmp_path / file).read_text(), content.get("text_config", content)
        keys = {*content, *DEFAULTS[kind]["read"], *DEFAULTS[kind]["fixed"], "_tinyldm", "_diffusers_version"}
        for name in sorted(keys):
            for value in ODD:
                (tmp_path / file).write_text(json.dumps(content | {name: value}))
                try:
                    reader(tmp_path)
                except WeightsError as error:
                    assert file in str(error).replace("\\", "/") and "\n" not in str(error), (file, name, value)
                    refused += 1
        (tmp_path / file).write_text(before)
    assert refused > 800


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null", "{", "", "<<<<<<< HEAD", "[" * 10**5, "\ufeff{"])
def test_settings_that_are_no_object_are_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content, "utf-8")
    with pytest.raises(WeightsError, match=r"config\.json (cannot be read|holds a)"):
        read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(WeightsError, match=r"config\.json cannot be read"):
        read_json(tmp_path / "config.json")


@pytest.mark.filterwarnings("ignore:.*there is no PNDMScheduler")
def test_what_an_old_diffusers_wrote_is_corrected_as_diffusers_does_and_said(tmp_path):
    unet, vae, text, scheduler = PUBLISHED["1.5 of 2022"]
    old = unet | {"sample_size": 32, "_diffusers_version": "0.8.1"}
    bare = {name: value for name, value in scheduler.items() if name != "steps_offset"}
    with pytest.warns(TinyldmWarning) as told:
        config = diffusion_config(write(tmp_path, (old, vae, text, bare)), SD1)
    assert (config.sample_size, config.steps_offset) == (64, 1)
    lines = [str(warning.message) for warning in told]
    assert any("sample_size 32 was written by an old diffusers; 64 is used" in line for line in lines)
    assert any("steps_offset 0 is taken for 1" in line for line in lines)
    newer = unet | {"sample_size": 32, "_diffusers_version": "0.11.1"}  # of 256 x 256, or a bad conversion
    with pytest.warns(TinyldmWarning, match=r"sample_size 32 draws 256 x 256; if they are poor, write 64"):
        assert diffusion_config(write(tmp_path, (newer, vae, text, scheduler)), SD1).sample_size == 32


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"_class_name": "LMSDiscreteScheduler"}, 'no LMSDiscreteScheduler here; the sampler is "dpm'),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}, "use_karras_sigmas True is not"),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3},
            "solver_order 3 is not followed; 2 is",
        ),
        ({"_class_name": "DDPMScheduler", "variance_type": "fixed_large"}, "'fixed_small' is used"),
        ({"_class_name": "DDIMScheduler", "clip_sample": True}, "clip_sample True is not followed"),
    ],
)
def test_what_is_sampled_in_another_way_is_said(tmp_path, settings, says):
    parts = PUBLISHED["1.5 of 2022"][:3]
    with pytest.warns(TinyldmWarning, match=says):
        config = diffusion_config(write(tmp_path, (*parts, BETAS | {"steps_offset": 1} | settings)), SD1)
    assert config.sampler == SCHEDULERS.get(settings["_class_name"], ("dpm++",))[0]


# ---------------------------------------------------------------- what else people have


def other_folder(folder, index=None, unet=None, without=()):
    write(folder, PUBLISHED["1.5 of 2022"])
    if index:
        (folder / "model_index.json").write_text(json.dumps({"_class_name": index}))
    if unet:
        (folder / FILES[0]).write_text(json.dumps(PUBLISHED["1.5 of 2022"][0] | unet))
    for name in without:
        shutil.rmtree(folder / name)
    return folder


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"index": "StableDiffusionInpaintPipeline", "unet": {"in_channels": 9}}, "inpainting model"),
        ({"unet": {"in_channels": 9}}, "inpainting model"),
        ({"index": "StableDiffusionImageVariationPipeline", "without": ["text_encoder"]}, "image-variation model"),
        ({"index": "StableDiffusionImageEmbedPipeline", "without": ["text_encoder"]}, "image-variation model"),
        ({"index": "StableDiffusionInstructPix2PixPipeline", "unet": {"in_channels": 8}}, "InstructPix2Pix"),
        ({"index": "StableDiffusionXLPipeline"}, "Stable Diffusion XL"),
        ({"unet": {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20]}}, "Stable Diffusion 2"),
        ({"unet": {"cross_attention_dim": 2048}}, "Stable Diffusion XL"),
        ({"index": "FluxPipeline"}, "Flux"),
        ({"index": "AltDiffusionPipeline"}, "AltDiffusion"),
    ],
)
def test_folders_of_other_models_are_named(tmp_path, options, says):
    with pytest.raises(WeightsError, match=rf"{tmp_path} is .*{says}.*; this package runs Stable Diffusion 1\.x$"):
        load_stable_diffusion(other_folder(tmp_path, **options))


def test_parts_and_additions_are_named(tmp_path):
    vae = tmp_path / "vae"
    vae.mkdir()
    (vae / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(WeightsError, match="vae is an autoencoder alone: give the folder around it"):
        load_stable_diffusion(vae)
    for name, says in (("pytorch_lora_weights.safetensors", "a LoRA"), ("learned_embeds.bin", "a textual inversion")):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(WeightsError, match=says):
            load_stable_diffusion(tmp_path)
        (tmp_path / name).unlink()


FIRST = "model.diffusion_model.input_blocks.0.0.weight"
OTHER_FILES = {
    "an inpainting model": ({FIRST: (320, 9, 3, 3), "cond_stage_model.transformer.x": (1,)}, "inpainting model"),
    "SDXL": ({FIRST: (320, 4, 3, 3), "conditioner.embedders.0.transformer.x": (1,)}, "Stable Diffusion XL"),
    "SD 2": ({FIRST: (320, 4, 3, 3), "cond_stage_model.model.ln_final.bias": (1,)}, "Stable Diffusion 2"),
    "SD 3": ({"model.diffusion_model.joint_blocks.0.x": (1,)}, "Stable Diffusion 3"),
    "Flux": ({"double_blocks.0.img_attn.norm.key_norm.scale": (1,)}, "Flux"),
    "a LoRA of kohya": ({"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (1,)}, "LoRA"),
    "a LoRA of peft": ({"base_model.model.unet.mid_block.to_q.lora_A.weight": (1,)}, "LoRA"),
    "a LoRA of diffusers": ({"unet.up_blocks.0.attn.processor.to_q_lora.down.weight": (1,)}, "LoRA"),
    "LyCORIS": ({"lora_te_text_model_encoder_layers_0_mlp_fc1.hada_w1_a": (1,)}, "LoRA"),
    "a ControlNet": ({"control_model.zero_convs.0.0.bias": (1,)}, "ControlNet"),
    "a ControlNet of diffusers": ({"controlnet_cond_embedding.conv_in.bias": (1,)}, "ControlNet"),
    "textual inversion": ({"emb_params": (2, 768)}, "textual inversion"),
    "textual inversion of diffusers": ({"<cat-toy>": (768,)}, "textual inversion"),
    "image variations": ({"cond_stage_model.model.visual.proj": (1,)}, "image-variation model"),
    "a VAE": (
        {"encoder.conv_in.bias": (1,), "quant_conv.bias": (1,), "loss.logvar": (1,)},
        "autoencoder (.VAE.) alone",
    ),
    "a VAE with its prefix": ({"first_stage_model.decoder.conv_in.bias": (1,)}, "autoencoder (.VAE.) alone"),
    "a UNet": ({"conv_in.weight": (1,), "down_blocks.0.resnets.0.conv1.bias": (1,)}, "a UNet alone"),
    "a UNet in CompVis' names": ({FIRST: (320, 4, 3, 3), "model.diffusion_model.out.0.bias": (1,)}, "a UNet alone"),
    "a text encoder": ({"text_model.final_layer_norm.bias": (1,)}, "a text encoder alone"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_single_files_of_other_models_are_named(tmp_path, name):
    shapes, says = OTHER_FILES[name]
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=rf"other\.safetensors is .*{says}"):
        load_stable_diffusion(tmp_path / "other.safetensors")
