from pathlib import Path

import pytest

from settings.errors import SettingsError
from settings.hours import Hours
from settings.loading import load
from settings.selection import SelectionSettings


def loaded(tmp_path: Path, text: str) -> SelectionSettings:
    path = tmp_path / "federation.toml"
    path.write_text(f"[selection]\n{text}\n", encoding="utf-8")
    return load(path, {}).selection


def test_capabilities_are_names_with_commas_between_them(tmp_path: Path) -> None:
    given = loaded(tmp_path, 'capabilities = "gpu, camera ,gpu,android-14"')
    assert given.required_capabilities == ("gpu", "camera", "android-14")
    assert SelectionSettings().required_capabilities == ()


def test_hours_are_a_span_of_the_workers_day(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'hours = "22:00-06:00"').required_hours == Hours(1320, 360)
    assert SelectionSettings().required_hours is None


@pytest.mark.parametrize(
    "text",
    [
        'capabilities = "gpu,,camera"',
        'capabilities = "a name"',
        'hours = "22:00-22:00"',
        'by = "speed"',
        "candidates = 0",
        "min_battery = 1.5",
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=f"selection.{text.split()[0]}"):
        loaded(tmp_path, text)


def test_no_more_is_required_than_a_worker_can_declare(tmp_path: Path) -> None:
    names = [f"{n:064}" for n in range(33)]
    most = ", ".join(names[:32])
    assert loaded(tmp_path, f'capabilities = "{most}"').required_capabilities == tuple(names[:32])
    file = tmp_path / "worker.toml"
    file.write_text(f'[worker]\ncapabilities = "{most}"\n', encoding="utf-8")
    assert load(file, {}).worker.capability_names == tuple(names[:32])
    for wrong in (", ".join(names), "c" * 65):
        with pytest.raises(SettingsError, match="at most 32 names of up to 64 of"):
            loaded(tmp_path, f'capabilities = "{wrong}"')
