"""A coordinator that does what a test tells it, over any transport."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names, Topology
from broker.transport import (
    AnswerTo,
    Confirmed,
    Connected,
    Declared,
    Delivered,
    Event,
    Outgoing,
    Post,
    Transport,
)
from depot import Depot, model_name
from learning.learner import Learner, parameters_of
from schemas.digest import digest_of, identify
from schemas.messages import (
    Base,
    Declined,
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
from schemas.tensors import flatten, layout_of
from worker.config import WorkerConfig
from worker.options import Options

FEDERATION = "test"
DEADLINE_S = 60.0
RUN = identify("run", 1)
LEARNERS = Path(__file__).parent / "learners.py"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Version:
    """A model version in the stream."""

    number: int
    digest: str
    layout_digest: str
    num_bytes: int
    parts: int
    offset: int


@dataclass
class ScriptedCoordinator:
    """Answers as a coordinator would; a test reads what it heard and changes what it says."""

    make_transport: Callable[[Post], Transport]
    learner: Learner
    part_bytes: int = 4 * 1024 * 1024
    model_part_bytes: int = 16
    names: Names = field(default_factory=lambda: Names(FEDERATION))
    incarnation: int = 1
    answers: bool = True
    state: Any = "running"
    unwanted: set[str] = field(default_factory=set)
    tasks: list[Task] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    declined: list[Declined] = field(default_factory=list)
    presences: list[Presence] = field(default_factory=list)
    updates: list[tuple[Update, bytes]] = field(default_factory=list)
    parts: list[tuple[UpdatePart, bytes]] = field(default_factory=list)
    verdicts: dict[str, str] = field(default_factory=dict)
    missing: dict[str, tuple[int, ...]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    gives_verdicts: bool = True
    version: Version | None = None
    direct: bool = False  # tasks go to the worker's own queue
    away_s: float = 0.0
    depot: Depot | None = None  # models lie there
    takes_stored: bool = False
    tells_base: bool = False  # who may take a task is told what it would be for

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._asked: dict[str, tuple[AnswerTo, Presence]] = {}
        self._offset = 0
        # Over the in-process broker these have happened when the call returns.
        self._connected, self._declared = threading.Event(), threading.Event()
        self._confirmed: set[int] = set()
        self.transport = self.make_transport(self._post)
        self.transport.start()
        assert self._connected.wait(DEADLINE_S)
        self._declare(self.names.topology)
        self.transport.consume(self.names.control_queue, 100)
        self.transport.consume(self.names.update_queue(), 100)

    def _declare(self, topology: Topology) -> None:
        self._declared.clear()
        self.transport.declare(topology)
        assert self._declared.wait(DEADLINE_S)

    def _publish(self, message: Outgoing) -> None:
        token = self.transport.publish(message)
        deadline = time.monotonic() + DEADLINE_S
        while token not in self._confirmed:
            assert time.monotonic() < deadline, "not confirmed"
            time.sleep(0.005)

    def publish_version(self, number: int = 0) -> Version:
        """Put a model version into the stream, and tell those who wait."""
        parameters = parameters_of(self.learner)
        layout = layout_of(parameters)
        for array in parameters.values():
            array += number
        body = flatten(parameters, layout)
        parts = part_count(len(body), self.model_part_bytes)
        self.version = Version(
            number, digest_of(body), layout.digest, len(body), parts, self._offset
        )
        if self.depot is not None:
            self.depot.put(model_name(self.version.digest), bytes(body))
            self.push()
            return self.version
        queue = self.names.model_queue(RUN, len(body))
        self._declare(replace(self.names.topology, queues=(queue,), bindings=()))
        for index in range(parts):
            start, end = part_span(index, len(body), self.model_part_bytes)
            part = ModelPart(
                RUN, self.incarnation, number, self.version.digest, len(body), index, parts
            )
            self._publish(Outgoing("", queue.name, encode(part, body[start:end])))
        self._offset += parts
        self.push()
        return self.version

    def offer(self, **changes: Any) -> Task:
        """Put a task into the pool, or in direct dispatch into the queue of worker "w1"."""
        task = Task(
            run_id=RUN,
            task_id=identify("task", next(self._numbers)),
            kind="train",
            incarnation=self.incarnation,
            not_after=None,
            codec="fp32",
            part_bytes=self.part_bytes,
            replaces="",
            base_version=None,
            time_s=1.0,
            seed=7,
        )
        task = replace(task, **changes)
        self.tasks.append(task)
        key = self.names.worker_key("w1") if self.direct else self.names.task_key
        self._publish(Outgoing(self.names.task_exchange, key, encode(task), task.task_id))
        return task

    def provide(self, worker_id: str = "w1") -> None:
        """Make sure that a worker has a queue of its own."""
        queue, binding = self.names.worker_queue(worker_id), self.names.worker_binding(worker_id)
        self._declare(Topology((), (queue,), (binding,)))

    def push(self) -> None:
        """Tell every worker how things stand now."""
        for to, presence in self._asked.values():
            self.transport.answer(to, encode(self.standing(presence)))

    def standing(self, presence: Presence) -> Standing:
        number = -1 if self.version is None else self.version.number
        fresh = number > presence.last_version
        asked = presence.open_updates
        may_take = self.state == "running" and (fresh or self.direct) and not presence.busy
        return Standing(
            run_id=RUN,
            state=self.state,
            incarnation=self.incarnation,
            version=number,
            may_take=may_take,
            come_back_s=20.0,
            verdicts={i: self.verdicts[i] for i in asked if i in self.verdicts},
            missing={i: self.missing[i] for i in asked if i in self.missing},
            unknown=tuple(i for i in asked if i in self.unknown),
            time_s=1.0,
            queue="own" if self.direct else "pool",
            away_s=self.away_s,
            takes_stored=self.takes_stored,
            base=self._base() if may_take and self.tells_base else None,
        )

    def _base(self) -> Base | None:
        if self.version is None:
            return None
        start = self.start_of(Taken(RUN, RUN, "w1", self.incarnation))
        return Base(**{field.name: getattr(start, field.name) for field in fields(Base)})

    def _answer_update(self, update: Update, to: AnswerTo) -> None:
        """As to a presence of a worker that has trained on its base."""
        known = self._asked.get(update.worker_id)
        if known is not None:
            asks = replace(
                known[1],
                busy=False,
                run_id=update.run_id,
                last_version=update.base_version,
                open_updates=(update.update_id,),
            )
            self._asked[update.worker_id] = (to, asks)
            self.transport.answer(to, encode(self.standing(asks)))

    def start_of(self, taken: Taken) -> Start:
        wanted = self.version is not None and taken.task_id not in self.unwanted
        version = self.version if wanted else None
        return Start(
            run_id=RUN,
            task_id=taken.task_id,
            incarnation=self.incarnation,
            wanted=wanted,
            reason="" if wanted else "it was answered",
            base_version=version.number if version else -1,
            model_digest=version.digest if version else None,
            model_bytes=version.num_bytes if version else 0,
            layout_digest=version.layout_digest if version else None,
            parts=version.parts if version else 0,
            offset=version.offset if version else 0,
            seed=7,
            lease_s=600.0,
            time_s=1.0,
            stored=wanted and self.depot is not None,
        )

    def _post(self, event: Event) -> None:
        match event:
            case Connected():
                self._connected.set()
            case Declared():
                self._declared.set()
            case Confirmed(token):
                self._confirmed.add(token)
            case Delivered():
                message, payload = decode(event.body)
                self._heard(message, bytes(payload), event.answer_to)
                self.transport.ack(event.tag)
            case _:
                pass

    def _heard(self, message: object, payload: bytes, to: AnswerTo | None) -> None:
        match message:
            case Presence():
                self.presences.append(message)
                if to is not None and self.answers:
                    self._asked[message.worker_id] = (to, message)
                    self.transport.answer(to, encode(self.standing(message)))
            case Taken():
                self.taken.append(message)
                if to is not None and self.answers:
                    self.transport.answer(to, encode(self.start_of(message)))
            case Declined():
                self.declined.append(message)
            case Update():
                self.updates.append((message, payload))
                if self.gives_verdicts:
                    self.verdicts.setdefault(message.update_id, "counted")
                if to is not None and self.answers:
                    self._answer_update(message, to)
            case UpdatePart():
                self.parts.append((message, payload))
            case _:
                raise AssertionError(f"unexpected {message}")


def config_for(
    folder: Path, learner: str = "Adder", worker_id: str = "w1", **changes: Any
) -> WorkerConfig:
    """A worker of these tests; `options` are given as a mapping."""
    options = Options(worker_id, **changes.pop("options", {}))
    return WorkerConfig(FEDERATION, folder, f"{LEARNERS}:{learner}", options, **changes)


def reached_by(broker: MemoryBroker) -> Callable[[Post], Transport]:
    """How an in-process broker is reached."""
    return lambda post: MemoryTransport(broker, post)
