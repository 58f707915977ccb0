"""What is signed: the signature base (RFC 9421 section 2.5) of a request, from its bytes as they travel.

Nothing is decoded or normalised: `@path` and `@query` are cut out of the request target at its first `?`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from protocol.http.fields import values

_is_field = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_is_value = re.compile(rb"[\t -~]*").fullmatch
_DEFAULT_PORTS: Final = (b":80", b":443")


class NotComputable(ValueError):
    """A covered component has no value in this request; the message is half a sentence about it."""


class Signable(NamedTuple):
    """A request's head. fields: flat name, value list; authority: b"" where it is not known."""

    method: bytes
    target: bytes
    fields: list[bytes]
    authority: bytes = b""


def signature_base(request: Signable, components: Sequence[str], parameters: str) -> bytes:
    """The bytes to sign. components: names without parameters; parameters: `@signature-params`, serialised.

    Raises:
        NotComputable: a component is unknown, absent, or holds what could be read in two ways.
    """
    lines = [f'"{name}": '.encode() + component(request, name) for name in components]
    lines.append(b'"@signature-params": ' + parameters.encode())
    return b"\n".join(lines)


def component(request: Signable, name: str) -> bytes:
    """The value of one component. Raises NotComputable."""
    value = _derived(request, name) if name.startswith("@") else _field(request, name)
    if not _is_value(value):
        raise NotComputable(f"{name} holds octets that cannot be signed")
    return value


def _derived(request: Signable, name: str) -> bytes:
    path, _, query = request.target.partition(b"?")
    if name == "@method":
        return request.method
    if name == "@path":
        return path
    if name == "@query":
        return b"?" + query
    if name == "@authority" and request.authority:
        authority = request.authority.lower()
        for port in _DEFAULT_PORTS:
            authority = authority.removesuffix(port)
        return authority
    raise NotComputable(f"{_shown(name)} cannot be computed by the agent")


def _field(request: Signable, name: str) -> bytes:
    if not _is_field(name):
        raise NotComputable(f"{_shown(name)} is not a field's name in lower case")
    found = values(request.fields, name.encode())
    if not found:
        raise NotComputable(f"no field {_shown(name)} has come; only fields that travel end to end can be signed")
    return b", ".join(value.strip(b" \t") for value in found)


def _shown(name: str) -> str:
    return name if len(name) <= 40 else name[:37] + "..."
