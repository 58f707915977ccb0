"""Keys of agents on real processes: enrolled by a token, replaced under load, revoked while it runs."""

from __future__ import annotations

import json
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from protocol.keys import load_private_key
from tests.support.keys import KeyRing
from tests.support.ports import free_port
from tests.support.process import Program
from tests.support.programs import Hub
from tests.support.rawhttp import Truncated
from tests.support.stream import Stream
from tests.support.toml import merge
from tests.support.tunnel import HOST, Tunnel
from tests.support.upstream import reply
from tests.support.waiting import stays, wait_until

MakeTunnel = Callable[..., Tunnel]

DEBUG = {"log": {"level": "debug"}}


@pytest.fixture
def tunnel(make_tunnel: MakeTunnel) -> Tunnel:
    """A tunnel whose agent has no key yet; its token goes into `token_file`. Nothing runs."""
    tunnel = make_tunnel(
        hub_options=merge(
            DEBUG, {"agents": {"leeds-1": {"public_keys": None}, "york-1": {"services": ["visits"]}}}
        ),
        agent_options=merge(DEBUG, {"agent": {"key_file": "fresh.key"}, "limits": {"reconnect_max": "500ms"}}),
        hub_entry={"enrol_token_file": "enrol.token"},
    )
    tunnel.upstream.on("/x", reply())
    return tunnel


def token_file(tunnel: Tunnel) -> Path:
    return tunnel.directory / "enrol.token"


def key_file(tunnel: Tunnel) -> Path:
    return tunnel.directory / "fresh.key"


def give_token(tunnel: Tunnel, token: str = "") -> str:
    token = token or tunnel.hub.enrol_token()
    token_file(tunnel).write_text(token + "\n")
    return token


def start(tunnel: Tunnel) -> None:
    """Hub and agent, whether or not the one lets the other in."""
    for program in (tunnel.hub, tunnel.agent):
        if not program.running:
            program.start()
            program.wait_alive()


def fingerprint(file: Path) -> str:
    return load_private_key(file).public.fingerprint


def keys_of(hub: Hub, agent: str = "leeds-1") -> list[dict[str, Any]]:
    done = hub.command("agents", "--json")
    assert done.returncode == 0, done.stderr
    [keys] = [ring["keys"] for ring in json.loads(done.stdout)["agents"] if ring["agent"] == agent]
    return list(keys)


def reload(program: Program) -> int:
    mark = program.mark()
    program.signal(signal.SIGHUP)
    program.wait_log("configuration reloaded", since=mark)
    return mark


def revoke(hub: Hub, *arguments: str, agent: str = "leeds-1") -> str:
    done = hub.command("revoke", "--agent", agent, *arguments)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def sessions_of(tunnel: Tunnel, agent: str) -> int:
    """Of this agent at the hub, by its metrics."""
    for line in tunnel.hub.admin("/metrics").text.splitlines():
        if line.startswith("tunnel_hub_sessions{") and f'"{agent}"' in line:
            return int(float(line.rpartition(" ")[2]))
    return 0


# -- Enrolment ----------------------------------------------------------------------------------------


def test_a_first_boot_enrols_and_serves(tunnel: Tunnel) -> None:
    """Two sessions dial at once with one token; afterwards neither token nor enrolment is needed again."""
    token = give_token(tunnel)
    tunnel.start()
    tunnel.wait_sessions(2)
    assert tunnel.fetch("/x").status == 200
    assert stat.S_IMODE(key_file(tunnel).stat().st_mode) == 0o600
    wait_until(lambda: not token_file(tunnel).exists(), "the token's file to go")
    [key] = keys_of(tunnel.hub)
    assert (key["fingerprint"], key["sources"], key["how"]) == (
        fingerprint(key_file(tunnel)),
        ["enrolled"],
        "token",
    )
    assert key["fingerprint"] in tunnel.hub.wait_log("key enrolled", "leeds-1")
    assert tunnel.hub.log().count("key enrolled") == 1

    secret = token.removeprefix("et1_")[22:]  # what is not the id
    for program in (tunnel.hub, tunnel.agent):
        process = Path(f"/proc/{program.pid}")
        for text in (program.log(), (process / "cmdline").read_text(), (process / "environ").read_text()):
            assert secret not in text
        assert "Traceback" not in program.log()
    state = b"".join(file.read_bytes() for file in tunnel.directory.glob("hub.db*"))
    assert secret.encode() not in state

    for program in (tunnel.hub, tunnel.agent):
        program.stop()
        tunnel.start()
        tunnel.wait_sessions(2)
        assert tunnel.fetch("/x").status == 200
    assert tunnel.hub.log().count("key enrolled") == 1


