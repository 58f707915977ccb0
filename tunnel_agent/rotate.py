"""Replaces the agent's key: a new one is registered at every hub by the old one, then the files change places.

The new key waits in KEYFILE.new until all hubs have it, so that a run that failed can be repeated. The running
agent is told by SIGHUP afterwards; until then, and while its sessions are renewed, both keys are good.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from protocol.keys import KeyFileError, PrivateKey, generate, load_private_key, save_private_key
from protocol.limits import Limits

from .dial import Identity, shake_hands
from .enrolling import credentials, is_there, own_key
from .remedies import explain

if TYPE_CHECKING:
    from .config import AgentConfig
    from .config import Hub as HubConfig

HUB_TIMEOUT: Final = 25.0
"""Seconds for one hub; dialling and handshake have bounds of their own below it."""


class Answer(NamedTuple):
    """What one hub says to the new key. problem: "" when it has it."""

    hub: str
    problem: str


class Rotation:
    """One replacement: `register`, then `swap` if every hub has the new key."""

    def __init__(self, config: AgentConfig) -> None:
        """Takes up the new key of a run that failed, or makes one. Raises KeyFileError."""
        path = config.agent.key_file
        if path.parent == credentials():
            raise KeyFileError(
                f"The key {path} is a systemd credential, which only whoever provides it can replace: add the new "
                "key's line to public_keys at the hubs, then provide the new key."
            )
        self.old: PrivateKey = own_key(config)
        self.file = path.resolve()
        self.new_file = self.file.with_name(f"{self.file.name}.new")
        self.old_file = self.file.with_name(f"{self.file.name}.old")
        self.new: PrivateKey = self._new_key()
        self._config = config

    async def register(self) -> list[Answer]:
        """Show the new key to every hub, all at once. Never raises for what may be wrong out there."""
        return list(await asyncio.gather(*(self._register(hub) for hub in self._config.hubs)))

    def swap(self) -> None:
        """Put the new key into its place, the old one beside it. Raises KeyFileError; can be repeated then."""
        spare = self.old_file.with_name(f"{self.old_file.name}.tmp")
        try:
            spare.unlink(missing_ok=True)
            os.link(self.file, spare)
            os.replace(spare, self.old_file)
            spare.unlink(missing_ok=True)  # it stays where both are the same file already
            os.replace(self.new_file, self.file)
            folder = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise KeyFileError(
                f"The key file {self.file} cannot be replaced ({error.strerror}): check its folder, then repeat."
            ) from None

    def _new_key(self) -> PrivateKey:
        if is_there(self.new_file):
            try:
                return load_private_key(self.new_file)
            except KeyFileError as error:
                raise KeyFileError(f"{error} Or remove {self.new_file}, and a new key is made.") from None
        key = generate()
        save_private_key(key, self.new_file)
        owner = self.file.stat()
        if owner.st_uid != os.geteuid():
            os.chown(self.new_file, owner.st_uid, owner.st_gid)  # root works for the agent's user
        return key

    async def _register(self, hub: HubConfig) -> Answer:
        identity = Identity(self._config.agent.id, self.old, (), Limits())
        try:
            async with asyncio.timeout(HUB_TIMEOUT):
                await shake_hands(hub, partial(identity.handshake, hub, next_key=self.new))
        except Exception as error:
            found = explain(error, f"{hub.url.host}:{hub.url.port}", HUB_TIMEOUT)
            return Answer(str(hub.url), f"{found.detail}: {found.remedy}")
        return Answer(str(hub.url), "")


def next_steps(rotation: Rotation, agent_id: str) -> str:
    """What the operator does after `swap`."""
    old, new = rotation.old.public.fingerprint, rotation.new.public.fingerprint
    return (
        f"The agent's key is {new} now; the old one, {old}, is kept in {rotation.old_file}.\n"
        "1. Send SIGHUP to the running agent: it renews its sessions with the new key.\n"
        f"2. Then at each hub: tunnel-hub revoke --agent {agent_id} --key {old}\n"
        f"3. Remove {rotation.old_file}."
    )
