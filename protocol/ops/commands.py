"""What the command lines of both programs have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from protocol.ops.config import ConfigError, load
from protocol.ops.model import Table
from protocol.ops.run import EXIT_BAD_CONFIG, EXIT_FAILED

ModelT = TypeVar("ModelT", bound=Table)
CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def config_option(default: str) -> Callable[[CommandT], CommandT]:
    """--config FILE, as the argument `config_path`."""
    return click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path),
        default=default,
        show_default=True,
        metavar="FILE",
        help="The configuration file.",
    )


def version_option(name: str) -> Callable[[CommandT], CommandT]:
    """--version: the package's version and the git revision."""

    def show(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value and not context.resilient_parsing:
            from protocol.ops.version import build  # noqa: PLC0415 - asks git

            click.echo(f"{name} {build()}")
            context.exit()

    return click.option(
        "--version", is_flag=True, expose_value=False, is_eager=True, callback=show, help="Show the version."
    )


def load_config(path: Path, model: type[ModelT], *, check_files: bool = True) -> ModelT:
    """The configuration, or every problem on stderr and exit code 2."""
    try:
        return load(path, model, check_files=check_files)
    except ConfigError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(EXIT_BAD_CONFIG)


def keygen(out: Path) -> None:
    """Write a new private key to `out` and its public line, alone, to stdout."""
    from protocol import keys  # noqa: PLC0415 - cryptography is slow to load

    key = keys.generate()
    try:
        keys.save_private_key(key, out)
    except keys.KeyFileError as error:
        fail(str(error))
    click.echo(keys.public_line(key))


def add_api_key(main: click.Group, help_text: str) -> None:
    """The command `api-key`."""

    @main.command("api-key", help=help_text)
    def api_key() -> None:
        from protocol.ops import apikeys  # noqa: PLC0415

        key, line = apikeys.make()
        click.echo(f"key:  {key}\nhash: {line}")
        click.echo(
            "Give the key to its owner: it is shown only now. Write the hash into the configuration.", err=True
        )


def add_audit(main: click.Group) -> None:
    """The group `audit` with its command `verify`."""

    @main.group()
    def audit() -> None:
        """Look at audit files."""

    @audit.command()
    @click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
    def verify(files: tuple[Path, ...]) -> None:
        """Follow the chain through the files, oldest first: exit 0 if it is whole, 1 with the first wrong line."""
        from protocol.ops import chain  # noqa: PLC0415

        try:
            report = chain.verify(files)
        except OSError as error:
            fail(f"{error.filename} cannot be read: {error.strerror}")
        for note in report.notes:
            click.echo(f"Note: {note}.")
        if report.wrong is not None:
            file, number, what = report.wrong
            fail(f"{file}: line {number} {what}. The {report.lines} lines before it are whole.")
        if not report.lines:
            fail("there is no line in it yet")
        click.echo(
            f"{report.lines} lines from {report.first} to {report.last}, the chain is whole; "
            f"last hash {report.link.hash}"
        )


def fail(message: str, code: int = EXIT_FAILED) -> NoReturn:
    """One sentence to stderr, and out."""
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)


out_option: Callable[[CommandT], CommandT] = click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The new file; an existing one is never overwritten.",
)
