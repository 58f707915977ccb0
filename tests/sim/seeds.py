"""Seeds that find a mistake which the core once had (or nearly had), by the mistake's name.

When a change of the simulation gives the seeds other lives, find new ones with `python -m tests.sim.mutants`:
each name has a mutant there.
"""

from __future__ import annotations

FOUND: dict[str, int] = {
    "credit for a stream that we reset": 113,
    "late consumption after the loss": 194,
    "a sleeper condemns its peer": 593,
    "torn messages pass": 0,
}
