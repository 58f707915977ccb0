"""What callers show to the gateway, and the tables of hub.toml that let them in.

key = api_key()
{"callers": {"named": {"booking": {"api_keys": [key.hash], "allow": READ}}}}
tunnel.fetch("/nomisapi/x", key.field)
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from tests.support.issuer import Issuer
from tests.support.seeded import seed
from tests.support.tokens import Provisioner
from tests.support.tunnel import Tunnel
from tests.support.waiting import wait_until

READ: Final = {"visits": ["GET /nomisapi/**"]}
"""Allow lists of a caller that reads."""


@dataclass(frozen=True)
class ApiKey:
    """An API key in its four forms."""

    text: str

    @property
    def hash(self) -> str:
        return "sha256:" + sha256(self.text.encode()).hexdigest()

    @property
    def field(self) -> str:
        return f"X-Api-Key: {self.text}"

    @property
    def bearer(self) -> str:
        return f"Authorization: Bearer {self.text}"


def api_key() -> ApiKey:
    return ApiKey(seed("tk_" + secrets.token_urlsafe(32)))


def bearer(token: bytes) -> str:
    """The field that carries a token."""
    return f"Authorization: Bearer {token.decode()}"


def tokens_table(file: Path, provisioner: Provisioner, **more: Any) -> dict[str, Any]:
    """[callers.tokens], with the provisioning key written to `file`."""
    file.write_text(provisioner.public_pem)
    return {"provisioning_keys": [str(file)], "allow": READ, **more}


def oauth_table(issuer: Issuer, **more: Any) -> dict[str, Any]:
    """[callers.oauth.NAME] for the tests' issuer, asked often."""
    return {
        "issuer": issuer.issuer,
        "audience": "gateway",
        "jwks": issuer.jwks.url,
        "jwks_interval": "1s",
        "algorithms": [issuer.algorithm],
        **more,
    }


def wait_keys(tunnel: Tunnel, issuer: Issuer) -> None:
    """Until the hub has the issuer's keys: a start goes on without them after a while."""
    stranger = bearer(issuer.token("a stranger"))
    wait_until(lambda: tunnel.fetch("/", stranger).status == 403, "the issuer's keys")
