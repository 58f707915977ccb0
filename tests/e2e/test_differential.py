"""The differential run in small, over the servers that are installed here; `make differential` is all of it."""

from __future__ import annotations

import pytest

from tests.differential.campaign import Tally
from tests.differential.debian import COMMANDS
from tests.differential.mutate import make
from tests.differential.mutate_answers import make_answer
from tests.differential.run import run
from tests.differential.servers import kinds

SEED = 20_261_127
CASES = 400
"""Over all servers together."""
ANSWERS = 150
SERVERS = {"uvicorn-httptools", "uvicorn-h11", *COMMANDS}
"""What the test environment has anyway, and Debian's as far as they are installed."""


@pytest.fixture(scope="module")
def tallies(tmp_path_factory: pytest.TempPathFactory) -> list[Tally]:
    chosen = [kind for kind in kinds() if kind.version and kind.name in SERVERS]
    assert {"uvicorn-httptools", "uvicorn-h11"} <= {kind.name for kind in chosen}
    folder = tmp_path_factory.mktemp("differential")
    for each in (folder.parent, folder.parent.parent):
        each.chmod(0o755)
    return run(folder, chosen, cases=CASES // len(chosen), answers=ANSWERS, seed=SEED, tell=print)


def test_one_request_in_is_one_or_none_out(tallies: list[Tally]) -> None:
    findings = [finding for tally in tallies for finding in tally.findings]
    assert not findings, "\n".join(findings[:10])


def test_the_cases_are_not_all_refused(tallies: list[Tally]) -> None:
    """Else the ledgers would show nothing."""
    for tally in tallies:
        assert tally.forwarded > tally.cases // 10, tally
        assert tally.refused > tally.cases // 10, tally


def test_a_seed_gives_the_same_bytes() -> None:
    assert make(1, "nginx", 7, "h") == make(1, "nginx", 7, "h")
    assert make(1, "nginx", 7, "h") != make(2, "nginx", 7, "h")
    assert make_answer(1, 7) == make_answer(1, 7)
