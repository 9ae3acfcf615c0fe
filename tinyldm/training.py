"""The training loop, the same one for every model of the course but the GAN, which shares its checkpoints.

Design choices
- The loop is a generator: it yields one small record a step, and the caller plots, stops or draws a progress bar.
- Everything random in step n follows from (seed, n, process) alone. An interrupted run therefore continues from its
  last checkpoint exactly as if it had never stopped, without any generator's state being saved.
- A checkpoint knows the run that it belongs to, and no other run can continue from it.
- Devices, mixed precision and many processes are accelerate's business, the moving average is torch's.
- On a GPU a small network waits for Python. Where all that a step needs lies on the GPU (``resident``), the step is
  recorded once as a CUDA graph and replayed with one call; numbers that change are written into tensors beforehand.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import itertools
import math
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tinyldm import UserError
from tinyldm.devices import best_device, best_precision, checked_seed
from tinyldm.weights import atomic_write


class Stopped(UserError):
    """A run that ended on request, by Ctrl-C or SIGTERM, with a checkpoint to continue from."""

    exit_code = 130  # as shells say of a program that Ctrl-C ended


LossFunction = Callable[[Any, Tensor, torch.Generator], Tensor]
Record = TypeVar("Record", bound=Any)  # of one step: index, seconds, is_main and losses


@dataclass(frozen=True)
class TrainSettings:
    """How to train. The learning rate rises for ``warmup`` steps, then falls to zero along a cosine.

    It does so once, or anew from each of the steps in ``restarts``, where the averaged model takes the place of the
    trained one and the optimizer is fresh (warm restarts, Loshchilov & Hutter 2017, eq. 5).

    Args:
        steps: how many, at least 1.
        batch_size: rows of one step, over all processes together, at least 1.
        learning_rate: its highest value, > 0.
        warmup: steps of the rise, >= 0.
        weight_decay: of AdamW, >= 0.
        ema_decay: of the moving average, in [0, 1).
        max_grad_norm: gradients are scaled down to this norm, > 0.
        seed: of the order of the rows and of all noise, in [0, 2^63).
        restarts: rising steps between 0 and ``steps``.

    Raises:
        UserError: a value is not finite, out of its range, or contradicts another.
    """

    steps: int
    batch_size: int = 128
    learning_rate: float = 1e-3
    warmup: int = 100
    weight_decay: float = 0.01
    ema_decay: float = 0.999
    max_grad_norm: float = 1.0
    seed: int = 0
    restarts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", checked_seed(self.seed))
        at_least = {"steps": 1, "batch_size": 1, "warmup": 0, "weight_decay": 0}
        for name, least in at_least.items():
            if not least <= getattr(self, name) < 2**63:  # false for nan, too
                raise UserError(f"{name} must be at least {least} and finite, not {getattr(self, name)}")
        for name in ("learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name} must be positive and finite, not {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise UserError(f"ema_decay must be in [0, 1), not {self.ema_decay}")
        edges = [0, *self.restarts, self.steps]
        if any(a >= b for a, b in itertools.pairwise(edges)):
            raise UserError(f"restarts must rise between 0 and {self.steps} (steps), not {self.restarts}")


@dataclass(frozen=True)
class TrainStep:
    """What the loop yields after step ``index`` (0-based).

    ``loss`` is the mean over all processes, ``seconds`` counts from the first step (pauses between an interruption and
    the continuation aside), ``ema`` is the averaged model, ``is_main`` says whether this process draws and writes.
    """

    index: int
    mean_loss: float | Tensor
    learning_rate: float
    seconds: float
    ema: nn.Module
    is_main: bool

    @property
    def loss(self) -> float:
        """The loss; to read it, the program waits for a GPU to come to the end of this step."""
        return float(self.mean_loss)


class _Loss(nn.Module):
    """Puts the loss inside ``forward``, where distributed training and mixed precision look for it."""

    def __init__(self, model: nn.Module, loss: LossFunction):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, index: Tensor, generator: torch.Generator) -> Tensor:
        return self.loss(self.model, index, generator)


# ---------------------------------------------------------------- the loop


def train(
    model: nn.Module,
    loss: LossFunction,
    num_rows: int,
    settings: TrainSettings,
    checkpoint: str | Path | None = None,
    save_every: int = 500,
    mixed_precision: str | None = None,
    inputs: Mapping[str, str] | None = None,
    stop: Callable[[], bool] = lambda: False,
    resident: bool = False,
) -> Iterator[TrainStep]:
    """Train ``model`` in place, one yielded record a step.

    Args:
        model: moved to the device that accelerate chooses.
        loss: ``loss(model, index, generator)`` gives the mean loss of the rows ``index`` (B,); what it draws at random
            it draws from ``generator`` (on the CPU).
        num_rows: how many rows the training set has; every epoch visits each once, in a new order.
        settings: steps, batch size, rates, seed.
        checkpoint: a file to continue from if it exists, and to write every ``save_every`` steps and at the end; see
            `Checkpoint`. From a run that had ended only its last record comes back, without a loss (nan).
        mixed_precision: "no", "bf16" or "fp16"; by default what the hardware is fast at (`best_precision`).
        inputs: whatever else the run depends on, by name, for the checkpoint: fingerprints of files, say.
        stop: asked after each step (on a GPU, after each tenth), on all processes; if one says yes, the checkpoint is
            written and the loop ends.
        resident: whether all that ``loss`` uses lies on the model's device; then ``index`` and ``generator`` do, too.
            On an NVIDIA GPU, a single process that needs no gradient scaler then replays the step as a CUDA graph:
            ``loss`` must do the same with tensors of the same shapes at every step, and never wait for a result.

    Raises:
        UserError: the checkpoint belongs to another run or cannot be read, the batch is larger than the training set
            or too small to be shared by all processes, or a loss is not finite (the last checkpoint stays).
    """
    precision = mixed_precision or best_precision()
    accelerator = _accelerator(precision)
    rank, world, is_main = accelerator.process_index, accelerator.num_processes, accelerator.is_main_process
    check_batch(settings.batch_size, num_rows, world)
    share = settings.batch_size // world
    run = {"model": fingerprint_model(model), "rows": num_rows, "processes": world, "precision": precision}
    device = accelerator.device
    model.to(device)
    ema = AveragedModel(model)
    captures = resident and _can_capture(accelerator)
    rates: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    optimizer = torch.optim.AdamW(model.parameters(), **rates, fused=True)  # fused: five times as fast on a CPU
    wrapped, optimizer = accelerator.prepare(_Loss(model, loss).train(), optimizer)
    parts: dict[str, Stateful] = {"model": model, "ema": ema, "optimizer": optimizer}
    if accelerator.scaler is not None:  # of fp16; it remembers how far it has come
        parts["scaler"] = accelerator.scaler
    saved = Checkpoint(checkpoint, {**_flat(settings), **run, **(inputs or {})}, parts)
    start, seconds = saved.load()
    if start == settings.steps:
        yield TrainStep(start - 1, math.nan, 0.0, seconds, ema.module, is_main)
    where = device if resident else torch.device("cpu")
    generator, index = torch.Generator(where), torch.zeros(share, dtype=torch.int64, device=where)
    rate, weight = torch.zeros((), device=device), torch.zeros((), device=device)
    for group in optimizer.param_groups:
        group["capturable"] = captures

    def advance() -> Tensor:
        """One step; all that changes from one to the next is in ``index``, ``generator``, ``rate`` and ``weight``."""
        value = wrapped(index, generator)
        accelerator.backward(value)
        accelerator.clip_grad_norm_(wrapped.parameters(), settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        _update_average(ema, model, weight)
        return value.detach().float()

    step_of = _Replayed(advance, generator) if captures else advance
    reads_every = 1 if device.type == "cpu" else 10  # to read a loss, the program waits for the device
    began = time.perf_counter() - seconds
    for step in range(start, settings.steps):
        rows = rows_of_step(num_rows, share * world, step, settings.seed, where)
        index.copy_(rows[rank * share : (rank + 1) * share])
        generator.manual_seed(mix_seeds(settings.seed, step, rank))
        if step in settings.restarts:
            model.load_state_dict(ema.module.state_dict())
            for state in optimizer.state.values():
                torch._foreach_zero_([value for value in state.values() if isinstance(value, Tensor)])
        learning_rate = _learning_rate(step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate.fill_(learning_rate) if captures else learning_rate
        weight.fill_(_average_weight(int(ema.n_averaged), settings.ema_decay))
        mean, done, stopping = accelerator.reduce(step_of().clone(), "mean"), step + 1, False
        ema.n_averaged += 1
        saves = done % save_every == 0 or done == settings.steps
        if saves or done % reads_every == 0:
            asked = torch.tensor(float(stop()), device=device)
            stopping = accelerator.reduce(asked, "sum").item() > 0  # one process that stops, stops all
            check_losses(step, mean.item())
        seconds = time.perf_counter() - began
        if is_main and (saves or stopping):
            saved.save(done, seconds)
        yield TrainStep(step, mean, learning_rate, seconds, ema.module, is_main)
        if stopping:
            return


def _can_capture(accelerator: Any) -> bool:
    """Whether a step can be replayed as a CUDA graph."""
    return accelerator.device.type == "cuda" and accelerator.num_processes == 1 and accelerator.scaler is None


class _Replayed:
    """Work on a GPU that is done three times, then recorded as a CUDA graph, then replayed: Python runs no more."""

    def __init__(self, work: Callable[[], Tensor], generator: torch.Generator) -> None:
        self.work, self.generator, self.calls = work, generator, 0
        self.graph, self.stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()

    def __call__(self) -> Tensor:
        self.calls += 1
        if self.calls <= 3:  # libraries get ready at the first calls, on a stream of their own, which a recording needs
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                result = self.work()
            torch.cuda.current_stream().wait_stream(self.stream)
            return result
        if self.calls == 4:
            self.graph.register_generator_state(self.generator)
            with torch.cuda.graph(self.graph, stream=self.stream):
                self.result = self.work()
        self.graph.replay()
        return self.result


def check_batch(batch_size: int, num_rows: int, processes: int = 1) -> None:
    """Refuse a batch that is larger than the training set, or too small to be split across all processes."""
    if batch_size < processes:
        raise UserError(f"a batch of {batch_size} cannot be split across {processes} processes")
    if batch_size > num_rows:
        raise UserError(f"a batch of {batch_size:,} rows is larger than the training set of {num_rows:,}")


def check_losses(step: int, *losses: float) -> None:
    """Refuse to go on with a loss that is not finite."""
    if not all(math.isfinite(loss) for loss in losses):
        values = " and ".join(str(loss) for loss in losses)
        raise UserError(f"the loss of step {step} is {values}: try another seed or a lower learning rate")


def rows_of_step(num_rows: int, batch_size: int, step: int, seed: int, device: torch.device | None = None) -> Tensor:
    """The row numbers of one step, (batch_size,): a new random order of all rows every epoch."""
    first = step * batch_size
    epochs = range(first // num_rows, (first + batch_size - 1) // num_rows + 1)
    offset = first - epochs[0] * num_rows
    orders = [_order_of_epoch(num_rows, epoch, seed, device) for epoch in epochs]
    return (orders[0] if len(orders) == 1 else torch.cat(orders))[offset : offset + batch_size]


@lru_cache(maxsize=2)  # a batch can reach from one epoch into the next
def _order_of_epoch(num_rows: int, epoch: int, seed: int, device: torch.device | None) -> Tensor:
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(mix_seeds(seed, epoch))).to(device)


def mix_seeds(seed: int, *place: int) -> int:
    """A seed of its own for each place, as (step, process), so that neighbouring ones draw unrelated noise."""
    return int(np.random.SeedSequence(seed, spawn_key=place).generate_state(1, np.uint64)[0] >> 1)


def losses_of(step: Any) -> dict[str, float]:
    """The losses in a record of any training: its fields whose names end in "loss"."""
    names = {name.removeprefix("mean_"): value for name, value in vars(step).items() if name.endswith("loss")}
    return {name.replace("_", " "): float(value) for name, value in names.items()}


def progress(
    steps: Iterable[Record], total: int, description: str, bar: Any = None, share: float = 0.0
) -> Iterator[Record]:
    """Pass the records on and draw a progress bar with the running losses and the time left.

    Args:
        steps: the records.
        total: how many steps the whole training has.
        description: its name.
        bar: a bar of several trainings, of which this one moves ``share``; by default a new one, that counts steps.
        share: how much that bar has moved when all steps are done.
    """
    from tqdm.auto import tqdm

    steps = iter(steps)
    first = next(steps, None)  # says which process draws, and where an interrupted run continues
    if first is None:
        return
    begin: float = 0
    each: float = 1
    if bar is None:
        own = bar = tqdm(
            total=total, initial=first.index, desc=description, unit="step", mininterval=1.0, disable=not first.is_main
        )
    else:
        own, begin, each = nullcontext(), bar.n, share / total
        skip(bar, each * first.index)
        bar.set_description(description)
    with own:
        average, read, seen = losses_of(first), first.index, first.seconds
        for step in itertools.chain([first], steps):
            if step.seconds - seen >= 0.05 or step is first:
                keep = 0.98 ** (step.index + 1 - read)
                average = {name: keep * average[name] + (1 - keep) * loss for name, loss in losses_of(step).items()}
                read, seen = step.index + 1, step.seconds
            if all(math.isfinite(loss) for loss in average.values()):  # else this run had ended before
                bar.set_postfix({name: f"{loss:.4f}" for name, loss in average.items()}, refresh=False)
            bar.update(begin + each * (step.index + 1) - bar.n)
            yield step


def skip(bar: Any, amount: float) -> None:
    """Move a bar on by what was done before, which says nothing of the time left."""
    bar.initial += amount
    bar.n += amount


_OF_MANY_PROCESSES = re.compile(r"(LOCAL_)?RANK|WORLD_SIZE|(OMPI_COMM_WORLD|PMI|MPI|MV2_COMM_WORLD)_?\w*")


def _accelerator(precision: str) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # else a second training in this process could not have another precision
    atexit.register(_leave_group)
    names = [name for name in os.environ if _OF_MANY_PROCESSES.fullmatch(name)]  # a cluster may set them, too
    try:
        return Accelerator(mixed_precision=precision, cpu=best_device().type == "cpu")
    except ValueError as error:
        if not names:
            raise
        raise UserError(
            f"the environment names other processes of this training, which cannot be found ({error}): start them "
            f"with torchrun, or unset {', '.join(names)} to train with one"
        ) from error


def _leave_group() -> None:
    """Leave the process group; a process that exits without doing so can crash."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _average_weight(n: int, decay: float) -> float:
    """What the model weighs in the average after n updates: all at first, then 1 - min(decay, (1 + n) / (10 + n)).

    Without this warm-up, early noise would stay in the average.
    """
    return 1 - min(decay, (1 + n) / (10 + n)) if n else 1.0


