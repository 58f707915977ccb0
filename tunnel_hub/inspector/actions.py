"""What operators do with the inspector, the same for programs (`api.py`) and browsers (`pages.py`).

Each method is one action of an operator who has proved to be one; it writes the audit's line, and raises
HTTPException with a sentence for what cannot be done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException

from protocol.ops.values import parse_timeout, quoted
from tunnel_hub.tail import filters

from .curl import command
from .recorder import Inspector, InspectorError, Recorder, Wanted
from .replay import Replayed, Replayer, ReplayError

if TYPE_CHECKING:
    from tunnel_hub.hub import Hub

    from .seen import Seen

_CHOICES: Final = ("paths", "headers", "bodies")
_OTHER: Final = ("for", "number", "reason")
_YES: Final = ("yes", "on", "true", "1")


def wanted(fields: Mapping[str, str]) -> Wanted:
    """What a form asks for. Raises ValueError with a sentence.

    for: as in "10m". number: exchanges kept. paths, headers, bodies: "yes". The rest chooses (`tail.filters`).
    """
    chosen = {
        name: value for name, value in fields.items() if value and name not in _CHOICES and name not in _OTHER
    }
    chosen.pop("service", None)
    seconds = parse_timeout(fields.get("for") or "10m")
    number = fields.get("number") or "50"
    if not (number.isascii() and number.isdigit() and len(number) <= 4):
        raise ValueError(f"{quoted(number)} is no number of exchanges")
    paths, headers, bodies = (fields.get(name, "").lower() in _YES for name in _CHOICES)
    words = " ".join(f"{name}={value}" for name, value in sorted(chosen.items()))
    return Wanted(seconds, int(number), paths, headers, bodies, filters.parse(chosen), words)


class Actions:
    """For one hub."""

    def __init__(self, hub: Hub, inspector: Inspector, scheme: str) -> None:
        """scheme: http or https, as callers speak to the hub."""
        self.hub = hub
        self.inspector = inspector
        self._replayer = Replayer(hub)
        self._scheme = scheme

    def recorder(self, service: str) -> Recorder:
        recorder = self.inspector.of(service)
        if recorder is None:
            raise HTTPException(404, f"The inspector is not on for {quoted(service)}.")
        return recorder

    def exchange(self, service: str, number: int) -> Seen:
        seen = self.recorder(service).find(number)
        if seen is None:
            raise HTTPException(404, "This exchange is not kept any more.")
        return seen

    def switch_on(self, operator: str, service: str, fields: Mapping[str, str]) -> Recorder:
        try:
            return self.inspector.on(service, wanted(fields), operator, fields.get("reason", "")[:256])
        except InspectorError as error:
            raise HTTPException(409, _sentence(error)) from None
        except ValueError as error:
            raise HTTPException(400, _sentence(error)) from None

    def switch_off(self, operator: str, service: str) -> None:
        self.recorder(service)
        self.inspector.off(service, operator)

    def look(self, operator: str, service: str, number: int) -> Seen:
        """One exchange in full, which the audit notes."""
        seen = self.exchange(service, number)
        self.hub.audit.write("inspector read", operator=operator, service=service, request_id=seen.request_id)
        return seen

    def curl(self, service: str, number: int) -> str:
        """One exchange as a command."""
        seen = self.exchange(service, number)
        target = b"/" if seen.shape else seen.path.encode("ascii", "replace")
        routed = self.hub.router.route(seen.host.encode("ascii", "replace"), target)
        return command(seen, self._scheme, name_service=routed != service)

    async def replay(
        self, operator: str, service: str, number: int, fields: Mapping[str, str], peer: str
    ) -> Replayed:
        """Send one exchange again. fields: `confirm`, and `authorization` or `api_key` of a caller."""
        seen = self.exchange(service, number)
        if fields.get("confirm", "").lower() not in _YES:
            raise HTTPException(400, "Nothing was sent: confirm it with the field confirm=yes.")
        note = {"operator": operator, "service": service, "method": seen.method, "of": seen.request_id}
        try:
            replayed = await self._replayer.send(
                seen,
                peer,
                authorization=fields.get("authorization", "").strip(),
                api_key=fields.get("api_key", "").strip(),
            )
        except ReplayError as error:
            self.hub.audit.write("replay refused", **note, reason=str(error))
            raise HTTPException(409, _sentence(error)) from None
        self.hub.audit.write(
            "replay", **note, request_id=replayed.request_id, status=replayed.status, caller=replayed.caller
        )
        return replayed


def _sentence(error: ValueError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."
