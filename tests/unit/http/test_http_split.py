from __future__ import annotations

from typing import Any

import httptools
import pytest

from protocol.http.fields import (
    BadMessage,
    Kind,
    RequestFraming,
    ResponseFraming,
    connection_options,
    serialise,
    split_request,
    split_response,
    split_trailers,
)

HOST = [b"Host", b"visits.internal"]


def request(*fields: bytes, minor: int = 1) -> RequestFraming:
    return split_request([*HOST, *fields], minor)


def response(*fields: bytes, status: int = 200, method: bytes = b"GET", minor: int = 1) -> ResponseFraming:
    return split_response(list(fields), status, method, minor)


def refused(raw: list[bytes], status: int, reason: str, minor: int = 1) -> None:
    with pytest.raises(BadMessage) as caught:
        split_request(raw, minor)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert caught.value.title == str(caught.value)
    assert caught.value.title[0].isupper()


class TestRequestFields:
    def test_end_to_end_fields_stay_as_they_are(self) -> None:
        fields = [b"Accept", b"a", b"X-Own", b"", b"accept", b"b", b"Cookie", b"c=d; e", b"X-Own", b"1"]
        assert request(*fields).fields == fields

    def test_hop_by_hop_fields_go(self) -> None:
        split = request(
            b"Connection", b"keep-alive, X-Mine", b"Keep-Alive", b"timeout=5", b"TE", b"trailers", b"X-Mine", b"1",
            b"Proxy-Connection", b"close", b"Proxy-Authorization", b"Basic x", b"Upgrade", b"websocket", b"A",
            b"b",
            b"Transfer-Encoding", b"chunked", b"Expect", b"100-continue", b"x-mine", b"2", b"Trailer", b"X-Sum",
        )  # fmt: skip
        assert split.fields == [b"A", b"b", b"Trailer", b"X-Sum"]

    def test_fields_for_the_hub_stay_and_are_marked(self) -> None:
        fields = [
            b"X-Forwarded-For", b"1.2.3.4", b"Via", b"1.1 x", b"X-Client-Name", b"me", b"Tunnel-Service",
            b"visits",
            b"traceparent", b"00-0-0-0", b"Authorization", b"Bearer x", b"X-Request-Id", b"7",
        ]  # fmt: skip
        split = request(*fields)
        assert split.fields == fields
        assert split.kinds == (
            Kind.HOST | Kind.FORWARDING | Kind.VIA | Kind.IDENTITY | Kind.TUNNEL | Kind.TRACE | Kind.CREDENTIAL
            | Kind.REQUEST_ID
        )  # fmt: skip

    def test_values_lose_the_white_space_around_them(self) -> None:
        # llhttp strips it in front of a value, but not behind.
        split = split_request(
            [b"Host", b"a \t", b"A", b"\t b c \t", b"Content-Length", b"5 ", b"Connection", b"close "], 1
        )
        assert (split.host, split.fields, split.length, split.keep_alive) == (b"a", [b"A", b"b c"], 5, False)

    def test_what_was_split_can_be_serialised(self) -> None:
        split = request(b"A", b" b ", b"Connection", b"close", b"Via", b"x")
        assert serialise(split.fields) == b"A: b\r\nVia: x\r\n"

    def test_the_input_is_left_alone(self) -> None:
        raw = [*HOST, b"Connection", b"X-Mine", b"X-Mine", b"1"]
        before = list(raw)
        split_request(raw, 1)
        assert raw == before

    @pytest.mark.parametrize("name", [b"X_Client_Name", b"content_length", b"Tunnel_Service", b"X.Forwarded.For"])
    def test_aliases_of_our_names_are_refused(self, name: bytes) -> None:
        refused([*HOST, name, b"x"], 400, "alias")

    def test_other_names_with_underscores_pass(self) -> None:
        assert request(b"my_field", b"x").fields == [b"my_field", b"x"]

    def test_names_that_are_not_tokens_are_refused(self) -> None:
        refused([*HOST, b"a b", b"x"], 400, "name-invalid")


