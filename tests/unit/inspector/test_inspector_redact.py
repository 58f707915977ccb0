"""What is masked, and what is not: fields, JSON whole and cut, forms, loose text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.ops.log import MASK
from tunnel_hub.inspector import redact

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Bearer hunter2hunter2", f"Bearer {MASK}"),
        ("authorization", "hunter2", MASK),
        ("Elite-Authorization", "Basic aHVudGVyMg==", f"Basic {MASK}"),
        ("Proxy-Authorization", "hunter2", MASK),
        ("Cookie", "a=hunter2", MASK),
        ("Set-Cookie", "id=hunter2; HttpOnly", MASK),
        ("X-API-Key", "hunter2", MASK),
        ("x-auth-token", "hunter2", MASK),
        ("X-Amz-Security-Token", "hunter2", MASK),
        ("X-CSRF-Token", "hunter2", MASK),
        ("WWW-Authenticate", "Negotiate hunter2", MASK),
        ("DPoP", "hunter2", MASK),
        ("Signature", "sig=:hunter2:", MASK),
        ("X-Forwarded-Client-Cert", "hunter2", MASK),
        ("ApiToken", "hunter2", MASK),
        ("x-accesstoken", "hunter2", MASK),
        ("X-Note", "see Bearer hunter2hunter2 there", f"see Bearer {MASK} there"),
        ("X-Note", f"was {JWT}, twice", f"was {MASK}, twice"),
        ("Location", "https://a.b/c?code=hunter2#x", f"https://a.b/c?{MASK}#x"),
        ("Referer", "https://u:hunter2@a.b/c", f"https://{MASK}@a.b/c"),
        ("Accept", "application/json", "application/json"),
        ("User-Agent", "Mozilla/5.0 (X11; Linux)", "Mozilla/5.0 (X11; Linux)"),
        ("ETag", '"abc"', '"abc"'),
        ("X-Request-Id", "a-1", "a-1"),
        ("X-Key-Id", "7", "7"),
    ],
)
def test_fields(name: str, value: str, shown: str) -> None:
    assert redact.fields([name.encode(), value.encode()]) == [(name, shown)]


def test_fields_that_become_credentials_on_the_way() -> None:
    assert redact.fields([b"X-Innocent", b"hunter2"], frozenset({b"x-innocent"})) == [("X-Innocent", MASK)]


def test_bytes_that_are_no_text() -> None:
    assert redact.fields([b"X-Name", b"caf\xe9"]) == [("X-Name", "caf\\xe9")]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ('{"password": "hunter2", "a": 1}', f'{{"password": "{MASK}", "a": 1}}'),
        ('{"a": {"accessToken": "hunter2"}}', f'{{"a": {{"accessToken": "{MASK}"}}}}'),
        ('{"token": {"x": ["hunter2", {"y": 1}]}, "b": 2}', f'{{"token": "{MASK}", "b": 2}}'),
        ('{"secrets": ["hunter2", "x"], "b": []}', f'{{"secrets": "{MASK}", "b": []}}'),
        ('{"pin": 1234}', f'{{"pin": "{MASK}"}}'),
        ('{"p\\u0061ssword": "hunter2"}', f'{{"p\\u0061ssword": "{MASK}"}}'),
        ('{"client_secret": null, "n": -1.5e3}', f'{{"client_secret": "{MASK}", "n": -1.5e3}}'),
        ('["Bearer hunter2hunter2"]', f'["Bearer {MASK}"]'),
        (f'{{"t": "{JWT}"}}', f'{{"t": "{MASK}"}}'),
        ('{"a": "quote \\" }"}', '{"a": "quote \\" }"}'),
        ('{"token":"hunter2"}\n{"token":"hunter2"}', f'{{"token":"{MASK}"}}\n{{"token":"{MASK}"}}'),
        ('{"keyId": "7", "publicKey": "x"}', '{"keyId": "7", "publicKey": "x"}'),
        # cut in the middle of something
        ('{"password": "hunt', f'{{"password": "{MASK}"'),
        ('{"password": "hunter2\\', f'{{"password": "{MASK}"'),
        ('{"token": {"x": "hunt', f'{{"token": "{MASK}"'),
        ('{"a": tr', '{"a": tr'),
        ('{"a": "eyJhbGciOiJFUzI1', f'{{"a": "{MASK}'),
        ('{"a": "b', '{"a": "b'),
        # what is not JSON is not shown
        ('{"a": 1, password=hunter2}', '{"a": 1, ' + redact.WITHHELD),
        ("{'password': 'hunter2'}", "{" + redact.WITHHELD),
    ],
)
def test_json(sent: str, shown: str) -> None:
    assert redact.json(sent) == shown


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)
@given(VALUES, VALUES, st.sampled_from(["password", "apiKey", "x-token", "SECRET"]), st.booleans(), st.data())
def test_nothing_under_a_secret_name_is_left(
    around: object, hidden: object, name: str, ascii_only: bool, data: st.DataObject
) -> None:
    """Whatever stands around it, wherever it is cut; and what is whole stays JSON with the same values."""
    marked = {"before": around, name: [hidden, "hunter2-hunter2"], "after": around}
    sent = json.dumps(marked, ensure_ascii=ascii_only)
    assert "hunter2" not in redact.json(sent[: data.draw(st.integers(0, len(sent)))])
    shown = json.loads(redact.json(sent))
    plain = json.loads(redact.json(json.dumps({"around": around})))
    assert shown[name] == MASK
    assert shown["before"] == shown["after"] == plain["around"]


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_comes_to_an_end(text: str) -> None:
    redact.json(text)
    redact.form(text)
    redact.loose(text)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("user=anna&password=hunter2&x=1", f"user=anna&password={MASK}&x=1"),
        ("user%5Bpassword%5D=hunter2", f"user%5Bpassword%5D={MASK}"),
        (
            "grant_type=client_credentials&client_secret=hunter2",
            f"grant_type=client_credentials&client_secret={MASK}",
        ),
        (f"assert={JWT}", f"assert={MASK}"),
        ("note=Bearer+hunter2hunter2", f"note={MASK}"),
        ("plain", "plain"),
    ],
)
def test_forms(sent: str, shown: str) -> None:
    assert redact.form(sent) == shown


def test_so_many_parameters_are_looked_at_and_the_rest_is_masked() -> None:
    """64 KiB of "&" would hold the hub up for longer than callers should notice."""
    sent = "&".join(f"p{number}=v" for number in range(redact.PARAMETERS_MAX + 2))
    *kept, last = redact.form(sent).split("&")
    assert (len(kept), last) == (redact.PARAMETERS_MAX, MASK)
    assert "&".join(kept) == sent[: len("&".join(kept))]


@pytest.mark.parametrize(
    "sent",
    [
        "<login><password>hunter2</password></login>",
        "<s:Envelope><wsse:Password Type='x'>hunter2</wsse:Password>",
        "<password><![CDATA[hunter2 <b>]]></password>",
        '<user password="hunter2"/>',
        "password: hunter2 and hunter2",
        "api_key=hunter2",
        'data: {"token": "hunter2"}',
        "-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----",
        "postgres://app:hunter2@db/x",
    ],
)
def test_loose_text(sent: str) -> None:
    assert "hunter2" not in redact.loose(sent)


def test_loose_text_keeps_the_rest() -> None:
    assert redact.loose("<name>Leeds</name> open 9:30, key_file=/a") == "<name>Leeds</name> open 9:30, key_file=/a"
