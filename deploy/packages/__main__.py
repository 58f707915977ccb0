"""`python -m deploy.packages`: what `make dist` runs."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from . import deb, sbom, wheels
from .closure import Needs, closure, pins
from .programs import PROGRAMS, Program
from .source import Source, export
from .tools import BuildError, run, sha256

ROOT: Final = Path(__file__).resolve().parents[2]
SUMS: Final = "SHA256SUMS"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.packages", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("dist"), help="a new folder, or one that this made before"
    )
    out: Path = parser.parse_args(arguments).out.absolute()
    try:
        source = build(ROOT, out)
    except BuildError as error:
        print(f"make dist: {error}", file=sys.stderr)
        return 1
    for line in (out / SUMS).read_text().splitlines():
        name = line.split("  ")[1]
        if "/" not in name:
            print(f"{(out / name).stat().st_size / 2**20:6.1f} MiB  {out.name}/{name}")
    if source.dirty:
        print("The work tree has changes that are not committed: nobody else can build the same.")
    return 0


def build(root: Path, out: Path) -> Source:
    """Everything from the checkout at `root`, into the folder `out`, at once when all is done."""
    _check(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tunnel-dist-") as folder:
        work = Path(folder)
        done = work / "dist"
        source = export(root, work / "tree")
        _fill(source, work, done)
        if out.exists():
            shutil.rmtree(out)
        shutil.move(done, out)
    return source


def _check(out: Path) -> None:
    if not deb.PYTHON.exists():
        raise BuildError(f"{deb.PYTHON} is missing: packages are built on Debian 12 with its own python3")
    for tool in ("dpkg-deb", "git"):
        if shutil.which(tool) is None:
            raise BuildError(f"{tool} is not installed")
    if out.exists() and not (out / SUMS).exists() and any(out.iterdir()):
        raise BuildError(f"{out} holds files that are not of an earlier build: move them away")


def _fill(source: Source, work: Path, done: Path) -> None:
    python = run(deb.PYTHON, "-c", "import platform; print(platform.python_version())").strip()
    pinned = pins(source.tree / "constraints.txt")
    needs = closure(source.dependencies, pinned, python)
    wheelhouse = done / "wheelhouse"
    wheels.download(needs.every, pinned, deb.PYTHON, wheelhouse)
    wheel = wheels.build(source, done)
    name = f"http-tunnel-{source.version}.cdx.json"
    sbom.write(done / name, source, "http-tunnel", "All of the wheelhouse", needs, wheelhouse)

    def package(program: Program) -> None:
        own = closure(wheels.requirements(source, program), pinned, python)
        _package(source, program, own, wheelhouse, work / program.name, done)

    with ThreadPoolExecutor(len(PROGRAMS)) as pool:
        list(pool.map(package, PROGRAMS))
    shutil.copyfile(wheel, wheelhouse / wheel.name)
    wheels.lock(wheelhouse)
    files = sorted(path for path in done.rglob("*") if path.is_file())
    (done / SUMS).write_text("".join(f"{sha256(path)}  {path.relative_to(done)}\n" for path in files))


def _package(source: Source, program: Program, needs: Needs, wheelhouse: Path, work: Path, done: Path) -> None:
    wheel = wheels.of_program(source, program, work)
    bill = done / f"{program.name}_{source.version}.cdx.json"
    sbom.write(bill, source, program.name, program.summary, needs, wheelhouse)
    deb.build(source, program, wheel, wheelhouse, bill, work, done)


if __name__ == "__main__":
    sys.exit(main())
