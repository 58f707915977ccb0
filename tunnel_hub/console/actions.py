"""What can be switched on the page: each action's words, and what it calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ..operation import Operation

REASON_MAX: Final = 200


class Action(NamedTuple):
    """One switch. `{name}` in the words is the service's, agent's or hub's."""

    title: str
    button: str
    consequences: str
    danger: bool
    do: Callable[[Operation, str, str, str], None]
    """Operation, name, operator, reason. Raises UnknownNameError."""


NOT_KEPT: Final = "It holds over reloads, until it is taken back or the hub restarts."

ACTIONS: Final[dict[tuple[str, str], Action]] = {
    ("service", "off"): Action(
        "Switch {name} off",
        "Switch off",
        "Callers of {name} get 503 at once. What runs is cut within a second. " + NOT_KEPT,
        True,
        Operation.switch_off,
    ),
    ("service", "on"): Action(
        "Switch {name} on",
        "Switch on",
        "Callers of {name} are served again, unless the hub's file has it switched off.",
        False,
        Operation.switch_on,
    ),
    ("agent", "stop"): Action(
        "Send {name} no more requests",
        "Stop",
        "{name} stays connected and ends what it has; other agents get what comes. " + NOT_KEPT,
        True,
        Operation.stop_agent,
    ),
    ("agent", "resume"): Action(
        "Send {name} requests again",
        "Resume",
        "{name} takes its share again.",
        False,
        Operation.resume_agent,
    ),
    ("hub", "drain"): Action(
        "Drain {name}",
        "Drain",
        "The hub says that it is not ready, tells callers to close their connections and agents to look for "
        "another hub, and takes no new sessions. What still comes is served. " + NOT_KEPT,
        True,
        lambda operation, _name, operator, reason: operation.drain(operator, reason),
    ),
    ("hub", "resume"): Action(
        "Take {name} back into service",
        "Resume",
        "The hub is ready again; agents come back within some seconds.",
        False,
        lambda operation, _name, operator, reason: operation.resume(operator, reason),
    ),
}
