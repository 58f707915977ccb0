"""[admin] of either file: operators, their keys, and the names of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protocol import keys
from protocol.ops import apikeys
from protocol.ops.config import ConfigError, parse
from protocol.ops.model import Table
from protocol.ops.values import Context
from tests.support.seeded import seed
from tests.support.toml import merge, to_toml
from tunnel_agent.config import AgentConfig
from tunnel_hub.config import HubConfig

HUB: dict[str, Any] = {"hub": {"id": "hub-1", "key_file": "hub.key"}, "callers": {"authentication": "none"}}
AGENT: dict[str, Any] = {
    "agent": {"id": "leeds-1", "key_file": "agent.key"},
    "hubs": [{"url": "ws://127.0.0.1:8081/tunnel", "public_keys": [keys.public_line(keys.generate())]}],
    "services": {"visits": {"upstream": "http://127.0.0.1:9000", "allow": ["GET /**"]}},
}
BOTH = pytest.mark.parametrize(("base", "model"), [(HUB, HubConfig), (AGENT, AgentConfig)], ids=["hub", "agent"])
KEY, LINE = apikeys.make()
seed(KEY)


def read(base: dict[str, Any], model: type[Table], admin: dict[str, Any]) -> Any:
    text = to_toml(merge(base, {"admin": admin}))
    return parse(text, model, name="x.toml", context=Context(Path("/nowhere"), False, environ={}))


@BOTH
def test_operators_and_names(base: dict[str, Any], model: type[Table]) -> None:
    assert read(base, model, {}).admin.operators == {}
    admin = read(base, model, {"hosts": ["Hub-1.internal"], "operators": {"anna": {"keys": [LINE]}}}).admin
    assert admin.hosts == ("hub-1.internal",)
    assert admin.operators["anna"].keys == (LINE,)


@BOTH
@pytest.mark.parametrize(
    ("admin", "words"),
    [
        ({"operators": {"anna": {"keys": [KEY]}}}, "is an API key itself"),
        ({"operators": {"anna": {"keys": ["sha256:abc"]}}}, "64 hexadecimal digits"),
        ({"operators": {"anna": {"keys": []}}}, "keys"),
        ({"operators": {"anna": {}}}, "keys"),
        ({"operators": {"anna": {"keys": [LINE]}, "ben": {"keys": [LINE]}}}, "key of operators.anna too"),
        ({"operators": {"anna b": {"keys": [LINE]}}}, "is not a name"),
        ({"operators": {"anna": {"keys": [LINE], "role": "x"}}}, "role"),
        ({"hosts": ["hub-1.internal:8082"]}, "has a port"),
    ],
    ids=range(8),
)
def test_mistakes(base: dict[str, Any], model: type[Table], admin: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(base, model, admin)
    text = " ".join(map(str, caught.value.problems))
    assert words in text
    assert KEY not in text
