"""What the hub tells a caller when the tunnel, and not the upstream, answers (the failure contract).

Every such answer is built here: a problem document (RFC 9457) with the members older clients read,
`Proxy-Status` (RFC 9209) and `Tunnel-Delivered`. An upstream's own answer carries none of this. The `code`
strings are stable: callers' software may act on them.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from protocol.errors import FAILURES, Delivered, StreamCode

RETRY_AFTER = 5
"""Seconds in `Retry-After` of a 503 when nothing better is known."""

_TOKEN_START = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz*")
_TOKEN = _TOKEN_START | frozenset("0123456789!#$%&'+-.^_`|~:/")


class Problem(NamedTuple):
    """One kind of failure, as callers see it.

    code: stable snake_case name; origin: hub, tunnel, agent or upstream; delivered: a value of `Delivered`;
    proxy_error: an RFC 9209 section 2.3 error type; title: one clear sentence without host names.
    """

    code: str
    status: int
    title: str
    proxy_error: str
    delivered: str = Delivered.NO
    origin: str = "hub"


def _hub(*problems: Problem) -> dict[str, Problem]:
    return {problem.code: problem for problem in problems}


HUB_PROBLEMS: dict[str, Problem] = _hub(
    Problem("malformed_request", 400, "The request is not valid HTTP", "http_request_error"),
    Problem("unauthenticated", 401, "The request carries no valid credentials", "http_request_denied"),
    Problem("forbidden", 403, "The credentials do not allow this request", "http_request_denied"),
    Problem("upgrade_not_allowed", 403, "The service does not allow this upgrade", "http_upgrade_failed"),
    Problem("no_such_service", 404, "No service has this host or path", "destination_not_found"),
    Problem("method_not_allowed", 405, "The hub does not carry this method", "http_request_denied"),
    Problem("request_timeout", 408, "The request did not arrive in time", "http_request_error"),
    Problem("content_too_large", 413, "The request body is too large", "http_request_error"),
    Problem("target_too_long", 414, "The request target is too long", "http_request_error"),
    Problem("expectation_failed", 417, "The hub knows no expectation but 100-continue", "http_request_error"),
    Problem("fields_too_large", 431, "The request's header section is too large", "http_request_error"),
    Problem("not_implemented", 501, "The hub does not implement this method or coding", "http_request_error"),
    Problem("version_not_supported", 505, "The hub speaks HTTP/1.1 and HTTP/1.0", "http_request_error"),
    Problem("no_session", 503, "No agent is connected for this service", "destination_unavailable"),
    Problem("hold_full", 503, "Too many requests wait for an agent", "connection_limit_reached"),
    Problem(
        "service_overloaded", 503, "All agents of this service are at their limit", "connection_limit_reached"
    ),
    Problem("caller_overloaded", 503, "This caller has too many requests at once", "connection_limit_reached"),
    Problem("rate_exceeded", 503, "The caller is above its rate of requests", "connection_limit_reached"),
    Problem(
        "authentication_unavailable", 503, "The hub cannot check these credentials now", "proxy_internal_response"
    ),
    Problem("too_many_connections", 503, "The hub has too many connections", "connection_limit_reached"),
    Problem("draining", 503, "The hub is shutting down", "destination_unavailable"),
    Problem("switched_off", 503, "The service is switched off", "destination_unavailable"),
    Problem(
        "cut_off",
        502,
        "The hub cut the request off before the answer",
        "connection_terminated",
        Delivered.UNKNOWN,
    ),
    Problem("loop_detected", 503, "The request has passed this hub before", "proxy_loop_detected"),
    Problem(
        "deadline_while_held",
        504,
        "No agent was free for the request before the deadline",
        "http_response_timeout",
    ),
    Problem(
        "invalid_answer",
        502,
        "The answer is not valid HTTP",
        "http_protocol_error",
        Delivered.YES,
        "upstream",
    ),
    Problem("internal_error", 502, "The hub failed", "proxy_internal_error", Delivered.UNKNOWN),
)
"""The hub's own failures by code."""

STREAM_PROBLEMS: dict[StreamCode, Problem] = {
    stream_code: Problem(
        "answer_incomplete" if stream_code is StreamCode.NO_ERROR else stream_code.name.lower(),
        failure.status,
        failure.title,
        failure.proxy_error,
        failure.delivered,
        failure.origin,
    )
    for stream_code, failure in FAILURES.items()
}
"""What each RESET of a stream means to the caller."""


def problem(
    status: int,
    title: str,
    *,
    code: str,
    origin: str,
    delivered: str,
    proxy_error: str,
    hub_id: str,
    request_id: str,
    detail: str = "",
    retry_after: int | None = None,
) -> tuple[list[bytes], bytes]:
    """Return the fields and the body of one error answer; the connection adds Content-Length and Date.

    `detail` goes to callers: no host names, no header values, no query strings. `retry_after` is in whole
    seconds; a 503 always says it (`RETRY_AFTER` when None).
    """
    message = detail or title
    document = {
        "type": "urn:http-tunnel:problem:" + code,
        "title": title,
        "status": status,
        "detail": message,
        "code": code,
        "origin": origin,
        "delivered": delivered,
        "request_id": request_id,
        "error": {"message": title},
        "userMessage": title,
        "developerMessage": f"{code}: {message}",
    }
    fields = [
        b"Content-Type",
        b"application/problem+json",
        b"Cache-Control",
        b"no-store",
        b"Proxy-Status",
        proxy_status(hub_id, proxy_error, message),
        b"Tunnel-Delivered",
        delivered.encode("ascii"),
    ]
    if status == 401:
        fields += (b"WWW-Authenticate", b"Bearer")
    if retry_after is None and status == 503:
        retry_after = RETRY_AFTER
    if retry_after is not None:
        fields += (b"Retry-After", b"%d" % retry_after)
    return fields, msgspec.json.encode(document)


def answer(
    kind: Problem, *, hub_id: str, request_id: str, detail: str = "", retry_after: int | None = None
) -> tuple[list[bytes], bytes]:
    """`problem` for an entry of `HUB_PROBLEMS` or `STREAM_PROBLEMS`."""
    return problem(
        kind.status,
        kind.title,
        code=kind.code,
        origin=kind.origin,
        delivered=kind.delivered,
        proxy_error=kind.proxy_error,
        hub_id=hub_id,
        request_id=request_id,
        detail=detail,
        retry_after=retry_after,
    )


def proxy_status(hub_id: str, proxy_error: str, details: str) -> bytes:
    """The value of `Proxy-Status` (RFC 9209 section 2): the hub's name is a token where it can be one."""
    is_token = hub_id[:1] in _TOKEN_START and _TOKEN.issuperset(hub_id)
    name = hub_id if is_token else _string(hub_id)
    return f"{name}; error={proxy_error}; details={_string(details)}".encode("ascii")


def _string(text: str) -> str:
    """A structured-field string (RFC 9651 section 3.3.3): printable ASCII, quotes and backslashes escaped."""
    printable = "".join(char if " " <= char <= "~" else "?" for char in text)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'
