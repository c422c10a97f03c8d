"""What the messages of open tasks say, where they go, and how long the broker keeps them."""

from __future__ import annotations

import pytest

from broker.topology import Names
from broker.transport import EXPIRES_MAX_S, Outgoing
from coordinator.evaluating import Evaluations, Open, Plan
from coordinator.states import Run
from coordinator.taskmessages import LIFE_LEAST_S, TASK_LEAST_S, TaskMessages
from coordinator.tasks import NO_TASKS, OpenTask
from schemas.frozen import replace
from schemas.messages import Task, decode
from tests.coordinator.bench import RUN_ID, policy

NAMES = Names("demo")
POOL, DIRECT, ASKED = "1" * 32, "2" * 32, "3" * 32
NOW = 1_000.0
MESSAGES = TaskMessages(NAMES, "int8", 1 << 20, lambda task_id: int(task_id[0]))


def run(deadline_s: float = 60.0, lease_end: float = NOW + 30.0) -> Run:
    tasks = NO_TASKS.offer(OpenTask(POOL, 4, replaces="0" * 32, number=8))
    direct = OpenTask(DIRECT, 4, "till-1", lease_end, tasks.next_lease, number=9, base_version=4)
    made = Run(RUN_ID, 7, policy(deadline_s=deadline_s), version=4, ends_at=9_000.0)
    return replace(made, tasks=tasks.ask(direct))


def evaluations(deadline_at: float = NOW + 50.0) -> Evaluations:
    opened = Open(3, deadline_at, tasks=NO_TASKS.asked.set(ASKED, "till-2"))
    return Evaluations(RUN_ID, 7, Plan(), open=opened)


def message(task_id: str, run: Run | None = None, asked: Evaluations | None = None) -> Outgoing:
    made = MESSAGES.message_of(task_id, run or RUN, asked or ASKING, NOW)
    assert made is not None
    assert (made.exchange, made.message_id) == (NAMES.task_exchange, task_id)
    return made


RUN, ASKING = run(), evaluations()


def said(task_id: str) -> Task:
    task = decode(message(task_id).body)[0]
    assert isinstance(task, Task)
    assert (task.run_id, task.incarnation, task.part_bytes) == (RUN_ID, 7, 1 << 20)
    assert (task.seed, task.time_s) == (int(task_id[0]), NOW)
    return task


def test_a_task_of_the_pool_is_anybodys_and_pins_no_version() -> None:
    assert message(POOL).routing_key == NAMES.task_key
    task = said(POOL)
    assert (task.kind, task.codec, task.base_version) == ("train", "int8", None)
    assert (task.replaces, task.not_after) == ("0" * 32, 9_000.0)


def test_a_direct_task_is_its_workers_and_pins_its_version() -> None:
    assert message(DIRECT).routing_key == NAMES.worker_key("till-1")
    assert (said(DIRECT).kind, said(DIRECT).base_version) == ("train", 4)


def test_a_task_to_evaluate_is_for_the_version_that_is_asked_about() -> None:
    assert message(ASKED).routing_key == NAMES.worker_key("till-2")
    task = said(ASKED)
    assert (task.kind, task.codec, task.base_version) == ("evaluate", "fp32", 3)
    assert task.not_after == NOW + 50.0


def test_what_is_not_open_has_none() -> None:
    assert MESSAGES.message_of("4" * 32, RUN, ASKING, NOW) is None
    assert MESSAGES.message_of(ASKED, RUN, Evaluations(RUN_ID, 7, Plan()), NOW) is None


@pytest.mark.parametrize(
    ("deadline_s", "life_s"),
    [(1.0, TASK_LEAST_S), (60.0, 6_000.0), (1e9, EXPIRES_MAX_S)],
    ids=["an hour at least", "a hundred deadlines", "what the broker can count"],
)
def test_in_the_pool_it_waits_for(deadline_s: float, life_s: float) -> None:
    assert message(POOL, run(deadline_s)).expires_s == life_s


@pytest.mark.parametrize(("left_s", "life_s"), [(30.0, 30.0), (0.0, LIFE_LEAST_S)])
def test_in_a_workers_own_queue_it_is_gone_when_it_is_of_no_use(
    left_s: float, life_s: float
) -> None:
    assert message(DIRECT, run(lease_end=NOW + left_s)).expires_s == life_s
    assert message(ASKED, asked=evaluations(NOW + left_s)).expires_s == life_s
