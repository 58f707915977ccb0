"""Callers for as long as something is done to the programs."""

from __future__ import annotations

import threading
from collections import Counter

import httpx

from tests.support.tunnel import HOST
from tests.support.waiting import wait_until


class Load:
    """Callers that ask all the time, on connections that they keep."""

    def __init__(self, url: str, number: int = 4) -> None:
        self.outcomes: Counter[str] = Counter()
        self._url = url
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(number)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(40)

    def more(self, number: int = 20) -> None:
        """Wait for so many more answers."""
        wanted = self.outcomes["200"] + number
        wait_until(lambda: self.outcomes["200"] >= wanted, f"{number} more answers ({self.outcomes})", 30)

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, headers={"Host": HOST}, timeout=30, trust_env=False) as client:
            while not self._over.is_set():
                try:
                    outcome = str(client.get("/x").status_code)
                except httpx.HTTPError as error:
                    outcome = type(error).__name__
                self.outcomes[outcome] += 1
