"""The live tail of a running hub: what it shows, what it leaves out, whom it answers, and when it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_agent_changes import reload
from tests.e2e.test_audit import wait_line
from tests.support.process import clean_environment
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until
from tests.support.watcher import Watcher

MakeTunnel = Callable[..., Tunnel]


class Reader:
    """Reads a tail in the background."""

    def __init__(self, operator: Watcher, tunnel: Tunnel, **wanted: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.ended = threading.Event()
        self._socket: socket.socket | None = None
        self._client = operator.client(tunnel.hub)
        self._thread = threading.Thread(target=self._run, args=(wanted,), daemon=True)
        self._thread.start()
        wait_until(lambda: self.lines, "the tail to begin")
        assert self.lines[0] == {"tail": "begins", "hub": "hub-1"}

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [line for line in list(self.lines) if "tail" not in line]

    def wait(self, number: int) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.requests) >= number, f"{number} lines of the tail")
        return self.requests

    def _run(self, wanted: dict[str, str]) -> None:
        try:
            with self._client, self._client.stream("GET", "/api/tail", params=wanted) as answer:
                assert answer.status_code == 200
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                for line in answer.iter_lines():
                    self.lines.append(json.loads(line))
        except httpx.HTTPError:
            pass
        finally:
            self.ended.set()

    def close(self) -> None:
        """Go away without a word."""
        assert self._socket is not None
        self._socket.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def operator() -> Watcher:
    return Watcher()


@pytest.fixture
def watched(make_tunnel: MakeTunnel, operator: Watcher) -> Tunnel:
    tunnel = make_tunnel(
        hub_options={**operator.options, "audit": {"file": "hub-audit.jsonl"}, "log": {"format": "json"}},
        agent_service={"allow": ["GET /**", "POST /**"]},
    )
    tunnel.upstream.on("/fine/*", reply(200, body=b"fine"))
    tunnel.upstream.on("/broken/*", reply(503, body=b"broken"))
    return tunnel.start()


def test_shows_exactly_what_matches_while_load_runs(watched: Tunnel, operator: Watcher) -> None:
    """As the upstream's ledger and the access log have it."""
    failing = Reader(operator, watched, status="5xx", path="/broken/*")
    everything = Reader(operator, watched)
    posts = Reader(operator, watched, method="POST", service="visits", agent="leeds-1")
    mark = watched.hub.mark()

    def ask(number: int) -> None:
        kind = "broken" if number % 3 == 0 else "fine"
        method = "POST" if number % 2 else "GET"
        watched.fetch(f"/{kind}/{number}?q=pers0nal", method=method, body=b"x" if number % 2 else None)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(120)))
    ledger = [received for received in watched.upstream.ledger if received.path.startswith(("/fine/", "/broken/"))]
    assert len(ledger) == 120

    def told(reader: Reader, number: int) -> list[tuple[str, str]]:
        return sorted((line["method"], line["path"]) for line in reader.wait(number))

    def came(method: str = "", path: str = "") -> list[tuple[str, str]]:
        return sorted(
            (each.method.decode(), each.path)
            for each in ledger
            if each.method.decode().startswith(method) and each.path.startswith(path)
        )

    assert told(failing, 40) == came(path="/broken/")
    assert told(everything, 120) == came()
    assert told(posts, 60) == came(method="POST")
    logged = [json.loads(line) for line in watched.hub.log(mark).splitlines() if '"request_id"' in line]
    assert sorted(line["request_id"] for line in logged) == sorted(
        each["request_id"] for each in everything.requests
    )
    assert everything.requests[0] in logged, "a line of the tail is a line of the access log"
    assert not any("query" in line or "pers0nal" in str(line) for line in everything.lines)


