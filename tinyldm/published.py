"""What published Stable Diffusion 1.x files say: their settings, their tensors' names, and what else a file may be.

Design choices
- A key that is missing or null has the default of the class that reads it in diffusers or transformers: `DEFAULTS` is
  that table, the only one. What this package cannot do must have its default; whatever does not is refused by name.
- Modules and tensors here have diffusers' names, so that layout is read and written without renaming. The older layout
  of CompVis, one file for all three models, follows from rules (`compvis_unet_name`, `compvis_vae_name`), not from a
  list of 1,130 names.
- How a picture is sampled may differ from what the file says, with a line that says so; what the networks were trained
  with may not.

https://github.com/CompVis/stable-diffusion, https://github.com/huggingface/diffusers (the defaults are those of 0.42).
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from tinyldm import TinyldmWarning
from tinyldm.diffusion import DiffusionConfig
from tinyldm.samplers import SPACINGS
from tinyldm.schedule import ENDS, PREDICTION_TYPES
from tinyldm.text import MAX_TOKENS, VOCABULARY_SIZE, TextConfig
from tinyldm.unet import UNetConfig
from tinyldm.vae import VAEConfig
from tinyldm.weights import MAX_SIZE, WeightsError, blaming

OWN_KEY = "_tinyldm"  # of our sampling settings among the scheduler's; diffusers keeps keys that begin with "_"
OWN_SETTINGS = ("sampler", "num_inference_steps", "guidance_scale", "guidance_below", "guidance_rescale")


# ---------------------------------------------------------------- settings

# What each class has for a key that is missing or null. "read": settings that can vary here; "fixed": that cannot.
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "unet": {
        "read": {
            "sample_size": 64,  # null in diffusers, whose pipeline then refuses
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": [320, 640, 1280, 1280],
            "layers_per_block": 2,
            "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
            "attention_head_dim": 8,  # despite its name, the number of heads
            "cross_attention_dim": 1280,
            "norm_num_groups": 32,
        },
        "fixed": {
            "act_fn": "silu",
            "addition_embed_type": None,
            "attention_type": "default",
            "center_input_sample": False,
            "class_embed_type": None,
            "conv_in_kernel": 3,
            "conv_out_kernel": 3,
            "cross_attention_norm": None,
            "downsample_padding": 1,
            "dual_cross_attention": False,
            "encoder_hid_dim": None,
            "flip_sin_to_cos": True,
            "freq_shift": 0,
            "mid_block_scale_factor": 1,
            "mid_block_type": "UNetMidBlock2DCrossAttn",
            "norm_eps": 1e-5,
            "num_attention_heads": None,
            "num_class_embeds": None,
            "only_cross_attention": False,
            "resnet_time_scale_shift": "default",
            "time_cond_proj_dim": None,
            "time_embedding_type": "positional",
            "transformer_layers_per_block": 1,
            "use_linear_projection": False,
        },
    },
    "vae": {
        "read": {
            "in_channels": 3,
            "latent_channels": 4,
            "block_out_channels": [64],
            "layers_per_block": 1,
            "norm_num_groups": 32,
            "scaling_factor": 0.18215,
        },
        "fixed": {
            "act_fn": "silu",
            "latents_mean": None,
            "latents_std": None,
            "mid_block_add_attention": True,
            "out_channels": 3,
            "shift_factor": None,
            "use_post_quant_conv": True,
            "use_quant_conv": True,
        },
    },
    "text_encoder": {
        "read": {
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 12,
            "num_attention_heads": 8,
            "projection_dim": 512,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
        },
        "fixed": {"vocab_size": VOCABULARY_SIZE, "max_position_embeddings": MAX_TOKENS},
    },
    "scheduler": {
        "read": {
            "beta_schedule": "linear",
            "beta_start": 0.0001,
            "beta_end": 0.02,
            "prediction_type": "epsilon",
            "rescale_betas_zero_snr": False,
            "set_alpha_to_one": None,  # True, but not in PNDMScheduler
            "steps_offset": 0,
            "timestep_spacing": None,  # differs by class: see SCHEDULERS
        },
        "fixed": {"num_train_timesteps": 1000, "trained_betas": None, "thresholding": False},
    },
}
# diffusers' name of a noise schedule: ours.
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
# diffusers' class: the sampler here, and its default spacing. Others get Stable Diffusion's usual sampler, with a line.
SCHEDULERS = {
    "DDIMScheduler": ("ddim", "leading"),
    "DDPMScheduler": ("ddpm", "leading"),
    "DPMSolverMultistepScheduler": ("dpm++", "linspace"),
    "EulerDiscreteScheduler": ("euler", "linspace"),
    "HeunDiscreteScheduler": ("heun", "linspace"),
}
_LINSPACE_TOO = ("Euler", "LMS", "UniPC", "DPM", "KDPM2", "DEIS", "Heun")  # beginnings of the others' names
# Settings of a scheduler that change its way to the picture, with the values that are followed here.
_FOLLOWED = {
    "algorithm_type": ("dpmsolver++",),
    "solver_order": (2,),
    "solver_type": ("midpoint",),
    "final_sigmas_type": ("zero",),
    "euler_at_final": (False,),
    "lower_order_final": (True,),
    "interpolation_type": ("linear",),
    "timestep_type": ("discrete",),
    "use_karras_sigmas": (False,),
    "use_exponential_sigmas": (False,),
    "use_beta_sigmas": (False,),
    "use_lu_lambdas": (False,),
    "variance_type": ("fixed_small",),
    "clip_sample": (False,),
}


class Settings:
    """A JSON file of settings; what it lacks has the default of `DEFAULTS`.

    Args:
        path: the file.
        kind: "unet", "vae", "text_encoder" or "scheduler".

    Raises:
        WeightsError: if it cannot be read, or a setting that cannot vary here has another value.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.values = path, read_json(path)
        if kind == "text_encoder" and isinstance(self.values.get("text_config"), dict):
            self.values = self.values["text_config"]  # of a whole CLIP, images included
        self.defaults = DEFAULTS[kind]["read"]
        for name, value in DEFAULTS[kind]["fixed"].items():
            if (given := _first_of_equals(self.values.get(name))) is not None and given != value:
                raise self.wrong(name, f"Stable Diffusion 1.x has {value!r}")

    def wrong(self, name: str, why: str) -> WeightsError:
        """An error about one of the settings."""
        return WeightsError(f"{self.path}: {name} is {json.dumps(self.raw(name))[:80]}; {why}")

    def raw(self, name: str) -> Any:
        """A setting as the file has it, or its default."""
        value = self.values.get(name)
        return self.defaults.get(name) if value is None else value

    def flag(self, name: str) -> bool:
        """A setting that is true or false."""
        value = self.raw(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "it must be true or false")
        return value

    def text(self, name: str, choices: Iterable[str]) -> str:
        """A setting that is one of ``choices``."""
        value = self.raw(name)
        if not isinstance(value, str) or value not in (choices := tuple(choices)):
            raise self.wrong(name, f"it must be one of {', '.join(choices)}")
        return value

    def number(self, name: str) -> float:
        """A positive number."""
        value = self.raw(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.wrong(name, "it must be a positive number")
        return float(value)

    def size(self, name: str, least: int = 1) -> int:
        """An integer; a list of equal ones, one per level or axis, counts as one."""
        value = _first_of_equals(self.raw(name))
        if type(value) is not int or not least <= value <= MAX_SIZE:
            raise self.wrong(name, f"it must be an integer from {least} to {MAX_SIZE:,}, or a list of equal ones")
        return value

    def sizes(self, name: str) -> tuple[int, ...]:
        """A list of integers."""
        value = self.raw(name)
        if not isinstance(value, list) or not value or not all(type(n) is int and 0 < n <= MAX_SIZE for n in value):
            raise self.wrong(name, f"it must be a list of integers from 1 to {MAX_SIZE:,}")
        return tuple(value)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        WeightsError: if it is missing, unreadable, or holds something else.
    """
    try:
        settings = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise WeightsError(f"{path} cannot be read ({reason})") from error
    if not isinstance(settings, dict):
        raise WeightsError(f"{path} holds a {type(settings).__name__}, not settings by name")
    return settings


def _first_of_equals(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value and all(other == value[0] for other in value) else value


def diffusion_config(folder: Path, usual: DiffusionConfig) -> DiffusionConfig:
    """The settings of a folder's UNet and scheduler; how it is sampled is as in ``usual`` where the folder is silent.

    Raises:
        WeightsError: if a file cannot be read, or has a setting that is not Stable Diffusion 1.x's.
    """
    unet = Settings(folder / "unet" / "config.json", "unet")
    with blaming(unet.path):
        config = UNetConfig(
            unet.size("in_channels"),
            unet.size("out_channels"),
            unet.sizes("block_out_channels"),
            unet.size("layers_per_block"),
            _attention(unet),
            unet.size("attention_head_dim"),
            unet.size("cross_attention_dim"),
            unet.size("norm_num_groups"),
        )
    return DiffusionConfig(config, _sample_size(unet), **_sampling(folder, usual))


def _attention(unet: Settings) -> tuple[bool, ...]:
    """For each level of the UNet, whether it has attention."""
    names, attention = {"CrossAttnDownBlock2D": True, "DownBlock2D": False}, unet.raw("down_block_types")
    if not isinstance(attention, list) or not all(name in names for name in attention):
        raise unet.wrong("down_block_types", f"Stable Diffusion 1.x has {' and '.join(names)} only")
    mirrored = [name.replace("Down", "Up") for name in reversed(attention)]
    if unet.values.get("up_block_types") not in (None, mirrored):
        raise unet.wrong("up_block_types", f"it must mirror down_block_types: {mirrored}")
    return tuple(names[name] for name in attention)


def _sample_size(unet: Settings) -> int:
    """Height and width of the latents; before its version 0.9, diffusers wrote 32 for Stable Diffusion's 64."""
    size, version = unet.size("sample_size"), re.match(r"(\d+)\.(\d+)", str(unet.values.get("_diffusers_version")))
    if version and (int(version[1]), int(version[2])) < (0, 9) and size < 64:
        _say(f"{unet.path}: sample_size {size} was written by an old diffusers; 64 is used, as diffusers does")
        return 64
    if version and size < 64 and unet.size("cross_attention_dim") == 768:  # what diffusers' conversion wrote, too
        _say(f"{unet.path}: sample_size {size} draws {8 * size} x {8 * size}; if they are poor, write 64 there")
    return size


def _sampling(folder: Path, usual: DiffusionConfig) -> dict[str, Any]:
    """How a folder says that pictures are sampled, as arguments of `DiffusionConfig`."""
    noise = Settings(folder / "scheduler" / "scheduler_config.json", "scheduler")
    name = str(noise.values.get("_class_name") or "DDIMScheduler")
    spacing_of_class = "linspace" if name.startswith(_LINSPACE_TOO) else "leading"
    sampler, spacing = SCHEDULERS.get(name, (usual.sampler, spacing_of_class))
    own = _own_settings(folder, noise)
    if "sampler" in own and name == "DDIMScheduler":  # what we write for other programs, whatever our own sampler
        sampler = own["sampler"]
    elif name not in SCHEDULERS:
        _say(f'{noise.path}: there is no {name} here; the sampler is "{sampler}"')
    for key, followed in _FOLLOWED.items():
        if noise.values.get(key) not in (None, *followed):
            _say(f"{noise.path}: {key} {noise.values[key]!r} is not followed; {followed[0]!r} is used")
    if noise.values.get("timestep_spacing") is not None:
        spacing = noise.text("timestep_spacing", SPACINGS)
    noise.defaults = noise.defaults | {"set_alpha_to_one": name != "PNDMScheduler"}
    offset = noise.size("steps_offset", least=0)
    if offset != 1 and spacing == "leading":
        _say(f"{noise.path}: steps_offset {offset} is taken for 1, as diffusers does")
    prediction_type = noise.text("prediction_type", PREDICTION_TYPES)
    if noise.flag("rescale_betas_zero_snr") and prediction_type == "epsilon":
        raise noise.wrong("rescale_betas_zero_snr", "a model that predicts epsilon cannot begin at pure noise")
    return {
        **{key: getattr(usual, key) for key in OWN_SETTINGS},
        **own,
        "sampler": sampler,
        "spacing": spacing,
        "steps_offset": int(spacing == "leading"),
        "set_alpha_to_one": noise.flag("set_alpha_to_one"),
        "schedule_kind": _schedule_kind(noise),
        "zero_terminal_snr": noise.flag("rescale_betas_zero_snr"),
        "prediction_type": prediction_type,
    }


def _schedule_kind(noise: Settings) -> str:
    kind = SCHEDULES[noise.text("beta_schedule", SCHEDULES)]
    if kind != "cosine":
        for name, expected in zip(("beta_start", "beta_end"), ENDS[kind], strict=True):
            if noise.number(name) != expected:
                raise noise.wrong(name, f"a {kind} schedule here has {expected}")
    return kind


def _own_settings(folder: Path, noise: Settings) -> dict[str, Any]:
    """Sampling settings for which diffusers has no name, where we wrote the folder."""
    before, path = folder / "tinyldm.json", noise.path  # where versions up to 0.2 had them
    own = noise.values.get(OWN_KEY)
    if own is None and before.is_file():
        own, path = read_json(before), before
    if own is None:
        return {}
    kinds: dict[str, Any] = {"sampler": str, "num_inference_steps": int, "guidance_below": int}
    for name, value in own.items() if isinstance(own, dict) else [(OWN_KEY, own)]:
        kind = kinds.get(name, int | float)
        if name not in OWN_SETTINGS or not isinstance(value, kind) or isinstance(value, bool) or value != value:
            raise WeightsError(f"{path}: {name} {json.dumps(value)[:80]} is no sampling setting of tinyldm")
    with blaming(path):
        DiffusionConfig(**own)
    return own


def vae_config(folder: Path) -> VAEConfig:
    """The settings of a folder's autoencoder.

    Raises:
        WeightsError: as for `diffusion_config`.
    """
    vae = Settings(folder / "vae" / "config.json", "vae")
    with blaming(vae.path):
        return VAEConfig(
            vae.size("in_channels"),
            vae.size("latent_channels"),
            vae.sizes("block_out_channels"),
            vae.size("layers_per_block"),
            vae.size("norm_num_groups"),
            vae.number("scaling_factor"),
        )


def text_config(folder: Path) -> TextConfig:
    """The settings of a folder's text encoder.

    Raises:
        WeightsError: as for `diffusion_config`.
    """
    text = Settings(folder / "text_encoder" / "config.json", "text_encoder")
    with blaming(text.path):
        return TextConfig(
            text.size("hidden_size"),
            text.size("intermediate_size"),
            text.size("num_hidden_layers"),
            text.size("num_attention_heads"),
            text.size("projection_dim"),
            text.raw("hidden_act"),
            text.number("layer_norm_eps"),
        )


def _say(what: str) -> None:
    warnings.warn(what, TinyldmWarning, stacklevel=2)


# ---------------------------------------------------------------- what else it may be

# What is wrong with a whole pipeline's folder, by a part of its class's name in model_index.json.
_OTHER_PIPELINES = {
    "StableDiffusionXL": "Stable Diffusion XL",
    "StableDiffusion3": "Stable Diffusion 3",
    "Flux": "Flux",
    "ImageVariation": "a Stable Diffusion image-variation model, which reads a picture instead of a prompt",
    "ImageEmbed": "a Stable Diffusion image-variation model, which reads a picture instead of a prompt",
    "InstructPix2Pix": "InstructPix2Pix",
    "Upscale": "a Stable Diffusion upscaler",
    "Depth2Img": "Stable Diffusion 2 with depth",
    "AltDiffusion": "AltDiffusion, with another text encoder",
    "Onnx": "a model in ONNX, which holds no weights that can be read here",
    "Zero123": "Zero123, which reads a picture",
}
# By how many channels the first layer of the UNet reads, and by how wide the text embeddings are.
_OTHER_CHANNELS = {
    9: "a Stable Diffusion inpainting model (its UNet also reads the mask and the masked picture); any other Stable "
    "Diffusion 1.x can inpaint here, too: TextToImage.inpaint",
    8: "InstructPix2Pix or an image-variation model (its UNet also reads a picture)",
    7: "a Stable Diffusion upscaler",
    5: "Stable Diffusion 2 with depth",
}
_OTHER_WIDTHS = {1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
# By a file in a folder, or by the class of the one part that a folder is.
_OTHER_FILES = {
    "pytorch_lora_weights.*": "a LoRA: changes to a model, not a model",
    "adapter_config.json": "a LoRA: changes to a model, not a model",
    "learned_embeds.*": "a textual inversion: a word for a model, not a model",
    "transformer": "a diffusion transformer, as in Stable Diffusion 3 or Flux",
    "image_encoder": _OTHER_PIPELINES["ImageVariation"],
}
_PARTS = {"AutoencoderKL": "an autoencoder", "UNet2DConditionModel": "a UNet", "ControlNetModel": "a ControlNet"}
# By the names of the tensors in a single file; the first that fits.
_OTHER_TENSORS = {
    r"conditioner\.embedders\.": "Stable Diffusion XL",
    r"cond_stage_model\.model\.(transformer|token_embedding|ln_final)": "Stable Diffusion 2",
    r"(model\.diffusion_model\.)?joint_blocks\.": "Stable Diffusion 3",
    r"(model\.diffusion_model\.)?double_blocks\.": "Flux",
    r"lora_|.*[._](lora_?|hada_|lokr_)(\.?(A|B|up|down|w\d))": "a LoRA: changes to a model, not a model",
    r"control_model\.|controlnet_|input_hint_block\.|zero_convs\.": "a ControlNet: an addition to a model",
    r"emb_params$|string_to_param|<.+>$|clip_[lg]$": "a textual inversion: a word for a model, not a model",
    r"cond_stage_model\.(model\.visual|transformer\.vision_model)": _OTHER_PIPELINES["ImageVariation"],
}
# By the first part of each tensor's name, where all have the same.
_ALONE = {
    r"(first_stage_model\.)?((en|de)coder|(post_)?quant_conv|loss|model_ema)\.": "an autoencoder (VAE)",
    r"(model\.diffusion_model\.)?((in|out)put_blocks|middle_block|time_embed|out)\.": "a UNet",
    r"(down_blocks|up_blocks|mid_block|time_embedding|conv_in|conv_out|conv_norm_out)\.": "a UNet",
    r"(cond_stage_model\.transformer\.)?text_model\.": "a text encoder",
}


def refuse_other_folders(folder: Path) -> None:
    """Name the folder for what it is, if that is not a whole Stable Diffusion 1.x.

    Raises:
        WeightsError: if it is something else that is known.
    """
    index, part = (read_json(path) if (path := folder / name).is_file() else {} for name in _INDEXES)
    name = str(index.get("_class_name"))
    for piece, what in _OTHER_PIPELINES.items():
        if piece in name:
            raise _other(folder, what)
    if not (folder / "unet").is_dir() or not (folder / "text_encoder").is_dir():
        for pattern, what in _OTHER_FILES.items():
            if next(folder.glob(pattern), None):
                raise _other(folder, what)
        if alone := _PARTS.get(str(part.get("_class_name")).removeprefix("Flax")):
            raise WeightsError(f"{folder} is {alone} alone: give the folder around it, with all parts")
        return
    unet = Settings(folder / "unet" / "config.json", "unet")
    for setting, others in (("in_channels", _OTHER_CHANNELS), ("cross_attention_dim", _OTHER_WIDTHS)):
        if other := others.get(unet.size(setting)):
            raise _other(folder, other)


_INDEXES = ("model_index.json", "config.json")


def refuse_other_files(path: Path, tensors: dict[str, Tensor]) -> None:
    """Name a single file for what it is, if that is not a whole Stable Diffusion 1.x.

    Raises:
        WeightsError: if it is something else that is known.
    """
    for pattern, what in _OTHER_TENSORS.items():
        if any(re.match(pattern, name) for name in tensors):
            raise _other(path, what)
    for pattern, what in _ALONE.items():
        if tensors and all(re.match(pattern, name) for name in tensors):
            raise WeightsError(f"{path} is {what} alone: Stable Diffusion needs text encoder, UNet and autoencoder")
    first = tensors.get("model.diffusion_model.input_blocks.0.0.weight")
    if first is not None and first.ndim == 4 and (other := _OTHER_CHANNELS.get(first.shape[1])):
        raise _other(path, other)


def _other(path: Path, what: str) -> WeightsError:
    return WeightsError(f"{path} is {what}; this package runs Stable Diffusion 1.x")


# ---------------------------------------------------------------- names

_IN_RESIDUAL_BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_IN_VAE = [
    (r"(en|de)coder\.(down|up)_blocks\.(\d)\.resnets\.", r"\1coder.\2.\3.block."),
    (r"(en|de)coder\.(down|up)_blocks\.(\d)\.(down|up)samplers\.0", r"\1coder.\2.\3.\4sample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"attn_1\.group_norm", "attn_1.norm"),
    (r"attn_1\.to_out\.0", "attn_1.proj_out"),
    (r"attn_1\.to_([qkv])", r"attn_1.\1"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
]


def compvis_unet_name(name: str, config: UNetConfig) -> str:
    """The CompVis name of a UNet tensor: all blocks of one direction are numbered consecutively, level after level."""
    per_level = config.layers_per_block + 1  # on the way down a level's last entry is its Downsample
    if match := re.match(r"(down|up)_blocks\.(\d+)\.(\w+?)s\.(\d+)\.(.*)", name):
        way, level, kind, i, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        if kind == "downsampler":
            return f"input_blocks.{(level + 1) * per_level}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsampler":  # comes last in the entry of the level's last residual block
            attends = config.attention[::-1][level]
            return f"output_blocks.{level * per_level + per_level - 1}.{1 + attends}.{rest}"
        entry = level * per_level + i + (way == "down")  # entry 0 of the way down is conv_in
        return f"{'in' if way == 'down' else 'out'}put_blocks.{entry}.{int(kind == 'attention')}.{_inside(kind, rest)}"
    if match := re.match(r"mid_block\.(\w+?)s\.(\d)\.(.*)", name):
        position = 1 if match[1] == "attention" else 2 * int(match[2])
        return f"middle_block.{position}.{_inside(match[1], match[3])}"
    for ours, theirs in (
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("conv_in", "input_blocks.0.0"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
    ):
        name = name.replace(ours, theirs) if name.startswith(ours + ".") else name
    return name


def _inside(kind: str, rest: str) -> str:
    part, _, end = rest.partition(".")
    return f"{_IN_RESIDUAL_BLOCK[part]}.{end}" if kind == "resnet" else rest


def compvis_vae_name(name: str, config: VAEConfig) -> str:
    """The CompVis name of an autoencoder tensor; on the way up, levels are numbered from the finest."""
    top = len(config.block_out_channels) - 1
    name = re.sub(r"up_blocks\.(\d)", lambda found: f"up_blocks.{top - int(found[1])}", name)
    for ours, theirs in _IN_VAE:
        name = re.sub(ours, theirs, name)
    return name
