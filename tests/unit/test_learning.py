"""The file of `run --learn`: there from the start, replaced as a whole, private."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.ops.sockets import StartError
from tests.support.logs import Logged, kept
from tunnel_agent import learning
from tunnel_agent.learning import Learning


@pytest.fixture
def logged() -> Iterator[Logged]:
    with kept():
        yield Logged()


async def test_it_is_written_at_the_start_and_when_something_is_new(tmp_path: Path, logged: Logged) -> None:
    file = tmp_path / "learned.toml"
    file.write_text("old")
    one = Learning(file)
    one.start()
    assert file.read_text().startswith("# What was asked")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    one.learner.note("visits", b"GET", b"/health", allowed=True)
    await one.finish()
    assert '"GET /health?",' in file.read_text()
    inode = file.stat().st_ino
    await one.finish()
    assert file.stat().st_ino == inode
    assert os.listdir(tmp_path) == ["learned.toml"]


def test_what_somebody_put_beside_it_is_left_alone(tmp_path: Path, logged: Logged) -> None:
    """In a folder that others may write to they can guess names, and point them to files of the agent's user."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".learned.toml.new").symlink_to(victim)
    (tmp_path / "learned.toml").symlink_to(victim)
    Learning(tmp_path / "learned.toml").start()
    assert victim.read_text() == "mine"
    assert not (tmp_path / "learned.toml").is_symlink()


async def test_it_is_written_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    monkeypatch.setattr(learning, "LEARN_EVERY", 0.01)
    one = Learning(tmp_path / "learned.toml")
    one.start()
    task = asyncio.create_task(one.run())
    one.learner.note("visits", b"GET", b"/health", allowed=True)
    async with asyncio.timeout(10):
        while "/health" not in (tmp_path / "learned.toml").read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()


async def test_a_place_that_cannot_be_written(tmp_path: Path, logged: Logged) -> None:
    with pytest.raises(StartError, match="--learn cannot be written"):
        Learning(tmp_path / "nowhere" / "x").start()
    folder = tmp_path / "folder"
    folder.mkdir()
    one = Learning(folder / "learned.toml")
    one.start()
    folder.rename(tmp_path / "away")
    for path in (b"/a", b"/b"):
        one.learner.note("visits", b"GET", path, allowed=True)
        await one.finish()
    assert logged.texts.count("what was learned cannot be written") == 1
    folder.mkdir()
    await one.finish()
    assert "/b" in (folder / "learned.toml").read_text()
