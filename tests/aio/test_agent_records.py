"""What the agent's access lines say of exchanges that are not the ordinary ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protocol.errors import SessionCode, StreamCode
from protocol.events import Answered
from tests.aio.test_agent_signed import linked, post, send, sign
from tests.support.agent import HandLink
from tests.unit.egress.harness import SWITCH, Peer, both_loops, silent, until, upload
from tunnel_agent.killswitch import KillSwitch
from tunnel_agent.records import Records

STATUS, ORIGIN, CODE, DELIVERED, BYTES_IN = range(6, 11)
"""Places in an `AccessRecord`."""


def recorded(link: HandLink) -> list[Any]:
    """All that is written from now on."""
    written: list[Any] = []
    link.agent.records = Records(cast("Any", SimpleNamespace(enabled=True, write=written.append)))
    return written


@both_loops
async def test_a_signed_body_is_counted_whole(tmp_path: Path) -> None:
    async with linked(tmp_path, upload) as (link, _):
        written = recorded(link)
        body = b"x" * 5000 + b"."
        stream = post(link, body, body[:1000])
        link.turn()
        send(link, stream, [body[1000:3000], body[3000:]])
        await until(lambda: link.of(Answered), "the answer")
        await until(lambda: written, "the line")
        assert [(line[STATUS], line[CODE], line[BYTES_IN]) for line in written] == [(200, "", 5001)]


async def switched(peer: Peer) -> None:
    await peer.head()
    await peer.send(SWITCH)
    await silent(peer)


@pytest.mark.parametrize(
    ("way", "code", "origin"),
    [
        ("caller goes", "", "-"),
        ("switched off", "cancelled", "agent"),
        ("session lost", "session_lost", "tunnel"),
        ("hub failed", "internal", "hub"),
    ],
)
@both_loops
async def test_an_upgraded_connection_ends_well_only_when_its_caller_goes(
    tmp_path: Path, way: str, code: str, origin: str
) -> None:
    async with linked(tmp_path, switched, upgrades=["echo"]) as (link, _):
        written = recorded(link)
        fields = sign()
        stream = link.open(end=False, fields=fields, upgrade=b"echo")
        await until(lambda: link.of(Answered), "the switch")
        assert not written
        if way == "caller goes":
            link.hub.reset(stream, StreamCode.CANCELLED, link.loop.time())
            link.turn()
        elif way == "hub failed":
            link.hub.reset(stream, StreamCode.INTERNAL, link.loop.time())
            link.turn()
        elif way == "session lost":
            link.close(SessionCode.SILENT, "nothing was heard")
        else:
            KillSwitch(link.agent).turn("visits", on=False)
        await until(lambda: written, "the line")
        assert [(line[STATUS], line[CODE], line[ORIGIN]) for line in written] == [(101, code, origin)]
        assert (written[0][DELIVERED] == "yes") == (way == "caller goes")


@pytest.mark.parametrize("kept", [True, False], ids=["while its body is kept", "at the upstream"])
@both_loops
async def test_a_caller_that_goes_is_not_the_agents_doing(tmp_path: Path, kept: bool) -> None:
    async with linked(tmp_path, silent) as (link, server):
        written = recorded(link)
        stream = post(link, b"body", b"bo") if kept else link.open(fields=sign())
        link.turn()
        if not kept:
            await until(lambda: server.peers, "the request")
        link.hub.reset(stream, StreamCode.CANCELLED, link.loop.time())
        link.turn()
        await until(lambda: written, "the line")
        told = "no" if kept else "unknown"
        assert [(line[ORIGIN], line[CODE], line[DELIVERED]) for line in written] == [("hub", "cancelled", told)]
