"""Container, compose and Kubernetes files, by the schemas and programs that know them, and against one another."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tests.support.programs import needs

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes" / "librarian.yaml"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"


def run(*command: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documents(path: Path) -> list[Any]:
    return list(YAML(typ="safe").load_all(path.read_text()))


def installed(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def test_compose_fits_its_specification() -> None:
    run(installed("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE))


def test_a_mistake_in_compose_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        COMPOSE.read_text().replace("    restart: unless-stopped", "    restrat: x", 1)
    )
    done = subprocess.run(
        [installed("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(tmp_path / "compose.yaml")],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 1


def test_manifests_fit_kubernetes() -> None:
    run(installed("kubernetes-validate"), "--strict", str(KUBERNETES))


def test_what_is_mounted_from_here_is_here() -> None:
    (compose,) = documents(COMPOSE)
    mounted = [
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]
    assert len(mounted) >= 5
    for path in mounted:
        assert (COMPOSE.parent / path).exists(), path


def test_named_volumes_are_declared_and_used() -> None:
    (compose,) = documents(COMPOSE)
    named = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith(".")
    }
    assert named == set(compose["volumes"])


def test_what_the_image_copies_is_here_and_enough() -> None:
    text = CONTAINERFILE.read_text()
    copied = [word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]
    for path in copied:
        assert (ROOT / path).exists(), path
    packages = re.findall(r'^    "(\w+)/\w+",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert set(packages) <= set(copied), "every package of the wheel is built into the image"
    assert "USER 10001" in text


def test_the_ports_of_the_manifests_are_those_of_the_image() -> None:
    exposed = set(re.findall(r"\d+", re.findall(r"^EXPOSE (.*)$", CONTAINERFILE.read_text(), re.MULTILINE)[0]))
    service, workload = documents(KUBERNETES)
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {str(port) for port in ports.values()} <= exposed
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    assert workload["spec"]["replicas"] == 1, "one writer"


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    needs("promtool")
    shutil.copy(DEPLOY / "compose" / "prometheus.yml", tmp_path)
    shutil.copy(DEPLOY / "prometheus" / "librarian.rules.yml", tmp_path)
    assert "SUCCESS" in run("promtool", "check", "config", str(tmp_path / "prometheus.yml"))


def test_alertmanager_takes_its_configuration() -> None:
    needs("amtool")
    assert "SUCCESS" in run("amtool", "check-config", str(DEPLOY / "compose" / "alertmanager.yml"))


def test_grafana_finds_the_boards_and_their_source() -> None:
    (compose,) = documents(COMPOSE)
    (boards,) = documents(DEPLOY / "compose" / "grafana" / "boards.yaml")
    (source,) = documents(DEPLOY / "compose" / "grafana" / "datasource.yaml")
    grafana = compose["services"]["grafana"]
    place = boards["providers"][0]["options"]["path"]
    assert f"../grafana:{place}:ro" in grafana["volumes"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == place
    board = json.loads((DEPLOY / "grafana" / home.name).read_text())
    asked = {variable["query"] for variable in board["templating"]["list"] if variable["type"] == "datasource"}
    assert asked == {known["type"] for known in source["datasources"]}
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert "prometheus" in compose["services"]
