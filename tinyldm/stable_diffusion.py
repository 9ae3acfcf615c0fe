"""The bridge to Stable Diffusion 1.x: its settings and its files, for the very classes that the course has built.

Design choices
- A file either fits exactly or is refused: a missing, unexpected or wrongly shaped tensor is named, and so is a file of
  another kind. Only tensors that are known to be leftovers of training and merging are ignored.
- Only safetensors are read. A ``.ckpt`` or ``.bin`` is a pickle, which can run arbitrary code when it is opened;
  `convert_pickle` reads it without running any.
- What is written has the published layout, so that old and new programs open it.

Rombach et al. 2022; https://github.com/CompVis/stable-diffusion and https://github.com/huggingface/diffusers.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tinyldm import UserError
from tinyldm.captions import shorten
from tinyldm.devices import device_named
from tinyldm.diffusion import DiffusionConfig
from tinyldm.pipeline import TextToImage
from tinyldm.published import (
    OWN_KEY,
    OWN_SETTINGS,
    SCHEDULES,
    compvis_unet_name,
    compvis_vae_name,
    diffusion_config,
    read_json,
    refuse_other_files,
    refuse_other_folders,
    text_config,
    vae_config,
)
from tinyldm.schedule import ENDS
from tinyldm.text import (
    END,
    MAX_TOKENS,
    SPECIAL,
    START,
    VOCABULARY_SIZE,
    TextConfig,
    TextEncoder,
    clip_merges,
    clip_vocabulary,
)
from tinyldm.unet import UNet, UNetConfig
from tinyldm.vae import VAE, VAEConfig
from tinyldm.weights import (
    WeightsError,
    atomic_write,
    blaming,
    check_new,
    check_settings,
    read_tensors,
    without_first_values,
)

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
    return {"unet": pipeline.unet, "vae": pipeline.vae, "text_encoder": pipeline.text_encoder}


# ---------------------------------------------------------------- loading

# Tensors that belong to no model: of training (noise schedule, average, losses), of merging, of the other half of CLIP.
_LEFTOVERS = re.compile(
    r"(.*\.)?(model_ema|loss|optimizer|vision_model|visual_projection|embedding_manager)\."
    r"|(.*\.)?(position_ids|logit_scale|logvar|scale_factor|global_step|text_projection(\.weight)?)$"
    r"|(.*\.)?(alphas|betas|sqrt_|log_one_minus|posterior_|lvlb_)[^.]*$"
)
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # the 2022 autoencoder's
_CLIP = "cond_stage_model.transformer."
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")


def load_stable_diffusion(
    path: str | Path, device: str | torch.device | None = None, dtype: torch.dtype | None = None
) -> TextToImage:
    """Stable Diffusion 1.x, or what `save_diffusers` and `save_compvis` wrote, as the course's own pipeline.

    Where a folder asks for something that is done in another way here, such as a sampler, a warning says so.

    Args:
        path: a folder in diffusers' layout, or one ``.safetensors`` file in CompVis' layout; a ``.yaml`` of the same
            name beside it may say that it predicts v (``parameterization: "v"``).
        device: by default a GPU if there is one.
        dtype: by default float16 on a CUDA GPU (so that it fits into 16 GB) and float32 elsewhere.

    Raises:
        WeightsError: if a part is missing, is not safetensors, or does not fit, or if it is another kind of model; the
            message names file and tensor or setting.
    """
    path = Path(path)
    device = device_named(device)
    dtype = dtype or (torch.float16 if device.type == "cuda" else torch.float32)
    try:
        pipeline, tensors = _from_folder(path) if path.is_dir() else _from_file(path)
    except OSError as error:  # of a folder that may not be opened
        raise WeightsError(f"cannot read {error.filename or path}: {error.strerror}") from error
    for name, model in _modules(pipeline).items():
        with blaming(path):
            _fill(model, tensors[name], f"{path}: {name}", dtype)
        model.to(device).eval().requires_grad_(False)
    return pipeline


def _from_file(path: Path) -> tuple[TextToImage, dict[str, dict[str, Tensor]]]:
    everything, metadata = _read(path)
    refuse_other_files(path, everything)
    everything = {_with_prefix(name): value for name, value in everything.items()}
    with blaming(path):
        settings = json.loads(metadata.get("tinyldm", "{}"))
        pipeline = _empty(
            DiffusionConfig(**settings["diffusion"]) if settings else _sd1_beside(path),
            VAEConfig(**settings["vae"]) if settings else SD1_VAE,
            TextConfig(**settings["text"]) if settings else SD1_TEXT,
        )
    tensors = {}
    for part, names in _compvis_names(pipeline).items():
        tensors[part] = {ours: everything.pop(theirs) for ours, theirs in names.items() if theirs in everything}
        missing = next((theirs for ours, theirs in names.items() if ours not in tensors[part]), None)
        if part != "unet" and not tensors[part]:
            name = "autoencoder (VAE)" if part == "vae" else "text encoder"
            raise WeightsError(f"{path} has no {name}: get a version of the model that has all three parts")
        if missing:
            raise WeightsError(f"{path}: no tensor {missing}; is it a Stable Diffusion 1.x checkpoint?")
    left = next((name for name in everything if not _LEFTOVERS.match(name)), None)
    if left:
        raise WeightsError(f"{path}: tensor {shorten(left, 200)} has no place in Stable Diffusion 1.x")
    return pipeline, tensors


def _sd1_beside(path: Path) -> DiffusionConfig:
    """Stable Diffusion 1.x, predicting v if the .yaml of the same name says so, as AUTOMATIC1111's web UI has it."""
    beside = path.with_suffix(".yaml")
    text = beside.read_text("utf-8", "replace") if beside.is_file() else ""
    predicts_v = re.search(r"""^[ \t]*parameterization:[ \t]*["']?v["']?[ \t\r]*(#|$)""", text, re.MULTILINE)
    return replace(SD1, prediction_type="v_prediction") if predicts_v else SD1


