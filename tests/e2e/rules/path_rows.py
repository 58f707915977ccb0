"""Targets: passed byte for byte, or refused; what is matched is what is forwarded."""

from __future__ import annotations

from typing import Final

from .rows import RequestRow, passes, refused


def _get(target: bytes, host: bytes = b"{h}") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + host + b"\r\n"


_AS_SENT = (
    b"{p}/",
    b"{p}/a%20b",
    b"{p}/%41",
    b"{p}/%7e~",
    b"{p}/a!$&'()*+,=:@",
    b"{p}/a.b..c",
    b"{p}/...",
    b"{p}/.a",
    b"{p}/a.",
    b"{p}/caf%C3%A9",
    b"{p}/caf%c3%a9",
    b"{p}/%F0%9F%98%80",
    b"{p}/-._~",
    b"{p}/%3F",
    b"{p}/%23",
    b"{p}/%22",
    b"{p}/%3a%40",
    b"{p}/CASE",
    b"{p}/100%25",
)
_QUERIES = (
    b"?",
    b"??",
    b"?a=%2F&b=%2f&c=%20&d=+",
    b"?from_datetime=2017-10-24%2015:36:24.380&limit=1000",
    b"?a=1&a=2&a=1",
    b"?&&==&",
    b"??a=b?c/d;e=//../%2e",
    b"?%00",
    b"?%zz%",
    b"?a[]={}|\\^`",
    b"?x=../..",
    b"?q=%C3%A9&r=%c3%a9",
    b"?" + b"v" * 4000,
)
_REFUSED = {
    "an encoded slash": (b"%2f", b"%2F", b"a%2Fb", b"..%2f", b"%2e%2e%2f"),
    "an encoded backslash": (b"%5c", b"%5C", b"..%5c"),
    "NUL": (b"%00", b"a%00.txt"),
    "nested escapes": (b"%252f", b"%2500", b"%25u002f", b"%25%32%66", b"%2525"),
    "invalid UTF-8": (b"%ff", b"%c3", b"%c3%28", b"%e2%82", b"%80"),
    "overlong or surrogate UTF-8": (b"%c0%af", b"%e0%80%af", b"%c1%9c", b"%ed%a0%80", b"%f5%80%80%80"),
    "a backslash": (b"\\", b"..\\x"),
    "an empty segment": (b"/x", b"a//b", b"/"),
    "a dot segment": (
        b".", b"..", b"./x", b"../x", b"a/../b", b"a/./b", b"%2e", b"%2E%2e", b".%2e", b"%2e./x", b"a/..", b"..?x",
    ),
    "a parameter": (b";x=1", b"a;x", b"..;/x", b"..;", b".;x", b"%3b", b"%3B"),
    "a broken escape": (b"%", b"%2", b"%zz", b"%u002f", b"%-1"),
    "an encoded control": (b"%0d%0aX-A:%20b", b"%0a", b"%09", b"%7f", b"%1b", b"%c2%85"),
    "what a URI must encode": (b'"', b"<", b">", b"^", b"`", b"{x}", b"|"),
}  # fmt: skip

PATHS: Final[list[RequestRow]] = [
    *(
        passes("path-as-sent", target.decode(), _get(target), b"GET " + target + b" HTTP/1.1")
        for target in _AS_SENT
    ),
    *(
        passes("raw-target", query[:40].decode(), _get(b"{p}" + query), b"GET {p}" + query + b" HTTP/1.1")
        for query in _QUERIES
    ),
    *(
        refused("path-refused", f"{why}: {tail.decode()}", _get(b"{p}/" + tail), keeps=True)
        for why, tails in _REFUSED.items()
        for tail in tails
    ),
    refused("path-refused", "a fragment", _get(b"{p}#x")),
    refused("path-refused", "a fragment behind a query", _get(b"{p}?x#y")),
    refused("path-refused", "userinfo", _get(b"http://a:b@visits.internal{p}")),
    *(
        refused("path-refused", f"control {octet:#04x}", _get(b"{p}/a" + bytes([octet]) + b"b"))
        for octet in (1, 9, 11, 27, 127)
    ),
]

LENIENT = "lenient.internal"
"""Host of a service that lets through whatever a service may be told to let through."""

_LENIENT_HOST = b"Host: " + LENIENT.encode() + b"\r\n"
_SEEN = b"X-Forwarded-Host: " + LENIENT.encode() + b"\r\n"

EXCEPTIONS: Final[list[RequestRow]] = [
    *(
        passes(
            "path-exceptions",
            f"passes {tail.decode()}",
            _get(b"{p}/" + tail, _LENIENT_HOST),
            b"GET {p}/" + tail + b" HTTP/1.1",
            forwarded_host=_SEEN,
            host=LENIENT.encode(),
        )
        for tail in (b"a%2fb", b"a%2Fb", b"a%5cb", b"a%252fb", b"a;x=1", b"a//b", b"%25", b"a%3bx")
    ),
    *(
        refused("path-exceptions", f"refuses {tail.decode()}", _get(b"{p}/" + tail, _LENIENT_HOST), keeps=True)
        for tail in (
            b"..",
            b"%2e%2e",
            b"a/..;x/b",
            b"..%2fx",
            b"..%5cx",
            b"%252e%252e",
            b"%00",
            b"%2500",
            b"%ff",
            b"\\",
            b"%25252525252525252f",
        )
    ),
    passes(
        "upstream-host",
        "the caller's, where told so",
        _get(b"{p}", _LENIENT_HOST),
        forwarded_host=_SEEN,
        host=LENIENT.encode(),
    ),
]
