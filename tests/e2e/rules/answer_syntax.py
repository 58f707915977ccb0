"""Answers that are not written as HTTP is, or only just (RFC 9112 sections 2, 4 and 5)."""

from __future__ import annotations

from typing import Final

from .rows import CONTROLS, OK, TWO, AnswerRow, bad

SYNTAX: Final[list[AnswerRow]] = [
    AnswerRow("octets", "latin-1 in a value", OK + b"X-A: caf\xe9\r\n" + TWO, fields=(b"X-A: caf\xe9",)),
    AnswerRow("octets", "broken UTF-8", OK + b"X-A: \xc3\x28\xff\r\n" + TWO, fields=(b"X-A: \xc3\x28\xff",)),
    AnswerRow("octets", "in the reason", b"HTTP/1.1 200 caf\xe9\r\n" + TWO, reason=b"caf\xe9"),
    bad("octets", "a letter outside ASCII in a name", OK + b"X-\xe9: b\r\n" + TWO),
    bad("bare-cr", "in a value", OK + b"X-A: b\rX-B: c\r\n" + TWO),
    bad("bare-cr", "at the end of a value", OK + b"X-A: b\r\r\n" + TWO),
    bad("bare-cr", "in the reason", b"HTTP/1.1 200 O\rK\r\n" + TWO),
    bad("bare-cr", "as a line end", b"HTTP/1.1 200 OK\rContent-Length: 2\r\n\r\nok"),
    bad("bare-lf", "everywhere", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", close=True),
    bad("bare-lf", "after the status line", b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok"),
    bad("bare-lf", "after a field", OK + b"X-A: b\nContent-Length: 2\r\n\r\nok"),
    bad("nul", "in a value", OK + b"X-A: b\0c\r\n" + TWO),
    bad("nul", "in a name", OK + b"X-\0A: b\r\n" + TWO),
    bad("nul", "in the reason", b"HTTP/1.1 200 O\0K\r\n" + TWO),
    bad("space-before-field", "a space", OK + b" X-A: b\r\n" + TWO),
    bad("space-before-field", "a tab", OK + b"\tX-A: b\r\n" + TWO),
    bad("space-before-colon", "a space", OK + b"X-A : b\r\n" + TWO),
    bad("space-before-colon", "of Content-Length", OK + b"Content-Length : 2\r\n\r\nok"),
    bad(
        "space-before-colon",
        "of Transfer-Encoding",
        OK + b"Transfer-Encoding : chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ),
    bad("obs-fold", "with a space", OK + b"X-A: b\r\n c\r\n" + TWO),
    bad("obs-fold", "with a tab", OK + b"X-A: b\r\n\tc\r\n" + TWO),
    bad("obs-fold", "of an empty value", OK + b"X-A:\r\n c\r\n" + TWO),
    *(bad("value-controls", f"{c:#04x}", OK + b"X-A: b" + bytes([c]) + b"c\r\n" + TWO) for c in CONTROLS),
    *(
        bad("value-controls", f"{c:#04x} in the reason", b"HTTP/1.1 200 O" + bytes([c]) + b"K\r\n" + TWO)
        for c in (1, 11, 27, 127)
    ),
    *(bad("name-token", chr(c), OK + b"X" + bytes([c]) + b"A: b\r\n" + TWO) for c in b'"(),/;<=>?@[\\]{}'),
    bad("name-token", "an empty name", OK + b": b\r\n" + TWO),
    bad("name-token", "no colon", OK + b"X-A\r\n" + TWO),
    bad("head-bound", "one large field", OK + b"X-A: " + b"v" * 66_000 + b"\r\n" + TWO),
    bad("head-bound", "many fields", OK + b"X-A: b\r\n" * 101 + TWO),
    *(
        bad("request-line", name, answered, close=True)
        for name, answered in (
            ("no HTTP at all", b"garbage\r\n\r\n"),
            ("a status of letters", b"HTTP/1.1 abc OK\r\n" + TWO),
            ("a status of two digits", b"HTTP/1.1 20 OK\r\n" + TWO),
            ("a status of four digits", b"HTTP/1.1 2000 OK\r\n" + TWO),
            ("a status below 100", b"HTTP/1.1 099 OK\r\n" + TWO),
            ("a negative status", b"HTTP/1.1 -200 OK\r\n" + TWO),
            ("a signed status", b"HTTP/1.1 +20 OK\r\n" + TWO),
            ("no space behind the version", b"HTTP/1.1200 OK\r\n" + TWO),
            ("a tab", b"HTTP/1.1\t200 OK\r\n" + TWO),
            ("lower case", b"http/1.1 200 OK\r\n" + TWO),
            ("no version", b"HTTP 200 OK\r\n" + TWO),
            ("a request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
            ("a blank first", b" HTTP/1.1 200 OK\r\n" + TWO),
        )
    ),
    *(
        bad("version", version.decode(), version + b" 200 OK\r\n" + TWO, close=True)
        for version in (b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.10", b"HTTP/9.9", b"ICY", b"RTSP/1.0")
    ),
    AnswerRow("version", "HTTP/1.0 is not kept", b"HTTP/1.0 200 OK\r\n" + TWO, reused=False, close=True),
    AnswerRow("made-anew", "blanks around a value go", OK + b"X-A: \t b \t \r\n" + TWO, fields=(b"X-A: b",)),
    AnswerRow("made-anew", "a missing blank comes", OK + b"X-A:b\r\n" + TWO, fields=(b"X-A: b",)),
    AnswerRow("made-anew", "an empty value", OK + b"X-A:\r\n" + TWO, fields=(b"X-A: ",)),
    AnswerRow("made-anew", "an empty reason stays", b"HTTP/1.1 200 \r\n" + TWO, reason=b""),
    AnswerRow(
        "made-anew", "so does one in its own words", b"HTTP/1.1 200 In Its Words\r\n" + TWO, reason=b"In Its Words"
    ),
]
