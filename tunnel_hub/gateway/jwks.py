"""The key set of an OAuth issuer (RFC 7517), fetched in the background."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final, Self

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tunnel_hub.gateway.feed import BadDocument, ClientFactory, Feed, open_client
from tunnel_hub.gateway.grant import Grant
from tunnel_hub.gateway.keyprint import keyprint

INTERVAL: Final = 300.0
EARLY: Final = 10.0
"""Seconds between fetches that an unknown key asks for, whoever asks."""

SET_BYTES: Final = 512 * 1024
KEYS: Final = 100
MISSING: Final = 256
"""Unknown key ids that are remembered as such."""

KID_CHARS: Final = 256
_RSA_BITS: Final = range(2048, 8192 + 1)

Key = RSAPublicKey | EllipticCurvePublicKey
Keys = dict[tuple[str, str], Key]
"""By key id ("" for none) and algorithm."""


class _Document(msgspec.Struct):
    keys: list[Any]


def read_keys(body: bytes) -> Keys:
    """The keys of a JWKS that can verify RS256, PS256 or ES256; all others in it are passed over.

    Raises:
        BadDocument: it is no key set, or holds no such key.
    """
    try:
        listed = msgspec.json.decode(body, type=_Document).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadDocument("the document is not a JSON Web Key Set") from None
    if len(listed) > KEYS:
        raise BadDocument(f"the key set holds more than {KEYS} keys")
    keys: Keys = {}
    for item in listed:
        for place, key in _usable(item):
            keys.setdefault(place, key)
    if not keys:
        raise BadDocument("the key set holds no RSA key of 2048 bits or more and no P-256 key, for signatures")
    return keys


def _usable(item: Any) -> Iterator[tuple[tuple[str, str], Key]]:
    if not isinstance(item, dict) or item.get("kty") not in ("RSA", "EC"):
        return
    operations = item.get("key_ops", ["verify"])
    if item.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return
    kid = item.get("kid", "")
    if not isinstance(kid, str) or len(kid) > KID_CHARS:
        return
    named = item.get("alg")
    algorithms = ("RS256", "PS256") if item["kty"] == "RSA" else ("ES256",)
    try:
        key = jwt.PyJWK(item, algorithms[0]).key
    except Exception:  # whatever is wrong with one key must not spoil the set
        return
    # a private key, published by mistake, is of neither type
    fits = (isinstance(key, RSAPublicKey) and key.key_size in _RSA_BITS) or (
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    )
    if fits:
        yield from (((kid, name), key) for name in algorithms if named in (None, name))


class KeySet(Feed[Keys]):
    """An issuer's keys, by its newest good key set; they stay while the issuer cannot be reached."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        interval: float = INTERVAL,
        client: ClientFactory = open_client,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """name: the issuer's in the configuration, for the log."""
        super().__init__(
            f"keys of {name}",
            url,
            interval=interval,
            limit=SET_BYTES,
            read=read_keys,
            taken=self._take,
            client=client,
            clock=clock,
        )
        self._keys: Keys = {}
        self._prints: frozenset[str] = frozenset()
        self._listeners: list[Callable[[], None]] = []
        self._asked: float | None = None
        self._missing: OrderedDict[str, float] = OrderedDict()

    def follow(self, before: Self) -> None:
        """The same URL's keys stay until this feed has answered."""
        super().follow(before)
        self._keys, self._prints = before._keys, before._prints

    def has(self, grant: Grant) -> bool:
        """Whether the key that vouched for the caller is still in the set; true while none was ever read."""
        return not self.ready or any(key in self._prints for key in grant.rests_on)

    def on_withdrawn(self, callback: Callable[[], None]) -> None:
        """Call `callback` each time keys are in the set no more; `has` says so already then."""
        self._listeners.append(callback)

    def find(self, kid: str, algorithm: str) -> Key | None:
        """The key of that id; without an id ("") the only key for the algorithm, if there is just one."""
        key = self._keys.get((kid, algorithm))
        if key is None and not kid:
            fitting = [key for (_, name), key in self._keys.items() if name == algorithm]
            return fitting[0] if len(fitting) == 1 else None
        return key

    def may_come(self, kid: str) -> bool:
        """Whether a fetch may still bring a key that `find` did not; asks for one early, EARLY apart at most.

        False once a fetch that began after the first question for this id did not bring it.
        """
        now = self._clock()
        since = self._missing.get(kid)
        if since is not None and self.known_at is not None and self.known_at > since:
            if now - self.known_at < EARLY:
                return False
            since = None  # it may have been published after that
        if since is None:
            self._missing[kid] = now
            self._missing.move_to_end(kid)
            if len(self._missing) > MISSING:
                self._missing.popitem(last=False)
        if self._asked is None or now - self._asked >= EARLY:
            self._asked = now
            self.refresh()
        return True

    def _take(self, keys: Keys) -> None:
        before, self._prints = self._prints, frozenset(map(keyprint, keys.values()))
        self._keys = keys
        if before - self._prints:
            for callback in self._listeners:
                callback()
