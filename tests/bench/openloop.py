"""Small requests at a fixed rate, whatever the answers do; prints JSON with latency percentiles.

    python -m tests.bench.openloop 127.0.0.1:8080 /api/1k --rate 100 --seconds 5 --seed 1

Free of coordinated omission: request times are drawn beforehand (a Poisson process, so that they fall into
step with nothing), a request whose turn has come is sent even while others wait (on another connection),
and latency counts from the time it was due, not from when this client got round to sending it.
"""

from __future__ import annotations

import argparse
import json
import random
import select
import socket
import sys
import time

from tests.bench.http_client import BadAnswer, connect, parse_head, request
from tests.bench.relay import address
from tests.bench.stats import percentile

CONNECTIONS_KEPT_READY = 8
MOST_CONNECTIONS = 256
PATIENCE_SECONDS = 10.0


def due_times(rate: float, seconds: float, seed: int) -> list[float]:
    """Offsets in seconds, ascending, of a Poisson process of `rate` per second within `seconds`."""
    rng = random.Random(seed)
    times: list[float] = []
    now = rng.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += rng.expovariate(rate)
    return times


class _Connection:
    """A kept-alive connection and the request that waits on it."""

    __slots__ = ("due", "got", "sock")

    def __init__(self, host: str, port: int) -> None:
        self.sock = connect(host, port, timeout=PATIENCE_SECONDS)
        self.due = 0.0
        self.got = b""

    def fileno(self) -> int:
        return self.sock.fileno()

    def receive(self) -> bool:
        """Read what is there; True once the answer is complete. Raises BadAnswer, OSError."""
        data = self.sock.recv(64 * 1024)
        if not data:
            raise BadAnswer("the connection ended before the answer")
        self.got += data
        head = parse_head(self.got)
        if head is None or len(head.rest) < head.length:
            return False
        self.got = b""
        return True


def run(host: str, port: int, path: str, *, rate: float, seconds: float, seed: int) -> dict[str, float]:
    """Latencies in seconds of the requests, and how many of them failed or were never answered."""
    asked = request("GET", path, f"{host}:{port}")
    idle = [_Connection(host, port) for _ in range(CONNECTIONS_KEPT_READY)]
    waiting: set[_Connection] = set()
    latencies: list[float] = []
    lateness: list[float] = []
    errors = 0
    start = time.perf_counter() + 0.05
    pending = [start + offset for offset in due_times(rate, seconds, seed)]
    sent = len(pending)
    pending.reverse()
    deadline = start + seconds + PATIENCE_SECONDS
    while pending or waiting:
        now = time.perf_counter()
        if now > deadline:
            break
        while pending and pending[-1] <= now:
            due = pending.pop()
            try:
                if len(waiting) >= MOST_CONNECTIONS:
                    raise BadAnswer("too many requests are waiting")
                connection = idle.pop() if idle else _Connection(host, port)
                connection.sock.sendall(asked)
            except (BadAnswer, OSError):
                errors += 1
                continue
            connection.due = due
            lateness.append(time.perf_counter() - due)
            waiting.add(connection)
        limit = pending[-1] if pending else deadline
        # select, not epoll: its timeout counts microseconds, and there are few sockets.
        readable, _, _ = select.select(list(waiting), [], [], max(0.0, limit - time.perf_counter()))
        for connection in readable:
            try:
                if not connection.receive():
                    continue
            except (BadAnswer, OSError):
                errors += 1
                connection.sock.close()
            else:
                latencies.append(time.perf_counter() - connection.due)
                idle.append(connection)
            waiting.discard(connection)
    errors += len(waiting) + len(pending)
    for connection in (*idle, *waiting):
        connection.sock.close()
    if not latencies:
        raise BadAnswer("no request was answered")
    return {
        "sent": sent,
        "errors": errors,
        "p50": percentile(latencies, 50),
        "p99": percentile(latencies, 99),
        "max": max(latencies),
        "client_late_p99": percentile(lateness, 99),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Small requests at a fixed rate")
    parser.add_argument("address", type=address)
    parser.add_argument("path")
    parser.add_argument("--rate", type=float, default=100.0, help="requests per second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        result = run(
            *arguments.address,
            arguments.path,
            rate=arguments.rate,
            seconds=arguments.seconds,
            seed=arguments.seed,
        )
    except (BadAnswer, OSError, socket.gaierror) as error:
        sys.exit(f"requests at a fixed rate: {error}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
