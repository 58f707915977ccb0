"""The command as a shell really reads it: every word arrives as it should, and nothing else is run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.ops.log import MASK
from tunnel_hub.inspector.bodies import Body
from tunnel_hub.inspector.curl import command
from tunnel_hub.inspector.seen import Seen

FAKE = """#!/bin/sh
printf '%s\\0' "$@"
"""


def seen(**other: Any) -> Seen:
    values: dict[str, Any] = {
        "number": 1,
        "time": "2026-01-01T00:00:00.000Z",
        "request_id": "a-1",
        "method": "GET",
        "path": "/nomisapi/x",
        "shape": False,
        "status": 200,
        "origin": "-",
        "delivered": "yes",
        "bytes_in": 0,
        "bytes_out": 0,
        "phases": {},
        "service": "visits",
        "host": "visits.internal",
    }
    return Seen(**(values | other))


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs a command with a `curl` that prints its arguments; variables are `value-of-NAME`."""
    folder = tmp_path_factory.mktemp("bin")
    curl = folder / "curl"
    curl.write_text(FAKE)
    curl.chmod(0o755)

    def run(text: str, **variables: str) -> list[str]:
        env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **variables}
        done = subprocess.run(
            ["/bin/sh", "-u"],
            input=text.encode(),
            env=env,
            cwd=folder,
            capture_output=True,
            check=True,
            timeout=30,
        )
        assert not done.stderr
        assert sorted(path.name for path in Path(folder).iterdir()) == ["curl"], (
            "the command left something behind"
        )
        return done.stdout.decode().split("\0")[:-1]

    return run


BASE = ["--silent", "--show-error", "--include", "--globoff", "--path-as-is"]


def test_the_plainest(shell: Any) -> None:
    assert shell(command(seen(request_fields=[]), "https")) == [*BASE, "https://visits.internal/nomisapi/x"]


def test_head_post_and_the_service_by_name(shell: Any) -> None:
    assert "--head" in shell(command(seen(method="HEAD"), "http"))
    words = shell(
        command(
            seen(method="POST", bytes_in=2, request_body=Body(2, "text/plain", "@x")), "http", name_service=True
        )
    )
    assert words[len(BASE) :] == [
        "--request",
        "POST",
        "http://visits.internal/nomisapi/x",
        "--header",
        "Tunnel-Service: visits",
        "--data-raw",
        "@x",
    ]


def test_credentials_are_variables(shell: Any) -> None:
    fields = [("Authorization", f"Bearer {MASK}"), ("X-Api-Key", MASK), ("Accept", "a"), ("Empty", "")]
    body = Body(9, "application/json", f'{{"password": "{MASK}"}}')
    text = command(seen(method="POST", bytes_in=9, request_fields=fields, request_body=body), "https")
    assert text.startswith("# set $TOKEN, $FIELD_X_API_KEY, $SECRET\n")
    assert MASK not in text
    words = shell(text, TOKEN="t$(x)", FIELD_X_API_KEY="k'", SECRET="s p")
    assert words[words.index("--header") :] == [
        "--header",
        "Authorization: Bearer t$(x)",
        "--header",
        "X-Api-Key: k'",
        "--header",
        "Accept: a",
        "--header",
        "Empty;",
        "--data-raw",
        '{"password": "s p"}',
    ]


def test_what_is_missing_is_said() -> None:
    text = command(seen(shape=True, path="/a/*", queried=True, host="", method="POST", bytes_in=70_000), "https")
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments == [
        "# its body of 70000 bytes is not here",
        "# * in the path stands for what was not recorded",
        "# its query was not recorded",
        "# its header fields were not recorded",
        "# set $HOST",
    ]


NASTY = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r\n"), max_size=30)
NAMES = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=12)


LINES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=60)


def test_nothing_in_it_steers_the_terminal_that_shows_it_or_takes_it(shell: Any) -> None:
    """The end of a bracketed paste and a line of its own, for instance."""
    steer = "\x1b[201~\x9b2J\x7f\u202e\r\n'$(x)`y`\t%s\\\x1b"
    fields = [("X-A", steer.replace("\r\n", ""))]
    body = Body(9, text=steer)
    text = command(seen(method="POST", bytes_in=9, request_fields=fields, request_body=body), "http")
    assert all(char.isprintable() or char == "\n" for char in text)
    words = shell(text)
    assert (words[-3], words[-1]) == ("X-A: " + fields[0][1], steer)


@settings(max_examples=60, deadline=None)
@given(path=NASTY, name=NAMES, value=NASTY, body=LINES)
def test_whatever_a_caller_sends_is_one_word(shell: Any, path: str, name: str, value: str, body: str) -> None:
    """Quotes, dollars, backticks, newlines, exclamation marks: all of it reaches curl as it was."""
    for text in (
        "'; touch owned; '",
        path,
    ):
        words = shell(
            command(
                seen(
                    method="PUT",
                    path="/" + text,
                    query=value,
                    queried=True,
                    host="h",
                    bytes_in=1,
                    request_fields=[(name, "v" + value)],
                    request_body=Body(1, "text/plain", body),
                ),
                "https",
            ),
            SECRET=MASK,
            TOKEN=MASK,
        )
        assert words[len(BASE) :] == [
            "--request",
            "PUT",
            f"https://h/{text}?{value}",
            "--header",
            f"{name}: v{value}",
            "--data-raw",
            body,
        ]
