"""What a run yields: one Row for each figure of the table, and the samples gathered for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tests.bench.stats import median, paired_ratios, spread

Unit = Literal["req/s", "s", "MB/s", "x", "MiB", "KiB", "%"]
TUNNEL = "tunnel"
FORMER = "former"


@dataclass(frozen=True, slots=True)
class Row:
    """A figure and its target.

    chain: whose figure is judged. `against` names the chain whose figure divides it; None: it is judged as it is.
    """

    name: str
    title: str
    unit: Unit
    better: Literal["high", "low"]
    target: float
    against: str | None
    chain: str = TUNNEL

    def target_text(self) -> str:
        sign = "≥" if self.better == "high" else "≤"
        return f"{sign} {self.target:g}" + ("" if self.against else f" {self.unit}".replace(" x", ""))


@dataclass(slots=True)
class Result:
    """All samples of one row: by chain, one figure per round (None: not measured)."""

    row: Row
    samples: dict[str, list[float | None]] = field(default_factory=dict)
    extra: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, chain: str, value: float | None) -> None:
        self.samples.setdefault(chain, []).append(value)

    def add_extra(self, chain: str, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.extra.setdefault(chain, {}).setdefault(name, []).append(value)

    def note(self, text: str) -> None:
        """Say something once beneath the table."""
        if text not in self.notes:
            self.notes.append(text)

    def figure(self, chain: str) -> float | None:
        """The median of a chain's rounds."""
        return median(self.samples.get(chain, []))

    def judged_samples(self) -> list[float | None]:
        """Per round: the ratio, or the figure itself where there is nothing to divide by."""
        ours = self.samples.get(self.row.chain, [])
        if self.row.against is None:
            return ours
        return paired_ratios(ours, self.samples.get(self.row.against, []))

    def judged(self) -> float | None:
        """What stands beside the target: the median over the rounds."""
        return median(self.judged_samples())

    def changed(self) -> float | None:
        """The tunnel's figure by the former one's, the median over the rounds; None where there is none."""
        return median(paired_ratios(self.samples.get(TUNNEL, []), self.samples.get(FORMER, [])))

    def met(self) -> bool | None:
        """Whether the target is met; None when there is no figure."""
        value = self.judged()
        if value is None:
            return None
        return value >= self.row.target if self.row.better == "high" else value <= self.row.target

    def to_json(self) -> dict[str, Any]:
        """Everything, raw samples included."""
        judged_spread = spread(self.judged_samples())
        return {
            "title": self.row.title,
            "unit": self.row.unit,
            "better": self.row.better,
            "target": self.row.target,
            "against": self.row.against,
            "chain": self.row.chain,
            "samples": self.samples,
            "extra": self.extra,
            "judged": self.judged(),
            "judged_samples": self.judged_samples(),
            "judged_spread": list(judged_spread) if judged_spread else None,
            "met": self.met(),
            "notes": self.notes,
        }

    @classmethod
    def from_json(cls, name: str, data: dict[str, Any]) -> Result:
        """The reverse of `to_json`; what is computed there is computed again."""
        row = Row(
            name=name, **{key: data[key] for key in ("title", "unit", "better", "target", "against", "chain")}
        )
        return cls(row, data["samples"], data["extra"], data["notes"])
