"""`make dist`: what is in it, that it is the same each time, and that lintian and pip take it."""

from __future__ import annotations

import ast
import email
import hashlib
import importlib.util
import json
import marshal
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.packages import deb
from deploy.packages.programs import AGENT, HUB, PROGRAMS, Program
from protocol.ops.config import load
from tests.deploy import built
from tests.support.effort import thorough_only
from tunnel_agent.config import AgentConfig
from tunnel_hub.config import HubConfig

REASON = built.cannot()
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=f"no packages: {REASON}"),
    pytest.mark.timeout(300),
]
programs = pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
NAMES = {
    "google-re2": "re2",
    "http-sf": "http_sf",
    "prometheus-client": "prometheus_client",
    "pyjwt": "jwt",
    "python-socks": "python_socks",
}
"""What is imported under another name than it is required under."""

BY_OTHERS = {"python-socks"}
"""Required, and imported not by the programs but by what they use: websockets, for SOCKS proxies."""


@pytest.fixture(scope="session")
def dist() -> Path:
    return built.dist()


def tree(package: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    raw = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(raw)) as opened:
        for member in opened:
            content = opened.extractfile(member) if member.isfile() else None
            yield member, content.read() if content else b""


@pytest.fixture(scope="session")
def trees(dist: Path) -> dict[str, dict[str, Any]]:
    """By package, by path: the entry and its content."""
    return {
        name: {
            member.name.removeprefix("."): SimpleNamespace(info=member, content=content)
            for member, content in tree(package)
        }
        for name, package in built.debs().items()
    }


def fields(package: Path, *names: str) -> dict[str, str]:
    text = subprocess.run(["dpkg-deb", "-f", package, *names], capture_output=True, check=True, text=True).stdout
    return dict(email.message_from_string(text).items())


def site(program: Program) -> str:
    return f"/opt/{program.name}/lib/python3.11/site-packages/"


def imports(program: Program) -> set[str]:
    """The modules that those shipped for `program` import, but for the standard library's and relative ones.

    What only otlp.py imports comes with the extra `otel`, and not with a package.
    """
    found = set()
    for file in (path for folder in ("protocol", program.module) for path in (built.ROOT / folder).rglob("*.py")):
        if file.parent.name == "caller" or file.name == "otlp.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(), str(file))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.partition(".")[0] not in sys.stdlib_module_names}


def test_all_is_there_and_has_its_hash(dist: Path) -> None:
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=dist, check=True)
    listed = {line.split("  ")[1] for line in (dist / "SHA256SUMS").read_text().splitlines()}
    assert listed == {str(path.relative_to(dist)) for path in dist.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    kinds = [re.sub(r"[-_]\d.*?(?=\.[a-z])", "", name) for name in listed if "/" not in name]
    assert sorted(kinds) == [
        *("http-tunnel.cdx.json", "http_tunnel.tar.gz", "http_tunnel.whl"),
        *("tunnel-agent.cdx.json", "tunnel-agent.deb", "tunnel-hub.cdx.json", "tunnel-hub.deb"),
    ]


def test_the_sdist_holds_the_sources_and_their_revision(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
        revision = opened.extractfile(next(each for each in opened if each.name.endswith("/protocol/REVISION")))
        assert revision is not None
        text = revision.read().decode()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=built.ROOT, capture_output=True, check=True, text=True)
    assert text.removesuffix("\n").removesuffix("-dirty") == head.stdout.strip()
    assert {"Makefile", "constraints.txt", "tunnel_hub/cli.py", "tests/deploy/test_packages.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", "dist"))]


