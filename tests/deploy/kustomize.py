"""Renders a kustomization as `kubectl kustomize` would, as far as deploy/kubernetes uses it.

Strict: a field that this does not know is an error, so that nothing is tested which kubectl would read otherwise.
The hash behind a generated name is another one than kustomize's.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

_API = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
_KNOWN = {*_API, "resources", "namespace", "labels", "images", "configMapGenerator"}
_CLUSTER_WIDE = {"Namespace"}


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key may stand once; the second one would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice, {node.start_mark}"
        return super().construct_mapping(node, deep=deep)


def documents(file: Path) -> list[Any]:
    """The YAML documents of a file."""
    return list(yaml.load_all(file.read_text(), Loader=_UniqueKeys))


def render(folder: Path) -> list[Manifest]:
    """All manifests of the kustomization in `folder`, in the order in which it names them."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    assert kustomization.items() >= _API.items(), f"{folder}: not a kustomization"
    unknown = set(kustomization) - _KNOWN
    assert not unknown, f"{folder}: not rendered here: {unknown}"
    manifests: list[Manifest] = []
    for name in kustomization.get("resources", ()):
        place = folder / name
        manifests += render(place) if place.is_dir() else documents(place)
    for generator in kustomization.get("configMapGenerator", ()):
        manifests.append(_config_map(folder, generator, manifests))
    if namespace := kustomization.get("namespace"):
        _put_into(manifests, namespace)
    for label in kustomization.get("labels", ()):
        assert set(label) == {"pairs"}, f"{folder}: labels on selectors are not rendered here"
        for manifest in manifests:
            manifest["metadata"].setdefault("labels", {}).update(label["pairs"])
    for image in kustomization.get("images", ()):
        _name_image(manifests, image)
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in manifests]
    assert len(names) == len(set(names)), f"{folder}: something is there twice"
    return copy.deepcopy(manifests)


def _config_map(folder: Path, generator: dict[str, Any], users: list[Manifest]) -> Manifest:
    assert set(generator) == {"name", "files"}, f"{folder}: not rendered here: {generator}"
    data = {Path(file).name: (folder / file).read_text() for file in generator["files"]}
    digest = hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:10]
    name = f"{generator['name']}-{digest}"
    used = 0
    for table in _tables(users, lambda table: isinstance(table.get("configMap"), dict)):
        if table["configMap"].get("name") == generator["name"]:
            table["configMap"]["name"] = name
            used += 1
    assert used, f"nobody uses the ConfigMap {generator['name']}"
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def _put_into(manifests: list[Manifest], namespace: str) -> None:
    for manifest in manifests:
        if manifest["kind"] not in _CLUSTER_WIDE:
            manifest["metadata"]["namespace"] = namespace
        else:
            assert manifest["metadata"]["name"] == namespace, "kustomize would rename the Namespace"


def _name_image(manifests: list[Manifest], image: dict[str, Any]) -> None:
    assert set(image) == {"name", "newName", "newTag"}, f"not rendered here: {image}"
    used = 0
    for table in _tables(manifests, lambda table: table.get("image") == image["name"]):
        table["image"] = f"{image['newName']}:{image['newTag']}"
        used += 1
    assert used, f"nobody uses the image {image['name']}"


def _tables(value: Any, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[dict[str, Any]]:
    """Every mapping inside `value` that is wanted."""
    if isinstance(value, dict):
        if wanted(value):
            yield value
        for inner in value.values():
            yield from _tables(inner, wanted)
    elif isinstance(value, list):
        for inner in value:
            yield from _tables(inner, wanted)
