"""A hostile or broken agent loses its own session with a stated code; other agents and callers notice nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import msgpack  # type: ignore[import-untyped]
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from protocol import frames
from protocol.errors import SessionCode
from protocol.limits import SUBPROTOCOL, Limits
from tests.support.hostile import HostileAgent, pack
from tests.support.keys import KeyRing
from tests.support.problems import assert_problem
from tests.support.rawhttp import Answer
from tests.support.tunnel import Tunnel
from tests.support.upstream import reply
from tests.support.waiting import wait_until

ROGUE = "rogue.internal"
V, F, L = SessionCode.PROTOCOL_ERROR, SessionCode.FLOW_CONTROL, SessionCode.LIMIT_EXCEEDED


@pytest.fixture(scope="module")
def fortress(tmp_path_factory: pytest.TempPathFactory, keys: KeyRing) -> Iterator[Tunnel]:
    """A sound tunnel for `visits`; the hub also knows the agent `rogue` for the service `rogue`."""
    tunnel = Tunnel(
        tmp_path_factory.mktemp("fortress"),
        keys,
        hub_options={
            "services": {"rogue": {"hosts": [ROGUE], "deadline": "8s", "hold": "5s"}},
            "agents": {"rogue": {"public_keys": [keys.agent("rogue").public], "services": ["rogue"]}},
        },
    )
    tunnel.upstream.on("/sound", reply())
    tunnel.hub.start()
    tunnel.agent.start()
    tunnel.hub.wait_alive()
    tunnel.agent.wait_ready()
    wait_until(lambda: tunnel.fetch("/sound").status == 200, "the sound tunnel")
    yield tunnel
    tunnel.close()


@pytest.fixture(autouse=True)
def _others_notice_nothing(fortress: Tunnel) -> Iterator[None]:
    """The sound agent's sessions survive every test of this module, and its callers are served meanwhile."""
    mark = fortress.hub.mark()
    agent_mark = fortress.agent.mark()
    stop = threading.Event()
    answers: list[Answer] = []

    def call() -> None:
        while not stop.wait(0.02):
            answers.append(fortress.fetch("/sound", timeout=5))

    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(call)
        yield
        stop.set()
        calls.result()
    assert {answer.status for answer in answers} <= {200}
    assert fortress.fetch("/sound").status == 200
    assert fortress.hub.running
    assert "Traceback" not in fortress.hub.log(mark)
    for line in fortress.hub.log(mark).splitlines():
        assert not ("session ended" in line and "leeds-1" in line), line
    assert "session ended" not in fortress.agent.log(agent_mark)


@pytest.fixture
def rogue(fortress: Tunnel, keys: KeyRing) -> Iterator[HostileAgent]:
    """A session of the agent `rogue`, after a proper handshake."""
    with HostileAgent(fortress.hub.agents_port) as agent:
        agent.shake(keys.agent("rogue"), keys.hub(), "rogue", ["rogue"])
        yield agent


# -- the handshake ----------------------------------------------------------------------------------


@pytest.mark.bug(19)
@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\xc1",
        b"short",
        msgpack.packb({"agent": "rogue"}),
        pack(frames.HELLO),
        pack(frames.HELLO, 1, "rogue", b"", b"", None, "", [], {}),
        pack(frames.PROOF, bytes(64)),
        pack(frames.READY, bytes(16), ["rogue"]),
        pack(frames.PING, 1),
        pack(frames.ANSWER, 1, 1, 200, b"OK", [], 0, b""),
        b"x" * 100_000,
    ],
)
def test_a_broken_handshake_is_refused(fortress: Tunnel, first: bytes) -> None:
    with HostileAgent(fortress.hub.agents_port) as agent:
        agent.send_bytes(first)
        assert agent.expect_end(V)


@pytest.mark.bug(19)
def test_a_proof_by_another_key_is_refused(fortress: Tunnel, keys: KeyRing) -> None:
    from protocol.errors import SessionError

    for key, name in (("stranger", "rogue"), ("stranger", "nobody"), ("rogue", "leeds-1")):
        mark = fortress.hub.mark()
        with HostileAgent(fortress.hub.agents_port) as agent:
            with pytest.raises(SessionError) as refused:
                agent.shake(keys.agent(key), keys.hub(), name, ["rogue"])
            assert refused.value.code is SessionCode.NOT_REGISTERED
            fortress.hub.wait_log("refused", name, since=mark)


