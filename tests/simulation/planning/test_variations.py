from __future__ import annotations

from coordinator.startup import policy_of
from settings import load
from simulation.planning.variations import variations_of


def test_each_preset_is_tried_with_each_combination_of_values() -> None:
    made = variations_of(
        ["sync", "fedbuff"], {"rounds.goal": ["5", "10"], "rounds.deadline": ["60s"]}
    )
    assert [each.label for each in made] == [
        "sync goal=5",
        "sync goal=10",
        "fedbuff goal=5",
        "fedbuff goal=10",
    ]
    assert all(each.values["rounds.deadline"] == "60s" for each in made)


def policy(preset: str, configured: bool = False, **values: str) -> tuple[int, int, int, str]:
    lists = {f"rounds.{name}": [value] for name, value in values.items()}
    (made,) = variations_of([preset], lists, configured)
    found = policy_of(load(None, {}, {"coordinator.keep_versions": "all", **made.values}))
    return found.goal, found.quorum, found.concurrency, found.late


def test_presets_are_compared_at_one_concurrency() -> None:
    assert policy("sync") == (76, 60, 100, "refuse")
    assert policy("fedbuff") == (10, 1, 100, "weigh")
    assert policy("fedasync") == (1, 1, 100, "weigh")
    assert policy("sync", concurrency="130") == (100, 80, 130, "refuse")
    assert policy("fedbuff", concurrency="130") == (10, 1, 130, "weigh")


def test_a_synchronous_round_of_a_goal_has_as_many_tasks_as_that_needs() -> None:
    assert policy("sync", goal="10") == (10, 8, 13, "refuse")
    assert policy("sync", goal="10", concurrency="50") == (10, 8, 50, "refuse")


def test_a_synchronous_round_asks_for_no_more_than_there_are_workers() -> None:
    (made,) = variations_of(["sync"], {}, workers=60)
    assert (made.values["rounds.goal"], made.values["rounds.quorum"]) == (46, 36)
    (made,) = variations_of(["sync"], {}, workers=5000)
    assert made.values["rounds.goal"] == 76


def test_without_a_preset_the_settings_speak_for_themselves() -> None:
    (made,) = variations_of([""], {})
    assert made.label == "configured"
    assert made.values == {}


def test_a_file_says_what_a_preset_does_not() -> None:
    assert policy("sync", configured=True) == (2, 1, 3, "refuse")
