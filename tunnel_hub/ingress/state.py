"""The states of a caller's connection."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """What the next byte from the caller is."""

    HEAD = "part of a request's head"
    BODY = "part of a request's body"
    EARLY = "part of a later request: the current one is complete, its answer is not"
    PIPE = "part of an upgraded connection"
    LINGER = "discarded: the last answer is written, but perhaps not read yet"
    CLOSED = "not read"
