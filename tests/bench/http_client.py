"""As little HTTP client as a load generator needs: one request on a blocking socket, its head parsed."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

LARGEST_HEAD = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)


class BadAnswer(Exception):
    """The answer is not the 200 with a Content-Length that every chain must give here."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer and the body bytes that came with it."""

    length: int
    rest: bytes


def parse_head(data: bytes | bytearray) -> Head | None:
    """The head at the start of `data`, or None while it is incomplete. Raises BadAnswer."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > LARGEST_HEAD:
            raise BadAnswer("the answer's head has no end")
        return None
    status = _STATUS.match(data)
    if status is None or status[1] != b"200":
        raise BadAnswer(f"answered {bytes(data[:80])!r}")
    length = _LENGTH.search(data, 0, end + 2)
    if length is None:
        raise BadAnswer("the answer has no Content-Length")
    return Head(int(length[1]), bytes(data[end + 4 :]))


def request(method: str, path: str, host: str, *fields: str, length: int | None = None) -> bytes:
    """The bytes of a request head; fields: more lines `Name: value`."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "User-Agent: bench", "Accept: */*", *fields]
    if length is not None:
        lines += ["Content-Type: application/octet-stream", f"Content-Length: {length}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def connect(host: str, port: int, *, timeout: float, receive_buffer: int | None = None) -> socket.socket:
    """A connected blocking socket; `receive_buffer` bounds what the kernel reads ahead."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(timeout)
        sock.connect((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def read_head(sock: socket.socket) -> Head:
    """Read until the head is complete; raises BadAnswer, OSError."""
    data = b""
    while True:
        piece = sock.recv(16 * 1024)
        if not piece:
            raise BadAnswer("the connection ended before the answer's head")
        data += piece
        head = parse_head(data)
        if head is not None:
            return head
