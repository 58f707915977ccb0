"""A Debian system that boots in about a second: systemd in a container, on a tree that is kept between runs.

    why = nspawn.cannot()            # a reason to skip, or None
    with Machine(nspawn.tree(), binds={folder: "/srv"}) as machine:
        machine.write("/etc/x", "text")
        machine.run("systemctl", "start", "x")

The network is this machine's own. What the machine writes is gone with it: it lies in memory, over the tree.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.deploy.asked import NOT_ASKED_FOR, asked_for
from tests.support.waiting import PATIENCE, wait_until

PACKAGES: Final = ("systemd-sysv", "python3")
"""What the tree has besides Debian's essential packages."""

SUITE: Final = "bookworm"
RECIPE: Final = (
    *("--variant=minbase", "--mode=root", "--aptopt=Acquire::Retries 3", "--dpkgopt=force-unsafe-io"),
    *(f'--dpkgopt=path-exclude="/usr/share/{folder}/*"' for folder in ("doc", "man", "locale")),
    '--customize-hook=: > "$1/etc/machine-id"',  # this is not its first boot, which would ask questions
)
TOOLS: Final = ("mmdebstrap", "systemd-nspawn", "nsenter", "unshare", "mount")
BUILD_TIMEOUT: Final = 600.0
BOOT_TIMEOUT: Final = 30.0
COMMAND_TIMEOUT: Final = 60.0
END_TIMEOUT: Final = 15.0
KEPT: Final = 6
"""Trees that stay in the cache."""

_BOOT: Final = """
mount -t tmpfs tmpfs /run
mount -t tmpfs -o size=2g,mode=0755 tmpfs "$PLACE"
mkdir "$PLACE/upper" "$PLACE/work" "$PLACE/root"
mount -t overlay -o "lowerdir=$TREE,upperdir=$PLACE/upper,workdir=$PLACE/work" overlay "$PLACE/root"
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn -q -D "$PLACE/root" -M "$NAME" --register=no --keep-unit --console=pipe --link-journal=no \
    --capability=CAP_BPF --system-call-filter=bpf --resolv-conf=copy-host "$@" -b </dev/null
"""


class NoMachineError(Exception):
    """There can be no machine here; the message says why."""


def cannot() -> str | None:
    """Why no tree can be made and no machine booted on this one; None where both may work."""
    if not asked_for():
        return NOT_ASKED_FOR
    if os.geteuid() != 0:
        return "needs root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: mmdebstrap, systemd-container)"
    return None


