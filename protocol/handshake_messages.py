"""The handshake's messages as bytes, and the transcript that both sides sign (SPEC.md, "Handshake").

Every message is one msgpack array in a websocket message of its own, at most MESSAGE_MAX bytes. A received
message is checked whole (types, sizes, grammar, no unknown element or key) before anything acts on it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]

from . import frames
from .errors import ProtocolViolation, SessionCode
from .keys import KEY_BYTES, SIGNATURE_BYTES, PublicKey
from .limits import KIB, Limits

VERSION: Final = 1
MESSAGE_MAX: Final = 8 * KIB
NONCE_BYTES: Final = 32
ID_BYTES: Final = 16
SERVICES_MAX: Final = 256
SOFTWARE_MAX: Final = 128
GOODBYE_TEXT_MAX: Final = 1000
STREAMS_MAX: Final = 1_000_000
WINDOW_MIN: Final = 1 * KIB
WINDOW_MAX: Final = 1024 * 1024 * KIB
HASH_SIZES: Final = (28, 32, 48, 64)
"""Bytes of a certificate's hash: SHA-224, SHA-256, SHA-384, SHA-512 (RFC 5929 section 4.1)."""

HUB_LABEL: Final = b"tunnel.v1 hub"
AGENT_LABEL: Final = b"tunnel.v1 agent"
TOKEN_LABEL: Final = b"tunnel.v1 enrol token"
ENROL_LABEL: Final = b"tunnel.v1 enrol"
NEW_KEY_LABEL: Final = b"tunnel.v1 new key"
ROTATE_LABEL: Final = b"tunnel.v1 rotate"

_SIGNATURE_HEAD: Final = bytes((0xC4, SIGNATURE_BYTES))
_SIGNATURE_TAIL: Final = len(_SIGNATURE_HEAD) + SIGNATURE_BYTES

_is_name = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?").fullmatch
_is_printable = re.compile(r"[ -~]*").fullmatch


class Hello(NamedTuple):
    """[1, version, agent_id, instance_id, nonce, certificate_hash|nil, software, services, limits]."""

    agent_id: str
    instance_id: bytes
    nonce: bytes
    certificate_hash: bytes | None
    software: str
    services: tuple[str, ...]
    limits: Limits


class Challenge(NamedTuple):
    """[2, hub_id, nonce, limits, signature]."""

    hub_id: str
    nonce: bytes
    limits: Limits
    signature: bytes


class Proof(NamedTuple):
    """[3, signature]."""

    signature: bytes


class Enrol(NamedTuple):
    """[16, token_id, token_signature, key, signature]."""

    token_id: bytes
    token_signature: bytes
    key: bytes
    signature: bytes


class Rotate(NamedTuple):
    """[17, key, key_signature, signature]."""

    key: bytes
    key_signature: bytes
    signature: bytes


class Ready(NamedTuple):
    """[4, session_id, accepted services]."""

    session_id: bytes
    services: tuple[str, ...]


class Goodbye(NamedTuple):
    """[31, code, message]."""

    code: int
    message: str


Message = Hello | Challenge | Proof | Enrol | Rotate | Ready | Goodbye


def encode_hello(hello: Hello) -> bytes:
    """The bytes of HELLO in this protocol version."""
    agent_id, instance_id, nonce, certificate_hash, software, services, limits = hello
    return _pack(
        [frames.HELLO, VERSION, agent_id, instance_id, nonce, certificate_hash, software, services, _map(limits)]
    )


def encode_challenge(hub_id: str, nonce: bytes, limits: Limits, sign: Callable[[bytes], bytes]) -> bytes:
    """The bytes of CHALLENGE; `sign` gets the bytes before the signature and returns the signature."""
    # The header already counts five elements: what is signed is the message as sent, short of its end.
    unsigned = b"\x95" + b"".join(map(_pack, (frames.CHALLENGE, hub_id, nonce, _map(limits))))
    return unsigned + _SIGNATURE_HEAD + sign(unsigned)


