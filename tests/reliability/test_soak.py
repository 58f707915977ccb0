"""A minute of soak and some chaos; the full ones are `make soak` and `python -m tests.reliability chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability import chaos, soak
from tests.support.effort import thorough_only
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.e2e


@thorough_only
@pytest.mark.timeout(600 * max(1.0, PATIENCE))
def test_a_minute_of_faults_leaves_nothing_behind(tmp_path: Path) -> None:
    report = soak.run(tmp_path, minutes=1.0, every=1.5)
    assert report.ok, report.broken


@thorough_only
@pytest.mark.timeout(200 * max(1.0, PATIENCE))
def test_all_faults_close_together(tmp_path: Path) -> None:
    report = chaos.run(tmp_path, seconds=12.0, every=0.3)
    assert report.ok, report.broken
