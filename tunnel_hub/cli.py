"""The command line of the hub."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from protocol.ops import commands
from protocol.ops.run import EXIT_BAD_CONFIG, EXIT_FAILED


@click.group()
@commands.version_option("tunnel-hub")
def main() -> None:
    """Takes HTTP from callers and passes it to the agents that serve it."""


@main.command()
@commands.config_option("hub.toml")
def run(config_path: Path) -> None:
    """Run the hub until SIGTERM; SIGHUP reloads the configuration."""
    from tunnel_hub.config import HubConfig  # noqa: PLC0415 - keygen and --help need none of it

    config = commands.load_config(config_path, HubConfig)
    from tunnel_hub import server  # noqa: PLC0415

    sys.exit(server.run(config, config_path))


@main.command()
@commands.config_option("hub.toml")
def check(config_path: Path) -> None:
    """Validate the configuration: exit 0, or 2 with a line for each problem."""
    from tunnel_hub.config import HubConfig  # noqa: PLC0415

    config = commands.load_config(config_path, HubConfig)
    click.echo(f"{config_path}: fine ({len(config.services)} services, {len(config.agents)} agents)")


@main.command()
@commands.config_option("hub.toml")
@click.option("--caller", metavar="NAME", required=True, help="NAME of [callers.named.NAME].")
@click.option("--service", metavar="NAME", help="By default the one that has the path.")
@click.argument("method")
@click.argument("path")
def explain(config_path: Path, caller: str, service: str | None, method: str, path: str) -> None:
    """Say whether the caller may ask METHOD PATH, and by which rule: exit 0 if so, else 1.

    The files that the configuration names need not exist here.
    """
    from tunnel_hub.config import HubConfig  # noqa: PLC0415
    from tunnel_hub.explain import UnknownNameError, explain  # noqa: PLC0415

    config = commands.load_config(config_path, HubConfig, check_files=False)
    try:
        verdict = explain(config, caller, method, path, service)
    except UnknownNameError as error:
        commands.fail(str(error), EXIT_BAD_CONFIG)
    click.echo(str(verdict))
    sys.exit(0 if verdict.allowed else EXIT_FAILED)


@main.command()
@commands.out_option
def keygen(out: Path) -> None:
    """Make the hub's key; print the public key line that agents need in [[hubs]] public_keys."""
    commands.keygen(out)


@main.command("api-key")
def api_key() -> None:
    """Make an API key; print it, this once, and the hash that the configuration needs."""
    from tunnel_hub.gateway import apikeys  # noqa: PLC0415

    key, line = apikeys.make()
    click.echo(f"key:  {key}\nhash: {line}")
    click.echo(
        "Give the key to the caller: it is shown only now. Write the hash into the hub's configuration.", err=True
    )


commands.add_audit(main)

if __name__ == "__main__":
    main(prog_name="tunnel-hub")
