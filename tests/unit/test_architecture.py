"""Who may import whom (docs/architecture.md), read from the source with `ast`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import protocol
import tunnel_agent
import tunnel_hub

ROOT = Path(__file__).parents[2]
PACKAGES = ("protocol", "tunnel_hub", "tunnel_agent")
IMPURE = {"asyncio", "time", "random", "secrets", "logging", "socket", "ssl", "threading", "websockets"}
"""What the sans-IO core may not use: clocks, randomness, sockets and logs are handed in."""

CORE = sorted([path for folder in ("", "http/", "signatures/") for path in ROOT.glob(f"protocol/{folder}*.py")])
WITH_CRYPTOGRAPHY = {"handshake.py", "keys.py", "binding.py"}
CALLER = {"protocol", "httpx", "jwt", "cryptography"}
"""What callers' programs import with `protocol.caller`, besides the standard library."""


def imports(file: Path) -> Iterator[str]:
    """The full names of the modules that `file` imports anywhere in it, relative ones resolved."""
    package = file.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, node.module) if node.module else base)
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def tops(file: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(file)}


@pytest.mark.parametrize("file", CORE, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_core_does_no_io(file: Path) -> None:
    used = tops(file)
    assert not used & IMPURE
    ours = {"protocol"}
    allowed = set(sys.stdlib_module_names) | {"msgpack"} | ours
    if file.name in WITH_CRYPTOGRAPHY:
        allowed.add("cryptography")
    if file.parent.name == "signatures":
        allowed |= {"cryptography", "http_sf"}
    assert used <= allowed
    shells = tuple(f"protocol.{name}" for name in ("aio", "ops", "caller"))
    assert not [name for name in imports(file) if name.startswith(shells)]


@pytest.mark.parametrize("file", sorted(ROOT.glob("protocol/http/*.py")), ids=lambda file: file.name)
def test_http_rules_stand_by_themselves(file: Path) -> None:
    assert not [
        name for name in imports(file) if name.startswith("protocol") and not name.startswith("protocol.http")
    ]
    assert "msgpack" not in tops(file)


@pytest.mark.parametrize("file", sorted(ROOT.glob("protocol/caller/*.py")), ids=lambda file: file.name)
def test_callers_import_neither_end(file: Path) -> None:
    used = tops(file)
    assert used <= set(sys.stdlib_module_names) | CALLER
    assert not used & {"asyncio", "socket", "ssl", "threading", "logging"}
    ours = ("protocol.caller", "protocol.signatures", "protocol.keys")
    names = [name for name in imports(file) if name.startswith("protocol")]
    assert not [name for name in names if not name.startswith(ours)]


def test_importing_the_callers_package_loads_neither_end() -> None:
    code = "import sys, protocol.caller; print(*sorted(sys.modules), sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    modules = loaded.stdout.split()
    assert "protocol.caller.signature" in modules
    assert not [name for name in modules if name.startswith(("tunnel_", "protocol.aio", "protocol.ops"))]


@pytest.mark.parametrize(
    ("package", "never"),
    [
        ("protocol", {"tunnel_hub", "tunnel_agent"}),
        ("tunnel_hub", {"tunnel_agent"}),
        ("tunnel_agent", {"tunnel_hub"}),
    ],
)
def test_arrows_point_down(package: str, never: set[str]) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        assert not tops(file) & (never | {"tests", "examples"}), file


DECIDING = ("access", "bearer", "certificates", "claims", "es256", "grant", "oauth", "replay", "tokens")


@pytest.mark.parametrize("name", DECIDING)
def test_what_verifies_a_credential_does_no_io(name: str) -> None:
    file = ROOT / "tunnel_hub" / "gateway" / f"{name}.py"
    assert not tops(file) & (IMPURE | {"httpx", "structlog"})
    outside = [other for other in imports(file) if other.startswith(("protocol", "tunnel_hub"))]
    assert not [other for other in outside if not other.startswith("tunnel_hub.gateway")]


def test_the_shell_does_not_know_how_programs_are_run() -> None:
    for file in (ROOT / "protocol" / "aio").glob("*.py"):
        assert not [name for name in imports(file) if name.startswith("protocol.ops")], file


def test_the_packages_are_ours() -> None:
    for package in (protocol, tunnel_hub, tunnel_agent):
        assert package.__file__ is not None
        assert Path(package.__file__).is_relative_to(ROOT / package.__name__)


def test_the_reader_of_imports_sees_relative_and_nested_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "protocol" / "http" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import a.b\nfrom .. import frames\nfrom ..aio.wheel import W\ndef f():\n from . import head\n"
    )
    assert set(imports(file)) == {
        *("a.b", "protocol", "protocol.frames", "protocol.aio.wheel", "protocol.aio.wheel.W"),
        *("protocol.http", "protocol.http.head"),
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_opentelemetry_is_imported_in_one_place(package: str) -> None:
    """And that is loaded only where [tracing] is set: it costs each process 10 MB."""
    users = {
        str(file.relative_to(ROOT))
        for file in sorted((ROOT / package).rglob("*.py"))
        if tops(file) & {"opentelemetry", "requests", "google"}
    }
    assert users == ({"protocol/ops/otlp.py"} if package == "protocol" else set())
