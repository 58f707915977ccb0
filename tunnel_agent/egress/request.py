"""Requests on their way to an upstream: heads and framed bodies as bytes (RFC 9112 sections 3, 6 and 7).

What comes through the tunnel was written by a peer that may be hostile; nothing leaves here that an upstream
could frame in another way.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from protocol.http.authority import BadAuthority, host_name
from protocol.http.fields import InvalidFields, serialise, split_trailers

if TYPE_CHECKING:
    from .call import UpstreamRequest

_is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}").fullmatch
_is_target = re.compile(rb"/[\x21-\x7e\x80-\xff]*|\*").fullmatch
_is_upgrade = re.compile(rb"[!#$%&'*+\-./^_`|~0-9A-Za-z]{1,64}").fullmatch

_COMMON_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})


class InvalidRequest(ValueError):
    """The request must not be written to an upstream; the message does not quote it."""


class BodyFraming:
    """Frames one request body that arrives bit by bit, and holds the sender to what was announced."""

    __slots__ = ("_left", "chunked", "done", "trailed")

    def __init__(self, length: int | None) -> None:
        """length: None for a chunked body."""
        self._left = 0 if length is None else length
        self.chunked = length is None
        self.done = False
        """Whether the upstream has, or will have, the whole request."""
        self.trailed = False
        """Trailers ended it. Servers in the field leave them unread and take them for the next request."""

    def frame(self, data: bytes) -> bytes:
        """The bytes to write for `data`; empty for empty data.

        Raises:
            InvalidRequest: `data` goes beyond the announced length; nothing of it may be written.
        """
        if self.chunked:
            if self.done and data:
                raise InvalidRequest("the request body goes on after its end")
            return b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        self._left -= len(data)
        if self._left <= 0:
            if self._left < 0:
                raise InvalidRequest("the request body is longer than its Content-Length")
            self.done = True
        return data

    def finish(self, trailers: list[bytes]) -> bytes:
        """The bytes that end the body. Trailers are dropped unless the body is chunked.

        Raises:
            InvalidRequest: the body is shorter than announced, or the trailers are not valid.
        """
        if self.chunked:
            if self.done:
                return b""
            self.done = True
            block = _trailer_block(trailers)
            self.trailed = bool(block)
            return b"0\r\n%b\r\n" % block
        if self._left:
            raise InvalidRequest("the request body is shorter than its Content-Length")
        self.done = True
        return b""


def prepare(request: UpstreamRequest) -> tuple[list[bytes], BodyFraming | None]:
    """The bytes to write first, and the framing of what is to follow; None when all is there, without trailers.

    Raises:
        InvalidRequest: nothing may be written.
    """
    head = _head(request)
    body = request.body
    if request.chunked:
        framing = BodyFraming(None)
        pieces = [head, framing.frame(body)]
        if not request.complete:
            return pieces, framing
        pieces.append(framing.finish(request.trailers))
        return pieces, framing if framing.trailed else None
    length = request.length or 0
    if len(body) > length or (request.complete and len(body) < length):
        raise InvalidRequest("the request body does not have the announced length")
    pieces = [head, body] if body else [head]
    if request.complete:
        return pieces, None
    framing = BodyFraming(length)
    framing.frame(body)
    return pieces, framing


def _head(request: UpstreamRequest) -> bytes:
    method = request.method
    if method not in _COMMON_METHODS and (not _is_method(method) or method == b"CONNECT"):
        raise InvalidRequest("the method is not one that can be sent")
    if not _is_target(request.target):
        raise InvalidRequest("the target is not a path")
    try:
        host_name(request.host)
        fields = serialise(request.fields)
    except (BadAuthority, InvalidFields) as error:
        raise InvalidRequest(str(error)) from None
    framing = b""
    if request.chunked:
        if request.length is not None:
            raise InvalidRequest("the request body has two framings")
        framing = b"Transfer-Encoding: chunked\r\n"
    elif request.length is not None:
        if request.length < 0:
            raise InvalidRequest("the request body has a negative length")
        framing = b"Content-Length: %d\r\n" % request.length
    if request.expect_continue:
        framing += b"Expect: 100-continue\r\n"
    if request.upgrade is not None:
        if not _is_upgrade(request.upgrade):
            raise InvalidRequest("the upgrade is not one protocol")
        framing += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % request.upgrade
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b\r\n" % (method, request.target, request.host, fields, framing)


def _trailer_block(trailers: list[bytes]) -> bytes:
    if not trailers:
        return b""
    try:
        return serialise(split_trailers(trailers))
    except (InvalidFields, ValueError) as error:
        raise InvalidRequest(str(error)) from None
