"""Who the caller is behind a listed proxy, and who may say what in an answer."""

from __future__ import annotations

import pytest

from protocol.http.names import KINDS
from tunnel_hub.forward import Forwarder, not_ours


@pytest.mark.parametrize(
    ("value", "caller"),
    [
        (b"10.1.2.3", "10.1.2.3"),
        (b"10.1.2.3:49152", "10.1.2.3"),
        (b"192.0.2.1, 10.1.2.3", "10.1.2.3"),
        (b"[2001:db8::1]:443", "2001:db8::1"),
        (b"2001:db8::1", "2001:db8::1"),
        (b"unknown", "unknown"),
        (b"x" * 500, "x" * 64),
    ],
)
def test_a_proxys_word_for_the_caller_has_no_port(value: bytes, caller: str) -> None:
    fields = [b"X-Forwarded-For", value]
    forwarder = Forwarder("hub-1", "abcd", False)
    mask = int(KINDS[b"X-Forwarded-For"])
    assert forwarder.request(fields, mask, b"10.0.0.1", b"a", trusted=True).caller == caller
    assert forwarder.request(fields, mask, b"10.0.0.1", b"a", trusted=False).caller == ""


def test_nobody_but_the_hub_says_what_the_hub_says() -> None:
    theirs = [b"X-Tunnel-1", b"a", b"Server", b"b"]
    assert not_ours(theirs) == theirs
    for name in (b"Tunnel-Delivered", b"tunnel-new", b"PROXY-STATUS"):
        assert not_ours([*theirs, name, b"no"]) == theirs
        assert not_ours([name, b"no", *theirs]) == theirs
    assert not_ours([]) == []
    assert Forwarder("hub-1", "abcd", False).answer([b"Tunnel-Delivered", b"no"]) == [b"Via", b"1.1 hub-1"]
