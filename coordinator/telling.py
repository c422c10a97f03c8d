"""Telling workers: answers to what they ask, again when the answer changes.

Best effort: an answer that does not arrive is asked for again by the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from broker.transport import AnswerTo, Transport
from coordinator import answers
from coordinator.effects import AnswerPresence, AnswerStart, AnswerUnwanted
from coordinator.evaluating import Evaluations
from coordinator.present import PresentWorkers
from coordinator.records import VersionRow, WorkerRow
from coordinator.states import Collecting, Draining, Ended, State
from coordinator.tries import Bar
from learning.seeding import derive_seed
from schemas.messages import Base, Message, Presence, Standing, Start, encode

OFFLINE_SHOWN = 20
REMINDED_S = 3600.0  # who was silent for longer asks by itself, or is gone
REMINDED_PER_S = 500
DEADLINE_NEAR_S = 2.0
"""A deadline so near, or the end of a lease, may pass while a task is begun: who takes one asks."""
WAITING_MAX = 10_000  # workers that wait until the model is on the stream


@dataclass(frozen=True, slots=True)
class Facts:
    """What a worker is told that stays the same in a run.

    Attributes:
        stored: Models lie in the depot.
        takes_stored: Updates may lie there.
    """

    layout_digest: str
    part_bytes: int
    run_seed: int
    stored: bool = False
    takes_stored: bool = False


class Telling:
    """What workers are told.

    Args:
        state: The run's state, asked for when it is needed.
        evaluations: How its evaluations stand, likewise.
        version: The row of a version that was made.
        offset: Where the current one lies on the stream, None while that is not known.
        held: Whether something holds a worker from taking a task, whatever it did.
    """

    def __init__(
        self,
        transport: Transport,
        facts: Facts,
        now: Callable[[], float],
        state: Callable[[], State],
        evaluations: Callable[[], Evaluations],
        version: Callable[[int], VersionRow],
        offset: Callable[[], int | None],
        held: Callable[[Presence], bool],
    ) -> None:
        self._transport = transport
        self._facts = facts
        self._now = now
        self._state = state
        self._evaluations = evaluations
        self._version = version
        self._offset = offset
        self._held = held
        self._present = PresentWorkers(OFFLINE_SHOWN)
        self._waiting: dict[tuple[str, str], AnswerStart] = {}

    def online(self, within_s: float) -> int:
        """How many workers were heard of within the last seconds."""
        return self._present.online(self._now(), within_s)

    def offline(self, within_s: float) -> tuple[str, ...]:
        """Workers that were there and are not now, the first by name."""
        return self._present.offline(self._now(), within_s)

    def last_said(self, worker_id: str) -> Presence | None:
        """What a worker last said of itself, None if that is not remembered."""
        return self._present.last_said(worker_id)

    def forget_addresses(self) -> None:
        """After a reconnect nobody is where they were."""
        self._waiting.clear()
        self._present.forget_addresses()

    def start(self, effect: AnswerStart) -> None:
        """Tell a worker what to train on, as soon as the stream has it."""
        run = self._state().run
        version = self._version(effect.base_version)
        # Where an older one lies is a hint: who does not find it there says that it is gone.
        current = effect.base_version == run.version
        offset = self._offset() if current else version.stream_offset or 0
        wanted = effect.task_id in run.tasks or self._evaluations().worker_of(effect.task_id)
        if not wanted:  # it ended while the worker waited
            reason = "the task is no longer open"
            self.unwanted(AnswerUnwanted(effect.to, run.run_id, effect.task_id, reason))
        elif offset is not None:
            self._answer(effect.to, self._wanted(effect, version, offset))
        elif len(self._waiting) < WAITING_MAX:  # who does not fit in asks again
            self._waiting[effect.to.address, effect.task_id] = effect

    def _wanted(self, effect: AnswerStart, version: VersionRow, offset: int) -> Start:
        run, now = self._state().run, self._now()
        return Start.on(
            self._base(version, offset, effect.lease_end - now),
            run_id=run.run_id,
            task_id=effect.task_id,
            incarnation=run.incarnation,
            version=version.version,
            seed=derive_seed(self._facts.run_seed, effect.task_id),
            time_s=now,
        )

    def _base(self, version: VersionRow, offset: int, lease_s: float) -> Base:
        facts = self._facts
        return answers.base_of(
            version,
            facts.layout_digest,
            offset=offset,
            part_bytes=facts.part_bytes,
            lease_s=lease_s,
            prox_mu=self._state().run.policy.algorithm.prox_mu,
            stored=facts.stored,
        )

    def model_ready(self) -> None:
        """The stream has the current version: those who waited may start."""
        waiting, self._waiting = self._waiting, {}
        for effect in waiting.values():
            self.start(effect)

    def unwanted(self, effect: AnswerUnwanted) -> None:
        """Tell a worker that the task it took is not wanted."""
        incarnation = self._state().run.incarnation
        self._answer(effect.to, answers.unwanted(effect, incarnation, self._now()))

    def presence(self, effect: AnswerPresence) -> None:
        """Tell a worker how things stand, and remember that it is there."""
        standing = self._standing(effect)
        self._present.see(effect.presence, effect.to, not standing.may_take, self._now())
        if effect.to is not None and not effect.presence.leaving:
            self._answer(effect.to, standing)

    def _standing(self, effect: AnswerPresence) -> Standing:
        """How things stand, with what a task may be begun on at once."""
        state, now = self._state(), self._now()
        standing = answers.standing(effect, state, self._evaluations(), now)
        offset, run = self._offset(), state.run
        if not standing.may_take or not isinstance(state, Collecting) or offset is None:
            return standing
        task = run.tasks.get(run.tasks.asked.get(effect.presence.worker_id, ""))
        lease_end = now + run.policy.lease_s if task is None else task.lease_end or now
        if min(state.deadline_at, lease_end) - now < DEADLINE_NEAR_S:
            return standing
        base = self._base(self._version(run.version), offset, lease_end - now)
        return replace(standing, base=base)

    def ask_again(self, to: AnswerTo, in_s: float = 0.0) -> None:
        """Have a worker ask how things stand, in so many seconds."""
        said = answers.ask_again(self._state(), self._evaluations(), in_s, self._now())
        self._answer(to, said)

    def remind(self, workers: Sequence[WorkerRow]) -> None:
        """After a start: workers that waited for word from the last process ask again.

        Where their questions were to be answered still holds if they have not lost their
        connection. They are asked one after another, so that not all come at once.
        """
        for place, row in enumerate(workers):
            self.ask_again(AnswerTo(row.address, row.correlation_id), place / REMINDED_PER_S)

    def changes(self) -> None:
        """Tell those who wait that they may take a task; when the run is over, everyone."""
        state = self._state()
        over = isinstance(state, Draining | Ended)
        told = self._present.everyone() if over else self._present.waiting(self._held)
        for to, presence in told:
            asked = AnswerPresence(to, presence, Bar("as before"), {}, {}, ())
            self._answer(to, self._standing(asked))

    def _answer(self, to: AnswerTo, message: Message) -> None:
        if self._facts.takes_stored and isinstance(message, Standing):
            message = replace(message, takes_stored=True)
        self._transport.answer(to, encode(message))
