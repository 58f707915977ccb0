"""Where a request goes: Host, absolute targets and the Host that the upstream gets (RFC 9112 section 3)."""

from __future__ import annotations

from typing import Final

from .rows import END, G, RequestRow, passes, refused


def _host(value: bytes) -> bytes:
    return b"GET {p} HTTP/1.1\r\nHost: " + value + END


ROUTING: Final[list[RequestRow]] = [
    refused("one-host", "none", b"GET {p} HTTP/1.1\r\nX-A: b\r\n\r\n"),
    refused("one-host", "two equal ones", b"GET {p} HTTP/1.1\r\n{h}{h}\r\n"),
    refused("one-host", "two different ones", b"GET {p} HTTP/1.1\r\n{h}Host: other.internal\r\n\r\n"),
    refused("one-host", "another case", b"GET {p} HTTP/1.1\r\n{h}host: visits.internal\r\n\r\n"),
    refused("one-host", "two under HTTP/1.0", b"GET {p} HTTP/1.0\r\n{h}{h}\r\n"),
    refused(
        "one-host", "none beside an absolute target", b"GET http://visits.internal{p} HTTP/1.1\r\nX-A: b\r\n\r\n"
    ),
    *(
        refused("one-host", value.decode("latin-1") or "an empty one", _host(value))
        for value in (
            b"",
            b"visits.internal, other",
            b"visits.internal other",
            b"visits.internal/x",
            b"a@visits.internal",
            b"visits.internal?x",
            b"visits.internal#x",
            b"visits.internal\\x",
            b"http://visits.internal",
            b"visits.internal:",
            b"visits.internal:0",
            b"visits.internal:65536",
            b"visits.internal:80a",
            b"visits.internal:80:80",
            b"visits..internal",
            b".visits.internal",
            b"visits.internal%00",
            b"visits%2einternal",
            b"v\xc3\xadsits.internal",
            b"[::1",
            b"[::1]x",
            b"[zz]",
            b"::1",
            b"1.2.3",
            b"1.2.3.4.5",
            b"0x7f.1",
            b"256.1.1.1",
            b"*",
            b"a" * 64 + b".internal",
            b"a." * 130 + b"internal",
            b"visits.internal;x",
        )
    ),
    passes(
        "one-host",
        "in capitals",
        _host(b"VISITS.internal"),
        forwarded_host=b"X-Forwarded-Host: VISITS.internal\r\n",
    ),
    passes(
        "one-host",
        "with a port",
        _host(b"visits.internal:8080"),
        forwarded_host=b"X-Forwarded-Host: visits.internal:8080\r\n",
    ),
    passes(
        "one-host",
        "with a final dot",
        _host(b"visits.internal."),
        forwarded_host=b"X-Forwarded-Host: visits.internal.\r\n",
    ),
    passes(
        "absolute-form",
        "wins over Host",
        b"GET http://visits.internal{p}?q=%20 HTTP/1.1\r\nHost: other.example\r\n\r\n",
        b"GET {p}?q=%20 HTTP/1.1",
    ),
    passes(
        "absolute-form", "https too", b"GET https://visits.internal{p} HTTP/1.1\r\nHost: other.example\r\n\r\n"
    ),
    passes(
        "absolute-form",
        "scheme and host in capitals",
        b"GET HTTP://VISITS.internal{p} HTTP/1.1\r\n{h}\r\n",
        forwarded_host=b"X-Forwarded-Host: VISITS.internal\r\n",
    ),
    refused(
        "absolute-form",
        "of another host",
        b"GET http://elsewhere.example{p} HTTP/1.1\r\n{h}\r\n",
        404,
        "no_such_service",
        keeps=True,
    ),
    *(
        refused("absolute-form", target.decode(), b"GET " + target + b" HTTP/1.1\r\n{h}\r\n")
        for target in (
            b"http://{p}",
            b"http:///x",
            b"http:/x",
            b"ftp://visits.internal{p}",
            b"//visits.internal{p}",
            b"http://user@visits.internal{p}",
            b"http://user:pw@visits.internal{p}",
            b"http://visits.internal:x{p}",
            b"http://visits.internal#x",
            b"http://visits.internal\\@evil{p}",
            b"visits.internal:80",
            b"*",
            b"x",
            b"?x",
            b"javascript:alert(1)",
            b"http://visits.internal%2f{p}",
        )
        if not target.startswith(b"//")
    ),
    refused(
        "absolute-form",
        "a network path is an empty segment",
        b"GET //visits.internal{p} HTTP/1.1\r\n{h}\r\n",
        keeps=True,
    ),
    passes("upstream-host", "the upstream's own", G + b"\r\n"),
    passes(
        "upstream-host",
        "whatever the caller's port",
        _host(b"visits.internal:1"),
        forwarded_host=b"X-Forwarded-Host: visits.internal:1\r\n",
    ),
]
