"""A CycloneDX bill of materials, from the metadata of the wheels that are shipped.

Written here rather than by a library: it says what lies in the package, not what is installed on the machine that
built it, and it is the same bytes each time.
"""

from __future__ import annotations

import email
import json
import uuid
import zipfile
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name, parse_wheel_filename

from .closure import Needs
from .source import Source
from .tools import sha256


def write(file: Path, source: Source, name: str, summary: str, needs: Needs, wheels: Path) -> None:
    """Of what `name` needs (closure.py), whose wheels lie in the folder `wheels`."""
    parts: dict[str, Path] = {
        canonicalize_name(parse_wheel_filename(wheel.name)[0]): wheel for wheel in wheels.glob("*.whl")
    }
    references = {each: f"pkg:pypi/{each}@{parse_wheel_filename(parts[each].name)[1]}" for each in needs.every}
    root = f"pkg:generic/{name}@{source.version}"
    when = datetime.fromtimestamp(source.epoch, UTC)
    bill: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": root,
                "name": name,
                "version": source.version,
                "description": summary,
                "purl": root,
                "properties": [{"name": "git:revision", "value": source.revision}],
            },
        },
        "components": [_component(parts[each], each, references[each]) for each in needs.every],
        "dependencies": [
            {"ref": root, "dependsOn": [references[each] for each in needs.direct]},
            *(
                {"ref": references[each], "dependsOn": [references[one] for one in ones]}
                for each, ones in needs.every.items()
            ),
        ],
    }
    text = json.dumps(bill, sort_keys=True)
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    file.write_text(json.dumps(bill, indent=1) + "\n")


def _component(wheel: Path, name: str, reference: str) -> dict[str, Any]:
    metadata = wheel_metadata(wheel)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": metadata["Version"],
        "purl": reference,
        "hashes": [{"alg": "SHA-256", "content": sha256(wheel)}],
    }
    if metadata["Summary"]:
        component["description"] = metadata["Summary"]
    if licence := licence_of(metadata):
        component["licenses"] = [licence]
    return component


def licence_of(metadata: Message) -> dict[str, Any] | None:
    """An SPDX expression where the distribution has one; else the name that it gives itself."""
    if expression := metadata["License-Expression"]:
        return {"expression": expression}
    classified = [value for value in metadata.get_all("Classifier", []) if value.startswith("License ::")]
    name = (metadata["License"] or "").strip() or (classified[0].rpartition(" :: ")[2] if classified else "")
    return {"license": {"name": name.splitlines()[0]}} if name else None


def wheel_metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (
            each for each in opened.namelist() if each.endswith(".dist-info/METADATA") and each.count("/") == 1
        )
        return email.message_from_string(opened.read(name).decode())
