"""Who of the demo's workers has a task, as its accidents look for one."""

from __future__ import annotations

from pathlib import Path

from fedmq.demo_processes import _with_a_task


def test_a_store_that_is_being_made_says_that_nobody_has_a_task(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    path.touch()
    assert _with_a_task(path) == []
