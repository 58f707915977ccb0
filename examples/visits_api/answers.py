"""Reading requests and making answers in the legacy API's shapes."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

BODY_LIMIT = 65_536
MOST_DAYS = 366
_SLOT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)/(\d\d:\d\d)", re.ASCII)
LARGEST_INTEGER = 2**63 - 1  # what SQLite holds


class InvalidError(Exception):
    """The request breaks a rule; the message is for the caller (400)."""


def error(status: int, message: str) -> JSONResponse:
    """The shape of a single error: 404, 409 and the like."""
    return JSONResponse({"error": {"message": message}}, status)


def invalid(message: str) -> JSONResponse:
    """The shape of a refused request: 400 with a list of errors."""
    return JSONResponse({"errors": [{"message": message}]}, 400)


async def on_invalid(_: Request, exc: Exception) -> Response:
    """Starlette's handler for InvalidError."""
    return invalid(str(exc))


async def on_http_error(_: Request, exc: Exception) -> Response:
    """Starlette's handler for unknown paths and methods."""
    if not isinstance(exc, HTTPException):
        raise exc
    answer = error(exc.status_code, exc.detail)
    answer.headers.update(exc.headers or {})
    return answer


async def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body. Raises InvalidError, or HTTPException 413 above ``BODY_LIMIT`` bytes."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_LIMIT:
            raise HTTPException(413, "The body is too large")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidError("The body is not JSON") from None
    if not isinstance(value, dict):
        raise InvalidError("The body is not a JSON object")
    return value


def positive_integer(body: dict[str, Any], name: str) -> int:
    """A member that must be a positive whole number. Raises InvalidError."""
    value = body.get(name)
    if type(value) is not int or not 0 < value <= LARGEST_INTEGER:
        raise InvalidError(f"{name} must be a positive whole number")
    return value


def text(body: dict[str, Any], name: str) -> str:
    """A member that must be a text of 1 to 64 characters. Raises InvalidError."""
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 64:
        raise InvalidError(f"{name} must be a text of 1 to 64 characters")
    return value


def reference(request: Request, body: dict[str, Any]) -> str | None:
    """The ``client_unique_ref``, if any, prefixed with the client's name when the gateway gave one."""
    if body.get("client_unique_ref") is None:
        return None
    ref = text(body, "client_unique_ref")
    client = request.headers.get("x-client-name")
    return f"{client}-{ref}" if client else ref


def slot(value: str) -> tuple[str, str]:
    """Start and end (``YYYY-MM-DDTHH:MM``) of a slot like ``2018-04-05T10:00/11:30``. Raises InvalidError."""
    found = _SLOT.fullmatch(value)
    if not found:
        raise InvalidError("slot must look like 2018-04-05T10:00/11:30")
    starts, ends = f"{found[1]}T{found[2]}", f"{found[1]}T{found[3]}"
    try:
        valid = dt.datetime.fromisoformat(starts) < dt.datetime.fromisoformat(ends)
    except ValueError:
        valid = False
    if not valid:
        raise InvalidError("slot must be a real time that ends after it starts")
    return starts, ends


def date(value: str | None, name: str) -> dt.date:
    """A date like ``2018-04-05``. Raises InvalidError."""
    try:
        if value is not None and len(value) == 10:
            return dt.date.fromisoformat(value)
    except ValueError:
        pass
    raise InvalidError(f"{name} must be a date like 2018-04-05")


def days(request: Request) -> list[dt.date]:
    """Every day from ``start_date`` to ``end_date``, both included. Raises InvalidError."""
    first = date(request.query_params.get("start_date"), "start_date")
    last = date(request.query_params.get("end_date"), "end_date")
    if not 0 <= (last - first).days < MOST_DAYS:
        raise InvalidError(f"end_date must be within {MOST_DAYS - 1} days after start_date")
    return [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]


def bounded(request: Request, name: str, default: int, most: int) -> int:
    """A query parameter that is a whole number from 0 to ``most``. Raises InvalidError."""
    value = request.query_params.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) <= most):
        raise InvalidError(f"{name} must be a whole number from 0 to {most}")
    return int(value)
