"""What `status` prints: a headline, what is wrong, then tables that fit the terminal.

Pure: from rows of text to Rich's tables. A column that has nothing to say is left out, and so are, where the
terminal is too narrow, the columns that matter least.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from protocol.ops.console.words import latency
from protocol.ops.words import safe

GAP: Final = 2
"""Between two columns."""

STYLES: Final[Mapping[str, str]] = {
    "up": "green",
    "down": "bold red",
    "down at every agent": "bold red",
    "upstream down": "bold red",
    "without agent": "bold red",
    "away": "red",
    "degraded": "yellow",
    "stopped": "yellow",
    "stopping": "yellow",
    "switched off": "yellow",
    "draining": "yellow",
    "starting": "yellow",
    "dialling": "yellow",
    "waiting": "yellow",
}
"""Of the words for states. Each says by itself what it means: colour only helps."""


class Column(NamedTuple):
    """title: in the table's head. rank: 0 always stays; of the others the highest goes first."""

    title: str
    rank: int = 0
    number: bool = False
    prose: int = 0
    """Cells, at least, of a column that may be broken into lines; 0 for one that may not."""


def state(word: str, words: str = "") -> Text:
    """A state in its colour, what is bad in capitals too. words: to say more than the state's own."""
    style = STYLES.get(word, "")
    return Text(safe(words or (word.upper() if "red" in style else word)), style)


def cells(*values: str | int | Text | None) -> list[Text]:
    """A row: None and 0 of counts that say nothing are empty."""
    return [value if isinstance(value, Text) else Text(_written(value)) for value in values]


def _written(value: str | int | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else safe(value)


def table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> RenderableType:
    """The table under its title, at most `width` cells wide as far as that is possible."""
    kept = _fitting(columns, rows, width)
    shown = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim", show_edge=False)
    for at in kept:
        column = columns[at]
        shown.add_column(
            column.title,
            justify="right" if column.number else "left",
            no_wrap=not column.prose,
            overflow="fold",
        )
    for row in rows:
        shown.add_row(*(row[at] for at in kept))
    return Group(Text(title, "bold"), shown, Text())


def round_trip(seconds: float | None) -> str | None:
    """The programs' clock has whole milliseconds."""
    return None if seconds is None else latency(seconds) if seconds >= 0.001 else "<1 ms"


def version(number: str, revision: str | None) -> str:
    """As "version 0.1.0 (git 97b0448)"."""
    return f"version {number} (git {revision[:7]})" if revision else f"version {number}"


def headline(program: str, name: str, word: str, facts: Iterable[str]) -> RenderableType:
    """Who this is, how it stands, and in one line what else matters."""
    title = Text.assemble((safe(f"{program} {name}: "), "bold"), state(word))
    return Group(title, Text(safe(", ".join(facts))), Text())


def problems(lines: Sequence[str]) -> list[RenderableType]:
    """What is wrong, a sentence each, before everything else."""
    if not lines:
        return []
    marked = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        marked.add_row(Text("!", "bold red"), Text(safe(line)))
    return [marked, Text()]


def _fitting(columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int) -> list[int]:
    kept = [at for at, column in enumerate(columns) if not column.rank or any(row[at].plain for row in rows)]
    wide = {at: _wide(columns[at], [row[at] for row in rows]) for at in kept}
    while sum(wide[at] + GAP for at in kept) - GAP > width:
        least = max(kept, key=lambda at: columns[at].rank)
        if not columns[least].rank:
            break
        kept.remove(least)
    return kept


def _wide(column: Column, texts: Iterable[Text]) -> int:
    """Cells that the column needs at least."""
    longest = max((cell_len(line) for text in texts for line in text.plain.split("\n")), default=0)
    return max(cell_len(column.title), min(longest, column.prose) if column.prose else longest)
