"""The failure contract (design section 5) as one check: what every answer of the tunnel itself looks like."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.rawhttp import Answer

OWN_FIELDS = ("proxy-status", "tunnel-delivered")
_PROXY_STATUS = re.compile(r'[A-Za-z*"][^;]*; ?error=[a-z_]+(; ?[a-z-]+=("(\\.|[^"\\])*"|[^;"]+))*')
_MEMBERS = {
    "type": str,
    "title": str,
    "status": int,
    "detail": str,
    "code": str,
    "origin": str,
    "delivered": str,
    "request_id": str,
    "error": dict,
    "userMessage": str,
    "developerMessage": str,
}


def assert_problem(
    answer: Answer,
    status: int,
    *,
    delivered: str | None = "no",
    code: str | None = None,
    origin: str | None = None,
    hidden: tuple[str, ...] = (),
) -> dict[str, Any]:
    """`answer` is the tunnel's own, exactly as the contract says; none of `hidden` occurs in it.

    `delivered` and `origin` None: any allowed value. Returns the problem document.
    """
    shown = answer.raw_head + answer.body
    assert answer.status == status, shown
    assert answer.get("content-type") == "application/problem+json", shown
    proxy_status = answer.get("proxy-status") or ""
    assert _PROXY_STATUS.fullmatch(proxy_status), proxy_status
    document: dict[str, Any] = json.loads(answer.body)
    for name, kind in _MEMBERS.items():
        assert isinstance(document.get(name), kind), f"{name} in {document}"
    assert document["status"] == status
    assert document["title"]
    assert document["request_id"]
    assert document["error"]["message"]
    assert re.fullmatch(r"[a-z_]+", document["code"]), document["code"]
    assert document["origin"] in ("hub", "tunnel", "agent", "upstream")
    assert document["delivered"] in ("no", "unknown", "yes")
    assert answer.get("tunnel-delivered") == document["delivered"]
    if delivered is not None:
        assert document["delivered"] == delivered, document
    if code is not None:
        assert document["code"] == code, document
    if origin is not None:
        assert document["origin"] == origin, document
    if status == 503:
        assert (answer.get("retry-after") or "").isdigit(), shown
        assert document["delivered"] == "no", "503 promises that nothing was delivered"
    if status < 500 and delivered != "unknown":
        assert document["delivered"] == "no", "a fault seen in the head never reaches an upstream"
    for word in (*hidden, "Traceback", "127.0.0.1"):
        assert word.encode() not in shown, f"{word} leaks to the caller: {shown!r}"
    return document


def assert_upstreams_own(answer: Answer) -> None:
    """`answer` carries nothing that only the tunnel's own answers carry."""
    for name in OWN_FIELDS:
        assert not answer.has(name), f"{name} in an upstream's own answer: {answer.raw_head!r}"
