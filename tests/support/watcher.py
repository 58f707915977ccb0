"""An operator of a hub's admin listener: the key, the configuration that knows it, and requests with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from protocol.ops import apikeys
from tests.support.leaksearch import named
from tests.support.programs import Hub


class Watcher:
    """One operator. `options` go into the hub's configuration."""

    def __init__(self, name: str = "anna") -> None:
        self.name = name
        self.key, self.hash = apikeys.make()
        named(f"the operator {name}'s key", self.key)

    @property
    def options(self) -> dict[str, Any]:
        return {"admin": {"operators": {self.name: {"keys": [self.hash]}}}}

    def key_file(self, directory: Path) -> Path:
        """The key as the operator keeps it."""
        path = directory / f"{self.name}.key"
        path.write_text(self.key + "\n")
        path.chmod(0o600)
        return path

    def client(self, hub: Hub, **options: Any) -> httpx.Client:
        """A client of the hub's admin listener that shows the key."""
        return httpx.Client(
            base_url=str(hub.admin_url),
            headers={"Authorization": f"Bearer {self.key}"},
            trust_env=False,
            timeout=options.pop("timeout", 20),
            **options,
        )

    def get(self, hub: Hub, path: str, status: int = 200) -> httpx.Response:
        with self.client(hub) as client:
            answer = client.get(path)
        assert answer.status_code == status, answer.text
        return answer

    def post(
        self, hub: Hub, path: str, fields: Mapping[str, str] | None = None, status: int = 200
    ) -> httpx.Response:
        """Post a form."""
        with self.client(hub) as client:
            answer = client.post(path, data=dict(fields or {}), headers={"content-type": FORM})
        assert answer.status_code == status, answer.text
        return answer


FORM = "application/x-www-form-urlencoded"
