"""Endpoints that are not one small answer: an event stream, bulk bytes both ways, a websocket echo."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from examples.visits_api import answers, data

EVENT_INTERVAL = 0.2  # seconds
MOST_STREAMED = 10_000  # events
MOST_BULK = 100 * 2**30  # bytes
HASHED_BULK = 256 * 2**20  # bytes: up to here the answer states its hash


def stream_routes() -> list[BaseRoute]:
    """Routes under /nomisapi."""
    return [
        Route("/events/stream", event_stream),
        Route("/bulk", download, methods=["GET"]),
        Route("/bulk", upload, methods=["POST"]),
        WebSocketRoute("/echo-ws", echo),
    ]


async def event_stream(request: Request) -> Response:
    """``?count=`` server-sent events (10 unless told): one at once, then one every ``EVENT_INTERVAL``."""
    count = answers.bounded(request, "count", 10, MOST_STREAMED)

    async def events() -> AsyncIterator[str]:
        due = asyncio.get_running_loop().time()
        for number in range(1, count + 1):
            body = json.dumps({"number": number, "of": count})
            yield f"id: {number}\nevent: visit\ndata: {body}\n\n"
            due += EVENT_INTERVAL
            if number < count:
                await asyncio.sleep(due - asyncio.get_running_loop().time())

    return StreamingResponse(events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def download(request: Request) -> Response:
    """``?bytes=N`` deterministic bytes, with Content-Length and, up to ``HASHED_BULK``, X-Content-SHA256."""
    total = answers.bounded(request, "bytes", 1_000_000, MOST_BULK)
    headers = {"Content-Length": str(total)}
    if total <= HASHED_BULK:
        headers["X-Content-SHA256"] = await asyncio.to_thread(data.bulk_sha256, total)

    async def pieces() -> AsyncIterator[bytes]:
        for piece in data.bulk_chunks(total):
            yield piece

    return StreamingResponse(pieces(), media_type="application/octet-stream", headers=headers)


async def upload(request: Request) -> Response:
    """Takes a body of any length without holding it and answers its length and hash."""
    digest, total = hashlib.sha256(), 0
    async for piece in request.stream():
        digest.update(piece)
        total += len(piece)
    return JSONResponse({"bytes": total, "sha256": digest.hexdigest()})


async def echo(websocket: WebSocket) -> None:
    """Sends every message back as it came, text as text and binary as binary, until the caller closes."""
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol=offered[0] if offered else None)
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") is not None:
                await websocket.send_text(message["text"])
            else:
                await websocket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        return  # left while an echo was on its way
