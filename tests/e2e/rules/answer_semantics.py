"""What becomes of an answer's fields, body and interim answers (RFC 9110 sections 6, 7 and 15)."""

from __future__ import annotations

from typing import Final

from .rows import CHUNKED, OK, TWO, AnswerRow, bad

SEMANTICS: Final[list[AnswerRow]] = [
    *(
        AnswerRow("hop-by-hop", each.decode(), OK + each + b"\r\nX-End: 1\r\n" + TWO, fields=(b"X-End: 1",))
        for each in (
            b"Keep-Alive: timeout=5",
            b"Proxy-Authenticate: Basic",
            b"Proxy-Connection: keep-alive",
            b"TE: x",
            b"Connection: keep-alive",
            b"Upgrade: h2c",
            b"Proxy-Authentication-Info: x",
            b"Connection: X-Hop\r\nX-Hop: 1",
            b"x-hop: 1\r\nConnection: keep-alive, X-HOP",
            b"Connection: Upgrade\r\nUpgrade: websocket",
        )
    ),
    AnswerRow(
        "nomination",
        "what everyone needs stays",
        OK + b"Connection: Set-Cookie\r\nSet-Cookie: a=1\r\n" + TWO,
        fields=(b"Set-Cookie: a=1",),
    ),
    AnswerRow("nomination", "framing too", OK + b"Connection: Content-Length\r\n" + TWO, length="2"),
    bad("nomination", "no token", OK + b"Connection: X Hop\r\n" + TWO),
    AnswerRow("via", "is added behind others", OK + b"Via: 1.1 inner\r\n" + TWO, fields=(b"Via: 1.1 inner",)),
    AnswerRow("date", "is added where missing", OK + TWO),
    AnswerRow(
        "date",
        "is kept",
        OK + b"Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n" + TWO,
        date="Tue, 15 Nov 1994 08:12:31 GMT",
    ),
    AnswerRow("date", "is no field that ends so", OK + b"X-Date: x\r\n" + TWO, fields=(b"X-Date: x",)),
    AnswerRow(
        "repeated",
        "Set-Cookie in order",
        OK
        + b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\nX-A: x\r\n"
        + b"set-cookie: b=2\r\nSET-COOKIE: a=1\r\n"
        + TWO,
        fields=(
            b"Set-Cookie: a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT",
            b"X-A: x",
            b"set-cookie: b=2",
            b"SET-COOKIE: a=1",
        ),
    ),
    AnswerRow(
        "repeated",
        "others too",
        OK + b"Cache-Control: no-cache\r\nVary: a\r\nCache-Control: no-store\r\n" + TWO,
        fields=(b"Cache-Control: no-cache", b"Vary: a", b"Cache-Control: no-store"),
    ),
    AnswerRow(
        "no-body",
        "HEAD keeps the length",
        OK + b"Content-Length: 1234\r\n\r\n",
        method="HEAD",
        body=b"",
        length="1234",
    ),
    AnswerRow("no-body", "HEAD of chunks", OK + CHUNKED + b"\r\n", method="HEAD", body=b""),
    AnswerRow("no-body", "HEAD without framing", OK + b"\r\n", method="HEAD", body=b""),
    AnswerRow(
        "no-body",
        "204",
        b"HTTP/1.1 204 No Content\r\nX-A: b\r\n\r\n",
        status=204,
        reason=b"No Content",
        body=b"",
        fields=(b"X-A: b",),
    ),
    AnswerRow(
        "no-body",
        "304",
        b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\n\r\n',
        status=304,
        reason=b"Not Modified",
        body=b"",
        fields=(b'ETag: "e"',),
    ),
    AnswerRow(
        "no-body",
        "304 keeps its length",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n",
        status=304,
        reason=b"Not Modified",
        body=b"",
        length="99",
    ),
    AnswerRow(
        "no-body",
        "HEAD of a 404",
        b"HTTP/1.1 404 No\r\nContent-Length: 9\r\n\r\n",
        method="HEAD",
        status=404,
        reason=b"No",
        body=b"",
        length="9",
    ),
    AnswerRow(
        "interim",
        "several, with their fields",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </c>\r\n\r\n" + OK + TWO,
        interim=(b"103|Link: </a>|Link: </b>", b"102", b"103|Link: </c>"),
    ),
    AnswerRow("interim", "100 unasked passes too", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + TWO, interim=(b"100",)),
    AnswerRow(
        "interim",
        "hop-by-hop fields stay behind",
        b"HTTP/1.1 103 Early Hints\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\nLink: </a>\r\n\r\n"
        + OK
        + TWO,
        interim=(b"103|Link: </a>",),
    ),
    AnswerRow(
        "interim", "16 of them", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + OK + TWO, interim=(b"103",) * 16
    ),
    bad("interim", "17 are too many", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + OK + TWO),
    AnswerRow(
        "interim",
        "one that announces a body spoils the connection",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 2\r\n\r\n" + OK + TWO,
        interim=(b"103",),
        reused=False,
    ),
    bad("interim", "a broken one", b"HTTP/1.1 103 Early Hints\r\nX-A : b\r\n\r\n" + OK + TWO),
    AnswerRow(
        "no-1xx-in-1.0", "103", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + TWO, version="HTTP/1.0"
    ),
    AnswerRow("no-1xx-in-1.0", "100", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + TWO, version="HTTP/1.0"),
    AnswerRow("no-1xx-in-1.0", "nor chunks", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n", version="HTTP/1.0"),
    bad(
        "unasked-101",
        "with Upgrade",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ),
    bad("unasked-101", "without", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    bad("unasked-101", "before another answer", b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + OK + TWO),
    AnswerRow(
        "unasked-101",
        "another protocol than asked for",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
        request=("Connection: Upgrade", "Upgrade: websocket"),
        status=502,
        code="upstream_invalid",
        reused=False,
        keeps=False,
    ),
    AnswerRow(
        "unasked-101",
        "two protocols",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket, x\r\n\r\n",
        request=("Connection: Upgrade", "Upgrade: websocket"),
        status=502,
        code="upstream_invalid",
        reused=False,
        keeps=False,
    ),
    AnswerRow(
        "upgrade",
        "declined",
        b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n" + TWO,
        status=426,
        reason=b"Upgrade Required",
        request=("Connection: Upgrade", "Upgrade: websocket"),
    ),
    *(
        AnswerRow(
            "redirect",
            str(status),
            b"HTTP/1.1 %d Go\r\nLocation: http://{u}{p}/other\r\n" % status + TWO,
            status=status,
            reason=b"Go",
            fields=(b"Location: http://{u}{p}/other",),
        )
        for status in (301, 302, 303, 307, 308)
    ),
    AnswerRow("compressed", "gzip", OK + b"Content-Encoding: gzip\r\n" + TWO, fields=(b"Content-Encoding: gzip",)),
    AnswerRow(
        "compressed",
        "what is none",
        OK + b"Content-Encoding: br, gzip\r\n" + TWO,
        fields=(b"Content-Encoding: br, gzip",),
    ),
    *(
        AnswerRow("own-voice", name.decode(), OK + name + b": x\r\nX-End: 1\r\n" + TWO, fields=(b"X-End: 1",))
        for name in (b"Tunnel-Delivered", b"Tunnel-Anything", b"Proxy-Status", b"tunnel_delivered")
    ),
    *(
        AnswerRow(
            "own-voice",
            f"{status} is the upstream's own",
            b"HTTP/1.1 %d Its Own\r\n" % status + TWO,
            status=status,
            reason=b"Its Own",
        )
        for status in (201, 299, 400, 401, 404, 409, 418, 429, 500, 502, 503, 504, 599)
    ),
]
