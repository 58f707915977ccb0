"""Key and certificates are read anew; a mistake in any of them changes nothing."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from protocol.binding import ANY_CERTIFICATE, certificate_hash
from protocol.keys import PrivateKey, generate, save_private_key
from protocol.limits import Limits
from protocol.ops.tables import ServerTls
from tests.support.tls import PrivateCA
from tunnel_hub.identity import Identity


class Files:
    """A hub's key and certificates in files that can be replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = PrivateCA(folder / "ca")
        self.key = folder / "hub.key"
        for name in ("callers", "agents"):
            self.issue(name)
        self.new_key()

    def new_key(self) -> PrivateKey:
        self.key.unlink(missing_ok=True)
        key = generate()
        save_private_key(key, self.key)
        return key

    def issue(self, name: str) -> bytes:
        """A new certificate in the place of the old one; its hash."""
        issued = self.ca.issue()
        shutil.copy(issued.certificate, self.folder / f"{name}.pem")
        shutil.copy(issued.key, self.folder / f"{name}.key")
        return certificate_hash(ssl.PEM_cert_to_DER_cert(_first(issued.certificate.read_text())))

    def table(self, name: str) -> ServerTls:
        return ServerTls(certificate=self.folder / f"{name}.pem", key=self.folder / f"{name}.key")

    def config(self, *, tls: bool = True, listed: Any = frozenset()) -> Any:
        listen = SimpleNamespace(
            callers_tls=self.table("callers") if tls else None,
            agents_tls=self.table("agents") if tls else None,
            agents_certificates=listed,
        )
        return SimpleNamespace(hub=SimpleNamespace(id="hub-1", key_file=self.key), listen=listen)


def _first(pem: str) -> str:
    return pem.partition("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def shown(context: ssl.SSLContext | None) -> bytes:
    """The certificate that a listener with this context shows, by a handshake in memory."""
    assert context is not None
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        context.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = ends[1].getpeercert(binary_form=True)
    assert found
    return certificate_hash(found)


NOBODY: Any = SimpleNamespace(lookup=lambda _: None, most_keys=0)


def in_use(identity: Identity) -> tuple[Any, ...]:
    handshake = cast("Any", identity.handshakes()(NOBODY))
    key = str(handshake._key.public)
    return shown(identity.callers_tls), shown(identity.agents_tls), sorted(handshake._binding), key


def test_everything_is_renewed(files: Files) -> None:
    identity = Identity(files.config(), Limits())
    make = identity.handshakes()
    _, first, binding, _ = in_use(identity)
    assert binding == [first]
    callers, agents, key = files.issue("callers"), files.issue("agents"), files.new_key()
    identity.renew(files.config())
    assert in_use(identity) == (callers, agents, sorted([first, agents]), str(key.public))
    later = files.issue("agents")
    identity.renew(files.config(listed=frozenset({b"listed"})))
    assert in_use(identity)[2] == sorted([agents, later, b"listed"]), "the one before the last is forgotten"
    identity.renew(files.config())
    assert in_use(identity)[2] == sorted([agents, later]), "nothing new, nothing forgotten"
    assert sorted(cast("Any", make(NOBODY))._binding) == sorted([agents, later]), "made before"


def test_any_certificate(files: Files) -> None:
    identity = Identity(files.config(listed="any"), Limits())
    assert cast("Any", identity.handshakes()(NOBODY))._binding is ANY_CERTIFICATE


@pytest.mark.parametrize("adds", ["agents_tls", "both"])
def test_tls_that_takes_effect_after_a_restart_is_not_asked_of_agents_before(files: Files, adds: str) -> None:
    """The listener still speaks ws://: agents that see no certificate must be let in."""
    identity = Identity(files.config(tls=False), Limits())
    config = files.config()
    if adds == "agents_tls":
        config.listen.callers_tls = None
    identity.renew(config)
    assert cast("Any", identity.handshakes()(NOBODY))._binding is None
    assert identity.agents_tls is None


def test_tls_that_is_taken_away_lasts_until_a_restart(files: Files) -> None:
    identity = Identity(files.config(), Limits())
    agents = in_use(identity)[1]
    for _ in range(2):
        identity.renew(files.config(tls=False))
        assert in_use(identity)[2] == [agents]


BREAKS: dict[str, Callable[[Files], object]] = {
    "no key": lambda files: files.key.unlink(),
    "key garbage": lambda files: files.key.write_text("garbage"),
    "key readable by all": lambda files: files.key.chmod(0o644),
    "no certificate": lambda files: (files.folder / "agents.pem").unlink(),
    "certificate garbage": lambda files: (files.folder / "agents.pem").write_text("garbage"),
    "certificate empty": lambda files: (files.folder / "agents.pem").write_text(""),
    "certificate cut": lambda files: (files.folder / "agents.pem").write_bytes(
        (files.folder / "agents.pem").read_bytes()[:300]
    ),
    "certificate of another key": lambda files: shutil.copy(
        files.ca.issue().certificate, files.folder / "agents.pem"
    ),
    "no tls key": lambda files: (files.folder / "agents.key").unlink(),
    "callers' certificate garbage": lambda files: (files.folder / "callers.pem").write_text("garbage"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_mistake_changes_nothing(files: Files, what: str) -> None:
    identity = Identity(files.config(), Limits())
    before = in_use(identity)
    files.issue("callers"), files.issue("agents"), files.new_key()
    BREAKS[what](files)
    with pytest.raises(ValueError, match=r"\S"):  # which is what the reload reports in one line
        identity.renew(files.config())
    assert in_use(identity) == before