def _with_prefix(name: str) -> str:
    """The text encoder's names, which some files (NovelAI's) have without ``text_model.``."""
    rest = name.removeprefix(_CLIP)
    inside = name.startswith(_CLIP) and rest.startswith(("embeddings.", "encoder.", "final_layer_norm."))
    return f"{_CLIP}text_model.{rest}" if inside else name


def _from_folder(path: Path) -> tuple[TextToImage, dict[str, dict[str, Tensor]]]:
    refuse_other_folders(path)
    config, vae, text = diffusion_config(path, SD1), vae_config(path), text_config(path)
    with blaming(path):
        pipeline = _empty(config, vae, text)
    tensors = {name: _read_part(path / name) for name in _modules(pipeline)}
    for old, new in _OLD_ATTENTION.items():
        tensors["vae"] = {re.sub(rf"\.{old}\.", f".{new}.", name): value for name, value in tensors["vae"].items()}
    tensors["text_encoder"] = {  # some versions of transformers leave the prefix out
        f"text_model.{name.removeprefix('text_model.')}": value
        for name, value in tensors["text_encoder"].items()
        if not _LEFTOVERS.match(name)
    }
    return pipeline, tensors


def _empty(config: DiffusionConfig, vae: VAEConfig, text: TextConfig) -> TextToImage:
    for settings in (config, vae, text):
        check_settings(settings)
    with without_first_values():
        return TextToImage(VAE(vae), TextEncoder(text), UNet(config.unet), config)


def _fill(model: nn.Module, tensors: dict[str, Tensor], source: str, dtype: torch.dtype) -> None:
    tensors = {name: value for name, value in tensors.items() if not _LEFTOVERS.match(name)}
    wanted = model.state_dict()
    if missing := next((name for name in wanted if name not in tensors), None):
        raise WeightsError(f"{source} has no tensor {missing} of shape {tuple(wanted[missing].shape)}")
    if left := next((name for name in tensors if name not in wanted), None):
        raise WeightsError(f"{source} has a tensor {shorten(left, 200)} that belongs nowhere")
    for name, value in tensors.items():
        shape = wanted[name].shape
        if {value.ndim, len(shape)} == {2, 4} and value.numel() == shape.numel() and value.shape[:2] == shape[:2]:
            value = tensors[name] = value.reshape(shape)  # a linear layer is a 1x1 convolution
        if value.shape != shape:
            raise WeightsError(f"{source}: tensor {name} has shape {tuple(value.shape)} instead of {tuple(shape)}")
        if not value.is_floating_point():
            raise WeightsError(f"{source}: tensor {name} is {value.dtype}; only floating point is read")
    model.load_state_dict({name: value.to(dtype) for name, value in tensors.items()}, assign=True)


