"""Does the simulation notice when the core is wrong? Not part of the test run.

    python -m tests.sim.mutants [--seeds 1000] [--enough 5] [--only WORD]

Each mutant changes one line of the core in memory, runs seeds until enough of them have failed, and is put
back. The table says how many failed of how many that ran; a mutant that no seed notices is either equivalent
(the last column says why) or a hole in the simulation, and then the exit status is 1. A mutant that hangs is
stopped by an alarm and counts as noticed.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import signal
import sys
import textwrap
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from protocol import codec, flow, liveness, receiving, scheduler, session, stream

from .world import World

ALARM = 20


class Mutant(NamedTuple):
    """`old` stands exactly once in the source of `where` (a function, by its dotted name in `module`)."""

    name: str
    module: ModuleType
    where: str
    old: str
    new: str
    equivalent: str = ""


_S, _R, _F, _Q, _L = session, receiving, flow, scheduler, liveness

MUTANTS = [
    # Credit
    Mutant("credit is granted twice", _S, "Session.consumed", "stream.id, grant)", "stream.id, 2 * grant)"),
    Mutant("credit is never granted", _S, "Session.consumed", "if grant:", "if False:"),
    Mutant("the limit is not raised", _F, "ReceiveWindow.consume", "self.limit += grant", "pass"),
    Mutant(
        "credit one byte short",
        _F,
        "ReceiveWindow.consume",
        "self.limit += grant",
        "self.limit += grant; grant -= 1",
    ),
    Mutant("growth without a budget", _F, "ReceiveWindow.consume", "and self._budget.take(growth)", ""),
    Mutant("growth beyond the maximum", _F, "ReceiveWindow.consume", "self._maximum - window", "window"),
    Mutant("growth is not given back", _F, "ReceiveWindow.release", "self._budget.give(growth)", "pass"),
    Mutant("the budget has no limit", _F, "MemoryBudget.take", "self.used + size > self.limit", "False"),
    Mutant(
        "the window is not checked",
        _R,
        "on_data",
        "window.limit if window is not None else",
        "2**40 if window is not None else 2**40 +",
    ),
    Mutant("received bytes are not counted", _R, "on_data", "stream.received += len(body)", "pass"),
    Mutant("credit received is not added", _R, "on_credit", "stream.credit += size", "pass"),
    Mutant("one byte too much credit", _R, "on_credit", "stream.credit += size", "stream.credit += size + 1"),
    Mutant("credit has no bound", _R, "on_credit", "if stream.credit > 2**31:", "if False:"),
    Mutant("credit does not wake the stream", _R, "on_credit", "session.scheduler.add(stream)", "pass"),
    Mutant("DATA costs no credit", _Q, "Scheduler.next_frame", "stream.credit -= size", "pass"),
    Mutant("OPEN's body costs no credit", _S, "Session.open", "credit -= len(body)", "pass"),
    Mutant("ANSWER's body costs no credit", _S, "Session.answer", "stream.credit -= len(body)", "pass"),
    Mutant("ANSWER's body ignores credit", _S, "Session.answer", "or len(body) > stream.credit", ""),
    Mutant("ANSWER's body is not counted", _R, "on_answer", "stream.received = len(body)", "pass"),
    Mutant("OPEN's body is not counted", _R, "on_open", "stream.received = len(body)", "pass"),
    Mutant("credit for a stream that we reset", _S, "Session.consumed", "or stream.sending == ABORTED", ""),
    Mutant("the window is kept after END", _S, "Session.consumed", "                    window.release()", "pass"),
    Mutant(
        "the window is kept after RESET",
        _S,
        "Session.reset",
        "            stream.receive_window.release()",
        "pass",
    ),
    Mutant(
        "the window is kept when all was consumed before END",
        _S,
        "Session.settle",
        "or window.consumed >= stream.received",
        "",
    ),
    Mutant(
        "late consumption after the loss",
        _S,
        "Session.lost",
        "stream.sending = stream.receiving = ABORTED",
        "pass",
    ),
    # Order, fairness, exact bytes
    Mutant("DATA before control", _S, "Session._with_data", 'b"".join(parts)', 'b"".join(parts[1:] + parts[:1])'),
    Mutant("the newest stream first", _Q, "Scheduler.next_frame", "next(iter(ring))", "next(reversed(ring))"),
    Mutant("a stream keeps its turn", _Q, "Scheduler.next_frame", "del ring[stream]", "pass"),
    Mutant(
        "a stream is not entered again", _Q, "Scheduler.next_frame", "        self.add(stream)", "        pass"
    ),
    Mutant("a byte is lost between frames", _Q, "Outbox.take", "view[size:]", "view[size + 1:]"),
    Mutant("a byte is repeated", _Q, "Outbox.take", "parts.append(view[:size])", "parts.append(view[:size + 1])"),
    Mutant(
        "an empty buffer is kept",
        _Q,
        "Outbox.take",
        "if length <= size:",
        "if length < size:",
        "an empty slice stays in front and is taken first the next time; the bytes are the same",
    ),
    Mutant("what waits is miscounted", _Q, "Outbox.take", "self.queued -= size", "self.queued -= size + 1"),
    Mutant("the source is never paused", _Q, "Outbox.put", "self.blocked = True", "pass"),
    Mutant("the source is never resumed", _Q, "Outbox.unblock", "return True", "return False"),
    Mutant("messages without an end", _S, "Session._with_data", "and size < MESSAGE_TARGET", ""),
    Mutant(
        "control frames of a long queue are lost", _S, "Session._first_of", "control[count:] + self.control", "[]"
    ),
    Mutant("control frames are repeated", _S, "Session._first_of", "control[count:]", "control[count - 1:]"),
    # States
    Mutant("DATA never carries END", _Q, "Scheduler.next_frame", "frames.END if ends else 0", "0"),
    Mutant("END comes too early", _Q, "Scheduler.next_frame", "and size == outbox.queued", ""),
    Mutant("trailers are lost", _S, "Session.end", "outbox.trailers = trailers or None", "pass"),
    Mutant("END of DATA is not seen", _R, "on_data", "ON_END if flags else ON_DATA", "ON_DATA"),
    Mutant(
        "END of DATA is not settled", _R, "on_data", "    if flags:\n        session.settle(stream)", "    pass"
    ),
    Mutant("TRAILERS are not settled", _R, "on_trailers", "session.settle(stream)", "pass"),
    Mutant("END of ANSWER is not seen", _R, "on_answer", "ON_HEAD_END if flags else ON_HEAD", "ON_HEAD"),
    Mutant("END of ANSWER is not kept", _S, "Session.answer", "ON_HEAD_END if whole else ON_HEAD", "ON_HEAD"),
    Mutant("no RESET after the end", stream, "", "(ENDED, ON_RESET)", ""),
    Mutant("DATA is allowed after the end", stream, "", "(ENDED, ON_DATA)", "ENDED"),
    Mutant("two answers are allowed", stream, "", "(BODY, ON_HEAD)", "BODY"),
    Mutant("DATA is allowed before the head", stream, "", "(AWAIT, ON_DATA)", "AWAIT"),
    Mutant("RESET is not answered", _R, "on_reset", "session.control.append(", "(lambda frame: None)("),
    Mutant("RESET does not stop our half", _R, "on_reset", "session.abort_sending(stream)", "pass"),
    Mutant("RESET is not reported", _R, "on_reset", "    elif stream.sending == ENDED:", "    elif False:"),
    Mutant("RESET is not settled", _R, "on_reset", "session.settle(stream)", "pass"),
    Mutant(
        "RESET leaves the stream in the ring", _S, "Session.abort_sending", "self.scheduler.remove(stream)", "pass"
    ),
    Mutant("DATA is reported after our RESET", _R, "on_data", "if stream.sending != ABORTED:", "if True:"),
    Mutant(
        "TRAILERS are reported after our RESET", _R, "on_trailers", "if stream.sending != ABORTED:", "if True:"
    ),
    Mutant("ANSWER is reported after our RESET", _R, "on_answer", "if stream.sending == ABORTED:", "if False:"),
    Mutant("INTERIM is reported after our RESET", _R, "on_interim", "if stream.sending != ABORTED:", "if True:"),
    Mutant(
        "an answered RESET is still awaited", _S, "Session.settle", "self._resetting.pop(stream, None)", "pass"
    ),
    Mutant("DATA for a stream that is over passes", _R, "_live", "if stream is None and (", "if False and ("),
    Mutant("streams are not counted", _R, "on_open", "len(session.streams) >= session.ours.max_streams", "False"),
    Mutant("the opener does not count", _S, "Session.selectable", "len(self.streams) < self._open_limit", "True"),
    # Drain
    Mutant("a drained stream is opened", _R, "on_open", "stream_id > session.drained_at", "False"),
    Mutant("the last stream is refused", _R, "on_drain", "stream.id > last", "stream.id >= last"),
    Mutant("frames for refused streams are a fault", _R, "_live", "session.drained_at is None or", "True or"),
    Mutant("the drain is not heard", _R, "on_drain", "session.peer_draining = True", "pass"),
    Mutant("refused streams are kept", _R, "on_drain", "session.settle(stream)", "pass"),
    # Liveness
    Mutant("the dead are never condemned", _L, "Liveness.check", "return DEAD", "return PROBE"),
    Mutant("nobody is probed", _L, "Liveness.check", "return PROBE", "return NOTHING"),
    Mutant("a sleeper condemns its peer", _L, "Liveness.check", "if now - self.due > LATE:", "if False:"),
    Mutant("work does not wait", _S, "Session.open", "self.liveness.busy(now)", "pass"),
    Mutant("work waits for ever", _S, "Session.settle", "self.liveness.idle()", "pass"),
    Mutant("bytes are no sign of life", _S, "Session.receive", "self.liveness.heard = ", ""),
    # Messages
    Mutant("torn messages pass", codec, "Decoder.decode", "unpacker.feed(_NIL)", "frame = None"),
]


def _function(mutant: Mutant) -> FunctionType:
    found: Any = mutant.module
    for name in mutant.where.split("."):
        found = inspect.getattr_static(found, name)
    result = found.fget if isinstance(found, property) else found
    assert isinstance(result, FunctionType)
    return result


@contextlib.contextmanager
def _changed_table(mutant: Mutant) -> Iterator[None]:
    """The transition table with one entry set to `new`, or without it."""
    names = vars(stream)
    state, signal_number = (names[name] for name in mutant.old.strip("()").split(", "))
    rows = [list(row) for row in stream.NEXT]
    rows[state][signal_number] = names[mutant.new] if mutant.new else None
    table = tuple(tuple(row) for row in rows)
    before = stream.NEXT
    for module in (receiving, session):
        module.NEXT = table  # type: ignore[misc]
    try:
        yield
    finally:
        for module in (receiving, session):
            module.NEXT = before  # type: ignore[misc]


@contextlib.contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The mutant in force. The function keeps its identity, so tables that hold it see the change, too."""
    if not mutant.where:
        with _changed_table(mutant):
            yield
        return
    function = _function(mutant)
    source = textwrap.dedent(inspect.getsource(function))
    old = textwrap.dedent(mutant.old) if mutant.old not in source else mutant.old
    assert source.count(old) == 1, f"{mutant.name}: {source.count(old)} times in {mutant.where}"
    scope: dict[str, Any] = {}
    exec(compile(source.replace(old, mutant.new), f"<mutant: {mutant.name}>", "exec"), vars(mutant.module), scope)
    changed = scope[function.__name__]
    if isinstance(changed, property):
        changed = changed.fget
    before = function.__code__
    function.__code__ = changed.__code__
    try:
        yield
    finally:
        function.__code__ = before


