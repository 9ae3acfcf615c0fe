"""The bridge to Stable Diffusion 1.x: its settings, names and files, for the very classes that the course has built.

Design choices
- Modules and tensors already have diffusers' names, so that layout is read and written without renaming. The older
  layout of CompVis, one file for all three models, follows from rules (`compvis_unet_name`, `compvis_vae_name`), not
  from a list of 1,130 names.
- A file either fits exactly or is refused: a missing, unexpected or wrongly shaped tensor is named.
- Only safetensors are read. A ``.ckpt`` is a pickle, which can run arbitrary code when it is opened.

Rombach et al. 2022; https://github.com/CompVis/stable-diffusion and https://github.com/huggingface/diffusers.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tinyldm import UserError
from tinyldm.devices import best_device
from tinyldm.diffusion import DiffusionConfig
from tinyldm.pipeline import TextToImage
from tinyldm.text import MAX_TOKENS, VOCABULARY_SIZE, TextConfig, TextEncoder, clip_tokenizer
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig
from tinyldm.weights import WeightsError, atomic_write

SD1_UNET = UNetConfig(
    block_out_channels=(320, 640, 1280, 1280),
    layers_per_block=2,
    attention=(True, True, True, False),
    num_heads=8,
    context_dim=768,
)
SD1_VAE = VAEConfig(block_out_channels=(128, 256, 512, 512), layers_per_block=2, scaling_factor=0.18215)
SD1_TEXT = TextConfig(768, 3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768)
SD1 = DiffusionConfig(
    SD1_UNET,
    sample_size=64,
    zero_terminal_snr=False,
    prediction_type="epsilon",
    num_inference_steps=25,
    guidance_scale=7.5,
    guidance_below=1000,
    guidance_rescale=0.0,
)


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
    if match := re.match(r"(down|up)_blocks\.(\d)\.(\w+?)s\.(\d)\.(.*)", name):
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


def _compvis_names(pipeline: TextToImage) -> dict[str, dict[str, str]]:
    """For each model of a pipeline, its tensors' names here and in a CompVis file."""
    rules = {
        "unet": lambda name: "model.diffusion_model." + compvis_unet_name(name, pipeline.unet.config),
        "vae": lambda name: "first_stage_model." + compvis_vae_name(name, pipeline.vae.config),
        "text_encoder": lambda name: "cond_stage_model.transformer.text_model." + name.removeprefix("text_model."),
    }
    return {
        part: {name: rules[part](name) for name in model.state_dict()} for part, model in _modules(pipeline).items()
    }


def _modules(pipeline: TextToImage) -> dict[str, nn.Module]:
    return {"unet": pipeline.unet, "vae": pipeline.vae, "text_encoder": pipeline.text_encoder.model}


# ---------------------------------------------------------------- loading

