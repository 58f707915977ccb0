"""What a service manager hears from real processes in the course of their lives."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.tunnel import Tunnel
from tests.support.waiting import wait_until

MakeTunnel = Callable[..., Tunnel]


class Manager:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, place: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "1000000"}
        self.lines: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(place))
        self._socket.setblocking(False)

    def wait(self, line: str) -> list[str]:
        """Wait for a line; all that came before it since the last call."""

        def there() -> bool:
            try:
                while line not in self.lines:
                    self.lines += self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return False
            return True

        wait_until(there, f"{line} (heard: {self.lines[-5:]})")
        place = self.lines.index(line)
        before, self.lines = self.lines[:place], self.lines[place + 1 :]
        return before

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_an_agent(make_tunnel: MakeTunnel, manager: Manager) -> None:
    tunnel = make_tunnel()
    agent = tunnel.agent
    agent.env.update(manager.environment)
    agent.start()
    assert manager.wait("READY=1") == [], "though there is no hub yet"
    manager.wait("WATCHDOG=1")
    tunnel.hub.start()
    before = manager.wait("STATUS=2 sessions at 1 hub; visits up; 0 requests running")
    assert any(line.startswith("STATUS=no session: ws://127.0.0.1") for line in before)
    agent.signal(signal.SIGHUP)
    manager.wait("RELOADING=1")
    manager.wait("READY=1")
    agent.terminate()
    manager.wait("STOPPING=1")
    assert agent.wait_exit() == 0


def test_a_hub(make_tunnel: MakeTunnel, manager: Manager) -> None:
    tunnel = make_tunnel()
    hub = tunnel.hub
    hub.env.update(manager.environment)
    hub.start()
    assert manager.wait("READY=1") == []
    assert hub.admin_status("/health/liveness") == 200, "its listeners are open"
    manager.wait("STATUS=0 agents, 0 sessions; visits without agent; 0 requests running")
    tunnel.agent.start()
    manager.wait("STATUS=1 agent, 2 sessions; visits up; 0 requests running")
    manager.wait("WATCHDOG=1")
    hub.signal(signal.SIGHUP)
    manager.wait("RELOADING=1")
    manager.wait("READY=1")
    hub.terminate()
    manager.wait("STOPPING=1")
    assert hub.wait_exit() == 0