class TestHost:
    def test_http_1_1_needs_exactly_one(self) -> None:
        refused([b"A", b"b"], 400, "host-missing")
        refused([*HOST, *HOST], 400, "host-repeated")
        refused([*HOST, b"host", b"other"], 400, "host-repeated")

    def test_http_1_0_may_have_none(self) -> None:
        assert split_request([b"A", b"b"], 0).host == b""
        assert split_request(HOST, 0).host == b"visits.internal"
        refused([*HOST, *HOST], 400, "host-repeated", minor=0)

    @pytest.mark.parametrize("value", [b"", b"a b", b"u@a", b"a/b", b"a,b", b"a:x", b"[::1", b"1.2.3"])
    def test_it_must_be_valid(self, value: bytes) -> None:
        refused([b"Host", value], 400, "host-invalid")
        refused([b"Host", value], 400, "host-invalid", minor=0)


class TestLength:
    @pytest.mark.parametrize(
        ("value", "length"), [(b"0", 0), (b"7", 7), (b"007", 7), (b"9223372036854775807", 2**63 - 1)]
    )
    def test_digits(self, value: bytes, length: int) -> None:
        split = request(b"Content-Length", value)
        assert (split.length, split.chunked, split.fields) == (length, False, [])

    @pytest.mark.parametrize(
        "value",
        [
            b"", b"+1", b"-1", b"1_0", b"0x10", b"1.0", b"1e3", b"5, 5", b"5,5", b"5;", b"5 5", "\u0665".encode(),
            "\uff15".encode(), b"\xb2", b"9223372036854775808", b"0" * 20, b"chunked",
        ],
    )  # fmt: skip
    def test_anything_else_is_refused(self, value: bytes) -> None:
        refused([*HOST, b"Content-Length", value], 400, "length-invalid")

    def test_repeated_is_refused_even_when_equal(self) -> None:
        refused([*HOST, b"Content-Length", b"5", b"content-length", b"5"], 400, "length-repeated")

    def test_none_means_no_body(self) -> None:
        split = request()
        assert (split.length, split.chunked) == (None, False)


class TestCoding:
    @pytest.mark.parametrize("value", [b"chunked", b"Chunked", b"CHUNKED", b" chunked\t"])
    def test_chunked(self, value: bytes) -> None:
        split = request(b"Transfer-Encoding", value)
        assert (split.length, split.chunked, split.fields) == (None, True, [])

    @pytest.mark.parametrize(
        ("values", "status", "reason"),
        [
            ([b"gzip, chunked"], 501, "coding-unknown"),
            ([b"gzip", b"chunked"], 501, "coding-unknown"),
            ([b"x-own,\tchunked"], 501, "coding-unknown"),
            ([b"identity, chunked"], 501, "coding-unknown"),
            ([b"chunked, gzip"], 400, "coding-not-final"),
            ([b"gzip"], 400, "coding-not-final"),
            ([b"identity"], 400, "coding-not-final"),
            ([b"xchunked"], 400, "coding-not-final"),
            ([b"chunked;q=1"], 400, "coding-not-final"),
            ([b"chunked, chunked"], 400, "coding-not-final"),
            ([b"chunked", b"chunked"], 400, "coding-not-final"),
            ([b"chunked,"], 400, "coding-not-final"),
            ([b", chunked"], 400, "coding-not-final"),
            ([b"\x0bchunked"], 400, "coding-not-final"),
            ([b'"chunked"'], 400, "coding-not-final"),
            ([b""], 400, "coding-not-final"),
        ],
    )
    def test_everything_else_is_refused(self, values: list[bytes], status: int, reason: str) -> None:
        refused([*HOST, *(x for value in values for x in (b"Transfer-Encoding", value))], status, reason)

    def test_together_with_a_length_is_refused(self) -> None:
        for fields in ([b"Transfer-Encoding", b"chunked"], [b"Transfer-Encoding", b"gzip"]):
            refused([*HOST, *fields, b"Content-Length", b"5"], 400, "coding-and-length")
            refused([*HOST, b"Content-Length", b"0", *fields], 400, "coding-and-length")

    def test_under_http_1_0_is_refused(self) -> None:
        refused([*HOST, b"Transfer-Encoding", b"chunked"], 400, "coding-in-1.0", minor=0)


