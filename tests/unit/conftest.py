"""What unit tests mint is handed to no program: it need not be sought in what programs leave behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.seeded import SEEDED


@pytest.fixture(autouse=True)
def _forget_seeds() -> Iterator[None]:
    count = len(SEEDED)
    yield
    del SEEDED[count:]
