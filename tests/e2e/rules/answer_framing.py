"""Answers whose end is uncertain, missing or overrun (RFC 9112 sections 6 to 9)."""

from __future__ import annotations

from typing import Final

from .rows import CHUNKED, OK, TWO, AnswerRow, bad, breaks

SURPLUS = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"

FRAMING: Final[list[AnswerRow]] = [
    bad(
        "coding-and-length", "length first", OK + b"Content-Length: 2\r\n" + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n"
    ),
    bad("coding-and-length", "coding first", OK + CHUNKED + TWO),
    bad("coding-and-length", "length 0", OK + CHUNKED + b"Content-Length: 0\r\n\r\n0\r\n\r\n"),
    bad("coding-in-1.0", "chunked", b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n", close=True),
    *(
        bad(
            "coding-final",
            value.decode("latin-1"),
            OK + b"Transfer-Encoding: " + value + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            close=True,
        )
        for value in (
            b"identity",
            b"gzip",
            b"chunked, gzip",
            b"chunked, chunked",
            b"xchunked",
            b"chunked;q=1",
            b"chunked,",
            b"",
            b"gzip, chunked",
            b"br, chunked",
        )
    ),
    bad("coding-final", "twice", OK + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n"),
    *(
        bad("length-digits", value.decode("latin-1"), OK + b"Content-Length: " + value + b"\r\n\r\nok", close=True)
        for value in (
            b"+2",
            b"-2",
            b"0x2",
            b"2_0",
            b"2.0",
            b"",
            b"2 2",
            b"\xef\xbc\x92",
            b"9" * 30,
            b"two",
            b"2;",
            b'"2"',
            b"18446744073709551618",
        )
    ),
    bad("length-one", "equal, repeated", OK + b"Content-Length: 2\r\n" + TWO),
    bad("length-one", "contradicting", OK + b"Content-Length: 3\r\n" + TWO),
    bad("length-one", "equal, listed", OK + b"Content-Length: 2, 2\r\n\r\nok"),
    *(
        bad(
            "chunk-size",
            size.decode("latin-1"),
            OK + CHUNKED + b"\r\n" + size + b"\r\nok\r\n0\r\n\r\n",
            close=True,
        )
        for size in (b"zz", b"-2", b"+2", b"0x2", b"", b"F" * 17, b"1" + b"0" * 16, b"2 2", b"2\0")
    ),
    *(
        breaks(
            "chunk-size",
            f"later: {size.decode('latin-1')}",
            OK + CHUNKED + b"\r\n2\r\nok\r\n",
            size + b"\r\nok\r\n0\r\n\r\n",
        )
        for size in (b"zz", b"-2", b"0x2", b"F" * 17)
    ),
    *(
        bad("chunk-crlf", name, OK + CHUNKED + b"\r\n" + data, close=True)
        for name, data in (
            ("too long", b"2\r\nbody\r\n0\r\n\r\n"),
            ("LF after the size", b"2\nok\r\n0\r\n\r\n"),
            ("LF after the data", b"2\r\nok\n0\r\n\r\n"),
            ("two bytes instead", b"2\r\nokXX0\r\n\r\n"),
            ("LF at the end", b"2\r\nok\r\n0\r\n\n"),
        )
    ),
    breaks("chunk-crlf", "later", OK + CHUNKED + b"\r\n2\r\nok\r\n", b"2\r\nokXX0\r\n\r\n"),
    AnswerRow("chunk-extension", "is dropped", OK + CHUNKED + b"\r\n2;a=b\r\nok\r\n0;c\r\n\r\n"),
    bad("chunk-extension", "an LF in it", OK + CHUNKED + b"\r\n2;a\nb\r\nok\r\n0\r\n\r\n", close=True),
    breaks(
        "chunk-extension",
        "an endless one",
        OK + CHUNKED + b"\r\n2\r\nok\r\n",
        b"2;" + b"x" * 100_000 + b"\r\nok\r\n0\r\n\r\n",
    ),
    AnswerRow(
        "trailers",
        "those that may travel",
        OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n",
        trailers=(b"X-Sum: 1", b"x-sum: 2"),
    ),
    *(
        AnswerRow(
            "trailers",
            f"{name.decode()} is dropped",
            OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\n" + name + b": 1\r\nX-Sum: 2\r\n\r\n",
            trailers=(b"X-Sum: 2",),
        )
        for name in (
            b"Transfer-Encoding",
            b"Set-Cookie",
            b"Content-Type",
            b"Content-Encoding",
            b"Location",
            b"Date",
            b"Connection",
            b"Tunnel-Delivered",
            b"Proxy-Status",
            b"Via",
            b"WWW-Authenticate",
            b"Cache-Control",
            b"Content_Length",
        )
    ),
    bad("trailers", "Content-Length is refused", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\nContent-Length: 1\r\n\r\n"),
    breaks("trailers", "a folded one", OK + CHUNKED + b"\r\n2\r\nok\r\n", b"0\r\nX-A: b\r\n c\r\n\r\n"),
    breaks(
        "trailers", "endless ones", OK + CHUNKED + b"\r\n2\r\nok\r\n", b"0\r\n" + b"X-A: b\r\n" * 20_000 + b"\r\n"
    ),
    breaks("truncation", "of a length", OK + b"Content-Length: 100\r\n\r\nok", b"more", close=True),
    breaks("truncation", "of chunks, between two", OK + CHUNKED + b"\r\n2\r\nok\r\n", close=True),
    breaks("truncation", "of chunks, inside one", OK + CHUNKED + b"\r\n2\r\nok\r\n", b"9\r\nmo", close=True),
    breaks(
        "truncation", "of chunks, before the last line", OK + CHUNKED + b"\r\n2\r\nok\r\n", b"0\r\n", close=True
    ),
    breaks("truncation", "of trailers", OK + CHUNKED + b"\r\n2\r\nok\r\n", b"0\r\nX-A: b\r\n", close=True),
    bad("truncation", "of the head", OK + b"Content-Le", "upstream_truncated", close=True),
    bad("truncation", "of the status line", b"HTTP/1.", "upstream_truncated", close=True),
    bad(
        "truncation",
        "behind an interim answer",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        "upstream_closed",
        close=True,
    ),
    AnswerRow(
        "truncation",
        "no answer at all",
        b"",
        close=True,
        method="POST",
        status=502,
        code="upstream_closed",
        reused=False,
    ),
    AnswerRow("reuse", "a length", OK + TWO),
    AnswerRow("reuse", "length 0", OK + b"Content-Length: 0\r\n\r\n", body=b""),
    AnswerRow("reuse", "chunks", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n"),
    AnswerRow("reuse", "an answer that says close", OK + b"Connection: close\r\n" + TWO, reused=False),
    AnswerRow(
        "reuse",
        "HTTP/1.0 that says keep-alive is still not kept",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + TWO,
        reused=False,
    ),
    AnswerRow("reuse", "up to the end of the connection", OK + b"\r\nok", close=True, reused=False),
    AnswerRow(
        "reuse",
        "a 204 that announces a body",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
        status=204,
        reason=b"No Content",
        body=b"",
        reused=False,
    ),
    AnswerRow("surplus", "another answer behind a length", OK + TWO + SURPLUS, reused=False),
    AnswerRow("surplus", "one byte behind a length", OK + TWO + b"x", reused=False),
    AnswerRow("surplus", "an empty line behind a length", OK + TWO + b"\r\n", reused=False),
    AnswerRow(
        "surplus",
        "another answer behind chunks",
        OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n" + SURPLUS,
        reused=False,
    ),
    AnswerRow(
        "surplus", "an empty line behind chunks", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n\r\n", reused=False
    ),
    AnswerRow("surplus", "garbage behind chunks", OK + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n\0\0", reused=False),
    AnswerRow(
        "surplus",
        "another answer behind a 304",
        b"HTTP/1.1 304 Not Modified\r\n\r\n" + SURPLUS,
        status=304,
        reason=b"Not Modified",
        body=b"",
        reused=False,
    ),
    AnswerRow(
        "surplus",
        "a body behind the head of an answer to HEAD",
        OK + TWO,
        method="HEAD",
        body=b"",
        length="2",
        reused=False,
    ),
    AnswerRow(
        "surplus",
        "a body behind a 204",
        b"HTTP/1.1 204 No Content\r\n\r\nok",
        status=204,
        reason=b"No Content",
        body=b"",
        reused=False,
    ),
]
