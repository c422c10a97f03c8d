"""Rows of the store with everything filled in; tests change the fields they are about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coordinator.records import LedgerRow, RunRow, TaskRow, VersionRow

RUN_ID = "0123456789abcdef" * 2
DIGEST = RUN_ID * 2


def run_row(**changes: Any) -> RunRow:
    """A run that has begun."""
    row = RunRow(
        run_id=RUN_ID,
        number=1,
        state="collecting",
        version=0,
        rounds=3,
        goal=2,
        settings={"run.seed": 0},
        policy={"late": "weigh"},
        layout=[["w", "float32", [3], "mean"]],
        layout_digest=DIGEST,
        opened_at=1.0,
        deadline_at=61.0,
        tries_after=0,
        extensions=0,
        until=0.0,
        why="",
        started_at=1.0,
        ran_s=0.0,
        ended_at=None,
    )
    return replace(row, **changes)


def version_row(**changes: Any) -> VersionRow:
    """A version that is on disk."""
    row = VersionRow(
        run_id=RUN_ID,
        version=0,
        digest=DIGEST,
        num_bytes=12,
        file="0.safetensors",
        stream_offset=None,
        counted=0,
        weight=0.0,
        why="",
        policy={},
        made_at=1.0,
        metrics={"accuracy": 0.5},
    )
    return replace(row, **changes)


def task_row(**changes: Any) -> TaskRow:
    """A task that is offered."""
    row = TaskRow(
        task_id="a" * 32,
        run_id=RUN_ID,
        number=0,
        kind="train",
        state="offered",
        direct=False,
        offered_version=0,
        base_version=None,
        worker_id="",
        replaces="",
        replaced=False,
        published=False,
        offered_at=1.0,
        taken_at=None,
        lease_end=None,
        ended_at=None,
        reason="",
    )
    return replace(row, **changes)


def ledger_row(**changes: Any) -> LedgerRow:
    """An update that counted."""
    row = LedgerRow(
        arrival=0,
        update_id="b" * 32,
        run_id=RUN_ID,
        kind="train",
        shard=0,
        epoch=1,
        incarnation=1,
        task_id="a" * 32,
        worker_id="w",
        base_version=0,
        base_digest=DIGEST,
        payload_digest=DIGEST,
        num_examples=10,
        metrics={"loss": 0.25},
        train_s=1.5,
        verdict="counted",
        reason="in time",
        round_version=0,
        staleness=0,
        weight=10.0,
        full_weight=10.0,
        local_steps=0.0,
        copies=0,
        received_at=2.0,
        segment=1,
        place=0,
        length=100,
    )
    return replace(row, **changes)
