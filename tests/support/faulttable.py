"""The table of faults in docs/operations.md, read as what page, log, metrics and alerts are to say."""

from __future__ import annotations

import html
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.metrics import metric
from tests.support.process import Program
from tests.support.tunnel import Tunnel
from tests.support.waiting import wait_until

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"
HEADING: Final = "\n## Ten faults, and what names them\n"
_CONDITION: Final = re.compile(r'(\w+)\{((?:\w+="[^"]*",?)+)\} (==|<|>) (time\(\) \+ )?(\d+)(?: \* (\d+))?')


@dataclass(frozen=True)
class Row:
    """One fault. Each method looks at a running tunnel for what its cell says."""

    fault: str
    page: tuple[str, ...]
    line_of_agent: bool
    event: str
    """"" for an access line."""
    values: dict[str, str]
    condition: str
    alert: str
    along: frozenset[str]
    """Alerts that may fire as well."""

    def on_page(self, tunnel: Tunnel) -> bool:
        text = page_text(tunnel.hub)
        return all(words in text for words in self.page)

    def in_log(self, tunnel: Tunnel, since: dict[str, int]) -> bool:
        """since: by the program's name, where to begin."""
        program = tunnel.agent if self.line_of_agent else tunnel.hub
        return any(self._is_meant(line) for line in _json_lines(program.log(since[program.name])))

    def _is_meant(self, line: dict[str, object]) -> bool:
        event = str(line.get("event", ""))
        if not (event.startswith(self.event) if self.event else not event):
            return False
        return all(str(line.get(key)) == value for key, value in self.values.items())

    def in_metrics(self, tunnel: Tunnel) -> bool:
        found = _CONDITION.fullmatch(self.condition)
        assert found, self.condition
        name, labels, how, relative, bound, factor = found.groups()
        program = tunnel.agent if name.startswith("tunnel_agent_") else tunnel.hub
        value = metric(program, name, **dict(re.findall(r'(\w+)="([^"]*)"', labels)))
        limit = float(bound) * float(factor or 1) + (time.time() if relative else 0)
        return {"==": value == limit, "<": value < limit, ">": value > limit}[how]


def rows() -> dict[str, Row]:
    """By the fault's name, in the table's order."""
    table = PAGE.read_text().partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return {row.fault: row for row in map(_row, lines)}


def _row(line: str) -> Row:
    fault, page, said, condition, alert = (cell.strip() for cell in line.strip("|").split("|"))
    words = re.findall(r"`([^`]*)`", said)
    values = dict(word.split("=", 1) for word in words if "=" in word)
    first, *along = re.findall(r"Tunnel\w+", alert)
    return Row(
        fault=fault,
        page=tuple(re.findall(r"`([^`]*)`", page)),
        line_of_agent=said.startswith("agent "),
        event="".join(word for word in words if "=" not in word),
        values=values,
        condition=condition.strip("`"),
        alert=first,
        along=frozenset(along),
    )


def page_text(program: Program) -> str:
    """What somebody reads on the overview, in one line."""
    answer = program.admin("/")
    assert answer.status_code == 200
    body = answer.text.partition("<main")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def wait_named(row: Row, tunnel: Tunnel, since: dict[str, int]) -> None:
    """Until page, log and metrics have named it."""
    wait_until(lambda: row.on_page(tunnel), f"{row.page} on the page", 20)
    wait_until(lambda: row.in_log(tunnel, since), f"{row.event} {row.values} in the log", 10)
    wait_until(lambda: row.in_metrics(tunnel), row.condition, 10)


def _json_lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
