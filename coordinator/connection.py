"""The coordinator's side of the broker: what is declared, consumed and published, again and again.

    Connected ─▶ declare ─▶ Declared ─▶ consume, make sure of the model, publish tasks in doubt
                    ▲                        │ a consumer, the stream or the pool is lost
                    └───── after RETRY_S ────┘

Rules: nothing here decides or writes; what the broker has confirmed is kept as `Notes` until the
next transaction has written it. After a disconnect everything is begun again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from broker.topology import Names, Queue, Topology
from broker.transport import (
    Confirmed,
    Connected,
    ConsumerLost,
    Declared,
    Disconnected,
    Doubtful,
    Event,
    Provided,
    Refused,
    Returned,
    Transport,
)
from coordinator.copies import CopyOutlet
from coordinator.mailbox import AboutModel, ModelPut, ModelSeen
from coordinator.modelobjects import ModelObjects
from coordinator.modelstream import ModelStream, ModelVersion
from coordinator.offering import Offers, TaskOutlet
from coordinator.ownqueues import OwnQueues
from schemas.buffer import Buffer

Source = Literal["control", "updates", "parked"]

PREFETCH_BYTES = 32 * 1024 * 1024  # unsettled updates in memory
CONTROL_PREFETCH = 256
RETRY_S = 1.0  # before a lost consumer or a returned task is tried again
NOTE_S = 1.0  # what the broker confirmed is written with what comes, or after so long


class Content(Offers, Protocol):
    """What a connection needs to know of the run, asked for when it is needed."""

    def current_version(self) -> tuple[ModelVersion, int | None] | None:
        """The current version and where it may lie on the stream; None before the first."""
        ...

    def unpublished(self) -> Sequence[str]:
        """Open tasks that the store does not know to be confirmed."""
        ...

    def earlier_runs(self) -> Sequence[str]:
        """The ids of all runs but this one."""
        ...


@dataclass(frozen=True, slots=True)
class Notes:
    """What the broker has confirmed and the store does not know yet.

    Attributes:
        tasks: Tasks that are in the pool, or in their workers' queues.
        offset: A version, and where it lies on the stream.
    """

    tasks: tuple[str, ...] = ()
    offset: tuple[int, int] | None = None


class Connection:
    """Consumers, tasks and the model stream of one run.

    Args:
        model_bytes: Size of the model's flat buffer.
        message_bytes: Size of the largest message on the updates queue.
        on_ready: Called each time the current version is known to be where workers look for it.
        objects: Makes what puts the versions into the depot, given what to call when the current
            one is there; None: they go over the stream.
    """

    def __init__(
        self,
        transport: Transport,
        names: Names,
        run_id: str,
        model_bytes: int,
        message_bytes: int,
        now: Callable[[], float],
        content: Content,
        on_ready: Callable[[], None],
        objects: Callable[[Callable[[int, int], None]], ModelObjects] | None = None,
    ) -> None:
        self._transport = transport
        self._names = names
        self._model_queue = names.model_queue(run_id, model_bytes)
        self._prefetch = min(max(PREFETCH_BYTES // message_bytes, 8), 1024)
        self._now = now
        self._content = content
        self._on_ready = on_ready
        self._models: ModelStream | ModelObjects = (
            ModelStream(transport, now, self._model_ready)
            if objects is None
            else objects(self._model_ready)
        )
        self._queues = OwnQueues(transport, names, now)
        self._tasks = TaskOutlet(transport, content, self._queues, now)
        self._copies = CopyOutlet(transport, names.refused_exchange)
        self._consumers: dict[int, Source] = {}
        self._offset: tuple[int, int] | None = None
        self._redeclare = self._tidied = False
        self._retry_at: float | None = None
        self._note_at: float | None = None

    @property
    def offset(self) -> int | None:
        """Where the current version lies on the stream, None while that is not known.

        In the depot it is 0 once it is there.
        """
        return self._models.offset

    @property
    def trouble(self) -> str:
        """Why the current version is not in the depot, "" if nothing hinders it."""
        return self._models.trouble if isinstance(self._models, ModelObjects) else ""

    @property
    def prefetch(self) -> int:
        """How many updates may be unsettled at a time, 8 or more."""
        return self._prefetch

    def source_of(self, consumer: int) -> Source | None:
        """What a consumer consumes; None if it is lost, or of an earlier connection."""
        return self._consumers.get(consumer)

    # what is published

    def publish_task(self, task_id: str) -> None:
        """Publish a task that the store has."""
        self._tasks.publish(task_id)

    def put_again(self, task_id: str) -> None:
        """Put a direct task into its worker's queue again, if that was not done just now."""
        self._tasks.put_again(task_id)

    def when_queue_is_there(self, worker_id: str, then: Callable[[], None]) -> None:
        """Do something once a worker's own queue stands, or is known not to."""
        self._queues.when_there(worker_id, "answer", lambda _: then())

    def publish_version(self, version: ModelVersion) -> None:
        """Publish the next version."""
        self._models.publish(version)

    def publish_copy(self, body: Buffer, message_id: str, routing_key: str) -> None:
        """Publish a copy of a refused message for people, if there is room for it."""
        self._copies.publish(body, message_id, routing_key)

    def look_at_model(self, worker_id: str) -> None:
        """A worker did not find the model: look whether it is there."""
        self._models.doubt(worker_id)

    # what happens

    def handle(self, event: Event | AboutModel) -> None:
        """Take an event that is not a delivery of ours."""
        match event:
            case ModelPut() | ModelSeen():
                if isinstance(self._models, ModelObjects):
                    self._models.handle(event)
            case Connected():
                self._queues.disconnected()  # what was asked of them before reached nobody
                self._declare()
            case Declared():
                self._begin()
            case Disconnected():
                self.forget()
            case Provided():
                self._queues.handle(event)
            case _ if self._models.handle(event):
                if self._models.lost:
                    self._retry_later(redeclare=True)
            case _ if self._copies.handle(event):
                pass
            case Confirmed() | Returned() | Refused() | Doubtful():
                if self._tasks.handle(event):
                    self._retry_later(redeclare=isinstance(event, Returned))
                if self._tasks.confirmed:
                    self._note_soon()
            case ConsumerLost() if event.consumer in self._consumers:
                del self._consumers[event.consumer]
                self._retry_later(redeclare=True)
            case _:
                pass

    def forget(self) -> None:
        """There is no connection: nothing that was known of it holds."""
        self._consumers.clear()
        self._queues.disconnected()
        self._tasks.disconnected()
        self._copies.disconnected()
        self._models.disconnected()
        self._redeclare = self._tidied = False
        self._retry_at = None

    def wake_at(self) -> float | None:
        """When to call `tick`, None if nothing is awaited."""
        times = [t for t in (self._models.wake_at(), self._retry_at) if t is not None]
        return min(times) if times else None

    def tick(self) -> None:
        """Look at the clock."""
        self._models.tick()
        if self._retry_at is None or self._retry_at > self._now():
            return
        self._retry_at = None
        if self._redeclare:
            self._redeclare = False
            self._declare()
        else:
            self._tasks.publish_again()

    # notes

    @property
    def note_at(self) -> float | None:
        """When the notes are to be written at the latest, None if there are none."""
        return self._note_at

    def notes(self) -> Notes:
        """What is to be written with the next transaction."""
        return Notes(tuple(self._tasks.confirmed), self._offset)

    def noted(self) -> None:
        """The notes have been written."""
        self._tasks.confirmed.clear()
        self._offset = self._note_at = None

    def _note_soon(self) -> None:
        if self._note_at is None:
            self._note_at = self._now() + NOTE_S

    def _model_ready(self, version: int, offset: int) -> None:
        self._offset = (version, offset)
        self._note_soon()
        self._on_ready()

    # beginning, and beginning again

    def _declare(self) -> None:
        fixed = self._names.topology
        queues = (*fixed.queues, self._model_queue)
        self._transport.declare(Topology(fixed.exchanges, queues, fixed.bindings))

    def _begin(self) -> None:
        if self._models.offset is None:
            self._connect_stream()
        self._consume("control", self._names.control_queue, CONTROL_PREFETCH)
        self._consume("updates", self._names.update_queue(), self._prefetch)
        self._consume("parked", self._names.parked_queue, 1)
        if not self._tidied:
            self._tidy()
        self._tasks.publish_doubted(self._content.unpublished())

    def _consume(self, source: Source, queue: Queue, prefetch: int) -> None:
        if source not in self._consumers.values():
            self._consumers[self._transport.consume(queue, prefetch)] = source

    def _connect_stream(self) -> None:
        current = self._content.current_version()
        if current is not None:  # or version 0 is about to be made known
            version, hint = current
            self._models.connect(self._model_queue, version, None if self._models.lost else hint)

    def _tidy(self) -> None:
        """Nobody reads the models of earlier runs.

        Their tasks stay in the pool, where whoever takes one is told that it is not wanted: a purge
        goes over another connection than publishes do, and could take the first tasks of this run.
        """
        self._tidied = True
        for run_id in self._content.earlier_runs():
            self._transport.delete(self._names.model_queue(run_id, 0))

    def _retry_later(self, *, redeclare: bool) -> None:
        self._redeclare |= redeclare
        if self._retry_at is None:
            self._retry_at = self._now() + RETRY_S
