"""The command `status` of both programs: ask the running one, print how it stands, once or again and again.

The running program is found by the address of its admin listener in the configuration. Exit codes: 0 all is up, 1
something is down, 2 a bad configuration, 3 the program cannot be reached.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeVar

import click

from protocol.ops.run import EXIT_FAILED, EXIT_OK
from protocol.ops.words import safe_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from protocol.ops.values import Address

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

EXIT_UNREACHABLE: Final = 3

TIMEOUT: Final = 5.0
"""Seconds for one question, its answer included."""

ANSWER_MAX: Final = 64 * 1024 * 1024
"""Bytes of an answer: a hub with thousands of sessions has much to say."""

WIDTH_WITHOUT_TERMINAL: Final = 160

PATH: Final = "/api/status"

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where to ask, not where to listen


class UnreachableError(Exception):
    """One sentence: what is wrong and what to do."""


class Program(NamedTuple):
    """The running program that is asked. key: where its address stands in the configuration."""

    name: str
    address: Address
    key: str


class Reading(NamedTuple):
    """A snapshot understood. up: the exit code is 0. parts: what to print on so many cells."""

    up: bool
    parts: Callable[[int], Sequence[RenderableType]]


Read = Callable[[bytes], Reading]
"""From the JSON of the program. Raises ValueError for what it does not know."""


def status_options(command: CommandT) -> CommandT:
    """--json and --watch, as `as_json` and `every`."""
    as_json = click.option("--json", "as_json", is_flag=True, help="Print the JSON as the program serves it.")
    watch = click.option(
        "--watch",
        "every",
        is_flag=False,
        flag_value=2.0,
        type=click.FloatRange(0.2, 3600),
        metavar="[SECONDS]",
        help="Show it again every 2 (or so many) seconds, until interrupted.",
    )
    return as_json(watch(command))


def show(program: Program, read: Read, *, as_json: bool, every: float | None) -> int:
    """Print how the program stands; returns the exit code. every: seconds between two looks, None for one."""
    if every is None:
        return _once(program, read, as_json=as_json)
    try:
        if as_json or not sys.stdout.isatty():
            _blocks(program, read, every, as_json=as_json)
        else:
            _redraw(program, read, every)
    except KeyboardInterrupt:
        return EXIT_OK


def ask(program: Program) -> bytes:
    """The program's own JSON. Raises UnreachableError."""
    import httpx  # noqa: PLC0415 - only who asks pays for it

    if not program.address.port:
        raise UnreachableError(f"{program.key} has port 0, any that is free: give it one, or nobody can find it")
    place = program.address._replace(host=_EVERYWHERE.get(program.address.host, program.address.host))
    at = f"{place} ({program.key})"
    other = f"what answers at {at} is no running {program.name} of this release"
    try:
        status, body = asyncio.run(_get(f"http://{place}{PATH}"))
    except httpx.ConnectError:
        raise UnreachableError(
            f"nothing listens at {at}: start {program.name} (systemctl start {program.name}; "
            f"journalctl -u {program.name} says why it ended), or name its file with --config"
        ) from None
    except (TimeoutError, httpx.TimeoutException):
        raise UnreachableError(
            f"{at} does not answer within {TIMEOUT:g} s: {program.name} hangs or starves; see top and "
            f"journalctl -u {program.name}"
        ) from None
    except (httpx.HTTPError, OverflowError) as error:
        raise UnreachableError(f"{other} ({type(error).__name__}): see who has the port") from None
    if status != 200:
        raise UnreachableError(
            f"{other} (status {status}): restart it after an upgrade, or see who has the port "
            f"(ss -ltnp 'sport = :{place.port}')"
        )
    return body


async def _get(url: str) -> tuple[int, bytes]:
    """Status and body, in TIMEOUT and ANSWER_MAX."""
    import httpx  # noqa: PLC0415

    body = b""
    async with (
        asyncio.timeout(TIMEOUT),
        # without TLS a bare context: the default one would load the system's authorities
        httpx.AsyncClient(
            trust_env=False, timeout=TIMEOUT, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ) as client,
        client.stream("GET", url) as answer,
    ):
        async for part in answer.aiter_raw():
            body += part
            if len(body) > ANSWER_MAX:
                raise OverflowError
    return answer.status_code, body


def _look(program: Program, read: Read) -> tuple[bytes, Reading]:
    answer = ask(program)
    try:
        return answer, read(answer)
    except ValueError:
        raise UnreachableError(
            f"{program.name} at {program.address} ({program.key}) says what this release does not understand: "
            "restart it after an upgrade; --config names the file of another program"
        ) from None


def _once(program: Program, read: Read, *, as_json: bool) -> int:
    try:
        answer, reading = _look(program, read)
    except UnreachableError as error:
        click.echo(f"Error: {error}.", err=True)
        return EXIT_UNREACHABLE
    if as_json:
        click.echo(_json(answer))
    else:
        _print(_console(), reading)
    return EXIT_OK if reading.up else EXIT_FAILED


def _json(answer: bytes) -> str:
    """As it came, except that nothing in it moves a terminal."""
    return safe_json(answer.decode("utf-8", "replace"))


def _blocks(program: Program, read: Read, every: float, *, as_json: bool) -> NoReturn:
    """For files and pipes: one block, or one line of JSON, after the other."""
    console = _console()
    while True:
        try:
            answer, reading = _look(program, read)
        except UnreachableError as error:
            click.echo(f"Error: {error}.", err=True)
        else:
            if as_json:
                click.echo(_json(answer))
            else:
                click.echo(f"--- {time.strftime('%Y-%m-%d %H:%M:%S %z')}")
                _print(console, reading)
            sys.stdout.flush()
        time.sleep(every)


def _redraw(program: Program, read: Read, every: float) -> NoReturn:
    """For a terminal, on a screen of its own; the last picture stays when it ends."""
    from rich.console import Group  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = _console()
    last: Sequence[RenderableType] = ()
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                try:
                    last = _look(program, read)[1].parts(console.width)
                except UnreachableError as error:
                    last = [Text(f"{error}.", "bold red")]
                note = f"{time.strftime('%H:%M:%S')}, every {every:g} s; Ctrl-C ends"
                live.update(Group(Text(note, "dim"), Text(), *last), refresh=True)
                time.sleep(every)
    finally:
        console.print(Group(*last))


def _print(console: Console, reading: Reading) -> None:
    for part in reading.parts(console.width):
        console.print(part)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - slow to load

    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH_WITHOUT_TERMINAL
    return Console(width=wide, highlight=False, markup=False, emoji=False)