_LEFTOVERS = re.compile(r"model_ema\.|.*position_ids$|(alphas|betas|sqrt|log|posterior|lvlb)[^.]*$")  # from training
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_stable_diffusion(
    path: str | Path, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> TextToImage:
    """Stable Diffusion 1.x, or what `save_diffusers` and `save_compvis` wrote, as the course's own pipeline.

    Args:
        path: a folder in diffusers' layout, or one ``.safetensors`` file in CompVis' layout.
        device: by default a GPU if there is one.
        dtype: by default float16 on a GPU (so that it fits into 16 GB) and float32 elsewhere.

    Raises:
        WeightsError: if a part is missing, is not safetensors, or does not fit; the message names it.
    """
    path = Path(path)
    device = torch.device(device or best_device())
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    pipeline, tensors = _from_folder(path) if path.is_dir() else _from_file(path)
    for name, model in _modules(pipeline).items():
        _fill(model, tensors[name], f"{path}: {name}", dtype)
        model.to(device).eval().requires_grad_(False)
    return pipeline


def _from_file(path: Path) -> tuple[TextToImage, dict[str, dict[str, Tensor]]]:
    everything, metadata = _read(path)
    settings = json.loads(metadata["tinyldm"]) if "tinyldm" in metadata else {}
    pipeline = _empty(
        DiffusionConfig(**settings["diffusion"]) if settings else SD1,
        VAEConfig(**settings["vae"]) if settings else SD1_VAE,
        TextConfig(**settings["text"]) if settings else SD1_TEXT,
    )
    tensors = {}
    for part, names in _compvis_names(pipeline).items():
        tensors[part] = {ours: everything.pop(theirs) for ours, theirs in names.items() if theirs in everything}
        missing = next((theirs for ours, theirs in names.items() if ours not in tensors[part]), None)
        if missing:
            raise WeightsError(f"{path}: no tensor {missing}; is it a Stable Diffusion 1.x checkpoint?")
    left = next((name for name in everything if not _LEFTOVERS.match(name)), None)
    if left:
        raise WeightsError(f"{path}: tensor {left} has no place in Stable Diffusion 1.x")
    return pipeline, tensors


def _from_folder(path: Path) -> tuple[TextToImage, dict[str, dict[str, Tensor]]]:
    pipeline = _empty(_diffusion_config(path), _vae_config(path), _text_config(path))
    tensors = {name: _read_part(path / name)[0] for name in _modules(pipeline)}
    for old, new in _OLD_ATTENTION.items():  # the 2022 autoencoder has these names for its attention
        tensors["vae"] = {re.sub(rf"\.{old}\.", f".{new}.", name): value for name, value in tensors["vae"].items()}
    own = pipeline.text_encoder.model.state_dict()
    prefix = "text_model." if next(iter(own)).startswith("text_model.") else ""  # some versions of transformers have it
    tensors["text_encoder"] = {
        prefix + name.removeprefix("text_model."): value for name, value in tensors["text_encoder"].items()
    }
    return pipeline, tensors


def _empty(config: DiffusionConfig, vae: VAEConfig, text: TextConfig) -> TextToImage:
    with torch.device("meta"):  # no memory, no initial values: the file's tensors take their place
        unet, autoencoder = UNet(config.unet), VAE(vae)
    return TextToImage(autoencoder, TextEncoder(text), unet, config)


def _fill(model: nn.Module, tensors: dict[str, Tensor], source: str, dtype: torch.dtype) -> None:
    tensors = {name: value for name, value in tensors.items() if not _LEFTOVERS.match(name)}
    wanted = model.state_dict()
    if missing := next((name for name in wanted if name not in tensors), None):
        raise WeightsError(f"{source} has no tensor {missing} of shape {tuple(wanted[missing].shape)}")
    if left := next((name for name in tensors if name not in wanted), None):
        raise WeightsError(f"{source} has a tensor {left} that belongs nowhere")
    for name, value in tensors.items():
        if value.ndim == 4 and wanted[name].ndim == 2 and value.shape[2:] == (1, 1):
            value = tensors[name] = value[:, :, 0, 0]  # a linear layer written as a 1x1 convolution
        if value.shape != wanted[name].shape:
            shapes = f"{tuple(value.shape)} instead of {tuple(wanted[name].shape)}"
            raise WeightsError(f"{source}: tensor {name} has shape {shapes}")
    model.load_state_dict({name: value.to(dtype) for name, value in tensors.items()}, assign=True)


def _read_part(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    names = ("diffusion_pytorch_model", "diffusion_pytorch_model.fp16", "model", "model.fp16")
    found = next((folder / f"{name}.safetensors" for name in names if (folder / f"{name}.safetensors").is_file()), None)
    return _read(found or folder / f"{names[0]}.safetensors")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and its metadata."""
    from safetensors import SafetensorError, safe_open

    if path.suffix in (".ckpt", ".pt", ".pth", ".bin"):
        raise WeightsError(
            f"{path} is a pickle, which can run arbitrary code when it is opened. Convert it where that is safe: "
            "safetensors.torch.save_file(torch.load(path, weights_only=True)['state_dict'], 'model.safetensors')"
        )
    if not path.is_file():
        raise WeightsError(f"no weights at {path}")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error})") from error


# ---------------------------------------------------------------- settings, as diffusers writes them

_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
_TOKENS = {"vocab_size": VOCABULARY_SIZE, "max_position_embeddings": MAX_TOKENS}
_SAMPLING = ("sampler", "num_inference_steps", "guidance_scale", "guidance_below", "guidance_rescale")


def _read_settings(path: Path, fixed: dict | None = None) -> dict:
    """Read a JSON file; the settings in ``fixed``, where present, must have these values."""
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error})") from error
    for name, value in (fixed or {}).items():
        if settings.get(name, value) != value:
            raise WeightsError(f"{path}: {name} is {settings[name]!r}; Stable Diffusion 1.x has {value!r}")
    return settings


def _diffusion_config(path: Path) -> DiffusionConfig:
    unet = _read_settings(path / "unet" / "config.json", {"use_linear_projection": False, "class_embed_type": None})
    if not isinstance(unet["attention_head_dim"], int):
        raise WeightsError(f"{path}: the number of heads differs by level, as in Stable Diffusion 2 or later")
    noise = _read_settings(path / "scheduler" / "scheduler_config.json", {"num_train_timesteps": 1000, **_BETAS})
    if noise.get("timestep_spacing", "leading") not in ("leading", "trailing"):
        raise WeightsError(f"{path}: unknown timestep_spacing {noise['timestep_spacing']!r}")
    own = path / "tinyldm.json"  # sampling settings for which diffusers has no name
    return DiffusionConfig(
        UNetConfig(
            unet["in_channels"],
            unet["out_channels"],
            unet["block_out_channels"],
            unet["layers_per_block"],
            tuple(kind.startswith("CrossAttn") for kind in unet["down_block_types"]),
            unet["attention_head_dim"],  # despite its name, the number of heads in diffusers too
            unet["cross_attention_dim"],
            unet.get("norm_num_groups", 32),
        ),
        unet["sample_size"],
        zero_terminal_snr=noise.get("rescale_betas_zero_snr", False),
        prediction_type=noise.get("prediction_type", "epsilon"),
        spacing=noise.get("timestep_spacing", "leading"),
        steps_offset=noise.get("steps_offset", 0) if noise.get("timestep_spacing") != "trailing" else 0,
        set_alpha_to_one=noise.get("set_alpha_to_one", True),
        **(_read_settings(own) if own.is_file() else {name: getattr(SD1, name) for name in _SAMPLING}),
    )


def _vae_config(path: Path) -> VAEConfig:
    vae = _read_settings(path / "vae" / "config.json")
    sizes = {"norm_num_groups": vae.get("norm_num_groups", 32), "scaling_factor": vae.get("scaling_factor", 0.18215)}
    return VAEConfig(
        vae["in_channels"], vae["latent_channels"], vae["block_out_channels"], vae["layers_per_block"], **sizes
    )


def _text_config(path: Path) -> TextConfig:
    text = _read_settings(path / "text_encoder" / "config.json", {"hidden_act": "quick_gelu", **_TOKENS})
    return TextConfig(**{name: text[name] for name in asdict(SD1_TEXT)})


# ---------------------------------------------------------------- saving


def save_compvis(pipeline: TextToImage, file: str | Path) -> None:
    """Write all three models into one ``.safetensors`` file in CompVis' layout.

    Its metadata holds the settings, for `load_stable_diffusion`; other programs must get them from elsewhere, unless
    they are those of Stable Diffusion 1.x.

    Raises:
        UserError: if the name does not end in .safetensors.
    """
    from safetensors.torch import save_file

    file = Path(file)
    if file.suffix != ".safetensors":
        raise UserError(f"the file must end in .safetensors, not {file.name}")
    tensors = {}
    for part, names in _compvis_names(pipeline).items():
        state = _modules(pipeline)[part].state_dict()
        for ours, theirs in names.items():
            value = state[ours].detach().cpu()
            convolution = re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight", theirs)  # in CompVis, 1x1 convolutions
            tensors[theirs] = (value[:, :, None, None] if convolution else value).contiguous()
    parts: dict[str, Any] = {
        "diffusion": pipeline.config,
        "vae": pipeline.vae.config,
        "text": pipeline.text_encoder.config,
    }
    settings = json.dumps({name: asdict(config) for name, config in parts.items()})
    with atomic_write(file) as unfinished:
        save_file(tensors, unfinished, {"format": "pt", "tinyldm": settings})


def save_diffusers(pipeline: TextToImage, folder: str | Path) -> None:
    """Write a folder that ``diffusers.StableDiffusionPipeline.from_pretrained`` opens.

    Raises:
        UserError: if the folder exists and is not empty, or the noise schedule is not Stable Diffusion's.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) or folder.samefile(".")):
        raise UserError(f"{folder} already exists: choose a new folder")
    if pipeline.config.schedule_kind != _BETAS["beta_schedule"]:
        raise UserError(f"schedule {pipeline.config.schedule_kind!r} is not Stable Diffusion's")
    with atomic_write(folder) as unfinished:
        _write_folder(pipeline, unfinished)


def _write_folder(pipeline: TextToImage, folder: Path) -> None:
    from safetensors.torch import save_file

    config = pipeline.config
    for name, model, settings in (
        ("unet", pipeline.unet, _unet_settings(config)),
        ("vae", pipeline.vae, _vae_settings(pipeline)),
    ):
        (folder / name).mkdir(parents=True)
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / name / "diffusion_pytorch_model.safetensors", {"format": "pt"})
        _write_json(folder / name / "config.json", settings)
    pipeline.text_encoder.model.save_pretrained(folder / "text_encoder")
    clip_tokenizer().save_pretrained(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler" / "scheduler_config.json", _scheduler_settings(config))
    _write_json(folder / "model_index.json", _MODEL_INDEX)
    _write_json(folder / "tinyldm.json", {name: getattr(config, name) for name in _SAMPLING})


def _write_json(path: Path, settings: dict) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n")


def _unet_settings(config: DiffusionConfig) -> dict:
    unet = config.unet
    ways = {way: [f"{'CrossAttn' * attends}{way}Block2D" for attends in unet.attention] for way in ("Down", "Up")}
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": config.sample_size,
        "in_channels": unet.in_channels,
        "out_channels": unet.out_channels,
        "block_out_channels": unet.block_out_channels,
        "layers_per_block": unet.layers_per_block,
        "down_block_types": ways["Down"],
        "up_block_types": ways["Up"][::-1],
        "attention_head_dim": unet.num_heads,
        "cross_attention_dim": unet.context_dim,
        "norm_num_groups": unet.norm_num_groups,
    }


def _vae_settings(pipeline: TextToImage) -> dict:
    vae = pipeline.vae.config
    levels = len(vae.block_out_channels)
    return {
        "_class_name": "AutoencoderKL",
        "sample_size": pipeline.config.sample_size * vae.downsampling,
        "in_channels": vae.in_channels,
        "out_channels": vae.in_channels,
        "latent_channels": vae.latent_channels,
        "block_out_channels": vae.block_out_channels,
        "layers_per_block": vae.layers_per_block,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "norm_num_groups": vae.norm_num_groups,
        "scaling_factor": vae.scaling_factor,
    }


def _scheduler_settings(config: DiffusionConfig) -> dict:
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        **_BETAS,
        "clip_sample": False,
        "prediction_type": config.prediction_type,
        "rescale_betas_zero_snr": config.zero_terminal_snr,
        "timestep_spacing": config.spacing,
        "steps_offset": config.steps_offset
        if config.spacing == "leading"
        else 1,  # otherwise unused; diffusers expects 1
        "set_alpha_to_one": config.set_alpha_to_one,
    }


_MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "safety_checker": [None, None],
    "feature_extractor": [None, None],
    "requires_safety_checker": False,
}
