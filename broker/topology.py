"""The broker's exchanges and queues as data: what each is, and why it is of its kind.

Every argument is accepted by RabbitMQ 3.10 and 4.x. Identity (type, limit, dead letters) is here;
nothing that an operator may want to tune at run time is, that belongs in policies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

DELIVERY_LIMIT = 20  # RabbitMQ 4's default, stated so that 3.10 does the same
NO_DELIVERY_LIMIT = 2**30  # for what must never be given up: 4.x has a limit if none is stated
MESSAGE_BYTES_MAX = 16 * 1024 * 1024  # RabbitMQ 4 refuses larger messages
PART_BYTES_MAX = 4 * 1024 * 1024

_UPDATES_BYTES_MAX = 8 * 1024**3  # what the updates queue may hold before publishers are refused
_CONTROL_BYTES_MAX = 256 * 1024**2
_PARKED_BYTES_MAX = 4 * 1024**3
_REFUSED_BYTES_MAX = 256 * 1024**2

OFFSETS_SKIPPED_MAX = 8
"""By how much an offset that was counted may be too small.

RabbitMQ begins each further segment of a stream with an entry of its own, which has an offset and
is sent to nobody. A model begins a few segments, and the coordinator looks again after each.
"""

AROUND_PART_BYTES = 560
"""About what stands around a part of a model in its stream: its head, and what the broker adds.

It depends on names, and on the broker: what it is exactly nobody may rely on.
"""

_SEGMENT_MODELS = 128
_SEGMENT_FROM, _SEGMENT_TO, _SEGMENT_BYTES_MAX = 8_000_000, 64_000_000, 500_000_000
"""A segment of the model stream has so many models, within bytes; if half a model is more, that.

Each that begins or goes holds a round up, and two of them stay with the broker.
"""
_MODELS_KEPT = 4
_OWN_EXPIRES_S = 30 * 86_400.0  # RabbitMQ counts milliseconds in 32 bits: 49 days

_WORKER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_worker_id(text: str) -> bool:
    """Whether text can be a worker's id, a part of routing keys: 1 to 64 of A-Z a-z 0-9 _ -."""
    return _WORKER_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange without an alternate: what cannot be routed comes back to its sender."""

    name: str
    kind: Literal["direct", "topic"]


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue.

    Attributes:
        kind: "quorum" for what must not be lost, "stream" for what many read, "classic" for what is
            only a hint.
        single_active: One consumer at a time is served; others stand by.
        dead_letter_exchange: Where the broker puts what it gives up on; "" for nowhere.
        delivery_limit: How often a message may come back unsettled before it is given up.
        overflow: What gives way when a limit is reached: new messages, refused to their
            publisher, or the oldest.
        max_bytes: Bytes of bodies held, 0 for no limit.
        segment_bytes: For streams: the unit of retention.
        max_length: Messages that wait in it, 0 for no limit.
        expires_s: Seconds after which the broker deletes a queue that nobody consumed or declared,
            0 for never.
    """

    name: str
    kind: Literal["quorum", "stream", "classic"]
    single_active: bool = False
    dead_letter_exchange: str = ""
    delivery_limit: int = DELIVERY_LIMIT
    overflow: Literal["reject-publish", "drop-head"] = "reject-publish"
    max_bytes: int = 0
    segment_bytes: int = 0
    max_length: int = 0
    expires_s: float = 0.0

    def arguments(self) -> dict[str, str | int | bool]:
        """The queue's declare arguments, as RabbitMQ names them."""
        arguments: dict[str, str | int | bool] = {"x-queue-type": self.kind}
        if self.max_bytes:
            arguments["x-max-length-bytes"] = self.max_bytes
        if self.kind == "stream":
            arguments["x-stream-max-segment-size-bytes"] = self.segment_bytes
            return arguments
        arguments["x-overflow"] = self.overflow
        if self.kind == "classic":  # it knows no delivery limit
            arguments["x-max-length"] = self.max_length
            arguments["x-expires"] = round(self.expires_s * 1000)
            return arguments
        arguments["x-delivery-limit"] = self.delivery_limit
        if self.single_active:
            arguments["x-single-active-consumer"] = True
        if self.dead_letter_exchange:
            # At-least-once: the queue keeps the message until the dead queue has confirmed it.
            arguments["x-dead-letter-exchange"] = self.dead_letter_exchange
            arguments["x-dead-letter-strategy"] = "at-least-once"
        return arguments


@dataclass(frozen=True, slots=True)
class Binding:
    """Messages of `exchange` whose routing key matches `key` go to `queue`."""

    exchange: str
    queue: str
    key: str


