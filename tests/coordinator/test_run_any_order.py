"""The round machine under events in any order: what `bench` checks holds after each of them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from coordinator.events import Refused
from coordinator.policy import RoundPolicy
from coordinator.states import Closed, Collecting, Draining, Ended, Paused, may_take, wake_at
from coordinator.tasks import OpenTasks
from coordinator.tries import Bar
from tests.coordinator.bench import Bench

WORKERS = [f"w{number}" for number in range(5)]
FAULTS = [Refused("non-finite", "NaN"), Refused("other timeline", "another run")]

policies = st.builds(
    lambda quorum, more, spare, **rest: RoundPolicy(
        goal=quorum + more, quorum=quorum, concurrency=quorum + more + spare, **rest
    ),
    quorum=st.integers(1, 4),
    more=st.integers(0, 3),
    spare=st.integers(0, 3),
    rounds=st.integers(1, 4),
    deadline_s=st.sampled_from([1.0, 20.0, 60.0]),
    lease_s=st.sampled_from([1.0, 30.0, 500.0]),
    late=st.sampled_from(["weigh", "refuse"]),
    max_staleness=st.integers(0, 2),
    max_extensions=st.integers(0, 2),
    drain_s=st.sampled_from([0.0, 5.0]),
    dispatch=st.sampled_from(["pool", "direct"]),
)


class AnyOrder(RuleBasedStateMachine):
    bench: Bench

    @initialize(policy=policies, max_seconds=st.sampled_from([None, None, 0.0, 100.0]))
    def start(self, policy: RoundPolicy, max_seconds: float | None) -> None:
        ends_at = None if max_seconds is None else 1_000.0 + max_seconds
        self.bench = Bench(policy, ends_at, workers=[*WORKERS])
        self.bench.store()

    def closed(self) -> bool:
        return isinstance(self.bench.state, Closed)

    def any_task(self, data: st.DataObject) -> str:
        tasks = [*self.bench.offered][-12:]
        return data.draw(st.sampled_from([*tasks, "0" * 32]))

    @precondition(lambda self: not self.closed())
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def take_an_open_task(self, data: st.DataObject, worker: str) -> None:
        if self.bench.open:
            self.bench.take(data.draw(st.sampled_from(self.bench.open)), worker)

    @precondition(lambda self: not self.closed())
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def take_any_task(self, data: st.DataObject, worker: str) -> None:
        self.bench.take(self.any_task(data), worker)

    @precondition(lambda self: not self.closed())
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def decline_any_task(self, data: st.DataObject, worker: str) -> None:
        self.bench.decline(self.any_task(data), worker)

    @precondition(lambda self: not self.closed())
    @rule(data=st.data(), worker=st.sampled_from(WORKERS), fault=st.sampled_from([None, *FAULTS]))
    def answer_any_task(self, data: st.DataObject, worker: str, fault: Refused | None) -> None:
        base = data.draw(st.integers(0, self.bench.version))
        self.bench.update(self.any_task(data), worker, base, fault)

    @precondition(lambda self: not self.closed())
    @rule(data=st.data(), worker=st.sampled_from(WORKERS))
    def answer_an_open_task_in_time(self, data: st.DataObject, worker: str) -> None:
        if self.bench.open:
            self.bench.update(data.draw(st.sampled_from(self.bench.open)), worker)

    @precondition(lambda self: not self.closed())
    @rule(worker=st.sampled_from(WORKERS), sent=st.booleans())
    def see_a_worker(self, worker: str, sent: bool) -> None:
        self.bench.see(worker, sent=sent)

    @rule(workers=st.lists(st.sampled_from(WORKERS), unique=True))
    def let_workers_come_and_go(self, workers: list[str]) -> None:
        self.bench.workers = workers

    @precondition(lambda self: not self.closed())
    @rule(data=st.data())
    def a_drawn_worker_does_its_task(self, data: st.DataObject) -> None:
        asked = self.bench.state.run.tasks.asked
        if asked:
            worker = data.draw(st.sampled_from(sorted(asked)))
            self.bench.take(asked[worker], worker)
            if worker in self.bench.state.run.tasks.asked:
                self.bench.update(self.bench.state.run.tasks.asked[worker], worker)

    @rule(policy=policies)
    def set_another_policy(self, policy: RoundPolicy) -> None:
        self.bench.change(policy)

    @rule(seconds=st.sampled_from([0.0, 0.5, 10.0, 31.0, 1e5]))
    def let_time_pass(self, seconds: float) -> None:
        self.bench.tick(seconds)

    @rule(seconds=st.sampled_from([0.5, 31.0]))
    def let_time_pass_unseen(self, seconds: float) -> None:
        self.bench.now += seconds

    @precondition(lambda self: wake_at(self.bench.state) is not None)
    @rule()
    def let_time_pass_to_the_next_timer(self) -> None:
        self.bench.tick_to_wake()

    @precondition(lambda self: self.closed())
    @rule()
    def store_the_version(self) -> None:
        self.bench.store()

    @rule()
    def start_again_from_what_is_stored(self) -> None:
        """What the shell does after a crash: the tasks come back from their rows."""
        state, run = self.bench.state, self.bench.state.run
        restored = OpenTasks.restore(
            run.tasks.by_id.values(), self.bench.now, self.bench.policy.lease_s
        )
        assert set(restored.by_id) == set(run.tasks.by_id)
        for task in restored.taken():
            assert task.lease_end is not None
            assert task.lease_end <= self.bench.now + self.bench.policy.lease_s
        run = replace(run, tasks=restored, salt=f"{run.salt}again")
        match state:
            case Collecting(_, counted, opened_at, deadline_at, extensions):
                self.bench.state = Collecting(
                    run, counted, opened_at, deadline_at, extensions, draw_at=self.bench.now
                )
            case Paused(_, counted, opened_at):
                self.bench.state = Paused(run, counted, opened_at, self.bench.now)
            case _:
                pass

    @invariant()
    def the_first_lease_ends_first(self) -> None:
        tasks = self.bench.state.run.tasks
        ends = [task.lease_end for task in tasks.taken() if task.lease_end is not None]
        assert tasks.next_lease_end() == min(ends, default=None)

    @invariant()
    def nobody_takes_what_could_not_count(self) -> None:
        state, version = self.bench.state, self.bench.version
        assert not may_take(state, state.run.run_id, version, Bar("counted"))

    def teardown(self) -> None:
        """With workers that do what they are told the run comes to its end."""
        if not hasattr(self, "bench"):
            return
        self.bench.workers = [*WORKERS]
        for _ in range(3000):  # the longest lease, in the shortest deadlines
            if isinstance(self.bench.state, Ended):
                return
            self.make_progress()
        raise AssertionError(f"the run stalls in {self.bench.state!r}")

    def make_progress(self) -> None:
        bench = self.bench
        if isinstance(bench.state, Closed):
            bench.store()
            return
        draining = isinstance(bench.state, Draining)
        if draining or not any(self.work(worker) for worker in WORKERS):
            bench.tick_to_wake()

    def work(self, worker: str) -> bool:
        """One worker comes, and trains if there is something to do; whether it did."""
        bench = self.bench
        if not isinstance(bench.state, Collecting | Paused):
            return True
        bench.see(worker)
        task = bench.state.run.tasks.asked.get(worker)
        if task is None:
            if (bench.version, worker) in bench.counted or not bench.free:
                return False
            task = bench.free[0]
        bench.take(task, worker)
        bench.update(task, worker)
        return True


AnyOrder.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase
