"""Messages for these tests."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from schemas.digest import digest_of, identify, update_id_of
from schemas.messages import Base, Standing, Start, Task, Update

RUN = identify("run", 1)


def a_task(number: int = 0, **changes: Any) -> Task:
    task = Task(
        run_id=RUN,
        task_id=identify("task", number),
        kind="train",
        incarnation=1,
        not_after=None,
        codec="fp32",
        part_bytes=64,
        replaces="",
        base_version=None,
        time_s=1000.0,
        seed=7,
    )
    return replace(task, **changes)


def a_start(task: Task, version: int = 0, **changes: Any) -> Start:
    start = Start(
        run_id=task.run_id,
        task_id=task.task_id,
        incarnation=1,
        wanted=True,
        reason="",
        base_version=version,
        model_digest=digest_of(b"model", bytes([version])),
        model_bytes=16,
        layout_digest=digest_of(b"layout"),
        parts=1,
        offset=version,
        seed=7,
        lease_s=600.0,
        time_s=1000.0,
    )
    return replace(start, **changes)


def a_base(version: int = 0, **changes: Any) -> Base:
    """What a standing says that a start for a version would say."""
    start = a_start(a_task(), version)
    base = Base(**{field.name: getattr(start, field.name) for field in fields(Base)})
    return replace(base, **changes)


def an_update(task: Task, version: int = 0, worker_id: str = "w1") -> Update:
    """Its header, as training hands it to the store."""
    return Update(
        update_id=update_id_of(task.incarnation, task.task_id, worker_id),
        run_id=task.run_id,
        task_id=task.task_id,
        worker_id=worker_id,
        incarnation=task.incarnation,
        kind="train",
        base_version=version,
        base_digest=digest_of(b"model", bytes([version])),
        layout_digest=digest_of(b"layout"),
        codec="fp32",
        num_examples=1,
        metrics={},
        train_s=1.0,
        payload_digest="",
        payload_bytes=0,
        parts=0,
    )


def a_standing(**changes: Any) -> Standing:
    standing = Standing(
        run_id=RUN,
        state="running",
        incarnation=1,
        version=0,
        may_take=False,
        come_back_s=20.0,
        verdicts={},
        missing={},
        unknown=(),
        time_s=1000.0,
    )
    return replace(standing, **changes)
