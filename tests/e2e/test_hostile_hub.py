"""A hostile hub gets nothing that the agent's own file does not allow, and costs other hubs nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol import frames
from protocol.errors import SessionCode, StreamCode
from protocol.ops import chain
from tests.support import scripts
from tests.support.hostile import HostileHub, HostileSession, open_frame, pack
from tests.support.keys import KeyRing
from tests.support.programs import Agent
from tests.support.tunnel import Tunnel
from tests.support.upstream import Exchange, Upstream, reply
from tests.support.waiting import stays, wait_until

V, F, L = SessionCode.PROTOCOL_ERROR, SessionCode.FLOW_CONTROL, SessionCode.LIMIT_EXCEEDED


async def deaf(x: Exchange) -> None:
    """Reads nothing of the request's body for a while."""
    await asyncio.sleep(20)


class Siege:
    """A sound tunnel whose agent also keeps a session to a hostile hub."""

    def __init__(self, tunnel: Tunnel, hub: HostileHub) -> None:
        self.tunnel = tunnel
        self.hub = hub
        self._used = 0

    @property
    def upstream(self) -> Upstream:
        return self.tunnel.upstream

    @property
    def agent(self) -> Agent:
        return self.tunnel.agent

    @property
    def audit(self) -> Path:
        return self.agent.config_file.parent / "audit.jsonl"

    def audited(self) -> list[dict[str, Any]]:
        """What the agent's audit says of the hostile hub."""
        whole = [line for line in self.audit.read_bytes().splitlines(keepends=True) if line.endswith(b"}\n")]
        return [line for line in map(json.loads, whole) if line.get("hub") == "hostile"]

    def session(self) -> HostileSession:
        """The agent's present session at the hostile hub."""
        wait_until(lambda: any(not session.ended.is_set() for session in self.hub.sessions), "a session", 15)
        return next(session for session in reversed(self.hub.sessions) if not session.ended.is_set())


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Siege]:
    hub = HostileHub(keys.hub("hostile"), keys.agent())
    tunnel = Tunnel(
        tmp_path_factory.mktemp("siege"),
        keys,
        sessions=1,
        agent_service={"allow": ["GET /nomisapi/**", "POST /nomisapi/**"], "upgrades": ["websocket"]},
        agent_options={"audit": {"file": "audit.jsonl"}},
    )
    tunnel.agent.config["hubs"].append(
        {"url": hub.url, "public_keys": [keys.hub("hostile").public], "sessions": 16}
    )
    tunnel.agent.write_config()
    tunnel.upstream.on("/nomisapi/*", reply(body=b"in"))
    tunnel.upstream.on("/nomisapi/deaf", deaf)
    tunnel.start()
    yield Siege(tunnel, hub)
    tunnel.close()
    hub.close()


@pytest.fixture(autouse=True)
def _the_sound_hub_notices_nothing(siege: Siege) -> Iterator[None]:
    mark, agent_mark = siege.tunnel.hub.mark(), siege.agent.mark()
    yield
    assert siege.tunnel.fetch("/nomisapi/x").body == b"in"
    assert siege.agent.running
    assert "session ended" not in siege.tunnel.hub.log(mark)
    assert "Traceback" not in siege.agent.log(agent_mark)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", L),
        (b"\xc1", V),
        (pack(99), V),
        (pack(frames.PING, "x"), V),
        (pack(frames.PONG, 4711), V),
        (open_frame(2), V),
        (open_frame(0), V),
        (open_frame(2**31 + 1), V),
        (open_frame(3, b"/nomisapi/a") + open_frame(1, b"/nomisapi/a"), V),
        (open_frame(1, b"/nomisapi/a") + open_frame(1, b"/nomisapi/a"), V),
        (open_frame(1, b"/" + b"x" * 20_000), V),
        (open_frame(1, b"/", fields=[b"a"]), V),
        (open_frame(1, b"/", fields=[b"a", b"b" * 90_000]), L),
        (open_frame(1, b"/", flags=128), V),
        (open_frame(1, b"/", body=b"x" * 40_000), V),
        (pack(frames.ANSWER, 1, 1, 200, b"OK", [], 0, b""), V),
        (pack(frames.DATA, 1, 0, b"x"), V),
        (pack(frames.DRAIN, "x"), V),
        (b"".join(open_frame(2 * n + 1, b"/nomisapi/a", flags=2, method=b"POST") for n in range(2000)), L),
    ],
)
def test_a_broken_message_ends_the_session(siege: Siege, message: bytes, code: SessionCode) -> None:
    session = siege.session()
    session.send_bytes(message)
    session.expect_end(code)