class TestExpect:
    BODY = (b"Content-Length", b"5")

    @pytest.mark.parametrize("value", [b"100-continue", b"100-Continue", b" 100-continue ", b"100-continue,"])
    def test_continue(self, value: bytes) -> None:
        assert request(b"Expect", value, *self.BODY).expect_continue
        assert request(b"Expect", value, b"Transfer-Encoding", b"chunked").expect_continue

    def test_needs_a_body_to_wait_for(self) -> None:
        assert not request(b"Expect", b"100-continue").expect_continue
        assert not request(b"Expect", b"100-continue", b"Content-Length", b"0").expect_continue

    def test_is_ignored_under_http_1_0(self) -> None:
        assert not request(b"Expect", b"100-continue", *self.BODY, minor=0).expect_continue

    @pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b"100-continue=1", b"x"])
    def test_other_expectations_fail(self, value: bytes) -> None:
        refused([*HOST, b"Expect", value, *self.BODY], 417, "expectation")
        refused([*HOST, b"Expect", b"100-continue", b"Expect", value], 417, "expectation")


class TestConnection:
    @pytest.mark.parametrize(
        ("value", "minor", "keep"),
        [
            (None, 1, True), (None, 0, False), (b"close", 1, False), (b"Close", 1, False), (b"close", 0, False),
            (b"keep-alive", 1, True), (b"keep-alive", 0, True), (b"Keep-Alive", 0, True), (b"x-mine", 1, True),
            (b"x-mine", 0, False), (b"keep-alive, close", 1, False), (b"close, keep-alive", 0, False),
            (b"X-Mine, KEEP-ALIVE", 0, True), (b"", 1, True), (b",", 1, True), (b"upgrade", 1, True),
        ],
    )  # fmt: skip
    def test_persistence(self, value: bytes | None, minor: int, keep: bool) -> None:
        fields = () if value is None else (b"Connection", value)
        assert request(*fields, minor=minor).keep_alive is keep

    def test_repeated_fields_add_up(self) -> None:
        split = request(
            b"Connection", b"X-A", b"A", b"b", b"Connection", b"close, X-B", b"X-A", b"1", b"X-B", b"2"
        )
        assert (split.fields, split.keep_alive) == ([b"A", b"b"], False)

    def test_proxy_connection_means_nothing(self) -> None:
        assert request(b"Proxy-Connection", b"close").keep_alive

    @pytest.mark.parametrize(
        "name",
        [
            b"X-Client-Name", b"x-client-name", b"Tunnel-Service", b"Tunnel-Later", b"Authorization", b"Host",
            b"Content-Length", b"Transfer-Encoding", b"Expect", b"X-Forwarded-For", b"Forwarded", b"Via",
            b"Cookie",
            b"traceparent", b"If-Match", b"Content-Type", b"Cache-Control", b"Connection", b"X_Client_Name",
            b"Date",
        ],
    )  # fmt: skip
    def test_it_may_not_nominate_what_every_party_needs(self, name: bytes) -> None:
        refused([*HOST, b"Connection", b"close, " + name], 400, "connection-nominates")

    @pytest.mark.parametrize(
        "name", [b"TE", b"Keep-Alive", b"Upgrade", b"Trailer", b"HTTP2-Settings", b"X-Anything"]
    )
    def test_it_may_nominate_the_rest(self, name: bytes) -> None:
        assert request(b"Connection", name, name, b"x", b"A", b"b").fields == [b"A", b"b"]

    @pytest.mark.parametrize("value", [b"a b", b"close;x", b'"close"', b"a\xff", b"(x)"])
    def test_it_must_be_tokens(self, value: bytes) -> None:
        refused([*HOST, b"Connection", value], 400, "connection-invalid")

    def test_options(self) -> None:
        assert connection_options(b"Keep-Alive") == {b"keep-alive"}
        assert connection_options(b" Upgrade ,\tX-a, ,") == {b"upgrade", b"x-a"}
        assert connection_options(b"") == frozenset()


