"""The command line of the agent."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import click

from protocol.ops import commands, log, look
from protocol.ops.run import EXIT_BAD_CONFIG, EXIT_FAILED


@click.group()
@commands.version_option("tunnel-agent")
def main() -> None:
    """Connects to the hubs and passes what the boundary allows to the upstreams."""


@main.command()
@commands.config_option("agent.toml")
@click.option(
    "--learn",
    "learn_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the shapes of all requests to FILE, as an allow list to review.",
)
def run(config_path: Path, learn_file: Path | None) -> None:
    """Run the agent until SIGTERM; SIGHUP reloads the configuration."""
    gc.disable()  # until `tune_gc`: a start leaves no garbage, and looking for it takes a sixth of its time
    from tunnel_agent.config import AgentConfig  # noqa: PLC0415 - keygen and --help need none of it

    config = commands.load_config(config_path, AgentConfig)
    from tunnel_agent import server  # noqa: PLC0415

    sys.exit(server.run(config, config_path, learn_file))


@main.command()
@commands.config_option("agent.toml")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def check(config_path: Path, as_json: bool) -> None:
    """Validate the configuration (exit 2), then try everything the agent needs (exit 1 if something fails)."""
    from tunnel_agent.config import AgentConfig  # noqa: PLC0415

    config = commands.load_config(config_path, AgentConfig)
    log.setup("text", "error")
    from tunnel_agent import check as probes  # noqa: PLC0415
    from tunnel_agent import report  # noqa: PLC0415

    outcome = asyncio.run(probes.check(config))
    click.echo(report.as_json(outcome) if as_json else report.as_table(outcome), nl=False)
    sys.exit(0 if outcome.ok else EXIT_FAILED)


@main.command()
@commands.config_option("agent.toml")
@look.status_options
def status(config_path: Path, as_json: bool, every: float | None) -> None:
    """Show how the running agent stands: exit 0 if all is up, 1 if something is down, 3 if it cannot be reached.

    The files that the configuration names need not be readable here.
    """
    from tunnel_agent.config import AgentConfig  # noqa: PLC0415
    from tunnel_agent.console import terminal  # noqa: PLC0415

    config = commands.load_config(config_path, AgentConfig, check_files=False)
    program = look.Program("tunnel-agent", config.admin.listen, f"[admin] listen of {config_path}")
    sys.exit(look.show(program, terminal.read, as_json=as_json, every=every))


@main.command()
@commands.out_option
def keygen(out: Path) -> None:
    """Make the agent's key; print the public key line that the hub needs in [agents.ID] public_keys."""
    commands.keygen(out)


@main.command("rotate-key")
@commands.config_option("agent.toml")
def rotate_key(config_path: Path) -> None:
    """Replace the agent's key: register a new one at every hub, then change the files.

    Nothing is changed here while a hub has not taken the new key (exit 1); repeat it then.
    """
    from tunnel_agent.config import AgentConfig  # noqa: PLC0415

    config = commands.load_config(config_path, AgentConfig)
    log.setup("text", "error")
    from tunnel_agent import rotate  # noqa: PLC0415

    try:
        rotation = rotate.Rotation(config)
        answers = asyncio.run(rotation.register())
        for answer in answers:
            click.echo(f"{answer.hub}: {answer.problem or 'has the new key'}", err=bool(answer.problem))
        if any(answer.problem for answer in answers):
            commands.fail(
                f"nothing was changed here; the new key waits in {rotation.new_file}: repeat this command."
            )
        rotation.swap()
    except ValueError as error:
        commands.fail(str(error))
    click.echo(rotate.next_steps(rotation, config.agent.id))


@main.command()
@commands.config_option("agent.toml")
@click.option("--service", metavar="NAME", help="Ask about this service only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")
@click.argument("method")
@click.argument("path")
def explain(config_path: Path, service: str | None, as_json: bool, method: str, path: str) -> None:
    """Say whether METHOD PATH is let in, and by which rule: exit 0 if a service allows it, else 1.

    The files that the configuration names need not exist here.
    """
    from tunnel_agent import explain as boundary  # noqa: PLC0415
    from tunnel_agent.config import AgentConfig  # noqa: PLC0415

    config = commands.load_config(config_path, AgentConfig, check_files=False)
    try:
        verdicts = boundary.explain(config, method, path, service)
    except boundary.UnknownServiceError as error:
        commands.fail(str(error), EXIT_BAD_CONFIG)
    click.echo(boundary.as_json(verdicts) if as_json else "\n".join(map(str, verdicts)))
    sys.exit(0 if any(verdict.allowed for verdict in verdicts) else EXIT_FAILED)


commands.add_api_key(
    main, "Make an operator's key; print it, this once, and the hash that the configuration needs."
)
commands.add_audit(main)

if __name__ == "__main__":
    main(prog_name="tunnel-agent")
