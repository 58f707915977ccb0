"""Runs cases: chains alternate within each round, and whatever was started is stopped."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.cases import KINDS, Case, Lifetime
from tests.bench.chains import GIB, Chain, Origin
from tests.bench.children import MeasurementFailed
from tests.bench.rows import FORMER, TUNNEL, Result

Make = Callable[[str, Path], Chain]
Progress = Callable[[str], object]


class _Pool:
    """Chains by name, started when first asked for.

    One that did not start is not tried again; one that broke while it was measured is replaced by a new one.
    """

    def __init__(self, folder: Path, make: Make, stack: ExitStack) -> None:
        self._folder = folder
        self._make = make
        self._stack = stack
        self._started: dict[str, Chain | MeasurementFailed] = {}

    def get(self, name: str) -> Chain:
        """The running chain; raises MeasurementFailed."""
        if name not in self._started:
            self._folder.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=f"{name.replace(' ', '-')}-", dir=self._folder))
            try:
                self._started[name] = self._stack.enter_context(self._make(name, folder))
            except MeasurementFailed as error:
                self._started[name] = error
        found = self._started[name]
        if isinstance(found, MeasurementFailed):
            raise found
        return found

    def drop_broken(self, name: str) -> str | None:
        """When one of the chain's processes has ended: stop the rest, forget it, and say what its log says."""
        chain = self._started.get(name)
        if not isinstance(chain, Chain):
            return None
        try:
            chain.check()
        except MeasurementFailed as error:
            chain.__exit__()
            del self._started[name]
            return str(error)
        return None


class Runner:
    """A run over `cases`, in a temporary folder that disappears with it. `progress` hears each step."""

    def __init__(
        self, cases: Sequence[Case], *, rounds: int | None, progress: Progress, former: bool = False
    ) -> None:
        """`rounds`: for every case, instead of each case's own number. former: measure `tunnel.Former`, too."""
        self._former = (FORMER,) if former else ()
        self.cases = cases
        self.results = {row.name: Result(row) for case in cases for row in case.rows}
        self._rounds = rounds
        self._progress = progress

    def run(self) -> None:
        """Fill `results`; what was gathered before a Ctrl-C stays there."""
        sizes = {size for case in self.cases for size in (case.sizes.bulk_bytes, case.sizes.haul_bytes)}
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunnel-bench-")))
            self._progress("starting the upstreams")
            origin = stack.enter_context(Origin(folder / "origin", sorted({*sizes, GIB})))
            shared = _Pool(folder, lambda name, where: KINDS[name](where, origin), stack)
            for case in self.cases:
                self._run_case(case, folder, origin, shared)

    def rounds(self, case: Case) -> int:
        return self._rounds or case.rounds

    def _run_case(self, case: Case, folder: Path, origin: Origin, shared: _Pool) -> None:
        warm: set[str] = set()
        with ExitStack() as stack:

            def make(name: str, where: Path) -> Chain:
                return case.make(name, where, origin)

            own = _Pool(folder, make, stack)
            for number in range(1, self.rounds(case) + 1):
                chains = case.chains if number == 1 or case.every_round else (TUNNEL,)
                for name in (*chains, *(self._former if case.former else ())):
                    self._progress(f"{case.rows[0].title}: round {number}/{self.rounds(case)}, {name}")
                    started = time.monotonic()
                    if case.lifetime is Lifetime.MEASUREMENT:
                        with ExitStack() as short:
                            self._measure(case, _Pool(folder, make, short), name, number, set())
                    else:
                        pool = shared if case.lifetime is Lifetime.RUN else own
                        self._measure(case, pool, name, number, warm)
                    spent = time.monotonic() - started
                    self.results[case.rows[0].name].add_extra(name, {"seconds_spent": round(spent, 2)})

    def _measure(self, case: Case, pool: _Pool, name: str, number: int, warm: set[str]) -> None:
        results = [self.results[row.name] for row in case.rows]
        try:
            chain = pool.get(name)
            if name not in warm:
                warm.add(name)
                case.warm_up(chain)
            measured = case.measure(chain, number)
        except MeasurementFailed as error:
            cause = pool.drop_broken(name)
            if cause is not None:
                warm.discard(name)
            for result in results:
                result.add(name, None)
                result.note(f"{name}: {one_line(cause or error)}")
            return
        for result in results:
            result.add(name, measured.values.get(result.row.name))
            result.add_extra(name, measured.extra)
            for note in measured.notes:
                result.note(note)


def one_line(error: BaseException | str) -> str:
    """The first line of what went wrong."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