class TestUpgrade:
    @pytest.mark.parametrize("value", [b"websocket", b"WebSocket", b"my-protocol/1.0"])
    def test_asked_for(self, value: bytes) -> None:
        split = request(b"Connection", b"keep-alive, Upgrade", b"Upgrade", value)
        assert (split.upgrade, split.fields) == (value, [])

    @pytest.mark.parametrize("value", [b"h2c", b"H2C", b"TLS/1.0", b"websocket, foo", b"a/b/c", b"", b"a b"])
    def test_upgrades_of_the_hop_and_lists_are_ignored(self, value: bytes) -> None:
        split = request(b"Connection", b"Upgrade", b"Upgrade", value)
        assert (split.upgrade, split.fields) == (None, [])

    def test_repeated_is_a_list(self) -> None:
        assert request(b"Connection", b"upgrade", b"Upgrade", b"a", b"Upgrade", b"b").upgrade is None

    def test_needs_the_connection_option_and_http_1_1(self) -> None:
        assert request(b"Upgrade", b"websocket").upgrade is None
        assert request(b"Connection", b"upgrade").upgrade is None
        assert request(b"Connection", b"upgrade", b"Upgrade", b"websocket", minor=0).upgrade is None


class TestResponse:
    def test_fields_stay_but_for_hop_by_hop_and_tunnel_ones(self) -> None:
        split = response(
            b"Server", b"nginx", b"Set-Cookie", b"a=1", b"Connection", b"close, X-Mine", b"X-Mine", b"1",
            b"Keep-Alive", b"x",
            b"Set-Cookie", b"b=2", b"Tunnel-Delivered", b"no", b"Proxy-Status", b"x", b"Server-Timing",
            b"db;dur=4 ",
            b"Date", b"now", b"Proxy-Authenticate", b"x", b"Content-Length", b"3", b"Content_Length", b"9",
            b"Via", b"v",
            b"X-Client-Name", b"kept", b"Upgrade", b"h2",
        )  # fmt: skip
        assert split.fields == [
            b"Server", b"nginx", b"Set-Cookie", b"a=1", b"Set-Cookie", b"b=2", b"Server-Timing", b"db;dur=4",
            b"Date", b"now",
            b"Via", b"v", b"X-Client-Name", b"kept",
        ]  # fmt: skip
        assert split.kinds & Kind.DATE
        assert split.kinds & Kind.TUNNEL
        assert (split.length, split.upgrade) == (3, None)

    def test_a_nomination_cannot_take_what_everyone_needs(self) -> None:
        split = response(
            b"Connection", b"Transfer-Encoding, Set-Cookie, X-Mine", b"Transfer-Encoding", b"chunked",
            b"Set-Cookie", b"a=1",
            b"X-Mine", b"1",
        )  # fmt: skip
        assert (split.fields, split.chunked) == ([b"Set-Cookie", b"a=1"], True)

    @pytest.mark.parametrize(
        ("fields", "status", "method", "minor", "expected"),
        [
            # length, chunked, bodyless, keep_alive
            ([b"Content-Length", b"5"], 200, b"GET", 1, (5, False, False, True)),
            ([b"Content-Length", b"0"], 200, b"GET", 1, (0, False, False, True)),
            ([b"Transfer-Encoding", b"chunked"], 200, b"GET", 1, (None, True, False, True)),
            ([], 200, b"GET", 1, (None, False, False, False)),
            ([b"Connection", b"keep-alive"], 200, b"GET", 1, (None, False, False, False)),
            ([b"Content-Length", b"5", b"Connection", b"close"], 200, b"GET", 1, (5, False, False, False)),
            ([b"Content-Length", b"5"], 200, b"GET", 0, (5, False, False, False)),
            ([b"Content-Length", b"5", b"Connection", b"keep-alive"], 200,
            b"GET", 0, (5, False, False, True)),
            ([b"Content-Length", b"5"], 200, b"HEAD", 1, (5, False, True, True)),
            ([], 200, b"HEAD", 1, (None, False, True, True)),
            ([b"Transfer-Encoding", b"chunked"], 200, b"HEAD", 1, (None, False, True, True)),
            ([b"Content-Length", b"5"], 304, b"GET", 1, (5, False, True, True)),
            ([], 304, b"GET", 1, (None, False, True, True)),
            ([], 204, b"GET", 1, (None, False, True, True)),
            ([b"Content-Length", b"0"], 204, b"GET", 1, (None, False, True, True)),
            ([b"Content-Length", b"5"], 204, b"GET", 1, (None, False, True, False)),
            ([b"Transfer-Encoding", b"chunked"], 204, b"GET", 1, (None, False, True, False)),
            ([], 100, b"POST", 1, (None, False, True, True)),
            ([b"Link", b"x"], 103, b"GET", 1, (None, False, True, True)),
            ([b"Content-Length", b"5"], 404, b"POST", 1, (5, False, False, True)),
        ],
    )  # fmt: skip
    def test_framing(
        self, fields: list[bytes], status: int, method: bytes, minor: int, expected: tuple[Any, ...]
    ) -> None:
        split = response(*fields, status=status, method=method, minor=minor)
        assert (split.length, split.chunked, split.bodyless, split.keep_alive) == expected

    def test_switching_protocols(self) -> None:
        split = response(
            b"Connection", b"Upgrade", b"Upgrade", b"websocket ", b"Sec-WebSocket-Accept", b"x", status=101
        )
        assert (split.upgrade, split.bodyless, split.keep_alive) == (b"websocket", True, False)
        assert split.fields == [b"Sec-WebSocket-Accept", b"x"]

    @pytest.mark.parametrize(
        ("fields", "minor", "reason"),
        [
            ([b"Content-Length", b"5", b"Content-Length", b"5"], 1, "length-repeated"),
            ([b"Content-Length", b"5, 5"], 1, "length-invalid"),
            ([b"Content-Length", b"+5"], 1, "length-invalid"),
            ([b"Content-Length", b"5", b"Transfer-Encoding", b"chunked"], 1, "coding-and-length"),
            ([b"Transfer-Encoding", b"chunked"], 0, "coding-in-1.0"),
            ([b"Transfer-Encoding", b"gzip, chunked"], 1, "coding-unknown"),
            ([b"Transfer-Encoding", b"gzip"], 1, "coding-not-final"),
            ([b"Connection", b"a b"], 1, "connection-invalid"),
            ([b"a b", b"x"], 1, "name-invalid"),
        ],
    )
    @pytest.mark.parametrize("status", [200, 204, 304])
    def test_bad_answers(self, fields: list[bytes], minor: int, reason: str, status: int) -> None:
        with pytest.raises(BadMessage) as caught:
            response(*fields, status=status, minor=minor)
        assert (caught.value.status, caught.value.reason) == (502, reason)


