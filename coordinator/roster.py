"""Whose row is which: the registry of the workers, as a cache of the store.

Rules: each change goes into the store and the registry in one step, within a transaction; after a
transaction that failed the roster is loaded again; loading it gives what it was, but for the
versions that are over. A draw is answered from it alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from broker.transport import AnswerTo
from coordinator.cohort import NO_COHORT, Cohort
from coordinator.declaring import declared_by, required_by
from coordinator.drawing import Terms, draw, draw_evaluators
from coordinator.eligibility import Required
from coordinator.enrolment import Enrolment, address_of
from coordinator.events import (
    TRY_AGAIN,
    Action,
    EndTask,
    ExtendRound,
    GrantTask,
    LetTryAgain,
    OfferTask,
    OpenRound,
    Verdict,
)
from coordinator.fairness import Participation
from coordinator.intake import KIND
from coordinator.pacing import Crowd, away_s
from coordinator.recall import recall
from coordinator.records import RunRow, TaskRow
from coordinator.registry import BUSY, EVALUATES, Registry
from coordinator.tries import Bar, held
from coordinator.work import Work
from schemas.chance import Chance, key_of
from schemas.messages import Presence, Update
from settings.selection import SelectionSettings

DECLINED_REST_S = 60.0  # or who declines what waits in its own queue is given the next, for ever
CROWD_S = 5.0  # for so long, how many are there is good enough
CONNECTED_PRESENCES = 2.5  # who was silent for longer is not there
POPULATION_S = 86_400.0
LOSS_METRIC = "loss"
MODEL_GONE = "model gone"

_FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Selection:
    """How workers are selected in a run.

    Attributes:
        settings: What the user set.
        seed: The run's.
        presence_s: How often a worker says that it is there.
        cohort: The workers that evaluate and never train.
    """

    settings: SelectionSettings = field(default_factory=SelectionSettings)
    seed: int = 0
    presence_s: float = 30.0
    cohort: Cohort = NO_COHORT

    @property
    def required(self) -> Required:
        """What is required of a worker."""
        return required_by(self.settings)


@dataclass(frozen=True, slots=True)
class _Open:
    """A worker's open task: since when it is its own, and which version it trains on."""

    row: int
    since: float
    version: int


