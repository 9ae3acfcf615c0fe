"""Runs a student's notebook, cell by cell, and its functions: the side that is not trusted (`judge` is the other).

    python worker.py SOCKET MEMORY PROCESSES PACKAGE HOME    # started by `sandbox`

It does what it is told over the socket, and tells what happened. Nothing here can give points, and the answers are not
there: `tinyldm.exercises` holds only a ``check`` that does nothing. Each function is judged in a copy of this process
(``fork``), so that whatever it does there, ending the process included, touches nothing else.
"""

from __future__ import annotations

import ast
import base64
import builtins
import contextlib
import ctypes
import io
import os
import resource
import signal
import socket
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

KEPT = 20_000  # characters of a cell's printed output
DISPLAYED = 5_000_000  # characters of pictures and the like
FLOOD = 10_000_000  # characters after which a cell is stopped


class Stopped(BaseException):
    """A cell has had its time. (Not an Exception, which the cell may catch.)"""


class _Printed(io.TextIOBase):
    """Keeps the beginning of what is printed, and ends a flood."""

    def __init__(self) -> None:
        self.kept, self.size = io.StringIO(), 0

    def write(self, text: str) -> int:
        self.kept.write(text[: max(0, KEPT - self.size)])
        self.size += len(text)
        if self.size > FLOOD:
            raise RuntimeError(f"this cell printed more than {FLOOD // 1_000_000} million characters, and was stopped")
        return len(text)

    def text(self) -> str:
        more = f"\n[{self.size - KEPT:,} more characters]" if self.size > KEPT else ""
        return self.kept.getvalue() + more


class Worker:
    """A student's namespace, in IPython's shell so that ``%magics`` and displays work."""

    def __init__(self, end: socket.socket) -> None:
        from wire import Peer, Wire

        self.wire, self.limited = Wire(end), limited()
        self.peer = Peer(self.wire, self._around)
        self.shell = _shell()
        self.names: list[str] = []
        self.copies = False  # whether it is this class that copies the process
        os.register_at_fork(after_in_child=lambda: self.copies or end.close())  # a copy by the student has no say
        self.found: list[Callable] = []  # functions with a name that is asked for, in the order of their appearance

    def serve(self) -> None:
        """Do what is asked, until the other side is gone."""
        while True:
            message, blobs = self.wire.receive()
            act = {"begin": self.begin, "cell": self.cell, "define": self.define, "judge": self.judge}.get(
                message["do"]
            )
            if act is None:
                self.peer.answer(message, blobs)
            else:
                self.wire.send(act(**message["with"]), [])

    # ------------------------------------------------------------ cells

    def begin(self, pieces: list[str], names: list[str]) -> dict:
        """What the lesson itself imports and defines, and the names of the functions that are asked for."""
        self.names = names
        for piece in pieces:
            with contextlib.suppress(Exception), contextlib.redirect_stdout(_Printed()):
                exec(compile(piece, "<lesson>", "exec"), self.shell.user_ns)
        if "matplotlib" in sys.modules:
            self.shell.enable_matplotlib("inline")
        return {"ready": True}

    def cell(self, source: str, seconds: float) -> dict:
        """Run a cell; what it displayed, its error, and the functions that it defined."""
        printed, complained, shown = _Printed(), _Printed(), self.shell.display_pub.outputs
        before = {name: self.shell.user_ns.get(name) for name in self.names}
        shown.clear()
        sys.stdout, sys.stderr = printed, complained
        try:
            error = self._timed(source, seconds)
        finally:
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        outputs = [
            {"output_type": "stream", "name": name, "text": stream.text()}
            for name, stream in (("stdout", printed), ("stderr", complained))
            if stream.size
        ]
        return {"outputs": outputs + _displayed(shown), "error": error, "found": self._found(source, before)}

    def _timed(self, source: str, seconds: float) -> dict | None:
        def stop(*_: Any) -> None:
            raise Stopped

        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds, 1)  # again each second, if it was caught
        try:
            result = self.shell.run_cell(source, store_history=False)
            error = result.error_before_exec or result.error_in_exec
        except Stopped as stopped:
            error = stopped
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        return _told(error) if error is not None else None

    def define(self, pieces: list[str], seconds: float) -> dict:
        """Run only definitions, each by itself; the functions that they define."""
        found, until = [], time.monotonic() + seconds
        for piece in pieces:
            before = {name: self.shell.user_ns.get(name) for name in self.names}
            with contextlib.redirect_stdout(_Printed()), contextlib.redirect_stderr(_Printed()):
                self._timed(piece, max(0.1, until - time.monotonic()))
            found += self._found(piece, before)
        return {"found": found}

    def _found(self, source: str, before: dict) -> list:
        """Functions that a cell defined, also those that it defined again further down."""
        found = []
        for name in self.names:
            last = self.shell.user_ns.get(name)
            for earlier in _definitions(source, name)[:-1]:
                with contextlib.suppress(Exception):
                    exec(earlier, self.shell.user_ns)
                    found.append(self._kept(name, self.shell.user_ns[name]))
                    self.shell.user_ns[name] = last
            if last is not None and last is not before[name]:
                found.append(self._kept(name, last))
        return found

    def _kept(self, name: str, function: Any) -> list:
        from wire import parameters

        self.found.append(function)
        kind = "" if callable(function) else type(function).__name__
        return [name, len(self.found) - 1, parameters(function) if not kind else [], kind]

    # ------------------------------------------------------------ functions

    def judge(self, number: int, late: dict | None = None) -> dict:
        """In a copy of this process: answer calls of a function; or, given the course's exercises, explain it."""
        self.copies = True
        child = os.fork()
        self.copies = False
        if child:
            os.waitpid(child, 0)
            return {"ended": True}
        with contextlib.suppress(BaseException):
            signal.setitimer(signal.ITIMER_REAL, 0)
            if late:
                self.wire.send({"said": self._explained(self.found[number], **late)}, [])
                os._exit(0)
            self.peer.functions.append(self.found[number])
            self.wire.send({"ready": len(self.peer.functions) - 1}, [])
            while True:
                message, blobs = self.wire.receive()
                if message["do"] == "finish":
                    os._exit(0)
                self.peer.answer(message, blobs)
        os._exit(1)

    @contextlib.contextmanager
    def _around(self) -> Iterator[dict]:
        """As in a check: with a time limit, and with notes of what is printed, and of the use of random numbers."""
        import torch

        more: dict = {}
        printed, state = _Printed(), torch.get_rng_state()
        try:
            with contextlib.redirect_stdout(printed), self.limited():
                yield more
        finally:
            more |= {"printed": printed.text(), "drew": bool((state != torch.get_rng_state()).any())}
            torch.set_rng_state(state)

    def _explained(self, function: Callable, files: dict[str, str], number: str, N: Any) -> str:
        """What the check says to a student; only now, after all points are given, come the answers."""
        import tinyldm

        folder = Path.home() / "late"
        for name, text in files.items():
            (folder / "exercises" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "exercises" / name).write_text(text, "utf-8")
        for name in [name for name in sys.modules if name.startswith("tinyldm.exercises")]:
            del sys.modules[name]
        tinyldm.__path__.insert(0, str(folder))
        from tinyldm.checks import NotYet
        from tinyldm.exercises import examine, exercise

        try:
            with contextlib.redirect_stdout(_Printed()):
                examine(exercise(number, N), function)
        except NotYet as wrong:
            return str(wrong)[:1000]
        except BaseException:
            return ""
        return ""


