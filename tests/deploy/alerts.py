"""The alerts of deploy/alerts/tunnel.rules.yaml, and what their expressions name.

The file is written in one form only, and read by that: whatever is written otherwise fails the tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
RULES: Final = ROOT / "deploy" / "alerts" / "tunnel.rules.yaml"

PROMETHEUS: Final = frozenset({"instance", "job"})
"""Labels that Prometheus adds to whatever it scrapes."""

_ALERT = re.compile(
    r"      - alert: (\w+)\n"
    r"        expr: \|\n((?:          .*\n)+)"
    r"(?:        for: \d+m\n)?"
    r"        labels: \{severity: (page|ticket)\}\n"
    r"        annotations:\n"
    r'          summary: "(.*)"\n'
    r"          runbook: (\S+)\n"
)
_SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(=~|=|!=|!~)"([^"]*)"')
_GROUPING = re.compile(r"\b(by|without) \(([^)]*)\)")
_FUNCTIONS = frozenset({"sum", "rate", "increase", "clamp_min", "changes", "or", "and", "unless", "abs", "time"})


@dataclass(frozen=True)
class Alert:
    name: str
    expression: str
    severity: str
    summary: str
    runbook: str

    @property
    def metrics(self) -> set[str]:
        text = _GROUPING.sub(" ", re.sub(r"\{[^}]*\}|\[\w+\]|offset \w+", " ", self.expression))
        return set(re.findall(r"[a-z_]\w*", text)) - _FUNCTIONS

    @property
    def matchers(self) -> set[tuple[str, str, str]]:
        """Metric, label and value (a pattern's alternatives apart)."""
        return {
            (metric, label, value)
            for metric, inside in _SELECTOR.findall(self.expression)
            for label, _, values in _MATCHER.findall(inside)
            for value in values.split("|")
        }

    @property
    def kept(self) -> set[str] | None:
        """The labels that `sum by` leaves; None when nothing is summed up by."""
        groups = [set(re.split(r", ?", names)) for how, names in _GROUPING.findall(self.expression) if how == "by"]
        return set.union(*groups) if groups else None

    @property
    def dropped(self) -> set[str]:
        """The labels that `without` takes away."""
        return {
            name for how, names in _GROUPING.findall(self.expression) if how == "without" for name in names.split()
        }

    @property
    def shown(self) -> set[str]:
        """The labels that the summary shows."""
        return set(re.findall(r"\$labels\.(\w+)", self.summary))


def alerts() -> list[Alert]:
    """All of the file, in its order."""
    text = RULES.read_text()
    found = [Alert(name, " ".join(expr.split()), *rest) for name, expr, *rest in _ALERT.findall(text)]
    assert len(found) == text.count("alert:"), "an alert is written in another form than the others"
    return found
