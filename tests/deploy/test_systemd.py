"""deploy/systemd: units that systemd reads, and that lock the services up."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(FOLDER.iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]


def lines(unit: Path) -> list[tuple[str, str, str]]:
    """(section, key, value) of each line; a key may be there more than once."""
    found, section = [], ""
    for line in unit.read_text("utf-8").splitlines():
        if head := re.fullmatch(r"\[(\w+)\]", line):
            section = head[1]
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            found.append((section, key, value))
    return found


def values(unit: Path, key: str) -> list[str]:
    return [value for _, name, value in lines(unit) if name == key]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_it_is_a_unit(unit: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.read(unit)
    assert parser.sections()[0] == "Unit"


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_is_locked_up(unit: Path) -> None:
    for key, wanted in {
        "DynamicUser": "yes",
        "ProtectSystem": "strict",
        "NoNewPrivileges": "yes",
        "CapabilityBoundingSet": "",
        "StateDirectoryMode": "0700",
        "UMask": "0077",
    }.items():
        assert values(unit, key) == [wanted], key


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_the_password_is_a_credential(unit: Path) -> None:
    (credential,) = values(unit, "LoadCredential")
    assert credential.startswith("broker-url:/etc/fedmq/secrets/")
    assert "FEDMQ_BROKER_URL_FILE=%d/broker-url" in values(unit, "Environment")
    assert not [value for value in values(unit, "Environment") if "amqp" in value]


def test_a_setting_that_is_wrong_is_not_tried_again() -> None:
    for name in ("fedmq-coordinator.service", "fedmq-worker@.service"):
        assert values(FOLDER / name, "RestartPreventExitStatus") == ["2"]


def test_a_device_that_comes_for_a_moment_is_started_by_a_timer() -> None:
    once = FOLDER / "fedmq-worker-once@.service"
    assert "--once" in values(once, "ExecStart")[0]
    assert not values(once, "Restart")
    assert values(FOLDER / "fedmq-worker-once@.timer", "Persistent") == ["yes"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_reads_it(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    for each in UNITS:
        shutil.copy(each, tmp_path)
    instance = tmp_path / unit.name.replace("@.", "@till-17.")
    # A command that is there: the one that is meant is installed elsewhere.
    for service in tmp_path.glob("*.service"):
        service.write_text(service.read_text().replace("/opt/fedmq/bin/fedmq", "/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", instance], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if line.startswith(("fedmq", str(tmp_path)))]
    assert said == []
