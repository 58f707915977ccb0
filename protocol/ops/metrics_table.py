"""The table of all metrics, made from the families: `python -m protocol.ops.metrics_table docs/metrics.md`.

Rewrites the text between `<!-- metrics: MODULE -->`, of a module with `FAMILIES`, and `<!-- end of metrics -->`;
what is outside stays. A test fails while the file is not what this would write.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from .metrics import Family

_SECTION = re.compile(r"(<!-- metrics: ([\w.]+) -->\n).*?(<!-- end of metrics -->)", re.DOTALL)


def rewrite(text: str) -> str:
    """`text` with every marked section made anew."""

    def section(match: re.Match[str]) -> str:
        families = importlib.import_module(match[2]).FAMILIES
        return f"{match[1]}\n{markdown(families)}\n{match[3]}"

    return _SECTION.sub(section, text)


def markdown(families: Iterable[Family]) -> str:
    return "\n".join(_rows(families)) + "\n"


def _rows(families: Iterable[Family]) -> Iterator[str]:
    yield "| metric | type | labels | meaning |\n|---|---|---|---|"
    for family in families:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        yield f"| `{family.shown}` | {family.kind} | {labels} | {family.help} |"


def main(path: str) -> None:
    file = Path(path)
    file.write_text(rewrite(file.read_text()))


if __name__ == "__main__":
    main(sys.argv[1])
