"""The endpoints that only read."""

from __future__ import annotations

import base64
import datetime as dt
import sqlite3
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.visits_api import answers, data
from examples.visits_api.answers import InvalidError
from examples.visits_api.store import Store

_MOST_EVENTS = 1_000
_SAMPLE_EVENTS = 20  # an answer's length when the limit allows it


def find_offender(store: Store, key: str) -> sqlite3.Row:
    """The offender with this noms id or number. Raises HTTPException 404."""
    found = store.row("SELECT * FROM offender WHERE noms_id = ? OR CAST(id AS TEXT) = ?", key, key)
    if found is None:
        raise HTTPException(404, "Offender not found")
    return found


class Reads:
    """Handlers over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """Routes under /nomisapi."""
        return [
            Route("/health", self.health),
            Route("/version", self.version),
            Route("/lookup/active_offender", self.lookup),
            Route("/offenders/events", self.events),
            Route("/offenders/{key}", self.offender),
            Route("/offenders/{key}/location", self.location),
            Route("/offenders/{key}/image", self.image),
            Route("/offenders/{key}/visits/available_dates", self.available_dates),
            Route("/offenders/{key}/visits/unavailability", self.unavailability),
            Route("/offenders/{key}/visits/contact_list", self.contact_list),
            Route("/prison/{prison}/slots", self.slots),
            Route("/prison/{prison}/offenders/{key}/accounts", self.accounts),
        ]

    async def health(self, _: Request) -> Response:
        self._store.row("SELECT 1")
        return JSONResponse({"status": "UP", "database": "UP"})

    async def version(self, _: Request) -> Response:
        return JSONResponse({"api_version": "1.0", "package_version": "stand-in"})

    async def lookup(self, request: Request) -> Response:
        noms_id = request.query_params.get("noms_id", "")
        born = answers.date(request.query_params.get("date_of_birth"), "date_of_birth")
        found = self._store.row(
            "SELECT id FROM offender WHERE noms_id = ? AND date_of_birth = ?", noms_id, born.isoformat()
        )
        if found is None:
            return JSONResponse({"found": False})
        return JSONResponse({"found": True, "offender": {"id": found["id"]}})

    async def offender(self, request: Request) -> Response:
        found = self._find(request)
        level = {"code": "STD", "desc": "Standard"}
        names = {"given_name": found["given_name"], "surname": found["surname"]}
        return JSONResponse({**names, "date_of_birth": found["date_of_birth"], "iep_level": level})

    async def location(self, request: Request) -> Response:
        found = self._find(request)
        cell = 1 + found["id"] % 40
        levels = [
            {"type": "Wing", "value": "A"},
            {"type": "Landing", "value": "2"},
            {"type": "Cell", "value": str(cell)},
        ]
        return JSONResponse(
            {
                "establishment": {"code": found["prison"], "desc": data.PRISONS[found["prison"]]},
                "housing_location": {"description": f"{found['prison']}-A-2-{cell:03}", "levels": levels},
            }
        )

    async def image(self, request: Request) -> Response:
        picture = data.photograph(self._find(request)["noms_id"])
        return JSONResponse({"image": base64.b64encode(picture).decode()})

    async def available_dates(self, request: Request) -> Response:
        offender, days = self._find(request), answers.days(request)
        taken = {starts[:10] for _, starts, _ in self._visits(offender["id"])}
        free = [day.isoformat() for day in days if data.visiting_times(day) and day.isoformat() not in taken]
        return JSONResponse({"dates": free})

    async def unavailability(self, request: Request) -> Response:
        offender = self._find(request)
        asked = request.query_params.get("dates", "").split(",")
        if len(asked) > answers.MOST_DAYS:
            raise InvalidError(f"dates must be at most {answers.MOST_DAYS} dates")
        visits = self._visits(offender["id"])
        answer: dict[str, Any] = {}
        for day in (answers.date(value, "each of dates").isoformat() for value in asked):
            existing = [
                {"id": n, "slot": f"{starts}/{ends[11:]}"} for n, starts, ends in visits if starts[:10] == day
            ]
            answer[day] = {
                "external_movement": False,
                "existing_visits": existing,
                "out_of_vo": False,
                "banned": False,
            }
        return JSONResponse(answer)

    async def contact_list(self, request: Request) -> Response:
        found = self._store.rows("SELECT * FROM contact WHERE offender_id = ?", self._find(request)["id"])
        contacts = [
            {
                "id": row["id"],
                "given_name": row["given_name"],
                "surname": row["surname"],
                "relationship_type": {"code": row["relationship"][:3].upper(), "desc": row["relationship"]},
                "active": True,
                "approved_visitor": True,
            }
            for row in found
        ]
        return JSONResponse({"contacts": contacts})

    async def slots(self, request: Request) -> Response:
        prison = request.path_params["prison"]
        if prison not in data.PRISONS:
            raise HTTPException(404, "Prison not found")
        days = answers.days(request)
        first, after = days[0].isoformat(), (days[-1] + dt.timedelta(days=1)).isoformat()
        counted = self._store.rows(
            "SELECT starts, count(*) AS n FROM visit JOIN offender ON offender.id = visit.offender_id"
            " WHERE prison = ? AND cancellation_code IS NULL AND starts >= ? AND starts < ? GROUP BY starts",
            *(prison, first, after),
        )
        booked = {row["starts"]: row["n"] for row in counted}
        answer = [
            {
                "time": f"{starts}/{ends}",
                "capacity": data.SLOT_CAPACITY,
                "max_groups": data.SLOT_CAPACITY,
                "max_adults": 3 * data.SLOT_CAPACITY,
                "groups_booked": booked.get(starts, 0),
                "visitors_booked": booked.get(starts, 0),
                "adults_booked": booked.get(starts, 0),
            }
            for day in days
            for starts, ends in data.visiting_times(day)
        ]
        return JSONResponse({"slots": answer})

    async def accounts(self, request: Request) -> Response:
        found = find_offender_in(self._store, request)
        return JSONResponse({name: found[name] for name in ("spends", "savings", "cash")})

    async def events(self, request: Request) -> Response:
        try:
            start = dt.datetime.fromisoformat(request.query_params.get("from_datetime", ""))
        except ValueError:
            raise InvalidError("from_datetime must be a time like 2017-10-24 15:36:24.380") from None
        limit = answers.bounded(request, "limit", _SAMPLE_EVENTS, _MOST_EVENTS)
        people = self._store.rows(
            "SELECT noms_id, prison FROM offender ORDER BY id LIMIT ?", min(limit, _SAMPLE_EVENTS)
        )
        events = [
            {
                "id": 1 + n,
                "noms_id": row["noms_id"],
                "prison_id": row["prison"],
                "timestamp": (start + dt.timedelta(minutes=n)).isoformat(" ", "milliseconds"),
                "event_type": "IEP_CHANGED" if n % 2 else "DETAILS_CHANGED",
            }
            for n, row in enumerate(people)
        ]
        # The query as it arrived, so that a client can tell whether something on the way rewrote it.
        return JSONResponse({"events": events, "raw_query": request.scope["query_string"].decode("latin-1")})

    def _find(self, request: Request) -> sqlite3.Row:
        return find_offender(self._store, request.path_params["key"])

    def _visits(self, offender_id: int) -> list[tuple[int, str, str]]:
        rows = self._store.rows(
            "SELECT id, starts, ends FROM visit WHERE offender_id = ? AND cancellation_code IS NULL"
            " ORDER BY starts",
            offender_id,
        )
        return [(row["id"], row["starts"], row["ends"]) for row in rows]


def find_offender_in(store: Store, request: Request) -> sqlite3.Row:
    """The offender that a path names together with a prison. Raises HTTPException 404 when not there."""
    found = find_offender(store, request.path_params["key"])
    if found["prison"] != request.path_params["prison"]:
        raise HTTPException(404, "Offender not found in this prison")
    return found
