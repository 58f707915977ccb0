"""One bulk transfer on one raw socket, timed from the request's first byte; prints JSON.

python -m tests.bench.transfer download 127.0.0.1:8080 /api/files/1000000000 1000000000
python -m tests.bench.transfer upload   127.0.0.1:8080 /sink/upload 1000000000
"""

from __future__ import annotations

import json
import sys
import time

from tests.bench.http_client import BadAnswer, connect, read_head, request
from tests.bench.relay import address

PIECE = 1024 * 1024
TIMEOUT = 30.0


def download(host: str, port: int, path: str, size: int) -> float:
    """Seconds for one GET whose body must be `size` bytes; raises BadAnswer, OSError."""
    buffer = memoryview(bytearray(PIECE))
    with connect(host, port, timeout=TIMEOUT) as sock:
        started = time.perf_counter()
        sock.sendall(request("GET", path, f"{host}:{port}"))
        head = read_head(sock)
        if head.length != size:
            raise BadAnswer(f"announced {head.length} bytes instead of {size}")
        got = len(head.rest)
        while got < size:
            count = sock.recv_into(buffer)
            if not count:
                raise BadAnswer(f"the body ended after {got} of {size} bytes")
            got += count
        return time.perf_counter() - started


def upload(host: str, port: int, path: str, size: int) -> float:
    """Seconds for one PUT of `size` bytes, its answer included; raises BadAnswer, OSError."""
    buffer = memoryview(bytes(PIECE))
    with connect(host, port, timeout=TIMEOUT) as sock:
        started = time.perf_counter()
        sock.sendall(request("PUT", path, f"{host}:{port}", length=size))
        left = size
        while left:
            piece = buffer[: min(left, PIECE)]
            sock.sendall(piece)
            left -= len(piece)
        head = read_head(sock)
        body = head.rest
        while len(body) < head.length:
            body += sock.recv(PIECE)
        seconds = time.perf_counter() - started
    if json.loads(body) != {"received": size}:
        raise BadAnswer(f"the sink counted {body!r} instead of {size} bytes")
    return seconds


def main() -> None:
    direction, where, path, size = sys.argv[1:]
    run = {"download": download, "upload": upload}[direction]
    try:
        seconds = run(*address(where), path, int(size))
    except (BadAnswer, OSError) as error:
        sys.exit(f"{direction} of {size} bytes: {error}")
    print(json.dumps({"seconds": seconds, "bytes": int(size)}))


if __name__ == "__main__":
    main()
