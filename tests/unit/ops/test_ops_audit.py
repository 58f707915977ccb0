"""The audit's file: complete on close, one chain over restarts, crashes, rotations and processes."""

from __future__ import annotations

import fcntl
import itertools
import json
import multiprocessing
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.ops import audit, chainfile
from protocol.ops.audit import FLOOD, FLOOD_ALL, KINDS_MAX, Audit, AuditFile, file_hash, make
from protocol.ops.chain import Report, verify
from protocol.ops.chainfile import ChainFile
from protocol.ops.sockets import StartError
from tests.support.logs import Logged, kept
from tests.support.waiting import wait_until


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def logged() -> Iterator[Logged]:
    with kept():
        yield Logged()


def entries(*files: Path) -> list[dict[str, Any]]:
    """The lines but for torn ones."""
    lines = [line for file in files for line in file.read_bytes().split(b"\n")]
    return [json.loads(line) for line in lines if line.endswith(b"}")]


def events(*files: Path) -> list[str]:
    return [entry["event"] for entry in entries(*files)]


def sound(*files: Path) -> Report:
    report = verify(files)
    assert report.wrong is None, report.wrong
    return report


def run(file: Path, *names: str) -> None:
    """One life of a program."""
    one = AuditFile(file)
    one.start()
    for name in names:
        one.write(name)
    assert one.close()


def written(one: AuditFile, count: int) -> None:
    wait_until(lambda: one.written >= count, f"{count} lines on disk")


def test_off_it_does_nothing(tmp_path: Path) -> None:
    one = make(None)
    assert type(one) is Audit
    one.start()
    one.write("start", path="/x")
    assert one.close()
    assert (one.written, one.lost, list(tmp_path.iterdir())) == (0, 0, [])


def test_lines_are_on_disk_soon_and_for_the_owner_alone(file: Path) -> None:
    one = make(file)
    assert isinstance(one, AuditFile)
    one.start()
    one.write("start", hub="hub-1", off=["visits"])
    written(one, 1)
    (entry,) = entries(file)
    assert (entry["seq"], entry["event"], entry["hub"], entry["off"]) == (1, "start", "hub-1", ["visits"])
    assert entry["time"].endswith("Z")
    assert len(entry["time"]) == len("2026-11-27T08:00:00.000Z")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert one.close()
    one.write("late")
    assert one.lost == 1


def test_the_chain_goes_on_after_a_restart(file: Path) -> None:
    run(file, "start", "stop")
    run(file, "start", "stop")
    assert sound(file).lines == 4
    assert [entry["seq"] for entry in entries(file)] == [1, 2, 3, 4]


@pytest.mark.parametrize("left", [b"{", b'{"seq":3,"time":"2026', b"\0" * 100, b"garbage"])
def test_a_torn_line_is_kept_and_accounted_for(file: Path, left: bytes) -> None:
    run(file, "start", "stop")
    with file.open("ab") as end:
        end.write(left)
    assert verify([file]).wrong is not None
    run(file, "start")
    assert left + b"\n" in file.read_bytes()
    report = sound(file)
    assert "line 3 was torn by a crash" in report.notes[0]
    assert events(file)[-2:] == ["torn", "start"]
    run(file, "again")
    assert sound(file).lines == 5


def test_a_file_that_is_torn_from_its_first_line(file: Path) -> None:
    file.write_bytes(b'{"seq":1,')
    run(file, "start")
    assert sound(file).lines == 2


def test_a_line_that_lost_its_end_only(file: Path) -> None:
    run(file, "start", "stop")
    file.write_bytes(file.read_bytes()[:-1])
    run(file, "start")
    assert sound(file).notes == ()
    assert events(file) == ["start", "stop", "start"]


def test_every_place_to_be_torn_at(file: Path) -> None:
    run(file, "start", "stop")
    whole = file.read_bytes()
    first = whole.index(b"\n") + 1
    for size in range(first + 1, len(whole)):
        file.write_bytes(whole[:size])
        tail = ChainFile(file)
        tail.open()
        tail.append([(0.0, "start", {})])
        tail.close()
        sound(file)