def test_trailers_may_not_frame_route_or_authenticate() -> None:
    raw = [
        b"X-Checksum", b"abc ", b"Content-Length", b"5", b"Host", b"x", b"Authorization", b"x",
        b"Content-Type", b"x",
        b"Set-Cookie", b"x", b"Transfer-Encoding", b"x", b"Tunnel-Delivered", b"no", b"X-Client-Name", b"x",
        b"grpc-status", b"0",
        b"Content_Length", b"5", b"bad name", b"x", b"X-Forwarded-For", b"x", b"Cache-Control", b"x",
        b"X-Checksum", b"d",
    ]  # fmt: skip
    assert split_trailers(raw) == [b"X-Checksum", b"abc", b"grpc-status", b"0", b"X-Checksum", b"d"]


class Sink:
    def __init__(self) -> None:
        self.raw: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.raw += (name, value)


def test_with_the_real_parser() -> None:
    sink = Sink()
    parser = httptools.HttpRequestParser(sink)
    parser.feed_data(
        b"POST /x HTTP/1.1\r\nHost:  visits.internal  \r\n"
        b"Content-Length: 2 \r\nCookie: a=b\t\r\nX-Empty:\r\n\r\nhi"
    )
    split = split_request(sink.raw, 1)
    assert (split.host, split.length, split.fields) == (
        b"visits.internal",
        2,
        [b"Cookie", b"a=b", b"X-Empty", b""],
    )
