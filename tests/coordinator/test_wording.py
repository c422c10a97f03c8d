from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from coordinator.algorithm import Stepping
from coordinator.choosing import algorithm_of
from coordinator.policy import flattened
from coordinator.startup import policy_of
from coordinator.weighing import Weighing
from coordinator.wording import SAID_AS, count_of, listed, moment, policy_in_words, span
from settings import Settings
from settings.algorithm import AlgorithmSettings
from settings.fields import fields
from tests.coordinator.bench import policy


def test_a_time_is_written_in_utc() -> None:
    assert moment(0.0) == "1970-01-01 00:00:00 UTC"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (600, "10 min"), (36_000, "10.0 h"), (259_200, "3.0 days")],
)
def test_how_long_is_written_roughly(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_one_is_no_plural() -> None:
    assert [count_of(number, "part") for number in (0, 1, 2)] == ["0 parts", "1 part", "2 parts"]


def test_counts_are_listed_or_there_are_none() -> None:
    assert listed({"counted": 3, "late": 1}) == "3 counted, 1 late"
    assert listed({}) == "none"


USUAL: dict[str, Any] = {"max_extensions": 3, "drain_s": 30.0}
ALGORITHM = algorithm_of(AlgorithmSettings())


def test_a_policy_is_said_with_all_that_is_not_the_default() -> None:
    assert policy_in_words(policy(algorithm=ALGORITHM, **USUAL).as_json()) == (
        "goal 2, quorum 1, late updates weighed up to 2 versions behind, dispatch pool, "
        "concurrency 3, deadline 1m, lease 30s"
    )
    other = policy(
        late="refuse",
        dispatch="direct",
        max_norm=50.0,
        weighing=Weighing(example_weights="sqrt", a=0.7),
        algorithm=replace(
            ALGORITHM,
            rule="median",
            by_count=True,
            clip_norm=1.5,
            stepping=Stepping("adam", lr=0.1),
        ),
        max_seconds=3600.0,
        **USUAL,
    )
    assert policy_in_words(other.as_json()) == (
        "goal 2, quorum 1, late updates refused, dispatch direct, concurrency 3, deadline 1m, "
        "lease 30s, max_norm 50, max_seconds 1h, example_weights sqrt, staleness_a 0.7, "
        "rule median, normalise count, clip_norm 1.5, optimizer adam, server_lr 0.1"
    )


def test_no_field_of_a_policy_is_forgotten() -> None:
    always = {"goal", "quorum", "concurrency", "deadline_s", "lease_s", "dispatch"}
    always |= {"late", "max_staleness", "rounds"}  # how many rounds stands beside the version
    assert always | set(SAID_AS) == set(flattened(policy().as_json()))
    assert {name.split(".")[-1] for name in fields()} >= set(SAID_AS.values())


def test_a_policy_that_an_older_release_stored_is_said_as_far_as_it_goes() -> None:
    stored = policy(algorithm=ALGORITHM, **USUAL).as_json()
    del stored["algorithm"], stored["weighing"]
    assert policy_in_words(stored) == policy_in_words(
        policy(algorithm=ALGORITHM, **USUAL).as_json()
    )


def test_of_a_policy_without_settings_only_what_has_no_default_is_said() -> None:
    said = policy_in_words(policy_of(Settings()).as_json())
    assert said.endswith("dispatch pool, concurrency 3, deadline 10m, lease 30m")
