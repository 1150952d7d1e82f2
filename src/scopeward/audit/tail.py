"""What was appended to the audit files since the last look."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from scopeward.audit.files import LONGEST_LINE, audit_files

LARGEST_CHUNK: Final = LONGEST_LINE
"""Bytes of one read: what the event loop of a busy node can spare at once."""


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a file was read. Device and inode tell whether a file of this name is still the one that was read."""

    device: int
    inode: int
    offset: int


class Tail:
    """Follows all audit files of a folder, also those that appear later.

    1. Only whole lines come out; a last line without its end waits for it.
    2. A file that became shorter than what was read of it, or was replaced by another of its name, is read from its beginning. One that was cut
       and has grown past that place between two reads looks like one that only grew.
    3. A file that was moved away is forgotten.
    4. What is longer than a chunk and has no line end is nothing that Envoy wrote. It comes out in pieces, so that it holds nothing up; none of
       them reads as an audit line.
    """

    def __init__(self, folder: Path, *, from_beginning: bool = False) -> None:
        self._folder = folder
        self._places: dict[Path, _Place] = {}
        if not from_beginning:
            for path in audit_files(folder):
                self._skip(path)

    @property
    def offsets(self) -> Mapping[Path, int]:
        """How far each file was read, in bytes; always the beginning of a line."""
        return {path: place.offset for path, place in self._places.items()}

    def read(self) -> bytes:
        """The next whole lines, at most ``LARGEST_CHUNK`` bytes of one file; empty where nothing was appended. Read until it is empty to catch up."""
        files = audit_files(self._folder)
        for gone in self._places.keys() - set(files):
            del self._places[gone]
        for path in files:
            chunk = self._read(path)
            if chunk:
                return chunk
        return b""

    def chunks(self) -> Iterator[bytes]:
        """All that was appended until now."""
        while chunk := self.read():
            yield chunk

    def _read(self, path: Path) -> bytes:
        if self._unchanged(path):
            return b""
        try:
            with path.open("rb") as file:
                place = self._place(path, file)
                file.seek(place.offset)
                found = file.read(LARGEST_CHUNK)
        except OSError:  # moved away between the listing and now
            return b""
        end = found.rfind(b"\n") + 1
        whole = found[:end] if end or len(found) < LARGEST_CHUNK else found
        self._places[path] = _Place(place.device, place.inode, place.offset + len(whole))
        return whole if end or not whole else whole + b"\n"

    def _unchanged(self, path: Path) -> bool:
        """Whether a look at the folder is enough; most files are of earlier starts and grow no more."""
        known = self._places.get(path)
        try:
            return known is not None and _seen(path.stat()) == (known.device, known.inode, known.offset)
        except OSError:
            return True

    def _place(self, path: Path, file: BinaryIO) -> _Place:
        """Where to go on; the beginning of a file that was not read before, or is not what was read."""
        device, inode, size = _identity(file)
        known = self._places.get(path)
        if known and (known.device, known.inode) == (device, inode) and size >= known.offset:
            return known
        return _Place(device, inode, 0)

    def _skip(self, path: Path) -> None:
        """Begin after the file's last whole line."""
        try:
            with path.open("rb") as file:
                device, inode, size = _identity(file)
                start = max(0, size - LARGEST_CHUNK)
                file.seek(start)
                found = file.read(size - start)
        except OSError:
            return
        last = found.rfind(b"\n") + 1
        self._places[path] = _Place(device, inode, start + last if last or start == 0 else size)


def _identity(file: BinaryIO) -> tuple[int, int, int]:
    """Device, inode and size of an open file."""
    return _seen(os.fstat(file.fileno()))


def _seen(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_dev, found.st_ino, found.st_size
