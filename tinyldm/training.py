"""The training loop, the same one for every model of the course.

Design choices
- The loop is a generator: it yields one small record a step, and the caller plots, stops or draws a progress bar.
- Everything random in step n follows from (seed, n, process) alone. A run that was killed therefore goes on from its
  last checkpoint exactly as if it had never stopped, without any generator's state being saved.
- Devices, mixed precision and many processes are accelerate's business, the moving average is torch's.
"""

from __future__ import annotations

import atexit
import itertools
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

LossFunction = Callable[[nn.Module, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class TrainSettings:
    """How to train. The learning rate rises for ``warmup`` steps, then falls to zero along a cosine.

    It does so once, or anew from each of the steps in ``restarts``: that is how a training which turned out too short
    goes on (warm restarts, Loshchilov & Hutter 2017, eq. 5), from the averaged model and with a fresh optimizer.
    """

    steps: int
    batch_size: int = 128  # over all processes together
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    max_grad_norm: float = 1.0
    seed: int = 0
    restarts: tuple[int, ...] = ()

    def __post_init__(self):
        for name in ("steps", "batch_size", "learning_rate"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, not {getattr(self, name)}")


@dataclass(frozen=True)
class TrainStep:
    """What the loop yields after step ``index`` (0-based).

    ``loss`` is the mean over all processes, ``seconds`` counts from the first step (also over a resume), ``ema`` is the
    averaged model, ``is_main`` says whether this process is the one to draw and write.
    """

    index: int
    loss: float
    learning_rate: float
    seconds: float
    ema: nn.Module
    is_main: bool


class _Loss(nn.Module):
    """Puts the loss inside ``forward``, where distributed training and mixed precision look for it."""

    def __init__(self, model: nn.Module, loss: LossFunction):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, index: Tensor, generator: torch.Generator) -> Tensor:
        return self.loss(self.model, index, generator)


def train(
    model: nn.Module,
    loss: LossFunction,
    num_rows: int,
    settings: TrainSettings,
    checkpoint: str | Path | None = None,
    save_every: int = 500,
    mixed_precision: str | None = None,
) -> Iterator[TrainStep]:
    """Train ``model`` in place, one yielded record a step.

    Args:
        model: moved to the device that accelerate chooses.
        loss: ``loss(model, index, generator)`` gives the mean loss of the rows ``index`` (B,); what it draws at random
            it draws from ``generator`` (on the CPU).
        num_rows: how many rows the training set has; every epoch visits each once, in a new order.
        settings: steps, batch size, rates, seed.
        checkpoint: a file to go on from if it exists, and to write every ``save_every`` steps. It is written under
            another name and then renamed, so that a kill at any moment leaves a readable file.
        mixed_precision: "no", "bf16" or "fp16"; by default what the hardware is good at (`best_precision`).

    Raises:
        ValueError: the checkpoint belongs to other settings, or cannot be read.
    """
    accelerator = _accelerator(mixed_precision)
    rank, world = accelerator.process_index, accelerator.num_processes
    share = settings.batch_size // world
    if share == 0:
        raise ValueError(f"a batch of {settings.batch_size} cannot be shared by {world} processes")
    model.to(accelerator.device)
    ema = AveragedModel(model, multi_avg_fn=_ema_update(settings.ema_decay))
    rates = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    optimizer = torch.optim.AdamW(model.parameters(), **rates, fused=True)  # five times as fast on a CPU
    wrapped, optimizer = accelerator.prepare(_Loss(model, loss).train(), optimizer)
    parts = {"model": model, "ema": ema, "optimizer": optimizer}
    if accelerator.scaler is not None:  # of fp16; it remembers how far it has come
        parts["scaler"] = accelerator.scaler
    start, seconds = _load_checkpoint(checkpoint, settings, parts)
    began = time.perf_counter() - seconds
    for step in range(start, settings.steps):
        index = rows_of_step(num_rows, share * world, step, settings.seed)[rank * share : (rank + 1) * share]
        generator = torch.Generator().manual_seed(_mix(settings.seed, step, rank))
        if step in settings.restarts:
            model.load_state_dict(ema.module.state_dict())
            optimizer.state.clear()
        rate = _set_learning_rate(optimizer, step, settings)
        value = wrapped(index, generator)
        accelerator.backward(value)
        accelerator.clip_grad_norm_(wrapped.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        ema.update_parameters(model)
        mean = accelerator.reduce(value.detach().float(), "mean").item()
        seconds = time.perf_counter() - began
        if checkpoint and accelerator.is_main_process and (step + 1) % save_every == 0 and step + 1 < settings.steps:
            _save_checkpoint(Path(checkpoint), settings, step + 1, seconds, parts)
        yield TrainStep(step, mean, rate, seconds, ema.module, accelerator.is_main_process)


def rows_of_step(num_rows: int, batch_size: int, step: int, seed: int) -> Tensor:
    """The row numbers of one step, (batch_size,): a new random order of all rows every epoch."""
    first = step * batch_size
    epochs = range(first // num_rows, (first + batch_size - 1) // num_rows + 1)
    orders = [torch.randperm(num_rows, generator=torch.Generator().manual_seed(_mix(seed, -1, e))) for e in epochs]
    offset = first - epochs[0] * num_rows
    return torch.cat(orders)[offset : offset + batch_size]


def best_device() -> torch.device:
    """A GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_precision() -> str:
    """What the hardware has: "bf16" (GPUs since Ampere, CPUs with AVX512-BF16), "fp16" (older GPUs) or "no"."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu.get_capabilities().get("avx512_bf16") else "no"


def budget(*, fast: Any, cpu: Any, gpu: Any) -> Any:
    """How long something may run: the value for checks, for people without a GPU, or for people with one.

    The environment variable TINYLDM_PROFILE ("fast", "cpu" or "gpu") decides; without it, whether there is a GPU.

    Raises:
        ValueError: TINYLDM_PROFILE is something else.
    """
    values = {"fast": fast, "cpu": cpu, "gpu": gpu}
    profile = os.environ.get("TINYLDM_PROFILE") or ("gpu" if best_device().type == "cuda" else "cpu")
    if profile not in values:
        raise ValueError(f"TINYLDM_PROFILE must be one of {', '.join(values)}, not {profile!r}")
    return values[profile]


def progress(steps: Iterable[TrainStep], total: int, description: str) -> Iterator[TrainStep]:
    """Pass the records on and draw a progress bar with the running loss and the time left."""
    from tqdm.auto import tqdm

    steps = iter(steps)
    first = next(steps, None)  # says which process draws, and where a training that was killed goes on
    if first is None:
        return
    bar = tqdm(
        total=total, initial=first.index, desc=description, unit="step", mininterval=1.0, disable=not first.is_main
    )
    with bar:
        average = first.loss
        for step in itertools.chain([first], steps):
            average = 0.98 * average + 0.02 * step.loss
            bar.set_postfix(loss=f"{average:.4f}", refresh=False)
            bar.update(step.index + 1 - bar.n)
            yield step


def _accelerator(mixed_precision: str | None):
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # else a second training in this process could not have another precision
    atexit.register(_leave_group)
    return Accelerator(mixed_precision=mixed_precision or best_precision(), cpu=best_device().type == "cpu")


def _leave_group() -> None:
    """Say goodbye to the other processes; one that ends without it can crash on its way out."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _ema_update(decay: float):
    """Moving average with a warm-up: min(decay, (1 + n) / (10 + n)) after n updates, else early noise stays in it."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], num_averaged: Tensor) -> None:
        n = int(num_averaged)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def _mix(seed: int, step: int, rank: int) -> int:
    """One number from three, so that neighbouring steps and processes draw unrelated noise."""
    return hash((seed, step, rank)) % 2**63


def _set_learning_rate(optimizer, step: int, settings: TrainSettings) -> float:
    edges = [0, *(restart for restart in settings.restarts if restart < settings.steps), settings.steps]
    start, end = next((a, b) for a, b in itertools.pairwise(edges) if a <= step < b)
    rise = min(1.0, (step - start + 1) / max(1, settings.warmup))
    rate = settings.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * (step - start) / (end - start)))
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def _save_checkpoint(path: Path, settings: TrainSettings, done: int, seconds: float, parts: dict) -> None:
    state = {"settings": settings.__dict__, "done": done, "seconds": seconds}
    state |= {name: part.state_dict() for name, part in parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    torch.save(state, unfinished)
    os.replace(unfinished, path)


def _load_checkpoint(path: str | Path | None, settings: TrainSettings, parts: dict) -> tuple[int, float]:
    if path is None or not Path(path).exists():
        return 0, 0.0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["settings"] == settings.__dict__:
            for name, part in parts.items():
                part.load_state_dict(state[name])
            return state["done"], state["seconds"]
    except Exception as error:
        raise ValueError(f"{path} is not a readable checkpoint of this model: delete it to start afresh") from error
    raise ValueError(f"{path} was made with other settings: delete it to start afresh, or use its own")
