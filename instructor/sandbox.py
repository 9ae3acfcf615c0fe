"""A box for a stranger's code: no network, a home of its own, nothing of the teacher's in reach, limits on everything.

Three kinds, the best that the machine has: *bubblewrap* (a view of the file system in which there is only Python, the
package and an empty home, and no other process); for root without it, as in a Docker container, *a user of its own* for
each notebook; else *limits only*, which `kind` says, and the grader then says before it starts.

Memory, processes and written bytes are watched from outside, too. When a box is closed, everything that was started in
it is ended, also what tried to outlive it.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

import psutil

import tinyldm

MEMORY = 4 * 2**30  # bytes of all processes of a box
WRITTEN = 256 * 2**20  # bytes in its home
PROCESSES = 64
PREFIX = "tinyldm-grading-"
HERE = Path(__file__).resolve().parent
PACKAGE = Path(tinyldm.__file__).resolve().parent
USERS = itertools.count(61_000)  # a new one for each box
BUBBLEWRAP, OWN_USER, LIMITS = "bubblewrap", "a user of its own", "limits only"
ABOUT = {
    BUBBLEWRAP: "each notebook runs in bubblewrap: no network, no files but its own",
    OWN_USER: "bubblewrap is not to be had here: each notebook runs as a user of its own, and could use the network "
    "(in Docker: --network none)",
    LIMITS: "WARNING: there is no bubblewrap here: notebooks run with your permissions, and could use the network "
    "and your files. Install bubblewrap, or grade in Docker (instructor/README.md)",
}


NO_ROOT = (
    "Nothing was graded: students' code must not run as root. Install bubblewrap, or grade as somebody else, or put "
    "Python where other users can read it, so that each notebook can run as a user of its own."
)


class Broken(BaseException):
    """A box had to be closed; the text says why. (No Exception, which would be taken for an answer's.)"""


@cache
def kind() -> str:
    """The best kind of box that this machine has."""
    if sys.platform == "win32":
        raise SystemExit("Grading runs on Linux and macOS; on Windows use WSL or Docker (instructor/README.md).")
    if shutil.which("bwrap") and _works([*_bubblewrap(Path(sys.prefix)), sys.executable, "-c", ""]):
        return BUBBLEWRAP
    if os.geteuid() != 0:
        return LIMITS
    user = next(USERS)
    if _works([sys.executable, "-c", "import tinyldm"], user=user, group=user, extra_groups=[]):
        return OWN_USER
    raise SystemExit(NO_ROOT)


def _works(command: list[str], **how: Any) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True, cwd="/", **how).returncode == 0
    except OSError:
        return False


class Box:
    """A worker, running in a box; ``end`` is the socket to it.

    Args:
        how: BUBBLEWRAP, OWN_USER or LIMITS; by default the best that there is.
        memory: the most bytes.
    """

    def __init__(self, how: str | None = None, memory: int = MEMORY) -> None:
        self.how, self.memory = how or kind(), memory
        self.folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self.user = next(USERS) + os.getpid() % 1000 * 100 if self.how == OWN_USER else None
        self.others = {one.pid for one in psutil.Process().children(recursive=True)}
        self._looked = 0.0
        self.crowd = len(psutil.pids()) + 10 * PROCESSES  # of which nobody needs to ask whose they are
        self.end, other = socket.socketpair()
        try:
            self._start(other)
        except BaseException:
            self.close()
            raise
        finally:
            other.close()

    def _start(self, other: socket.socket) -> None:
        code, home = self.folder / "code", self.folder / "home"
        code.mkdir()
        home.mkdir(mode=0o700)
        for name in ("worker.py", "wire.py"):
            shutil.copy(HERE / name, code)
        numbers = map(str, (other.fileno(), self.memory, _processes()))
        command = [sys.executable, "-I", str(code / "worker.py"), *numbers, str(PACKAGE.parent)]
        if self.how == BUBBLEWRAP:
            command = [*_bubblewrap(code), *command, "/home/student"]
        else:
            command.append(str(home))
        if self.user:
            os.chmod(self.folder, 0o711)
            os.chmod(code, 0o755)
            os.chown(home, self.user, self.user)
        self.process = subprocess.Popen(
            command,
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "complaints").open("w"),
            cwd="/" if self.how == BUBBLEWRAP else home,
            env=_environment(home if self.how != BUBBLEWRAP else Path("/home/student")),
            start_new_session=True,
            **({"user": self.user, "group": self.user, "extra_groups": []} if self.user else {}),
        )

    def complaint(self) -> str:
        """The last line that Python printed when it could not start."""
        return ([""] + (self.folder / "complaints").read_text("utf-8", "replace")[-2000:].split("\n")[:-1])[-1]

    def watch(self) -> None:
        """Look whether the box keeps to its limits.

        Raises:
            Broken: if not; it is closed then.
        """
        if time.monotonic() < self._looked + 0.2:
            return
        self._looked = time.monotonic()
        inside = self._inside() if len(psutil.pids()) < self.crowd else [None] * (PROCESSES + 1)
        if len(inside) > PROCESSES or sum(map(_threads, inside)) > 4 * PROCESSES:
            self.close()
            raise Broken(f"started more than {PROCESSES} processes, or {4 * PROCESSES} threads")
        if sum(map(_memory, inside)) > self.memory:
            self.close()
            raise Broken(f"used more than {self.memory / 2**30:g} GB of memory")
        if self.how != BUBBLEWRAP and _size(self.folder) > WRITTEN:
            self.close()
            raise Broken(f"wrote more than {WRITTEN >> 20} MB")

    def _inside(self) -> list[psutil.Process]:
        """The processes in the box: whatever was started there, also if its parent has ended."""
        if self.user:
            return [one for one in psutil.process_iter() if _user(one) == self.user]
        with contextlib.suppress(psutil.Error):
            return [one for one in psutil.Process().children(recursive=True) if one.pid not in self.others]
        return []

    def close(self) -> None:
        """End everything in the box, and remove it."""
        self.end.close()
        if hasattr(self, "process"):
            self.process.kill()  # of bubblewrap, all that is in the box ends with it
        while inside := [one for one in self._inside() if _lives(one)]:
            for one in inside:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            time.sleep(0.005)
        if hasattr(self, "process"):
            self.process.wait()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass  # orphans
        shutil.rmtree(self.folder, ignore_errors=True)


