"""What the tunnel says about a caller, and what no caller may say in its place."""

from __future__ import annotations

from typing import Final

from .rows import LINE, RequestRow, get, passes, refused

_ID = b"4bf92f3577b34da6a3ce929d0e0e4736"
_TRACE = b"00-" + _ID + b"-00f067aa0ba902b7-01"


def _members(number: int) -> bytes:
    return b",".join(b"v%d=1" % index for index in range(number))


FORWARDING: Final[list[RequestRow]] = [
    *(
        passes("forwarded", each.decode(), get(each, b"X-End: 1"), LINE, b"X-End: 1")
        for each in (
            b"Forwarded: for=203.0.113.9;host=evil.example;proto=gopher",
            b"X-Forwarded-For: 203.0.113.9",
            b"x-forwarded-host: evil.example",
            b"X-Forwarded-Proto: gopher",
            b"X-Forwarded-Port: 1",
            b"X-Forwarded-Prefix: /admin",
            b"X-Forwarded-Anything: x",
            b"X-Forwarded: for=1",
            b"X-Real-IP: 203.0.113.9",
            b"X-Client-IP: 203.0.113.9",
            b"True-Client-IP: 203.0.113.9",
            b"X-Cluster-Client-IP: 203.0.113.9",
            b"X-Original-Host: evil.example",
            b"X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2",
        )
    ),
    passes(
        "traceparent",
        "a valid one stays",
        get(b"traceparent: " + _TRACE, b"tracestate: a=1"),
        LINE,
        b"traceparent: " + _TRACE,
        b"tracestate: a=1",
    ),
    passes(
        "traceparent",
        "a later version may be longer",
        get(b"traceparent: 01" + _TRACE[2:] + b"-x"),
        LINE,
        b"traceparent: 01" + _TRACE[2:] + b"-x",
    ),
    *(
        passes(
            "traceparent",
            name,
            get(b"traceparent: " + value, b"tracestate: a=1", b"X-End: 1"),
            LINE,
            b"X-End: 1",
        )
        for name, value in (
            ("version ff", b"ff" + _TRACE[2:]),
            ("capitals", _TRACE.upper()),
            ("trace of zeros", b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01"),
            ("parent of zeros", b"00-" + _ID + b"-" + b"0" * 16 + b"-01"),
            ("too short", _TRACE[:-1]),
            ("too long for version 00", _TRACE + b"-x"),
            ("empty", b""),
            ("nonsense", b"x"),
        )
    ),
    passes("traceparent", "twice", get(b"traceparent: " + _TRACE, b"traceparent: " + _TRACE), LINE),
    passes("traceparent", "missing", get(b"tracestate: a=1"), LINE),
    passes(
        "tracestate",
        "32 members",
        get(b"traceparent: " + _TRACE, b"tracestate: " + _members(32)),
        LINE,
        b"traceparent: " + _TRACE,
        b"tracestate: " + _members(32),
    ),
    passes(
        "tracestate",
        "33 members",
        get(b"traceparent: " + _TRACE, b"tracestate: " + _members(33)),
        LINE,
        b"traceparent: " + _TRACE,
    ),
    passes(
        "tracestate",
        "33 in two fields",
        get(b"traceparent: " + _TRACE, b"tracestate: " + _members(32), b"tracestate: z=1"),
        LINE,
        b"traceparent: " + _TRACE,
    ),
    *(
        refused("alias", name.decode(), get(name + b": 1"))
        for name in (
            b"X_Client_Name",
            b"X-Client_Name",
            b"x.client.name",
            b"Content_Length",
            b"Content.Length",
            b"Transfer_Encoding",
            b"Tunnel_Service",
            b"tunnel_deadline",
            b"X_Forwarded_For",
            b"X_Real_IP",
            b"Proxy_Status",
            b"X_Request_Id",
            b"X_HTTP_Method_Override",
            b"Keep_Alive",
            b"X!Client!Name",
            b"Elite_Authorization",
            b"Proxy_Authorization",
        )
    ),
    passes("alias", "others may have it", get(b"My_Field: 1"), LINE, b"My_Field: 1"),
    passes(
        "own-voice", "a caller does not name itself", get(b"X-Client-Name: payments", b"x-client-name: b"), LINE
    ),
    *(
        passes("own-voice", name.decode(), get(name + b": 1", b"X-End: 1"), LINE, b"X-End: 1")
        for name in (b"Tunnel-Delivered", b"Tunnel-Anything", b"Proxy-Status")
    ),
    passes("own-voice", "a request's id is kept", get(b"X-Request-Id: abc-1"), LINE, request_id=b"abc-1"),
    passes("own-voice", "but only a harmless one", get(b"X-Request-Id: a b"), LINE),
    passes(
        "own-voice",
        "and one of two",
        get(b"X-Request-Id: abc-1", b"X-Request-Id: abc-2"),
        LINE,
        request_id=b"abc-1",
    ),
    refused(
        "own-voice",
        "two services are none",
        get(b"Tunnel-Service: visits", b"Tunnel-Service: visits"),
        404,
        "no_such_service",
        keeps=True,
    ),
    *(
        refused(
            "own-voice",
            f"{name.decode()} walks round the boundary",
            get(name + b": /admin"),
            400,
            "invalid_request",
            keeps=True,
        )
        for name in (
            b"X-Original-URL",
            b"X-Rewrite-URL",
            b"X-HTTP-Method-Override",
            b"X-HTTP-Method",
            b"X-Method-Override",
        )
    ),
]


def _listed(
    name: str, fields: bytes, chain: bytes, proto: bytes = b"http", host: bytes = b"visits.internal"
) -> RequestRow:
    """A request of a listed proxy: what the upstream is told of the hops before it."""
    arrives = (
        LINE
        + b"\r\nHost: {u}\r\nX-Forwarded-Host: "
        + host
        + b"\r\nX-Forwarded-For: "
        + chain
        + b"\r\nX-Forwarded-Proto: "
        + proto
        + b"\r\nX-Request-Id: *\r\nVia: 1.1 hub-1\r\n\r\n"
    )
    return RequestRow("forwarded-listed", name, get(fields), arrives=arrives)


LISTED: Final[list[RequestRow]] = [
    _listed("says nothing", b"X-Real-IP: 203.0.113.9", b"127.0.0.1"),
    _listed("names the caller", b"X-Forwarded-For: 203.0.113.9", b"203.0.113.9, 127.0.0.1"),
    _listed(
        "in several fields, in order",
        b"X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 198.51.100.1",
        b"203.0.113.9, 198.51.100.1, 127.0.0.1",
    ),
    _listed("names the scheme", b"X-Forwarded-Proto: https", b"127.0.0.1", b"https"),
    _listed("but no unknown one", b"X-Forwarded-Proto: gopher", b"127.0.0.1"),
    _listed("names the host", b"X-Forwarded-Host: public.example", b"127.0.0.1", host=b"public.example"),
    _listed(
        "others are dropped all the same",
        b"Forwarded: for=1.1.1.1\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /x",
        b"127.0.0.1",
    ),
]