class Roster:
    """The workers of a run's federation.

    Attributes:
        registry: What is known of them, by row.
    """

    def __init__(self, run: RunRow, incarnation: int, selection: Selection) -> None:
        self._run_id = run.run_id
        self._incarnation = incarnation
        self._selection = selection
        self._required = selection.required
        self._next_draw = 0  # as the number of the next task
        self.registry = Registry(self._required.capabilities)
        self._rows: dict[str, int] = {}
        self._ids: list[str] = []  # by row; "" where it is nobody's
        self._open: dict[str, _Open] = {}
        self._busy: Counter[int] = Counter()
        self._version = run.version
        self._spent: dict[int, bool] = {}  # whose try at this version is used up: it counted
        self._awaited: set[int] = set()  # whose task for it lapsed: see `unseen_since_lapse`
        self._crowd = Crowd(0, 0)
        self._crowd_until = -math.inf

    @classmethod
    def load(
        cls, work: Work, run: RunRow, incarnation: int, selection: Selection, now: float
    ) -> Roster:
        """The roster as the store has it.

        No cool-down is longer than one that begins now: the clock may have been wrong.
        """
        made = cls(run, incarnation, selection)
        made._next_draw = work.next_number(run.run_id, KIND)
        enrolment = Enrolment(work)
        made.registry, made._ids = recall(enrolment, run.run_id, made._required.capabilities)
        made._rows = {worker_id: row for row, worker_id in enumerate(made._ids) if worker_id}
        longest = now + max(selection.settings.cool_down_s, DECLINED_REST_S)
        made.registry.shorten_rests(longest)
        if selection.cohort.share:
            for worker_id, row in made._rows.items():
                made._mark(row, worker_id)
        made._load_tasks(work, enrolment, now)
        return made

    def _load_tasks(self, work: Work, enrolment: Enrolment, now: float) -> None:
        for task in work.open_tasks(self._run_id):
            row = self._rows.get(task.worker_id) if task.kind == KIND else None
            if row is not None and task.base_version is not None:
                self._hold(task.task_id, _Open(row, task.had_at or now, task.base_version))
        for worker_id, counted in enrolment.spent(self._run_id, self._version).items():
            if worker_id in self._rows:
                self._spend(self._rows[worker_id], counted)
        for worker_id in enrolment.unseen_since_lapse(self._run_id, self._version):
            self._await(self._rows[worker_id])

    def __len__(self) -> int:
        """How many workers are known."""
        return len(self.registry)

    @property
    def participation(self) -> Participation:
        """How evenly they took part in the run so far."""
        return self.registry.participation

    # what workers say

    def see(
        self,
        work: Work,
        worker_id: str,
        leaving: bool,
        now: float,
        question: AnswerTo | None = None,
    ) -> None:
        """A worker was there, or says that it leaves."""
        row = self._row(worker_id)
        Enrolment(work).see(worker_id, leaving, now, question, row)
        self._heard(work, row)
        self.registry.see(row, now, leaving)

    def hear(self, work: Work, worker_id: str, now: float) -> None:
        """Something came from a worker, which says nothing of whether it stays."""
        row = self._rows.get(worker_id)
        if row is not None:
            Enrolment(work).change(worker_id, last_seen=now, unheard=0)
            self._heard(work, row)
            self.registry.hear(row, now)

    def _heard(self, work: Work, row: int) -> None:
        if row in self._awaited:
            self._awaited.discard(row)
            work.note_on_its_way(self._run_id, self._version, self._ids[row], "")
            if row not in self._spent:
                self.registry.let_try_again(row)

    def present(
        self,
        work: Work,
        presence: Presence,
        now: float,
        question: AnswerTo | None,
        on_its_way: str = "",
    ) -> None:
        """A worker says that it is there, and how it is.

        Args:
            work: The transaction.
            presence: What it says.
            now: The coordinator's time.
            question: Where it is answered.
            on_its_way: Its update of the current version that is on its way though the lease of its
                task has ended: it needs no other for that version.
        """
        row, traits = self._row(presence.worker_id), declared_by(presence, now)
        Enrolment(work).see(
            presence.worker_id,
            presence.leaving,
            now,
            question,
            row,
            examples=traits.examples,
            capabilities=" ".join(sorted(traits.capabilities)),
            battery=traits.battery,
            metered=traits.metered,
            clock_offset=traits.offset,
            hours=presence.hours if traits.hours else "",
        )
        self._heard(work, row)
        if on_its_way and not self.registry.flags[row] & EVALUATES:
            work.note_on_its_way(self._run_id, self._version, presence.worker_id, on_its_way)
            self._await(row)
        self.registry.see(row, now, presence.leaving)
        self.registry.declare(row, traits)

    def held(self, presence: Presence, now: float) -> Bar | None:
        """What keeps a worker from a task, apart from what it did for the current version."""
        if presence.worker_id in self._selection.cohort:
            return Bar("evaluates")
        row = self._rows.get(presence.worker_id)
        rest_until = 0.0 if row is None else float(self.registry.rest_until[row])
        return held(declared_by(presence, now), rest_until, self._required, now)

    def send_away(self, work: Work, presence: Presence, now: float) -> float:
        """For how long a worker that is there shall go, 0 if it shall stay.

        One that shall go is not drawn until it is seen again.
        """
        away_s = self._away_s(presence, now)
        if away_s:
            Enrolment(work).change(presence.worker_id, leaving=True)
            self.registry.see(self._rows[presence.worker_id], now, leaving=True)
        return away_s

    def _away_s(self, presence: Presence, now: float) -> float:
        settings = self._selection.settings
        row = self._rows.get(presence.worker_id)
        if not settings.pace or presence.leaving or presence.busy or presence.open_updates:
            return 0.0
        if row is None or self.registry.flags[row] & BUSY:
            return 0.0
        key = key_of(self._selection.seed, self._incarnation, presence.worker_id, "away")
        chance = Chance(key, int(now * 1000))
        return away_s(settings.pace, self._crowd_at(now), self._selection.presence_s, chance)

    def _crowd_at(self, now: float) -> Crowd:
        if not now < self._crowd_until <= now + CROWD_S:
            since = now - CONNECTED_PRESENCES * self._selection.presence_s
            connected = self.registry.seen_since(since, staying=True)
            population = self.registry.seen_since(now - POPULATION_S)
            self._crowd, self._crowd_until = Crowd(connected, population), now + CROWD_S
        return self._crowd

    def _row(self, worker_id: str) -> int:
        row = self._rows.get(worker_id)
        if row is None:
            row = self.registry.add()
            self._rows[worker_id] = row
            self._ids.extend([""] * (row + 1 - len(self._ids)))
            self._ids[row] = worker_id
            self._mark(row, worker_id)
        return row

    def _mark(self, row: int, worker_id: str) -> None:
        """Note in its row if a worker evaluates."""
        if worker_id in self._selection.cohort:
            self.registry.let_evaluate(row)

    # their tasks

    def note(self, work: Work, action: Action, now: float) -> None:
        """What the machine says, as far as it is about workers."""
        match action:
            case OfferTask() if action.worker_id:
                self._begin(action.task_id, action.worker_id, action.version, now)
            case GrantTask() if action.task_id not in self._open:
                since = now if action.since is None else action.since
                self._begin(action.task_id, action.worker_id, action.base_version, since)
            case EndTask():
                self._end(work, action, now)
            case ExtendRound() | LetTryAgain():
                self._let_try_again()
            case OpenRound():
                self._version = action.version
                self._spent.clear()
                self._awaited.clear()
            case _:
                pass

    def draw(self, count: int, version: int, now: float) -> list[str]:
        """Workers to give a task each, fewer than `count` if not so many may be given one."""
        settings = self._selection.settings
        terms = Terms(version, now, self._seen_since(now), self._required)
        key = key_of(self._selection.seed, self._incarnation, self._run_id, version, "draw")
        chance = Chance(key, self._next_draw)
        rows = draw(self.registry, count, terms, chance, settings.candidates, settings.by)
        # A task is made for each, so that the number is that of the next task, also after a start.
        self._next_draw += len(rows)
        return [self._ids[row] for row in rows]

    def draw_evaluators(
        self, count: int, version: int, but: Collection[str], now: float
    ) -> list[str]:
        """Workers of the cohort to give a task to evaluate each.

        Args:
            count: How many are wanted; fewer if not so many may be given one.
            version: What they are to evaluate.
            but: Workers that were asked already.
            now: The coordinator's time.
        """
        terms = Terms(version, now, self._seen_since(now), self._required)
        key = key_of(self._selection.seed, self._incarnation, self._run_id, version, "evaluate")
        out = {self._rows[worker_id] for worker_id in but if worker_id in self._rows}
        rows = draw_evaluators(self.registry, count, terms, Chance(key, len(but)), out)
        return [self._ids[row] for row in rows]

    def _seen_since(self, now: float) -> float:
        """Since when a worker must have been seen, and not have left, to be drawn; -inf: never."""
        settings = self._selection.settings
        if settings.seen_within_s:
            return now - settings.seen_within_s
        return 0.0 if settings.pace else -math.inf  # with a pace, whoever is away is meant to be

    def _begin(self, task_id: str, worker_id: str, version: int, since: float) -> None:
        """A task was given to a worker, or it took one from the pool."""
        row = self._rows.get(worker_id)
        if row is not None:  # else another selection drew somebody who never said a word
            self._hold(task_id, _Open(row, since, version))
            self.registry.drawn[row] += 1

    def _hold(self, task_id: str, task: _Open) -> None:
        self._open[task_id] = task
        self._busy[task.row] += 1
        self.registry.hold(task.row)

    def _end(self, work: Work, action: EndTask, now: float) -> None:
        task = self._open.pop(action.task_id, None)
        if task is None:
            return  # nobody had it
        row = task.row
        self._busy[row] -= 1
        if self._busy[row] <= 0:
            del self._busy[row]
            self.registry.end_task(row)
        if action.how == "lapsed":
            unheard = self.registry.lapse_task(row, task.since)
            Enrolment(work).change(self._ids[row], unheard=unheard)
            if task.version == self._version and not self.registry.flags[row] & EVALUATES:
                self._await(row)
            return
        direct, gone = bool(action.worker_id), action.reason.startswith(MODEL_GONE)
        if action.how == "declined" and direct and not gone:
            self._rest(work, row, now + DECLINED_REST_S)

    def _await(self, row: int) -> None:
        """An update of the current version may still come: it gets no other.

        Until it is seen, and does not say that the update is on its way.
        """
        self._awaited.add(row)
        self.registry.spend(row, self._version)

    def _rest(self, work: Work, row: int, until: float) -> None:
        if until > self.registry.rest_until[row]:
            self.registry.rest(row, until)
            Enrolment(work).change(self._ids[row], rest_until=until)

    def judged(
        self,
        work: Work,
        update: Update,
        task: TaskRow | None,
        verdict: Verdict,
        now: float,
        asking: AnswerTo | None = None,
    ) -> None:
        """An update was given its verdict, and its worker is told of it at an address."""
        if update.worker_id not in self._rows:
            if verdict != "counted":
                return
            Enrolment(work).see(update.worker_id, False, now, None, self._row(update.worker_id))
        row = self._rows[update.worker_id]
        self._heard(work, row)
        self.registry.hear(row, now)
        if task is not None and task.is_of(update.worker_id):
            if task.had_at is not None:
                self._measure(row, update, task.had_at, now)
            self.registry.rest(row, now + self._selection.settings.cool_down_s)
        if verdict == "counted":
            self.registry.count(row)
        if update.base_version == self._version and verdict not in TRY_AGAIN:
            self._spend(row, verdict in ("counted", "repeated"))
        address = {} if asking is None else address_of(asking)
        Enrolment(work).change(update.worker_id, **self.registry.progress(row), **address)

    def answered(self, work: Work, worker_id: str, now: float) -> None:
        """The answer to a task to evaluate was given its verdict."""
        row = self._rows.get(worker_id)
        if row is not None:
            self.registry.hear(row, now)
            self._rest(work, row, now + self._selection.settings.cool_down_s)
            Enrolment(work).change(worker_id, last_seen=now, unheard=0)

    def _measure(self, row: int, update: Update, had_at: float, now: float) -> None:
        loss = update.metrics.get(LOSS_METRIC)
        self.registry.measure(
            row,
            max(now - had_at, 0.0),
            min(max(update.train_s, 0.0), _FLOAT_MAX),
            None if loss is None else min(max(loss, -_FLOAT_MAX), _FLOAT_MAX),
        )

    def _spend(self, row: int, counted: bool) -> None:
        """A worker's try at the current version is used up."""
        self._spent[row] = counted or self._spent.get(row, False)
        self.registry.spend(row, self._version)

    def _let_try_again(self) -> None:
        """Workers whose update of the current version was refused may be given another task."""
        for row in [row for row, counted in self._spent.items() if not counted]:
            del self._spent[row]
            if row not in self._awaited:
                self.registry.let_try_again(row)

    # room

    def make_room(self, work: Work, keep: int) -> None:
        """Let the workers go that were not seen for longest and have no task, all but so many."""
        rows = self.registry.longest_unseen(len(self) - keep)
        gone = [self._ids[row] for row in rows]
        for row in rows:
            self._heard(work, row)  # nothing is awaited of it any more
        if gone:
            Enrolment(work).forget(gone)
        for worker_id in gone:
            row = self._rows.pop(worker_id)
            self._ids[row] = ""
            self._spent.pop(row, None)
            self.registry.forget(row)
