"""A real hub beside hostile agents: registered ones for a service of their own, and strangers.

Honest callers and an honest agent are served meanwhile; some callers use both services on one connection, so that
an answer which says more, or less, than it should would be taken for the honest one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from protocol import frames
from protocol.errors import SessionError
from protocol.handshake import AgentHandshake
from protocol.keys import generate as generate_key
from protocol.keys import load_private_key, parse_public_line
from protocol.limits import SUBPROTOCOL, Limits
from tests.hostility.evilsession import EvilSession
from tests.hostility.frames_of_agents import MOVES
from tests.hostility.frames_of_hubs import Numbers, damaged
from tests.hostility.hub import BELOW
from tests.hostility.ledger import LedgerUpstream, Seen
from tests.hostility.watch import Honest, Watch
from tests.reliability.report import Report
from tests.support.hostile import pack
from tests.support.keys import KeyRing
from tests.support.loop import backstage
from tests.support.rawhttp import Answer, BrokenAnswer, RawClient, Truncated
from tests.support.tunnel import HOST, Tunnel

ROGUE: Final = "rogue.internal"
LANES: Final = 24
CALLERS: Final = 8
LOUD: Final = 2000


class Rogues:
    """Hostile agents, `LANES` at a time, until `sessions` sessions are over."""

    def __init__(self, tunnel: Tunnel, keys: KeyRing, sessions: int, seed: int) -> None:
        self.begun = 0
        self.ended = 0
        self.shaken = 0
        self.opens = 0
        self.kinds: Counter[str] = Counter()
        self.problems: list[str] = []
        self.failed: list[str] = []
        self._port = tunnel.hub.agents_port
        self._key = load_private_key(keys.agent("rogue").file)
        self._stranger = generate_key()
        self._hub_key = parse_public_line(keys.hub().public)
        self._sessions = sessions
        self._seed = seed
        self._recorded: list[bytes] = []
        self._instances = [os.urandom(16) for _ in range(LANES)]
        self._done: Any = None

    def start(self) -> None:
        async def work() -> None:
            self._done = asyncio.gather(*(self._lane(lane) for lane in range(LANES)))

        backstage.run(work())

    def close(self) -> None:
        async def work() -> None:
            self._done.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._done

        backstage.run(work())

    async def _lane(self, lane: int) -> None:
        while self.begun < self._sessions:
            number, self.begun = self.begun, self.begun + 1
            try:
                async with asyncio.timeout(30):
                    await self._one(number, lane)
            except (ConnectionClosed, InvalidHandshake, OSError, EOFError):
                self.kinds["refused below"] += 1
            except Exception:
                self.failed.append(f"session {number}: {traceback.format_exc(limit=-4)}")
            self.ended += 1

    async def _one(self, number: int, lane: int) -> None:
        rng = random.Random(f"agent {self._seed} {number}")
        socket = await connect(
            f"ws://127.0.0.1:{self._port}/tunnel",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            proxy=None,
            ping_interval=None,
            max_size=None,
            close_timeout=1,
            open_timeout=15,
        )
        session = EvilSession(socket, number)
        try:
            if rng.random() < 0.15:
                await self._strange(session, rng)
            else:
                await self._course(session, rng, lane)
        finally:
            await session.end()
            self._judge(session)

    def _judge(self, session: EvilSession) -> None:
        """What the hub has sent to the session is of its own service."""
        for frame in session.heard:
            if frame[0] == frames.OPEN:
                self.opens += 1
                if frame[4] != "rogue" or b"honest" in frame[8] or b"honest" in frame[12]:
                    self.problems.append(f"session {session.number} was given another's request: {frame}")
        if b"honest" in session.data:
            self.problems.append(f"session {session.number} was given another's body")

    # -- the handshake --------------------------------------------------------------------------------

    def _handshake(
        self, lane: int, *, name: str = "rogue", services: tuple[str, ...] = ("rogue",), key: Any = None
    ) -> AgentHandshake:
        return AgentHandshake(
            agent_id=name,
            instance_id=self._instances[lane],
            key=key or self._key,
            hub_keys=[self._hub_key],
            services=services,
            limits=Limits(),
            nonce=os.urandom(32),
            certificate_hash=None,
            software="hostile",
        )

    async def _strange(self, session: EvilSession, rng: random.Random) -> None:
        """Someone without a right to be here, or who behaves so; nobody of them may see a READY."""
        answer = pack(frames.ANSWER, 1, 1, 200, b"OK", [], 2, b"ok")
        kind = rng.choice(
            ("stranger", "unknown id", "another's id", "replay", "replay", "early", "flipped", "garbage", "half")
        )
        if kind == "replay" and not self._recorded:
            kind = "half"
        self.kinds[kind] += 1
        names = {"unknown id": "nobody", "another's id": "leeds-1"}
        key = self._stranger if kind in ("stranger", "unknown id") else None
        handshake = self._handshake(0, name=names.get(kind, "rogue"), key=key)
        hello = handshake.start()
        if kind == "garbage":
            for message in damaged(rng, Numbers(0)):
                await session.send(message)
        elif kind == "early" and rng.random() < 0.3:
            await session.send(rng.choice((answer, hello + answer, answer + hello)))
        elif kind == "replay":
            for message in self._recorded:
                await session.send(message)
        else:
            await session.send(hello)
            if kind != "half":
                await self._prove(session, rng, kind, handshake, answer)
        session.listen()
        await session.until(session.over.is_set, 0.5 if kind != "half" else 0.05)
        if any(frame[0] == frames.READY for frame in session.heard):
            self.problems.append(f"session {session.number}: a {kind} was let in")

    async def _prove(
        self, session: EvilSession, rng: random.Random, kind: str, handshake: AgentHandshake, answer: bytes
    ) -> None:
        async with asyncio.timeout(10):
            challenge = await session.socket.recv()
        assert isinstance(challenge, bytes)
        proof = handshake.receive(challenge)
        if kind == "flipped":
            at = rng.randrange(len(proof))
            proof = proof[:at] + bytes([proof[at] ^ 1 << rng.randrange(8)]) + proof[at + 1 :]
        elif kind == "early":
            proof = rng.choice((answer, proof + answer, answer + proof))
        await session.send(proof)

    # -- afterwards -----------------------------------------------------------------------------------

    async def _shake(self, session: EvilSession, handshake: AgentHandshake) -> bool:
        recorded = [handshake.start()]
        await session.send(recorded[0])
        try:
            while handshake.result is None:
                async with asyncio.timeout(10):
                    message = await session.socket.recv()
                assert isinstance(message, bytes)
                answer = handshake.receive(message)
                if answer:
                    recorded.append(answer)
                    await session.send(answer)
        except (ConnectionClosed, SessionError, TimeoutError):
            return False
        self._recorded = recorded
        session.listen()
        return True

    async def _course(self, session: EvilSession, rng: random.Random, lane: int) -> None:
        services = rng.choice((("rogue",), ("rogue",), ("visits", "rogue"), ("rogue", "nothing"), ("visits",), ()))
        handshake = self._handshake(lane, services=services)
        if not await self._shake(session, handshake):
            self.kinds["not let in"] += 1
            return
        self.shaken += 1
        if handshake.result is None or "visits" in handshake.result.services:
            self.problems.append(f"session {session.number} was accepted for a service that is not its own")
        session.grants_credit = rng.random() < 0.7
        session.answers_pings = rng.random() < 0.9
        known = 0
        for _ in range(rng.choice((1, 2, 2, 3, 4))):
            await session.until(lambda seen=known: len(_opened(session)) > seen, 0.06)  # type: ignore[misc]
            streams = _opened(session)
            known = len(streams)
            move = rng.choice(MOVES)
            self.kinds[move.__name__] += 1
            for message in move(rng, streams):
                await session.send(message)
            if session.over.is_set():
                return
        kind = rng.choice(("goodbye", "close", "abort", "below", "text", "silence"))
        self.kinds[f"end: {kind}"] += 1
        if kind == "goodbye":
            await session.send(pack(frames.GOODBYE, 0, "bye"))
        elif kind == "close":
            await session.socket.close(rng.choice((1000, 1001, 4000)))
        elif kind == "below":
            session.write(rng.choice(BELOW))
        elif kind == "text":
            await session.send("text")
        elif kind == "silence":
            session.answers_pings = False
            await session.until(session.over.is_set, 5 if rng.random() < 0.05 else 0.2)
        await session.until(session.over.is_set, rng.choice((0.0, 0.02, 0.1)))


def _opened(session: EvilSession) -> list[int]:
    return [frame[1] for frame in session.heard if frame[0] == frames.OPEN]


class Torn:
    """Callers that ask the hostile service and then, on the same connection, the honest one."""

    def __init__(self, tunnel: Tunnel, seed: int) -> None:
        self.statuses: Counter[str] = Counter()
        self.honest = 0
        self.wrong: list[str] = []
        self._tunnel = tunnel
        self._seed = seed
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(CALLERS)
        self._calls = [self._pool.submit(self._call, number) for number in range(CALLERS)]

    def close(self) -> None:
        self._stop.set()
        self._pool.shutdown()
        for call in self._calls:
            call.result()

    def _call(self, caller: int) -> None:
        rng = random.Random(f"torn {self._seed} {caller}")
        connection: RawClient | None = None
        number = 0
        while not self._stop.is_set():
            number += 1
            if connection is None:
                connection = self._tunnel.raw(timeout=20)
            try:
                usable = self._ask_hostile(connection, rng)
            except (BrokenAnswer, OSError) as error:
                usable = False
                if not isinstance(error, ConnectionError):
                    self.wrong.append(f"the hostile service's answer: {error!r}")
            except Truncated:
                self.statuses["cut"] += 1
                usable = False
            if not usable:
                connection.close()
                connection = self._tunnel.raw(timeout=20)
            if not self._ask_honest(
                connection, f"/nomisapi/visits/honest-torn-{caller}-{number}", fresh=not usable
            ):
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _ask_hostile(self, connection: RawClient, rng: random.Random) -> bool:
        """One request to the hostile service; whether the connection may be used further."""
        method = rng.choice(("GET", "GET", "POST", "PUT", "HEAD", "DELETE"))
        fields: list[str] = []
        body = b""
        if method in ("POST", "PUT"):
            body = b"r" * rng.choice((0, 3, 40_000, 300_000))
            fields.append(f"Content-Length: {len(body)}")
        elif rng.random() < 0.1:
            fields += ["Connection: Upgrade", "Upgrade: websocket"]
        connection.start(method, "/rogue", *fields, host=ROGUE, body=body)
        answer = connection.answer(method)
        for seen in (answer, *answer.interim):
            if seen.has("x-evil") or any(name.lower() == b"x-evil" for name, _ in seen.trailers):
                self.wrong.append(f"a field was smuggled in: {seen.raw_head!r}")
        self.statuses[str(answer.status)] += 1
        return answer.status != 101 and (answer.get("connection") or "").lower() != "close"

    def _ask_honest(self, connection: RawClient, target: str, *, fresh: bool) -> bool:
        answer: Answer | None = None
        try:
            answer = connection.get(target, "X-Case: honest", host=HOST)
        except (Truncated, ConnectionError) as error:
            if fresh or (isinstance(error, Truncated) and error.answer is not None):
                self.wrong.append(f"{target}: {error!r}")
            return False
        except (BrokenAnswer, OSError) as error:
            self.wrong.append(f"{target}: {error!r}")
            return False
        self.honest += 1
        if answer.status != 200 or answer.body != target.encode():
            self.wrong.append(f"{target}: {answer.raw_head + answer.body[:300]!r}")
            return False
        return True


def run(
    folder: Path,
    *,
    sessions: int = 10_000,
    seed: int = 1,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """`sessions` sessions of agents that mean harm, some registered, some not."""
    report = Report("evil-agent", {"sessions": sessions, "seed": seed})

    def judge(seen: Seen) -> str:
        return (
            "" if seen.case == b"honest" and seen.target.startswith(b"/nomisapi/visits/") else "nobody's request"
        )

    ledger = LedgerUpstream(judge, keep=False)
    keys = KeyRing(folder)
    tunnel = Tunnel(
        folder,
        keys,
        upstream_url=ledger.url,
        hub_options={
            "services": {"rogue": {"hosts": [ROGUE], "deadline": "2s", "hold": "300ms"}},
            "agents": {"rogue": {"public_keys": [keys.agent("rogue").public], "services": ["rogue"]}},
            "log": {"access": False, "level": "info" if sessions <= LOUD else "error"},
        },
    )
    rogues: Rogues | None = None
    try:
        tunnel.hub.start()
        tunnel.hub.wait_alive()
        tunnel.agent.start()
        tunnel.agent.wait_ready()
        with Honest(tunnel, "/nomisapi/visits") as honest:
            watch = Watch(report, tunnel.hub, (tunnel.hub, tunnel.agent))
            torn = Torn(tunnel, seed)
            rogues = Rogues(tunnel, keys, sessions, seed)
            rogues.start()
            watch.until(lambda: rogues.ended if rogues is not None else 0, sessions, progress)
            rogues.close()
            torn.close()
            honest.check(report)
        report.none("sessions that the honest agent lost", tunnel.agent.log().count("session ended"))
        watch.compare()
    finally:
        tunnel.close()
        ledger.close()
    report.at_least("sessions", rogues.ended, sessions)
    report.at_least("of them past the handshake", rogues.shaken, sessions // 2)
    report.at_least("requests that they were given", rogues.opens, sessions // 20)
    report.at_least("honest answers behind hostile ones", torn.honest, sessions // 20)
    report.none("wrong answers to callers of both", torn.wrong)
    report.none("strangers let in, requests of others given away", rogues.problems)
    report.none("what must not have reached the upstream", ledger.problems)
    report.none("mistakes of the scripts", rogues.failed)
    report.counts |= {
        "kinds": dict(rogues.kinds.most_common()),
        "hostile answers": dict(torn.statuses.most_common()),
    }
    return report
