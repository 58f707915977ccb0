"""The file of an audit, wherever its name leads: lines are put behind its end, under its lock.

Several processes may append to it. It is looked up by name before each append, and read again when somebody else
has appended, so that the chain goes on from its true end, and in the new file after a rotation.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from protocol.ops.chain import (
    CONTINUED,
    START,
    TORN,
    TORN_MAX,
    ChainError,
    Link,
    end_of,
    forge,
    read,
    torn_values,
)

LOCK_PATIENCE: Final = 1.0
"""Seconds that another process may hold the file's lock."""

Entry = tuple[float, str, dict[str, Any]]
"""A line to be: time.time(), event and values."""


class ChainFile:
    """`open`, then `append`, then `close`. From one thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._size = -1
        self._torn = b""
        self._open_end = False  # the file does not end with a line's end
        self.link: Link = START

    def open(self) -> None:
        """Find the end of the chain. Raises OSError, or ChainError when the last line is not of a chain."""
        fd = _open(self._path)
        try:
            with _locked(fd):
                self._fd = fd
                self._look()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def append(self, entries: list[Entry]) -> None:
        """Put lines behind the last, sync. Raises OSError or ChainError; then none of them counts as written."""
        with _locked(self._fd):
            self._look()
            if self._is_current():
                self._put(entries)
                return
            # Rotated: nobody appends to the former file any more while its lock is held here.
            fd = _open(self._path)
            try:
                with _locked(fd):
                    former, self._fd, self._size = self._fd, fd, -1
                    try:
                        self._look()
                        self._put(entries)
                    except BaseException:
                        self._fd = former
                        raise
            except BaseException:
                os.close(fd)
                self._size = -1
                raise
        os.close(former)

    def _is_current(self) -> bool:
        ours = os.fstat(self._fd)
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) == (named.st_dev, named.st_ino)

    def _look(self) -> None:
        """Where the chain stands, when another process has appended since, or an append failed."""
        size = os.fstat(self._fd).st_size
        if size == self._size:
            return
        data = os.pread(self._fd, TORN_MAX, max(0, size - TORN_MAX))
        whole = data and not data.endswith(b"\n") and _is_sound(data.rpartition(b"\n")[2] + b"\n")
        link, torn = end_of(data + b"\n" if whole else data)
        self._open_end = bool(data) and not data.endswith(b"\n")
        if link is None and size > len(data):
            raise ChainError("is not a line of an audit file")
        self._size, self._torn, self.link = size, torn, link or self.link

    def _put(self, entries: list[Entry]) -> None:
        data, link = b"\n" if self._open_end else b"", self.link
        now = _text(time.time())
        if self._torn:
            line, link = forge(link, now, TORN, torn_values(self._torn))
            data += line
        elif not self._size and link.seq:
            data, link = forge(link, now, CONTINUED, {})
        for when, event, values in entries:
            line, link = forge(link, _text(when), event, values)
            data += line
        size, self._size = self._size, -1
        if os.write(self._fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(self._fd)
        self._size, self.link, self._torn, self._open_end = size + len(data), link, b"", False


def _is_sound(line: bytes) -> bool:
    try:
        read(line)
    except ChainError:
        return False
    return True


def _open(path: Path) -> int:
    """O_NONBLOCK: opening a FIFO must not wait for a reader."""
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it is not a file")
    return fd


@contextlib.contextmanager
def _locked(fd: int) -> Iterator[None]:
    """Hold the file's lock. Raises OSError when another process does not let go of it."""
    end = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= end:
                raise OSError(errno.EAGAIN, "another process holds its lock") from None
            time.sleep(0.01)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def _text(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
