from __future__ import annotations

import json

import pytest

from tests.unit.gateway.refusals import row
from tunnel_hub.gateway.feed import BadDocument
from tunnel_hub.gateway.revocations import read_fingerprints

A, B = "a" * 64, "0123456789abcdef" * 4


def test_fingerprints() -> None:
    assert read_fingerprints(json.dumps([A, B.upper()]).encode()) == {A, B}
    assert read_fingerprints(b" [ ] ") == frozenset()
    assert len(read_fingerprints(json.dumps([f"{n:064x}" for n in range(50_000)]).encode())) == 50_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'{"revoked":[]}',
        b'"' + A.encode() + b'"',
        b"[",
        b"[]]",
        b"[null]",
        b"[1]",
        b'[""]',
        json.dumps([A[:-1]]).encode(),
        json.dumps([A + "a"]).encode(),
        json.dumps([A, "g" * 64]).encode(),
        json.dumps([A + "\n"]).encode(),
        json.dumps(["\u0660" * 64]).encode(),
        json.dumps([[A]]).encode(),
        json.dumps([A, None]).encode(),
        b'["\xff"]',
        b"[" * 100_000,
        b"<html></html>",
    ],
    ids=row,
)
def test_bad_documents(body: bytes) -> None:
    with pytest.raises(BadDocument, match="the document") as caught:
        read_fingerprints(body)
    assert A[:20] not in str(caught.value)
