"""What `check` says of a certificate: who issued it, who was expected to, and what to do."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.tls import PrivateCA
from tunnel_agent.shown import Shown, expected, read, refused

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
Make = Callable[..., bytes]


def certificate(subject: str, issuer: str, begins: datetime = NOW - DAY, ends: datetime = NOW + DAY) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)]
    builder = x509.CertificateBuilder(name[1], name[0], key.public_key(), 1, begins, ends)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def shown(*arguments: str, begins: datetime = NOW - DAY, ends: datetime = NOW + DAY) -> Shown:
    found = read(certificate(*arguments, begins=begins, ends=ends))
    assert found is not None
    return found


def error(code: int) -> ssl.SSLCertVerificationError:
    made = ssl.SSLCertVerificationError(1, "x")
    made.verify_code, made.verify_message = code, "refused for a reason"
    return made


def test_what_is_read() -> None:
    found = shown("hub.example", "Proxy CA")
    assert (found.subject, found.issuer, found.ends) == ("CN=hub.example", "CN=Proxy CA", NOW + DAY)
    assert found.fingerprint.startswith("sha256:")
    assert str(found) == 'the certificate of "CN=hub.example", issued by "CN=Proxy CA", valid until 2026-11-28'


@pytest.mark.parametrize("der", [b"", b"nonsense", certificate("a", "b")[:-20]])
def test_what_cannot_be_read(der: bytes) -> None:
    assert read(der) is None


def test_a_name_commands_no_terminal() -> None:
    assert shown("a\x1b[2J\x07b", "x").subject == "CN=a?[2J?b"
    assert len(str(shown("c" * 64, "d").subject)) < 300


class TestExpected:
    def test_of_this_machine(self) -> None:
        assert expected(None).startswith("an authority that this machine trusts (/")

    def test_of_a_file(self, tmp_path: Path) -> None:
        ca = PrivateCA(tmp_path)
        assert expected(ca.ca_file) == f'"{ca.name}" ({ca.ca_file})'
        ca.ca_file.write_bytes(ca.ca_file.read_bytes() * 5)
        assert expected(ca.ca_file) == f'"{ca.name}", "{ca.name}", "{ca.name}" and 2 more ({ca.ca_file})'

    def test_of_a_file_that_has_changed(self, tmp_path: Path) -> None:
        assert expected(tmp_path / "none") == f"an authority in {tmp_path}/none"


WANTED = '"CN=Ours" (ca.pem)'


@pytest.mark.parametrize(
    ("code", "found", "detail", "remedy"),
    [
        (
            20,
            shown("hub.example", "Proxy CA"),
            f'the certificate of "CN=hub.example" is issued by "CN=Proxy CA"; expected was {WANTED}',
            "have hub.example exempted from inspection",
        ),
        (18, shown("a", "a"), f'"CN=a" is signed by itself; expected was {WANTED}', "as ca_file"),
        (
            10,
            shown("a", "b", begins=NOW - 9 * DAY, ends=NOW - DAY),
            "valid from 2026-11-18 12:00 to 2026-11-26 12:00 UTC, and this machine's clock says 2026-11-27",
            "have the certificate renewed",
        ),
        (
            9,
            shown("a", "b", begins=NOW + DAY, ends=NOW + 2 * DAY),
            "clock says 2026-11-27",
            "set this machine's clock",
        ),
        (62, shown("other.example", "b"), 'a reason; the certificate is for "CN=other.example"', "use the name"),
        (20, None, "the certificate is refused: refused for a reason", "as ca_file"),
    ],
)
def test_refusals(code: int, found: Shown | None, detail: str, remedy: str) -> None:
    trouble = refused(error(code), found, WANTED, "hub.example", NOW.timestamp())
    assert detail in trouble.detail
    assert remedy in trouble.remedy
