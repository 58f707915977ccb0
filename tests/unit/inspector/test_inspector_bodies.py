"""What is shown of a body: its text, masked and cut, or only that it is there."""

from __future__ import annotations

import gzip
import zlib

import pytest

from protocol.ops.log import MASK
from tunnel_hub.inspector.bodies import BODY_MAX, Body, shown


def show(data: bytes, kind: str = "application/json", coding: str = "", size: int | None = None) -> Body:
    return shown(data, len(data) if size is None else size, kind, coding)


def test_json_is_masked_by_its_type_or_its_look() -> None:
    secret = b'{"password": "hunter2"}'
    masked = f'{{"password": "{MASK}"}}'
    for kind in ("application/json", "application/problem+json; charset=utf-8", "text/plain", ""):
        assert show(secret, kind).text == masked, kind


def test_forms_and_texts() -> None:
    assert show(b"a=1&token=x", "application/x-www-form-urlencoded").text == f"a=1&token={MASK}"
    assert show(b"<pin>1</pin>", "application/soap+xml").text == f"<pin>{MASK}</pin>"


def test_nothing() -> None:
    assert show(b"") == Body(0, "application/json")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0", "image/png"),
        (b"plain", "application/octet-stream"),
        (b"--b\r\n", "multipart/form-data; boundary=b"),
        (b"\xff\xfe\xff", ""),
        ('{"password": "hunter2"}'.encode("utf-16"), "application/json"),
        ('{"password": "hunter2"}'.encode("utf-16-le"), "text/plain"),
    ],
)
def test_binary_is_size_and_type(data: bytes, kind: str) -> None:
    assert show(data, kind) == Body(len(data), kind, note="binary: not shown")


def test_cut_and_never_in_the_middle_of_a_character() -> None:
    data = b"x" * (BODY_MAX - 1) + "é".encode()
    body = show(data[:BODY_MAX], "text/plain", size=10**9)
    assert body == Body(10**9, "text/plain", "x" * (BODY_MAX - 1), "cut at 64 KiB")
    assert show(data[:BODY_MAX], "", size=10**9).text is not None


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_within_a_bound(coding: str, pack: object) -> None:
    assert callable(pack)
    assert show(pack(b'{"token": "x"}'), coding=coding) == Body(
        len(pack(b'{"token": "x"}')), "application/json", f'{{"token": "{MASK}"}}', f"unpacked from {coding}"
    )
    bomb = pack(b"a" * 50_000_000)
    body = show(bomb[:BODY_MAX], "text/plain", coding, len(bomb))
    assert body.text == "a" * BODY_MAX
    assert body.note == f"unpacked from {coding}, cut at 64 KiB"


def test_deflate_without_its_header() -> None:
    packer = zlib.compressobj(wbits=-15)
    assert show(packer.compress(b"[1]") + packer.flush(), coding="deflate").text == "[1]"


def test_what_cannot_be_unpacked() -> None:
    assert show(b"x", coding="br").note == "compressed (br): not shown"
    assert show(b"not gzip", coding="gzip").note == "not what gzip makes: not shown"
