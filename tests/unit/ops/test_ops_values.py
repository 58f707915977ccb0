"""How each kind of value is written, refused and shown."""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import keys
from protocol.ops import files, urls, values
from protocol.ops.tables import parse_path_exception
from protocol.ops.urls import Url
from protocol.ops.values import Address, Context

HERE = Context(Path("/etc/tunnel"), check_files=False, environ={})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1500ms", 1.5), ("30s", 30.0), ("0s", 0.0), ("2m", 120.0), ("1.5h", 5400.0), ("1d", 86400.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.parse_duration(text) == seconds


@pytest.mark.parametrize(
    "wrong", ["", "30", "s", "-1s", "1 s", "1m30s", "1S", "٣s", "1e3s", 30, 1.5, True, None, []]
)
def test_no_durations(wrong: Any) -> None:
    with pytest.raises(ValueError, match="is not a duration; write"):
        values.parse_duration(wrong)


def test_timeouts_are_above_zero() -> None:
    assert values.parse_timeout("1ms") == 0.001
    with pytest.raises(ValueError, match='"0s" is not above zero'):
        values.parse_timeout("0s")


@given(st.integers(min_value=0, max_value=10**9))
def test_durations_come_back_as_shown(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    shown = values.show_duration(seconds)
    assert values.parse_duration(shown.strip('"')) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("1B", 1), ("64KiB", 65536), ("16MiB", 1 << 24), ("1MB", 10**6), ("2GiB", 2 << 30)]
)
def test_sizes(text: str, size: int) -> None:
    assert values.parse_size(text) == size


@pytest.mark.parametrize("wrong", ["", "64", "64K", "1.5MiB", "-1B", "64kib", 64, True, None, "0B"])
def test_no_sizes(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a size; write|not above zero"):
        values.parse_size(wrong)


@given(st.integers(min_value=1, max_value=10**12 - 1))
def test_sizes_come_back_as_shown(size: int) -> None:
    assert values.parse_size(values.show_size(size).strip('"')) == size


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:65535", Address("::1", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert values.parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "8080",
        ":8080",
        "127.0.0.1",
        "h:65536",
        "h:-1",
        "h:8a",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[::1",
        "[x]:1",
        "h:80:80",
        "h:٣",
        80,
    ],
)
def test_no_addresses(wrong: Any) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        values.parse_address(wrong)


@pytest.mark.parametrize(
    ("text", "host"),
    [("Visits.Internal", "visits.internal"), ("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]"), ("a", "a")],
)
def test_hosts(text: str, host: str) -> None:
    assert values.parse_host(text) == host


@pytest.mark.parametrize(
    "wrong", ["", "a b", "a/b", "*.internal", "a..b", "-a", "a-", "a.", "[::g]", "ü.de", "a" * 64, 3]
)
def test_no_hosts(wrong: Any) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        values.parse_host(wrong)


def test_a_host_with_a_port_names_the_fix() -> None:
    with pytest.raises(ValueError, match=r'has a port; leave it out, every port matches: "visits.internal"'):
        values.parse_host("visits.internal:80")


def test_names_and_tokens() -> None:
    assert values.parse_name("leeds-1") == "leeds-1"
    for wrong in ("", "-a", "a-", "a b", "a/b", "ü", "a" * 65, None):
        with pytest.raises(ValueError, match="is not a name"):
            values.parse_name(wrong)
    assert values.parse_token("WebSocket") == "websocket"
    assert values.parse_token("foo/2") == "foo/2"
    for wrong in ("", "a b", "a,b", "a/", 1):
        with pytest.raises(ValueError, match="is not an upgrade token"):
            values.parse_token(wrong)


def test_networks() -> None:
    assert values.parse_network("10.0.0.0/8") == ipaddress.ip_network("10.0.0.0/8")
    assert values.parse_network("10.1.2.3") == ipaddress.ip_network("10.1.2.3/32")
    assert values.parse_network("fd00::/8") == ipaddress.ip_network("fd00::/8")
    with pytest.raises(ValueError, match=r'bits set behind the prefix; write "10.0.0.0/8"'):
        values.parse_network("10.0.0.1/8")
    for wrong in ("", "10.0.0.0/33", "all", 8):
        with pytest.raises(ValueError, match="is not a network"):
            values.parse_network(wrong)


