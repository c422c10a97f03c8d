"""A task that was begun on what the coordinator had told before, and `Taken` of which is not said.

    begun ── soon done ──────────── the broker has the update ──▶ acked, over
      ╰───── not done so soon: `Taken` said ── confirmed ──▶ acked ── `Start` came ──▶ over

Pure. Rules of the file:

- The delivery is acked only when the broker has our `Taken`, our `Declined` or the whole update:
  any of them tells the coordinator who has the task. Until then the broker would offer it again.
- `Taken` is said `SAY_S` after the task was begun, unless the update was sent before; after a lost
  connection as soon as there is another.
- What the coordinator then says counts if the task was begun a short while ago: it is given up if
  it is not wanted, and begun anew if another version is current. Later the verdict decides.
- It is in the inbox when training begins, and not before: the broker has it. What it was begun on
  counts after a restart once the delivery is acked; before that the coordinator is asked again, for
  the broker may have offered the task to somebody else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from schemas.frozen import replace
from schemas.messages import Standing, Start, Taken, Task
from worker.events import Ack, Actions, KeepStart, Ref, Say
from worker.options import Moment, Options
from worker.parcel import Parcel

TOLD_S = 0.5
"""How long what was told is current enough to begin on."""
SAY_S = 0.5
"""After how much time `Taken` is said: it costs little of a task that takes longer."""
YOUNG_S = 5.0
"""How long a training is given up for another version: no more work is lost than that."""
NO_DELIVERY = -1
AGAIN_S, AGAIN_MOST_S = 10.0, 60.0
"""After how much silence `Taken` is said again; longer each time."""


@dataclass(frozen=True, slots=True)
class Told:
    """What may be begun on, as the coordinator said it.

    Attributes:
        at: When it did, on our clock.
    """

    standing: Standing
    at: float


@dataclass(frozen=True)
class Unsaid:
    """A task that was begun at once.

    Attributes:
        task: The task.
        start: What it was begun on.
        tag: The delivery still to be acked, or `NO_DELIVERY`.
        since: When it was begun.
        say_at: When to say `Taken` (again).
        tries: How often it was said in this connection.
        update_id: Of its update, "" while there is none.
        heard: The coordinator has answered.
        stored: It is in the inbox: training began.
    """

    task: Task
    start: Start
    tag: int
    since: float
    say_at: float
    tries: int = 0
    update_id: str = ""
    heard: bool = False
    stored: bool = False

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.task.task_id

    def is_young(self, now: float) -> bool:
        """Whether little is lost if it is given up."""
        return now - self.since <= YOUNG_S


def start_of(told: Told | None, task: Task, now: float) -> Start | None:
    """What a task that came may be begun on at once, None if the coordinator is to be asked."""
    if told is None or now - told.at > TOLD_S or task.kind != "train":
        return None
    standing = told.standing
    same = (task.run_id, task.incarnation) == (standing.run_id, standing.incarnation)
    if standing.base is None or not same or task.base_version not in (None, standing.version):
        return None
    return Start.on(
        standing.base,
        run_id=task.run_id,
        task_id=task.task_id,
        incarnation=task.incarnation,
        version=standing.version,
        seed=task.seed,
        time_s=standing.time_s,
    )


def begin(task: Task, start: Start, tag: int, now: float) -> Unsaid:
    """A task was begun."""
    return Unsaid(task, start, tag, now, now + SAY_S)


def resume(task: Task, start: Start, now: float) -> Unsaid:
    """A task was begun, and its connection lost before anybody was told; then the agent ended."""
    return Unsaid(task, start, NO_DELIVERY, now, math.inf, stored=True)


def say(unsaid: Unsaid, options: Options, moment: Moment) -> tuple[Unsaid, Actions]:
    """Say `Taken`; again until a `Start` comes."""
    say_at = moment.after(unsaid.tries, AGAIN_S, AGAIN_MOST_S)
    said = taken(unsaid.task, options, moment)
    return replace(unsaid, say_at=say_at, tries=unsaid.tries + 1), (said,)


def taken(task: Task, options: Options, moment: Moment) -> Say:
    """That a task is here, which asks what to train on."""
    message = Taken(task.run_id, task.task_id, options.worker_id, task.incarnation)
    return Say(Ref("taken", task.task_id, 0, moment.serial), message)


def trained(unsaid: Unsaid, parcel: Parcel, now: float) -> Unsaid | None:
    """A task has its update, which is sent next: only if that takes long there is more to say."""
    if parcel.task_id != unsaid.task_id:
        return unsaid
    if unsaid.tag == NO_DELIVERY:
        return None
    say_at = unsaid.say_at if parcel.parts else now + AGAIN_S
    return replace(unsaid, update_id=parcel.update_id, say_at=say_at)


def published(unsaid: Unsaid, ref: Ref) -> tuple[Unsaid | None, Actions]:
    """The broker has a message: it may be one of those that tell who has the task."""
    match ref.about:
        case "taken" if ref.subject == unsaid.task_id:
            return _settled(unsaid)
        case "declined" if ref.subject == unsaid.task_id:
            return None, acked(unsaid)
        case "update" if ref.subject == unsaid.update_id:
            return None, acked(unsaid)
        case _:
            return unsaid, ()


def unpublished(unsaid: Unsaid, ref: Ref, moment: Moment) -> Unsaid:
    """The broker has not taken a message."""
    if (ref.about, ref.subject) != ("taken", unsaid.task_id):
        return unsaid
    return replace(unsaid, say_at=moment.retry_at(unsaid.tries))


def heard(unsaid: Unsaid) -> tuple[Unsaid | None, Actions]:
    """The coordinator has our `Taken`: more than a confirm of the broker."""
    return _settled(replace(unsaid, heard=True))


def _settled(unsaid: Unsaid) -> tuple[Unsaid | None, Actions]:
    """Somebody has our `Taken`; before the ack all is to be on disk. If it fails, say it again."""
    if unsaid.update_id:
        return None, acked(unsaid)
    if unsaid.tag == NO_DELIVERY:
        return (None if unsaid.heard else unsaid), ()
    return unsaid, (KeepStart(unsaid.task, unsaid.start),)


def kept(unsaid: Unsaid, task_id: str) -> tuple[Unsaid | None, Actions]:
    """What the task was begun on is on disk, and so is the task."""
    if task_id != unsaid.task_id:
        return unsaid, ()
    left = None if unsaid.heard else replace(unsaid, tag=NO_DELIVERY)
    return left, acked(unsaid)


def acked(unsaid: Unsaid) -> Actions:
    """Settle the delivery, if there is one."""
    return () if unsaid.tag == NO_DELIVERY else (Ack(unsaid.tag),)


def went_offline(unsaid: Unsaid) -> tuple[Unsaid | None, Actions]:
    """The broker has the delivery again, and there is nobody to ask: the task goes on alone."""
    if unsaid.update_id:  # which is sent again, and says who has it
        return None, ()
    left = replace(unsaid, tag=NO_DELIVERY, say_at=math.inf, tries=0)
    keep = KeepStart(unsaid.task, unsaid.start, said=False)
    return left, () if unsaid.tag == NO_DELIVERY else (keep,)


def went_online(unsaid: Unsaid, now: float) -> Unsaid:
    """Say it at once."""
    return replace(unsaid, say_at=now)
