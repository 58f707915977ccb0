"""A real Prometheus that scrapes programs under test every second."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.support.ports import free_port
from tests.support.process import Program, clean_environment
from tests.support.waiting import wait_until

CONFIG = """\
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
"""


class NoPrometheusError(Exception):
    """Why there is none."""


class Prometheus:
    """Started when made; call `close` at the end."""

    def __init__(self, folder: Path, jobs: Mapping[str, Program]) -> None:
        """jobs: what to scrape, by the job's name. Raises NoPrometheusError."""
        found = shutil.which("prometheus")
        if found is None:
            raise NoPrometheusError("no prometheus here: it is in Debian's package prometheus")
        config = folder / "prometheus.yml"
        config.write_text(CONFIG + "".join(map(_job, jobs.items())))
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

    def wait_scraped(self, times: int) -> None:
        """Until every job was scraped well so many times."""

        def scraped() -> bool:
            assert self._process.poll() is None, "prometheus has ended"
            try:
                counts = self.query("sum_over_time(up[1h])")
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

    def close(self) -> None:
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._log.close()


def _job(each: tuple[str, Program]) -> str:
    name, program = each
    assert program.admin_url is not None
    _, _, target = program.admin_url.partition("//")
    return f"  - {{job_name: {name}, static_configs: [{{targets: ['{target}']}}]}}\n"
