"""What each verdict means for the person who asks, and what can be done about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from coordinator.events import Verdict
from coordinator.intake import EVALUATION


@dataclass(frozen=True, slots=True)
class Meaning:
    """A verdict in words.

    Attributes:
        says: What it means, as one sentence.
        remedy: What to do about it, as one sentence or two.
    """

    says: str
    remedy: str


MEANINGS: Mapping[Verdict, Meaning] = {
    "counted": Meaning(
        "It was added to the sum of a round, with the weight given here.",
        "There is nothing to do.",
    ),
    "late": Meaning(
        'The run refuses late updates (rounds.late = "refuse"), and the round of the version it '
        "was trained on had closed.",
        "Give the round more time (rounds.deadline, rounds.goal), or set "
        'rounds.late = "weigh", which counts late updates by their staleness.',
    ),
    "stale": Meaning(
        "It was trained on a version that is more than rounds.max_staleness versions old.",
        "If workers are away for so long, set a larger rounds.max_staleness, or have larger or "
        "longer rounds, so that fewer versions are made meanwhile.",
    ),
    "replaced": Meaning(
        'The run refuses late updates (rounds.late = "refuse"), the lease of its task had ended, '
        "and another task had been offered in its place.",
        "Make rounds.lease longer than workers need to train and to come back. The worker may take "
        "another task.",
    ),
    "repeated": Meaning(
        "Another update of this worker for the same model version was counted already, and a "
        "worker counts once for each version.",
        "There is nothing to do; if it is frequent, two devices may share one worker id.",
    ),
    "malformed": Meaning(
        "The message cannot be read, its id or digest does not hold, or its arrays are not those "
        "of the model.",
        "See that the worker runs the same learner and the same release as the coordinator.",
    ),
    "unsupported version": Meaning(
        "It speaks a newer protocol than this coordinator.",
        "Upgrade the coordinator.",
    ),
    "unauthenticated": Meaning(
        "The broker says that another user sent it than the worker it speaks for "
        '(coordinator.senders = "users").',
        "Let the worker connect as the broker's user of its own name. If it does, somebody else "
        "speaks in its name.",
    ),
    "non-finite": Meaning(
        "It holds NaN or infinity, or numbers so large that its norm is not finite.",
        "Look at the training on that worker: the loss has probably diverged, or an example is "
        "broken.",
    ),
    "over-norm": Meaning(
        "Its L2 norm is above rounds.max_norm.",
        "Look at the training on that worker, let the learner clip what it learns, or set "
        "rounds.max_norm higher (the coordinator reads its settings again on SIGHUP).",
    ),
    "other timeline": Meaning(
        "It belongs to another run or to another life of the store, or was trained on a model that "
        "is not this run's version of that number.",
        "After --new-run or --restored that is to be expected, and passes. Otherwise see that only "
        "one coordinator uses this federation name on the broker.",
    ),
    "unknown task": Meaning(
        "No task of this run has the id that it answers.",
        "See that only one coordinator uses this federation name on the broker, and that nobody "
        "makes updates up.",
    ),
    "after end": Meaning(
        "The run had made its last version when it came.",
        "If it is wanted, raise run.rounds: the run goes on, and its worker is asked again.",
    ),
    "poison": Meaning(
        "The broker gave the message up, and the coordinator stopped each time that it took it up "
        "again.",
        "The coordinator's log says how it ended each time; please report it.",
    ),
}

OF_EVALUATIONS: Mapping[Verdict, Meaning] = {
    "counted": Meaning(
        "It is in what the cohort found of its version; no sum has a part of it.",
        "There is nothing to do.",
    ),
    "late": Meaning(
        "The evaluation of its version had closed: its goal was met, its deadline had passed, or a "
        "newer version was due. It is recorded, and changes nothing.",
        "There is nothing to do: more workers are asked than evaluation.goal needs. If too few "
        "answer in time, set a longer evaluation.deadline.",
    ),
}
"""Where a verdict on an answer to a task to evaluate means something else."""


def meaning_of(verdict: str, kind: str) -> Meaning | None:
    """What a verdict on an update of a kind means, None if this release does not know it."""
    table = {**MEANINGS, **OF_EVALUATIONS} if kind == EVALUATION else MEANINGS
    return next((meaning for name, meaning in table.items() if name == verdict), None)
