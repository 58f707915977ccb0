"""Looks into a disk image without booting or mounting it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_CHUNK: Final = 16 * 1024 * 1024
_OVERLAP: Final = 64 * 1024


class Disk:
    """An unpartitioned ext4 disk, unpacked from `image` to the sparse file `raw`."""

    def __init__(self, image: Path, raw: Path) -> None:
        subprocess.run(["qemu-img", "convert", "-q", "-O", "raw", image, raw], check=True, timeout=300)
        # What a machine that was switched off had not yet written into place is in the journal.
        subprocess.run(["e2fsck", "-fy", raw], capture_output=True, check=False, timeout=300)
        self.raw = raw

    def _debugfs(self, command: str) -> bytes:
        done = subprocess.run(["debugfs", "-R", command, self.raw], capture_output=True, check=True, timeout=60)
        return done.stdout

    def exists(self, path: str) -> bool:
        return b"Inode:" in self._debugfs(f"stat {path}")

    def read(self, path: str) -> bytes:
        """A file's bytes; of one that is missing AssertionError."""
        assert self.exists(path), f"{path} is not on the disk"
        return self._debugfs(f"cat {path}")

    def names(self, folder: str) -> list[str]:
        """What is in a folder; nothing where it is missing."""
        lines = self._debugfs(f"ls -p {folder}").decode(errors="replace").splitlines()
        names = [line.split("/")[5] for line in lines if line.startswith("/")]
        return [name for name in names if name not in {"", ".", "..", "lost+found"}]

    def find(self, pattern: re.Pattern[bytes]) -> Iterator[bytes]:
        """What matches anywhere on the disk, in deleted files too. A match has at most 64 KiB."""
        with self.raw.open("rb") as file:
            tail = b""
            while chunk := file.read(_CHUNK):
                if chunk.count(0) == len(chunk):
                    tail = b""
                    continue
                yield from pattern.findall(tail + chunk)
                tail = chunk[-_OVERLAP:]
