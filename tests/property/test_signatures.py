"""Whatever is changed of a signed request, it is refused; whatever is not, it is accepted."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.signatures.base import Signable
from protocol.signatures.digest import BadDigest, dictionary
from protocol.signatures.keys import SigningKey
from protocol.signatures.sign import signature_fields
from protocol.signatures.verify import SignatureRefused, verify
from tests.unit.signatures.signing import EC, ED, NOW, POST, SIGNERS, WINDOW, digest

COUNT = itertools.count()
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
METHODS = st.sampled_from([b"GET", b"POST", b"PATCH", b"DELETE"])
PATHS = st.text(VISIBLE.filter(lambda c: c != "?"), max_size=30).map(lambda text: b"/" + text.encode())
QUERIES = st.text(VISIBLE, min_size=1, max_size=30).map(lambda text: b"?" + text.encode())
TARGETS = st.builds(bytes.__add__, PATHS, st.one_of(st.just(b""), QUERIES))
KEYS = st.sampled_from([ED, EC])


def sign(method: bytes, target: bytes, body: bytes, key: SigningKey) -> Signable:
    bare = Signable(method, target, [b"Content-Digest", digest(body)])
    nonce = f"nonce-{next(COUNT):08}"
    described, signature = signature_fields(bare, key, "booking", POST, created=int(NOW), nonce=nonce)
    fields = [*bare.fields, b"Signature-Input", described.encode(), b"Signature", signature.encode()]
    return bare._replace(fields=fields)


def accept(request: Signable, body: bytes) -> None:
    digests = verify(request, SIGNERS, now=NOW, window=WINDOW, has_body=True).digests
    assert digests is not None
    digests.check(body)


@given(METHODS, TARGETS, st.binary(max_size=100), KEYS)
def test_what_is_signed_is_accepted(method: bytes, target: bytes, body: bytes, key: SigningKey) -> None:
    accept(sign(method, target, body, key), body)


def changed(data: st.DataObject, value: bytes) -> bytes:
    """`value` with one octet replaced, added or taken away."""
    at = data.draw(st.integers(0, len(value)))
    octet = data.draw(st.binary(max_size=1))
    other = value[:at] + octet + value[at + data.draw(st.integers(0, 1)) :]
    assume(other != value)
    return other


@given(st.data(), METHODS, TARGETS, st.binary(max_size=40), KEYS)
def test_one_octet_is_enough(
    data: st.DataObject, method: bytes, target: bytes, body: bytes, key: SigningKey
) -> None:
    request = sign(method, target, body, key)
    accept(request, body)
    part = data.draw(st.sampled_from(["method", "target", "body", "digest", "input", "signature"]))
    if part == "method":
        request = request._replace(method=changed(data, method))
    elif part == "target":
        request = request._replace(target=changed(data, target))
    elif part == "body":
        body = changed(data, body)
    else:
        index = {"digest": 1, "input": 3, "signature": 5}[part]
        fields = list(request.fields)
        fields[index] = changed(data, fields[index])
        assume(_meaning(part, fields[index]) != _meaning(part, request.fields[index]))
        request = request._replace(fields=fields)
    with pytest.raises((SignatureRefused, BadDigest)):
        accept(request, body)


def _meaning(part: str, value: bytes) -> object:
    """Blanks at the ends are nobody's; of a signature only the octets count, whatever their base64."""
    if part != "signature":
        return value.strip(b" \t")
    try:
        return dictionary([value])
    except ValueError:
        return value


@given(st.lists(st.binary(max_size=40), max_size=6), st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else_happens(fields: list[bytes], value: bytes) -> None:
    names = [b"Signature-Input", b"Signature", b"Content-Digest"]
    request = Signable(
        b"GET", b"/", [part for pair in zip(names, [*fields, value, value, value], strict=False) for part in pair]
    )
    with pytest.raises(SignatureRefused):
        verify(request, SIGNERS, now=NOW, window=WINDOW, has_body=False)
