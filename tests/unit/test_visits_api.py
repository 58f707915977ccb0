"""The stand-in visits API: the endpoints real callers use, its rules for writes, and its ledger."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from starlette.types import Message

from examples.visits_api import data
from examples.visits_api.app import create_app
from examples.visits_api.store import Store
from tests.support.process import run_once
from tests.support.programs import VisitsApi

BOOKING = "/nomisapi/offenders/1057307/visits/booking"
PAYMENT = "/nomisapi/prison/LEI/offenders/A1484AE/transactions"
DUPLICATE = {"error": {"message": "Duplicate post"}}
OVERLAP = {"errors": [{"message": "Overlapping visit"}]}


def booking(ref: str | None = "ref-1", slot: str = "2018-04-05T10:00/11:30") -> dict[str, Any]:
    body: dict[str, Any] = {"lead_contact": 13429, "slot": slot}
    return body if ref is None else {**body, "client_unique_ref": ref}


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store(":memory:")
    yield made
    made.close()


@pytest.fixture
async def api(store: Store) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(store, test_hooks=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VisitsApi]:
    program = VisitsApi(tmp_path)
    program.start()
    yield program
    program.close()


async def ledger(api: httpx.AsyncClient, query: str = "") -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = (await api.get(f"/ledger{query}")).json()["entries"]
    return entries


# -- reads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "/lookup/active_offender?noms_id=A1475AE&date_of_birth=1979-04-23",
            {"found": True, "offender": {"id": 1057027}},
        ),
        ("/lookup/active_offender?noms_id=A1475AE&date_of_birth=1979-04-24", {"found": False}),
        ("/prison/LEI/offenders/A1484AE/accounts", {"spends": 5678, "savings": 12344, "cash": 13565}),
        (
            "/offenders/1057307/visits/available_dates?start_date=2018-04-01&end_date=2018-04-03",
            {"dates": ["2018-04-01", "2018-04-03"]},  # the 2nd was a Monday
        ),
        (
            "/offenders/1057307/visits/unavailability?dates=2018-04-07",
            {
                "2018-04-07": {
                    "external_movement": False,
                    "existing_visits": [],
                    "out_of_vo": False,
                    "banned": False,
                }
            },
        ),
    ],
)
async def test_documented_answers(api: httpx.AsyncClient, path: str, expected: object) -> None:
    answer = await api.get(f"/nomisapi{path}")
    assert (answer.status_code, answer.json()) == (200, expected)


async def test_documented_shapes(api: httpx.AsyncClient) -> None:
    offender = (await api.get("/nomisapi/offenders/A1484AE")).json()
    assert offender["iep_level"] == {"code": "STD", "desc": "Standard"}
    assert offender["given_name"]
    assert offender["surname"]
    location = (await api.get("/nomisapi/offenders/A1484AE/location")).json()
    assert location["establishment"]["code"] == "LEI"
    assert "housing_location" in location
    contacts = (await api.get("/nomisapi/offenders/1057307/visits/contact_list")).json()["contacts"]
    assert contacts[0]["id"] == 13429
    slots = await api.get("/nomisapi/prison/LEI/slots?start_date=2018-04-05&end_date=2018-04-05")
    assert slots.json()["slots"][0]["time"] == "2018-04-05T10:00/11:30"
    assert slots.json()["slots"][0]["capacity"] == 100
    for path in ("/nomisapi/health", "/nomisapi/version"):
        assert (await api.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nomisapi/offenders/A0000AA", 404),
        ("GET", "/nomisapi/offenders/A0000AA/image", 404),
        ("GET", "/nomisapi/prison/XXX/slots?start_date=2018-04-05&end_date=2018-04-05", 404),
        ("GET", "/nomisapi/prison/QAA/offenders/A1484AE/accounts", 404),
        ("GET", "/nomisapi/prison/LEI/slots?start_date=2018-04-05&end_date=2019-04-06", 400),
        ("GET", "/nomisapi/prison/LEI/slots?start_date=2018-04-05&end_date=2018-04-04", 400),
        ("GET", "/nomisapi/lookup/active_offender?noms_id=A1475AE", 400),
        ("GET", "/nomisapi/offenders/events?from_datetime=yesterday", 400),
        ("GET", "/nomisapi/bulk?bytes=-1", 400),
        ("GET", "/nomisapi/events/stream?count=10001", 400),
        ("DELETE", "/nomisapi/health", 405),
        ("GET", "/nomisapi/health/", 404),
        ("GET", "/heapdump", 404),
    ],
)
async def test_refusals_are_json_with_timing(api: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await api.request(method, path)
    assert answer.status_code == status
    body = answer.json()
    message = body["errors"][0]["message"] if status == 400 else body["error"]["message"]
    assert message
    assert answer.headers["Server-Timing"].startswith("app;dur=")


@pytest.mark.parametrize(
    "query",
    [
        "from_datetime=2017-10-24%2015:36:24.380&limit=2",
        "from_datetime=2017-10-24+15%3A36%3A24.380&&limit=2&x=%c3%A9%2F",
    ],
)
async def test_raw_query_is_recorded_and_shown_as_sent(store: Store, query: str) -> None:
    sent: list[Message] = []
    await call_app(store, sent, raw_path="/nomisapi/offenders/events", query=query)
    body = json.loads(sent[1]["body"])
    assert body["raw_query"] == query
    assert [event["timestamp"] for event in body["events"]] == [
        "2017-10-24 15:36:24.380",
        "2017-10-24 15:37:24.380",
    ]
    assert [row["query"] for row in store.rows("SELECT query FROM ledger")] == [query]


async def test_photographs_are_deterministic_and_sized_like_real_ones(api: httpx.AsyncClient) -> None:
    answer = (await api.get("/nomisapi/offenders/A1484AE/image")).json()
    assert base64.b64decode(answer["image"], validate=True) == data.photograph("A1484AE")
    seen = set()
    for offender in data.offenders():
        picture = data.photograph(offender.noms_id)
        assert picture[:4] == b"\xff\xd8\xff\xe0"
        assert picture[-2:] == b"\xff\xd9"
        assert len(picture) >= 40_000
        assert len(base64.b64encode(picture)) <= 150_000
        seen.add(hashlib.sha256(picture).digest())
    assert len(seen) == data.OFFENDERS


# -- bookings -----------------------------------------------------------------------------------


async def test_booking_then_the_same_again(api: httpx.AsyncClient) -> None:
    first = await api.post(BOOKING, json=booking())
    assert (first.status_code, first.json()) == (200, {"visit_id": 5905})
    again = await api.post(BOOKING, json=booking())
    assert (again.status_code, again.json()) == (409, DUPLICATE)


@pytest.mark.parametrize(
    ("slot", "status"),
    [
        ("2018-04-05T10:00/11:30", 400),
        ("2018-04-05T11:29/12:00", 400),
        ("2018-04-05T09:00/10:01", 400),
        ("2018-04-05T09:00/12:00", 400),
        ("2018-04-05T11:30/12:00", 200),
        ("2018-04-05T09:00/10:00", 200),
        ("2018-04-06T10:00/11:30", 200),
    ],
)
async def test_overlap(api: httpx.AsyncClient, slot: str, status: int) -> None:
    await api.post(BOOKING, json=booking())
    answer = await api.post(BOOKING, json=booking("ref-2", slot))
    assert answer.status_code == status
    if status == 400:
        assert answer.json() == OVERLAP


async def test_overlap_is_per_offender(api: httpx.AsyncClient) -> None:
    await api.post(BOOKING, json=booking())
    other = await api.post(
        "/nomisapi/offenders/1057027/visits/booking", json={**booking("ref-2"), "lead_contact": 13427}
    )
    assert other.status_code == 200


async def test_refused_overlap_leaves_reference_and_number_unused(api: httpx.AsyncClient) -> None:
    await api.post(BOOKING, json=booking("ref-1"))
    assert (await api.post(BOOKING, json=booking("ref-2"))).json() == OVERLAP
    later = await api.post(BOOKING, json=booking("ref-2", "2018-04-06T10:00/11:30"))
    assert later.json() == {"visit_id": 5906}


async def test_without_reference_nothing_is_a_duplicate(api: httpx.AsyncClient) -> None:
    assert (await api.post(BOOKING, json=booking(None))).status_code == 200
    assert (await api.post(BOOKING, json=booking(None))).json() == OVERLAP
    assert (await api.post(BOOKING, json=booking(None, "2018-04-06T10:00/11:30"))).status_code == 200


async def test_cancelling_frees_the_time_but_not_the_reference(api: httpx.AsyncClient) -> None:
    await api.post(BOOKING, json=booking())
    cancel = f"{BOOKING}/5905/cancel"
    done = await api.patch(cancel, json={"cancellation_code": "VISCANC"})
    assert (done.status_code, done.json()) == (200, {"message": "Visit Cancelled"})
    assert (await api.patch(cancel, json={"cancellation_code": "VISCANC"})).status_code == 400
    assert (await api.post(BOOKING, json=booking())).json() == DUPLICATE
    assert (await api.post(BOOKING, json=booking("ref-2"))).json() == {"visit_id": 5906}


@pytest.mark.parametrize("path", [f"{BOOKING}/5905/cancel", f"{BOOKING}/99999999999999999999999/cancel"])
async def test_cancelling_what_is_not_booked(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.patch(path, json={"cancellation_code": "VISCANC"})
    assert (answer.status_code, answer.json()) == (404, {"error": {"message": "Visit not found"}})


async def test_a_booking_shows_in_the_reads(api: httpx.AsyncClient) -> None:
    await api.post(BOOKING, json=booking())
    dates = "start_date=2018-04-05&end_date=2018-04-06"
    slots = (await api.get(f"/nomisapi/prison/LEI/slots?{dates}")).json()["slots"]
    assert [slot["groups_booked"] for slot in slots] == [1, 0, 0, 0]
    free = await api.get(f"/nomisapi/offenders/1057307/visits/available_dates?{dates}")
    assert free.json() == {"dates": ["2018-04-06"]}
    unavailable = await api.get("/nomisapi/offenders/1057307/visits/unavailability?dates=2018-04-05,2018-04-06")
    visits = {day: state["existing_visits"] for day, state in unavailable.json().items()}
    assert visits == {"2018-04-05": [{"id": 5905, "slot": "2018-04-05T10:00/11:30"}], "2018-04-06": []}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[" * 50_000,
        b"[]",
        b'"text"',
        json.dumps({**booking(), "lead_contact": 13427}).encode(),  # another offender's
        json.dumps({**booking(), "lead_contact": "13429"}).encode(),
        json.dumps({**booking(), "lead_contact": True}).encode(),
        json.dumps({**booking(), "lead_contact": 2**63}).encode(),
        json.dumps(booking(slot="2018-04-05 10:00/11:30")).encode(),
        json.dumps(booking(slot="2018-04-31T10:00/11:30")).encode(),
        json.dumps(booking(slot="2018-04-05T11:30/10:00")).encode(),
        json.dumps({**booking(), "client_unique_ref": ""}).encode(),
        json.dumps({**booking(), "client_unique_ref": 7}).encode(),
        json.dumps(booking("r" * 65)).encode(),
    ],
)
async def test_malformed_bookings_are_refused_and_leave_nothing(
    api: httpx.AsyncClient, store: Store, body: bytes
) -> None:
    answer = await api.post(BOOKING, content=body)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"]
    assert store.rows("SELECT * FROM visit") == []


async def test_body_limit(api: httpx.AsyncClient) -> None:
    answer = await api.post(BOOKING, content=b" " * 65_537)
    assert answer.status_code == 413


# -- payments -----------------------------------------------------------------------------------


async def test_a_payment_is_credited_once(api: httpx.AsyncClient) -> None:
    payment = {"type": "MTDS", "amount": 1634, "client_unique_ref": "pay-1"}
    first = await api.post(PAYMENT, json=payment)
    assert (first.status_code, first.json()) == (200, {"id": "204564839-3"})
    again = await api.post(PAYMENT, json=payment)
    assert (again.status_code, again.json()) == (409, DUPLICATE)
    accounts = (await api.get("/nomisapi/prison/LEI/offenders/A1484AE/accounts")).json()
    assert accounts["cash"] == 13565 + 1634


async def test_references_belong_to_the_client_that_the_gateway_names(api: httpx.AsyncClient) -> None:
    payment = {"type": "MTDS", "amount": 100, "client_unique_ref": "pay-1"}
    statuses = [
        (await api.post(PAYMENT, json=payment, headers={"X-Client-Name": name})).status_code
        for name in ("prison-visits", "send-money", "prison-visits")
    ]
    assert statuses == [200, 200, 409]
    entries = await ledger(api, "?ref=pay-1")
    assert [entry["client_name"] for entry in entries] == ["prison-visits", "send-money", "prison-visits"]


@pytest.mark.parametrize("amount", [0, -5, 1.5, "100", 10**9 + 1, None])
async def test_payments_need_an_amount_in_pence(api: httpx.AsyncClient, store: Store, amount: object) -> None:
    answer = await api.post(PAYMENT, json={"type": "MTDS", "amount": amount})
    assert answer.status_code == 400
    assert store.rows("SELECT * FROM payment") == []


# -- the ledger, latency ------------------------------------------------------------------------


async def test_ledger_tells_what_arrived_in_order(api: httpx.AsyncClient) -> None:
    body = json.dumps(booking()).encode()
    await api.get("/nomisapi/health?a=%20b")
    await api.post(BOOKING, content=body)
    await api.post("/env", content=b"never read by any route")
    health, booked, unknown = await ledger(api)
    assert (health["method"], health["path"], health["query"]) == ("GET", "/nomisapi/health", "a=%20b")
    assert health["body_sha256"] == hashlib.sha256(b"").hexdigest()
    assert (booked["method"], booked["path"], booked["status"]) == ("POST", BOOKING, 200)
    assert booked["body_sha256"] == hashlib.sha256(body).hexdigest()
    assert (booked["body_bytes"], booked["client_unique_ref"]) == (len(body), "ref-1")
    assert (unknown["path"], unknown["status"], unknown["body_sha256"]) == ("/env", 404, None)
    assert {entry["outcome"] for entry in (health, booked, unknown)} == {"answered"}
    assert health["seq"] < booked["seq"] < unknown["seq"]


async def test_ledger_can_be_searched_and_cleared(api: httpx.AsyncClient) -> None:
    for _ in range(3):
        await api.get("/nomisapi/health")
    await api.get("/nomisapi/version")
    first = (await ledger(api))[0]["seq"]
    assert (await api.get(f"/ledger?path=/nomisapi/health&after={first}&limit=1")).json()["count"] == 2
    assert len(await ledger(api, "?path=/nomisapi/health&limit=1")) == 1
    assert len(await ledger(api, "?method=POST")) == 0
    assert (await api.get("/ledger?after=x")).status_code == 400
    assert (await api.delete("/ledger")).status_code == 204
    assert await ledger(api) == []


async def test_test_hooks_are_off_unless_asked_for(store: Store) -> None:
    transport = httpx.ASGITransport(create_app(store))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        assert (await client.get("/ledger")).status_code == 404
        assert (await client.delete("/ledger")).status_code == 404
        answer = await client.get("/nomisapi/health", headers={"X-Test-Latency-Ms": "1"})
        assert "latency" not in answer.headers["Server-Timing"]


async def test_latency_is_stated_and_a_request_may_set_its_own(store: Store) -> None:
    transport = httpx.ASGITransport(create_app(store, latency=0.002, test_hooks=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        usual = await client.get("/nomisapi/health")
        assert usual.headers["Server-Timing"].endswith("latency;dur=2.00")
        own = await client.get("/nomisapi/health", headers={"X-Test-Latency-Ms": "7"})
        assert own.headers["Server-Timing"].endswith("latency;dur=7.00")


async def call_app(
    store: Store,
    sent: list[Message],
    *,
    method: str = "GET",
    raw_path: str,
    query: str = "",
    body: bytes = b"",
    latency: float = 0.0,
    leaves: bool = False,
) -> None:
    """Drive the application by hand: the caller sends ``body`` and, when it ``leaves``, is gone at once."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    if leaves:
        pending.append({"type": "http.disconnect"})

    async def receive() -> Message:
        if pending:
            return pending.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw_path,
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"content-length", str(len(body)).encode())] if body else [],
        "server": ("api", 80),
        "client": ("127.0.0.1", 1),
    }
    await asyncio.wait_for(create_app(store, latency=latency)(scope, receive, send), 10)


