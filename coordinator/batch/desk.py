"""What a batch works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.transport import Delivered
from coordinator.evaluator import Terms
from coordinator.fetching import NO_FETCHING, Fetching
from coordinator.intake import Expected
from coordinator.roster import Roster
from coordinator.selection import Selector
from coordinator.spool import Spool
from coordinator.uploads import Uploads
from schemas.messages import Presence


@dataclass(frozen=True, slots=True)
class Desk:
    """What a batch works with: the run's facts, and the spool.

    Attributes:
        uploads: Those that are not complete.
        roster: The workers.
        selector: Draws workers in direct dispatch.
        terms: What follows from evaluations.
        left_behind: Why no update of a version counts any more, "" if it may.
        keeps: Whether the file of a version is there.
        stray_sizes: Whether bytes of a length were ever refused without an id, as far as the store
            was asked; true though what it says is not committed, which costs a look and no more.
        began_at: When this process did.
        last_said: What a worker last said of itself, None if that is not remembered.
        senders_are_users: A message must come from the broker's user of its worker's name.
        fetching: What is being read from the depot.
    """

    expected: Expected
    spool: Spool
    epoch: int
    now: float
    uploads: Uploads
    roster: Roster
    selector: Selector
    terms: Terms
    left_behind: Callable[[int], str]
    keeps: Callable[[int], bool]
    stray_sizes: dict[int, bool]
    began_at: float
    last_said: Callable[[str], Presence | None]
    senders_are_users: bool = False
    fetching: Fetching = NO_FETCHING

    def sender_of(self, delivery: Delivered) -> str | None:
        """The broker's user that a message came from; None if it says nothing of the worker."""
        return delivery.user_id if self.senders_are_users else None