def _read_part(folder: Path) -> dict[str, Tensor]:
    """All tensors of a part of a folder: of one file, or of several with an index."""
    tensors: dict[str, Tensor] = {}
    for path in _weights_of(folder):
        tensors |= _read(path)[0]
    return tensors


def _weights_of(folder: Path) -> list[Path]:
    """The safetensors of a part; of several versions, the plain one, then half precision."""
    files = sorted(folder.glob("*.safetensors"))
    for ending in (".safetensors", ".fp16.safetensors"):
        for name in ("diffusion_pytorch_model", "model", "pytorch_model"):
            if (whole := folder / f"{name}{ending}") in files:
                return [whole]
    for index in sorted(folder.glob("*.safetensors.index*.json"), key=lambda path: len(path.name)):
        shards = read_json(index).get("weight_map")
        names = shards.values() if isinstance(shards, dict) else [None]
        if not all(isinstance(name, str) and Path(name).name == name and name.isprintable() for name in names):
            raise WeightsError(f"{index}: weight_map must give the file in this folder for each tensor")
        return [folder / name for name in sorted(set(names))]
    shards_alone = [path for path in files if re.search(r"-\d{5}-of-\d{5}\.safetensors$", path.name)]
    if shards_alone or len(files) == 1:
        return shards_alone or files
    if len(files) > 1:
        raise WeightsError(f"{folder} has {' and '.join(path.name for path in files)}: remove all but one")
    for pickle in sorted(path for path in folder.glob("*") if path.suffix in _PICKLES):
        return [pickle]
    if next(folder.glob("*.msgpack"), None):
        raise WeightsError(f"{folder} has weights for Flax only; the same model is published for PyTorch, too")
    return [folder / "diffusion_pytorch_model.safetensors"]


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, and its metadata; other kinds of file get advice."""
    with suppress(OSError):  # `read_tensors` says why it cannot be opened
        if path.is_file():  # a pipe would never end
            with path.open("rb") as opened:
                _check_kind(path, opened.read(20))
    tensors, metadata = read_tensors(path)
    return {_plain(name): value for name, value in tensors.items()}, metadata


def _check_kind(path: Path, start: bytes) -> None:
    """Refuse what is often found in the place of a safetensors file, whatever its name; ``start`` is how it begins."""
    if start.startswith((b"PK\3\4", b"\x80\2")) and start[8:9] != b"{":  # where a safetensors file's names begin
        raise WeightsError(
            f"{path} is a pickle, which can run code when it is opened: `tinyldm convert {path}` makes a "
            "safetensors file of it without running any"
        )
    if start.startswith(b"version https://git"):
        raise WeightsError(f"{path} only stands for a file that Git LFS has: get it with `git lfs pull` in its folder")
    if start.lstrip().startswith(b"<"):
        raise WeightsError(f"{path} is a web page, not weights: download the file again")


def _plain(name: str) -> str:
    """A tensor's name without what wrappers put in front (`torch.compile`, `DataParallel`)."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def convert_pickle(path: str | Path, out: str | Path | None = None) -> Path:
    """Copy the tensors of a ``.ckpt`` or ``.bin`` into a safetensors file, running no code from it.

    PyTorch builds only tensors and plain containers from it; objects of other classes, as a trainer's own, are replaced
    by empty ones.

    Args:
        path: what ``torch.save`` wrote: a dictionary of tensors, or one that has it under "state_dict".
        out: by default the same name, ending in .safetensors (or -converted.safetensors, if it ended so already).

    Returns:
        The path of the new file.

    Raises:
        WeightsError: if it cannot be read, or has no tensors by name.
        UserError: if the new file exists already, or cannot be written.
    """
    from safetensors.torch import save_file

    path = Path(path)
    if out is None:
        named = path.suffix == ".safetensors"  # as some pickles are, too
        out = path.with_name(f"{path.stem}{'-converted' * named}.safetensors")
    out = Path(out)
    if out.exists():
        raise UserError(f"{out} already exists: remove it, or choose another name")
    try:
        with path.open("rb") as file, torch.serialization.safe_globals(_stand_ins(path)):
            content = torch.load(file, map_location="cpu", weights_only=True)  # a file: its name may mislead
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # of any kind, depending on what is in the file
        raise WeightsError(f"{path} is not a readable checkpoint ({' '.join(str(error).split())[:200]})") from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} has no tensors by name")
    with atomic_write(out) as unfinished:  # cloned: safetensors refuses tensors that share their memory
        save_file({name: value.detach().clone().contiguous() for name, value in tensors.items()}, unfinished)
    return out


