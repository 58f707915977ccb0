"""Requests whose end two readers could see in two places (RFC 9112 sections 6 and 7)."""

from __future__ import annotations

from typing import Final

from .rows import CHUNKED, LINE, POST, SMUGGLED, G, RequestRow, passes, refused

FRAMING: Final[list[RequestRow]] = [
    refused(
        "coding-and-length",
        "length first",
        POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
    ),
    refused(
        "coding-and-length", "coding first", POST + CHUNKED + b"Content-Length: 4\r\n\r\n0\r\n\r\n" + SMUGGLED
    ),
    refused(
        "coding-and-length", "length 0", POST + b"Content-Length: 0\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED
    ),
    refused("coding-and-length", "on a GET", G + CHUNKED + b"Content-Length: 0\r\n\r\n0\r\n\r\n" + SMUGGLED),
    refused(
        "coding-and-length", "a coding that is none", POST + b"Transfer-Encoding: x\r\nContent-Length: 2\r\n\r\nok"
    ),
    refused("coding-in-1.0", "chunked", b"POST {p} HTTP/1.0\r\n{h}" + CHUNKED + b"\r\n0\r\n\r\n"),
    refused(
        "coding-in-1.0",
        "with keep-alive",
        b"POST {p} HTTP/1.0\r\n{h}Connection: keep-alive\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + SMUGGLED,
    ),
    *(
        refused(
            "coding-final", value.decode("latin-1"), POST + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n"
        )
        for value in (
            b"identity",
            b"gzip",
            b"chunked, gzip",
            b"chunked, identity",
            b"chunked, chunked",
            b"xchunked",
            b"chunkedx",
            b"chunked;q=1",
            b"\x0bchunked",
            b'"chunked"',
            b"chunked,",
            b",chunked",
            b"",
            b"chunked chunked",
            b"chu nked",
            b"c\xc5\x9dunked",
            b"chunked\x0c",
            b"chunked, \x00",
        )
    ),
    refused("coding-final", "twice", POST + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n"),
    refused("coding-final", "then identity", POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    *(
        refused(
            "coding-unknown",
            value.decode(),
            POST + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n",
            501,
            "not_implemented",
        )
        for value in (
            b"br, chunked",
            b"gzip, chunked",
            b"identity, chunked",
            b"gzip,\tchunked",
            b"gzip;q=1, chunked",
        )
    ),
    refused(
        "coding-unknown",
        "in two fields",
        POST + b"Transfer-Encoding: gzip\r\n" + CHUNKED + b"\r\n0\r\n\r\n",
        501,
        "not_implemented",
    ),
    passes(
        "coding-final",
        "in any case",
        POST + b"transfer-ENCODING:\t CHUNKED \r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"POST {p} HTTP/1.1",
        framing=CHUNKED,
        body=b"2\r\nok\r\n0\r\n\r\n",
    ),
    *(
        refused(
            "length-digits", value.decode("latin-1"), POST + b"Content-Length: " + value + b"\r\n\r\n" + b"b" * 10
        )
        for value in (
            b"+4",
            b"-4",
            b"1_0",
            b"0x4",
            b"4.0",
            b"4e0",
            b"",
            b"4 4",
            b"4\xc2\xa0",
            b"\xef\xbc\x94",
            b"\xd9\xa4",
            b"\xb2",
            b"four",
            b"4;",
            b'"4"',
            b"9" * 19,
            b"9" * 30,
            b"18446744073709551620",
            b"4\x0b",
            b"\x0c4",
        )
    ),
    passes(
        "length-digits",
        "leading zeros are written anew",
        POST + b"Content-Length: 0002\r\n\r\nok",
        b"POST {p} HTTP/1.1",
        framing=b"Content-Length: 2\r\n",
        body=b"ok",
    ),
    passes(
        "length-digits",
        "zero",
        POST + b"Content-Length: 0\r\n\r\n",
        b"POST {p} HTTP/1.1",
        framing=b"Content-Length: 0\r\n",
    ),
    refused(
        "length-digits",
        "beyond all bounds",
        POST + b"Content-Length: 9000000000000000000\r\n\r\n",
        413,
        "content_too_large",
    ),
    refused("length-one", "equal, repeated", POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok"),
    refused("length-one", "contradicting", POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    refused("length-one", "equal, listed", POST + b"Content-Length: 2, 2\r\n\r\nok"),
    refused("length-one", "listed with nothing", POST + b"Content-Length: 2,\r\n\r\nok"),
    refused("length-one", "in another case", POST + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\nok"),
    *(
        refused(
            "chunk-size",
            size.decode("latin-1"),
            POST + CHUNKED + b"\r\n" + size + b"\r\nok\r\n0\r\n\r\n" + SMUGGLED,
        )
        for size in (
            b"zz",
            b"+2",
            b"-2",
            b"0x2",
            b"2_0",
            b" 2",
            b"",
            b"2 2",
            b"g",
            b"\xef\xbc\x92",
            b"F" * 16 + b"2",
            b"1" + b"0" * 16,
            b"2\x00",
            b"2\x0b",
        )
    ),
    passes(
        "chunk-size",
        "in either case",
        POST + CHUNKED + b"\r\nA\r\n0123456789\r\n0b\r\n0123456789A\r\n0\r\n\r\n",
        b"POST {p} HTTP/1.1",
        framing=CHUNKED,
        body=b"15\r\n01234567890123456789A\r\n0\r\n\r\n",
    ),
    passes(
        "chunk-size",
        "leading zeros",
        POST + CHUNKED + b"\r\n0002\r\nok\r\n000\r\n\r\n",
        b"POST {p} HTTP/1.1",
        framing=CHUNKED,
        body=b"2\r\nok\r\n0\r\n\r\n",
    ),
    *(
        refused("chunk-crlf", name, POST + CHUNKED + b"\r\n" + data + SMUGGLED)
        for name, data in (
            ("too long", b"2\r\nbody\r\n0\r\n\r\n"),
            ("too short", b"4\r\nok\r\n0\r\n\r\n"),
            ("LF after the size", b"2\nok\r\n0\r\n\r\n"),
            ("LF after the data", b"2\r\nok\n0\r\n\r\n"),
            ("CR after the data", b"2\r\nok\r0\r\n\r\n"),
            ("nothing after the data", b"2\r\nok0\r\n\r\n"),
            ("two bytes instead", b"2\r\nokXX0\r\n\r\n"),
            ("LF at the end", b"2\r\nok\r\n0\r\n\n"),
            ("LF after the last size", b"2\r\nok\r\n0\n\r\n"),
            ("a space after the data", b"2\r\nok \r\n0\r\n\r\n"),
        )
    ),
    *(
        passes(
            "chunk-extension",
            name,
            POST + CHUNKED + b"\r\n2" + extension + b"\r\nok\r\n0" + extension + b"\r\n\r\n",
            b"POST {p} HTTP/1.1",
            framing=CHUNKED,
            body=b"2\r\nok\r\n0\r\n\r\n",
        )
        for name, extension in (("a name", b";a"), ("a value", b";a=b"), ("quoted", b';a="b"'), ("two", b";a;b=c"))
    ),
    *(
        refused("chunk-extension", name, POST + CHUNKED + b"\r\n2" + extension + b"\r\nok\r\n0\r\n\r\n" + SMUGGLED)
        for name, extension in (
            ("an LF in it", b";a\nb"),
            ("an LF in quotes", b';a="\n"'),
            ("a CR in it", b";a\rb"),
            ("a NUL in it", b";a\0"),
        )
    ),
    passes(
        "trailers",
        "those that may travel",
        POST + CHUNKED + b"\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n",
        b"POST {p} HTTP/1.1",
        framing=CHUNKED,
        body=b"2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n",
    ),
    *(
        passes(
            "trailers",
            f"{name.decode()} is dropped",
            POST + CHUNKED + b"\r\n2\r\nok\r\n0\r\n" + name + b": 1\r\nX-Sum: 2\r\n\r\n",
            b"POST {p} HTTP/1.1",
            framing=CHUNKED,
            body=b"2\r\nok\r\n0\r\nX-Sum: 2\r\n\r\n",
        )
        for name in (
            b"Host",
            b"Connection",
            b"TE",
            b"Via",
            b"Authorization",
            b"Cookie",
            b"X-Client-Name",
            b"Tunnel-Service",
            b"X-Forwarded-For",
            b"Content-Type",
            b"Content-Encoding",
            b"Expect",
            b"traceparent",
            b"Max-Forwards",
            b"Range",
            b"X_Client_Name",
            b"X-HTTP-Method-Override",
            b"Content_Length",
        )
    ),
    refused("trailers", "Content-Length is refused", POST + CHUNKED + b"\r\n0\r\nContent-Length: 1\r\n\r\n"),
    refused("trailers", "Transfer-Encoding too", POST + CHUNKED + b"\r\n0\r\nTransfer-Encoding: x\r\n\r\n"),
    refused("trailers", "no colon", POST + CHUNKED + b"\r\n0\r\nX-A\r\n\r\n"),
    passes("reuse", "no body stays none", G + b"\r\n"),
    passes(
        "reuse",
        "a GET keeps its body",
        G + b"Content-Length: 2\r\n\r\nok",
        LINE,
        framing=b"Content-Length: 2\r\n",
        body=b"ok",
    ),
    passes("reuse", "Connection: close is obeyed", G + b"Connection: close\r\n\r\n", keeps=False),
]
