"""What the hub remembers about agents' keys: one SQLite file, shared by the hub's processes and its commands.

The file is made by commands only (`State.create`); a hub without one keeps no state. What is revoked stays
revoked: a row of that table is never taken away. Times are seconds of the wall clock.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from protocol.keys import KeyFileError, PublicKey, parse_public_line

VERSION: Final = 1
"""Of the schema, kept in `user_version`."""

BUSY_TIMEOUT: Final = 0.5
"""Seconds that a write of the running hub may wait for another process's; readers wait for nobody."""

LIVE_KEYS: Final = 2
"""Enrolled keys of an agent that may be good at once: the one in use and its successor."""

KEPT: Final = 30 * 86400.0
"""Seconds for which a token that is no good any more is remembered, so that the log can say why."""

_SCHEMA: Final = """
CREATE TABLE tokens
  (id BLOB PRIMARY KEY, agent TEXT NOT NULL, key TEXT NOT NULL, expires REAL NOT NULL, used REAL);
CREATE TABLE keys (key TEXT PRIMARY KEY, agent TEXT NOT NULL, at REAL NOT NULL, how TEXT NOT NULL);
CREATE TABLE revoked (key TEXT PRIMARY KEY, agent TEXT NOT NULL, at REAL NOT NULL);
"""


class StateError(ValueError):
    """The state cannot be used: one sentence with what is wrong and what to do."""


class RefusedError(Exception):
    """A key is not taken: the exact reason, for the hub's log. `full`: because the agent has LIVE_KEYS already."""

    def __init__(self, reason: str, *, full: bool = False) -> None:
        super().__init__(reason)
        self.full = full


class Token(NamedTuple):
    """A one-time token, without its secret."""

    agent: str
    key: PublicKey
    """Verifies what is signed with the token."""
    expires: float
    used: float | None


class Enrolled(NamedTuple):
    """A key that an agent registered by itself. how: "token" or "rotation"."""

    agent: str
    at: float
    how: str


class Revoked(NamedTuple):
    """A key that is refused for good, wherever it stands."""

    agent: str
    at: float


class Facts(NamedTuple):
    """All that the file says at one moment."""

    tokens: dict[bytes, Token]
    keys: dict[PublicKey, Enrolled]
    revoked: dict[PublicKey, Revoked]

    def agents(self) -> set[str]:
        """Whoever is named."""
        tables: tuple[Mapping[Any, Token | Enrolled | Revoked], ...] = (self.tokens, self.keys, self.revoked)
        return {row.agent for table in tables for row in table.values()}

    def live(self, agent: str) -> list[PublicKey]:
        """The agent's enrolled keys that are good, the oldest first."""
        return [key for key, row in self.keys.items() if row.agent == agent and key not in self.revoked]


NOTHING: Final = Facts({}, {}, {})