def tree(packages: Sequence[str] = PACKAGES) -> Path:
    """A Debian tree with these packages, made once from this machine's own sources. It is not to be changed.

    Raises NoMachineError where it cannot be made.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "http-tunnel" / "trees"
    folder.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256("\n".join((*RECIPE, SUITE, *sorted(packages))).encode()).hexdigest()[:16]
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = folder / key
        if not found.exists():
            with tempfile.TemporaryDirectory(dir=folder) as work:
                made = Path(work) / "tree"
                _make(made, packages)
                made.rename(found)
        found.touch()
        trees = sorted(
            (each for each in folder.iterdir() if each.is_dir()), key=lambda path: -path.stat().st_mtime
        )
        for old in trees[KEPT:]:
            shutil.rmtree(old)
    return found


def _make(place: Path, packages: Sequence[str]) -> None:
    sources = [*Path("/etc/apt").glob("sources.list"), *Path("/etc/apt/sources.list.d").glob("debian.*")]
    command = ["mmdebstrap", *RECIPE, f"--include={','.join(packages)}", SUITE, str(place), *map(str, sources)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise NoMachineError(f"mmdebstrap took longer than {BUILD_TIMEOUT:.0f} s") from None
    if done.returncode:
        raise NoMachineError(f"mmdebstrap failed: {done.stderr.strip()[-300:]}")


class Machine:
    """One that runs from `with` to its end. Paths are those within it."""

    def __init__(
        self,
        tree: Path,
        *,
        name: str = "tunnel",
        binds: Mapping[Path, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        """binds: folders of this machine to be seen there, read only. options: of systemd-nspawn."""
        self._tree = tree
        self._name = f"{name}-{os.getpid()}"
        self._options = [f"--bind-ro={source}:{place}" for source, place in (binds or {}).items()] + list(options)
        self._place = Path(tempfile.mkdtemp(prefix="machine-"))
        self._console = self._place.with_suffix(".console")
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    def __enter__(self) -> Machine:
        try:
            self._boot()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self, *command: str, check: bool = True, text: str = "", timeout: float = COMMAND_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root and wait for it; `text` is what it reads."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._leader), "-a", "--", *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "SYSTEMD_PAGER": "cat"},
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout * PATIENCE,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def write(self, path: str, text: str, *, mode: int = 0o644, owner: str = "root") -> None:
        """Make a file there, and its folder."""
        script = 'mkdir -p "$(dirname "$1")" && umask 077 && cat > "$1" && chown "$2" "$1" && chmod "$3" "$1"'
        self.run("sh", "-c", script, "sh", path, owner, f"{mode:o}", text=text)

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit as `systemctl show` has them."""
        names = ",".join(properties)
        said = self.run("systemctl", "show", unit, f"--property={names}").stdout
        return dict(line.partition("=")[::2] for line in said.splitlines())

    def wait_shown(self, unit: str, timeout: float = 20.0, **wanted: str) -> dict[str, str]:
        """Wait until these properties have these values; all of them, as `show` does."""

        def there() -> dict[str, str]:
            shown = self.show(unit, *wanted)
            seen.update(shown)
            return shown if shown == wanted else {}

        seen: dict[str, str] = {}
        try:
            return wait_until(there, f"{unit} to be {wanted}", timeout, every=0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{seen}\n{self.journal(unit)}") from None

    def journal(self, unit: str) -> str:
        """What the unit and the manager said of it since the machine started."""
        return self.run("journalctl", "-b", "-o", "cat", "--no-pager", "-u", unit, check=False).stdout

    def close(self) -> None:
        """Power off, or pull the plug; nothing of it is left afterwards."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)  # systemd-nspawn asks the machine to power off
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_TIMEOUT)
        for pid in (self._leader, process.pid if process is not None else 0):
            if pid and (process is None or process.poll() is None):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if process is not None:
            process.wait(END_TIMEOUT)
        shutil.rmtree(self._place, ignore_errors=True)
        self._console.unlink(missing_ok=True)

    def _boot(self) -> None:
        environment: dict[str, Any] = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "PLACE": str(self._place),
            "TREE": str(self._tree),
            "NAME": self._name,
        }
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                ["unshare", "-m", "--propagation", "private", "sh", "-ec", _BOOT, "sh", *self._options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + BOOT_TIMEOUT * PATIENCE
        while True:
            if self._process.poll() is not None:
                raise NoMachineError(f"systemd-nspawn ended: {self._said()}")
            self._leader = self._find_leader(self._process.pid)  # another one in the first moments
            if self._leader and self._state() in ("running", "degraded"):
                return
            if time.monotonic() > end:
                raise NoMachineError(f"no boot within {BOOT_TIMEOUT:.0f} s: {self._said()}")
            time.sleep(0.1)

    def _find_leader(self, pid: int) -> int:
        """The machine's first process: the child of systemd-nspawn, which the shell has become by then."""
        if Path(f"/proc/{pid}/comm").read_text().strip() != "systemd-nspawn":
            return 0
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else 0

    def _state(self) -> str:
        try:
            return self.run("systemctl", "is-system-running", check=False, timeout=10).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""

    def _said(self) -> str:
        return " / ".join(self._console.read_text(errors="replace").split("\n")[-6:])[-500:]
