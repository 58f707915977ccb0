"""Which distributions a set of requirements needs, at the versions that constraints.txt pins."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .tools import BuildError

_PIN: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?P<hashes>(?: \\\n +--hash=\S+)+)", re.M)


class Pin(NamedTuple):
    """One entry of constraints.txt. text: the entry, with all its hashes."""

    version: str
    text: str


def pins(constraints: Path) -> dict[str, Pin]:
    return {
        canonicalize_name(found["name"]): Pin(found["version"], found[0])
        for found in _PIN.finditer(constraints.read_text())
    }


class Needs(NamedTuple):
    """direct: what the requirements name. every: that and what it needs in turn, each with its own."""

    direct: list[str]
    every: dict[str, list[str]]


def closure(requirements: Iterable[str], pinned: dict[str, Pin], python: str) -> Needs:
    """Each distribution that is needed with CPython `python` ("3.11.2") on Linux.

    What they require is read from this environment, which `make` has installed from constraints.txt; BuildError
    where it holds anything else.
    """
    environment = {key: str(value) for key, value in default_environment().items()}
    environment |= {
        "python_version": ".".join(python.split(".")[:2]),
        "python_full_version": python,
        "implementation_version": python,
    }
    found: dict[str, list[str]] = {}

    def needed(texts: Iterable[str], extras: Iterable[str] = ()) -> list[str]:
        wanted = [Requirement(text) for text in texts]
        names = set()
        for each in wanted:
            tried = [environment | {"extra": extra} for extra in ("", *extras)]
            if each.marker is None or any(each.marker.evaluate(one) for one in tried):
                names.add(canonicalize_name(each.name))
                visit(canonicalize_name(each.name), each.extras)
        return sorted(names)

    def visit(name: str, extras: Iterable[str]) -> None:
        if name in found and not extras:
            return
        if name not in pinned:
            raise BuildError(f"constraints.txt does not pin {name}: run `make constraints`")
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise BuildError(f"{name} is not installed here: build with `make dist`") from None
        if distribution.version != pinned[name].version:
            raise BuildError(
                f"{name} {distribution.version} is installed, constraints.txt says {pinned[name].version}"
            )
        found.setdefault(name, [])
        found[name] = needed(distribution.requires or (), extras)

    direct = needed(requirements)
    return Needs(direct, dict(sorted(found.items())))
