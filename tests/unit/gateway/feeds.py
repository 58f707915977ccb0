"""Feeds in tests of the gateway."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from tunnel_hub.gateway.feed import Feed


@contextlib.asynccontextmanager
async def running(feed: Feed[Any]) -> AsyncIterator[None]:
    """Between its start and its stop."""
    feed.start()
    try:
        yield
    finally:
        await feed.stop()
