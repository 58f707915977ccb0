"""Downloads that read slowly, or not at all; ends when its stdin does.

    python -m tests.bench.readers 127.0.0.1:8080 /api/files/1000000000 --count 20 --rate 2500000
    python -m tests.bench.readers 127.0.0.1:8080 /api/files/1073741824 --count 200 --stall

Prints `ready` once every answer's head has come, and at the end one JSON object: bytes read, seconds, and
how many of the downloads were cut off before their end. With --stall nothing is read after the heads.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import time

from tests.bench.http_client import BadAnswer, connect, read_head, request
from tests.bench.relay import address

TURN_SECONDS = 0.01
"""How often each paced download is read."""

MOST_AT_ONCE = 256 * 1024
KERNEL_RECEIVE_BUFFER = 128 * 1024  # small, so that the pace is what is read here
TIMEOUT = 20.0


class Reader:
    """One download."""

    __slots__ = ("ended", "got", "left", "sock")

    def __init__(self, host: str, port: int, path: str) -> None:
        self.sock = connect(host, port, timeout=TIMEOUT, receive_buffer=KERNEL_RECEIVE_BUFFER)
        self.sock.sendall(request("GET", path, f"{host}:{port}"))
        self.got = 0
        self.left = 0
        self.ended = False

    def begin(self) -> None:
        """Read the head; from here on the socket does not block."""
        head = read_head(self.sock)
        self.left = head.length - len(head.rest)
        self.sock.setblocking(False)

    def read(self, buffer: memoryview, budget: int) -> None:
        """Read at most `budget` bytes of what has come."""
        if budget <= 0 or not self.left:
            return
        try:
            count = self.sock.recv_into(buffer[: min(budget, len(buffer), self.left)])
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self.got += count
        self.left -= count
        self.ended = self.ended or not count

    def was_cut_off(self) -> bool:
        """Whether the other side has given up this unfinished download."""
        if self.ended:
            return True
        reset = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return bool(reset)


def _stdin_ended(timeout: float) -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], max(0.0, timeout))
    return bool(readable)


def pace(readers: list[Reader], rate: float) -> None:
    """Read each at `rate` bytes per second, taking turns so that the reads are spread out."""
    buffer = memoryview(bytearray(MOST_AT_ONCE))
    step = TURN_SECONDS / len(readers)
    start = time.perf_counter()
    turn = 0
    while True:
        reader = readers[turn % len(readers)]
        reader.read(buffer, int(rate * (time.perf_counter() - start)) - reader.got)
        turn += 1
        ahead = start + turn * step - time.perf_counter()
        if (ahead > 0 or turn % len(readers) == 0) and _stdin_ended(ahead):
            return


def main() -> None:
    parser = argparse.ArgumentParser(description="Downloads that read slowly, or not at all")
    parser.add_argument("address", type=address)
    parser.add_argument("path")
    parser.add_argument("--count", type=int, default=1)
    pacing = parser.add_mutually_exclusive_group(required=True)
    pacing.add_argument("--rate", type=float, help="bytes per second for each download")
    pacing.add_argument("--stall", action="store_true")
    arguments = parser.parse_args()
    try:
        readers = [Reader(*arguments.address, arguments.path) for _ in range(arguments.count)]
        for reader in readers:
            reader.begin()
    except (BadAnswer, OSError) as error:
        sys.exit(f"{arguments.count} downloads: {error}")
    print("ready", flush=True)
    start = time.perf_counter()
    if arguments.stall:
        _stdin_ended(3600)
    else:
        pace(readers, arguments.rate)
    result = {
        "bytes": sum(reader.got for reader in readers),
        "seconds": time.perf_counter() - start,
        "cut_off": sum(reader.was_cut_off() for reader in readers),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
