"""Another round policy for a run that is under way: by a restart, or by reading it again."""

from __future__ import annotations

import pytest

from coordinator.policy import RoundPolicy
from coordinator.reports import status_of
from coordinator.rereading import TAKEN
from fedmq.status import lines_of
from settings.describe import reference
from settings.errors import SettingsError
from tests.coordinator.steps import Steps
from tests.coordinator.test_replay import KEPT, outcomes
from tests.coordinator.test_service_time import until
from tests.coordinator.world import MakeWorld, World


def start(world: World) -> None:
    """Start a coordinator that can read its settings again."""
    service = world.make(read_again=world.settings)
    world.lives.append(service)
    service.begin()
    world.step()


def reload(world: World, **changes: object) -> None:
    """Change the settings and have the coordinator read them."""
    world.change(**changes)
    world.service.reload()
    world.step()


def policy_of(world: World, version: int) -> RoundPolicy:
    return RoundPolicy.from_json(world.version_row(version).policy)


@pytest.fixture(params=["restart", "reload"])
def way(request: pytest.FixtureRequest) -> str:
    """How a change reaches the coordinator."""
    return str(request.param)


def changed(make_world: MakeWorld, way: str, before: int = 0, **changes: object) -> World:
    """A world whose settings change after so many updates of its first round."""
    world = make_world(begin=False, rounds__concurrency=4)
    start(world)
    world.round(*[1.0] * before)
    if way == "reload":
        reload(world, **changes)
    else:
        world.change(**changes)
        world.kill()
        start(world)
    return world


def test_the_open_round_keeps_its_goal_and_the_next_has_the_new_one(
    make_world: MakeWorld, way: str
) -> None:
    world = changed(make_world, way, before=1, rounds__goal=3)
    assert (world.service.look().goal, world.run_row().goal) == (2, 2)
    world.round(1.0)
    assert world.version == 1
    assert (world.service.look().goal, world.run_row().goal) == (3, 3)
    world.round(1.0, 1.0)
    assert world.version == 1
    world.round(1.0)
    assert world.version == 2
    assert [policy_of(world, version).goal for version in (1, 2)] == [2, 3]
    status = status_of(world.settings())
    assert (status["goal"], status["policy"]["goal"]) == (3, 3)
    assert "policy   goal 3, quorum 1, late updates weighed" in "\n".join(lines_of(status))


def test_a_goal_below_what_the_open_round_has_counted_waits_as_well(
    make_world: MakeWorld, way: str
) -> None:
    world = changed(make_world, way, before=1, rounds__goal=1)
    assert world.version == 0
    world.round(1.0)
    world.round(1.0)
    assert world.version == 2


