"""What becomes of a request's fields between caller and agent, and of an answer's on the way back.

Pure. The inbound copies of whatever only the tunnel may say are dropped (RFC 9110 section 7.6, design: the hub
alone says who called); what the upstream needs to know of the hop is added.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from protocol.http import trace
from protocol.http.fields import without
from protocol.http.names import KINDS, Kind

_DROPPED: Final = Kind.IDENTITY | Kind.TUNNEL
_SPECIAL: Final = _DROPPED | Kind.FORWARDING | Kind.VIA | Kind.TRACE | Kind.REQUEST_ID

_request_id = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch


class Forwarded(NamedTuple):
    """The fields to send on, the request's id, and whether it has passed this hub before."""

    fields: list[bytes]
    request_id: bytes
    looped: bool
    caller: str = ""
    """The address behind a listed proxy, where the request came through one."""
    trace: trace.TraceParent | None = None
    """The trace that the request is part of."""


class Forwarder:
    """Rewrites fields for one hub. `via` is the hub's pseudonym in `Via` (RFC 9110 section 7.6.3)."""

    __slots__ = ("_added_via", "_count", "_id_prefix", "_pseudonym", "_secure")

    def __init__(self, hub_id: str, id_prefix: str, secure: bool) -> None:
        self._pseudonym = hub_id.encode()
        self._added_via = [b"Via", b"1.1 " + self._pseudonym]
        self._id_prefix = id_prefix.encode()
        self._secure = b"https" if secure else b"http"
        self._count = 0

    def request(
        self, fields: list[bytes], kinds: int, peer: bytes, authority: bytes, *, trusted: bool = False
    ) -> Forwarded:
        """The fields of one request.

        kinds: mask of the kinds that may be among them. trusted: the peer is a listed proxy whose forwarding
        fields count.
        """
        request_id = b""
        chain: list[bytes] = []
        proto = self._secure
        host = authority
        caller = ""
        parent: trace.TraceParent | None = None
        if kinds & _SPECIAL:
            kept: list[bytes] = []
            long_state = False
            if kinds & Kind.TRACE:
                parent = trace.read(fields)
                long_state = trace.members(fields) > trace.MEMBERS_MAX
            for index in range(0, len(fields), 2):
                name = fields[index]
                value = fields[index + 1]
                kind = KINDS[name]
                if kind & _DROPPED:
                    continue
                if kind is Kind.TRACE and (parent is None or (long_state and name.lower() == b"tracestate")):
                    continue
                if kind is Kind.FORWARDING:
                    if trusted:
                        lower = name.lower()
                        if lower == b"x-forwarded-for":
                            chain.append(value)
                            caller = _address(value.rpartition(b",")[2].strip())
                        elif lower == b"x-forwarded-proto" and value in {b"http", b"https"}:
                            proto = value
                        elif lower == b"x-forwarded-host":
                            host = value
                    continue
                if kind is Kind.REQUEST_ID:
                    if not request_id and _request_id(value):
                        request_id = value
                    continue
                if kind is Kind.VIA and self._passed(value):
                    return Forwarded(fields, b"", True)
                kept += (name, value)
            fields = kept
        if not request_id:
            request_id = self.new_id()
        if host:
            fields = [*fields, b"X-Forwarded-Host", host]
        return Forwarded(
            [
                *fields,
                b"X-Forwarded-For",
                b", ".join((*chain, peer)) if chain else peer,
                b"X-Forwarded-Proto",
                proto,
                b"X-Request-Id",
                request_id,
                *self._added_via,
            ],
            request_id,
            False,
            caller,
            parent,
        )

    def new_id(self) -> bytes:
        """A request id, unique among the hubs."""
        self._count += 1
        return b"%b-%x" % (self._id_prefix, self._count)

    def _passed(self, via: bytes) -> bool:
        """Whether this hub is among the hops of a `Via` value."""
        return any(hop.split()[1:2] == [self._pseudonym] for hop in via.split(b","))

    def answer(self, fields: list[bytes]) -> list[bytes]:
        """The fields of an upstream's answer on their way to the caller."""
        return not_ours(fields) + self._added_via


def not_ours(fields: list[bytes]) -> list[bytes]:
    """Fields or trailers that came from an agent, less those in which only the hub itself speaks.

    A sound agent has taken them out of the upstream's answer already.
    """
    names = b"\n".join(fields[::2]).lower()  # for all of them at once: this is the hot path
    return without(fields, Kind.TUNNEL) if b"tunnel-" in names or b"proxy-status" in names else fields


def _address(node: bytes) -> str:
    """The address of a node in X-Forwarded-For without the port that some proxies add."""
    text = node[:64].decode("latin-1")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text
