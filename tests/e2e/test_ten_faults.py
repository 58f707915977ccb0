"""Ten faults in running programs: page, line, metric and alert each name the cause, as docs/operations.md says.

Alerts are those of deploy/alerts in a real Prometheus, for which a minute lasts half a second.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.alerts import RULES
from tests.deploy.prometheus import NoPrometheusError, Prometheus
from tests.support.faults import FAULTS, PATH, Scene
from tests.support.faulttable import page_text, rows, wait_named
from tests.support.keys import KeyRing
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

ROWS: Final = rows()
HALF_SECOND: Final = "500ms"

MACHINE: Final = {"TunnelLoopLag", "TunnelHubGone"}
"""Alerts that a test machine under load may raise by itself: late loops, and scrapes that take half a second."""

WELL: Final = "all is well"
OPTIONS: Final = {name: fault.options for name, fault in FAULTS.items()} | {WELL: {"tls": True}}


def hurried() -> str:
    """The alerts' rules as they are, except that a minute lasts half a second."""
    return re.sub(r"\b(\d+)m\b", lambda found: f"{int(found[1]) * 500}ms", RULES.read_text())


class Stage:
    """A tunnel for each fault and one that stays well, none started, and a Prometheus that looks at all."""

    def __init__(self, folder: Path, keys: KeyRing) -> None:
        self.tunnels: dict[str, Tunnel] = {}
        for number, (name, options) in enumerate(OPTIONS.items()):
            tunnel = self.tunnels[name] = Tunnel(folder / str(number), keys, **options)
            tunnel.upstream.on("/nomisapi/*", reply())
        jobs = {
            "tunnel-hub": [tunnel.hub for tunnel in self.tunnels.values()],
            "tunnel-agent": [tunnel.agent for tunnel in self.tunnels.values()],
        }
        self.prometheus: Prometheus | None = None
        self.without = ""
        """Why there is none."""
        try:
            self.prometheus = Prometheus(folder, jobs, rules=hurried(), every=HALF_SECOND)
        except NoPrometheusError as error:
            self.without = str(error)

    def start(self, name: str, scrapes: int) -> Tunnel:
        """Start that tunnel, which is seen well so many times."""
        tunnel = self.tunnels[name].start()
        if self.prometheus is not None:
            self.prometheus.wait_scraped(scrapes, tunnel.hub, tunnel.agent)
        return tunnel

    def close(self) -> None:
        for tunnel in self.tunnels.values():
            tunnel.close()
        if self.prometheus is not None:
            self.prometheus.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("stage"), keys)
    yield stage
    stage.close()


def test_the_table_has_these_ten() -> None:
    assert list(ROWS) == list(FAULTS)
    assert len(FAULTS) == 10
    assert "m]" not in re.sub(r"\[\d+ms\]", "", hurried()), "a time that is not hurried"


@pytest.mark.parametrize("fault", FAULTS)
def test_page_line_metric_and_alert_name_it(fault: str, stage: Stage, keys: KeyRing) -> None:
    row, (inject, sign, _) = ROWS[fault], FAULTS[fault]
    with ExitStack() as stack:
        tunnel = stage.start(fault, 3)
        stack.callback(tunnel.close)
        marks = {program.name: program.mark() for program in (tunnel.hub, tunnel.agent)}
        assert not row.on_page(tunnel)
        assert not row.in_metrics(tunnel)
        began = time.time()
        inject(Scene(tunnel, keys, stack))
        wait_named(row, tunnel, marks)
        status = tunnel.hub.admin("/api/status").json()
        assert sign(status), status
        prometheus = stage.prometheus
        if prometheus is None:
            pytest.skip(f"the alert was not looked at: {stage.without}")

        def firing() -> set[str]:
            return prometheus.firing(began, tunnel.hub, *tunnel.agents) - MACHINE

        wait_until(lambda: row.alert in firing(), f"{row.alert} to fire", 40, every=0.2)
        assert firing() <= {row.alert, *row.along}
        assert row.on_page(tunnel), "it lasts, and so must its name"


def test_nothing_is_named_while_all_is_well(stage: Stage, keys: KeyRing) -> None:
    with ExitStack() as stack:
        began = time.time()
        tunnel = stage.start(WELL, 3)
        stack.callback(tunnel.close)
        Scene(tunnel, keys, stack).load(PATH)
        stage.start(WELL, 24)  # more than any alert waits
        assert "All services and agents are up." in page_text(tunnel.hub)
        status = tunnel.hub.admin("/api/status").json()
        assert (status["concerns"], status["failures"]) == ([], [])
        begin = {program.name: 0 for program in (tunnel.hub, tunnel.agent)}
        for row in ROWS.values():
            assert not row.on_page(tunnel), row.fault
            assert not row.in_log(tunnel, begin), row.fault
            assert not row.in_metrics(tunnel), row.fault
        if stage.prometheus is None:
            pytest.skip(f"the alerts were not looked at: {stage.without}")
        assert stage.prometheus.firing(began, tunnel.hub, tunnel.agent) - MACHINE == set()
