"""One-time tokens by which an agent's first boot registers its key at a hub (SPEC.md section 9.6).

A token is an Ed25519 seed with a name. It never travels and the hub does not keep it: the hub keeps the public key
that belongs to the seed, and the agent signs with the seed. Nothing here shows a token in a repr or an exception.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from .keys import PrivateKey, PublicKey

PREFIX: Final = "et1_"
ID_BYTES: Final = 16
SEED_BYTES: Final = 32


class EnrolToken:
    """One token. `text` is the secret itself, for whoever made it to hand over; nobody else asks for it."""

    __slots__ = ("_key", "_random", "id")

    def __init__(self, random: bytes) -> None:
        """random: ID_BYTES + SEED_BYTES fresh random bytes."""
        if len(random) != ID_BYTES + SEED_BYTES:
            raise ValueError("a token has 48 random bytes")
        self.id = random[:ID_BYTES]
        self._random = random
        self._key = PrivateKey.from_seed(random[ID_BYTES:])

    @property
    def text(self) -> str:
        return PREFIX + base64.urlsafe_b64encode(self._random).decode()

    @property
    def public(self) -> PublicKey:
        """What the hub keeps of it."""
        return self._key.public

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"<EnrolToken {self.id.hex()[:8]}>"


def parse_token(text: str) -> EnrolToken:
    """Reads what `tunnel-hub enrol-token` printed.

    Raises:
        ValueError: it is anything else. The message does not repeat it.
    """
    try:
        if not text.startswith(PREFIX):
            raise ValueError("another prefix")  # noqa: TRY301 - one message for every way to be wrong
        token = EnrolToken(base64.b64decode(text.removeprefix(PREFIX), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        token = None
    if token is None or token.text != text:
        raise ValueError("no enrolment token; copy the whole line that `tunnel-hub enrol-token` printed")
    return token
