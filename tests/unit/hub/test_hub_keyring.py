"""The hub's commands about keys: streams, exit codes, words, and what they do to the state."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from protocol.keys import PrivateKey, PublicKey, generate, save_private_key
from protocol.tokens import parse_token
from tests.support.logs import kept
from tests.support.toml import merge, to_toml
from tunnel_hub import cli
from tunnel_hub.state import State

FILED = PrivateKey.from_seed(bytes(32)).public
CONFIG: dict[str, Any] = {
    "hub": {"id": "hub-1", "key_file": "hub.key"},
    "callers": {"authentication": "none"},
    "services": {"visits": {"hosts": ["visits.internal"]}},
    "agents": {"leeds-1": {"public_keys": [FILED.line], "services": ["visits"]}, "york-1": {}},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    write()
    with kept():
        yield tmp_path


def write(**over: Any) -> None:
    Path("hub.toml").write_text(to_toml(merge(CONFIG, over)))


def hub(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def rings() -> dict[str, Any]:
    found = hub("agents", "--json")
    assert (found.exit_code, found.stderr) == (0, "")
    return {ring["agent"]: ring for ring in json.loads(found.stdout)["agents"]}


def enrol(agent: str = "leeds-1") -> PublicKey:
    """What the running hub does when an agent shows the token."""
    token = parse_token(hub("enrol-token", "--agent", agent).stdout.rstrip("\n"))
    new = generate().public
    state = State(Path("hub.db"))
    state.enrol(agent, new, token.id)
    state.close()
    return new


class TestEnrolToken:
    def test_stdout_is_the_token_and_nothing_else(self) -> None:
        result = hub("enrol-token", "--config", "hub.toml", "--agent", "leeds-1", "--ttl", "90m")
        assert result.exit_code == 0
        token = parse_token(result.stdout.removesuffix("\n"))
        assert "leeds-1" in result.stderr
        assert "90m" in result.stderr
        assert token.text not in result.stderr
        state = State(Path("hub.db"))
        [(token_id, row)] = state.facts().tokens.items()
        state.close()
        assert (token_id, row.agent, row.key, row.used) == (token.id, "leeds-1", token.public, None)
        assert Path("hub.db").stat().st_mode & 0o777 == 0o600
        assert hub("enrol-token", "--agent", "leeds-1").stdout != result.stdout

    def test_the_file_may_be_elsewhere(self, tmp_path: Path) -> None:
        write(state={"file": "kept/hub.db"})
        (tmp_path / "kept").mkdir()
        assert hub("enrol-token", "--agent", "leeds-1").exit_code == 0
        assert (tmp_path / "kept" / "hub.db").exists()
        assert not (tmp_path / "hub.db").exists()

    def test_an_agent_that_the_file_does_not_name(self, tmp_path: Path) -> None:
        result = hub("enrol-token", "--agent", "leeds-2")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == 'Error: the hub\'s file has no agent "leeds-2"; did you mean "leeds-1"?\n'
        assert not (tmp_path / "hub.db").exists()

    @pytest.mark.parametrize(
        ("ttl", "words"), [("1", "30s"), ("0s", "above zero"), ("31d", "30 days at most"), ("", "30s")]
    )
    def test_a_bad_ttl(self, ttl: str, words: str, tmp_path: Path) -> None:
        result = hub("enrol-token", "--agent", "leeds-1", "--ttl", ttl)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("Error: --ttl: ")
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not (tmp_path / "hub.db").exists()

    def test_a_file_that_is_no_good(self) -> None:
        Path("hub.db").write_text("nothing of the kind\n" * 100)
        for command in (["enrol-token", "--agent", "leeds-1"], ["agents"], ["revoke", "--agent", "leeds-1"]):
            result = hub(*command)
            assert (result.exit_code, result.stdout) == (1, "")
            assert "hub.db is damaged or no state file" in result.stderr
            assert len(result.stderr.splitlines()) == 1

    def test_check_looks_at_it_too(self) -> None:
        save_private_key(generate(), "hub.key")
        assert hub("check").exit_code == 0
        assert not Path("hub.db").exists()
        Path("hub.db").write_text("nothing of the kind\n" * 100)
        result = hub("check")
        assert result.exit_code == 2
        assert "hub.db is damaged" in result.stderr


class TestAgents:
    def test_without_a_state(self) -> None:
        found = rings()
        assert list(found) == ["leeds-1", "york-1"]
        assert found["leeds-1"]["keys"] == [
            {
                "fingerprint": FILED.fingerprint,
                "public_key": FILED.line,
                "sources": ["file"],
                "how": None,
                "enrolled": None,
                "revoked": None,
            }
        ]
        assert found["york-1"] == {"agent": "york-1", "in_file": True, "keys": [], "tokens": []}
        assert not Path("hub.db").exists()
        text = hub("agents").stdout
        assert FILED.fingerprint in text
        assert "no key" in text

    def test_everything_that_is_known(self) -> None:
        new = enrol()
        token = hub("enrol-token", "--agent", "york-1").stdout.strip()
        hub("revoke", "--agent", "leeds-1", "--key", FILED.fingerprint)
        found = rings()
        filed, enrolled = found["leeds-1"]["keys"]
        assert (filed["fingerprint"], filed["sources"]) == (FILED.fingerprint, ["file"])
        assert filed["revoked"] is not None
        assert (enrolled["fingerprint"], enrolled["sources"]) == (new.fingerprint, ["enrolled"])
        assert (enrolled["how"], enrolled["revoked"]) == ("token", None)
        assert enrolled["enrolled"].endswith("Z")
        assert len(found["york-1"]["tokens"]) == 1
        text = hub("agents").stdout
        for word in (new.fingerprint, "enrolled (token)", "revoked 20", "unused, until 20"):
            assert word in text
        assert token not in text
        assert token not in json.dumps(found)

    def test_agents_that_left_the_file(self) -> None:
        new = enrol()
        write(agents={"leeds-1": None})
        ring = rings()["leeds-1"]
        assert not ring["in_file"]
        assert [key["fingerprint"] for key in ring["keys"]] == [new.fingerprint]
        assert "leeds-1 (not in the file)" in hub("agents").stdout


class TestRevoke:
    def test_one_key(self) -> None:
        new = enrol()
        result = hub("revoke", "--agent", "leeds-1", "--key", new.fingerprint)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"revoked {new.fingerprint} of leeds-1\n"
        assert [key["revoked"] is None for key in rings()["leeds-1"]["keys"]] == [True, False]
        again = hub("revoke", "--agent", "leeds-1", "--key", new.fingerprint)
        assert again.exit_code == 0
        assert again.stdout == "nothing to do: what leeds-1 had is revoked already\n"

    def test_all_keys_and_open_tokens(self) -> None:
        new = enrol()
        hub("enrol-token", "--agent", "leeds-1")
        result = hub("revoke", "--agent", "leeds-1")
        assert result.stdout.splitlines() == [
            f"revoked {FILED.fingerprint} of leeds-1",
            f"revoked {new.fingerprint} of leeds-1",
            "unused tokens for leeds-1 that are no good any more: 1",
        ]
        ring = rings()["leeds-1"]
        assert all(key["revoked"] for key in ring["keys"])
        assert ring["tokens"] == []

    def test_without_a_state_it_is_made(self, tmp_path: Path) -> None:
        assert hub("revoke", "--agent", "leeds-1").exit_code == 0
        assert rings()["leeds-1"]["keys"][0]["revoked"]
        write(agents={"leeds-1": {"public_keys": []}})
        [key] = rings()["leeds-1"]["keys"]
        assert key["sources"] == []
        assert "removed" in hub("agents").stdout

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--agent", "leeds-2"], 'neither file nor state knows the agent "leeds-2"; did you mean "leeds-1"?'),
            (["--agent", "leeds-1", "--key", "0" * 16], f"known here: {FILED.fingerprint}"),
            (["--agent", "york-1", "--key", "0" * 16], "there is none to choose from"),
        ],
    )
    def test_who_is_not_known(self, arguments: list[str], words: str, tmp_path: Path) -> None:
        result = hub("revoke", *arguments)
        assert (result.exit_code, result.stdout) == (1, "")
        assert words in result.stderr
        assert not (tmp_path / "hub.db").exists()
