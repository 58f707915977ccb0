"""Writes corpus/ from tests/vectors/frames.json, once: `python -m tests.fuzz.make_corpus`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from .target import join

HERE = Path(__file__).parent
LARGEST = 700


def main() -> None:
    vectors: dict[str, Any] = json.loads((HERE.parent / "vectors" / "frames.json").read_text())
    rows = vectors["accepted"] + vectors["rejected"]
    for row in rows:
        message = b"".join(
            bytes.fromhex(part) if isinstance(part, str) else bytes.fromhex(part[0]) * part[1]
            for part in row["message"]
        )
        if len(message) <= LARGEST:
            hub = row["to"] == "hub"
            name = re.sub(r"[^a-z0-9]+", "-", f"{row['to']} {row['name']}".lower()).strip("-")
            (HERE / "corpus" / name).write_bytes(join(6 | hub, [message]))


if __name__ == "__main__":
    main()
