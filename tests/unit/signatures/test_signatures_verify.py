"""Every way in which a signature can be wrong, and what the caller's developer is told."""

from __future__ import annotations

from typing import Any

import pytest

from protocol.signatures.base import Signable
from protocol.signatures.verify import SignatureRefused, Verified, verify
from tests.unit.signatures.signing import (
    EC,
    ED,
    GET,
    NOW,
    OTHER,
    PARAMETERS,
    POST,
    SIGNERS,
    WINDOW,
    digest,
    signed,
)

BODY = b"body"
WITH_BODY: dict[str, Any] = {"method": b"POST", "fields": [b"Content-Digest", digest(BODY)]}


def check(request: Signable, *, has_body: bool = False, now: float = NOW) -> Verified:
    return verify(request, SIGNERS, now=now, window=WINDOW, has_body=has_body)


def parameters(**changes: str | None) -> str:
    """The usual ones with some written otherwise; None leaves one out."""
    usual = {"created": f"{NOW:.0f}", "nonce": '"0123456789"', "keyid": '"booking"', "tag": '"tunnel"'}
    merged: dict[str, str | None] = {**usual, **changes}
    return "".join(f";{name}={value}" for name, value in merged.items() if value is not None)


def test_a_right_one() -> None:
    verified = check(signed())
    assert verified == Verified("booking", "0123456789", int(NOW), NOW + WINDOW, None)


def test_one_with_a_body() -> None:
    verified = check(signed(POST, **WITH_BODY), has_body=True)
    assert verified.digests is not None
    verified.digests.check(BODY)


RIGHT: dict[str, Signable] = {
    "ecdsa": signed(key=EC),
    "alg": signed(parameters=parameters(alg='"ed25519"')),
    "ecdsa alg": signed(parameters=parameters(alg='"ecdsa-p256-sha256"'), key=EC),
    "fingerprint": signed(parameters=parameters(keyid=f'"booking/{ED.public.fingerprint}"')),
    "another signer": signed(parameters=parameters(keyid='"money"'), key=OTHER),
    "expires": signed(parameters=parameters(expires=f"{NOW:.0f}")),
    "other order": signed(("@query", "@path", "@method")),
    "more fields": signed((*GET, "accept", "@authority"), fields=[b"Accept", b"a", b"Accept", b"b"]),
    "any label": signed(label="sig1"),
    "no query": signed(target=b"/visits"),
    "a question mark in the query": signed(target=b"/visits??"),
    "as old as may be": signed(parameters=parameters(created=f"{NOW - WINDOW:.0f}")),
    "as early as may be": signed(parameters=parameters(created=f"{NOW + WINDOW:.0f}")),
    "the shortest nonce": signed(parameters=parameters(nonce='"' + "n" * 8 + '"')),
    "the longest nonce": signed(parameters=parameters(nonce='"' + "n" * 128 + '"')),
    "a nonce with escapes": signed(parameters=parameters(nonce=r'"a\"b\\c def"')),
}


@pytest.mark.parametrize("request_", RIGHT.values(), ids=RIGHT)
def test_other_right_ones(request_: Signable) -> None:
    check(request_)


def test_expires_ends_it_earlier() -> None:
    assert check(signed(parameters=parameters(expires=f"{NOW + 5:.0f}"))).until == NOW + 5


def test_other_signatures_are_ignored() -> None:
    ours = signed()
    fields = [b"Signature-Input", b'proxy=("@status");keyid="x"', b"Signature", b"proxy=:AAAA:", *ours.fields]
    check(ours._replace(fields=fields))


def without(request: Signable, *names: bytes) -> Signable:
    pairs = zip(request.fields[::2], request.fields[1::2], strict=True)
    return request._replace(fields=[part for pair in pairs if pair[0] not in names for part in pair])


def instead(request: Signable, name: bytes, value: bytes) -> Signable:
    stripped = without(request, name)
    return stripped._replace(fields=[*stripped.fields, name, value])


S = signed()
INPUT = S.fields[S.fields.index(b"Signature-Input") + 1]
VALUE = S.fields[S.fields.index(b"Signature") + 1]

