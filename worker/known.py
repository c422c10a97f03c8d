"""All that a worker knows while it runs, as one value. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from schemas.messages import NAMES_MAX, Presence, Start, Task
from worker import assignment, owed, sending
from worker.asking import Asking
from worker.events import Actions, Ref, Say
from worker.options import Moment, Once, Options
from worker.owed import Left as LeftBehind
from worker.owed import Owed
from worker.parcel import NOTHING_TRAINED, Parcel, Trained
from worker.sending import Sending
from worker.states import Idle, SitOut, Work
from worker.unsaid import Unsaid

UNHEARD_MAX = 32
"""Updates out of the outbox of which the verdict is still asked for."""


@dataclass(frozen=True, slots=True)
class Staying:
    """At work."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Saying goodbye.

    Attributes:
        until: When to leave whatever is still in flight.
        goodbye: The last presence, while it is in flight.
    """

    until: float
    code: int
    reason: str
    goodbye: Ref | None


@dataclass(frozen=True, slots=True)
class Left:
    """Over; nothing is done any more."""


@dataclass(frozen=True)
class Session:
    """All that a worker knows while it runs. Build it with `begin`.

    Attributes:
        events: How many there were.
        unsaid: The task in hand, or done a moment ago, of which it is not sure yet that the
            coordinator knows that it is here.
        unheard: Updates out of the outbox whose verdict is not known yet, the newest first.
        owed: Updates that left numbers, and have no verdict.
        trained: Run, and newest version trained on in it.
        sat_out: Run and version that training failed on, or that was not found; not tried again
            before `sat_out_until`.
        sat_outs: Versions that were sat out since the last training that was done.
        rest_until: No task is taken before.
        rests: Tasks given up, or consumers lost, in a row.
        patience_until: For `Once`: when to stop waiting for broker or task.
        tasks_done: Tasks of this session that were seen through.
        failure: Why the last task could not be done, "" if it could.
        last_call: Until when verdicts are waited for once the run is over.
        offline_at: When the connection was last lost.
        seen_at: When the last event was.
    """

    options: Options
    work: Work
    sending: Sending
    patience_until: float
    asking: Asking = field(default_factory=Asking)
    phase: Staying | Leaving | Left = field(default_factory=Staying)
    online: bool = False
    events: int = 0
    unsaid: Unsaid | None = None
    unheard: tuple[str, ...] = ()
    owed: Owed = field(default_factory=Owed)
    trained: Trained = NOTHING_TRAINED
    sat_out: SitOut | None = None
    sat_out_until: float = math.inf
    sat_outs: int = 0
    rest_until: float = 0.0
    rests: int = 0
    tasks_done: int = 0
    failure: str = ""
    last_call: float = math.inf
    offline_at: float = -math.inf
    seen_at: float = -math.inf


Step = tuple[Session, Actions]


def begin(
    options: Options,
    now: float,
    held: tuple[Task, Start | None, int, bool] | None = None,
    parcels: tuple[Parcel, ...] = (),
    unheard: tuple[str, ...] = (),
    trained: Trained = NOTHING_TRAINED,
    left: tuple[LeftBehind, ...] = (),
    unsaid: Unsaid | None = None,
) -> Session:
    """A session that goes on where the store left off.

    Args:
        options: What it goes by.
        now: Monotonic seconds.
        held: The inbox: task, start, attempts, and whether it can go on from there: the start's
            model is in the cache, and somebody knows that the task is here.
        parcels: The outbox.
        unheard: Updates out of the outbox whose verdict is not known.
        trained: Run last worked for and newest version trained on in it.
        left: Updates that left numbers, and have no verdict.
        unsaid: The task in hand, if it goes on and is to be said.
    """
    plan = options.plan
    return Session(
        options=options,
        work=Idle() if held is None else assignment.resume(*held, options, now),
        sending=sending.begin(parcels),
        patience_until=now + plan.wait_s if isinstance(plan, Once) else math.inf,
        unheard=unheard,
        owed=owed.begin(left, now),
        trained=trained,
        unsaid=unsaid,
    )


def presence(session: Session, moment: Moment, leaving: bool) -> Say:
    """What the worker says of itself, which is also the question how things stand."""
    options = session.options
    trained = session.trained
    open_updates = (*sending.open_updates(session.sending), *session.unheard)
    message = Presence(
        worker_id=options.worker_id,
        run_id=trained.run_id,
        last_version=trained.version,
        incarnation=trained.incarnation,
        busy=assignment.task(session.work) is not None,
        leaving=leaving,
        open_updates=open_updates[:NAMES_MAX],
    )
    # Asked and said goodbye in one moment, they must still differ.
    return Say(Ref("presence", options.worker_id, int(leaving), moment.serial), message)


def sits_out(session: Session, run_id: str, version: int, moment: Moment) -> bool:
    """Whether a version is one that training failed on a short while ago."""
    failed = session.sat_out
    return (
        failed is not None
        and (failed.run_id, failed.version) == (run_id, version)
        and moment.now < session.sat_out_until
    )
