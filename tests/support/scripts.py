"""Scripts for the upstream that several tests share: the misbehaving ones, websocket echo, bulk bodies."""

from __future__ import annotations

import asyncio
import hashlib

from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from tests.support.upstream import Exchange, Gone, Script
from tests.support.waiting import Gate

# -- misbehaving ------------------------------------------------------------------------------------


async def no_answer(x: Exchange) -> None:
    """Reads the request and never answers."""
    await x.body()
    await x.until_gone()


async def closes_without_answer(x: Exchange) -> None:
    await x.body()
    x.close()


async def resets_without_answer(x: Exchange) -> None:
    await x.body()
    x.reset()


async def never_ending_head(x: Exchange) -> None:
    """Sends header lines for ever."""
    await x.body()
    await x.send(b"HTTP/1.1 200 OK\r\n")
    number = 0
    while True:
        await x.send(b"X-More-%d: %s\r\n" % (number, b"m" * 4000))
        number += 1
        await asyncio.sleep(0)


def dies_in_body(announced: bytes, sent: bytes, *, reset: bool = False, gate: Gate | None = None) -> Script:
    """Sends the head `announced` and the body bytes `sent`, then goes away, once `gate` is open."""

    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(announced + sent)
        if gate is not None:
            await gate.passed()
        if reset:
            x.reset()
        else:
            x.close()

    return script


def slow_drip(pieces: int, gates: list[Gate] | None = None) -> Script:
    """A chunked answer of `pieces` chunks `piece-N`, each sent once its gate is open."""

    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(pieces):
            if gates is not None:
                await gates[number].passed()
            await x.chunk(b"piece-%d\n" % number)
        await x.last_chunk()

    return script


# -- streams ----------------------------------------------------------------------------------------


def events(gates: list[Gate]) -> Script:
    """Server-sent events: event N leaves once `gates[N]` is open, the stream ends after the last."""

    async def script(x: Exchange) -> None:
        await x.body()
        await x.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number, gate in enumerate(gates):
            await gate.passed()
            await x.chunk(b"id: %d\ndata: event %d\n\n" % (number, number))
        await x.last_chunk()

    return script


async def websocket_echo(x: Exchange) -> None:
    """A websocket server that sends every message back, by websockets' own protocol class."""
    protocol = ServerProtocol(
        select_subprotocol=lambda _, offered: Subprotocol("echo.v1") if "echo.v1" in offered else None,
        max_size=None,
    )
    protocol.receive_data(x.received.raw_head)
    request = protocol.events_received()[0]
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    while True:
        for data in protocol.data_to_send():
            if data:
                await x.send(data)
            else:
                x.close()
                return
        data = await x.raw()
        if not data:
            protocol.receive_eof()
        else:
            protocol.receive_data(data)
        for frame in protocol.events_received():
            assert not isinstance(frame, Request)
            if frame.opcode is Opcode.TEXT:  # type: ignore[union-attr]
                protocol.send_text(frame.data)  # type: ignore[union-attr]
            elif frame.opcode is Opcode.BINARY:  # type: ignore[union-attr]
                protocol.send_binary(frame.data)  # type: ignore[union-attr]
        if protocol.close_expected() and not data:
            x.close()
            return


async def byte_echo(x: Exchange) -> None:
    """Switches to a protocol of raw bytes and sends each byte back; half-closes when the caller does."""
    await x.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    while data := await x.raw():
        await x.send(data)
    x.close()


# -- bulk -------------------------------------------------------------------------------------------

PATTERN = hashlib.shake_128(b"bulk").digest(1 << 20)


def pattern_digest(size: int) -> str:
    """SHA-256 of the first `size` bytes of the repeated pattern."""
    digest = hashlib.sha256()
    whole, rest = divmod(size, len(PATTERN))
    for _ in range(whole):
        digest.update(PATTERN)
    digest.update(PATTERN[:rest])
    return digest.hexdigest()


def bulk_download(size: int, *, chunked: bool = False) -> Script:
    """Sends `size` bytes of the pattern."""

    async def script(x: Exchange) -> None:
        await x.body()
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        await x.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
        left = size
        while left:
            piece = PATTERN[: min(left, len(PATTERN))]
            await (x.chunk(piece) if chunked else x.send(piece))
            left -= len(piece)
        if chunked:
            await x.last_chunk()

    return script


async def bulk_upload(x: Exchange) -> None:
    """Answers the SHA-256 of the body received."""
    x.keep_body = False
    digest = hashlib.sha256()
    try:
        while piece := await x.body_piece():
            digest.update(piece)
    except Gone:
        return
    await x.answer(200, body=digest.hexdigest().encode())
