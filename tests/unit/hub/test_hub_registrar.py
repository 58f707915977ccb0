"""Which keys are good at a running hub: file and state together, changes by others, refusals in words."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.admission import EnrolmentRefused
from protocol.keys import PublicKey, generate
from protocol.ops.config import parse
from protocol.ops.values import Context
from protocol.tokens import EnrolToken
from tests.support.logs import Logged, kept
from tests.support.toml import to_toml
from tunnel_hub.config import Agent, HubConfig
from tunnel_hub.registrar import POLL, Registrar
from tunnel_hub.state import State, StateError


class Wheel:
    """Timers that fire when they are told to."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], object]]] = []

    def after(self, delay: float, callback: Callable[[], object]) -> Any:
        timer = (delay, callback)
        self.due.append(timer)
        outer = self

        class Timer:
            def cancel(self) -> None:
                if timer in outer.due:
                    outer.due.remove(timer)

        return Timer()

    def turn(self) -> None:
        assert [delay for delay, _ in self.due] == [POLL]
        self.due.pop()[1]()


FILED, OTHER = generate().public, generate().public


def agents(folder: Path, **keys: list[PublicKey]) -> dict[str, Agent]:
    text = to_toml(
        {
            "hub": {"id": "hub-1", "key_file": "hub.key"},
            "callers": {"authentication": "none"},
            "services": {"visits": {"hosts": ["visits.internal"]}},
            "agents": {
                name: {"public_keys": [key.line for key in lines], "services": ["visits"]}
                for name, lines in keys.items()
            },
        }
    )
    return parse(text, HubConfig, name="hub.toml", context=Context(folder, check_files=False)).agents


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "hub.db"
        self.wheel = Wheel()
        self.registrar = Registrar("hub-1", self.file, self.wheel, lambda: 1000.0)  # type: ignore[arg-type]
        self.changes = 0
        self.registrar.on_change = self._changed
        self.registrar.use(agents(folder, **{"leeds-1": [FILED], "york-1": [OTHER], "hull.1": []}))
        self._others: State | None = None

    def _changed(self) -> None:
        self.changes += 1

    @property
    def others(self) -> State:
        """The state as a command sees it, made if need be."""
        if self._others is None:
            self._others = State.create(self.file, lambda: 1000.0)
        return self._others

    def token(self, agent: str = "leeds-1") -> EnrolToken:
        token = EnrolToken(os.urandom(48))
        self.others.add_token(token.id, agent, token.public, 60.0)
        return token

    def keys(self, agent: str = "leeds-1") -> list[PublicKey]:
        known = self.registrar.lookup(agent)
        assert known is not None
        return list(known.public_keys)

    def close(self) -> None:
        self.registrar.stop()
        if self._others is not None:
            self._others.close()
        assert self.wheel.due == []


@pytest.fixture
def logged() -> Iterator[Logged]:
    with kept():
        yield Logged()


@pytest.fixture
def rig(tmp_path: Path, logged: Logged) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.close()


def refusal(change: Callable[[], None]) -> EnrolmentRefused:
    with pytest.raises(EnrolmentRefused) as caught:
        change()
    return caught.value


def test_without_a_state_the_file_alone_counts(rig: Rig) -> None:
    rig.registrar.start()
    assert rig.keys() == [FILED]
    assert rig.keys("hull.1") == []
    assert rig.registrar.lookup("nobody") is None
    assert rig.registrar.most_keys == 1
    assert rig.registrar.token_key(bytes(16)) is None
    rig.wheel.turn()
    error = refusal(lambda: rig.registrar.enrol("leeds-1", generate().public, bytes(16)))
    assert (error.detail, error.told) == ("the hub keeps no state", "")
    new = generate().public
    error = refusal(lambda: rig.registrar.rotate("hull.1", FILED, new))
    assert error.told == (
        f'The hub hub-1 takes agents\' keys from its file only: add the line "{new.line}" to public_keys under '
        '[agents."hull.1"] there, reload the hub, and run rotate-key again.'
    )
    assert not rig.file.exists()


def test_a_token_made_just_now_is_known_and_used_up(rig: Rig, logged: Logged) -> None:
    rig.registrar.start()
    token, new = rig.token(), generate().public
    assert rig.registrar.token_key(token.id) == token.public
    rig.registrar.enrol("leeds-1", new, token.id)
    assert rig.keys() == [FILED, new]
    assert rig.registrar.most_keys == 2
    assert "used before" in refusal(lambda: rig.registrar.enrol("leeds-1", generate().public, token.id)).detail
    [event] = [event for event in logged.events if event["event"] == "key enrolled"]
    assert (event["agent"], event["fingerprint"]) == ("leeds-1", new.fingerprint)
    [event] = [event for event in logged.events if event["event"] == "enrolment token made"]
    assert (event["agent"], event["token_id"]) == ("leeds-1", token.id.hex()[:8])


def test_rotation(rig: Rig, logged: Logged) -> None:
    rig.token()
    rig.registrar.start()
    new = generate().public
    rig.registrar.rotate("leeds-1", FILED, new)
    rig.registrar.rotate("leeds-1", FILED, new)
    assert rig.keys() == [FILED, new]
    assert [event["fingerprint"] for event in logged.events if event["event"] == "key rotated"] == [
        new.fingerprint
    ]


