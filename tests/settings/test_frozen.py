import json
from pathlib import Path

from settings.fields import fields
from settings.frozen import changed, changed_fields, frozen_fields
from settings.loading import load

FROZEN = {
    "federation.name",
    "learner.path",
    "learner.config",
    "run.seed",
    "run.initial",
    "rounds.part_bytes",
    "algorithm.rule",
    "evaluation.cohort",
}
WAITS = {
    "rounds.goal",
    "rounds.late",
    "rounds.max_staleness",
    "rounds.dispatch",
    "rounds.max_examples",
    "rounds.max_norm",
    "wire.model_codec",
    *(name for name in fields() if name.startswith("algorithm.") and name != "algorithm.rule"),
}


def frozen_with(**overrides: object) -> dict[str, object]:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    return frozen_fields(load(None, {}, dotted))


def test_what_makes_a_run_what_it_is_is_frozen() -> None:
    assert {*frozen_with()} == FROZEN


def test_what_a_version_is_made_of_waits_for_the_next_one() -> None:
    assert {field.name for field in fields().values() if field.about.waits} == WAITS


def test_nothing_changed_is_no_difference() -> None:
    assert changed(frozen_with(), frozen_with()) == []


def test_frozen_fields_survive_json() -> None:
    frozen = frozen_with(learner__config='{"lr": 0.1, "bias": true}', rounds__goal=3)
    assert json.loads(json.dumps(frozen)) == frozen


def test_a_change_is_named_with_both_values() -> None:
    old = frozen_with(run__seed=3, rounds__part_bytes="4MiB", run__initial="learner")
    new = frozen_with(run__seed=4, rounds__part_bytes="1MiB", run__initial="run:abc")
    assert changed(old, new) == [
        "run.seed: was 3, now 4",
        'run.initial: was "learner", now "run:abc"',
        "rounds.part_bytes: was 4MiB, now 1MiB",
    ]


def test_what_may_change_between_two_starts_is_no_difference() -> None:
    new = frozen_with(
        run__rounds=99,
        rounds__deadline="1s",
        rounds__lease="2s",
        rounds__concurrency=20,
        rounds__goal=15,
        rounds__late="refuse",
        broker__url="amqps://elsewhere/",
        coordinator__state_dir="elsewhere",
    )
    assert changed(frozen_with(), new) == []


def test_a_folder_that_moved_is_no_difference(tmp_path: Path) -> None:
    old = frozen_with(learner__path="/a/model.py", run__initial="/a/start.safetensors")
    new = frozen_with(learner__path="/b/model.py:learner", run__initial="/b/start.safetensors")
    assert changed(old, new) == []


def test_another_learner_in_the_same_file_is_a_difference() -> None:
    old, new = frozen_with(learner__path="/a/m.py:one"), frozen_with(learner__path="/a/m.py:two")
    assert changed(old, new) == ['learner.path: was "m.py:one", now "m.py:two"']


def test_a_table_is_compared_key_by_key() -> None:
    old = frozen_with(learner__config='{"lr": 0.1, "gone": 1, "same": 1, "flag": 1}')
    new = frozen_with(learner__config='{"lr": 0.2, "new": "x", "same": 1.0, "flag": true}')
    assert changed(old, new) == [
        "learner.config.flag: was 1, now true",
        "learner.config.gone: was 1, now not set",
        "learner.config.lr: was 0.1, now 0.2",
        'learner.config.new: was not set, now "x"',
    ]


def test_a_secret_of_the_learner_is_not_shown() -> None:
    old = frozen_with(learner__config='{"api_token": "s3cret"}')
    assert changed(old, frozen_with()) == ["learner.config.api_token: was ***, now not set"]


def test_a_field_that_one_release_does_not_know_is_no_difference() -> None:
    assert changed({"rounds.goal": 2, "rounds.gone": 1}, {"rounds.goal": 2, "rounds.new": 1}) == []


def test_a_field_of_another_release_is_shown_as_it_is() -> None:
    assert changed({"rounds.other": True}, {"rounds.other": False}) == [
        "rounds.other: was true, now false"
    ]


def test_all_that_differs_is_named_with_both_values() -> None:
    old = load(None, {}, {"learner.config": '{"api_token": "s3cret"}'})
    new = load(None, {}, {"rounds.goal": 3, "rounds.deadline": "5s"})
    assert changed_fields(old, new) == {
        "learner.config": "learner.config.api_token: was ***, now not set",
        "rounds.goal": "rounds.goal: was 2, now 3",
        "rounds.deadline": "rounds.deadline: was 10m, now 5s",
    }


def test_every_frozen_field_says_why() -> None:
    assert all(fields()[name].about.why for name in FROZEN)
