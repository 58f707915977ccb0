"""One of our services on a machine of nspawn.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tests.deploy.nspawn import Machine
from tests.support.toml import to_toml
from tests.support.waiting import wait_until

_RESET: Final = """
[ ! -e "/etc/systemd/system/$1.socket.d" ] || systemctl stop "$1.socket"  # first, or it starts the service again
systemctl kill --signal=SIGKILL "$1.service" 2>/dev/null
systemctl disable --quiet --now "$1.service" 2>/dev/null
rm -rf "$2" "/var/lib/$1"/* "/etc/systemd/system/$1.service.d" "/etc/systemd/system/$1.socket.d"
systemctl daemon-reload
systemctl reset-failed
"""


class Unit:
    """`name` is program, user and unit. Call `reset` at the end: nothing is left of what a test did."""

    def __init__(self, machine: Machine, name: str, config_file: str) -> None:
        self.machine = machine
        self.name = name
        self.unit = f"{name}.service"
        self._config_file = f"/etc/{name}/{config_file}"
        self._began = machine.run("date", "+%s.%N").stdout.strip()

    # -- before it starts -----------------------------------------------------------------------

    def configure(self, table: Mapping[str, Any]) -> None:
        self.machine.write(self._config_file, to_toml(table))

    def own(self, path: str, text: str) -> None:
        """A file in its state folder that is its own alone."""
        self.machine.write(path, text, mode=0o600, owner=self.name)

    def drop_in(self, text: str, unit: str = "") -> None:
        """Lay settings over its unit, or another one."""
        self.machine.write(f"/etc/systemd/system/{unit or self.unit}.d/test.conf", text)
        self.machine.run("systemctl", "daemon-reload")

    # -- life -----------------------------------------------------------------------------------

    def start(self, *, check: bool = True) -> str:
        """What `systemctl start` said; it returns when the program is ready, or has failed."""
        done = self.machine.run("systemctl", "start", self.unit, check=check)
        return done.stdout + done.stderr

    def stop(self) -> None:
        self.machine.run("systemctl", "stop", self.unit)

    def kill(self, signal: str) -> None:
        self.machine.run("systemctl", "kill", "--kill-whom=main", f"--signal={signal}", self.unit)

    def reset(self) -> None:
        """Stop it and forget everything about it."""
        self.machine.run("sh", "-c", _RESET, "sh", self.name, self._config_file)

    # -- looking at it --------------------------------------------------------------------------

    def show(self, *properties: str) -> dict[str, str]:
        return self.machine.show(self.unit, *properties)

    def wait(self, timeout: float = 20.0, **wanted: str) -> None:
        """Wait until these properties have these values."""
        self.machine.wait_shown(self.unit, timeout, **wanted)

    def wait_status(self, *words: str, timeout: float = 20.0) -> str:
        """Wait for a status line with all these words; that line."""

        def there() -> str:
            text = self.show("StatusText")["StatusText"]
            return text if all(word in text for word in words) else ""

        try:
            return wait_until(there, f"a status with {words}", timeout, every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.show('StatusText')}\n{self.journal()}") from None

    def pid(self) -> str:
        return self.show("MainPID")["MainPID"]

    def journal(self) -> str:
        """What was said by it and of it since this object was made."""
        arguments = ("-o", "cat", "--no-pager", f"--since=@{self._began}", "-u", self.unit)
        return self.machine.run("journalctl", *arguments, check=False).stdout
