"""What leaves the gate wider open than its operators may think: said at each start and reload (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from protocol.ops.urls import Url

    from .config import Callers

NOT_AUTHENTICATED: Final = "callers are not authenticated: whoever reaches listen.callers may use every service"
UNUSED: Final = (
    "authentication is none, so the callers' ways to authenticate are not in force, and what they show goes on to "
    "upstreams"
)
PLAIN: Final = "fetched without TLS: whoever is between can make up keys and hide revocations"

_HERE: Final = ("127.0.0.1", "::1", "localhost")


def doubts(callers: Callers) -> Iterator[tuple[str, dict[str, str]]]:
    """Sentences for the log, with what belongs to them."""
    if not callers.required:
        yield NOT_AUTHENTICATED, {}
        if callers.named or callers.oauth or callers.tokens is not None:
            yield UNUSED, {}
        return
    for feed, url in _feeds(callers):
        if not url.secure and url.host not in _HERE:
            yield PLAIN, {"feed": feed}


def _feeds(callers: Callers) -> Iterator[tuple[str, Url]]:
    if callers.tokens is not None and callers.tokens.revocations is not None:
        yield "revocations", callers.tokens.revocations
    for name, table in callers.oauth.items():
        yield f"keys of {name}", table.jwks