def limited() -> Callable:
    """The time limit of the checks; from here on nothing that a student does to the module changes it."""
    from tinyldm.checks import _limited

    return _limited


def _shell() -> Any:
    """IPython's shell without history, colours and start-up files, and with pictures inline."""
    from IPython.core.displayhook import CapturingDisplayHook
    from IPython.core.displaypub import CapturingDisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "NoColor"
    config.InteractiveShell.xmode = "Context"
    shell = InteractiveShell.instance(config=config)
    shell.display_pub = CapturingDisplayPublisher(parent=shell)
    shell.display_trap.hook = CapturingDisplayHook(shell, shell.display_pub.outputs)
    shell.showtraceback = lambda *_, **__: None  # an error goes into the reply
    shell.ask_exit = lambda: None
    shell.enable_gui = lambda *_: None  # there is no window
    shell.showsyntaxerror = lambda *_, **__: None
    return shell


def _displayed(outputs: list[dict]) -> list[dict]:
    """What was displayed, as a notebook keeps it, up to a limit."""
    kept, size = [], 0
    for output in outputs:
        data = {kind: _as_text(part) for kind, part in output["data"].items() if isinstance(part, str | bytes)}
        size += sum(map(len, data.values()))
        if size > DISPLAYED:
            kept.append({"output_type": "stream", "name": "stdout", "text": "[more was displayed than fits here]"})
            break
        kept.append({"output_type": "display_data", "data": data, "metadata": {}})
    return kept


def _as_text(part: str | bytes) -> str:
    return part if isinstance(part, str) else base64.b64encode(part).decode()


def _told(error: BaseException) -> dict:
    """An error as a notebook keeps it, with the lines of the student's own cells."""
    import linecache
    import traceback

    lines = []
    for step in traceback.extract_tb(error.__traceback__, limit=200):
        if "ipykernel" in step.filename or step.filename.startswith("<ipython-input"):
            lines.append(f"line {step.lineno}: {linecache.getline(step.filename, step.lineno or 0).strip()}"[:300])
    try:
        text = str(error)[:2000]
    except BaseException:
        text = ""
    return {"ename": type(error).__name__, "evalue": text, "traceback": lines[-20:]}


def _definitions(source: str, name: str) -> list:
    """The code of each definition of a function on the first level of a cell."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    nodes = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    return [compile(ast.Module([node], []), "<earlier>", "exec") for node in nodes]


def _seal() -> None:
    """In place of the course's answers, a check that does nothing: functions are judged when all cells have run."""
    sealed = types.ModuleType("tinyldm.exercises")

    def check(number: str, function: Any, N: Any = None) -> Any:
        def later(*_: Any, **__: Any) -> Any:
            raise RuntimeError("what a check returns is not there while a notebook is graded")

        return later if N is not None else None

    sealed.check = check  # type: ignore[attr-defined]
    sys.modules["tinyldm.exercises"] = sealed


def main() -> None:
    """Serve the socket that is given by its number, with limits on memory, files and processes."""
    number, memory, processes = map(int, sys.argv[1:4])
    sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), sys.argv[4]]
    os.environ["HOME"] = sys.argv[5]
    for limit, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_FSIZE, 100 * 2**20),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        resource.setrlimit(limit, (most, most))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # Linux: end when the judge ends
    import torch

    torch.set_num_threads(1)  # a process that forks must not have threads
    sys.path.insert(0, "")  # as in Jupyter: a notebook can import what it has written with %%writefile
    _seal()
    os.dup2(1, 2)  # what could go wrong at the start has gone well
    with contextlib.suppress(BaseException):
        Worker(socket.socket(fileno=number)).serve()
    os._exit(0)


if __name__ == "__main__":
    builtins.input = lambda *_: ""  # nobody is there to type
    main()
