"""What ends at the hop, and what is counted or noted at each (RFC 9110 sections 7, 9 and 10)."""

from __future__ import annotations

from typing import Final

from .rows import LINE, RequestRow, get, passes, refused

HOPS: Final[list[RequestRow]] = [
    *(
        passes("hop-by-hop", each.decode(), get(each, b"X-End: 1"), LINE, b"X-End: 1")
        for each in (
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic eDp5",
            b"Proxy-Authenticate: Basic",
            b"TE: gzip",
            b"TE: trailers",
            b"Connection: keep-alive",
            b"Upgrade: h2c",
            b"Proxy-Authentication-Info: x",
            b"Connection: TE\r\nTE: trailers",
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        )
    ),
    passes(
        "hop-by-hop",
        "what Connection lists",
        get(b"X-Hop: 1", b"Connection: X-Hop", b"X-End: 2"),
        LINE,
        b"X-End: 2",
    ),
    passes(
        "hop-by-hop",
        "in any case and place",
        get(b"Connection: x-HOP ,keep-alive", b"X-Hop: 1", b"x-hop: 2"),
        LINE,
    ),
    passes(
        "hop-by-hop",
        "in several fields",
        get(b"Connection: X-A", b"X-A: 1", b"Connection: X-B", b"X-B: 2"),
        LINE,
    ),
    passes("hop-by-hop", "listed but absent", get(b"Connection: X-Absent", b"X-End: 1"), LINE, b"X-End: 1"),
    passes("hop-by-hop", "empty members", get(b"Connection: , ,,keep-alive,", b"X-End: 1"), LINE, b"X-End: 1"),
    passes("hop-by-hop", "close among others", get(b"Connection: X-A, close", b"X-A: 1"), LINE, keeps=False),
    *(
        refused("nomination", name.decode(), get(b"Connection: " + name, b"X-End: 1"))
        for name in (
            b"X-Client-Name",
            b"Host",
            b"Content-Length",
            b"Transfer-Encoding",
            b"Authorization",
            b"Cookie",
            b"Via",
            b"X-Forwarded-For",
            b"x-forwarded-host",
            b"Forwarded",
            b"X-Real-IP",
            b"traceparent",
            b"tracestate",
            b"X-Request-Id",
            b"Tunnel-Service",
            b"Tunnel-Deadline",
            b"Content-Type",
            b"Content-Encoding",
            b"Date",
            b"Expect",
            b"Accept",
            b"Connection",
            b"X_Client_Name",
            b"close, X-Client-Name",
            b"Range",
            b"Max-Forwards",
            b"Cache-Control",
            b"Elite-Authorization",
        )
    ),
    *(
        refused("nomination", name, get(b"Connection: " + value))
        for name, value in (
            ("no token", b"X Hop"),
            ("quoted", b'"close"'),
            ("a semicolon", b"close;q=1"),
            ("a slash", b"a/b"),
        )
    ),
    passes("via", "is added behind others", get(b"Via: 1.0 outer"), LINE, b"Via: 1.0 outer"),
    passes(
        "via",
        "repeated ones stay",
        get(b"Via: 1.0 a", b"X-A: b", b"via: 1.1 b"),
        LINE,
        b"Via: 1.0 a",
        b"X-A: b",
        b"via: 1.1 b",
    ),
    passes("loop", "a longer name is another's", get(b"Via: 1.1 hub-10"), LINE, b"Via: 1.1 hub-10"),
    passes("loop", "a comment is no hop", get(b"Via: 1.1 other (hub-1)"), LINE, b"Via: 1.1 other (hub-1)"),
    *(
        refused("loop", value.decode(), get(b"Via: " + value), 503, "loop_detected", keeps=True)
        for value in (b"1.1 hub-1", b"1.0 a, 1.1 hub-1", b"1.1 hub-1, 1.1 b", b"HTTP/1.1 hub-1", b"1.1 hub-1 (x)")
    ),
    refused("loop", "in a second field", get(b"Via: 1.1 a", b"Via: 1.1 hub-1"), 503, "loop_detected", keeps=True),
    passes(
        "repeated",
        "of one name",
        get(b"X-A: 1", b"X-B: 2", b"x-a: 3", b"X-A: 1"),
        LINE,
        b"X-A: 1",
        b"X-B: 2",
        b"x-a: 3",
        b"X-A: 1",
    ),
    passes("repeated", "Cookie", get(b"Cookie: a=1", b"Cookie: b=2, c"), LINE, b"Cookie: a=1", b"Cookie: b=2, c"),
    passes(
        "repeated", "Accept", get(b"Accept: a/b, c/d", b"Accept: */*"), LINE, b"Accept: a/b, c/d", b"Accept: */*"
    ),
    passes(
        "compressed", "no coding is asked for in the caller's place", get(b"Accept: */*"), LINE, b"Accept: */*"
    ),
    passes(
        "compressed",
        "nor taken away",
        get(b"Accept-Encoding: br;q=1, gzip"),
        LINE,
        b"Accept-Encoding: br;q=1, gzip",
    ),
    passes(
        "max-forwards",
        "is counted down",
        b"OPTIONS {p} HTTP/1.1\r\n{h}Max-Forwards: 7\r\n\r\n",
        b"OPTIONS {p} HTTP/1.1",
        b"Max-Forwards: 6",
        method="OPTIONS",
    ),
    passes(
        "max-forwards",
        "leading zeros",
        b"OPTIONS {p} HTTP/1.1\r\n{h}Max-Forwards: 010\r\n\r\n",
        b"OPTIONS {p} HTTP/1.1",
        b"Max-Forwards: 9",
        method="OPTIONS",
    ),
    passes("max-forwards", "means nothing to a GET", get(b"Max-Forwards: 0"), LINE, b"Max-Forwards: 0"),
    passes(
        "max-forwards",
        "no number is left alone",
        b"OPTIONS {p} HTTP/1.1\r\n{h}Max-Forwards: -1\r\n\r\n",
        b"OPTIONS {p} HTTP/1.1",
        b"Max-Forwards: -1",
        method="OPTIONS",
    ),
    RequestRow(
        "max-forwards",
        "0 ends at the hub",
        b"OPTIONS {p} HTTP/1.1\r\n{h}Max-Forwards: 0\r\n\r\n",
        204,
        method="OPTIONS",
    ),
    RequestRow(
        "max-forwards", "OPTIONS * ends at the hub", b"OPTIONS * HTTP/1.1\r\n{h}\r\n", 204, method="OPTIONS"
    ),
    RequestRow(
        "max-forwards",
        "so does a URI without path",
        b"OPTIONS http://visits.internal HTTP/1.1\r\n{h}\r\n",
        204,
        method="OPTIONS",
    ),
    refused("max-forwards", "* is for OPTIONS alone", b"GET * HTTP/1.1\r\n{h}\r\n"),
    *(
        refused("expect-other", value.decode(), get(b"Expect: " + value), 417, "expectation_failed")
        for value in (b"miracles", b"100-continue, miracles", b"200-ok", b"100-continue=1", b"100-continued")
    ),
    refused(
        "expect-other",
        "in a second field",
        get(b"Expect: 100-continue", b"Expect: miracles"),
        417,
        "expectation_failed",
    ),
    passes("expect", "without a body it means nothing", get(b"Expect: 100-continue"), LINE),
    passes(
        "expect",
        "HTTP/1.0 cannot ask",
        b"POST {p} HTTP/1.0\r\n{h}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
        b"POST {p} HTTP/1.1",
        framing=b"Content-Length: 2\r\n",
        body=b"ok",
        keeps=False,
    ),
    passes("upgrade", "of the hop ends here", get(b"Connection: Upgrade", b"Upgrade: TLS/1.3"), LINE),
    passes("upgrade", "not nominated", get(b"Upgrade: websocket"), LINE),
    passes("upgrade", "not allowed: an ordinary request", get(b"Connection: Upgrade", b"Upgrade: chat"), LINE),
    passes("upgrade", "a list is none", get(b"Connection: Upgrade", b"Upgrade: websocket, chat"), LINE),
    passes(
        "upgrade",
        "under HTTP/1.0 is none",
        b"GET {p} HTTP/1.0\r\n{h}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        keeps=False,
    ),
    passes(
        "upgrade",
        "with a body is none",
        b"POST {p} HTTP/1.1\r\n{h}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok",
        b"POST {p} HTTP/1.1",
        framing=b"Content-Length: 2\r\n",
        body=b"ok",
    ),
]
