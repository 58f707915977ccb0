"""A machine with the programs on it, shared by the tests of this folder; and the keys of this test run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deploy import built, nspawn
from tests.deploy.installed import Installation, from_checkout, from_packages
from tests.deploy.troubled import Troubled
from tests.support.keys import KeyRing


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Troubled]:
    """A running tunnel whose metrics all have samples."""
    troubled = Troubled(tmp_path_factory.mktemp("troubled"))
    try:
        troubled.start()
        yield troubled
    finally:
        troubled.close()


@pytest.fixture(scope="session")
def installation() -> Installation:
    """How the programs come to the machine: as packages, or as this checkout where none can be built."""
    try:
        return from_checkout() if built.cannot() is not None else from_packages(built.dist())
    except nspawn.NoMachineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def machine(installation: Installation) -> Iterator[nspawn.Machine]:
    why = nspawn.cannot()
    if why is not None:
        pytest.skip(why)
    try:
        booted = nspawn.Machine(nspawn.tree(), binds=installation.binds).__enter__()
    except nspawn.NoMachineError as error:
        pytest.skip(f"no machine can be booted here: {error}")
    try:
        installation.install(booted)
        yield booted
    finally:
        booted.close()
