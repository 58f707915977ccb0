"""Who is an operator, for how long, and what a browser must show besides its cookie."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from protocol.ops import apikeys
from protocol.ops.console.operators import FORM_MAX, SESSION, SESSIONS_MAX, Operators, Refused
from protocol.ops.tables import Admin, Operator
from tests.support.seeded import seed
from tests.support.slots import Noted

KEY, LINE = apikeys.make()
OTHER, OTHER_LINE = apikeys.make()
seed(KEY)
seed(OTHER)
TABLE = Admin(operators={"night-shift": Operator(keys=(LINE,)), "day-shift": Operator(keys=(OTHER_LINE,))})


class Desk:
    """Operators, their audit, and a clock."""

    def __init__(self, table: Admin = TABLE) -> None:
        self.now = 100.0
        self.audit = Noted()
        self.operators = Operators("tunnel-hub.hub-1", table, self.audit, clock=lambda: self.now)

    def request(self, body: bytes = b"", **fields: str) -> Request:
        headers = {"host": "localhost:8082", "content_type": "application/x-www-form-urlencoded"} | fields
        sent = False

        async def receive() -> dict[str, Any]:
            nonlocal sent
            assert not sent
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "scheme": "http",
            "server": ("127.0.0.1", 8082),
            "client": ("192.0.2.7", 5),
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        }
        return Request(scope, receive)

    async def log_in(self, key: str = KEY) -> str:
        """The cookie field's value."""
        response = Response()
        await self.operators.log_in(self.request(f"key={key}".encode()), response)
        return response.headers["set-cookie"].partition(";")[0]


async def refusal(awaitable: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, None),
        ({"authorization": f"Bearer {KEY}"}, "night-shift"),
        ({"authorization": f"bearer  {OTHER}"}, "day-shift"),
        ({"authorization": f"Basic {KEY}"}, None),
        ({"authorization": KEY}, None),
        ({"authorization": f"Bearer {LINE}"}, None),
        ({"authorization": f"Bearer {KEY}x"}, None),
        ({"authorization": "Bearer "}, None),
        ({"authorization": f"Bearer {apikeys.make()[0]}"}, None),
        ({"cookie": "operator.tunnel-hub.hub-1="}, None),
        ({"cookie": f"operator.tunnel-hub.hub-1={KEY}"}, None),
    ],
    ids=range(11),
)
def test_by_key(fields: dict[str, str], name: str | None) -> None:
    desk = Desk()
    assert desk.operators.of(desk.request(**fields)) == name
    if name is not None:
        assert desk.operators.require(desk.request(**fields)) == name
        return
    with pytest.raises(Refused) as caught:
        desk.operators.require(desk.request(**fields))
    assert caught.value.status_code == 401
    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}
    assert "tk_" not in caught.value.detail


def test_nobody_is_configured() -> None:
    desk = Desk(Admin())
    assert not desk.operators.configured
    with pytest.raises(Refused, match="No operator is configured") as caught:
        desk.operators.require(desk.request(authorization=f"Bearer {KEY}"))
    assert caught.value.status_code == 403


async def test_by_cookie_for_a_time() -> None:
    desk = Desk()
    cookie = await desk.log_in()
    asked = desk.request(cookie=cookie)
    assert desk.operators.of(asked) == "night-shift"
    assert desk.audit.events == [("operator logged in", {"operator": "night-shift", "peer": "192.0.2.7"})]
    desk.now += SESSION - 1
    assert desk.operators.of(asked) == "night-shift"
    desk.now += 1
    assert desk.operators.of(asked) is None
    assert desk.operators.token(asked) == ""


async def test_a_key_counts_more_than_a_cookie() -> None:
    desk = Desk()
    cookie = await desk.log_in()
    assert desk.operators.of(desk.request(cookie=cookie, authorization="Bearer wrong")) is None
    assert desk.operators.of(desk.request(cookie=cookie, authorization=f"Bearer {OTHER}")) == "day-shift"


async def test_who_leaves_the_configuration_is_out() -> None:
    desk = Desk()
    night, day = await desk.log_in(), await desk.log_in(OTHER)
    desk.operators.use(Admin(operators={"day-shift": Operator(keys=(OTHER_LINE,))}))
    assert desk.operators.of(desk.request(cookie=night)) is None
    assert desk.operators.of(desk.request(cookie=day)) == "day-shift"
    desk.operators.use(Admin(operators={"day-shift": Operator(keys=(LINE,))}))
    assert desk.operators.of(desk.request(cookie=day)) is None, "the key is what counts"


async def test_browsers_are_bounded() -> None:
    desk = Desk()
    first = await desk.log_in()
    second = await desk.log_in()
    for _ in range(SESSIONS_MAX - 1):
        last = await desk.log_in()
    assert desk.operators.of(desk.request(cookie=first)) is None
    assert desk.operators.of(desk.request(cookie=second)) == "night-shift"
    assert desk.operators.of(desk.request(cookie=last)) == "night-shift"


