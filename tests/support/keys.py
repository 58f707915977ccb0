"""Keys made by the programs' own `keygen` commands, each once per test run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.leaksearch import seed_key_file
from tests.support.process import run_once

_PUBLIC = re.compile(r"ed25519:[A-Za-z0-9+/=_-]+")


@dataclass(frozen=True)
class Key:
    """A private key's file and its public line `ed25519:BASE64`."""

    file: Path
    public: str


class KeyRing:
    """Makes and remembers keys by name."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys: dict[str, Key] = {}

    def hub(self, name: str = "hub-1") -> Key:
        return self._key("tunnel_hub.cli", name)

    def agent(self, name: str = "leeds-1") -> Key:
        return self._key("tunnel_agent.cli", name)

    def _key(self, module: str, name: str) -> Key:
        key = self._keys.get(name)
        if key is None:
            file = self._directory / f"{name}.key"
            done = run_once(module, "keygen", "--out", str(file))
            assert done.returncode == 0, f"{module} keygen failed:\n{done.stdout}{done.stderr}"
            found = _PUBLIC.search(done.stdout)
            assert found, f"{module} keygen printed no public key line: {done.stdout!r}"
            key = self._keys[name] = Key(seed_key_file(file), found.group())
        return key
