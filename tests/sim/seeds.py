"""Seeds that once found something, kept by name: the fault that each of them showed."""

from __future__ import annotations

FOUND: dict[str, int] = {
    "credit returned for a stream that we had reset": 32,
    "window grown again after its release, when the session was lost": 18,
    "the same at the hub": 401,
    "an exchange complete at the hub whose request body the agent never reads": 48,
}
