"""Shared by all tests: the logs of the programs under test are attached to a failure."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

pytest.register_assert_rewrite(
    "tests.support.rawhttp", "tests.support.upstream", "tests.support.waiting", "tests.support.story"
)

_LINES = 80


_LONGEST = (
    "test_restart.py",
    "test_ten_faults.py",
    "test_l2_agent.py",
    "test_packages.py",
    "test_packer_null.py",
    "test_soak.py",
    "test_console_browser.py",
    "test_runs.py",
)
"""Files begun first: each is one worker's, and the run is as long as the last of them."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.e2e)
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, object, None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if report.when == "teardown" or not report.failed:
        return
    from tests.support.process import LIVE

    for program in LIVE:
        state = "runs" if program.running else f"ended with {program.process.poll()}"
        report.sections.append((f"{program.name} ({state})", program.tail(_LINES)))


@pytest.fixture(scope="session", autouse=True)
def _no_secret_anywhere() -> Iterator[None]:
    """No program of this process has let a seeded secret out; known only once the last one is closed."""
    yield
    import sys

    if "tests.support.leaksearch" in sys.modules:
        findings = sys.modules["tests.support.leaksearch"].FINDINGS
        assert not findings, "\n".join(f"{each.program}: {each.secret} in {each.place}" for each in findings)


@pytest.fixture(scope="session", autouse=True)
def _clean_up(_no_secret_anywhere: None) -> Iterator[None]:
    """Whatever a failed fixture left behind ends with the test run."""
    yield
    import sys

    if "tests.support.process" in sys.modules:
        for program in list(sys.modules["tests.support.process"].LIVE):
            program.close()
    if "tests.support.loop" in sys.modules:
        sys.modules["tests.support.loop"].backstage.close()
    if "tests.support.ports" in sys.modules:
        sys.modules["tests.support.ports"].release_all()
