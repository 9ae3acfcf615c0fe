"""Values, and calls of functions, over a socket between two processes that need not trust each other.

Whoever is at the other end can only send data: numbers, texts, tensors, and lists and dictionaries of them. A function
is never sent; in its place goes a number, and the other side gets a function that asks for a call. Gradients pass
through such a call as if both sides were one program. An object of any other kind arrives as a `Foreign`, which knows
its type's name.

A message is a JSON text and the bytes of its tensors, each with its length before it.
"""

from __future__ import annotations

import builtins
import inspect
import json
import math
import re
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tinyldm.checks import Endless
from tinyldm.schedule import NoiseSchedule

MOST = 32 * 2**20  # bytes of a message
ASKED = (20_000, 8 * MOST)  # messages and bytes that the other side may send during one call
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")  # half a character, which no file can hold
PLAIN = ("float16", "bfloat16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool")
DTYPES = {str(dtype): dtype for dtype in (getattr(torch, name) for name in (*PLAIN, "complex64", "complex128"))}


class Lost(BaseException):
    """The other side is gone, or does not keep to the rules. (No Exception, which would be taken for an answer's.)"""


class Died(Lost):
    """The copy of the other side's process that answered has ended; the process itself is there."""


class Foreign:
    """Stands for an object that cannot be sent."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"<{self.kind}>"


class Wire:
    """One end of a socket, for messages.

    Args:
        end: a stream socket.
        watch: called several times a second while waiting; may raise.
    """

    def __init__(self, end: socket.socket, watch: Callable[[], None] = lambda: None) -> None:
        self.end, self.watch, self.deadline = end, watch, float("inf")
        self.room: tuple[float, float] = (float("inf"), float("inf"))  # messages and bytes that may still come

    def send(self, message: dict, blobs: list[bytes]) -> None:
        """Send a message.

        Raises:
            ValueError: if it is too large.
            Lost: if nobody is there.
        """
        text = json.dumps(message | {"blobs": [len(blob) for blob in blobs]}).encode()
        if len(text) + sum(map(len, blobs)) > MOST:
            raise ValueError(f"more than {MOST >> 20} MB at once")
        try:
            left = memoryview(b"".join([struct.pack("<I", len(text)), text, *blobs]))
            while left:
                self._wait_for([], [self.end])  # the other side may never read
                left = left[self.end.send(left, socket.MSG_DONTWAIT) :]
        except OSError as error:
            raise Lost(str(error)) from None

    def receive(self) -> tuple[dict, list[bytes]]:
        """The next message.

        Raises:
            Lost: if there is none, it is no message, or has not come by ``deadline`` (time.monotonic).
        """
        (size,) = struct.unpack("<I", self._bytes(4))
        if size > MOST:
            raise Lost("a message that is too large")
        text = self._bytes(size)
        try:
            message = json.loads(text)
            if SURROGATE.search(text):
                message = json.loads(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
            sizes = message["blobs"]
            if not isinstance(message, dict) or sum(sizes) > MOST or min(map(int, sizes), default=0) < 0:
                raise ValueError
            sizes = list(map(int, sizes))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Lost("a message that cannot be read") from None
        self.room = self.room[0] - 1, self.room[1] - size - sum(sizes)
        if min(self.room) < 0:
            raise Lost("more messages than a function may send")
        return message, [self._bytes(size) for size in sizes]

    def _wait_for(self, to_read: list, to_write: list) -> None:
        """Until the socket is ready; what is watched is looked at in any case: the other side may never pause."""
        while True:
            try:
                ready = select.select(to_read, to_write, [], 0.1)
            except (OSError, ValueError) as error:  # closed
                raise Lost(str(error)) from None
            self.watch()
            if time.monotonic() > self.deadline:
                raise Lost("it took too long")
            if ready[0] or ready[1]:
                return

    def _bytes(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count:
            try:
                self._wait_for([self.end], [])
                piece = self.end.recv(min(count - len(got), 2**20))
            except OSError as error:
                raise Lost(str(error)) from None
            if not piece:
                raise Lost("closed")
            got += piece
        return bytes(got)


class Peer:
    """Calls the functions of the other side, and answers its calls.

    Args:
        wire: to the other side.
        around: a context in which a call from the other side runs; it yields a dict that goes back with the result.
        most_seconds: that a call may take, the other side's own calls included.
    """

    def __init__(
        self,
        wire: Wire,
        around: Callable[[], AbstractContextManager[dict]] | None = None,
        most_seconds: float = float("inf"),
    ) -> None:
        self.wire, self.around, self.most_seconds = wire, around or _plainly, most_seconds
        self.functions: list[Callable] = []  # of this side, by the numbers under which the other side knows them
        self.graphs: list[tuple[list[Tensor], list[Tensor]]] = []  # results and arguments of calls from the other side
        self.depth = 0

    # ------------------------------------------------------------ asking

    def function(self, number: int, name: str, parameters: list) -> Callable:
        """A function of the other side, to call like any other."""

        def function(*values: Any, **named: Any) -> Any:
            return self._call(number, list(values), named)

        function.__name__ = function.__qualname__ = name
        function.__signature__ = signature(parameters)  # type: ignore[attr-defined]
        function.__number__ = (self, number)  # type: ignore[attr-defined]
        return function

    def ask(self, message: dict, *values: Any) -> tuple[dict, list[Any]]:
        """Send a message with values, and wait for the reply to it; meanwhile answer what is asked from there."""
        blobs: list[bytes] = []
        packed = [self.pack(value, blobs) for value in values]
        self.wire.send(message | {"values": packed}, blobs)
        while True:
            reply, blobs = self.wire.receive()
            if "do" not in reply:
                return reply, blobs
            self.answer(reply, blobs)

    def _call(self, number: int, values: list, named: dict) -> Any:
        if self.depth == 0:
            self.graphs.clear()
            self.wire.room = ASKED if self.most_seconds < float("inf") else self.wire.room
            self.wire.deadline = time.monotonic() + self.most_seconds
        self.depth += 1
        try:
            reply, blobs = self.ask({"do": "call", "function": number}, values, named)
        finally:
            self.depth -= 1
        if "ended" in reply:
            raise Died("it ended the process")
        if reply.get("printed"):
            print(end=str(reply["printed"]))
        if reply.get("drew"):
            torch.rand(1)  # so that whoever watches the random numbers here sees it
        if reply.get("after"):
            _write_back([values, named], self.unpack(reply["after"], blobs))
        if "error" in reply:
            raise _exception(reply)
        result, given = (
            self.unpack(reply.get("result"), blobs),
            [t for t in _tensors([values, named]) if t.requires_grad],
        )
        return self._attached(reply["graph"], result, given) if "graph" in reply else result

    def _attached(self, graph: int, result: Any, given: list[Tensor]) -> Any:
        """The result, with its tensors' gradients asked for at the other side."""
        parts = [tensor for tensor in _tensors(result) if tensor.requires_grad]
        if not parts or not torch.is_grad_enabled():
            return _replaced(result, {id(part): part.detach() for part in parts})
        start = torch.zeros((), requires_grad=True)
        parts_now = _Across.apply(self, graph, [part.detach() for part in parts], start, *given)
        return _replaced(result, {id(part): now for part, now in zip(parts, parts_now, strict=True)})

    # ------------------------------------------------------------ answering

    def answer(self, message: dict, blobs: list[bytes]) -> None:
        """Do what the other side asks for, and reply; whatever goes wrong in a function is part of the reply."""
        try:
            values = [self.unpack(value, blobs) for value in message["values"]]
            act = {"call": self._run, "back": self._back}[message["do"]]
            reply, out = act(message, *values)
        except (Lost, KeyboardInterrupt):
            raise
        except (KeyError, IndexError, TypeError) as error:
            raise Lost(f"a message that asks for nothing: {error}") from None
        try:
            self.wire.send(reply, out)
        except ValueError as error:
            self.wire.send({"error": ["ValueError", str(error)]}, [])

    def _run(self, message: dict, values: list, named: dict) -> tuple[dict, list[bytes]]:
        function, blobs = self.functions[message["function"]], []
        before = self._packed([values, named])
        given = [tensor for tensor in _tensors([values, named]) if tensor.requires_grad]
        reply: dict = {}
        more: dict = {}
        try:
            with torch.enable_grad(), self.around() as more:
                result = function(*values, **named)
            reply |= {"result": self.pack(result, blobs)} | self._graph(result, given)
        except (Lost, KeyboardInterrupt):
            raise
        except BaseException as error:  # SystemExit of a stranger's function, too
            blobs.clear()
            reply = {"error": [type(error).__name__, _text(error)]}
        if self._packed([values, named]) != before:
            reply["after"] = self.pack([values, named], blobs)
        return reply | more, blobs

    def _graph(self, result: Any, given: list[Tensor]) -> dict:
        parts = [tensor for tensor in _tensors(result) if tensor.requires_grad]
        if not parts:
            return {}
        self.graphs.append((parts, given))
        return {"graph": len(self.graphs) - 1}

    def _back(self, message: dict, gradients: list) -> tuple[dict, list[bytes]]:
        parts, given = self.graphs[message["graph"]]
        used = [(part, gradient) for part, gradient in zip(parts, gradients, strict=True) if gradient is not None]
        blobs: list[bytes] = []
        if not given or not used:
            return {"result": self.pack([None] * len(given), blobs)}, blobs
        parts, gradients = zip(*used, strict=True)
        try:
            found = torch.autograd.grad(parts, given, gradients, retain_graph=True, allow_unused=True)
        except RuntimeError as error:
            return {"error": ["RuntimeError", str(error)]}, []
        return {"result": self.pack(list(found), blobs)}, blobs

    # ------------------------------------------------------------ values as JSON and bytes

    def _packed(self, value: Any) -> tuple[str, list[bytes]]:
        blobs: list[bytes] = []
        return json.dumps(self.pack(value, blobs)), blobs

    def pack(self, value: Any, blobs: list[bytes]) -> Any:
        """A value in terms of JSON; what is too large for a text is added to ``blobs``."""
        if value is None or isinstance(value, bool | str):
            return value if type(value) in (type(None), bool, str) else str(value)
        if isinstance(value, Tensor):
            return self._pack_tensor(value, blobs)
        if isinstance(value, np.ndarray | np.generic):
            return self._pack_numpy(value, blobs)
        if isinstance(value, int):
            return ["int", hex(value)]
        if isinstance(value, float):
            return ["float", float(value).hex()]
        if isinstance(value, complex):
            return ["complex", value.real.hex(), value.imag.hex()]
        for kind, name in ((list, "list"), (tuple, "tuple"), (set, "set"), (frozenset, "frozenset")):
            if isinstance(value, kind):
                return [name, *(self.pack(part, blobs) for part in value)]
        if isinstance(value, dict):
            return ["dict", *([self.pack(key, blobs), self.pack(part, blobs)] for key, part in value.items())]
        if isinstance(value, torch.Generator):
            return ["generator", self._pack_tensor(value.get_state(), blobs)]
        if isinstance(value, NoiseSchedule):
            return ["schedule", self._pack_tensor(value.alphas_cumprod, blobs)]
        return self._pack_function(value) if callable(value) else ["foreign", type(value).__name__]

    def _pack_tensor(self, tensor: Tensor, blobs: list[bytes]) -> list:
        if str(tensor.dtype) not in DTYPES or tensor.is_meta or tensor.is_sparse or tensor.is_quantized:
            return ["foreign", "Tensor"]
        if tensor.numel() * tensor.element_size() > MOST:
            raise ValueError(f"a tensor of shape {tuple(tensor.shape)} is too large for a check")
        flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        blobs.append(flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b"")
        return ["tensor", len(blobs) - 1, str(tensor.dtype), list(tensor.shape), tensor.requires_grad]

    def _pack_numpy(self, value: Any, blobs: list[bytes]) -> list:
        if value.dtype.kind not in "biufc" or value.dtype.itemsize > 16 or value.nbytes > MOST:
            return ["foreign", type(value).__name__]
        kind = "number" if isinstance(value, np.generic) else "array"
        blobs.append(np.ascontiguousarray(value).tobytes())
        return [kind, len(blobs) - 1, value.dtype.str, list(value.shape)]

    def _pack_function(self, function: Callable) -> list:
        peer, number = getattr(function, "__number__", (None, 0))
        if peer is self:
            return ["yours", number]
        self.functions.append(function)
        return [
            "function",
            len(self.functions) - 1,
            str(getattr(function, "__name__", "function")),
            parameters(function),
        ]

    def unpack(self, packed: Any, blobs: list[bytes]) -> Any:
        """The value that `pack` was given.

        Raises:
            Lost: if it never came from there.
        """
        try:
            return self._unpack(packed, blobs)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
            raise Lost(f"a value that cannot be read: {error}") from None

    def _unpack(self, packed: Any, blobs: list[bytes]) -> Any:
        if packed is None or isinstance(packed, bool | str):
            return packed
        kind, *rest = packed
        if kind in ("list", "tuple", "set", "frozenset"):
            made = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind]
            return made(self._unpack(part, blobs) for part in rest)
        make: dict[str, Callable] = {
            "int": lambda text: int(text, 16),
            "float": float.fromhex,
            "complex": lambda real, imaginary: complex(float.fromhex(real), float.fromhex(imaginary)),
            "dict": lambda *pairs: {self._unpack(key, blobs): self._unpack(part, blobs) for key, part in pairs},
            "tensor": lambda place, *rest: _tensor(blobs[place], *rest),
            "array": lambda place, dtype, shape: np.frombuffer(blobs[place], _numpy(dtype)).reshape(shape).copy(),
            "number": lambda place, dtype, shape: np.frombuffer(blobs[place], _numpy(dtype))[0],
            "generator": lambda state: _generator(self._unpack(state, blobs)),
            "schedule": lambda values: NoiseSchedule(self._unpack(values, blobs)),
            "function": self.function,
            "yours": lambda number: self.functions[number],
            "foreign": lambda name: Foreign(str(name)),
        }
        return make[kind](*rest)


