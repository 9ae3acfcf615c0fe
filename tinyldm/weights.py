"""Weights files: safetensors whose metadata says how they were made and what was measured.

Design choices
- A file holds tensors and text, nothing executable. Numbers are stored in half precision and used in float32.
- A file under its final name is complete: the package writes all its files through `atomic_write`.
- The shipped files are in ``pretrained/``, which holds data only.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tinyldm import UserError

SHIPPED = Path(__file__).resolve().parent / "pretrained"
MAX_SIZE = 2**16  # no size in a settings file is larger; a typing error must not fill the memory
MAX_DEPTH = 100  # and nothing has more layers
ABANDONED_AFTER = 3600  # seconds; no file of ours takes an hour to write, on whatever machine

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
    folder = path.with_name(f".{path.name}.{_this_machine()}.{os.getpid()}.unfinished")
    unfinished = folder / path.name  # with room beside it: safetensors writes to a temporary file first
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(folder)  # of a process that had the same number, as the first in a container always has
        for other in path.parent.glob(f".{_literally(path.name)}.*.unfinished"):
            with suppress(FileNotFoundError):  # another process may be clearing it away, too
                if _is_abandoned(other):
                    _remove(other)
        folder.mkdir()
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
        _remove(folder)


def _this_machine() -> str:
    return platform.node().replace(".", "-")


def _is_abandoned(unfinished: Path) -> bool:
    """Whether the process that was writing it is gone; of another machine's, only its age can tell."""
    import psutil

    *_, node, number, _ = unfinished.name.split(".")
    if node == _this_machine() and number.isdigit():
        return not psutil.pid_exists(int(number))
    return time.time() - unfinished.stat().st_mtime > ABANDONED_AFTER


def check_writable(path: str | Path, megabytes: float = 1) -> Path:
    """The path, if something of that size could be written to it; to be asked before the work begins.

    Raises:
        UserError: if not; the message says why.
    """
    absolute = Path(path).absolute()
    nearest = next(parent for parent in [absolute, *absolute.parents] if os.path.exists(parent))
    folder = nearest.parent if nearest == absolute and nearest.is_file() else nearest
    try:
        with tempfile.TemporaryFile(dir=folder):  # asks the system, which knows about read-only disks and owners
            free = shutil.disk_usage(folder).free / 1e6
    except OSError as error:
        raise UserError(f"cannot write {path}: {folder} is not a writable folder ({error.strerror})") from error
    if free < megabytes:
        raise UserError(f"cannot write {path}: {free:.0f} MB are free on its disk, {megabytes:.0f} are needed")
    return Path(path)


def check_new(folder: str | Path) -> Path:
    """The folder, if it is not there yet or empty, and not the one that is worked in.

    Raises:
        UserError: otherwise.
    """
    path = Path(folder)
    if path.exists() and (not path.is_dir() or any(path.iterdir()) or path.samefile(".")):
        raise UserError(f"{folder} already exists: choose a new folder")
    return path


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
    """Remove a file or folder if that is there and can be."""
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


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
    metadata["sha256"] = json.dumps(checksum(half, metadata["settings"]))
    with atomic_write(path) as unfinished:
        save_file(half, unfinished, metadata)


def checksum(state: dict[str, Tensor], settings: str) -> str:
    """SHA-256 of settings and tensors: names, types, shapes and values."""
    total = hashlib.sha256(settings.encode())
    for name in sorted(state):
        value = state[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


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
    path = weights_path(name, folder)
    state, metadata = read_tensors(path, ": train it with `tinyldm train`, or reinstall tinyldm")
    if "settings" not in metadata:
        raise WeightsError(f"{path} does not state its settings: it is not a tinyldm weights file")
    with blaming(path):
        record = {key: json.loads(value) for key, value in metadata.items()}
    found = checksum(state, metadata["settings"])
    if record.pop("sha256", found) != found:
        raise WeightsError(f"{path} is damaged (wrong checksum): train it with `tinyldm train`, or reinstall tinyldm")
    with blaming(path):
        return {key: _float(value) for key, value in state.items()}, record


def read_tensors(path: Path, cure: str = "") -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a safetensors file, as they are stored, and its metadata.

    Raises:
        WeightsError: if it is missing, unreadable or damaged; the message ends with ``cure``.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():
            raise WeightsError(f"no weights at {path}{cure}")
        with path.open("rb"):  # says why it cannot be opened; safetensors says that it is not there
            pass
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except PermissionError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged, or no safetensors file ({error}){cure}") from error


def check_settings(config: Any) -> None:
    """Refuse settings, of a file, that are of another kind than their defaults, or would fill the memory.

    Raises:
        ValueError: with the name of the setting.
    """
    for setting in fields(config):
        value, usual = getattr(config, setting.name), getattr(type(config)(), setting.name)
        if is_dataclass(value):
            check_settings(value)
        elif value is None and "None" in str(setting.type):
            continue
        elif not _is_like(value, usual) or ("layers" in setting.name and value > MAX_DEPTH):
            raise ValueError(f"{setting.name} is {value!r:.80}; it is usually {usual}")


def _is_like(value: Any, usual: Any) -> bool:
    """Whether a setting is of the same kind as the usual one and no larger than any real one."""
    if isinstance(usual, tuple):
        return isinstance(value, list | tuple) and len(value) <= MAX_DEPTH and all(_is_like(v, usual[0]) for v in value)
    if isinstance(usual, bool | str):
        return type(value) is type(usual)
    return type(value) in (int, type(usual)) and 0 <= value <= MAX_SIZE


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
        check_settings(config)
        with without_first_values():
            model = model_class(config)
        load: Callable[..., Any] = getattr(model, "load_weights", partial(model.load_state_dict, assign=True))
        load(state)
    return model.eval().requires_grad_(False)


class without_first_values(TorchFunctionMode):
    """Within this context new layers keep whatever is in their memory, since a file's tensors will take its place.

    Building on the "meta" device would do the same, but makes torch import its compiler: a second, and 200 MB.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        fills = func.__name__ in ("normal_", "uniform_", "zero_", "fill_", "kaiming_uniform_")
        return [*args, *kwargs.values()][0] if fills else func(*args, **kwargs)


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Blame the file for whatever goes wrong in here, where a model is built from it, in a WeightsError."""
    try:
        yield
    except (ImportError, MemoryError, WeightsError):
        raise  # not the file's fault, or said already
    except Exception as error:  # of any kind, since the settings may contain any nonsense
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(f"{path} does not match its settings ({reason})") from error


def _float(tensor: Tensor) -> Tensor:
    if tensor.is_complex():
        raise ValueError("complex numbers")
    return tensor.float() if tensor.is_floating_point() else tensor


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor
