from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from rich.console import Console

from tests.bench import machine
from tests.bench.__main__ import ROW_NAMES, chosen
from tests.bench.cases import QUICK
from tests.bench.report import judged, number, print_report, read_json, to_json, write_json
from tests.bench.rows import Result, Row

FASTER = Row("rate", "answers", "req/s", "high", 1.0, "nginx two-hop")
SMALLER = Row("memory", "memory", "MiB", "low", 20, None)


def rate(ours: list[float | None], theirs: list[float | None]) -> Result:
    result = Result(FASTER)
    for mine, other in zip(ours, theirs, strict=True):
        result.add("tunnel", mine)
        result.add("nginx two-hop", other)
    return result


def test_a_ratio_is_judged_by_the_median_of_its_rounds() -> None:
    result = rate([100.0, 10.0, 90.0], [50.0, 20.0, 100.0])
    assert result.judged_samples() == [2.0, 0.5, 0.9]
    assert result.judged() == 0.9
    assert result.met() is False
    assert rate([100.0], [100.0]).met() is True


def test_a_figure_without_divisor_is_judged_as_it_is() -> None:
    result = Result(SMALLER)
    assert result.met() is None
    result.add("tunnel", 20.0)
    assert result.met() is True
    result.add("tunnel", 21.0)
    assert result.judged() == 20.5
    assert result.met() is False


def test_a_round_that_failed_is_not_a_zero() -> None:
    result = rate([None, 30.0], [10.0, 10.0])
    assert result.judged() == 3.0
    assert rate([None], [10.0]).met() is None
    assert rate([10.0], [None]).judged() is None


def test_the_json_keeps_every_sample_and_is_read_back(tmp_path: Path) -> None:
    result = rate([100.0, None], [50.0, 20.0])
    result.add_extra("tunnel", {"p99": 0.5})
    result.note("one round failed")
    result.note("one round failed")
    path = write_json(to_json([result], {"cpus": 2}, {"quick": True}), tmp_path)
    data = json.loads(path.read_text())
    assert data["rows"]["rate"]["samples"] == {"tunnel": [100.0, None], "nginx two-hop": [50.0, 20.0]}
    assert data["rows"]["rate"]["notes"] == ["one round failed"]
    assert data["machine"] == {"cpus": 2}
    assert read_json(tmp_path / "latest.json") == [result]


def test_the_table_shows_figure_target_and_verdict() -> None:
    memory = Result(SMALLER)
    memory.add("tunnel", 3.25)
    memory.note("tunnel: 1 of the stalled downloads was closed")
    console = Console(width=130, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        print_report(console, [rate([28_412.0], [20_000.0]), memory, Result(SMALLER)])
        lines = console.export_text().splitlines()
    [first] = [line for line in lines if line.strip().startswith("rate")]
    assert first.split() == [
        "rate",
        "answers",
        "28,412",
        "/s",
        "20,000",
        "/s",
        "–",
        "1.42",
        "×",
        "nginx",
        "≥",
        "1",
        "yes",
    ]
    assert [line.split()[-5:] for line in lines if line.strip().startswith("memory  ")] == [
        ["MiB", "≤", "20", "MiB", "yes"],
        ["–", "≤", "20", "MiB", "–"],
    ]
    assert any("was closed" in line for line in lines)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "–"),
        (0.000062, "s", "62 µs"),
        (0.00124, "s", "1.24 ms"),
        (22_833.4, "req/s", "22,833 /s"),
        (1234.5, "MB/s", "1,234 MB/s"),
        (12.84, "KiB", "12.8 KiB"),
        (1.5, "x", "1.50 ×"),
    ],
)
def test_numbers_are_for_people(value: float | None, unit: str, text: str) -> None:
    assert number(value, unit) == text


def test_judged_names_what_it_was_divided_by() -> None:
    assert judged(rate([3.0], [2.0])) == "1.50 × nginx"
    assert judged(rate([3.0], [None])) == "–"


def test_rows_are_chosen_by_name() -> None:
    assert len(set(ROW_NAMES)) == len(ROW_NAMES) == 14
    assert [row.name for case in chosen("p99-64, upload", QUICK) for row in case.rows] == [
        "rate-64",
        "p99-64",
        "upload",
    ]
    assert [row.name for case in chosen(None, QUICK) for row in case.rows] == ROW_NAMES
    with pytest.raises(click.BadParameter, match="no row is called 'uplaod'"):
        chosen("uplaod", QUICK)


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", {"sh": "dash", "no-such-sshd": "openssh-server"})
    [sentence] = machine.missing_tools()
    assert sentence == "no-such-sshd is not installed; on Debian: sudo apt-get install openssh-server"
