from __future__ import annotations

import pytest

from protocol.http import authority
from protocol.http.authority import CACHE_ENTRIES, BadAuthority, host_name

GOOD = {
    b"visits.internal": b"visits.internal",
    b"Visits.Internal:8080": b"visits.internal",
    b"localhost": b"localhost",
    b"my_host": b"my_host",
    b"a-b.c-d": b"a-b.c-d",
    b"xn--bcher-kva.example.": b"xn--bcher-kva.example",
    b"host.:80": b"host",
    b"a:1": b"a",
    b"a:65535": b"a",
    b"a:00080": b"a",
    b"1a": b"1a",
    b"1.2.3.4a": b"1.2.3.4a",
    b"127.0.0.1": b"127.0.0.1",
    b"127.0.0.1:80": b"127.0.0.1",
    b"[::1]": b"[::1]",
    b"[2001:DB8::1]:443": b"[2001:db8::1]",
    b"[::ffff:1.2.3.4]": b"[::ffff:1.2.3.4]",
    b"a" * 63 + b".b": b"a" * 63 + b".b",
    b".".join([b"a" * 49] * 5): b".".join([b"a" * 49] * 5),
}
BAD = [
    b"", b":80", b".", b"..", b".a", b"a..b", b"a..", b" a", b"a ", b"a b", b"a\tb", b"a,b", b"a/b", b"a?b",
    b"a#b",
    b"u@a", b"u:p@a", b"a\\b", b"a%62", b"a:", b"a:0", b"a:65536", b"a:123456", b"a:-1", b"a:+1", b"a:8o",
    b"a:80:80",
    b"a;b", b"a=b", b"a!b", b"a\x00", b"a\r\n", b"b\xc3\xbccher", b"a" * 64, b"a." * 127 + b"a", b"a" * 300,
    b"1", b"1.2.3", b"1.2.3.4.5", b"256.1.1.1", b"1.2.3.04", b"0x7f.0.0.1", b"0x7f000001", b"127.1", b"a.1",
    b"1.2.3.4:x",
    b"[", b"[]", b"[:]", b"::1", b"[::1", b"::1]", b"[::1]x", b"[::1]:", b"[1.2.3.4]", b"[::g]",
    b"[fe80::1%25eth0]",
    b"[v1.x]", b"[1:2:3:4:5:6:7:8:9]",
]  # fmt: skip


@pytest.mark.parametrize(("value", "name"), GOOD.items())
def test_valid_hosts_have_a_name(value: bytes, name: bytes) -> None:
    assert host_name(value) == name
    assert host_name(value) == name  # from the cache


@pytest.mark.parametrize("value", BAD)
def test_invalid_hosts_are_refused_each_time_and_not_quoted(value: bytes) -> None:
    for _ in range(2):
        with pytest.raises(BadAuthority) as caught:
            host_name(value)
        assert len(value) < 4 or value.decode("latin-1") not in str(caught.value)


def test_the_cache_is_bounded() -> None:
    cache = authority._Names()
    for number in range(CACHE_ENTRIES + 10):
        assert cache[b"h%d.example" % number] == b"h%d.example" % number
        assert len(cache) <= CACHE_ENTRIES
    for number in range(10):
        with pytest.raises(BadAuthority):
            cache[b"a..%d" % number]
    assert len(cache) == 10
