"""Every file of what was handed in: a folder, one file, or a zip, with zips inside; nothing is written to the disk.

A zip is a stranger's: its names may lead out of the folder, its sizes may lie, its entries may be links. Whatever is
not opened is named with a reason, and everything else goes on. Sizes are measured while unpacking.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

MEGABYTE, LONGEST = 2**20, 1000
LINK, DEVICE = "it is a link, and links are not followed", "it is a device or a pipe, not a file"
NOT_FILES = {"__macosx", "thumbs.db", "desktop.ini"}  # besides hidden ones
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, struct.error, IndexError)
UTF8_FLAG, ENCRYPTED, UNIX_TIMES = 0x800, 0x1, 0x5455


@dataclass(frozen=True)
class Limits:
    """What is opened at most.

    Args:
        files: number of files in all.
        file: bytes of one file, unpacked.
        unpacked: bytes of all files from zips, unpacked.
        depth: zips in zips; 1 opens no zip within a zip.
    """

    files: int = 20_000
    file: int = 25 * MEGABYTE
    unpacked: int = 4096 * MEGABYTE
    depth: int = 4


@dataclass(frozen=True)
class File:
    """A file that was handed in.

    Args:
        path: inside the hand-in, with "/"; zips count as folders.
        data: its bytes.
        time: of the file, or of its entry in the zip.
        zips: how many parts of the path lead to each zip around it, and the time of that zip, outermost first.
    """

    path: str
    data: bytes
    time: datetime | None
    zips: tuple[tuple[int, datetime | None], ...] = ()


class Refused(Exception):
    """A reason not to open something, in words."""


@dataclass
class Unpacker:
    """Opens what was handed in; ``refused`` fills while `files` is read."""

    limits: Limits = field(default_factory=Limits)
    refused: list[str] = field(default_factory=list)
    count: int = 0
    unpacked: int = 0

    def files(self, handed_in: Path) -> Iterator[File]:
        """All files in the order of their names, hidden ones left out."""
        if not handed_in.is_dir():
            yield from self._from_disk(handed_in, handed_in.name)
            return
        folders = [(handed_in, "")]
        while folders:
            folder, inside = folders.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                self.refuse(inside, "the folder cannot be read")
                continue
            for entry in entries:
                path = inside + shown(decoded(os.fsencode(entry.name)))
                if is_skipped(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append((Path(entry.path), f"{path}/"))
                else:
                    yield from self._from_disk(Path(entry.path), path)

    def refuse(self, path: str, reason: str) -> None:
        if self.count <= self.limits.files + 1:
            self.refused.append(f"{path}: {reason}")

    def _from_disk(self, place: Path, path: str) -> Iterator[File]:
        try:
            status = place.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise Refused(LINK if stat.S_ISLNK(status.st_mode) else DEVICE)
            time = datetime.fromtimestamp(status.st_mtime, UTC).astimezone()
            if path.lower().endswith(".zip") and zipfile.is_zipfile(place):
                yield from self._from_zip(place, path, ((path.count("/") + 1, time),))
                return
            self._count()
            if status.st_size > self.limits.file:
                raise Refused(self._too_large())
            yield File(path, place.read_bytes(), time)
        except Refused as reason:
            self.refuse(path, str(reason))
        except (OSError, OverflowError):
            self.refuse(path, "it cannot be read")

    def _from_zip(self, source: Path | io.BytesIO, path: str, zips: tuple) -> Iterator[File]:
        try:
            archive = open_zip(source)
        except DAMAGED as damage:
            self.refuse(path, f"the zip is damaged ({one_line(damage)})")
            return
        entries = [info for info in archive.infolist() if not name_of(info).endswith("/")]
        names = Counter(map(name_of, entries))
        for info in entries:
            name = name_of(info)
            inner = f"{path}/{shown(name[:LONGEST])}"
            try:
                self._check(info, name, names)
                if not any(map(is_skipped, name.split("/"))):
                    yield from self._entry(archive, info, inner, zips)
            except Refused as reason:
                self.refuse(inner, str(reason))
            except DAMAGED as damage:
                self.refuse(inner, f"it is damaged ({one_line(damage)})")

    def _check(self, info: zipfile.ZipInfo, name: str, names: Counter) -> None:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in name.split("/"):
            raise Refused("its name leads out of the folder")
        if not 0 < len(name) <= LONGEST:
            raise Refused("its name is too long" if name else "it has no name")
        if names[name] > 1:
            raise Refused(f"the zip has {names[name]} files of this name: unpack it by hand")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused(LINK if kind == stat.S_IFLNK else DEVICE)
        if info.flag_bits & ENCRYPTED:
            raise Refused("it is encrypted: unpack it with its password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Refused("it is compressed in an uncommon way: unpack it by hand")
        if info.file_size > self.limits.file:
            raise Refused(self._too_large())

    def _entry(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: str, zips: tuple) -> Iterator[File]:
        self._count()
        data, time = self._read(archive, info), time_of(info)
        if path.lower().endswith(".zip") and zipfile.is_zipfile(io.BytesIO(data)):
            if len(zips) >= self.limits.depth:
                raise Refused(f"it is a zip inside {self.limits.depth} others")
            yield from self._from_zip(io.BytesIO(data), path, (*zips, (path.count("/") + 1, time)))
        else:
            yield File(path, data, time, zips)

    def _read(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
        data = bytearray()
        with archive.open(info) as stream:
            while piece := stream.read(2**16):
                data += piece
                self.unpacked += len(piece)
                if len(data) > self.limits.file:
                    raise Refused(self._too_large())
                if self.unpacked > self.limits.unpacked:
                    raise Refused(f"the zips hold more than {self.limits.unpacked // MEGABYTE} MB in all")
        return bytes(data)

    def _count(self) -> None:
        self.count += 1
        if self.count > self.limits.files:
            raise Refused(f"neither it nor what follows is opened: there are more than {self.limits.files} files")

    def _too_large(self) -> str:
        return f"it is larger than {self.limits.file / MEGABYTE:g} MB"


def is_skipped(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system leaves behind."""
    return name.startswith(".") or name.lower() in NOT_FILES


