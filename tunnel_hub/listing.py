"""What `tunnel-hub agents` prints, for people and for machines."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .keyring import Key, Ring

WIDTH_WITHOUT_TERMINAL: Final = 160


def as_json(rings: Sequence[Ring]) -> str:
    """One object: agents, each with its keys."""
    return msgspec.json.format(msgspec.json.encode({"agents": list(rings)}), indent=2).decode() + "\n"


def as_table(rings: Sequence[Ring]) -> str:
    """A line for each key, and for each token that waits to be used."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else WIDTH_WITHOUT_TERMINAL
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)
    table = Table("agent", "key", "source", "enrolled", "state", title=None)
    for ring in rings:
        name = Text(ring.agent if ring.in_file else f"{ring.agent} (not in the file)")
        for key in ring.keys:
            table.add_row(name, Text(key.fingerprint), Text(_source(key)), Text(_time(key.enrolled)), _state(key))
        for end in ring.tokens:
            table.add_row(name, Text("-"), Text("token"), Text(""), Text(f"unused, until {_time(end)}"))
        if not ring.keys and not ring.tokens:
            table.add_row(name, Text("-"), Text(""), Text(""), Text("no key"))
    console.print(table)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def _source(key: Key) -> str:
    words = [f"enrolled ({key.how})" if source == "enrolled" else source for source in key.sources]
    return ", ".join(words) or "removed"


def _state(key: Key) -> Text:
    return Text("good", "green") if key.revoked is None else Text(f"revoked {_time(key.revoked)}", "bold red")


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S UTC")
