"""Manifests of a cluster: built by kubectl, valid by Kubernetes' schemas, as the plan says."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helpers.rendering import render, tree

VERSION = "1.34.0"
MODES = [["rest"], ["grpc"], ["batch"], ["streaming"], ["rest", "grpc", "batch", "streaming"]]
CALLED = {9092, 5432, 53}  # the broker, PostgreSQL, and who knows their addresses
OVERLAYS = "deploy/kubernetes/overlays"


def built(project: Path, environment: str) -> list[dict[str, Any]]:
    """Return what `kubectl kustomize` makes of an overlay."""
    command = [str(Path(sys.executable).with_name("kubectl")), "kustomize"]
    folder = str(project / OVERLAYS / environment)
    done = subprocess.run([*command, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [*yaml.safe_load_all(done.stdout)]


def of(found: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in found if item["kind"] == kind]


def pods(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the pod specifications of services and jobs."""
    jobs = [item["spec"]["jobTemplate"] for item in of(found, "CronJob")]
    return [item["spec"]["template"]["spec"] for item in [*of(found, "Deployment"), *jobs]]


@pytest.fixture(scope="module", params=MODES, ids="+".join)
def clustered(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("cluster") / "p"
    answers = {"peak_qps": 90, "latency_ms": 50, "batch_deadline_hours": 1.5}
    answers |= {"personal_data": request.param != ["grpc"]}
    return render(folder, deployment_modes=request.param, hosting="kubernetes", **answers), (
        request.param
    )


def test_every_object_is_valid_in_every_environment(clustered: tuple[Path, list[str]]) -> None:
    project, modes = clustered
    for environment in (project / OVERLAYS).iterdir():
        found = built(project, environment.name)
        for item in found:
            kubernetes_validate.validate(item, VERSION, strict=True)
        namespaces = {x["metadata"].get("namespace", x["metadata"]["name"]) for x in found}
        assert namespaces == {f"churn-model-{environment.name}"}
        running = {*modes} - {"batch"}
        assert len(of(found, "Deployment")) == len(running)
        assert len(of(found, "Service")) == len(running - {"streaming"})
        assert len(of(found, "CronJob")) == ("batch" in modes)
        assert len(of(found, "NetworkPolicy")) == len(modes)


def test_a_pod_can_do_no_more_than_it_needs(clustered: tuple[Path, list[str]]) -> None:
    found = built(clustered[0], "production")
    for pod in pods(found):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        [container] = pod["containers"]
        inside = container["securityContext"]
        assert inside["readOnlyRootFilesystem"] and inside["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert [x["mountPath"] for x in container["volumeMounts"]] == ["/app/data"]
    for policy in of(found, "NetworkPolicy"):
        selected = policy["spec"]["podSelector"]["matchLabels"]["app"]
        called = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        assert called == (CALLED if selected.endswith("-stream") else set())
        named = {x["metadata"]["name"] for x in of(found, "Deployment") + of(found, "CronJob")}
        assert selected in named


def test_ports_and_probes_are_those_of_the_service(clustered: tuple[Path, list[str]]) -> None:
    project, modes = clustered
    image = (project / "deploy/Dockerfile").read_text()
    found = built(project, "production")
    for item in of(found, "Deployment"):
        name = item["metadata"]["name"]
        template = item["spec"]["template"]
        [container] = template["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert item["spec"]["selector"]["matchLabels"] == {"app": name}
        for service in [x for x in of(found, "Service") if x["metadata"]["name"] == name]:
            assert {x["targetPort"] for x in service["spec"]["ports"]} <= ports.keys()
            assert service["spec"]["selector"] == {"app": name}
        scraped = int(template["metadata"]["annotations"]["prometheus.io/port"])
        assert scraped in ports.values()
        if len(modes) == 1:  # the image says ports and command of its first mode
            (exposed,) = [x for x in image.splitlines() if x.startswith("EXPOSE")]
            assert {int(port) for port in exposed.split()[1:]} == {*ports.values()}
        target = name.removeprefix("churn-model-").replace("stream", "streaming")
        (stage,) = re.findall(rf"(?ms)^FROM serving AS {target}$.*?(?=^FROM|\Z)", image)
        assert f"CMD {container['command']}".replace("'", '"') in stage
        several = f"-{target}" if len(modes) > 1 else ""
        assert container["image"] == f"churn-model{several}:latest"
    if "rest" in modes:
        asked = [p["httpGet"]["path"] for p in map(container_of(found, "rest").get, PROBES)]
        assert asked == ["/ready", "/ready", "/health"]
    if "grpc" in modes:
        probed = [container_of(found, "grpc")[name]["grpc"]["port"] for name in PROBES[:2]]
        assert probed == [50051, 50051]
    if "streaming" in modes:
        asked = [container_of(found, "stream")[name]["httpGet"] for name in PROBES]
        assert asked == [{"path": "/metrics", "port": "metrics"}] * 3


def test_metrics_are_read_at_one_port_that_only_pods_reach(
    clustered: tuple[Path, list[str]],
) -> None:
    project, _ = clustered
    image = (project / "deploy/Dockerfile").read_text()
    services = (
        yaml.safe_load((project / "deploy/compose.yaml").read_text())["services"]
        if (project / "monitoring").exists()
        else {}
    )
    watched = {}
    for item in of(built(project, "production"), "Deployment"):
        name = item["metadata"]["name"]
        scraped = int(item["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"])
        [policy] = [
            x
            for x in of(built(project, "production"), "NetworkPolicy")
            if x["metadata"]["name"] == name
        ]
        inside = [x for x in policy["spec"]["ingress"] if "from" in x]
        [rule] = inside
        assert rule == {
            "from": [{"namespaceSelector": {}}],
            "ports": [{"port": scraped, "protocol": "TCP"}],
        }
        others = [x for x in policy["spec"]["ingress"] if x is not rule]
        assert scraped not in {port["port"] for x in others for port in x["ports"]}
        for service in of(built(project, "production"), "Service"):
            assert "metrics" not in {port["targetPort"] for port in service["spec"]["ports"]}
        watched[name.rpartition("-")[2]] = scraped
    if "rest" in watched:
        assert f"ML_SERVING__METRICS_PORT={watched['rest']}\n" in image
    if watched:
        known = {"rest": "service", "grpc": "grpc", "stream": "streaming"}
        config = yaml.safe_load((project / "monitoring/prometheus.yml").read_text())
        [scrape] = config["scrape_configs"]
        targets = scrape["static_configs"][0]["targets"]
        assert targets == [
            f"{known[mode]}:{port}"
            for mode, port in sorted(watched.items(), key=lambda one: one[1])
        ]
        for mode, port in watched.items():
            assert f"127.0.0.1:{port}:{port}" in services[known[mode]]["ports"]


def test_credentials_of_a_consumer_are_in_a_secret_alone(
    clustered: tuple[Path, list[str]],
) -> None:
    project, modes = clustered
    found = built(project, "production")
    assert not of(found, "Secret")
    asked = [source for pod in pods(found) for source in pod["containers"][0].get("envFrom", [])]
    secret = {"secretRef": {"name": "churn-model-stream"}}
    keys = {"secretRef": {"name": "churn-model-keys", "optional": True}}
    about_people = yaml.safe_load((project / "plan/plan.yaml").read_text())["answers"][
        "personal_data"
    ]
    assert about_people == (modes != ["grpc"])
    assert asked.count(keys) == len(modes) * about_people, "the secret of keys, in every container"
    assert [one for one in asked if one != keys] == ([secret] if "streaming" in modes else [])
    words = ("ML_STREAM_PASSWORD", "ML_STREAM_DATABASE", "ML_KEY_SECRET")
    assert not [x for x in found for word in words if word in str(x)]


PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def container_of(found: list[dict[str, Any]], mode: str) -> dict[str, Any]:
    """Return the container of a service."""
    ending = f"-{mode}"
    [item] = [x for x in of(found, "Deployment") if x["metadata"]["name"].endswith(ending)]
    container: dict[str, Any] = item["spec"]["template"]["spec"]["containers"][0]
    return container


def test_size_and_schedule_are_those_of_the_plan(clustered: tuple[Path, list[str]]) -> None:
    project, modes = clustered
    plan = yaml.safe_load((project / "plan/plan.yaml").read_text())
    found = built(project, "production")
    for scaler in of(found, "HorizontalPodAutoscaler"):
        planned = plan["computed"]["DEP-02"]["instances"]["value"]
        assert planned == 8  # 90 requests a second x 50 ms / 0.6
        assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, planned + 1)
    for job in of(found, "CronJob"):
        assert job["spec"]["schedule"] == plan["answers"]["batch_schedule"]
        assert job["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 5400
    small = built(project, "development")
    for scaler in of(small, "HorizontalPodAutoscaler"):
        assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, 1)
    assert bool(of(small, "HorizontalPodAutoscaler")) == bool({*modes} & {"rest", "grpc"})
    replicas = {
        environment: [
            x["spec"].get("replicas") for x in of(built(project, environment), "Deployment")
        ]
        for environment in ("development", "production")
    }
    fixed = {environment: [n for n in counts if n] for environment, counts in replicas.items()}
    is_streaming = "streaming" in modes
    assert fixed == {"development": [1] * is_streaming, "production": [2] * is_streaming}


@pytest.mark.parametrize("risk_class", ["minimal", "high"])
@pytest.mark.parametrize("decision_mode", ["human_in_loop", "automated"])
@pytest.mark.parametrize("modes", [["rest"], ["grpc"], ["batch"], ["streaming"]], ids="+".join)
def test_environments_are_those_of_the_plan(
    tmp_path: Path, modes: list[str], decision_mode: str, risk_class: str
) -> None:
    answers = {"deployment_modes": modes, "decision_mode": decision_mode, "risk_class": risk_class}
    project = render(tmp_path / "p", hosting="kubernetes", plan_depth="standard", **answers)
    plan = yaml.safe_load((project / "plan/plan.yaml").read_text())
    decided = plan["decisions"]["DEP-04"]["value"]
    staging = {"staging"} if decided != "two" else set()
    made = {path.name for path in (project / OVERLAYS).iterdir()}
    assert made == {"development", "production"} | staging


def test_only_a_cluster_has_manifests(tmp_path: Path) -> None:
    alone = tree(render(tmp_path / "p", deployment_modes=["rest", "grpc", "batch"]))
    assert not [name for name in alone if "kubernetes" in name]
    words = [name for name, text in alone.items() if b"kubernetes" in text.lower()]
    assert set(words) <= {"plan/plan.yaml"}
    cluster = tree(render(tmp_path / "k", deployment_modes=["batch"], hosting="kubernetes"))
    assert "deploy/crontab" not in cluster and b"crontab" not in cluster["docs/runbook.md"]
    assert b"crontab" not in cluster["PLAN.md"]