def test_data_beyond_the_credit_ends_the_session(siege: Siege) -> None:
    session = siege.session()
    session.send_bytes(open_frame(1, b"/nomisapi/deaf", flags=2, method=b"POST"))
    for _ in range(20):
        session.send_bytes(pack(frames.DATA, 1, 0, b"x" * 32768) * 20)
    session.expect_end(F)


def test_a_reset_just_before_a_violation_still_cancels(siege: Siege) -> None:
    """RESET and nonsense in one message: the session ends, and so does the upstream call of that stream."""
    siege.upstream.on("/nomisapi/cancelled", scripts.no_answer)
    session = siege.session()
    session.send_bytes(open_frame(1, b"/nomisapi/cancelled", deadline=60_000))
    received = siege.upstream.wait_for("/nomisapi/cancelled")
    session.send_bytes(pack(frames.RESET, 1, StreamCode.CANCELLED, "") + b"\xc1")
    session.expect_end(V)
    received.gone.wait(5)


def test_a_flood_of_opens_and_resets_ends_the_session(siege: Siege) -> None:
    """The last message alone goes beyond the burst, however long the agent takes over the ones before."""
    session, streams = siege.session(), range(1, 1_000, 2)
    for stream in streams:
        session.send_bytes(
            open_frame(stream, b"/nomisapi/a", flags=2, method=b"POST") + pack(frames.RESET, stream, 1, "")
        )
    session.send_bytes(b"".join(pack(frames.RESET, stream, 1, "") for stream in streams) * 50)
    session.expect_end(L)


def test_a_silent_hub_is_left(siege: Siege) -> None:
    """A stream is open and PINGs stay unanswered: the agent gives the session up and its upstream call too."""

    async def hang(x: Exchange) -> None:
        await x.until_gone()

    siege.upstream.on("/nomisapi/hang", hang)
    session = siege.session()
    session.answer_pings = False
    session.send_bytes(open_frame(1, b"/nomisapi/hang", deadline=60_000))
    session.expect_end(SessionCode.SILENT)
    siege.upstream.wait_for("/nomisapi/hang").gone.wait(5)


@pytest.mark.bug(18)
@pytest.mark.parametrize(
    "wanted",
    [
        {"target": b"/heapdump"},
        {"target": b"/env"},
        {"target": b"/nomisapi/../env"},
        {"target": b"/nomisapi/%2e%2e/env"},
        {"target": b"//evil.example/nomisapi/x"},
        {"target": b"http://evil.example/nomisapi/x"},
        {"target": b"evil.example:443", "method": b"CONNECT"},
        {"target": b"/nomisapi/x", "method": b"DELETE"},
        {"target": b"/nomisapi/x", "method": b"TRACE"},
        {"target": b"/nomisapi/x", "method": b"GET /env HTTP/1.1\r\nX:"},
        {"target": b"/nomisapi/x HTTP/1.1\r\nHost: evil\r\n\r\nGET /env"},
        {"target": b"/nomisapi/x\r\nX-Evil: 1"},
        {"target": b"/nomisapi/x", "fields": [b"X-A", b"b\r\nX-Evil: 1"]},
        {"target": b"/nomisapi/x", "fields": [b"X-A: b\r\nX-Evil", b"1"]},
        {"target": b"/nomisapi/x", "fields": [b"X-Evil\0", b"1"]},
        {"target": b"/nomisapi/x", "service": "other"},
        {"target": b"/nomisapi/x", "upgrade": b"h2c", "flags": 0},
        {"target": b"/nomisapi/x", "upgrade": b"websocket\r\nX-Evil: 1", "flags": 0},
        {"target": b"/nomisapi/x", "body": b"four", "length": 2, "method": b"POST"},
        {"target": b"/nomisapi/x", "body": b"two", "length": 9, "method": b"POST"},
    ],
)
def test_what_the_file_does_not_allow_never_reaches_the_upstream(siege: Siege, wanted: dict[str, object]) -> None:
    """Scenario 14 of the callers: each is refused, and audited."""
    before, audited = len(siege.upstream.ledger), len(siege.audited())
    session = siege.session()
    session.send_bytes(open_frame(1, **wanted))  # type: ignore[arg-type]
    reset = wait_until(
        lambda: next((frame for frame in session.heard if frame[0] in (frames.RESET, frames.GOODBYE)), None),
        "a refusal",
    )
    assert reset is not None
    if reset[0] == frames.RESET:
        assert 16 <= reset[2] < 32, StreamCode(reset[2]).name
    stays(lambda: len(siege.upstream.ledger) == before, "the upstream hears nothing", 0.1)
    target = wanted["target"]
    assert isinstance(target, bytes)
    if reset[0] == frames.RESET:
        told = {
            "event": "boundary refused",
            "code": StreamCode(reset[2]).name,
            "path": target.decode(),
            "service": wanted.get("service", "visits"),
        }
        session.send(frames.GOODBYE, 0, "next")  # streams are numbered anew in the next session
    else:
        told = {"event": "session ended", "code": SessionCode(reset[1]).name}

    def found() -> bool:  # lines of an earlier test may still come
        return any(told.items() <= line.items() for line in siege.audited()[audited:])

    wait_until(found, f"{told} in the audit")
    assert session.ended.wait(10)
    assert chain.verify([siege.audit]).wrong is None


