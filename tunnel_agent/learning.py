"""The file of `run --learn`: written anew every LEARN_EVERY seconds and at the end, as a whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

from protocol.ops import log
from protocol.ops.sockets import StartError

from .learn import Learner

LEARN_EVERY: Final = 10.0

_log = log.get("learn")


class Learning:
    """`start`, then `run` in a task of the process, `finish` at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = ""
        self._broken = False
        self._writing = asyncio.Lock()
        self.learner = Learner()

    def start(self) -> None:
        """Write the file for the first time. Raises StartError."""
        try:
            _write(self._path, self.learner.text())
        except OSError as error:
            raise StartError(
                f"the file {self._path} of --learn cannot be written ({error.strerror}): see that its directory "
                "exists and that this user may write there"
            ) from None
        _log.warning("shapes of requests are recorded; the boundary stays in force", file=str(self._path))

    async def run(self) -> None:
        """Write what was learned, for ever."""
        while True:
            await asyncio.sleep(LEARN_EVERY)
            await self.finish()

    async def finish(self) -> None:
        """Write what was learned since the last time."""
        async with self._writing:
            text = self.learner.text()
            if text == self._written:
                return
            try:
                await asyncio.to_thread(_write, self._path, text)
            except OSError as error:
                if not self._broken:
                    _log.error("what was learned cannot be written", file=str(self._path), reason=error.strerror)
                self._broken = True
            else:
                self._written = text
                self._broken = False


def _write(path: Path, text: str) -> None:
    """Put `text` in the file's place, whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.new")
    try:
        with open(beside, "x", encoding="ascii", opener=_private) as file:  # never what somebody has put there
            file.write(text)
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
