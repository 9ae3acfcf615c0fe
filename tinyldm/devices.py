"""What the machine offers: which device to use, in which precision, and how long things may run on it."""

from __future__ import annotations

import os
from typing import TypeVar

import torch
from torch import nn

from tinyldm import UserError

T = TypeVar("T")


def best_device() -> torch.device:
    """A GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(module: nn.Module) -> torch.device:
    """The device that a module's parameters are on."""
    return next(module.parameters()).device


def best_precision() -> str:
    """The fast precision here: "bf16" (GPUs since Ampere, CPUs with AVX512-BF16), "fp16" (older GPUs) or "no"."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16") else "no"


def pictures_per_batch(device: torch.device) -> int:
    """How many small images to generate in one batch; too few would leave a GPU idle."""
    return 64 if device.type == "cpu" else 1024


def seeded_generator(seed: int | None, device: torch.device) -> torch.Generator:
    """A new generator on ``device``; None seeds it from the operating system.

    Raises:
        UserError: if the seed is not in [0, 2^63).
    """
    if seed is not None and not 0 <= seed < 2**63:
        raise UserError(f"seed must be between 0 and 2^63 - 1, not {seed}")
    generator = torch.Generator(device)
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def autocast() -> torch.autocast:
    """Compute in bfloat16 where the hardware is fast at it; for work outside `training.train`."""
    return torch.autocast(best_device().type, torch.bfloat16, enabled=best_precision() == "bf16")


def describe_hardware() -> str:
    """The GPU's name, or the number of processes and threads on the CPU; for the metadata of a weights file."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    processes, threads = int(os.environ.get("WORLD_SIZE", 1)), torch.get_num_threads()
    return f"CPU, {processes} process{'es' * (processes > 1)} of {threads} thread{'s' * (threads > 1)}"


def budget(*, fast: T, cpu: T, gpu: T) -> T:
    """How long something may run: the value for checks, for people without a GPU, or for people with one.

    The environment variable TINYLDM_PROFILE ("fast", "cpu" or "gpu") decides; without it, whether there is a GPU.

    Raises:
        UserError: if TINYLDM_PROFILE is anything else.
    """
    values = {"fast": fast, "cpu": cpu, "gpu": gpu}
    profile = os.environ.get("TINYLDM_PROFILE") or ("gpu" if best_device().type == "cuda" else "cpu")
    if profile not in values:
        raise UserError(f"TINYLDM_PROFILE must be one of {', '.join(values)}, not {profile!r}")
    return values[profile]
