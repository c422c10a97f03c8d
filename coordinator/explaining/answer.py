"""What an explanation is, and what it is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from coordinator.accounts import Accounts
from settings.selection import SelectionSettings

Reading = Literal["round", "update", "task", "worker"]
"""What the word that was asked about is taken for."""

SHORT = 12  # digits of an id in words
LISTED_MAX = 20  # things listed in words
FACTS_MAX = 1000  # things listed for programs; `fedmq updates --json` has them all


@dataclass(frozen=True, slots=True)
class Explanation:
    """An answer, for people and for programs.

    Attributes:
        subject: The whole id, name or number that is explained.
        known: False if the store has never heard of it.
        words: Sentences, one a line; those that begin with a space belong to the one above.
        facts: The same as values that JSON can say.
    """

    reading: Reading
    subject: str
    words: list[str]
    facts: dict[str, Any]
    known: bool = True


@dataclass(frozen=True, slots=True)
class Scene:
    """What explanations are made from.

    Attributes:
        now: The time, in UTC seconds.
        selection: Whom the coordinator selects, as it is set now.
        refused_queue: The name of the broker's queue of refused messages.
        parts_here: How many parts of an update's newest upload are in the spool.
    """

    accounts: Accounts
    now: float
    selection: SelectionSettings
    refused_queue: str
    parts_here: Callable[[str], int]
