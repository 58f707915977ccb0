"""The reader of `GET /api/tail`, for `tunnel-hub tail`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import httpx
import msgspec

from .listeners import HEARTBEAT
from .show import safe

CONNECT: Final = 5.0
"""Seconds to reach the hub."""

SILENT: Final = 3 * HEARTBEAT
"""Seconds without even a heartbeat after which the hub counts as lost."""

AGAIN: Final = 1.0
"""Seconds between two tries to find a lost hub."""

PATIENCE: Final = 120.0
"""Seconds for which a lost hub is looked for."""

LINE_MAX: Final = 256 * 1024
REASON_MAX: Final = 4096


class TailError(Exception):
    """A sentence for the operator, and what it means."""

    def __init__(self, message: str, *, unreachable: bool = False) -> None:
        super().__init__(message)
        self.unreachable = unreachable


def watch(
    url: str,
    key: str,
    wanted: Mapping[str, str],
    complain: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[bytes, Mapping[str, Any]]]:
    """Each line as it came and decoded, for ever.

    url: the admin listener's. complain: told in a sentence when the hub is lost and when it is back.

    Raises:
        TailError: the hub does not answer, or says no; later on, it was lost for PATIENCE seconds.
    """
    lost_at: float | None = None
    begun = False
    timeout = httpx.Timeout(CONNECT, read=SILENT)
    with httpx.Client(base_url=url, timeout=timeout, trust_env=False, verify=False) as client:  # noqa: S501 - plain HTTP
        while True:
            try:
                for line in _lines(client, key, wanted):
                    about = msgspec.json.decode(line)
                    if not isinstance(about, dict):
                        raise TailError(f"what answers at {url} is no hub")
                    if about.get("tail") == "begins":
                        begun = True
                        if lost_at is not None:
                            lost_at = None
                            complain("the hub is back")
                    yield line, about
                reason = "it ended the stream"
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
            except msgspec.DecodeError:
                raise TailError(f"what answers at {url} is no hub") from None
            if not begun:
                raise TailError(
                    f"no hub answers at {url}: {reason}. Does it run? Is listen.admin right?",
                    unreachable=True,
                )
            if lost_at is None:
                lost_at = clock()
                complain(f"lost the hub ({reason}); looking for it, {PATIENCE:.0f} s at most")
            elif clock() - lost_at > PATIENCE:
                raise TailError(f"the hub at {url} did not come back: {reason}", unreachable=True)
            sleep(AGAIN)


def _lines(client: httpx.Client, key: str, wanted: Mapping[str, str]) -> Iterator[bytes]:
    """The lines of one connection. Raises TailError for an answer that says no, httpx.HTTPError."""
    path = "/api/tail"
    if wanted:
        path += "?" + urlencode(wanted)
    with client.stream("GET", path, headers={"Authorization": f"Bearer {key}"}) as answer:
        if answer.status_code == 404:
            raise TailError("the hub knows no tail: it is older than this program")
        if answer.status_code != 200:
            raise TailError(_reason(answer) or f"the hub answered {answer.status_code}")
        kept = b""
        for chunk in answer.iter_raw():
            *whole, kept = (kept + chunk).split(b"\n")
            if len(kept) > LINE_MAX:
                raise TailError("what answers is no hub: a line has no end")
            yield from filter(None, whole)


def _reason(answer: httpx.Response) -> str:
    """The sentence of a refusal, "" without one."""
    body = b""
    for chunk in answer.iter_raw():
        body += chunk
        if len(body) > REASON_MAX:
            return ""
    text = body.decode("utf-8", "replace").strip()
    return safe(text) if answer.headers.get("content-type", "").startswith("text/plain") else ""
