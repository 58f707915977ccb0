"""Every run of docs/reliability.md in a small size: the promises hold, and the harness works."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability import cuts, effects, herd, mixups, outage, resets, restarts, scenario12, silence
from tests.support.effort import thorough_only
from tests.support.waiting import PATIENCE

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150 * max(1.0, PATIENCE))]


def test_restarts_and_replacements_fail_no_request(tmp_path: Path) -> None:
    report = restarts.run(tmp_path, requests=1_500, cycles=2, rate=300.0)
    assert report.ok, report.broken


def test_nothing_takes_effect_twice_under_cuts_and_kills(tmp_path: Path) -> None:
    report = effects.run(tmp_path, requests=5_000, rate=800.0, every=0.4)
    assert report.ok, report.broken


def test_no_answer_is_mixed_up(tmp_path: Path) -> None:
    report = mixups.run(tmp_path, answers=15_000)
    assert report.ok, report.broken


def test_a_cut_answer_is_never_complete(tmp_path: Path) -> None:
    report = cuts.run(tmp_path, cuts=12)
    assert report.ok, report.broken


@thorough_only
def test_silence_is_noticed(tmp_path: Path) -> None:
    report = silence.run(tmp_path, cuts=3, side_by_side=3, bound=silence.BOUND * PATIENCE)
    assert report.ok, report.broken


@thorough_only
def test_after_a_reset_it_serves_again(tmp_path: Path) -> None:
    report = resets.run(tmp_path, resets=6, side_by_side=3, bound=resets.BOUND * PATIENCE)
    assert report.ok, report.broken


@thorough_only
def test_after_an_outage_it_serves_again(tmp_path: Path) -> None:
    # an agent without work finds out about silence after 25 s: too long for here
    report = outage.run(tmp_path, seconds=2.0, lanes_each=2, kinds=("refused",), bound=outage.BOUND * PATIENCE)
    assert report.ok, report.broken


@thorough_only
def test_a_herd_comes_back(tmp_path: Path) -> None:
    # beside other tests the waiting times of a small load say nothing: the ratio is the full run's
    report = herd.run(tmp_path, agents=100, rate=50.0, before=1.0, ratio=float("inf"), idle=False)
    assert report.ok, report.broken


@thorough_only
def test_lookups_pass_photographs(tmp_path: Path) -> None:
    report = scenario12.run(tmp_path, seconds=8.0, round_trips=(0.04,), bound=scenario12.BOUND * PATIENCE)
    assert report.ok, report.broken
