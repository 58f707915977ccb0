"""Keys as the programs' `keygen` commands make them, each once per test run, and without a process for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from protocol import keys
from tests.support.leaksearch import seed_key_file


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
        return self._key(name)

    def agent(self, name: str = "leeds-1") -> Key:
        return self._key(name)

    def _key(self, name: str) -> Key:
        key = self._keys.get(name)
        if key is None:
            file = self._directory / f"{name}.key"
            made = keys.generate()
            keys.save_private_key(made, file)
            key = self._keys[name] = Key(seed_key_file(file), keys.public_line(made))
        return key
