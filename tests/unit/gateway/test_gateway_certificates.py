from __future__ import annotations

import datetime
import itertools
from collections.abc import Sequence
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from tests.support.tokens import p256
from tests.unit.gateway.refusals import refused
from tunnel_hub.gateway.certificates import DER_BYTES, Certificates
from tunnel_hub.gateway.grant import Grant, Verified

KEY = p256()
BEGINS = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
ENDS = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC).timestamp()


def certificate(
    common: Sequence[str] = ("visits",),
    dns: Sequence[str] = (),
    uris: Sequence[str] = (),
    emails: Sequence[str] = (),
) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common])
    names: list[x509.GeneralName] = [
        *(x509.DNSName(name) for name in dns),
        *(x509.UniformResourceIdentifier(name) for name in uris),
        *(x509.RFC822Name(name) for name in emails),
    ]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(BEGINS)
        .not_valid_after(ENDS)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


PLAIN = certificate()
PRINT = sha256(PLAIN).hexdigest()
SPIFFE = "spiffe://cloud.example/ns/visits/sa/api"


def owner(der: bytes, owners: dict[str, str], at: float = NOW) -> str:
    return Certificates(owners).verify(der, at).grant.name


def refusal(der: bytes, owners: dict[str, str], at: float = NOW) -> str:
    return refused(lambda: Certificates(owners).verify(der, at)).reason


def test_what_is_granted() -> None:
    ends = ENDS.timestamp()
    expected = Grant("Visits API", "certificate", PRINT, expires=ends)
    assert Certificates({"visits": "Visits API"}).verify(PLAIN, NOW) == Verified(expected, ends)


@pytest.mark.parametrize(
    ("der", "name"),
    [
        (PLAIN, "visits"),
        (PLAIN, "VISITS"),
        (PLAIN, f"sha256:{PRINT}"),
        (PLAIN, f"sha256:{PRINT.upper()}"),
        (certificate(dns=["visits.example"]), "visits.example"),
        (certificate(dns=["Visits.Example"]), "visits.EXAMPLE"),
        (certificate(dns=["a.example", "b.example"]), "b.example"),
        (certificate(uris=[SPIFFE]), SPIFFE),
        (certificate(dns=["a.example"], uris=[SPIFFE]), SPIFFE),
        (certificate(emails=["a@b.example"]), "visits"),
        (certificate(common=["a", "visits"]), "visits"),
    ],
    ids=itertools.count(),
)
def test_by_which_name(der: bytes, name: str) -> None:
    assert owner(der, {name: "me", "other": "you", "sha256:" + "0" * 64: "you"}) == "me"


@pytest.mark.parametrize(
    ("der", "name"),
    [
        (PLAIN, "visit"),
        (PLAIN, "visits2"),
        (PLAIN, ""),
        (PLAIN, PRINT),
        (certificate(common=[]), ""),
        (certificate(dns=["a.example"]), "visits"),
        (certificate(uris=[SPIFFE]), "visits"),
        (certificate(uris=[SPIFFE]), SPIFFE.upper()),
        (certificate(dns=["*.example"]), "a.example"),
        (certificate(dns=["a.example"]), "*.example"),
        (certificate(emails=["a@b.example"]), "a@b.example"),
        # names of one kind that look like another kind
        (certificate(uris=[f"sha256:{PRINT}"]), f"sha256:{PRINT}"),
        (certificate(uris=[f"SHA256:{PRINT}"]), f"SHA256:{PRINT}"),
        (certificate(dns=[f"sha256:{PRINT}"]), f"sha256:{PRINT}"),
        (certificate(common=[SPIFFE]), SPIFFE),
        (certificate(dns=[SPIFFE]), SPIFFE),
        (certificate(uris=["visits"]), "visits"),
        (certificate(common=["visits\0.evil"]), "visits"),
    ],
    ids=itertools.count(),
)
def test_not_by_another(der: bytes, name: str) -> None:
    assert refusal(der, {name: "me"}) == "The TLS client certificate belongs to no caller of this gateway."


def test_exactly_one_owner() -> None:
    both = certificate(dns=["a.example", "b.example"])
    assert owner(both, {"a.example": "me", "b.example": "me"}) == "me"
    assert "names several callers" in refusal(both, {"a.example": "me", "b.example": "you"})
    assert "names several callers" in refusal(PLAIN, {"visits": "me", f"sha256:{PRINT}": "you"})
    assert "names several callers" in refusal(PLAIN, {"visits": "me", "VISITS": "you"})


def test_its_time() -> None:
    for at in (BEGINS.timestamp(), ENDS.timestamp() - 1):
        assert owner(PLAIN, {"visits": "me"}, at) == "me"
    assert "not valid yet" in refusal(PLAIN, {"visits": "me"}, BEGINS.timestamp() - 1)
    for at in (ENDS.timestamp(), 1e12):
        assert "has expired" in refusal(PLAIN, {"visits": "me"}, at)


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"x",
        PLAIN[:-1],
        PLAIN + b"x",
        PLAIN[:100],
        b"-----BEGIN CERTIFICATE-----",
        b"\x30" * (DER_BYTES + 1),
        certificate(dns=["a.example"]).replace(b"a.example", b"\xff.example"),
    ],
    ids=itertools.count(),
)
def test_no_certificate(der: bytes) -> None:
    assert refusal(der, {"visits": "me"}) == "The TLS client certificate cannot be read."
