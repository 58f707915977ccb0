"""Sends one server's cases to the hub and watches every answer; the server's ledger is compared afterwards.

A finding is any of: an answer that belongs to another request; a sentinel that is not answered with its own
echo; a request in the ledger that a strict reader does not find in what was sent, or that stands there twice, or
with another body than was sent.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from tests.differential import reference
from tests.differential.drafts import sound
from tests.differential.ledger import Seen, read_ledger, same_target
from tests.differential.mutate import Case, make
from tests.differential.servers import Server
from tests.differential.setting import host_of
from tests.support.rawhttp import Answer, BrokenAnswer, RawClient, Truncated
from tests.support.tunnel import Tunnel

WORKERS: Final = 8
QUIET: Final = 0.25
"""Seconds without a byte after which a case's connection is given up: its bytes may be half a request."""

May = dict[tuple[str, str], list[reference.Found]]
"""By method and target: the requests that a server may see."""

STALLED: Final = 2.0
"""The same inside an answer."""

REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass
class Tally:
    """What came of one server's cases."""

    server: str
    version: str
    cases: int = 0
    refused: int = 0
    """Cases whose first answer was the hub's own."""
    forwarded: int = 0
    """Cases of which the server saw a request."""
    upstream_refused: int = 0
    """Cases that the server itself answered with an error, or not in HTTP."""
    unanswered: int = 0
    """Cases that left the hub waiting for more, or closed without an answer."""
    repeated: int = 0
    """Idempotent requests that the agent sent again, because a kept connection ended without an answer."""
    families: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


