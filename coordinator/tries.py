"""Whether a worker may take a task now, and if not, why not. Pure.

    no round is open ──────────────────────────────▶ over, making
    its update of this version has its verdict ────▶ counted, refused
    a task of this version is under a lease ───────▶ in hand
    it says that it has sent an update of one,
      or one of which nothing is known ────────────▶ on its way, for `ON_ITS_WAY_S`
    it is in its cool-down ────────────────────────▶ resting
    it does not have what the run requires ────────▶ lacking
    it evaluates, and so never trains ─────────────▶ evaluates

Rules (docs/decisions/0006 and 0019): a worker has one try at each model version; who was refused
for what its data are has another when the round is extended, or the run was paused for long; what
it does for an older version holds it from nothing but a rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, assert_never

from coordinator.eligibility import Required, Traits, shortfall
from coordinator.records import LedgerRow

ON_ITS_WAY_S = 3600.0
"""So long an update that was sent is believed to come: after the end of its task's lease.

Where nothing is known of that, after the round began and this process did.
"""

Phase = Literal["collecting", "paused", "closed", "draining", "ended"]
"""The states of a run, by the names that the store gives them."""

Why = Literal[
    "over",
    "making",
    "counted",
    "refused",
    "in hand",
    "on its way",
    "as before",
    "resting",
    "lacking",
    "silent",
    "lapsed",
    "unseen",
    "evaluates",
]


@dataclass(frozen=True, slots=True)
class Bar:
    """What keeps a worker from taking a task.

    Attributes:
        why: "as before": it was told so, and only another version changes that. The last three keep
            it from being drawn, in direct dispatch.
        about: The update, or for "in hand" the task; for "lacking" and "unseen" in words; else "".
        verdict: Of the update, if it has one.
        wait_s: Seconds until the bar goes by itself, 0 if it does not or nobody knows.
    """

    why: Why
    about: str = ""
    verdict: str = ""
    wait_s: float = 0.0


def bar_of_update(spent: LedgerRow | None) -> Bar | None:
    """The bar that `Work.spent_by` makes: the try at the current version is used up."""
    if spent is None:
        return None
    counted = spent.verdict in ("counted", "repeated")
    return Bar("counted" if counted else "refused", spent.update_id, spent.verdict)


def bar_of_tasks(
    awaited: Iterable[tuple[str, str]], sent: Callable[[str], str], late: str
) -> Bar | None:
    """The bar that an unanswered task of the current version makes.

    Args:
        awaited: Ids and states of the worker's tasks, as `Work.awaited` has them.
        sent: The id of the update of a task that the worker says it has sent, "" if it does not.
        late: Where late updates are refused, one whose lease has ended cannot count.
    """
    for task_id, state in awaited:
        if state == "taken":
            return Bar("in hand", task_id)
        update_id = sent(task_id)
        if update_id and late == "weigh":
            return Bar("on its way", update_id)
    return None


def may_still_count(late: str, open_s: float, deadline_s: float, extended: bool) -> bool:
    """Whether an update of a task that nobody said was taken may count in the open round.

    A deadline without quorum offers other tasks in place of those. Where late updates are refused,
    what comes of them after that can only be `replaced`.

    Args:
        late: As set.
        open_s: For how long the round has been open.
        deadline_s: As set; the round's own is no longer.
        extended: The round was given another deadline, or the run is paused.
    """
    return late != "refuse" or (not extended and open_s <= deadline_s)


def bar_of_word(named: str, open_s: float) -> Bar | None:
    """The bar that a worker's word makes, where no try of it at the current version is known.

    Args:
        named: An update without a verdict that it names, "" if none.
        open_s: For how long the round has been open and this process has run.
    """
    return Bar("on its way", named) if named and open_s <= ON_ITS_WAY_S else None


def held(traits: Traits, rest_until: float, required: Required, now: float) -> Bar | None:
    """The bar that a worker's rest makes, or what it lacks.

    Args:
        traits: What it declares.
        rest_until: End of its cool-down.
        required: Of a worker, by the run.
        now: The coordinator's time.
    """
    if rest_until > now:
        return Bar("resting", wait_s=rest_until - now)
    lacks = shortfall(traits, required, now)
    return None if lacks is None else Bar("lacking", lacks.why, wait_s=lacks.until_s)


def barred(
    phase: Phase, bar: Bar | None, fresh: bool = False, hold: Bar | None = None
) -> Bar | None:
    """Why a worker may not take a task, None if it may.

    Args:
        phase: The run's.
        bar: What it did for the current version.
        fresh: It knows of no try of its own at the current version, whatever the store knows: it is
            told more exactly when it has taken a task.
        hold: What holds it whatever it did, see `held`.
    """
    match phase:
        case "collecting" | "paused":
            return hold if fresh or bar is None else bar
        case "closed":
            return Bar("making")
        case "draining" | "ended":
            return Bar("over")
        case _:
            assert_never(phase)
