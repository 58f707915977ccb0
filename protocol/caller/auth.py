"""What the ways to authenticate have in common: each sets fields of a request, just before it is sent."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator

import httpx


class FieldAuth(httpx.Auth):
    """Authentication that only adds fields and looks at no answer; for sync and async clients."""

    @abstractmethod
    def apply(self, request: httpx.Request) -> None:
        """Set the fields. Called once for every sending, with the body at hand if `requires_request_body`."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self.apply(request)
        yield request


class Both(FieldAuth):
    """Several of this package's ways at once.

    client = httpx.Client(
        base_url="http://hub:8080",
        auth=Both(ClientToken(token, "client.key"), MessageSignature("booking.key", "booking")),
    )
    """

    def __init__(self, *ways: FieldAuth) -> None:
        self._ways = ways
        self.requires_request_body = any(way.requires_request_body for way in ways)

    def apply(self, request: httpx.Request) -> None:
        for way in self._ways:
            way.apply(request)
