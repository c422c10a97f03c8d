"""The table of open tasks, and its queue of leases."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.tasks import NO_TASKS, OpenTask, OpenTasks


def offered(*task_ids: str) -> OpenTasks:
    table = NO_TASKS
    for task_id in task_ids:
        table = table.offer(OpenTask(task_id, 0))
    return table


def test_a_changed_table_leaves_the_old_one_as_it_was() -> None:
    old = offered("a", "b")
    new = old.take("a", "w", 5.0).remove("b").offer(OpenTask("c", 1))
    assert sorted(old.by_id) == ["a", "b"]
    assert old.next_lease_end() is None
    assert sorted(new.by_id) == ["a", "c"]
    assert len(new) == 2
    assert "b" not in new
    assert new.get("b") is None


def test_a_taken_task_knows_who_and_until_when() -> None:
    task = offered("a").take("a", "w", 5.0).get("a")
    assert task is not None
    assert (task.worker_id, task.lease_end, task.version) == ("w", 5.0, 0)


def test_a_lease_has_ended_at_its_end_and_not_before() -> None:
    table = offered("a").take("a", "w", 5.0)
    assert table.lapsed(4.999) is None
    lapsed = table.lapsed(5.0)
    assert lapsed is not None
    assert lapsed.task_id == "a"


def test_a_table_without_leases_has_none_to_end() -> None:
    for table in (NO_TASKS, offered("a"), offered("a").take("a", "w", 5.0).remove("a")):
        assert table.next_lease_end() is None
        assert table.lapsed(1e9) is None


def test_tasks_are_listed_by_their_ids() -> None:
    ids = [f"{number:03d}" for number in range(100)]
    table = offered(*reversed(ids))
    assert [task.task_id for task in table.in_order()] == ids
    assert table.taken() == []
    assert [task.task_id for task in table.untaken()] == ids


@given(st.data())
def test_the_first_lease_of_the_queue_is_the_one_that_ends_first(data: st.DataObject) -> None:
    table, now, ends = NO_TASKS, 0.0, dict[str, float]()
    for number in range(data.draw(st.integers(0, 30))):
        now += data.draw(st.integers(0, 3))
        match data.draw(st.sampled_from(["offer", "take", "remove"])):
            case "offer":
                table = table.offer(OpenTask(f"{number:03d}", 0))
            case "take" if table.untaken():
                task = data.draw(st.sampled_from(table.untaken()))
                table = table.take(task.task_id, "w", now + 10)
                ends[task.task_id] = now + 10
            case "remove" if len(table):
                task = data.draw(st.sampled_from(table.in_order()))
                table = table.remove(task.task_id)
                ends.pop(task.task_id, None)
            case _:
                pass
        assert table.next_lease_end() == min(ends.values(), default=None)
        assert {task.task_id for task in table.taken()} == ends.keys()


@given(st.lists(st.none() | st.floats(0, 1000), max_size=10), st.floats(0, 500))
def test_restored_leases_end_in_order_and_none_later_than_a_new_one(
    ends: list[float | None], lease_s: float
) -> None:
    tasks = [
        OpenTask(f"{number}", 3, "" if end is None else "w", end, replaces="r")
        for number, end in enumerate(ends)
    ]
    table = OpenTasks.restore(tasks, 100.0, lease_s)
    for task in tasks:
        restored = table.get(task.task_id)
        assert restored is not None
        assert (restored.version, restored.worker_id, restored.replaces) == (
            3,
            task.worker_id,
            "r",
        )
        limit = 100.0 + lease_s
        expected = None if task.lease_end is None else min(max(task.lease_end, 100.0), limit)
        assert restored.lease_end == expected
    order = []
    while (task_or_none := table.lapsed(1e9)) is not None:
        order.append(task_or_none.lease_end)
        table = table.remove(task_or_none.task_id)
    assert order == sorted(end for end in order if end is not None)
    assert len(order) == sum(end is not None for end in ends)
