"""A hub ends: its successor takes over without a refused connection, SIGTERM lets what runs end, within bounds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support import scripts
from tests.support.rawhttp import Answer
from tests.support.toml import to_toml
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, reply
from tests.support.waiting import PATIENCE, Gate, stays, wait_until

UNSENT = 500_000
"""Less than hub and kernel hold for a caller who does not read, so that the exchange itself is over."""

MakeTunnel = Callable[..., Tunnel]


@contextmanager
def flood(tunnel: Tunnel) -> Iterator[list[Answer | OSError]]:
    """New connections all the time, one request on each; what became of each."""
    stop = threading.Event()
    seen: list[Answer | OSError] = []

    def call() -> None:
        while not stop.is_set():
            try:
                seen.append(tunnel.fetch("/x", method="POST", body=b"{}"))
            except OSError as error:
                seen.append(error)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)


def test_three_generations_without_a_refused_connection(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/x", reply())
    hub = tunnel.hub
    with flood(tunnel) as seen:
        for generation in range(2):
            gates = [Gate(), Gate()]
            path = f"/stream-{generation}"
            tunnel.upstream.on(path, scripts.slow_drip(2, gates))
            with tunnel.raw() as caller:
                caller.start("GET", path)
                gates[0].open()
                assert caller.head().status == 200
                assert caller.chunk() == b"piece-0\n"
                mark = hub.mark()
                first = hub.start_beside()
                assert '"took_over":true' in hub.wait_log('"event":"ready"', since=mark)
                assert first.poll() is None, "the old one ends after what it carries"
                count = len(seen)
                wait_until(lambda: len(seen) > count + 20, "service by the new one")  # noqa: B023
                if generation:
                    first.terminate()  # as a service manager may do besides; it drains already
                gates[1].open()
                assert caller.chunk() == b"piece-1\n"
                assert caller.chunk() == b""
            assert first.wait(10 * PATIENCE) == 0
    assert len(seen) > 50
    failed = [each for each in seen if isinstance(each, OSError) or each.status != 200]
    assert not failed, failed[:3]
    assert "Traceback" not in hub.log()
    assert len(tunnel.upstream.requests("/x")) == len(seen)


def test_who_does_not_become_a_successor_changes_nothing(make_tunnel: MakeTunnel) -> None:
    """Another hub id is refused; a successor that cannot start leaves the sockets where they are."""
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/x", reply())
    hub = tunnel.hub
    good = hub.config_file.read_text()

    hub.config_file.write_text(good.replace('id = "hub-1"', 'id = "hub-2"'))
    first = hub.start_beside()
    assert hub.wait_exit() == 1
    assert "the port is taken" in hub.log()
    hub.stand_for(first)
    assert tunnel.fetch("/x").status == 200

    taken = tunnel.agent.config["admin"]["listen"]
    config = {**hub.config, "listen": {**hub.config["listen"], "admin": taken}}
    hub.config_file.write_text(to_toml(config))
    mark = hub.mark()
    first = hub.start_beside()
    assert hub.wait_exit() == 1
    assert "listen.admin" in hub.wait_log("the port is taken", since=mark)
    hub.wait_log("a successor did not take over", since=mark)
    hub.stand_for(first)
    hub.config_file.write_text(good)
    for _ in range(5):
        assert tunnel.fetch("/x").status == 200
    assert tunnel.sessions() == 2
    mark = hub.mark()
    first = hub.start_beside()
    hub.wait_log('"took_over":true', since=mark)
    assert first.wait(10 * PATIENCE) == 0
    wait_until(lambda: tunnel.fetch("/x").status == 200, "service by the successor")


def test_sigterm_lets_what_runs_end(make_tunnel: MakeTunnel) -> None:
    """Idle callers are closed, busy ones hear `Connection: close`, a slow reader gets all of it, then exit 0."""
    size = 6_000_000
    tunnel = make_tunnel().start()
    tunnel.upstream.on("/x", reply())
    tunnel.upstream.on("/bulk", scripts.bulk_download(size))
    gate = Gate()

    async def slow(x: Exchange) -> None:
        await gate.passed()
        await x.answer(body=b"late")

    tunnel.upstream.on("/slow", slow)
    with tunnel.raw() as idle, tunnel.raw() as busy, tunnel.raw(receive_buffer=4096) as reader:
        assert not idle.get("/x").has("connection")
        busy.start("GET", "/slow")
        tunnel.upstream.wait_for("/slow")
        reader.start("GET", "/bulk")
        assert reader.head().status == 200
        tunnel.hub.terminate()
        assert idle.expect_closed() == "fin"
        stays(lambda: tunnel.hub.running, "it waits for what runs", 0.2)
        try:
            tunnel.fetch("/x", timeout=1)
        except OSError:
            pass
        else:
            raise AssertionError("a draining hub without a successor takes no connection")
        gate.open()
        answer = busy.answer()
        assert (answer.status, answer.body, answer.get("connection")) == (200, b"late", "close")
        assert len(reader.read_exactly(size - UNSENT)) == size - UNSENT
        stays(lambda: tunnel.hub.running, "the rest waits in the hub for its reader", 2.5)
        assert len(reader.read_exactly(UNSENT)) == UNSENT
    assert tunnel.hub.wait_exit() == 0
    assert "cut off" not in tunnel.hub.log()


def test_a_drain_is_bounded(make_tunnel: MakeTunnel) -> None:
    tunnel = make_tunnel(hub_options={"limits": {"drain_timeout": "1s"}}).start()
    tunnel.upstream.on("/hang", scripts.no_answer)
    with tunnel.raw() as caller:
        caller.start("GET", "/hang")
        received = tunnel.upstream.wait_for("/hang")
        began = time.monotonic()
        assert tunnel.hub.stop() == 0
        took = time.monotonic() - began
        assert 1.0 <= took < 1.0 + 4.0 * PATIENCE  # the rest is the end of callers and agents
        received.gone.wait(5)
        assert caller.read_to_end()[0] == b""
    assert "cut off by the drain timeout" in tunnel.hub.log()