def test_a_file_of_something_else_is_not_touched(file: Path) -> None:
    file.write_text('[hub]\nid = "hub-1"\n')
    before = file.read_bytes()
    with pytest.raises(StartError, match=r"the last line of the audit file .* move it away"):
        AuditFile(file).start()
    assert file.read_bytes() == before


def test_a_changed_last_line_is_not_taken_for_a_crash(file: Path) -> None:
    run(file, "start", "stop")
    file.write_bytes(file.read_bytes().replace(b"stop", b"stob"))
    with pytest.raises(StartError, match="was changed"):
        AuditFile(file).start()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="No such file or directory"):
        AuditFile(tmp_path / "nowhere" / "audit.jsonl").start()
    with pytest.raises(StartError, match="or change audit"):
        AuditFile(tmp_path).start()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StartError, match="not a file"):
        AuditFile(tmp_path / "pipe").start()


def test_a_lock_that_nobody_lets_go_of(file: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged) -> None:
    monkeypatch.setattr(chainfile, "LOCK_PATIENCE", 0.05)
    one = AuditFile(file)
    one.start()
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StartError, match="another process holds its lock"):
            AuditFile(file).start()
        one.write("start")
        wait_until(lambda: one.lost == 1, "the line to be given up")
    one.write("next")
    written(one, 1)
    assert one.close()
    assert [(entry["event"], entry["lost"]) for entry in entries(file)] == [("next", 1)]