def test_another_version_is_refused(fortress: Tunnel) -> None:
    with HostileAgent(fortress.hub.agents_port) as agent:
        agent.send(frames.HELLO, 2, "whatever")
        assert "version" in agent.expect_end(SessionCode.BAD_VERSION)


def test_a_missing_subprotocol_or_another_path_is_refused(fortress: Tunnel) -> None:
    with pytest.raises(InvalidStatus) as refused:
        HostileAgent(fortress.hub.agents_port, subprotocol=None)
    assert refused.value.response.status_code == 400
    with pytest.raises(InvalidStatus) as refused:
        HostileAgent(fortress.hub.agents_port, subprotocol="tunnel.v9")
    assert refused.value.response.status_code == 400


def test_a_browser_is_refused(fortress: Tunnel) -> None:
    """RFC 6455 section 10.2: whoever has an Origin is a page, and no agent."""
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(
            fortress.hub.tunnel_url(),
            origin=Origin("https://example.org"),
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            proxy=None,
        ),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_silence_before_the_handshake_is_ended(fortress: Tunnel) -> None:
    """Sockets that never speak, ones that speak HTTP without end, websockets without a HELLO: none stays."""
    address = ("127.0.0.1", fortress.hub.agents_port)
    with socket.create_connection(address, 15) as silent, HostileAgent(fortress.hub.agents_port) as agent:
        with socket.create_connection(address, 15) as babbling, contextlib.suppress(OSError):
            babbling.settimeout(15)
            babbling.sendall(b"GET /tunnel HTTP/1.1\r\n" + b"X-A: b\r\n" * 100_000)
            while babbling.recv(65536):
                pass
        agent.expect_end(SessionCode.HANDSHAKE_TIMEOUT, farewell=False)
        silent.settimeout(15)
        while silent.recv(65536):
            pass


# -- frames -----------------------------------------------------------------------------------------


@pytest.mark.bug(7)
@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", L),
        (b"\xc1", V),
        (b"\x92\x0c", V),
        (msgpack.packb({"a": 1}), V),
        (msgpack.packb([12, msgpack.ExtType(1, b"x")]), V),
        (msgpack.packb(12), V),
        (b"\x91" * 5000 + b"\xc0", V),
        (b"\xdd\xff\xff\xff\xff", V),
        (b"\xc6\xff\xff\xff\xff", V),
        (pack(99), V),
        (pack(0), V),
        (pack("ping"), V),
        (pack(), V),
        (pack(frames.PING), V),
        (pack(frames.PING, 1, 2), V),
        (pack(frames.PING, "x"), V),
        (pack(frames.PING, -1), V),
        (pack(frames.PONG, 4711), V),
        (pack(frames.HELLO, 1), V),
        (pack(frames.OPEN, 2, 1, None, "rogue", b"r", b"GET", b"h", b"/", [], None, None, b""), V),
        (pack(frames.OPEN, 1, 1, None, "rogue", b"r", b"GET", b"h", b"/", [], None, None, b""), V),
        (pack(frames.ANSWER, 1, 1, 200, b"OK", [], 0, b""), V),
        (pack(frames.DATA, 1, 1, b"x"), V),
        (pack(frames.DATA, 2**40, 1, b"x"), V),
        (pack(frames.DATA, 0, 1, b"x"), V),
        (pack(frames.INTERIM, 1, 103, []), V),
        (pack(frames.TRAILERS, 1, []), V),
        (pack(frames.CREDIT, 1, 1), V),
        (pack(frames.RESET, 1, 1, ""), V),
        (b"x" * (1 << 20), V),
    ],
)
def test_a_broken_message_ends_the_session(rogue: HostileAgent, message: bytes, code: SessionCode) -> None:
    rogue.send_bytes(message)
    rogue.expect_end(code)


@pytest.mark.bug(7)
def test_a_giant_message_ends_the_session_only(rogue: HostileAgent) -> None:
    """Above the websocket's own cap the close code is websockets' (1009); below it is ours."""
    rogue.send_bytes(pack(frames.PING, 1) * 700_000)
    wait_until(lambda: _ended(rogue), "the end of the session")


