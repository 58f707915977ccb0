"""The audit: what an investigator asks for later, as a chain of lines (`protocol.ops.chain`) in a file.

    audit = make(path)       # None: off, every call does nothing
    audit.start()
    audit.write("session opened", agent="leeds-1", peer="10.0.0.1")
    audit.close()

`write` only queues; a thread appends, many lines with one call, and syncs the disk after each append. What does
not fit into the queue, or cannot be written, is counted, and the next line says `lost`. Events whose name ends in
"refused" are merged: of one kind (event, code and reason) at most FLOOD lines a second are written, of all kinds
FLOOD_ALL, then a line `merged` with the count of the rest of each.

Several processes may append to one file, and after a rotation by renaming the chain goes on in the new one (SIGHUP
writes a line at once): `protocol.ops.chainfile`.
Never give it tokens, header values, query values or bodies.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from protocol.ops import log
from protocol.ops.chain import ChainError, clean
from protocol.ops.chainfile import ChainFile, Entry
from protocol.ops.sockets import StartError

QUEUE_MAX: Final = 10_000
"""Lines that wait for the thread."""

PIECE: Final = 500
"""Lines appended and synced at once."""

GATHER: Final = 0.05
"""Seconds a line waits for company."""

FLOOD: Final = 10
"""Lines of one kind of refusal in one second; the rest are counted."""

FLOOD_ALL: Final = 50
"""Lines of refusals of all kinds in one second: strangers can invent kinds."""

KINDS_MAX: Final = 16
"""Kinds of refusal told apart in one second."""

_log = log.get("audit")


class Audit:
    """The audit that is off: every method may be called and does nothing."""

    written = 0
    """Lines written so far."""
    lost = 0
    """Lines that could not be kept or written."""

    def start(self) -> None:
        """Open the file and start the thread. Raises StartError."""

    def write(self, event: str, **fields: Any) -> None:
        """Queue one line; it is on disk within some 100 ms. Never blocks and never raises.

        Values are numbers, truth values, text, or lists of text; longer ones are cut (`chain.clean`).
        """

    def close(self, timeout: float = 2.0) -> bool:
        """Write what is queued and end the thread. False when `timeout` seconds were not enough."""
        del timeout
        return True


def make(path: Path | None) -> Audit:
    """The audit that `[audit] file` asks for."""
    return Audit() if path is None else AuditFile(path)


def file_hash(path: Path) -> str:
    """The SHA-256 of a configuration file, "" when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


class AuditFile(Audit):
    """Call `start`, then `write`, then `close`. All from one thread."""

    def __init__(self, path: Path, *, queue_max: int = QUEUE_MAX) -> None:
        self.written = 0
        self.lost = 0
        self._path = path
        self._queue: deque[Entry] = deque()
        self._queue_max = queue_max
        self._floods = _Floods()
        self._untold = 0
        self._file = ChainFile(path)
        self._lock = threading.Lock()  # of the counters and floods, which both threads change
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._give_up = 0.0
        self._thread: threading.Thread | None = None
        self._broken = False

    def start(self) -> None:
        try:
            self._file.open()
        except ChainError as error:
            raise StartError(
                f"the last line of the audit file {self._path} {error}: look at it with `audit verify`, keep it, "
                "and move it away, so that a new one can begin"
            ) from None
        except OSError as error:
            raise StartError(
                f"the audit file {self._path} cannot be written ({error.strerror}): see that its directory exists "
                "and that this user may write there, or change audit.file"
            ) from None
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()
        _log.info("audit begins", file=str(self._path), line=self._file.link.seq, last_hash=self._file.link.hash)

    def write(self, event: str, **fields: Any) -> None:
        now = time.time()
        with self._lock:
            self._queue.extend(self._floods.ended(now))
            if self._closing.is_set() or len(self._queue) >= self._queue_max:
                self.lost += 1
                self._untold += 1
            elif not event.endswith("refused") or self._floods.admits(now, event, fields):
                self._queue.append((now, event, clean(fields)))
        self._wake.set()

    def close(self, timeout: float = 2.0) -> bool:
        thread = self._thread
        if thread is None:
            return True
        self._give_up = time.monotonic() + timeout
        self._closing.set()
        self._wake.set()
        thread.join(timeout + 0.1)
        if thread.is_alive():
            return False
        self._thread = None
        _log.info("audit ends", file=str(self._path), line=self._file.link.seq, last_hash=self._file.link.hash)
        self._file.close()
        return not self._queue and not self._untold

    def _run(self) -> None:
        while True:
            self._wake.wait(1.0 if self._floods.counting else None)
            self._closing.wait(GATHER)
            self._wake.clear()
            closing = self._closing.is_set()
            with self._lock:
                self._queue.extend(self._floods.ended(float("inf") if closing else time.time()))
            while self._queue or (closing and self._untold):
                if not self._append() and closing:
                    return
                if closing and time.monotonic() >= self._give_up:
                    return
            if closing:
                return

    def _append(self) -> bool:
        """Write the next lines, which are lost if that fails."""
        with self._lock:
            entries = [self._queue.popleft() for _ in range(min(PIECE, len(self._queue)))]
            untold, self._untold = self._untold, 0
        if not entries:
            entries = [(time.time(), "lost", {})]
        if untold:
            when, event, values = entries[0]
            entries[0] = when, event, {**values, "lost": untold}
        try:
            self._file.append(entries)
        except Exception as error:  # whatever it is, the thread goes on
            with self._lock:
                self.lost += len(entries)
                self._untold += untold + len(entries)
            if not self._broken:
                self._broken = True
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                _log.error("the audit cannot be written", file=str(self._path), reason=reason)
            return False
        self.written += len(entries)
        if self._broken:
            self._broken = False
            _log.info("the audit is written again", file=str(self._path), lost=untold)
        return True


class _Floods:
    """How many refusals of each kind there were in this second."""

    def __init__(self) -> None:
        self._second = 0
        self._told: dict[tuple[str, str, str], int] = {}
        self._merged: dict[tuple[str, str, str], int] = {}

    @property
    def counting(self) -> bool:
        """Whether something is to be told when the second is over."""
        return bool(self._merged)

    def admits(self, now: float, event: str, fields: dict[str, Any]) -> bool:
        """Whether it gets a line of its own. `ended` was called with the same `now`."""
        self._second = int(now)
        kind = event, str(fields.get("code", ""))[:64], str(fields.get("reason", ""))[:256]
        if kind not in self._told and len(self._told) >= KINDS_MAX:
            kind = event, "", ""
        told = self._told.get(kind, 0)
        if told < FLOOD and sum(self._told.values()) < FLOOD_ALL:
            self._told[kind] = told + 1
            return True
        if kind not in self._merged and len(self._merged) >= KINDS_MAX:
            kind = event, "", ""
        self._merged[kind] = self._merged.get(kind, 0) + 1
        return False

    def ended(self, now: float) -> Iterator[Entry]:
        """The lines that say what was merged, once the second is over."""
        if (self._told or self._merged) and now >= self._second + 1:
            for (event, code, reason), count in self._merged.items():
                values = clean({"of": event, "code": code, "reason": reason, "count": count})
                yield self._second + 0.999, "merged", values
            self._told.clear()
            self._merged.clear()
