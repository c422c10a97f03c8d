"""Direct dispatch through the store: who is drawn, what is written, and what a restart knows."""

from __future__ import annotations

from collections.abc import Sequence

from coordinator.explaining.asked import explain
from coordinator.records import TaskRow
from schemas.messages import Task, decode
from tests.coordinator.feeder import Feeder
from tests.coordinator.test_service_time import until
from tests.coordinator.world import MakeWorld, World


class InOrder:
    """A selection that draws workers in the order of their names, unless they have a task."""

    def __init__(self, world: World, names: str) -> None:
        self.names = [*names]
        self._world = world

    def draw(self, count: int, version: int, now: float) -> Sequence[str]:
        asked = self._world.service._run.state.run.tasks.asked
        return [name for name in self.names if name not in asked][:count]


def direct(make_world: MakeWorld, names: str, **overrides: object) -> tuple[World, InOrder]:
    """A world in which the workers of these names are drawn from the first look on."""
    world = make_world(begin=False, rounds__dispatch="direct", **overrides)
    selector = InOrder(world, names)
    start(world, selector)
    return world, selector


def start(world: World, selector: InOrder) -> None:
    service = world.make()
    service._run.selector = selector
    world.lives.append(service)
    service.begin()
    world.step()


def row_of(world: World, name: str) -> TaskRow:
    (row,) = [row for row in world.open_tasks() if row.worker_id == name]
    return row


def hold(world: World, name: str) -> tuple[Feeder, Task]:
    """A worker and its task; how that came to it is not asked here."""
    outgoing = world.service._run.message_of(row_of(world, name).task_id)
    assert outgoing is not None
    task, _ = decode(outgoing.body)
    assert isinstance(task, Task)
    return world.worker(name), task


def test_a_drawn_worker_and_the_version_it_is_to_train_on_are_written_with_its_task(
    make_world: MakeWorld,
) -> None:
    world, _ = direct(make_world, "abc")
    rows = world.open_tasks()
    assert [row.worker_id for row in rows] == ["a", "b"]
    assert {(row.state, row.direct, row.base_version) for row in rows} == {("offered", True, 0)}
    assert {row.lease_end for row in rows} == {world.now + 30.0}


def test_where_nobody_can_be_drawn_workers_are_drawn_when_one_is_seen(
    make_world: MakeWorld,
) -> None:
    world, selector = direct(make_world, "")
    assert world.open_tasks() == []
    selector.names = ["a"]
    world.worker("a").say_present()
    world.step()
    world.pass_to_wake()
    assert [row.worker_id for row in world.open_tasks()] == ["a"]


def test_a_direct_task_goes_on_over_a_restart(make_world: MakeWorld) -> None:
    world, selector = direct(make_world, "ab")
    before = world.open_tasks()
    world.kill()
    selector.names = []
    start(world, selector)
    assert [row.task_id for row in world.open_tasks()] == [row.task_id for row in before]
    tasks = world.service._run.state.run.tasks
    assert dict(tasks.asked) == {row.worker_id: row.task_id for row in before}


def test_a_round_of_drawn_workers_makes_a_version(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "abc")
    for name, value in (("a", 1.0), ("b", 3.0)):
        worker, task = hold(world, name)
        start_of = world.ask_start(worker, task)
        assert (start_of.wanted, start_of.base_version) == (True, 0)
        assert world.task_row(task.task_id).state == "taken"
        assert world.verdict(world.finish_task(worker, task, start_of, value)) == "counted"
    assert world.weight(1) == 3.0


def test_another_worker_can_neither_take_nor_answer_a_direct_task(make_world: MakeWorld) -> None:
    world, _ = direct(make_world, "ab")
    worker, task = hold(world, "a")
    thief = world.worker("thief")
    assert not world.ask_start(thief, task).wanted
    start_of = world.ask_start(worker, task)
    update_id = world.finish_task(thief, task, start_of)
    assert world.verdict(update_id) == "unknown task"
    assert "offered to another worker" in world.ledger(update_id).reason
    assert world.task_row(task.task_id).state == "taken"
    assert world.verdict(world.finish_task(worker, task, start_of)) == "counted"


def test_another_worker_does_not_answer_a_direct_task_whose_lease_has_ended(
    make_world: MakeWorld,
) -> None:
    world, selector = direct(make_world, "ab")
    worker, task = hold(world, "a")
    start_of = world.ask_start(worker, task)
    selector.names = []
    until(world, 30.0)
    world.finish_task(world.worker("thief"), task, start_of)
    assert world.task_row(task.task_id).state == "lapsed"
    assert world.verdict(world.finish_task(worker, task, start_of)) == "counted"
    assert world.task_row(task.task_id).state == "answered"


def test_a_lease_that_ended_is_made_up_for_by_who_is_drawn_after_a_restart(
    make_world: MakeWorld,
) -> None:
    world, selector = direct(make_world, "ab", rounds__late="refuse", rounds__deadline="300s")
    task_id = row_of(world, "a").task_id
    selector.names = []
    until(world, 30.0)
    assert world.task_row(task_id).state == "lapsed"
    assert not world.task_row(task_id).replaced
    world.kill()
    selector.names = ["c"]
    start(world, selector)
    assert row_of(world, "c").replaces == task_id
    assert world.task_row(task_id).replaced


def test_a_direct_task_that_is_declined_is_followed_by_a_draw_at_once(
    make_world: MakeWorld,
) -> None:
    world, selector = direct(make_world, "ab")
    worker, task = hold(world, "a")
    selector.names = ["c"]
    worker.say_declined(task, "model gone: the stream is empty")
    world.step()
    assert world.task_row(task.task_id).state == "declined"
    assert [row.worker_id for row in world.open_tasks()] == ["b", "c"]


def test_it_is_explained_whom_a_direct_task_waits_for(make_world: MakeWorld) -> None:
    world, selector = direct(make_world, "ab", rounds__late="refuse", rounds__deadline="300s")
    task_id = row_of(world, "a").task_id

    def said() -> str:
        return "\n".join(explain(world.settings(), task_id, world.now)[0].words)

    assert "was offered to worker a" in said()
    assert "It is open, and waits for its worker; its lease is until" in said()
    assert "it has not been taken" in said()
    selector.names = []
    until(world, 30.0)
    assert "may still be counted, until another task is offered in its place" in said()
    selector.names = ["c"]
    world.worker("c").say_present()
    world.step()
    world.pass_to_wake()
    assert "an update of it is refused now" in said()
    assert "was offered in its place" in said()