class _Across(torch.autograd.Function):
    """Results of a call at the other side, differentiated there."""

    @staticmethod
    def forward(ctx: Any, peer: Peer, graph: int, results: list[Tensor], start: Tensor, *given: Tensor) -> Any:
        ctx.peer, ctx.graph = peer, graph
        ctx.set_materialize_grads(False)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        reply, blobs = ctx.peer.ask({"do": "back", "graph": ctx.graph}, list(gradients))
        if "error" in reply:
            raise _exception(reply)
        return None, None, None, None, *ctx.peer.unpack(reply["result"], blobs)


@contextmanager
def _plainly() -> Iterator[dict]:
    yield {}


def _tensor(blob: bytes, dtype: str, shape: list[int], requires_grad: bool) -> Tensor:
    kind = DTYPES[dtype]
    if len(blob) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{len(blob)} bytes for a tensor of shape {shape}")
    if not blob:
        found = torch.empty(shape, dtype=kind)
    elif kind is torch.bool:
        found = (torch.frombuffer(bytearray(blob), dtype=torch.uint8) != 0).reshape(shape)
    else:
        found = torch.frombuffer(bytearray(blob), dtype=kind).reshape(shape)
    return found.requires_grad_() if requires_grad and (found.is_floating_point() or found.is_complex()) else found


