"""When the certificates that a configuration names end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography import x509


def ends(files: Mapping[str, Path | None]) -> dict[str, float]:
    """By the same names, when the first of each PEM file's certificates ends, as time.time() has it.

    Files that are None, or hold no certificate that can be read, are left out: others say what is wrong with them.
    """
    found: dict[str, float] = {}
    for what, file in files.items():
        if file is None:
            continue
        try:
            certificates = x509.load_pem_x509_certificates(file.read_bytes())
        except (OSError, ValueError):
            continue
        found[what] = min(each.not_valid_after_utc.timestamp() for each in certificates)
    return found
