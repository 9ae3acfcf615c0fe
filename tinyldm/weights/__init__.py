"""What was trained: safetensors files that say in their metadata how they were made and what was measured.

A file holds tensors and text, nothing that could run. Numbers are stored in half precision and used in float32.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

SHIPPED = Path(__file__).resolve().parent


class WeightsError(ValueError):
    """A weights file that is missing, damaged or made for something else; the message says which and what to do."""


def save_weights(path: str | Path, state: dict[str, Tensor], settings, **record) -> None:
    """Write tensors with their settings (a dataclass) and whatever else is worth knowing, as JSON in the metadata.

    The file appears under its name only when it is complete.
    """
    from safetensors.torch import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {name: _half(value.detach().cpu()).contiguous() for name, value in state.items()}
    metadata = {"settings": json.dumps(asdict(settings)), **{key: json.dumps(value) for key, value in record.items()}}
    unfinished = path.with_name(path.name + ".unfinished")
    save_file(half, unfinished, metadata)
    unfinished.chmod(0o644)  # safetensors writes files that only their owner may read
    os.replace(unfinished, path)


def read_weights(name: str, folder: str | Path | None = None) -> tuple[dict[str, Tensor], dict]:
    """Tensors (float32) and metadata of ``folder/name.safetensors``; by default the folder shipped with the package.

    Raises:
        WeightsError: no such file, or not a whole safetensors file with settings.
    """
    from safetensors import SafetensorError, safe_open

    path = _path(name, folder)
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: train them with `tinyldm train`, or reinstall tinyldm")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {key: _float(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}): reinstall tinyldm or train it again") from error
    if "settings" not in metadata:
        raise WeightsError(f"{path} does not say its settings: it is not a tinyldm weights file")
    with fitting(name, folder):
        return state, {key: json.loads(value) for key, value in metadata.items()}


def load_into(model_class, config_class, name: str, folder: str | Path | None = None) -> nn.Module:
    """Build ``model_class(config_class(**settings))`` from a file and fill it; in evaluation mode, without gradients.

    Raises:
        WeightsError: as `read_weights`, or settings and tensors do not fit each other or the class.
    """
    state, metadata = read_weights(name, folder)
    with fitting(name, folder):
        config = config_class(**metadata["settings"])
        with torch.device("meta"):  # no first values: the file's tensors take their place
            model = model_class(config)
        model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


@contextmanager
def fitting(name: str, folder: str | Path | None = None) -> Iterator[None]:
    """What goes wrong in here, where a model is built from its file, is the file's fault: a WeightsError names it."""
    try:
        yield
    except Exception as error:  # of any kind, since any nonsense may stand in the settings
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{_path(name, folder)} does not match its settings ({reason})") from error


def _path(name: str, folder: str | Path | None) -> Path:
    return Path(folder or SHIPPED) / f"{name}.safetensors"


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
