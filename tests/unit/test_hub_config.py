"""hub.toml: its defaults, its rules, and the documentation that is made from the model."""

from __future__ import annotations

import ipaddress
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
from protocol.ops.values import Address, Context
from tests.support.tls import PrivateCA
from tests.support.toml import merge, to_toml
from tunnel_hub.config import HubConfig

DOC = Path(__file__).parents[2] / "docs" / "configuration.md"
ONE, TWO = (keys.public_line(keys.generate()) for _ in range(2))
HASH = "sha256:" + "ab" * 32

MINIMAL: dict[str, Any] = {
    "hub": {"id": "hub-1", "key_file": "hub.key"},
    "callers": {"authentication": "none"},
}
FULL = merge(
    MINIMAL,
    {
        "services": {"visits": {"hosts": ["visits.internal"], "paths": ["/nomisapi/"]}, "other": {}},
        "agents": {"leeds-1": {"public_keys": [ONE, TWO], "services": ["visits"]}},
    },
)


def read(table: dict[str, Any], *, check_files: bool = False, folder: Path = Path("/nowhere")) -> HubConfig:
    return parse(to_toml(table), HubConfig, name="hub.toml", context=Context(folder, check_files, environ={}))


def problems(*overs: dict[str, Any], **options: Any) -> list[str]:
    table = FULL
    for over in overs:
        table = merge(table, over)
    with pytest.raises(ConfigError) as caught:
        read(table, **options)
    return [str(problem).removeprefix("hub.toml: ") for problem in caught.value.problems]


def test_minimal_file_has_sound_defaults() -> None:
    config = read(MINIMAL)
    assert config.listen.callers == Address("127.0.0.1", 8080)
    assert config.listen.agents == Address("127.0.0.1", 8081)
    assert config.listen.admin == Address("127.0.0.1", 8082)
    assert config.listen.callers_tls is None
    assert config.listen.agents_certificates == frozenset()
    assert config.limits.header_bytes == 65536
    assert config.limits.idle_timeout == 120.0
    assert config.limits.callers == 10_000
    assert config.log.format is None
    assert config.log.query_strings is False
    assert (config.services, config.agents) == ({}, {})


def test_full_file() -> None:
    config = read(FULL)
    service = config.services["visits"]
    assert service.hosts == ("visits.internal",)
    assert service.paths == ("/nomisapi/",)
    assert (service.deadline, service.hold, service.hold_limit, service.enabled) == (30.0, 2.0, 1000, True)
    assert (service.upgrades, service.max_body, service.allow_paths) == (("websocket",), None, ())
    assert config.agents["leeds-1"].public_keys == (keys.parse_public_line(ONE), keys.parse_public_line(TWO))


def test_authentication_must_be_said() -> None:
    with pytest.raises(
        ConfigError, match=r"callers\.authentication: must be said; write authentication = \"none\""
    ):
        read(merge(MINIMAL, {"callers": None}))
    (problem,) = problems({"callers": {"authentication": "required"}})
    assert problem.startswith('callers.authentication: is "required", but no caller has a way to authenticate')
    expected = 'callers.authentication: "nome" is not possible; expected: "required" or "none"'
    assert expected in problems({"callers": {"authentication": "nome"}})


def test_trusted_proxies() -> None:
    config = read(merge(FULL, {"callers": {"trusted_proxies": ["10.0.0.0/8", "fd00::/8"]}}))
    assert config.callers.trusted_proxies == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def test_agents_certificates() -> None:
    assert read(merge(FULL, {"listen": {"agents_certificates": "any"}})).listen.agents_certificates == "any"
    config = read(merge(FULL, {"listen": {"agents_certificates": [HASH]}}))
    assert config.listen.agents_certificates == {bytes.fromhex("ab" * 32)}
    assert problems({"listen": {"agents_certificates": ["any"]}})


def test_listeners_must_differ_unless_the_system_chooses() -> None:
    assert problems({"listen": {"agents": "127.0.0.1:8080"}}) == [
        "listen.agents: 127.0.0.1:8080 is already listen.callers; give each its own port"
    ]
    anywhere = {"callers": "127.0.0.1:0", "agents": "127.0.0.1:0", "admin": "127.0.0.1:0"}
    assert read(merge(FULL, {"listen": anywhere})).listen.admin.port == 0


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nomisapi", "must begin and end with a slash, so that it covers whole segments: /nomisapi/"),
        ("nomisapi/", "whole segments: /nomisapi/"),
        ("", "whole segments: /"),
        ("//", "is not a plain path prefix"),
        ("/a//b/", "is not a plain path prefix"),
        ("/a/../b/", "is not a plain path prefix"),
        ("/./", "is not a plain path prefix"),
        ("/a%2fb/", "is not a plain path prefix"),
        ("/a?b/", "is not a plain path prefix"),
        ("/a;b/", "is not a plain path prefix"),
        ("/ü/", "is not a plain path prefix"),
        ("/a b/", "is not a plain path prefix"),
    ],
)
def test_path_prefixes(path: str, message: str) -> None:
    (problem,) = problems({"services": {"visits": {"paths": [path]}}})
    assert problem.startswith("services.visits.paths[0]: ")
    assert message in problem


