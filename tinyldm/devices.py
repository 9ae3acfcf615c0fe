"""What the machine offers: which device to use, in which precision, and how long things may run on it."""

from __future__ import annotations

import contextlib
import operator
import os
import platform
import reprlib
from typing import Any, TypeVar

import torch
from torch import nn

from tinyldm import UserError

T = TypeVar("T")

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MIN_IN_BF16 = 8  # pictures; of fewer, casting the weights takes longer than bfloat16 saves


def best_device() -> torch.device:
    """An NVIDIA GPU (CUDA) if there is one, else Apple's (MPS), else the CPU; for each process of torchrun its own."""
    if torch.cuda.is_available():
        return (
            torch.device("cuda", int(os.environ["LOCAL_RANK"])) if "LOCAL_RANK" in os.environ else torch.device("cuda")
        )
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def device_named(name: str | torch.device | None) -> torch.device:
    """The device of that name ("cpu", "cuda", "cuda:1", "mps"); None is the best one.

    Raises:
        UserError: if there is no such device here.
    """
    if name is None:
        return best_device()
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()  # PyTorch knows the names of many devices that it cannot compute on
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:  # it depends on the name and the build
        here = " and ".join(dict.fromkeys(["cpu", best_device().type]))
        raise UserError(f"there is no device {str(name)!r} here, only {here}") from error
    return device


def device_of(module: nn.Module) -> torch.device:
    """The device that a module's parameters are on."""
    return next(module.parameters()).device


def best_precision(device: torch.device | None = None) -> str:
    """The fast precision of a device: "bf16" (GPUs since Ampere, CPUs with AVX512-BF16), "fp16" (older GPUs) or "no".

    "no", which is float32, on Apple's GPUs, where nothing was measured. The default is the `best_device`.
    """
    match (device or best_device()).type:
        case "cuda":
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        case "cpu":
            return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16") else "no"
    return "no"


def pictures_per_batch(device: torch.device) -> int:
    """How many small images to generate in one batch: too few would leave a GPU idle (Apple's was not tried)."""
    return 64 if device.type in ("cpu", "mps") else 1024


def checked_seed(seed: object) -> int:
    """A random seed as a Python int: a Python, numpy or torch integer in [0, 2^63).

    Raises:
        UserError: if it is anything else.
    """
    number = -1
    truth = isinstance(seed, bool) or str(getattr(seed, "dtype", "")).endswith("bool")  # numpy's and torch's, too
    if not truth and getattr(seed, "ndim", 0) == 0:
        with contextlib.suppress(TypeError):
            number = operator.index(seed)  # type: ignore[arg-type]
    if not 0 <= number < 2**63:
        raise UserError(f"seed must be an integer between 0 and 2^63 - 1, not {reprlib.repr(seed)}")
    return number


def seeded_generator(seed: int | None) -> torch.Generator:
    """A new generator; None seeds it from the operating system.

    It lives on the CPU, whatever device computes: the same seed draws the same noise for all of them.

    Raises:
        UserError: if the seed is not an integer in [0, 2^63).
    """
    generator = torch.Generator("cpu")
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(checked_seed(seed))
    return generator


def generator_from(seed: int | None, generator: torch.Generator | None) -> torch.Generator:
    """The generator that was given, or else a new one with this seed.

    Raises:
        UserError: if both are given, or one of them is not what it should be.
    """
    if generator is None:
        return seeded_generator(seed)
    if seed is not None:
        raise UserError("give a seed or a generator, not both")
    if not isinstance(generator, torch.Generator):
        raise UserError(f"generator must be a torch.Generator, not {reprlib.repr(generator)}")
    return generator


def checked_precision(name: str | None) -> str | None:
    """One of `PRECISIONS`, or None, which leaves the choice to the program.

    Raises:
        UserError: if it is anything else.
    """
    if name is None or (isinstance(name, str) and name in PRECISIONS):
        return name
    raise UserError(f"precision must be one of {', '.join(PRECISIONS)}, not {reprlib.repr(name)}")


def autocast(
    precision: str | None = None, device: torch.device | None = None, pictures: int = MIN_IN_BF16
) -> contextlib.AbstractContextManager[Any]:
    """Let the networks inside compute in a precision; for work outside `training.train`.

    Args:
        precision: one of `PRECISIONS`. None is bfloat16 where the hardware is fast at it and there are pictures enough
            to make up for casting the weights; else what is around it stays, usually float32.
        device: where they compute; by default the `best_device`.
        pictures: how many at once.
    """
    device = device or best_device()
    if precision is None:
        if pictures < MIN_IN_BF16 or best_precision(device) != "bf16":
            return contextlib.nullcontext()
        precision = "bf16"
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32")


def describe_hardware() -> str:
    """The GPU's name, or the number of processes and threads on the CPU; for the metadata of a weights file."""
    if best_device().type == "cuda":
        return torch.cuda.get_device_name()
    if best_device().type == "mps":
        return f"Apple GPU ({platform.processor()}, macOS {platform.mac_ver()[0]})"
    processes, threads = int(os.environ.get("WORLD_SIZE") or 1), torch.get_num_threads()
    return f"CPU, {processes} process{'es' * (processes > 1)} of {threads} thread{'s' * (threads > 1)}"


def budget(*, fast: T, cpu: T, gpu: T) -> T:
    """How long something may run: the value for checks, for people without a GPU, or for people with one.

    The environment variable TINYLDM_PROFILE ("fast", "cpu" or "gpu") decides; without it, whether there is an NVIDIA
    GPU: how long things take on Apple's was never measured.

    Raises:
        UserError: if TINYLDM_PROFILE is anything else.
    """
    values = {"fast": fast, "cpu": cpu, "gpu": gpu}
    profile = os.environ.get("TINYLDM_PROFILE") or ("gpu" if best_device().type == "cuda" else "cpu")
    if profile not in values:
        raise UserError(f"TINYLDM_PROFILE must be one of {', '.join(values)}, not {profile!r}")
    return values[profile]
