"""Who acts on an admin listener: operators, by a key of theirs or by the cookie of a browser that showed one.

    operators = Operators("tunnel-hub.hub-1", config.admin, audit)
    operators.use(config.admin)            # at every reload
    operators.of(request)                  # the name, or None
    operators.require(request)             # the name, or Refused

Programs send `Authorization: Bearer KEY` with each request. Browsers post the key once (`log_in`) and get a cookie
for at most SESSION seconds. Whatever changes something and may come from a browser is read with `form`, which
demands more of a cookie: the page's own token, and that the page is of this origin. Everything is in memory, so a
restart logs everybody out, and an operator who leaves the configuration is out at the reload.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from protocol.ops import log
from protocol.ops.apikeys import HASH_PREFIX, digest, looks_like
from protocol.ops.audit import Audit
from protocol.ops.seldom import Seldom
from protocol.ops.tables import Admin
from protocol.rates import TokenBucket

SESSION: Final = 8 * 3600.0
"""Seconds after which a browser must show the key again."""

SESSIONS_MAX: Final = 64
"""Browsers that are logged in at once; one more, and the oldest is out."""

FAILURES_PER_SECOND: Final = 0.5
FAILURES_AT_ONCE: Final = 5
"""Wrong keys that are looked at; more are answered 429. A right one is always taken."""

FORM_MAX: Final = 8 * 1024
"""Bytes of a form."""

FORM_TIMEOUT = 10.0
"""Seconds in which a form must come: whoever sends it may be a stranger."""

CSRF_FIELD: Final = "csrf"

_log = log.get("operators")


class Refused(HTTPException):
    """The request is not this operator's to make: the status, and one clear sentence as `detail`."""


class _Session(NamedTuple):
    operator: str
    key: str
    """Digest of the key that was shown: when it leaves the configuration, the session is over."""
    ends: float


