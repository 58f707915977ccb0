"""A real Prometheus that scrapes programs under test, and evaluates alerts on what they show."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import httpx

from tests.support.ports import free_port
from tests.support.process import Program, clean_environment
from tests.support.waiting import wait_until

CONFIG = """\
global: {{scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every}}}
rule_files: [{rules}]
scrape_configs:
"""


class NoPrometheusError(Exception):
    """Why there is none."""


class Prometheus:
    """Started when made; call `close` at the end. It scrapes nothing in its first 5 seconds."""

    def __init__(
        self, folder: Path, jobs: Mapping[str, Sequence[Program]], *, rules: str | None = None, every: str = "1s"
    ) -> None:
        """jobs: what to scrape, by the job's name; rules: text of a file of rules; every: from scrape to scrape.

        Raises NoPrometheusError.
        """
        found = shutil.which("prometheus")
        if found is None:
            raise NoPrometheusError("no prometheus here: it is in Debian's package prometheus")
        config = folder / "prometheus.yml"
        if rules is not None:
            (folder / "rules.yml").write_text(rules)
        head = CONFIG.format(every=every, rules="" if rules is None else "rules.yml")
        config.write_text(head + "".join(map(_job, jobs.items())))
        port = free_port()
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                found,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10)

    def wait_scraped(self, times: int, *programs: Program) -> None:
        """Until each of the programs, or of all, was scraped well so many times."""
        which = f'instance=~"{"|".join(map(_target, programs))}"' if programs else ""

        def scraped() -> bool:
            assert self._process.poll() is None, "prometheus has ended"
            try:
                counts = self.query(f"sum_over_time(up{{{which}}}[1h])")
            except httpx.TransportError:
                return False
            return bool(counts) and min(counts) >= times

        wait_until(scraped, f"{times} scrapes", 60.0, every=0.2)

    def query(self, expr: str) -> list[float]:
        """The values, without NaN. Fails for what is no PromQL."""
        answer = self._client.get("/api/v1/query", params={"query": expr})
        if answer.status_code == 503:  # not ready yet
            return []
        found = answer.json()
        assert found["status"] == "success", f"{expr}: {found.get('error')}"
        values = [float(sample["value"][1]) for sample in found["data"]["result"]]
        return [value for value in values if not math.isnan(value)]

    def firing(self, since: float, *programs: Program) -> set[str]:
        """The names of alerts on these programs that fire now; of those on no program, if active since then."""
        ours = {*map(_target, programs)}
        return {
            alert["labels"]["alertname"]
            for alert in self._client.get("/api/v1/alerts").json()["data"]["alerts"]
            if alert["state"] == "firing"
            and (
                alert["labels"]["instance"] in ours
                if "instance" in alert["labels"]
                else datetime.fromisoformat(alert["activeAt"]).timestamp() >= since
            )
        }

    def close(self) -> None:
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._log.close()


def _job(each: tuple[str, Sequence[Program]]) -> str:
    name, programs = each
    targets = ", ".join(f"'{_target(program)}'" for program in programs)
    return f"  - {{job_name: {name}, static_configs: [{{targets: [{targets}]}}]}}\n"


def _target(program: Program) -> str:
    assert program.admin_url is not None
    return program.admin_url.partition("//")[2]
