from __future__ import annotations

from typing import NamedTuple

import pytest

from tunnel_hub.routing import RouteError, Router, take_service


class Routes(NamedTuple):
    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


ROUTER = Router(
    {
        "visits": Routes(("visits.internal", "Visits.Example."), ("/nomisapi/",)),
        "photos": Routes(("photos.internal", "[::1]", "192.0.2.1"), ("/nomisapi/photos/",)),
        "quiet": Routes(),
    }
)


@pytest.mark.parametrize(
    ("authority", "service"),
    [
        (b"visits.internal", "visits"),
        (b"VISITS.internal", "visits"),
        (b"visits.internal:8080", "visits"),
        (b"visits.internal.", "visits"),
        (b"visits.internal.:8080", "visits"),
        (b"visits.example", "visits"),
        (b"[::1]", "photos"),
        (b"[::1]:80", "photos"),
        (b"192.0.2.1:80", "photos"),
        (b"x.visits.internal", None),
        (b"internal", None),
        (b"192.0.2.2", None),
        (b"", None),
    ],
)
def test_by_host(authority: bytes, service: str | None) -> None:
    assert ROUTER.route(authority, b"/") == service


@pytest.mark.parametrize(
    ("target", "service"),
    [
        (b"/nomisapi/health", "visits"),
        (b"/nomisapi/", "visits"),
        (b"/nomisapi", "visits"),
        (b"/nomisapi?x=/nomisapi/photos/", "visits"),
        (b"/nomisapis", None),
        (b"/nomisapis/", None),
        (b"/nomisap", None),
        (b"/NOMISAPI/", None),
        (b"/x/nomisapi/", None),
        (b"/x?/nomisapi/", None),
        (b"/nomisapi%2Fphotos/", None),
        (b"/nomisapi/photos/1", "photos"),
        (b"/nomisapi/photos", "photos"),
        (b"/nomisapi/photos?1", "photos"),
        (b"/nomisapi/photo", "visits"),
        (b"/", None),
    ],
)
def test_by_longest_path_prefix(target: bytes, service: str | None) -> None:
    assert ROUTER.route(b"127.0.0.1:8080", target) == service


def test_a_root_prefix_takes_the_rest() -> None:
    router = Router({"all": Routes(paths=("/",)), "one": Routes(paths=("/one/",))})
    assert router.route(b"a", b"/") == "all"
    assert router.route(b"a", b"/onex") == "all"
    assert router.route(b"a", b"/one") == "one"


def test_precedence() -> None:
    assert ROUTER.route(b"photos.internal", b"/nomisapi/") == "photos"
    assert ROUTER.route(b"photos.internal", b"/nomisapi/", b"quiet") == "quiet"
    assert ROUTER.route(b"photos.internal", b"/nomisapi/", b"unknown") is None
    assert ROUTER.route(b"photos.internal", b"/nomisapi/", b"") is None
    assert ROUTER.route(b"photos.internal", b"/nomisapi/", b"\xff") is None


@pytest.mark.parametrize(
    ("fields", "named", "left"),
    [
        ([b"A", b"b"], None, [b"A", b"b"]),
        ([], None, []),
        ([b"A", b"b", b"Tunnel-Service", b"visits", b"C", b"d"], b"visits", [b"A", b"b", b"C", b"d"]),
        ([b"tunnel-SERVICE", b"visits"], b"visits", []),
        ([b"Tunnel-Service", b"a", b"X", b"y", b"tunnel-service", b"a"], b"", [b"X", b"y"]),
        ([b"A", b"Tunnel-Service"], None, [b"A", b"Tunnel-Service"]),
        ([b"Tunnel-Servicf", b"a"], None, [b"Tunnel-Servicf", b"a"]),
    ],
)
def test_the_service_field_is_taken_out(fields: list[bytes], named: bytes | None, left: list[bytes]) -> None:
    assert take_service(fields) == named
    assert fields == left


@pytest.mark.parametrize(
    ("services", "says"),
    [
        (
            {"a": Routes(("x.example",)), "b": Routes(("X.example.",))},
            "'a' and 'b' both have the host 'X.example.'",
        ),
        ({"a": Routes(paths=("/x/",)), "b": Routes(paths=("/x/",))}, "'a' and 'b' both have the path '/x/'"),
        ({"a": Routes(("x.example:80",))}, "has a port: leave it out"),
        ({"a": Routes(("*.example",))}, "is no host name"),
        ({"a": Routes(("",))}, "is no host name"),
        ({"a": Routes(("b\u00fccher.example",))}, "xn--"),
        ({"a": Routes(paths=("/x",))}, 'must begin and end with "/"'),
        ({"a": Routes(paths=("x/",))}, 'must begin and end with "/"'),
        ({"a": Routes(paths=("",))}, 'must begin and end with "/"'),
        ({"a": Routes(paths=("/x?y/",))}, "can never match"),
        ({"a": Routes(paths=("/x//",))}, "can never match"),
        ({"a": Routes(paths=("/\u00e9/",))}, "can never match"),
    ],
)
def test_unusable_routes_are_refused_in_one_sentence(services: dict[str, Routes], says: str) -> None:
    with pytest.raises(RouteError) as refused:
        Router(services)
    assert says in str(refused.value)


def test_a_service_may_say_the_same_twice() -> None:
    assert Router({"a": Routes(("x.example", "X.example"), ("/x/", "/x/"))}).route(b"x.example", b"/") == "a"