async def test_a_caller_that_leaves_while_the_answer_waits_has_still_booked(store: Store) -> None:
    sent: list[Message] = []
    body = json.dumps(booking()).encode()
    await call_app(store, sent, method="POST", raw_path=BOOKING, body=body, latency=30.0, leaves=True)
    assert sent == []
    entry = store.row("SELECT * FROM ledger")
    assert entry is not None
    assert (entry["outcome"], entry["status"], entry["client_unique_ref"]) == ("gone", None, "ref-1")
    assert len(store.rows("SELECT * FROM visit")) == 1


# -- bulk ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, data.BULK_PERIOD, 3 * data.BULK_PERIOD + 17])
async def test_download_is_what_it_says(api: httpx.AsyncClient, size: int) -> None:
    answer = await api.get(f"/nomisapi/bulk?bytes={size}")
    assert answer.headers["Content-Length"] == str(size) == str(len(answer.content))
    digest = hashlib.sha256(answer.content).hexdigest()
    assert answer.headers["X-Content-SHA256"] == digest == data.bulk_sha256(size)


def test_bulk_shows_when_pieces_of_any_frame_size_change_places() -> None:
    whole = b"".join(data.bulk_chunks(1_000_000))
    for size in (1 << n for n in range(10, 18)):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert len(set(pieces)) == len(pieces)


