"""The round machine in direct dispatch: workers are drawn, and each task is one worker's."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.dispatch import DRAW_AGAIN_S, DRAW_SOON_S
from coordinator.events import (
    DenyTask,
    DrawWorkers,
    EndTask,
    ExtendRound,
    GrantTask,
    OfferTask,
    Refused,
    WorkersDrawn,
)
from coordinator.states import Closed, Collecting, Paused, wake_at
from tests.coordinator.bench import Bench, policy


def direct(workers: str = "abcdef", **changes: Any) -> Bench:
    """A run whose first round is open; `workers` are drawn in this order."""
    bench = Bench(policy(dispatch="direct", **changes), workers=[*workers])
    bench.store()
    return bench


def task_of(bench: Bench, worker: str) -> str:
    """The open task of a worker."""
    return bench.state.run.tasks.asked[worker]


def asked(bench: Bench) -> str:
    """Who has a task, in the order of their names."""
    return "".join(sorted(bench.state.run.tasks.asked))


def offers(actions: list[Any]) -> list[OfferTask]:
    return [action for action in actions if isinstance(action, OfferTask)]


# drawing


def test_as_many_workers_are_drawn_as_there_are_slots() -> None:
    bench = Bench(policy(dispatch="direct", concurrency=3), workers=[*"abcdef"])
    actions = bench.store()
    assert DrawWorkers(3, 0) in actions
    assert [offer.worker_id for offer in offers(actions)] == ["a", "b", "c"]


def test_a_drawn_worker_gets_a_task_that_pins_the_version_and_is_under_a_lease_at_once() -> None:
    bench = direct(lease_s=30.0)
    (offer, *_) = bench.offered.values()
    assert (offer.worker_id, offer.base_version, offer.lease_end) == ("a", 0, 1_030.0)
    assert wake_at(bench.state) == 1_030.0


def test_an_answered_task_is_followed_by_another_draw_at_once() -> None:
    bench = direct(late="weigh", goal=3, concurrency=3)
    bench.update(task_of(bench, "b"), "b")
    assert asked(bench) == "acd"


def test_when_late_updates_are_refused_a_counted_one_keeps_its_slot_until_the_round_closes() -> (
    None
):
    bench = direct(late="refuse", goal=2, concurrency=3)
    bench.update(task_of(bench, "b"), "b")
    assert asked(bench) == "ac"


def test_more_workers_than_there_are_slots_get_no_task() -> None:
    bench = direct(concurrency=3)
    assert bench.do(WorkersDrawn(("d", "e"))) == []
    assert asked(bench) == "abc"


def test_a_worker_that_has_a_task_gets_no_second_one() -> None:
    bench = direct("ab", concurrency=3)
    bench.workers.append("c")
    bench.do(WorkersDrawn(("a", "c", "c")))
    assert asked(bench) == "abc"
    assert len(bench.open) == 3


# too few


def test_where_too_few_can_be_drawn_more_are_drawn_after_a_while() -> None:
    bench = direct("a", concurrency=3)
    assert wake_at(bench.state) == 1_000.0 + DRAW_AGAIN_S
    bench.workers = [*"abc"]
    assert bench.tick(DRAW_AGAIN_S - 1.0) == []
    bench.tick(1.0)
    assert asked(bench) == "abc"


def test_where_too_few_can_be_drawn_a_worker_that_is_seen_leads_to_a_draw() -> None:
    bench = direct("a", concurrency=3)
    bench.workers = [*"abc"]
    bench.now += 5.0
    assert bench.see("b") == bench.see("c") == []
    assert wake_at(bench.state) == 1_005.0 + DRAW_SOON_S
    assert DrawWorkers(2, 0) in bench.tick_to_wake()
    assert asked(bench) == "abc"


def test_workers_that_are_seen_again_and_again_put_the_draw_off_no_further() -> None:
    bench = direct("a", concurrency=3)
    bench.see("b")
    due = wake_at(bench.state)
    bench.now += DRAW_SOON_S / 2
    bench.see("c")
    assert wake_at(bench.state) == due


def test_a_worker_that_is_seen_while_no_slot_is_free_leads_to_no_draw() -> None:
    bench = direct(concurrency=3)
    bench.see("f")
    assert bench.tick(5.0) == []


def test_while_too_few_are_there_not_every_event_leads_to_a_draw() -> None:
    bench = direct("a", concurrency=3)
    assert [type(action) for action in bench.take("0" * 32, "z")] == [DenyTask]
    bench.update(task_of(bench, "a"), "a")
    assert wake_at(bench.state) == 1_000.0 + DRAW_SOON_S


def test_a_declined_task_is_followed_by_a_draw_at_once_although_too_few_were_there() -> None:
    bench = direct("ab", concurrency=3)
    task = task_of(bench, "a")
    actions = bench.decline(task, "a")
    assert actions[0] == EndTask(task, "declined", "no battery", "a")
    assert [offer.worker_id for offer in offers(actions)] == ["a"]


def test_a_new_version_is_drawn_for_at_once_although_too_few_were_there_before() -> None:
    bench = direct("ab", goal=2, concurrency=3, late="weigh")
    for worker in "ab":
        bench.update(task_of(bench, worker), worker)
    bench.store()
    assert asked(bench) == "ab"
    assert {bench.offered[task].base_version for task in bench.open} == {1}


# its worker


def test_a_direct_task_is_granted_with_its_own_version_though_a_newer_one_is_current() -> None:
    bench = direct(goal=1, late="weigh", lease_s=1e6)
    task = task_of(bench, "a")
    bench.update(task_of(bench, "b"), "b")
    bench.store()
    assert bench.take(task, "a") == [GrantTask(task, "a", 0, 1e6 + 1_000.0)]
    assert bench.update(task, "a") == "counted"


def test_a_direct_task_is_granted_to_its_worker_only() -> None:
    bench = direct()
    task = task_of(bench, "a")
    assert bench.take(task, "b") == [DenyTask(task, "b", "it was offered to another worker")]
    assert task in bench.open


def test_the_lease_of_a_direct_task_is_not_prolonged_when_it_is_taken() -> None:
    bench = direct(lease_s=30.0)
    task = task_of(bench, "a")
    bench.now += 20.0
    assert bench.take(task, "a") == [GrantTask(task, "a", 0, 1_030.0)]


def test_nobody_else_declines_a_direct_task_not_even_the_broker() -> None:
    bench = direct()
    task = task_of(bench, "a")
    assert bench.decline(task, "b") == bench.decline(task, "") == []
    assert task in bench.open


def test_an_update_of_another_worker_neither_counts_nor_ends_a_direct_task() -> None:
    bench = direct()
    task = task_of(bench, "a")
    assert bench.update(task, "b") == "unknown task"
    assert task in bench.open
    assert bench.update(task, "a") == "counted"


def test_an_update_of_another_version_than_the_pinned_one_does_not_count() -> None:
    bench = direct(goal=1, late="weigh", lease_s=1e6)
    task = task_of(bench, "a")
    bench.update(task_of(bench, "b"), "b")
    bench.store()
    assert bench.update(task, "a", base=1) == "other timeline"


def test_a_worker_whose_update_is_refused_for_its_data_frees_its_slot() -> None:
    bench = direct(late="refuse", concurrency=3)
    task = task_of(bench, "a")
    bench.workers.remove("a")
    assert bench.update(task, "a", fault=Refused("non-finite", "NaN")) == "non-finite"
    assert bench.ended[task] == EndTask(task, "answered", "non-finite", "a")
    assert asked(bench) == "bcd"


# leases


def test_a_lease_that_ends_frees_its_slot_for_a_task_of_another_that_replaces_it() -> None:
    bench = direct("abcdef", concurrency=3, lease_s=30.0)
    task = task_of(bench, "a")
    bench.workers = [*"def"]
    bench.tick(30.0)
    assert bench.ended[task] == EndTask(task, "lapsed", "its lease ended", "a")
    (replacement,) = [offer for offer in bench.offered.values() if offer.replaces == task]
    assert replacement.worker_id == "d"


def test_a_lapsed_task_is_answerable_until_somebody_can_be_drawn_in_its_place() -> None:
    bench = direct("ab", late="refuse", concurrency=2, lease_s=30.0, goal=2, deadline_s=900.0)
    task = task_of(bench, "a")
    bench.workers = []
    bench.tick(30.0)
    assert bench.ended[task].how == "lapsed"
    assert bench.update(task, "a") == "counted"
    bench.workers = [*"cd"]
    bench.tick_to_wake()
    assert task not in bench.replaced, "it was answered"
    assert len(bench.replaced) == 1
    assert asked(bench) == "c"


def test_an_update_of_another_worker_does_not_keep_a_lapsed_task_from_being_replaced() -> None:
    bench = direct("ab", late="refuse", concurrency=2, lease_s=30.0, goal=2, deadline_s=900.0)
    task = task_of(bench, "a")
    bench.workers = []
    bench.tick(30.0)
    assert bench.update(task, "thief") == "unknown task"
    bench.workers = [*"cd"]
    bench.tick_to_wake()
    assert task in bench.replaced


def test_when_late_updates_are_refused_a_replaced_direct_task_does_not_count() -> None:
    bench = direct("abc", late="refuse", concurrency=2, lease_s=30.0, goal=2, deadline_s=900.0)
    task = task_of(bench, "a")
    bench.workers = [*"c"]
    bench.tick(30.0)
    assert task in bench.replaced
    assert bench.update(task, "a") == "replaced"


def test_when_late_updates_are_weighed_a_lapsed_direct_task_still_counts() -> None:
    bench = direct("abc", late="weigh", concurrency=2, lease_s=30.0, deadline_s=900.0)
    task = task_of(bench, "a")
    bench.workers = [*"c"]
    bench.tick(30.0)
    assert bench.update(task, "a") == "counted"
    assert bench.update(task_of(bench, "c"), "c") == "counted"


def test_when_late_updates_are_refused_direct_tasks_end_with_the_round() -> None:
    bench = direct("abc", late="refuse", goal=1, concurrency=3)
    tasks = {worker: task_of(bench, worker) for worker in "abc"}
    bench.update(tasks["a"], "a")
    for worker in "bc":
        task = tasks[worker]
        assert bench.ended[task] == EndTask(task, "ended", "the round closed", worker)
    bench.store()
    assert asked(bench) == "abc"
    assert bench.update(tasks["b"], "b") == "late"


def test_a_direct_task_ends_when_its_update_would_be_too_stale_to_count() -> None:
    bench = direct("abc", goal=1, concurrency=2, lease_s=1e6, max_staleness=1, rounds=9)
    task = task_of(bench, "a")
    for version in range(2):
        worker = next(w for w in asked(bench) if w != "a")
        bench.update(task_of(bench, worker), worker)
        assert task in bench.open
        assert bench.version == version
        bench.store()
    assert bench.ended[task] == EndTask(task, "ended", "its version is too old to count", "a")
    assert bench.update(task, "a") == "stale"


# deadlines


def test_a_missed_deadline_draws_for_free_slots_and_leaves_the_leases_alone() -> None:
    bench = direct("ab", concurrency=3, quorum=2, deadline_s=5.0, lease_s=900.0)
    before = [*bench.open]
    bench.workers = [*"abc"]
    actions = bench.tick(5.0)
    assert ExtendRound(0, 1, 1_010.0) in actions
    assert [*bench.open][:2] == before
    assert asked(bench) == "abc"


def test_a_paused_run_draws_nobody_and_draws_when_it_resumes() -> None:
    bench = direct("", quorum=2, max_extensions=0)
    while not isinstance(bench.state, Paused):
        bench.tick_to_wake()
    bench.workers = [*"ab"]
    bench.see("a")
    assert isinstance(bench.state, Paused)
    assert bench.open == []
    bench.see("b")
    assert isinstance(bench.state, Collecting)
    assert asked(bench) == "ab"


def test_who_is_drawn_when_no_round_is_open_gets_no_task() -> None:
    bench = direct(goal=1, concurrency=3)
    bench.update(task_of(bench, "a"), "a")
    assert isinstance(bench.state, Closed)
    assert bench.do(WorkersDrawn(("f",))) == []


@pytest.mark.parametrize("late", ["weigh", "refuse"])
def test_a_run_of_drawn_workers_comes_to_its_end(late: str) -> None:
    bench = direct("abc", late=late, goal=3, quorum=3, concurrency=3, rounds=3)
    for _ in range(3):
        for worker in "abc":
            task = task_of(bench, worker)
            bench.take(task, worker)
            assert bench.update(task, worker) == "counted"
        bench.store()
    assert bench.version == 3
