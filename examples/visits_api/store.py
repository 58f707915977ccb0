"""The SQLite database: schema, synthetic rows, and one connection used by one thread.

Nothing awaits inside a transaction and every transaction takes the write lock first (BEGIN IMMEDIATE), so
concurrent requests, and other processes on the same file, see each booking whole or not at all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from examples.visits_api import data

_SCHEMA = """
CREATE TABLE IF NOT EXISTS offender (
    id INTEGER PRIMARY KEY, noms_id TEXT NOT NULL UNIQUE, given_name TEXT NOT NULL, surname TEXT NOT NULL,
    date_of_birth TEXT NOT NULL, prison TEXT NOT NULL,
    spends INTEGER NOT NULL DEFAULT 5678, savings INTEGER NOT NULL DEFAULT 12344,
    cash INTEGER NOT NULL DEFAULT 13565
) STRICT;
CREATE TABLE IF NOT EXISTS contact (
    id INTEGER PRIMARY KEY, offender_id INTEGER NOT NULL REFERENCES offender (id),
    given_name TEXT NOT NULL, surname TEXT NOT NULL, relationship TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS visit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, offender_id INTEGER NOT NULL REFERENCES offender (id),
    lead_contact INTEGER NOT NULL, starts TEXT NOT NULL, ends TEXT NOT NULL,
    client_unique_ref TEXT UNIQUE, cancellation_code TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS visit_of_offender ON visit (offender_id, starts);
CREATE INDEX IF NOT EXISTS visit_at ON visit (starts);
CREATE TABLE IF NOT EXISTS payment (
    id INTEGER PRIMARY KEY AUTOINCREMENT, offender_id INTEGER NOT NULL REFERENCES offender (id),
    type TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount > 0), client_unique_ref TEXT UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, method TEXT NOT NULL, path TEXT NOT NULL, query TEXT NOT NULL,
    client_name TEXT, body_bytes INTEGER NOT NULL DEFAULT 0, body_sha256 TEXT, client_unique_ref TEXT,
    status INTEGER, outcome TEXT NOT NULL DEFAULT 'working'
) STRICT;
CREATE INDEX IF NOT EXISTS ledger_path ON ledger (path);
"""
# The numbers that documentation shows as the first answers.
_FIRST_VISIT = 5905
_FIRST_PAYMENT = 204564839


class Store:
    """One SQLite connection. Make it, use it and ``close()`` it in the same thread.

    Raises ``sqlite3.Error`` when the file cannot be opened or is no database.
    """

    def __init__(self, database: str) -> None:
        self._db = sqlite3.connect(database, timeout=5.0, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.executescript(_SCHEMA)
        self._fill()

    def close(self) -> None:
        """Close the connection; nothing may be called afterwards."""
        self._db.close()

    def rows(self, sql: str, *parameters: Any) -> list[sqlite3.Row]:
        """Every row of a query."""
        return self._db.execute(sql, parameters).fetchall()

    def row(self, sql: str, *parameters: Any) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        found: sqlite3.Row | None = self._db.execute(sql, parameters).fetchone()
        return found

    def execute(self, sql: str, *parameters: Any) -> int:
        """Run one statement and return the id of the row it inserted (meaningless after other statements).

        Raises ``sqlite3.IntegrityError`` when a constraint refuses it.
        """
        return self._db.execute(sql, parameters).lastrowid or 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; an exception undoes what was done inside. Never await inside, never nest."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _fill(self) -> None:
        with self.transaction():
            if self.row("SELECT 1 FROM offender LIMIT 1"):
                return
            self._db.executemany(
                "INSERT INTO offender (id, noms_id, given_name, surname, date_of_birth, prison)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                data.offenders(),
            )
            self._db.executemany("INSERT INTO contact VALUES (?, ?, ?, ?, ?)", data.contacts())
            for table, first in (("visit", _FIRST_VISIT), ("payment", _FIRST_PAYMENT)):
                self.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", table, first - 1)