WRONG: dict[str, tuple[Signable, str]] = {
    "unsigned": (Signable(b"GET", b"/", []), "the request is not signed, and this service demands it"),
    "no Signature": (without(S, b"Signature"), "is not signed"),
    "no Signature-Input": (without(S, b"Signature-Input"), "is not signed"),
    "malformed": (instead(S, b"Signature", b"tunnel=:A"), "malformed"),
    "malformed input": (instead(S, b"Signature-Input", b'tunnel=("@method"'), "malformed"),
    "a label twice": (instead(S, b"Signature-Input", INPUT + b", " + INPUT), "malformed"),
    "too long": (instead(S, b"Signature-Input", INPUT + b", a=" + b"1" * 5000), "malformed or too long"),
    "a blank more": (instead(S, b"Signature-Input", INPUT.replace(b"(", b"( ")), "not written in the one form"),
    "a zero more": (instead(S, b"Signature-Input", INPUT.replace(b"d=1", b"d=01")), "not written in the one form"),
    "a parameter twice": (instead(S, b"Signature-Input", INPUT + b';tag="tunnel"'), "malformed"),
    "two tagged": (instead(S, b"Signature-Input", INPUT + b', b=();tag="tunnel"'), "2 signatures have tag"),
    "not tagged": (signed(parameters=parameters(tag=None)), 'no signatures have tag="tunnel"'),
    "tag of another": (signed(parameters=parameters(tag='"other"')), "no signatures have tag"),
    "a token as tag": (signed(parameters=parameters(tag="tunnel")), "no signatures have tag"),
    "an item as input": (instead(S, b"Signature-Input", b'tunnel="a";tag="tunnel"'), "no signatures have tag"),
    "another label": (instead(S, b"Signature", b"other" + VALUE[6:]), "holds no byte sequence"),
    "text as signature": (instead(S, b"Signature", b'tunnel="AAAA"'), "holds no byte sequence"),
    "list as signature": (instead(S, b"Signature", b"tunnel=(:AAAA:)"), "holds no byte sequence"),
    "unknown parameter": (signed(parameters=parameters(scope='"a"')), "a parameter that is not known here: scope"),
    "created as text": (signed(parameters=parameters(created='"1"')), "created is not an integer"),
    "created as decimal": (signed(parameters=parameters(created="1.5")), "created is not an integer"),
    "created as boolean": (signed(parameters=parameters(created="?1")), "created is not an integer"),
    "created as date": (signed(parameters=parameters(created="@1700000000")), "created is not an integer"),
    "expires as text": (signed(parameters=parameters(expires='"1"')), "expires is not an integer"),
    "nonce as token": (signed(parameters=parameters(nonce="abcdefgh")), "nonce is not a string"),
    "keyid as bytes": (signed(parameters=parameters(keyid=":AAAA:")), "keyid is not a string"),
    "alg as token": (signed(parameters=parameters(alg="ed25519")), "alg is not a string"),
    "no created": (signed(parameters=parameters(created=None)), "has no parameter created: sign @method"),
    "no nonce": (signed(parameters=parameters(nonce=None)), "has no parameter nonce"),
    "no keyid": (signed(parameters=parameters(keyid=None)), "has no parameter keyid"),
    "short nonce": (signed(parameters=parameters(nonce='"1234567"')), "8 to 128 characters"),
    "long nonce": (signed(parameters=parameters(nonce='"' + "n" * 129 + '"')), "8 to 128 characters"),
    "late": (
        signed(parameters=parameters(created=f"{NOW - 412:.0f}")),
        "created 412 s behind the agent's clock, and 300 s are allowed: set the caller's clock",
    ),
    "early": (signed(parameters=parameters(created=f"{NOW + 301:.0f}")), "301 s ahead of the agent's clock"),
    "at the end of time": (signed(parameters=parameters(created="999999999999999")), "ahead of the agent's"),
    "expired": (signed(parameters=parameters(expires=f"{NOW - 7:.0f}")), "expired 7 s ago by the agent's clock"),
    "no path": (signed(("@method", "@query")), "does not cover @path: sign"),
    "no query covered": (signed(("@method", "@path")), "does not cover @query"),
    "nothing covered": (signed(()), "does not cover @method, @path, @query"),
    "covered twice": (instead(S, b"Signature-Input", INPUT.replace(b"(", b'("@path" ')), "is covered twice"),
    "a token covered": (instead(S, b"Signature-Input", INPUT.replace(b"(", b"(a ")), "name is not a string"),
    "with parameters": (instead(S, b"Signature-Input", INPUT.replace(b'path"', b'path";tr')), "has parameters"),
    "what nobody can know": (
        instead(S, b"Signature-Input", INPUT.replace(b"(", b'("@target-uri" ')),
        "@target-uri cannot be computed by the agent",
    ),
    "a field that is gone": (
        without(signed((*GET, "x-a"), fields=[b"X-A", b"1"]), b"X-A"),
        "no field x-a has come; only fields that travel end to end",
    ),
    "a bare question mark": (signed(target=b"/visits?"), "ends in a bare question mark"),
    "malformed digest": (signed(fields=[b"Content-Digest", b"sha-256=x"]), "not a byte sequence between colons"),
    "unknown signer": (signed(parameters=parameters(keyid='"nobody"')), "keyid names no signer"),
    "unknown fingerprint": (signed(parameters=parameters(keyid='"booking/00"')), "no key of booking with the"),
    "alg of no key": (
        signed(parameters=parameters(alg='"hmac-sha256"')),
        "no key of booking with the fingerprint",
    ),
    "alg of another key": (signed(parameters=parameters(alg='"ecdsa-p256-sha256"')), "not one by booking"),
    "another's key": (signed(parameters=parameters(keyid='"money"')), "is not one by money of this request"),
    "not that fingerprint": (
        signed(parameters=parameters(keyid=f'"booking/{OTHER.public.fingerprint}"')),
        "is not one by booking",
    ),
    "another method": (S._replace(method=b"PUT"), "it was changed on the way, or was signed with another key"),
    "method in other letters": (S._replace(method=b"get"), "changed on the way"),
    "another path": (S._replace(target=b"/visit?a=1"), "changed on the way"),
    "an encoded path": (S._replace(target=b"/%76isits?a=1"), "changed on the way"),
    "another query": (S._replace(target=b"/visits?a=2"), "changed on the way"),
    "no query any more": (S._replace(target=b"/visits"), "changed on the way"),
    "path and query moved": (S._replace(target=b"/visits?a%3d1"), "changed on the way"),
    "a field changed": (
        instead(signed((*GET, "x-a"), fields=[b"X-A", b"1"]), b"X-A", b"2"),
        "changed on the way",
    ),
    "another nonce": (instead(S, b"Signature-Input", INPUT.replace(b"789", b"780")), "changed on the way"),
    "another created": (instead(S, b"Signature-Input", INPUT.replace(b"00000;", b"00001;")), "changed on the way"),
}


@pytest.mark.parametrize(("request_", "why"), WRONG.values(), ids=WRONG)
def test_wrong_ones(request_: Signable, why: str) -> None:
    with pytest.raises(SignatureRefused) as caught:
        check(request_)
    assert why in str(caught.value)
    assert len(str(caught.value)) <= 256, "RESET carries no more"
    assert "\n" not in str(caught.value)


def test_a_body_needs_its_digest_covered() -> None:
    for request in (signed(), signed(fields=[b"Content-Digest", digest(BODY)])):
        with pytest.raises(SignatureRefused, match="does not cover content-digest"):
            check(request, has_body=True)


def test_a_digest_is_looked_at_without_a_body_too() -> None:
    verified = check(signed(fields=[b"Content-Digest", digest(b"")]))
    assert verified.digests is not None
    verified.digests.check(b"")


def test_the_clock_is_the_agents() -> None:
    late = signed(parameters=PARAMETERS)
    check(late, now=NOW + WINDOW)
    with pytest.raises(SignatureRefused, match="behind"):
        check(late, now=NOW + WINDOW + 1)
