"""The model stream: where a version lies is known, and whatever happens to it, it is put there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import OFFSETS_SKIPPED_MAX, Names, Queue, Topology
from broker.transport import ConsumerLost, Consuming, Delivered, Event, Outgoing, Returned
from coordinator.modelstream import SILENCE_S, WINDOW, ModelStream, ModelVersion
from schemas.codecs.model import ModelOnWire
from schemas.digest import digest_of
from schemas.messages import ModelPart, decode, encode
from schemas.tensors import layout_of

RUN = "a" * 32
QUEUE = Names("demo").model_queue(RUN, 1000)
SHORT = replace(QUEUE, segment_bytes=15_000, max_bytes=10**8)
PART_BYTES = 10
LAYOUT = layout_of({"w": np.zeros(1, np.float32)})  # of no account where nothing is encoded


def version(number: int, num_bytes: int = 35, *, digest: str = "") -> ModelVersion:
    model = bytes([number]) * num_bytes
    return ModelVersion(
        RUN, 1, number, digest or digest_of(model), ModelOnWire(model, LAYOUT), PART_BYTES
    )


def large(number: int, parts: int) -> ModelVersion:
    """A version beside whose parts their headers are small."""
    return replace(version(number, 1000 * parts), part_bytes=1000)


def body_of(current: ModelVersion, index: int) -> bytes:
    return b"".join(current.encode_part(index))


class Bench:
    """A stream, its broker, and who else uses it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue = QUEUE
        self.broker = MemoryBroker(lambda: self.now)
        self.other = MemoryTransport(self.broker, lambda event: None, "other")
        self.other.start()
        self.other.declare(Topology((), (QUEUE,), ()))
        self.begin()

    def begin(self) -> None:
        """A coordinator starts."""
        self.events: list[Event] = []
        self.ready: list[tuple[int, int]] = []
        self.transport = MemoryTransport(self.broker, self.events.append, "coordinator")
        self.transport.start()
        self.stream = ModelStream(
            self.transport,
            lambda: self.now,
            lambda number, offset: self.ready.append((number, offset)),
        )

    def use(self, queue: Queue) -> None:
        """Another stream, with other segments."""
        self.queue = queue
        self.other.delete(queue)
        self.other.declare(Topology((), (queue,), ()))

    def connect(self, current: ModelVersion, hint: int | None = None) -> None:
        self.stream.connect(self.queue, current, hint)
        self.settle()

    def settle(self) -> None:
        """Hand in what happened until nothing does."""
        for _ in range(1000):
            if not self.events:
                return
            self.stream.handle(self.events.pop(0))
        raise AssertionError("the stream is busy with itself")

    def wake(self) -> None:
        at = self.stream.wake_at()
        assert at is not None
        self.now = max(self.now, at)
        self.stream.tick()
        self.settle()

    def empty(self) -> None:
        """The stream is lost with its disk, and declared again."""
        self.other.delete(QUEUE)
        self.other.declare(Topology((), (QUEUE,), ()))

    def put(self, body: bytes) -> None:
        self.other.publish(Outgoing("", QUEUE.name, body))

    def found(self, current: ModelVersion) -> bool:
        """Whether the version lies where it is said to, or a little after that."""
        skipped, found = self.read(current)
        return found == bytes(current.model.model) and skipped < OFFSETS_SKIPPED_MAX

    def read(self, current: ModelVersion) -> tuple[int, bytes]:
        """Read a version from where it is said to lie: parts read in vain, and what was found."""
        events: list[Event] = []
        reader = MemoryTransport(self.broker, events.append, "reader")
        reader.start()
        assert self.stream.offset is not None
        reader.consume(QUEUE, 1000, self.stream.offset)
        deliveries = [event for event in events if isinstance(event, Delivered)]
        reader.stop()
        skipped, found = 0, b""
        for part, payload in (decode(delivery.body) for delivery in deliveries):
            assert isinstance(part, ModelPart)
            if part.model_digest == current.digest:
                found += bytes(payload)
            else:
                skipped += not found
        return skipped, found

    @property
    def messages(self) -> int:
        return self.broker.ready(QUEUE)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_version_that_was_never_there_is_written(bench: Bench) -> None:
    current = version(0)
    bench.connect(current)
    assert bench.ready == [(0, 0)]
    assert bench.found(current)
    assert bench.messages == current.parts == 4
    assert bench.stream.wake_at() is None


def test_a_version_that_is_there_is_read_back_and_not_written_again(bench: Bench) -> None:
    current = version(0)
    bench.connect(current)
    bench.begin()
    bench.connect(current, 0)
    assert bench.ready == [(0, 0)]
    assert bench.messages == 4


