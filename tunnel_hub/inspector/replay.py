"""Sending a recorded request again, through the hub's own way from caller to agent (docs/decisions/0019).

Nothing of the recorded caller is borrowed: where callers need a credential, the operator shows one at that moment,
and the gate looks at it as at any other's. Of the recorded fields only those go along that say which form of the
answer is wanted. The answer is masked like everything else that the inspector shows.
"""

from __future__ import annotations

import asyncio
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Final

import msgspec

from protocol.http.names import KINDS
from protocol.ops.log import MASK
from tunnel_hub.ingress.request import Request

from . import bodies, redact
from .bodies import BODY_MAX, Body

if TYPE_CHECKING:
    from tunnel_hub.hub import Hub

    from .seen import Pairs, Seen

PATIENCE: Final = 60.0
"""Seconds for the whole answer."""

ANSWER_MAX: Final = 1024 * 1024
"""Bytes of an answer after which it is cut off."""

AT_ONCE: Final = 2
"""Replays that run at the same time."""

CREDENTIAL_MAX: Final = 8 * 1024

_ALONG: Final = frozenset(
    {
        "accept",
        "accept-charset",
        "accept-language",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "origin",
        "range",
    }
)


class ReplayError(ValueError):
    """The request is not sent again; one sentence."""


class Replayed(msgspec.Struct, omit_defaults=True):
    """What came of it."""

    request_id: str
    status: int
    """0: the answer was broken off before its head."""
    milliseconds: float
    complete: bool
    caller: str
    """Whose credential it was, "" without one."""
    fields: Pairs
    body: Body


class Answer:
    """Collects one answer in the place of a caller's connection (`tunnel_hub.ingress.request.Reply`)."""

    certificate = b""

    def __init__(self, peer: str, loop: asyncio.AbstractEventLoop) -> None:
        self.peer = peer
        self.bytes_sent = 0
        self.status = 0
        self.fields: list[bytes] = []
        self.kept = b""
        self.over: asyncio.Future[bool] = loop.create_future()
        """Whether the answer is complete."""

    def interim(self, status: int, fields: list[bytes]) -> None:
        """Nobody waits for those."""

    def head(
        self, status: int, reason: bytes, fields: list[bytes], length: int | None, body: bytes, end: bool
    ) -> bool:
        del reason, length
        self.status, self.fields = status, fields
        self.body(body)
        if end:
            self.end([])
        return True

    def body(self, data: bytes) -> bool:
        self.bytes_sent += len(data)
        if len(self.kept) < BODY_MAX:
            self.kept += data[: BODY_MAX - len(self.kept)]
        if self.bytes_sent > ANSWER_MAX:
            self._finish(complete=False)
        return True

    def end(self, trailers: list[bytes]) -> None:
        del trailers
        self._finish(complete=True)

    def abort(self) -> None:
        self._finish(complete=False)

    def pause_body(self) -> None:
        """There is no body."""

    resume_body = close_after = pause_body

    def _finish(self, *, complete: bool) -> None:
        if not self.over.done():
            self.over.set_result(complete)


class Replayer:
    """`send` one recorded request again."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._running = 0

    async def send(self, seen: Seen, peer: str, *, authorization: str = "", api_key: str = "") -> Replayed:
        """Send it and wait for the answer.

        peer: the operator's address. authorization, api_key: values of the fields that prove a caller to the hub.
        Raises ReplayError.
        """
        if seen.replayable:
            raise ReplayError(f"it is not sent again: {seen.replayable}")
        if self._running >= AT_ONCE:
            raise ReplayError("other replays are running; wait until they are done")
        request = self._request(seen, authorization, api_key)
        loop = self._hub.loop
        answer = Answer(peer, loop)
        self._running += 1
        begun = loop.time()
        exchange = self._hub.start_exchange(request, answer)
        complete = False
        try:
            async with asyncio.timeout(PATIENCE):
                complete = await answer.over
        except TimeoutError:
            pass
        finally:
            self._running -= 1
            if not complete:
                exchange.on_caller_gone()
        service = exchange.service
        secret = frozenset[bytes]() if service is None else service.settings.onward.credentials
        kind, coding = _value(answer.fields, b"content-type"), _value(answer.fields, b"content-encoding")
        return Replayed(
            request_id=exchange.request_id.decode("ascii"),
            status=answer.status,
            milliseconds=round((loop.time() - begun) * 1000, 3),
            complete=complete,
            caller="" if exchange.admitted is None else exchange.admitted.policy.name,
            fields=redact.fields(answer.fields, secret),
            body=bodies.shown(answer.kept, answer.bytes_sent, kind, coding),
        )

    def _request(self, seen: Seen, authorization: str, api_key: str) -> Request:
        fields = [b"User-Agent", b"http-tunnel-replay", b"Tunnel-Service", seen.service.encode()]
        for name, value in seen.request_fields or ():
            if name.lower() in _ALONG and MASK not in value:
                fields += (name.encode("ascii"), value.encode("latin-1", "replace"))
        for name, value in (("Authorization", authorization), ("X-Api-Key", api_key)):
            if value:
                if not (value.isascii() and value.isprintable()) or len(value) > CREDENTIAL_MAX:
                    raise ReplayError(f"this is no value for {name}")
                fields += (name.encode(), value.encode())
        target = seen.path if seen.query is None else f"{seen.path}?{seen.query}"
        return Request(
            method=seen.method.encode("ascii"),
            target=target.encode("ascii"),
            authority=seen.host.encode("ascii"),
            minor=1,
            fields=fields,
            kinds=reduce(or_, (int(KINDS[name]) for name in fields[::2])),
            length=None,
            chunked=False,
            expect_continue=False,
            upgrade=None,
            keep_alive=True,
            received=self._hub.loop.time(),
        )


def _value(fields: list[bytes], wanted: bytes) -> str:
    for index in range(0, len(fields), 2):
        if fields[index].lower() == wanted:
            return fields[index + 1].decode("ascii", "backslashreplace")
    return ""
