"""A worker says that it is there, and asks how things stand."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from broker.transport import AnswerTo
from coordinator.batch.steps import Steps
from coordinator.effects import AnswerPresence, AskAgain, PutAgain
from coordinator.errors import Restored
from coordinator.events import WorkerSeen
from coordinator.intake import KIND
from coordinator.states import Collecting, Paused
from coordinator.tries import (
    ON_ITS_WAY_S,
    Bar,
    bar_of_tasks,
    bar_of_update,
    bar_of_word,
    may_still_count,
)
from schemas.digest import update_id_of
from schemas.messages import NAMES_MAX, Presence, Update

MISSING_MAX = 4096  # numbers of missing parts in one answer


class Presences:
    """What workers that are there are told, in one transaction."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._desk = steps.desk
        self._work = steps.work

    def take(self, presence: Presence, asking: AnswerTo | None) -> None:
        """Note that a worker is there, and answer it."""
        on_its_way = self._on_its_way(presence)
        self._desk.roster.present(self._work, presence, self._desk.now, asking, on_its_way)
        self._refuse_ahead(presence)
        self._answer(presence, asking)

    def answer_update(self, update: Update, asking: AnswerTo | None) -> None:
        """An update asks what became of it: it saves its worker a presence.

        Its worker is as it last said that it is, and has trained on the update's version. Who is
        not remembered says how it is when it asks once more, which it is told to do at once.
        """
        if asking is None:
            return
        known = self._desk.last_said(update.worker_id)
        if known is None:
            self.ask_again(asking)
            return
        here = (update.run_id, update.incarnation)
        before = known.last_version if (known.run_id, known.incarnation) == here else -1
        presence = replace(
            known,
            run_id=update.run_id,
            last_version=max(before, update.base_version),
            incarnation=update.incarnation,
            busy=False,
            leaving=False,
            open_updates=(update.update_id,),
        )
        self._answer(presence, asking, says=False)

    def ask_again(self, asking: AnswerTo) -> None:
        """Have a worker say how it is, and ask again."""
        self._steps.effects.append(AskAgain(asking))

    def _answer(self, presence: Presence, asking: AnswerTo | None, *, says: bool = True) -> None:
        """Answer a worker that is there; if not `says`, the run has heard so from its update."""
        now, roster = self._desk.now, self._desk.roster
        run, worker_id = self._steps.state.run, presence.worker_id
        spent = bar_of_update(self._work.spent_by(run.run_id, KIND, run.version, worker_id))
        untold = None if spent else self._untold(presence)
        hold = roster.held(presence, now)
        if says and not presence.leaving:
            paused = isinstance(self._steps.state, Paused)
            sent = paused and (untold is not None or self._may_count(presence))
            self._steps.advance(WorkerSeen(worker_id, bool(spent or hold), sent))
        if self._steps.evaluations.evaluates(worker_id) and not presence.leaving:
            self._steps.evaluate(WorkerSeen(worker_id))
        verdicts, missing, unknown, in_hand, room = {}, {}, [], [], MISSING_MAX
        # An answer must fit into a header: what is left out the worker asks for again.
        for update_id in presence.open_updates[:NAMES_MAX]:
            verdict = self._work.verdict_of(update_id)
            if verdict is not None:
                verdicts[update_id] = verdict
                continue
            if self._desk.fetching.covers(update_id):
                in_hand.append(update_id)  # what is missing is not the worker's to send
                continue
            parts = self._desk.spool.parts
            digests = parts.uploads(update_id)
            if not digests:
                unknown.append(update_id)
            elif room:
                missing[update_id] = tuple(parts.missing((update_id, digests[0]))[:room])
                room -= len(missing[update_id])
        self._put_again(presence)
        bar = spent or self._awaited(presence) or untold
        answer = AnswerPresence(
            asking,
            presence,
            bar,
            verdicts,
            missing,
            tuple(unknown),
            hold,
            self._send_away(presence),
            tuple(in_hand),
        )
        self._steps.effects.append(answer)

    def _send_away(self, presence: Presence) -> float:
        """For how long a worker shall go, 0 if it shall stay: for a task, or the run is paused."""
        worker_id = presence.worker_id
        asked = worker_id in self._steps.state.run.tasks.asked or self._steps.evaluations.task_of(
            worker_id
        )
        if asked or not isinstance(self._steps.state, Collecting):
            return 0.0
        return self._desk.roster.send_away(self._work, presence, self._desk.now)

    def _put_again(self, presence: Presence) -> None:
        """A worker that is there, and does not have its direct task, may not find it."""
        run, worker_id = self._steps.state.run, presence.worker_id
        task_id = run.tasks.asked.get(worker_id) or self._steps.evaluations.task_of(worker_id)
        if not task_id or presence.busy or presence.leaving:
            return
        if update_id_of(run.incarnation, task_id, worker_id) not in presence.open_updates:
            self._steps.effects.append(PutAgain(task_id))

    def _awaited(self, presence: Presence) -> Bar | None:
        """Whether an update of the current version by this worker is on its way, and may count.

        Its lease says so; or, once that has ended, the worker itself: it names what it has sent.
        That is believed for a while: one that a restore has lost would be named for ever, and one
        that comes after all is refused as one of two.
        """
        sent, late = partial(self._sent, presence), self._steps.state.run.policy.late
        return bar_of_tasks(self._tasks(presence), sent, late)

    def _untold(self, presence: Presence) -> Bar | None:
        """Whether its update of the current version is on its way, of whose task nothing is known.

        Whoever begins a task at once, and is soon done, has its update alone say so (0058): until
        it is here, the worker has trained on the version by its own word, names an update without
        a verdict, and no try of it is known. It is on its way through the broker, so that a while
        after the round began, and after this process did, it is not believed any more.
        """
        run, state = self._steps.state.run, self._steps.state
        said = presence.run_id, presence.incarnation, presence.last_version
        if said != (run.run_id, run.incarnation, run.version):
            return None
        if not isinstance(state, Collecting | Paused):
            return None
        extended = isinstance(state, Paused) or state.extensions > 0
        policy, open_s = run.policy, self._desk.now - state.opened_at
        if not may_still_count(policy.late, open_s, policy.deadline_s, extended):
            return None
        named = (name for name in presence.open_updates if self._work.verdict_of(name) is None)
        began_s = self._desk.now - self._desk.began_at
        bar = bar_of_word(next(named, ""), min(open_s, began_s))
        worker_id = presence.worker_id
        if bar is None or self._work.knows_a_try(run.run_id, run.version, worker_id):
            return None
        return bar

    def _may_count(self, presence: Presence) -> bool:
        """Whether an update of the current version by this worker was sent, and may count.

        In a pause no lease ends, and what comes of a task whose lease is over counts all the same.
        """
        late = self._steps.state.run.policy.late
        return any(
            self._sent(presence, task_id)
            for task_id, state in self._tasks(presence, in_pause=True)
            if state == "taken" or late == "weigh"
        )

    def _tasks(self, presence: Presence, *, in_pause: bool = False) -> list[tuple[str, str]]:
        """A worker's tasks of the current version that may still be answered."""
        run, since = self._steps.state.run, self._desk.now - ON_ITS_WAY_S
        worker_id = presence.worker_id
        return self._work.awaited(run.run_id, run.version, worker_id, since, in_pause=in_pause)

    def _sent(self, presence: Presence, task_id: str) -> str:
        """The update of a task, if it was sent."""
        incarnation = self._steps.state.run.incarnation
        update_id = update_id_of(incarnation, task_id, presence.worker_id)
        return update_id if self._has_sent(presence, update_id) else ""

    def _has_sent(self, presence: Presence, update_id: str) -> bool:
        """Whether an update was sent: its worker names it, or some of it is here already."""
        return (
            update_id in presence.open_updates
            or self._desk.fetching.covers(update_id)
            or bool(self._desk.spool.parts.uploads(update_id))
        )

    def _on_its_way(self, presence: Presence) -> str:
        """The update of a lapsed task of the current version that is on its way, "" if none is."""
        bar = self._awaited(presence)
        return bar.about if bar is not None and bar.why == "on its way" else ""

    def _refuse_ahead(self, presence: Presence) -> None:
        """A worker that trained on a version not made yet has seen more than this store has."""
        run = self._steps.state.run
        if presence.run_id != run.run_id:
            return  # it may have worked for others, of which nothing is known here
        self._steps.refuse_newer(presence.incarnation)
        same = presence.incarnation == run.incarnation
        if same and run.version < presence.last_version <= run.policy.rounds:  # else it cannot be
            what = (
                f"worker {presence.worker_id} has trained on version {presence.last_version}, the "
                f"store has {run.version}"
            )
            raise Restored(presence.incarnation, what)
