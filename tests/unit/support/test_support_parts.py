"""The small parts of the harness: TOML writer, ports, TLS, waiting, programs."""

from __future__ import annotations

import signal
import socket
import tomllib
from pathlib import Path

import httpx
import pytest

from tests.support.blocked import BlockedPort
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.rawhttp import RawClient
from tests.support.tls import PrivateCA
from tests.support.toml import merge, to_toml
from tests.support.upstream import Upstream, reply
from tests.support.waiting import Gate, stays, wait_until

CONFIG = {
    "hub": {"id": "h", "count": 2, "ratio": 0.5, "on": True},
    "services": {"visits": {"hosts": ["a.b"], "odd key": 'quo"te\\'}},
    "hubs": [{"url": "ws://x", "nested": {"a": 1}}, {"url": "ws://y"}],
    "top": "level",
}


def test_toml_round_trip() -> None:
    assert tomllib.loads(to_toml(CONFIG)) == CONFIG


def test_merge_goes_deep_and_removes() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}, "d": 5}) == {
        "a": {"c": 2, "e": 4},
        "d": 5,
    }


def test_ports_differ_and_can_be_bound() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_waiting_is_bounded_and_says_what_for() -> None:
    with pytest.raises(AssertionError, match="the moon"):
        wait_until(lambda: False, "the moon", timeout=0.05)
    with pytest.raises(AssertionError, match="opens too early"):
        stays(lambda: False, "opens too early", 0.05)
    with pytest.raises(AssertionError, match="some gate"):
        Gate("some gate").wait(0.01)


def test_private_ca_is_trusted_only_by_those_told(tmp_path: Path) -> None:
    ca = PrivateCA(tmp_path)
    upstream = Upstream(tls=ca.server_context())
    upstream.on("/", reply(body=b"secret"))
    try:
        with RawClient(upstream.port, tls=ca.client_context()) as caller:
            assert caller.get("/").body == b"secret"
        with pytest.raises(httpx.ConnectError):
            httpx.get(upstream.url, trust_env=False)
    finally:
        upstream.close()


SERVER = """
import signal, sys, http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready soon", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    (tmp_path / "small_server.py").write_text(SERVER)
    port = free_port()
    made = Program("small", ["small_server", str(port)], tmp_path, {"PYTHONPATH": str(tmp_path)})
    made.admin_url = f"http://127.0.0.1:{port}"
    return made


def test_a_program_starts_pauses_and_stops(program: Program) -> None:
    program.start()
    try:
        program.wait_ready()
        assert program.wait_log("ready", "SOON")
        mark = program.mark()
        assert program.memory() > 1_000_000
        program.pause()
        with pytest.raises(httpx.ReadTimeout):
            program.admin("/", timeout=0.1)
        program.resume()
        program.wait_ready()
        assert "ready soon" not in program.log(mark)
        assert program.stop() == 0
    finally:
        program.close()


def test_a_killed_program_comes_back_on_its_port(program: Program) -> None:
    program.start()
    try:
        program.wait_ready()
        program.kill()
        assert program.process.returncode == -signal.SIGKILL
        assert program.admin_status("/") == 0
        program.start()
        program.wait_ready()
        assert program.starts == 2
    finally:
        program.close()


def test_a_program_that_ends_early_fails_at_once_with_its_log(tmp_path: Path) -> None:
    program = Program("nothing", ["no_such_module_at_all"], tmp_path)
    program.admin_url = "http://127.0.0.1:9"
    program.start()
    try:
        with pytest.raises(AssertionError, match="no_such_module_at_all"):
            program.wait_ready()
    finally:
        program.close()


def test_a_blocked_port_neither_accepts_nor_refuses() -> None:
    blocked = BlockedPort()
    try:
        with socket.socket() as client:
            client.settimeout(0.1)
            with pytest.raises(TimeoutError):
                client.connect(("127.0.0.1", blocked.port))
    finally:
        blocked.close()
