"""Services that demand signatures: what is kept until it is verified, for how long, and what is said meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.errors import StreamCode
from protocol.events import Answered, InterimAnswered, StreamReset
from protocol.limits import Limits
from protocol.signatures.base import Signable
from protocol.signatures.sign import signature_fields
from protocol.stream import Stream
from tests.support.agent import HandLink, agent_config, agent_toml, make_agent
from tests.unit.egress.harness import OK, SWITCH, Peer, Script, Server, both_loops, serving, silent, until, upload
from tests.unit.signatures.signing import EC, ED, GET, POST, digest
from tunnel_agent.dial import Identity, own_key
from tunnel_agent.killswitch import KillSwitch
from tunnel_agent.reload import Reloader

KIB = 1024
MEMORY = 4 * KIB * KIB
REFUSED, NOT_DISPATCHED = StreamCode.SIGNATURE_REFUSED, StreamCode.NOT_DISPATCHED
COUNT = itertools.count()


@contextlib.asynccontextmanager
async def linked(
    folder: Path, script: Script, memory: int = MEMORY, limits: Any = None, **service: Any
) -> AsyncIterator[tuple[HandLink, Server]]:
    async with serving(script) as server:
        config = agent_config(
            folder,
            f"http://127.0.0.1:{server.port}",
            services={"visits": {"signers": ["booking"], **service}},
            signers={"booking": {"public_keys": [ED.public.line, EC.public.line]}},
            limits=limits or {},
        )
        agent = make_agent(config, memory=memory)
        try:
            yield HandLink(agent).establish(), server
        finally:
            await agent.services["visits"].upstream.close()
            agent.wheel.close()


def sign(method: bytes = b"GET", target: bytes = b"/x", body: bytes | None = None, key: Any = ED) -> list[bytes]:
    """The fields of a signed request; `body` may come in any framing."""
    fields = [] if body is None else [b"Content-Digest", digest(body)]
    described, signature = signature_fields(
        Signable(method, target, fields),
        key,
        "booking",
        GET if body is None else POST,
        created=int(time.time()),
        nonce=f"nonce-{next(COUNT):08}",
    )
    return [*fields, b"Signature-Input", described.encode(), b"Signature", signature.encode()]


def post(link: HandLink, body: bytes, first: bytes = b"", **parts: Any) -> Stream:
    """Open a stream for a signed POST of `body`, of which only `first` is sent yet."""
    parts = {"fields": sign(b"POST", body=body), "length": len(body), **parts}
    return link.open(first, end=False, method=b"POST", **parts)


def send(link: HandLink, stream: Stream, pieces: Sequence[bytes]) -> None:
    for index, piece in enumerate(pieces):
        link.hub.send(stream, piece, end=index == len(pieces) - 1)
        link.turn()


def resets(link: HandLink) -> list[tuple[int, str]]:
    return [(event.code, event.detail) for event in link.of(StreamReset)]


async def answers(link: HandLink, count: int) -> list[Any]:
    await until(lambda: len(link.of(Answered)) + len(link.of(StreamReset)) >= count, "an answer")
    assert not resets(link)
    return link.of(Answered)


@pytest.mark.parametrize("key", [ED, EC])
@both_loops
async def test_a_signed_request_passes_once(tmp_path: Path, key: Any) -> None:
    async with linked(tmp_path, lambda peer: peer.serve()) as (link, server):
        fields = sign(key=key)
        link.open(fields=fields)
        await answers(link, 1)
        link.open(fields=fields)
        link.open()
        link.turn()
        (replayed, why), (unsigned, what) = resets(link)
        assert (replayed, unsigned) == (REFUSED, REFUSED)
        assert "used before" in why
        assert "is not signed" in what
        assert len(server.heads) == 1
        assert link.agent.refusals.total() == 2
        assert len(link.agent.nonces) == 1


@both_loops
async def test_a_small_body_that_comes_with_the_head(tmp_path: Path) -> None:
    async with linked(tmp_path, upload) as (link, _):
        link.open(b"body.", method=b"POST", fields=sign(b"POST", body=b"body."), length=5)
        [answer] = await answers(link, 1)
        assert answer.body == b"body."
        assert link.agent.budget.used == 0


@pytest.mark.parametrize("chunked", [False, True])
@both_loops
async def test_a_body_beyond_the_window_is_kept_whole(tmp_path: Path, chunked: bool) -> None:
    """Credit comes back for what is kept, or the rest could never come."""
    body = bytes(range(47, 256)) * 3200 + b"."
    received = b""

    async def script(peer: Peer) -> None:
        nonlocal received
        await peer.head()
        received = await peer.reader.readuntil(b".")
        if chunked:
            received += await peer.reader.readuntil(b"0\r\n\r\n")
        await peer.send(OK)

    async with linked(tmp_path, script) as (link, server):
        assert len(body) > 2 * link.session.ours.window
        stream = post(link, body, body[:100], **({"length": None, "chunked": True} if chunked else {}))
        pieces = [body[at : at + 16 * KIB] for at in range(100, len(body), 16 * KIB)]
        for piece in pieces[:-1]:
            link.hub.send(stream, piece)
            link.turn()
        assert link.agent.budget.used == len(body) - len(pieces[-1])
        assert not server.peers, "nothing goes on before all is here"
        link.hub.send(stream, pieces[-1], end=True)
        await answers(link, 1)
        assert received == (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
        assert link.agent.budget.used == 0


@both_loops
async def test_a_body_has_a_bound(tmp_path: Path) -> None:
    body = b"x" * (64 * KIB + 1)
    async with linked(tmp_path, silent, limits={"signed_body_max": "64KiB"}) as (link, server):
        post(link, body)
        link.turn()
        stream = post(link, body, length=None, chunked=True)
        send(link, stream, [body[: 32 * KIB], body[32 * KIB : 64 * KIB], body[64 * KIB :]])
        assert [code for code, _ in resets(link)] == [StreamCode.INVALID_REQUEST] * 2
        assert all("longer than 65536 bytes" in why for _, why in resets(link))
        assert not server.peers
        assert link.agent.budget.used == 0


@both_loops
async def test_memory_for_bodies_has_a_bound(tmp_path: Path) -> None:
    async with linked(tmp_path, silent, memory=40 * KIB) as (link, _):
        body = b"x" * 32 * KIB
        first, second = post(link, body + b"y"), post(link, body + b"y")
        link.hub.send(first, body)
        link.turn()
        link.hub.send(second, body)
        assert [code for code, _ in resets(link)] == [StreamCode.OVERLOADED]
        assert not first.closed
        assert link.agent.budget.used == 32 * KIB
        link.reset(first)
        assert link.confirmed == [NOT_DISPATCHED]
        assert link.agent.budget.used == 0


@both_loops
async def test_another_body_is_refused_and_the_right_one_may_still_come(tmp_path: Path) -> None:
    async with linked(tmp_path, upload) as (link, server):
        fields = sign(b"POST", body=b"right.")
        for wrong in (b"wrong.", b"right. ", b"right", b""):
            for framing in ({"length": len(wrong)}, {"chunked": True}):
                link.open(wrong, method=b"POST", fields=fields, **framing)
                stream = link.open(end=False, method=b"POST", fields=fields, **framing)
                send(link, stream, [wrong])
        assert len(resets(link)) == 16
        assert {code for code, _ in resets(link)} == {REFUSED}
        assert all("does not have the sha-256" in why for _, why in resets(link))
        link.events.clear()
        assert not server.peers
        link.open(b"right.", method=b"POST", fields=fields, length=6)
        await answers(link, 1)


@both_loops
async def test_a_digest_without_its_body_is_refused(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, _):
        link.open(method=b"POST", fields=sign(b"POST", body=b"right."))
        link.open(method=b"POST", fields=sign(b"POST", body=b"right."), length=0)
        assert [code for code, _ in resets(link)] == [REFUSED] * 2


@both_loops
async def test_a_reset_while_it_is_kept(tmp_path: Path) -> None:
    async with linked(tmp_path, upload) as (link, server):
        fields = sign(b"POST", body=b"body.")
        stream = post(link, b"body.", b"bo", fields=fields)
        link.turn()
        assert len(link.agent.wheel) == 1
        link.reset(stream)
        assert link.confirmed == [NOT_DISPATCHED]
        assert link.agent.budget.used == 0
        assert len(link.agent.nonces) == 0
        assert len(link.agent.wheel) == 0, "no timer is left"
        assert not server.peers
        post(link, b"body.", b"bo", fields=fields)
        link.turn()
        assert len(link.agent.nonces) == 1, "what was not dispatched may come again"
        link.close(0, "lost")  # type: ignore[arg-type]
        assert link.agent.budget.used == 0
        assert len(link.agent.nonces) == 0


@both_loops
async def test_the_deadline_holds_while_it_is_kept(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, server):
        post(link, b"body.", b"bo", deadline_ms=30)
        link.turn()
        await until(lambda: resets(link), "the deadline passes")
        [(code, why)] = resets(link)
        assert code == NOT_DISPATCHED
        assert "deadline" in why
        assert not server.peers
        assert link.agent.budget.used == 0


@both_loops
async def test_what_is_left_of_the_deadline_holds_afterwards(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, server):
        stream = post(link, b"body.", b"bo", deadline_ms=300)
        link.turn()
        send(link, stream, [b"dy."])
        await until(lambda: resets(link), "the deadline passes")
        assert resets(link)[0][0] == StreamCode.DEADLINE
        assert len(server.peers) == 1
        assert len(link.agent.nonces) == 1, "it was dispatched"
        assert link.agent.budget.used == 0


@both_loops
async def test_the_signature_becomes_too_old_while_it_is_kept(tmp_path: Path) -> None:
    async with linked(tmp_path, silent, limits={"signature_window": "2s"}) as (link, server):
        post(link, b"body.", b"bo")
        link.turn()
        await until(lambda: resets(link), "the signature is too old")
        [(code, why)] = resets(link)
        assert code == REFUSED
        assert "too old before the body was complete" in why
        assert not server.peers


@both_loops
async def test_trailers_are_refused(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, server):
        stream = post(link, b"body.", b"body.", length=None, chunked=True)
        link.hub.end(stream, [b"X-Trailer", b"1"])
        [(code, why)] = resets(link)
        assert code == REFUSED
        assert "trailers" in why
        assert not server.peers
        assert link.agent.budget.used == 0


@both_loops
async def test_a_caller_that_waits_for_100_is_told_to_go_on(tmp_path: Path) -> None:
    async with linked(tmp_path, upload) as (link, server):
        stream = post(link, b"body.", expect=True)
        assert [event.status for event in link.of(InterimAnswered)] == [100]
        send(link, stream, [b"body."])
        await answers(link, 1)
        assert b"100-continue" not in server.heads[0]


@both_loops
async def test_what_reached_no_upstream_may_come_again(tmp_path: Path) -> None:
    async with linked(tmp_path, silent, upstream="http://127.0.0.1:9") as (link, _):
        fields = sign()
        for number in (1, 2):
            link.open(fields=fields)
            await until(lambda: len(resets(link)) == number, "no connection")  # noqa: B023
        assert {code for code, _ in resets(link)} == {StreamCode.CONNECT_FAILED}


@both_loops
async def test_what_may_have_reached_it_may_not(tmp_path: Path) -> None:
    async def closes(peer: Peer) -> None:
        await peer.head()

    async with linked(tmp_path, closes) as (link, _):
        fields = sign(b"POST")
        link.open(method=b"POST", fields=fields)
        await until(lambda: resets(link), "the upstream closes")
        link.open(method=b"POST", fields=fields)
        link.turn()
        assert [code for code, _ in resets(link)] == [StreamCode.UPSTREAM_CLOSED, REFUSED]


@both_loops
async def test_an_upgrade_is_signed_as_well(tmp_path: Path) -> None:
    async def switch(peer: Peer) -> None:
        await peer.head()
        await peer.send(SWITCH)
        assert await peer.reader.readexactly(4) == b"ping"
        await peer.send(b"pong")
        await peer.until_gone()

    async with linked(tmp_path, switch, upgrades=["echo"]) as (link, server):
        link.open(end=False, upgrade=b"echo")
        link.open(b"a", end=False, upgrade=b"echo", length=1, fields=sign(body=b"a"))
        link.turn()
        assert [code for code, _ in resets(link)] == [REFUSED] * 2
        link.events.clear()
        stream = link.open(end=False, upgrade=b"echo", fields=sign())
        [answer] = await answers(link, 1)
        assert answer.status == 101
        link.hub.send(stream, b"ping")
        link.turn()
        await until(lambda: link.turn() or b"pong" in [getattr(e, "body", b"") for e in link.events], "the pipe")
        link.reset(stream)
        assert link.confirmed == [StreamCode.NO_ERROR]
        assert len(server.peers) == 1


@both_loops
async def test_the_boundary_is_asked_first(tmp_path: Path) -> None:
    async with linked(tmp_path, silent) as (link, _):
        link.open(method=b"DELETE", fields=sign(b"DELETE"))
        assert [code for code, _ in resets(link)] == [StreamCode.BOUNDARY_REFUSED]
        assert len(link.agent.nonces) == 0


@both_loops
async def test_a_reload_changes_who_may_sign_and_forgets_no_nonce(tmp_path: Path) -> None:
    async with serving(lambda peer: peer.serve()) as server:
        url = f"http://127.0.0.1:{server.port}"
        tables: dict[str, Any] = {
            "services": {"visits": {"signers": ["booking"]}},
            "signers": {"booking": {"public_keys": [ED.public.line]}},
        }
        config = agent_config(tmp_path, url, **tables)
        agent = make_agent(config, memory=MEMORY)
        identity = Identity("leeds-1", own_key(config), agent.services, Limits())
        supervisor: Any = SimpleNamespace(apply=lambda hubs, patience, renew: None)
        console: Any = SimpleNamespace(use=lambda admin: None)
        reloader = Reloader(
            config, tmp_path / "agent.toml", agent, supervisor, identity, console, KillSwitch(agent)
        )
        link = HandLink(agent).establish()

        async def reload(**changed: Any) -> None:
            (tmp_path / "agent.toml").write_text(agent_toml(tmp_path, url, **changed))
            await reloader.reload()

        used = sign()
        link.open(fields=used)
        await answers(link, 1)
        link.open(fields=sign(key=EC))
        assert resets(link)[0][0] == REFUSED
        await reload(**tables | {"signers": {"booking": {"public_keys": [ED.public.line, EC.public.line]}}})
        link.events.clear()
        link.open(fields=sign(key=EC))
        await answers(link, 1)
        link.open(fields=used)
        assert "used before" in resets(link)[0][1]
        await reload()
        link.events.clear()
        link.open()
        await answers(link, 1)
        assert len(server.peers) == 1, "the connection is kept"
        await reloader.stop()
        await agent.services["visits"].upstream.close()
        agent.wheel.close()
