"""The hub's state file: tokens once, keys two at a time, revocation for good, and files that are no good."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protocol.keys import PublicKey, generate
from protocol.tokens import EnrolToken
from tunnel_hub.state import KEPT, LIVE_KEYS, RefusedError, State, StateError, exists


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@pytest.fixture
def state(file: Path, clock: Clock) -> Iterator[State]:
    state = State.create(file, clock)
    yield state
    state.close()


def key() -> PublicKey:
    return generate().public


def token(state: State, agent: str = "leeds-1", ttl: float = 60.0) -> bytes:
    made = EnrolToken(os.urandom(48))
    state.add_token(made.id, agent, made.public, ttl)
    return made.id


def refused(state: State, agent: str, new: PublicKey, token_id: bytes) -> RefusedError:
    before = state.facts()
    with pytest.raises(RefusedError) as caught:
        state.enrol(agent, new, token_id)
    assert state.facts() == before
    return caught.value


class TestTokens:
    def test_a_token_registers_one_key_once(self, state: State, clock: Clock) -> None:
        token_id, first = token(state), key()
        state.enrol("leeds-1", first, token_id)
        facts = state.facts()
        assert facts.live("leeds-1") == [first]
        assert facts.keys[first] == ("leeds-1", clock.now, "token")
        assert facts.tokens[token_id].used == clock.now
        assert str(refused(state, "leeds-1", key(), token_id)) == "the token was used before"

    def test_it_expires_on_the_second(self, state: State, clock: Clock) -> None:
        early, late = token(state, ttl=60.0), token(state, ttl=60.0)
        clock.now += 59.999
        state.enrol("leeds-1", key(), early)
        clock.now += 0.001
        assert str(refused(state, "leeds-1", key(), late)) == "the token has expired"

    def test_it_is_for_one_agent(self, state: State) -> None:
        token_id = token(state)
        assert str(refused(state, "york-1", key(), token_id)) == "the token is for leeds-1"
        state.enrol("leeds-1", key(), token_id)

    def test_an_unknown_one(self, state: State) -> None:
        assert str(refused(state, "leeds-1", key(), bytes(16))) == "no such token"

    def test_cancelled_ones(self, state: State) -> None:
        mine, other = token(state), token(state, "york-1")
        assert state.cancel_tokens("leeds-1") == 1
        assert state.cancel_tokens("leeds-1") == 0
        assert str(refused(state, "leeds-1", key(), mine)) == "the token has expired"
        state.enrol("york-1", key(), other)

    def test_old_ones_are_forgotten(self, state: State, clock: Clock) -> None:
        old = token(state)
        clock.now += KEPT + 61
        new = token(state)
        assert set(state.facts().tokens) == {new}
        assert str(refused(state, "leeds-1", key(), old)) == "no such token"

    def test_the_secret_is_not_in_the_file(self, state: State, file: Path) -> None:
        made = EnrolToken(os.urandom(48))
        state.add_token(made.id, "leeds-1", made.public, 60.0)
        state.close()
        content = b"".join(each.read_bytes() for each in file.parent.iterdir())
        assert made.id in content
        assert made._random[16:] not in content
        assert made.text.encode() not in content


class TestKeys:
    def test_two_at_once_and_a_third_after_one_is_revoked(self, state: State) -> None:
        first, second, third = key(), key(), key()
        state.enrol("leeds-1", first, token(state))
        state.rotate("leeds-1", second)
        assert state.facts().live("leeds-1") == [first, second]
        spare = token(state)
        error = refused(state, "leeds-1", third, spare)
        assert error.full
        assert str(error) == f"the agent has {LIVE_KEYS} enrolled keys already"
        with pytest.raises(RefusedError) as caught:
            state.rotate("leeds-1", third)
        assert caught.value.full
        state.enrol("york-1", key(), token(state, "york-1"))
        assert state.revoke("leeds-1", [first]) == [first]
        state.enrol("leeds-1", third, spare)
        assert state.facts().live("leeds-1") == [second, third]

    def test_rotation_can_be_repeated(self, state: State) -> None:
        new = key()
        state.rotate("leeds-1", new)
        state.rotate("leeds-1", new)
        assert state.facts().live("leeds-1") == [new]
        assert state.facts().keys[new].how == "rotation"

    def test_a_revoked_key_never_comes_back(self, state: State) -> None:
        gone = key()
        assert state.revoke("leeds-1", [gone]) == [gone]
        assert state.revoke("leeds-1", [gone]) == []
        for agent in ("leeds-1", "york-1"):
            assert str(refused(state, agent, gone, token(state, agent))) == "the key was revoked"
            with pytest.raises(RefusedError, match="revoked"):
                state.rotate(agent, gone)

    def test_a_key_belongs_to_one_agent(self, state: State) -> None:
        mine = key()
        state.enrol("leeds-1", mine, token(state))
        assert str(refused(state, "york-1", mine, token(state, "york-1"))) == "the key is registered for leeds-1"


class TestSharing:
    def test_a_change_by_another_process_is_noticed(self, state: State, file: Path) -> None:
        other = State(file)
        try:
            before = state.version()
            assert state.version() == before
            new = key()
            other.rotate("leeds-1", new)
            after = state.version()
            assert after != before
            assert state.facts().live("leeds-1") == [new]
            assert state.version() == after
        finally:
            other.close()

    def test_of_many_at_once_one_uses_the_token(self, state: State, file: Path) -> None:
        token_id = token(state)

        def enrol(_: int) -> str:
            mine = State(file, state._now)
            try:
                mine.enrol("leeds-1", key(), token_id)
            except (RefusedError, StateError) as error:
                return str(error)
            else:
                return ""
            finally:
                mine.close()

        with ThreadPoolExecutor(8) as pool:
            outcomes = list(pool.map(enrol, range(16)))
        assert outcomes.count("") == 1
        assert len(state.facts().live("leeds-1")) == 1

    def test_reading_does_not_wait_for_a_writer(self, state: State, file: Path) -> None:
        writer = sqlite3.connect(file, isolation_level=None)
        try:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("DELETE FROM tokens")
            state.version()
            state.facts()
            with pytest.raises(StateError, match="in use by another process: try again"):
                state.rotate("leeds-1", key())
        finally:
            writer.close()
        state.rotate("leeds-1", key())

    def test_many_make_the_file_at_once(self, file: Path) -> None:
        def add(_: int) -> bytes:
            mine = State.create(file)
            try:
                made = EnrolToken(os.urandom(48))
                mine.add_token(made.id, "leeds-1", made.public, 60.0)
                return made.id
            finally:
                mine.close()

        with ThreadPoolExecutor(4) as pool:
            made = set(pool.map(add, range(8)))
        state = State(file)
        assert set(state.facts().tokens) == made
        state.close()
        assert [each.name for each in file.parent.iterdir()] == ["hub.db"]


class TestFile:
    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
    def test_one_that_others_may_write_is_not_believed(self, state: State, file: Path, mode: int) -> None:
        file.chmod(mode)
        with pytest.raises(StateError, match="can be written by others"):
            State(file)
        file.chmod(0o640)
        State(file).close()

    def test_only_its_owner_reads_it(self, state: State, file: Path) -> None:
        token(state)
        for each in file.parent.iterdir():
            assert stat.S_IMODE(each.stat().st_mode) == 0o600, each.name

    def test_what_was_written_is_there_the_next_time(self, file: Path, clock: Clock) -> None:
        state = State.create(file, clock)
        state.enrol("leeds-1", key(), token(state))
        state.revoke("york-1", [key()])
        before = state.facts()
        state.close()
        again = State.create(file, clock)
        assert again.facts() == before
        again.close()

    def test_no_file(self, file: Path) -> None:
        with pytest.raises(StateError, match=r"hub\.db does not exist: 'tunnel-hub enrol-token' makes it"):
            State(file)
        assert not file.exists()

    def test_no_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StateError, match=r"cannot be used .No such file or directory.: let the user"):
            State.create(tmp_path / "no" / "hub.db")

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        """What cannot be looked at does not count as missing: revoked keys would be good again."""
        (tmp_path / "file").write_text("")
        for opening in (State, State.create, exists):
            with pytest.raises(StateError, match=r"cannot be used .Not a directory"):
                opening(tmp_path / "file" / "hub.db")

    @pytest.mark.parametrize("content", [b"this is no database, whatever it may be called\n" * 30, b"x"])
    def test_a_damaged_file(self, file: Path, content: bytes) -> None:
        file.write_bytes(content)
        for opening in (State, State.create):
            with pytest.raises(StateError, match=r"is damaged or no state file .* restore it from a backup"):
                opening(file)
        assert file.read_bytes() == content

    def test_a_damaged_page(self, state: State, file: Path) -> None:
        for _ in range(200):
            token(state)
        state.close()
        with file.open("r+b") as opened:
            opened.seek(4096)
            opened.write(b"\xff" * 8192)
        damaged = State(file)
        with pytest.raises(StateError, match="is damaged"):
            damaged.facts()
        damaged.close()

    def test_a_row_that_is_no_key(self, state: State, file: Path) -> None:
        with sqlite3.connect(file) as database:
            database.execute("INSERT INTO revoked VALUES ('ed25519:nonsense', 'leeds-1', 0)")
        database.close()
        with pytest.raises(StateError, match="is damaged or no state file"):
            state.facts()

    @pytest.mark.parametrize("version", [2, 77])
    def test_another_release(self, state: State, file: Path, version: int) -> None:
        state.close()
        with sqlite3.connect(file) as database:
            database.execute(f"PRAGMA user_version = {version}")
        database.close()
        with pytest.raises(StateError, match=f"version {version}, not 1.: name another file"):
            State(file)

    def test_a_file_in_its_place(self, state: State, file: Path, tmp_path: Path) -> None:
        other = State.create(tmp_path / "other.db")
        other.close()
        (tmp_path / "other.db").replace(file)
        with pytest.raises(StateError, match="was replaced by another: restart the hub"):
            state.version()

    def test_a_file_that_is_gone(self, state: State, file: Path) -> None:
        file.unlink()
        with pytest.raises(StateError, match=r"cannot be used .No such file"):
            state.version()
