"""The command line of the hub."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from protocol.ops import commands


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
@commands.out_option
def keygen(out: Path) -> None:
    """Make the hub's key; print the public key line that agents need in [[hubs]] public_keys."""
    commands.keygen(out)


commands.add_audit(main)

if __name__ == "__main__":
    main(prog_name="tunnel-hub")
