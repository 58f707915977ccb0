"""`python -m tests.deploy.image [--deb FILE] [--cache DIR] [--keep DIR]`, what `make image-test` runs.

A base image is made (once), packer builds the agent's image from it, the image is searched for secrets and booted
twice at once, as two agents of a hub here; each serves the visit story. Exit 0, or 1 with what went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from protocol.tokens import parse_token
from tests.deploy import built
from tests.support.keys import KeyRing
from tests.support.programs import Agent, Hub, VisitsApi
from tests.support.story import tell

from .base import Base, base
from .disk import Disk
from .machine import APPEND, Machine, credential

REPOSITORY: Final = Path(__file__).resolve().parents[3]
PACKER: Final = REPOSITORY / "deploy/packer"
AGENTS: Final = ("leeds-1", "hull-1")
TOOLS: Final = ("packer", "qemu-system-x86_64", "qemu-img", "mmdebstrap", "mke2fs", "debugfs", "ssh-keygen")
BOOT_LIMIT: Final = 900.0  # seconds
HOST: Final = "10.0.2.2"  # this machine, as qemu's user networking shows it
STORY: Final = ["GET /nomisapi/**", "POST /nomisapi/**", "PATCH /nomisapi/**"]

_begin = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - _begin:6.1f} s  {text}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.image")
    parser.add_argument("--deb", type=Path, help="the agent's package; by default it is built")
    parser.add_argument("--cache", type=Path, default=_cache(), help="where the base image is kept")
    parser.add_argument("--keep", type=Path, help="new folder that is left behind, with the image and all logs")
    arguments = parser.parse_args()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        print(f"image-test needs root, and these programs, which are missing: {', '.join(missing) or 'none'}")
        return 1
    with ExitStack() as stack:
        if arguments.keep:
            folder = arguments.keep.absolute()
            folder.mkdir(parents=True)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunnel-image-")))
        try:
            deb = arguments.deb or built.debs()["tunnel-agent"]
            _Test(folder, stack).run(deb.absolute(), arguments.cache)
        except (AssertionError, RuntimeError, subprocess.SubprocessError) as error:
            say(f"FAILED: {error}")
            return 1
    say("all as it should be")
    return 0


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "http-tunnel"


class _Test:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.keys = KeyRing(folder)
        self.api = VisitsApi(folder)
        self.reached: list[object] = []
        self.forbidden = stack.enter_context(_listener(self.reached))
        self.hub = Hub(
            folder,
            self.keys.hub(),
            services={name: {"hosts": [f"{name}.internal"]} for name in (*AGENTS, "forbidden")},
            agents={name: {"services": [name, "forbidden"], "duplicates": "refuse"} for name in AGENTS},
        )

    def run(self, deb: Path, cache: Path) -> None:
        for program in (self.api, self.hub):
            self.stack.callback(program.close)
            program.start()
        self.hub.wait_alive()
        base_image = base(cache)
        say("base image is there")
        image = self.build(deb, base_image)
        say(f"packer built {image.name}, {image.stat().st_size / 2**20:.0f} MiB")
        self.search(Disk(image, self.folder / "image.raw"))
        say("the image holds no secret and no identity")
        tokens = {name: self.hub.enrol_token(name) for name in AGENTS}
        machines = {name: self.boot(name, image, base_image, tokens[name]) for name in AGENTS}
        for name, machine in machines.items():
            self.wait_served(name, machine)
            say(f"{name} has enrolled and serves")
        for name in AGENTS:
            self.tell_story(name)
            say(f"the visit story went through {name}")
        self.nothing_else_goes_out()
        say("what the firewall does not name cannot be reached")
        for machine in machines.values():
            machine.power_off()
        self.compare(machines, tokens)
        say("two identities, no token left")
        self.tokens_are_used(tokens)
        say("the tokens no longer work")

    # -- the image

    def build(self, deb: Path, base_image: Base) -> Path:
        key = self.folder / "build-key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        login = credential("ssh.authorized_keys.root", key.with_suffix(".pub").read_text())
        port = int(self.api.url.rpartition(":")[2])
        variables: dict[str, Any] = {
            "deb": str(deb),
            "base_image_url": str(base_image.disk),
            "base_image_checksum": base_image.checksum,
            "accelerator": "tcg",
            "memory": 512,
            "output": str(self.folder / "output"),
            "manifest": str(self.folder / "manifest.json"),
            "ssh_username": "root",
            "ssh_private_key_file": str(key),
            "unattended_upgrades": False,
            "egress_hubs": [f"{HOST} {self.hub.agents_port}"],
            "egress_upstreams": [f"{HOST} {port}"],
            "qemuargs": [
                ["-kernel", str(base_image.kernel)],
                ["-initrd", str(base_image.initrd)],
                ["-append", APPEND],
                ["-smbios", login],
                ["-serial", f"file:{self.folder}/build.console"],
            ],
        }
        file = self.folder / "test.pkrvars.json"
        file.write_text(json.dumps(variables))
        only = ["-only=tunnel.qemu.vm", f"-var-file={file}"]
        log = self.folder / "packer.log"
        with log.open("w") as output:
            done = subprocess.run(
                ["packer", "build", "-color=false", *only, "agent-vm.pkr.hcl"],
                cwd=PACKER,
                env={**os.environ, "PACKER_CACHE_DIR": str(self.folder / "packer"), "CHECKPOINT_DISABLE": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=1500,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"packer failed:\n{log.read_text()[-4000:]}")
        manifest = json.loads((self.folder / "manifest.json").read_text())
        assert manifest["package"]["name"] == "tunnel-agent"
        assert "nftables" in manifest["packages"]
        [image] = (self.folder / "output").iterdir()
        return image

    def search(self, disk: Disk) -> None:
        body = (self.folder / "build-key").read_text().splitlines()[1:-1]
        public = (self.folder / "build-key.pub").read_text().split()[1]
        kinds = {
            "a key of ssh-keygen": rb"BEGIN OPENSSH PRIVATE KEY-----\s+b3BlbnNzaC1rZXktdjE",
            "a key of keygen": rb"BEGIN PRIVATE KEY-----\s+MC4CAQAwBQYDK2VwBCIE[A-Za-z0-9+/]{43}",
            "an enrolment token": rb"et1_[A-Za-z0-9_-]{64}",
            "the build's private key": "|".join(map(re.escape, body)).encode(),
            "the build's public key": re.escape(public).encode(),
        }
        for what, pattern in kinds.items():
            found = next(disk.find(re.compile(pattern)), None)
            assert found is None, f"{what} is in the image: {found[:60]!r}"
        assert disk.read("/etc/machine-id") == b""
        assert not [name for name in disk.names("/etc/ssh") if name.startswith("ssh_host_")]
        for folder in ("/var/lib/tunnel-agent", "/var/lib/apt/lists", "/var/cache/apt", "/tmp", "/root/.ssh"):
            assert disk.names(folder) == [], f"{folder} is not empty"
        for path in ("/etc/tunnel-agent/agent.toml", "/var/lib/systemd/random-seed", "/root/.bash_history"):
            assert not disk.exists(path), f"{path} is in the image"
        assert not [name for name in disk.names("/var/log/journal") if name]
        assert disk.exists("/usr/share/tunnel-image/manifest.json")

    # -- the machines

    def boot(self, name: str, image: Path, base_image: Base, token: str) -> Machine:
        def service(upstream: str) -> str:
            return f"{{ upstream = {json.dumps(upstream)}, allow = {json.dumps(STORY)} }}"

        port = int(self.api.url.rpartition(":")[2])
        services = {
            name: service(f"http://{HOST}:{port}"),
            "forbidden": service(f"http://{HOST}:{self.forbidden}"),
        }
        identity = {
            "agent-id": name,
            "hub-url": f"ws://{HOST}:{self.hub.agents_port}/tunnel",
            "hub-key": self.keys.hub().public,
            "enrol-token": token,
            "services": "".join(f"services.{key} = {value}\n" for key, value in services.items()),
        }
        # The second one's services and hub key come on a disk: what SMBIOS lacks is sought there.
        files = {key: identity.pop(key) for key in ("services", "hub-key")} if name != AGENTS[0] else {}
        credentials = {f"tunnel.{key}": value for key, value in identity.items()}
        machine = Machine(name, image, base_image, self.folder, credentials=credentials, files=files)
        self.stack.callback(machine.close)
        return machine

    def client(self, service: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.hub.url, headers={"Host": f"{service}.internal"}, trust_env=False, timeout=60
        )

    def wait_served(self, name: str, machine: Machine) -> None:
        deadline = time.monotonic() + BOOT_LIMIT
        with self.client(name) as client:
            while client.get("/nomisapi/health").status_code != 200:
                assert machine.running, f"{name} ended:\n{machine.log()[-3000:]}"
                assert time.monotonic() < deadline, f"{name} does not serve:\n{machine.log()[-3000:]}"
                time.sleep(1)

    def tell_story(self, name: str) -> None:
        with self.client(name) as client:
            tell(client, reference=name)

    def nothing_else_goes_out(self) -> None:
        with self.client("forbidden") as client:
            answer = client.get("/nomisapi/health")
        assert answer.status_code in {502, 503}, f"a port that is not named answered {answer.status_code}"
        assert "connection" in answer.headers["proxy-status"], answer.headers["proxy-status"]
        assert not self.reached, "a connection came through the firewall"

    def compare(self, machines: dict[str, Machine], tokens: dict[str, str]) -> None:
        seen: dict[str, set[bytes]] = {}
        for name, machine in machines.items():
            disk = Disk(machine.disk, self.folder / f"{name}.raw")
            assert f'id = "{name}"'.encode() in disk.read("/etc/tunnel-agent/agent.toml")
            assert not disk.exists("/var/lib/tunnel-agent/enrol.token"), "the agent has not removed its token"
            for path in (
                "/etc/machine-id",
                "/etc/ssh/ssh_host_ed25519_key.pub",
                "/var/lib/tunnel-agent/agent.key",
            ):
                seen.setdefault(path, set()).add(disk.read(path))
            assert tokens[name] not in machine.log(), "the token is on the console"
            disk.raw.unlink()
        for path, contents in seen.items():
            assert len(contents) == len(machines), f"{path} is the same on both machines"

    def tokens_are_used(self, tokens: dict[str, str]) -> None:
        for name, token in tokens.items():
            folder = self.folder / f"thief-{name}"
            folder.mkdir()
            (folder / "enrol.token").write_text(token)
            assert parse_token(token)
            thief = Agent(
                folder,
                self.keys.agent("thief"),
                name=name,
                hubs=[
                    {
                        "url": self.hub.tunnel_url(),
                        "public_keys": [self.keys.hub().public],
                        "enrol_token_file": "enrol.token",
                    }
                ],
                services={name: {"upstream": self.api.url, "allow": ["GET /**"]}},
                options={"agent": {"key_file": "fresh.key"}},
            )
            mark = self.hub.mark()
            try:
                thief.start()
                self.hub.wait_log("agent refused", "the token was used before", since=mark)
            finally:
                thief.close()


@contextmanager
def _listener(reached: list[object]) -> Iterator[int]:
    """A port that notes whoever reaches it, and answers 200: nobody should."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def serve(server: socket.socket) -> None:
        while True:
            try:
                connection, peer = server.accept()
            except OSError:
                return
            reached.append(peer)
            with connection:
                connection.settimeout(5)
                connection.recv(4096)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main())
