"""The chart, linted and rendered by Helm itself; what comes out is held against the schemas of Kubernetes."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from proxy.cli.serve import serve
from proxy.config.file import load
from tests.deploy.chart import CHART, helm

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="there is no wheel of Helm for this machine"
)

GOOD: dict[str, dict[str, Any]] = {
    "plain": {},
    "everything": {
        "autoscaling": {"enabled": True},
        "ingress": {"enabled": True, "tlsSecret": "tls"},
        "metrics": {"podMonitor": True, "rules": True},
    },
    "a company's": {
        "image": {"repository": "registry.example/team/loopway", "tag": "1.2", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "existingSecret": "of-ours",
        "workers": 4,
        "config": {
            "server": {"drain_timeout": "10m", "max_body_size": "20MB"},
            "virtual_keys": [{"slug": "openai", "provider": "openai", "key": "${OPENAI_API_KEY}"}],
            "api_keys": [{"name": "team", "key": "${TEAM_KEY}", "limits": {"concurrency": 20}}],
        },
        "drain": {"preStop": 10, "delay": "2s"},
        "terminationGracePeriodSeconds": 700,
        "autoscaling": {"enabled": True, "cpu": 0, "inFlight": 200},
        "podDisruptionBudget": {"maxUnavailable": None, "minAvailable": "50%"},
        "topologySpread": {"zone": "DoNotSchedule"},
        "service": {"type": "LoadBalancer", "port": 8080, "annotations": {"example.com/internal": "true"}},
        "networkPolicy": {"from": [{"podSelector": {"matchLabels": {"may": "ask"}}}], "egress": []},
        "metrics": {"port": 9200, "podMonitor": True},
        "nodeSelector": {"pool": "gateways"},
        "tolerations": [{"key": "pool", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "podAnnotations": {"example.com/team": "platform"},
        "extraEnv": [{"name": "LOOPWAY_LOG_LEVEL", "value": "warning"}],
    },
    "one alone": {
        "replicas": 1,
        "podDisruptionBudget": {"maxUnavailable": 0},
        "networkPolicy": {"enabled": False},
        "drain": {"preStop": 0, "delay": "500ms", "timeout": "20s"},
        "terminationGracePeriodSeconds": 30,
    },
}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no pods": ({"replicas": 0}, "/replicas"),
    "a name that does not exist": ({"replica": 3}, "'replica' not allowed"),
    "no duration": ({"drain": {"delay": "soon"}}, "/drain/delay"),
    "less time than draining takes": ({"drain": {"timeout": "10m"}}, "takes up to 610 s"),
    "less time than the file's own drain": ({"config": {"server": {"drain_timeout": "1h"}}}, "takes up to 3610 s"),
}

VERSIONS = ("1.25", kubernetes_validate.latest_version())  # the oldest that Chart.yaml takes, and the newest known


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, Any]]:
    return helm(GOOD | {name: values for name, (values, _) in BAD.items()})


@pytest.fixture(params=GOOD)
def manifests(rendered: dict[str, dict[str, Any]], request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """What one set of values makes, by kind."""
    found = rendered[request.param]
    assert "error" not in found, found["error"]
    assert found["messages"] == []
    every = [each for text in found["files"].values() for each in yaml.safe_load_all(text) if each]
    by_kind = {each["kind"]: each for each in every}
    assert len(by_kind) == len(every)
    return by_kind


def test_manifests_are_what_kubernetes_takes(manifests: dict[str, dict[str, Any]]) -> None:
    for kind, manifest in manifests.items():
        if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            continue  # the Prometheus operator's, unknown to Kubernetes
        for version in VERSIONS:
            checked = kubernetes_validate.validate(manifest, version, strict=True)
            assert version.startswith(checked), f"{kind} was not checked for {version}"


def test_manifests_fit_each_other(manifests: dict[str, dict[str, Any]]) -> None:
    deployment = manifests["Deployment"]
    pod = deployment["spec"]["template"]
    labels = pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}

    selectors = [
        manifests["Service"]["spec"]["selector"],
        manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        deployment["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in pod["spec"]["topologySpreadConstraints"]),
    ]
    named = {each["targetPort"] for each in manifests["Service"]["spec"]["ports"]}
    named |= {container[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")}
    if policy := manifests.get("NetworkPolicy"):
        selectors.append(policy["spec"]["podSelector"]["matchLabels"])
        named |= {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    if monitor := manifests.get("PodMonitor"):
        selectors.append(monitor["spec"]["selector"]["matchLabels"])
        named |= {each["port"] for each in monitor["spec"]["podMetricsEndpoints"]}
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
    assert named <= ports.keys()

    if scaler := manifests.get("HorizontalPodAutoscaler"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
        assert "replicas" not in deployment["spec"], "the autoscaler decides"
    if ingress := manifests.get("Ingress"):
        (rule,) = ingress["spec"]["rules"]
        service = rule["http"]["paths"][0]["backend"]["service"]
        assert service["name"] == manifests["Service"]["metadata"]["name"]
        assert service["port"]["name"] in {each["name"] for each in manifests["Service"]["spec"]["ports"]}


def test_the_pod_runs_a_gateway_with_little_power(manifests: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    pod = manifests["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    command, *arguments = container["args"]
    assert command == "serve"
    given = serve.make_context("serve", arguments).params
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert str(Path(given["config"]).parent) in mounts
    assert "subPath" not in mounts["/etc/loopway"]

    file = tmp_path / Path(given["config"]).name
    file.write_text(manifests["ConfigMap"]["data"][file.name])
    config = load(file, {"OPENAI_API_KEY": "sk-one", "TEAM_KEY": "lw-team-0123456789"})
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert config.server.host == "0.0.0.0"
    assert (config.server.port, config.telemetry.metrics_port) == (ports["http"], ports["metrics"])
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= wait + config.server.drain_delay + config.server.drain_timeout

    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not pod["automountServiceAccountToken"]


@pytest.mark.parametrize("name", BAD)
def test_values_that_cannot_work_are_refused_with_their_name(rendered: dict[str, dict[str, Any]], name: str) -> None:
    assert BAD[name][1] in rendered[name]["error"]


def test_alerts_in_the_cluster_are_the_alerts(rendered: dict[str, dict[str, Any]]) -> None:
    text = rendered["everything"]["files"]["loopway/templates/monitoring.yaml"]
    rules = [each for each in yaml.safe_load_all(text) if each and each["kind"] == "PrometheusRule"]
    assert [each["spec"] for each in rules] == [yaml.safe_load((CHART / "alerts.yml").read_text())]