def test_a_revocation_by_command_is_noticed(rig: Rig, logged: Logged) -> None:
    rig.token()
    rig.registrar.start()
    before = rig.changes
    rig.wheel.turn()
    assert rig.changes == before
    rig.others.revoke("leeds-1", [FILED])
    rig.wheel.turn()
    assert rig.changes == before + 1
    assert rig.keys() == []
    assert rig.keys("york-1") == [OTHER]
    [event] = [event for event in logged.events if event["event"] == "key revoked"]
    assert (event["agent"], event["fingerprint"]) == ("leeds-1", FILED.fingerprint)
    rig.registrar.use(agents(rig.folder, **{"leeds-1": [FILED]}))
    assert rig.keys() == [], "the file does not bring it back"
    assert logged.texts[-1] == "a key that the hub's file lists was revoked, and is refused"


def test_what_is_known_at_the_start_is_no_news(rig: Rig, logged: Logged) -> None:
    rig.others.rotate("leeds-1", generate().public)
    rig.others.revoke("leeds-1", [FILED])
    rig.registrar.start()
    [good] = rig.keys()
    assert good != FILED
    [event] = logged.events
    assert event["event"] == "a key that the hub's file lists was revoked, and is refused"
    assert event["fingerprint"] == FILED.fingerprint


def test_a_state_that_appears_later_is_noticed(rig: Rig) -> None:
    rig.registrar.start()
    new = generate().public
    rig.others.rotate("leeds-1", new)
    rig.wheel.turn()
    assert rig.keys() == [FILED, new]


def test_enrolled_keys_of_an_agent_that_is_not_in_the_file(rig: Rig) -> None:
    rig.others.rotate("gone", generate().public)
    rig.registrar.start()
    assert rig.registrar.lookup("gone") is None


def test_a_third_key_is_refused_with_the_way_out(rig: Rig) -> None:
    rig.others.rotate("leeds-1", generate().public)
    rig.others.rotate("leeds-1", generate().public)
    rig.registrar.start()
    token = rig.token()
    for change in (
        lambda: rig.registrar.rotate("leeds-1", FILED, generate().public),
        lambda: rig.registrar.enrol("leeds-1", generate().public, token.id),
    ):
        error = refusal(change)
        assert error.told == (
            "The hub hub-1 has 2 enrolled keys of the agent leeds-1 already: take the one that is not used any "
            "more away with 'tunnel-hub revoke --agent leeds-1 --key FINGERPRINT' at the hub; 'tunnel-hub agents' "
            "lists them."
        )
    assert rig.others.facts().tokens[token.id].used is None


def test_another_agents_key(rig: Rig) -> None:
    token = rig.token()
    rig.registrar.start()
    error = refusal(lambda: rig.registrar.enrol("leeds-1", OTHER, token.id))
    assert (error.detail, error.told) == ("the key stands under agents.york-1", "")
    error = refusal(lambda: rig.registrar.rotate("leeds-1", FILED, OTHER))
    assert "york" not in error.told
    assert "remove the file of the new key at the agent" in error.told


def test_a_revoked_successor(rig: Rig) -> None:
    gone = generate().public
    rig.others.revoke("leeds-1", [gone])
    rig.registrar.start()
    error = refusal(lambda: rig.registrar.rotate("leeds-1", FILED, gone))
    assert "was revoked or is another agent's" in error.told


def test_a_state_that_cannot_be_written_at_the_moment(rig: Rig) -> None:
    token = rig.token()
    rig.registrar.start()
    with rig.others._transaction("IMMEDIATE"):
        error = refusal(lambda: rig.registrar.enrol("leeds-1", generate().public, token.id))
    assert "in use by another process" in error.detail
    assert error.told == "The hub hub-1 cannot keep keys at the moment: see its log."
    rig.registrar.enrol("leeds-1", generate().public, token.id)


def test_a_state_that_is_no_good_stops_the_start(rig: Rig) -> None:
    rig.file.write_text("no state at all\n" * 100)
    with pytest.raises(StateError, match="is damaged or no state file"):
        rig.registrar.start()


def test_a_state_that_goes_bad_later_leaves_what_was_known(rig: Rig, logged: Logged) -> None:
    rig.others.revoke("leeds-1", [FILED])
    rig.registrar.start()
    rig.file.unlink()
    for _ in range(3):
        rig.wheel.turn()
    assert rig.keys() == []
    [event] = [event for event in logged.events if event["level"] == "error"]
    assert "hub.db cannot be used" in event["problem"]


def test_a_state_that_comes_back_is_used_again(rig: Rig, logged: Logged, monkeypatch: pytest.MonkeyPatch) -> None:
    token = rig.token()
    rig.registrar.start()
    real = State.version

    def broken(_: State) -> int:
        raise StateError("The disk is away.")

    monkeypatch.setattr(State, "version", broken)
    rig.wheel.turn()
    assert (
        refusal(lambda: rig.registrar.enrol("leeds-1", generate().public, token.id)).detail == "The disk is away."
    )
    monkeypatch.setattr(State, "version", real)
    rig.wheel.turn()
    rig.registrar.enrol("leeds-1", generate().public, token.id)
    assert len(rig.keys()) == 2


def test_nothing_is_written_into_a_state_that_was_replaced(rig: Rig, logged: Logged) -> None:
    """By a backup that was restored beneath the running hub, for one."""
    token = rig.token()
    rig.registrar.start()
    copy = State.create(rig.folder / "copy.db")
    copy.close()
    (rig.folder / "copy.db").replace(rig.file)
    assert rig.registrar.token_key(token.id) == token.public
    new = generate().public
    error = refusal(lambda: rig.registrar.enrol("leeds-1", new, token.id))
    assert "was replaced by another: restart the hub" in error.detail
    assert error.told == "The hub hub-1 cannot keep keys at the moment: see its log."
    assert rig.keys() == [FILED]
    assert rig.others.facts().live("leeds-1") == []
