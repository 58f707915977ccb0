from __future__ import annotations

import base64
import os
import pickle
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import keys
from protocol.keys import (
    KeyFileError,
    PrivateKey,
    PublicKey,
    generate,
    load_private_key,
    parse_public_line,
    public_line,
    save_private_key,
)

# RFC 8032 section 7.1, test 2
SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RAW = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
KEY = PrivateKey(Ed25519PrivateKey.from_private_bytes(SEED))
LINE = "ed25519:" + base64.b64encode(RAW).decode()


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def pem(
    key: Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None
) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
    )


class TestSignatures:
    def test_the_rfcs_example(self) -> None:
        assert KEY.public.raw == RAW
        assert KEY.sign(b"\x72") == SIGNATURE
        assert KEY.public.verify(SIGNATURE, b"\x72")

    @pytest.mark.parametrize("signature", [b"", bytes(64), SIGNATURE[:-1], SIGNATURE + b"\0", SIGNATURE[::-1]])
    def test_other_signatures_fail(self, signature: bytes) -> None:
        assert not KEY.public.verify(signature, b"\x72")

    def test_other_data_and_other_keys_fail(self) -> None:
        assert not KEY.public.verify(SIGNATURE, b"\x73")
        assert not generate().public.verify(SIGNATURE, b"\x72")

    def test_a_signature_has_one_spelling(self) -> None:
        """RFC 8032 section 5.1.7: s must be below the group order, or anyone could make a second signature."""
        order = 2**252 + 27742317777372353535851937790883648493
        s = int.from_bytes(SIGNATURE[32:], "little") + order
        assert not KEY.public.verify(SIGNATURE[:32] + s.to_bytes(32, "little"), b"\x72")


class TestPublicLine:
    def test_there_and_back(self) -> None:
        assert public_line(KEY) == public_line(KEY.public) == str(KEY.public) == LINE
        assert parse_public_line(LINE) == KEY.public
        assert parse_public_line(f"  {LINE}\n") == KEY.public
        assert hash(parse_public_line(LINE)) == hash(KEY.public)
        assert KEY.public != generate().public
        assert KEY.public != LINE

    @pytest.mark.parametrize(
        "line",
        [
            "", "ed25519", "ed25519:", LINE[8:], LINE[:-1], LINE[:-4], LINE + "=", LINE + "AAAA", LINE.upper(),
            LINE.replace(":", " "), "ssh-ed25519 AAAA", "ed25519:" + RAW.hex(), "ed25519: " + LINE[8:],
            LINE[:20] + "\n" + LINE[20:],
            LINE[:20] + "!" + LINE[21:], LINE[:-2] + "N=", "ed25519:" + "ä" * 44,
        ],
    )  # fmt: skip
    def test_anything_else_is_refused_with_a_fix(self, line: str) -> None:
        with pytest.raises(KeyFileError, match="copy the whole line that keygen printed"):
            parse_public_line(line)

    def test_a_private_key_is_not_repeated(self) -> None:
        text = pem(Ed25519PrivateKey.from_private_bytes(SEED)).decode()
        with pytest.raises(KeyFileError, match="private key where a public key belongs") as caught:
            parse_public_line(text)
        assert text.splitlines()[1] not in str(caught.value)