def test_what_the_hub_refuses_by_itself_is_shown_too(watched: Tunnel, operator: Watcher) -> None:
    reader = Reader(operator, watched, status="4xx")
    watched.fetch("/x", host="unknown.example")
    with watched.raw() as caller:
        caller.send(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n")
        assert caller.answer().status == 400
    lines = reader.wait(2)
    assert [line.get("code") for line in lines] == ["no_such_service", "malformed_request"]


def test_query_strings_only_where_the_log_has_them(make_tunnel: MakeTunnel, operator: Watcher) -> None:
    tunnel = make_tunnel(hub_options={**operator.options, "log": {"query_strings": True}}).start()
    tunnel.upstream.on("/ok", reply())
    reader = Reader(operator, tunnel)
    tunnel.fetch("/ok?q=1")
    assert reader.wait(1)[0]["query"] == "q=1"


def test_only_for_operators(watched: Tunnel, operator: Watcher, make_tunnel: MakeTunnel) -> None:
    answer = watched.hub.admin("/api/tail")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    stranger = Watcher("mallory")
    assert stranger.get(watched.hub, "/api/tail", 401).text == "This is not the key of an operator.\n"
    nobody = make_tunnel().start()
    assert nobody.hub.admin("/api/tail").status_code == 403


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("status=6xx", '"6xx" is no status; write it as in "5xx", "404" or "500-503"'),
        ("service=vists", 'no service is called "vists"; did you mean "visits"?'),
        ("statsu=5xx", '"statsu" is nothing that requests can be chosen by; did you mean "status"?'),
    ],
)
def test_a_filter_that_means_nothing(watched: Tunnel, operator: Watcher, query: str, sentence: str) -> None:
    assert operator.get(watched.hub, f"/api/tail?{query}", 400).text == sentence + "\n"


def test_it_ends_when_its_operator_leaves_the_configuration(watched: Tunnel, operator: Watcher) -> None:
    reader = Reader(operator, watched)
    watched.fetch("/fine/1")
    reader.wait(1)
    watched.hub.config["admin"]["operators"] = Watcher("berta").options["admin"]["operators"]
    reload(watched.hub)
    watched.fetch("/fine/2")
    assert reader.ended.wait(20)
    assert [line["path"] for line in reader.requests] == ["/fine/1"]
    assert reader.lines[-1]["reason"] == "its operator has left the configuration"


def test_readers_are_bounded_and_their_places_are_freed(watched: Tunnel, operator: Watcher) -> None:
    readers = [Reader(operator, watched) for _ in range(8)]
    assert "8 readers" in operator.get(watched.hub, "/api/tail", 503).text
    for reader in readers:
        reader.close()

    def free() -> bool:
        with operator.client(watched.hub) as client, client.stream("GET", "/api/tail") as answer:
            return answer.status_code == 200

    wait_until(free, "a place for a reader")
    wait_line(watched.hub, "tail opened", operator="anna")


def test_a_slow_reader_loses_lines_is_told_so_and_slows_nobody(watched: Tunnel, operator: Watcher) -> None:
    """It takes nothing until there are more lines than its queue and the kernel hold; all callers are served."""
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(20)
        host, _, port = str(watched.hub.admin_url).removeprefix("http://").partition(":")
        slow.connect((host, int(port)))
        slow.sendall(
            f"GET /api/tail HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {operator.key}\r\n\r\n".encode()
        )
        data = bytearray(slow.recv(1024))
        assert b"200 OK" in data
        # 7 KB each: the kernel takes a few MB of lines, the queue 1,000.
        ask = f"GET /fine/{'x' * 7000} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode() * 50
        with watched.socket() as caller:
            for _ in range(60):
                caller.sendall(ask)
                answers = b""
                while answers.count(b"\r\n\r\nfine") < 50:
                    answers += caller.recv(1 << 16)
        while b'"tail":"dropped"' not in data[-100_000:]:
            piece = slow.recv(1 << 16)
            assert piece, "the stream ended before the reader was told of lost lines"
            data += piece


