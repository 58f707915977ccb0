"""Which build runs: found out without ever failing."""

from __future__ import annotations

import importlib.metadata
import subprocess
from pathlib import Path

import pytest

from protocol.ops import version
from protocol.ops.version import Build

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _no_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNNEL_GIT_REVISION", raising=False)


def test_build_is_known_and_cached() -> None:
    build = version.build()
    assert build.version == importlib.metadata.version("http-tunnel")
    assert version.build() is build


def test_text() -> None:
    assert str(Build("1.0", REVISION, "3.11.2")) == "1.0 (git 0123456789ab)"
    assert str(Build("1.0", None, "3.11.2")) == "1.0"


def test_environment_first_then_file_then_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert version.git_revision(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert version.git_revision(tmp_path) is None
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert version.git_revision(tmp_path) == head
    (tmp_path / "protocol").mkdir()
    (tmp_path / "protocol" / "REVISION").write_text(f"{REVISION}\n")
    assert version.git_revision(tmp_path) == REVISION
    monkeypatch.setenv("TUNNEL_GIT_REVISION", "fedcba9")
    assert version.git_revision(tmp_path) == "fedcba9"
    monkeypatch.setenv("TUNNEL_GIT_REVISION", "<script>")
    assert version.git_revision(tmp_path) == REVISION


def test_no_git_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert version.git_revision(tmp_path) is None
    monkeypatch.setattr(version, "DISTRIBUTION", "no-such-distribution")
    assert version.package_version() == "0+unknown"
