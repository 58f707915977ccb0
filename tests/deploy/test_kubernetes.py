"""deploy/kubernetes: what the schemas say, what the parts say of each other, and a hub started as in its pod."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.ops.admin import AdminListener, Component, Info
from protocol.ops.config import load
from protocol.ops.version import Build
from tests.deploy import built
from tests.support.effort import thorough_only
from tests.support.keys import Key, KeyRing
from tests.support.ports import free_port
from tests.support.process import Program, clean_environment, run_once
from tests.support.programs import Agent
from tests.support.tls import PrivateCA
from tests.support.upstream import Upstream
from tunnel_agent.config import Limits as AgentLimits
from tunnel_hub.config import HubConfig

NEEDED = "comes with the extra dev (kubernetes-validate)"
yaml = pytest.importorskip("yaml", reason=NEEDED)
jsonschema = pytest.importorskip("jsonschema", reason=NEEDED)
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=NEEDED)

from tests.deploy.kustomize import documents, render  # noqa: E402 - it needs yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
EXAMPLE = KUBERNETES / "overlays" / "example"
CONTAINERFILE = ROOT / "deploy" / "container" / "Containerfile"

OLDEST = "1.30"
"""The first Kubernetes with preStop.sleep; the schemas of the newest that the checker knows hold too."""

CLOSING = 15
"""Seconds that a hub may take behind its drain: callers, agents, admin listener and tasks, each with its bound."""

Manifest = dict[str, Any]
MANIFESTS = render(EXAMPLE)


def named(manifest: Manifest) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def of_kind(kind: str) -> list[Manifest]:
    found = [each for each in MANIFESTS if each["kind"] == kind]
    assert found, kind
    return found


def one(kind: str) -> Manifest:
    (found,) = of_kind(kind)
    return found


SET = one("StatefulSet")["spec"]
POD = SET["template"]["spec"]
LABELS = SET["template"]["metadata"]["labels"]
(HUB,) = POD["containers"]
PORTS = {port["name"]: port["containerPort"] for port in HUB["ports"]}
PODS = [f"{one('StatefulSet')['metadata']['name']}-{number}" for number in range(SET["replicas"])]
CONFIG = one("ConfigMap")["data"]
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def mounted(name: str) -> str:
    (mount,) = [mount for mount in HUB["volumeMounts"] if mount["name"] == name]
    return str(mount["mountPath"])


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.fixture(params=PODS)
def config(request: pytest.FixtureRequest, tmp_path: Path) -> HubConfig:
    """A pod's configuration, read as the hub reads it."""
    file = tmp_path / f"{request.param}.toml"
    file.write_text(CONFIG[file.name])
    return load(file, HubConfig, check_files=False)


class TestSchemas:
    @pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
    @pytest.mark.parametrize("manifest", MANIFESTS, ids=named)
    def test_a_manifest(self, manifest: Manifest, version: str) -> None:
        if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            schema = json.loads(Path(__file__).with_name("servicemonitor.json").read_text())
            jsonschema.Draft202012Validator(schema).validate(manifest)
        else:
            assert kubernetes_validate.validate(manifest, version, strict=True)

    def test_a_mistake_is_seen(self) -> None:
        wrong = copy.deepcopy(one("StatefulSet"))
        wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(wrong, OLDEST, strict=True)

    def test_every_file_is_rendered(self) -> None:
        """Nothing lies in the folders that no kustomization names."""
        files = {file for file in KUBERNETES.rglob("*") if file.is_file() and file.name != "kustomization.yaml"}
        for kustomization in KUBERNETES.rglob("kustomization.yaml"):
            (content,) = documents(kustomization)
            listed = [*content["resources"]]
            for generator in content.get("configMapGenerator", ()):
                listed += generator["files"]
            files -= {kustomization.parent / name for name in listed}
        assert not files

    @pytest.mark.parametrize(
        "folder", [KUBERNETES / "base", KUBERNETES / "monitoring"], ids=lambda each: each.name
    )
    def test_the_parts_render_alone(self, folder: Path) -> None:
        assert {named(each) for each in render(folder)} <= {named(each) for each in MANIFESTS}


