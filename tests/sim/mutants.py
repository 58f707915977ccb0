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
from types import FunctionType
from typing import Any

from protocol import output, receiving, stream

from .mutations import MUTANTS, Mutant
from .world import World

ALARM = 20


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
    for module in (receiving, output):
        module.NEXT = table  # type: ignore[misc]
    try:
        yield
    finally:
        for module in (receiving, output):
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
    exec(compile(source.replace(old, mutant.new), f"<mutant: {mutant.name}>", "exec"), function.__globals__, scope)
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
