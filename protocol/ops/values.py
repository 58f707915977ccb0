"""The kinds of value a configuration file holds: how each is written, read and shown.

A `Kind` turns one TOML value into one Python value or raises `ValueError` with half a sentence that says what
is wrong and what to write instead; `protocol.ops.config` puts file and key before it. Messages never repeat a
value that may hold a password.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

SECRET_MAX: Final = 64 * 1024
"""Bytes; a larger file is not a secret but somebody's mistake."""

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"([0-9]{1,12})(B|KB|MB|GB|KiB|MiB|GiB)")
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UPGRADE = re.compile(_TOKEN.pattern + "(?:/" + _TOKEN.pattern + ")?")


@dataclass(frozen=True, slots=True)
class Context:
    """Where the values stand: the folder that relative paths start from, and whether files must exist now."""

    folder: Path
    check_files: bool = True
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value. `parse` raises ValueError; `show` writes a parsed value as it stands in the file."""

    name: str
    parse: Callable[[Any, Context], Any]
    show: Callable[[Any], str] = str


def quoted(value: object) -> str:
    """A value for a message: as in TOML, cut at 60 characters."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str):
        text = '"' + "".join(c if c.isprintable() else "?" for c in value[:80]) + '"'
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, list):
        text = "a list"
    else:
        text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def text_of(value: object, what: str) -> str:
    """`value` if it is a string, else ValueError saying that `what` was expected."""
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is not {what}")  # noqa: TRY004 - the caller reports ValueErrors
    return value


# --- durations and sizes


def parse_duration(value: object, _context: Context | None = None) -> float:
    """Seconds of "1500ms", "30s", "2m", "1h", "1d"."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        hint = f'"{value}s"' if isinstance(value, int) and not isinstance(value, bool) else '"30s" or "1500ms"'
        raise ValueError(
            f"{quoted(value)} is not a duration; write a number with ms, s, m, h or d, such as {hint}"
        )
    return float(match[1]) * _SECONDS[match[2]]


def parse_timeout(value: object, context: Context | None = None) -> float:
    """A duration above zero."""
    seconds = parse_duration(value, context)
    if seconds <= 0:
        raise ValueError(f"{quoted(value)} is not above zero; nothing could ever finish in time")
    return seconds


def show_duration(seconds: float) -> str:
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f'"{int(seconds / _SECONDS[unit])}{unit}"'
    return f'"{round(seconds * 1000)}ms"' if seconds else '"0s"'


def parse_size(value: object, _context: Context | None = None) -> int:
    """Bytes of "64KiB", "16MiB", "1MB", "500B"."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{quoted(value)} is not a size; write a number with B, KiB, MiB or GiB, such as "64KiB"')
    size = int(match[1]) * _BYTES[match[2]]
    if size == 0:
        raise ValueError(f"{quoted(value)} is not above zero")
    return size


