"""The visit story, told by a caller through whatever `client` leads to: every answer is checked."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
from typing import Any

import httpx
from websockets.sync.client import connect

from tests.support.programs import VisitsApi

EVENTS_QUERY = "from_datetime=2017-10-24%2015:36:24.380&limit=1000"


def tell(client: httpx.Client, *, reference: str = "ref-1") -> None:
    """Lookup, slots, contacts, photograph, booking, the same again (409), cancel, events, bulk both ways."""
    found = client.get(
        "/nomisapi/lookup/active_offender", params={"noms_id": "A1475AE", "date_of_birth": "1979-04-23"}
    )
    assert found.status_code == 200
    assert found.json() == {"found": True, "offender": {"id": 1057027}}
    assert "app;dur=" in found.headers["server-timing"]

    slots = client.get("/nomisapi/prison/LEI/slots?start_date=2018-04-05&end_date=2018-04-06").json()["slots"]
    assert slots[0]["time"] == "2018-04-05T10:00/11:30"
    contacts = client.get("/nomisapi/offenders/1057307/visits/contact_list").json()["contacts"]
    assert contacts[0]["id"] == 13429

    image = client.get("/nomisapi/offenders/A1484AE/image")
    picture = base64.b64decode(image.json()["image"])
    assert picture[:2] == b"\xff\xd8"
    assert len(picture) > 40_000

    booking = {
        "lead_contact": 13429,
        "slot": slots[0]["time"],
        "client_unique_ref": reference,
        "other_contacts": [],
    }
    booked = client.post("/nomisapi/offenders/1057307/visits/booking", json=booking)
    assert booked.status_code == 200, booked.text
    visit = booked.json()["visit_id"]

    again = client.post("/nomisapi/offenders/1057307/visits/booking", json=booking)
    assert again.status_code == 409
    assert again.json() == {"error": {"message": "Duplicate post"}}
    assert "proxy-status" not in again.headers
    overlapping = client.post(
        "/nomisapi/offenders/1057307/visits/booking", json={**booking, "client_unique_ref": reference + "-x"}
    )
    assert overlapping.status_code == 400
    assert overlapping.json() == {"errors": [{"message": "Overlapping visit"}]}

    cancelled = client.patch(
        f"/nomisapi/offenders/1057307/visits/booking/{visit}/cancel", json={"cancellation_code": "VISCANC"}
    )
    assert (cancelled.status_code, cancelled.json()) == (200, {"message": "Visit Cancelled"})

    events = client.get(f"/nomisapi/offenders/events?{EVENTS_QUERY}").json()
    assert events["raw_query"] == EVENTS_QUERY

    _stream(client)
    _bulk(client)


def _stream(client: httpx.Client) -> None:
    numbers: list[int] = []
    with client.stream("GET", "/nomisapi/events/stream?count=3") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                numbers.append(json.loads(line[6:])["number"])
    assert numbers == [1, 2, 3]


def _bulk(client: httpx.Client, size: int = 5_000_000) -> None:
    download = client.get(f"/nomisapi/bulk?bytes={size}")
    assert len(download.content) == size
    assert hashlib.sha256(download.content).hexdigest() == download.headers["x-content-sha256"]
    upload = client.post("/nomisapi/bulk", content=download.content)
    assert upload.json() == {"bytes": size, "sha256": download.headers["x-content-sha256"]}


def echo(connection: socket.socket, host: str) -> None:
    """The example API's websocket, over a connection to the callers' port."""
    with connect(f"ws://{host}/nomisapi/echo-ws", sock=connection, proxy=None) as client:
        for message in ("hello", b"\0\1\2" * 1000):
            client.send(message)
            assert client.recv(timeout=10) == message


def bookings(api: VisitsApi) -> list[dict[str, Any]]:
    """What the API received as bookings, by its own ledger."""
    entries: list[dict[str, Any]] = api.get("/ledger?method=POST&limit=1000").json()["entries"]
    return [entry for entry in entries if entry["path"].endswith("/visits/booking")]
