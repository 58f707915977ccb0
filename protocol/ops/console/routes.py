"""Routes of the admin listener that a browser may ask for: which names it is known by, what its answers may do.

Any page in an operator's browser can send requests here, and a hostile name server can make that page's own name
point here (DNS rebinding), so that the browser takes the answers for the page's. Hence every route made by `route`
asks that Host is an IP address, localhost or one of `[admin] hosts`; and every answer forbids frames, foreign
resources and caches.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from protocol.ops.values import split_host_port

Endpoint = Callable[[Request], Awaitable[Response]]

HEADERS: Final = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "same-origin",  # with none at all, browsers would say `Origin: null` of our own forms
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Names:
    """The names under which the listener may be asked; `hosts` may be replaced."""

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self.hosts = frozenset(hosts)

    def has(self, host: str) -> bool:
        """Whether the value of a Host field is one of ours."""
        try:
            name, _ = split_host_port(host)
        except ValueError:
            return False
        name = name.lower()
        return name == "localhost" or name in self.hosts or _is_address(name) or f"[{name}]" in self.hosts


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def route(path: str, endpoint: Endpoint, names: Names, methods: Sequence[str] = ("GET",)) -> Route:
    """A route whose answers carry HEADERS. What `endpoint` raises as HTTPException becomes one plain sentence."""

    async def guarded(request: Request) -> Response:
        try:
            if not names.has(request.headers.get("host", "")):
                raise HTTPException(  # noqa: TRY301 - one way out for all refusals
                    421, "This name is not in [admin] hosts; open the page by IP address or localhost."
                )
            response = await endpoint(request)
        except HTTPException as error:
            response = PlainTextResponse(f"{error.detail}\n", error.status_code, dict(error.headers or {}))
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return Route(path, guarded, methods=list(methods))