def test_hashes() -> None:
    hexadecimal = "ab" * 32
    assert files.parse_hashes("any") == "any"
    assert files.parse_hashes([]) == frozenset()
    assert files.parse_hashes([f"sha256:{hexadecimal}"]) == {bytes.fromhex(hexadecimal)}
    assert files.parse_hashes(["sha256:" + ":".join(["AB"] * 32)]) == {bytes.fromhex(hexadecimal)}
    assert files.parse_hashes(["sha384:" + "cd" * 48]) == {b"\xcd" * 48}
    for shown in (frozenset(), frozenset({b"\xcd" * 48}), frozenset({b"\xab" * 32, b"\xac" * 32}), "any"):
        text = files._show_hashes(shown)
        assert files.parse_hashes(tomllib.loads(f"x = {text}")["x"]) == shown
    for wrong in (
        ["sha384:" + hexadecimal],
        [hexadecimal],
        ["sha256:ab"],
        ["sha1:" + hexadecimal],
        [3],
        ["sha256:" + "zz" * 32],
    ):
        with pytest.raises(ValueError, match=r"entry 0, .* 64 hexadecimal digits"):
            files.parse_hashes(wrong)
    with pytest.raises(ValueError, match='neither "any" nor a list'):
        files.parse_hashes("all")


def test_path_exceptions() -> None:
    assert parse_path_exception("%2F") == "%2f"
    with pytest.raises(ValueError, match=r"cannot be allowed; possible are .*encoded slashes"):
        parse_path_exception("..")


class TestFiles:
    def test_relative_names_start_at_the_folder(self) -> None:
        assert files.parse_path("hub.key", HERE) == Path("/etc/tunnel/hub.key")
        assert files.parse_path("/run/hub.key", HERE) == Path("/run/hub.key")

    def test_credentials(self) -> None:
        context = Context(Path("/etc"), environ={"CREDENTIALS_DIRECTORY": "/run/credentials/x"})
        assert files.parse_path("credential:hub-key", context) == Path("/run/credentials/x/hub-key")
        with pytest.raises(ValueError, match="does not name a credential"):
            files.parse_path("credential:../hub-key", context)

    def test_credentials_without_systemd(self) -> None:
        with pytest.raises(
            ValueError, match="CREDENTIALS_DIRECTORY, which is not set; add LoadCredential=key:FILE"
        ):
            files.parse_path("credential:key", Context(Path("/etc"), environ={}))
        files.parse_path("credential:key", HERE)

    @pytest.mark.parametrize("wrong", ["", "a\0b", 3, None])
    def test_no_file_names(self, wrong: Any) -> None:
        with pytest.raises(ValueError, match=r"is empty|is not a file name"):
            files.parse_path(wrong, HERE)

    def test_files_must_exist_when_asked(self, tmp_path: Path) -> None:
        context = Context(tmp_path)
        with pytest.raises(ValueError, match=r"no such file: .*/x"):
            files.parse_file("x", context)
        with pytest.raises(ValueError, match="is not a file"):
            files.parse_file(".", context)
        assert files.parse_file("x", Context(tmp_path, check_files=False)) == tmp_path / "x"

    def test_unreadable_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "x").touch()
        monkeypatch.setattr(os, "access", lambda *_arguments: False)
        with pytest.raises(ValueError, match="may not be read"):
            files.parse_file("x", Context(tmp_path))

    def test_secrets(self, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_bytes(b"hunter2\r\n")
        assert values.read_secret(file) == "hunter2"
        assert files.parse_secret_file("secret", Context(tmp_path)) == file
        assert files.parse_secret_file("other", Context(tmp_path, check_files=False)) == tmp_path / "other"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "is empty"),
            (b"\n", "is empty"),
            (b"hunter2\nhunter3\n", "more than one line"),
            (b"hunter2\0", "more than one line"),
            (b"hunter2\xff", "is not text"),
            (b"hunter2" * 20_000, "larger than a secret"),
        ],
        ids=["nothing", "blank", "two lines", "NUL", "binary", "large"],
    )
    def test_no_secrets(self, tmp_path: Path, content: bytes, message: str) -> None:
        file = tmp_path / "secret"
        file.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            values.read_secret(file)
        assert "hunter" not in str(caught.value)

    def test_secret_that_is_gone(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="cannot be read: No such file"):
            values.read_secret(tmp_path / "secret")

    def test_keys(self, tmp_path: Path) -> None:
        key = keys.generate()
        keys.save_private_key(key, tmp_path / "a.key")
        assert files.parse_key_file("a.key", Context(tmp_path)) == tmp_path / "a.key"
        assert files.parse_public_key(keys.public_line(key)) == key.public
        assert files.parse_key_file("b.key", Context(tmp_path, check_files=False)) == tmp_path / "b.key"
        for wrong in ("b.key", "."):
            with pytest.raises(ValueError, match="key"):
                files.parse_key_file(wrong, Context(tmp_path))
        for line in ("ed25519:AAAA", "x", 3):
            with pytest.raises(ValueError, match="public key"):
                files.parse_public_key(line)


