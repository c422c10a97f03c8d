"""A run driven by hand: the shell's part (ledger, ids, clock) around the machine.

After every step it checks what must always hold, whatever the events and their order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from coordinator.events import (
    Action,
    CloseRound,
    DrawWorkers,
    EndTask,
    Event,
    OfferTask,
    PolicyChanged,
    RecordVerdict,
    Refused,
    TaskDeclined,
    TaskFacts,
    TaskTaken,
    TimePassed,
    UpdateArrived,
    Verdict,
    VersionStored,
    WorkersDrawn,
    WorkerSeen,
)
from coordinator.policy import RoundPolicy
from coordinator.run import advance
from coordinator.states import Closed, Collecting, Draining, Paused, Run, State, wake_at

RUN_ID = "0123456789abcdef" * 2


def policy(**changes: Any) -> RoundPolicy:
    """A policy of small numbers."""
    fields: dict[str, Any] = {
        "rounds": 3,
        "goal": 2,
        "quorum": 1,
        "concurrency": 3,
        "deadline_s": 60.0,
        "lease_s": 30.0,
        "max_staleness": 2,
        "max_extensions": 2,
        "drain_s": 5.0,
        **changes,
    }
    return RoundPolicy(**fields)


@dataclass
class Bench:
    """A run, its ledger and its clock.

    Attributes:
        policy: What the open round goes by.
        workers: Who can be drawn, in this order, where dispatch is direct.
    """

    policy: RoundPolicy
    ends_at: float | None = None
    workers: list[str] = field(default_factory=list)
    now: float = 1_000.0
    state: State = field(init=False)
    offered: dict[str, OfferTask] = field(default_factory=dict)
    ended: dict[str, EndTask] = field(default_factory=dict)
    replaced: set[str] = field(default_factory=set)
    answers: set[tuple[str, str]] = field(default_factory=set)
    counted: set[tuple[int, str]] = field(default_factory=set)
    verdicts: list[Verdict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = Closed(Run(RUN_ID, 7, self.policy, ends_at=self.ends_at))

    # what happens

    def do(self, event: Event) -> list[Action]:
        """Take a step, and check it."""
        before, was = self.state, repr(self.state)
        self.state, actions = advance(before, event, self.now)
        assert (self.state, actions) == advance(before, event, self.now), "not a function"
        assert repr(before) == was, "the old state was changed"
        self.policy = self.state.run.policy
        for action in actions:
            self._note(action, event)
        self._check(before, event, actions)
        for draw in [action for action in actions if isinstance(action, DrawWorkers)]:
            actions += self.do(WorkersDrawn(tuple(self.draw(draw))))
        return actions

    def draw(self, wanted: DrawWorkers) -> list[str]:
        """Who is drawn: whoever may be, in the order of `workers`."""
        assert wanted.count > 0
        assert wanted.version == self.version
        eligible = [
            worker
            for worker in self.workers
            if worker not in self.state.run.tasks.asked
            and (self.version, worker) not in self.counted
        ]
        return eligible[: wanted.count]

    def store(self) -> list[Action]:
        """The next version is on disk."""
        return self.do(VersionStored(self.version + 1))

    def take(self, task_id: str, worker: str) -> list[Action]:
        """A worker asks what to train on."""
        task = self.state.run.tasks.get(task_id)
        pinned = None if task is None else task.base_version
        base = self.version if pinned is None else pinned
        return self.do(TaskTaken(task_id, worker, (base, worker) in self.counted))

    def decline(self, task_id: str, worker: str) -> list[Action]:
        """A worker gives a task up."""
        return self.do(TaskDeclined(task_id, worker, "no battery"))

    def change(self, policy: RoundPolicy) -> list[Action]:
        """Another policy is set."""
        return self.do(PolicyChanged(policy, self.ends_at))

    def see(self, worker: str, spent: bool = False, sent: bool = False) -> list[Action]:
        """A worker says that it is there."""
        return self.do(WorkerSeen(worker, spent or (self.version, worker) in self.counted, sent))

    def update(
        self,
        task_id: str,
        worker: str,
        base: int | None = None,
        fault: Refused | None = None,
        examples: int = 10,
        duration_s: float | None = None,
    ) -> Verdict | None:
        """An update arrives; None if it is a copy, which the ledger keeps from the machine."""
        if (task_id, worker) in self.answers:
            return None
        self.answers.add((task_id, worker))
        known = self._facts(task_id)
        if base is None:
            pinned = None if known is None else known.base_version
            base = self.version if pinned is None else pinned
        before = (base, worker) in self.counted
        event = UpdateArrived(
            f"{task_id} {worker}",
            worker,
            task_id,
            base,
            examples,
            known,
            before,
            fault,
            duration_s,
        )
        (verdict,) = [a.verdict for a in self.do(event) if isinstance(a, RecordVerdict)]
        self.verdicts.append(verdict)
        return verdict

    def _facts(self, task_id: str) -> TaskFacts | None:
        offer = self.offered.get(task_id)
        if offer is None:
            return None
        return TaskFacts(task_id, task_id in self.replaced, offer.worker_id, offer.base_version)

    def tick(self, seconds: float = 0.0) -> list[Action]:
        """Time passes, and the machine looks at the clock."""
        self.now += seconds
        before = self.state
        actions = self.do(TimePassed())
        wake = wake_at(self.state)
        drained = isinstance(self.state, Draining) and not isinstance(before, Draining)
        assert wake is None or wake > self.now or drained, "it would be woken again at once"
        return actions

    def tick_to_wake(self) -> list[Action]:
        """Time passes until the machine wants to look at the clock."""
        wake = wake_at(self.state)
        assert wake is not None
        return self.tick(max(wake - self.now, 0.0))

    # what is

    @property
    def version(self) -> int:
        """The current model version."""
        return self.state.run.version

    @property
    def open(self) -> list[str]:
        """Ids of the open tasks, in the order of their offers."""
        tasks = self.state.run.tasks
        return [task_id for task_id in self.offered if task_id in tasks]

    @property
    def free(self) -> list[str]:
        """Ids of the open tasks that nobody has taken."""
        untaken = {task.task_id for task in self.state.run.tasks.untaken()}
        return [task_id for task_id in self.open if task_id in untaken]

    # what must hold

    def _note(self, action: Action, event: Event) -> None:
        match action:
            case RecordVerdict(verdict="counted"):
                assert isinstance(event, UpdateArrived)
                counts = (event.base_version, event.worker_id)
                assert counts not in self.counted, "a worker counted twice for one version"
                self.counted.add(counts)
            case OfferTask():
                assert action.task_id not in self.offered, "an id was used twice"
                assert action.number == len(self.offered), "task numbers have a gap"
                self.offered[action.task_id] = action
                self._check_offer(action)
                if action.replaces:
                    assert action.replaces in self.ended, "replaced, but open"
                    assert action.replaces not in self.replaced, "replaced twice"
                    self.replaced.add(action.replaces)
            case EndTask():
                assert action.task_id in self.offered, "ended, but never offered"
                assert action.task_id not in self.ended, "ended twice"
                assert action.worker_id == self.offered[action.task_id].worker_id
                self.ended[action.task_id] = action
            case CloseRound():
                assert action.version == self.version
            case _:
                pass

    def _check_offer(self, offer: OfferTask) -> None:
        assert bool(offer.worker_id) == (self.policy.dispatch == "direct")
        if offer.worker_id:
            assert offer.base_version == offer.version == self.version
            assert offer.lease_end == self.now + self.policy.lease_s
            assert offer.worker_id in self.workers
        else:
            assert offer.base_version is offer.lease_end is None

    def _check(self, before: State, event: Event, actions: list[Action]) -> None:
        run = self.state.run
        assert set(run.tasks.by_id) == self.offered.keys() - self.ended.keys()
        slots = max(self.policy.concurrency, len(before.run.tasks))
        assert len(run.tasks) <= slots, "more tasks than slots"
        assert run.version == before.run.version or isinstance(event, VersionStored)
        assert run.next_task == len(self.offered)
        if isinstance(self.state, Collecting):
            held = self.state.counted if self.policy.late == "refuse" else 0
            free = self.policy.concurrency - len(run.tasks) - held
            if self.policy.dispatch == "pool":
                assert free <= 0, "a slot leaked"
            else:
                assert free <= 0 or self.state.draw_at is not None, "a free slot was forgotten"
        asked = {task.worker_id: task.task_id for task in run.tasks.in_order() if task.direct}
        assert dict(run.tasks.asked) == asked
        assert len(asked) == sum(task.direct for task in run.tasks.in_order()), "two in one hand"
        if isinstance(self.state, Collecting | Paused):
            assert 0 <= self.state.counted < self.policy.goal
        if isinstance(self.state, Paused):
            assert self.state.counted < self.policy.quorum
        closes = [action for action in actions if isinstance(action, CloseRound)]
        assert len(closes) == (isinstance(self.state, Closed) and not isinstance(before, Closed))
        if closes:
            self._check_close(before, closes[0], actions)

    def _check_close(self, before: State, close: CloseRound, actions: list[Action]) -> None:
        assert isinstance(before, Collecting | Paused)
        verdicts = [action.verdict for action in actions if isinstance(action, RecordVerdict)]
        counted = before.counted + verdicts.count("counted")
        least = {
            "goal": self.policy.goal,
            "deadline": self.policy.quorum,
            "time": 1,
            "rolled back": 0,
            "stopped": 1,
        }
        # A goal that is lowered while the run is paused may be below what was counted.
        assert least[close.why] <= counted <= max(self.policy.goal, before.counted)


def collecting(**changes: Any) -> Bench:
    """A run whose first round is open."""
    bench = Bench(policy(**changes))
    bench.store()
    return bench


def paused(**changes: Any) -> Bench:
    """A run that missed too many deadlines; `quorum` is 2 unless said."""
    bench = collecting(**{"quorum": 2, "max_extensions": 0, **changes})
    bench.tick_to_wake()
    assert isinstance(bench.state, Paused)
    return bench
