from __future__ import annotations

import pytest

from protocol.http.shape import DEPTH_MAX, shape_of


@pytest.mark.parametrize(
    ("target", "shape"),
    [
        (b"/", "/"),
        (b"/nomisapi/version", "/nomisapi/version"),
        (b"/nomisapi/offenders/A1234BC/visits?noms_id=A1234BC", "/nomisapi/offenders/*/visits"),
        (b"/v1/contact_list/availableDates/openapi.json", "/v1/contact_list/availableDates/openapi.json"),
        (b"/a/1234/", "/a/*/"),
        (b"/x/%41bc/deadbeef/2024-01-01", "/x/*/*/*"),
        (b"/x/" + b"a" * 40, "/x/*"),
        (b"/\xff\xfe/<script>", "/*/*"),
        (b"*", "*"),
        (b"http://internal.example/x", "*"),
        (b"", "*"),
        (b"?x=/y", "*"),
    ],
    ids=range(12),
)
def test_shape(target: bytes, shape: str) -> None:
    assert shape_of(target) == shape


def test_bounded() -> None:
    assert shape_of(b"/a" * (DEPTH_MAX + 1)) == "/a" * DEPTH_MAX + "/**"
    assert shape_of(b"/a" * DEPTH_MAX) == "/a" * DEPTH_MAX
    assert len(shape_of(b"/" + b"abc/" * 4000)) < 32 * DEPTH_MAX
