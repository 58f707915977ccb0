"""Path variants against the matchers, through hub and agent, and straight at the agent from a hostile hub.

What may arrive is decided by `oracle` from the bytes sent. The hub has rules of its own for the caller, who shows
an API key: both lists must allow, and what the hub's does not allow must not get as far as the agent.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from protocol import frames
from protocol.errors import StreamCode
from protocol.http.allow import AllowList
from tests.hostility.evilhub import EvilHub, HubSession, Script
from tests.hostility.ledger import LedgerUpstream
from tests.hostility.oracle import Rules
from tests.hostility.variants import CALLER_RULES, RULES, Variant, generate
from tests.reliability.report import Report
from tests.support.credentials import api_key
from tests.support.hostile import open_frame
from tests.support.keys import KeyRing
from tests.support.ports import free_port
from tests.support.rawhttp import Answer, BrokenAnswer, Truncated
from tests.support.tunnel import HOST, Tunnel
from tests.support.waiting import PATIENCE, wait_until

CALLERS: Final = 4
PIPELINE: Final = 12
HUB_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND"})
"""Of those that are tried, what the hub's parser knows."""
BATCH: Final = 100
"""Streams that the hostile hub opens at once."""

_absolute = re.compile(rb"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


@dataclass
class Expected:
    """Decides what of a variant may arrive."""

    rules: Rules
    caller_rules: Rules

    def straight(self, variant: Variant) -> bytes | None:
        """The target that the upstream may see of an OPEN, or None: nothing."""
        return variant.target if self.rules.allow(*variant) else None

    def through(self, variant: Variant) -> bytes | None:
        """The same of a caller's request."""
        target = self.admitted(variant)
        return target if target is not None and self.rules.allow(variant.method, target) else None

    def admitted(self, variant: Variant) -> bytes | None:
        """What the hub may pass on; an absolute URI counts from its path on, if it names the service."""
        method, target = variant
        if method not in HUB_METHODS:
            return None
        absolute = _absolute.fullmatch(target)
        if absolute is not None:
            if not re.fullmatch(re.escape(HOST.encode()) + rb"\.?(:[1-9][0-9]*)?", absolute[1].lower()):
                return None
            target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
        return target if self.caller_rules.allow(method, target) else None


@dataclass
class Sweep:
    """One way for variants to go: what was sent, what came of it."""

    variants: list[Variant]
    expect: Callable[[Variant], bytes | None]
    admitted: Callable[[Variant], bytes | None] = lambda _variant: b""
    """What the hub may pass on."""
    waiting: deque[int] = field(default_factory=deque)
    again: set[int] = field(default_factory=set)
    """Sent more than once: the connection was closed behind a refused one."""
    problems: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.waiting.extend(range(len(self.variants)))

    def take(self, number: int) -> list[int]:
        """The next cases, at most `number`."""
        taken: list[int] = []
        while len(taken) < number:
            try:
                taken.append(self.waiting.popleft())
            except IndexError:
                break
        return taken

    def judge(self, report: Report, name: str, ledger: LedgerUpstream) -> None:
        """Hold the ledger against what was sent."""
        wrong: list[str] = list(ledger.problems)
        counts: Counter[int] = Counter()
        for seen in ledger.seen:
            case = int(seen.case) if seen.case.isdigit() and int(seen.case) < len(self.variants) else None
            if case is None:
                wrong.append(f"a request that nobody sent: {seen}")
                continue
            counts[case] += 1
            variant = self.variants[case]
            if seen.method != variant.method or self.expect(variant) != seen.target:
                wrong.append(f"{variant} arrived as {seen.method!r} {seen.target!r}")
        missing = [
            variant
            for case, variant in enumerate(self.variants)
            if self.expect(variant) is not None and not counts[case]
        ]
        doubled = [self.variants[case] for case, count in counts.items() if count > 1 and case not in self.again]
        report.note(f"{name}: variants", len(self.variants))
        report.at_least(f"{name}: arrived", len(counts), max(1, len(self.variants) // 100))
        report.none(f"{name}: arrived, but not as sent or not allowed", wrong)
        report.none(f"{name}: allowed, but did not arrive", missing)
        report.none(f"{name}: arrived twice", doubled)
        report.none(f"{name}: wrong answers", self.problems)
        report.counts[f"{name}: answers"] = dict(self.statuses.most_common())


def run(
    folder: Path,
    *,
    variants: int = 50_000,
    seed: int = 1,
    through: int | None = None,
    straight: int | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> Report:
    """through, straight: how many go through hub and agent, and straight at the agent; by default all."""
    report = Report("paths", {"variants": variants, "seed": seed, "through": through, "straight": straight})
    made = generate(variants, seed)
    expected = Expected(Rules(RULES), Rules(CALLER_RULES))
    match_all(report, "agent's matcher", made, RULES)
    match_all(report, "hub's matcher", made, CALLER_RULES)
    progress(f"{len(made)} variants matched")
    ledger = LedgerUpstream()
    keys = KeyRing(folder)
    hub_port = free_port()
    key = api_key()
    tunnel = Tunnel(
        folder,
        keys,
        upstream_url=ledger.url,
        service={"paths": None},
        hub_options={
            "callers": {
                "authentication": "required",
                "named": {"caller": {"api_keys": [key.hash], "allow": {"visits": list(CALLER_RULES)}}},
            }
        },
        agent_service={"allow": list(RULES)},
        agent_options={"limits": {"reconnect_max": "200ms"}, "log": {"level": "error"}},
    )
    tunnel.agent.config["hubs"].append(
        {
            "url": f"ws://127.0.0.1:{hub_port}/tunnel",
            "public_keys": [keys.hub("hostile").public],
            "sessions": 2,
        }
    )
    tunnel.agent.write_config()
    hub: EvilHub | None = None
    try:
        tunnel.start()
        sweep = Sweep(made[:through], expected.through, expected.admitted)
        _through(sweep, tunnel, key.field)
        sweep.judge(report, "through", ledger)
        progress(f"{len(sweep.variants)} variants through hub and agent")
        ledger.seen.clear()
        sweep = Sweep(made[:straight], expected.straight)
        hub = EvilHub(keys.hub("hostile"), keys.agent(), _opening(sweep), port=hub_port)
        wait_until(
            lambda: sum(sweep.statuses.values()) >= len(sweep.variants),
            "every variant to be settled at the agent",
            60 + len(sweep.variants) / 200,
        )
        sweep.judge(report, "straight", ledger)
        report.none("mistakes of the scripts", hub.failed)
        report.none("programs that ended", [p.name for p in (tunnel.hub, tunnel.agent) if not p.running])
        report.none("tracebacks", [p.name for p in (tunnel.hub, tunnel.agent) if "Traceback" in p.log()])
    finally:
        if hub is not None:
            hub.close()
        tunnel.close()
        ledger.close()
    return report


def match_all(report: Report, name: str, variants: Sequence[Variant], rules: Sequence[str]) -> None:
    """The product's matcher and the oracle say the same of every variant; `decide` agrees with `allows`."""
    oracle, matcher = Rules(rules), AllowList.compile(rules)
    allowed = 0
    wrong = []
    for variant in variants:
        right = oracle.allow(*variant)
        allowed += right
        if not right is matcher.allows(*variant) is matcher.decide(*variant).allowed:
            wrong.append(variant)
    report.note(f"{name}: allowed", allowed)
    report.none(f"{name}: decided otherwise than the oracle", wrong)


# -- through hub and agent ------------------------------------------------------------------------------------


def _through(sweep: Sweep, tunnel: Tunnel, field: str) -> None:
    lines = f"Host: {HOST}\r\n{field}\r\n".encode()
    lock = threading.Lock()
    with ThreadPoolExecutor(CALLERS) as pool:
        for done in [pool.submit(_call, sweep, tunnel, lines, lock) for _ in range(CALLERS)]:
            done.result()


def _call(sweep: Sweep, tunnel: Tunnel, lines: bytes, lock: threading.Lock) -> None:
    """Send cases until none is left, some at a time on one connection."""
    caller = tunnel.raw(timeout=20)
    while cases := sweep.take(PIPELINE):
        request = b"".join(
            b"%b %b HTTP/1.1\r\n%bX-Case: %d\r\n\r\n" % (*sweep.variants[case], lines, case) for case in cases
        )
        left = deque(cases)
        try:
            caller.send(request)
            while left:
                variant = sweep.variants[left[0]]
                answer = caller.answer(variant.method.decode())
                with lock:
                    _check(sweep, left[0], variant, answer)
                left.popleft()
        except (Truncated, ConnectionError) as cut:
            if isinstance(cut, Truncated) and cut.answer is not None:
                sweep.problems.append(f"{sweep.variants[left[0]]}: {cut}")
                left.popleft()
        except (BrokenAnswer, TimeoutError) as error:
            sweep.problems.append(f"{sweep.variants[left[0]]}: {error!r}")
            left.popleft()
        if left:
            caller.close()
            caller = tunnel.raw(timeout=20)
            sweep.again.update(left)
            sweep.waiting.extend(left)
    caller.close()


def _check(sweep: Sweep, case: int, variant: Variant, answer: Answer) -> None:
    sweep.statuses[str(answer.status)] += 1
    wanted = sweep.expect(variant)
    if wanted is None:
        if answer.status not in (400, 403, 404, 405, 501) or answer.get("tunnel-delivered") != "no":
            sweep.problems.append(f"{variant} must be refused, but: {answer.raw_head!r}")
        if sweep.admitted(variant) is None and variant.method != b"HEAD" and b'"origin":"hub"' not in answer.body:
            sweep.problems.append(f"{variant} must be refused by the hub, but: {answer.body!r}")
    elif answer.status != 200 or (variant.method != b"HEAD" and answer.get("x-case") != str(case)):
        sweep.problems.append(f"{variant} is allowed, but: {answer.raw_head + answer.body!r}")


# -- straight at the agent ------------------------------------------------------------------------------------


def _opening(sweep: Sweep) -> Script:
    """A script that opens a stream for every case there is and notes what the agent says to it."""

    async def script(session: HubSession) -> None:
        assert await session.shake()
        stream = 1
        while cases := sweep.take(BATCH):
            streams = {stream + 2 * at: case for at, case in enumerate(cases)}
            stream += 2 * len(cases)
            for opened, case in streams.items():
                method, target = sweep.variants[case]
                case_fields = [b"X-Case", b"%d" % case]
                await session.send(open_frame(opened, target, method=method, fields=case_fields, deadline=None))
            await session.until(partial(_all_settled, session, set(streams)), 20 * PATIENCE)
            for opened, case in streams.items():
                sweep.statuses[_note(sweep, session, opened, sweep.variants[case])] += 1
            session.heard.clear()
        await session.over.wait()

    return script


def _all_settled(session: HubSession, streams: set[int]) -> bool:
    return session.settled >= streams


def _note(sweep: Sweep, session: HubSession, stream: int, variant: Variant) -> str:
    frame = next((f for f in session.heard if f[0] in (frames.ANSWER, frames.RESET) and f[1] == stream), None)
    answered = frame is not None and frame[0] == frames.ANSWER
    if frame is None or answered is (sweep.expect(variant) is None) or not (answered or 16 <= frame[2] < 32):
        sweep.problems.append(f"{variant}: {frame}")
    if frame is None:
        return "nothing"
    return f"{frame[3]}" if answered else StreamCode(frame[2]).name
