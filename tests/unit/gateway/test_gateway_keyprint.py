from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.tokens import p256
from tunnel_hub.gateway import es256
from tunnel_hub.gateway.keyprint import keyprint


def test_one_name_for_one_key() -> None:
    key = p256().public_key()
    again = es256.public_key(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert keyprint(again) == keyprint(key) != keyprint(p256().public_key())
    assert len(keyprint(rsa.generate_private_key(65537, 2048).public_key())) == 64
