from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.http.fields import (
    CONNECTION_LEVEL,
    InvalidFields,
    Kind,
    classify,
    kinds_of,
    serialise,
    values,
    without,
)

FIELDS = [b"Accept", b"*/*", b"Set-Cookie", b"a=1", b"X-Empty", b"", b"set-cookie", b"b=2, c", b"Date", b"now"]


def test_lines_keep_order_spelling_and_repetition() -> None:
    assert (
        serialise(FIELDS) == b"Accept: */*\r\nSet-Cookie: a=1\r\nX-Empty: \r\nset-cookie: b=2, c\r\nDate: now\r\n"
    )
    assert serialise([]) == b""


@pytest.mark.parametrize(
    "value", [b"a\tb", b"a  b", b"a: b", b":", b"\x80\xff", b"x" * 10_000, b"a :  b", b'"\\"']
)
def test_values_may_hold(value: bytes) -> None:
    assert serialise([b"A", value, b"B", b"c"]) == b"A: " + value + b"\r\nB: c\r\n"


@pytest.mark.parametrize("octet", [*range(9), *range(10, 32), 127])
@pytest.mark.parametrize("template", [b"%b", b"%bx", b"x%b", b"x%by", b"x\r\nEvil: %by"])
def test_no_value_may_hold_a_control_character(octet: int, template: bytes) -> None:
    with pytest.raises(InvalidFields, match="control"):
        serialise([b"A", b"b", b"C", template % bytes([octet]), b"D", b"e"])


@pytest.mark.parametrize("value", [b" ", b"\t", b" a", b"a ", b"\ta", b"a\t", b"a b ", b"  a"])
def test_no_value_begins_or_ends_with_white_space(value: bytes) -> None:
    for fields in ([b"A", value], [b"A", b"", b"B", value, b"C", b""]):
        with pytest.raises(InvalidFields, match="white space"):
            serialise(fields)


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"A ",
        b" A",
        b"A:",
        b"A: b\r\nEvil",
        b"A\r\nEvil",
        b"A\n",
        b"\x00",
        b"A: b;",
        b"Content-Length: 5",
        b"\xc3\xa9",
    ],
)
def test_names_must_be_tokens(name: bytes) -> None:
    with pytest.raises(InvalidFields):
        serialise([b"A", b"b", name, b"x"])


@pytest.mark.parametrize(
    "name",
    [
        b"Host", b"host", b"Content-Length", b"TRANSFER-ENCODING", b"Connection", b"Upgrade", b"Keep-Alive", b"TE",
        b"Proxy-Connection", b"Expect", b"Content_Length", b"X_Client_Name", b"Transfer.Encoding",
    ],
)  # fmt: skip
def test_a_peer_cannot_send_fields_that_frame_or_belong_to_a_connection(name: bytes) -> None:
    with pytest.raises(InvalidFields):
        serialise([b"A", b"b", name, b"1"])


def test_more_kinds_can_be_refused() -> None:
    fields = [b"X-HTTP-Method-Override", b"DELETE"]
    assert serialise(fields) == b"X-HTTP-Method-Override: DELETE\r\n"
    with pytest.raises(InvalidFields, match="OVERRIDE"):
        serialise(fields, CONNECTION_LEVEL | Kind.OVERRIDE)


@pytest.mark.parametrize(
    "fields", [[b"A"], [b"A", b"b", b"C"], [b"A", "b"], ["A", b"b"], [b"A", None], [[], b"a"]]
)
def test_the_list_must_be_pairs_of_bytes(fields: list[bytes]) -> None:
    with pytest.raises(InvalidFields):
        serialise(fields)


def test_refusals_do_not_quote_what_they_refuse() -> None:
    for fields in ([b"A", b"secret\n"], [b"A", b"secret "], [b"secret secret", b"x"]):
        with pytest.raises(InvalidFields) as caught:
            serialise(fields)
        assert "secret" not in str(caught.value)


@settings(deadline=None)
@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=12)), max_size=4))
def test_whatever_is_accepted_reads_back_as_the_same_fields(pairs: list[tuple[bytes, bytes]]) -> None:
    fields = [item for pair in pairs for item in pair]
    try:
        block = serialise(fields)
    except InvalidFields:
        return
    lines = block.split(b"\r\n")
    assert lines.pop() == b""
    assert [tuple(line.split(b":", 1)) for line in lines] == [(name, b" " + value) for name, value in pairs]
    assert not any(classify(name) & CONNECTION_LEVEL for name, _ in pairs)
    assert not set(b"\r\n\0") & set(b"".join(value for _, value in pairs))


def test_kinds_of_is_a_mask() -> None:
    assert kinds_of([]) == 0
    assert kinds_of([b"Accept", b"x"]) == 0
    assert kinds_of(FIELDS) == Kind.DATE | Kind.CREDENTIAL
    assert kinds_of([b"via", b"1.1 a", b"VIA", b"1.1 b", b"Accept", b"x"]) == Kind.VIA


def test_without_drops_kinds_and_keeps_the_rest_in_order() -> None:
    assert without(FIELDS, Kind.CREDENTIAL) == [b"Accept", b"*/*", b"X-Empty", b"", b"Date", b"now"]
    assert without(FIELDS, Kind.CREDENTIAL | Kind.DATE) == [b"Accept", b"*/*", b"X-Empty", b""]
    assert without(FIELDS, 0) == FIELDS


def test_values_are_found_in_any_spelling() -> None:
    assert values(FIELDS, b"set-cookie") == [b"a=1", b"b=2, c"]
    assert values(FIELDS, b"x-empty") == [b""]
    assert values(FIELDS, b"x-none") == []
