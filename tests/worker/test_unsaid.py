"""A task that is begun on what was told before, and said to be taken only if it takes a while."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.worker.examples import a_base, a_standing, a_start, a_task
from tests.worker.world import OPTIONS, World
from worker import events, states
from worker.options import Once
from worker.unsaid import SAY_S, TOLD_S, YOUNG_S

TASK = a_task()


def told(version: int = 0, *, with_base: bool = True, **says: Any) -> World:
    """A worker that may take a task, and knows what it would be for."""
    world = World()
    world.connect()
    base = a_base(version) if with_base else None
    world.stand(a_standing(may_take=True, version=version, base=base, **says))
    return world


def fetching() -> World:
    world = told()
    world.deliver(TASK, 1)
    return world


def training() -> World:
    world = fetching()
    world.has_model()
    return world


def said(world: World, about: str = "taken") -> int:
    return sum(ref.about == about for ref in world.said)


def declared(world: World) -> World:
    """So long at work that it says so; the broker has it."""
    world.tick(SAY_S)
    world.confirm(world.last("taken"))
    return world


def test_a_task_is_begun_at_once_on_what_was_told() -> None:
    world = fetching()
    assert world.fetching == replace(a_start(TASK), seed=TASK.seed)
    world.has_model()
    assert world.trainings == [TASK.task_id]
    assert not said(world)


def test_one_that_is_soon_done_is_acked_once_the_broker_has_its_update() -> None:
    world = training()
    world.finish_training()
    assert 1 in world.tags
    world.confirm(world.last("update"))
    assert 1 not in world.tags
    assert not said(world)


def test_an_update_in_parts_tells_who_has_the_task_only_when_it_is_closed() -> None:
    world = training()
    world.finish_training(payload_bytes=128)
    for _ in range(2):
        world.confirm(world.last("part"))
        assert 1 in world.tags
    world.confirm(world.last("update"))
    assert 1 not in world.tags


def test_one_that_takes_longer_is_said_to_be_taken_and_then_acked() -> None:
    world = training()
    world.tick(SAY_S / 2)
    assert not said(world)
    world.tick(SAY_S / 2)
    assert said(world) == 1
    assert 1 in world.tags
    world.confirm(world.last("taken"))
    assert 1 not in world.tags


def test_one_that_is_done_before_the_answer_is_not_put_into_the_inbox_again() -> None:
    world = training()
    world.commit_training()  # the agent does not know yet
    declared(world)
    assert not world.inbox
    assert 1 not in world.tags


def test_without_an_answer_it_is_said_again() -> None:
    world = declared(training())
    world.tick(60.0)
    assert said(world) == 2
    world.start(TASK)
    world.tick(600.0)
    assert said(world) == 2


def test_a_start_that_overtakes_the_confirm_counts_as_one() -> None:
    world = training()
    world.tick(SAY_S)
    world.start(TASK)
    assert 1 not in world.tags


def test_what_is_not_confirmed_is_said_again() -> None:
    world = training()
    world.tick(SAY_S)
    world.fail(world.last("taken"))
    assert 1 in world.tags
    world.tick(2.0)
    world.confirm(world.last("taken"))
    assert 1 not in world.tags


@pytest.mark.parametrize(
    ("says", "task"),
    [
        ({"with_base": False}, {}),
        ({"incarnation": 2}, {}),
        ({"run_id": "0" * 32}, {}),
        ({}, {"kind": "evaluate"}),
        ({}, {"base_version": 5}),
        ({}, {"codec": "new"}),
        ({"base": a_base(model_codec="new"), "with_base": False}, {}),
    ],
)
def test_who_was_not_told_what_it_is_for_asks(says: dict[str, Any], task: dict[str, Any]) -> None:
    base = says.pop("base", None)
    world = told(**says)
    if base is not None:
        world.stand(a_standing(may_take=True, base=base))
    world.deliver(a_task(**task), 1)
    assert world.fetching is None
    assert said(world) + said(world, "declined") == 1


def test_what_was_told_a_while_ago_is_asked_for_again() -> None:
    world = told()
    world.tick(TOLD_S + 0.01)
    world.deliver(TASK, 1)
    assert said(world) == 1


def test_a_direct_task_for_the_version_that_was_told_is_begun_at_once() -> None:
    world = told(version=3)
    world.deliver(a_task(base_version=3), 1)
    assert world.fetching is not None
    assert world.fetching.base_version == 3


def test_a_version_that_is_sat_out_is_not_begun() -> None:
    world = told()
    world.deliver(TASK, 1)
    world.has_model()
    world.training = None
    world.happens(events.TrainingFailed(TASK.task_id, "unfit", "its layout differs"))
    world.confirm(world.last("declined"))
    assert 1 not in world.tags
    world.tick(60.0)
    world.stand(a_standing(may_take=True, base=a_base(), queue="own"))
    world.deliver(a_task(1), 2)
    assert len(world.trainings) == 1


def test_no_other_is_taken_before_the_broker_knows_of_the_first() -> None:
    world = training()
    world.finish_training()
    world.stand(a_standing(may_take=True, version=1, base=a_base(1)))
    assert not world.consuming
    world.confirm(world.last("update"))
    assert world.consuming


# Killed.


def test_killed_it_asks_before_it_goes_on() -> None:
    """The broker has offered the task to somebody else, perhaps."""
    world = training()
    world.restart()
    world.connect()
    assert said(world) == 1
    assert len(world.trainings) == 1
    world.start(TASK, version=0)
    assert len(world.trainings) == 2


def test_killed_after_it_was_said_it_goes_on_though_there_is_no_broker() -> None:
    world = declared(training())
    world.restart()
    world.tick(0.0)
    assert len(world.trainings) == 2


def test_killed_without_a_connection_it_goes_on_too() -> None:
    world = training()
    world.disconnect()
    world.restart()
    world.tick(0.0)
    assert len(world.trainings) == 2


def test_killed_before_training_began_it_has_nothing() -> None:
    world = fetching()
    world.restart()
    assert world.session.work == states.Idle()


# The connection is lost.


def test_a_training_goes_on_without_a_connection_and_is_said_with_the_next() -> None:
    world = training()
    world.disconnect()
    assert world.training == TASK.task_id
    world.connect()
    assert said(world) == 1
    world.confirm(world.last("taken"))
    world.finish_training()
    assert world.updates_sent


def test_done_without_a_connection_only_its_update_is_sent_with_the_next() -> None:
    world = training()
    world.disconnect()
    world.finish_training()
    world.connect()
    assert not said(world)
    assert world.updates_sent


def test_what_was_not_begun_when_the_connection_was_lost_is_left_to_the_broker() -> None:
    world = fetching()
    world.disconnect()
    assert world.session.work == states.Idle()
    assert not world.inbox


# The coordinator says something else.


def test_another_version_is_trained_on_instead() -> None:
    world = training()
    world.tick(SAY_S)
    world.start(TASK, version=1)
    assert world.fetching is not None
    assert world.fetching.base_version == 1
    world.has_model()
    parcel = world.finish_training()
    assert parcel.base_version == 1
    assert world.inbox == {}


def test_another_version_is_fetched_instead() -> None:
    world = fetching()
    world.tick(SAY_S)
    world.start(TASK, version=1)
    assert world.fetching is not None
    assert world.fetching.base_version == 1


def test_what_is_done_before_it_could_be_cancelled_is_sent() -> None:
    world = training()
    world.tick(SAY_S)
    parcel = world.commit_training()
    world.start(TASK, version=1)
    world.die_after_commit()
    assert world.updates_sent == [parcel.update_id]
    assert world.fetching is None


def test_work_of_some_time_is_not_thrown_away_for_another_version() -> None:
    world = training()
    world.disconnect()
    world.tick(YOUNG_S + 1.0)
    world.connect()
    world.start(TASK, version=1)
    assert world.training == TASK.task_id
    assert world.finish_training().base_version == 0


@pytest.mark.parametrize("begin", [fetching, training])
def test_a_task_that_is_not_wanted_is_given_up(begin: Any) -> None:
    world = begin()
    world.tick(SAY_S)
    world.start(TASK, wanted=False)
    assert 1 not in world.tags
    assert world.session.work == states.Idle()
    assert world.inbox == {}


def test_work_of_some_time_is_sent_though_its_task_is_not_wanted() -> None:
    """Its lease may have ended: the verdict decides."""
    world = training()
    world.disconnect()
    world.tick(YOUNG_S + 1.0)
    world.connect()
    world.start(TASK, wanted=False)
    assert world.training == TASK.task_id


def test_what_the_answer_says_of_the_lease_counts() -> None:
    world = fetching()
    world.tick(SAY_S)
    world.start(TASK, lease_s=9.0)
    world.has_model()
    (train,) = [action for action in world.actions if isinstance(action, events.Train)]
    assert train.deadline_s is not None
    assert train.deadline_s <= 9.0


def test_a_report_of_another_task_says_nothing_of_this_one() -> None:
    world = fetching()
    world.happens(events.TrainingFailed(a_task(9).task_id, "cancelled", "as was asked"))
    world.disconnect()
    assert world.session.work == states.Idle()


def test_a_disk_that_refused_another_task_stops_not_this_one() -> None:
    world = training()
    world.happens(events.TrainingFailed(a_task(9).task_id, "disk", "no space left"))
    assert isinstance(world.session.work, states.Training)


def test_a_slow_confirm_of_the_update_makes_nobody_say_more() -> None:
    world = training()
    world.finish_training()
    world.tick(2 * SAY_S)
    assert not said(world)
    world.tick(60.0)  # something is wrong
    assert said(world) == 1


def test_what_is_given_up_is_not_said_to_be_taken() -> None:
    world = fetching()
    world.fetching = None
    world.happens(events.ModelGone(a_base().model_digest, "a gap"))
    world.tick(SAY_S)
    assert not said(world)
    world.confirm(world.last("declined"))
    assert 1 not in world.tags
    assert not world.inbox


def test_killed_after_it_went_on_alone_it_is_said_with_the_next_connection() -> None:
    world = training()
    world.disconnect()
    world.restart()
    world.connect()
    assert said(world) == 1


# The disk refuses.


def test_a_task_that_the_disk_does_not_take_is_held_as_any_other() -> None:
    world = fetching()
    world.disk_is_full = True
    world.has_model()
    assert isinstance(world.session.work, states.Keeping)
    assert 1 in world.tags
    world.disk_is_full = False
    world.tick(1.0)
    assert said(world) == 1
    world.confirm(world.last("taken"))
    world.start(TASK)
    assert world.training == TASK.task_id


def test_nothing_is_acked_before_the_disk_has_it() -> None:
    world = fetching()
    world.disk_is_full = True
    world.tick(SAY_S)
    world.confirm(world.last("taken"))
    assert 1 in world.tags
    world.disk_is_full = False
    world.tick(12.0)
    world.confirm(world.last("taken"))
    assert 1 not in world.tags
    assert TASK.task_id in world.inbox


# It ends.


def test_told_to_stop_it_keeps_what_it_began_and_the_broker_has_it_too() -> None:
    world = training()
    world.happens(events.Stop())
    assert TASK.task_id in world.inbox
    assert 1 in world.tags


def test_once_leaves_when_its_task_is_acked() -> None:
    world = World(replace(OPTIONS, plan=Once(30.0)))
    world.connect()
    world.stand(a_standing(may_take=True, base=a_base()))
    world.deliver(TASK, 1)
    world.has_model()
    world.finish_training()
    world.confirm(world.last("update"))
    assert 1 not in world.tags
    world.stand(a_standing(verdicts={world.updates_sent[0]: "counted"}))
    world.confirm(world.last("presence"))
    assert world.left == 0
