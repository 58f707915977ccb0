"""What changes the database: bookings, cancellations and payments, each in one transaction."""

from __future__ import annotations

import sqlite3

from examples.visits_api.store import Store


class DuplicateReferenceError(Exception):
    """The reference was used before by an accepted request."""


class OverlappingVisitError(Exception):
    """The offender has another visit, not cancelled, that overlaps in time."""


class UnknownVisitError(Exception):
    """The offender has no such visit."""


class AlreadyCancelledError(Exception):
    """The visit was cancelled before."""


def book(store: Store, offender_id: int, *, lead_contact: int, starts: str, ends: str, ref: str | None) -> int:
    """Book a visit from ``starts`` to ``ends`` (both ``YYYY-MM-DDTHH:MM``) and return its id.

    Raises DuplicateReferenceError, which goes first (a repeated booking overlaps itself), or
    OverlappingVisitError, which leaves the reference unused.
    """
    with store.transaction():
        try:
            visit = store.execute(
                "INSERT INTO visit (offender_id, lead_contact, starts, ends, client_unique_ref)"
                " VALUES (?, ?, ?, ?, ?)",
                *(offender_id, lead_contact, starts, ends, ref),
            )
        except sqlite3.IntegrityError:
            raise DuplicateReferenceError from None
        overlapping = store.row(
            "SELECT 1 FROM visit WHERE offender_id = ? AND cancellation_code IS NULL AND id <> ?"
            " AND starts < ? AND ends > ?",
            *(offender_id, visit, ends, starts),
        )
        if overlapping:
            raise OverlappingVisitError
    return visit


def cancel(store: Store, offender_id: int, visit: int, code: str) -> None:
    """Cancel a visit. Raises UnknownVisitError or AlreadyCancelledError."""
    with store.transaction():
        found = store.row(
            "SELECT cancellation_code FROM visit WHERE id = ? AND offender_id = ?", visit, offender_id
        )
        if found is None:
            raise UnknownVisitError
        if found["cancellation_code"] is not None:
            raise AlreadyCancelledError
        store.execute("UPDATE visit SET cancellation_code = ? WHERE id = ?", code, visit)


def pay_in(store: Store, offender_id: int, kind: str, amount: int, ref: str | None) -> int:
    """Credit ``amount`` pence to the offender's cash account and return the payment's number.

    Raises DuplicateReferenceError.
    """
    with store.transaction():
        try:
            payment = store.execute(
                "INSERT INTO payment (offender_id, type, amount, client_unique_ref) VALUES (?, ?, ?, ?)",
                *(offender_id, kind, amount, ref),
            )
        except sqlite3.IntegrityError:
            raise DuplicateReferenceError from None
        store.execute("UPDATE offender SET cash = cash + ? WHERE id = ?", amount, offender_id)
    return payment