def test_a_flood_of_refusals_is_counted_in_the_audit(siege: Siege) -> None:
    audited, session, count = len(siege.audited()), siege.session(), 300
    for number in range(count):
        session.send_bytes(open_frame(2 * number + 1, b"/env?A1484AE", deadline=10_000))
    wait_until(lambda: sum(frame[0] == frames.RESET for frame in session.heard) == count, "the refusals")
    session.send(frames.GOODBYE, 0, "next")
    assert session.ended.wait(10)

    def told() -> int:
        whole = [line for line in siege.audit.read_bytes().splitlines(keepends=True) if line.endswith(b"}\n")]
        merged = [line for line in map(json.loads, whole) if line["event"] == "merged"]
        lines = siege.audited()[audited:]
        alone = [line for line in lines if line["event"] == "boundary refused" and line["path"] == "/env"]
        return len(alone) + sum(line["count"] for line in merged if "no rule" in line["reason"])

    wait_until(lambda: told() >= count, "each to be told or counted")
    assert b"A1484AE" not in siege.audit.read_bytes()


@pytest.mark.parametrize(
    "fields",
    [
        [b"Content-Length", b"999"],
        [b"Transfer-Encoding", b"chunked"],
        [b"Host", b"evil.example"],
        [b"Connection", b"X-A", b"X-A", b"1"],
        [b"Upgrade", b"websocket"],
        [b"Expect", b"100-continue"],
        [b"Proxy-Authorization", b"x"],
    ],
)
def test_framing_among_the_fields_never_reaches_the_upstream(siege: Siege, fields: list[bytes]) -> None:
    before = len(siege.upstream.ledger)
    session = siege.session()
    session.send_bytes(open_frame(1, b"/nomisapi/framing", fields=fields, authority=b"evil.example"))
    wait_until(
        lambda: any(frame[0] in (frames.RESET, frames.GOODBYE, frames.ANSWER) for frame in session.heard),
        "an answer or a refusal",
    )
    for received in siege.upstream.ledger[before:]:
        if received.path == "/nomisapi/framing":
            assert not received.has(fields[0].decode()) or fields[0] == b"Host"
            assert received.all("host") == [f"127.0.0.1:{siege.upstream.port}".encode()]
            assert b"evil" not in received.raw_head
    session.send(frames.GOODBYE, 0, "next")
    assert session.ended.wait(10)


def test_a_goodbye_is_followed_by_a_new_session(siege: Siege) -> None:
    session = siege.session()
    number = len(siege.hub.sessions)
    session.send(frames.GOODBYE, 0, "restart")
    assert session.ended.wait(10)
    siege.hub.wait_session(number + 1)
