import re
from typing import Any

import msgspec
import pytest

from settings.algorithm import AlgorithmSettings
from settings.fields import fields, sections
from settings.hours import Hours
from settings.model import Settings
from settings.rounds import RoundsSettings
from settings.services import WorkerSettings

# Files that people have must go on working: a key may be added here, never renamed or removed.
KEYS = {
    "federation": "name",
    "broker": "url heartbeat connect_timeout",
    "depot": "url endpoint region credentials min_bytes",
    "learner": "path data config",
    "run": "rounds seed initial max_seconds evaluate",
    "rounds": "preset goal quorum concurrency deadline adaptive_deadline deadline_floor "
    "lease late max_staleness dispatch "
    "max_extensions max_examples max_norm part_bytes drain",
    "algorithm": "rule trim clip_norm population normalise example_weights staleness staleness_a "
    "staleness_b max_local_steps optimizer server_lr beta1 beta2 tau prox_mu",
    "selection": "candidates by cool_down seen_within min_examples capabilities min_battery "
    "unmetered hours pace",
    "wire": "profile codec model_codec",
    "evaluation": "cohort every goal deadline min_examples by metric better smoothing min_delta "
    "sureness patience guard_loss guard_norm",
    "coordinator": "state_dir keep_versions spool_keep_rounds uploads_age uploads_bytes senders",
    "worker": "state_dir device on_for off_for hours max_model_bytes presence train_timeout "
    "reader_linger examples capabilities metered",
}


def test_sections_and_keys_stay_as_they_are() -> None:
    found = {
        section: " ".join(field.key for field in fields().values() if field.section == section)
        for section in sections()
    }
    assert found == KEYS


@pytest.mark.parametrize("name", fields())
def test_a_field_says_what_it_means_and_why_a_run_keeps_it(name: str) -> None:
    about = fields()[name].about
    assert re.fullmatch(r"[A-Z].*\.", about.meaning)
    assert about.why


@pytest.mark.parametrize("name", fields())
def test_a_number_has_bounds(name: str) -> None:
    field = fields()[name]
    if field.type in (int, float):
        assert field.about.at_least is not None
        assert field.about.at_most is not None


@pytest.mark.parametrize("name", fields())
def test_a_duration_s_attribute_ends_in_its_unit_and_its_key_does_not(name: str) -> None:
    field = fields()[name]
    expected = f"{field.key}_s" if field.about.kind == "duration" else field.key
    assert field.attribute == expected


def test_unknown_fields_are_forbidden_in_every_section() -> None:
    configs = [struct.__struct_config__ for struct in sections().values()]
    configs.append(Settings.__struct_config__)
    assert all(config.forbid_unknown_fields and config.frozen for config in configs)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().rounds.goal = 3  # type: ignore[misc]


def test_tasks_in_flight_are_the_concurrency_or_the_goal_and_30_percent() -> None:
    assert RoundsSettings(goal=5, concurrency=8).tasks_in_flight == 8
    shares = [RoundsSettings(goal=goal).tasks_in_flight for goal in (1, 2, 3, 10, 100, 101)]
    assert shares == [2, 3, 4, 13, 130, 132]


@pytest.mark.parametrize(
    ("optimizer", "lr"),
    [("none", 1.0), ("momentum", 0.2), ("adagrad", 0.1), ("adam", 0.1), ("yogi", 0.01)],
)
def test_an_optimiser_has_a_learning_rate_of_its_own(optimizer: Any, lr: float) -> None:
    assert AlgorithmSettings(optimizer=optimizer, beta1=0.8).lr == pytest.approx(lr)
    assert AlgorithmSettings(optimizer=optimizer, server_lr=0.7).lr == 0.7


def test_a_worker_knows_its_hours_as_a_span() -> None:
    assert WorkerSettings().open_hours is None
    assert WorkerSettings(hours="22:00-06:00").open_hours == Hours(1320, 360)


def test_a_field_without_a_description_is_a_bug() -> None:
    from settings.fields import _field

    class Broken(msgspec.Struct):
        bare: int = 1

    with pytest.raises(TypeError, match=r"rounds\.bare is not Annotated"):
        _field("rounds", msgspec.structs.fields(Broken)[0])
