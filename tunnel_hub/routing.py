"""Which service a request is for: by the header `Tunnel-Service`, else by Host, else by longest path prefix.

Pure look-ups in tables made once; the path is matched as sent, byte for byte (the path policy refuses
ambiguous ones before the request is forwarded). The first rule that applies decides alone: a request that names
an unknown service is not routed by its Host, and a known Host is not overruled by a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from protocol.http.authority import BadAuthority, host_name

SERVICE_FIELD = b"tunnel-service"
_SERVICE_FIELD_LENGTH = len(SERVICE_FIELD)


class Routable(Protocol):
    """What the router reads of a service's configuration."""

    @property
    def hosts(self) -> Sequence[str]: ...

    @property
    def paths(self) -> Sequence[str]: ...


class RouteError(ValueError):
    """Two services cannot be told apart, or a host or path can never match. The message says the fix."""


class Router:
    """Immutable; make a new one when the configuration changes.

    A path prefix ends with "/" and also matches the same path without that slash: "/nomisapi/" takes
    "/nomisapi/health", "/nomisapi" and "/nomisapi?x=1", but not "/nomisapis".
    """

    __slots__ = ("_exact", "_hosts", "_lengths", "_names", "_prefixes")

    def __init__(self, services: Mapping[str, Routable]) -> None:
        """Raise `RouteError` for an unusable or doubly used host or path."""
        self._names = {name.encode(): name for name in services}
        self._hosts: dict[bytes, str] = {}
        self._prefixes: dict[bytes, str] = {}
        for name, service in services.items():
            for host in service.hosts:
                self._claim(self._hosts, _host_key(name, host), name, f"host {host!r}")
            for path in service.paths:
                self._claim(self._prefixes, _path_key(name, path), name, f"path {path!r}")
        self._exact = {prefix[:-1]: name for prefix, name in self._prefixes.items() if prefix != b"/"}
        self._lengths = sorted({len(prefix) for prefix in self._prefixes}, reverse=True)

    def route(self, authority: bytes, target: bytes, named: bytes | None = None) -> str | None:
        """The name of the service, or None when there is none.

        authority: Host as validated by the ingress, or b""; target: origin form; named: what `take_service`
        returned.
        """
        if named is not None:
            return self._names.get(named)
        if self._hosts and authority:
            service = self._hosts.get(host_name(authority))
            if service is not None:
                return service
        if self._exact:
            service = self._exact.get(target.partition(b"?")[0])
            if service is not None:
                return service
        prefixes = self._prefixes
        for length in self._lengths:
            service = prefixes.get(target[:length])
            if service is not None:
                return service
        return None

    @staticmethod
    def _claim(table: dict[bytes, str], key: bytes, name: str, what: str) -> None:
        owner = table.setdefault(key, name)
        if owner != name:
            raise RouteError(f"services {owner!r} and {name!r} both have the {what}: leave it to one of them")


def take_service(fields: list[bytes]) -> bytes | None:
    """Remove `Tunnel-Service` from a flat field list and return its value; None when absent.

    A repeated field is ambiguous: the value is then b"", which names no service.
    """
    named: bytes | None = None
    for index in range(len(fields) - 2, -1, -2):
        name = fields[index]
        if len(name) == _SERVICE_FIELD_LENGTH and name.lower() == SERVICE_FIELD:
            named = fields[index + 1] if named is None else b""
            del fields[index : index + 2]
    return named


def _host_key(service: str, host: str) -> bytes:
    try:
        authority = host.encode("ascii")
        name = host_name(authority)
    except (UnicodeEncodeError, BadAuthority):
        raise RouteError(
            f"service {service!r}: {host!r} is no host name: write one name, without wildcard, in ASCII (xn--)"
        ) from None
    if name != authority.lower().removesuffix(b"."):
        raise RouteError(f"service {service!r}: host {host!r} has a port: leave it out")
    return name


def _path_key(service: str, path: str) -> bytes:
    if not (path.startswith("/") and path.endswith("/")):
        raise RouteError(f'service {service!r}: path {path!r} must begin and end with "/"')
    if not path.isascii() or "?" in path or "#" in path or "//" in path:
        raise RouteError(f"service {service!r}: path {path!r} can never match: write it as callers send it")
    return path.encode("ascii")
