"""What an update that arrives in a round is worth: one verdict, with a reason.

The first rule that applies decides:

    a fault in the data                      its own verdict
    the task is not one of this run's        unknown task
    direct: another worker's task            unknown task
    direct: not the version that it pins     other timeline
    base version is newer than the round     other timeline
    late = refuse, task was replaced         replaced
    late = refuse, base version is old       late
    late = weigh, staleness above the limit  stale
    this worker counted in this version      repeated
    otherwise                                counted, weight = examples · staleness weight
"""

from __future__ import annotations

from dataclasses import dataclass

from coordinator.events import RecordVerdict, Refused, UpdateArrived, Verdict
from coordinator.policy import RoundPolicy


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and what it rests on.

    Attributes:
        weight: What the update weighs in the sum, 0 if it is not counted.
        full_weight: What it would weigh there if it were not stale.
    """

    verdict: Verdict
    reason: str
    staleness: int
    weight: float = 0.0
    full_weight: float = 0.0

    @property
    def counted(self) -> bool:
        """Whether the update goes into the sum."""
        return self.verdict == "counted"

    def record(self, update_id: str, version: int) -> RecordVerdict:
        """The action that writes it."""
        return RecordVerdict(
            update_id,
            self.verdict,
            self.reason,
            version,
            self.staleness,
            self.weight,
            self.full_weight,
        )


def judge(update: UpdateArrived, version: int, policy: RoundPolicy) -> Judgement:
    """The verdict of an update that meets the round of `version`."""
    staleness = version - update.base_version
    refused = update.fault or _refusal(update, staleness, policy)
    if refused is not None:
        return Judgement(refused.verdict, refused.reason, max(staleness, 0))
    weighing = policy.weighing
    weight = weighing.weight(update.num_examples, staleness)
    full_weight = weighing.of_examples(update.num_examples)
    reason = "in time" if staleness == 0 else f"weighed for a staleness of {staleness}"
    return Judgement("counted", reason, staleness, weight, full_weight)


def judge_after_end(update: UpdateArrived, version: int) -> Judgement:
    """The verdict of an update that comes after the last version."""
    staleness = max(version - update.base_version, 0)
    if update.fault is not None:
        return Judgement(update.fault.verdict, update.fault.reason, staleness)
    return Judgement("after end", "the run had made its last version", staleness)


def _refusal(update: UpdateArrived, staleness: int, policy: RoundPolicy) -> Refused | None:
    mismatch = _mismatch(update, staleness)
    if update.task is None or mismatch is not None:
        return mismatch
    if policy.late == "refuse" and update.task.replaced:
        return Refused("replaced", "its lease ended and another task was offered in its place")
    if policy.late == "refuse" and staleness > 0:
        return Refused("late", f"trained on version {update.base_version}; the round had closed")
    if staleness > policy.max_staleness:
        return Refused(
            "stale", f"{staleness} versions behind; at most {policy.max_staleness} are counted"
        )
    return _second(update)


def _second(update: UpdateArrived) -> Refused | None:
    if update.counted_before:
        return Refused("repeated", f"this worker already counted for version {update.base_version}")
    return None


def _mismatch(update: UpdateArrived, staleness: int) -> Refused | None:
    """Why an update is no answer to the task that it names."""
    if update.task is None:
        return Refused("unknown task", f"no task {update.task_id} was offered in this run")
    if update.task.worker_id not in ("", update.worker_id):
        return Refused("unknown task", f"task {update.task_id} was offered to another worker")
    if staleness < 0:
        return Refused("other timeline", f"version {update.base_version} was never made")
    if update.task.base_version not in (None, update.base_version):
        return Refused(
            "other timeline",
            f"trained on version {update.base_version}; its task was for version "
            f"{update.task.base_version}",
        )
    return None