def test_tokens_that_are_no_good(tunnel: Tunnel) -> None:
    """One sentence for all at the agent, the cause at the hub; a good one mends it without a restart."""
    give_token(tunnel, tunnel.hub.enrol_token(ttl="1ms"))
    start(tunnel)
    causes = {
        "the token has expired": None,
        "the token is for york-1": tunnel.hub.enrol_token("york-1"),
        "no such token": "et1_" + "A" * 64,
    }
    sentences = set()
    for cause, token in causes.items():
        marks = tunnel.agent.mark(), tunnel.hub.mark()
        if token is not None:
            give_token(tunnel, token)
        assert "ENROLMENT_REFUSED" in tunnel.hub.wait_log("agent refused", cause, since=marks[1] if token else 0)
        line = tunnel.agent.wait_log("no session", "does not enrol", since=marks[0] if token else 0)
        sentences.add(json.loads(line)["reason"])
        assert cause not in line
    assert len(sentences) == 1
    assert "tunnel-hub enrol-token --agent leeds-1" in sentences.pop()
    assert token_file(tunnel).exists(), "only a token that was good is removed"

    used = give_token(tunnel)
    tunnel.wait_served()
    assert tunnel.fetch("/x").status == 200
    tunnel.agent.stop()
    key_file(tunnel).unlink()
    give_token(tunnel, used)
    mark = tunnel.hub.mark()
    start(tunnel)
    tunnel.hub.wait_log("agent refused", "the token was used before", since=mark)
    stays(lambda: tunnel.agent.running, "the agent goes on trying", 0.5)
    assert tunnel.agent.admin_status("/health/readiness") == 503
    assert len(keys_of(tunnel.hub)) == 1
    for token in (used, causes["the token is for york-1"]):
        assert token is not None
        assert token[30:] not in tunnel.hub.log() + tunnel.agent.log()


def test_a_credential_stays_and_does_no_harm(tunnel: Tunnel) -> None:
    folder = tunnel.directory / "credentials"
    folder.mkdir()
    tunnel.agent.env["CREDENTIALS_DIRECTORY"] = str(folder)
    tunnel.agent.config["hubs"][0]["enrol_token_file"] = "credential:enrol"
    tunnel.agent.write_config()
    (folder / "enrol").write_text(tunnel.hub.enrol_token())
    for _ in range(2):
        tunnel.start()
        tunnel.wait_sessions(2)
        assert tunnel.fetch("/x").status == 200
        tunnel.agent.stop()
    assert (folder / "enrol").exists()
    assert len(keys_of(tunnel.hub)) == 1


def test_a_check_says_that_it_will_enrol_and_leaves_the_token(tunnel: Tunnel) -> None:
    token = give_token(tunnel)
    tunnel.hub.start()
    tunnel.hub.wait_alive()
    for _ in range(2):
        done = tunnel.agent.check(as_json=True)
        assert done.returncode == 0, done.stdout + done.stderr
        [shake] = [result for result in json.loads(done.stdout)["results"] if result["step"] == "handshake"]
        assert "will enrol" in shake["detail"]
        assert "enrol.token" in shake["detail"]
        assert token not in done.stdout + done.stderr
    assert not key_file(tunnel).exists()
    tunnel.start()
    assert tunnel.fetch("/x").status == 200
    assert "knows this agent" in tunnel.agent.check().stdout


def test_another_hub_without_a_token_says_what_it_needs(tunnel: Tunnel, keys: KeyRing) -> None:
    other = Hub(
        tunnel.directory / "other",
        keys.hub("hub-2"),
        services={"visits": {"hosts": [HOST]}},
        agents={"leeds-1": {"services": ["visits"]}},
        name="hub-2",
    )
    entry = {"url": other.tunnel_url(), "public_keys": [keys.hub("hub-2").public]}
    tunnel.agent.config["hubs"].append(entry)
    tunnel.agent.write_config()
    other.start()
    try:
        other.wait_alive()
        give_token(tunnel)
        tunnel.hub.start()
        tunnel.hub.wait_alive()
        done = tunnel.agent.check(as_json=True)
        assert done.returncode == 1
        assert "will enrol" in done.stdout
        assert "no token for this hub" in done.stdout
        start(tunnel)
        line = tunnel.agent.wait_log("no session", "hub-2 does not know the agent leeds-1 by this key")
        assert load_private_key(key_file(tunnel)).public.line in line
        assert "public_keys" in line
        tunnel.wait_sessions(2)
        assert tunnel.fetch("/x").status == 200
        assert list(tunnel.directory.glob("other/*.db")) == []
        done = tunnel.agent.check()
        assert done.returncode == 1
        assert "public_keys" in done.stdout
    finally:
        other.close()


