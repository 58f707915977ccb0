"""The ledger: a row for every request the API received, in order of arrival, for tests that ask what arrived.

A row is written when the head arrives, so a request that never ends is there too, with ``outcome`` "working".
"""

from __future__ import annotations

import hashlib
import json

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from examples.visits_api.store import Store

LEDGER_PATH = "/ledger"
KEPT_ROWS = 200_000
_PRUNE_EVERY = 1_000
_LOOKED_INTO = 65_536  # a body up to this size is searched for client_unique_ref
_NO_BODY = hashlib.sha256().hexdigest()


class Entry:
    """One received request, while it is being served."""

    __slots__ = ("_digest", "_head", "body_bytes", "body_ended", "seq", "status")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.status: int | None = None
        self.body_bytes = 0
        self.body_ended = False
        self._digest = hashlib.sha256()
        self._head = bytearray()

    def body(self, piece: bytes, more: bool) -> None:
        """Note a piece of the request body; ``more`` False means that it was the last."""
        if piece:
            self.body_bytes += len(piece)
            self._digest.update(piece)
            if self.body_bytes <= _LOOKED_INTO:
                self._head += piece
        self.body_ended = self.body_ended or not more

    def sha256(self) -> str | None:
        """Hex hash of the body, or None while its end has not arrived."""
        return self._digest.hexdigest() if self.body_ended else None

    def client_unique_ref(self) -> str | None:
        """The reference in a JSON body, when there is one."""
        if not self.body_ended or not 0 < self.body_bytes <= _LOOKED_INTO:
            return None
        try:
            value = json.loads(self._head)
        except (ValueError, RecursionError):
            return None
        ref = value.get("client_unique_ref") if isinstance(value, dict) else None
        return ref if isinstance(ref, str) else None


class Ledger:
    """Writes entries. The newest ``KEPT_ROWS`` are kept, so a long load test cannot fill the disk."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def arrived(self, scope: Scope) -> Entry:
        """Record the head of a request. Call ``body_ended`` when its body is there, then ``finished``."""
        fields = dict(scope["headers"])
        client_name = fields.get(b"x-client-name")
        bodyless = b"content-length" not in fields and b"transfer-encoding" not in fields
        seq = self._store.execute(
            "INSERT INTO ledger (method, path, query, client_name, body_sha256) VALUES (?, ?, ?, ?, ?)",
            scope.get("method", "GET"),  # a websocket's scope has no method
            scope["raw_path"].decode("latin-1"),
            scope["query_string"].decode("latin-1"),
            client_name.decode("latin-1") if client_name is not None else None,
            _NO_BODY if bodyless else None,
        )
        if seq % _PRUNE_EVERY == 0:
            self._store.execute("DELETE FROM ledger WHERE seq <= ?", seq - KEPT_ROWS)
        return Entry(seq)

    def body_ended(self, entry: Entry) -> None:
        """Record the whole body; done before the answer, so a booking is here even if its answer is lost."""
        self._store.execute(
            "UPDATE ledger SET body_bytes = ?, body_sha256 = ?, client_unique_ref = ? WHERE seq = ?",
            *(entry.body_bytes, entry.sha256(), entry.client_unique_ref(), entry.seq),
        )

    def finished(self, entry: Entry, outcome: str) -> None:
        """Record the end: "answered", "gone" (the caller left first) or "failed"."""
        self._store.execute(
            "UPDATE ledger SET status = ?, outcome = ? WHERE seq = ?", entry.status, outcome, entry.seq
        )


def ledger_routes(store: Store) -> list[Route]:
    """``GET /ledger?path=&method=&ref=&after=SEQ&limit=N`` and ``DELETE /ledger``."""

    async def read(request: Request) -> Response:
        where, values = ["seq > ?"], [request.query_params.get("after", "0")]
        for parameter, column in (("path", "path"), ("method", "method"), ("ref", "client_unique_ref")):
            if parameter in request.query_params:
                where.append(f"{column} = ?")
                values.append(request.query_params[parameter])
        condition = " AND ".join(where)
        try:
            wanted = [int(values[0]), *values[1:]]
            limit = min(int(request.query_params.get("limit", "1000")), KEPT_ROWS)
        except ValueError:
            return JSONResponse({"error": {"message": "after and limit must be whole numbers"}}, 400)
        counted = store.row(f"SELECT count(*) AS n FROM ledger WHERE {condition}", *wanted)
        found = store.rows(f"SELECT * FROM ledger WHERE {condition} ORDER BY seq LIMIT ?", *wanted, max(limit, 0))
        return JSONResponse({"count": counted["n"] if counted else 0, "entries": [dict(row) for row in found]})

    async def clear(_: Request) -> Response:
        store.execute("DELETE FROM ledger")
        return Response(status_code=204)

    return [Route(LEDGER_PATH, read, methods=["GET"]), Route(LEDGER_PATH, clear, methods=["DELETE"])]
