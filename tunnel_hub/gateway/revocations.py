"""The revocation feed: a URL that answers a JSON array of the fingerprints that hold no longer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Final, Self

import msgspec

from protocol.ops import log
from tunnel_hub.gateway.feed import BadDocument, ClientFactory, Feed, open_client

FEED_BYTES: Final = 8 * 1024 * 1024
INTERVAL: Final = 30.0

_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")

_log = log.get("gateway")


def read_fingerprints(body: bytes) -> frozenset[str]:
    """The feed's document, in lower case.

    Raises:
        BadDocument: not an array of SHA-256 in hex. Nothing is taken from it then: half a list is no list.
    """
    try:
        listed = msgspec.json.decode(body, type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadDocument("the document is not a JSON array of texts") from None
    fingerprints = frozenset(text.lower() for text in listed)
    if not all(map(_FINGERPRINT.fullmatch, fingerprints)):
        raise BadDocument("the document holds something that is not a SHA-256 in hex")
    return fingerprints


class RevocationFeed(Feed[frozenset[str]]):
    """The fingerprints that are revoked, by the newest good document of the feed."""

    def __init__(self, url: str, *, interval: float = INTERVAL, client: ClientFactory = open_client) -> None:
        super().__init__(
            "revocations",
            url,
            interval=interval,
            limit=FEED_BYTES,
            read=read_fingerprints,
            taken=self._take,
            client=client,
        )
        self._revoked: frozenset[str] = frozenset()
        self._listeners: list[Callable[[frozenset[str]], None]] = []

    @property
    def count(self) -> int:
        """How many fingerprints are revoked."""
        return len(self._revoked)

    def follow(self, before: Self) -> None:
        """Who was revoked stays so until this feed has answered."""
        super().follow(before)
        self._revoked = before._revoked

    def is_revoked(self, fingerprint: str) -> bool:
        """Whether a fingerprint, 64 lower-case hex digits, is in the feed."""
        return fingerprint in self._revoked

    def on_revoked(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Call `callback` with the fingerprints that are new in the feed, each time there are some.

        `is_revoked` says so already then.
        """
        self._listeners.append(callback)

    def _take(self, revoked: frozenset[str]) -> None:
        new, self._revoked = revoked - self._revoked, revoked
        if new:
            _log.info("credentials were revoked", count=len(new))
            for callback in self._listeners:
                try:
                    callback(new)
                except Exception as error:  # the list itself holds already
                    context = {"message": "telling of revocations failed", "exception": error}
                    asyncio.get_running_loop().call_exception_handler(context)
