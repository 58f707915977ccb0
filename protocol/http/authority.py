"""The grammar of Host and of a URI's authority (RFC 9110 section 7.2, RFC 3986 section 3.2), kept strict.

A host is an IPv4 address, an IPv6 address in brackets, or a DNS name of letters, digits, `-` and `_`. What
RFC 3986 allows beyond that (percent-encoding, sub-delimiters, an empty port) names no host that could be
served here, and servers disagree on what it means.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

HOST_BYTES: Final = 253 + 1 + 6
"""Longest authority: a DNS name, its final dot and a port."""

CACHE_ENTRIES: Final = 1024

_split = re.compile(rb"(\[[0-9A-Fa-f:.]{2,45}\]|[0-9A-Za-z._-]{1,254})(?::([0-9]{1,5}))?").fullmatch
_is_name = re.compile(rb"(?:[0-9a-z_-]{1,63}\.)*+[0-9a-z_-]{1,63}").fullmatch
_is_number = re.compile(rb"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.DOTALL).fullmatch


class BadAuthority(ValueError):
    """The bytes are not `host` or `host:port`; the message says why and does not quote them."""


def _parse(authority: bytes) -> bytes:
    """The host's lower-case name; see `host_name`."""
    match = _split(authority) if len(authority) <= HOST_BYTES else None
    if match is None:
        raise BadAuthority("The host is not a name or address with an optional port")
    host, port = match.groups()
    if port is not None and not 0 < int(port) < 65536:
        raise BadAuthority("The host's port is not between 1 and 65535")
    host = host.lower()
    try:
        if host.startswith(b"["):
            ipaddress.IPv6Address(host[1:-1].decode())
            return host
        host = host.removesuffix(b".")
        if _is_number(host):  # what ends in a number is an IPv4 address or nothing, as resolvers see it
            ipaddress.IPv4Address(host.decode())
            return host
    except ValueError:
        raise BadAuthority("The host is not a valid IP address") from None
    if len(host) > 253 or not _is_name(host):
        raise BadAuthority("The host is not a valid DNS name")
    return host


class _Names(dict[bytes, bytes]):
    """Host names by authority as sent; forgets everything when it has CACHE_ENTRIES entries."""

    __slots__ = ()

    def __missing__(self, authority: bytes) -> bytes:
        name = _parse(authority)
        if len(self) >= CACHE_ENTRIES:
            self.clear()
        self[authority] = name
        return name


host_name = _Names().__getitem__
"""host_name(authority) -> bytes: the host in lower case, without port and final dot: what services match on.

Raises:
    BadAuthority: the authority is not valid. A call is therefore the check as well.
"""