def test_root_and_dotted_prefixes_are_fine() -> None:
    config = read(merge(FULL, {"services": {"visits": {"paths": ["/", "/v1.2/.well-known/...x/"]}}}))
    assert config.services["visits"].paths == ("/", "/v1.2/.well-known/...x/")


def test_hosts_and_paths_belong_to_one_service() -> None:
    assert problems(
        {"services": {"other": {"hosts": ["VISITS.internal"], "paths": ["/nomisapi/", "/x/", "/x/"]}}}
    ) == [
        'services.other.hosts: "visits.internal" belongs to services.visits already; name it once',
        'services.other.paths: "/nomisapi/" belongs to services.visits already; name it once',
        'services.other.paths: "/x/" belongs to services.other already; name it once',
    ]


def test_agents_serve_known_services() -> None:
    assert problems({"agents": {"leeds-1": {"services": ["vists"]}}}) == [
        'agents.leeds-1.services: no service is called "vists"; did you mean "visits"?'
    ]


def test_every_agent_has_its_own_key() -> None:
    (problem,) = problems({"agents": {"hull.1": {"public_keys": [TWO], "services": []}}})
    assert problem.startswith('agents."hull.1".public_keys: "ed25519:')
    assert problem.endswith("is the key of agents.leeds-1 too; every agent needs its own")
    assert problems({"agents": {"leeds-1": {"public_keys": [ONE] * 5}}}) == [
        "agents.leeds-1.public_keys: has 5 entries; 0 to 4 must be there"
    ]
    (problem,) = problems({"agents": {"leeds-1": {"public_keys": ["ed25519:BASE64"]}}})
    assert problem.startswith("agents.leeds-1.public_keys[0]: ")


def test_files_are_looked_at(tmp_path: Path) -> None:
    ca = PrivateCA(tmp_path / "ca")
    one, other = ca.issue(), ca.issue()
    tls = {"certificate": str(one.certificate), "key": str(one.key), "client_ca": str(ca.ca_file)}
    table = merge(FULL, {"listen": {"callers_tls": tls, "agents_tls": tls}})
    assert "hub.key does not exist: make one with keygen" in "".join(problems(check_files=True, folder=tmp_path))
    keys.save_private_key(keys.generate(), tmp_path / "hub.key")
    config = read(table, check_files=True, folder=tmp_path)
    assert config.hub.key_file == tmp_path / "hub.key"
    assert config.listen.agents_tls is not None
    assert config.listen.agents_tls.certificate == one.certificate
    found = problems(
        {
            "listen": {
                "callers_tls": {**tls, "key": str(other.key)},
                "agents_tls": {**tls, "client_ca": str(one.key)},
            }
        },
        check_files=True,
        folder=tmp_path,
    )
    assert [problem.split(":")[0] for problem in found] == [
        "listen.callers_tls.certificate",
        "listen.agents_tls.client_ca",
    ]
    assert problems({"listen": {"callers_tls": {"certificate": "x"}}}) == [
        'listen.callers_tls.key: is missing; write for example key = "hub-tls.key"'
    ]


def test_numbers_have_bounds() -> None:
    found = problems(
        {"limits": {"callers": 0, "headers_count": 5000, "streams_per_session": "many", "header_timeout": "0s"}}
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "limits.callers",
        "limits.headers_count",
        "limits.header_timeout",
        "limits.streams_per_session",
    ]


class TestDocumentation:
    def test_every_key_is_documented_as_the_model_says(self) -> None:
        text = DOC.read_text()
        assert reference.rewrite(text) == text, "run: python -m protocol.ops.reference docs/configuration.md"
        section = text.split("keys: tunnel_hub.config:HubConfig -->")[1].split("<!-- end of keys")[0]
        for dotted, _, shape in iterate(HubConfig):
            name = dotted.rpartition(".")[2]
            assert f"`{name}`" in section or f"[{dotted}]`" in section or f"[{dotted}.NAME]`" in section, dotted
            assert shape.meta.description, dotted

    def test_examples_are_valid(self, tmp_path: Path) -> None:
        examples = re.findall(r"```toml\n(# hub\.toml\n.*?)```", DOC.read_text(), re.DOTALL)
        assert len(examples) == 2
        for example in examples:
            (tmp_path / "hub.toml").write_text(example)
            config = load(tmp_path / "hub.toml", HubConfig, check_files=False)
            assert config.services

    def test_required_keys_say_what_to_write(self) -> None:
        for dotted, field, shape in iterate(HubConfig):
            if field.required and shape.kind is not None:
                example = (shape.meta.examples or [""])[0]
                assert tomllib.loads(f"x = {example}"), dotted

    def test_defaults_are_what_the_file_would_say(self) -> None:
        """A default written into the file gives the same configuration."""
        for dotted, field, shape in iterate(HubConfig):
            if shape.kind is None or field.required or field.default in (None, msgspec.NODEFAULT):
                continue
            shown = tomllib.loads(f"x = {reference.show(field.default, shape)}")["x"]
            assert shape.kind.parse(shown, Context(Path("/nowhere"), False)) == field.default, dotted
