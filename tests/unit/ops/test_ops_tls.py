"""TLS contexts: strict ones, and sentences for files that cannot be used."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.ops import tls
from protocol.ops.tls import TlsFileError
from tests.support.tls import PrivateCA


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCA:
    return PrivateCA(tmp_path_factory.mktemp("ca"))


def test_server_context(ca: PrivateCA) -> None:
    issued = ca.issue()
    context = tls.server_context(issued.certificate, issued.key)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode == ssl.CERT_NONE
    asking = tls.server_context(issued.certificate, issued.key, ca.ca_file)
    assert asking.verify_mode == ssl.CERT_REQUIRED


def test_client_context_trusts_only_what_it_is_told(ca: PrivateCA) -> None:
    issued = ca.issue()
    context = tls.client_context(ca.ca_file, issued.certificate, issued.key)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert len(context.get_ca_certs()) == 1
    assert tls.client_context().verify_mode == ssl.CERT_REQUIRED


def test_files_that_cannot_be_used(ca: PrivateCA, tmp_path: Path) -> None:
    one, other = ca.issue(), ca.issue()
    text = tmp_path / "text"
    text.write_text("hello")
    gone = tmp_path / "gone"
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
    )
    for arguments, message in (
        ({"certificate": one.certificate, "key": other.key}, "does not belong to the certificate"),
        ({"certificate": text, "key": one.key}, "are not a PEM certificate"),
        ({"certificate": one.certificate, "key": text}, "are not a PEM certificate"),
        ({"certificate": gone, "key": one.key}, "cannot be read: No such file"),
        ({"certificate": one.certificate, "key": locked}, "is encrypted; store it unencrypted"),
        ({"ca_file": text}, "holds no PEM certificate"),
        ({"ca_file": gone}, "cannot be read: No such file"),
    ):
        problem = tls.file_problem(**arguments)
        assert problem is not None
        assert message in problem
    assert tls.file_problem(ca.ca_file, one.certificate, one.key) is None
    assert tls.file_problem() is None
    with pytest.raises(TlsFileError):
        tls.server_context(one.certificate, one.key, text)