class TestSmallOrder:
    """Keys under which anyone can sign: the eight points whose order divides the cofactor (RFC 8032)."""

    PRIME = 2**255 - 19
    D = -121665 * pow(121666, -1, PRIME) % PRIME

    def x_of(self, y: int) -> int:
        square = (y * y - 1) * pow(self.D * y * y + 1, -1, self.PRIME) % self.PRIME
        root = pow(square, (self.PRIME + 3) // 8, self.PRIME)
        if root * root % self.PRIME != square:
            root = root * pow(2, (self.PRIME - 1) // 4, self.PRIME) % self.PRIME
        assert root * root % self.PRIME == square
        return root

    def double(self, x: int, y: int) -> tuple[int, int]:
        product = self.D * x * x * y * y
        new_x = 2 * x * y * pow(1 + product, -1, self.PRIME)
        return new_x % self.PRIME, (y * y + x * x) * pow(1 - product, -1, self.PRIME) % self.PRIME

    def test_the_list_is_right_and_complete(self) -> None:
        points = 0
        for y in keys._SMALL_ORDER:
            point = (self.x_of(y), y)
            points += 1 if point[0] == 0 else 2
            for _ in range(3):
                point = self.double(*point)
            assert point == (0, 1)
        assert points == 8  # as many as there are

    @pytest.mark.parametrize("sign", [0, 1 << 255])
    @pytest.mark.parametrize("y", [*sorted(keys._SMALL_ORDER), PRIME, PRIME + 1, 2**255 - 1])
    def test_they_and_values_beyond_the_field_are_refused(self, y: int, sign: int) -> None:
        raw = (y | sign).to_bytes(32, "little")
        with pytest.raises(ValueError, match="not the public key"):
            PublicKey(raw)
        with pytest.raises(KeyFileError):
            parse_public_line("ed25519:" + base64.b64encode(raw).decode())

    def test_one_of_them_would_accept_a_forgery(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        identity = (1).to_bytes(32, "little")
        Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"anything")


class TestFiles:
    def test_there_and_back(self, tmp_path: Path) -> None:
        path = tmp_path / "agent.key"
        save_private_key(KEY, path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
        loaded = load_private_key(str(path))
        assert loaded.public == KEY.public
        assert loaded.sign(b"x") == KEY.sign(b"x")

    @pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o777])
    def test_the_mode_does_not_depend_on_the_umask(self, tmp_path: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            save_private_key(KEY, tmp_path / "k")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600

    def test_the_file_is_private_from_its_creation(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[int, int]] = []
        real = os.open

        def spy(path: str, flags: int, mode: int = 0o777) -> int:
            seen.append((flags, mode))
            return real(path, flags, mode)

        monkeypatch.setattr(os, "open", spy)
        save_private_key(KEY, tmp_path / "k")
        [(flags, mode)] = seen
        assert mode == 0o600
        assert flags & os.O_CREAT
        assert flags & os.O_EXCL

    def test_nothing_is_overwritten(self, tmp_path: Path) -> None:
        path = write(tmp_path / "k", b"precious")
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        for existing in (path, tmp_path / "link"):
            with pytest.raises(KeyFileError, match="exists already and is not overwritten: move it away"):
                save_private_key(KEY, existing)
        assert path.read_bytes() == b"precious"
        assert not (tmp_path / "elsewhere").exists()

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(KeyFileError, match=r"none/k cannot be made .* check that its directory exists"):
            save_private_key(KEY, tmp_path / "none" / "k")

    def test_a_failed_write_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(_descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(KeyFileError, match=r"cannot be written \(No space left on device\)"):
            save_private_key(KEY, tmp_path / "k")
        assert not (tmp_path / "k").exists()

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o610, 0o601])
    def test_files_open_to_others_are_refused_with_the_remedy(self, tmp_path: Path, mode: int) -> None:
        path = write(tmp_path / "k", KEY._pem(), mode)
        with pytest.raises(KeyFileError, match=f"run 'chmod 600 {path}'"):
            load_private_key(path)

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
    def test_the_owner_may_have_any_rights(self, tmp_path: Path, mode: int) -> None:
        assert load_private_key(write(tmp_path / "k", KEY._pem(), mode)).public == KEY.public

    def test_credentials_of_systemd_are_exempt(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        inside = write(tmp_path / "k", KEY._pem(), 0o440)
        below = write(tmp_path / "sub" / "k", KEY._pem(), 0o440)
        assert load_private_key(inside, tmp_path).public == KEY.public
        assert load_private_key(inside, str(tmp_path)).public == KEY.public
        for path, folder in (
            (inside, tmp_path / "sub"),
            (inside, tmp_path.parent),
            (inside, None),
            (below, tmp_path),
        ):
            with pytest.raises(KeyFileError, match="chmod 600"):
                load_private_key(path, folder)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(KeyFileError, match=f"does not exist: make one with keygen --out {tmp_path}/k"):
            load_private_key(tmp_path / "k")

    def test_folders_and_pipes_are_not_files(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe", 0o600)
        for path in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(KeyFileError, match="is not a file"):
                load_private_key(path)

    @pytest.mark.parametrize(
        ("error", "hint"),
        [
            (PermissionError(13, "Permission denied"), "may not be read by this user"),
            (OSError(5, "Input/output error"), r"cannot be read \(Input/output error\)"),
        ],
    )
    def test_unreadable_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, hint: str
    ) -> None:
        def refuse(*_args: object) -> int:
            raise error

        path = write(tmp_path / "k", KEY._pem())
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(KeyFileError, match=hint):
            load_private_key(path)

    def test_no_descriptor_is_left_open(self, tmp_path: Path) -> None:
        before = os.listdir("/proc/self/fd")
        save_private_key(KEY, tmp_path / "k")
        load_private_key(tmp_path / "k")
        for path in (tmp_path, write(tmp_path / "open", KEY._pem(), 0o644)):
            with pytest.raises(KeyFileError):
                load_private_key(path)
        assert len(os.listdir("/proc/self/fd")) == len(before)

    def test_large_files(self, tmp_path: Path) -> None:
        with pytest.raises(KeyFileError, match="too large to be a key"):
            load_private_key(write(tmp_path / "k", KEY._pem() + b"x" * 20_000))

    @pytest.mark.parametrize(
        ("data", "hint"),
        [
            (b"", "does not hold a private key in PEM form"),
            (b"rubbish", "does not hold a private key in PEM form"),
            (SEED, "does not hold a private key in PEM form"),
            (LINE.encode(), "holds a public key"),
            (pem(rsa.generate_private_key(65537, 2048)), "another kind than Ed25519"),
            (pem(ec.generate_private_key(ec.SECP256R1())), "another kind than Ed25519"),
            (pem(Ed25519PrivateKey.from_private_bytes(SEED), b"secret"), "protected by a passphrase"),
            (KEY._pem()[:60] + b"\n-----END PRIVATE KEY-----\n", "does not hold a private key in PEM form"),
            (
                KEY._key.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                ),
                "holds a public key",
            ),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds a certificate"),
        ],
    )
    def test_other_content_is_named_with_a_fix(self, tmp_path: Path, data: bytes, hint: str) -> None:
        path = write(tmp_path / "k", data)
        with pytest.raises(KeyFileError, match=hint) as caught:
            load_private_key(path)
        message = str(caught.value)
        assert str(path) in message
        assert "keygen" in message
        assert message.endswith(".")


def test_nothing_shows_key_material(tmp_path: Path) -> None:
    path = write(tmp_path / "k", KEY._pem(), 0o644)
    with pytest.raises(KeyFileError) as caught:
        load_private_key(path)
    shown = [repr(KEY), str(KEY), f"{KEY}", repr(KEY.public), repr(caught.value)]
    secrets = [SEED.hex(), base64.b64encode(SEED).decode(), repr(SEED), KEY._pem().decode().splitlines()[1]]
    assert not [secret for secret in secrets for text in shown if secret in text]
    assert KEY.public.fingerprint in repr(KEY)
    with pytest.raises(TypeError):
        pickle.dumps(KEY)


def test_generated_keys_differ() -> None:
    assert len({generate().public.raw for _ in range(5)}) == 5


@pytest.mark.parametrize("raw", [b"", bytes(31), RAW + b"\0"])
def test_a_public_key_has_32_bytes(raw: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PublicKey(raw)