def _generator(state: Tensor) -> torch.Generator:
    """A generator in a state that a stranger gives; PyTorch does not look whether its position lies in its array."""
    left, following = int(state[8:12].view(torch.int32)), int(state[16:24].view(torch.int64))
    if not (1 <= left <= 624 and 0 <= following <= 625 - left):
        raise ValueError("no state of a generator")
    return torch.Generator().set_state(state)


def _numpy(dtype: str) -> np.dtype:
    kind = np.dtype(dtype)
    if kind.kind not in "biufc":
        raise ValueError(dtype)
    return kind


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in lists and dictionaries, in their order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for part in value for tensor in _tensors(part)]
    return [value] if isinstance(value, Tensor) else []


def _replaced(value: Any, new: dict[int, Tensor]) -> Any:
    """The same with some tensors exchanged, by their id."""
    if isinstance(value, dict):
        return {key: _replaced(part, new) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replaced(part, new) for part in value)
    return new.get(id(value), value)


def _write_back(old: Any, new: Any) -> None:
    """Do to arguments here what was done to their copies there."""
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        old.data = new.detach()
    elif isinstance(old, torch.Generator) and isinstance(new, torch.Generator):
        old.set_state(new.get_state())
    elif isinstance(old, np.ndarray) and isinstance(new, np.ndarray) and old.shape == new.shape:
        old[...] = new
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old.update(new)
    elif isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() & new.keys():
            _write_back(old[key], new[key])
        kept = {key: old.get(key, part) for key, part in new.items()}
        old.clear()
        old.update(kept)
    elif isinstance(old, list) and isinstance(new, list):
        same = [_alike(one, other) for one, other in zip(old, new, strict=False)]
        for one, other in zip(old, new, strict=False):
            _write_back(one, other)
        if not all(same) or len(old) != len(new):
            old[:] = new
    elif isinstance(old, tuple) and isinstance(new, tuple):
        for one, other in zip(old, new, strict=False):
            _write_back(one, other)