async def test_upload_is_hashed(api: httpx.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in data.bulk_chunks(200_000):
            yield piece

    answer = await api.post("/nomisapi/bulk", content=pieces())
    assert answer.json() == {"bytes": 200_000, "sha256": data.bulk_sha256(200_000)}
    assert (await ledger(api))[0]["body_sha256"] == data.bulk_sha256(200_000)


# -- as a process -------------------------------------------------------------------------------


async def book_at_once(urls: list[str], body: dict[str, Any], times: int) -> list[int]:
    limits = httpx.Limits(max_connections=times)
    async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as client:
        calls = [client.post(urls[n % len(urls)] + BOOKING, json=body) for n in range(times)]
        return sorted(answer.status_code for answer in await asyncio.gather(*calls))


async def test_parallel_identical_bookings_make_one_visit(server: VisitsApi) -> None:
    assert await book_at_once([server.url], booking(), 20) == [200] + [409] * 19
    received = server.get(f"/ledger?path={BOOKING}").json()
    assert received["count"] == 20
    assert {entry["client_unique_ref"] for entry in received["entries"]} == {"ref-1"}


async def test_two_servers_on_one_file_make_one_visit_and_it_outlives_them(tmp_path: Path) -> None:
    database = str(tmp_path / "visits.db")
    servers = [VisitsApi(tmp_path, "--database", database, name=f"api-{n}") for n in range(3)]
    first, second, later = servers
    try:
        for server in (first, second):
            server.start()
        assert await book_at_once([first.url, second.url], booking(), 20) == [200] + [409] * 19
        no_ref = booking(None, "2018-04-06T10:00/11:30")
        assert await book_at_once([first.url, second.url], no_ref, 20) == [200] + [400] * 19
        for server in (first, second):
            assert server.stop() == 0
        later.start()
        assert await book_at_once([later.url], booking(), 1) == [409]
    finally:
        for server in servers:
            server.close()


async def test_events_are_sent_when_they_happen(server: VisitsApi) -> None:
    loop = asyncio.get_running_loop()
    seen: list[tuple[str, float]] = []
    url = f"{server.url}/nomisapi/events/stream?count=3"
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data:"):
                seen.append((line[5:], loop.time()))
    assert [json.loads(body)["number"] for body, _ in seen] == [1, 2, 3]
    assert seen[-1][1] - seen[0][1] > 0.1  # a lower bound only: they were not kept for one delivery


async def test_websocket_echo(server: VisitsApi) -> None:
    url = server.url.replace("http:", "ws:") + "/nomisapi/echo-ws"
    async with websockets.connect(url, proxy=None, subprotocols=[websockets.Subprotocol("chat")]) as socket:
        assert socket.subprotocol == "chat"
        assert socket.response is not None
        assert "Server-Timing" in socket.response.headers
        for message in ("text ✓", b"\x00\xff" * 40_000):
            await socket.send(message)
            assert await asyncio.wait_for(socket.recv(), 10) == message
    entry = server.get("/ledger?path=/nomisapi/echo-ws").json()["entries"][0]
    assert entry["method"] == "GET"


def test_sigterm_ends_it_cleanly_with_a_stream_open(server: VisitsApi) -> None:
    with (
        httpx.Client(trust_env=False) as client,
        client.stream("GET", f"{server.url}/nomisapi/events/stream?count=10000") as answer,
    ):
        assert next(answer.iter_lines()) == "id: 1"
        assert server.stop() == 0
    assert "Traceback" not in server.log()


def test_listen_on_any_port_says_which(tmp_path: Path) -> None:
    program = VisitsApi(tmp_path, "--listen", "127.0.0.1:0")
    try:
        program.start()
        assert not program.url.endswith(":0")
        assert program.get("/nomisapi/health").status_code == 200
    finally:
        program.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--latency", "4"], "write it like 4ms"),
        (["--latency", "2000s"], "no duration"),
        (["--listen", "9000"], "write it like 127.0.0.1:9000"),
        (["--listen", "127.0.0.1:0", "--database", "/nonexistent/x.db"], "cannot use the database"),
    ],
)
def test_mistakes_on_the_command_line_get_a_sentence(arguments: list[str], words: str) -> None:
    done = run_once("examples.visits_api", *arguments)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_in_use_gets_a_sentence(server: VisitsApi) -> None:
    done = run_once("examples.visits_api", "--listen", server.url.removeprefix("http://"))
    assert done.returncode == 1
    assert "cannot listen on" in done.stderr
    assert "Traceback" not in done.stderr