async def test_wrong_keys_are_counted_but_a_right_one_is_always_taken() -> None:
    desk = Desk()
    wrong = apikeys.make()[0]
    statuses = [(await refusal(desk.log_in(wrong))).status_code for _ in range(8)]
    assert statuses == [401] * 5 + [429] * 3
    assert desk.operators.of(desk.request(cookie=await desk.log_in())) == "night-shift"
    desk.now += 2
    assert (await refusal(desk.log_in(wrong))).status_code == 401
    assert wrong not in repr(desk.audit.events)
    refused = [fields for event, fields in desk.audit.events if event == "operator refused"]
    assert refused[0] == {"reason": "wrong key", "way": "form", "peer": "192.0.2.7"}
    assert len(refused) == 9


async def test_a_form_needs_the_pages_token() -> None:
    desk = Desk()
    cookie, other = await desk.log_in(), await desk.log_in()
    token = desk.operators.token(desk.request(cookie=cookie))
    assert len(token) == 64
    assert token != desk.operators.token(desk.request(cookie=other))
    body = f"csrf={token}&reason=a+b".encode()
    assert await desk.operators.form(desk.request(body, cookie=cookie)) == ("night-shift", {"reason": "a b"})
    for wrong in (b"", b"csrf=", b"csrf=x&reason=a", f"csrf={token[:-1]}".encode(), "csrf=\xfc".encode()):
        assert (await refusal(desk.operators.form(desk.request(wrong, cookie=cookie)))).status_code == 403
    assert (await refusal(desk.operators.form(desk.request(body, cookie=other)))).status_code == 403
    assert (await refusal(desk.operators.form(desk.request(body)))).status_code == 401


@pytest.mark.parametrize("way", ["cookie", "key"])
async def test_who_leaves_while_the_form_comes_is_out(way: str) -> None:
    desk = Desk()
    cookie = await desk.log_in()
    token = desk.operators.token(desk.request(cookie=cookie))
    proof = {"cookie": cookie} if way == "cookie" else {"authorization": f"Bearer {KEY}"}
    asked = desk.request(f"csrf={token}".encode(), **proof)
    come = asked._receive

    async def meanwhile() -> Any:
        desk.operators.use(Admin(operators={"day-shift": Operator(keys=(OTHER_LINE,))}))
        return await come()

    asked._receive = meanwhile
    assert (await refusal(desk.operators.form(asked))).status_code == 401


async def test_programs_need_no_token() -> None:
    desk = Desk()
    asked = desk.request(b"reason=drill", authorization=f"Bearer {KEY}", origin="http://evil.example")
    assert await desk.operators.form(asked) == ("night-shift", {"reason": "drill"})


@pytest.mark.parametrize(
    ("fields", "ours"),
    [
        ({}, True),
        ({"origin": "http://localhost:8082"}, True),
        ({"origin": "https://LOCALHOST:8082"}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"origin": "http://localhost:8083"}, False),
        ({"origin": "null"}, False),
        ({"origin": ""}, False),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "http://["}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "same-origin", "origin": "http://evil.example"}, False),
    ],
    ids=range(13),
)
async def test_whose_page_it_is(fields: dict[str, str], ours: bool) -> None:
    desk = Desk()
    cookie = await desk.log_in()
    token = desk.operators.token(desk.request(cookie=cookie))
    asked = desk.operators.form(desk.request(f"csrf={token}".encode(), cookie=cookie, **fields))
    if ours:
        assert await asked == ("night-shift", {})
    else:
        assert (await refusal(asked)).status_code == 403
        assert (
            await refusal(desk.operators.log_in(desk.request(b"key=x", **fields), Response()))
        ).status_code == 403


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"x=" + b"y" * FORM_MAX, "application/x-www-form-urlencoded", 413),
        (b"x=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"x%d=1" % n for n in range(100)), "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"", "multipart/form-data; boundary=x", 415),
        (b"", "text/plain", 415),
    ],
    ids=range(6),
)
async def test_bad_forms(body: bytes, kind: str, status: int) -> None:
    desk = Desk()
    asked = desk.request(body, content_type=kind, authorization=f"Bearer {KEY}")
    assert (await refusal(desk.operators.form(asked))).status_code == status


async def test_log_out() -> None:
    desk = Desk()
    cookie, other = await desk.log_in(), await desk.log_in()
    token = desk.operators.token(desk.request(cookie=cookie))
    response = Response()
    await desk.operators.log_out(desk.request(f"csrf={token}".encode(), cookie=cookie), response)
    assert desk.operators.of(desk.request(cookie=cookie)) is None
    assert desk.operators.of(desk.request(cookie=other)) == "night-shift"
    assert "max-age=0" in response.headers["set-cookie"].lower()
