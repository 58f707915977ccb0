"""The application behind every Python server: writes the ledger and echoes what it was asked.

The answer's X-Case is the request's, X-Target its target, X-Body the SHA-256 of its body. As ASGI (`asgi`) and as
WSGI (`wsgi`); LEDGER in the environment names the file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from tests.differential.ledger import Ledger

ledger = Ledger(Path(os.environ["LEDGER"]))
Fields = list[tuple[str, str]]


def answer(target: str, case: str, body: bytes) -> Fields:
    """The fields of the echo."""
    return [
        ("Content-Type", "text/plain"),
        ("Content-Length", "2"),
        ("X-Case", case),
        ("X-Target", target),
        ("X-Body", hashlib.sha256(body).hexdigest()),
    ]


async def asgi(scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Any) -> None:
    """The application as ASGI 3; no websockets, no lifespan."""
    if scope["type"] == "lifespan":
        while True:
            event = (await receive())["type"]
            await send({"type": event + ".complete"})
            if event == "lifespan.shutdown":
                return
    assert scope["type"] == "http", scope["type"]
    fields = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
    target = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    if scope["query_string"] and "?" not in target:
        target += "?" + scope["query_string"].decode("latin-1")
    body, complete = b"", False
    while not complete:
        event = await receive()
        if event["type"] != "http.request":
            break
        body += event.get("body", b"")
        complete = not event.get("more_body", False)
    case = fields.get("x-case", "")
    ledger.write(fields.get("x-request-id", ""), scope["method"], target, case, len(body) if complete else None)
    if complete:
        head = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer(target, case, body)]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else b"ok"})


def wsgi(environ: dict[str, Any], start_response: Callable[[str, Fields], object]) -> Iterable[bytes]:
    """The application as WSGI."""
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if target is None:
        query = environ.get("QUERY_STRING", "")
        target = environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"] + ("?" + query if query else "")
    case = environ.get("HTTP_X_CASE", "")
    length: int | None = None
    body = b""
    try:
        body = _body(environ)
        length = len(body)
    finally:
        ledger.write(environ.get("HTTP_X_REQUEST_ID", ""), environ["REQUEST_METHOD"], target, case, length)
    start_response("200 OK", answer(target, case, body))
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [b"ok"]


def _body(environ: dict[str, Any]) -> bytes:
    source = environ["wsgi.input"]
    announced = environ.get("CONTENT_LENGTH") or ""
    if announced.isdigit():
        body: bytes = source.read(int(announced))
        if len(body) < int(announced):
            raise ConnectionError("the body broke off")
        return body
    if environ.get("HTTP_TRANSFER_ENCODING") or environ.get("wsgi.input_terminated"):
        return bytes(source.read())
    return b""
