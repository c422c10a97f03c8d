"""What a worker declares of its device."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.messages import Presence
from worker.traits import Device, Traits, battery_level

PRESENCE = Presence("w1", "", -1, 0, False, False, ())


def supply(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir(parents=True)
    for file, text in files.items():
        (folder / name / file).write_text(f"{text}\n")


def test_a_machine_without_power_supplies_says_nothing(tmp_path: Path) -> None:
    assert battery_level(tmp_path / "none") == -1.0
    assert battery_level(tmp_path) == -1.0


def test_the_emptiest_battery_counts(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", capacity="80")
    supply(tmp_path, "BAT1", type="Battery", capacity="35")
    assert battery_level(tmp_path) == 0.35


def test_on_mains_the_battery_is_as_good_as_full(tmp_path: Path) -> None:
    supply(tmp_path, "AC", type="Mains", online="1")
    supply(tmp_path, "BAT0", type="Battery", capacity="35")
    assert battery_level(tmp_path) == 1.0


def test_mains_that_is_not_connected_is_none(tmp_path: Path) -> None:
    supply(tmp_path, "AC", type="Mains", online="0")
    supply(tmp_path, "BAT0", type="Battery", capacity="35")
    assert battery_level(tmp_path) == 0.35


def test_the_battery_of_a_mouse_is_not_the_devices(tmp_path: Path) -> None:
    supply(tmp_path, "hidpp_battery_0", type="Battery", scope="Device", capacity="5")
    assert battery_level(tmp_path) == -1.0


@pytest.mark.parametrize("capacity", ["", "unknown", "-1", "\u0663"])
def test_a_level_that_is_none_is_not_known(tmp_path: Path, capacity: str) -> None:
    supply(tmp_path, "BAT0", type="Battery", capacity=capacity)
    assert battery_level(tmp_path) == -1.0


def test_a_battery_is_never_fuller_than_full(tmp_path: Path) -> None:
    supply(tmp_path, "BAT0", type="Battery", capacity="104")
    assert battery_level(tmp_path) == 1.0


def test_a_presence_gets_all_that_is_declared_and_keeps_the_rest() -> None:
    traits = Traits(120, ("camera", "gpu"), metered=True, hours="22:00-06:00")
    device = Device(traits, minute=lambda: 1439.9, battery=lambda: 0.5)
    said = device.declare(PRESENCE)
    assert (said.examples, said.capabilities, said.metered) == (120, ("camera", "gpu"), True)
    assert (said.battery, said.local_minute, said.hours) == (0.5, 1439, "22:00-06:00")
    assert (said.worker_id, said.last_version, said.busy) == ("w1", -1, False)