class TestUrls:
    def test_hub(self) -> None:
        url = urls.parse_hub_url("WSS://Hub.Example/tunnel")
        assert url == "wss://hub.example/tunnel"
        assert (url.scheme, url.host, url.port, url.path, url.secure) == (
            "wss",
            "hub.example",
            443,
            "/tunnel",
            True,
        )
        assert url.authority == "hub.example"
        url = urls.parse_hub_url("ws://[::1]:8081/a/b")
        assert url == "ws://[::1]:8081/a/b"
        assert (url.host, url.port, url.authority, url.secure) == ("::1", 8081, "[::1]:8081", False)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ("", "is not a URL"),
            ("hub.example/tunnel", "is not a URL"),
            ("https://hub/tunnel", 'has the scheme "https"'),
            ("ws://hub", "has no path; the hub's websocket is at ws://hub/tunnel"),
            ("ws://hub/", "has no path"),
            ("ws://hub/t?x", "has a query or fragment"),
            ("ws://hub/t#x", "has a query or fragment"),
            ("ws://me@hub/t", "has user information"),
            ("ws://hub:0/t", "is not a host"),
            ("ws://hub:99999/t", "is not a host"),
            ("ws://h ub/t", "is not a host"),
            ("ws:///t", "is not a host"),
            ("ws://hub/a b", "percent-encoded"),
            (3, "is not a URL"),
        ],
    )
    def test_no_hub(self, wrong: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            urls.parse_hub_url(wrong)

    def test_upstream(self) -> None:
        url = urls.parse_upstream("http://127.0.0.1:9000/")
        assert url == "http://127.0.0.1:9000"
        assert url.authority == "127.0.0.1:9000"
        assert urls.parse_upstream("https://api:443").authority == "api"
        with pytest.raises(ValueError, match=r'has a path; leave it out, .* "http://api"'):
            urls.parse_upstream("http://api/v1")
        with pytest.raises(ValueError, match="user information"):
            urls.parse_upstream("http://u:hunter2@api")

    def test_proxy(self) -> None:
        proxy = urls.parse_proxy("http://me@Proxy:3128")
        assert isinstance(proxy, Url)
        assert proxy == "http://me@proxy:3128"
        assert (proxy.user, proxy.host, proxy.port, proxy.authority) == ("me", "proxy", 3128, "proxy:3128")
        assert urls.parse_proxy("") == ""
        assert urls.parse_proxy("socks5h://proxy:1080/") == "socks5h://proxy:1080"

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ("http://proxy", "has no port"),
            ("ftp://proxy:21", "has the scheme"),
            ("http://proxy:3128/x", "more than a proxy's address"),
            ("http://@proxy:3128", "more than a proxy's address"),
            ("proxy:3128", "is not a URL"),
        ],
    )
    def test_no_proxy(self, wrong: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            urls.parse_proxy(wrong)

    @pytest.mark.parametrize(
        "url", ["http://me:hunter2@proxy:3128", "http://:hunter2@proxy:3128", "http://a:hunter2@b@c:1"]
    )
    def test_passwords_are_refused_and_not_repeated(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"password in the URL; .* proxy_password_file") as caught:
            urls.parse_proxy(url)
        assert "hunter2" not in str(caught.value)

    @pytest.mark.parametrize("parse", [urls.parse_hub_url, urls.parse_upstream, urls.parse_proxy])
    @given(text=st.text() | st.from_regex(r"(ws|http)s?://[a-z@:/?#\[\]%.0-9]{0,20}", fullmatch=True))
    def test_any_text_is_read_or_refused(self, parse: Any, text: str) -> None:
        try:
            url = parse(text)
        except ValueError:
            return
        assert parse(url) == url


def test_quoted_is_short_and_one_line() -> None:
    assert values.quoted("a\nb") == '"a?b"'
    assert values.quoted(True) == "true"
    assert values.quoted({"password": "x"}) == "a table"
    assert len(values.quoted("x" * 1000)) <= 60