class _StandIn:
    """Takes the place of an object of a class that a checkpoint names."""

    def __setstate__(self, state: Any) -> None:
        pass


def _stand_ins(path: Path) -> list[Any]:
    """For each class that a checkpoint names and PyTorch does not trust, a harmless one."""
    try:
        with path.open("rb") as file:
            names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except Exception:  # of an older format, or no checkpoint at all: loading it says more
        return []
    return [(type(name, (_StandIn,), {}), name) for name in names]


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
        UserError: if the folder exists and is not empty, or diffusers cannot have this noise schedule or spacing.
    """
    folder = check_new(folder)
    if pipeline.config.schedule_kind not in SCHEDULES.values():
        raise UserError(f"diffusers has no schedule {pipeline.config.schedule_kind!r}")
    if pipeline.config.spacing == "leading" and pipeline.config.steps_offset != 1:
        raise UserError(f"diffusers' steps_offset is always 1, not {pipeline.config.steps_offset}")
    with atomic_write(folder) as unfinished:
        _write_folder(pipeline, unfinished)


def _write_folder(pipeline: TextToImage, folder: Path) -> None:
    from safetensors.torch import save_file

    config = pipeline.config
    for name, file, settings in (
        ("unet", "diffusion_pytorch_model", _unet_settings(config)),
        ("vae", "diffusion_pytorch_model", _vae_settings(pipeline)),
        ("text_encoder", "model", _text_settings(pipeline.text_encoder.config)),
    ):
        (folder / name).mkdir(parents=True)
        model = _modules(pipeline)[name]
        state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / name / f"{file}.safetensors", {"format": "pt"})
        _write_json(folder / name / "config.json", settings)
    _write_tokenizer(folder / "tokenizer")
    (folder / "scheduler").mkdir()
    _write_json(folder / "scheduler" / "scheduler_config.json", _scheduler_settings(config))
    text_class = _text_settings(pipeline.text_encoder.config)["architectures"][0]
    _write_json(folder / "model_index.json", _MODEL_INDEX | {"text_encoder": ["transformers", text_class]})


def _write_json(path: Path, settings: dict) -> None:
    path.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def _write_tokenizer(folder: Path) -> None:
    """CLIP's vocabulary in the files that every version of transformers reads."""
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(clip_vocabulary(), ensure_ascii=False), "utf-8")
    merges = "\n".join(["#version: 0.2", *map(" ".join, clip_merges())])
    (folder / "merges.txt").write_text(merges + "\n", "utf-8")
    start, end = SPECIAL
    names = {"bos_token": start, "eos_token": end, "unk_token": end, "pad_token": end}
    _write_json(folder / "special_tokens_map.json", names)
    more = {"model_max_length": MAX_TOKENS, "do_lower_case": True, "errors": "replace", "add_prefix_space": False}
    _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", **more, **names})


def _text_settings(config: TextConfig) -> dict[str, Any]:
    settings = asdict(config)
    suffix = "WithProjection" * settings.pop("with_projection")
    return {
        "architectures": [f"CLIPTextModel{suffix}"],
        "model_type": "clip_text_model",
        "vocab_size": VOCABULARY_SIZE,
        "max_position_embeddings": MAX_TOKENS,
        "bos_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END,
        "attention_dropout": 0.0,
        "torch_dtype": "float32",
        **settings,
    }


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
    start, end = ENDS.get(config.schedule_kind, ENDS["scaled_linear"])  # cosine has none, and diffusers ignores them
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        "beta_schedule": next(theirs for theirs, ours in SCHEDULES.items() if ours == config.schedule_kind),
        "beta_start": start,
        "beta_end": end,
        "clip_sample": False,
        "prediction_type": config.prediction_type,
        "rescale_betas_zero_snr": config.zero_terminal_snr,
        "timestep_spacing": config.spacing,
        "steps_offset": 1,  # what diffusers' pipelines insist on; only "leading" uses it
        "set_alpha_to_one": config.set_alpha_to_one,
        OWN_KEY: {name: getattr(config, name) for name in OWN_SETTINGS},
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
