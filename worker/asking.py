"""When to ask the coordinator how things stand, and what it last said. Pure.

The worker asks when it comes online and whenever its own state changed; an update asks by itself,
what became of it. An answer holds until the coordinator sends another to the same question, or
until the worker asks again. Only an answer to
the newest question allows a task: an older one was given to a worker in another state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from schemas.frozen import replace
from schemas.messages import RunState, Standing, Start, TaskSource
from worker.events import Ref
from worker.options import Moment, Options
from worker.unsaid import Told

_ANSWER_S, _ANSWER_MOST_S = 10.0, 60.0
AWAY_MOST_S = 7 * 86_400.0
"""The longest that a worker stays away because it was told to."""
_UPDATE_ANSWER_S = 2.0  # after a restart the coordinator does not know who asks: say so soon
_UNSENT_S, _UNSENT_MOST_S = 1.0, 10.0  # a coordinator that was never there declares on its start


@dataclass(frozen=True)
class Asking:
    """What was asked and heard.

    Attributes:
        question: The newest question in this connection.
        ask_at: When to ask (again).
        said_at: When the worker last said how it is.
        silent: Questions in a row that the broker took and nobody answered.
        unsent: Questions in a row that the broker did not take.
        may_take: The last word: a task may be taken.
        queue: And from where.
        away_s: How long to be away instead, 0 to stay.
        state: State of the run, None until heard.
        heard_s: The coordinator's time when it last spoke, None if it never did.
        heard_at: When that was, on our clock.
        told: What a task may be begun on at once, None if nothing was said of it.
    """

    question: Ref | None = None
    ask_at: float = math.inf
    said_at: float = -math.inf
    silent: int = 0
    unsent: int = 0
    may_take: bool = False
    queue: TaskSource = "pool"
    away_s: float = 0.0
    state: RunState | None = None
    run_id: str = ""
    incarnation: int = 0
    version: int = -1
    heard_s: float | None = None
    heard_at: float = 0.0
    told: Told | None = None

    @property
    def run_is_over(self) -> bool:
        """Whether no update of the run is of use any more."""
        return self.state in ("draining", "ended", "failed")

    def coordinator_s(self, now: float) -> float | None:
        """The coordinator's time: the last heard plus what has passed since."""
        return None if self.heard_s is None else self.heard_s + now - self.heard_at


def went_online(asking: Asking, now: float) -> Asking:
    """Ask at once."""
    return replace(ask_again(asking, now), silent=0, unsent=0)


def went_offline(asking: Asking) -> Asking:
    """Nobody to ask; what was allowed is void."""
    return ask_again(asking, math.inf)


def ask_again(asking: Asking, at: float) -> Asking:
    """Our own state changed: what was allowed is void, and is to be asked anew."""
    return replace(asking, question=None, ask_at=at, may_take=False, away_s=0.0, told=None)


def asked(asking: Asking, ref: Ref, moment: Moment) -> Asking:
    """A question was published; ask again if no answer comes. What was allowed still is."""
    return replace(
        asking,
        question=ref,
        said_at=moment.now,
        silent=asking.silent + 1,
        ask_at=moment.after(asking.silent, _ANSWER_S, _ANSWER_MOST_S),
    )


def asked_by_update(asking: Asking, ref: Ref, moment: Moment) -> Asking:
    """An update was published, which is a question too; ask in words if it is not answered."""
    return replace(ask_again(asking, moment.now + _UPDATE_ANSWER_S), question=ref)


def not_asked(asking: Asking, ref: Ref, moment: Moment) -> Asking:
    """A question did not reach the broker."""
    if ref != asking.question:
        return asking
    return replace(
        asking,
        silent=max(0, asking.silent - 1),
        unsent=asking.unsent + 1,
        ask_at=moment.after(asking.unsent, _UNSENT_S, _UNSENT_MOST_S),
    )


def heard(asking: Asking, ref: Ref, standing: Standing, options: Options, moment: Moment) -> Asking:
    """An answer came."""
    asking = replace(
        asking,
        state=standing.state,
        run_id=standing.run_id,
        incarnation=standing.incarnation,
        version=standing.version,
        heard_s=standing.time_s,
        heard_at=moment.now,
    )
    if ref != asking.question:
        return asking
    wait_s = options.presence_s
    if not standing.may_take:
        wait_s = min(wait_s, max(standing.come_back_s, 0.0))
    # Never at once: an answer that says "now" again and again would make a busy loop.
    wait_s = max(0.05, wait_s * (0.9 + 0.1 * moment.rng.random()))
    if ref.about == "update":  # or who trains on and on would never say how it is
        wait_s = max(0.05, min(wait_s, asking.said_at + options.presence_s - moment.now))
    away_s = min(max(standing.away_s, 0.0), AWAY_MOST_S)
    return replace(
        asking,
        silent=0,
        unsent=0,
        may_take=standing.may_take and not away_s,
        told=None if standing.base is None else Told(standing, moment.now),
        queue=standing.queue,
        away_s=away_s,
        ask_at=moment.now + wait_s,
    )


def heard_time(asking: Asking, start: Start, now: float) -> Asking:
    """A `Start` tells the coordinator's time too."""
    return replace(asking, heard_s=start.time_s, heard_at=now)
