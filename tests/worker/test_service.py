"""The whole worker over the in-process broker, in virtual time, with a scripted coordinator."""

from __future__ import annotations

import errno
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.connect import open_transport
from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Queue
from broker.transport import Delivered, Event, Failed, Outgoing, Post, Transport
from depot import Depot
from depot.porter import Porter
from disk import OsDisk
from disk.spares import SPARE
from schemas.digest import update_id_of
from settings.health import Health
from tests.support.errands import PromptPorter
from tests.support.rabbitmq_node import free_ports
from tests.worker.examples import a_start, an_update
from tests.worker.learners import Adder, Large
from tests.worker.scripted import Clock, ScriptedCoordinator, config_for, reached_by
from worker.availability import Availability
from worker.errors import StateInUseError, StoreError, WrongStateError
from worker.inbox import Inbox
from worker.inline import InlineTrainer
from worker.options import ATTEMPTS_MAX, Once, UntilRunEnds
from worker.report import WorkerReport
from worker.service import WorkerService
from worker.store import Store
from worker.trainer import Broken, Failure, Finished, Job, Notify, ProcessTrainer, Report
from worker.training import Workshop
from worker.traits import Traits


class HeldTrainer(InlineTrainer):
    """Trains when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[tuple[Job, Notify]] = []
        self.cancelled: list[str] = []
        self.killed: list[str] = []

    def submit(self, job: Job, notify: Notify) -> bool:
        self.jobs.append((job, notify))
        return True

    def release(self) -> None:
        job, notify = self.jobs.pop()
        super().submit(job, notify)

    def cancel(self, key: str) -> None:
        self.cancelled.append(key)

    def kill(self, key: str) -> None:
        self.killed.append(key)
        self.jobs = [(job, notify) for job, notify in self.jobs if job.key != key]


class Unheard(InlineTrainer):
    """Its process dies between the commit of the update and the word that it is there."""

    def __init__(self, kind: Failure = "crash") -> None:
        self.kind = kind
        self.trainings = 0

    def submit(self, job: Job, notify: Notify) -> bool:
        def hear(report: Report) -> None:
            if isinstance(report, Finished):
                report = Broken(job.task_id, self.kind, "the training process was killed")
            notify(report)

        self.trainings += 1
        return super().submit(job, hear)


class Federation:
    """A broker, a scripted coordinator and workers, all on one clock."""

    coordinator: ScriptedCoordinator

    def __init__(
        self, folder: Path, learner: Any = None, begins: bool = True, **options: Any
    ) -> None:
        self.folder = folder
        self.clock = Clock()
        self.broker = MemoryBroker(self.clock)
        if begins:
            self.begin(learner, **options)
        self.transports: list[MemoryTransport] = []
        self.workers: list[WorkerService] = []  # those that are given time
        self.opened: list[WorkerService] = []
        self.scheduled: list[tuple[float, Callable[[], None]]] = []

    def begin(self, learner: Any = None, **options: Any) -> None:
        self.coordinator = ScriptedCoordinator(
            reached_by(self.broker), learner or Adder(), **options
        )

    def worker(
        self,
        learner: str = "Adder",
        trainer: Any = None,
        worker_id: str = "w1",
        minute: Callable[[], float] = lambda: 720.0,
        observe: Callable[[WorkerReport], None] | None = None,
        runs: bool = True,
        depot: Depot | None = None,
        porter_of: Callable[[str], Porter] = lambda name: PromptPorter(),
        **config: Any,
    ) -> WorkerService:
        service = WorkerService(
            config_for(self.folder / worker_id, learner, worker_id, **config),
            self.connect,
            trainer or InlineTrainer(),
            clock=self.clock,
            minute=minute,
            observe=observe,
            depot=depot,
            porter_of=porter_of,
        )
        service.open()
        self.workers.append(service)
        self.opened.append(service)
        if runs:
            self.run()
        return service

    def connect(self, post: Post) -> Transport:
        def schedule(delay_s: float, call: Callable[[], None]) -> None:
            self.scheduled.append((self.clock.now + delay_s, call))

        transport = MemoryTransport(self.broker, post, "worker", schedule=schedule)
        self.transports.append(transport)
        return transport

    def run(self, seconds: float = 0.0) -> None:
        """Let everybody do what there is to do, and what time brings."""
        end = self.clock.now + seconds
        for _ in range(20_000):
            for worker in self.workers:
                worker.drain()
            times = [w for w in (worker.wake_at() for worker in self.workers) if w is not None]
            times += [at for at, _ in self.scheduled]
            if not times or min(times) > end:
                self.clock.now = end
                return
            self.clock.now = max(self.clock.now, min(times))
            due = [call for at, call in self.scheduled if at <= self.clock.now]
            self.scheduled = [(at, c) for at, c in self.scheduled if at > self.clock.now]
            for call in due:
                call()
        raise AssertionError("a busy loop")

    def close(self) -> None:
        for worker in self.opened:
            worker.kill()

    def pool_size(self) -> int:
        """Tasks in the pool that nobody holds."""
        return self.broker.ready(self.coordinator.names.task_queue)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    made = Federation(tmp_path)
    yield made
    made.close()


@pytest.fixture
def in_parts(tmp_path: Path) -> Iterator[Federation]:
    made = Federation(tmp_path, Large(), part_bytes=64)
    yield made
    made.close()


def payloads(federation: Federation) -> list[list[float]]:
    return [np.frombuffer(body, "<f4").tolist() for _, body in federation.coordinator.updates]


def test_a_worker_takes_a_task_trains_and_sends_its_update(federation: Federation) -> None:
    service = federation.worker(data="3")
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    ((update, _),) = federation.coordinator.updates
    assert payloads(federation) == [[3.0] * 4]
    task = federation.coordinator.tasks[0]
    assert update.update_id == update_id_of(1, task.task_id, "w1")
    assert update.base_digest == federation.coordinator.version.digest  # type: ignore[union-attr]
    report = service.report
    assert (report.trained, report.sent, report.open_updates) == (1, 1, 0)
    assert report.doing == "idle"


def test_it_hears_what_became_of_its_update(federation: Federation) -> None:
    service = federation.worker()
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run(60.0)
    assert service.report.verdicts == {"counted": 1}


def test_it_trains_version_after_version(federation: Federation) -> None:
    service = federation.worker()
    for version in range(5):
        federation.coordinator.offer()
        federation.coordinator.publish_version(version)
        federation.run(1.0)
    assert [update.base_version for update, _ in federation.coordinator.updates] == list(range(5))
    assert service.report.version == 4
    models = federation.folder / "w1" / "models"
    assert len(list(models.iterdir())) == 2


class Reading(MemoryTransport):
    """Counts what a reader of a stream holds when it is cancelled."""

    def __init__(self, broker: MemoryBroker, post: Post) -> None:
        self.prefetches: dict[int, int] = {}  # of readers
        self.held: dict[int, set[int]] = {}  # deliveries by reader
        self.at_end: list[tuple[int, int]] = []  # prefetch, and how many were held

        def look(event: Any) -> None:
            if isinstance(event, Delivered) and event.offset >= 0:
                self.held.setdefault(event.consumer, set()).add(event.tag)
            post(event)

        super().__init__(broker, look)

    def consume(self, queue: Queue, prefetch: int, offset: int | None = None) -> int:
        consumer = super().consume(queue, prefetch, offset)
        if queue.kind == "stream":
            self.prefetches[consumer] = prefetch
        return consumer

    def ack(self, tag: int) -> None:
        for held in self.held.values():
            held.discard(tag)
        super().ack(tag)

    def cancel(self, consumer: int) -> None:
        if consumer in self.prefetches:
            self.at_end.append((self.prefetches[consumer], len(self.held[consumer])))
        super().cancel(consumer)


@pytest.mark.parametrize(("part_bytes", "prefetch"), [(16, 1), (8, 2), (4, 2)])
def test_nothing_is_on_its_way_when_a_model_is_there(
    federation: Federation, part_bytes: int, prefetch: int
) -> None:
    """Or the connection that reads it could not be kept for the next."""
    reading: list[Reading] = []

    def connect(post: Post) -> Transport:
        reading.append(Reading(federation.broker, post))
        return reading[0]

    federation.connect = connect  # type: ignore[method-assign]
    federation.coordinator.model_part_bytes = part_bytes
    federation.worker()
    for number in range(2):
        federation.coordinator.publish_version(number)
        federation.coordinator.offer()
        federation.run(1.0)
    assert len(federation.coordinator.updates) == 2
    assert reading[0].at_end == [(prefetch, prefetch)] * 2


def test_several_workers_share_the_pool(federation: Federation) -> None:
    for number in range(3):
        federation.worker(worker_id=f"w{number}")
    for _ in range(3):
        federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run(1.0)
    assert {u.worker_id for u, _ in federation.coordinator.updates} == {"w0", "w1", "w2"}


def test_a_worker_that_comes_before_the_coordinator_waits(tmp_path: Path) -> None:
    federation = Federation(tmp_path, begins=False)
    federation.worker()
    federation.run(30.0)
    federation.begin()
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run(120.0)
    assert len(federation.coordinator.updates) == 1
    federation.close()


def test_a_worker_whose_queue_is_gone_takes_tasks_when_it_is_there_again(
    federation: Federation,
) -> None:
    federation.coordinator.publish_version(0)
    service = federation.worker()
    assert service.report.doing == "waiting"
    coordinator = federation.coordinator
    coordinator.transport.delete(coordinator.names.task_queue)
    federation.run(30.0)
    coordinator.transport.declare(coordinator.names.topology)
    coordinator.offer()
    federation.run(120.0)
    assert len(coordinator.updates) == 1


def test_training_goes_on_offline_and_the_update_comes_when_it_is_back(
    federation: Federation,
) -> None:
    trainer = HeldTrainer()
    service = federation.worker(trainer=trainer)
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    service.go_offline()
    federation.run()
    assert not service.report.online
    trainer.release()
    federation.run(86400.0)
    assert service.report.open_updates == 1
    service.go_online()
    federation.run()
    assert len(federation.coordinator.updates) == 1
    assert service.report.open_updates == 0


def test_a_killed_worker_goes_on_with_its_task_and_makes_one_update(
    federation: Federation,
) -> None:
    trainer = HeldTrainer()
    service = federation.worker(trainer=trainer)
    task = federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    service.kill()
    assert trainer.killed == [f"w1/{task.task_id}"]
    federation.worker()
    federation.run(1.0)
    assert [u.task_id for u, _ in federation.coordinator.updates] == [task.task_id]
    assert len(federation.coordinator.taken) == 1, "its start and its model were on disk"


def test_a_training_that_hangs_is_killed_in_time(federation: Federation) -> None:
    trainer = HeldTrainer()
    federation.worker(trainer=trainer, options={"train_timeout_s": 60.0})
    task = federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run(59.0)
    assert trainer.killed == []
    federation.run(2.0)
    assert trainer.killed == [f"w1/{task.task_id}"]


class Looking(InlineTrainer):
    """Looks how many attempts are on disk when a training is about to begin."""

    def __init__(self) -> None:
        self.attempts: list[int] = []

    def submit(self, job: Job, notify: Notify) -> bool:
        store = Store(Path(job.folder))
        held = store.inbox.held()
        store.close()
        assert held is not None
        self.attempts.append(held.attempts)
        return super().submit(job, notify)


def test_an_attempt_is_on_disk_before_the_training_that_may_take_all_down_begins(
    federation: Federation,
) -> None:
    trainer = Looking()
    federation.worker("Raising", trainer=trainer)
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run(600.0)
    assert trainer.attempts == [1, 2, 3]


@pytest.mark.parametrize("kind", ["crash", "cancelled"])
def test_a_training_that_dies_after_its_commit_is_not_done_again(
    federation: Federation, kind: Failure
) -> None:
    trainer = Unheard(kind)
    service = federation.worker(trainer=trainer)
    for version in range(3):
        federation.coordinator.offer()
        federation.coordinator.publish_version(version)
        federation.run(60.0)
    assert [update.base_version for update, _ in federation.coordinator.updates] == [0, 1, 2]
    assert trainer.trainings == 3
    assert federation.coordinator.declined == []
    assert service.report.open_updates == 0


def finish_as_an_orphan(folder: Path, store: Store) -> None:
    held = store.inbox.held()
    assert held is not None
    orphan = Store(folder)
    orphan.finish(an_update(held.task), held.task.part_bytes, bytes(16))
    orphan.close()


@pytest.mark.parametrize("attempts", [1, 3])
def test_an_orphan_that_finishes_after_the_new_agent_looked_is_found(
    federation: Federation, attempts: int
) -> None:
    trainer = HeldTrainer()
    federation.worker(trainer=trainer)
    task = federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    federation.workers.pop().kill()
    store = Store(federation.folder / "w1")
    for _ in range(attempts - 1):
        store.inbox.begin_attempt(a_start(task))
    service = federation.worker(trainer=trainer, runs=False)
    finish_as_an_orphan(federation.folder / "w1", store)
    federation.run(600.0)
    assert len(federation.coordinator.updates) == 1
    assert len(federation.coordinator.declined) == (attempts == 3)  # before it looked
    assert trainer.jobs == []
    assert service.report.open_updates == 0
    store.close()


def test_a_task_that_is_in_safe_hands_already_is_not_trained_again(
    federation: Federation,
) -> None:
    trainer = HeldTrainer()
    service = federation.worker(trainer=trainer)
    task = federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    store = Store(federation.folder / "w1")
    finish_as_an_orphan(federation.folder / "w1", store)
    store.release(update_id_of(1, task.task_id, "w1"))
    store.inbox.keep_task(task)
    trainer.release()
    federation.run(60.0)
    assert federation.coordinator.updates == []
    assert service.report.doing == "idle"
    assert store.inbox.held() is None
    store.close()


def test_a_worker_killed_before_the_start_asks_again(federation: Federation) -> None:
    federation.coordinator.answers = True
    service = federation.worker()
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.coordinator.answers = False
    federation.run()
    assert len(federation.coordinator.taken) == 1
    service.kill()
    federation.coordinator.answers = True
    federation.worker()
    federation.run(1.0)
    assert len(federation.coordinator.taken) == 2
    assert len(federation.coordinator.updates) == 1


def test_an_update_that_was_not_confirmed_is_sent_again_as_it_was(federation: Federation) -> None:
    trainer = HeldTrainer()
    federation.worker(trainer=trainer, data="2")
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    federation.broker.hold_confirms()
    federation.coordinator.answers = False  # a verdict would settle it
    trainer.release()
    federation.run()
    assert len(federation.coordinator.updates) == 1
    federation.workers.pop().kill()
    federation.broker.release_confirms()
    federation.worker(data="5")
    federation.run(1.0)
    first, *others = federation.coordinator.updates
    assert others, "or the confirm was heard"
    assert all(other == first for other in others)
    assert {tuple(p) for p in payloads(federation)} == {(2.0,) * 4}


def test_an_update_that_no_queue_takes_stays_until_one_does(federation: Federation) -> None:
    trainer, coordinator = HeldTrainer(), federation.coordinator
    service = federation.worker(trainer=trainer)
    coordinator.offer()
    coordinator.publish_version(0)
    federation.run()
    coordinator.transport.delete(coordinator.names.update_queue())
    trainer.release()
    federation.run(120.0)
    assert service.report.open_updates == 1
    coordinator.transport.declare(coordinator.names.topology)
    coordinator.transport.consume(coordinator.names.update_queue(), 100)
    federation.run(120.0)
    assert service.report.open_updates == 0
    assert len(coordinator.updates) == 1


def test_a_task_redelivered_after_it_was_done_is_not_trained_again(
    federation: Federation,
) -> None:
    federation.worker()
    task = federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run(1.0)
    federation.coordinator.publish_version(1)
    federation.coordinator.offer(task_id=task.task_id)
    federation.run(60.0)
    assert len(federation.coordinator.updates) == 1


def test_a_lost_connection_is_made_again_and_nothing_is_lost(federation: Federation) -> None:
    federation.worker()
    for version in range(4):
        federation.broker.drop(federation.transports[0])
        federation.coordinator.offer()
        federation.coordinator.publish_version(version)
        federation.run(90.0)
    assert len(federation.coordinator.updates) == 4


def test_an_upload_in_parts_waits_for_its_verdict(in_parts: Federation) -> None:
    in_parts.coordinator.gives_verdicts = False
    service = in_parts.worker("Large")
    in_parts.coordinator.offer()
    in_parts.coordinator.publish_version(0)
    in_parts.run(1.0)
    ((update, payload),) = in_parts.coordinator.updates
    assert (update.parts, payload) == (4, b"")
    body = b"".join(part for _, part in in_parts.coordinator.parts)
    assert np.frombuffer(body, "<f4").tolist() == [1.0] * 64
    assert service.report.open_updates == 1
    in_parts.coordinator.verdicts[update.update_id] = "counted"
    in_parts.run(60.0)
    assert service.report.open_updates == 0
    assert service.report.verdicts == {"counted": 1}


def test_a_restart_asks_for_the_verdict_of_an_upload_and_sends_what_is_missing(
    in_parts: Federation,
) -> None:
    in_parts.coordinator.gives_verdicts = False
    in_parts.worker("Large")
    in_parts.coordinator.offer()
    in_parts.coordinator.publish_version(0)
    in_parts.run(1.0)
    in_parts.workers.pop().kill()
    (update, _) = in_parts.coordinator.updates[0]
    in_parts.coordinator.missing[update.update_id] = (1, 3)
    in_parts.worker("Large")
    in_parts.run(1.0)
    assert [part.index for part, _ in in_parts.coordinator.parts] == [0, 1, 2, 3, 1, 3]
    assert len(in_parts.coordinator.updates) == 2


def test_a_task_no_longer_wanted_is_forgotten(federation: Federation) -> None:
    task = federation.coordinator.offer()
    federation.coordinator.unwanted.add(task.task_id)
    service = federation.worker()
    federation.coordinator.publish_version(0)
    federation.run(1.0)
    assert federation.coordinator.declined == []
    assert service.report.declined == 0
    assert federation.pool_size() == 0
    assert Store(federation.folder / "w1").inbox.held() is None


def test_a_model_that_is_not_where_it_should_be_is_declined(federation: Federation) -> None:
    federation.coordinator.offer()
    found = federation.coordinator.publish_version(0)
    federation.coordinator.version = replace(found, offset=found.offset + 1)
    service = federation.worker()
    federation.run(20.5)
    (declined,) = federation.coordinator.declined
    assert declined.reason.startswith("model gone")
    assert service.report.declined == 1


def test_a_raising_learner_is_tried_three_times(
    federation: Federation, capsys: pytest.CaptureFixture[str]
) -> None:
    federation.worker("Raising")
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run(30.0)
    (declined,) = federation.coordinator.declined
    assert declined.reason == "crashed 3 times on it: ValueError: no such data here"
    assert capsys.readouterr().err.count("Traceback") == 3


def test_a_learner_with_another_layout_is_declined_at_once(
    federation: Federation, capsys: pytest.CaptureFixture[str]
) -> None:
    federation.worker("Large")
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run(1.0)
    assert "layout differs" in federation.coordinator.declined[0].reason


@pytest.mark.parametrize("body", [b"", b"nonsense", b"fmq\0" + bytes(100)])
def test_what_is_no_task_is_dead_lettered(federation: Federation, body: bytes) -> None:
    names = federation.coordinator.names
    federation.worker()
    federation.coordinator.transport.publish(
        Outgoing(names.task_exchange, names.task_key, body, "x")
    )
    federation.coordinator.publish_version(0)
    federation.run(1.0)
    assert federation.pool_size() == 0
    assert federation.broker.ready(names.parked_queue) == 1
    federation.coordinator.offer()
    federation.run(60.0)
    assert len(federation.coordinator.updates) == 1


def test_a_full_disk_loses_no_task_and_work_goes_on_when_there_is_room(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(inbox: Inbox, task: object) -> None:
        from worker.errors import StoreError

        raise StoreError(os.strerror(errno.ENOSPC))

    service = federation.worker()
    federation.coordinator.offer()
    with monkeypatch.context() as patched:
        patched.setattr(Inbox, "keep_task", full)
        federation.coordinator.publish_version(0)
        federation.run(5.0)
        assert service.report.doing == "keeping"
        assert federation.coordinator.taken == []
    federation.run(60.0)
    assert len(federation.coordinator.updates) == 1


def test_an_update_that_cannot_be_read_for_a_moment_is_sent_later(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = OsDisk.read

    def fail(disk: OsDisk, path: Path, start: int = 0, length: int = -1) -> bytes:
        if path.parent.name == "outbox":
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return read(disk, path, start, length)

    trainer = HeldTrainer()
    trainer.workshop = Workshop(inline_bytes=0)
    service = federation.worker(trainer=trainer)
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    with monkeypatch.context() as patched:
        patched.setattr(OsDisk, "read", fail)
        trainer.release()
        federation.run(5.0)
        assert service.report.open_updates == 1
    federation.run(60.0)
    assert len(federation.coordinator.updates) == 1


def rot(federation: Federation) -> None:
    """A byte of the payload in the outbox is another one; it is as long as it was."""
    for file in (federation.folder / "w1" / "outbox").iterdir():
        file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
        return
    with sqlite3.connect(federation.folder / "w1" / "worker.sqlite") as database:
        ((payload,),) = database.execute("SELECT payload FROM outbox").fetchall()
        changed = bytes([payload[0] ^ 1]) + payload[1:]
        database.execute("UPDATE outbox SET payload = ?", (changed,))


def test_a_rotten_payload_is_given_up_and_not_confirmed_and_lost(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = HeldTrainer()
    service = federation.worker(trainer=trainer)
    task = federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    service.go_offline()
    federation.run()
    trainer.release()
    federation.run()
    federation.workers.pop().kill()
    rot(federation)
    service = federation.worker()
    federation.run(60.0)
    assert federation.coordinator.updates == []
    assert service.report.open_updates == 0
    assert "an update is given up" in caplog.text
    federation.coordinator.offer(task_id=task.task_id)
    federation.coordinator.publish_version(1)
    federation.run(60.0)
    assert payloads(federation) == [[1.0] * 4], "its task may be trained again"


def test_a_model_is_fresh_for_the_first_training_only(federation: Federation) -> None:
    trainer = HeldTrainer()
    federation.worker(trainer=trainer)
    federation.coordinator.publish_version(0)
    federation.coordinator.offer()
    federation.run(1.0)
    ((first, notify),) = trainer.jobs
    assert first.model_is_fresh
    trainer.jobs.clear()
    notify(Broken(first.task_id, "crash", "the training process ended"))
    federation.run(60.0)
    ((again, _),) = trainer.jobs
    assert again.task_id == first.task_id
    assert not again.model_is_fresh


def test_what_was_just_written_is_looked_at_when_it_is_sent_again(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "payload_age_s", lambda store, update_id: 0.1)
    looks: list[bool] = []
    real = Store.to_send

    def to_send(store: Store, update_id: str, *, look: bool = True) -> Any:
        looks.append(look)
        return real(store, update_id, look=look)

    monkeypatch.setattr(Store, "to_send", to_send)
    trainer = HeldTrainer()
    federation.worker(trainer=trainer)
    federation.coordinator.publish_version(0)
    federation.coordinator.offer()
    federation.run(1.0)
    federation.broker.refuse(True)
    trainer.release()
    federation.run(60.0)
    federation.broker.refuse(False)
    federation.run(120.0)
    assert looks[0] is False
    assert len(looks) > 1
    assert all(looks[1:])
    assert payloads(federation) == [[1.0] * 4]


@pytest.mark.parametrize("made", ["federation", "in_parts"])  # in its row, in a file
@pytest.mark.parametrize("age_s", [1.5, -60.0])
def test_what_rotted_while_the_agent_slept_is_not_sent(
    request: pytest.FixtureRequest, made: str, age_s: float
) -> None:
    """Its training process had written it a while before; or the clock was set back meanwhile."""
    federation: Federation = request.getfixturevalue(made)

    class Slept(InlineTrainer):
        def submit(self, job: Job, notify: Notify) -> bool:
            def hear(report: Report) -> None:
                if isinstance(report, Finished):
                    rot(federation)
                    for file in (federation.folder / "w1" / "outbox").glob("*"):
                        os.utime(file, 2 * (time.time() - age_s,))
                notify(report)

            return super().submit(job, hear)

    service = federation.worker("Adder" if made == "federation" else "Large", trainer=Slept())
    federation.coordinator.publish_version(0)
    federation.coordinator.offer()
    federation.run(60.0)
    assert federation.coordinator.updates == []
    assert federation.coordinator.parts == []
    assert service.report.open_updates == 0


def test_an_upload_that_was_just_written_is_not_looked_at(
    in_parts: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Store, "payload_age_s", lambda store, update_id: 0.1)
    looked: list[str] = []
    monkeypatch.setattr(Store, "check_payload", lambda _, update_id: looked.append(update_id))
    in_parts.worker("Large")
    in_parts.coordinator.publish_version(0)
    in_parts.coordinator.offer()
    in_parts.run(1.0)
    assert len(in_parts.coordinator.parts) == 4
    assert looked == []


def test_an_upload_that_was_rotten_before_it_was_sent_is_given_up(
    in_parts: Federation,
) -> None:
    in_parts.coordinator.publish_version(0)
    trainer = HeldTrainer()
    service = in_parts.worker("Large", trainer=trainer)
    in_parts.coordinator.offer()
    in_parts.run(1.0)
    in_parts.broker.drop(in_parts.transports[0])
    trainer.release()
    service.drain()
    rot(in_parts)
    in_parts.run(120.0)
    assert in_parts.coordinator.parts == []
    assert service.report.open_updates == 0


def test_an_upload_that_rots_while_it_is_sent_is_not_sent_for_ever(in_parts: Federation) -> None:
    in_parts.coordinator.gives_verdicts = False
    service = in_parts.worker("Large")
    in_parts.coordinator.offer()
    in_parts.coordinator.publish_version(0)
    in_parts.run(1.0)
    (update, _) = in_parts.coordinator.updates[0]
    rot(in_parts)  # as if it had been before: the coordinator says that its digest does not hold
    in_parts.coordinator.unknown.add(update.update_id)
    in_parts.run(3600.0)
    assert len(in_parts.coordinator.parts) == 4
    assert service.report.open_updates == 0


def test_a_sound_upload_that_is_unknown_is_sent_again(in_parts: Federation) -> None:
    in_parts.coordinator.gives_verdicts = False
    service = in_parts.worker("Large")
    in_parts.coordinator.offer()
    in_parts.coordinator.publish_version(0)
    in_parts.run(1.0)
    (update, _) = in_parts.coordinator.updates[0]
    in_parts.coordinator.unknown.add(update.update_id)
    in_parts.run(60.0)
    assert len(in_parts.coordinator.parts) > 4
    assert service.report.open_updates == 1


def test_what_a_full_disk_did_not_let_go_is_let_go_when_there_is_room(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, is_full = Store.release, True

    def release(store: Store, update_id: str) -> None:
        if is_full:
            raise StoreError(os.strerror(errno.ENOSPC))
        real(store, update_id)

    monkeypatch.setattr(Store, "release", release)
    monkeypatch.setattr("worker.payloads.LINGERING_BYTES", 0)
    trainer = InlineTrainer()
    trainer.workshop = Workshop(inline_bytes=0)
    federation.worker(trainer=trainer)
    federation.coordinator.gives_verdicts = False
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run(60.0)
    outbox = federation.folder / "w1" / "outbox"
    assert len(list(outbox.iterdir())) == 1
    is_full = False
    federation.run(6.0)
    assert [file for file in outbox.iterdir() if not file.name.startswith(SPARE)] == []
    assert len(federation.coordinator.updates) == 1


def test_a_disk_that_fails_when_a_training_ends_delays_its_update(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(store: Store, task_id: str) -> None:
        raise StoreError(os.strerror(errno.EIO))

    trainer = HeldTrainer()
    federation.worker(trainer=trainer)
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    with monkeypatch.context() as patched:
        patched.setattr(Store, "outcome", fail)
        trainer.release()
        federation.run(600.0)
        assert federation.coordinator.updates == []
    federation.run(120.0)
    assert len(federation.coordinator.updates) == 1
    assert federation.coordinator.declined == []
    assert trainer.jobs == []


def test_the_consumers_of_a_long_connection_are_not_all_remembered(
    federation: Federation,
) -> None:
    service = federation.worker()
    for version in range(20):
        federation.coordinator.offer()
        federation.coordinator.publish_version(version)
        federation.run(1.0)
    assert len(federation.coordinator.updates) == 20
    assert len(service._effects._consumers) <= 8
    assert service._effects._refs == {}


def test_old_marks_go_while_the_worker_runs(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.effects._MARKS_TRIMMED_EVERY", 4)
    monkeypatch.setattr("worker.store.MARKS_KEPT", 2)
    service = federation.worker()
    for version in range(4):
        federation.coordinator.offer()
        federation.coordinator.publish_version(version)
        federation.run(1.0)
    known = [service._store.known(task.task_id) for task in federation.coordinator.tasks]
    assert known[:2] == ["new"] * 2
    assert known[-1] == "done"


def test_a_worker_that_cannot_end_in_order_ends_all_the_same(
    federation: Federation, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("the socket is gone")

    service = federation.worker()
    with monkeypatch.context() as patched:
        patched.setattr(service._transport, "stop", fail)
        service.kill()
    assert service.join(0.0)
    assert "the socket is gone" in caplog.text
    federation.worker()  # the folder is free


def test_stopping_declines_what_was_not_begun_and_leaves(federation: Federation) -> None:
    service = federation.worker()
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.coordinator.answers = False
    federation.run()
    assert service.stop()
    assert federation.coordinator.declined[0].reason == "shutting down"
    assert federation.coordinator.presences[-1].leaving
    assert service.report.exit_code == 0


def test_stopping_a_training_keeps_the_task_for_the_next_start(federation: Federation) -> None:
    trainer = HeldTrainer()
    service = federation.worker(trainer=trainer)
    task = federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    service.stop()
    assert set(trainer.cancelled) == {f"w1/{task.task_id}"}
    assert trainer.killed == []
    held = Store(federation.folder / "w1").inbox.held()
    assert held is not None
    assert held.attempts == 0
    federation.worker()
    federation.run(1.0)
    assert len(federation.coordinator.updates) == 1


def test_once_does_one_task_and_leaves(federation: Federation) -> None:
    federation.coordinator.publish_version(0)
    for _ in range(2):
        federation.coordinator.offer()
    service = federation.worker(options={"plan": Once(30.0)})
    federation.run(1.0)
    assert service.report.exit_code == 0
    assert len(federation.coordinator.updates) == 1
    assert federation.pool_size() == 1


def test_once_leaves_in_order_when_nothing_is_due(federation: Federation) -> None:
    federation.coordinator.publish_version(0)
    service = federation.worker(options={"plan": Once(30.0)})
    federation.run(29.0)
    assert service.report.exit_code is None
    federation.run(2.0)
    assert service.report.exit_code == 0
    assert service.report.reason == "nothing was due"


def test_once_without_a_broker_is_an_error_and_loses_nothing(federation: Federation) -> None:
    federation.broker.down()
    service = federation.worker(options={"plan": Once(30.0)})
    federation.run(31.0)
    assert service.report.exit_code == 1


def test_once_flushes_the_outbox_first(federation: Federation) -> None:
    trainer = HeldTrainer()
    service = federation.worker(trainer=trainer)
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    service.go_offline()
    federation.run()
    trainer.release()
    federation.run()
    federation.workers.pop().kill()
    service = federation.worker(options={"plan": Once(30.0)})
    federation.run(31.0)
    assert service.report.exit_code == 0
    assert service.report.sent == 1


@pytest.mark.parametrize(("state", "code"), [("ended", 0), ("draining", 0), ("failed", 1)])
def test_until_the_run_ends(federation: Federation, state: Any, code: int) -> None:
    service = federation.worker(options={"plan": UntilRunEnds()})
    federation.run(5.0)
    assert service.report.exit_code is None
    federation.coordinator.state = state
    federation.coordinator.push()
    federation.run(5.0)
    assert service.report.exit_code == code


def test_a_wrong_password_ends_the_worker(federation: Federation) -> None:
    class Refusing(MemoryTransport):
        def start(self) -> None:
            self.client.post(Failed("ACCESS_REFUSED"))

    service = WorkerService(
        config_for(federation.folder / "w9", worker_id="w9"),
        lambda post: Refusing(federation.broker, post),
        InlineTrainer(),
        clock=federation.clock,
    )
    service.open()
    service.drain()
    assert service.report.exit_code == 1
    assert "ACCESS_REFUSED" in service.report.reason


def test_a_refused_login_is_no_crash_of_the_training(federation: Federation) -> None:
    """Someone mistyped the password, and a supervisor starts the worker again and again."""
    federation.worker(trainer=HeldTrainer())
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    for _ in range(2 * ATTEMPTS_MAX):
        service = federation.workers.pop()
        assert service.report.doing == "training"
        service.handle(Failed("ACCESS_REFUSED"))
        assert service.report.exit_code == 1
        federation.worker(trainer=HeldTrainer())
    trainer = HeldTrainer()
    federation.workers.pop().kill()
    service = federation.worker(trainer=trainer)
    trainer.release()
    federation.run()
    assert (service.report.sent, service.report.declined) == (1, 0)


def test_a_flaky_worker_comes_and_goes_by_its_seed(federation: Federation) -> None:
    def spells(folder: str) -> list[tuple[float, bool]]:
        seen: list[tuple[float, bool]] = []
        began = federation.clock.now

        def observe(report: WorkerReport) -> None:
            at = round(federation.clock.now - began, 6)
            if not seen or seen[-1][1] != report.online:
                seen.append((at, report.online))

        federation.workers.clear()
        federation.folder = federation.folder / folder
        federation.worker(observe=observe, availability=Availability(10.0, 10.0))
        federation.run(500.0)
        federation.workers.pop().kill()
        return seen

    first = spells("a")
    assert len(first) > 10
    # To the microsecond the same, though it reconnects at other times of the day.
    assert [online for _, online in first] == [online for _, online in spells("b")]


def test_outside_of_its_hours_a_worker_is_not_connected(federation: Federation) -> None:
    from settings.hours import Hours

    minute = 0.0
    service = federation.worker(
        minute=lambda: minute, availability=Availability(hours=Hours(60, 120))
    )
    federation.run(10.0)
    assert not service.report.online
    minute = 61.0
    federation.run(3600.0)
    assert service.report.online


def test_a_state_folder_is_one_workers_at_a_time(federation: Federation) -> None:
    federation.worker()
    with pytest.raises(StateInUseError):
        federation.worker()


def test_a_state_folder_is_one_workers_for_ever(federation: Federation) -> None:
    federation.worker().kill()
    other = WorkerService(
        config_for(federation.folder / "w1", worker_id="w2"),
        federation.connect,
        InlineTrainer(),
        clock=federation.clock,
    )
    with pytest.raises(WrongStateError):
        other.open()


@pytest.mark.parametrize("seed", range(12))
def test_workers_that_are_killed_cut_off_and_offline_at_any_time_lose_nothing(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    federation = Federation(tmp_path, Large(), part_bytes=rng.choice([64, 1024]))
    trainers: dict[str, HeldTrainer] = {}

    def start(name: str) -> None:
        trainers[name] = HeldTrainer()
        federation.worker("Large", trainers[name], name, data=str(rng.random()))

    for number in range(3):
        start(f"w{number}")
    version = 0
    for _ in range(120):
        service = rng.choice(federation.workers)
        name = service.config.worker_id
        match rng.randrange(8):
            case 0:
                federation.coordinator.offer()
            case 1:
                federation.coordinator.publish_version(version)
                version += 1
            case 2:
                federation.workers.remove(service)
                service.kill()
                start(name)
            case 3:
                federation.broker.drop(rng.choice(federation.transports))
            case 4:
                rng.choice([service.go_offline, service.go_online])()
            case 5 | 6 if trainers[name].jobs:
                trainers[name].release()
            case _:
                federation.run(rng.choice([0.0, 1.0, 30.0]))
    for _ in range(20):  # everybody is online, trains, and nothing fails
        for service in federation.workers:
            service.go_online()
        federation.run(100.0)
        for held in trainers.values():
            if held.jobs:
                held.release()
    contents: dict[str, set[str]] = {}
    for update, _ in federation.coordinator.updates:
        contents.setdefault(update.update_id, set()).add(update.payload_digest)
    assert all(len(digests) == 1 for digests in contents.values()), "one id, other bytes"
    assert all(service.report.open_updates == 0 for service in federation.workers)
    answered = {update.task_id for update, _ in federation.coordinator.updates}
    answered |= {declined.task_id for declined in federation.coordinator.declined}
    for taken in federation.coordinator.taken:
        assert taken.task_id in answered, "taken and never heard of again"
    assert len(contents) > 3
    federation.close()


def test_a_worker_with_its_own_thread_and_training_process(tmp_path: Path) -> None:
    broker, done = MemoryBroker(), threading.Event()
    coordinator = ScriptedCoordinator(reached_by(broker), Adder())

    def observe(report: WorkerReport) -> None:
        if report.sent == 1:
            done.set()

    trainer = ProcessTrainer()
    service = WorkerService(config_for(tmp_path), reached_by(broker), trainer, observe=observe)
    service.start()
    coordinator.offer()
    coordinator.publish_version(0)
    assert done.wait(60.0)
    assert service.stop()
    trainer.close()
    assert service.report.exit_code == 0
    assert len(coordinator.updates) == 1


def test_killing_a_worker_with_its_own_thread_frees_its_folder(tmp_path: Path) -> None:
    broker = MemoryBroker()
    for _ in range(2):
        service = WorkerService(config_for(tmp_path), reached_by(broker), InlineTrainer())
        service.start()
        service.kill()
        service.kill()
        assert service.join(10.0)


# A queue of its own, evaluation, and being sent away.


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Federation]:
    """A federation that chooses its workers."""
    made = Federation(tmp_path, direct=True)
    yield made
    made.close()


def test_a_worker_takes_its_tasks_from_its_own_queue(direct: Federation) -> None:
    direct.coordinator.provide()
    service = direct.worker()
    direct.worker(worker_id="w2")
    direct.coordinator.publish_version(0)
    direct.coordinator.offer(base_version=0)
    direct.run(5.0)
    assert [update.worker_id for update, _ in direct.coordinator.updates] == ["w1"]
    assert service.report.doing == "waiting"
    assert direct.broker.ready(direct.coordinator.names.worker_queue("w1")) == 0


def test_a_worker_without_a_queue_of_its_own_waits_until_it_has_one(direct: Federation) -> None:
    direct.coordinator.publish_version(0)
    service = direct.worker()
    direct.run(30.0)
    assert service.report.exit_code is None
    direct.coordinator.provide()
    direct.coordinator.offer(base_version=0)
    direct.run(120.0)
    assert len(direct.coordinator.updates) == 1


def test_a_task_that_waits_in_its_own_queue_is_found_when_the_worker_is_back(
    direct: Federation,
) -> None:
    direct.coordinator.provide()
    direct.coordinator.publish_version(0)
    service = direct.worker()
    service.go_offline()
    direct.run(3600.0)
    older = direct.coordinator.offer(base_version=0)
    newer = direct.coordinator.offer(base_version=0)
    service.go_online()
    direct.run(5.0)
    assert [update.task_id for update, _ in direct.coordinator.updates] == [newer.task_id]
    assert older.task_id != newer.task_id


def test_a_task_that_is_put_again_after_it_was_done_is_not_done_again(direct: Federation) -> None:
    direct.coordinator.provide()
    direct.coordinator.publish_version(0)
    service = direct.worker()
    task = direct.coordinator.offer(base_version=0)
    direct.run(5.0)
    direct.coordinator.offer(task_id=task.task_id, base_version=0)
    direct.run(5.0)
    assert service.report.trained == 1
    assert len(direct.coordinator.updates) == 1
    assert direct.broker.ready(direct.coordinator.names.worker_queue("w1")) == 0


def test_when_dispatch_changes_the_worker_changes_its_queue(federation: Federation) -> None:
    federation.coordinator.provide()
    federation.coordinator.publish_version(0)
    service = federation.worker()
    federation.coordinator.offer()
    federation.run(1.0)
    federation.coordinator.direct = True
    federation.coordinator.publish_version(1)
    federation.coordinator.offer(base_version=1)
    federation.run(1.0)
    federation.coordinator.direct = False
    federation.coordinator.publish_version(2)
    federation.coordinator.offer()
    federation.run(1.0)
    assert [u.base_version for u, _ in federation.coordinator.updates] == [0, 1, 2]
    assert service.report.declined == 0


def test_a_worker_evaluates_when_it_is_asked_to(direct: Federation) -> None:
    direct.coordinator.provide()
    direct.coordinator.publish_version(2)
    service = direct.worker("Measuring", learner_config={"num_examples": 8})
    direct.coordinator.offer(kind="evaluate", base_version=2)
    direct.run(60.0)
    ((update, payload),) = direct.coordinator.updates
    assert (update.kind, update.num_examples, payload) == ("evaluate", 8, b"")
    assert update.metrics == {"w": 16.0, "version": 16.0}
    report = service.report
    assert (report.trained, report.evaluated, report.open_updates) == (0, 1, 0)
    assert (report.version, report.verdicts) == (-1, {"counted": 1})


def test_a_worker_declares_what_it_is(federation: Federation) -> None:
    traits = Traits(120, ("gpu",), metered=True, hours="08:00-20:00")
    federation.worker(traits=traits)
    presence = federation.coordinator.presences[-1]
    assert (presence.examples, presence.capabilities, presence.metered) == (120, ("gpu",), True)
    assert (presence.local_minute, presence.hours) == (720, "08:00-20:00")


def test_a_worker_that_is_sent_away_disconnects_and_comes_back(federation: Federation) -> None:
    federation.coordinator.publish_version(0)
    federation.coordinator.away_s = 600.0
    service = federation.worker()
    assert not service.report.online
    asked = len(federation.coordinator.presences)
    federation.run(539.0)
    assert not service.report.online
    assert len(federation.coordinator.presences) == asked
    federation.coordinator.away_s = 0.0
    federation.coordinator.offer()
    federation.run(122.0)
    assert service.report.online
    assert len(federation.coordinator.updates) == 1


def test_a_worker_with_something_open_is_not_sent_away(federation: Federation) -> None:
    trainer = HeldTrainer()
    service = federation.worker(trainer=trainer)
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    federation.run()
    federation.coordinator.away_s = 600.0
    federation.run(120.0)
    assert service.report.online
    trainer.release()
    federation.run(60.0)
    assert len(federation.coordinator.updates) == 1
    assert service.report.verdicts == {"counted": 1}
    assert not service.report.online


def test_its_owner_ends_an_absence(federation: Federation) -> None:
    federation.coordinator.away_s = 600.0
    service = federation.worker()
    federation.coordinator.away_s = 0.0
    service.go_online()
    federation.run(1.0)
    assert service.report.online


def health_of(worker: WorkerService) -> Health:
    replies: list[Health] = []
    worker.ask_health(replies.append)
    worker.drain()
    (health,) = replies
    return health


def test_a_worker_that_reaches_the_broker_is_well(federation: Federation) -> None:
    assert health_of(federation.worker()) == Health(True, "w1: online, idle")


def test_a_worker_that_does_not_reach_the_broker_is_not_well(federation: Federation) -> None:
    federation.broker.down()
    assert health_of(federation.worker()) == Health(False, "w1: does not reach the broker, idle")


def test_a_worker_that_is_away_because_it_is_meant_to_be_is_well(federation: Federation) -> None:
    worker = federation.worker()
    worker.go_offline()
    federation.run()
    assert health_of(worker) == Health(True, "w1: away, idle")


def test_a_flood_of_mail_keeps_no_worker_from_its_broker(tmp_path: Path) -> None:
    (port,) = free_ports(1)  # where nobody answers
    heard = threading.Event()

    def make_transport(post: Post) -> Transport:
        def hear(event: Event) -> None:
            heard.set()
            post(event)

        url = f"amqp://guest:guest@127.0.0.1:{port}/"
        return open_transport(url, hear, "w1", driven=True)

    service = WorkerService(config_for(tmp_path), make_transport, InlineTrainer())

    def ask_again(_: Health) -> None:
        service.ask_health(ask_again)

    for _ in range(10):
        service.ask_health(ask_again)
    service.start()
    try:
        assert heard.wait(20.0), "it never tried to connect"
    finally:
        service.kill()
