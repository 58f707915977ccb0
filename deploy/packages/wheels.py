"""The project's own wheels and sdist, and the wheelhouse: everything they need, as wheels."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from .closure import Pin
from .programs import COMMON, NOT_SHIPPED, Program
from .source import Source
from .tools import BuildError, run, sha256

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "http-tunnel"
version = "{version}"
description = "{summary}"
requires-python = "==3.11.*"
dependencies = {dependencies}
[project.scripts]
{name} = "{module}.cli:main"
[tool.hatch.build.targets.wheel]
packages = ["{common}", "{module}"]
"""


def build(source: Source, into: Path) -> Path:
    """The wheel and the sdist of the whole project; returns the wheel."""
    return _hatch(source.tree, source.epoch, into, "wheel", "sdist")


def of_program(source: Source, program: Program, work: Path) -> Path:
    """A wheel with this program alone, which requires only what it imports."""
    folder = work / "source"
    ignore = shutil.ignore_patterns("__pycache__")
    for package in (COMMON, program.module):
        shutil.copytree(source.tree / package, folder / package, ignore=ignore)
    shutil.rmtree(folder / COMMON / NOT_SHIPPED)
    text = PROJECT.format(
        version=source.version,
        summary=program.summary,
        dependencies=requirements(source, program),
        name=program.name,
        module=program.module,
        common=COMMON,
    )
    (folder / "pyproject.toml").write_text(text)
    return _hatch(folder, source.epoch, work / "wheel", "wheel")


def requirements(source: Source, program: Program) -> list[str]:
    return [each for each in source.dependencies if each not in program.unused]


def download(names: dict[str, list[str]], pinned: dict[str, Pin], python: Path, into: Path) -> None:
    """The wheel of each name for `python`, if its hash is among those of constraints.txt."""
    into.mkdir(parents=True)
    wanted = into / "wanted.txt"
    wanted.write_text("".join(f"{pinned[name].text}\n" for name in names))
    options = ("--disable-pip-version-check", "--no-input", "--quiet", "--no-deps", "--only-binary", ":all:")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "download",
        *options,
        "--require-hashes",
        "-r",
        wanted,
        "-d",
        into,
    )
    wanted.unlink()
    if len(list(into.glob("*.whl"))) != len(names):
        raise BuildError(f"not every requirement became one wheel in {into}")


def lock(wheelhouse: Path) -> None:
    """Write requirements.txt for `pip install --no-index --find-links`: version and hash of each wheel."""
    lines = []
    for wheel in sorted(wheelhouse.glob("*.whl")):
        name, version = wheel.name.split("-")[:2]
        lines.append(f"{name.lower().replace('_', '-')}=={version} --hash=sha256:{sha256(wheel)}\n")
    (wheelhouse / "requirements.txt").write_text("".join(lines))


def _hatch(folder: Path, epoch: int, into: Path, *targets: str) -> Path:
    chosen = [word for target in targets for word in ("-t", target)]
    run(
        *(sys.executable, "-m", "hatchling", "build", *chosen, "-d", str(into)),
        cwd=folder,
        env={"SOURCE_DATE_EPOCH": str(epoch)},
    )
    (wheel,) = into.glob("*.whl")
    return wheel