def encode_proof(signature: bytes) -> bytes:
    """The bytes of PROOF."""
    return _pack([frames.PROOF, signature])


def encode_enrol(enrol: Enrol) -> bytes:
    """The bytes of ENROL."""
    return _pack([frames.ENROL, *enrol])


def encode_rotate(rotate: Rotate) -> bytes:
    """The bytes of ROTATE."""
    return _pack([frames.ROTATE, *rotate])


def encode_ready(session_id: bytes, services: tuple[str, ...]) -> bytes:
    """The bytes of READY."""
    return _pack([frames.READY, session_id, services])


def encode_goodbye(code: SessionCode, message: str) -> bytes:
    """The bytes of GOODBYE; a long message is cut."""
    text = message.encode("utf-8", "replace")[:GOODBYE_TEXT_MAX].decode("utf-8", "ignore")
    return _pack([frames.GOODBYE, int(code), text])


def unsigned_part(challenge: bytes) -> bytes:
    """What the hub signs of a CHALLENGE: all bytes before the signature's own encoding.

    Raises:
        ProtocolViolation: the message does not end with a signature encoded as `bin 8`.
    """
    if challenge[-_SIGNATURE_TAIL:][: len(_SIGNATURE_HEAD)] != _SIGNATURE_HEAD:
        raise ProtocolViolation("CHALLENGE does not end with its signature")
    return challenge[:-_SIGNATURE_TAIL]


def transcript(label: bytes, *parts: bytes) -> bytes:
    """The octets to sign: label, one zero octet, SHA-256 over label and `parts`, each after its 32-bit length.

    The label stands outside the hash as well, so that no signature of a bare digest can be mistaken for one
    of ours. `parts` are exact bytes as sent: HELLO and the unsigned part of CHALLENGE, and for the agent the
    hub's signature too.
    """
    digest = hashlib.sha256()
    for part in (label, *parts):
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return label + b"\0" + digest.digest()


def decode(message: bytes) -> Message:
    """One message of the handshake, checked.

    Raises:
        ProtocolViolation: PROTOCOL_ERROR, or BAD_VERSION for another version's HELLO.
    """
    if len(message) > MESSAGE_MAX:
        raise ProtocolViolation(f"a handshake message of {len(message)} bytes")
    try:
        frame = msgpack.unpackb(
            message,
            raw=False,
            use_list=True,
            strict_map_key=True,
            object_pairs_hook=_unique,
            max_str_len=1024,
            max_bin_len=64,
            max_array_len=SERVICES_MAX,
            max_map_len=2,
            max_ext_len=0,
        )
    except Exception as error:  # msgpack raises many types for bad input; each is the peer's fault
        raise ProtocolViolation(f"a handshake message that is not msgpack ({type(error).__name__})") from None
    if type(frame) is not list or not frame or type(frame[0]) is not int:
        raise ProtocolViolation("a handshake message that is not a frame")
    reader = _READERS.get(frame[0])
    if reader is None:
        raise ProtocolViolation("a frame that does not belong into the handshake")
    return reader(frame)


def _read_hello(frame: list[Any]) -> Hello:
    # Another version may have other elements, so nothing else of it is looked at.
    if len(frame) > 1 and _is_int(frame[1], 0, 65535) and frame[1] != VERSION:
        raise ProtocolViolation(
            f"The agent speaks version {frame[1]} of the tunnel's protocol and the hub version {VERSION}: "
            "install releases of both that fit together.",
            SessionCode.BAD_VERSION,
        )
    match frame:
        case [_, int(version), agent_id, instance_id, nonce, hashed, software, services, limits] if (
            version == VERSION
            and type(version) is int
            and _name(agent_id)
            and _bin(instance_id, ID_BYTES)
            and _bin(nonce, NONCE_BYTES)
            and (hashed is None or _bin(hashed, *HASH_SIZES))
            and type(software) is str
            and len(software) <= SOFTWARE_MAX
            and _is_printable(software)
        ):
            return Hello(
                agent_id, instance_id, nonce, hashed, software, _names("HELLO", services), _limits("HELLO", limits)
            )
    raise _malformed("HELLO")


