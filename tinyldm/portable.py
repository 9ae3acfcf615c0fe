"""The machine as files that run without Python: four ONNX networks, and their settings as JSON.

Design choices
- Each network is a few lines around a module of ours, so that what is exported is what runs here.
- What else a program needs to draw with them (schedule, sampling, tokens, words, colours) is in ``model.json``.
- A tensor that half precision holds exactly, as it does every shipped one, is stored in it, and the graph makes float32
  of it: the files take half the space, and nothing is rounded.
- Of the token table only the trained rows are written; row 0, all zeros, stands for every other token.
- Each network is run and compared with its module before its file gets its name.

https://onnx.ai/onnx/intro
"""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tinyldm import UserError, __version__
from tinyldm.captions import caption_words
from tinyldm.measure import BACKGROUNDS, INKS
from tinyldm.pipeline import TextToImage
from tinyldm.text import END, MAX_TOKENS, START, TextEncoder
from tinyldm.unet import UNet
from tinyldm.vae import VAE
from tinyldm.weights import atomic_write, check_new, read_weights

FORMAT = 1
OPSET = 18  # of 2022: every runtime has it
TOLERANCE = 1e-4
NEEDED = ("onnx", "onnxscript", "onnxruntime")
SMALL = 64  # a tensor of fewer numbers is not worth a node that converts it


def save_onnx(pipeline: TextToImage, folder: str | Path, figures: dict[str, Any] | None = None) -> None:
    """Write ``text.onnx``, ``unet.onnx``, ``decoder.onnx``, ``encoder.onnx`` and ``model.json`` into a new folder.

    Every input and output has a batch axis of any size B, and is float32 or int64 (token rows, steps):

    - text: ``rows`` (B, 77) -> ``context`` (B, 77, width). Row i is the i-th of ``known_tokens`` in ``model.json``,
      counted from 1; row 0 is any other token.
    - unet: ``x`` (B, 4, 8, 8), ``t`` (B,), ``context`` -> ``prediction`` (B, 4, 8, 8) and ``attention``
      (B, layers, positions, 77), the weights of the coarsest cross-attentions, averaged over their heads.
    - decoder: ``latents`` (B, 4, 8, 8), scaled -> ``images`` (B, 3, 32, 32), about [-1, 1], not clamped.
    - encoder: ``images`` (B, 3, 32, 32) in [-1, 1] -> ``latents`` (B, 4, 8, 8), scaled, the mean of the posterior.

    Args:
        pipeline: the machine, on the CPU, in float32.
        folder: a new or empty one; it appears only once it is complete.
        figures: what was measured with this machine and by which command, to be shown beside it.

    Raises:
        UserError: if the folder exists and is not empty, cannot be written, or a package is missing that the export
            needs.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f"to write ONNX, install what is missing: pip install {' '.join(missing)}")
    with atomic_write(check_new(folder)) as unfinished:
        unfinished.mkdir()
        for network in _networks(pipeline):
            network.write(unfinished / f"{network.name}.onnx")
        sizes = {file.name: file.stat().st_size for file in sorted(unfinished.iterdir())}
        settings = {**model_settings(pipeline, figures), "files": sizes}
        (unfinished / "model.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")


def model_settings(pipeline: TextToImage, figures: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a program needs beside the networks, as it stands in ``model.json``, but for the files' sizes."""
    config, text = pipeline.config, pipeline.text_encoder
    words = caption_words()
    unknown = set(text.unknown_words(" ".join(words)))
    return {
        "format": FORMAT,
        "tinyldm": __version__,
        "prediction_type": config.prediction_type,
        "alphas_cumprod": pipeline.schedule.alphas_cumprod.tolist(),
        "sampler": config.sampler,
        "spacing": config.spacing,
        "steps_offset": config.steps_offset,
        "set_alpha_to_one": config.set_alpha_to_one,
        "steps": config.num_inference_steps,
        "guidance": config.guidance_scale,
        "guidance_below": config.guidance_below,
        "guidance_rescale": config.guidance_rescale,
        "sizes": _sizes(pipeline),
        "known_tokens": _known_tokens(text).tolist(),
        "start": START,
        "end": END,
        "words": [word for word in words if word not in unknown],
        "inks": INKS,
        "backgrounds": BACKGROUNDS,
        "figures": figures or {},
    }


def figures_of(models: str | Path | None = None) -> dict[str, Any]:
    """What was measured with the machine in a folder (default: the shipped one), and the command that did so."""
    record = read_weights("unet", models)[1]
    return {**record.get("measured", {}), "command": record.get("command")}


def _sizes(pipeline: TextToImage) -> dict[str, Any]:
    size, vae = pipeline.config.sample_size, pipeline.vae.config
    return {
        "latents": [vae.latent_channels, size, size],
        "image": [vae.in_channels, size * vae.downsampling, size * vae.downsampling],
        "tokens": MAX_TOKENS,
        "width": pipeline.text_encoder.config.hidden_size,
    }