class State:
    """An open file. Call `close` at the end. Its methods raise StateError, and block for BUSY_TIMEOUT at most."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        """The existing file `path`."""
        self._path = path
        self._now = now
        if not exists(path):
            raise StateError(f"The state file {path} does not exist: 'tunnel-hub enrol-token' makes it.")
        with self._explained():
            if path.stat().st_mode & 0o022:  # whoever writes it lets agents in
                raise StateError(f"The state file {path} can be written by others than its owner: chmod 600 it.")
            self._database = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            with self._explained():
                self._check_version()
                self._database.execute("PRAGMA synchronous = FULL")  # a token that was used stays used
            self._inode = path.stat().st_ino
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def create(cls, path: Path, now: Callable[[], float] = time.time) -> State:
        """The file `path`, made with mode 0600 if it does not exist. Raises StateError."""
        if not exists(path):
            _make(path)
        return cls(path, now)

    def close(self) -> None:
        self._database.close()

    # -- Reading --------------------------------------------------------------------------------------

    def version(self) -> int:
        """A number that differs whenever another connection has changed the file. Cheap: asked often."""
        with self._explained():
            if self._path.stat().st_ino != self._inode:
                raise StateError(f"The state file {self._path} was replaced by another: restart the hub.")
            return int(self._database.execute("PRAGMA data_version").fetchone()[0])

    def facts(self) -> Facts:
        """Everything, read at one moment."""
        with self._explained(), self._transaction("DEFERRED"):
            return self._facts()

    # -- Writing --------------------------------------------------------------------------------------

    def add_token(self, token_id: bytes, agent: str, key: PublicKey, ttl: float) -> float:
        """Let whoever can sign for `key` enrol once, within `ttl` seconds; returns when that ends."""
        now = self._now()
        with self._explained(), self._transaction("IMMEDIATE"):
            self._database.execute("DELETE FROM tokens WHERE expires < ?", (now - KEPT,))
            self._database.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, NULL)", (token_id, agent, key.line, now + ttl)
            )
        return now + ttl

    def enrol(self, agent: str, key: PublicKey, token_id: bytes) -> None:
        """Use the token up and register the key, both or neither. Raises RefusedError."""
        now = self._now()
        with self._explained(), self._transaction("IMMEDIATE"):
            facts = self._facts()
            token = facts.tokens.get(token_id)
            if token is None:
                raise RefusedError("no such token")
            if token.agent != agent:
                raise RefusedError(f"the token is for {token.agent}")
            if token.used is not None:
                raise RefusedError("the token was used before")
            if token.expires <= now:
                raise RefusedError("the token has expired")
            self._add(facts, agent, key, "token", now)
            self._database.execute("UPDATE tokens SET used = ? WHERE id = ?", (now, token_id))

    def rotate(self, agent: str, key: PublicKey) -> None:
        """Register the successor of a key that was proven. Raises RefusedError."""
        with self._explained(), self._transaction("IMMEDIATE"):
            self._add(self._facts(), agent, key, "rotation", self._now())

    def revoke(self, agent: str, keys: list[PublicKey]) -> list[PublicKey]:
        """Refuse these keys for good; returns those that were not revoked before."""
        now = self._now()
        with self._explained(), self._transaction("IMMEDIATE"):
            known = self._facts().revoked
            fresh = [key for key in keys if key not in known]
            self._database.executemany(
                "INSERT INTO revoked VALUES (?, ?, ?)", [(key.line, agent, now) for key in fresh]
            )
        return fresh

    def cancel_tokens(self, agent: str) -> int:
        """Nobody enrols as this agent with a token made before; returns how many were open."""
        now = self._now()
        with self._explained(), self._transaction("IMMEDIATE"):
            cursor = self._database.execute(
                "UPDATE tokens SET expires = ? WHERE agent = ? AND used IS NULL AND expires > ?", (now, agent, now)
            )
            return cursor.rowcount

    # -- Within a transaction -------------------------------------------------------------------------

    def _facts(self) -> Facts:
        read = self._database.execute
        return Facts(
            {
                bytes(token_id): Token(
                    str(agent), _key(key), float(expires), None if used is None else float(used)
                )
                for token_id, agent, key, expires, used in read("SELECT id, agent, key, expires, used FROM tokens")
            },
            {
                _key(key): Enrolled(str(agent), float(at), str(how))
                for key, agent, at, how in read("SELECT key, agent, at, how FROM keys ORDER BY at, rowid")
            },
            {
                _key(key): Revoked(str(agent), float(at))
                for key, agent, at in read("SELECT key, agent, at FROM revoked ORDER BY at, rowid")
            },
        )

    def _add(self, facts: Facts, agent: str, key: PublicKey, how: str, now: float) -> None:
        if key in facts.revoked:
            raise RefusedError("the key was revoked")
        known = facts.keys.get(key)
        if known is not None and known.agent != agent:
            raise RefusedError(f"the key is registered for {known.agent}")
        if known is not None:
            return
        if len(facts.live(agent)) >= LIVE_KEYS:
            raise RefusedError(f"the agent has {LIVE_KEYS} enrolled keys already", full=True)
        self._database.execute("INSERT INTO keys VALUES (?, ?, ?, ?)", (key.line, agent, now, how))

    @contextlib.contextmanager
    def _transaction(self, kind: str) -> Iterator[None]:
        self._database.execute(f"BEGIN {kind}")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Whatever goes wrong with the file becomes a StateError."""
        try:
            yield
        except (sqlite3.Error, OSError, TypeError, KeyFileError) as error:
            raise _explain(self._path, error) from None

    def _check_version(self) -> None:
        found = int(self._database.execute("PRAGMA user_version").fetchone()[0])
        if not found:
            raise _damaged(self._path, "without tables")
        if found != VERSION:
            raise StateError(
                f"The state file {self._path} is not this release's (version {found}, not {VERSION}): name "
                "another file under [state], or run the release that wrote it."
            )


def exists(path: Path) -> bool:
    """Whether there is a state. One that cannot be looked at is no less there: StateError."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _explain(path, error) from None
    return True


def _make(path: Path) -> None:
    """A file with the tables and nothing in them, which appears whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.urandom(4).hex()}.new")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        try:
            database = sqlite3.connect(draft, isolation_level=None)
            try:
                # One process may read while another writes, so that a command never holds the running hub up.
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
            finally:
                database.close()
            with contextlib.suppress(FileExistsError):  # another command was faster: its file is as good
                os.link(draft, path)
        finally:
            os.unlink(draft)
    except (sqlite3.Error, OSError) as error:
        raise _explain(path, error) from None


def _key(line: object) -> PublicKey:
    return parse_public_line(str(line))


def _explain(path: Path, error: Exception) -> StateError:
    if isinstance(error, OSError):
        return StateError(
            f"The state file {path} cannot be used ({error.strerror}): let the user that runs the hub own it and "
            "its folder."
        )
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StateError(f"The state file {path} is in use by another process: try again.")
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL):
        return StateError(
            f"The state file {path} cannot be read or written: let the user that runs the hub own it and its "
            "folder, and check the space on its disk."
        )
    return _damaged(path, type(error).__name__)


def _damaged(path: Path, reason: str) -> StateError:
    return StateError(
        f"The state file {path} is damaged or no state file ({reason}): restore it from a backup, or move it away "
        "and enrol the agents again."
    )
