"""A scripted worker: the protocol's other side, without training, for tests of the coordinator."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names, Queue
from broker.transport import Answered, Connected, Delivered, Event, Outgoing
from schemas.codecs.payload import encode_update
from schemas.digest import digest_of, update_id_of
from schemas.layout import Layout
from schemas.messages import (
    Declined,
    Message,
    ModelPart,
    Presence,
    Standing,
    Start,
    Taken,
    Task,
    Update,
    UpdatePart,
    decode,
    encode,
    part_count,
    part_span,
)


@dataclass
class Feeder:
    """A worker that says exactly what a test tells it to."""

    broker: MemoryBroker
    federation: str
    worker_id: str
    events: list[Event] = field(default_factory=list)
    user: str = "guest"

    def __post_init__(self) -> None:
        self.names = Names(self.federation)
        self.transport = MemoryTransport(
            self.broker, self.events.append, self.worker_id, user=self.user
        )
        self.transport.start()
        assert isinstance(self.events.pop(0), Connected)

    def take(self) -> tuple[Task, int]:
        """The next task of the pool, and its delivery's tag."""
        found = self._take(self.names.task_queue)
        assert found is not None, "no task is there to be taken"
        return found

    def take_own(self) -> tuple[Task, int] | None:
        """The task in the worker's own queue, None if there is none, or no such queue."""
        return self._take(self.names.worker_queue(self.worker_id))

    def _take(self, queue: Queue) -> tuple[Task, int] | None:
        before = len(self.events)
        consumer = self.transport.consume(queue, 1)
        deliveries = [e for e in self.events[before:] if isinstance(e, Delivered)]
        self.transport.cancel(consumer)
        if not deliveries:
            return None
        task = decode(deliveries[0].body)[0]
        assert isinstance(task, Task)
        return task, deliveries[0].tag

    def take_back(self, tag: int) -> None:
        """Be lost between taking a task and storing it: the broker offers it again."""
        self.transport.reject(tag, requeue=True)

    def say_taken(self, task: Task) -> int:
        """Say that a task was taken; the token that its answers carry."""
        taken = Taken(task.run_id, task.task_id, self.worker_id, task.incarnation)
        return self.ask("taken", taken)

    def say_declined(self, task: Task, reason: str) -> None:
        """Say that a task is given up."""
        declined = Declined(task.run_id, task.task_id, self.worker_id, task.incarnation, reason)
        self.ask("declined", declined)

    def say_present(
        self,
        *open_updates: str,
        run_id: str = "",
        last_version: int = -1,
        incarnation: int = 0,
        leaving: bool = False,
        busy: bool = False,
        **declared: Any,
    ) -> int:
        """Say that the worker is there; the token that its answers carry."""
        presence = Presence(
            self.worker_id,
            run_id,
            last_version,
            incarnation,
            busy,
            leaving,
            open_updates,
            **declared,
        )
        return self.ask("presence", presence)

    def ask(self, kind: str, message: Message) -> int:
        """Send a control message that wants an answer."""
        return self.ask_bytes(kind, encode(message))

    def ask_bytes(self, kind: str, body: bytes) -> int:
        """Publish any bytes to the control exchange."""
        key = self.names.control_key(kind, self.worker_id)
        return self.transport.publish(
            Outgoing(self.names.control_exchange, key, body, answerable=True)
        )

    def start_of(self, token: int) -> Start:
        """The answer to `say_taken`."""
        answer = self.answer_of(token)
        assert isinstance(answer, Start)
        return answer

    def standing_of(self, token: int) -> Standing:
        """The newest answer to `say_present`."""
        answer = self.answer_of(token)
        assert isinstance(answer, Standing)
        return answer

    def answers_of(self, token: int) -> list[Message]:
        """All answers to a question, oldest first."""
        answers = [e for e in self.events if isinstance(e, Answered) and e.token == token]
        return [decode(answer.body)[0] for answer in answers]

    def answer_of(self, token: int) -> Message:
        """The newest answer to a question."""
        answers = self.answers_of(token)
        assert answers, "no answer came"
        return answers[-1]

    def update(self, task: Task, start: Start, layout: Layout, value: float) -> Update:
        """The header of an update whose every float is `value`."""
        assert start.model_digest is not None
        payload = self.payload(layout, value)
        return Update(
            update_id=update_id_of(task.incarnation, task.task_id, self.worker_id),
            run_id=task.run_id,
            task_id=task.task_id,
            worker_id=self.worker_id,
            incarnation=task.incarnation,
            kind="train",
            base_version=start.base_version,
            base_digest=start.version_digest,
            layout_digest=layout.digest,
            codec="fp32",
            num_examples=10,
            metrics={"loss": 0.5},
            train_s=0.1,
            payload_digest=digest_of(payload),
            payload_bytes=len(payload),
            parts=0,
            local_steps=5.0,
        )

    def payload(self, layout: Layout, value: float) -> bytes:
        """A payload whose every float is `value`."""
        return self.payload_of(layout, value)

    @staticmethod
    def payload_of(layout: Layout, value: float) -> bytes:
        """A payload whose every float is `value`."""
        return np.full(layout.num_floats, value, "<f4").tobytes()

    def send_encoded(self, update: Update, payload: bytes, codec: str, layout: Layout) -> None:
        """Publish an update in a codec, as a worker does."""
        coded = b"".join(encode_update(payload, codec, layout, update.update_id))
        digest = digest_of(coded)
        header = replace(update, codec=codec, payload_digest=digest, payload_bytes=len(coded))
        self.send(header, coded)

    def send(self, update: Update, payload: bytes) -> None:
        """Publish an update."""
        self.send_bytes(encode(update, payload), update.run_id, update.update_id)

    def send_bytes(self, body: bytes, run_id: str, message_id: str = "") -> None:
        """Publish any bytes to the updates exchange."""
        key = self.names.update_key(run_id, 0, self.worker_id)
        self.transport.publish(Outgoing(self.names.update_exchange, key, body, message_id))

    def send_asking(self, update: Update, payload: bytes) -> int:
        """Publish an update that asks what became of it; the token that its answers carry."""
        key = self.names.update_key(update.run_id, 0, self.worker_id)
        body = encode(update, payload)
        return self.transport.publish(
            Outgoing(self.names.update_exchange, key, body, update.update_id, answerable=True)
        )

    def send_part(self, update: Update, payload: bytes, part_bytes: int, index: int) -> None:
        """Publish one part of an update."""
        start, end = part_span(index, len(payload), part_bytes)
        part = UpdatePart(
            update_id=update.update_id,
            run_id=update.run_id,
            task_id=update.task_id,
            worker_id=update.worker_id,
            incarnation=update.incarnation,
            layout_digest=update.layout_digest,
            codec=update.codec,
            payload_digest=update.payload_digest,
            payload_bytes=len(payload),
            part_bytes=part_bytes,
            index=index,
            parts=part_count(len(payload), part_bytes),
        )
        self.send_bytes(encode(part, payload[start:end]), update.run_id, update.update_id)

    def close_upload(self, update: Update, payload: bytes, part_bytes: int) -> None:
        """Publish the end of an upload in parts."""
        parts = part_count(len(payload), part_bytes)
        self.send(replace(update, parts=parts), b"")

    def read_model(self, start: Start) -> bytes | None:
        """The model that a `Start` names, read from the stream; None if it is not there."""
        assert start.model_digest is not None
        before = len(self.events)
        queue = self.names.model_queue(start.run_id, start.model_bytes)
        consumer = self.transport.consume(queue, 100, start.offset)
        deliveries = [e for e in self.events[before:] if isinstance(e, Delivered)]
        self.transport.cancel(consumer)
        payloads = []
        for index, delivery in enumerate(deliveries[: start.parts]):
            part, payload = decode(delivery.body)
            if not isinstance(part, ModelPart) or part.index != index:
                return None
            payloads.append(bytes(payload))
        model = b"".join(payloads)
        return model if digest_of(model) == start.model_digest else None
