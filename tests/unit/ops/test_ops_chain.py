"""The chain of an audit file: whatever is changed is found, and a crash is told from that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.ops.chain import (
    CONTINUED,
    ENTRIES_MAX,
    LINE_MAX,
    START,
    TEXT_MAX,
    TORN,
    ZEROS,
    ChainError,
    Link,
    Report,
    clean,
    end_of,
    forge,
    read,
    torn_values,
    verify,
)
from tests.support.effort import examples

TIME = "2026-11-27T08:00:00.000Z"


def lines(count: int, last: Link = START) -> list[bytes]:
    made = []
    for number in range(count):
        line, last = forge(last, TIME, "event", {"number": number, "path": "/nomisapi/é"})
        made.append(line)
    return made


def check(tmp_path: Path, *files: bytes) -> Report:
    paths = []
    for number, data in enumerate(files):
        paths.append(tmp_path / f"audit-{number}.jsonl")
        paths[-1].write_bytes(data)
    return verify(paths)


def wrong(report: Report) -> tuple[int, str]:
    assert report.wrong is not None
    return report.wrong[1:]


def test_a_line_is_json_that_says_everything() -> None:
    line, link = forge(Link(6, "a" * 64), TIME, "session opened", {"agent": "leeds-1"})
    values = json.loads(line)
    assert list(values) == ["seq", "time", "event", "agent", "prev", "hash"]
    assert (values["seq"], values["prev"], values["hash"]) == (7, "a" * 64, link.hash)
    assert line.endswith(b"}\n")
    assert read(line) == (link, "a" * 64, TIME, "session opened", {"agent": "leeds-1"})


def test_a_whole_chain(tmp_path: Path) -> None:
    made = lines(3)
    report = check(tmp_path, b"".join(made))
    assert report == Report(3, TIME, TIME, read(made[-1]).link, (), None)
    assert check(tmp_path, b"") == Report(0, "", "", START, (), None)
    assert json.loads(made[0])["prev"] == ZEROS


TEXT = b"".join(lines(4))
TWO = b"".join(lines(2)), b"".join(lines(2, read(lines(2)[-1]).link))


@settings(max_examples=examples(1500), deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, at: int, change: int) -> None:
    data = bytearray(TEXT)
    data[at] ^= change
    file = tmp_path_factory.getbasetemp() / "changed.jsonl"
    file.write_bytes(data)
    number, _ = wrong(verify([file]))
    assert number == TEXT[:at].count(b"\n") + 1


@settings(max_examples=examples(300), deadline=None)
@given(st.permutations(range(5)), st.integers(1, 5))
def test_lines_taken_out_or_moved_are_found(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], keep: int
) -> None:
    made = lines(5)
    chosen = order[:keep]
    file = tmp_path_factory.getbasetemp() / "moved.jsonl"
    file.write_bytes(b"".join(made[number] for number in chosen))
    report = verify([file])
    sound = chosen == list(range(keep))  # what is cut off at the end nothing can show
    assert (report.wrong is None) == sound


@pytest.mark.parametrize(
    ("data", "number", "what"),
    [
        (b"hello\n", 1, "is not a line of an audit file"),
        (lines(2)[1], 1, "lines before it are missing"),
        (lines(3)[0] + lines(3)[2], 2, "does not follow the line before it"),
        (lines(1)[0] + b"\n", 2, "is not a line"),
        (lines(1)[0] + b"x" * (LINE_MAX + 10) + b"\n", 2, "is not a line"),
        (lines(1)[0].replace(b"event", b"evens", 1), 1, "was changed"),
        (lines(1)[0] * 2, 2, "does not follow"),
        (lines(2)[0] + lines(2)[1][:-1], 2, "breaks off: torn by a crash"),
        (lines(2)[0] + lines(2)[1][:9], 2, "breaks off: torn by a crash"),
    ],
)
def test_what_is_wrong(tmp_path: Path, data: bytes, number: int, what: str) -> None:
    found, said = wrong(check(tmp_path, data))
    assert found == number
    assert what in said


class TestTorn:
    """Two lines, half a third, and what the next start writes behind it."""

    def files(self, left: bytes = b'{"seq":3,"ti', event: str = TORN, values: Any = None) -> bytes:
        made = lines(2)
        torn, link = forge(read(made[-1]).link, TIME, event, torn_values(left) if values is None else values)
        return b"".join([*made, left, b"\n", torn, *lines(2, link)])

    def test_it_is_told_from_tampering(self, tmp_path: Path) -> None:
        report = check(tmp_path, self.files())
        assert report.wrong is None
        assert report.lines == 5
        (note,) = report.notes
        assert "line 3 was torn by a crash, as line 4 says" in note

    def test_what_is_left_cannot_be_changed(self, tmp_path: Path) -> None:
        data = self.files()
        start = data.index(b'{"seq":3,"ti')
        for at in range(start, start + 13):
            changed = bytearray(data)
            changed[at] ^= 1
            assert wrong(check(tmp_path, bytes(changed)))[0] == 3

    def test_an_invented_crash(self, tmp_path: Path) -> None:
        """A line that is changed does not become a torn one by a line that says so of something else."""
        made = self.files(values={"bytes": 1, "sha256": ZEROS})
        assert wrong(check(tmp_path, made))[0] == 3
        assert wrong(check(tmp_path, self.files(event="start")))[0] == 3
        whole = lines(2)
        torn, _ = forge(read(whole[-1]).link, TIME, TORN, torn_values(b""))
        assert "not before it" in wrong(check(tmp_path, b"".join([*whole, torn])))[1]

    def test_a_note_of_a_crash_that_was_itself_torn(self, tmp_path: Path) -> None:
        left = b'{"seq":3,"ti\n{"seq":3,"time"'
        assert check(tmp_path, self.files(left)).wrong is None
        assert wrong(check(tmp_path, self.files(left).replace(b'"time"\n', b'"time"\n{\n')))[0] == 3

    def test_the_end_of_a_file(self) -> None:
        made = lines(3)
        link = read(made[-1]).link
        whole = b"".join(made)
        assert end_of(b"") == (None, b"")
        assert end_of(whole) == (link, b"")
        assert end_of(whole[9:]) == (link, b"")
        assert end_of(whole + b"\0\0") == (link, b"\0\0")
        torn = b'{"seq":4,\n{"seq":4,"time'
        assert end_of(whole + torn) == (link, torn)
        assert end_of(torn) == (None, torn)
        for other in (b"[hub]\n", whole.replace(b":2,", b":3,"), b"\n", made[0].replace(b"event", b"evens", 1)):
            with pytest.raises(ChainError):
                end_of(whole + other)


class TestSeveralFiles:
    def test_in_order(self, tmp_path: Path) -> None:
        report = check(tmp_path, *TWO)
        assert (report.lines, report.wrong) == (4, None)

    def test_out_of_order(self, tmp_path: Path) -> None:
        report = check(tmp_path, TWO[1], TWO[0])
        assert report.wrong is not None
        assert "missing" in report.wrong[2]

    def test_one_missing_between(self, tmp_path: Path) -> None:
        third = b"".join(lines(1, Link(9, "b" * 64)))
        report = check(tmp_path, *TWO, third)
        assert report.wrong is not None
        assert report.wrong[0].endswith("audit-2.jsonl")
        assert "the file before" in report.wrong[2]

    def test_the_second_alone(self, tmp_path: Path) -> None:
        made, link = forge(Link(9, "b" * 64), TIME, CONTINUED, {})
        report = check(tmp_path, made + b"".join(lines(2, link)))
        assert (report.lines, report.wrong) == (3, None)
        assert "b" * 64 in report.notes[0]


def test_values_are_bounded() -> None:
    values = clean(
        {
            "text": "x" * 5000,
            "bytes": b"x",
            "list": ["y" * 5000] * 100,
            "number": 7,
            "truth": True,
            "none": None,
            "half": "\ud800",
            **{f"more-{number}": 1 for number in range(100)},
        }
    )
    assert len(values) == ENTRIES_MAX
    assert len(values["text"]) == TEXT_MAX
    assert len(values["list"]) == ENTRIES_MAX
    assert (values["number"], values["truth"], values["none"], values["half"]) == (7, True, None, "\\ud800")
    line, _ = forge(START, TIME, "event", values)
    assert json.loads(line)["number"] == 7
    huge = clean({f"list-{number}": ["\x00" * 5000] * 100 for number in range(32)})
    line, _ = forge(START, TIME, "event", huge)
    assert len(line) < 1000
    assert json.loads(line)["left_out"] > LINE_MAX // 2


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}\n",
        b"\n",
        lines(1)[0] + b"x",
        lines(1)[0].removesuffix(b"\n"),
        lines(1)[0].replace(b"\n", b"\r\n"),
    ],
)
def test_other_lines_are_not_read(line: bytes) -> None:
    with pytest.raises(ChainError):
        read(line)
