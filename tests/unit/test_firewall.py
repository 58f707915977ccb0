"""The firewall request: a text to paste into a mail."""

from __future__ import annotations

from tunnel_agent.firewall import WIDTH, Connection, request

HUB = Connection("tunnel.example", 443, "hub", "The hub. " * 20, ["203.0.113.5", "2001:db8::5"], ["10.1.2.3"])
UPSTREAM = Connection("10.9.9.9", 8443, "upstream of visits", "The API.", ["10.9.9.9"], [])


def test_what_stays_on_the_machine_needs_no_firewall() -> None:
    here = Connection("localhost", 9000, "upstream of visits", "The API.", ["::1", "127.0.0.1"], ["127.0.0.1"])
    unknown = Connection("nowhere.example", 443, "hub", "The hub.", [], [])
    text = request([here, unknown], "leeds-vm1")
    assert "localhost" not in text
    assert " 1. from      leeds-vm1\n    to        nowhere.example\n" in text
    assert request([here], "leeds-vm1") == "Nothing to ask for: no connection leaves this machine.\n"


def test_the_text() -> None:
    text = request([HUB, UPSTREAM], "leeds-vm1")
    assert all(len(line) <= WIDTH for line in text.splitlines())
    assert text.isascii(), "mails and ticket systems garble the rest"
    assert (
        "\n 1. from      leeds-vm1 (10.1.2.3)\n    to        tunnel.example (203.0.113.5, 2001:db8::5)\n" in text
    )
    assert "    port      443\n    protocol  TCP\n    why       The hub. The hub." in text
    assert text.endswith(
        "\n 2. from      leeds-vm1\n    to        10.9.9.9\n    port      8443\n    protocol  TCP\n"
        "    why       The API.\n"
    )
