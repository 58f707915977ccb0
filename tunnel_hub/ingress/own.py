"""Answers that the ingress gives by itself: refusals, and OPTIONS about the hub rather than a service."""

from __future__ import annotations

from protocol.http.fields import BadMessage, serialise, values
from protocol.http.head import REASONS, status_line
from tunnel_hub.problems import HUB_PROBLEMS, Problem, answer

from .context import IngressContext
from .request import Request

ALLOW = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

_CODES = {
    400: "malformed_request",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "content_too_large",
    414: "target_too_long",
    417: "expectation_failed",
    431: "fields_too_large",
    501: "not_implemented",
    505: "version_not_supported",
}


def problem_of(refused: BadMessage) -> Problem:
    """The kind of problem a refused message is."""
    return HUB_PROBLEMS[_CODES[refused.status]]


def problem_answer(
    context: IngressContext, peer: str, kind: Problem, detail: str = "", *, head_only: bool = False
) -> bytes:
    """A whole answer, which says `Connection: close`, reported to `on_refused`."""
    request_id = context.make_request_id()
    context.on_refused(peer, kind.status, kind.code, kind.delivered, request_id)
    fields, body = answer(kind, hub_id=context.hub_id, request_id=request_id, detail=detail)
    if kind.status == 405:
        fields += (b"Allow", ALLOW)
    return b"".join(
        (
            status_line(kind.status, REASONS[kind.status]),
            serialise(fields),
            context.date_line(),
            b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body),
            b"" if head_only else body,
        )
    )


def is_for_the_hub(request: Request) -> bool:
    """Whether an OPTIONS request is the hub's to answer: `*`, or no hop is left (RFC 9110 sections 7.6.2, 9.3.7).

    With hops left, Max-Forwards is counted down. One that is not a number is left alone.
    """
    if request.target == b"*":
        return True
    hops = values(request.fields, b"max-forwards")
    if len(hops) != 1 or not hops[0].isdigit() or len(hops[0]) > 18:
        return False
    left = int(hops[0])
    if left == 0:
        return True
    names = [name.lower() for name in request.fields[::2]]
    request.fields[2 * names.index(b"max-forwards") + 1] = b"%d" % (left - 1)
    return False