def _alike(one: Any, other: Any) -> bool:
    """Whether a part of a list is still the one that it was, perhaps with other contents."""
    containers = (Tensor, torch.Generator, np.ndarray, dict, list, tuple, set)
    return type(one) is type(other) and (isinstance(one, containers) or callable(one) or one == other)


def parameters(function: Callable) -> list:
    """Names of a function's parameters, with their kinds and whether they may be left out."""
    try:
        found = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return [["values", int(inspect.Parameter.VAR_POSITIONAL), False]]
    return [[one.name, int(one.kind), one.default is not one.empty] for one in found]


def signature(parameters: list) -> inspect.Signature:
    """The signature that `parameters` was given; an error, if it is none."""
    kinds = list(inspect._ParameterKind)
    made = [
        inspect.Parameter(str(name), kinds[kind], default=None if optional else inspect.Parameter.empty)
        for name, kind, optional in parameters
    ]
    return inspect.Signature(made)


def _text(error: BaseException) -> str:
    """What an exception says; whatever its own ``__str__`` does."""
    try:
        return str(error.args[0] if isinstance(error, KeyError) and error.args else error)[:2000]
    except BaseException:
        return ""


def _exception(reply: dict) -> BaseException:
    """The exception that happened at the other side, or one of the same name."""
    name, text = map(str, reply["error"])
    if name == "Endless":
        return Endless()
    kind = getattr(builtins, name, None)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = type(name, (Exception,), {})
    try:
        return kind(text)
    except TypeError:  # as UnicodeDecodeError, which takes five arguments
        return RuntimeError(f"{name}: {text}")