def test_a_disk_that_fails_is_told_once_and_counted(
    file: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    one = AuditFile(file)
    one.start()
    one.write("start")
    written(one, 1)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(chainfile.os, "write", lambda fd, data: write(fd, data[:20]))
        for number in range(3):
            one.write("unlucky")
            wait_until(lambda: one.lost == number + 1, "the line to be lost")  # noqa: B023
    one.write("lucky")
    written(one, 2)
    assert one.close()
    assert logged.texts.count("the audit cannot be written") == 1
    assert "the audit is written again" in logged.texts
    report = sound(file)
    assert "torn" in report.notes[0]
    last = entries(file)[-1]
    assert (last["event"], last["lost"]) == ("lucky", 3)


def test_a_fault_of_our_own_costs_the_lines_only(
    file: Path, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    one = AuditFile(file)
    one.start()
    with monkeypatch.context() as patch:
        patch.setattr(chainfile, "forge", lambda *_: 1 / 0)
        one.write("unlucky")
        wait_until(lambda: one.lost == 1, "the line to be lost")
    one.write("lucky")
    assert one.close()
    assert [(entry["event"], entry["lost"]) for entry in entries(file)] == [("lucky", 1)]


def test_what_does_not_fit_is_counted(file: Path) -> None:
    one = AuditFile(file, queue_max=3)
    for number in range(5):
        one.write("early", number=number)
    one.start()
    assert one.close()
    assert one.lost == 2
    assert [(entry["number"], entry.get("lost")) for entry in entries(file)] == [(0, 2), (1, None), (2, None)]


def test_losses_are_told_at_the_end(file: Path) -> None:
    one = AuditFile(file, queue_max=0)
    one.start()
    one.write("start")
    assert one.close()
    assert [(entry["event"], entry["lost"]) for entry in entries(file)] == [("lost", 1)]


class TestFloods:
    def merged(self, file: Path) -> list[tuple[str, str, int]]:
        return [(e["of"], e["reason"], e["count"]) for e in entries(file) if e["event"] == "merged"]

    def test_refusals_of_one_kind_are_merged(self, file: Path) -> None:
        one = AuditFile(file)
        one.start()
        for number in range(1000):
            one.write("boundary refused", reason="no rule", path=f"/{number}")
            one.write("session opened", number=number)
        one.write("boundary refused", reason="read-only", path="/x")
        assert one.close()
        found = events(file)
        alone = found.count("boundary refused")
        told = self.merged(file)
        assert found.count("session opened") == 1000
        assert {(of, reason) for of, reason, _ in told} == {("boundary refused", "no rule")}
        assert alone + sum(count for *_, count in told) == 1001, "none is forgotten"
        assert alone < 1001
        sound(file)

    def test_the_count_does_not_wait_for_the_next_one(self, file: Path) -> None:
        one = AuditFile(file)
        one.start()
        for _ in range(FLOOD * 3):
            one.write("boundary refused", reason="no rule")
        wait_until(lambda: bool(self.merged(file)), "the count")
        assert one.close()

    def test_who_invents_kinds_gets_one(self) -> None:
        floods = audit._Floods()
        admitted = sum(floods.admits(7.0, "x refused", {"reason": str(number)}) for number in range(10_000))
        assert admitted == KINDS_MAX + FLOOD
        told = list(floods.ended(8.0))
        assert sum(values["count"] for _, _, values in told) == 10_000 - admitted
        assert len(told) == 1
        assert list(floods.ended(9.0)) == []

    def test_all_kinds_together_are_bounded(self) -> None:
        floods = audit._Floods()
        asked = [(f"kind {number}", turn) for turn in range(FLOOD) for number in range(KINDS_MAX)]
        admitted = sum(floods.admits(7.0, "x refused", {"reason": reason}) for reason, _ in asked)
        assert admitted == FLOOD_ALL
        told = list(floods.ended(8.0))
        assert sum(values["count"] for _, _, values in told) == len(asked) - FLOOD_ALL
        assert len(told) <= KINDS_MAX + 1

    def test_each_second_anew(self) -> None:
        floods = audit._Floods()
        for second in range(3):
            list(floods.ended(second))
            assert sum(floods.admits(second, "x refused", {}) for _ in range(FLOOD + 5)) == FLOOD
        assert list(floods.ended(2.9)) == []
        assert floods.counting


class TestRotation:
    def test_the_new_file_goes_on(self, file: Path, tmp_path: Path) -> None:
        old = tmp_path / "audit.jsonl.1"
        one = AuditFile(file)
        one.start()
        one.write("start")
        written(one, 1)
        file.rename(old)
        one.write("config reloaded")
        assert one.close()
        assert events(file) == ["continued", "config reloaded"]
        assert sound(old, file).lines == 3
        assert entries(old)[-1]["hash"] in sound(file).notes[0]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert verify([file, old]).wrong is not None

    def test_a_file_cut_to_nothing(self, file: Path, tmp_path: Path) -> None:
        """copytruncate"""
        one = AuditFile(file)
        one.start()
        one.write("start")
        written(one, 1)
        old = tmp_path / "copy"
        old.write_bytes(file.read_bytes())
        os.truncate(file, 0)
        one.write("more")
        assert one.close()
        assert sound(old, file).lines == 3

    def test_a_place_that_is_gone(self, tmp_path: Path, logged: Logged) -> None:
        folder = tmp_path / "log"
        folder.mkdir()
        file = folder / "audit.jsonl"
        one = AuditFile(file)
        one.start()
        folder.rename(tmp_path / "away")
        one.write("start")
        wait_until(lambda: one.lost == 1, "the line to be lost")
        folder.mkdir()
        one.write("again")
        assert one.close()
        assert [(entry["event"], entry.get("lost")) for entry in entries(file)] == [("again", 1)]


def _life(file: Path, name: str, count: int, begin: Any) -> None:
    one = AuditFile(file)
    one.start()
    begin.wait()
    for number in range(count):
        one.write(name, number=number)
        time.sleep(0.001)
    os._exit(0 if one.close(timeout=20) else 1)


@pytest.mark.parametrize("rotate", [False, True])
def test_two_processes_append_to_one_chain(file: Path, tmp_path: Path, rotate: bool) -> None:
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(2)
    lives = [context.Process(target=_life, args=(file, name, 600, begin)) for name in "ab"]
    for life in lives:
        life.start()
    files = [file]
    if rotate:
        wait_until(lambda: file.exists() and file.stat().st_size > 5000, "some lines")
        files.insert(0, tmp_path / "audit.jsonl.1")
        file.rename(files[0])
    for life in lives:
        life.join(60)
        assert life.exitcode == 0
    sound(*files)
    found = entries(*files)
    for name in "ab":
        assert [entry["number"] for entry in found if entry["event"] == name] == list(range(600))
    turns = sum(one["event"] != other["event"] for one, other in itertools.pairwise(found))
    assert turns > 2, "they took turns"


def test_the_hash_of_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    assert file_hash(file) == ""
    file.write_bytes(b"")
    assert file_hash(file) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
