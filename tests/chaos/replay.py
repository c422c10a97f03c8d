"""The same updates in the same order give the same bytes, however often the coordinator is killed.

A scripted feeder with one connection publishes updates, the next one only when the broker has
confirmed the last. Only the goal closes rounds, so no timing decides anything. What it published to
a coordinator that nobody disturbed is published again, byte for byte, to one that is killed again
and again: life n ends at step n of its own, or n times `stride`. Both go on from copies of one
state folder, and neither draws what task ids are salted with, so their tasks have the same ids.
"""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from broker.connect import open_transport
from broker.topology import Names
from broker.transport import Confirmed, Connected, Outgoing, Returned
from schemas.digest import digest_of, update_id_of
from schemas.messages import Update, encode
from tests.chaos.mortal import ROUNDS, Coordinator, Left
from tests.contracts.mailbox import Mailbox
from tests.support.rabbitmq_node import RabbitmqNode

SLOTS = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of the log.

    Attributes:
        version: The run's when it was published.
        task_id: Offered by then.
    """

    version: int
    task_id: str
    message: Outgoing


@dataclass(frozen=True)
class Replayed:
    """What came of it.

    Attributes:
        died_at: The step at which each killed life ended.
    """

    undisturbed: Left
    disturbed: Left
    died_at: tuple[str, ...]


def replay(folder: Path, node: RabbitmqNode, stride: int) -> Replayed:
    """Feed a coordinator that nobody disturbs, and one that is killed at every `stride`-th step."""
    with closing(Coordinator(folder / "first", node)) as first:
        first.begin()
        shutil.copytree(first.folder, folder / "second")
        log = record(first)
        first.finish()
    with closing(Coordinator(folder / "second", node, stride)) as second:
        with closing(Publisher(second)) as publisher:
            for entry in log:
                second.wait(
                    partial(second.offers, entry.task_id, entry.version), "a task of the log"
                )
                publisher.publish(entry.message)
        second.finish()
    return Replayed(first.left(), second.left(), second.died_at())


class Publisher:
    """One connection that publishes one message after another."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._mailbox = Mailbox()
        self._transport = open_transport(coordinator.url, self._mailbox.post, "feeder")
        self._transport.start()
        self._mailbox.take(Connected)

    def close(self) -> None:
        """Hang up."""
        self._transport.stop()

    def publish(self, message: Outgoing) -> None:
        """Publish until the broker confirms it; there is no exchange before the first declare."""

        def confirmed() -> bool:
            token = self._transport.publish(message)

            def is_outcome(event: object) -> bool:
                return isinstance(event, Confirmed | Returned) and event.token == token

            return isinstance(self._mailbox.take(object, is_outcome), Confirmed)

        self._coordinator.wait(confirmed, "an update to be taken")


def record(coordinator: Coordinator) -> list[Entry]:
    """Let workers answer as a script says; what they published, in order.

    In each round: the goal's updates with numbers whose sum depends on their order, a copy of the
    first, and another by the same worker for the same version. From the second round on also one
    that was trained on the version before, and one that holds NaN.
    """
    log: list[Entry] = []
    spare: list[str] = []
    with closing(Publisher(coordinator)) as publisher:
        for version in range(ROUNDS):
            coordinator.wait(partial(coordinator.is_in_round, version), f"round {version}")
            tasks = coordinator.open_tasks()
            answers = _script(version, tasks, spare.pop() if spare else "")
            spare.append(tasks[-1])
            for task_id, worker, base, is_finite in answers:
                message = _update(coordinator, task_id, worker, base, is_finite)
                publisher.publish(message)
                log.append(Entry(version, task_id, message))
    return log


def _script(version: int, tasks: list[str], spare: str) -> list[tuple[str, str, int, bool]]:
    """Task, worker, base version, and whether the numbers are finite, of each update of a round.

    The last one closes the round.
    """
    first = (tasks[0], "w0", version, True)
    answers = [first, first, (tasks[1], "w0", version, True)]
    if version > 0:
        answers += [(spare, "late", version - 1, True), (tasks[2], "broken", version, False)]
        return [*answers, (tasks[3], "w1", version, True)]
    return [*answers, (tasks[2], "w1", version, True), (tasks[3], "w2", version, True)]


def _update(
    coordinator: Coordinator, task_id: str, worker: str, base: int, is_finite: bool
) -> Outgoing:
    run_id, incarnation, layout = coordinator.run_facts()
    draw = np.random.default_rng([int(task_id[:8], 16), base])
    numbers = draw.normal(size=SLOTS).astype("<f4")
    if not is_finite:
        numbers[7] = np.nan
    payload = numbers.tobytes()
    update = Update(
        update_id=update_id_of(incarnation, task_id, worker),
        run_id=run_id,
        task_id=task_id,
        worker_id=worker,
        incarnation=incarnation,
        kind="train",
        base_version=base,
        base_digest=coordinator.model_digest(base),
        layout_digest=layout,
        codec="fp32",
        num_examples=int(draw.integers(1, 100)),
        metrics={},
        train_s=0.0,
        payload_digest=digest_of(payload),
        payload_bytes=len(payload),
        parts=0,
    )
    names = Names(coordinator.name)
    key = names.update_key(run_id, 0, worker)
    return Outgoing(names.update_exchange, key, encode(update, payload), update.update_id)