class Hangs(Exception):
    """The alarm rang."""


def _ring(_signal: int, _frame: object) -> None:
    raise Hangs


def noticed(mutant: Mutant, seeds: int, enough: int) -> tuple[list[int], int, str]:
    """The seeds that fail under the mutant, how many ran, and the first message."""
    failed: list[int] = []
    message = ""
    signal.signal(signal.SIGALRM, _ring)
    with applied(mutant):
        for seed in range(seeds):
            if len(failed) >= enough:
                return failed, seed, message
            signal.alarm(ALARM)
            try:
                World(seed).run()
            except (AssertionError, Hangs) as error:
                failed.append(seed)
                message = message or (str(error).split("\n")[0] or type(error).__name__)
            finally:
                signal.alarm(0)
    return failed, seeds, message


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--enough", type=int, default=5)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    survivors = 0
    chosen = [mutant for mutant in MUTANTS if arguments.only in mutant.name]
    for mutant in chosen:
        failed, ran, message = noticed(mutant, arguments.seeds, arguments.enough)
        survivors += not failed and not mutant.equivalent
        remark = message[:110] or (mutant.equivalent and f"equivalent: {mutant.equivalent}")
        print(f"{len(failed):3} of {ran:4}  {mutant.name:52} {remark}", flush=True)
    print(f"{len(chosen)} mutants, {survivors} not noticed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
