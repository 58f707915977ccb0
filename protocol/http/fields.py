"""Fields on their way out: from the flat list used inside the tunnel to the bytes of a head.

A list of fields that came through the tunnel was written by a peer that may be hostile. `serialise` is the
only way from such a list to a socket, and lets nothing through that could add a line, end the head or change
how the message is framed (RFC 9112 sections 5 and 11.1).

This module also gathers what the ends need: `classify` and `Kind` from names.py, `split_request` and the
others from split.py, `BadMessage` from framing.py.
"""

from __future__ import annotations

from typing import Final

from .framing import BadMessage, connection_options
from .names import CONNECTION_LEVEL, KINDS, Kind, classify
from .split import RequestFraming, ResponseFraming, split_request, split_response, split_trailers

__all__ = [
    "CONNECTION_LEVEL",
    "KINDS",
    "BadMessage",
    "InvalidFields",
    "Kind",
    "RequestFraming",
    "ResponseFraming",
    "classify",
    "connection_options",
    "kinds_of",
    "serialise",
    "split_request",
    "split_response",
    "split_trailers",
    "values",
    "without",
]

_CONTROLS: Final = bytes([*range(9), *range(10, 32), 127])
"""Octets that no value may hold (RFC 9110 section 5.5): every control character but HTAB."""


class InvalidFields(ValueError):
    """Fields that must not be written to a connection; the message does not quote them."""


def serialise(fields: list[bytes], refuse: int = CONNECTION_LEVEL) -> bytes:
    r"""The lines `name: value\r\n` of `fields`, in order, without the empty line that ends a head.

    `refuse` is a mask of kinds that must not be among them; keep CONNECTION_LEVEL in it, because Host,
    Content-Length, Connection and the like are added by the end that writes the head.

    Raises:
        InvalidFields: a name is not a token or is of a refused kind; a value holds a control character or
            begins or ends with white space; the list has an odd length.
    """
    count = len(fields) // 2
    try:
        for kind in set(map(classify, fields[::2])):
            if kind & refuse:
                raise InvalidFields(f"A field of kind {kind.name} does not belong here")
        block = (b"%b: %b\r\n" * count) % tuple(fields)
    except TypeError:
        raise InvalidFields("The fields are not pairs of byte strings") from None
    # Names are tokens by now. With as many controls as the template has, no field brought one of its own.
    if len(block) - len(block.translate(None, _CONTROLS)) != 2 * count:
        raise InvalidFields("A field's value holds a control character")
    for value in fields[1::2]:
        if value.strip() != value:
            raise InvalidFields("A field's value begins or ends with white space")
    return block


def kinds_of(fields: list[bytes]) -> int:
    """The mask of the kinds among `fields`: `kinds_of(fields) & Kind.DATE` tells whether there is a Date."""
    mask = 0
    for kind in set(map(classify, fields[::2])):
        mask |= kind
    return mask


def without(fields: list[bytes], kinds: int) -> list[bytes]:
    """`fields` less those whose kind is in the mask `kinds`; ask `kinds_of` first where that is rare."""
    kept: list[bytes] = []
    pairs = iter(fields)
    for name, value in zip(pairs, pairs, strict=True):
        if not KINDS[name] & kinds:
            kept.append(name)
            kept.append(value)
    return kept


def values(fields: list[bytes], name: bytes) -> list[bytes]:
    """Every value of the field called `name` (lower case), in order."""
    pairs = iter(fields)
    return [value for each, value in zip(pairs, pairs, strict=True) if each.lower() == name]