class TestRenderer:
    @pytest.mark.parametrize(
        "line",
        [
            "namePrefix: x-",
            "labels: [{pairs: {a: b}, includeSelectors: true}]",
            "configMapGenerator: [{name: nobody, files: [x.yaml]}]",
            "images: [{name: nobody, newName: x, newTag: '1'}]",
            "resources: [x.yaml, x.yaml]",
        ],
    )
    def test_what_it_does_not_know_is_an_error(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "x.yaml").write_text("{kind: Service, metadata: {name: x}}")
        head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        (tmp_path / "kustomization.yaml").write_text(head + "resources: [x.yaml]\n")
        assert [named(each) for each in render(tmp_path)] == ["Service/x"]
        rest = "" if line.startswith("resources") else "resources: [x.yaml]\n"
        (tmp_path / "kustomization.yaml").write_text(f"{head}{rest}{line}\n")
        with pytest.raises(AssertionError):
            render(tmp_path)

    def test_a_key_that_stands_twice(self, tmp_path: Path) -> None:
        (tmp_path / "x.yaml").write_text("a: 1\na: 2\n")
        with pytest.raises(AssertionError, match="twice"):
            documents(tmp_path / "x.yaml")


class TestConfiguration:
    def test_each_pod_has_a_file_of_its_own(self) -> None:
        assert sorted(CONFIG) == [f"{pod}.toml" for pod in PODS]

    def test_the_files_differ_in_hub_alone(self) -> None:
        tables = [tomllib.loads(text) for text in CONFIG.values()]
        hubs = [table.pop("hub") for table in tables]
        assert all(table == tables[0] for table in tables)
        assert [hub["id"] for hub in hubs] == PODS
        assert len({hub["key_file"] for hub in hubs}) == len(hubs)

    def test_ports(self, config: HubConfig) -> None:
        for name, port in PORTS.items():
            assert getattr(config.listen, name) == ("0.0.0.0", port)

    def test_credentials_are_mounted(self, config: HubConfig) -> None:
        """Each named file comes from a Secret: one with `items` as listed, else under its own key's name."""
        (volume,) = [volume for volume in POD["volumes"] if volume["name"] == "credentials"]
        sources = [source["secret"] for source in volume["projected"]["sources"]]
        listed = {item["path"] for source in sources for item in source.get("items", ())}
        assert [source["name"] for source in sources if "items" not in source] == ["tunnel-hub-keys"]
        for table in (config.listen.callers_tls, config.listen.agents_tls):
            assert table is not None
            assert {table.certificate.name, table.key.name} <= listed
        assert config.hub.key_file.name not in listed

    def test_what_is_written_lies_on_the_volume(self, config: HubConfig) -> None:
        state = Path(mounted("state"))
        assert config.state.file is not None
        assert config.state.file.parent == state
        assert config.audit.file is not None
        assert config.audit.file.parent == state
        assert POD["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        assert [claim["metadata"]["name"] for claim in SET["volumeClaimTemplates"]] == ["state"]

    def test_callers_must_prove_who_they_are(self, config: HubConfig) -> None:
        assert config.callers.required

    def test_feeds_may_be_reached(self, config: HubConfig) -> None:
        """Every URL that the hub asks by itself has its port among the egress rules."""
        urls = [issuer.jwks for issuer in config.callers.oauth.values()]
        assert urls
        blocks = [
            port["port"]
            for policy in of_kind("NetworkPolicy")
            for rule in policy["spec"].get("egress", ())
            if any("ipBlock" in peer for peer in rule["to"])
            for port in rule["ports"]
        ]
        assert {443 if str(url).startswith("https://") else 80 for url in urls} == set(blocks)

    def test_no_secret_is_among_the_manifests(self) -> None:
        assert "Secret" not in {manifest["kind"] for manifest in MANIFESTS}
        assert "PRIVATE KEY" not in json.dumps(MANIFESTS)


class TestPod:
    def test_it_may_do_nothing_more_than_it_must(self) -> None:
        """The restricted profile, which the namespace enforces, and a root that nobody writes to."""
        labels = one("Namespace")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        context = POD["securityContext"]
        assert context["runAsNonRoot"] is True
        assert min(context["runAsUser"], context["runAsGroup"], context["fsGroup"]) > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert HUB["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert POD["automountServiceAccountToken"] is False
        assert one("ServiceAccount")["automountServiceAccountToken"] is False
        assert POD["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(POD)
        assert {kind for volume in POD["volumes"] for kind in volume} == {"name", "configMap", "projected"}
        assert set(HUB["resources"]) == {"requests", "limits"}

    def test_configuration_and_credentials_are_read_only(self) -> None:
        writable = [mount["name"] for mount in HUB["volumeMounts"] if not mount.get("readOnly")]
        assert writable == ["state"]
        modes = {
            volume["name"]: next(v for k, v in volume.items() if k != "name")["defaultMode"]
            for volume in POD["volumes"]
        }
        assert modes == {"config": 0o444, "credentials": 0o440}

    def test_probes_ask_what_the_program_answers(self) -> None:
        class Source:
            def components(self) -> dict[str, Component]:
                return {}

            def ready(self) -> bool:
                return True

        from prometheus_client import CollectorRegistry

        admin = AdminListener(Info("tunnel-hub", "x", Build("1", None, "3")), Source(), CollectorRegistry())
        paths = {route.path for route in admin.app.routes}  # type: ignore[attr-defined]
        asked = {probe: HUB[probe]["httpGet"] for probe in PROBES}
        assert {get["port"] for get in asked.values()} == {"admin"}
        assert {probe: get["path"] for probe, get in asked.items()} == {
            "startupProbe": "/health/liveness",
            "livenessProbe": "/health/liveness",
            "readinessProbe": "/health/readiness",
        }
        assert {get["path"] for get in asked.values()} <= paths
        assert one("ServiceMonitor")["spec"]["endpoints"][0]["path"] in paths

    def test_there_is_time_to_drain(self, config: HubConfig) -> None:
        pause = HUB["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert POD["terminationGracePeriodSeconds"] >= pause + config.limits.drain_timeout + CLOSING

    def test_the_nodes_hear_of_a_leaving_pod_before_its_listeners_close(self) -> None:
        readiness = HUB["readinessProbe"]
        noticed = readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"]
        assert HUB["lifecycle"]["preStop"]["sleep"]["seconds"] >= noticed

    def test_agents_come_before_callers(self) -> None:
        """A hub that is started anew has its agents when it becomes ready."""
        assert HUB["readinessProbe"]["initialDelaySeconds"] > AgentLimits().reconnect_max
        for service in agents_services().values():
            assert service["spec"]["publishNotReadyAddresses"] is True

    def test_one_at_a_time(self) -> None:
        assert SET["replicas"] >= 2
        assert SET["updateStrategy"] == {"type": "RollingUpdate"}
        budget = one("PodDisruptionBudget")["spec"]
        assert budget["maxUnavailable"] == 1
        for selector in (
            SET["selector"],
            budget["selector"],
            *(s["labelSelector"] for s in POD["topologySpreadConstraints"]),
        ):
            assert set(selector) == {"matchLabels"}
            assert selects(selector["matchLabels"], LABELS)

    def test_the_image_is_named_by_the_overlay(self) -> None:
        assert HUB["image"] == "registry.example/tunnel-hub:0.1.0"


def agents_services() -> dict[str, Manifest]:
    """The Services that lead to one pod, by its name."""
    by_pod = {
        each["spec"]["selector"].get("statefulset.kubernetes.io/pod-name"): each for each in of_kind("Service")
    }
    return {pod: service for pod, service in by_pod.items() if pod is not None}


class TestNetwork:
    def test_services_lead_to_named_ports(self) -> None:
        for service in of_kind("Service"):
            pod = service["spec"]["selector"].get("statefulset.kubernetes.io/pod-name")
            labels = LABELS if pod is None else {**LABELS, "statefulset.kubernetes.io/pod-name": pod}
            assert selects(service["spec"]["selector"], labels), named(service)
            for port in service["spec"]["ports"]:
                assert port["name"] == port["targetPort"]
                assert port["port"] == PORTS[port["targetPort"]]

    def test_each_hub_has_a_service_and_a_name_for_agents(self) -> None:
        services = agents_services()
        assert sorted(services) == PODS
        behind = {}
        for rule in one("Ingress")["spec"]["rules"]:
            (path,) = rule["http"]["paths"]
            assert path["backend"]["service"]["port"] == {"name": "agents"}
            behind[path["backend"]["service"]["name"]] = rule["host"]
        assert sorted(behind) == sorted(service["metadata"]["name"] for service in services.values())
        assert len(set(behind.values())) == len(PODS)

    def test_one_service_for_callers_and_only_ready_hubs(self) -> None:
        (service,) = [each for each in of_kind("Service") if each["spec"]["ports"][0]["name"] == "callers"]
        assert service["spec"]["selector"] == {"app.kubernetes.io/name": "tunnel-hub"}
        assert not service["spec"].get("publishNotReadyAddresses")

    def test_the_pods_names(self) -> None:
        (headless,) = [each for each in of_kind("Service") if each["spec"].get("clusterIP") == "None"]
        assert headless["metadata"]["name"] == SET["serviceName"]

    def test_monitoring_finds_the_admin_port(self) -> None:
        monitor = one("ServiceMonitor")["spec"]
        found = [
            service
            for service in of_kind("Service")
            if selects(monitor["selector"]["matchLabels"], service["metadata"]["labels"])
        ]
        assert len(found) == 1
        assert {service["metadata"]["labels"][monitor["jobLabel"]] for service in found} == {"tunnel-hub"}, (
            "the name by which alerts and dashboards know the job"
        )
        assert {each["port"] for each in monitor["endpoints"]} <= {
            port["name"] for port in found[0]["spec"]["ports"]
        }

    def test_who_may_come_in(self) -> None:
        """Each port for one kind of namespace, nothing for everybody."""
        policies = of_kind("NetworkPolicy")
        doors: dict[str, dict[str, str]] = {}
        for policy in policies:
            assert selects(policy["spec"]["podSelector"]["matchLabels"], LABELS)
            for rule in policy["spec"].get("ingress", ()):
                (port,) = rule["ports"]
                (peer,) = rule["from"]
                assert port["protocol"] == "TCP"
                doors[port["port"]] = peer["namespaceSelector"]["matchLabels"]
        assert set(doors) == set(PORTS)
        assert all(doors.values())

    def test_what_may_be_reached(self) -> None:
        """Names, and addresses that are listed one by one."""
        assert all("Egress" in policy["spec"]["policyTypes"] for policy in of_kind("NetworkPolicy"))
        for policy in of_kind("NetworkPolicy"):
            for rule in policy["spec"]["egress"]:
                (peer,) = rule["to"]
                ports = {port["port"] for port in rule["ports"]}
                if "ipBlock" in peer:
                    assert peer["ipBlock"]["cidr"].endswith("/32")
                    assert ports == {443}
                else:
                    assert peer["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}
                    assert ports == {53}


class Pod:
    """A folder that holds what a pod's mounts would, with the modes and links of the kubelet's volumes."""

    def __init__(self, folder: Path, keys: KeyRing, name: str) -> None:
        self.folder = folder
        self.name = name
        self.ports = {port: free_port() for port in PORTS}
        self.ca = PrivateCA(folder / "ca")
        self.key = keys.hub(name)
        state = self.place("state")
        state.mkdir(parents=True)
        text = CONFIG[f"{name}.toml"].replace(mounted("state"), str(state))
        for port, number in PORTS.items():
            text = text.replace(f'"0.0.0.0:{number}"', f'"127.0.0.1:{self.ports[port]}"')
        _volume(self.place("config"), {f"{name}.toml": text.encode()}, 0o444)
        secrets = {f"hub-{name.rpartition('-')[2]}.key": self.key.file.read_bytes()}
        for way in ("agents", "callers"):
            issued = self.ca.issue()
            secrets |= {f"{way}.crt": issued.certificate.read_bytes(), f"{way}.key": issued.key.read_bytes()}
        _volume(self.place("credentials"), secrets, 0o440)
        variables = {variable["name"]: variable for variable in HUB["env"]}
        assert variables["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
        assert variables["CREDENTIALS_DIRECTORY"]["value"] == mounted("credentials")
        self.env = {"POD_NAME": name, "CREDENTIALS_DIRECTORY": str(self.place("credentials"))}

    def place(self, volume: str) -> Path:
        return self.folder / mounted(volume).lstrip("/")

    @property
    def arguments(self) -> list[str]:
        """The container's, its variables filled in and its folders those of this one."""
        filled = [re.sub(r"\$\((\w+)\)", lambda found: self.env[found[1]], each) for each in HUB["args"]]
        return [each.replace(mounted("config"), str(self.place("config"))) for each in filled]


def _volume(folder: Path, files: dict[str, bytes], mode: int) -> None:
    """As the kubelet lays it: files in a hidden folder, a link to that, and a link for each file through it."""
    hidden = folder / "..2026_01_01"
    hidden.mkdir(parents=True)
    (folder / "..data").symlink_to(hidden.name)
    for name, content in files.items():
        (hidden / name).write_bytes(content)
        (hidden / name).chmod(mode)
        (folder / name).symlink_to(f"..data/{name}")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return KeyRing(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def closing() -> Iterator[list[Any]]:
    programs: list[Any] = []
    yield programs
    for program in reversed(programs):
        program.close()


@thorough_only
@pytest.mark.e2e
class TestRun:
    """The pod's own command line, for real."""

    @pytest.mark.parametrize("name", PODS)
    def test_a_pod_starts_lets_an_agent_enrol_and_stops(
        self, tmp_path: Path, keys: KeyRing, closing: list[Any], name: str
    ) -> None:
        pod = Pod(tmp_path / "pod", keys, name)
        hub = Program(name, ["tunnel_hub.cli", *pod.arguments], tmp_path, pod.env)
        hub.admin_url = f"http://127.0.0.1:{pod.ports['admin']}"
        closing.append(hub)
        hub.start()
        for probe in PROBES:
            hub._wait_status(HUB[probe]["httpGet"]["path"], 20.0)
        assert hub.admin_status("/health") == 503  # no agent yet, which no probe holds against it
        assert hub.admin("/info").json()["instance"] == name
        assert "tunnel_hub_" in hub.admin(one("ServiceMonitor")["spec"]["endpoints"][0]["path"]).text

        upstream = Upstream()
        closing.append(upstream)
        file = pod.arguments[-1]
        made = run_once("tunnel_hub.cli", "enrol-token", "--config", file, "--agent", "leeds-1", env=pod.env)
        assert made.returncode == 0, made.stderr
        token = tmp_path / "token"
        token.write_text(made.stdout)
        token.chmod(0o600)
        agent = Agent(
            tmp_path,
            Key(tmp_path / "agent.key", ""),
            hubs=[
                {
                    "url": f"wss://127.0.0.1:{pod.ports['agents']}/tunnel",
                    "public_keys": [pod.key.public],
                    "ca_file": str(pod.ca.ca_file),
                    "enrol_token_file": str(token),
                }
            ],
            services={"visits": {"upstream": upstream.url, "allow": ["GET /**"]}},
        )
        closing.append(agent)
        agent.start()
        hub.wait_healthy()
        assert agent.stop() == 0
        assert hub.stop() == 0
        done = run_once("tunnel_hub.cli", "audit", "verify", str(pod.place("state") / "audit.jsonl"))
        assert done.returncode == 0, done.stderr

    def test_outside_of_the_credentials_such_a_mode_is_refused(self, tmp_path: Path, keys: KeyRing) -> None:
        """Why CREDENTIALS_DIRECTORY is set: 0440 is the least that a pod of an fsGroup can have."""
        pod = Pod(tmp_path, keys, PODS[0])
        file = pod.place("config") / "..data" / f"{pod.name}.toml"
        folder = pod.place("credentials")
        file.chmod(0o644)
        file.write_text(file.read_text().replace('key_file = "credential:', f'key_file = "{folder}/'))
        env = {**pod.env, "CREDENTIALS_DIRECTORY": str(folder / "..data")}
        done = run_once("tunnel_hub.cli", "check", *pod.arguments[1:], env=env)
        assert done.returncode == 2
        assert "can be read by others than its owner" in done.stderr

    def test_the_pods_user_may_do_what_it_needs(self, keys: KeyRing) -> None:
        """As uid and group of the manifest; credentials and the volume itself are root's and the group's."""
        if os.geteuid() != 0:
            pytest.skip("only root can become the pod's user")
        python = _python_for_the_pods_user()
        if python is None:
            pytest.skip("the pod's user may not read this Python or its packages")
        outer = Path(tempfile.mkdtemp())
        try:
            outer.chmod(0o755)
            pod = Pod(outer / "pod", keys, PODS[0])
            state, secrets = pod.place("state"), pod.place("credentials") / "..data"
            for file in (state, *secrets.iterdir()):
                os.chown(file, 0, POD["securityContext"]["fsGroup"])
            state.chmod(0o2770)

            def hub(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
                return _as_the_pods_user(
                    python, "-m", "tunnel_hub.cli", command, *pod.arguments[1:], *arguments, env=pod.env
                )

            made = hub("enrol-token", "--agent", "leeds-1")
            assert made.returncode == 0, made.stderr
            checked = hub("check")
            assert checked.returncode == 0, checked.stderr

            (state / "hub.db").chmod(0o660)  # what fsGroupChangePolicy: Always does
            checked = hub("check")
            assert checked.returncode == 2
            assert "can be written by others" in checked.stderr

            for file in secrets.iterdir():
                os.chown(file, 0, 0)
            assert hub("check").returncode == 2
        finally:
            shutil.rmtree(outer)


def _as_the_pods_user(
    python: str, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run this Python's packages as uid and group of the manifest."""
    context = POD["securityContext"]
    packages = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    return subprocess.run(
        [python, *arguments],
        env={**clean_environment(env), "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        user=context["runAsUser"],
        group=context["runAsGroup"],
        extra_groups=[context["fsGroup"]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _python_for_the_pods_user() -> str | None:
    """A Python that this user may run with the packages of this one."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            if _as_the_pods_user(python, "-c", "import tunnel_hub.server").returncode == 0:
                return python
        except OSError:
            continue
    return None


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's instructions in order, comments and line ends taken out."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


class TestContainerfile:
    def test_it_runs_as_the_pods_user(self) -> None:
        (user,) = [rest for name, rest in instructions() if name == "USER"]
        assert user == "{runAsUser}:{runAsGroup}".format_map(POD["securityContext"])

    def test_it_listens_where_the_manifests_say(self) -> None:
        (exposed,) = [rest for name, rest in instructions() if name == "EXPOSE"]
        assert sorted(map(int, exposed.split())) == sorted(PORTS.values())

    def test_the_program_is_process_1(self) -> None:
        """An entry point without a shell, and the manifest gives its arguments only."""
        ran = dict(instructions())
        assert json.loads(ran["ENTRYPOINT"]) == ["/opt/tunnel-hub/bin/tunnel-hub"]
        assert json.loads(ran["CMD"])[0] == HUB["args"][0]
        assert "command" not in HUB

    def test_nothing_is_fetched(self) -> None:
        for name, rest in instructions():
            assert name != "ADD"
            if name == "RUN":
                assert rest.startswith("--network=none ")
            if name == "FROM":
                assert rest.split()[0] == "${PYTHON_IMAGE}"
            if name == "COPY":
                assert rest.split()[0] in {"wheelhouse", "--from=build"}

    @thorough_only
    @pytest.mark.timeout(300)
    def test_its_steps(self, tmp_path: Path) -> None:
        """The one RUN, in a folder instead of an image; then the hub starts from what it made."""
        why = built.cannot()
        if why is not None:
            pytest.skip(why)
        wheelhouse = built.dist() / "wheelhouse"
        (step,) = [rest.removeprefix("--network=none ") for name, rest in instructions() if name == "RUN"]
        home = tmp_path / "tunnel-hub"
        step = step.replace("/opt/tunnel-hub", str(home)).replace("/wheelhouse", str(wheelhouse))
        env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
        subprocess.run(["sh", "-ec", step], env=env, cwd=tmp_path, check=True, timeout=110)
        hub = [home / "bin" / "tunnel-hub", "--version"]
        done = subprocess.run(hub, env={}, cwd=tmp_path, check=False, capture_output=True)
        assert done.returncode == 0
        assert b"tunnel-hub" in done.stdout