@thorough_only
def test_the_wheelhouse_installs_without_an_index(dist: Path, tmp_path: Path) -> None:
    house = dist / "wheelhouse"
    lines = (house / "requirements.txt").read_text().splitlines()
    assert len(lines) == len(list(house.glob("*.whl")))
    assert all(re.fullmatch(r"[a-z0-9-]+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    for wheel in house.glob("*.whl"):
        assert re.search(r"-(py3|py2\.py3|cp3\d+)-(none-any|.*manylinux\S+)\.whl$", wheel.name), wheel.name
    subprocess.run([deb.PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "-q", "--no-cache-dir"]
    pip += ["--python", tmp_path / "venv" / "bin" / "python", "install", "--no-compile", "--no-index"]
    pip += ["--find-links", house, "--require-hashes", "-r", house / "requirements.txt"]
    subprocess.run(pip, check=True)
    for name in ("tunnel-hub", "tunnel-agent"):
        said = subprocess.run([tmp_path / "venv" / "bin" / name, "--version"], capture_output=True, check=True)
        assert said.stdout.decode().startswith(f"{name} ")


def test_a_wheel_that_was_changed_is_not_installed(dist: Path, tmp_path: Path) -> None:
    house = tmp_path / "house"
    shutil.copytree(dist / "wheelhouse", house)
    (wheel,) = house.glob("tenacity-*.whl")
    with zipfile.ZipFile(wheel, "a") as opened:
        opened.writestr("tenacity/more.py", "")
    pip = [sys.executable, "-m", "pip", "--isolated", "--disable-pip-version-check", "-q", "install", "--dry-run"]
    pip += ["--no-index", "--find-links", house, "--ignore-installed", "--no-deps", "--require-hashes"]
    ended = subprocess.run([*pip, "-r", house / "requirements.txt"], capture_output=True, text=True, check=False)
    assert ended.returncode
    assert "DO NOT MATCH THE HASHES" in ended.stderr
    assert "tenacity" in ended.stderr


@programs
def test_a_package_requires_what_it_imports(program: Program) -> None:
    project = tomllib.loads((built.ROOT / "pyproject.toml").read_text())["project"]
    required = set(project["dependencies"]) - program.unused
    assert program.unused < set(project["dependencies"])
    tops = {name.partition(".")[0] for name in imports(program)}
    assert tops - {"protocol", program.module} == {NAMES.get(each, each) for each in required - BY_OTHERS}
    assert not [name for name in imports(program) if name.startswith("protocol.caller")]


@programs
def test_each_package_holds_its_own_program_only(trees: dict[str, dict[str, Any]], program: Program) -> None:
    other = HUB if program is AGENT else AGENT
    paths = trees[program.name]
    packages = site(program)
    assert packages + f"{program.module}/cli.py" in paths
    assert packages + "protocol/REVISION" in paths
    assert not [path for path in paths if other.module in path or "/protocol/caller" in path or "/pip/" in path]
    absent = {NAMES.get(each, each) for each in program.unused}
    assert not [
        name for name in absent if f"{packages}{name}/" in paths or f"{packages}{name}/__init__.py" in paths
    ]
    ours = {path for path in paths if not path.startswith(f"/opt/{program.name}/") and paths[path].info.isfile()}
    end = program.name.removeprefix("tunnel-")
    documents = f"/usr/share/doc/{program.name}/"
    examples = {path for path in ours if path.startswith(f"{documents}examples/")}
    assert examples
    assert not [path for path in examples if other.name in path]
    assert ours - examples == {
        *(f"/lib/systemd/system/{unit}" for unit in program.units),
        f"/usr/lib/sysusers.d/{program.name}.conf",
        f"/etc/{program.name}/environment",
        f"/usr/share/lintian/overrides/{program.name}",
        *(documents + name for name in ("copyright", "changelog.gz", "changelog.Debian.gz", "sbom.cdx.json")),
        f"{documents}{end}.toml.example",
    }
    assert paths[f"/usr/bin/{program.name}"].info.linkname == f"/opt/{program.name}/bin/{program.name}"
    assert paths[f"/opt/{program.name}/bin/python3"].info.linkname == "/usr/bin/python3"


@programs
def test_entries_are_roots_and_of_one_time(trees: dict[str, dict[str, Any]], program: Program) -> None:
    infos = [each.info for each in trees[program.name].values()]
    assert {(info.uid, info.gid, info.uname, info.gname) for info in infos} == {(0, 0, "root", "root")}
    assert len({info.mtime for info in infos}) == 1
    assert {info.mode for info in infos if info.isdir()} == {0o755}
    executable = {info.name.removeprefix(".") for info in infos if info.isfile() and info.mode == 0o755}
    assert executable == {f"/opt/{program.name}/bin/{program.name}"}
    assert {info.mode for info in infos if info.isfile()} == {0o755, 0o644}


@programs
def test_nothing_names_the_folders_of_the_build(trees: dict[str, dict[str, Any]], program: Program) -> None:
    for path, entry in trees[program.name].items():
        assert b"tunnel-dist-" not in entry.content, path
        assert str(built.ROOT).encode() not in entry.content, path


@programs
def test_modules_are_compiled_and_know_their_sources(trees: dict[str, dict[str, Any]], program: Program) -> None:
    paths = trees[program.name]
    sources = [path for path in paths if path.endswith(".py") and path.startswith(site(program))]
    assert len(sources) > 300
    for path in sources:
        folder, _, name = path.rpartition("/")
        compiled = paths[f"{folder}/__pycache__/{name[:-3]}.cpython-311.pyc"].content
        assert compiled[:4] == importlib.util.MAGIC_NUMBER or sys.version_info[:2] != (3, 11)
        assert compiled[4:8] == b"\x03\0\0\0"
        assert compiled[8:16] == importlib.util.source_hash(paths[path].content)
        if sys.version_info[:2] == (3, 11):
            assert marshal.loads(compiled[16:]).co_filename == path


@programs
def test_control_files(dist: Path, trees: dict[str, dict[str, Any]], program: Program, tmp_path: Path) -> None:
    package = built.debs()[program.name]
    told = fields(package)
    assert told["Package"] == program.name
    assert told["Version"] == f"{package.name.split('_')[1]}"
    assert {"python3 (>= 3.11)", "python3 (<< 3.12)"} <= set(told["Depends"].split(", "))
    subprocess.run(["dpkg-deb", "-e", package, tmp_path], check=True)
    assert (tmp_path / "conffiles").read_text() == f"/etc/{program.name}/environment\n"
    for script in deb.SCRIPTS:
        text = (tmp_path / script).read_text()
        assert "@" not in text
        subprocess.run(["sh", "-n", tmp_path / script], check=True)
    sums = dict(reversed(line.split("  ", 1)) for line in (tmp_path / "md5sums").read_text().splitlines())
    hashes = {
        path.removeprefix("/"): hashlib.md5(entry.content).hexdigest()
        for path, entry in trees[program.name].items()
        if entry.info.isfile() and not path.startswith("/etc/")
    }
    assert sums == hashes


@programs
def test_needed_libraries_are_depended_upon(
    trees: dict[str, dict[str, Any]], program: Program, tmp_path: Path
) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("objdump (binutils) is not installed")
    packages = {"libc.so.6": "libc6", "libm.so.6": "libc6", "libpthread.so.0": "libc6", "libdl.so.2": "libc6"}
    packages |= {"librt.so.1": "libc6", "ld-linux-x86-64.so.2": "libc6", "ld-linux-aarch64.so.1": "libc6"}
    packages |= {"libstdc++.so.6": "libstdc++6", "libgcc_s.so.1": "libgcc-s1"}
    depended = {each.partition(" ")[0] for each in fields(built.debs()[program.name])["Depends"].split(", ")}
    for path, entry in trees[program.name].items():
        if ".so" not in path or not entry.content.startswith(b"\x7fELF"):
            continue
        file = tmp_path / "object"
        file.write_bytes(entry.content)
        said = subprocess.run(["objdump", "-p", file], capture_output=True, check=True, text=True).stdout
        for library in re.findall(r"NEEDED +(\S+)", said):
            bundled = [each for each in trees[program.name] if each.endswith(f"/{library}")]
            assert bundled or packages[library] in depended, f"{path} needs {library}"
        newest = max(
            (tuple(map(int, each.split("."))) for each in re.findall(r"GLIBC_([\d.]+)", said)), default=()
        )
        assert newest <= (2, 34), f"{path} needs libc {newest}"


@pytest.mark.parametrize(
    "program", [pytest.param(AGENT, id=AGENT.name), pytest.param(HUB, id=HUB.name, marks=thorough_only)]
)
def test_lintian(program: Program) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("lintian is not installed")
    command = [
        "lintian",
        "--no-cfg",
        "--allow-root",
        "--suppress-tags",
        "dir-or-file-in-opt",
        "--fail-on",
        "error",
    ]
    ended = subprocess.run([*command, built.debs()[program.name]], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["http-tunnel", "tunnel-agent", "tunnel-hub"])
def test_the_bill_of_materials_names_every_part(dist: Path, trees: dict[str, dict[str, Any]], name: str) -> None:
    (file,) = [path for path in dist.glob("*.cdx.json") if path.name.startswith(name)]
    bill = json.loads(file.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    parts = {part["name"]: part for part in bill["components"]}
    references = {part["bom-ref"] for part in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    assert len(references) == len(parts) + 1
    assert {each["ref"] for each in bill["dependencies"]} == references
    assert {one for each in bill["dependencies"] for one in each["dependsOn"]} < references
    locked = (dist / "wheelhouse" / "requirements.txt").read_text()
    for part in parts.values():
        line = f"{part['name']}=={part['version']} --hash=sha256:{part['hashes'][0]['content']}\n"
        assert line in locked
        assert part["licenses"]
    if name == "http-tunnel":
        assert len(parts) == locked.count("\n") - 1
        return
    infos = {
        path.split("/")[6] for path in trees[name] if re.search(r"site-packages/[^/]+\.dist-info/METADATA$", path)
    }
    shipped = {info.removesuffix(".dist-info").partition("-")[0].lower().replace("_", "-") for info in infos}
    assert shipped - {"http-tunnel"} == set(parts)
    assert trees[name][f"/usr/share/doc/{name}/sbom.cdx.json"].content == file.read_bytes()


@thorough_only
def test_two_builds_in_two_folders_are_equal(dist: Path, tmp_path: Path) -> None:
    """The second one from a clone, by somebody with another umask, clock, language and temporary folder."""
    clone = tmp_path / "a clone"
    subprocess.run(["git", "clone", "-q", "--no-checkout", built.ROOT, clone], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=built.ROOT, capture_output=True, check=True, text=True)
    subprocess.run(["git", "reset", "-q", head.stdout.strip()], cwd=clone, check=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=built.ROOT, capture_output=True, check=True).stdout
    for name in names.decode().split("\0"):
        file = built.ROOT / name
        if name and file.is_file():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, clone / name)
            (clone / name).chmod(0o700 if file.stat().st_mode & 0o100 else 0o600)
    subprocess.run(["git", "add", "-A"], cwd=clone, check=True)
    (clone / "protocol" / "stray.py").write_text("not tracked, so not shipped\n")
    work = tmp_path / "work"
    work.mkdir()
    environment = {"TMPDIR": str(work), "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}
    command = f"umask 077; exec '{sys.executable}' -m deploy.packages --out ../again"
    subprocess.run(["sh", "-c", command], cwd=clone, env=os.environ | environment, check=True)
    assert (tmp_path / "again" / "SHA256SUMS").read_text() == (dist / "SHA256SUMS").read_text()
    assert not list(work.iterdir())


def test_the_example_files_are_configurations() -> None:
    load(deb.FILES / "agent.toml.example", AgentConfig, check_files=False)
    load(deb.FILES / "hub.toml.example", HubConfig, check_files=False)
