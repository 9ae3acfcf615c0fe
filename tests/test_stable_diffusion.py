"""The course's classes are Stable Diffusion 1.x: its counts and names, its files, diffusers' pictures, both ways."""

import copy
import json
import os
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tinyldm import UserError
from tinyldm.diffusion import DiffusionConfig
from tinyldm.pipeline import TextToImage
from tinyldm.stable_diffusion import (
    SD1,
    SD1_TEXT,
    SD1_UNET,
    SD1_VAE,
    _compvis_names,
    _scheduler_settings,
    _unet_settings,
    _vae_settings,
    compvis_unet_name,
    compvis_vae_name,
    load_stable_diffusion,
    save_compvis,
    save_diffusers,
)
from tinyldm.text import TextConfig, TextEncoder, clip_tokenizer
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
    from transformers import CLIPTextModel

    with torch.device("meta"):
        unet, vae = UNet(SD1_UNET), VAE(SD1_VAE)
    text = TextEncoder(TEXT).model.config
    for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "projection_dim"):
        setattr(text, name, getattr(SD1_TEXT, name))
    with torch.device("meta"):
        text = CLIPTextModel(text)
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


def test_the_published_scheduler_is_followed(pipeline, folder, tmp_path):
    """Stable Diffusion 1.x was published with leading spacing, an offset of 1, and a last step that ends on t = 0."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    published = shutil.copytree(folder, tmp_path / "published")
    settings = json.loads((published / "scheduler" / "scheduler_config.json").read_text())
    settings |= {"steps_offset": 1, "set_alpha_to_one": False, "skip_prk_steps": True, "_class_name": "PNDMScheduler"}
    del settings["timestep_spacing"]
    (published / "scheduler" / "scheduler_config.json").write_text(json.dumps(settings))
    ours = load_stable_diffusion(published)
    assert (ours.config.spacing, ours.config.steps_offset, ours.config.set_alpha_to_one) == ("leading", 1, False)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.scheduler = DDIMScheduler.from_config(settings)
    options = {"num_inference_steps": 4, "guidance_scale": 3.0}
    drawn = ours.images([PROMPT], negative_prompt=NEGATIVE, seed=0, **options)
    assert (drawn - theirs(pipe, latents=first_noise(), **options)).abs().max() < 1e-4
    assert (drawn - pipeline.images([PROMPT], negative_prompt=NEGATIVE, seed=0, **options)).abs().max() > 1e-3


def test_what_a_folder_does_not_say_is_taken_from_stable_diffusion(folder, tmp_path):
    plain = shutil.copytree(folder, tmp_path / "plain")
    (plain / "tinyldm.json").unlink()
    config = load_stable_diffusion(plain).config
    assert (config.sampler, config.guidance_scale) == (SD1.sampler, 7.5)
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
        "betas": torch.zeros(1000),
        "sqrt_alphas_cumprod": torch.zeros(1000),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
    }
    save_file({**load_file(file), **left}, tmp_path / "old.safetensors", _metadata(file))
    after = states(load_stable_diffusion(tmp_path / "old.safetensors"))
    assert all(torch.equal(after[name], value) for name, value in states(pipeline).items())


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
            lambda state: state.update({CONV_IN: torch.zeros(16, 9, 3, 3)}),
            r"conv_in\.weight has shape \(16, 9, 3, 3\) instead of \(16, 4, 3, 3\)",
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
        ("unet/config.json", {"attention_head_dim": [5, 10]}, "Stable Diffusion 2"),
        ("unet/config.json", {"use_linear_projection": True}, "use_linear_projection is True"),
        ("scheduler/scheduler_config.json", {"beta_end": 0.02}, "beta_end is 0.02"),
        ("text_encoder/config.json", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
    ],
)
def test_other_models_are_refused_with_the_setting_that_differs(folder, tmp_path, part, change, says):
    other = shutil.copytree(folder, tmp_path / "other")
    (other / part).write_text(json.dumps(json.loads((other / part).read_text()) | change))
    with pytest.raises(WeightsError, match=says):
        load_stable_diffusion(other)


def test_pickles_are_refused_with_a_way_to_convert_them(tmp_path):
    torch.save({}, tmp_path / "model.ckpt")
    with pytest.raises(WeightsError, match=r"is a pickle.*save_file\(torch\.load\(path, weights_only=True\)"):
        load_stable_diffusion(tmp_path / "model.ckpt")


def test_what_is_not_there_or_damaged_is_said(folder, tmp_path):
    with pytest.raises(WeightsError, match="no weights at"):
        load_stable_diffusion(tmp_path / "nothing.safetensors")
    (tmp_path / "half.safetensors").write_bytes(b"half")
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
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

    torch.manual_seed(0)
    with torch.device("meta"):
        unet, vae = UNet(SD1_UNET), VAE(SD1_VAE)
    text = TextEncoder(SD1_TEXT).eval().requires_grad_(False)
    torch.nn.init.normal_(text.table, std=0.02)
    ours = TextToImage(vae, text, unet, SD1)
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
        text_encoder=text.model, tokenizer=clip_tokenizer(), scheduler=scheduler, **parts, **quiet
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
