"""The command line of the hub."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import click

from protocol.ops import commands, look
from protocol.ops.run import EXIT_BAD_CONFIG, EXIT_FAILED

agent_option = click.option("--agent", required=True, metavar="ID", help="The agent's id in the hub's file.")


@click.group()
@commands.version_option("tunnel-hub")
def main() -> None:
    """Takes HTTP from callers and passes it to the agents that serve it."""


@main.command()
@commands.config_option("hub.toml")
def run(config_path: Path) -> None:
    """Run the hub until SIGTERM; SIGHUP reloads the configuration."""
    gc.disable()  # until `tune_gc`: a start leaves no garbage, and looking for it takes a sixth of its time
    from tunnel_hub.config import HubConfig  # noqa: PLC0415 - keygen and --help need none of it

    config = commands.load_config(config_path, HubConfig)
    from tunnel_hub import server  # noqa: PLC0415

    sys.exit(server.run(config, config_path))


@main.command()
@commands.config_option("hub.toml")
@click.option(
    "--client-token",
    "token_files",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Say what this client token is good for here; may be repeated.",
)
def check(config_path: Path, token_files: tuple[Path, ...]) -> None:
    """Validate the configuration: exit 0, or 2 with a line for each problem."""
    from tunnel_hub.config import HubConfig  # noqa: PLC0415

    config = commands.load_config(config_path, HubConfig)
    from tunnel_hub import keyring  # noqa: PLC0415
    from tunnel_hub.state import StateError  # noqa: PLC0415

    try:
        keyring.rings(config, config.state.path(config_path))
    except StateError as error:
        commands.fail(str(error), EXIT_BAD_CONFIG)
    counts = f"{len(config.services)} services, {len(config.agents)} agents, {len(config.callers.named)} callers"
    click.echo(f"{config_path}: fine ({counts})")
    if not config.callers.required:
        click.echo('warning: authentication = "none" lets whoever reaches listen.callers use every service')
    if token_files:
        import time  # noqa: PLC0415

        from tunnel_hub.gateway.inspect import TokenFileError, inspect  # noqa: PLC0415

        try:
            for file in token_files:
                for line in inspect(config, file, time.time()):
                    click.echo(line)
        except TokenFileError as error:
            commands.fail(str(error))


@main.command()
@commands.config_option("hub.toml")
@look.status_options
def status(config_path: Path, as_json: bool, every: float | None) -> None:
    """Show how the running hub stands: exit 0 if all is up, 1 if something is down, 3 if it cannot be reached.

    The files that the configuration names need not be readable here.
    """
    from tunnel_hub.config import HubConfig  # noqa: PLC0415
    from tunnel_hub.console import terminal  # noqa: PLC0415

    config = commands.load_config(config_path, HubConfig, check_files=False)
    program = look.Program("tunnel-hub", config.listen.admin, f"[listen] admin of {config_path}")
    sys.exit(look.show(program, terminal.read, as_json=as_json, every=every))


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


@main.command("enrol-token")
@commands.config_option("hub.toml")
@agent_option
@click.option("--ttl", default="1h", show_default=True, metavar="TIME", help="How long it can be used, as in 30m.")
def enrol_token(config_path: Path, agent: str, ttl: str) -> None:
    """Print a one-time token with which a new agent registers its key."""
    from protocol.ops.values import parse_timeout  # noqa: PLC0415
    from tunnel_hub import keyring  # noqa: PLC0415
    from tunnel_hub.config import HubConfig  # noqa: PLC0415

    config = commands.load_config(config_path, HubConfig, check_files=False)
    try:
        seconds = parse_timeout(ttl)
        if seconds > keyring.TTL_MAX:
            raise ValueError(f'"{ttl}" is too long; a token is good for 30 days at most')  # noqa: TRY301
    except ValueError as error:
        commands.fail(f"--ttl: {error}", EXIT_BAD_CONFIG)
    try:
        token = keyring.make_token(config, config.state.path(config_path), agent, seconds)
    except ValueError as error:
        commands.fail(str(error))
    click.echo(
        f"A token for {agent}, to be used once within {ttl}: write it into a file at the agent, and name that "
        "file as enrol_token_file in [[hubs]].",
        err=True,
    )
    click.echo(token.text)


@main.command()
@commands.config_option("hub.toml")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def agents(config_path: Path, as_json: bool) -> None:
    """List the agents and their keys: those of the file, those enrolled, those revoked."""
    from tunnel_hub import keyring, listing  # noqa: PLC0415
    from tunnel_hub.config import HubConfig  # noqa: PLC0415

    config = commands.load_config(config_path, HubConfig, check_files=False)
    try:
        rings = keyring.rings(config, config.state.path(config_path))
    except ValueError as error:
        commands.fail(str(error))
    click.echo(listing.as_json(rings) if as_json else listing.as_table(rings), nl=False)


@main.command()
@commands.config_option("hub.toml")
@agent_option
@click.option("--key", "fingerprint", metavar="FINGERPRINT", help="This key only, by its name in `agents`.")
def revoke(config_path: Path, agent: str, fingerprint: str | None) -> None:
    """Refuse an agent's keys for good, wherever they stand; its sessions end within 5 s.

    Without --key all keys of the agent that are known now, and what could still be used to enrol as it.
    """
    from tunnel_hub import keyring  # noqa: PLC0415
    from tunnel_hub.config import HubConfig  # noqa: PLC0415

    config = commands.load_config(config_path, HubConfig, check_files=False)
    try:
        keys, tokens = keyring.revoke(config, config.state.path(config_path), agent, fingerprint)
    except ValueError as error:
        commands.fail(str(error))
    for key in keys:
        click.echo(f"revoked {key.fingerprint} of {agent}")
    if tokens:
        click.echo(f"unused tokens for {agent} that are no good any more: {tokens}")
    if not keys and not tokens:
        click.echo(f"nothing to do: what {agent} had is revoked already")


commands.add_api_key(
    main,
    "Make a key, for a caller or an operator; print it, this once, and the hash that the configuration needs.",
)


@main.command()
@commands.config_option("hub.toml")
@click.option("--service", metavar="NAME", help="Only requests for this service.")
@click.option("--status", metavar="STATUS", help="As 5xx, 404 or 500-503, or several with commas between.")
@click.option("--caller", metavar="NAME", help="Only this caller's, by its verified name.")
@click.option("--code", metavar="CODE", help="Only those that failed so, as no_session.")
@click.option("--agent", metavar="ID", help="Only those that this agent had.")
@click.option("--method", metavar="METHOD", help="Only this method.")
@click.option("--path", metavar="GLOB", help="As '/nomisapi/**': * within a segment, ** anything.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as the hub's access log has them.")
@click.option(
    "--key-file",
    envvar="TUNNEL_OPERATOR_KEY_FILE",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Holds the operator's key.  [default: what $TUNNEL_OPERATOR_KEY_FILE names]",
)
def tail(config_path: Path, as_json: bool, key_file: Path | None, **wanted: str | None) -> None:
    """Show each request of the running hub as it ends, until Ctrl-C."""
    from tunnel_hub.config import HubConfig  # noqa: PLC0415

    config = commands.load_config(config_path, HubConfig, check_files=False)
    from tunnel_hub.tail import command  # noqa: PLC0415

    sys.exit(command.run(config.listen.admin, key_file, {k: v for k, v in wanted.items() if v}, as_json=as_json))


commands.add_audit(main)

if __name__ == "__main__":
    main(prog_name="tunnel-hub")