def decoded(raw: bytes) -> str:
    """A file name in UTF-8, or else in what makes the most letters of it: MS-DOS's or Windows's encoding."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        guesses = raw.decode("cp437"), raw.decode("cp1252", "replace")
        return max(guesses, key=lambda text: sum(unicodedata.name(c, "").startswith("LATIN") for c in text))


def shown(name: str) -> str:
    """A name that can be printed on one line, whatever is in it."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in name)


def one_line(error: Exception) -> str:
    """What an error says, cut short."""
    return shown(" ".join(str(error).split())[:100]) or type(error).__name__


def name_of(info: zipfile.ZipInfo) -> str:
    """An entry's name with "/" between its parts; without the UTF-8 flag, zipfile reads all names as MS-DOS's."""
    name = info.orig_filename
    if not info.flag_bits & UTF8_FLAG:
        name = decoded(name.encode("cp437"))
    name = name.replace("\\", "/")
    return "/".join(part for part in name.split("/") if part != ".") if "." in name.split("/") else name


def time_of(info: zipfile.ZipInfo) -> datetime | None:
    """When an entry was last changed: to the second in UTC if the zip says so, or else in the local time zone."""
    try:
        extra = info.extra
        while len(extra) >= 9:
            kind, size = struct.unpack_from("<HH", extra)
            if kind == UNIX_TIMES and extra[4] & 1:
                return datetime.fromtimestamp(struct.unpack_from("<l", extra, 5)[0], UTC).astimezone()
            extra = extra[4 + size :]
        time = datetime(*info.date_time)
        return None if time == datetime(1980, 1, 1) else time.astimezone()  # the earliest there is: not known
    except (ValueError, OverflowError, OSError, struct.error):
        return None


def open_zip(source: Path | io.BytesIO) -> zipfile.ZipFile:
    """A zip, even if some of its names are not in the UTF-8 that it promises."""
    try:
        return zipfile.ZipFile(source)
    except UnicodeDecodeError:
        data = bytearray(source.read_bytes() if isinstance(source, Path) else source.getvalue())
        _promise_no_utf8(data)
        return zipfile.ZipFile(io.BytesIO(data))


def _promise_no_utf8(data: bytearray) -> None:
    """Clear the flag of each entry whose name isn't UTF-8, in the zip's directory and in front of the entry's data."""
    end = data.rfind(b"PK\x05\x06")
    size, offset = struct.unpack_from("<LL", data, end + 12)
    at = end - size
    shift = at - offset  # of all offsets, if something stands in front of the zip
    while data[at : at + 4] == b"PK\x01\x02":
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        try:
            data[at + 46 : at + 46 + name].decode("utf-8")
        except UnicodeDecodeError:
            for flags in (at + 8, struct.unpack_from("<L", data, at + 42)[0] + shift + 6):
                data[flags + 1] &= ~(UTF8_FLAG >> 8)
        at += 46 + name + extra + comment
