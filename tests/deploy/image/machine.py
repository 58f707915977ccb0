"""A virtual machine: an overlay over the image, software emulation, user networking, an identity."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .base import Base

APPEND: Final = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet systemd.show_status=no"
OFF_LIMIT: Final = 90.0  # seconds


def credential(name: str, value: str) -> str:
    """A system credential as a value of qemu's -smbios."""
    text = base64.b64encode(value.encode()).decode()
    return f"type=11,value=io.systemd.credential.binary:{name}={text}"


def _labelled(files: Mapping[str, str], place: Path) -> Path:
    """A disk as docs/images.md says to make it."""
    content = place.with_suffix(".files")
    content.mkdir()
    for name, value in files.items():
        (content / name).write_text(value)
    subprocess.run(
        ["mke2fs", "-q", "-L", "TUNNELCFG", "-d", content, place, "1M"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return place


class Machine:
    """Started at once. `close` ends it whatever it does."""

    def __init__(
        self,
        name: str,
        image: Path,
        base: Base,
        folder: Path,
        *,
        credentials: Mapping[str, str],
        files: Mapping[str, str],
    ) -> None:
        """credentials: by SMBIOS. files: on a disk labelled TUNNELCFG, where there are any."""
        self.name = name
        self.disk = folder / f"{name}.qcow2"
        self.console = folder / f"{name}.console"
        self._monitor = folder / f"{name}.qmp"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image, self.disk], check=True
        )
        drives = ["-drive", f"file={self.disk},if=virtio,cache=unsafe"]
        if files:
            drives += [
                "-drive",
                f"file={_labelled(files, folder / f'{name}.cfg')},if=virtio,format=raw,readonly=on",
            ]
        smbios = [arg for key, value in credentials.items() for arg in ("-smbios", credential(key, value))]
        self._process = subprocess.Popen(
            [
                *("qemu-system-x86_64", "-accel", "tcg", "-m", "512", "-display", "none", "-no-reboot"),
                *("-kernel", base.kernel, "-initrd", base.initrd, "-append", APPEND),
                *drives,
                *("-nic", "user,model=virtio-net-pci", "-device", "virtio-rng-pci"),
                *("-serial", f"file:{self.console}", "-qmp", f"unix:{self._monitor},server=on,wait=off"),
                *smbios,
            ],
            stdin=subprocess.DEVNULL,
        )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return self.console.read_text(errors="replace") if self.console.exists() else ""

    def power_off(self) -> None:
        """As the power button does, and waits until it is off."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(10)
            monitor.connect(str(self._monitor))
            with monitor.makefile("rw") as stream:
                for command in ("qmp_capabilities", "system_powerdown"):
                    stream.readline()
                    stream.write(json.dumps({"execute": command}) + "\n")
                    stream.flush()
                stream.readline()
        deadline = time.monotonic() + OFF_LIMIT
        while self.running:
            assert time.monotonic() < deadline, f"{self.name} does not power off"
            time.sleep(0.2)

    def close(self) -> None:
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
        self._process.wait(10)
