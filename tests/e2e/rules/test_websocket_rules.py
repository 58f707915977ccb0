"""RFC 6455 between agent and hub: a broken frame ends the websocket with its close code, at either end.

Each row is shown twice to the hub, before and after the session's handshake, and to the agent after it, because
different code reads the frames then.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed

from protocol.limits import MESSAGE_MAX
from tests.support.hostile import HostileAgent, HostileHub, HostileSession
from tests.support.keys import KeyRing
from tests.support.tunnel import Tunnel
from tests.support.waiting import wait_until

PROTOCOL, UNSUPPORTED, NOT_UTF8, TOO_BIG = 1002, 1003, 1007, 1009
MASK = b"\x37\xfa\x21\x3d"


@dataclass(frozen=True)
class Frames:
    """Some frames, each (first byte, payload); `wrong_mask`: masked where they must not be, or the reverse.

    announced: the length that the last frame claims, if not its payload's. code: of the close frame that answers.
    """

    rule: str
    name: str
    frames: tuple[tuple[int, bytes], ...]
    code: int = PROTOCOL
    wrong_mask: bool = False
    announced: int | None = None

    @property
    def id(self) -> str:
        return f"{self.rule}: {self.name}"

    def wire(self, *, masked: bool) -> bytes:
        last = len(self.frames) - 1
        return b"".join(
            _frame(first, payload, masked != self.wrong_mask, self.announced if number == last else None)
            for number, (first, payload) in enumerate(self.frames)
        )


def _frame(first: int, payload: bytes, masked: bool, announced: int | None) -> bytes:
    size = len(payload) if announced is None else announced
    bit = 0x80 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    return head + MASK + bytes(octet ^ MASK[index % 4] for index, octet in enumerate(payload))


def _close(code: int, reason: bytes = b"") -> tuple[int, bytes]:
    return 0x88, struct.pack("!H", code) + reason


ROWS: Final = [
    Frames("ws-masking", "of a binary frame", ((0x82, b"x"),), wrong_mask=True),
    Frames("ws-masking", "of an empty frame", ((0x82, b""),), wrong_mask=True),
    Frames("ws-masking", "of a ping", ((0x89, b"x"),), wrong_mask=True),
    Frames("ws-masking", "of a long frame", ((0x82, b"x" * 70_000),), wrong_mask=True),
    *(Frames("ws-reserved", f"bit {bit:#x}", ((0x82 | bit, b"x"),)) for bit in (0x40, 0x20, 0x10, 0x70)),
    *(Frames("ws-reserved", f"bit {bit:#x} of a ping", ((0x89 | bit, b"x"),)) for bit in (0x40, 0x20, 0x10)),
    *(Frames("ws-reserved", f"opcode {opcode}", ((0x80 | opcode, b"x"),)) for opcode in (3, 7, 11, 15)),
    Frames("ws-reserved", "a continuation of nothing", ((0x80, b"x"),)),
    Frames("ws-reserved", "a message inside another", ((0x02, b"x"), (0x82, b"y"))),
    Frames("ws-reserved", "text", ((0x81, b"x"),), UNSUPPORTED),
    Frames("ws-control", "a ping of 126 bytes", ((0x89, b"x" * 126),)),
    Frames("ws-control", "a pong of 126 bytes", ((0x8A, b"x" * 126),)),
    Frames("ws-control", "a close of 126 bytes", (_close(1000, b"x" * 124),)),
    Frames("ws-control", "a ping in pieces", ((0x09, b"x"),)),
    Frames("ws-control", "a close in pieces", ((0x08, struct.pack("!H", 1000)),)),
    Frames("ws-close-codes", "one byte", ((0x88, b"x"),)),
    *(Frames("ws-close-codes", str(code), (_close(code),)) for code in (0, 999, 1005, 1006, 1015, 2999, 5000)),
    Frames("ws-close-codes", "a reason that is not UTF-8", (_close(1000, b"\xff"),), NOT_UTF8),
    Frames("ws-cap", "a frame", ((0x82, b"x" * 64),), TOO_BIG, announced=MESSAGE_MAX + 1),
    Frames("ws-cap", "a frame of 2^62 bytes", ((0x82, b"x" * 64),), TOO_BIG, announced=1 << 62),
    Frames("ws-cap", "a message in pieces", ((0x02, b"x" * (MESSAGE_MAX - 1)), (0x80, b"x" * 2)), TOO_BIG),
    Frames("ws-cap", "a message in many pieces", ((0x02, b""), *[(0x00, b"x" * 200_000)] * 6), TOO_BIG),
]
IDS: Final = [row.id for row in ROWS]


def _assert_refused(agent: HostileAgent, row: Frames) -> None:
    agent.socket.socket.sendall(row.wire(masked=True))
    with contextlib.suppress(ConnectionClosed):
        while True:
            agent.socket.recv(15)
    received = agent.socket.protocol.close_rcvd
    assert received is not None, "no close frame"
    assert received.code == row.code


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_hub_before_the_handshake(tunnel: Tunnel, row: Frames) -> None:
    with HostileAgent(tunnel.hub.agents_port) as agent:
        _assert_refused(agent, row)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_hub_in_a_session(tunnel: Tunnel, keys: KeyRing, row: Frames) -> None:
    with HostileAgent(tunnel.hub.agents_port) as agent:
        agent.shake(keys.agent(), keys.hub())
        _assert_refused(agent, row)
    assert tunnel.hub.running


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[HostileHub]:
    """A hub whose sessions the tests break; the agent keeps sixteen, so that one is always there."""
    hub = HostileHub(keys.hub("hostile"), keys.agent())
    tunnel = Tunnel(tmp_path_factory.mktemp("besieged"), keys, sessions=1)
    tunnel.agent.config["hubs"].append(
        {"url": hub.url, "public_keys": [keys.hub("hostile").public], "sessions": 16}
    )
    tunnel.agent.write_config()
    tunnel.start()
    yield hub
    assert tunnel.agent.running
    assert "Traceback" not in tunnel.agent.log()
    tunnel.close()
    hub.close()


def _live(hub: HostileHub) -> HostileSession | None:
    return next((session for session in reversed(hub.sessions) if not session.ended.is_set()), None)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_the_agent_in_a_session(besieged: HostileHub, row: Frames) -> None:
    session = wait_until(lambda: _live(besieged), "a session of the agent's", 20)
    assert session is not None
    session.send_raw(row.wire(masked=False))
    assert session.ended.wait(15), "the agent keeps the websocket"
    assert session.close_code == row.code
