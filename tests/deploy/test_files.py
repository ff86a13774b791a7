"""The files below deploy/ are what their tools take, and name only what exists."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.metrics import FAMILIES
from tests.deploy.balancers import nginx_main

DEPLOY = Path(__file__).parents[2] / "deploy"
CHART = DEPLOY / "helm" / "loopway"


def tool(name: str, *arguments: object, **more: Any) -> str:
    """Runs a real tool and gives what it prints. Raises AssertionError if it is missing or complains."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, f"{name} is missing; tests/services.sh and make setup install it"
    ran = subprocess.run([found, *map(str, arguments)], capture_output=True, text=True, check=False, **more)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_compose_is_what_its_specification_says() -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for name in ("gateway-1", "gateway-2"):
        assert services[name]["read_only"]
        assert services[name]["cap_drop"] == ["ALL"]
    for service in services.values():
        for mount in service.get("volumes", ()):
            place = mount.split(":")[0]
            # The configuration is the operator's own.
            assert not place.startswith("./") or place == "./loopway.yaml" or (DEPLOY / place).exists(), mount


@pytest.mark.parametrize("path", sorted(DEPLOY.rglob("*.y*ml")), ids=lambda path: str(path.relative_to(DEPLOY)))
def test_yaml_is_tidy(path: Path) -> None:
    if path.parent.name == "templates":
        return  # rendered first, in test_chart.py
    off = ", ".join(f"{rule}: disable" for rule in ("braces", "document-start", "comments"))
    tool("yamllint", "-d", f"{{extends: default, rules: {{line-length: {{max: 160}}, {off}}}}}", path)


def test_haproxy_takes_its_configuration_without_a_warning() -> None:
    more = {"BIND": "127.0.0.1:1", "STATS": "127.0.0.1:2", "GATEWAY_1": "127.0.0.1:3", "GATEWAY_2": "127.0.0.1:4"}
    tool("haproxy", "-c", "-q", "-dW", "-f", DEPLOY / "haproxy" / "haproxy.cfg", env=os.environ | more)


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    tool("nginx", "-t", "-q", "-e", "stderr", "-c", nginx_main(tmp_path, DEPLOY / "nginx" / "loopway.conf"))


# Prometheus and Grafana


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def known(expression: str) -> None:
    """Raises AssertionError for a metric or a label value that this gateway does not have."""
    names = {*FAMILIES, *(f"{name}_bucket" for name, (kind, _) in FAMILIES.items() if kind == "histogram")}
    assert set(re.findall(r"loopway_\w+", expression)) <= names, expression


def test_alerts_are_good_rules_that_fire_when_they_should() -> None:
    tool("promtool", "check", "rules", DEPLOY / "prometheus" / "alerts.yml")
    tool("promtool", "test", "rules", "alerts.test.yml", cwd=DEPLOY / "prometheus")
    for alert in alerts().values():
        known(alert["expr"])
    tests = yaml.safe_load((DEPLOY / "prometheus" / "alerts.test.yml").read_text())["tests"]
    for fires in (True, False):
        tried = {
            each["alertname"] for test in tests for each in test["alert_rule_test"] if fires is ("exp_alerts" in each)
        }
        assert tried == alerts().keys(), "each is seen firing, and seen silent"


def test_the_runbook_has_every_alert_and_no_other() -> None:
    sections = re.findall(r"^### (\w+)$", (DEPLOY / "RUNBOOK.md").read_text(), re.MULTILINE)
    assert sections == list(alerts())
    for name, alert in alerts().items():
        assert alert["annotations"]["runbook"] == f"RUNBOOK.md#{name.lower()}"


def test_the_dashboard_asks_for_metrics_that_exist_and_leaves_none_out() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "loopway.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    for expression in expressions:
        known(expression)
    asked = {re.sub(r"_bucket$", "", name) for each in expressions for name in re.findall(r"loopway_\w+", each)}
    assert asked == set(FAMILIES)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


# Kubernetes


def test_the_values_of_the_chart_are_what_their_schema_says() -> None:
    tool("check-jsonschema", "--schemafile", CHART / "values.schema.json", CHART / "values.yaml")
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"].keys() - {"global"} == yaml.safe_load((CHART / "values.yaml").read_text()).keys()


def test_templates_use_values_that_exist() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for template in (CHART / "templates").iterdir():
        for path in re.findall(r"\.Values((?:\.\w+)+)", template.read_text()):
            at: Any = values
            for step in path.strip(".").split("."):
                assert step in at, f"{template.name}: .Values{path}"
                at = at[step]


def test_the_alerts_in_the_chart_are_the_alerts() -> None:
    assert (CHART / "alerts.yml").read_bytes() == (DEPLOY / "prometheus" / "alerts.yml").read_bytes()


# Capacity


def test_every_figure_of_the_capacity_is_one_that_was_measured() -> None:
    page = (DEPLOY / "README.md").read_text()
    (named,) = set(re.findall(r"\.\./(loadtests/baselines/\w+\.json)\)", page))
    scenarios = json.loads((DEPLOY.parent / named).read_text())["scenarios"]
    rows = re.findall(r"^\| .+ \| ([\d.]+) .*\| `(\w+)` \| `(\w+)` \|$", page, re.MULTILINE)
    assert len(rows) == 5
    for figure, scenario, name in rows:
        rounds = scenarios[scenario]["loopway"]["rounds"]
        measured = statistics.median(each["figures"][name] for each in rounds)
        assert float(figure) == round(measured, len(figure.partition(".")[2])), (scenario, name)
    request, event = (float(re.search(rf"{what} × (\d+) µs", page)[1]) for what in ("requests/s", "of each"))  # type: ignore[index]
    for instances, whole, streams in re.findall(
        r"^\| (\d+) \| 4 workers \| ([\d,]+) \| ([\d,]+) \|", page, re.MULTILINE
    ):
        cores = 0.6 * 4 * int(instances)
        for told, most in ((whole, cores / request * 1e6), (streams, cores / event / 30 * 1e6)):
            assert 0.95 * most <= int(told.replace(",", "")) <= most