def test_a_text_message_ends_the_session(rogue: HostileAgent) -> None:
    rogue.socket.send("hello")
    wait_until(lambda: _ended(rogue), "the end of the session")
    assert rogue.socket.close_code == 1003


def test_a_flood_of_pings_ends_the_session(rogue: HostileAgent) -> None:
    for number in range(500):
        rogue.send(frames.PING, number)
    rogue.expect_end(L)


def test_a_goodbye_ends_the_session_quietly(rogue: HostileAgent, fortress: Tunnel) -> None:
    rogue.send(frames.GOODBYE, 0, "thanks\x1b[31m\nfake log line")
    wait_until(lambda: _ended(rogue), "the end of the session")
    assert "\x1b[31m" not in fortress.hub.log()
    assert "\nfake log line" not in fortress.hub.log()


# -- streams ----------------------------------------------------------------------------------------


def _ended(agent: HostileAgent) -> bool:
    from websockets.exceptions import ConnectionClosed

    try:
        agent.receive_message(0.05)
    except ConnectionClosed:
        return True
    except TimeoutError:
        return False
    return False


def _answer(stream: int, body: bytes = b"", *, end: bool = True, length: int | None = None) -> bytes:
    return pack(frames.ANSWER, stream, int(end), 200, b"OK", [], length, body)


HEAD = _answer(1, end=False, length=None)
HEAD_ON_WIRE = b"HTTP/1.1 200"
PIECE = pack(frames.DATA, 1, 0, b"x" * 32768)

BAD_STREAMS: dict[str, tuple[bytes, SessionCode]] = {
    "data before the answer": (pack(frames.DATA, 1, 0, b"x"), V),
    "trailers before the answer": (pack(frames.TRAILERS, 1, []), V),
    "two answers": (HEAD + HEAD, V),
    "interim after the answer": (HEAD + pack(frames.INTERIM, 1, 103, []), V),
    "data after the end": (_answer(1) + pack(frames.DATA, 1, 0, b"x"), V),
    "answer after the reset": (pack(frames.RESET, 1, 1, "") + _answer(1), V),
    "empty data": (HEAD + pack(frames.DATA, 1, 0, b""), V),
    "unknown flags": (HEAD + pack(frames.DATA, 1, 64, b"x"), V),
    "giant data frame": (HEAD + pack(frames.DATA, 1, 0, b"x" * 40_000), V),
    "more than the credit": (HEAD + PIECE * 20, F),
    "no credit": (pack(frames.CREDIT, 1, 0), F),
    "negative credit": (pack(frames.CREDIT, 1, -5), F),
    "too many interims": (pack(frames.INTERIM, 1, 103, []) * 50, L),
    "odd fields": (pack(frames.ANSWER, 1, 1, 200, b"OK", [b"a"], None, b""), V),
    "text among the fields": (pack(frames.ANSWER, 1, 1, 200, b"OK", [b"a", "b"], None, b""), V),
    "too many fields": (pack(frames.ANSWER, 1, 1, 200, b"OK", [b"a", b"b"] * 400, None, b""), L),
    "fields too large": (pack(frames.ANSWER, 1, 1, 200, b"OK", [b"a", b"b" * 100_000], None, b""), L),
    "status as text": (pack(frames.ANSWER, 1, 1, "200", b"OK", [], None, b""), V),
    "interim as the final answer": (pack(frames.ANSWER, 1, 1, 103, b"OK", [], None, b""), V),
    "final answer as an interim": (pack(frames.INTERIM, 1, 200, []), V),
}


