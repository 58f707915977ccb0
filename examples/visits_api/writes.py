"""The endpoints that change something."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.visits_api import answers, bookings
from examples.visits_api.reads import find_offender, find_offender_in
from examples.visits_api.store import Store


class Writes:
    """Handlers over one store. A body is read before anything is looked up, so that it is always recorded."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """Routes under /nomisapi."""
        return [
            Route("/offenders/{key}/visits/booking", self.book, methods=["POST"]),
            Route("/offenders/{key}/visits/booking/{visit:int}/cancel", self.cancel, methods=["PATCH"]),
            Route("/prison/{prison}/offenders/{key}/transactions", self.pay_in, methods=["POST"]),
        ]

    async def book(self, request: Request) -> Response:
        body = await answers.read_object(request)
        offender = find_offender(self._store, request.path_params["key"])["id"]
        lead_contact = answers.positive_integer(body, "lead_contact")
        starts, ends = answers.slot(answers.text(body, "slot"))
        ref = answers.reference(request, body)
        if not self._store.row("SELECT 1 FROM contact WHERE id = ? AND offender_id = ?", lead_contact, offender):
            return answers.invalid("Lead contact is not in the contact list")
        try:
            visit = bookings.book(
                self._store, offender, lead_contact=lead_contact, starts=starts, ends=ends, ref=ref
            )
        except bookings.DuplicateReferenceError:
            return answers.error(409, "Duplicate post")
        except bookings.OverlappingVisitError:
            return answers.invalid("Overlapping visit")
        return JSONResponse({"visit_id": visit})

    async def cancel(self, request: Request) -> Response:
        body = await answers.read_object(request)
        offender = find_offender(self._store, request.path_params["key"])["id"]
        code = answers.text(body, "cancellation_code")
        visit = min(request.path_params["visit"], answers.LARGEST_INTEGER)
        try:
            bookings.cancel(self._store, offender, visit, code)
        except bookings.UnknownVisitError:
            raise HTTPException(404, "Visit not found") from None
        except bookings.AlreadyCancelledError:
            return answers.invalid("Visit already cancelled")
        return JSONResponse({"message": "Visit Cancelled"})

    async def pay_in(self, request: Request) -> Response:
        body = await answers.read_object(request)
        offender = find_offender_in(self._store, request)["id"]
        kind = answers.text(body, "type")
        amount = answers.positive_integer(body, "amount")
        if amount > 10**9:
            return answers.invalid("amount must be at most 1000000000")
        ref = answers.reference(request, body)
        try:
            payment = bookings.pay_in(self._store, offender, kind, amount, ref)
        except bookings.DuplicateReferenceError:
            return answers.error(409, "Duplicate post")
        return JSONResponse({"id": f"{payment}-3"})
