"""Makes enrolment.json by SPEC.md section 9.6 alone, without this project's code; run it by its path.

Keys, nonces and values are those of handshake.json.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FOLDER = Path(__file__).parent
GIVEN = json.loads((FOLDER / "handshake.json").read_text())
BASE = GIVEN["accepted"][0]
HELLO, CHALLENGE, READY = (bytes.fromhex(BASE[name]) for name in ("hello", "challenge", "ready"))
SHOWN = (HELLO, CHALLENGE[:-66], CHALLENGE[-64:])
KEYS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    for name, seed in {**GIVEN["keys"], "fresh": "07" * 32}.items()
}
TOKEN_ID, TOKEN_SEED = bytes(range(16, 32)), bytes.fromhex("06" * 32)
TOKEN = Ed25519PrivateKey.from_private_bytes(TOKEN_SEED)

ABOUT = (
    "ENROL and ROTATE of tunnel.v1, after the HELLO and CHALLENGE of handshake.json's first exchange, with its "
    "keys and values; 'fresh' is a key that is not registered. 'accepted': the agent must send exactly 'message', "
    "and the hub must answer with 'ready' and register 'registers'. 'rejected': the hub must refuse 'message' "
    "with 'code' and register nothing. The token is for leeds-1."
)


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def transcript(label: bytes, *parts: bytes) -> bytes:
    lp = b"".join(len(part).to_bytes(4, "big") + part for part in (label, *parts))
    return label + b"\0" + hashlib.sha256(lp).digest()


def enrol(
    key: Ed25519PrivateKey,
    *,
    token: Ed25519PrivateKey = TOKEN,
    token_id: bytes = TOKEN_ID,
    signer: Ed25519PrivateKey | None = None,
    shown: tuple[bytes, ...] = SHOWN,
) -> list[Any]:
    by_token = token.sign(transcript(b"tunnel.v1 enrol token", *shown, token_id, raw(key)))
    signed = transcript(b"tunnel.v1 enrol", *shown, token_id, by_token, raw(key))
    return [16, token_id, by_token, raw(key), (signer or key).sign(signed)]


def rotate(
    old: Ed25519PrivateKey,
    new: Ed25519PrivateKey,
    *,
    signer: Ed25519PrivateKey | None = None,
    shown: tuple[bytes, ...] = SHOWN,
) -> list[Any]:
    by_new = (signer or new).sign(transcript(b"tunnel.v1 new key", *shown, raw(new)))
    return [17, raw(new), by_new, old.sign(transcript(b"tunnel.v1 rotate", *shown, raw(new), by_new))]


def accepted() -> list[dict[str, Any]]:
    fresh, agent = KEYS["fresh"], KEYS["agent"]
    rows = [
        ("a fresh key with a token", enrol(fresh), {"key": "fresh", "registers": "fresh"}),
        ("a registered key needs no token", enrol(agent), {"key": "agent", "registers": None}),
        ("the next key", rotate(agent, fresh), {"key": "agent", "next": "fresh", "registers": "fresh"}),
        (
            "a next key that is registered already",
            rotate(agent, KEYS["agent_next"]),
            {"key": "agent", "next": "agent_next", "registers": None},
        ),
    ]
    return [
        {"name": name, **facts, "message": msgpack.packb(frame).hex(), "ready": READY.hex()}
        for name, frame, facts in rows
    ]


def rejected() -> list[dict[str, Any]]:
    fresh, agent, stranger = KEYS["fresh"], KEYS["agent"], KEYS["stranger"]
    other = (HELLO, CHALLENGE[:-66], bytes(64))
    enrolled, rotated = enrol(fresh), rotate(agent, fresh)
    refused, unknown, broken = "ENROLMENT_REFUSED", "NOT_REGISTERED", "PROTOCOL_ERROR"
    small_order = (1).to_bytes(32, "little")
    rows: list[tuple[str, Any, str]] = [
        ("ENROL with an unknown token", enrol(fresh, token_id=bytes(16)), refused),
        ("ENROL signed with another token", enrol(fresh, token=stranger), refused),
        ("ENROL signed by another key", enrol(fresh, signer=stranger), refused),
        ("ENROL of another exchange", enrol(fresh, shown=other), refused),
        ("ENROL of another key with a token's signature", [*enrolled[:3], raw(stranger), enrolled[4]], refused),
        (
            "ENROL whose two signatures are exchanged",
            [16, TOKEN_ID, enrolled[4], enrolled[3], enrolled[2]],
            refused,
        ),
        ("ENROL of a registered key that another signed", enrol(agent, signer=stranger), refused),
        ("ENROL with a key of small order", [16, TOKEN_ID, enrolled[2], small_order, enrolled[4]], broken),
        ("ENROL with an element missing", enrolled[:4], broken),
        ("ENROL with an element more", [*enrolled, None], broken),
        ("ENROL with text for a token", [16, "x" * 16, *enrolled[2:]], broken),
        ("ENROL with a token of 15 bytes", [16, bytes(15), *enrolled[2:]], broken),
        ("ENROL with a key of 31 bytes", [*enrolled[:3], bytes(31), enrolled[4]], broken),
        ("ENROL with a signature of 63 bytes", [*enrolled[:4], bytes(63)], broken),
        ("ROTATE by a stranger", rotate(stranger, fresh), unknown),
        ("ROTATE to a key that another signed", rotate(agent, fresh, signer=stranger), refused),
        ("ROTATE of another exchange", rotate(agent, fresh, shown=other), unknown),
        ("ROTATE to another key", [17, raw(stranger), *rotated[2:]], unknown),
        ("ROTATE to a key of small order", [17, small_order, *rotated[2:]], broken),
        ("ROTATE with an element missing", rotated[:3], broken),
        ("ROTATE with an element more", [*rotated, None], broken),
        ("PROOF with ENROL's signature", [3, enrol(agent)[4]], unknown),
        ("PROOF with ROTATE's signature", [3, rotated[3]], unknown),
    ]
    return [{"name": name, "message": msgpack.packb(frame).hex(), "code": code} for name, frame, code in rows]


def main() -> None:
    whole = {
        "about": ABOUT,
        "token": "et1_" + base64.urlsafe_b64encode(TOKEN_ID + TOKEN_SEED).decode(),
        "token_id": TOKEN_ID.hex(),
        "token_key": raw(TOKEN).hex(),
        "fresh": "07" * 32,
        "accepted": accepted(),
        "rejected": rejected(),
    }
    (FOLDER / "enrolment.json").write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