@dataclass(frozen=True, slots=True)
class Topology:
    """Everything to declare, in the order given."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """The exchanges, queues and routing keys of one federation.

    | queue | kind | holds |
    |---|---|---|
    | tasks | quorum | tasks any worker may take (pool dispatch) |
    | w.<worker> | classic, one message, drop-head | the one task that a worker is to take next |
    | updates | quorum, single active consumer | updates of shard 0 |
    | control | quorum, single active consumer | taken, declined, presence and questions |
    | parked | quorum, no delivery limit | what the broker gave up on; drained, never dropped |
    | refused | quorum, drop-head | copies of refused messages, for people to look at |
    | model | stream | the parts of each model version, read by any number of workers |
    """

    federation: str

    def _name(self, part: str) -> str:
        return f"fedmq.{self.federation}.{part}"

    @property
    def task_exchange(self) -> str:
        """Direct exchange of tasks."""
        return self._name("tasks")

    @property
    def update_exchange(self) -> str:
        """Topic exchange of updates, keyed `u.<run>.<shard>.<worker>`."""
        return self._name("updates")

    @property
    def control_exchange(self) -> str:
        """Topic exchange of control messages, keyed `c.<kind>.<worker>`."""
        return self._name("control")

    @property
    def dead_exchange(self) -> str:
        """Topic exchange of dead letters."""
        return self._name("dead")

    @property
    def refused_exchange(self) -> str:
        """Topic exchange of copies of refused messages, keyed as the messages were."""
        return self._name("refused")

    @property
    def task_queue(self) -> Queue:
        """The pool: small tasks that any worker may take."""
        return Queue(self._name("tasks.pool"), "quorum", dead_letter_exchange=self.dead_exchange)

    def worker_queue(self, worker_id: str) -> Queue:
        """A worker's own queue: its current task of any kind, and nothing else.

        It is a hint, the coordinator's store is the truth. So it is a classic queue, which costs a
        fraction of a quorum queue where there is one for each worker; a newer task takes the place
        of one that was not fetched, and what gives way is nobody's loss: no dead letters. A worker
        that was away for thirty days finds none, and gets another when it says that it is there.
        """
        return Queue(
            self._name(f"w.{worker_id}"),
            "classic",
            overflow="drop-head",
            max_length=1,
            expires_s=_OWN_EXPIRES_S,
        )

    def worker_binding(self, worker_id: str) -> Binding:
        """What brings a worker's tasks into its own queue."""
        queue = self.worker_queue(worker_id)
        return Binding(self.task_exchange, queue.name, self.worker_key(worker_id))

    def update_queue(self, shard: int = 0) -> Queue:
        """The updates of one shard."""
        return Queue(
            self._name(f"updates.{shard}"),
            "quorum",
            single_active=True,
            dead_letter_exchange=self.dead_exchange,
            max_bytes=_UPDATES_BYTES_MAX,
        )

    @property
    def control_queue(self) -> Queue:
        """What workers say and ask."""
        return Queue(
            self._name("control"),
            "quorum",
            single_active=True,
            dead_letter_exchange=self.dead_exchange,
            max_bytes=_CONTROL_BYTES_MAX,
        )

    @property
    def parked_queue(self) -> Queue:
        """What the broker dead-lettered; the coordinator takes it up again."""
        return Queue(
            self._name("parked"),
            "quorum",
            delivery_limit=NO_DELIVERY_LIMIT,
            max_bytes=_PARKED_BYTES_MAX,
        )

    @property
    def refused_queue(self) -> Queue:
        """Diagnostic copies of what the coordinator refused; the oldest give way."""
        return Queue(
            self._name("refused"), "quorum", overflow="drop-head", max_bytes=_REFUSED_BYTES_MAX
        )

    def model_queue(self, run_id: str, model_bytes: int) -> Queue:
        """The stream of a run's model versions, sized to keep at least four.

        Retention deletes whole segments, so the limit is four models and two segments.
        """
        several = min(max(_SEGMENT_MODELS * model_bytes, _SEGMENT_FROM), _SEGMENT_TO)
        segment = min(max(several, model_bytes // 2), _SEGMENT_BYTES_MAX)
        keep = _MODELS_KEPT * (model_bytes + model_bytes // 100) + 2 * segment
        return Queue(self._name(f"model.{run_id}"), "stream", max_bytes=keep, segment_bytes=segment)

    @property
    def task_key(self) -> str:
        """Routing key of pool tasks."""
        return "pool"

    def worker_key(self, worker_id: str) -> str:
        """Routing key of tasks for one worker."""
        return f"w.{worker_id}"

    def update_key(self, run_id: str, shard: int, worker_id: str) -> str:
        """Routing key of an update."""
        return f"u.{run_id}.{shard}.{worker_id}"

    def control_key(self, kind: str, worker_id: str) -> str:
        """Routing key of a control message."""
        return f"c.{kind}.{worker_id}"

    @property
    def topology(self) -> Topology:
        """What the coordinator declares before a run.

        The run's model stream comes apart, and each worker's own queue when it is needed.
        """
        tasks, updates, control = self.task_queue, self.update_queue(), self.control_queue
        return Topology(
            exchanges=(
                Exchange(self.task_exchange, "direct"),
                Exchange(self.update_exchange, "topic"),
                Exchange(self.control_exchange, "topic"),
                Exchange(self.dead_exchange, "topic"),
                Exchange(self.refused_exchange, "topic"),
            ),
            queues=(tasks, updates, control, self.parked_queue, self.refused_queue),
            bindings=(
                Binding(self.task_exchange, tasks.name, self.task_key),
                Binding(self.update_exchange, updates.name, "u.*.0.*"),
                Binding(self.control_exchange, control.name, "c.#"),
                Binding(self.dead_exchange, self.parked_queue.name, "#"),
                Binding(self.refused_exchange, self.refused_queue.name, "#"),
            ),
        )
