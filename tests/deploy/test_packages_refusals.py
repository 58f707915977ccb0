"""What `make dist` says when it cannot build."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.packages import __main__ as packages
from deploy.packages.closure import Pin, closure, pins
from deploy.packages.source import export
from deploy.packages.tools import BuildError, run

ROOT = Path(__file__).parents[2]


def test_folders_with_other_files_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.deb, "PYTHON", Path("/bin/sh"))
    monkeypatch.setattr(packages.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    (tmp_path / "mine").touch()
    with pytest.raises(BuildError, match="move them away"):
        packages.build(ROOT, tmp_path)
    assert (tmp_path / "mine").exists()


def test_without_debians_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages.deb, "PYTHON", tmp_path / "python3.11")
    assert packages.main(["--out", str(tmp_path / "dist")]) == 1
    assert capsys.readouterr().err == (
        f"make dist: {tmp_path}/python3.11 is missing: packages are built on Debian 12 with its own python3\n"
    )


def test_without_git_the_revision_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no git checkout"):
        export(tmp_path, tmp_path / "copy")


def test_pins_are_read_with_their_hashes(tmp_path: Path) -> None:
    file = tmp_path / "constraints.txt"
    file.write_text("a-b==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nc==2 \\\n    --hash=sha256:22\n")
    read = pins(file)
    assert read["a-b"] == Pin("1.0", "a-b==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11")
    assert read["c"].version == "2"


def test_all_of_constraints_is_read() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0].isalnum()]
    assert len(pins(ROOT / "constraints.txt")) == len(lines)


def test_needs_are_followed() -> None:
    needs = closure(["httpx", "starlette"], pins(ROOT / "constraints.txt"), "3.11.2")
    assert needs.direct == ["httpx", "starlette"]
    assert needs.every["httpcore"] == ["certifi", "h11"]
    assert {"anyio", "idna", "typing-extensions"} <= needs.every.keys()
    assert "pytest" not in needs.every


def test_what_is_not_pinned_or_of_another_version() -> None:
    pinned = pins(ROOT / "constraints.txt")
    with pytest.raises(BuildError, match="does not pin click"):
        closure(["click"], {}, "3.11.2")
    with pytest.raises(BuildError, match=r"constraints\.txt says 0\.1"):
        closure(["click"], pinned | {"click": Pin("0.1", "")}, "3.11.2")


def test_a_program_that_fails_or_is_missing() -> None:
    with pytest.raises(BuildError, match=r"(?s)sh -c .* failed with 3:\nwhy"):
        run("sh", "-c", "echo why >&2; exit 3")
    with pytest.raises(BuildError, match="no-such-program is not installed"):
        run("no-such-program")