@pytest.mark.parametrize("name", BAD_STREAMS)
def test_a_broken_stream_ends_the_session(fortress: Tunnel, rogue: HostileAgent, name: str) -> None:
    """The caller is told 502 or sees an aborted answer; never a complete 200 made of nonsense."""
    wrong, code = BAD_STREAMS[name]
    # an array above msgpack's own limit is a PROTOCOL_ERROR, fields beyond their count are LIMIT_EXCEEDED
    codes = (V, L) if name == "too many fields" else (code,)
    with fortress.raw(timeout=15) as caller:
        caller.start("POST", "/x", "Connection: close", "Content-Length: 2", host=ROGUE, body=b"{}")
        assert rogue.next_frame(frames.OPEN)[1] == 1
        rogue.send_bytes(wrong)
        rogue.expect_end(*codes)
        data, _ = caller.read_to_end()
    while data.startswith(b"HTTP/1.1 103 "):  # interim answers before the nonsense were in order
        data = data.partition(b"\r\n\r\n")[2]
    if wrong.startswith(_answer(1)):  # there the answer was complete before the nonsense began
        assert data.startswith((b"HTTP/1.1 502", HEAD_ON_WIRE)), data
    else:
        data = data.removeprefix(b"HTTP/1.1 103 Early Hints\r\n\r\n" * data.count(b" 103 "))
        assert data.startswith((b"HTTP/1.1 502", HEAD_ON_WIRE)) or data == b"", data
        assert not (data.startswith(HEAD_ON_WIRE) and data.endswith(b"0\r\n\r\n")), data


@pytest.mark.parametrize("behind", [pack(frames.RESET, 1, 0, ""), pack(frames.DRAIN, 0)])
def test_a_reset_in_the_message_of_a_whole_answer_is_no_fault_of_the_hubs(
    fortress: Tunnel, rogue: HostileAgent, behind: bytes
) -> None:
    """The hub has all of the request's body, but no credit to send its end: both halves end with the message."""
    body = b"x" * 300_000
    with fortress.raw(timeout=15) as caller:
        caller.start("POST", "/x", f"Content-Length: {len(body)}", host=ROGUE, body=body)
        sent = len(rogue.next_frame(frames.OPEN)[12])
        while sent < Limits().window:
            sent += len(rogue.next_frame(frames.DATA)[3])
        assert fortress.fetch("/sound").status == 200  # by now the hub has read the rest
        rogue.send_bytes(_answer(1, b"ok", length=2) + behind)
        assert caller.answer().body == b"ok"


def test_credit_beyond_its_bound_ends_the_session(fortress: Tunnel, rogue: HostileAgent) -> None:
    with fortress.raw(timeout=15) as caller:
        caller.start("POST", "/x", "Transfer-Encoding: chunked", host=ROGUE, body=b"2\r\nok\r\n")
        rogue.next_frame(frames.OPEN)
        rogue.send_bytes(pack(frames.CREDIT, 1, 2**31) * 2)
        rogue.expect_end(F)
        assert_problem(caller.answer(), 502, delivered=None)