def test_a_state_that_is_damaged_stops_the_hub_in_words(tunnel: Tunnel) -> None:
    (tunnel.directory / "hub.db").write_text("nothing of the kind\n" * 100)
    tunnel.hub.start()
    assert tunnel.hub.wait_exit() == 1
    assert "hub.db is damaged or no state file" in tunnel.hub.wait_log("cannot start")
    assert "Traceback" not in tunnel.hub.log()


def test_a_key_that_cannot_be_made_stops_the_agent_in_words(tunnel: Tunnel) -> None:
    give_token(tunnel)
    tunnel.agent.config["agent"]["key_file"] = "no/such/folder.key"
    tunnel.agent.write_config()
    tunnel.agent.start()
    assert tunnel.agent.wait_exit() == 1
    assert "cannot be made" in tunnel.agent.wait_log("cannot start")
    assert "Traceback" not in tunnel.agent.log()


def test_a_successor_of_the_hub_goes_on_with_its_state(tunnel: Tunnel) -> None:
    """Both processes have the file open; what is revoked while the old one drains is out at the new one."""
    give_token(tunnel)
    tunnel.start()
    first = tunnel.hub.start_beside()
    wait_until(lambda: first.poll() is not None, "the first process to end", 20.0)
    tunnel.wait_sessions(2)
    assert tunnel.fetch("/x").status == 200
    revoke(tunnel.hub)
    wait_until(lambda: sessions_of(tunnel, "leeds-1") == 0, "the sessions to end", 5.0)
    tunnel.hub.wait_log("agent refused", "leeds-1")


# -- Rotation -----------------------------------------------------------------------------------------


@contextmanager
def load(tunnel: Tunnel, callers: int = 3) -> Iterator[list[object]]:
    """Callers that keep their connections and ask again and again; what went wrong, which must be nothing."""
    wrong: list[object] = []
    counts = [0] * callers
    over = threading.Event()

    def call(number: int) -> None:
        try:
            with tunnel.raw() as caller:
                while not over.is_set():
                    method, body = (("GET", b""), ("POST", b"{}"))[counts[number] % 2]
                    fields = (f"Content-Length: {len(body)}",) if body else ()
                    caller.start(method, "/x", *fields, body=body)
                    answer = caller.answer(method)
                    if answer.status != 200:
                        wrong.append(answer)
                    counts[number] += 1
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()

    def more() -> None:
        """Each caller has had some answers since now."""
        before = list(counts)
        wait_until(
            lambda: wrong or all(now > then + 5 for now, then in zip(counts, before, strict=True)), "more answers"
        )

    try:
        more()
        yield wrong
        more()
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert wrong == []


