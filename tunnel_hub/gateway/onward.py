"""What a service's upstream is told of the caller, and fields that change their name on the way (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocol.http.names import KINDS, Kind, plain

DEFAULT: Final = "X-Client-Name"


class Onward:
    """For one service. name_header: the field with the caller's name; renames: name -> name, as configured."""

    __slots__ = ("_header", "_plain_header", "_renames", "_replaced", "_simple", "credentials")

    def __init__(self, name_header: str = DEFAULT, renames: Mapping[str, str] | None = None) -> None:
        renames = renames or {}
        self._header = name_header.encode("ascii")
        self._plain_header = plain(self._header)
        self._renames = {old.lower().encode("ascii"): new.encode("ascii") for old, new in renames.items()}
        self._replaced = {new.lower(): old for old, new in self._renames.items()}
        self.credentials = frozenset(old for old, new in self._renames.items() if KINDS[new] is Kind.CREDENTIAL)
        """Lower-case names of the fields that become credentials."""
        # The default field's copies are dropped for every service already (Kind.IDENTITY).
        self._simple = not renames and name_header.lower() == DEFAULT.lower()

    def tell(self, fields: list[bytes], caller: bytes) -> list[bytes]:
        """`fields` as they go to the agent; caller: the verified name, b"" when callers need not authenticate."""
        if not self._simple:
            fields = self._rewritten(fields)
        if caller:
            fields += (self._header, caller)
        return fields

    def trailers(self, fields: list[bytes]) -> list[bytes]:
        """A request's trailers less those that claim the caller's name."""
        if self._simple or not fields:
            return fields
        pairs = zip(fields[::2], fields[1::2], strict=True)
        return [part for pair in pairs if plain(pair[0]) != self._plain_header for part in pair]

    def _rewritten(self, fields: list[bytes]) -> list[bytes]:
        present = {name.lower() for name in fields[::2]}
        kept: list[bytes] = []
        for index in range(0, len(fields), 2):
            name, value = fields[index], fields[index + 1]
            low = name.lower()
            renamed = self._renames.get(low)
            if renamed is not None:
                kept += (renamed, value)
            elif self._replaced.get(low) not in present and plain(name) != self._plain_header:
                kept += (name, value)
        return kept
