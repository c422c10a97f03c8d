"""What the store says of a run, for people and programs: `fedmq status` and `fedmq export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from coordinator.accounts import Accounts
from coordinator.cohort import cohort_of
from coordinator.enrolment import Enrolment
from coordinator.errors import Damaged, NotKept, RunError, StoreError
from coordinator.findings import Findings
from coordinator.models import ModelFolder, first_kept, head_of
from coordinator.records import CourseRow, EvaluationRow, RunRow, VersionRow
from coordinator.store import Store
from disk import chunks_of, letting_go
from schemas.layout import Layout
from settings import Settings
from settings.kept import format_kept

Which = Literal["", "newest", "best"]


def status_of(settings: Settings, run: str = "") -> dict[str, Any]:
    """How a run stands, the newest unless `run` begins the id of another.

    Raises:
        StoreError: If the coordinator has never run here.
        RunError: If there is no such run.
    """
    store = Store.open_to_read(settings.coordinator.state_dir / "coordinator.db")
    try:
        with store.reading() as work:
            accounts = Accounts(work)
            return _status(accounts, accounts.run(run))
    finally:
        store.close()


def export_model(
    settings: Settings, output: Path, run: str = "", version: int | Which = ""
) -> tuple[VersionRow, str]:
    """Copy a model version to a file.

    Args:
        settings: Say where the coordinator's state is.
        output: The file.
        run: A run's id or how it begins, "" for the newest.
        version: Its number, "newest" or "best"; "" for the best of a run that stopped early, and
            the newest of any other.

    Returns:
        The version, and why it is this one; "" if that was asked for.

    Raises:
        StoreError: If the coordinator has never run here, or the version's file is damaged.
        RunError: If there is no such run or version, or its file is not kept any more.
    """
    store = Store.open_to_read(settings.coordinator.state_dir / "coordinator.db")
    try:
        with store.reading() as work:
            row = Accounts(work).run(run)
            wanted, why = _wanted(row, Findings(work).course(row.run_id), version)
            # The store cannot even be asked for a number beyond its integers.
            model = work.version(row.run_id, wanted) if wanted <= row.version else None
    finally:
        store.close()
    if model is None:
        raise RunError(
            f"expected a version 0 to {row.version} of run {row.run_id[:8]}, came {version}"
        )
    layout = Layout.from_rows(row.layout)
    source = settings.coordinator.state_dir / "models" / model.file
    numbers = _whole(settings, model, layout)
    try:
        if output.exists() and output.samefile(source):  # it is read while that is written
            raise RunError(f"{output} cannot be written: it is the version's own file")
        with output.open("wb") as file:
            file.write(head_of(layout))
            for chunk in letting_go(numbers, chunks_of(numbers)):
                file.write(chunk)
    except OSError as error:
        raise RunError(f"{output} cannot be written: {error.strerror}") from error
    return model, why


def _whole(settings: Settings, model: VersionRow, layout: Layout) -> memoryview:
    """A version's flat buffer, in place, once it has its digest."""
    folder = settings.coordinator.state_dir / "models"
    try:
        return ModelFolder(folder).read(model.file, layout, model.digest)
    except NotKept as error:
        raise RunError(_why_gone(settings, model, folder / model.file)) from error
    except Damaged as error:
        advice = "bring the file back from a backup, or export another version"
        raise StoreError(f"{error}; {advice}") from error


def _wanted(row: RunRow, course: CourseRow, version: int | Which) -> tuple[int, str]:
    """The number of the version that is meant, and why it is this one."""
    if isinstance(version, int):
        return version, ""
    best = course.best_version
    if version == "best" and best < 0:
        raise RunError(
            f"expected a run whose versions were evaluated, came {row.run_id[:8]}, which has no "
            "best version: see evaluation.metric"
        )
    if version == "best":
        return best, ""
    if version == "" and course.stop_why and best >= 0:
        return best, f"the best; the run stopped early at version {row.version}"
    return row.version, ""


def _why_gone(settings: Settings, model: VersionRow, source: Path) -> str:
    """Why a version has no file: it is looked up now, since a coordinator may just have pruned."""
    keep = settings.coordinator.keep_versions
    store = Store.open_to_read(settings.coordinator.state_dir / "coordinator.db")
    try:
        with store.reading() as work:
            newest = Accounts(work).run(model.run_id).version
            best = Findings(work).course(model.run_id).best_version
    finally:
        store.close()
    said = f"coordinator.keep_versions is {format_kept(keep)}"
    if model.version < first_kept(newest, keep) and model.version != best:
        return f"version {model.version} is not kept any more ({said})"
    return (
        f"the file of version {model.version} is missing: expected {source}, for {said} and the "
        f"newest version {newest}; bring it back from a backup, or export another version"
    )


def _status(accounts: Accounts, row: RunRow) -> dict[str, Any]:
    work = accounts.work
    versions = work.versions(row.run_id)
    counted = work.counted_in_round(row.run_id, row.version)
    over = row.state in ("draining", "ended")
    last = next((v for v in reversed(versions) if v.metrics), None)
    findings = Findings(work)
    course = findings.course(row.run_id)
    cohorts = findings.of_run(row.run_id, "cohort")
    workers, cohort = Enrolment(work).ids(), cohort_of(row.settings)
    return {
        "run": row.run_id,
        "state": row.state,
        "why": row.why,
        "version": max(row.version, 0),
        "rounds": row.rounds,
        "counted": 0 if over else len(counted),
        "goal": row.goal,
        "policy": dict(row.policy),
        "open_tasks": len(work.open_tasks(row.run_id)),
        "updates": work.count_by_verdict(row.run_id),
        "copies": accounts.copies(row.run_id),
        "strays": work.count_strays(),
        "strays_accepted": accounts.accepted_strays(),
        "declined": accounts.declined(row.run_id),
        "workers": workers,
        "evaluators": [worker_id for worker_id in workers if worker_id in cohort],
        "participation": Enrolment(work).participation(row.run_id, cohort).record(),
        "metrics": dict(last.metrics) if last else {},
        "evaluated": last.version if last else None,
        "versions": [
            {
                "version": v.version,
                "digest": v.digest,
                "counted": v.counted,
                "why": v.why,
                "made_at": v.made_at,
                "metrics": dict(v.metrics),
                "participation": dict(v.participation),
                "rolled_back_to": None if v.rolled_back_to < 0 else v.rolled_back_to,
                "guard": v.guard,
            }
            for v in versions
        ],
        "best_version": None if course.best_version < 0 else course.best_version,
        "stopped_early": course.stop_why,
        "evaluations": [
            _evaluation(each) for each in (*cohorts, *findings.of_run(row.run_id, "coordinator"))
        ],
    }


def _evaluation(row: EvaluationRow) -> dict[str, Any]:
    return {
        "version": row.version,
        "by": row.by,
        "opened_at": row.opened_at,
        "closed_at": row.closed_at,
        "why": row.why,
        "answers": row.answers,
        "examples": row.examples,
        "scores": {name: dict(score) for name, score in row.scores.items()},
        "conclusive": row.conclusive,
        "decision": row.decision,
        "reason": row.reason,
    }
