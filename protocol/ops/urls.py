"""URLs in configuration files: taken apart strictly, without query or fragment.

A password never appears in a message: what may hold one is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from protocol.ops.values import Context, Kind, parse_port, quoted, split_host_port, text_of, toml_string

_URL = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?:(?P<user>[^/?#]*)@)?(?P<place>[^/?#@]*)"
    r"(?P<path>/[^?#]*)?(?P<rest>[?#].*)?"
)
_PATH = re.compile(r"/[A-Za-z0-9/._~!$&'()*+,;=:@%-]*")
_USER = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%\\-]+")

_HUB: Final = {"ws": 80, "wss": 443}
_UPSTREAM: Final = {"http": 80, "https": 443}
_PROXY: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_PORTS: Final = {**_HUB, **_UPSTREAM}


class Url(str):
    """A URL that was checked: the text itself, and its parts.

    scheme and host are in lower case, host has no brackets; path is "" or begins with a slash; user is the text
    before an "@" as written, never with a password.
    """

    scheme: str
    host: str
    port: int
    path: str
    user: str

    def __new__(cls, scheme: str, host: str, port: int, path: str = "", user: str = "") -> Url:
        place = f"[{host}]" if ":" in host else host
        authority = place if port == _PORTS.get(scheme) else f"{place}:{port}"
        url = super().__new__(cls, f"{scheme}://{user}{'@' if user else ''}{authority}{path}")
        url.scheme, url.host, url.port, url.path, url.user = scheme, host, port, path, user
        return url

    @property
    def secure(self) -> bool:
        """Whether TLS protects it."""
        return self.scheme in ("https", "wss")

    @property
    def authority(self) -> str:
        """What Host says: without the port where it is the scheme's own."""
        return self.partition("://")[2].removesuffix(self.path).rpartition("@")[2]


def parse_hub_url(value: object, _context: Context | None = None) -> Url:
    """ws://HOST[:PORT]/PATH or wss://..."""
    text = text_of(value, 'a URL such as "wss://hub.example/tunnel"')
    url = _split(text, _HUB, "wss://hub.example/tunnel")
    if url.path in ("", "/"):
        example = f"{url.scheme}://{url.authority}/tunnel"
        raise ValueError(f"{quoted(text)} has no path; the hub's websocket is at {example}")
    return url


def parse_upstream(value: object, _context: Context | None = None) -> Url:
    """http://HOST[:PORT] or https://..., without a path: a request's own path is kept."""
    text = text_of(value, 'a URL such as "http://127.0.0.1:9000"')
    url = _split(text, _UPSTREAM, "http://127.0.0.1:9000")
    plain = Url(url.scheme, url.host, url.port)
    if url.path not in ("", "/"):
        raise ValueError(f"{quoted(text)} has a path; leave it out, requests keep their own: {quoted(plain)}")
    return plain


def parse_web(value: object, _context: Context | None = None) -> Url:
    """http://HOST[:PORT]/PATH or https://...: a document that is fetched."""
    text = text_of(value, 'a URL such as "https://auth.example/jwks.json"')
    return _split(text, _UPSTREAM, "https://auth.example/jwks.json")


def parse_proxy(value: object, _context: Context | None = None) -> Url | str:
    """http://[USER@]HOST:PORT, https, socks5 (names resolved here), socks5h (by the proxy); or "" for none."""
    example = "http://proxy:3128"
    text = text_of(value, f'a URL such as "{example}"')
    if not text:
        return ""
    match = _match(text, _PROXY, example)
    user = match["user"]
    if user is not None and ":" in user:
        raise ValueError(
            "has a password in the URL; leave it out and put it into a file named by proxy_password_file"
        )
    if match["path"] not in (None, "/") or not (user is None or _USER.fullmatch(user)):
        raise ValueError('is more than a proxy\'s address; write it as in "http://user@proxy:3128"')
    host, port = _place(match, example)
    if port is None:
        raise ValueError(
            f"{quoted(text)} has no port; proxies have no usual one, so write it: {quoted(text + ':3128')}"
        )
    return Url(match["scheme"].lower(), host, port, user=user or "")


def _split(text: str, schemes: Mapping[str, int], example: str) -> Url:
    match = _match(text, schemes, example)
    if match["user"] is not None:
        raise ValueError(f'has user information before an "@"; leave it out: "{example}"')
    host, port = _place(match, example)
    path = match["path"] or ""
    if path and not _PATH.fullmatch(path):
        raise ValueError(f"{quoted(text)} has characters in its path that must be percent-encoded")
    scheme = match["scheme"].lower()
    return Url(scheme, host, port or schemes[scheme], path)


def _match(text: str, schemes: Mapping[str, int], example: str) -> re.Match[str]:
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(f'is not a URL; write it as in "{example}"')
    scheme = match["scheme"]
    if scheme.lower() not in schemes:
        raise ValueError(
            f'has the scheme {quoted(scheme)}, expected {" or ".join(schemes)}; for example "{example}"'
        )
    if match["rest"] is not None:
        raise ValueError(f'has a query or fragment; leave it out: "{example}"')
    return match


def _place(match: re.Match[str], example: str) -> tuple[str, int | None]:
    try:
        host, port = split_host_port(match["place"])
        return host.lower(), None if port is None else parse_port(port, lowest=1)
    except ValueError:
        place = quoted(match["place"])
        raise ValueError(f'{place} is not a host with or without port; write it as in "{example}"') from None


HubUrl = Annotated[Url, Kind("URL", parse_hub_url, toml_string)]
UpstreamUrl = Annotated[Url, Kind("URL", parse_upstream, toml_string)]
WebUrl = Annotated[Url, Kind("URL", parse_web, toml_string)]
ProxyUrl = Annotated[str, Kind("URL", parse_proxy, toml_string)]
""" "" or a Url."""
