from pathlib import Path

import pytest

from settings import SettingsError, load
from settings.evaluation import EvaluationSettings


def loaded(tmp_path: Path, text: str) -> EvaluationSettings:
    path = tmp_path / "federation.toml"
    path.write_text(f"[evaluation]\n{text}\n", encoding="utf-8")
    return load(path, {}).evaluation


def test_by_default_nobody_is_held_back_and_nothing_follows() -> None:
    settings = EvaluationSettings()
    off = (settings.cohort, settings.patience, settings.guard_loss, settings.guard_norm)
    assert off == (0, 0, 0, 0)


@pytest.mark.parametrize("text", ["guard_loss = 1.0", "guard_norm = 0.5"])
def test_a_guard_must_leave_room_above_the_best(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match="expected a factor above 1, or 0 for no guard"):
        loaded(tmp_path, text)


@pytest.mark.parametrize("text", ["guard_loss = 2", "guard_norm = 10.0", "guard_loss = 0"])
def test_a_guard_above_one_or_none_is_taken(tmp_path: Path, text: str) -> None:
    name, value = text.split(" = ")
    assert getattr(loaded(tmp_path, text), name) == float(value)


@pytest.mark.parametrize(
    "text",
    ["cohort = 0.5", "every = 0", "goal = 0", 'better = "more"', 'metric = ""', "goal = 10001"],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=f"evaluation.{text.split()[0]}"):
        loaded(tmp_path, text)


@pytest.mark.parametrize("text", ["patience = 3", "guard_loss = 2"])
def test_nothing_follows_where_nobody_evaluates(tmp_path: Path, text: str) -> None:
    path = tmp_path / "federation.toml"
    path.write_text(f"[run]\nevaluate = false\n[evaluation]\n{text}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="nobody evaluates"):
        load(path, {})
    path.write_text(path.read_text() + "cohort = 0.1\n", encoding="utf-8")
    assert load(path, {}).evaluation.cohort
    path.write_text(path.read_text() + 'by = "coordinator"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match="the coordinator's measurements count"):
        load(path, {})
    path.write_text(path.read_text().replace("false", "true"), encoding="utf-8")
    assert load(path, {}).evaluation.by == "coordinator"