def test_what_waits_for_the_next_version_is_said(
    make_world: MakeWorld, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    changed(make_world, way, rounds__goal=3)
    assert "with version 1 the round policy changes: goal: was 2, now 3" in caplog.text


def test_the_first_version_is_made_by_no_policy(make_world: MakeWorld) -> None:
    assert make_world().version_row(0).policy == {}


def test_an_update_is_judged_by_the_policy_of_the_round_that_it_meets(
    make_world: MakeWorld, way: str
) -> None:
    world = changed(make_world, way, rounds__max_norm=1.0)
    (first,) = world.round(9.0)
    world.round(1.0)
    (second,) = world.round(9.0)
    assert [world.verdict(update_id) for update_id in (first, second)] == ["counted", "over-norm"]


def test_a_shorter_deadline_holds_for_the_open_round(make_world: MakeWorld, way: str) -> None:
    world = changed(make_world, way, before=1, rounds__deadline="15s")
    until(world, 15.0)
    assert (world.version, world.version_row(1).why) == (1, "deadline")


def test_more_tasks_in_flight_are_offered_at_once(make_world: MakeWorld, way: str) -> None:
    world = changed(make_world, way, rounds__concurrency=7)
    assert len(world.open_tasks()) == 7
    assert world.ready("task") >= 7


def test_a_policy_that_waits_holds_after_one_more_restart(make_world: MakeWorld, way: str) -> None:
    world = changed(make_world, way, before=1, rounds__goal=3)
    world.kill()
    start(world)
    assert world.service.look().goal == 2
    world.round(1.0)
    assert world.service.look().goal == 3


def test_a_policy_that_waits_is_forgotten_if_it_is_taken_back(
    make_world: MakeWorld, way: str
) -> None:
    world = changed(make_world, way, before=1, rounds__goal=3)
    reload(world, rounds__goal=2)
    world.round(1.0)
    assert world.service.look().goal == 2


def test_a_paused_run_takes_another_policy_at_once(make_world: MakeWorld, way: str) -> None:
    world = make_world(
        begin=False,
        rounds__goal=3,
        rounds__quorum=3,
        rounds__concurrency=3,
        rounds__max_extensions=0,
    )
    start(world)
    world.round(1.0, 3.0)
    until(world, 60.0)
    assert world.state == "paused"
    world.change(rounds__goal=2, rounds__quorum=2)
    if way == "reload":
        reload(world)
    else:
        world.kill()
        start(world)
    assert (world.version, world.weight(1)) == (1, 3.0)
    assert policy_of(world, 1).goal == 2


def test_a_run_that_was_ended_by_its_rounds_goes_on_with_more_and_another_goal(
    make_world: MakeWorld,
) -> None:
    world = make_world(run__rounds=1)
    world.round(1.0, 1.0)
    assert world.state == "draining"
    world.change(run__rounds=2, rounds__goal=1)
    world.restart()
    assert world.service.look().goal == 1
    world.round(1.0)
    assert world.version == 2


def test_the_time_that_a_run_may_take_can_be_changed(make_world: MakeWorld, way: str) -> None:
    world = changed(make_world, way, before=1, run__max_seconds=20)
    until(world, 20.0)
    assert (world.state, world.version) == ("draining", 1)


@pytest.mark.parametrize("where", ["before commit", "after commit"])
def test_a_kill_while_the_policy_changes_costs_nothing(
    make_world: MakeWorld, steps: Steps, where: str
) -> None:
    world = make_world(begin=False, rounds__concurrency=4)
    start(world)
    world.round(1.0)
    world.change(rounds__goal=3, rounds__deadline="30s")
    steps.kill_at_name(where)
    world.service.reload()
    world.step()
    assert steps.killed == where
    assert world.service.look().goal == 2
    world.round(3.0)
    assert world.weight(1) == 3.0
    assert world.service.look().goal == 3
    assert policy_of(world, 1).deadline_s == 30.0


# what is not taken


def test_settings_that_cannot_be_read_change_nothing(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(begin=False)
    start(world)
    reload(world, rounds__goal=50)
    assert "the settings are not taken: rounds.goal" in caplog.text
    with pytest.raises(SettingsError):
        world.settings()
    world.change(rounds__goal=1)  # and nobody tells the coordinator
    world.round(1.0, 1.0)
    assert world.service.look().goal == 2


def test_settings_that_the_run_keeps_change_nothing(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(begin=False)
    start(world)
    reload(world, rounds__goal=1, run__seed=5)
    assert "keeps run.seed: was 0, now 5" in caplog.text
    world.round(1.0, 1.0)
    assert world.service.look().goal == 2


def test_settings_of_the_service_wait_for_its_next_start(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(begin=False)
    start(world)
    reload(world, rounds__goal=1, coordinator__keep_versions=50)
    assert "taken at the next start: coordinator.keep_versions" in caplog.text
    assert "a setting is changed, with the next version: rounds.goal: was 2, now 1" in caplog.text
    world.round(1.0, 1.0)
    assert world.service.look().goal == 1


def test_settings_that_did_not_change_are_said_to(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(begin=False)
    start(world)
    reload(world)
    assert "nothing is changed" in caplog.text


def test_settings_are_read_again_while_the_disk_refuses(
    make_world: MakeWorld, steps: Steps
) -> None:
    world = make_world(begin=False, rounds__concurrency=4)
    start(world)
    steps.trouble["before commit"] = OSError("no space left")
    world.worker("a").say_present()
    world.step()
    reload(world, rounds__goal=1)
    steps.trouble.clear()
    until(world, 5.0)
    assert world.state == "collecting"
    world.round(1.0, 1.0)
    world.round(1.0)
    assert world.version == 2


# another algorithm


def test_another_algorithm_makes_the_next_version_but_one(make_world: MakeWorld, way: str) -> None:
    world = changed(make_world, way, before=1, algorithm__server_lr=0.5)
    world.round(3.0)
    assert world.weight(1) == 1.0 + 2.0
    world.round(1.0, 3.0)
    assert world.weight(2) == 3.0 + 1.0


def pairs(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each with the one after it."""
    return list(zip(names, (*names[1:], names[0]), strict=True))


OPTIMIZERS = ("none", "momentum", "adagrad", "adam", "yogi")


@pytest.mark.parametrize(("first", "then"), pairs(OPTIMIZERS))
def test_an_optimizer_follows_on_another_and_every_version_can_be_made_again(
    make_world: MakeWorld, first: str, then: str
) -> None:
    models = []
    for restarts in (False, True):
        world = make_world(
            begin=False,
            run__rounds=9,
            algorithm__optimizer=first,
            **KEPT,
        )
        start(world)
        for value in (first, then, first):
            reload(world, algorithm__optimizer=value)
            for _ in range(2):
                world.round(1.0)
                if restarts:
                    world.kill()
                    start(world)
                world.round(2.0)
        models.append([world.model(version) for version in range(7)])
        world.kill()
        assert outcomes(world) == ["initial", *["the same"] * 6]
    assert models[0] == models[1]


# who is drawn


def test_who_may_be_drawn_changes_at_once(make_world: MakeWorld, way: str) -> None:
    world = changed(make_world, way, rounds__dispatch="direct", selection__min_examples=10)
    world.round(1.0, 1.0)
    assert world.version == 1, "the first round was the pool's"
    for name, examples in (("small", 9), ("large", 10)):
        world.worker(name).say_present(examples=examples)
    world.step()
    world.pass_to_wake()
    assert [row.worker_id for row in world.open_tasks()] == ["large"]
    reload(world, selection__min_examples=9)
    world.worker("small").say_present(examples=9)
    world.step()
    world.pass_to_wake()
    assert [row.worker_id for row in world.open_tasks()] == ["large", "small"]


def test_the_reference_names_the_sections_that_are_read_again() -> None:
    for section in TAKEN:
        assert f"`[{section}]`" in reference()


def test_whom_a_run_selects_may_change_while_it_is_under_way(make_world: MakeWorld) -> None:
    world = make_world(begin=False, selection__min_examples=10, selection__capabilities="gpu")
    start(world)
    worker = world.worker("a")

    def may_take() -> bool:
        token = worker.say_present(examples=10, capabilities=("nfc",))
        world.step()
        return worker.standing_of(token).may_take

    assert not may_take()
    reload(world, selection__capabilities="nfc")
    assert may_take()
    reload(world, selection__min_examples=11)
    assert not may_take()


def test_what_is_at_odds_with_settings_that_wait_for_a_start_is_not_taken(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(begin=False)
    start(world)
    keeps = world.settings().coordinator.keep_versions
    reload(world, rounds__max_staleness=400, coordinator__keep_versions=1000)
    assert f"less than coordinator.keep_versions, which is {keeps}, got 400" in caplog.text
    assert "Start the coordinator again to take all of them" in caplog.text
    world.round(1.0, 1.0)
    assert policy_of(world, 1).max_staleness < keeps
    world.kill()
    start(world)
    world.round(1.0, 1.0)
    world.round(1.0, 1.0)
    assert policy_of(world, 3).max_staleness == 400


def test_the_cohort_evaluates_the_last_version_of_a_run_that_was_made_longer(
    make_world: MakeWorld,
) -> None:
    world = make_world(begin=False, run__rounds=10, evaluation__cohort=0.1)
    start(world)
    reload(world, run__rounds=20, rounds__max_examples=7)
    plan = world.service._run.evaluations.plan
    assert (plan.rounds, plan.max_examples) == (20, 7)
