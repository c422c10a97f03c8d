"""A federation in virtual time: the real round machine, and workers that are only numbers.

    round machine ── offers ──▶ pool ────── is taken ──▶ in flight ── arrives ──▶ round machine
                     └───────▶ own queue ──────┘            └── dropped ──▶ its lease ends

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
from dataclasses import replace
from typing import assert_never

from coordinator.aggregation.checks import inspect
from coordinator.aggregation.counted import Counted
from coordinator.events import (
    Action,
    ChangePolicy,
    CloseRound,
    DenyTask,
    DrainRun,
    DrawWorkers,
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
from coordinator.policy import RoundPolicy
from coordinator.round import judge
from coordinator.run import advance
from coordinator.states import Closed, Draining, Ended, Paused, Run, State, wake_at
from simulation.planning.crowd import Crowd
from simulation.planning.drawer import Choice, Drawer
from simulation.planning.flights import Flight, Letter, Letters
from simulation.planning.models import Models
from simulation.planning.pool import Pool
from simulation.planning.roster import Roster
from simulation.planning.tally import Tally
from simulation.planning.training import Errand, Trained, Training

DROPPED = "the worker dropped it"


class Fleet:
    """One federation.

    Args:
        policy: Of its rounds.
        crowd: Its workers.
        training: What they train.
        seed: Of the experiment.
        on_version: Called when a version was made.
        choice: Which workers are chosen.

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
        choice: Choice | None = None,
    ) -> None:
        self.now = 0.0
        self.crowd = crowd
        self.roster = Roster(crowd.workers)
        self.tally = Tally()
        self.models = Models(training.layout, training.initial(), policy.algorithm)
        self.state: State = Closed(Run("simulated", 1, policy, salt=str(seed)))
        self._training = training
        self._on_version = on_version
        self._choice = choice or Choice()
        self._pool = Pool(crowd.availability, self.roster, seed)
        self._drawer: Drawer | None = None
        if policy.dispatch == "direct":
            self._drawer = Drawer(crowd.availability, crowd.workers, self._choice, seed)
        self._offered: deque[str] = deque()
        self._letters = Letters(self.models)
        self._flights: dict[str, Flight] = {}
        self._heap: list[tuple[float, int, Flight | Letter]] = []
        self._entries_ever = 0
        self._wanted: list[DrawWorkers] = []
        self._short = False
        self._taking: Letter | None = None
        self._landing: Flight | None = None
        self._landed: Trained | None = None
        self._worker = -1

    @property
    def in_flight(self) -> int:
        """How many tasks workers have in hand; some of these the machine has given up."""
        return len(self._flights)

    @property
    def num_bytes(self) -> int:
        """What the arrays of all workers take in memory."""
        drawer = 0 if self._drawer is None else self._drawer.num_bytes
        return self.roster.num_bytes + drawer

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
            due = self._heap[0][0] if self._heap else math.inf
            wake = wake_at(self.state)
            timer = math.inf if wake is None else wake
            comer = self._pool.next_at() if self._short else math.inf
            now = min(due, timer, comer)
            if now > until:
                self.now = until
                return
            self.now = max(self.now, now)
            if due == now:
                self._happen(heapq.heappop(self._heap)[2])
            elif timer == now:
                self._advance(TimePassed())
            self._hand_out()

    def _happen(self, entry: Flight | Letter) -> None:
        if isinstance(entry, Flight):
            self._land(entry)
        else:
            self._open_letter(entry)

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
        worker, roster, letter = self._worker, self.roster, self._taking
        number = int(roster.taken[worker])
        trip = self.crowd.trip(worker, number, self.now)
        since = self.now if letter is None else letter.since
        direct = letter is not None
        flight = Flight(task_id, worker, number, version, trip.outcome, since, direct)
        roster.busy[worker] = True
        roster.tried[worker] = max(version, int(roster.tried[worker]))
        roster.taken[worker] = number + 1
        self.models.hold(version)
        self._flights[task_id] = flight
        self._enter(trip.ends_at, flight)
        self.tally.note_taken(worker, version, self.now)
        if self._drawer is not None:
            self._drawer.seen(worker, self.now)

    def _enter(self, at: float, entry: Flight | Letter) -> None:
        self._entries_ever += 1
        heapq.heappush(self._heap, (at, self._entries_ever, entry))

    # a worker's own queue

    def _fetch(self, letter: Letter) -> None:
        """The worker takes it when it is there; never, if it has left."""
        there_from = self.crowd.availability.there_from(letter.worker, self.now)
        if there_from < math.inf:
            self._enter(there_from, letter)

    def _open_letter(self, letter: Letter) -> None:
        if self._letters.of(letter.worker) is not letter:
            return  # it is not wanted any more
        self._taking, self._worker = letter, letter.worker
        counted = bool(self.roster.counted[letter.worker] >= letter.version)
        self._advance(TaskTaken(letter.task_id, str(letter.worker), counted))
        self._taking = None
        self._letters.forget(letter)

    # what comes of it

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
        worker, roster = flight.worker, self.roster
        del self._flights[flight.task_id]
        match flight.outcome:
            case "arrives":
                self._arrive(flight)
            case "dropped":
                self._drop(flight)
            case "left":
                self.tally.note_left(worker, flight.version, self.now)
            case _:
                assert_never(flight.outcome)
        self.models.release(flight.version)
        roster.busy[worker] = False
        letter = self._letters.of(worker)
        if letter is not None:
            self._fetch(letter)
        else:
            self._pool.free(worker, max(self.now, float(roster.rests_until[worker])))

    def _drop(self, flight: Flight) -> None:
        worker = flight.worker
        self.tally.note_dropped(worker, flight.version, self.now)
        if self.crowd.devices.loss_is_told:
            self.roster.tried[worker] = flight.version - 1  # it may try again
            self._advance(TaskDeclined(flight.task_id, str(worker), DROPPED))

    def _arrive(self, flight: Flight) -> None:
        worker = self._worker = flight.worker
        self.roster.rests_until[worker] = self.now + self._choice.cool_down_s
        self._landing = flight
        examples = self.crowd.examples_of(worker)
        event = UpdateArrived(
            update_id=flight.task_id,
            worker_id=str(worker),
            task_id=flight.task_id,
            base_version=flight.version,
            num_examples=examples,
            task=self._facts_of(flight),
            counted_before=bool(self.roster.counted[worker] >= flight.version),
            duration_s=self.now - flight.since,
        )
        run = self.state.run
        costs_nothing = self._training.layout is None
        if costs_nothing or judge(event, run.version, run.policy).counted:
            event = self._trained(flight, event)
        self._advance(event)

    def _facts_of(self, flight: Flight) -> TaskFacts:
        if not flight.direct:
            return TaskFacts(flight.task_id, flight.replaced)
        worker_id = str(flight.worker)
        return TaskFacts(flight.task_id, flight.replaced, worker_id, flight.version)

    def _trained(self, flight: Flight, event: UpdateArrived) -> UpdateArrived:
        """Train now what an update says, and check it as a coordinator does."""
        prox_mu = self.state.run.policy.algorithm.prox_mu
        errand = Errand(flight.worker, flight.number, flight.version, event.num_examples, prox_mu)
        trained = self._landed = self._training.train(errand, self.models[flight.version])
        fault = self._fault_of(trained)
        if fault is None and trained.num_examples == event.num_examples:
            return event
        return replace(event, num_examples=trained.num_examples, fault=fault)

    def _fault_of(self, trained: Trained) -> Refused | None:
        layout, policy = self._training.layout, self.state.run.policy
        if layout is None:
            return None
        if policy.algorithm.needs_local_steps and trained.local_steps < 1:
            return Refused("malformed", "its learner does not say its local steps")
        return inspect(trained.payload, layout, policy.max_norm, trained.codec, trained.update_id)

    # what the machine says

    def _advance(self, event: Event) -> None:
        self.state, actions = advance(self.state, event, self.now)
        for action in actions:
            self._do(action)
        if isinstance(self.state, Closed):
            self._store(self.models.make())
        while self._wanted and self._drawer is not None:  # once all else is known
            wanted = self._wanted.pop()
            drawn = self._drawer.draw(wanted.count, wanted.version, self.now)
            self._advance(WorkersDrawn(drawn))

    def _store(self, version: int) -> None:
        self.tally.note_version(version, self.now)
        self._on_version(self)
        self._advance(VersionStored(version))

    def _do(self, action: Action) -> None:
        match action:
            case RecordVerdict():
                self._record(action)
            case OfferTask():
                self._offer(action)
            case GrantTask():
                self._begin(action.task_id, action.base_version)
            case EndTask():
                self._end(action)
            case DrawWorkers():
                self._wanted.append(action)
            case CloseRound():
                self.tally.closed[action.why] += 1
            case ExtendRound():
                self.tally.extended += 1
            case PauseRun():
                self.tally.paused += 1
            case DenyTask() | OpenRound() | LetTryAgain() | DrainRun() | EndRun():
                pass
            case ChangePolicy():
                raise AssertionError("nobody changes the policy of a simulation")
            case _:
                assert_never(action)

    def _offer(self, task: OfferTask) -> None:
        if task.replaces in self._flights:
            self._flights[task.replaces].replaced = True
        if self._drawer is None or task.base_version is None:
            self._offered.append(task.task_id)
            return
        worker = int(task.worker_id)
        self._drawer.offered(task.task_id, worker, task.base_version, self.now)
        letter = Letter(task.task_id, worker, task.base_version, self.now)
        self._letters.post(letter)
        if not self.roster.busy[worker]:
            self._fetch(letter)

    def _end(self, task: EndTask) -> None:
        if self._drawer is None or not task.worker_id:
            return
        self._drawer.ended(task, self.state.run.version, self.now)
        letter = self._letters.of(int(task.worker_id))
        if letter is not None and letter.task_id == task.task_id:
            self._letters.forget(letter)

    def _record(self, verdict: RecordVerdict) -> None:
        flight, worker = self._landing, self._worker
        assert flight is not None, "an update that arrives has landed"
        self.tally.note_verdict(worker, verdict, self.now)
        metrics = {} if self._landed is None else self._landed.metrics
        if verdict.verdict == "counted":
            self._count(flight, verdict)
        if self._drawer is not None:
            self._drawer.seen(worker, self.now)
            took_s = self.now - flight.since
            self._drawer.judged(worker, verdict, took_s, metrics.get("loss"))
        self._landed = None

    def _count(self, flight: Flight, verdict: RecordVerdict) -> None:
        trained, worker = self._landed, flight.worker
        assert trained is not None, "only what was trained is counted"
        self.models.add(
            Counted(
                payload=trained.payload,
                worker_id=str(worker),
                base_version=flight.version,
                weight=verdict.weight,
                examples=verdict.full_weight,
                local_steps=trained.local_steps,
                codec=trained.codec,
                update_id=trained.update_id,
            )
        )
        self.roster.counted[worker] = flight.version
        self.roster.answers[worker] += 1
