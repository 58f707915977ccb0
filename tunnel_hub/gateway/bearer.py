"""A bearer JWT taken apart, strictly and without verifying: enough to tell which verifier it is meant for.

Whatever is wrong with a bearer before its signature holds is told in one sentence, INVALID, so that nobody learns
from the gateway how far a forged one came. The exact cause goes to the hub's own log only.
"""

from __future__ import annotations

import binascii
import json
from typing import Any, Final, NamedTuple, NoReturn

from tunnel_hub.gateway.grant import Unauthenticated

BEARER_BYTES: Final = 8 * 1024
NESTING: Final = 8

INVALID: Final = "The bearer token is not valid: its form or its signature does not hold."

Object = dict[str, Any]

_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/   ")
"""From the URL-safe alphabet to the standard one, whose own signs become blanks, which are refused."""

_LAST: Final = {0: b"", 2: b"AQgw", 3: b"AEIMQUYcgkosw048"}
"""By the length of the last group: what its last character may be, so that no bit is left over."""


class Parts(NamedTuple):
    """A bearer in its parts, none of them verified."""

    header: Object
    payload: Object
    signed: bytes
    """What the signature is about: header and payload as sent."""
    signature: bytes

    def __repr__(self) -> str:
        return "Parts(...)"  # whoever has it all could use it


def take_apart(bearer: bytes) -> Parts:
    """The parts of a JWT in compact form.

    Raises:
        Unauthenticated: too long, not strict base64url of strict JSON objects, or with an extension in its header.
    """
    if len(bearer) > BEARER_BYTES:
        refuse(f"the bearer is longer than {BEARER_BYTES} bytes")
    pieces = bearer.split(b".")
    if len(pieces) != 3:
        refuse("the bearer does not have three parts")
    header, payload, signature = (_decoded(piece) for piece in pieces)
    if header is None or payload is None or signature is None:
        refuse("a part of the bearer is not base64url in its only correct spelling")
    head, body = _object(header), _object(payload)
    if head is None or body is None:
        refuse("header or payload of the bearer is no JSON object, repeats a member or nests too deeply")
    if "crit" in head or "b64" in head:  # RFC 7515 section 4.1.11: refuse what is not understood
        refuse("the bearer's header asks for an extension")
    return Parts(head, body, bearer[: bearer.rindex(b".")], signature)


def refuse(cause: str) -> NoReturn:
    """Unauthenticated with the one sentence; `cause` is for the hub's log."""
    raise Unauthenticated(INVALID, cause)


def _decoded(piece: bytes) -> bytes | None:
    end = len(piece) % 4
    if not piece or end == 1 or (end and piece[-1] not in _LAST[end]):
        return None
    try:
        return binascii.a2b_base64(piece.translate(_STANDARD) + b"=" * (-len(piece) % 4), strict_mode=True)
    except binascii.Error:
        return None


def _object(text: bytes) -> Object | None:
    try:
        value = _JSON.decode(text.decode())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and _shallow(value, NESTING) else None


def _shallow(value: object, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels >= 0 and all(_shallow(item, levels - 1) for item in inside if isinstance(item, dict | list))


def _once_each(pairs: list[tuple[str, Any]]) -> Object:
    """A repeated member would be read one way here and another way elsewhere."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _no_number(_text: str) -> NoReturn:
    raise ValueError


_JSON: Final = json.JSONDecoder(object_pairs_hook=_once_each, parse_constant=_no_number)
