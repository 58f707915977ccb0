"""The programs' own log: one line per event, nothing secret, nothing that can break it."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ops import log
from tests.support.logs import kept


@pytest.fixture(autouse=True)
def _keep() -> Iterator[None]:
    with kept():
        yield


def written(form: Any = "json", level: Any = "info") -> io.StringIO:
    stream = io.StringIO()
    log.setup(form, level, stream)
    return stream


def events(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_line() -> None:
    stream = written()
    log.get("agents").info("session established", agent="leeds-1", sessions=2)
    (event,) = events(stream)
    assert list(event) == ["time", "level", "logger", "event", "agent", "sessions"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event.pop("time"))
    assert event == {
        "level": "info",
        "logger": "agents",
        "event": "session established",
        "agent": "leeds-1",
        "sessions": 2,
    }


def test_text_line() -> None:
    stream = written("text")
    log.get("agents").warning("odd\nthing", name="a b", raw=b"\xff", nested={"x": [1]}, plain="ok")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith(r'warning odd\nthing logger=agents name="a b" raw=\xff nested={"x":[1]} plain=ok')


def test_default_form_follows_the_stream() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        log.setup(None, "info", stream)
        log.get("x").info("hello")
    assert not terminal.getvalue().startswith("{")
    assert json.loads(pipe.getvalue())["event"] == "hello"


def test_level_can_change_for_loggers_that_exist() -> None:
    logger = log.get("x")
    stream = written(level="warning")
    logger.info("quiet")
    assert stream.getvalue() == ""
    stream = written(level="debug")
    logger.debug("loud")
    assert [event["event"] for event in events(stream)] == ["loud"]


@pytest.mark.parametrize(
    "name",
    [
        "authorization",
        "Authorization",
        "proxy_password",
        "proxyPassword",
        "api_key",
        "X-API-Key",
        "APIToken",
        "Set-Cookie",
    ],
)
def test_secrets_are_masked(name: str) -> None:
    for form in ("json", "text"):
        stream = written(form)
        log.get("x").error("oops", **{name: "hunter2"}, headers={name: "hunter2"}, deep=[{name: ["hunter2"]}])
        assert "hunter2" not in stream.getvalue()
        assert stream.getvalue().count(log.MASK) == 3


@pytest.mark.parametrize(
    "name", ["key_file", "public_key", "request_id", "token_id", "monkey", "path", "keys_count"]
)
def test_harmless_names_are_shown(name: str) -> None:
    stream = written()
    log.get("x").info("fine", **{name: "value"})
    assert events(stream)[0][name] == "value"


def test_exception_has_its_traceback() -> None:
    for form, lines in (("json", 1), ("text", 6)):
        stream = written(form)
        try:
            raise RuntimeError("boom")
        except RuntimeError:
            log.get("x").exception("failed")
        assert "RuntimeError: boom" in stream.getvalue()
        assert len(stream.getvalue().splitlines()) <= lines
        assert all(line.startswith("    ") for line in stream.getvalue().splitlines()[1:])


def test_libraries_come_through_from_warning_on() -> None:
    stream = written(level="debug")
    logging.getLogger("websockets.client").debug("> Authorization: hunter2")
    logging.getLogger("websockets.client").info("hello")
    logging.getLogger("asyncio").warning("slow %s", "thing")
    bad = logging.LogRecord("asyncio", logging.ERROR, __file__, 1, "bad format %d", ("x",), None)
    next(h for h in logging.getLogger().handlers if isinstance(h, log._Bridge)).handle(bad)
    found = [(event["level"], event["logger"], event["event"]) for event in events(stream)]
    assert found == [("warning", "asyncio", "slow thing"), ("error", "asyncio", "bad format %d")]


def test_setup_twice_writes_once() -> None:
    written()
    stream = written()
    logging.getLogger("x").warning("once")
    assert len(events(stream)) == 1


def test_a_broken_stream_costs_lines_only() -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    log.setup("json", "info", Gone())
    log.get("x").info("nobody hears")
    closed = io.StringIO()
    log.setup("json", "info", closed)
    closed.close()
    log.get("x").info("nobody hears")


def test_long_values_are_cut() -> None:
    stream = written()
    log.get("x").info("long", value="x" * 100_000)
    assert len(stream.getvalue()) < log.LENGTH_MAX + 200


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
nested = st.recursive(scalars, lambda x: st.lists(x) | st.dictionaries(scalars, x), max_leaves=5)
names = st.text(min_size=1).filter(lambda name: name not in ("event", "exc_info", "self"))


@pytest.mark.parametrize("form", ["json", "text"])
def test_any_value_is_one_line(form: Any) -> None:
    stream = written(form)

    @given(st.text(), st.dictionaries(names, nested, max_size=3))
    def one_line(event: str, values: dict[str, Any]) -> None:
        stream.seek(0)
        stream.truncate()
        log.get("x").info(event, **values)
        assert len(stream.getvalue().split("\n")) == 2
        if form == "json":
            json.loads(stream.getvalue())

    one_line()


def test_rich_is_not_loaded() -> None:
    code = "import sys; from protocol.ops import log; log.get('x'); print([m for m in sys.modules if 'rich' in m])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[TextIO]:
    """A stream that the environment says is the journal's."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        yield stream


def read(stream: TextIO) -> list[str]:
    stream.seek(0)
    return stream.read().splitlines()


def test_the_journal_gets_priorities_and_its_own_time(journal: TextIO) -> None:
    log.setup("text", "debug", journal)
    logger = log.get("x")
    logger.debug("a")
    logger.info("b")
    logger.warning("c")
    try:
        raise ValueError("odd")
    except ValueError:
        logger.exception("d")
    lines = read(journal)
    assert lines[:4] == [
        "<7>debug   a logger=x",
        "<6>info    b logger=x",
        "<4>warning c logger=x",
        "<3>error   d logger=x",
    ]
    assert len(lines) > 4
    assert all(line.startswith("<3>    ") for line in lines[4:])


def test_json_for_the_journal_keeps_its_time(journal: TextIO) -> None:
    log.setup("json", "info", journal)
    log.get("x").warning("c")
    (line,) = read(journal)
    assert line.startswith("<4>{")
    assert json.loads(line[3:])["time"]


def test_other_streams_are_not_the_journals(
    journal: TextIO, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert log.is_journal(journal.fileno())
    assert not log.is_journal(1 << 20)
    with (tmp_path / "file").open("w+") as file:
        assert not log.is_journal(file.fileno())
        log.setup("text", "info", file)
        log.get("x").info("b")
        (line,) = read(file)
        assert re.match(r"\d{4}-", line)
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not log.is_journal(journal.fileno())
