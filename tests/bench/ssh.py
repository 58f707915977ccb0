"""`ssh -R` as a chain: an sshd of our own on a loopback port, and a client that forwards to the upstreams."""

from __future__ import annotations

import os
import pwd
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.bench.chains import Chain
from tests.bench.children import listening, wait_until
from tests.bench.machine import tool
from tests.support.ports import free_port

_PRIVILEGE_FOLDER = Path("/run/sshd")

_SERVER = """\
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM {pam}
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowAgentForwarding no
AllowTcpForwarding remote
X11Forwarding no
Compression no
LogLevel ERROR
"""


class SshReverse(Chain):
    """The cloud side is sshd, which listens for callers; the on-premises side is `ssh -N -R`."""

    name = "ssh -R"

    def start(self) -> None:
        for key in ("host_key", "user_key"):
            command = [tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "bench"]
            subprocess.run([*command, "-f", str(self.folder / key)], check=True, timeout=30, capture_output=True)
        port = free_port()
        config = self.folder / "sshd_config"
        # Without PAM an sshd that cannot read the shadow file takes its own user's account for locked.
        pam = "no" if os.geteuid() == 0 else "yes"
        config.write_text(_SERVER.format(port=port, folder=self.folder, pam=pam))
        self._privilege_folder()
        self.spawn("sshd", [tool("sshd"), "-D", "-e", "-f", str(config)])
        wait_until(lambda: listening(port), "sshd's listener", check=self.check)
        api, sink = free_port(), free_port()
        self.api, self.sink = f"127.0.0.1:{api}", f"127.0.0.1:{sink}"
        forwards = ((self.api, self.origin.api), (self.sink, self.origin.sink))
        self.spawn("ssh", self._client(self.stretch(port), *forwards))

    def _client(self, port: int, *forwards: tuple[str, str]) -> list[str]:
        known = self.folder / "known_hosts"
        host_key = " ".join((self.folder / "host_key.pub").read_text().split()[:2])
        known.write_text(f"bench {host_key}\n")
        options = {
            "IdentityFile": self.folder / "user_key",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": known,
            "HostKeyAlias": "bench",
            "StrictHostKeyChecking": "yes",
            "ExitOnForwardFailure": "yes",
            "BatchMode": "yes",
            "Compression": "no",
            "LogLevel": "ERROR",
        }
        command = [tool("ssh"), "-F", "none", "-N", "-p", str(port)]
        for name, value in options.items():
            command += ["-o", f"{name}={value}"]
        for listen, target in forwards:
            command += ["-R", f"{listen}:{target}"]
        user = pwd.getpwuid(os.geteuid()).pw_name
        return [*command, f"{user}@127.0.0.1"]

    def _privilege_folder(self) -> None:
        """As root sshd insists on this folder, which Debian's unit makes; as anyone else it does not."""
        if os.geteuid() == 0 and not _PRIVILEGE_FOLDER.exists():
            _PRIVILEGE_FOLDER.mkdir(mode=0o755)
            self._stack.callback(_remove_empty, _PRIVILEGE_FOLDER)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