def show_size(size: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if size % _BYTES[unit] == 0:
            return f'"{size // _BYTES[unit]}{unit}"'
    return f'"{size}B"'


# --- secrets


def read_secret(path: Path) -> str:
    """The one line a secret's file holds, without the line end. Read it when it is needed: secrets rotate.

    Raises ValueError with a message that names the file and never its content.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(SECRET_MAX + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > SECRET_MAX:
        raise ValueError(f"{path} is larger than a secret may be")
    try:
        text = raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text") from None
    if not text:
        raise ValueError(f"{path} is empty")
    if any(c in text for c in "\r\n\0"):
        raise ValueError(f"{path} holds more than one line")
    return text


# --- names and addresses


class Address(NamedTuple):
    """Where to listen. `str()` gives it back as written."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def split_host_port(text: str) -> tuple[str, str | None]:
    """Host without brackets and the port's text, or None without one. ValueError when it is neither."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        ipaddress.IPv6Address(host)
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("text after the bracket")
        return host, rest[1:] if rest else None
    host, colon, port = text.partition(":")
    if not is_host_name(host):
        raise ValueError("not a host name")
    return host, port if colon else None


def is_host_name(host: str) -> bool:
    """Whether `host` is a DNS name or IPv4 address as it may stand in a URL."""
    return len(host) <= 253 and _HOST_NAME.fullmatch(host) is not None


def parse_port(text: str, lowest: int = 0) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and lowest <= int(text) <= 65535):
        raise ValueError("not a port")
    return int(text)


def parse_address(value: object, _context: Context | None = None) -> Address:
    """ "host:port" to listen on; port 0 lets the system choose."""
    text = text_of(value, 'an address such as "127.0.0.1:8080"')
    try:
        host, port = split_host_port(text)
        if port is None:
            raise ValueError("no port")  # noqa: TRY301 - one message for every way to be wrong
        return Address(host, parse_port(port))
    except ValueError:
        raise ValueError(
            f'{quoted(text)} is not an address; write "host:port", such as "127.0.0.1:8080", "0.0.0.0:8080" '
            'for every interface, or "[::1]:8080"'
        ) from None


def is_name(text: str) -> bool:
    """Whether `text` is a name as `parse_name` takes it."""
    return _NAME.fullmatch(text) is not None


def parse_name(value: object, _context: Context | None = None) -> str:
    """A name that can stand in a log line, a metric label and a URL without quoting."""
    text = text_of(value, "a name")
    if not is_name(text):
        raise ValueError(
            f"{quoted(text)} is not a name; use 1 to 64 letters, digits, '.', '_' or '-', "
            "first and last a letter or digit"
        )
    return text


def parse_host(value: object, _context: Context | None = None) -> str:
    """A host name as it comes in the field Host, without port, in lower case."""
    text = text_of(value, "a host name")
    try:
        host, port = split_host_port(text)
    except ValueError:
        raise ValueError(f'{quoted(text)} is not a host name; write it as in "visits.internal"') from None
    if port is not None:
        raise ValueError(
            f'{quoted(text)} has a port; leave it out, every port matches: "{text[: -len(port) - 1]}"'
        )
    return f"[{host.lower()}]" if ":" in host else host.lower()


def parse_token(value: object, _context: Context | None = None) -> str:
    """An upgrade token such as "websocket", in lower case."""
    text = text_of(value, "an upgrade token")
    if not _UPGRADE.fullmatch(text):
        raise ValueError(f'{quoted(text)} is not an upgrade token; write it as in "websocket"')
    return text.lower()


def is_token(text: str) -> bool:
    """Whether `text` is an RFC 9110 section 5.6.2 token: a field name or an upgrade protocol."""
    return _TOKEN.fullmatch(text) is not None


# --- networks

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_network(value: object, _context: Context | None = None) -> Network:
    """An address block such as "10.0.0.0/8", or one address."""
    text = text_of(value, 'a network such as "10.0.0.0/8"')
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f'{quoted(text)} is not a network; write it as in "10.0.0.0/8" or "fd00::/8"') from None
    if str(loose.network_address) != str(ipaddress.ip_address(text.partition("/")[0])):
        raise ValueError(f'{quoted(text)} has bits set behind the prefix; write "{loose}"')
    return loose


def toml_string(value: object) -> str:
    """A value whose text needs no escapes, as it stands in the file."""
    return f'"{value}"'


Duration = Annotated[float, Kind("duration", parse_duration, show_duration)]
Timeout = Annotated[float, Kind("duration", parse_timeout, show_duration)]
Size = Annotated[int, Kind("size", parse_size, show_size)]
ListenAddress = Annotated[Address, Kind("host:port", parse_address, toml_string)]
Name = Annotated[str, Kind("name", parse_name, toml_string)]
HostName = Annotated[str, Kind("host name", parse_host, toml_string)]
UpgradeToken = Annotated[str, Kind("token", parse_token, toml_string)]
TrustedNetwork = Annotated[Network, Kind("network", parse_network, toml_string)]