@torch.no_grad()
def _update_average(ema: AveragedModel, model: nn.Module, weight: Tensor) -> None:
    """averaged += weight * (current - averaged), with a weight that lies on the device."""
    averaged: list[Tensor] = list(ema.module.parameters())
    current: list[Tensor] = list(model.parameters())
    if weight.device.type == "cuda":
        change = torch._foreach_sub(current, averaged)
        torch._foreach_mul_(change, weight)
        torch._foreach_add_(averaged, change)
    else:
        torch._foreach_lerp_(averaged, current, weight.item())
    for kept, buffer in zip(ema.module.buffers(), model.buffers(), strict=True):
        kept.copy_(buffer)


def _learning_rate(step: int, settings: TrainSettings) -> float:
    edges = [0, *settings.restarts, settings.steps]
    start, end = next((a, b) for a, b in itertools.pairwise(edges) if a <= step < b)
    rise = min(1.0, (step - start + 1) / max(1, settings.warmup))
    return settings.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * (step - start) / (end - start)))


# ---------------------------------------------------------------- checkpoints


class Stateful(Protocol):
    """Anything with a state: a model, an optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that `load_state_dict` needs."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take over a state."""
        ...


@dataclass
class Checkpoint:
    """The file that an interrupted run continues from.

    Args:
        path: the file; None for a run that keeps none.
        run: what the run is, by name: settings, rows, fingerprints. Only the same run continues from the file.
        parts: what changes while it runs; loaded in place.
    """

    path: str | Path | None
    run: Mapping[str, Any]
    parts: Mapping[str, Stateful] = field(default_factory=dict)

    def save(self, done: int, seconds: float) -> None:
        """Write the state after ``done`` steps. A kill at any moment leaves a readable file."""
        if self.path is None:
            return
        state = {"run": dict(self.run), "done": done, "seconds": seconds}
        state["parts"] = {name: part.state_dict() for name, part in self.parts.items()}
        content = io.BytesIO()  # PyTorch hides why a file could not be written
        torch.save(state, content)
        with atomic_write(self.path) as unfinished:
            unfinished.write_bytes(content.getbuffer())

    def load(self) -> tuple[int, float]:
        """Load the parts if the file exists; the steps done and the seconds they took, or (0, 0.0).

        Raises:
            UserError: the file belongs to another run, or cannot be read.
        """
        if self.path is None or not Path(self.path).exists():
            return 0, 0.0
        advice = "delete it to start afresh"
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            run, done, seconds = state["run"], int(state["done"]), float(state["seconds"])
            states = {name: state["parts"].get(name) for name in self.parts}
        except OSError as error:
            raise UserError(f"cannot read {self.path}: {error.strerror or error}") from error
        except MemoryError:
            raise
        except Exception as error:  # of any kind, depending on what is in the file
            raise UserError(f"{self.path} is not a readable checkpoint: {advice}") from error
        if differences := _differences(run, self.run):
            raise UserError(
                f"{self.path} belongs to another run ({differences}): repeat that one's command, or {advice}"
            )
        for name, part in self.parts.items():
            part.load_state_dict(states[name])
        return done, seconds


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    """What differs between two runs, in words; an empty string if nothing does."""
    names = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    return ", ".join(f"{name} {there.get(name)} there, {here.get(name)} here" for name in names)


def _flat(settings: Any) -> dict[str, Any]:
    """Settings as a checkpoint holds them: numbers, texts and lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def fingerprint(content: bytes) -> str:
    """The first 12 hex digits of the SHA-256 hash."""
    return hashlib.sha256(content).hexdigest()[:12]


def fingerprint_model(*models: nn.Module) -> str:
    """Of models' configs and of the names and shapes of their tensors, not of their values."""
    shapes = [
        (type(model).__name__, repr(getattr(model, "config", None)), name, tuple(value.shape))
        for model in models
        for name, value in model.state_dict().items()
    ]
    return fingerprint(repr(shapes).encode())


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C or a SIGTERM sets, so that a run can end after its step and keep what it has.

    A second Ctrl-C at least three seconds later raises KeyboardInterrupt.
    """
    requested, asked_at = threading.Event(), 0.0

    def request(number: int, frame: Any) -> None:
        nonlocal asked_at
        if not requested.is_set():
            requested.set()
            asked_at = time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - asked_at > 3:  # torchrun passes on what a terminal sends
            raise KeyboardInterrupt

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
