"""A real agent beside a fully compromised hub: whatever that sends, only what the agent's file allows gets out.

An honest hub's callers are served through the same agent all the while.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Final

from protocol import frames
from protocol.keys import generate as generate_key
from tests.hostility.evilhub import EvilHub, HubSession
from tests.hostility.frames_of_hubs import MOVES, RULES, Numbers, damaged
from tests.hostility.ledger import LedgerUpstream, Seen
from tests.hostility.oracle import Rules
from tests.hostility.watch import Honest, Watch
from tests.reliability.report import Report
from tests.support.hostile import open_frame, pack
from tests.support.keys import KeyRing
from tests.support.leaksearch import named
from tests.support.ports import free_port
from tests.support.tunnel import Tunnel

ENTRIES: Final = 4
SESSIONS_EACH: Final = 16
KEPT: Final = 2000
"""Sessions whose requests are remembered for the ledger; by then the agent has long cancelled them."""
LOUD: Final = 2000
"""Up to so many sessions the agent logs every refusal."""
SECRET: Final = named("the upstream's key", "upstream-api-key-3vqkZ7")


class Compromised:
    """The script of all sessions of one run, and the judge of what reaches the upstream."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.kinds: Counter[str] = Counter()
        self.shaken = 0
        self.opened = 0
        self._rules = Rules(RULES)
        self._numbers: OrderedDict[int, Numbers] = OrderedDict()
        self._challenge = b""

    def judge(self, seen: Seen) -> str:
        """What is wrong with a request that reached the upstream."""
        if not self._rules.allow(seen.method, seen.target):
            return "not on the allow list"
        names = [name.lower() for name, _ in seen.fields]
        if b"x-evil" in names:
            return "a field was smuggled in"
        secrets = [value for name, value in seen.fields if plain(name) == b"x-secret"]
        if secrets != [SECRET.encode()] or any(plain(name) == b"x-secret" for name, _ in seen.trailers):
            return "the agent's own field has company, or is missing"
        session, _, _ = seen.case.partition(b".")
        numbers = self._numbers.get(int(session)) if session.isdigit() else None
        if numbers is not None and numbers.targets.get(seen.case) != (seen.method, seen.target):
            return "not as any hub sent it"
        if session in (b"smuggled", b"early"):
            return "this was hidden in something else, or sent before the handshake's end"
        return ""

    async def script(self, session: HubSession) -> None:
        rng = random.Random(f"hub {self.seed} {session.number}")
        if rng.random() < 0.12:
            await self._handshake(session, rng)
        elif await session.shake():
            self.shaken += 1
            numbers = self._numbers[session.number] = Numbers(session.number)
            if len(self._numbers) > KEPT:
                self._numbers.popitem(last=False)
            await self._course(session, rng, numbers)
            self.opened += len(numbers.opened)

    # -- before the handshake is over -----------------------------------------------------------------

    async def _handshake(self, session: HubSession, rng: random.Random) -> None:
        """The agent waits for a CHALLENGE of the pinned key, then for READY: it gets something else."""
        early = open_frame(1, b"/open/end", fields=[b"X-Case", b"early"])
        kind = rng.choice(
            (
                "silence",
                "half",
                "garbage",
                "replay",
                "another key",
                "early",
                "early",
                "unasked",
                "ready",
                "flipped",
            )
        )
        if kind == "silence" and rng.random() < 0.9:
            kind = "half"  # a silent hub holds one of the agent's sessions for 8 s
        self.kinds[kind] += 1
        async with asyncio.timeout(15):
            hello = await session.socket.recv()
        assert isinstance(hello, bytes)
        handshake = session.hub.handshake(generate_key() if kind == "another key" else None)
        challenge = handshake.receive(hello)
        if kind == "silence":
            session.listen()
            await session.until(session.over.is_set, 12)
        elif kind == "garbage":
            for message in damaged(rng, Numbers(0)):
                await session.send(message)
        elif kind == "replay":
            await session.send(self._challenge or early)
        elif kind == "early":
            await session.send(rng.choice((early, challenge + early, early + challenge)))
        elif kind == "unasked":
            await session.send(pack(frames.READY, os.urandom(16), ["visits"]))
            await session.send(early)
        elif kind == "flipped":
            at = rng.randrange(len(challenge))
            await session.send(
                challenge[:at] + bytes([challenge[at] ^ 1 << rng.randrange(8)]) + challenge[at + 1 :]
            )
        elif kind != "half":
            await self._ready(session, rng, challenge, early)
        session.listen()
        await session.until(session.over.is_set, 0.3)
        self._challenge = challenge

    async def _ready(self, session: HubSession, rng: random.Random, challenge: bytes, early: bytes) -> None:
        """A CHALLENGE, perhaps of another key, and a READY that says nonsense or has a request behind it."""
        await session.send(challenge)
        ready = rng.choice(
            (
                pack(frames.READY, os.urandom(16), ["visits"]) + early,
                early,
                pack(frames.READY, os.urandom(16), ["visits", "other"]) + early,
                pack(frames.READY, b"short", ["visits"]),
                pack(frames.READY, os.urandom(16), ["visits"] * 300),
                pack(frames.READY, os.urandom(16), None),
                pack(frames.GOODBYE, 17, "who?"),
            )
        )
        await session.send(ready)

    # -- afterwards -----------------------------------------------------------------------------------

    async def _course(self, session: HubSession, rng: random.Random, numbers: Numbers) -> None:
        session.grants_credit = rng.random() < 0.7
        session.answers_pings = rng.random() < 0.9
        for _ in range(rng.choice((1, 1, 2, 3, 5))):
            move = rng.choice(MOVES)
            self.kinds[move.__name__] += 1
            for message in move(rng, numbers):
                await session.send(message)
            if session.over.is_set():
                return
            if rng.random() < 0.5:
                await session.until(lambda: session.settled >= set(numbers.opened), 0.05)
        if rng.random() < 0.6:
            await session.until(lambda: session.settled >= set(numbers.opened), 0.2)
        await self._end(session, rng)

    async def _end(self, session: HubSession, rng: random.Random) -> None:
        kind = rng.choice(("goodbye", "close", "abort", "below", "below", "text", "silence", "fragment"))
        if kind == "silence" and rng.random() < 0.85:
            kind = "abort"  # silence takes an agent 3 s to notice while streams wait
        self.kinds[f"end: {kind}"] += 1
        if kind == "goodbye":
            await session.send(pack(frames.GOODBYE, rng.choice((0, 1, 6, 7, 17)), "bye"))
        elif kind == "close":
            await session.socket.close(rng.choice((1000, 1001, 4000, 4999)))
        elif kind == "text":
            await session.send("text")
        elif kind == "silence":
            session.answers_pings = False
            await session.send(open_frame(numbers_after(session), b"/nomisapi/kinds/hang", service="nothing"))
            await session.until(session.over.is_set, 6)
        elif kind == "below":
            session.write(rng.choice(BELOW))
        elif kind == "fragment":
            session.write(b"\x02\x7e\xff\xff" + b"x" * rng.choice((10, 65_535)))
        await session.until(session.over.is_set, rng.choice((0.0, 0.02, 0.1)))


