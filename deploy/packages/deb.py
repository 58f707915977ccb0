"""A .deb with its own environment under /opt, by plain dpkg-deb."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
import textwrap
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from packaging.utils import parse_wheel_filename

from .programs import Program
from .sbom import licence_of, wheel_metadata
from .source import Source
from .tools import run

PYTHON: Final = Path("/usr/bin/python3.11")
"""Debian 12's. The environment in the package uses it, and so must what compiles the modules."""

FILES: Final = Path(__file__).parent / "files"
MAINTAINER: Final = os.environ.get("MAINTAINER") or "The tunnel's maintainers <tunnel@packages.invalid>"
REVISION: Final = "1"
"""Of the packaging, after the hyphen of the Debian version."""

DEPENDS: Final = (
    "python3 (>= 3.11)",
    "python3 (<< 3.12)",
    "init-system-helpers (>= 1.54)",
    "passwd",
    "systemd | systemd-standalone-sysusers",
)
SCRIPTS: Final = ("postinst", "prerm", "postrm")

ENTRY: Final = """\
#!/opt/{name}/bin/python3 -sP
import sys

from {module}.cli import main

sys.exit(main())
"""
ENVIRONMENT: Final = """\
# Environment variables of {name}.service, NAME=value; read when it starts.
"""


def build(
    source: Source, program: Program, wheel: Path, wheelhouse: Path, sbom: Path, work: Path, into: Path
) -> Path:
    """The package of `program`, whose own wheel is `wheel`. work: an empty folder, left as it ends."""
    stage = work / "stage"
    _environment(program, wheel, wheelhouse, stage)
    _system_files(source, program, stage)
    _documents(source, program, wheelhouse, sbom, stage)
    architecture = run("dpkg", "--print-architecture").strip()
    _control(source, program, architecture, stage)
    _normalise(stage, program, source.epoch)
    deb = into / f"{program.name}_{source.version}-{REVISION}_{architecture}.deb"
    # One thread: how xz cuts its blocks depends on their number. Level 3: a tenth smaller in five times the time.
    run(
        *("dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "-z0", "--build", stage, deb),
        env={"SOURCE_DATE_EPOCH": str(source.epoch)},
    )
    return deb


def _environment(program: Program, wheel: Path, wheelhouse: Path, stage: Path) -> None:
    """What `venv --without-pip /opt/NAME` and pip would make there, without the build's own paths."""
    home = stage / "opt" / program.name
    packages = home / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11\n")
    for name in ("python", "python3"):
        (home / "bin" / name).symlink_to("/usr/bin/python3")
    run(
        *(sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-input", "--quiet"),
        *("--python", home / "bin" / "python3", "install", "--no-index", "--find-links", wheelhouse),
        *("--no-compile", "--no-cache-dir", wheel),
    )
    for file in (home / "bin").iterdir():
        if not file.name.startswith("python"):
            file.unlink()
    # What pip notes for itself: dpkg uninstalls here, and pip's notes name the build's folders.
    for note in ("RECORD", "REQUESTED", "INSTALLER", "direct_url.json"):
        for file in packages.glob(f"*.dist-info/{note}"):
            file.unlink()
    (home / "bin" / program.name).write_text(ENTRY.format(name=program.name, module=program.module))
    # The service may not write here, so the compiled modules are shipped; each knows its source by its hash.
    run(
        *(PYTHON, "-S", "-m", "compileall", "-q", "-f", "-j", "1", "--invalidation-mode", "checked-hash"),
        *("-s", stage, "-p", "/", packages),
        env={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LC_ALL": "C.UTF-8"},
    )


def _system_files(source: Source, program: Program, stage: Path) -> None:
    units = source.tree / "deploy" / "systemd"
    for unit in program.units:
        _copy(units / unit, stage / "lib" / "systemd" / "system" / unit)
    _copy(units / f"{program.name}.sysusers.conf", stage / "usr" / "lib" / "sysusers.d" / f"{program.name}.conf")
    (stage / "usr" / "bin").mkdir(parents=True)
    (stage / "usr" / "bin" / program.name).symlink_to(f"/opt/{program.name}/bin/{program.name}")
    settings = stage / "etc" / program.name / "environment"
    settings.parent.mkdir(parents=True)
    settings.write_text(ENVIRONMENT.format(name=program.name))
    _copy(FILES / "lintian-overrides", stage / "usr" / "share" / "lintian" / "overrides" / program.name, program)


def _documents(source: Source, program: Program, wheelhouse: Path, sbom: Path, stage: Path) -> None:
    folder = stage / "usr" / "share" / "doc" / program.name
    end = program.name.removeprefix("tunnel-")
    _copy(FILES / f"{end}.toml.example", folder / f"{end}.toml.example")
    examples = source.tree / "deploy" / "systemd" / "examples"
    for file in sorted(examples.glob("*.conf")):
        if file.name.startswith(program.name) or not file.name.startswith("tunnel-"):
            _copy(file, folder / "examples" / file.name)
    shutil.copyfile(sbom, folder / "sbom.cdx.json")
    when = format_datetime(datetime.fromtimestamp(source.epoch, UTC))
    entry = (
        f"{program.name} ({source.version}-{REVISION}) stable; urgency=medium\n\n"
        f"  * Revision {source.revision[:12]} of the sources; changes are in changelog.gz.\n\n"
        f" -- {MAINTAINER}  {when}\n"
    )
    (folder / "changelog.Debian.gz").write_bytes(gzip.compress(entry.encode(), 9, mtime=0))
    changes = (source.tree / "CHANGELOG.md").read_bytes()
    (folder / "changelog.gz").write_bytes(gzip.compress(changes, 9, mtime=0))
    (folder / "copyright").write_text(_copyright(source, program, wheelhouse, stage))


def _copyright(source: Source, program: Program, wheelhouse: Path, stage: Path) -> str:
    """What is in the package, and under which licence; the texts lie beside the modules."""
    packages = f"/opt/{program.name}/lib/python3.11/site-packages"
    shipped = {each.name.removesuffix(".dist-info") for each in (stage / packages.lstrip("/")).glob("*.dist-info")}
    lines = []
    for wheel in sorted(wheelhouse.glob("*.whl")):
        if "-".join(wheel.name.split("-")[:2]) in shipped and not wheel.name.startswith("http_tunnel-"):
            licence = licence_of(wheel_metadata(wheel)) or {"expression": "not stated"}
            said = licence.get("expression") or licence["license"]["name"]
            name, version, _, _ = parse_wheel_filename(wheel.name)
            lines.append(f"  {name} {version}: {said}\n")
    year = datetime.fromtimestamp(source.epoch, UTC).year
    text = (FILES / "copyright").read_text().replace("@YEAR@", str(year))
    return (
        text.replace("@NAME@", program.name).replace("@PACKAGES@", packages).replace("@PARTS@\n", "".join(lines))
    )


def _control(source: Source, program: Program, architecture: str, stage: Path) -> None:
    control = stage / "DEBIAN"
    files = sorted(path for path in stage.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(-(-path.lstat().st_size // 1024) if path in files else 1 for path in stage.rglob("*"))
    control.mkdir()
    for name in SCRIPTS:
        _copy(FILES / name, control / name, program)
    conffiles = [path for path in files if path.is_relative_to(stage / "etc")]
    (control / "conffiles").write_text("".join(f"/{path.relative_to(stage)}\n" for path in conffiles))
    (control / "md5sums").write_text(
        "".join(
            f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(stage)}\n"
            for path in files
            if path not in conffiles
        )
    )
    (control / "control").write_text(
        f"Package: {program.name}\n"
        f"Version: {source.version}-{REVISION}\n"
        f"Architecture: {architecture}\n"
        f"Maintainer: {MAINTAINER}\n"
        f"Installed-Size: {size}\n"
        f"Depends: {', '.join(sorted((*DEPENDS, *program.libraries)))}\n"
        "Recommends: ca-certificates\n"
        "Section: net\n"
        "Priority: optional\n"
        f"Description: {program.summary}\n"
        f"{textwrap.indent(textwrap.fill(program.description, 78), ' ')}\n"
        " .\n"
        " All its Python modules come with it, in an environment of its own.\n"
    )


def _normalise(stage: Path, program: Program, epoch: int) -> None:
    """Modes as in the package, and one time, whatever the umask and the clock of this build were."""
    executable = {stage / "DEBIAN" / name for name in SCRIPTS} | {
        stage / "opt" / program.name / "bin" / program.name
    }
    for path in (stage, *stage.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in executable else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _copy(file: Path, to: Path, program: Program | None = None) -> None:
    """With the names of `program` put in, where the file is a template of both packages."""
    text = file.read_text()
    if program is not None:
        text = text.replace("@NAME@", program.name).replace("@UNITS@", " ".join(program.units))
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(text)