class Campaign:
    """All cases of one server; `run`, then close the server and `compare`."""

    def __init__(self, tunnel: Tunnel, server: Server, seed: int, cases: int) -> None:
        self.tally = Tally(server.kind.name, server.kind.version, cases)
        self._tunnel = tunnel
        self._server = server
        self._seed = seed
        self._cases = cases
        self._host = host_of(server.kind.name)
        self._sent: list[bytes] = []
        """All bytes of each connection."""
        self._lock = threading.Lock()

    def run(self) -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            for done in [pool.submit(self._work, worker) for worker in range(WORKERS)]:
                done.result()

    def _work(self, worker: int) -> None:
        witness = _Witness(self._tunnel, self._host, f"{self.tally.server}.w{worker}")
        with contextlib.closing(witness):
            for number in range(worker, self._cases, WORKERS):
                case = make(self._seed, self.tally.server, number, self._host)
                self._note(case, *self._one(case))
                if problem := witness.ask():
                    self._find(f"after case {case.id} ({', '.join(case.families)}): {problem}", case)
        with self._lock:
            self._sent.append(bytes(witness.sent))

    # -- one case ---------------------------------------------------------------------------------------------

    def _one(self, case: Case) -> tuple[list[Answer], bytes]:
        """Carry out one case; its final answers and everything that was sent."""
        sent = bytearray()
        with self._tunnel.raw(timeout=10) as caller:
            if case.first is not None:
                sent += case.first
                answer = caller.request(case.first)
                self._check_echo(case, answer, f"{case.id}-before", case.first)
            caller.timeout(STALLED)
            sent += case.data + case.last
            allowed = reference.read(case.data + case.last)
            answers: list[Answer] = []
            with contextlib.suppress(OSError):  # refused and closed before all of it was sent
                for piece in _pieces(case):
                    caller.send(piece)
                if case.waits:
                    if (answer := self._answer(case, caller, allowed, first=True)) is not None:
                        answers.append(answer)
                    caller.send(case.last)
            while (answer := self._answer(case, caller, allowed, first=not answers)) is not None:
                answers.append(answer)
                if answer.get("x-case") == f"{case.id}-after":
                    break
        return answers, bytes(sent)

    def _answer(
        self, case: Case, caller: RawClient, allowed: list[reference.Found], *, first: bool
    ) -> Answer | None:
        """The next answer, checked for whose it is; None at the end of the connection or of patience.

        allowed: the requests that may still be answered. first: it is the first answer to the case.
        """
        if not caller.readable(QUIET):
            return None
        head_only = first and case.data.lstrip(b"\r\n").startswith(b"HEAD ")
        try:
            answer = caller.answer("HEAD" if head_only else "GET")
        except (OSError, Truncated):  # a timeout is one of them: a 100 (Continue), and nothing after it
            return None
        except BrokenAnswer as error:
            self._find(f"case {case.id} ({', '.join(case.families)}): {error}", case)
            return None
        echo = answer.get("x-case") or ""
        if answer.has("proxy-status") or not reference.is_clean(echo):
            return answer
        while allowed and not allowed[0].is_case(echo):
            del allowed[0]
        if not allowed:
            self._find(f"case {case.id}: an answer to {echo!r}", case)
            return None
        if allowed.pop(0).target == f"/d/{case.id}/after":
            self._check_echo(case, answer, f"{case.id}-after", case.last)
        return answer

    def _check_echo(self, case: Case, answer: Answer, name: str, request: bytes) -> None:
        """A sentinel's answer is its own: name, target and, where the server tells it, body."""
        target = request.split(b" ")[1]
        body = hashlib.sha256(request.partition(b"\r\n\r\n")[2]).hexdigest()
        own = (
            answer.status == 200
            and answer.get("x-case") == name
            and answer.get("x-target") in (None, target.decode())
            and answer.get("x-body") in (None, body)
        )
        if not own:
            self._find(f"sentinel {name}: {answer.raw_head + answer.body!r}", case)

    def _note(self, case: Case, answers: list[Answer], sent: bytes) -> None:
        tally = self.tally
        with self._lock:
            self._sent.append(sent)
            tally.families.update(case.families)
            if not answers:
                tally.unanswered += 1
            elif answers[0].has("proxy-status") and answers[0].status != 502:
                tally.refused += 1
            elif answers[0].status >= 400:
                tally.upstream_refused += 1

    def _find(self, what: str, case: Case) -> None:
        with self._lock:
            self.tally.findings.append(f"{what}\n    sent: {case.data!r}")

    # -- the ledger -------------------------------------------------------------------------------------------

    def compare(self, carried: dict[str, tuple[str, str]]) -> Tally:
        """Hold the server's ledger against what was sent and what the hub says it carried."""
        may: May = {}
        for sent in self._sent:
            for found in reference.read(sent):
                may.setdefault((found.method, found.target), []).append(found)
        ids: Counter[str] = Counter()
        cases = set()
        for seen in read_ledger(self._server.ledger):
            cases.add(seen.case)
            ids[seen.request_id] += 1
            self._compare_one(seen, may, carried, again=bool(seen.request_id) and ids[seen.request_id] > 1)
        self.tally.forwarded = len([case for case in cases if "-" not in case.removeprefix(self.tally.server)])
        return self.tally

    def _compare_one(
        self,
        seen: Seen,
        may: May,
        carried: dict[str, tuple[str, str]],
        *,
        again: bool,
    ) -> None:
        findings = self.tally.findings
        # A server that refuses a head may not have read as far as the id.
        logged = carried.get(seen.request_id) if seen.request_id else (seen.method, seen.target)
        if logged is None:
            findings.append(f"the server saw what the hub never carried: {seen}")
            return
        if again:
            if seen.method in REPEATABLE:
                self.tally.repeated += 1
            else:
                findings.append(f"the server saw one request twice: {seen}")
            return
        method, target = logged
        if (seen.method, seen.target) != (method, same_target(target, seen.target)):
            findings.append(f"the hub carried {method} {target}, the server saw {seen}")
            return
        sent = [found for found in may.get(logged, ()) if found.is_case(seen.case)]
        if not sent:
            findings.append(f"the server saw a request that nobody sent: {seen}")
            return
        fits = [found for found in sent if seen.length in (None, found.length)]
        if not fits:
            findings.append(f"the server saw a body of another length: {seen}, sent were {sent}")
            return
        may[logged].remove(fits[0])


class _Witness:
    """A connection beside the cases': sound requests, which must be answered each with its own echo."""

    def __init__(self, tunnel: Tunnel, host: str, name: str) -> None:
        self._tunnel = tunnel
        self._host = host
        self._name = name
        self._asked = 0
        self._caller: RawClient = tunnel.raw(timeout=10)
        self.sent = bytearray()

    def ask(self) -> str:
        """One more; what is wrong with its answer, or nothing."""
        self._asked += 1
        body = None if self._asked % 2 else b"w" * (self._asked % 50)
        request = sound(self._name, self._host, f"{self._asked}", body)
        self.sent += request
        try:
            answer = self._caller.request(request)
        except (OSError, Truncated, BrokenAnswer) as error:
            self._caller.close()
            self._caller = self._tunnel.raw(timeout=10)
            return f"a sound request on another connection failed: {error!r}"
        expected = hashlib.sha256(body or b"").hexdigest()
        if answer.status != 200 or answer.get("x-case") != f"{self._name}-{self._asked}":
            return f"a sound request on another connection got {answer.raw_head + answer.body!r}"
        if answer.get("x-body") not in (None, expected):
            return "a sound request on another connection lost its body"
        return ""

    def close(self) -> None:
        self._caller.close()


def _pieces(case: Case) -> list[bytes]:
    last = b"" if case.waits else case.last
    if case.split is None:
        return [case.data + last]
    return [case.data[: case.split], case.data[case.split :] + last]
