"""`tunnel-hub tail`: the running hub's requests in a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from protocol.ops.run import EXIT_BAD_CONFIG, EXIT_FAILED, EXIT_OK
from protocol.ops.values import Address, read_secret
from protocol.ops.words import safe_json

from . import filters
from .client import TailError, watch
from .show import lost, plain, safe, shown

EXIT_UNREACHABLE: Final = 3
"""The hub does not answer."""

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on, and where to find it


def run(admin: Address, key_file: Path | None, wanted: Mapping[str, str], *, as_json: bool) -> int:
    """Print lines until Ctrl-C or until nobody reads them; the exit code. admin: `listen.admin` of the hub."""
    if key_file is None:
        return _fail(
            "the tail is for operators: name the file of your key with --key-file or $TUNNEL_OPERATOR_KEY_FILE",
            EXIT_BAD_CONFIG,
        )
    try:
        key = read_secret(key_file)
        filters.parse(wanted)
    except ValueError as error:
        return _fail(str(error), EXIT_BAD_CONFIG)
    if not key.isascii() or not key.isprintable():
        return _fail(f"{key_file} does not hold an operator's key", EXIT_BAD_CONFIG)
    coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    style = (lambda text, colour: click.style(text, fg=colour)) if coloured else plain
    url = f"http://{Address(_EVERYWHERE.get(admin.host, admin.host), admin.port)}"
    try:
        for line, about in watch(url, key, wanted, _say):
            if as_json and about.get("tail") != "heartbeat":
                print(safe_json(line.decode("utf-8", "replace")), flush=True)
            elif about.get("tail") == "dropped":
                print(style(lost(int(about.get("lines", 0))), "yellow"), flush=True)
            elif about.get("tail") == "begins":
                _say(f"watching {safe(str(about.get('hub', '')))}; Ctrl-C ends it")
            elif "status" in about:
                print(shown(about, style), flush=True)
    except KeyboardInterrupt:
        return EXIT_OK
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        return EXIT_OK
    except TailError as error:
        return _fail(str(error), EXIT_UNREACHABLE if error.unreachable else EXIT_FAILED)
    return EXIT_OK


def _say(text: str) -> None:
    click.echo(f"-- {text}", err=True)


def _fail(message: str, code: int) -> int:
    click.echo(f"Error: {message}", err=True)
    return code
