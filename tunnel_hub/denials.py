"""What is said of requests that the gate does not let through: to the caller, the audit and the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from protocol.ops import log
from protocol.ops.seldom import Seldom

if TYPE_CHECKING:
    from protocol.ops.audit import Audit

    from .exchange import Exchange
    from .gateway.gate import Denied

_log = log.get("gateway")


class Denials:
    """`deny` for each of them. Strangers cause these lines: the log gets some only, and the audit merges them."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._seldom = Seldom()

    def deny(self, exchange: Exchange, denied: Denied, now: float) -> None:
        """Refuse the exchange. now: the loop's time."""
        request = exchange.request
        what = {
            "code": denied.problem.code,
            "reason": denied.cause,
            "peer": exchange.reply.peer,
            "method": request.method.decode("ascii", "backslashreplace"),
            "request_id": exchange.request_id.decode("ascii"),
        }
        if exchange.admitted is not None and exchange.service is not None:
            path = request.target.partition(b"?")[0].decode("ascii", "backslashreplace")
            what |= {"caller": exchange.caller, "service": exchange.service.name, "path": path}
        self._audit.write("caller refused", **what)
        left_out = self._seldom.leftover(denied.problem.code, now)
        if left_out is not None:
            _log.warning("caller refused", **what, **({"left_out": left_out} if left_out else {}))
        exchange.refuse(denied.problem, denied.detail, denied.retry_after)
