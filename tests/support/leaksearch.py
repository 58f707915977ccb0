"""Searches for seeded secrets whatever a program leaves behind: its output, metrics, audit files, command lines.

`Program` does it by itself whenever it ends or is closed; what is found fails the test run at its end
(tests/conftest.py), by the secret's name and place, never its value.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import psutil  # type: ignore[import-untyped]
import re2

from tests.support.seeded import SEEDED, seed

SHORTEST = 8
"""Characters of a secret: what is shorter may stand anywhere by chance."""
CORE = 24
"""Octets of one spelling that are sought."""

PIECE = 4 << 20
ED25519_DER = 48
METRICS_TIMEOUT = 1.0

NAMES: dict[str, str] = {}


class Finding(NamedTuple):
    """A secret where none may be."""

    program: str
    secret: str
    """Its name."""
    place: str


FINDINGS: list[Finding] = []


def named(name: str, secret: str) -> str:
    """`seed` a secret under a name by which findings call it; returns it."""
    NAMES[secret] = name
    return seed(secret)


def seed_key_file(path: Path) -> Path:
    """Seed each line of a PEM private key's body, and an Ed25519 key's own 32 bytes; returns the path."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("-----")]
    der = base64.b64decode("".join(lines))
    bare = der[-32:] if len(der) == ED25519_DER else b""
    for text in (*lines, bare.hex(), base64.b64encode(bare).decode()):
        if len(text) >= SHORTEST:
            named(f"the private key {path.name}", text)
    return path


def name_of(secret: str) -> str:
    digest = hashlib.sha256(secret.encode()).hexdigest()[:8]
    return NAMES.get(secret, f"secret {digest} of {len(secret)} characters")


def spellings(secret: str) -> set[bytes]:
    """The secret as it may come to stand somewhere: plain, escaped, in a URL, in base64 at any offset."""
    raw = secret.encode()
    found = {raw, secret.encode("ascii", "backslashreplace"), json.dumps(secret)[1:-1].encode()}
    found |= {quote(secret, safe="").encode(), quote_plus(secret).encode(), quote(secret).encode()}
    for offset in range(3):
        # The first and last characters depend on the neighbours as well.
        core = base64.b64encode(bytes(offset) + raw)[-(-offset * 4 // 3) : (offset + len(raw)) * 4 // 3]
        found |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return {_core(spelling) for spelling in found if len(spelling) >= SHORTEST}


def _core(spelling: bytes) -> bytes:
    """Its middle: as telling as the whole, and what holds a part of a long secret is found as well."""
    skipped = max(0, len(spelling) - CORE) // 2
    return spelling[skipped : skipped + CORE]


class Patterns:
    """All spellings of some secrets, sought at once."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._names = {spelling: name_of(secret) for secret in secrets for spelling in spellings(secret)}
        self.longest = max(map(len, self._names), default=0)
        options = re2.Options()
        options.encoding = re2.Options.Encoding.LATIN1
        options.max_mem = 64 << 20
        # Longest first: of two secrets one of which begins the other, the longer is meant.
        ordered = sorted(self._names, key=len, reverse=True)
        self._search = re2.compile(b"|".join(map(re2.escape, ordered)), options) if ordered else None

    def find(self, data: bytes) -> set[str]:
        """The names of the secrets in it."""
        if self._search is None:
            return set()
        return {self._names[found.group()] for found in self._search.finditer(data)}


@functools.lru_cache(maxsize=1)
def _patterns(_count: int, _last: str) -> Patterns:
    return Patterns(SEEDED)


def known() -> Patterns:
    """Of everything seeded by now."""
    return _patterns(len(SEEDED), SEEDED[-1] if SEEDED else "")


class Trail:
    """What one program leaves behind; remembers how far its files were searched: each byte is looked at once.

    patterns: what to look for; findings: where to note it.
    """

    def __init__(
        self, program: str, patterns: Callable[[], Patterns] = known, findings: list[Finding] | None = None
    ) -> None:
        self._program = program
        self._patterns = patterns
        self._findings = FINDINGS if findings is None else findings
        self._read: dict[Path, int] = {}

    def look(self, data: bytes | str, place: str) -> None:
        data = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        for secret in sorted(self._patterns().find(data)):
            finding = Finding(self._program, secret, place)
            if finding not in self._findings:
                self._findings.append(finding)

    def look_at_file(self, path: Path) -> None:
        """What was written since the last time."""
        if not path.is_file():
            return
        overlap = self._patterns().longest
        with path.open("rb") as file:
            file.seek(max(0, self._read.get(path, 0) - overlap))
            tail = b""
            while piece := file.read(PIECE):
                self.look(tail + piece, path.name)
                tail = piece[-overlap:] if overlap else b""
            self._read[path] = file.tell()

    def look_at_files(self, log: Path, config: Mapping[str, Any]) -> None:
        """The log, every audit file beside it, and the one that the configuration names."""
        audit = config.get("audit")
        named_by = [Path(str(value)) for value in audit.values()] if isinstance(audit, Mapping) else []
        paths = (log.parent / path for path in named_by if path.suffix or path.is_absolute())
        for path in {log, *log.parent.glob("*.jsonl"), *paths}:
            self.look_at_file(path)

    def look_at_process(self, pid: int) -> None:
        """The command lines of a process and of its children."""
        try:
            process = psutil.Process(pid)
            for each in (process, *process.children(recursive=True)):
                self.look("\0".join(each.cmdline()), f"/proc/{each.pid}/cmdline")
        except psutil.Error:
            return

    def look_at_metrics(self, admin_url: str) -> None:
        """What /metrics says, if anybody answers."""
        connection = http.client.HTTPConnection(admin_url.removeprefix("http://"), timeout=METRICS_TIMEOUT)
        try:
            connection.request("GET", "/metrics")
            self.look(connection.getresponse().read(), "/metrics")
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()