# ---------------------------------------------------------------- the four networks


@dataclass
class _Network:
    """A module to export, with an example of each input under its name, and the names of its outputs."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]

    def write(self, file: Path) -> None:
        model = _plain(self._exported())
        _halve(model)
        file.write_bytes(model.SerializeToString(deterministic=True))
        self._compare(file)

    def _exported(self) -> Any:
        batch = torch.export.Dim("batch")
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):  # it speaks of its own progress and future
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                self.module.eval(),
                tuple(self.inputs.values()),
                dynamo=True,
                dynamic_shapes={name: {0: batch} for name in self.inputs},
                input_names=list(self.inputs),
                output_names=self.outputs,
                opset_version=OPSET,
                verbose=False,
            )
        assert program is not None
        return program.model_proto

    def _compare(self, file: Path) -> None:
        """Run the file once with another batch size than the export's."""
        import onnxruntime

        given = {name: value[:1] for name, value in self.inputs.items()}
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        found = session.run(self.outputs, {name: value.numpy() for name, value in given.items()})
        with torch.no_grad():
            expected = self.module(**given)
        for ours, theirs in zip(expected if isinstance(expected, tuple) else (expected,), found, strict=True):
            difference = (ours - torch.from_numpy(theirs)).abs().max().item()
            if not difference <= TOLERANCE * max(1.0, ours.abs().max().item()):
                raise RuntimeError(f"{file.name} differs from its module by {difference:.2g}: a fault of the exporter")


class _Text(nn.Module):
    """The text encoder with the trained rows of its table, and one of zeros before them."""

    def __init__(self, text: TextEncoder):
        super().__init__()
        self.encoder = copy.deepcopy(text)
        trained = text.table[_known_tokens(text)]
        rows = torch.cat([torch.zeros(1, trained.shape[1]), trained])
        embeddings = self.encoder.get_submodule("text_model.embeddings")
        embeddings.add_module("token_embedding", nn.Embedding.from_pretrained(rows))

    def forward(self, rows: Tensor) -> Tensor:
        return self.encoder(rows)


class _Predictor(nn.Module):
    """The UNet, and where each position looks in the text."""

    def __init__(self, unet: UNet):
        super().__init__()
        self.unet = unet

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        maps: list[Tensor] = []

        def record(layer: Any, inputs: Any) -> None:
            maps.append(layer.attention_map(*inputs).mean(1))  # (B, heads, N, 77) -> (B, N, 77)

        hooks = [layer.register_forward_pre_hook(record) for layer in self.unet.cross_attentions]
        prediction = self.unet(x, t, context)
        for hook in hooks:
            hook.remove()
        positions = min(weights.shape[1] for weights in maps)
        return prediction, torch.stack([weights for weights in maps if weights.shape[1] == positions], dim=1)


class _Decoder(nn.Module):
    def __init__(self, vae: VAE):
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents)


class _Encoder(nn.Module):
    def __init__(self, vae: VAE):
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor) -> Tensor:
        return self.vae.encode(images, sample=False)


def _networks(pipeline: TextToImage) -> list[_Network]:
    """The parts of a pipeline, with inputs of three rows: an export for one row would be for one row only."""
    sizes, generator = _sizes(pipeline), torch.Generator().manual_seed(0)

    def noise(*shape: int) -> Tensor:
        return torch.randn(3, *shape, generator=generator)

    known = len(_known_tokens(pipeline.text_encoder))
    rows = torch.randint(known + 1, (3, MAX_TOKENS), generator=generator)
    context = noise(MAX_TOKENS, sizes["width"])
    steps = torch.tensor([999, 500, 1])
    latents, images = noise(*sizes["latents"]), noise(*sizes["image"]).clamp(-1, 1)
    predictor = {"x": latents, "t": steps, "context": context}
    return [
        _Network("text", _Text(pipeline.text_encoder), {"rows": rows}, ("context",)),
        _Network("unet", _Predictor(pipeline.unet), predictor, ("prediction", "attention")),
        _Network("decoder", _Decoder(pipeline.vae), {"latents": latents}, ("images",)),
        _Network("encoder", _Encoder(pipeline.vae), {"images": images}, ("latents",)),
    ]


def _known_tokens(text: TextEncoder) -> Tensor:
    """Tokens that were trained, whose rows of the table are not zero, in ascending order."""
    return text.table.any(dim=1).nonzero()[:, 0]


# ---------------------------------------------------------------- the files


def _plain(model: Any) -> Any:
    """Without the exporter's notes on where each node comes from: they take space and name folders of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    graph.ClearField("value_info")
    return model


def _halve(model: Any) -> None:
    """Store tensors in half precision where that changes none of their numbers, and convert them when they are used."""
    from onnx import TensorProto, helper, numpy_helper

    conversions = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALL:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), values):
            continue
        name, stored = tensor.name, f"{tensor.name}.half"
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
        conversions.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*conversions, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
