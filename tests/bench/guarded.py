"""The tunnel with the gateway on: callers show two-layer ES256 tokens."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.bench.chains import SMALL_PATH, answers
from tests.bench.tunnel import Tunnel

GUARDED = "guarded"
USED_TWICE = "1m"
"""The hub's `skew` here: how long a bearer holds, so that one lasts for a round on a slow machine."""


class GuardedTunnel(Tunnel):
    """The same two processes; callers are authenticated, their paths allowed by rules, and audit is on."""

    name = GUARDED

    def start(self) -> None:
        provisioning = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        public = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        now = int(time.time())
        claims = {
            "iat": now,
            "exp": now + 86_400,
            "client": "bench",
            "key": base64.b64encode(public).decode(),
            "access": ["^/api/.*$", "^/sink/.*$"],
        }
        self._token = jwt.encode(claims, provisioning, "ES256")
        self._provisioning = self.folder / "provisioning.pem"
        self._provisioning.write_bytes(
            provisioning.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        super().start()

    def hub_options(self) -> dict[str, Any]:
        allow = {name: [f"GET {prefix}**", f"PUT {prefix}**"] for name, prefix in self.prefixes.items()}
        tokens = {"provisioning_keys": [str(self._provisioning)], "skew": USED_TWICE, "allow": allow}
        callers = {"authentication": "required", "tokens": tokens}
        return {"callers": callers, "audit": {"file": str(self.folder / "hub-audit.jsonl")}}

    def agent_options(self) -> dict[str, Any]:
        return {"audit": {"file": str(self.folder / "agent-audit.jsonl")}}

    def answers(self) -> bool:
        return answers(self.api, SMALL_PATH, f"Authorization: Bearer {self.bearer()}")

    def bearer(self, number: int = 0) -> str:
        """A bearer made now; `number` makes it another one."""
        return jwt.encode({"iat": time.time(), "token": self._token, "number": number}, self._key, "ES256")

    def bearers(self, count: int) -> Path:
        """A file with one bearer on each line, no two alike."""
        path = self.folder / "bearers.txt"
        with path.open("w") as file:
            for number in range(count):
                file.write(self.bearer(number) + "\n")
        return path
