"""Weights files: safetensors whose metadata says how they were made and what was measured.

Design choices
- A file holds tensors and text, nothing executable. Numbers are stored in half precision and used in float32.
- A file under its final name is complete: the package writes all its files through `atomic_write`.
- The shipped files are in ``pretrained/``, which holds data only.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tinyldm import UserError

SHIPPED = Path(__file__).resolve().parent / "pretrained"
ABANDONED_AFTER = 3600  # seconds; no file of ours takes an hour to write

Model = TypeVar("Model", bound=nn.Module)


class WeightsError(UserError):
    """A weights file that is missing, damaged or made for something else; the message says which and what to do."""


# ---------------------------------------------------------------- writing


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Write a file or folder to the path that this yields; ``path`` appears only once it is complete.

    On any failure, Ctrl-C included, nothing is left behind, and what was at ``path`` stays as it was.

    >>> with atomic_write("picture.png") as unfinished:
    ...     image.save(unfinished, "PNG")

    Raises:
        UserError: if it cannot be written; the message says why.
    """
    from safetensors import SafetensorError

    name, path = path, Path(path).absolute()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in path.parent.glob(f".{_literally(path.name)}.*.unfinished"):  # by a killed process
            with suppress(FileNotFoundError):  # another process may be clearing it away, too
                if time.time() - abandoned.stat().st_mtime > ABANDONED_AFTER:
                    _remove(abandoned)
        yield unfinished
        _settle(unfinished)
        if unfinished.is_dir() and path.is_dir():
            path.rmdir()  # an empty folder makes room for a full one
        os.replace(unfinished, path)
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and isinstance(error.filename, str):
            about = Path(error.filename).absolute()
            if about not in path.parents and path.parent not in about.parents:
                raise  # about a file elsewhere, not about this one
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f"cannot write {name}: {reason}") from error
    finally:
        _remove(unfinished)


def _settle(path: Path) -> None:
    """Give every file the usual permissions, and wait until it is on the disk."""
    umask = os.umask(0o077)
    os.umask(umask)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            file.chmod(0o666 & ~umask)  # safetensors makes files that only their owner may read
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _literally(name: str) -> str:
    """A file name as a glob pattern that matches nothing else."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def save_weights(path: str | Path, state: dict[str, Tensor], settings: Any, **record: Any) -> None:
    """Write tensors with their settings (a dataclass) and whatever else is worth knowing, as JSON in the metadata.

    Raises:
        UserError: if the file cannot be written.
    """
    from safetensors.torch import save_file

    half = {name: _half(value.detach().cpu()).contiguous() for name, value in state.items()}
    metadata = {"settings": json.dumps(asdict(settings)), **{key: json.dumps(value) for key, value in record.items()}}
    with atomic_write(path) as unfinished:
        save_file(half, unfinished, metadata)


def state_to_save(model: nn.Module) -> dict[str, Tensor]:
    """What belongs in a model's weights file: its ``weights()`` if it has such a method, else its state dict."""
    weights: Callable[[], dict[str, Tensor]] = getattr(model, "weights", model.state_dict)
    return weights()


# ---------------------------------------------------------------- reading


def weights_path(name: str, folder: str | Path | None = None) -> Path:
    """The path of the file of that name: in ``folder``, or among the shipped ones."""
    return Path(folder or SHIPPED) / f"{name}.safetensors"


def read_weights(name: str, folder: str | Path | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (float32) and metadata of ``folder/name.safetensors``; by default of a shipped file.

    Raises:
        WeightsError: if there is no such file, or it is not a complete safetensors file with settings.
    """
    from safetensors import SafetensorError, safe_open

    path = weights_path(name, folder)
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: train them with `tinyldm train`, or reinstall tinyldm")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {key: _float(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}): reinstall tinyldm or train it again") from error
    if "settings" not in metadata:
        raise WeightsError(f"{path} does not state its settings: it is not a tinyldm weights file")
    with blaming(path):
        return state, {key: json.loads(value) for key, value in metadata.items()}


def load_into(
    model_class: Callable[[Any], Model], config_class: Callable[..., Any], name: str, folder: str | Path | None = None
) -> Model:
    """Build ``model_class(config_class(**settings))`` from a file and fill it; in evaluation mode, without gradients.

    A model whose file uses other names than its state dict has a method ``load_weights(state)``.

    Raises:
        WeightsError: as for `read_weights`, or if settings and tensors do not fit each other or the class.
    """
    state, metadata = read_weights(name, folder)
    with blaming(weights_path(name, folder)):
        config = config_class(**metadata["settings"])
        with torch.device("meta"):  # no initial values: the file's tensors take their place
            model = model_class(config)
        load: Callable[..., Any] = getattr(model, "load_weights", partial(model.load_state_dict, assign=True))
        load(state)
    return model.eval().requires_grad_(False)


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Blame the file for whatever goes wrong in here, where a model is built from it, in a WeightsError."""
    try:
        yield
    except (ImportError, MemoryError):
        raise  # not the file's fault
    except Exception as error:  # of any kind, since the settings may contain any nonsense
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path} does not match its settings ({reason})") from error


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