BAD_ANSWERS: dict[str, bytes] = {
    "status 0": pack(frames.ANSWER, 1, 1, 0, b"OK", [], 0, b""),
    "status 1000": pack(frames.ANSWER, 1, 1, 1000, b"OK", [], 0, b""),
    "CRLF in a value": pack(frames.ANSWER, 1, 1, 200, b"OK", [b"X-A", b"b\r\nX-Evil: c"], 0, b""),
    "LF in a value": pack(frames.ANSWER, 1, 1, 200, b"OK", [b"X-A", b"b\nX-Evil: c"], 0, b""),
    "CRLF in a name": pack(frames.ANSWER, 1, 1, 200, b"OK", [b"X-A: b\r\nX-Evil", b"c"], 0, b""),
    "space in a name": pack(frames.ANSWER, 1, 1, 200, b"OK", [b"X-Evil ", b"c"], 0, b""),
    "empty name": pack(frames.ANSWER, 1, 1, 200, b"OK", [b"", b"c"], 0, b""),
    "CRLF in the reason": pack(frames.ANSWER, 1, 1, 200, b"OK\r\nX-Evil: c", [], 0, b""),
    "body longer than its length": pack(frames.ANSWER, 1, 1, 200, b"OK", [], 2, b"long"),
    "body shorter than its length": pack(frames.ANSWER, 1, 1, 200, b"OK", [], 9, b"short"),
    "negative length": pack(frames.ANSWER, 1, 1, 200, b"OK", [], -1, b""),
    "an upgrade nobody asked for": pack(frames.ANSWER, 1, 0, 101, b"Up", [], None, b""),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_nonsensical_answer_never_reaches_the_caller_whole(
    fortress: Tunnel, rogue: HostileAgent, name: str
) -> None:
    with fortress.raw(timeout=15) as caller:
        caller.start("GET", "/x", "Connection: close", host=ROGUE)
        rogue.next_frame(frames.OPEN)
        rogue.send_bytes(BAD_ANSWERS[name])
        data, closing = caller.read_to_end()
    assert b"X-Evil" not in data
    if not data.startswith(b"HTTP/1.1 502"):
        assert data == b"" or closing == "reset" or b"Content-Length: 9" in data, data


@pytest.mark.parametrize(
    "smuggled",
    [
        [b"Content-Length", b"999"],
        [b"Transfer-Encoding", b"chunked"],
        [b"Connection", b"close, X-A", b"X-A", b"1"],
        [b"Upgrade", b"websocket"],
    ],
)
def test_framing_among_the_fields_never_reaches_the_caller(
    fortress: Tunnel, rogue: HostileAgent, smuggled: list[bytes]
) -> None:
    with fortress.raw(timeout=15) as caller:
        caller.start("GET", "/x", host=ROGUE)
        rogue.next_frame(frames.OPEN)
        rogue.send(frames.ANSWER, 1, 1, 200, b"OK", smuggled, 2, b"ok")
        answer = caller.answer()
        if answer.status == 200:
            assert answer.get("content-length") == "2"
            assert answer.body == b"ok"
            assert not answer.has("upgrade")
        else:
            assert_problem(answer, 502, delivered=None)


def test_an_agent_does_not_speak_in_the_hubs_name(fortress: Tunnel, rogue: HostileAgent) -> None:
    """Callers' software acts on what these say: that nothing was delivered, for example."""
    voice = [b"Tunnel-Delivered", b"no", b"proxy-status", b"hub-1; error=x", b"TUNNEL-New", b"1", b"X-Own", b"yes"]
    with fortress.raw(timeout=15) as caller:
        caller.start("POST", "/x", "Content-Length: 0", "Connection: close", host=ROGUE)
        number = rogue.next_frame(frames.OPEN)[1]
        rogue.send(frames.INTERIM, number, 103, voice)
        rogue.send(frames.ANSWER, number, 0, 503, b"Service Unavailable", voice, None, b"")
        rogue.send(frames.TRAILERS, number, voice)
        data, _ = caller.read_to_end()
    assert data.endswith(b"0\r\nX-Own: yes\r\n\r\n")
    assert data.count(b"X-Own: yes") == 3
    for word in (b"tunnel-", b"proxy-status"):
        assert word not in data.lower()


def test_an_agent_that_stops_answering_is_dead_after_some_seconds(fortress: Tunnel, rogue: HostileAgent) -> None:
    """Work waits and PINGs stay unanswered: the session ends as SILENT long before the caller's deadline."""
    with fortress.raw(timeout=15) as caller:
        caller.start("GET", "/x", host=ROGUE)
        rogue.next_frame(frames.OPEN)
        answer = caller.answer()
        assert answer.status in (502, 503)
        assert_problem(answer, answer.status, delivered=None)
    rogue.expect_end(SessionCode.SILENT)


def test_an_agent_serves_only_what_it_is_registered_for(fortress: Tunnel, keys: KeyRing) -> None:
    """`rogue` offers `visits` as well: it gets none of it."""
    with HostileAgent(fortress.hub.agents_port) as agent:
        agent.shake(keys.agent("rogue"), keys.hub(), "rogue", ["visits", "rogue"])
        for _ in range(20):
            assert fortress.fetch("/sound").status == 200
        with pytest.raises(TimeoutError):
            agent.next_frame(frames.OPEN, 0.2)


def test_opens_of_another_stream_survive_a_refused_one(fortress: Tunnel, rogue: HostileAgent) -> None:
    """A RESET of one stream is that caller's affair only."""
    with fortress.raw() as first, fortress.raw() as second:
        first.start("POST", "/first", "Content-Length: 0", host=ROGUE)
        one = rogue.next_frame(frames.OPEN)
        second.start("POST", "/second", "Content-Length: 0", host=ROGUE)
        two = rogue.next_frame(frames.OPEN)
        rogue.send(frames.RESET, one[1], 32, "closed")
        assert_problem(first.answer(), 502, delivered="unknown", code="upstream_closed")
        rogue.send_bytes(_answer(two[1], b"fine", length=4))
        assert second.answer().body == b"fine"