class TestCommand:
    """`tunnel-hub tail`."""

    @pytest.fixture
    def run(self, watched: Tunnel, operator: Watcher) -> Iterator[Callable[..., subprocess.Popen[str]]]:
        started: list[subprocess.Popen[str]] = []

        def start(*arguments: str, key: Path | None = None, port: int | None = None) -> subprocess.Popen[str]:
            config = watched.hub.config_file
            if port is not None:
                config = watched.directory / "elsewhere.toml"
                config.write_text(
                    watched.hub.config_file.read_text().replace(
                        watched.hub.config["listen"]["admin"], f"127.0.0.1:{port}"
                    )
                )
            env = {"TUNNEL_OPERATOR_KEY_FILE": str(key or operator.key_file(watched.directory))}
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tunnel_hub.cli", "tail", "--config", str(config), *arguments],
                    env=clean_environment(env),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            return started[-1]

        yield start
        for process in started:
            if process.poll() is None:
                process.kill()
            process.communicate()

    def test_one_readable_line_each_until_interrupted(
        self, run: Callable[..., subprocess.Popen[str]], watched: Tunnel
    ) -> None:
        process = run("--service", "visits", "--status", "5xx")
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "-- watching hub-1; Ctrl-C ends it\n"
        watched.fetch("/fine/1")
        watched.fetch("/broken/1?q=pers0nal")
        line = process.stdout.readline()
        assert "\x1b" not in line
        time, status, method, path, *rest = line.split()
        assert (status, method, path) == ("503", "GET", "/broken/1")
        assert time.endswith("Z")
        assert rest[:5] == ["visits", "from", "127.0.0.1", "by", "leeds-1"]
        assert rest[5].endswith("ms")
        assert rest[6].startswith("id=")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""

    def test_json_is_the_access_log(self, run: Callable[..., subprocess.Popen[str]], watched: Tunnel) -> None:
        process = run("--json", "--path", "/fine/**")
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"tail": "begins", "hub": "hub-1"}
        watched.fetch("/fine/1")
        line = process.stdout.readline()
        assert json.loads(line)["path"] == "/fine/1"
        wait_until(lambda: line in watched.hub.log(), "the same line in the access log")

    def test_it_follows_a_hub_that_starts_again(
        self, run: Callable[..., subprocess.Popen[str]], watched: Tunnel
    ) -> None:
        process = run("--json")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        watched.hub.stop()
        assert json.loads(process.stdout.readline()) == {"tail": "ends", "reason": "the hub stops"}
        assert process.stderr.readline().startswith("-- lost the hub (it ended the stream)")
        watched.hub.start()
        watched.wait_served()
        assert json.loads(process.stdout.readline())["tail"] == "begins"
        watched.fetch("/fine/2")
        assert json.loads(process.stdout.readline())["path"] == "/fine/2"

    def test_what_is_wrong_is_one_sentence(
        self, run: Callable[..., subprocess.Popen[str]], watched: Tunnel, tmp_path: Path
    ) -> None:
        wrong = run(key=Watcher("mallory").key_file(tmp_path))
        assert wrong.wait(10) == 1
        assert wrong.stderr is not None
        assert wrong.stderr.read() == "Error: This is not the key of an operator.\n"
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            away = run(port=taken.getsockname()[1])
            assert away.wait(10) == 3
        assert away.stderr is not None
        assert away.stderr.read().startswith("Error: no hub answers at http://127.0.0.1:")
        status = run("--status", "9xx")
        assert status.wait(10) == 2
        missing = run(key=tmp_path / "missing")
        assert missing.wait(10) == 2

    def test_who_reads_no_more_ends_it(self, run: Callable[..., subprocess.Popen[str]], watched: Tunnel) -> None:
        process = run()
        assert process.stderr is not None
        assert process.stdout is not None
        process.stderr.readline()
        process.stdout.close()

        def ended() -> bool:
            watched.fetch("/fine/1")
            return process.poll() is not None

        wait_until(ended, "the tail to end without a reader", every=0.2)
        assert process.returncode == 0
        process.stdout = open(os.devnull)  # noqa: SIM115 - for `communicate`
