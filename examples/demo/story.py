"""The story: a visit booked and cancelled, an event stream, a download, and a call that is refused."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from examples.demo.outcome import Outcome, Watcher
from examples.demo.setting import SERVICE_HOST
from examples.visits_api import data

DOWNLOAD_BYTES = 100_000_000
DOWNLOAD_LIMIT = 120.0  # seconds
EVENTS = 5
NOMS_ID, DATE_OF_BIRTH, OFFENDER = "A1475AE", "1979-04-23", 1057027
PHOTOGRAPHED = "A1484AE"
BOOKED_FOR, LEAD_CONTACT, REFERENCE = 1057307, 13429, "demo-booking-1"
BOOKING = f"/nomisapi/offenders/{BOOKED_FOR}/visits/booking"
REFUSED = "/heapdump"


class UntellableError(Exception):
    """A call brought nothing to go on with; recorded as a failed expectation where it is raised."""


@dataclass(slots=True)
class Story:
    """What the steps share. ``base`` is where callers call; ``ledger`` is asked directly."""

    base: str
    ledger: str
    watcher: Watcher
    download_bytes: int = DOWNLOAD_BYTES
    slot: str = ""
    visit: int = 0

    def client(self) -> httpx.Client:
        """A caller's HTTP client: one persistent connection, no proxy."""
        return httpx.Client(base_url=self.base, trust_env=False, timeout=httpx.Timeout(30.0, connect=5.0))

    def received(self, method: str, path: str) -> int:
        """How many such requests the upstream has received, by its own ledger. Raises httpx.HTTPError."""
        wanted = {"method": method, "path": path, "limit": "0"}
        answer = httpx.get(f"{self.ledger}/ledger", params=wanted, trust_env=False, timeout=5.0)
        return int(answer.raise_for_status().json()["count"])


