"""The machines of a run in one transaction: what they are told, and what they say, as rows.

Rules: as of a batch (`coordinator.batch.batch`); who is drawn is asked for once all else is
written, since it depends on that.
"""

from __future__ import annotations

from collections.abc import Mapping

from broker.transport import AnswerTo
from coordinator.batch.desk import Desk
from coordinator.effects import Effect
from coordinator.errors import Restored
from coordinator.evaluating import Evaluations
from coordinator.evaluating import Event as EvaluationEvent
from coordinator.evaluator import Evaluated, Evaluator
from coordinator.events import (
    Action,
    DrawWorkers,
    Event,
    RecordVerdict,
    RoundDropped,
    RunStopped,
    TimePassed,
    VersionStored,
    WorkersDrawn,
)
from coordinator.rows import write
from coordinator.run import advance
from coordinator.states import Closed, Collecting, Draining, Ended, Paused, State
from coordinator.work import Work


class Steps:
    """The steps that the machines take in one transaction.

    Attributes:
        desk: What the batch works with.
        work: The transaction.
        state: Of the run, after the last step.
        effects: What is to be done after the commit.
        lines: What to log after the commit: topic and text.
        evaluator: The evaluations.
    """

    def __init__(self, desk: Desk, work: Work, state: State, evaluated: Evaluated) -> None:
        self.desk = desk
        self.work = work
        self.state = state
        self.effects: list[Effect] = []
        self.lines: list[tuple[str, str]] = []
        self.evaluator = Evaluator(
            work, desk.roster, desk.terms, evaluated, desk.now, self.effects, desk.keeps
        )
        self._wanted: list[DrawWorkers] = []

    @property
    def closed(self) -> bool:
        """A round closed: the version is made before anything else is handed in."""
        return isinstance(self.state, Closed)

    @property
    def evaluated(self) -> Evaluated:
        """How the evaluations stand."""
        return self.evaluator.evaluated

    @property
    def evaluations(self) -> Evaluations:
        """The machine of the evaluations."""
        return self.evaluator.evaluated.machine

    def pass_time(self) -> None:
        """Look at the clock; a run that is over waits for its evaluations."""
        if not (isinstance(self.state, Draining) and self.evaluations.awaits):
            self.advance(TimePassed())
        self.evaluate(TimePassed())

    def store_version(self, version: int, new: bool = True) -> None:
        """A version is on disk; if it is new and was to go back to an earlier one, it has."""
        if new and self.evaluated.row.roll_back_to >= 0:
            self.evaluator.set_course(roll_back_to=-1, roll_back_why="")
        stopped = self.evaluated.row.stop_why
        if not stopped:  # else nothing would follow from its evaluation
            self.evaluator.take(VersionStored(version))
        self.advance(VersionStored(version, stopped))

    def measured(self, version: int, metrics: Mapping[str, float]) -> None:
        """The coordinator has evaluated a version itself."""
        self.evaluator.measured(version, metrics, self.state.run)
        self.settle()

    def evaluate(self, event: EvaluationEvent, asking: AnswerTo | None = None) -> None:
        """Take the evaluations a step further, with an event that asks for no verdict."""
        self.evaluator.take(event)
        self.settle(asking)

    def settle(self, asking: AnswerTo | None = None) -> None:
        """Write what the evaluations come to, and do what follows from it."""
        self.evaluator.settle(self.state.run, asking)
        follows = self.evaluated.row
        if isinstance(self.state, Collecting | Paused):
            if follows.stop_why:
                self.advance(RunStopped(follows.stop_why))
            elif follows.roll_back_to >= 0:
                self.advance(RoundDropped())

    def advance(self, event: Event, asking: AnswerTo | None = None) -> None:
        """Take the machine a step further, and write what it says and who is drawn."""
        self.step(event, asking)
        self.draw()
        self.settle(asking)

    def step(self, event: Event, asking: AnswerTo | None = None) -> RecordVerdict | None:
        """Take a step and write what the machine says; the verdict, if it gave one."""
        self.state, actions = advance(self.state, event, self.desk.now)
        verdict: RecordVerdict | None = None
        for action in actions:
            match action:
                case RecordVerdict():
                    verdict = action
                case DrawWorkers():
                    self._wanted.append(action)
                case _:
                    self._write(action, asking)
        if isinstance(self.state, Draining | Ended) and not self.evaluated.over:
            self._end_evaluations()
        return verdict

    def _write(self, action: Action, asking: AnswerTo | None) -> None:
        effect = write(action, self.work, self.state.run, self.desk.now, asking)
        if effect is not None:
            self.effects.append(effect)
        self.desk.roster.note(self.work, action, self.desk.now)

    def _end_evaluations(self) -> None:
        """The run is over: its last version is evaluated, unless it is known not to be the best."""
        last = -1 if self.evaluated.row.stop_why else self.state.run.version
        until = self.state.until if isinstance(self.state, Draining) else self.desk.now
        self.evaluator.end(last, until)

    def draw(self) -> None:
        """Draw workers, once all else is written: who may be drawn depends on it."""
        while self._wanted:
            wanted = self._wanted.pop()
            worker_ids = self.desk.selector.draw(wanted.count, wanted.version, self.desk.now)
            self.step(WorkersDrawn(tuple(worker_ids)))

    def refuse_newer(self, incarnation: int) -> None:
        """A message of an incarnation that this store has not come to stops the coordinator."""
        ours = self.state.run.incarnation
        if incarnation > ours:
            what = f"a message of incarnation {incarnation} came, the store has {ours}"
            raise Restored(incarnation, what)
