"""Which requests an operator wants to see. Pure.

wanted = parse({"service": "visits", "status": "5xx", "path": "/nomisapi/**"})
wanted.matches(record)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import re2  # type: ignore[import-untyped]

from protocol.ops.model import nearest
from protocol.ops.values import quoted

if TYPE_CHECKING:
    from protocol.ops.access import AccessRecord

NAMES: Final = ("service", "status", "caller", "code", "agent", "method", "path")
"""What can be asked for; all of it must hold."""

VALUE_MAX: Final = 256
"""Characters of one value."""

STATUSES_MAX: Final = 16

_status = re.compile(r"[1-5]xx|[1-5][0-9][0-9](?:-[1-5][0-9][0-9])?").fullmatch


class Filter(NamedTuple):
    """What must hold of a request; empty: anything."""

    service: str = ""
    caller: str = ""
    code: str = ""
    agent: str = ""
    method: bytes = b""
    statuses: tuple[tuple[int, int], ...] = ()
    """First and last of each range."""
    path: Any = None
    """A compiled pattern of the path without its query."""

    def matches(self, record: AccessRecord) -> bool:
        """Whether the request of this record is wanted."""
        status = record[6]
        return (
            (not self.statuses or any(low <= status <= high for low, high in self.statuses))
            and (not self.service or record[4] == self.service)
            and (not self.agent or record[5] == self.agent)
            and (not self.code or record[8] == self.code)
            and (not self.caller or record[16] == self.caller)
            and (not self.method or record[2] == self.method)
            and (self.path is None or self.path.fullmatch(record[3].partition(b"?")[0]) is not None)
        )


def parse(wanted: Mapping[str, str]) -> Filter:
    """The filter that these values say; empty values do not count.

    Raises:
        ValueError: a name or a value that means nothing; one sentence for whoever wrote it.
    """
    for name, value in wanted.items():
        if name not in NAMES:
            raise ValueError(f"{quoted(name)} is nothing that requests can be chosen by; {nearest(name, NAMES)}")
        if len(value) > VALUE_MAX:
            raise ValueError(f"{name} is too long; at most {VALUE_MAX} characters")
    path = wanted.get("path", "")
    return Filter(
        service=wanted.get("service", ""),
        caller=wanted.get("caller", ""),
        code=wanted.get("code", ""),
        agent=wanted.get("agent", ""),
        method=wanted.get("method", "").upper().encode("ascii", "backslashreplace"),
        statuses=statuses(wanted.get("status", "")),
        path=glob(path) if path else None,
    )


def statuses(text: str) -> tuple[tuple[int, int], ...]:
    """The ranges of "5xx", "404", "500-503" or several with commas between. Raises ValueError."""
    parts = [part.strip().lower() for part in text.split(",") if part.strip()]
    if len(parts) > STATUSES_MAX:
        raise ValueError(f"status names more than {STATUSES_MAX} ranges")
    ranges = []
    for part in parts:
        if not _status(part):
            raise ValueError(f'{quoted(part)} is no status; write it as in "5xx", "404" or "500-503"')
        low, _, high = part.partition("-")
        ranges.append((int(low.replace("x", "0")), int((high or low).replace("x", "9"))))
    return tuple(ranges)


def glob(pattern: str) -> Any:
    """The compiled pattern of a path: `*` within a segment, `**` anything. Raises ValueError."""
    if not pattern.startswith(("/", "*")):
        raise ValueError(f'{quoted(pattern)} matches no path; write it as in "/nomisapi/**"')
    parts = re.split(r"(\*\*|\*)", pattern)
    wild = {"**": ".*", "*": "[^/]*"}
    return re2.compile("".join(wild.get(part) or re2.escape(part) for part in parts).encode(), _options())


def _options() -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.dot_nl = True
    options.max_mem = 1 << 20
    options.log_errors = False
    return options
