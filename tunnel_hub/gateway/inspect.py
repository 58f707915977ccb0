"""What a client token says, for the operator who checks it against the hub's configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from .directory import Directory
from .grant import Unauthenticated
from .provisioning import load_provisioning_key
from .replay import Replay
from .tokens import TwoLayerTokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunnel_hub.config import HubConfig

TOKEN_MAX: Final = 8192


class TokenFileError(ValueError):
    """The file holds no client token that this hub takes; one sentence that does not repeat it."""


def inspect(config: HubConfig, file: Path, now: float) -> Iterator[str]:
    """Lines about the client token in `file`: whose it is, until when, and patterns that match too much.

    now: time.time(). Raises TokenFileError.
    """
    table = config.callers.tokens
    if table is None:
        raise TokenFileError("the configuration has no [callers.tokens], so client tokens are not taken")
    try:
        text = file.read_bytes()[: TOKEN_MAX + 1].decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise TokenFileError(f"{file} cannot be read as a token") from None
    verifier = TwoLayerTokens(
        [load_provisioning_key(key) for key in table.provisioning_keys],
        skew=table.skew,
        is_revoked=lambda _fingerprint: False,
        replay=Replay(),
    )
    try:
        grant = verifier.grant_of(text, now)
    except Unauthenticated as error:
        raise TokenFileError(f"{file}: {error.cause}") from None
    until = datetime.fromtimestamp(grant.expires, UTC).strftime("%Y-%m-%d %H:%M UTC")
    yield f'{file}: client "{grant.name}" until {until}, fingerprint {grant.credential}'
    policy = Directory(config.callers, config.services).find(grant)
    if policy is None:
        yield f'  warning: it is refused, because no caller has "{grant.name}" in its tokens'
    else:
        yield f"  is the caller {policy.name}, with rules for {', '.join(sorted(policy.allow)) or 'no service'}"
    assert grant.access is not None
    for pattern in grant.access.unanchored:
        yield f"  warning: the path pattern {pattern!r} is not anchored, so it matches anywhere: write ^...$"
