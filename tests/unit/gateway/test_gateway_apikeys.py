from __future__ import annotations

import re
from hashlib import sha256

import pytest

from protocol.ops import apikeys
from tests.support.seeded import seed
from tests.unit.gateway.refusals import refused, row
from tunnel_hub.gateway.apikeys import ApiKeys
from tunnel_hub.gateway.grant import NEVER, Grant, Verified

KEY, LINE = apikeys.make()
seed(KEY)


def test_make() -> None:
    assert re.fullmatch(r"tk_[A-Za-z0-9_-]{43}", KEY)
    assert "sha256:" + sha256(KEY.encode()).hexdigest() == LINE
    assert len({apikeys.make()[0] for _ in range(100)}) == 100
    assert apikeys.looks_like(KEY.encode())


def test_whose_it_is() -> None:
    other, other_line = apikeys.make()
    keys = ApiKeys({LINE: "visits", other_line.upper().replace("SHA256", "sha256"): "money"})
    assert keys.verify(KEY.encode(), 0) == Verified(Grant("visits", "api_key", LINE[7:]), NEVER)
    assert keys.verify(other.encode(), 1e12).grant.name == "money"


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"tk_",
        KEY.encode()[:-1],
        KEY.encode() + b"A",
        KEY.encode() + b"\n",
        b" " + KEY.encode(),
        KEY.encode().swapcase(),
        KEY.encode().replace(b"tk_", b"TK_"),
        apikeys.make()[0].encode(),
        LINE.encode(),
        LINE[7:].encode(),
        b"x" * 100_000,
        b"\xff" * 46,
    ],
    ids=row,
)
def test_no_key_of_ours(key: bytes) -> None:
    error = refused(lambda: ApiKeys({LINE: "visits"}).verify(key, 0), key, KEY.encode())
    assert error.reason == "The API key is not valid."
    refused(lambda: ApiKeys({}).verify(KEY.encode(), 0), KEY.encode())


@pytest.mark.parametrize(
    "line",
    ["", KEY, "sha256:", LINE[:-1], LINE + "0", LINE[7:], LINE + "\n", "md5:" + LINE[7:]],
    ids=row,
)
def test_no_hash_line(line: str) -> None:
    with pytest.raises(ValueError, match="not the hash of an API key") as caught:
        ApiKeys({line: "visits"})
    assert KEY not in str(caught.value)
