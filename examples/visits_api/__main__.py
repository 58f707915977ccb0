"""Command line: ``python -m examples.visits_api --listen 127.0.0.1:9000``."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import sys
from types import FrameType

import click
import uvicorn

from examples.visits_api.app import create_app
from examples.visits_api.front import MAX_LATENCY
from examples.visits_api.store import Store

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s)", re.ASCII)
_KEEP_ALIVE = 75  # seconds; outlasts the idle time of the agent's connections
_STOPPING = 2  # seconds for running answers to end


class _Server(uvicorn.Server):
    """Says when it is ready."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            click.echo(f"visits api ready on http://{shown}:{port}")
            sys.stdout.flush()


def _seconds(_: click.Context, __: click.Parameter, value: str) -> float:
    found = _DURATION.fullmatch(value)
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1) if found else -1.0
    if not 0 <= seconds <= MAX_LATENCY:
        raise click.BadParameter(f"{value!r} is no duration up to {MAX_LATENCY:.0f}s; write it like 4ms or 0.5s")
    return seconds


def _address(_: click.Context, __: click.Parameter, value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise click.BadParameter(f"{value!r} is no address; write it like 127.0.0.1:9000")
    return host.strip("[]"), int(port)


def _listen(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        return socket.create_server(address, family=family, backlog=2048)
    except OSError as exc:
        raise click.ClickException(f"cannot listen on {address[0]}:{address[1]}: {exc.strerror}") from None


def _leave(signum: int, _: FrameType | None) -> None:
    # uvicorn stops first and then raises the signal again; this makes that an ordinary exit.
    raise SystemExit(0)


@click.command()
@click.option(
    "--listen", callback=_address, default="127.0.0.1:9000", show_default=True, help="Port 0: any free one."
)
@click.option("--latency", callback=_seconds, default="0ms", show_default=True, help="Delay of every answer.")
@click.option("--database", default=":memory:", show_default=True, help="SQLite file, made when missing.")
@click.option("--test-hooks", is_flag=True, help="Serve /ledger and obey X-Test-Latency-Ms.")
def main(listen: tuple[str, int], latency: float, database: str, test_hooks: bool) -> None:
    """A stand-in for the legacy visits API, with synthetic data."""
    try:
        store = Store(database)
    except sqlite3.Error as exc:
        raise click.ClickException(f"cannot use the database {database!r}: {exc}") from None
    config = uvicorn.Config(
        create_app(store, latency=latency, test_hooks=test_hooks),
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_STOPPING,
    )
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave)
    with _listen(listen) as listener:
        try:
            _Server(config).run(sockets=[listener])
        finally:
            store.close()


if __name__ == "__main__":
    main()
