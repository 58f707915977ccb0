"""Ways to write parts of a request that have fooled some server: the mutator's material."""

from __future__ import annotations

from typing import Final

BLANKS: Final = (
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\xa0",
    b"\x85",
    b"\0",
    b"\r",
    b"\n",
    b"\x1c",
    b"\x7f",
    b"\xc2\xa0",
    b"  ",
)
LENGTHS: Final = (
    b"+%d", b"-%d", b"%d, %d", b"%d,%d", b"0%d", b"%d ", b"\x0b%d", b"%d\x0c", b"0x%x", b"%d_0", b"%d.0", b"%d;",
    b'"%d"',
    b"%de0", b"\xef\xbc\x91%d", b"%d\xa0", b" %d", b"%d\t", b"", b"%d\0", b"%d %d", b"9" * 19, b"1" + b"0" * 40,
)  # fmt: skip
CODINGS: Final = (
    b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"chunked ", b"\tchunked", b"\x0bchunked", b"chunked\x0c",
    b"xchunked",
    b"chunked, identity", b"identity", b"identity, chunked", b"gzip, chunked", b"chunked, chunked", b'"chunked"',
    b"chunk",
    b"chunked;q=1", b"chunked,", b",chunked", b"chunked\0", b"\xa0chunked", b"chunked\r", b"c\\hunked", b"",
    b"chunked\xc2\xa0", b"cow", b"deflate", b"chunked\r\n ,x", b"tr\xc4\xb1chunked",
)  # fmt: skip
CODING_NAMES: Final = (
    b"Transfer-Encoding", b"transfer-encoding", b"Transfer-Encoding ", b" Transfer-Encoding", b"Transfer_Encoding",
    b"Transfer-Encoding\t", b"Transfer\xadEncoding", b"Transfer-Encoding\0", b"Transfer-encodinG",
    b"X\r\nTransfer-Encoding",
    b"X: y\nTransfer-Encoding", b"Transfer.Encoding", b"Transfer-Encodin\x67\x0b",
)  # fmt: skip
SIZES: Final = (
    b"0x%x", b"+%x", b"-%x", b"%x ", b" %x", b"0000000000000000000%x", b"%x\t", b"%x;", b"%x;a=b",
    b'%x;a="\r\n"', b"%x\n",
    b"%x;\n", b"%x\r", b"%xg", b"FFFFFFFFFFFFFFF%x", b"1000000000000000%x", b"", b"%x;a\0b", b"%x\x0b", b"%x_0",
    b"%X ;x",
)  # fmt: skip
NOMINATED: Final = (
    b"Host", b"Content-Length", b"Transfer-Encoding", b"X-Forwarded-For", b"close", b"keep-alive", b"Upgrade",
    b"TE", b"X-A",
    b"Authorization", b"Via", b"X-Client-Name", b"X Y", b"", b",", b"close, close", b"Cookie", b"upgrade, close",
)  # fmt: skip
MILD: Final = (
    b"X-Empty:", b"X-Tab:\ta\t", b"X-Latin: caf\xe9", b"X-Long: " + b"v" * 3000, b"Cookie: a=1",
    b"Cookie: a=1\r\nCookie: b=2",
    b"Accept: a, b", b"TE: trailers\r\nConnection: TE", b"X-A: %0d%0a", b"X-Quote: \"a\\\"b",
    b"Expect: 100-continue",
    b"Max-Forwards: 3", b"Range: bytes=0-1", b"If-None-Match: *", b"Content-Encoding: gzip",
    b"Accept-Encoding: gzip, br",
    b"Connection: keep-alive", b"Connection: close", b"Upgrade: h2c", b"Origin: null",
    b"Authorization: Basic eDp5", b"~!#: x",
)  # fmt: skip
FIELDS: Final = (
    b"X_Client_Name: a", b"X-Client-Name: a", b"Content_Length: 5", b"Content.Length: 5", b": x", b"X",
    b"X\0: y", b"X(: y",
    b"X : y", b" X: y", b"\tX: y", b"X: y\r\n z", b"X: y\r\n\tz", b"X: a\rb", b"X: a\nb", b"X: a\0b",
    b"\x7fX: y", b"X\xe9: y",
    b"Forwarded: for=x", b"X-Forwarded-For: x", b"Via: 1.1 a", b"Proxy-Connection: close", b"Keep-Alive: 1",
    b"TE: trailers",
    b"Trailer: X-A", b"Expect: 100-continue", b"Expect: x", b"Max-Forwards: 0", b"Max-Forwards: 5",
    b"X: " + b"v" * 9000,
    b"X-HTTP-Method-Override: DELETE", b"Range: bytes=0-", b"Upgrade: websocket", b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABk",
    b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    b"Content-Encoding: gzip", b"Date: x",
    b"Tunnel-Service: other", b"Tunnel-Deadline: 1s", b"traceparent: x", b"If-Match: *", b"Accept-Encoding: ,;",
    b"X:",
)  # fmt: skip
