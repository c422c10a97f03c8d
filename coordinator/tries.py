"""Whether a worker may take a task now, and if not, why not. Pure.

    no round is open ──────────────────────────────▶ over, making
    its update of this version has its verdict ────▶ counted, refused
    a task of this version is under a lease ───────▶ in hand
    it says that it has sent an update of one ─────▶ on its way

Rules (docs/decisions/0006 and 0019): a worker has one try at each model version; who was refused
for what its data are has another when the round is extended, or the run was paused for long; what
it does for an older version holds it from nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, assert_never

from coordinator.records import LedgerRow

Phase = Literal["collecting", "paused", "closed", "draining", "ended"]
"""The states of a run, by the names that the store gives them."""

Why = Literal["over", "making", "counted", "refused", "in hand", "on its way", "as before"]


@dataclass(frozen=True, slots=True)
class Bar:
    """What keeps a worker from taking a task.

    Attributes:
        why: "as before": it was told so, and only another version changes that.
        about: The update, or for "in hand" the task; "" if it is neither.
        verdict: Of the update, if it has one.
    """

    why: Why
    about: str = ""
    verdict: str = ""


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


def barred(phase: Phase, bar: Bar | None, fresh: bool = False) -> Bar | None:
    """Why a worker may not take a task, None if it may.

    Args:
        phase: The run's.
        bar: What it did for the current version.
        fresh: It knows of no try of its own at the current version, whatever the store knows: it is
            told more exactly when it has taken a task.
    """
    match phase:
        case "collecting" | "paused":
            return None if fresh else bar
        case "closed":
            return Bar("making")
        case "draining" | "ended":
            return Bar("over")
        case _:
            assert_never(phase)
