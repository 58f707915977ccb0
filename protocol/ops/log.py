"""The programs' own log: events with names and values, one line each, to stderr.

    _log = log.get("agents")
    _log.info("session established", agent="leeds-1", sessions=2)

JSON for machines, text for people (there a traceback follows its line, indented). Where stderr is the journal's,
every line begins with its priority (sd-daemon(3)), and text has no time: the journal has both. Values under names
that say "secret" are masked as a safety net; nobody may rely on it. Not for the hot path: a line costs some 20 µs,
and a blocked stderr blocks whoever logs. Call `setup` first, and again to change level or format.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Final, Literal, TextIO

import msgspec


def _import_structlog() -> Any:
    """structlog without rich, which it would load for its development console only: 4 MB of every process."""
    hidden = {name: module for name, module in sys.modules.items() if name == "rich"}
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: PLC0415
    finally:
        del sys.modules["rich"]
        sys.modules.update(hidden)
    return structlog


structlog = _import_structlog()

Format = Literal["json", "text"]
Level = Literal["debug", "info", "warning", "error"]
Event = MutableMapping[str, Any]
Render = Callable[[Any, str, Event], str]

MASK: Final = "[masked]"
LENGTH_MAX: Final = 8192
"""Characters of one value; what is longer is cut. A traceback may be this long too."""

_secret = re.compile(r"authorization|(?:token|password|passwd|secret|key|apikey|cookie|credential)s?").fullmatch
_HARMLESS: Final = frozenset({"file", "path", "id", "public", "name", "count", "bytes"})
_word = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_plain = re.compile(r"[^\s\"=]+").fullmatch


_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def is_journal(fd: int) -> bool:
    """Whether a file descriptor leads to systemd's journal (systemd.exec(5), JOURNAL_STREAM)."""
    told = os.environ.get("JOURNAL_STREAM", "")
    if not told:
        return False
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return told == f"{status.st_dev}:{status.st_ino}"


def is_secret_name(name: str) -> bool:
    """Whether a value of this name is probably a secret: "Authorization", "proxyPassword"; not "key_file"."""
    words = [word.lower() for word in _word.findall(name)]
    return any(map(_secret, words)) and _HARMLESS.isdisjoint(words)


def get(name: str) -> Any:
    """The logger of one part of the program; its methods take an event and named values."""
    return structlog.get_logger(logger_name=name)


def setup(form: Format | None = None, level: Level = "info", stream: TextIO | None = None) -> None:
    """Send all events of at least `level` to `stream` (stderr), and warnings of libraries with them.

    form None means text when the stream is a terminal, else JSON. Libraries log at warning whatever `level`
    says: their debug output repeats header fields.
    """
    out = sys.stderr if stream is None else stream
    render: Render = render_text if (form or ("text" if out.isatty() else "json")) == "text" else render_json
    if _leads_to_journal(out):
        render = _for_journal(render)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            clean,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=lambda *_args: _Output(out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _Bridge):
            root.removeHandler(handler)
    root.addHandler(_Bridge())
    root.setLevel(logging.WARNING)


def _leads_to_journal(stream: TextIO) -> bool:
    try:
        return is_journal(stream.fileno())
    except (OSError, ValueError):  # no file behind it, or closed
        return False


def _for_journal(render: Render) -> Render:
    """`render` for the journal: a priority before each line, and no time where people read it."""

    def rendered(logger: Any, method: str, event: Event) -> str:
        prefix = f"<{_PRIORITIES.get(event.get('level', ''), 6)}>"
        if render is render_text:
            event.pop("time", None)
        return "\n".join(prefix + line for line in render(logger, method, event).split("\n"))

    return rendered


class _Output:
    """Where structlog's lines go. A reader that went away costs lines, never the program."""

    __slots__ = ("_stream",)

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass

    debug = info = warning = error = critical = exception = msg = _write


class _Bridge(logging.Handler):
    """Hands what libraries log with the standard library to the same output."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # a library's mistake in its own format string
            message = str(record.msg)
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        method = "error" if record.levelno >= logging.ERROR else "warning"
        getattr(get(record.name), method)(message, exc_info=exc_info)


def clean(_logger: Any, _method: str, event: Event) -> Event:
    """Mask what is named like a secret and turn every value into something that can be written."""
    event["logger"] = event.pop("logger_name", "")
    for name, value in event.items():
        event[name] = _writable(name, value)
    return event


def _writable(name: str, value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if is_secret_name(name):
        return MASK
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value).decode("utf-8", "backslashreplace")
    elif depth < 4 and isinstance(value, Mapping):
        return {str(key): _writable(str(key), item, depth + 1) for key, item in value.items()}
    elif depth < 4 and isinstance(value, list | tuple | set | frozenset):
        return [_writable("", item, depth + 1) for item in value]
    text = value if isinstance(value, str) else str(value)
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= LENGTH_MAX else text[:LENGTH_MAX] + "..."


def render_json(_logger: Any, _method: str, event: Event) -> str:
    """One JSON object: time, level, logger, event, then the values."""
    return msgspec.json.encode(_ordered(event)).decode()


def render_text(_logger: Any, _method: str, event: Event) -> str:
    """`time level event logger=name name=value`, and an exception's traceback on indented lines below."""
    rest = _ordered(event)
    trace = rest.pop("exception", None)
    time = rest.pop("time", "")
    line = f"{time} " if time else ""
    line += f"{rest.pop('level', ''):<7} {_one_line(rest.pop('event', ''))}"
    line += "".join(f" {_one_line(name)}={_text_value(value)}" for name, value in rest.items())
    return line if not trace else line + "".join(f"\n    {part}" for part in str(trace).splitlines())


def _ordered(event: Event) -> dict[str, Any]:
    first = {name: event[name] for name in ("time", "level", "logger", "event") if name in event}
    return {**first, **event}


def _text_value(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if isinstance(value, str) and not (_plain(text) and text.isprintable()):
        return msgspec.json.encode(text).decode()
    return text


def _one_line(text: object) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
