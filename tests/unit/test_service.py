"""What the agent's own fields do to a caller's."""

from __future__ import annotations

from typing import Any, cast

import pytest

from protocol.http.allow import AllowList
from tunnel_agent.service import Service


def service(*added: bytes) -> Service:
    nothing = cast("Any", None)
    return Service(
        "visits",
        boundary=AllowList.compile(["GET /**"]),
        upstream=nothing,
        watch=nothing,
        limit=1,
        host=b"",
        added=list(added),
        upgrades=frozenset(),
    )


@pytest.mark.parametrize(
    "name", [b"X-Api-Key", b"x-api-key", b"X_Api_Key", b"x.api.key", b"X-Api_KEY", b"X~api!key"]
)
def test_no_spelling_of_a_field_of_the_agents_own_gets_through(name: bytes) -> None:
    """Servers that hand fields on as environment variables take X_Api_Key for X-Api-Key."""
    ours = service(b"X-Api-Key", b"secret")
    theirs = [b"Accept", b"*/*", name, b"theirs"]
    assert ours.own_fields(theirs) == [b"Accept", b"*/*", b"X-Api-Key", b"secret"]
    assert ours.without_own(theirs) == [b"Accept", b"*/*"], "a trailer of that name counts with some servers"


def test_without_fields_of_its_own_nothing_is_touched() -> None:
    fields = [b"X_Api_Key", b"theirs"]
    assert service().own_fields(fields) == service().without_own(fields) == fields
