"""The agent's key is replaced in one step or not at all, and every step can be repeated."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from protocol.errors import HandshakeError, SessionCode
from protocol.handshake import AgentHandshake
from protocol.keys import KeyFileError, generate, load_private_key, save_private_key
from tests.support.agent import agent_config, agent_toml
from tests.support.logs import kept
from tunnel_agent import cli, rotate
from tunnel_agent.config import AgentConfig
from tunnel_agent.dial import DialError
from tunnel_agent.rotate import Rotation

HUB_KEY = generate().public.line
HUBS = [{"url": f"ws://127.0.0.1:{port}/tunnel", "public_keys": [HUB_KEY]} for port in (1, 2)]


def files(folder: Path) -> dict[str, str]:
    """The keys that lie there, by their suffix."""
    return {
        file.name.removeprefix("agent.key"): load_private_key(file).public.fingerprint
        for file in folder.glob("agent.key*")
    }


@pytest.fixture
def config(tmp_path: Path) -> AgentConfig:
    return agent_config(tmp_path, hubs=HUBS)


@pytest.fixture
def hubs(monkeypatch: pytest.MonkeyPatch) -> dict[int, Any]:
    """By port: what the hub raises, None when it takes the key; "shown" is what was shown to it."""
    answers: dict[int, Any] = {1: None, 2: None, "shown": []}  # type: ignore[dict-item]

    async def shake_hands(hub: Any, make: Callable[[None], AgentHandshake]) -> None:
        handshake = make(None)
        assert handshake._next_key is not None
        answers["shown"].append((handshake._key.public, handshake._next_key.public))  # type: ignore[index]
        if answers[hub.url.port] is not None:
            raise answers[hub.url.port]

    monkeypatch.setattr(rotate, "shake_hands", shake_hands)
    return answers


def register(rotation: Rotation) -> list[str]:
    return [answer.problem for answer in asyncio.run(rotation.register())]


def test_all_hubs_take_it(config: AgentConfig, hubs: dict[Any, Any], tmp_path: Path) -> None:
    rotation = Rotation(config)
    old, new = rotation.old.public, rotation.new.public
    assert files(tmp_path) == {"": old.fingerprint, ".new": new.fingerprint}
    assert register(rotation) == ["", ""]
    assert hubs["shown"] == [(old, new)] * 2
    rotation.swap()
    assert files(tmp_path) == {"": new.fingerprint, ".old": old.fingerprint}
    for file in tmp_path.glob("agent.key*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = rotate.next_steps(rotation, "leeds-1")
    for word in ("SIGHUP", old.fingerprint, new.fingerprint, f"{tmp_path}/agent.key.old"):
        assert word in text


def test_a_second_rotation_replaces_the_kept_key(
    config: AgentConfig, hubs: dict[Any, Any], tmp_path: Path
) -> None:
    Rotation(config).swap()
    before = files(tmp_path)
    Rotation(config).swap()
    after = files(tmp_path)
    assert after[".old"] == before[""]
    assert after[""] not in before.values()


def test_one_hub_does_not(config: AgentConfig, hubs: dict[Any, Any], tmp_path: Path) -> None:
    hubs[2] = DialError("connect", "no connection to the hub: refused")
    first = Rotation(config)
    assert register(first)[0] == ""
    assert "no connection to the hub: refused" in register(first)[1]
    hubs[2] = HandshakeError(SessionCode.ENROLMENT_REFUSED, "The hub says: do this.")
    again = Rotation(config)
    assert again.new.public == first.new.public, "the key that the other hub has already"
    assert register(again) == ["", "The hub says: do this"]
    assert set(files(tmp_path)) == {"", ".new"}


@pytest.mark.parametrize("done", [0, 1])
def test_a_run_that_was_killed_between_its_steps(
    config: AgentConfig, hubs: dict[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    rotation = Rotation(config)
    old, new = rotation.old.public.fingerprint, rotation.new.public.fingerprint
    calls = 0
    real = os.replace

    def replace(*paths: Any) -> None:
        nonlocal calls
        if calls == done:
            raise OSError(5, "Input/output error")
        calls += 1
        real(*paths)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyFileError, match=r"cannot be replaced .Input/output error.: check its folder"):
            rotation.swap()
    assert files(tmp_path)[""] == old
    again = Rotation(config)
    assert again.new.public.fingerprint == new
    again.swap()
    assert files(tmp_path) == {"": new, ".old": old}


def test_a_link_to_the_key_stays_a_link(tmp_path: Path, hubs: dict[Any, Any]) -> None:
    (tmp_path / "kept").mkdir()
    save_private_key(generate(), tmp_path / "kept" / "real.key")
    (tmp_path / "agent.key").symlink_to("kept/real.key")
    rotation = Rotation(agent_config(tmp_path, hubs=HUBS))
    rotation.swap()
    assert (tmp_path / "agent.key").is_symlink()
    assert load_private_key(tmp_path / "agent.key").public == rotation.new.public
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == ["real.key", "real.key.old"]


def test_a_broken_new_key_is_named(config: AgentConfig, tmp_path: Path) -> None:
    (tmp_path / "agent.key.new").write_text("half a k")
    (tmp_path / "agent.key.new").chmod(0o600)
    with pytest.raises(KeyFileError, match=r"Or remove .*/agent\.key\.new, and a new key is made"):
        Rotation(config)


def test_a_credential_cannot_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(KeyFileError, match="systemd credential"):
        Rotation(agent_config(tmp_path, hubs=HUBS))
    assert set(files(tmp_path)) == {""}


class TestCommand:
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("agent.toml").write_text(agent_toml(tmp_path, hubs=HUBS))

    @staticmethod
    def run() -> Any:
        with kept():
            return CliRunner().invoke(cli.main, ["rotate-key"])

    def test_done(self, hubs: dict[Any, Any], tmp_path: Path) -> None:
        result = self.run()
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.count("has the new key") == 2
        assert "SIGHUP" in result.stdout
        assert set(files(tmp_path)) == {"", ".old"}

    def test_not_done(self, hubs: dict[Any, Any], tmp_path: Path) -> None:
        hubs[1] = TimeoutError()
        result = self.run()
        assert result.exit_code == 1
        assert "ws://127.0.0.1:2/tunnel: has the new key" in result.stdout
        refused, error = result.stderr.splitlines()
        assert refused.startswith("ws://127.0.0.1:1/tunnel: no answer from 127.0.0.1:1 within 25 s: ")
        assert error == (
            f"Error: nothing was changed here; the new key waits in {tmp_path}/agent.key.new: repeat this command."
        )
        assert set(files(tmp_path)) == {"", ".new"}

    def test_a_key_that_cannot_be_used(self, tmp_path: Path) -> None:
        (tmp_path / "agent.key.new").mkdir()
        result = self.run()
        assert (result.exit_code, result.stdout) == (1, "")
        assert len(result.stderr.splitlines()) == 1
