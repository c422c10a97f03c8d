"""A federation in virtual time: the real round machine, and workers that are only numbers.

    round machine ── offers ──▶ pool ── is taken ──▶ in flight ── arrives ──▶ round machine
                                                       └── dropped ──▶ its lease ends

Rules: the heap holds tasks in flight and nothing else; what a worker makes of a task is a function
of (seed, worker, its task's number); an update is trained when it arrives and would be counted; the
same seed gives the same history.

What is left out: the broker and the disks, which `simulation.world` breaks; the time that messages
and the making of a version take.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import assert_never

from coordinator.aggregation.checks import inspect
from coordinator.events import (
    Action,
    CloseRound,
    DenyTask,
    DrainRun,
    EndRun,
    EndTask,
    Event,
    ExtendRound,
    GrantTask,
    LetTryAgain,
    OfferTask,
    OpenRound,
    PauseRun,
    RecordVerdict,
    TaskDeclined,
    TaskFacts,
    TaskTaken,
    TimePassed,
    UpdateArrived,
    VersionStored,
    WorkerSeen,
)
from coordinator.policy import RoundPolicy
from coordinator.round import judge
from coordinator.run import Closed, Draining, Ended, Paused, Run, State, advance, wake_at
from simulation.planning.crowd import Crowd, Outcome
from simulation.planning.models import Models
from simulation.planning.pool import Pool
from simulation.planning.roster import Roster
from simulation.planning.tally import Tally
from simulation.planning.training import Errand, Trained, Training

DROPPED = "the worker dropped it"


@dataclass(slots=True)
class Flight:
    """A task that a worker has in hand.

    Attributes:
        number: The number of the worker's task.
        replaced: Another was offered in its place.
    """

    task_id: str
    worker: int
    number: int
    version: int
    outcome: Outcome
    replaced: bool = False


class Fleet:
    """One federation.

    Args:
        policy: Of its rounds.
        crowd: Its workers.
        training: What they train.
        seed: Of the experiment.
        on_version: Called when a version was made.

    Attributes:
        now: Virtual time, in seconds.
        state: Of the round machine.
    """

    def __init__(
        self,
        policy: RoundPolicy,
        crowd: Crowd,
        training: Training,
        seed: int,
        on_version: Callable[[Fleet], None] = lambda fleet: None,
    ) -> None:
        self.now = 0.0
        self.crowd = crowd
        self.roster = Roster(crowd.workers)
        self.tally = Tally()
        self.models = Models(training.layout, training.initial())
        self.state: State = Closed(Run("simulated", 1, policy, salt=str(seed)))
        self._training = training
        self._on_version = on_version
        self._pool = Pool(crowd.availability, self.roster, seed)
        self._offered: deque[str] = deque()
        self._flights: dict[str, Flight] = {}
        self._landings: list[tuple[float, int, Flight]] = []
        self._landings_ever = 0
        self._short = False
        self._landed: Trained | None = None
        self._worker = -1

    @property
    def in_flight(self) -> int:
        """How many tasks workers have in hand; some of these the machine has given up."""
        return len(self._landings)

    @property
    def over(self) -> bool:
        """Whether the run has made its last version."""
        return isinstance(self.state, Draining | Ended)

    def run(self, until: float, enough: Callable[[Fleet], bool] = lambda fleet: False) -> None:
        """Go on until a time, the last version, or whenever `enough` says so after an event."""
        if self.models.version == 0 and not self.tally.version_at:
            self._store(0)
            self._hand_out()
        while not self.over and not enough(self):
            landing = self._landings[0][0] if self._landings else math.inf
            wake = wake_at(self.state)
            timer = math.inf if wake is None else wake
            comer = self._pool.next_at() if self._short else math.inf
            now = min(landing, timer, comer)
            if now > until:
                self.now = until
                return
            self.now = max(self.now, now)
            if landing == now:
                self._land(heapq.heappop(self._landings)[2])
            elif timer == now:
                self._advance(TimePassed())
            self._hand_out()

    # what workers do

    def _hand_out(self) -> None:
        """Let workers that are ready take what is offered, or say that they are there."""
        self._short = False
        while self._offered and not self.over:
            if self._offered[0] not in self.state.run.tasks:
                self._offered.popleft()  # given up before anyone took it
                continue
            worker = self._pool.take(self.state.run.version, self.now)
            if worker is None:
                self._short = True
                break
            self._take(self._offered.popleft(), worker)
        if isinstance(self.state, Paused):
            self._show_up()

    def _take(self, task_id: str, worker: int) -> None:
        self._worker = worker
        version = self.state.run.version
        counted = self.roster.counted[worker] >= version
        self._advance(TaskTaken(task_id, str(worker), bool(counted)))
        if not self.roster.busy[worker]:
            self._pool.free(worker, self.now)  # it was denied

    def _begin(self, task_id: str, version: int) -> None:
        worker, roster = self._worker, self.roster
        number = int(roster.taken[worker])
        trip = self.crowd.trip(worker, number, self.now)
        flight = Flight(task_id, worker, number, version, trip.outcome)
        roster.busy[worker] = True
        roster.tried[worker] = version
        roster.taken[worker] = number + 1
        self.models.hold(version)
        self._flights[task_id] = flight
        self._landings_ever += 1
        heapq.heappush(self._landings, (trip.ends_at, self._landings_ever, flight))
        self.tally.note_taken(worker, version, self.now)

    def _show_up(self) -> None:
        """In a paused run the workers that are there are counted."""
        self._short = True
        seen = []
        while isinstance(self.state, Paused):
            worker = self._pool.take(self.state.run.version, self.now)
            if worker is None:
                break
            seen.append(worker)
            self._advance(WorkerSeen(str(worker)))
        for worker in seen:
            self._pool.free(worker, self.now)
        if not isinstance(self.state, Paused):
            self._hand_out()

    def _land(self, flight: Flight) -> None:
        worker = self._worker = flight.worker
        del self._flights[flight.task_id]
        match flight.outcome:
            case "arrives":
                self._arrive(flight)
            case "dropped":
                self.tally.note_dropped(worker, flight.version, self.now)
                if self.crowd.devices.loss_is_told:
                    self.roster.tried[worker] = flight.version - 1  # it may try again
                    self._advance(TaskDeclined(flight.task_id, str(worker), DROPPED))
            case "left":
                self.tally.note_left(worker, flight.version, self.now)
            case _:
                assert_never(flight.outcome)
        self.models.release(flight.version)
        self.roster.busy[worker] = False
        self._pool.free(worker, self.now)

    def _arrive(self, flight: Flight) -> None:
        worker = flight.worker
        examples = self.crowd.examples_of(worker)
        event = UpdateArrived(
            update_id=flight.task_id,
            worker_id=str(worker),
            task_id=flight.task_id,
            base_version=flight.version,
            num_examples=examples,
            task=TaskFacts(flight.task_id, flight.replaced),
            counted_before=bool(self.roster.counted[worker] >= flight.version),
        )
        run = self.state.run
        if judge(event, run.version, run.policy).counted:  # else nobody would look at it
            event = self._trained(flight, event)
        self._advance(event)

    def _trained(self, flight: Flight, event: UpdateArrived) -> UpdateArrived:
        """Train now what an update says, and check it as a coordinator does."""
        errand = Errand(flight.worker, flight.number, flight.version, event.num_examples)
        trained = self._landed = self._training.train(errand, self.models[flight.version])
        layout, max_norm = self._training.layout, self.state.run.policy.max_norm
        fault = inspect(trained.payload, layout, max_norm) if layout is not None else None
        if fault is None and trained.num_examples == event.num_examples:
            return event
        return replace(event, num_examples=trained.num_examples, fault=fault)

    # what the machine says

    def _advance(self, event: Event) -> None:
        self.state, actions = advance(self.state, event, self.now)
        for action in actions:
            self._do(action)
        if isinstance(self.state, Closed):
            self._store(self.models.make())

    def _store(self, version: int) -> None:
        self.tally.note_version(version, self.now)
        self._on_version(self)
        self._advance(VersionStored(version))

    def _do(self, action: Action) -> None:
        match action:
            case RecordVerdict():
                self._record(action)
            case OfferTask():
                self._offered.append(action.task_id)
                if action.replaces in self._flights:
                    self._flights[action.replaces].replaced = True
            case GrantTask():
                self._begin(action.task_id, action.base_version)
            case CloseRound():
                self.tally.closed[action.why] += 1
            case ExtendRound():
                self.tally.extended += 1
            case PauseRun():
                self.tally.paused += 1
            case DenyTask() | EndTask() | OpenRound() | LetTryAgain() | DrainRun() | EndRun():
                pass
            case _:
                assert_never(action)

    def _record(self, verdict: RecordVerdict) -> None:
        self.tally.note_verdict(self._worker, verdict, self.now)
        if verdict.verdict == "counted":
            assert self._landed is not None, "only what was trained is counted"
            self.models.add(self._landed.payload, verdict.weight)
            self.roster.counted[self._worker] = verdict.round_version - verdict.staleness
            self.roster.answers[self._worker] += 1
