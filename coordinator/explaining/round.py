"""A round: how it went, who counted, who did not, and what became of its tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coordinator.accounts import Wanted
from coordinator.explaining.answer import FACTS_MAX, LISTED_MAX, SHORT, Explanation, Scene
from coordinator.explaining.task import end_in_words
from coordinator.intake import KIND
from coordinator.listing import facts_of
from coordinator.records import LedgerRow, RunRow, VersionRow
from coordinator.wording import count_of, listed, moment, policy_in_words
from settings.errors import one_line

CLOSES = {
    "goal": "its goal was met",
    "deadline": "its deadline had passed and it had a quorum",
    "time": "the time of the run was up (run.max_seconds)",
    "stopped": "the run stopped early, with what was counted",
    "rolled back": "the run goes back to an earlier version",
}


def explain_round(scene: Scene, run: RunRow, version: int) -> Explanation:
    """How the round of a version went."""
    accounts, work = scene.accounts, scene.accounts.work
    after = accounts.run_after(run)
    until = None if after is None else after.started_at
    wanted = Wanted(run.run_id, version, until=until, kind=KIND)
    verdicts = accounts.verdicts(wanted)
    counted = accounts.updates(replace(wanted, verdict="counted"), 0, FACTS_MAX)
    refused = accounts.updates(replace(wanted, refused=True), 0, FACTS_MAX)
    made = work.version(run.run_id, version + 1)
    offered = accounts.offered_in_round(run.run_id, version)
    ends = accounts.task_ends_of_round(run.run_id, version)
    late = accounts.latecomers(run.run_id, version, FACTS_MAX)
    opened_at = _opened_at(scene, run, version)
    policy = dict(run.policy if made is None else made.policy)
    words = [
        f"Round {version} of run {run.run_id[:8]}: it collects updates for version {version}, and "
        f"makes version {version + 1} of them.",
        f"It was opened {moment(opened_at)}.",
        _close(run, version, made, after is not None),
        *([f"It goes by {policy_in_words(policy)}."] if policy else []),
        f"What came in it: {listed(verdicts)}.",
        *_some([_counted(row) for row in counted], verdicts.get("counted", 0), version),
        *_some([_refused(row) for row in refused], _refusals(verdicts), version),
        f"Tasks that were taken to train on version {version}, or offered in this round and not "
        f"taken: {sum(count for _, _, count in ends)}.",
        *(f"  {count} {end_in_words(state, reason)}" for state, reason, count in ends),
        *_latecomers(late),
    ]
    facts: dict[str, Any] = {
        "run": run.run_id,
        "round": version,
        "opened_at": opened_at,
        "closed_at": None if made is None else made.made_at,
        "why": None if made is None else made.why,
        "open": _is_open(run, version, made, after is not None),
        "made_version": None if made is None else made.version,
        "rolled_back_to": None if made is None or made.rolled_back_to < 0 else made.rolled_back_to,
        "guard": "" if made is None else made.guard,
        "weight": sum(row.weight for row in counted) if made is None else made.weight,
        "goal": policy.get("goal", run.goal),
        "policy": policy,
        "extensions": run.extensions if version == run.version and made is None else None,
        "updates": verdicts,
        "counted": [facts_of(row) for row in counted],
        "refused": [facts_of(row) for row in refused],
        "late": [facts_of(row) for row in late],
        "offered": offered,
        "tasks": [
            {"state": state, "reason": reason, "count": count} for state, reason, count in ends
        ],
    }
    return Explanation("round", str(version), words, facts)


def _opened_at(scene: Scene, run: RunRow, version: int) -> float:
    """A round is opened with its version's row; the open one knows better."""
    row = scene.accounts.work.version(run.run_id, version)
    return run.opened_at if version == run.version or row is None else row.made_at


def _is_open(run: RunRow, version: int, made: VersionRow | None, left: bool) -> bool:
    over = run.state in ("draining", "ended")
    return made is None and version == run.version and not over and not left


def _close(run: RunRow, version: int, made: VersionRow | None, left: bool) -> str:
    if made is not None and made.rolled_back_to >= 0:
        return (
            f"It was closed {moment(made.made_at)}, and no update is in what it made: version "
            f"{made.version} has the parameters of version {made.rolled_back_to} again, because "
            f"{made.guard}."
        )
    if made is not None:
        why = CLOSES.get(made.why, made.why)
        return (
            f"It was closed {moment(made.made_at)} because {why}: version {made.version} is made "
            f"of {count_of(made.counted, 'update')} of weight {made.weight:g}."
        )
    if run.state in ("draining", "ended"):
        return (
            f"No version was made of it: the run is over ({run.why}), version {version} its last."
        )
    if left:
        return "No version was made of it: another run was begun before it closed."
    if run.state == "closed":
        return f"It is closed ({run.why}), and its version is being made."
    extended = f", extended {count_of(run.extensions, 'time')}" if run.extensions else ""
    if run.state == "paused":
        return "It is open, and the run is paused: too many deadlines passed without a quorum."
    return (
        f"It is open: its goal is {count_of(run.goal, 'update')}, its deadline "
        f"{moment(run.deadline_at)}{extended}."
    )


def _refusals(verdicts: dict[str, int]) -> int:
    return sum(count for verdict, count in verdicts.items() if verdict != "counted")


def _counted(row: LedgerRow) -> str:
    behind = f", {count_of(row.staleness, 'version')} behind" if row.staleness else ""
    return f"  {row.update_id[:SHORT]}  {row.worker_id}  counted, weight {row.weight:g}{behind}"


def _refused(row: LedgerRow) -> str:
    return f"  {row.update_id[:SHORT]}  {row.worker_id}  {row.verdict} ({one_line(row.reason)})"


def _latecomers(rows: list[LedgerRow]) -> list[str]:
    if not rows:
        return []
    lines = [
        f"  {row.update_id[:SHORT]}  {row.worker_id}  {row.verdict} in the round of version "
        f"{row.round_version}"
        for row in rows[:LISTED_MAX]
    ]
    more = len(rows) - len(lines)
    return [
        f"Trained on version {rows[0].base_version}, but came when its round had closed:",
        *lines,
        *[f"  and {more} more"] * bool(more),
    ]


def _some(lines: list[str], total: int, version: int) -> list[str]:
    """The first lines, and how to see all."""
    shown = lines[:LISTED_MAX]
    more = total - len(shown)
    return [*shown, *[f"  and {more} more: `fedmq updates --round {version}`"] * bool(more)]
