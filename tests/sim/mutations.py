"""The mutants that `python -m tests.sim.mutants` tries, each of which the simulation must notice."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from protocol import codec, flow, inflight, liveness, output, receiving, scheduler, session, stream


class Mutant(NamedTuple):
    """`old` stands exactly once in the source of `where` (a function, by its dotted name in `module`)."""

    name: str
    module: ModuleType
    where: str
    old: str
    new: str
    equivalent: str = ""


_S, _R, _F, _Q, _L, _O, _I = session, receiving, flow, scheduler, liveness, output, inflight

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
    Mutant("credit does not wake the stream", _R, "on_credit", "session.scheduler.credited(stream)", "pass"),
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
    Mutant("messages without an end", _S, "Session._with_data", "and size < most", ""),
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
    Mutant("RESET is not answered", _R, "on_reset", "session.resets_to_answer.append(stream)", "pass"),
    Mutant("the hub does not answer RESET", _R, "on_reset", "session.control.append(", "(lambda frame: None)("),
    Mutant("the hub answers RESET late", _R, "on_reset", "if session.opener:", "if False:"),
    Mutant(
        "the answer to RESET is decided too early",
        _R,
        "on_reset",
        "session.resets_to_answer.append(stream)",
        "session.resets_to_answer.append(stream); session._answer_resets()",
    ),
    Mutant("all is called not dispatched", _O, "Output._answer_resets", "if stream.dispatched", "if False"),
    Mutant("nothing is called not dispatched", _O, "Output._answer_resets", "if stream.dispatched", "if True"),
    Mutant("RESET is answered twice", _O, "Output._answer_resets", "self.resets_to_answer.clear()", "pass"),
    Mutant("the answer to RESET is no output", _O, "Output.has_output", "or bool(self.resets_to_answer)", ""),
    Mutant("the answer to our RESET is not reported", _R, "on_reset", "elif stream.confirm:", "elif False:"),
    Mutant("the answer to our RESET is silent", _R, "_confirm", "stream.silent = False", "pass"),
    Mutant("the drain does not answer our RESET", _R, "on_drain", "elif stream.confirm:", "elif False:"),
    Mutant(
        "a confirmed RESET is not silent",
        _S,
        "Session.reset",
        "stream.silent = True",
        "stream.silent = not confirm",
    ),
    Mutant("a second RESET forgets the answer", _S, "Session.reset", "not (confirm and stream.confirm)", "True"),
    Mutant("an unsent stream is not withdrawn", _S, "Session.reset", "if self.unsent(stream):", "if False:"),
    Mutant("a withdrawn OPEN leaves", _O, "Output.withdraw", "if not frame.startswith(head, 1)", ""),
    Mutant("a withdrawn stream is kept", _O, "Output.withdraw", "self.settle(stream)", "pass"),
    Mutant("too much is withdrawn", _O, "Output.withdraw", "encode((frames.OPEN, stream.id))[1:]", 'b"\\x05"'),
    Mutant("what has left is called unsent", _O, "Output.unsent", "> self.last_sent", ">= self.last_sent"),
    Mutant("nothing is called unsent", _O, "Output.unsent", "stream.id > self.last_sent", "False"),
    Mutant(
        "what leaves is called unsent",
        _O,
        "Output.data_to_send",
        "self.last_sent = self.last_opened",
        "self.last_sent = self.last_opened - 2",
    ),
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
    Mutant("an answered RESET is still awaited", _S, "Session.settle", "self.resetting.pop(stream, None)", "pass"),
    Mutant("DATA for a stream that is over passes", _R, "_live", "if stream is None and (", "if False and ("),
    Mutant("streams are not counted", _R, "on_open", "len(session.streams) >= session.ours.max_streams", "False"),
    Mutant("the opener does not count", _S, "Session.selectable", "len(self.streams) < self._open_limit", "True"),
    # Drain
    Mutant("a drained stream is opened", _R, "on_open", "stream_id > session.drained_at", "False"),
    Mutant("the last stream is refused", _R, "on_drain", "stream.id > last", "stream.id >= last"),
    Mutant("frames for refused streams are a fault", _R, "_live", "session.drained_at is None or", "True or"),
    Mutant("the drain is not heard", _R, "on_drain", "session.peer_draining = True", "pass"),
    Mutant("refused streams are kept", _R, "on_drain", "session.settle(stream)", "pass"),
    Mutant(
        "the opener's own drain forbids to open",
        _S,
        "Session.selectable",
        "not self.peer_draining",
        "not self.peer_draining and not self.draining",
    ),
    Mutant("any PONG shows that the drain was heard", _S, "Session.ponged", "number >= self._drain_ping", "True"),
    Mutant("no PONG shows that the drain was heard", _S, "Session.ponged", "self.drain_heard = True", "pass"),
    Mutant("the drain's PING has an old number", _S, "Session.drain", "fresh=True", "fresh=False"),
    Mutant(
        "the drain's PING goes first",
        _S,
        "Session.drain",
        "self.control.append(encode((frames.DRAIN, None)))\n",
        "self.ping(self._drain_ping); self.control.append(encode((frames.DRAIN, None)))\n",
    ),
    Mutant("the drain is not asked about", _S, "Session.drain", "self.ping(self._drain_ping)", "pass"),
    # Offers
    Mutant("offers are not counted", _R, "on_offer", "if not session.offers.allow(now):", "if False:"),
    Mutant("a hub may offer", _R, "on_offer", "if not session.opener:", "if False:"),
    Mutant("services without a name", _R, "on_offer", "0 < len(service)", "0 <= len(service)"),
    Mutant("services with a long name", _R, "on_offer", "<= 64", "<= 65"),
    Mutant("any limit", _R, "on_offer", "not 0 < limit <= OFFER_LIMIT_MAX", "False"),
    Mutant("offers are not reported", _R, "on_offer", "session.events.append(", "(lambda event: None)("),
    Mutant("offers without a limit", _S, "Session.offer", "state, limit)", "state, None)"),
    Mutant("a PONG for nothing", _R, "on_pong", "raise ProtocolViolation", "return; raise ProtocolViolation"),
    # Liveness
    Mutant("the dead are never condemned", _L, "Liveness.check", "return DEAD", "return PROBE"),
    Mutant("nobody is probed", _L, "Liveness.check", "return PROBE", "return NOTHING"),
    Mutant("a sleeper condemns its peer", _L, "Liveness.check", "if now - self.due > LATE:", "if False:"),
    Mutant("work does not wait", _S, "Session.open", "self.liveness.busy(now)", "pass"),
    Mutant("work waits for ever", _S, "Session.settle", "self.liveness.idle()", "pass"),
    Mutant("bytes are no sign of life", _S, "Session.receive", "self.liveness.heard = ", ""),
    Mutant(
        "a second PING has the number of a mark", _L, "Liveness.ping", "return self._asked", "return self._number"
    ),
    Mutant("a mark has no number of its own", _L, "Liveness.mark", "self._number += 1", "pass"),
    Mutant(
        "PONGs of marks are round trips",
        _L,
        "Liveness.pong",
        "number == self._asked",
        "True",
        "only the round trip is wrong",
    ),
    # In flight
    Mutant(
        "DATA is held for ever",
        _I,
        "InFlight.pong",
        "max(mark.position, self.acknowledged), now",
        "self.acknowledged, now",
    ),
    Mutant("no mark when DATA is held", _I, "InFlight.note", "return self._must_mark(now)", "return False"),
    Mutant("marks are made and not sent", _O, "Output.mark", "self.ping(number)", "pass"),
    Mutant("a pause has no end", _I, "InFlight._pause", "self._pausing = False", "pass"),
    Mutant("a pause without a last mark", _I, "InFlight._pause", "self._must_mark(now)", "False"),
    Mutant(
        "no mark after a PONG that shrinks the allowance",
        _I,
        "InFlight.pong",
        "return self.room <= 0 and not self.marks and self._must_mark(now)",
        "return False",
    ),
    Mutant("DATA behind a PING", _O, "Output.ping", "self._pinging = True", "pass"),
    Mutant(
        "DATA although there is no room",
        _O,
        "Output.data_to_send",
        "bool(self.scheduler) and self.inflight.room > 0",
        "bool(self.scheduler)",
    ),
    Mutant("held DATA is called output", _O, "Output.has_output", "self.inflight.room > 0", "True"),
    Mutant("marks without a bound", _I, "InFlight.note", "and self._bucket.allow(now)", ""),
    Mutant("the allowance is never less than nothing", _I, "InFlight._measure", "max(FLOOR, target)", "0"),
    # Messages
    Mutant("torn messages pass", codec, "Decoder.decode", "unpacker.feed(_NIL)", "frame = None"),
]
