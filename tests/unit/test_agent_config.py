"""agent.toml: its defaults, its rules, and the documentation that is made from the model."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protocol import keys
from protocol.ops import reference
from protocol.ops.config import ConfigError, load, parse
from protocol.ops.model import iterate
from protocol.ops.urls import Url
from protocol.ops.values import Address, Context
from tests.support.tls import PrivateCA
from tests.support.toml import merge, to_toml
from tunnel_agent.config import AgentConfig, Injected

DOC = Path(__file__).parents[2] / "docs" / "configuration.md"
ONE = keys.public_line(keys.generate())
P256 = (
    "es256:MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71"
    "Z50VGGdldkkDXZCnTNnoXQ=="
)
HUB = {"url": "ws://127.0.0.1:8081/tunnel", "public_keys": [ONE]}
SECURE = {"url": "wss://hub.example/tunnel", "public_keys": [ONE]}

MINIMAL: dict[str, Any] = {
    "agent": {"id": "leeds-1", "key_file": "agent.key"},
    "hubs": [HUB],
    "services": {"visits": {"upstream": "http://127.0.0.1:9000", "allow": ["GET /nomisapi/**"]}},
}


def read(table: dict[str, Any], *, check_files: bool = False, folder: Path = Path("/nowhere")) -> AgentConfig:
    return parse(to_toml(table), AgentConfig, name="agent.toml", context=Context(folder, check_files, environ={}))


def problems(over: dict[str, Any], **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(merge(MINIMAL, over), **options)
    return [str(problem).removeprefix("agent.toml: ") for problem in caught.value.problems]


def visits(**keys: Any) -> dict[str, Any]:
    return {"services": {"visits": keys}}


def test_minimal_file_has_sound_defaults() -> None:
    config = read(MINIMAL)
    (hub,) = config.hubs
    assert (hub.url, hub.url.secure, hub.sessions, hub.proxy) == ("ws://127.0.0.1:8081/tunnel", False, 2, None)
    assert hub.public_keys == (keys.parse_public_line(ONE),)
    service = config.services["visits"]
    assert (service.upstream.host, service.upstream.port, service.upstream.authority) == (
        "127.0.0.1",
        9000,
        "127.0.0.1:9000",
    )
    assert (service.host, service.headers, service.upgrades, service.enabled) == (
        "upstream",
        {},
        ("websocket",),
        True,
    )
    assert (service.connect_timeout, service.first_byte_timeout, service.idle_timeout) == (5.0, 60.0, 300.0)
    assert (service.total_timeout, service.keep_idle) == (None, 4.0)
    assert (service.max_connections, service.max_waiting) == (64, 256)
    assert config.admin.listen == Address("127.0.0.1", 8083)


def test_what_must_be_there() -> None:
    with pytest.raises(ConfigError) as caught:
        read({})
    assert [str(problem) for problem in caught.value.problems] == [
        'agent.toml: agent.id: is missing; write for example id = "leeds-1"',
        'agent.toml: agent.key_file: is missing; write for example key_file = "agent.key"',
        "agent.toml: hubs: is missing; write [[hubs]] with url and public_keys below it",
        "agent.toml: services: is missing; write [services.NAME] with upstream and allow below it",
    ]
    assert problems({"services": None, "hubs": []}) == [
        "hubs: has 0 entries; 1 to 64 must be there",
        "services: is missing; write [services.NAME] with upstream and allow below it",
    ]
    with pytest.raises(ConfigError, match="services: has no entry; write"):
        parse(
            to_toml(merge(MINIMAL, {"services": None})) + "\n[services]\n",
            AgentConfig,
            name="agent.toml",
            context=Context(Path("/nowhere"), check_files=False),
        )


def test_proxies() -> None:
    proxy = read(merge(MINIMAL, {"hubs": [{**HUB, "proxy": "http://me@proxy:3128"}]})).hubs[0].proxy
    assert isinstance(proxy, Url)
    assert (proxy, proxy.user) == ("http://me@proxy:3128", "me")
    assert read(merge(MINIMAL, {"hubs": [{**HUB, "proxy": ""}]})).hubs[0].proxy == ""
    (problem,) = problems({"hubs": [{**HUB, "proxy": "http://me:hunter2@proxy:3128"}]})
    assert problem.startswith("hubs[0].proxy: has a password in the URL; ")
    assert "hunter2" not in problem
    for proxy in ({}, {"proxy": ""}, {"proxy": "http://proxy:3128"}):
        assert problems({"hubs": [{**HUB, **proxy, "proxy_password_file": "x"}]}) == [
            'hubs[0].proxy_password_file: needs the user in proxy; write proxy = "http://USER@HOST:PORT"'
        ]
    assert read(merge(MINIMAL, {"hubs": [{**HUB, "proxy": "http://me@proxy:1", "proxy_password_file": "x"}]}))


def test_the_same_hub_twice() -> None:
    assert problems({"hubs": [HUB, HUB]}) == [
        "hubs[1].url: ws://127.0.0.1:8081/tunnel stands twice; raise its sessions instead"
    ]


def test_tls_files_need_tls() -> None:
    assert problems({"hubs": [{**HUB, "ca_file": "ca.pem"}]}) == [
        "hubs[0].ca_file: has no effect on ws://; write wss://, or leave it out"
    ]
    assert problems(visits(ca_file="ca.pem")) == [
        "services.visits.ca_file: has no effect on http://; write https://, or leave it out"
    ]
    assert problems(visits(upstream="https://api", client_certificate="c.pem")) == [
        "services.visits.client_certificate: needs client_key beside it"
    ]
    assert problems({"hubs": [{**SECURE, "client_key": "c.key"}]}) == [
        "hubs[0].client_key: needs client_certificate beside it"
    ]


def test_files_are_looked_at(tmp_path: Path) -> None:
    ca = PrivateCA(tmp_path / "ca")
    one, other = ca.issue(), ca.issue()
    keys.save_private_key(keys.generate(), tmp_path / "agent.key")
    (tmp_path / "token").write_text("Bearer hunter2\n")
    pair = {"client_certificate": str(one.certificate), "client_key": str(one.key)}
    good = merge(
        MINIMAL,
        {
            "hubs": [{**SECURE, "ca_file": str(ca.ca_file), **pair}],
            "services": {
                "visits": {
                    "upstream": "https://api",
                    "ca_file": str(ca.ca_file),
                    **pair,
                    "headers": {"Authorization": {"file": "token"}},
                }
            },
        },
    )
    config = read(good, check_files=True, folder=tmp_path)
    injected = config.services["visits"].headers["Authorization"]
    assert injected.read() == "Bearer hunter2"
    assert "hunter2" not in repr(config)
    bad = merge(
        good, visits(client_key=str(other.key), ca_file="token", headers={"Authorization": {"file": "gone"}})
    )
    with pytest.raises(ConfigError) as caught:
        read(bad, check_files=True, folder=tmp_path)
    assert [problem.key for problem in caught.value.problems] == [
        "services.visits.headers.Authorization",
        "services.visits.ca_file",
        "services.visits.client_certificate",
    ]


def test_rules_are_the_boundarys() -> None:
    found = problems(visits(allow=["/nomisapi/**", "GET /a/**b", 3, "FETCH /x"]))
    assert [problem.partition(":")[0] for problem in found] == [f"services.visits.allow[{n}]" for n in range(4)]
    assert "names no method" in found[0]
    (problem,) = problems(visits(allow=["GET /a%2fb"]))
    assert problem.startswith("services.visits.allow: The rule 'GET /a%2fb' can never match")
    assert read(merge(MINIMAL, visits(allow=["GET /a%2fb"], allow_paths=["%2F"]))).services[
        "visits"
    ].allow_paths == ("%2f",)
    assert read(merge(MINIMAL, visits(allow=[]))).services["visits"].allow == ()


def test_injected_headers() -> None:
    config = read(merge(MINIMAL, visits(headers={"X-Agent": "leeds", "X-Empty": ""})))
    assert config.services["visits"].headers == {"X-Agent": Injected("leeds"), "X-Empty": Injected("")}
    assert config.services["visits"].headers["X-Empty"].read() == ""
    found = problems(
        visits(
            headers={
                "Authorization": "Bearer hunter2",
                "Host": "x",
                "Content-Length": "3",
                "a b": "c",
                "X-Twice": "1",
                "x-twice": "2",
                "X-Line": "a\nhunter2",
                "X-Blank": " a",
                "X-Number": 3,
                "X-Odd": {"file": "x", "other": "hunter2"},
            }
        )
    )
    assert all(problem.startswith("services.visits.headers.") for problem in found)
    assert [problem.removeprefix("services.visits.headers.") for problem in found] == [
        "X-Line: has control characters, or blanks at an end, which no header value may have",
        "X-Blank: has control characters, or blanks at an end, which no header value may have",
        'X-Number: 3 is neither text nor {file = "FILE"}',
        'X-Odd: is a table with other keys than file; write {file = "FILE"}',
        'Authorization: looks like a secret in the configuration; write {file = "FILE"}',
        "Host: is set by the agent itself; use the key host",
        "Content-Length: is set by the agent itself",
        '"a b": is not the name of a header field',
        "x-twice: stands twice; names of header fields are the same in upper and lower case",
    ]
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize("host", ["upstream", "caller", "api.internal", "api.internal:8080", "[::1]:80"])
def test_upstream_host(host: str) -> None:
    assert read(merge(MINIMAL, visits(host=host))).services["visits"].host == host


@pytest.mark.parametrize("host", ["", "a b", "a/b", 3])
def test_no_upstream_host(host: Any) -> None:
    (problem,) = problems(visits(host=host))
    assert problem.startswith("services.visits.host: ")


def test_health_is_a_path() -> None:
    assert read(merge(MINIMAL, visits(health="/health"))).services["visits"].health == "/health"
    for wrong in ("health", "/a\nb", "/a b"):
        (problem,) = problems(visits(health=wrong))
        assert problem.endswith('is not a path; write it as in "/health"')


SIGNER = {"signers": {"booking": {"public_keys": [ONE, P256]}}}


def test_signers() -> None:
    config = read(merge(MINIMAL, {**SIGNER, **visits(signers=["booking"])}))
    assert config.services["visits"].signers == ("booking",)
    assert [str(key) for key in config.signers["booking"].public_keys] == [ONE, P256]
    assert (config.limits.signature_window, config.limits.signed_body_max) == (300.0, 1 << 20)
    assert read(MINIMAL).services["visits"].signers == ()


def test_signers_that_are_not_there() -> None:
    assert problems({**SIGNER, **visits(signers=["bokking", "booking"])}) == [
        'services.visits.signers: there is no [signers.bokking]; did you mean "booking"?'
    ]
    assert problems(visits(signers=["booking"])) == [
        "services.visits.signers: there is no [signers.booking]; there is none to choose from"
    ]


def test_keys_of_signers() -> None:
    assert problems({"signers": {"booking": {"public_keys": []}}}) == [
        "signers.booking.public_keys: has 0 entries; 1 to 16 must be there"
    ]
    for wrong in (3, "booking.pem", ONE[:-2], P256[:-8], "-----BEGIN PRIVATE KEY-----"):
        (problem,) = problems({"signers": {"booking": {"public_keys": [wrong]}}})
        assert problem.startswith("signers.booking.public_keys[0]: ")
        assert "BASE64" in problem or "keygen" in problem


class TestDocumentation:
    def test_every_key_is_documented_as_the_model_says(self) -> None:
        text = DOC.read_text()
        assert reference.rewrite(text) == text, "run: python -m protocol.ops.reference docs/configuration.md"
        section = text.split("keys: tunnel_agent.config:AgentConfig -->")[1].split("<!-- end of keys")[0]
        for dotted, _, shape in iterate(AgentConfig):
            name = dotted.rpartition(".")[2]
            assert f"`{name}`" in section or f"[{dotted}]" in section or f"[{dotted}.NAME]`" in section, dotted
            assert shape.meta.description, dotted

    def test_examples_are_valid(self, tmp_path: Path) -> None:
        examples = re.findall(r"```toml\n(# agent\.toml\n.*?)```", DOC.read_text(), re.DOTALL)
        assert len(examples) == 2
        for example in examples:
            (tmp_path / "agent.toml").write_text(example)
            assert load(tmp_path / "agent.toml", AgentConfig, check_files=False).services

    def test_defaults_are_what_the_file_would_say(self) -> None:
        for dotted, field, shape in iterate(AgentConfig):
            if shape.kind is None or field.required or field.default in (None, msgspec.NODEFAULT):
                continue
            shown = tomllib.loads(f"x = {reference.show(field.default, shape)}")["x"]
            assert shape.kind.parse(shown, Context(Path("/nowhere"), False)) == field.default, dotted
