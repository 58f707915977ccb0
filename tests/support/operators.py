"""Operators of admin pages in tests: their keys, and a browser's part in plain HTTP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import httpx

from protocol.ops import apikeys
from tests.support.seeded import seed


@dataclass(frozen=True)
class Operator:
    """An operator's name, key, and the table for the configuration."""

    name: str
    key: str
    table: dict[str, Any]

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def make_operator(name: str = "night-shift") -> Operator:
    """One with a new key, which no log may hold."""
    key, line = apikeys.make()
    return Operator(name, seed(key), {"admin": {"operators": {name: {"keys": [line]}}}})


class Browser:
    """A client that keeps cookies and says what browsers say of a form's origin."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, trust_env=False, timeout=10)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        said = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.client.post(path, data=fields, headers=said)

    def log_in(self, operator: Operator) -> None:
        done = self.post("/login?next=/", {"key": operator.key})
        assert done.status_code == 303, done.text

    def token(self, path: str) -> str:
        """The hidden field of the form on a page."""
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', self.get(path).text)
        assert found, path
        return found[1]

    def confirm(self, path: str, reason: str) -> httpx.Response:
        """Load a switch's page and confirm it."""
        return self.post(path, {"csrf": self.token(path), "reason": reason})

    def close(self) -> None:
        self.client.close()