class Operators:
    """One per admin listener. All methods belong to the event loop's thread."""

    def __init__(
        self, program: str, table: Admin, audit: Audit, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """program: names the cookie; browsers do not tell two ports of one machine apart."""
        self.cookie: Final = f"operator.{program}"
        self._audit = audit
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._sessions: dict[str, _Session] = {}
        self._failures = TokenBucket(FAILURES_PER_SECOND, clock(), FAILURES_AT_ONCE)
        self._seldom = Seldom()
        self._keys: dict[str, str] = {}
        self.use(table)

    def use(self, table: Admin) -> None:
        """The operators in force from now on."""
        self._keys = {
            line.removeprefix(HASH_PREFIX): name
            for name, operator in table.operators.items()
            for line in operator.keys
        }

    @property
    def configured(self) -> bool:
        """Whether there are any."""
        return bool(self._keys)

    # -- Who asks ---------------------------------------------------------------------------------------

    def of(self, request: Request) -> str | None:
        """The operator who asks, None for anybody else."""
        key = bearer(request)
        if key is not None:
            return self._owner(key)
        session = self._session(request)
        return None if session is None else session.operator

    def require(self, request: Request) -> str:
        """The operator who asks. For requests that change nothing; for others use `form`.

        Raises:
            Refused: 401 without a key or with a wrong one, 403 when no operator is configured, 429 after many
                wrong ones.
        """
        operator = self.of(request)
        if operator is not None:
            return operator
        if not self.configured:
            raise Refused(403, "No operator is configured: add [admin.operators.NAME] with keys to the file.")
        if bearer(request) is not None:
            raise self._failed(request, "header")
        raise Refused(
            401,
            "This needs an operator: log in, or send Authorization: Bearer KEY.",
            {"WWW-Authenticate": "Bearer"},
        )

    async def form(self, request: Request) -> tuple[str, dict[str, str]]:
        """The operator who posts, and the form's fields; nobody else's page can have made the request.

        Raises:
            Refused: as `require`; 403 when it comes from another origin or without the page's token, 413, 415.
        """
        self.require(request)
        fields = await read_form(request)
        operator = self.require(request)  # who was one when the request began may have been taken out meanwhile
        if bearer(request) is None:
            check_origin(request)
            given = fields.get(CSRF_FIELD, "")
            if not hmac.compare_digest(given.encode(), self.token(request).encode()):
                self._audit.write("operator refused", reason="not this page's form", **_peer(request))
                raise Refused(403, "The form is not of this page, or is out of date: load the page again.")
        fields.pop(CSRF_FIELD, None)
        return operator, fields

    def token(self, request: Request) -> str:
        """What a form on a page for this browser must carry as the field `csrf`; "" when nobody is logged in."""
        cookie = request.cookies.get(self.cookie, "")
        if cookie not in self._sessions:
            return ""
        return hmac.new(self._secret, cookie.encode(), sha256).hexdigest()

    # -- Browsers ---------------------------------------------------------------------------------------

    async def log_in(self, request: Request, response: Response) -> str:
        """Take the key posted as the field `key`; `response` gets the cookie. Returns the operator's name.

        Raises:
            Refused: 401 for a wrong key, 403 from another origin, 413, 415, 429.
        """
        check_origin(request)
        key = (await read_form(request)).get("key", "").strip()
        operator = self._owner(key)
        if operator is None:
            raise self._failed(request, "form")
        now = self._clock()
        self._forget(now)
        while len(self._sessions) >= SESSIONS_MAX:
            del self._sessions[next(iter(self._sessions))]
        cookie = secrets.token_urlsafe(32)
        self._sessions[cookie] = _Session(operator, digest(key.encode()), now + SESSION)
        response.set_cookie(
            self.cookie,
            cookie,
            max_age=int(SESSION),
            httponly=True,
            samesite="strict",
            # There is no TLS here itself; what a proxy in front says can only make the cookie stricter.
            secure=request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https",
        )
        self._audit.write("operator logged in", operator=operator, **_peer(request))
        return operator

    async def log_out(self, request: Request, response: Response) -> None:
        """End the browser's session. Raises Refused as `form` does."""
        operator, _ = await self.form(request)
        self._sessions.pop(request.cookies.get(self.cookie, ""), None)
        response.delete_cookie(self.cookie, httponly=True, samesite="strict")
        self._audit.write("operator logged out", operator=operator, **_peer(request))

    # -- Helpers ----------------------------------------------------------------------------------------

    def _owner(self, key: str) -> str | None:
        raw = key.encode()
        if not looks_like(raw):
            return None
        hashed = digest(raw)
        found = None
        for known, name in self._keys.items():  # all of them: how long it takes tells nothing
            if hmac.compare_digest(known, hashed):
                found = name
        return found

    def _session(self, request: Request) -> _Session | None:
        cookie = request.cookies.get(self.cookie)
        session = self._sessions.get(cookie) if cookie else None
        if session is None or cookie is None:
            return None
        if session.ends <= self._clock() or self._keys.get(session.key) != session.operator:
            del self._sessions[cookie]
            return None
        return session

    def _forget(self, now: float) -> None:
        self._sessions = {cookie: each for cookie, each in self._sessions.items() if each.ends > now}

    def _failed(self, request: Request, way: str) -> Refused:
        """A wrong key was shown."""
        self._audit.write("operator refused", reason="wrong key", way=way, **_peer(request))
        left_out = self._seldom.leftover("wrong key", self._clock())
        if left_out is not None:
            _log.warning("wrong operator key", way=way, left_out=left_out, **_peer(request))
        if not self._failures.allow(self._clock()):
            return Refused(429, "Too many wrong keys; wait some seconds.", {"Retry-After": "5"})
        return Refused(401, "This is not the key of an operator.", {"WWW-Authenticate": "Bearer"})


def bearer(request: Request) -> str | None:
    """The key in `Authorization: Bearer KEY`, None without such a field."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def check_origin(request: Request) -> None:
    """The page that made the request is of this origin, as far as the browser says, or else Refused (403)."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    try:
        here = origin is None or urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    except ValueError:  # no URL, so no browser's
        here = False
    if site not in (None, "same-origin") or not here:
        raise Refused(403, "The request comes from another site's page.")


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a posted form, the last of each name.

    Raises:
        Refused: 408 after FORM_TIMEOUT, 413 above FORM_MAX, 415 for other types, 400.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Refused(415, "Send the fields as application/x-www-form-urlencoded.")
    body = b""
    try:
        async with asyncio.timeout(FORM_TIMEOUT):
            async for piece in request.stream():
                body += piece
                if len(body) > FORM_MAX:
                    raise Refused(413, "The form is too large.")
    except TimeoutError:
        raise Refused(408, "The form did not come in time.", {"Connection": "close"}) from None
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=64))
    except ValueError:
        raise Refused(400, "The form cannot be read.") from None


def _peer(request: Request) -> Mapping[str, str]:
    return {"peer": request.client.host if request.client is not None else "?"}
