"""What operators have switched while the hub runs. It holds over reloads, until it is taken back or a restart.

A service runs while both the file (`enabled`) and the operators let it: an operator cannot switch on what the file
switches off, and a reload does not take an operator's switch back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from .service import Settings


class Switched(msgspec.Struct, frozen=True, kw_only=True):
    """Who switched something, and why."""

    by: str
    """"file" for the configuration, else the operator's name with "operator " before it."""
    at: float | None = None
    """Seconds since the epoch; None where it is the file's."""
    reason: str = ""


BY_FILE = Switched(by="file")


class Switches:
    """State only; `tunnel_hub.operation` does what follows from it."""

    def __init__(self) -> None:
        self.services: dict[str, Switched] = {}
        """Services that are switched off."""
        self.agents: dict[str, Switched] = {}
        """Agents that get no requests."""
        self.draining: Switched | None = None
        """Set while the hub is drained."""

    def settings(self, name: str, wanted: Settings) -> Settings:
        """The settings of a service in force, where the file wants these."""
        return wanted._replace(enabled=False) if name in self.services else wanted
