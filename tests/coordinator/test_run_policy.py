"""The round machine under another policy than it began with."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.events import (
    ChangePolicy,
    CloseRound,
    EndTask,
    ExtendRound,
    OfferTask,
    OpenRound,
    PolicyChanged,
)
from coordinator.states import Closed, Collecting, Draining, Paused, wake_at
from tests.coordinator.bench import Bench, collecting, paused, policy


def close(bench: Bench) -> list[Any]:
    """Bring the open round to its goal and store its version; the actions of the latter."""
    names = iter("klmnopqrstuvwxyz")
    while not isinstance(bench.state, Closed):
        bench.update(bench.open[0], next(names))
    return bench.store()


# an open round


def test_the_open_round_keeps_its_goal_and_the_next_has_the_new_one() -> None:
    bench = collecting(goal=2, concurrency=4)
    bench.change(policy(goal=3, concurrency=4))
    bench.update(bench.open[0], "a")
    bench.update(bench.open[0], "b")
    assert isinstance(bench.state, Closed)
    actions = bench.store()
    assert OpenRound(1, 1_000.0, 1_060.0, policy(goal=3, concurrency=4)) in actions
    for worker in "ab":
        bench.update(bench.open[0], worker)
    assert isinstance(bench.state, Collecting)
    bench.update(bench.open[0], "c")
    assert isinstance(bench.state, Closed)


def test_the_open_round_judges_as_it_did_when_it_was_opened() -> None:
    bench = collecting(goal=1, late="weigh", lease_s=1e6)
    one, two, three = bench.open
    for task, worker in ((two, "b"), (three, "c")):
        bench.take(task, worker)
    bench.update(one, "a")
    bench.store()
    bench.change(policy(goal=1, late="refuse"))
    assert bench.update(two, "b", base=0) == "counted"
    bench.store()
    assert bench.update(three, "c", base=0) == "late"


def test_a_change_of_what_counts_is_not_written_before_it_takes_effect() -> None:
    assert collecting().change(policy(goal=3, late="refuse")) == []


def test_a_change_that_is_taken_back_does_not_take_effect() -> None:
    bench = collecting(goal=2)
    bench.change(policy(goal=3))
    bench.change(policy(goal=2))
    assert close(bench)[0] == OpenRound(1, 1_000.0, 1_060.0, policy(goal=2))


def test_to_be_told_of_the_same_policy_changes_nothing() -> None:
    bench = collecting()
    before = bench.state
    assert bench.change(bench.policy) == []
    assert bench.state == before


def test_a_shorter_deadline_holds_for_the_open_round() -> None:
    bench = collecting(deadline_s=60.0)
    assert ChangePolicy(policy(deadline_s=5.0), 1_005.0) in bench.change(policy(deadline_s=5.0))
    assert wake_at(bench.state) == 1_005.0


def test_a_longer_deadline_does_not_put_off_the_one_that_was_said() -> None:
    bench = collecting(deadline_s=60.0)
    bench.change(policy(deadline_s=600.0))
    assert wake_at(bench.state) == 1_060.0
    assert ExtendRound(0, 1, 1_660.0) in bench.tick(60.0)


def test_more_tasks_in_flight_are_offered_at_once() -> None:
    bench = collecting(concurrency=3)
    actions = bench.change(policy(concurrency=5))
    assert [type(action) for action in actions] == [ChangePolicy, OfferTask, OfferTask]


def test_fewer_tasks_in_flight_take_nothing_from_who_has_one() -> None:
    bench = collecting(goal=2, concurrency=5)
    bench.change(policy(goal=2, concurrency=2))
    assert len(bench.open) == 5
    bench.update(bench.open[0], "a")
    assert len(bench.open) == 4


def test_a_quorum_above_the_goal_of_the_open_round_is_its_goal() -> None:
    bench = collecting(goal=2, quorum=1)
    bench.change(policy(goal=5, quorum=4, concurrency=6))
    assert (bench.policy.goal, bench.policy.quorum, bench.policy.concurrency) == (2, 2, 6)


def test_a_shorter_lease_holds_for_who_has_a_task() -> None:
    bench = collecting(lease_s=900.0, deadline_s=900.0)
    task = bench.open[0]
    bench.take(task, "a")
    bench.change(policy(lease_s=10.0, deadline_s=900.0))
    assert wake_at(bench.state) == 1_010.0
    bench.tick(10.0)
    assert bench.ended[task].how == "lapsed"


def test_with_another_lease_the_lease_that_ends_first_is_still_the_first() -> None:
    bench = collecting(lease_s=900.0, concurrency=3, deadline_s=2000.0)
    one, two, three = bench.open
    bench.take(two, "b")
    bench.now += 500.0
    bench.take(one, "a")
    bench.change(policy(lease_s=600.0, concurrency=3, deadline_s=2000.0))
    bench.take(three, "c")
    leases = [task.lease_end for task in bench.state.run.tasks.taken()]
    assert sorted(lease for lease in leases if lease) == [1_900.0, 2_100.0, 2_100.0]
    assert wake_at(bench.state) == 1_900.0


def test_a_run_that_shall_end_earlier_does() -> None:
    bench = collecting()
    bench.do(PolicyChanged(bench.policy, 1_010.0))
    assert wake_at(bench.state) == 1_010.0
    bench.tick(10.0)
    assert isinstance(bench.state, Draining)


def test_fewer_rounds_end_the_run_with_the_next_version() -> None:
    bench = collecting(rounds=9)
    bench.change(policy(rounds=1))
    close(bench)
    assert isinstance(bench.state, Draining)


def test_more_rounds_let_the_run_go_on() -> None:
    bench = collecting(rounds=1)
    bench.change(policy(rounds=2))
    close(bench)
    assert isinstance(bench.state, Collecting)


# while a version is made


def test_what_is_set_while_a_version_is_made_holds_for_it() -> None:
    bench = Bench(policy())
    bench.change(policy(goal=3, late="refuse"))
    bench.store()
    assert (bench.policy.goal, bench.policy.late) == (3, "refuse")


# paused


def test_a_paused_run_takes_another_policy_at_once() -> None:
    bench = paused(goal=4, quorum=3, concurrency=4)
    bench.see("a")
    new = policy(goal=2, quorum=1, concurrency=4, late="refuse")
    actions = bench.change(new)
    assert actions[0] == ChangePolicy(new, bench.now)
    assert isinstance(bench.state, Collecting)
    assert bench.policy == new


def test_a_paused_run_to_which_nobody_came_waits_on_under_another_policy() -> None:
    bench = paused(quorum=2)
    bench.change(policy(quorum=1, max_extensions=0))
    assert isinstance(bench.state, Paused)
    bench.see("a")
    assert isinstance(bench.state, Collecting)


@pytest.mark.parametrize(
    ("goal", "quorum", "why"), [(1, 1, "goal"), (2, 1, "deadline"), (3, 1, "deadline")]
)
def test_a_paused_run_closes_if_what_it_has_is_enough_now(goal: int, quorum: int, why: str) -> None:
    bench = collecting(goal=3, quorum=2, max_extensions=0)
    bench.update(bench.open[0], "a")
    bench.tick_to_wake()
    assert isinstance(bench.state, Paused)
    actions = bench.change(policy(goal=goal, quorum=quorum))
    assert [action for action in actions if isinstance(action, CloseRound)] == [
        CloseRound(0, why)  # type: ignore[arg-type]
    ]


def test_a_paused_run_that_is_told_of_the_same_policy_stays_as_it_is() -> None:
    bench = paused()
    before = bench.state
    assert bench.change(bench.policy) == []
    assert bench.state == before


# the end


def test_a_run_that_is_over_takes_no_other_policy() -> None:
    bench = Bench(policy(), ends_at=999.0)
    bench.store()
    before = bench.state
    assert isinstance(before, Draining)
    assert bench.change(policy(goal=3)) == []
    assert bench.state == before


# from the pool to direct dispatch, and back


def test_where_workers_are_drawn_from_now_on_nobody_need_take_what_is_in_the_pool() -> None:
    bench = collecting(goal=1, concurrency=3, late="weigh")
    bench.workers = [*"abc"]
    _, taken, free = bench.open
    bench.take(taken, "z")
    bench.change(policy(goal=1, concurrency=3, late="weigh", dispatch="direct"))
    bench.update(bench.open[0], "y")
    assert free in bench.open
    bench.store()
    reason = "tasks are offered to workers that are drawn now"
    assert bench.ended[free] == EndTask(free, "ended", reason)
    assert "".join(sorted(bench.state.run.tasks.asked)) == "ab"
    assert bench.update(taken, "z", base=0) == "counted"


def test_a_task_of_the_pool_that_lapses_where_workers_are_drawn_is_replaced_by_a_draw() -> None:
    bench = collecting(goal=1, concurrency=2, late="weigh", lease_s=30.0)
    task = bench.open[1]
    bench.take(task, "z")
    bench.change(policy(goal=1, concurrency=2, late="weigh", lease_s=30.0, dispatch="direct"))
    bench.update(bench.open[0], "y")
    bench.store()
    bench.workers = [*"ab"]
    bench.tick(30.0)
    (replacement,) = [offer for offer in bench.offered.values() if offer.replaces == task]
    assert replacement.worker_id == "a"


def test_a_direct_task_goes_on_where_the_pool_is_used_from_now_on() -> None:
    bench = Bench(policy(goal=1, concurrency=2, late="weigh", dispatch="direct"))
    bench.workers = [*"ab"]
    bench.store()
    asked = dict(bench.state.run.tasks.asked)
    bench.change(policy(goal=1, concurrency=2, late="weigh"))
    bench.update(asked["a"], "a")
    bench.store()
    assert asked["b"] in bench.open
    assert len(bench.free) == 1
    bench.tick(30.0)
    (replacement,) = [o for o in bench.offered.values() if o.replaces == asked["b"]]
    assert replacement.worker_id == "", "somebody in the pool takes it"