BELOW: Final = (
    *(b"\xff" * 64, b"\x82\xff" + b"\xff" * 8, b"\x82\x7f" + b"\xff" * 8, b"\x82\x7f\0\0\0\0\x7f\xff\xff\xff"),
    *(b"\x89\x7e\x00\x80" + b"p" * 128, b"\x00\x01x", b"\x82\x85aaaahello", b"\x88\x01x", b"\x88\x02\x00\x00"),
    *(
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x89\x7dp" * 40,
        b"\xc2\x01x",
        b"\x83\x00",
        b"\x8a\x00" * 200,
        b"\x82\x7e\xff",
    ),
)
"""Bytes below the messages: reserved bits, masked frames from a server, lengths without end, broken frames."""


def plain(name: bytes) -> bytes:
    """As servers see a name that take every punctuation mark in it for the same."""
    return re.sub(rb"[^a-z0-9]", b"-", name.lower())


def numbers_after(session: HubSession) -> int:
    """A stream number that is certainly free."""
    return 100_001 + 2 * len(session.heard)


def run(
    folder: Path,
    *,
    sessions: int = 10_000,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """`sessions` sessions of a hub that has the pinned key and means harm."""
    report = Report("evil-hub", {"sessions": sessions, "seed": seed})
    evil = Compromised(seed)
    ledger = LedgerUpstream(evil.judge, keep=False)
    keys = KeyRing(folder)
    port = free_port()
    secret = folder / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    tunnel = Tunnel(
        folder,
        keys,
        upstream_url=ledger.url,
        sessions=2,
        agent_service={
            "allow": list(RULES),
            "headers": {"X-Secret": {"file": str(secret)}},
            "max_connections": 4000,
            "max_waiting": 100_000,
        },
        agent_options={
            "limits": {"reconnect_max": "200ms"},
            "log": {"level": "info" if sessions <= LOUD else "error"},
        },
    )
    tunnel.agent.config["hubs"] += [
        {
            "url": f"ws://127.0.0.1:{port}/tunnel/{entry}",
            "public_keys": [keys.hub("hostile").public],
            "sessions": SESSIONS_EACH,
        }
        for entry in range(ENTRIES)
    ]
    tunnel.agent.write_config()
    hub: EvilHub | None = None
    try:
        tunnel.start()
        with Honest(tunnel, "/nomisapi/visits") as honest:
            watch = Watch(report, tunnel.agent, (tunnel.hub, tunnel.agent))
            hub = EvilHub(keys.hub("hostile"), keys.agent(), evil.script, port=port)
            watch.until(lambda: hub.ended if hub is not None else 0, sessions, progress)
            hub.close()
            honest.check(report)
        report.none("sessions that the honest hub lost", tunnel.hub.log().count("session ended"))
        watch.compare()
    finally:
        if hub is not None:
            hub.close()
        tunnel.close()
        ledger.close()
    report.at_least("sessions", hub.ended, sessions)
    report.at_least("of them past the handshake", evil.shaken, sessions // 2)
    report.at_least("streams opened", evil.opened, sessions)
    report.at_least("requests that the upstream saw", ledger.count, sessions // 10)
    report.none("what must not have reached the upstream", ledger.problems)
    report.none("mistakes of the scripts", hub.failed)
    report.counts |= {"kinds": dict(evil.kinds.most_common()), "upstream's answers": dict(ledger.answers)}
    return report
