"""The search for secrets finds what it must: every spelling, every place; and it can fail."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.leaksearch import PIECE, Finding, Patterns, Trail, name_of, seed_key_file
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.seeded import SEEDED
from tests.support.waiting import wait_until

SECRET = 'pa:ss "w/ö@rd-4711'
LEAKY = """
import http.server, sys
print("Authorization: Basic", sys.argv[3], flush=True)
open(sys.argv[2], "w").write('{"caller": "' + sys.argv[4] + '"}')
class Metrics(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'requests{token="' + sys.argv[4].encode() + b'"} 1')
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Metrics).serve_forever()
"""


@pytest.mark.parametrize(
    "text",
    [
        SECRET,
        f"x{SECRET}x",
        json.dumps({"a": SECRET}),
        quote(SECRET, safe=""),
        SECRET.encode("unicode_escape").decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"users:{SECRET}".encode()).decode(),
        base64.urlsafe_b64encode(f"use:{SECRET}".encode()).decode(),
    ],
)
def test_every_spelling_is_found(text: str) -> None:
    assert Patterns([SECRET, "another-secret"]).find(text.encode()) == {name_of(SECRET)}


def test_what_is_none_is_not_found() -> None:
    patterns = Patterns([SECRET, "short"])
    assert patterns.find(b"pa:ss; short; " + base64.b64encode(b"user:other")) == set()
    assert Patterns([]).find(b"anything") == set()


def test_a_name_says_nothing_of_the_secret() -> None:
    assert SECRET not in name_of(SECRET)


def test_a_private_key_is_sought_as_its_file_says_it_and_bare(tmp_path: Path) -> None:
    key = bytes.fromhex("302e020100300506032b657004220420") + os.urandom(32)
    file = tmp_path / "some.key"
    file.write_text(f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(key).decode()}\n-----END PRIVATE KEY-----\n")
    before = len(SEEDED)
    assert seed_key_file(file) == file
    seeded = SEEDED[before:]
    assert seeded == [base64.b64encode(key).decode(), key[-32:].hex(), base64.b64encode(key[-32:]).decode()]
    assert "some.key" in name_of(seeded[0])


def test_a_file_is_searched_once_and_across_the_seams(tmp_path: Path) -> None:
    log, findings = tmp_path / "a.log", list[Finding]()
    trail = Trail("a", lambda: Patterns(["seam-secret"]), findings)
    trail.look_at_file(log)
    log.write_bytes(b"x" * (PIECE - 4) + b"seam-secret\nseam-sec")
    trail.look_at_file(log)
    assert findings == [("a", name_of("seam-secret"), "a.log")]
    findings.clear()
    trail.look_at_file(log)
    assert not findings
    with log.open("ab") as file:
        file.write(b"ret")
    trail.look_at_file(log)
    assert len(findings) == 1


def test_a_program_that_lets_secrets_out_is_caught_everywhere(tmp_path: Path) -> None:
    """The positive control: output, metrics, audit file and command line of a running program."""
    secret, port = "control-secret-4711", free_port()
    (tmp_path / "leaky.py").write_text(LEAKY)
    findings: list[Finding] = []
    basic = base64.b64encode(f"me:{secret}".encode()).decode()
    program = Program(
        "leaky",
        ["leaky", str(port), str(tmp_path / "audit.jsonl"), basic, secret],
        tmp_path,
        {"PYTHONPATH": str(tmp_path)},
        trail=Trail("leaky", lambda: Patterns([secret]), findings),
    )
    program.admin_url = f"http://127.0.0.1:{port}"
    program.start()
    wait_until(lambda: program.admin_status("/metrics") == 200, "the leaky program")
    program.close()
    assert {found.place for found in findings} == {
        *("leaky.log", "audit.jsonl", "/metrics", f"/proc/{program.pid}/cmdline")
    }
    assert {(found.program, found.secret) for found in findings} == {("leaky", name_of(secret))}
