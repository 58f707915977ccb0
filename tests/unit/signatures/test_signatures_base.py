from __future__ import annotations

import base64

import pytest

from protocol.keys import PublicKey
from protocol.signatures.base import NotComputable, Signable, component, signature_base

FOO = Signable(
    b"POST",
    b"/foo?param=Value&Pet=dog",
    [
        *(b"Date", b"Tue, 20 Apr 2021 02:07:55 GMT", b"Content-Type", b"application/json"),
        *(b"Content-Length", b"18"),
    ],
    b"example.com",
)


def test_the_vector_of_rfc_9421_for_ed25519() -> None:
    """Appendix B.2.6 with the key of B.1.4."""
    base = signature_base(
        FOO,
        ["date", "@method", "@path", "@authority", "content-type", "content-length"],
        '("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;'
        'keyid="test-key-ed25519"',
    )
    assert base.decode() == (
        '"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        '"@method": POST\n'
        '"@path": /foo\n'
        '"@authority": example.com\n'
        '"content-type": application/json\n'
        '"content-length": 18\n'
        '"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length");'
        'created=1618884473;keyid="test-key-ed25519"'
    )
    key = PublicKey(base64.b64decode("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs="))
    assert key.verify(
        base64.b64decode(
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
        ),
        base,
    )


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b"?"),
        (b"/a", b"/a", b"?"),
        (b"/a?", b"/a", b"?"),
        (b"/a?b", b"/a", b"?b"),
        (b"/a??b?c", b"/a", b"??b?c"),
        (b"/%41%2f/./..//A;x", b"/%41%2f/./..//A;x", b"?"),
        (b"/a?q=%20+%7e{}|\"'", b"/a", b"?q=%20+%7e{}|\"'"),
    ],
)
def test_path_and_query_are_the_targets_own_bytes(target: bytes, path: bytes, query: bytes) -> None:
    request = Signable(b"GET", target, [])
    assert (component(request, "@path"), component(request, "@query")) == (path, query)


@pytest.mark.parametrize(
    ("authority", "value"),
    [(b"Hub.Example", b"hub.example"), (b"h:8080", b"h:8080"), (b"h:443", b"h"), (b"H:80", b"h")],
)
def test_the_authority(authority: bytes, value: bytes) -> None:
    assert component(Signable(b"GET", b"/", [], authority), "@authority") == value


def test_the_method_is_as_sent() -> None:
    assert component(Signable(b"get", b"/", []), "@method") == b"get"


def test_a_repeated_field_is_joined() -> None:
    request = Signable(b"GET", b"/", [b"X-A", b"1 ", b"B", b"2", b"x-a", b"\t3, 4", b"X-Empty", b""])
    assert component(request, "x-a") == b"1, 3, 4"
    assert component(request, "x-empty") == b""


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("@target-uri", [], "@target-uri cannot be computed"),
        ("@authority", [], "@authority cannot be computed"),
        ("@", [], "@ cannot be computed"),
        ("x-gone", [], "no field x-gone has come"),
        ("X-A", [b"X-A", b"1"], "X-A is not a field's name in lower case"),
        ("x a", [], "not a field's name"),
        ("", [], "not a field's name"),
        ("x" * 99, [], r"no field x{37}\.\.\. has come"),
        ("x-a", [b"X-A", b'1\n"@path": /other'], "octets that cannot be signed"),
        ("x-a", [b"X-A", b"1\r\n 2"], "octets that cannot be signed"),
        ("x-a", [b"X-A", b"\xe4"], "octets that cannot be signed"),
        ("x-a", [b"X-A", b"\0"], "octets that cannot be signed"),
    ],
)
def test_what_cannot_be_computed(name: str, fields: list[bytes], why: str) -> None:
    with pytest.raises(NotComputable, match=why):
        signature_base(Signable(b"GET", b"/", fields), [name], "()")


def test_a_target_cannot_bring_a_line_of_its_own() -> None:
    for part in ("@path", "@query", "@method"):
        with pytest.raises(NotComputable, match="octets"):
            component(Signable(b"GET\n", b"/a\n?b\n", []), part)
