"""Each alert fires when it should, no sooner, and not while all is well: promtool tests, beside the rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from protocol.ops.metrics import FAMILIES, Family
from tests.deploy.alerts import PROMETHEUS, RULES, alerts
from tunnel_agent import families as agent
from tunnel_hub import families as hub

yaml = pytest.importorskip("yaml", reason="comes with the extra dev (kubernetes-validate)")

TESTS = sorted((RULES.parent / "tests").glob("*.yaml"))
ALERTS = {alert.name: alert for alert in alerts()}
KNOWN = {
    f"{family.shown}{suffix}": family
    for family in (*FAMILIES, *hub.FAMILIES, *agent.FAMILIES)
    for suffix in (("_bucket", "_count", "_sum") if family.kind == "histogram" else ("",))
}
NOT_OURS = {"up", "process_start_time_seconds", "process_open_fds", "process_max_fds"}
_SERIES = re.compile(r"(\w+)\{(.*)\}")


def promtool(*arguments: str | Path) -> str:
    """What it says; the test fails with that if it is not content, and is skipped where there is none."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool here: it is in Debian's package prometheus")
    done = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_can_read_the_rules() -> None:
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


def test_each_alert_has_its_test() -> None:
    assert {file.stem for file in TESTS} == ALERTS.keys()


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_it_fires_when_it_should_and_then_only(file: Path) -> None:
    assert promtool("test", "rules", file).count("SUCCESS") == 1


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_the_test_shows_fault_moment_and_health(file: Path) -> None:
    """What promtool passes may still show nothing: an alert that is not asked for, or series that are not ours."""
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    assert (file.parent / content["rule_files"][0]).resolve() == RULES
    fires, *_, well = content["tests"]
    looked = [
        [(each["eval_time"], bool(each["exp_alerts"])) for each in test["alert_rule_test"]]
        for test in (fires, well)
    ]
    assert [fired for _, fired in looked[0]] == [False, True], "first not yet, then it fires"
    assert {fired for _, fired in looked[1]} == {False}
    assert well["name"] == "all is well"
    for test in content["tests"]:
        assert {each["alertname"] for each in test["alert_rule_test"]} == {file.stem}
        for series in test["input_series"]:
            found = _SERIES.fullmatch(series["series"])
            assert found, series["series"]
            labels = set(re.findall(r'(\w+)="', found[2])) - PROMETHEUS
            family: Family | None = KNOWN.get(found[1])
            if family is None:
                assert found[1] in NOT_OURS
                assert not labels
            else:
                assert labels - {"le"} == set(family.labels)
    used = {_SERIES.fullmatch(series["series"])[1] for test in content["tests"] for series in test["input_series"]}  # type: ignore[index]
    assert used & ALERTS[file.stem].metrics


def test_the_alerts_that_were_asked_for_are_there() -> None:
    assert ALERTS.keys() >= {
        *("TunnelAgentGone", "TunnelUpstreamDown", "TunnelAuthenticationFailing", "TunnelErrorRatio"),
        *("TunnelExpiresIn30Days", "TunnelExpiresIn7Days", "TunnelExpiresIn1Day", "TunnelFeedStale"),
        *("TunnelDuplicateAgent", "TunnelClockSkew", "TunnelLatencyHigh", "TunnelOverload"),
        *("TunnelBoundaryRefusing", "TunnelStreamsStalled"),
    }