def test_the_next_versions_follow_without_a_look(bench: Bench) -> None:
    bench.connect(version(0))
    bench.stream.publish(version(1, 20))
    bench.stream.publish(version(2, 41))
    assert bench.ready == [(0, 0), (1, 4), (2, 6)]
    bench.settle()
    assert bench.found(version(2, 41))
    assert bench.messages == 4 + 2 + 5


def test_a_version_larger_than_a_segment_is_read_back(bench: Bench) -> None:
    bench.use(SHORT)
    current = large(0, 30)
    bench.connect(current)
    assert bench.ready == [(0, 0)]
    assert bench.found(current)
    bench.begin()
    bench.connect(current, 0)
    assert bench.ready == [(0, 0)]
    assert bench.messages == 30, "it is not written again"


@pytest.mark.parametrize("parts", [1, 4, 8, 30])
def test_segments_that_begin_do_not_add_up_to_a_wrong_place(bench: Bench, parts: int) -> None:
    bench.use(SHORT)
    bench.connect(large(0, parts))
    for number in range(1, 60):
        bench.stream.publish(large(number, parts))
        bench.settle()
        assert bench.found(large(number, parts))
    assert bench.messages == 60 * parts, "none is written twice"


def test_segments_that_fill_with_headers_are_counted_too(bench: Bench) -> None:
    bench.use(SHORT)
    bench.connect(version(0))
    for number in range(1, 200):
        bench.stream.publish(version(number))
        bench.settle()
        assert bench.found(version(number))


@pytest.mark.parametrize("num_bytes", [100, 1000, 9000])
@pytest.mark.parametrize("restarts_at", [0, 33])
def test_few_parts_are_read_in_vain_for_segments_that_begin(
    bench: Bench, num_bytes: int, restarts_at: int
) -> None:
    bench.use(SHORT)
    current = replace(version(0, num_bytes), part_bytes=10_000)
    bench.connect(current)
    in_vain = 0
    for number in range(1, 250):
        if number == restarts_at:
            hint = bench.stream.offset
            bench.begin()
            bench.connect(current, hint)
        current = replace(version(number, num_bytes), part_bytes=10_000)
        bench.stream.publish(current)
        in_vain += bench.read(current)[0]
        bench.settle()
    assert bench.stream._next_offset is not None
    begun = bench.stream._next_offset - 250
    assert begun > 3
    assert in_vain <= begun


def test_versions_that_follow_at_once_are_counted_all_the_same(bench: Bench) -> None:
    bench.use(SHORT)
    bench.connect(large(0, 4))
    for number in range(1, 10):
        bench.stream.publish(large(number, 4))
    bench.settle()
    assert bench.found(large(9, 4))
    assert bench.messages == 10 * 4


def test_no_reader_arrives_while_segments_are_begun(bench: Bench) -> None:
    bench.use(SHORT)
    bench.connect(large(0, 4))
    bench.broker.hold_confirms()
    for number in range(1, 6):
        bench.stream.publish(large(number, 4))
    assert not bench.events, "nobody is told that it reads"
    bench.broker.release_confirms()
    assert not any(isinstance(event, Consuming) for event in bench.events)
    bench.settle()
    assert bench.found(large(5, 4))
    assert bench.stream.wake_at() is None, "it has looked where the last part lies"


def test_two_versions_before_any_confirm_go_out_in_order(bench: Bench) -> None:
    bench.connect(version(0))
    bench.broker.hold_confirms()
    bench.stream.publish(version(1, 75))
    bench.stream.publish(version(2, 75))
    bench.settle()
    assert bench.messages == 4 + WINDOW
    bench.broker.release_confirms()
    bench.settle()
    assert bench.found(version(2, 75))


@pytest.mark.parametrize("hint", [0, 1, 3, 4, 1000])
def test_a_wrong_hint_is_found_out(bench: Bench, hint: int) -> None:
    bench.connect(version(0))
    current = version(1)
    bench.begin()
    bench.connect(current, hint)
    if not bench.ready:
        bench.wake()
    assert bench.ready == [(1, 4)]
    assert bench.found(current)


def test_another_version_at_the_hint_is_not_read_to_its_end(bench: Bench) -> None:
    bench.connect(version(0, 200))
    bench.begin()
    bench.connect(version(1), 0)
    assert bench.ready == [(1, 20)], "it waits for nothing"


def test_an_emptied_stream_is_written_again(bench: Bench) -> None:
    current = version(0)
    bench.connect(current)
    bench.empty()
    bench.begin()
    bench.connect(current, 0)
    assert bench.ready == []
    assert bench.stream.wake_at() == SILENCE_S
    bench.wake()
    assert bench.ready == [(0, 0)]
    assert bench.found(current)