def _read_challenge(frame: list[Any]) -> Challenge:
    match frame:
        case [_, hub_id, nonce, limits, signature] if (
            _name(hub_id) and _bin(nonce, NONCE_BYTES) and _bin(signature, SIGNATURE_BYTES)
        ):
            return Challenge(hub_id, nonce, _limits("CHALLENGE", limits), signature)
    raise _malformed("CHALLENGE")


def _read_proof(frame: list[Any]) -> Proof:
    match frame:
        case [_, signature] if _bin(signature, SIGNATURE_BYTES):
            return Proof(signature)
    raise _malformed("PROOF")


def _read_enrol(frame: list[Any]) -> Enrol:
    match frame:
        case [_, token_id, token_signature, key, signature] if (
            _bin(token_id, ID_BYTES)
            and _bin(token_signature, SIGNATURE_BYTES)
            and _key(key)
            and _bin(signature, SIGNATURE_BYTES)
        ):
            return Enrol(token_id, token_signature, key, signature)
    raise _malformed("ENROL")


def _read_rotate(frame: list[Any]) -> Rotate:
    match frame:
        case [_, key, key_signature, signature] if (
            _key(key) and _bin(key_signature, SIGNATURE_BYTES) and _bin(signature, SIGNATURE_BYTES)
        ):
            return Rotate(key, key_signature, signature)
    raise _malformed("ROTATE")


def _read_ready(frame: list[Any]) -> Ready:
    match frame:
        case [_, session_id, services] if _bin(session_id, ID_BYTES):
            return Ready(session_id, _names("READY", services))
    raise _malformed("READY")


def _read_goodbye(frame: list[Any]) -> Goodbye:
    match frame:
        case [_, code, message] if _is_int(code, 0, 65535) and type(message) is str:
            # It goes to logs and terminals.
            return Goodbye(code, "".join(char if char.isprintable() else "?" for char in message))
    raise _malformed("GOODBYE")


_READERS: Final[dict[int, Callable[[list[Any]], Message]]] = {
    frames.HELLO: _read_hello,
    frames.CHALLENGE: _read_challenge,
    frames.PROOF: _read_proof,
    frames.ENROL: _read_enrol,
    frames.ROTATE: _read_rotate,
    frames.READY: _read_ready,
    frames.GOODBYE: _read_goodbye,
}


def _malformed(name: str) -> ProtocolViolation:
    return ProtocolViolation(f"a malformed {name}")


def _is_int(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _bin(value: Any, *sizes: int) -> bool:
    return type(value) is bytes and len(value) in sizes


def _key(value: Any) -> bool:
    """Whether it is a public key that anyone can have (protocol.keys)."""
    if not _bin(value, KEY_BYTES):
        return False
    try:
        PublicKey(value)
    except ValueError:
        return False
    return True


def _name(value: Any) -> bool:
    return type(value) is str and _is_name(value) is not None


def _names(frame: str, value: Any) -> tuple[str, ...]:
    if type(value) is not list or not all(map(_name, value)) or len(set(value)) != len(value):
        raise _malformed(frame)
    return tuple(value)


def _limits(frame: str, value: Any) -> Limits:
    match value:
        case {"max_streams": streams, "window": window} if (
            len(value) == 2 and _is_int(streams, 1, STREAMS_MAX) and _is_int(window, WINDOW_MIN, WINDOW_MAX)
        ):
            return Limits(max_streams=streams, window=window)
    raise _malformed(frame)


def _map(limits: Limits) -> dict[str, int]:
    return {"max_streams": limits.max_streams, "window": limits.window}


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a repeated key")
    return found


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed
