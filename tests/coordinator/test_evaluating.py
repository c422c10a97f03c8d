from dataclasses import replace
from typing import Any

import pytest
from immutables import Map

from coordinator.evaluating import (
    ASKED_TIMES,
    Action,
    CloseEvaluation,
    DrawEvaluators,
    Evaluations,
    Event,
    Open,
    OpenEvaluation,
    Plan,
    RunOver,
    advance,
    wake_at,
)
from coordinator.events import (
    DenyTask,
    EndTask,
    GrantTask,
    OfferTask,
    RecordVerdict,
    Refused,
    TaskDeclined,
    TaskFacts,
    TaskTaken,
    TimePassed,
    UpdateArrived,
    VersionStored,
    WorkersDrawn,
    WorkerSeen,
)

PLAN = Plan(every=1, goal=2, deadline_s=100.0, rounds=10)  # three are asked at once


class Bench:
    """The machine, and what it said last."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.state = Evaluations("run", 7, plan, salt="salt")
        self.now = 0.0
        self.said: list[Action] = []

    def tell(self, event: Event) -> list[Action]:
        self.state, self.said = advance(self.state, event, self.now)
        return self.said

    def open(self, version: int, *workers: str) -> list[OfferTask]:
        """Open the evaluation of a version, and ask workers."""
        self.tell(VersionStored(version))
        return self.ask(*workers)

    def ask(self, *workers: str) -> list[OfferTask]:
        return [each for each in self.tell(WorkersDrawn(workers)) if isinstance(each, OfferTask)]

    def answer(self, offer: OfferTask, **changed: Any) -> RecordVerdict:
        event = UpdateArrived(
            update_id=f"update of {offer.task_id}",
            worker_id=offer.worker_id,
            task_id=offer.task_id,
            base_version=offer.base_version or 0,
            num_examples=30,
            task=TaskFacts(offer.task_id, False, offer.worker_id, offer.base_version),
            counted_before=False,
        )
        self.tell(replace(event, **changed))
        return next(each for each in self.said if isinstance(each, RecordVerdict))

    @property
    def opened(self) -> Open:
        assert self.state.open is not None
        return self.state.open


def test_a_due_version_is_opened_and_workers_are_drawn_for_it() -> None:
    bench = Bench()
    assert bench.tell(VersionStored(0)) == [
        OpenEvaluation(0, 100.0),
        DrawEvaluators(3, 0, Map()),
    ]
    assert wake_at(bench.state) == 10.0  # they may be too few


def test_without_a_cohort_nothing_happens() -> None:
    bench = Bench(Plan())
    assert bench.tell(VersionStored(0)) == []
    assert bench.tell(RunOver(1, 5.0)) == []
    assert wake_at(bench.state) is None


def test_only_every_nth_version_and_the_last_are_due() -> None:
    plan = Plan(every=4, rounds=10)
    assert [version for version in range(11) if plan.due(version)] == [0, 4, 8, 10]


def test_each_is_offered_a_task_that_pins_the_version_until_the_deadline() -> None:
    bench = Bench()
    bench.tell(VersionStored(0))
    bench.now = 5.0
    first, second = bench.ask("a", "b")
    assert (first.worker_id, second.worker_id) == ("a", "b")
    assert (first.base_version, first.lease_end, first.kind) == (0, 100.0, "evaluate")
    assert first.task_id != second.task_id
    assert (first.number, second.number) == (0, 1)


def test_more_than_wanted_are_not_asked_and_nobody_twice() -> None:
    bench = Bench()
    assert len(bench.open(0, "a", "b", "c", "d")) == 3
    assert bench.ask("a", "d") == []
    assert wake_at(bench.state) == 100.0


def test_too_few_are_drawn_again_soon_after_one_is_seen() -> None:
    bench = Bench()
    bench.open(0, "a")
    bench.now = 1.0
    assert bench.tell(WorkerSeen("b")) == []
    assert wake_at(bench.state) == 1.2
    bench.now = 1.2
    assert bench.tell(TimePassed()) == [DrawEvaluators(2, 0, bench.opened.asked)]


def test_a_worker_that_takes_its_task_is_told_the_version() -> None:
    bench = Bench()
    (offer,) = bench.open(0, "a")
    assert bench.tell(TaskTaken(offer.task_id, "a", False)) == [
        GrantTask(offer.task_id, "a", 0, 100.0)
    ]


@pytest.mark.parametrize("worker", ["b", ""])
def test_nobody_else_may_take_it(worker: str) -> None:
    bench = Bench()
    (offer,) = bench.open(0, "a")
    (said,) = bench.tell(TaskTaken(offer.task_id, worker, False))
    assert isinstance(said, DenyTask)


def test_a_task_of_a_closed_evaluation_is_denied() -> None:
    bench = Bench()
    (offer,) = bench.open(0, "a")
    bench.now = 100.0
    bench.tell(TimePassed())
    (said,) = bench.tell(TaskTaken(offer.task_id, "a", False))
    assert isinstance(said, DenyTask)
    assert "closed" in said.reason


def test_an_answer_is_counted_with_the_weight_of_its_examples() -> None:
    bench = Bench(replace(PLAN, max_examples=20))
    first, *_ = bench.open(0, "a", "b", "c")
    verdict = bench.answer(first)
    assert (verdict.verdict, verdict.round_version, verdict.weight) == ("counted", 0, 20.0)
    assert EndTask(first.task_id, "answered", "counted", "a") in bench.said


def test_the_goal_closes_it_and_ends_what_is_open() -> None:
    bench = Bench()
    first, second, third = bench.open(0, "a", "b", "c")
    bench.answer(first)
    bench.answer(second)
    assert CloseEvaluation(0, "goal") in bench.said
    assert EndTask(third.task_id, "ended", "the evaluation closed: goal", "c") in bench.said
    assert bench.state.open is None


def test_the_deadline_closes_it_with_what_came() -> None:
    bench = Bench()
    first, second = bench.open(0, "a", "b")
    bench.answer(first)
    bench.now = 100.0
    assert bench.tell(TimePassed()) == [
        EndTask(second.task_id, "lapsed", "the evaluation closed: deadline", "b"),
        CloseEvaluation(0, "deadline"),
    ]


def test_what_comes_after_the_close_is_late() -> None:
    bench = Bench()
    first, second, third = bench.open(0, "a", "b", "c")
    bench.answer(first)
    bench.answer(second)
    verdict = bench.answer(third)
    assert (verdict.verdict, verdict.weight) == ("late", 0.0)
    assert bench.said == [verdict]


def test_an_answer_for_a_closed_evaluation_changes_nothing_in_the_open_one() -> None:
    bench = Bench()
    first, second, third = bench.open(0, "a", "b", "c")
    bench.answer(first)
    bench.answer(second)
    bench.open(1, "d")
    before = bench.state
    assert bench.answer(third).verdict == "late"
    assert bench.state == before


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({"fault": Refused("malformed", "odd")}, "malformed"),
        ({"task": None}, "unknown task"),
        ({"worker_id": "eve"}, "unknown task"),
        ({"counted_before": True}, "repeated"),
    ],
)
def test_what_is_not_in_order_is_refused(changed: dict[str, Any], verdict: str) -> None:
    bench = Bench()
    first, *_ = bench.open(0, "a", "b", "c")
    assert bench.answer(first, **changed).verdict == verdict
    assert bench.opened.answered == 0


def test_a_forged_answer_does_not_end_the_task_of_the_worker_that_was_asked() -> None:
    bench = Bench()
    first, *_ = bench.open(0, "a", "b", "c")
    bench.answer(first, worker_id="eve")
    assert first.task_id in bench.opened.tasks
    assert bench.answer(first).verdict == "counted"


def test_who_declines_is_replaced_at_once_by_another() -> None:
    bench = Bench()
    first, *_ = bench.open(0, "a", "b", "c")
    assert bench.tell(TaskDeclined(first.task_id, "a", "battery")) == [
        EndTask(first.task_id, "declined", "battery", "a"),
        DrawEvaluators(1, 0, bench.opened.asked),
    ]


def test_nobody_declines_for_another() -> None:
    bench = Bench()
    first, *_ = bench.open(0, "a", "b", "c")
    assert bench.tell(TaskDeclined(first.task_id, "eve", "no")) == []


def test_what_is_due_meanwhile_waits_and_only_the_newest_of_it_is_opened() -> None:
    bench = Bench()
    first, second, _ = bench.open(0, "a", "b", "c")
    for version in (1, 2, 3):
        assert bench.tell(VersionStored(version)) == []
    bench.answer(first)
    bench.answer(second)
    assert OpenEvaluation(3, 100.0) in bench.said
    assert bench.opened.version == 3


def test_the_last_version_does_not_wait_for_an_older_one() -> None:
    bench = Bench()
    bench.open(9, "a", "b", "c")
    bench.tell(VersionStored(10))
    bench.tell(RunOver(10, 30.0))
    assert CloseEvaluation(9, "a newer version") in bench.said
    assert bench.opened.version == 10


def test_a_run_that_ends_early_has_its_last_version_evaluated_too() -> None:
    bench = Bench(replace(PLAN, every=4))
    bench.open(4, "a")
    bench.now = 100.0
    bench.tell(TimePassed())
    bench.tell(RunOver(6, 130.0))
    assert bench.opened.version == 6


def test_what_is_evaluated_already_is_not_evaluated_again_at_the_end() -> None:
    bench = Bench()
    first, second, _ = bench.open(10, "a", "b", "c")
    bench.tell(RunOver(10, 30.0))
    assert bench.opened.version == 10
    bench.answer(first)
    bench.answer(second)
    assert bench.state.open is None
    assert not bench.state.awaits


def test_when_the_run_is_over_nobody_new_is_waited_for() -> None:
    bench = Bench()
    bench.tell(VersionStored(10))
    bench.tell(WorkersDrawn(()))
    bench.tell(RunOver(10, 5.0))
    assert wake_at(bench.state) == 5.0
    bench.now = 5.0
    assert bench.tell(TimePassed()) == [CloseEvaluation(10, "the end of the run")]


def test_when_the_run_is_over_who_was_asked_has_until_the_deadline() -> None:
    bench = Bench()
    bench.open(10, "a")
    bench.tell(RunOver(10, 5.0))
    bench.now = 99.0
    assert not any(isinstance(each, CloseEvaluation) for each in bench.tell(TimePassed()))
    bench.now = 100.0
    assert CloseEvaluation(10, "deadline") in bench.tell(TimePassed())


def test_task_ids_are_never_used_twice() -> None:
    bench = Bench()
    ids = {each.task_id for each in bench.open(0, "a", "b", "c")}
    bench.now = 100.0
    bench.tell(TimePassed())
    ids |= {each.task_id for each in bench.open(1, "a", "b", "c")}
    assert len(ids) == 6


def test_the_open_task_of_a_worker_is_known_until_it_is_done() -> None:
    bench = Bench()
    first, *_ = bench.open(0, "a", "b", "c")
    assert bench.opened.task_of("a") == first.task_id
    bench.answer(first)
    assert bench.opened.task_of("a") == ""
    assert "a" in bench.opened.asked


def test_a_run_that_stops_early_needs_its_last_version_not_evaluated() -> None:
    bench = Bench()
    bench.open(4, "a")
    bench.tell(RunOver(-1, 30.0))
    assert bench.opened.version == 4
    bench.now = 100.0
    bench.tell(TimePassed())
    assert not bench.state.awaits


def test_a_version_that_is_stored_once_more_is_not_evaluated_once_more() -> None:
    bench = Bench()
    bench.open(4, "a")
    bench.now = 100.0
    bench.tell(TimePassed())
    assert bench.tell(VersionStored(4)) == []


def test_where_everybody_declines_the_rest_of_the_cohort_is_left_alone() -> None:
    bench = Bench()
    names = [f"w{number}" for number in range(100)]
    offers = bench.open(0, *names)
    asked = 0
    while offers:
        asked += len(offers)
        for offer in offers:
            bench.tell(TaskDeclined(offer.task_id, offer.worker_id, "model gone"))
        offers = bench.ask(*names)
    assert asked == ASKED_TIMES * PLAN.asked
    assert wake_at(bench.state) == 100.0
