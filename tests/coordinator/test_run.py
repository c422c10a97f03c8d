"""The round machine, arrow by arrow of the diagram at its top."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coordinator.events import (
    CloseRound,
    DenyTask,
    DrainRun,
    EndRun,
    EndTask,
    ExtendRound,
    GrantTask,
    LetTryAgain,
    OfferTask,
    OpenRound,
    PauseRun,
    Refused,
    RoundDropped,
    RunStopped,
    TaskTaken,
    TimePassed,
    VersionStored,
)
from coordinator.run import DEADLINES_PAUSED, advance
from coordinator.states import (
    Closed,
    Collecting,
    Draining,
    Ended,
    Paused,
    Run,
    may_take,
    wake_at,
)
from coordinator.tries import Bar
from tests.coordinator.bench import RUN_ID, Bench, collecting, paused, policy

# closed


def test_a_stored_version_opens_a_round_and_offers_a_task_for_each_slot() -> None:
    bench = Bench(policy(concurrency=3))
    actions = bench.store()
    assert isinstance(bench.state, Collecting)
    assert actions[0] == OpenRound(0, 1_000.0, 1_060.0, bench.policy)
    assert [type(action) for action in actions[1:]] == [OfferTask] * 3
    assert wake_at(bench.state) == 1_060.0


def test_nothing_moves_while_a_version_is_made() -> None:
    bench = Bench(policy())
    assert bench.tick(1e9) == bench.see("a") == []
    assert wake_at(bench.state) is None


def test_the_shell_hands_in_nothing_while_a_version_is_made() -> None:
    with pytest.raises(AssertionError, match="while a version is being made"):
        Bench(policy()).take("0" * 32, "a")


def test_the_last_version_ends_the_run() -> None:
    bench = Bench(policy(rounds=1, drain_s=5.0))
    bench.store()
    for worker, task in zip("ab", bench.open, strict=False):
        bench.update(task, worker)
    open_tasks = bench.open
    actions = bench.store()
    assert [a.task_id for a in actions if isinstance(a, EndTask)] == sorted(open_tasks)
    assert actions[-1] == DrainRun(1, "all rounds are done", 1_005.0)
    assert isinstance(bench.state, Draining)


def test_a_version_stored_after_the_time_was_up_ends_the_run() -> None:
    bench = Bench(policy(), ends_at=999.0)
    assert bench.store() == [DrainRun(0, "time was up", 1_005.0)]


# collecting


def test_the_goal_closes_a_round_in_the_step_of_its_last_update() -> None:
    bench = collecting(goal=2)
    first, second, _ = bench.open
    assert bench.update(first, "a") == "counted"
    assert isinstance(bench.state, Collecting)
    assert bench.update(second, "b") == "counted"
    assert isinstance(bench.state, Closed)


def test_a_deadline_with_quorum_closes_a_round() -> None:
    bench = collecting(goal=2, quorum=1)
    bench.update(bench.open[0], "a")
    assert CloseRound(0, "deadline") in bench.tick(60.0)
    assert isinstance(bench.state, Closed)


def test_a_quorum_before_the_deadline_closes_nothing() -> None:
    bench = collecting(goal=2, quorum=1)
    bench.update(bench.open[0], "a")
    assert bench.tick(59.9) == []


def test_a_deadline_without_quorum_extends_the_round_and_keeps_what_was_counted() -> None:
    bench = collecting(goal=3, quorum=2)
    bench.update(bench.open[0], "a")
    actions = bench.tick(60.0)
    assert ExtendRound(0, 1, 1_120.0) in actions
    assert isinstance(bench.state, Collecting)
    assert bench.state.counted == 1


def test_a_deadline_without_quorum_offers_untaken_tasks_again_in_case_they_were_lost() -> None:
    bench = collecting(concurrency=2)
    taken, untaken = bench.open
    bench.tick(50.0)
    bench.take(taken, "a")
    actions = bench.tick(10.0)
    assert EndTask(untaken, "ended", "nobody took it by the deadline") in actions
    assert [a.replaces for a in actions if isinstance(a, OfferTask)] == [untaken]
    assert taken in bench.open


def test_more_missed_deadlines_than_allowed_pause_the_run() -> None:
    bench = collecting(max_extensions=2)
    assert ExtendRound(0, 1, 1_120.0) in bench.tick_to_wake()
    assert ExtendRound(0, 2, 1_180.0) in bench.tick_to_wake()
    assert bench.tick_to_wake()[-1] == PauseRun(0)
    assert isinstance(bench.state, Paused)


def test_a_deadline_that_is_met_starts_the_count_of_extensions_anew() -> None:
    bench = collecting(quorum=1, max_extensions=1)
    bench.tick_to_wake()
    bench.update(bench.open[0], "a")
    bench.tick_to_wake()
    bench.store()
    assert isinstance(bench.state, Collecting)
    assert bench.state.extensions == 0


def test_a_deadline_missed_by_long_is_one_deadline() -> None:
    bench = collecting(max_extensions=1)
    bench.tick(1e6)
    assert isinstance(bench.state, Collecting)
    assert bench.state.deadline_at == bench.now + 60.0


def test_a_taken_task_has_a_lease_from_then_on() -> None:
    bench = collecting(lease_s=30.0)
    bench.now += 10.0
    assert bench.take(bench.open[0], "a") == [GrantTask(bench.open[0], "a", 0, 1_040.0)]
    assert wake_at(bench.state) == 1_040.0


def test_a_lease_that_ends_frees_its_slot_for_a_task_that_replaces_it() -> None:
    bench = collecting()
    task = bench.open[0]
    bench.take(task, "a")
    ended, offered = bench.tick(30.0)
    assert ended == EndTask(task, "lapsed", "its lease ended")
    assert isinstance(offered, OfferTask)
    assert offered.replaces == task
    assert bench.tick() == []


def test_leases_end_in_the_order_they_began() -> None:
    bench = collecting(lease_s=30.0)
    one, two, three = bench.open
    for task, worker in ((two, "a"), (three, "b"), (one, "c")):
        bench.take(task, worker)
        bench.now += 5.0
    ends = [a.task_id for _ in range(3) for a in bench.tick_to_wake() if isinstance(a, EndTask)]
    assert ends == [two, three, one]


def test_a_task_that_a_second_worker_holds_too_keeps_its_first_lease() -> None:
    bench = collecting()
    task = bench.open[0]
    bench.take(task, "a")
    bench.now += 10.0
    assert bench.take(task, "b") == [GrantTask(task, "b", 0, 1_030.0)]
    assert bench.update(task, "b") == "counted"
    assert bench.update(task, "a") == "counted"


def test_a_worker_that_asks_again_is_told_the_current_version() -> None:
    bench = collecting(goal=1, late="weigh", lease_s=1e6)
    task, other, _ = bench.open
    bench.take(task, "a")
    bench.update(other, "b")
    bench.store()
    (grant,) = bench.take(task, "a")
    assert isinstance(grant, GrantTask)
    assert grant.base_version == 1


def test_a_worker_that_asks_again_after_its_lease_ended_is_not_granted_a_lapsed_task() -> None:
    bench = collecting()
    task = bench.open[0]
    bench.take(task, "a")
    bench.now += 30.0  # and nobody has looked at the clock
    actions = bench.take(task, "a")
    assert actions[0] == EndTask(task, "lapsed", "its lease ended")
    assert isinstance(actions[-1], DenyTask)


def test_a_task_that_is_not_open_is_denied() -> None:
    bench = collecting()
    task = bench.open[0]
    bench.decline(task, "a")
    assert bench.take(task, "b") == [DenyTask(task, "b", "the task is no longer open")]
    assert isinstance(bench.take("f" * 32, "b")[0], DenyTask)


def test_a_worker_that_counted_is_denied_and_the_task_it_swallowed_offered_anew() -> None:
    bench = collecting()
    first, second, _ = bench.open
    bench.update(first, "a")
    actions = bench.take(second, "a")
    assert [type(action) for action in actions] == [EndTask, DenyTask, OfferTask]
    assert second not in bench.open


def test_a_worker_that_counted_does_not_end_the_task_of_another() -> None:
    bench = collecting()
    first, second, _ = bench.open
    bench.take(second, "b")
    bench.update(first, "a")
    assert [type(action) for action in bench.take(second, "a")] == [DenyTask]
    assert second in bench.open


def test_a_declined_task_makes_room_for_another() -> None:
    bench = collecting()
    task = bench.open[0]
    bench.take(task, "a")
    ended, offered = bench.decline(task, "a")
    assert ended == EndTask(task, "declined", "no battery")
    assert isinstance(offered, OfferTask)
    assert bench.decline(task, "a") == []


def test_a_task_can_be_declined_before_the_machine_heard_that_it_was_taken() -> None:
    bench = collecting()
    task = bench.open[0]
    assert isinstance(bench.decline(task, "a")[0], EndTask)
    assert isinstance(bench.take(task, "a")[0], DenyTask)


def test_a_worker_cannot_decline_the_task_of_another() -> None:
    bench = collecting()
    task = bench.open[0]
    bench.take(task, "a")
    assert bench.decline(task, "b") == []
    assert task in bench.open


def test_an_update_that_comes_before_the_word_that_its_task_was_taken_counts() -> None:
    bench = collecting()
    task = bench.open[0]
    assert bench.update(task, "a") == "counted"
    assert isinstance(bench.take(task, "a")[0], DenyTask)


def test_an_update_that_is_refused_frees_its_slot() -> None:
    bench = collecting(late="refuse")
    task = bench.open[0]
    fault = Refused("non-finite", "NaN")
    assert bench.update(task, "a", fault=fault) == "non-finite"
    assert bench.ended[task].how == "answered"
    assert len(bench.open) == 3


def test_when_late_updates_are_refused_a_counted_one_keeps_its_slot_until_the_round_closes() -> (
    None
):
    bench = collecting(late="refuse", goal=2, concurrency=3)
    bench.update(bench.open[0], "a")
    assert len(bench.open) == 2
    bench.update(bench.open[0], "b")
    bench.store()
    assert len(bench.open) == 3


def test_when_late_updates_are_weighed_an_answered_task_is_followed_by_another_at_once() -> None:
    bench = collecting(late="weigh", goal=2, concurrency=3)
    bench.update(bench.open[0], "a")
    assert len(bench.open) == 3


def test_when_late_updates_are_refused_the_tasks_in_training_end_with_the_round() -> None:
    bench = collecting(late="refuse", goal=1)
    answered, taken, free = bench.open
    bench.take(taken, "b")
    bench.update(answered, "a")
    assert bench.ended[taken] == EndTask(taken, "ended", "the round closed")
    bench.store()
    assert free in bench.open
    assert bench.update(taken, "b", base=0) == "late"


def test_when_late_updates_are_weighed_the_tasks_in_training_stay() -> None:
    bench = collecting(late="weigh", goal=1)
    answered, taken, _ = bench.open
    bench.take(taken, "b")
    bench.update(answered, "a")
    bench.store()
    assert taken in bench.open
    assert bench.update(taken, "b", base=0) == "counted"


def test_when_late_updates_are_weighed_a_lapsed_task_and_its_replacement_both_count() -> None:
    bench = collecting(late="weigh", goal=3)
    task = bench.open[0]
    bench.take(task, "a")
    bench.tick(30.0)
    (replacement,) = [t for t in bench.open if bench.offered[t].replaces == task]
    assert bench.update(replacement, "b") == "counted"
    assert bench.update(task, "a") == "counted"


def test_when_late_updates_are_refused_a_replaced_task_does_not_count() -> None:
    bench = collecting(late="refuse", goal=3)
    task = bench.open[0]
    bench.take(task, "a")
    bench.tick(30.0)
    assert bench.update(task, "a") == "replaced"


def test_a_worker_that_has_two_tasks_counts_once_in_a_version() -> None:
    bench = collecting()
    one, two, _ = bench.open
    bench.take(one, "a")
    bench.take(two, "a")
    assert bench.update(one, "a") == "counted"
    assert bench.update(two, "a") == "repeated"


def test_a_round_closes_once_however_late_the_clock_is_looked_at() -> None:
    bench = collecting(quorum=1)
    bench.take(bench.open[1], "b")
    bench.update(bench.open[0], "a")
    actions = bench.tick(1e6)
    assert [type(a) for a in actions].count(CloseRound) == 1
    assert bench.tick(1e6) == []


# paused


def test_a_paused_run_lets_who_was_refused_try_again_after_many_deadlines() -> None:
    bench = paused()
    waits = DEADLINES_PAUSED * bench.policy.deadline_s
    for _ in range(3):
        began = bench.now
        assert wake_at(bench.state) == began + waits
        assert bench.tick(waits - 1.0) == []
        assert bench.tick(1.0) == [LetTryAgain(0)]


def test_a_paused_run_does_not_resume_for_a_worker_whose_try_was_refused() -> None:
    bench = paused(quorum=2)
    assert bench.see("a") == []
    assert bench.see("b", spent=True) == []
    assert isinstance(bench.state, Paused)


def test_a_paused_run_does_not_resume_for_workers_that_never_train() -> None:
    bench = paused(concurrency=3)
    for task_id, worker in zip(list(bench.open), "ab", strict=False):
        actions = bench.do(TaskTaken(task_id, worker, False, "evaluates, and never trains"))
        assert not any(isinstance(action, ExtendRound) for action in actions)
    assert isinstance(bench.state, Paused)


def test_a_paused_run_does_not_resume_for_an_update_that_is_refused_for_its_data() -> None:
    bench = paused(quorum=2)
    bench.see("a")
    task = next(iter(bench.state.run.tasks.by_id))
    bench.update(task, "b", fault=Refused("over-norm", "too long"))
    assert isinstance(bench.state, Paused)
    bench.see("c")
    assert isinstance(bench.state, Collecting)


def test_a_task_that_later_ones_overtook_is_offered_again_at_a_deadline() -> None:
    bench = Bench(policy(goal=3, quorum=1, concurrency=4))
    bench.store()
    lost, second, third, fourth = bench.open
    bench.take(third, "b")
    bench.update(third, "b")
    actions = bench.tick_to_wake()
    ended = [a.task_id for a in actions if isinstance(a, EndTask)]
    assert ended == sorted([lost, second]), "the pool keeps its order: they are not in it"
    assert {a.replaces for a in actions if isinstance(a, OfferTask)} == {lost, second}
    assert fourth in bench.open
    assert isinstance(bench.state, Closed)


def test_a_paused_run_resumes_when_enough_workers_are_seen() -> None:
    bench = paused(quorum=2)
    assert bench.see("a") == []
    assert bench.see("a") == []
    bench.now += 500.0
    actions = bench.see("b")
    assert ExtendRound(0, 0, bench.now + 60.0) in actions
    assert isinstance(bench.state, Collecting)


def test_a_worker_that_takes_a_task_is_seen() -> None:
    bench = paused(quorum=2)
    first, second, _ = bench.open
    bench.take(first, "a")
    assert isinstance(bench.take(second, "b")[0], GrantTask)
    assert isinstance(bench.state, Collecting)


def test_a_paused_run_does_not_resume_where_all_that_may_count_is_on_its_way() -> None:
    bench = paused(quorum=2, late="weigh")
    bench.see("a", sent=True)
    bench.see("b", sent=True)
    assert isinstance(bench.state, Paused), "there is nobody to take a task"
    bench.see("b")  # its update was lost
    assert isinstance(bench.state, Collecting)


def test_a_paused_run_resumes_for_who_is_needed_beside_an_update_that_is_on_its_way() -> None:
    bench = paused(quorum=2, late="weigh")
    bench.see("a", sent=True)
    bench.see("b")
    assert isinstance(bench.state, Collecting)


def test_what_was_counted_before_the_pause_is_kept() -> None:
    bench = collecting(quorum=2, goal=2, max_extensions=0)
    bench.update(bench.open[0], "a")
    bench.tick_to_wake()
    assert isinstance(bench.state, Paused)
    bench.update(bench.open[0], "b")
    assert isinstance(bench.state, Closed)


def test_a_quorum_that_comes_while_paused_closes_the_round() -> None:
    bench = paused(quorum=2, goal=3, late="weigh")
    one, two, _ = bench.open
    bench.update(one, "a")
    assert bench.update(two, "b") == "counted"
    assert isinstance(bench.state, Closed)


def test_a_worker_whose_update_counts_is_not_seen_a_second_time() -> None:
    bench = paused(quorum=2)
    bench.update(bench.open[0], "a")
    assert isinstance(bench.state, Paused), "one worker of two is there"
    bench.see("b")
    assert isinstance(bench.state, Collecting)


def test_a_worker_that_counted_before_the_pause_is_not_seen_a_second_time() -> None:
    bench = collecting(quorum=2, max_extensions=0)
    bench.update(bench.open[0], "a")
    bench.tick_to_wake()
    bench.see("a")
    bench.take(bench.open[0], "a")
    assert isinstance(bench.state, Paused), "one worker of two is there"


def test_a_worker_whose_update_for_an_older_version_counts_can_count_once_more() -> None:
    bench = collecting(quorum=2, goal=2, max_extensions=0, late="weigh", lease_s=1e6)
    one, two, three = bench.open
    bench.take(three, "c")
    bench.update(one, "a")
    bench.update(two, "b")
    bench.store()
    bench.tick_to_wake()
    assert isinstance(bench.state, Paused)
    assert bench.update(three, "c", base=0) == "counted"
    assert isinstance(bench.state, Collecting), "it counted, and it is there"


def test_a_run_that_resumes_fills_the_slots_that_were_freed_while_it_was_paused() -> None:
    bench = paused(quorum=2, concurrency=3)
    for task in bench.open:
        bench.decline(task, "a")
    assert bench.open == []
    bench.see("a")
    bench.see("b")
    assert len(bench.open) == 3


def test_leases_that_ended_during_the_pause_are_replaced_when_the_run_resumes() -> None:
    bench = collecting(quorum=2, max_extensions=0, lease_s=100.0, deadline_s=60.0)
    task = bench.open[0]
    bench.take(task, "gone")
    bench.tick_to_wake()
    assert isinstance(bench.state, Paused)
    bench.now += 500.0
    bench.see("a")
    bench.see("b")
    assert bench.ended[task].how == "lapsed"


def test_a_worker_that_asks_for_a_task_that_lapsed_during_the_pause_is_denied() -> None:
    bench = collecting(quorum=2, max_extensions=0, lease_s=100.0, deadline_s=60.0)
    task = bench.open[0]
    bench.take(task, "a")
    bench.tick_to_wake()
    bench.now += 500.0
    bench.see("b")
    granted = [a for a in bench.take(task, "a") if isinstance(a, GrantTask)]
    assert not [grant for grant in granted if grant.task_id not in bench.open]


# time is up


def test_a_run_whose_time_is_up_ends_with_what_it_has() -> None:
    bench = Bench(policy(quorum=2), ends_at=1_020.0)
    bench.store()
    bench.update(bench.open[0], "a")
    assert wake_at(bench.state) == 1_020.0
    assert bench.tick_to_wake() == [CloseRound(0, "time")]
    assert isinstance(bench.store()[-1], DrainRun)
    assert bench.version == 1


def test_a_run_whose_time_is_up_with_nothing_counted_makes_no_version() -> None:
    bench = Bench(policy(), ends_at=1_020.0)
    bench.store()
    assert isinstance(bench.tick_to_wake()[-1], DrainRun)
    assert bench.version == 0
    assert bench.open == []


@pytest.mark.parametrize("counted", [0, 1])
def test_a_paused_run_ends_when_its_time_is_up(counted: int) -> None:
    bench = Bench(policy(quorum=2, max_extensions=0), ends_at=2_000.0)
    bench.store()
    for task in bench.open[:counted]:
        bench.update(task, "a")
    bench.tick_to_wake()
    while bench.now < 2_000.0:
        assert isinstance(bench.state, Paused)
        bench.tick_to_wake()
    assert isinstance(bench.state, Closed if counted else Draining)


# draining and ended


def ending() -> Bench:
    bench = Bench(policy(), ends_at=1_020.0)
    bench.store()
    bench.tick_to_wake()
    return bench


def test_what_comes_after_the_end_is_recorded_as_that() -> None:
    bench = ending()
    task = next(iter(bench.offered))
    assert bench.update(task, "a") == "after end"
    assert bench.update(task, "b", fault=Refused("malformed", "short")) == "malformed"
    assert isinstance(bench.take(task, "c")[0], DenyTask)
    assert bench.decline(task, "c") == bench.see("c") == []


def test_draining_ends_in_its_time_and_what_comes_is_still_recorded() -> None:
    bench = ending()
    assert wake_at(bench.state) == 1_025.0
    assert bench.tick(4.9) == []
    assert bench.tick_to_wake() == [EndRun(0)]
    assert isinstance(bench.state, Ended)
    assert wake_at(bench.state) is None
    assert bench.tick(1e9) == []
    assert bench.update(next(iter(bench.offered)), "a") == "after end"


def test_a_run_that_drains_for_no_time_ends_at_the_next_look() -> None:
    bench = Bench(policy(drain_s=0.0), ends_at=999.0)
    bench.store()
    assert bench.tick() == [EndRun(0)]


# who may take


def test_a_worker_may_take_a_task_if_it_has_not_trained_on_the_current_version() -> None:
    bench = collecting()
    assert may_take(bench.state, RUN_ID, -1, Bar("counted"))
    assert may_take(bench.state, "", 5, Bar("counted"))
    assert may_take(bench.state, "f" * 32, 5, Bar("counted"))
    assert not may_take(bench.state, RUN_ID, 0, Bar("counted"))


def test_a_worker_may_take_a_task_of_a_paused_run_but_not_of_one_that_is_over() -> None:
    assert may_take(paused().state, RUN_ID, -1, Bar("counted"))
    assert not may_take(ending().state, RUN_ID, -1, Bar("counted"))
    assert not may_take(Bench(policy()).state, RUN_ID, -1, Bar("counted"))


def test_a_worker_whose_try_did_not_count_for_being_replaced_may_try_again() -> None:
    state = collecting().state
    assert not may_take(state, RUN_ID, 0, Bar("counted"))
    assert may_take(state, RUN_ID, 0, None)


# ids


def test_task_ids_differ_between_runs_lives_and_numbers() -> None:
    runs = [Run(RUN_ID, 7, policy()), Run("f" * 32, 7, policy()), Run(RUN_ID, 8, policy())]
    assert len({run.task_id(number) for run in runs for number in range(3)}) == 9


def test_the_same_events_give_the_same_tasks() -> None:
    one, two = collecting(), collecting()
    assert one.open == two.open


def test_actions_on_many_tasks_come_in_an_order_that_no_process_changes() -> None:
    bench = collecting(concurrency=50)
    untaken = sorted(bench.open)
    actions = bench.tick_to_wake()
    assert [a.task_id for a in actions if isinstance(a, EndTask)] == untaken
    assert [a.replaces for a in actions if isinstance(a, OfferTask)] == untaken


def test_looking_at_the_clock_twice_at_one_time_does_nothing_the_second_time() -> None:
    bench = collecting()
    bench.take(bench.open[0], "a")
    bench.tick(60.0)
    assert advance(bench.state, TimePassed(), bench.now) == (bench.state, [])


def test_every_update_has_a_verdict_in_every_open_state() -> None:
    for bench in (collecting(), paused(), ending()):
        assert bench.update("e" * 32, "a") in ("unknown task", "after end")


# what evaluations have follow


@pytest.mark.parametrize("late", ["weigh", "refuse"])
def test_a_round_that_is_dropped_closes_at_once_and_nobody_is_waited_for(late: str) -> None:
    bench = collecting(goal=2, concurrency=3, late=late)
    first, second, untaken = bench.open
    bench.take(first, "a")
    bench.take(second, "b")
    bench.update(first, "a")
    assert bench.do(RoundDropped()) == [
        CloseRound(0, "rolled back"),
        EndTask(second, "ended", "the round closed"),
    ]
    assert isinstance(bench.state, Closed)
    bench.store()
    assert untaken in bench.open
    assert isinstance(bench.state, Collecting)


def test_a_paused_round_is_dropped_too() -> None:
    bench = paused()
    assert CloseRound(bench.version, "rolled back") in bench.do(RoundDropped())


@pytest.mark.parametrize("stage", [collecting, paused])
def test_a_run_that_is_stopped_drains_with_the_version_that_it_has(
    stage: Callable[[], Bench],
) -> None:
    bench = stage()
    version = bench.version
    actions = bench.do(RunStopped("no improvement"))
    assert actions[-1] == DrainRun(version, "no improvement", bench.now + 5.0)
    assert isinstance(bench.state, Draining)
    assert not bench.open


@pytest.mark.parametrize("late", ["weigh", "refuse"])
def test_what_was_counted_when_a_run_is_stopped_goes_into_its_last_version(late: str) -> None:
    bench = collecting(goal=2, concurrency=3, late=late)
    first = bench.open[0]
    bench.take(first, "a")
    bench.update(first, "a")
    assert bench.do(RunStopped("no improvement"))[0] == CloseRound(0, "stopped")
    assert isinstance(bench.state, Closed)
    actions = bench.do(VersionStored(1, stopped="no improvement"))
    assert actions[-1] == DrainRun(1, "no improvement", bench.now + 5.0)
    assert not any(isinstance(action, OpenRound | OfferTask) for action in actions)
    assert isinstance(bench.state, Draining)
    assert not bench.open


def test_what_a_paused_round_counted_is_not_lost_when_the_run_is_stopped() -> None:
    bench = collecting(goal=3, quorum=2, max_extensions=0)
    bench.take(bench.open[0], "a")
    bench.update(bench.open[0], "a")
    bench.tick_to_wake()
    assert isinstance(bench.state, Paused)
    assert CloseRound(0, "stopped") in bench.do(RunStopped("no improvement"))


def test_neither_is_heard_while_a_version_is_made_or_when_the_run_is_over() -> None:
    bench = Bench(policy(rounds=0))
    assert bench.do(RoundDropped()) == bench.do(RunStopped("")) == []
    bench.store()
    assert isinstance(bench.state, Draining)
    assert bench.do(RoundDropped()) == bench.do(RunStopped("")) == []