@pytest.mark.parametrize("damage", ["cut", "swapped", "foreign", "garbage", "mixed"])
def test_a_damaged_version_is_written_again(bench: Bench, damage: str) -> None:
    current = version(0)
    bodies = [body_of(current, index) for index in range(4)]
    part, payload = decode(bodies[2])
    assert isinstance(part, ModelPart)
    match damage:
        case "cut":
            bodies = bodies[:3]
        case "swapped":
            bodies[1], bodies[2] = bodies[2], bodies[1]
        case "foreign":
            bodies[2] = body_of(version(9), 2)
        case "garbage":
            bodies[2] = b"garbage"
        case _:
            bodies[2] = encode(part, b"\xff" * payload.nbytes)
    for body in bodies:
        bench.put(body)
    bench.connect(current, 0)
    if not bench.ready:
        bench.wake()
    assert bench.ready == [(0, len(bodies))]
    assert bench.found(current)


def test_a_worker_that_does_not_find_the_model_makes_it_look(bench: Bench) -> None:
    current = version(0)
    bench.connect(current)
    bench.stream.doubt("a")
    bench.settle()
    assert bench.ready == [(0, 0), (0, 0)]
    assert bench.messages == 4
    bench.stream.doubt("a")
    bench.stream.doubt("a")
    assert bench.stream.offset is None
    bench.settle()
    assert bench.ready[2:] == [(0, 0)]


def test_a_doubt_after_the_stream_was_emptied_brings_the_model_back(bench: Bench) -> None:
    bench.connect(version(0))
    bench.stream.publish(version(1))
    bench.settle()
    bench.empty()
    bench.stream.doubt("a")
    bench.settle()
    bench.wake()
    assert bench.ready == [(0, 0), (1, 4), (1, 0)]
    assert bench.found(version(1))


def test_a_version_published_while_the_last_is_looked_for_takes_its_place(bench: Bench) -> None:
    bench.connect(version(0))
    bench.stream.doubt("a")
    bench.stream.publish(version(1))
    bench.settle()
    assert bench.ready[-1][0] == 1
    assert bench.found(version(1))


def test_a_version_published_while_the_last_is_being_written_takes_its_place(bench: Bench) -> None:
    bench.broker.hold_confirms()
    bench.connect(version(0, 200))
    bench.stream.publish(version(1, 200))
    bench.settle()
    bench.broker.release_confirms()
    bench.settle()
    assert [number for number, _ in bench.ready] == [1]
    assert bench.found(version(1, 200))


def test_what_others_write_between_the_parts_is_found_out(bench: Bench) -> None:
    bench.broker.hold_confirms()
    current = version(0, 200)
    bench.connect(current)
    bench.put(body_of(version(7), 0))
    bench.broker.release_confirms()
    bench.settle()
    for _ in range(3):
        if bench.stream.offset is None:
            bench.wake()
    assert bench.found(current)


def test_parts_that_the_broker_is_slow_to_confirm_are_not_sent_twice(bench: Bench) -> None:
    bench.broker.hold_confirms()
    bench.connect(version(0, 200))
    for _ in range(10):
        bench.now += SILENCE_S
        bench.stream.tick()
        bench.settle()
    assert bench.messages == WINDOW
    assert bench.stream.wake_at() is None
    bench.broker.release_confirms()
    bench.settle()
    assert bench.found(version(0, 200))
    assert bench.messages == 20


def test_a_deleted_stream_is_lost_until_it_is_connected_again(bench: Bench) -> None:
    bench.connect(version(0))
    bench.other.delete(QUEUE)
    bench.stream.doubt("a")
    bench.settle()
    assert bench.stream.lost
    assert bench.stream.offset is None
    assert bench.stream.wake_at() is None
    bench.stream.publish(version(1))
    bench.settle()
    assert bench.ready == [(0, 0)]
    bench.other.declare(Topology((), (QUEUE,), ()))
    bench.connect(version(1))
    assert not bench.stream.lost
    assert bench.found(version(1))


def test_a_part_that_comes_back_loses_the_stream(bench: Bench) -> None:
    bench.connect(version(0))
    bench.other.delete(QUEUE)
    bench.stream.publish(version(1))
    bench.settle()
    assert bench.stream.lost


def test_what_belongs_to_others_is_left_to_them(bench: Bench) -> None:
    bench.connect(version(0))
    assert not bench.stream.handle(Returned(10**6, "not ours"))
    assert not bench.stream.handle(ConsumerLost(10**6, "not ours", missing=True))


def test_a_model_that_is_not_what_its_digest_says_is_not_written_for_ever(bench: Bench) -> None:
    bench.connect(version(0, digest="0" * 64))
    assert bench.stream.lost
    assert bench.ready == []


def test_a_disconnect_forgets_what_was_known(bench: Bench) -> None:
    bench.connect(version(0))
    bench.stream.disconnected()
    assert bench.stream.offset is None
    bench.stream.publish(version(1))
    assert bench.messages == 4
    bench.connect(version(1))
    assert bench.found(version(1))
