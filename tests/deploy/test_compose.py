"""deploy/compose.yaml and what goes with it, without an engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.docs.pages import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE_TEXT = (DEPLOY / "compose.yaml").read_text("utf-8")
OURS = ("coordinator", "worker")
_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?P<kind>:?-)(?P<default>[^}]*)\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
    return read


def defaults() -> dict[str, str]:
    """Each variable with its default."""
    return {found["name"]: found["default"] for found in _VARIABLE.finditer(COMPOSE_TEXT)}


def in_example() -> dict[str, str]:
    """The same, as deploy/env.example tells people."""
    text = (DEPLOY / "env.example").read_text("utf-8")
    return dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_both_generations_of_compose_read_it(compose: dict[str, Any]) -> None:
    assert set(compose) <= {"services", "secrets", "volumes", "x-ours", "x-build", "x-arguments"}
    for match in re.finditer(r"\$\{[^}]*\$", COMPOSE_TEXT):
        raise AssertionError(f"a default within a default: {match[0]}")
    for service in compose["services"].values():
        assert "condition" not in str(service.get("depends_on", ""))


def test_what_is_used_unless_somebody_says_otherwise_is_public() -> None:
    assert defaults()["PYTHON_IMAGE"] == "python:3.11-slim-bookworm"
    assert defaults()["RABBITMQ_IMAGE"] == "rabbitmq:4-management"
    assert defaults()["TORCH_INDEX_URL"] == "https://download.pytorch.org/whl/cpu"
    assert not [name for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if defaults()[name]]


def test_every_variable_is_in_the_example_with_its_default() -> None:
    told = in_example()
    assert told.pop("PROJECT") == "fedmq"  # which make reads
    assert told == {name: value for name, value in defaults().items() if name != "SECRETS"}


def test_no_variable_is_taken_for_a_setting() -> None:
    assert not [name for name in defaults() if name.startswith("FEDMQ_")]


@pytest.mark.parametrize("service", OURS)
def test_ours_are_locked_up_and_come_back(compose: dict[str, Any], service: str) -> None:
    described = compose["services"][service]
    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert described["init"] is True
    assert described["restart"] == "unless-stopped"


def test_secrets_are_files_and_in_no_environment(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        values = [str(value) for value in service.get("environment", {}).values()]
        assert not [value for value in values if "amqp://" in value], name
    for service in OURS:
        environment = compose["services"][service]["environment"]
        assert environment["FEDMQ_BROKER_URL_FILE"] == f"/run/secrets/{service}-url"
        assert compose["services"][service]["secrets"] == [f"{service}-url"]


def test_only_this_machine_may_connect_unless_somebody_says_otherwise() -> None:
    assert defaults()["AMQP_PORT"] == "127.0.0.1:5672"
    assert defaults()["MANAGEMENT_PORT"] == "127.0.0.1:15672"


def test_the_broker_keeps_its_name_and_its_data(compose: dict[str, Any]) -> None:
    broker = compose["services"]["broker"]
    assert broker["hostname"] == "broker"
    assert "broker:/var/lib/rabbitmq" in broker["volumes"]
    assert set(compose["volumes"]) == {"broker", "coordinator", "workers"}


def test_what_is_mounted_is_there(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        for volume in service["volumes"]:
            source = _VARIABLE.sub(lambda found: found["default"], volume).split(":")[0]
            if source.startswith("./") and not source.startswith("./secrets"):
                assert (DEPLOY / source).exists(), source


def test_every_build_argument_is_one_of_the_dockerfile(compose: dict[str, Any]) -> None:
    arguments = re.findall(r"^ARG (\w+)", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert set(compose["x-arguments"]) == set(arguments)


def test_no_secret_and_no_setting_of_a_person_is_kept_by_git_or_sent_to_a_build() -> None:
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert {"deploy/secrets/", "deploy/.env"} <= set(ignored)
    sent = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert sent[1] == "*"
    assert [line for line in sent if "deploy" in line] == [
        "!deploy/requirements.py",
        "!deploy/slim.sh",
    ]


def test_a_build_is_sent_every_package(tmp_path: Path) -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    sent = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert f"!{package}" in sent
