"""The outcome of `tunnel-agent check`, for people and for machines."""

from __future__ import annotations

import io
import shutil
import socket
import sys

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tunnel_agent import firewall
from tunnel_agent.check import Outcome

WIDTH_WITHOUT_TERMINAL = 160
BEGIN = "For the network team:"


def as_json(outcome: Outcome) -> str:
    """One object: ok, results, connections, firewall_request."""
    whole = {**msgspec.structs.asdict(outcome), "firewall_request": _request(outcome)}
    return msgspec.json.format(msgspec.json.encode(whole), indent=2).decode() + "\n"


def as_table(outcome: Outcome) -> str:
    """A line for each step with what is wrong and the remedy, then the request to whoever keeps the firewall."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else WIDTH_WITHOUT_TERMINAL
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    steps = Table("target", "step", "result", "what was found", "remedy", title=None)
    target = ""
    for result in outcome.results:
        steps.add_row(
            Text("" if result.target == target else result.target),
            Text(result.step),
            Text("ok", "green") if result.ok else Text("FAILED", "bold red"),
            Text(result.detail),
            Text(result.remedy),
        )
        target = result.target
    console.print(steps)
    failed = sum(not result.ok for result in outcome.results)
    console.print(Text(f"{failed} of {len(outcome.results)} steps failed" if failed else "all is well"))
    file = console.file
    assert isinstance(file, io.StringIO)
    return f"{file.getvalue()}\n{BEGIN}\n{_request(outcome)}"


def _request(outcome: Outcome) -> str:
    return firewall.request(outcome.connections, socket.gethostname())