StepRun = Callable[[Story, httpx.Client, Outcome], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One scene. ``tunnel_only`` ones make no sense against the upstream itself."""

    title: str
    run: StepRun
    tunnel_only: bool = False


def tell(story: Story, *, through_tunnel: bool = True) -> Generator[Outcome, None, None]:
    """Run the steps one by one, yielding each outcome; a failed step does not stop the story."""
    with story.client() as client:
        for number, step in enumerate(STEPS, start=1):
            if step.tunnel_only and not through_tunnel:
                continue
            outcome = Outcome(number, step.title)
            story.watcher.begin(outcome)
            try:
                step.run(story, client, outcome)
            except UntellableError:
                pass  # a failed expectation says so
            except httpx.HTTPError as exc:
                outcome.require("the upstream's ledger can be read", False, "an answer", describe(exc))
                outcome.suspects = ("visits api",)
            yield outcome


def describe(exc: httpx.HTTPError) -> str:
    """An HTTP client's failure in a few words."""
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


def call(client: httpx.Client, outcome: Outcome, method: str, path: str, expected: int, **options: Any) -> Any:
    """Make a small call, expect its status, and return the JSON object it brought. Raises UntellableError."""
    with _answer(client, outcome, method, path, **options) as answer:
        answer.read()
    if not _expect_status(outcome, expected, answer):
        raise UntellableError
    value = _json_object(answer)
    if not outcome.require(
        "body", value is not None, "a JSON object", answer.text[:80] if value is None else "JSON"
    ):
        raise UntellableError
    return value


@contextmanager
def _answer(
    client: httpx.Client, outcome: Outcome, method: str, path: str, **options: Any
) -> Iterator[httpx.Response]:
    """Make a call whose answer is read inside. Raises UntellableError when no whole answer comes."""
    outcome.method, outcome.path = method, path
    started = time.perf_counter()
    try:
        with client.stream(method, path, **options) as answer:
            outcome.status = answer.status_code
            if "Tunnel-Delivered" not in answer.headers:  # which every answer of the tunnel's own carries
                outcome.suspects = ("visits api", "hub", "agent")
            yield answer
    except httpx.HTTPError as exc:
        outcome.require("a whole answer", False, "an answer", describe(exc))
        raise UntellableError from exc
    finally:
        outcome.seconds = time.perf_counter() - started


def _expect_status(outcome: Outcome, expected: int, answer: httpx.Response) -> bool:
    """Expect a status; for another one, add what the body says about it."""
    seen = str(answer.status_code)
    if answer.status_code != expected:
        answer.read()
        problem = _json_object(answer) or {}
        said = [str(problem[name]) for name in ("title", "detail", "error", "errors") if problem.get(name)]
        seen = ": ".join([seen, *said])
    return outcome.require("status", answer.status_code == expected, expected, seen)


def _json_object(answer: httpx.Response) -> dict[str, Any] | None:
    try:
        value = answer.json()
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def look_up(_: Story, client: httpx.Client, outcome: Outcome) -> None:
    query = f"noms_id={NOMS_ID}&date_of_birth={DATE_OF_BIRTH}"
    answer = call(client, outcome, "GET", f"/nomisapi/lookup/active_offender?{query}", 200)
    outcome.expect("offender", OFFENDER, answer.get("offender", {}).get("id"))
    outcome.fact = f"offender {OFFENDER} found"


def find_slot(story: Story, client: httpx.Client, outcome: Outcome) -> None:
    path = "/nomisapi/prison/LEI/slots?start_date=2018-04-05&end_date=2018-04-08"
    slots = call(client, outcome, "GET", path, 200).get("slots", [])
    if outcome.require("free slots", bool(slots), "at least 1", len(slots)):
        story.slot = slots[0]["time"]
        outcome.fact = f"{len(slots)} slots, the first {story.slot}"


def photograph(_: Story, client: httpx.Client, outcome: Outcome) -> None:
    answer = call(client, outcome, "GET", f"/nomisapi/offenders/{PHOTOGRAPHED}/image", 200)
    try:
        picture = base64.b64decode(answer.get("image", ""), validate=True)
    except ValueError:
        picture = b""
    expected = data.photograph(PHOTOGRAPHED)
    outcome.expect("size", len(expected), len(picture))
    outcome.expect("SHA-256", _short(hashlib.sha256(expected)), _short(hashlib.sha256(picture)))
    outcome.fact = f"{len(picture) / 1000:.0f} kB, unharmed"


def book(story: Story, client: httpx.Client, outcome: Outcome) -> None:
    answer = call(client, outcome, "POST", BOOKING, 200, json=_booking(story))
    visit = answer.get("visit_id")
    if outcome.require("visit", isinstance(visit, int), "a number", visit):
        story.visit = visit
        outcome.fact = f"visit {visit} booked"


def book_again(story: Story, client: httpx.Client, outcome: Outcome) -> None:
    answer = call(client, outcome, "POST", BOOKING, 409, json=_booking(story))
    outcome.expect("message", "Duplicate post", answer.get("error", {}).get("message"))
    outcome.expect("bookings the upstream received", 2, story.received("POST", BOOKING))
    outcome.fact = "the upstream's own refusal: Duplicate post"


def cancel(story: Story, client: httpx.Client, outcome: Outcome) -> None:
    path = f"{BOOKING}/{story.visit}/cancel"
    answer = call(client, outcome, "PATCH", path, 200, json={"cancellation_code": "VISCANC"})
    outcome.expect("message", "Visit Cancelled", answer.get("message"))
    outcome.fact = f"visit {story.visit} cancelled"


def watch_events(story: Story, client: httpx.Client, outcome: Outcome) -> None:
    arrivals: list[float] = []
    with _answer(client, outcome, "GET", f"/nomisapi/events/stream?count={EVENTS}") as answer:
        if not _expect_status(outcome, 200, answer):
            raise UntellableError
        started = time.perf_counter()
        for line in answer.iter_lines():
            if line.startswith("data:"):
                arrivals.append(time.perf_counter() - started)
                story.watcher.line(f"event after {arrivals[-1]:.2f} s: {line[5:].strip()}")
    outcome.expect("events", EVENTS, len(arrivals))
    if arrivals:
        # A buffered stream arrives in one piece; this one was sent over 0.8 s.
        spread = arrivals[-1] - arrivals[0]
        outcome.require("they came one by one", spread > 0.4, "over more than 0.4 s", f"over {spread:.2f} s")
        outcome.fact = f"{len(arrivals)} events over {spread:.2f} s: nothing held them back"


def download(story: Story, client: httpx.Client, outcome: Outcome) -> None:
    total, digest, size = story.download_bytes, hashlib.sha256(), 0
    with _answer(client, outcome, "GET", f"/nomisapi/bulk?bytes={total}") as answer:
        if not _expect_status(outcome, 200, answer):
            raise UntellableError
        deadline = time.monotonic() + DOWNLOAD_LIMIT
        with story.watcher.download(total) as advance:
            for piece in answer.iter_raw():
                digest.update(piece)
                size += len(piece)
                advance(len(piece))
                if time.monotonic() > deadline:
                    break
    outcome.expect("bytes", total, size)
    outcome.expect("SHA-256", data.bulk_sha256(total)[:16], _short(digest))
    rate = size / 1e6 / max(outcome.seconds, 1e-6)
    outcome.fact = f"{size / 1e6:.0f} MB at {rate:.0f} MB/s, hash checked"


def refused(story: Story, client: httpx.Client, outcome: Outcome) -> None:
    with _answer(client, outcome, "GET", REFUSED, headers={"Host": SERVICE_HOST}) as answer:
        answer.read()
    _expect_status(outcome, 403, answer)
    outcome.expect("Tunnel-Delivered", "no", answer.headers.get("Tunnel-Delivered"))
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    outcome.expect("body", "application/problem+json", kind)
    problem = _json_object(answer) or {}
    title = problem.get("title")
    outcome.expect("origin", "agent", problem.get("origin"))
    outcome.require("title", bool(title), "a text", title)
    outcome.expect("times the upstream saw it", 0, story.received("GET", REFUSED))
    outcome.fact = f"refused by the agent's boundary: {title!r}; the upstream saw nothing"


def _booking(story: Story) -> dict[str, Any]:
    return {"lead_contact": LEAD_CONTACT, "slot": story.slot, "client_unique_ref": REFERENCE}


def _short(digest: Any) -> str:
    return str(digest.hexdigest())[:16]


STEPS = (
    Step("Look up a prisoner", look_up),
    Step("Find a visiting time", find_slot),
    Step("Fetch a photograph", photograph),
    Step("Book the visit", book),
    Step("Send the same booking again", book_again),
    Step("Cancel the visit", cancel),
    Step("Follow an event stream", watch_events),
    Step("Download 100 MB", download),
    Step("Ask for what the boundary forbids", refused, tunnel_only=True),
)
