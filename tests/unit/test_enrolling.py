"""The agent's first boot: whose key is made when, which token is shown, and what becomes of its file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol.handshake import AgentHandshake
from protocol.keys import KeyFileError, generate, save_private_key
from protocol.limits import Limits
from protocol.ops.config import ConfigError, parse
from protocol.ops.values import Context
from protocol.tokens import EnrolToken
from tests.support.logs import Logged, kept
from tests.support.toml import to_toml
from tunnel_agent.config import AgentConfig
from tunnel_agent.dial import DialError, Identity
from tunnel_agent.enrolling import forget_token, own_key, own_key_or_new, read_token

HUB_KEY = generate().public.line


def token() -> EnrolToken:
    return EnrolToken(os.urandom(48))


@pytest.fixture
def logged() -> Iterator[Logged]:
    with kept():
        yield Logged()


def config(folder: Path, *, hubs: int = 1, environ: dict[str, str] | None = None, **entry: Any) -> AgentConfig:
    """agent.toml; `entry` goes into the first hub's table."""
    tables = [
        {"url": f"ws://127.0.0.1:{number}/tunnel", "public_keys": [HUB_KEY]} for number in range(1, hubs + 1)
    ]
    tables[0].update(entry)
    text = to_toml(
        {
            "agent": {"id": "leeds-1", "key_file": "agent.key"},
            "hubs": tables,
            "services": {"visits": {"upstream": "http://127.0.0.1:9", "allow": ["GET /**"]}},
        }
    )
    return parse(text, AgentConfig, name="agent.toml", context=Context(folder, True, environ or {}))


class TestConfig:
    def test_a_key_may_be_missing_where_a_token_is(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(token().text + "\n")
        assert config(tmp_path, hubs=2, enrol_token_file="token").agent.key_file == tmp_path / "agent.key"
        assert not (tmp_path / "agent.key").exists()

    @pytest.mark.parametrize("entry", [{}, {"enrol_token_file": "token"}])
    def test_but_not_without(self, tmp_path: Path, entry: dict[str, str]) -> None:
        with pytest.raises(ConfigError) as caught:
            config(tmp_path, **entry)
        [problem] = caught.value.problems
        assert problem.key == "agent.key_file"
        assert problem.message == (
            f"The key file {tmp_path}/agent.key does not exist: make one with keygen --out {tmp_path}/agent.key."
        )

    def test_a_key_that_is_there_is_looked_at(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(token().text)
        (tmp_path / "agent.key").write_text("no key")
        with pytest.raises(ConfigError, match=r"agent\.key_file: The key file .* can be read by others"):
            config(tmp_path, enrol_token_file="token")

    def test_the_token_may_be_gone(self, tmp_path: Path) -> None:
        save_private_key(generate(), tmp_path / "agent.key")
        assert config(tmp_path, enrol_token_file="token").hubs[0].enrol_token_file == tmp_path / "token"

    def test_a_file_that_holds_no_token(self, tmp_path: Path) -> None:
        save_private_key(generate(), tmp_path / "agent.key")
        text = token().text[:-3]
        (tmp_path / "token").write_text(text)
        with pytest.raises(
            ConfigError, match=r"hubs\[0\]\.enrol_token_file: .*token holds no enrolment"
        ) as caught:
            config(tmp_path, enrol_token_file="token")
        assert text not in str(caught.value)


class TestKey:
    def test_it_is_made_once(self, tmp_path: Path, logged: Logged) -> None:
        (tmp_path / "token").write_text(token().text)
        table = config(tmp_path, enrol_token_file="token")
        made = own_key_or_new(table)
        assert stat.S_IMODE((tmp_path / "agent.key").stat().st_mode) == 0o600
        again = own_key_or_new(table)
        assert made.public == again.public == own_key(table).public
        [event] = logged.events
        assert event["fingerprint"] == made.public.fingerprint

    def test_where_it_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(token().text)
        table = config(tmp_path, enrol_token_file="token")
        nowhere = msgspec.structs.replace(table.agent, key_file=tmp_path / "nowhere" / "agent.key")
        with pytest.raises(KeyFileError, match=r"nowhere/agent\.key cannot be made .* check that its directory"):
            own_key_or_new(msgspec.structs.replace(table, agent=nowhere))


def shown(handshake: AgentHandshake) -> EnrolToken | None:
    return handshake._token


class TestToken:
    def test_it_is_shown_as_long_as_its_file_is_there(self, tmp_path: Path) -> None:
        file, made = tmp_path / "token", token()
        file.write_text(made.text + "\n")
        hub = config(tmp_path, enrol_token_file="token").hubs[0]
        identity = Identity("leeds-1", generate(), ("visits",), Limits())
        first = shown(identity.enrolling(hub, None))
        assert first is not None
        assert first.id == made.id
        assert shown(identity.handshake(hub, None)) is None, "what a check uses"
        file.write_text("something else")
        with pytest.raises(DialError, match="token holds no enrolment token") as caught:
            identity.enrolling(hub, None)
        assert caught.value.stage == "files"
        assert "something" not in str(caught.value)
        file.unlink()
        assert shown(identity.enrolling(hub, None)) is None

    def test_its_file_is_removed(self, tmp_path: Path, logged: Logged) -> None:
        file, made = tmp_path / "token", token()
        file.write_text(made.text)
        hub = config(tmp_path, enrol_token_file="token").hubs[0]
        forget_token(hub, made.id)
        assert not file.exists()
        forget_token(hub, made.id)
        assert len(logged.events) == 1
        assert made.text not in str(logged.events)

    def test_another_token_is_left_alone(self, tmp_path: Path, logged: Logged) -> None:
        file, old, new = tmp_path / "token", token(), token()
        file.write_text(new.text)
        hub = config(tmp_path, enrol_token_file="token").hubs[0]
        forget_token(hub, old.id)
        assert file.read_text() == new.text
        file.write_text("not finished yet")
        forget_token(hub, old.id)
        assert file.exists()
        assert logged.events == []

    def test_a_credential_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
        folder, made = tmp_path / "credentials", token()
        folder.mkdir()
        (folder / "enrol").write_text(made.text)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
        table = config(
            tmp_path, enrol_token_file="credential:enrol", environ={"CREDENTIALS_DIRECTORY": str(folder)}
        )
        forget_token(table.hubs[0], made.id)
        assert (folder / "enrol").exists()
        assert logged.events == []

    def test_a_file_that_cannot_be_removed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged
    ) -> None:
        made = token()
        (tmp_path / "token").write_text(made.text)
        hub = config(tmp_path, enrol_token_file="token").hubs[0]

        def unlink(_: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "unlink", unlink)
        forget_token(hub, made.id)
        [event] = logged.events
        assert event["level"] == "warning"
        assert event["reason"] == "Permission denied"
        assert made.text not in str(event)

    def test_no_file_is_no_token(self, tmp_path: Path) -> None:
        assert read_token(None) is None
        assert read_token(tmp_path / "token") is None
        save_private_key(generate(), tmp_path / "agent.key")
        forget_token(config(tmp_path).hubs[0], bytes(16))
