"""Updates that left numbers behind for the next one, and are owed a verdict. Pure.

What an update of an error-feedback codec left out is settled by its verdict alone, and takes the
room of a model until then. So with `OPEN_MAX` of them open the worker takes no task of that run:
the coordinator is behind, and one more update would only wait there too. A verdict may never come
(the coordinator keeps none of what takes no update id): after `PATIENCE_S` a task is taken all the
same, and of the oldest update nothing is kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from schemas.codecs.names import spec_of
from worker.parcel import Parcel

OPEN_MAX = 4
"""Of so many updates at most what they left is kept until their verdict."""
PATIENCE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Left:
    """An update that left numbers, of which it is not known yet whether they count."""

    update_id: str
    run_id: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Owed:
    """The updates whose verdict is awaited, the oldest first.

    Attributes:
        until: How long no task is taken, once there are `OPEN_MAX`.
    """

    left: tuple[Left, ...] = ()
    until: float = -math.inf


def begin(left: tuple[Left, ...], now: float) -> Owed:
    """What the store holds at start."""
    return Owed(left[-OPEN_MAX:], now + PATIENCE_S)


def add(owed: Owed, parcel: Parcel, now: float) -> tuple[Owed, str]:
    """An update is finished; also, of which earlier one nothing is kept any more, "" if of none."""
    spec = spec_of(parcel.codec)
    known = any(left.update_id == parcel.update_id for left in owed.left)
    if spec is None or not spec.feeds_back or parcel.kind != "train" or known:
        return owed, ""
    new = Left(parcel.update_id, parcel.run_id, parcel.incarnation)
    same = tuple(left for left in owed.left if _is_of(left, new.run_id, new.incarnation))
    gone = same[0].update_id if len(same) == OPEN_MAX else ""
    return Owed((*same[-OPEN_MAX + 1 :], new), now + PATIENCE_S), gone


def settle(owed: Owed, *update_ids: str) -> Owed:
    """Updates have their verdict, or were given up."""
    left = tuple(each for each in owed.left if each.update_id not in update_ids)
    return owed if left == owed.left else Owed(left, owed.until)


def holds_back(owed: Owed, run_id: str, incarnation: int, now: float) -> bool:
    """Whether a run's verdicts are to come before another task of it is taken."""
    count = sum(_is_of(left, run_id, incarnation) for left in owed.left)
    return count >= OPEN_MAX and now < owed.until


def _is_of(left: Left, run_id: str, incarnation: int) -> bool:
    return (left.run_id, left.incarnation) == (run_id, incarnation)
