"""The agent's first boot: a key of its own, and a token that registers it at a hub.

As long as a hub's token file is there, the agent shows the token in every handshake with that hub; to a hub that
knows the key already this is a proof like any other. Once the hub has let it in, the file goes.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.keys import PrivateKey, generate, load_private_key, save_private_key
from protocol.ops import log
from protocol.ops.values import read_secret
from protocol.tokens import EnrolToken, parse_token

if TYPE_CHECKING:
    from .config import AgentConfig
    from .config import Hub as HubConfig

_log = log.get("enrolment")


def credentials() -> Path | None:
    """Where systemd keeps this unit's credentials."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


def is_there(path: Path) -> bool:
    """False only for a file that does not exist; one that cannot be looked at is there, and is an error later."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def read_token(path: Path | None) -> EnrolToken | None:
    """The token in a hub's `enrol_token_file`; None while there is no such file. Raises ValueError."""
    if path is None or not is_there(path):
        return None
    text = read_secret(path)
    try:
        return parse_token(text)
    except ValueError as error:
        raise ValueError(f"{path} holds {error}") from None


def own_key(config: AgentConfig) -> PrivateKey:
    """The agent's private key. Raises KeyFileError."""
    return load_private_key(config.agent.key_file, credentials())


def own_key_or_new(config: AgentConfig) -> PrivateKey:
    """The agent's private key, made now if there is none: the configuration says that a token will register it.

    Raises:
        KeyFileError: it cannot be read or made.
    """
    path = config.agent.key_file
    if is_there(path):
        return own_key(config)
    key = generate()
    save_private_key(key, path)
    _log.info("made a key for this agent", key_file=str(path), fingerprint=key.public.fingerprint)
    return key


def forget_token(hub: HubConfig, token_id: bytes) -> None:
    """The hub has let the agent in with this token: remove its file, unless it is a credential."""
    path = hub.enrol_token_file
    if path is None or path.parent == credentials():
        return
    with contextlib.suppress(ValueError):  # another file by now, which is left alone
        token = read_token(path)
        if token is None or token.id != token_id:
            return
        try:
            path.unlink()
        except OSError as error:
            _log.warning(
                "the hub knows this agent's key, but the file of its token cannot be removed; remove it",
                hub=hub.url,
                enrol_token_file=str(path),
                reason=error.strerror,
            )
        else:
            _log.info("the hub knows this agent's key; the file of its token is removed", hub=hub.url)
