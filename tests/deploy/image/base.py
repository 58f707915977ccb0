"""The base image of the test: a small Debian 12 on an unpartitioned disk, and its kernel."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = (
    "ca-certificates",
    "dbus",
    "init-system-helpers",
    "libstdc++6",
    "linux-image-cloud-amd64",
    "nftables",
    "openssh-server",
    "passwd",
    "python3",
    "systemd-sysv",
    "udev",
)
DISK: Final = "1800M"

# SSH host keys are left in it, so that the test sees them go.
_CUSTOMIZE: Final = """
printf '[Match]\\nName=en* eth*\\n[Network]\\nDHCP=ipv4\\n' >"$1/etc/systemd/network/20-wired.network"
chroot "$1" systemctl enable systemd-networkd.service
printf '/dev/vda / ext4 errors=remount-ro 0 1\\n' >"$1/etc/fstab"
echo base >"$1/etc/hostname"
: >"$1/etc/machine-id"
"""


@dataclass(frozen=True, slots=True)
class Base:
    disk: Path
    kernel: Path
    initrd: Path

    @property
    def checksum(self) -> str:
        with self.disk.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def base(cache: Path) -> Base:
    """The base image, made now if `cache` has none for these settings. Needs root, mmdebstrap and a mirror."""
    settings = repr((PACKAGES, DISK, _CUSTOMIZE)).encode()
    folder = cache / f"image-base-{hashlib.sha256(settings).hexdigest()[:12]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as work:
            _make(Path(work))
            (Path(work) / "out").rename(folder)
    return Base(folder / "base.qcow2", folder / "vmlinuz", folder / "initrd.img")


def _make(work: Path) -> None:
    tree, out, raw = work / "tree", work / "out", work / "disk"
    out.mkdir()
    sources = [*Path("/etc/apt").glob("sources.list"), *Path("/etc/apt/sources.list.d").glob("debian.*")]
    _run(
        *("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", f"--include={','.join(PACKAGES)}"),
        *("--aptopt=Acquire::Retries 3", '--dpkgopt=path-exclude="/usr/share/doc/*"'),
        *(f"--customize-hook={_CUSTOMIZE}", "bookworm", str(tree), *map(str, sources)),
    )
    for name in ("vmlinuz", "initrd.img"):
        [file] = tree.glob(f"boot/{name}-*")
        shutil.copy(file, out / name)
        file.unlink()
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(raw), DISK)
    _run("qemu-img", "convert", "-q", "-O", "qcow2", str(raw), str(out / "base.qcow2"))
    shutil.rmtree(tree)
    raw.unlink()


def _run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"}
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-2000:]}")
