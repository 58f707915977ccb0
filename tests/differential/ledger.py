"""What a server saw: one line for each request, `id method target case length`, written by the server itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes


@dataclass(frozen=True)
class Seen:
    """One request as a server saw it. `length` of its body; None: not known, or not all of it came."""

    request_id: str
    method: str
    target: str
    case: str
    length: int | None


class Ledger:
    """The writing side, for servers that run our own code. One process, any number of threads."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def write(self, request_id: str, method: str, target: str, case: str, length: int | None) -> None:
        self._file.write(
            f"{request_id or '-'} {method} {target} {case or '-'} {'-' if length is None else length}\n"
        )


def read_ledger(path: Path) -> list[Seen]:
    """The requests in a ledger, oldest first. An access log may hold the request line in place of two words."""
    seen = []
    for line in path.read_text("latin-1").splitlines() if path.exists() else ():
        request_id, *words = line.split(" ")
        if len(words) > 3 and words[2].startswith("HTTP/"):
            del words[2]
        if len(words) < 4:
            words = ["?", line, "?", "-"]  # what is no request stays in sight
        method, target, *case, length = words
        if {method, target} <= {"", "-"}:
            continue  # a connection that was closed without a request
        seen.append(Seen(_known(request_id), method, _unescaped(target), _known(" ".join(case)), _number(length)))
    return seen


def same_target(ours: str, theirs: str) -> str:
    """`theirs`, if that is `ours` as told by a server that only knows decoded paths; else `ours`."""
    return theirs if unquote_to_bytes(ours) == theirs.encode("latin-1") else ours


def _known(word: str) -> str:
    return "" if word == "-" else word


def _number(word: str) -> int | None:
    return int(word) if word.isascii() and word.isdigit() else None


def _unescaped(target: str) -> str:
    """Access logs write quotes and backslashes as `\\"` and `\\\\`, or as `\\xHH`."""
    target = re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), target)
    return re.sub(r'\\(["\\])', r"\1", target)
