"""A changed round policy: what of it takes effect at once, and what with the next version.

    settings read again ── PolicyChanged ──▶ a round is open: its timing changes, the rest waits
                                             paused: all of it changes, or it might never go on
    next version opens ──────────────────▶ all of it changes

Rules (docs/decisions/0024): which updates a version is made of, and what each is worth, is decided
by the policy that its round was opened with; the store keeps it with the round and the version.
"""

from __future__ import annotations

from dataclasses import replace

from coordinator.dispatch import ended
from coordinator.events import Action, PolicyChanged
from coordinator.policy import RoundPolicy
from coordinator.states import Run
from coordinator.tasks import OpenTasks


def told(run: Run, event: PolicyChanged) -> Run:
    """The policy waits for the next version."""
    waits = event.policy if event.policy != run.policy else None
    return replace(run, next_policy=waits, ends_at=event.ends_at)


def amended(run: Run, event: PolicyChanged, now: float) -> Run:
    """The open round goes on under another timing; the rest waits for the next version."""
    run = _under(run, run.policy.amended(event.policy), now)
    return told(run, event)


def renewed(run: Run, now: float, actions: list[Action]) -> Run:
    """The policy that waited takes effect."""
    if run.next_policy is None:
        return run
    before = run.policy
    run = replace(_under(run, run.next_policy, now), next_policy=None)
    if run.policy.dispatch == "direct" != before.dispatch:
        why = "tasks are offered to workers that are drawn now"
        run = ended(run, run.tasks.untaken(), why, actions)
    return run


def _under(run: Run, policy: RoundPolicy, now: float) -> Run:
    """With another policy; no lease is longer than it allows."""
    tasks = run.tasks
    if policy.lease_s != run.policy.lease_s:
        # Also where leases are longer now: the first of them must end first.
        tasks = OpenTasks.restore(tasks.by_id.values(), now, policy.lease_s)
    return replace(run, policy=policy, tasks=tasks)