def clear_away() -> None:
    """Remove what boxes of processes that were killed have left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = folder.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def adopt_orphans() -> None:
    """Let processes whose parent has ended become this one's children, so that none gets away (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def end_with_parent() -> None:
    """End this process when the one that started it ends, however that comes about (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def _processes() -> int:
    """How many processes and threads this user may have, so that a box can start PROCESSES more (no limit for root)."""
    mine = [one for one in psutil.process_iter() if _user(one) == os.getuid()]
    return PROCESSES + sum(_threads(one) for one in mine)


def _threads(process: psutil.Process | None) -> int:
    with contextlib.suppress(psutil.Error):
        return process.num_threads()
    return 0


def _user(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.uids().real
    return -1


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "PATH") if name in os.environ}
    own = {name: str(home) for name in ("HOME", "TMPDIR", "IPYTHONDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME")}
    return (
        kept
        | own
        | {"TINYLDM_PROFILE": "fast", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "MPLBACKEND": "agg"}
    )


def _bubblewrap(code: Path) -> list[str]:
    """The command before a command: a file system with Python, the package without its answers, and an empty home."""
    size = str(WRITTEN)
    command = ["bwrap", "--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
    command += ["--disable-userns"] if _disables() else []
    command += ["--die-with-parent", "--new-session", "--hostname", "student", "--proc", "/proc", "--dev", "/dev"]
    for name in ("sys", "sysrq-trigger", "irq", "bus", "acpi"):  # which root may write to, also without its powers
        command += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    command += ["--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    for path in map(Path, ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc/alternatives", "/etc/fonts")):
        command += _shown(path)
    for path in map(Path, ("/etc/ld.so.cache", "/etc/localtime")):
        command += _shown(path)
    command += ["--size", size, "--tmpfs", "/tmp", "--size", size, "--tmpfs", "/home"]
    for path in sorted({Path(sys.base_prefix), Path(sys.prefix), PACKAGE, PACKAGE.parent / "data"}):
        if path.exists() and not path.is_relative_to("/usr"):
            command += ["--ro-bind", str(path), str(path)]
    command += ["--tmpfs", str(PACKAGE / "exercises"), "--remount-ro", str(PACKAGE / "exercises")]
    command += ["--ro-bind", str(code), str(code), "--dir", "/home/student", "--chdir", "/home/student"]
    return [*command, "--remount-ro", "/", "--"]


@cache
def _disables() -> bool:
    """Whether bubblewrap can forbid further name spaces (0.8 and newer)."""
    return b"--disable-userns" in subprocess.run(["bwrap", "--help"], check=False, capture_output=True).stdout


def _shown(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", os.readlink(path), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.exists() else []


def _memory(process: psutil.Process) -> int:
    """Bytes that a process has for itself, and its share of what it has with others."""
    with contextlib.suppress(psutil.Error, AttributeError):
        return process.memory_full_info().pss
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def _size(folder: Path) -> int:
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(where, name)).st_blocks * 512
    return total
