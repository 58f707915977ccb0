"""Whether a request carries the signature that a service demands (RFC 9421 section 3.2). Pure.

Demanded: one signature with tag "tunnel" that covers @method, @path, @query and, where there is a body,
content-digest, with `created`, `nonce` and `keyid`. Other signatures on the request are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import http_sf

from protocol.http.fields import values

from .base import NotComputable, Signable, signature_base
from .digest import FIELD, BadDigest, Digests, dictionary
from .keys import VerifyKey

TAG: Final = "tunnel"
REQUIRED: Final = ("@method", "@path", "@query")
NONCE_MIN: Final = 8
NONCE_MAX: Final = 128

_WHAT: Final = (
    'sign @method, @path, @query and, with a body, content-digest, with created, nonce, keyid and tag="tunnel"'
)
_TYPES: Final = {"created": int, "expires": int, "nonce": str, "keyid": str, "alg": str, "tag": str}
_WORDS: Final = {int: "an integer", str: "a string"}

Signers = Mapping[str, Sequence[VerifyKey]]
"""The keys of each signer that a service accepts, by name."""


class SignatureRefused(ValueError):
    """The request is not signed as it must be. The message tells the caller's developer why, in one sentence."""


class Verified(NamedTuple):
    """A signature that holds. The body is still to be checked against `digests`, where there are any.

    until: when it ceases to be acceptable, in seconds since 1970.
    """

    signer: str
    nonce: str
    created: int
    until: float
    digests: Digests | None


def verify(request: Signable, signers: Signers, *, now: float, window: float, has_body: bool) -> Verified:
    """Check the signature of a request's head.

    now: the wall clock in seconds since 1970; window: how far `created` may be from it, in seconds.
    Whether the nonce was used before is for `Nonces`, and must be asked next.

    Raises:
        SignatureRefused
    """
    label, covered, parameters, signature = _tagged(request.fields)
    _check_types(parameters)
    names = _names(covered)
    described = _as_written(request.fields, label, (covered, parameters))
    created, until = _check_time(parameters, now, window)
    nonce = parameters["nonce"]
    if not NONCE_MIN <= len(nonce) <= NONCE_MAX:
        raise SignatureRefused(f"the nonce must have {NONCE_MIN} to {NONCE_MAX} characters")
    missing = [name for name in (*REQUIRED, *((FIELD,) if has_body else ())) if name not in names]
    if missing:
        raise SignatureRefused(f"the signature does not cover {', '.join(missing)}: {_WHAT}")
    if request.target.find(b"?") == len(request.target) - 1:
        # @query is "?" with and without that question mark, so somebody could add it or take it away.
        raise SignatureRefused("the target ends in a bare question mark, which no signature covers: leave it out")
    try:
        base = signature_base(request, names, described)
        stated = values(request.fields, FIELD.encode())
        digests = Digests(stated) if stated else None
    except (NotComputable, BadDigest) as error:
        raise SignatureRefused(str(error)) from None
    signer, keys = _keys(signers, parameters)
    if not any(key.verify(signature, base) for key in keys):
        raise SignatureRefused(
            f"the signature is not one by {signer} of this request: it was changed on the way, or was signed with "
            "another key or over other values"
        )
    return Verified(signer, nonce, created, until, digests)


def _tagged(fields: list[bytes]) -> tuple[str, list[Any], dict[str, Any], bytes]:
    """Label, covered components, parameters and value of the one signature that is meant for the tunnel."""
    inputs, signatures = (values(fields, name) for name in (b"signature-input", b"signature"))
    if not inputs or not signatures:
        raise SignatureRefused(f"the request is not signed, and this service demands it (RFC 9421): {_WHAT}")
    try:
        described, signed = dictionary(inputs), dictionary(signatures)
    except ValueError:
        raise SignatureRefused("Signature-Input or Signature is malformed or too long (RFC 9421)") from None
    tagged = [
        (label, *member)
        for label, member in described.items()
        if type(member[0]) is list and type(member[1].get("tag")) is str and member[1]["tag"] == TAG
    ]
    if len(tagged) != 1:
        raise SignatureRefused(f'{len(tagged) or "no"} signatures have tag="{TAG}", and one must: {_WHAT}')
    label, covered, parameters = tagged[0]
    signature = signed.get(label, (None,))[0]
    if type(signature) is not bytes:
        raise SignatureRefused(f'Signature holds no byte sequence for the signature with tag="{TAG}"')
    return label, covered, parameters, signature


def _as_written(fields: list[bytes], label: str, inner: Any) -> str:
    """`@signature-params`. It is signed as serialised anew, so any other spelling of it would go unnoticed."""
    described = http_sf.ser([inner])
    if f"{label}={described}".encode() not in b", ".join(values(fields, b"signature-input")):
        raise SignatureRefused("Signature-Input is not written in the one form of RFC 9651, section 4.1")
    return described


def _check_types(parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        if name not in _TYPES:
            raise SignatureRefused(f"the signature has a parameter that is not known here: {name[:40]}")
        if type(value) is not _TYPES[name]:
            raise SignatureRefused(f"the signature's parameter {name} is not {_WORDS[_TYPES[name]]}")
    for name in ("created", "nonce", "keyid"):
        if name not in parameters:
            raise SignatureRefused(f"the signature has no parameter {name}: {_WHAT}")


def _check_time(parameters: dict[str, Any], now: float, window: float) -> tuple[int, float]:
    created: int = parameters["created"]
    off = created - now
    if abs(off) > window:
        raise SignatureRefused(
            f"the signature was created {abs(off):.0f} s {'ahead of' if off > 0 else 'behind'} the agent's clock, "
            f"and {window:g} s are allowed: set the caller's clock, and sign every request anew"
        )
    until = created + window
    if "expires" in parameters:
        until = min(until, parameters["expires"])
        if until < now:
            raise SignatureRefused(
                f"the signature expired {now - until:.0f} s ago by the agent's clock: set the caller's clock, or "
                "let it expire later"
            )
    return created, until


def _names(covered: list[Any]) -> list[str]:
    names = []
    for value, parameters in covered:
        if type(value) is not str:
            raise SignatureRefused("a covered component's name is not a string")
        if parameters:
            raise SignatureRefused("a covered component has parameters, which are not supported here")
        if value in names:
            raise SignatureRefused("a component is covered twice")
        names.append(value)
    return names


def _keys(signers: Signers, parameters: dict[str, Any]) -> tuple[str, list[VerifyKey]]:
    """The keys that may have made the signature: those of the named signer, or the one of that fingerprint."""
    signer, slash, fingerprint = parameters["keyid"].partition("/")
    if signer not in signers:
        raise SignatureRefused(
            "keyid names no signer that this service accepts: it is the signer's name at the agent"
        )
    algorithm = parameters.get("alg")
    keys = [
        key
        for key in signers[signer]
        if (not slash or key.fingerprint == fingerprint) and algorithm in (None, key.algorithm)
    ]
    if not keys:
        raise SignatureRefused(
            f"the agent has no key of {signer} with the fingerprint or alg that the signature states"
        )
    return signer, keys