def test_the_key_is_replaced_under_load(tunnel: Tunnel) -> None:
    """No request fails and no stream is dropped; the old key is out of use and can be revoked."""
    give_token(tunnel)
    tunnel.start()
    tunnel.wait_sessions(2)
    old = fingerprint(key_file(tunnel))
    with load(tunnel):
        stream = Stream(tunnel)
        done = tunnel.agent.rotate_key()
        assert done.returncode == 0, done.stdout + done.stderr
        new = fingerprint(key_file(tunnel))
        assert new != old
        assert fingerprint(tunnel.directory / "fresh.key.old") == old
        assert not (tunnel.directory / "fresh.key.new").exists()
        for file in tunnel.directory.glob("fresh.key*"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for words in ("SIGHUP", f"tunnel-hub revoke --agent leeds-1 --key {old}"):
            assert words in done.stdout
        assert new in tunnel.hub.wait_log("key rotated", "leeds-1")
        mark = reload(tunnel.agent)
        wait_until(lambda: tunnel.agent.log(mark).count("session established") == 2, "sessions with the new key")
        stream.finish()
        tunnel.wait_sessions(2)
        assert revoke(tunnel.hub, "--key", old) == f"revoked {old} of leeds-1\n"
        tunnel.hub.wait_log("key revoked", old)
    assert "NOT_REGISTERED" not in tunnel.hub.log()
    tunnel.wait_sessions(2)
    assert [(key["fingerprint"], key["revoked"] is None) for key in keys_of(tunnel.hub)] == [
        (old, False),
        (new, True),
    ]
    tunnel.agent.stop()
    tunnel.start()
    assert tunnel.fetch("/x").status == 200


def test_a_rotation_that_does_not_reach_every_hub_changes_nothing(tunnel: Tunnel, keys: KeyRing) -> None:
    give_token(tunnel)
    tunnel.start()
    old = fingerprint(key_file(tunnel))
    lost = {"url": f"ws://127.0.0.1:{free_port()}/tunnel", "public_keys": [keys.hub().public]}
    tunnel.agent.config["hubs"].append(lost)
    tunnel.agent.write_config()
    waiting = set()
    for _ in range(2):
        done = tunnel.agent.rotate_key()
        assert done.returncode == 1
        assert "has the new key" in done.stdout
        assert lost["url"] in done.stderr
        assert "nothing was changed here" in done.stderr
        assert "Traceback" not in done.stderr
        assert fingerprint(key_file(tunnel)) == old
        waiting.add(fingerprint(tunnel.directory / "fresh.key.new"))
    assert len(waiting) == 1, "the same new key is tried again"
    tunnel.agent.config["hubs"].pop()
    tunnel.agent.write_config()
    assert tunnel.agent.rotate_key().returncode == 0
    assert {fingerprint(key_file(tunnel))} == waiting
    assert [key["fingerprint"] for key in keys_of(tunnel.hub)] == [old, *waiting]

    third = tunnel.agent.rotate_key()
    assert third.returncode == 1
    assert "tunnel-hub revoke --agent leeds-1 --key" in third.stderr
    revoke(tunnel.hub, "--key", old)
    assert tunnel.agent.rotate_key().returncode == 0


def test_a_hub_that_keeps_no_state_asks_for_the_line(make_tunnel: MakeTunnel, keys: KeyRing) -> None:
    """Keys in the file only: the new line is added there, and the command repeated."""
    tunnel = make_tunnel()
    key = tunnel.directory / "own.key"
    key.write_bytes(keys.agent().file.read_bytes())
    key.chmod(0o600)
    tunnel.agent.config["agent"]["key_file"] = "own.key"
    tunnel.agent.write_config()
    tunnel.start()
    refused = tunnel.agent.rotate_key()
    assert refused.returncode == 1
    assert "public_keys under [agents.leeds-1]" in refused.stderr
    line = load_private_key(tunnel.directory / "own.key.new").public.line
    assert line in refused.stderr
    assert not (tunnel.directory / "hub.db").exists(), "a peer does not make files"
    tunnel.hub.config["agents"]["leeds-1"]["public_keys"].append(line)
    tunnel.hub.write_config()
    reload(tunnel.hub)
    assert tunnel.agent.rotate_key().returncode == 0
    assert load_private_key(key).public.line == line
    reload(tunnel.agent)
    tunnel.hub.config["agents"]["leeds-1"]["public_keys"].pop(0)
    tunnel.upstream.on("/x", reply())
    assert tunnel.fetch("/x").status == 200


# -- Revocation ---------------------------------------------------------------------------------------


@pytest.fixture
def pair(make_tunnel: MakeTunnel) -> Tunnel:
    """Two agents of one service, whose keys stand in the hub's file; both serve."""
    tunnel = make_tunnel(
        agent_ids=("leeds-1", "york-1"), agent_options={"limits": {"reconnect_max": "500ms"}}
    ).start()
    tunnel.upstream.on("/x", reply())
    tunnel.wait_sessions(4)
    return tunnel


def test_a_revoked_agent_is_out_within_five_seconds_while_another_goes_on(pair: Tunnel) -> None:
    leeds = pair.agents[0]
    with load(pair):
        mark = leeds.mark()
        out = revoke(pair.hub)
        wait_until(lambda: sessions_of(pair, "leeds-1") == 0, "the sessions to end", 5.0)
        [key] = keys_of(pair.hub)
        assert out == f"revoked {key['fingerprint']} of leeds-1\n"
        leeds.wait_log("no session", "does not know the agent leeds-1", since=mark)
        assert sessions_of(pair, "york-1") == 2
    assert key["sources"] == ["file"]
    assert key["revoked"]

    for change in (pair.hub.stop, lambda: None):  # neither a restart nor a reload brings it back
        change()
        if not pair.hub.running:
            pair.hub.start()
            pair.hub.wait_alive()
        else:
            reload(pair.hub)
        mark = pair.hub.mark()
        pair.wait_sessions(2)
        pair.hub.wait_log("agent refused", "leeds-1", since=mark)
        assert sessions_of(pair, "leeds-1") == 0
        assert pair.fetch("/x").status == 200
    token = pair.hub.enrol_token()
    (pair.directory / "again.token").write_text(token)
    leeds.config["hubs"][0]["enrol_token_file"] = "again.token"
    leeds.write_config()
    reload(leeds)
    pair.hub.wait_log("agent refused", "the key was revoked")
    assert sessions_of(pair, "leeds-1") == 0


def test_a_stream_of_a_revoked_key_ends_with_it(pair: Tunnel) -> None:
    """However long it would have gone on; that of another agent does."""
    streams = [Stream(pair) for _ in range(2)]  # one at each agent
    revoke(pair.hub)
    wait_until(lambda: sessions_of(pair, "leeds-1") == 0, "the sessions to end", 5.0)
    ended = 0
    for stream in streams:
        try:
            stream.finish()
        except Truncated:
            ended += 1
    assert ended == 1
