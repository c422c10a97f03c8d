"""Whether a worker may be given a task now, and why not: as the coordinator would answer."""

from __future__ import annotations

from typing import assert_never, cast

from coordinator.cohort import cohort_of
from coordinator.declaring import required_by, traits_of
from coordinator.eligibility import local_minute
from coordinator.enrolment import Enrolment
from coordinator.explaining.answer import SHORT, Scene
from coordinator.intake import KIND
from coordinator.records import RunRow, WorkerRow
from coordinator.registry import UNHEARD_MAX
from coordinator.tries import (
    ON_ITS_WAY_S,
    Bar,
    Phase,
    bar_of_tasks,
    bar_of_update,
    barred,
    held,
)
from coordinator.wording import count_of, span

EVALUATES = "it is in the evaluation cohort: it evaluates versions, and never trains"


def may_take(scene: Scene, worker_id: str) -> tuple[Bar | None, str]:
    """What keeps a worker from taking a task, None if nothing does; and the same in words.

    It is what the coordinator answers a worker that has not lost its folder, and does not name an
    update of which nothing is known here.
    """
    run, work = scene.accounts.run(), scene.accounts.work
    spent = bar_of_update(work.spent_by(run.run_id, KIND, run.version, worker_id))
    awaited = work.awaited(run.run_id, run.version, worker_id, scene.now - ON_ITS_WAY_S)
    late = run.policy["late"]
    noted = work.on_its_way(run.run_id, run.version, worker_id)  # as it said when it asked last
    seen = scene.accounts.worker(worker_id)
    hold = _evaluates(run, worker_id) or (None if seen is None else hold_of(scene, seen))
    tasks = bar_of_tasks(awaited, lambda _: noted, late)
    bar = barred(cast(Phase, run.state), spent or tasks, hold=hold)
    if bar is not None:
        return bar, bar_in_words(bar, run)
    lapsed = [task_id for task_id, _ in awaited] if late == "weigh" else []
    return None, _chance(scene, run, lapsed)


def may_be_drawn(scene: Scene, worker_id: str) -> tuple[Bar | None, str]:
    """What keeps a worker from being drawn for a task, None if nothing does; and in words.

    It is what the coordinator's registry says of it, in which everything is as the store has it.
    """
    run, work = scene.accounts.run(), scene.accounts.work
    seen = scene.accounts.worker(worker_id)
    spent = bar_of_update(work.spent_by(run.run_id, KIND, run.version, worker_id))
    unseen = Bar("unseen", "it never said that it is there") if seen is None else None
    bar = barred(
        cast(Phase, run.state),
        spent or _at_work(scene, run, worker_id),
        hold=_evaluates(run, worker_id) or unseen,
    )
    if bar is None and seen is not None:
        bar = _silent(scene, run, seen) or hold_of(scene, seen) or _out_of_hours(scene, seen)
    if bar is not None:
        return bar, bar_in_words(bar, run)
    drawn = scene.accounts.taken_by(run.run_id, worker_id)
    return (
        None,
        f"it is among those that are drawn from; this run gave it {count_of(drawn, 'task')}",
    )


def _at_work(scene: Scene, run: RunRow, worker_id: str) -> Bar | None:
    own = (task for task in scene.accounts.work.open_tasks(run.run_id, KIND))
    return next((Bar("in hand", t.task_id) for t in own if t.worker_id == worker_id), None)


def _silent(scene: Scene, run: RunRow, seen: WorkerRow) -> Bar | None:
    if seen.unheard >= UNHEARD_MAX:
        return Bar("silent")
    work = scene.accounts.work
    if seen.worker_id in Enrolment(work).unseen_since_lapse(run.run_id, run.version):
        sent = work.on_its_way(run.run_id, run.version, seen.worker_id)
        return Bar("on its way", sent) if sent else Bar("lapsed")
    within_s, pace = scene.selection.seen_within_s, scene.selection.pace
    setting = "(selection.seen_within)" if within_s else "(selection.pace)"
    if seen.leaving and (within_s or pace):
        told = ", or was told to stay away" if pace else ""
        return Bar("unseen", f"it said that it leaves{told} {setting}")
    ago_s = scene.now - seen.last_seen
    if within_s and ago_s > within_s:
        return Bar("unseen", f"it was last seen {span(ago_s)} ago {setting}")
    return None


def _out_of_hours(scene: Scene, seen: WorkerRow) -> Bar | None:
    traits = traits_of(seen)
    minute = local_minute(traits.offset, scene.now)
    if traits.hours is None or minute < 0 or traits.hours.includes(minute):
        return None
    wait_s = 60.0 * traits.hours.minutes_until_open(minute)
    return Bar("lacking", f"it is outside of the hours that it gave, {seen.hours}", wait_s=wait_s)


def _evaluates(run: RunRow, worker_id: str) -> Bar | None:
    return Bar("evaluates") if worker_id in cohort_of(run.settings) else None


def hold_of(scene: Scene, seen: WorkerRow) -> Bar | None:
    """What holds a worker from any task: its cool-down, or what it lacks."""
    required = required_by(scene.selection)
    return held(traits_of(seen), seen.rest_until, required, scene.now)


def bar_in_words(bar: Bar, run: RunRow) -> str:
    """What keeps a worker from a task."""
    its_update = f"its update of version {run.version}"
    match bar.why:
        case "over":
            return f"run {run.run_id[:8]} is over ({run.why})"
        case "making":
            return "the next model version is being made"
        case "counted":
            return f"{its_update} is counted; the next round is another chance"
        case "refused":
            return (
                f"{its_update} was refused ({bar.verdict}), which another try would hardly change; "
                "it may try again when the round is extended, when the run has been paused for "
                "long, or in the next round"
            )
        case "in hand":
            return f"it has task {bar.about[:SHORT]} in hand"
        case "on its way":
            return f"its update {bar.about[:SHORT]} is on its way"
        case "as before":
            return "it was told so before"
        case "resting":
            return f"it rests after its last task, for {span(bar.wait_s)} more"
        case "lacking":
            return bar.about
        case "silent":
            return (
                f"its last {UNHEARD_MAX} leases ended without a word from it; it is drawn again "
                "once it is seen"
            )
        case "lapsed":
            return (
                f"the lease of its task of version {run.version} ended, and nothing came from it "
                "since"
            )
        case "evaluates":
            return EVALUATES
        case "unseen":
            return bar.about
        case _:
            assert_never(bar.why)


def _chance(scene: Scene, run: RunRow, lapsed: list[str]) -> str:
    """What a worker that may take a task can expect."""
    paused = "the run is paused until enough workers are seen, and " * (run.state == "paused")
    held = f"{paused}nothing that it did for version {run.version} holds it"
    untaken = scene.accounts.untaken(run.run_id)
    tasks = f", and {untaken} wait to be taken" if untaken else "; but all tasks are taken"
    unless = [
        f" (unless it says that it has sent its update of task {task_id[:SHORT]}, whose lease has "
        "ended)"
        for task_id in lapsed[:1]
    ]
    return "".join([held, tasks, *unless])
