"""What a message is, before anyone decides what it is worth: any bytes, and none that end us."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.intake import (
    BELIEVED_AHEAD_MS,
    Closing,
    Expected,
    Newer,
    Part,
    Stray,
    Whole,
    fault_of,
    header_fault,
    newest_believed,
    receive,
)
from coordinator.work import Work
from schemas.codecs.payload import encode_update, size_bounds
from schemas.digest import digest_of, update_id_of
from schemas.layout import Layout
from schemas.messages import Declined, Presence, Taken, Update, UpdatePart, encode, part_count
from tests.coordinator.world import MakeWorld, World

LAYOUT = Layout.from_rows([["w", "float32", [10, 10], "mean"]])
RUN, TASK, WORKER = "a" * 32, "b" * 32, "alice"
INCARNATION = 5
NOW = 1000.0
BASE = "c" * 64
PART_BYTES = 150
PAYLOAD = bytes(400)

EXPECTED = Expected(
    run_id=RUN,
    incarnation=INCARNATION,
    newest_incarnation=newest_believed(INCARNATION, NOW),
    version=3,
    layout=LAYOUT,
    part_bytes=PART_BYTES,
    max_norm=0.0,
    needs_local_steps=False,
    digest_of_version=dict.fromkeys(range(4), BASE).get,
)


def update(**changes: Any) -> Update:
    made = Update(
        update_id="",
        run_id=RUN,
        task_id=TASK,
        worker_id=WORKER,
        incarnation=INCARNATION,
        kind="train",
        base_version=3,
        base_digest=BASE,
        layout_digest=LAYOUT.digest,
        codec="fp32",
        num_examples=10,
        metrics={},
        train_s=0.0,
        payload_digest=digest_of(PAYLOAD),
        payload_bytes=len(PAYLOAD),
        parts=0,
    )
    made = replace(made, **changes)
    if "update_id" in changes:
        return made
    return replace(made, update_id=update_id_of(made.incarnation, made.task_id, made.worker_id))


def part(index: int = 0, **changes: Any) -> UpdatePart:
    made = UpdatePart(
        update_id=update_id_of(INCARNATION, TASK, WORKER),
        run_id=RUN,
        task_id=TASK,
        worker_id=WORKER,
        incarnation=INCARNATION,
        layout_digest=LAYOUT.digest,
        codec="fp32",
        payload_digest=digest_of(PAYLOAD),
        payload_bytes=len(PAYLOAD),
        part_bytes=PART_BYTES,
        index=index,
        parts=3,
    )
    made = replace(made, **changes)
    return replace(made, update_id=update_id_of(made.incarnation, made.task_id, made.worker_id))


def test_a_good_update_is_whole() -> None:
    received = receive(encode(update(), PAYLOAD), EXPECTED)
    assert isinstance(received, Whole)
    assert received.update == update()
    assert fault_of(received.update, received.payload, EXPECTED) is None


def test_parts_and_their_end_are_told_apart() -> None:
    assert isinstance(receive(encode(update(parts=3)), EXPECTED), Closing)
    assert isinstance(receive(encode(part(0), PAYLOAD[:150]), EXPECTED), Part)
    assert isinstance(receive(encode(part(2), PAYLOAD[300:]), EXPECTED), Part)


def test_a_part_of_more_than_can_be_kept_is_a_stray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that are read again may cut smaller than at the start."""
    monkeypatch.setattr("coordinator.intake.PARTS_MAX", 2)
    received = receive(encode(part(0), PAYLOAD[:150]), EXPECTED)
    assert isinstance(received, Stray)
    assert "at most 2" in received.reason


@pytest.mark.parametrize("size", [0, 99, 100, 101])
def test_a_part_must_have_its_size(size: int) -> None:
    received = receive(encode(part(2), bytes(size)), EXPECTED)
    assert isinstance(received, Part if size == 100 else Stray)


@pytest.mark.parametrize(
    ("codec", "whole"), [("fp32", 396), ("fp32", 404), ("int8", 400), ("int4+zstd", 120)]
)
def test_a_part_of_an_update_that_no_codec_makes_so_large_is_a_stray(
    codec: str, whole: int
) -> None:
    parts = part_count(whole, PART_BYTES)
    size = min(whole, PART_BYTES)
    message = part(codec=codec, payload_bytes=whole, parts=parts)
    received = receive(encode(message, bytes(size)), EXPECTED)
    assert isinstance(received, Stray)
    assert "bytes of" in received.reason


@pytest.mark.parametrize("codec", ["bf16", "int4", "int8+zstd"])
def test_parts_are_cut_by_the_size_that_the_codec_makes(codec: str) -> None:
    least, whole = size_bounds(codec, LAYOUT)
    for size in {least, whole}:
        parts = part_count(size, PART_BYTES)
        first = part(codec=codec, payload_bytes=size, parts=parts)
        body = encode(first, bytes(min(size, PART_BYTES)))
        assert isinstance(receive(body, EXPECTED), Part)


@pytest.mark.parametrize("codec", ["none", "int5", "topk:0.0", "fp32+zst"])
def test_an_update_in_another_codec_is_malformed(codec: str) -> None:
    fault = fault_of(update(codec=codec), PAYLOAD, EXPECTED)
    assert fault is not None
    assert fault.verdict == "malformed"
    assert "expected a codec, one of fp32" in fault.reason


def test_an_update_in_any_codec_is_taken() -> None:
    payload = b"".join(encode_update(PAYLOAD, "int4+zstd", LAYOUT, "f" * 32))
    message = update(codec="int4+zstd", payload_digest=digest_of(payload))
    message = replace(message, payload_bytes=len(payload))
    received = receive(encode(message, payload), EXPECTED)
    assert isinstance(received, Whole)
    assert fault_of(received.update, received.payload, EXPECTED) is None


def test_what_is_not_an_update_of_training_is_not_added() -> None:
    evaluated = update(kind="evaluate")
    fault = fault_of(evaluated, PAYLOAD, EXPECTED)
    assert fault is not None
    assert (fault.verdict, fault.reason) == (
        "malformed",
        "expected an update of kind 'train', came 'evaluate'",
    )


def test_who_does_not_hold_its_id_takes_none() -> None:
    for body in (
        encode(update(update_id="f" * 32), PAYLOAD),
        encode(update(payload_digest="f" * 64), PAYLOAD),
        encode(update(), PAYLOAD + b"0000"),
    ):
        received = receive(body, EXPECTED)
        assert isinstance(received, Stray)
        assert (received.verdict, received.worker_id, received.task_id) == (
            "malformed",
            WORKER,
            TASK,
        )


def test_a_newer_version_or_incarnation_is_not_judged() -> None:
    newer = [
        encode(update(base_version=4), PAYLOAD),
        encode(update(incarnation=INCARNATION + 1), PAYLOAD),
        encode(update(incarnation=INCARNATION + 1, run_id="f" * 32), PAYLOAD),
        encode(part(incarnation=INCARNATION + 1), PAYLOAD[:150]),
        encode(update(incarnation=INCARNATION + 1, parts=3)),
    ]
    assert all(isinstance(receive(body, EXPECTED), Newer) for body in newer)


def test_an_incarnation_is_believed_if_it_is_not_far_ahead_of_store_and_clock() -> None:
    for own, now_ms in ((0, 10**12), (10**12, 0), (10**12, 10**12)):
        newest = newest_believed(own, now_ms / 1000)
        assert newest == 10**12 + BELIEVED_AHEAD_MS
        ours = replace(EXPECTED, incarnation=own, newest_incarnation=newest)
        for incarnation, kind in ((newest, Newer), (newest + 1, Stray)):
            message = encode(update(incarnation=incarnation), PAYLOAD)
            assert isinstance(receive(message, ours), kind)


def test_an_incarnation_that_no_clock_gives_is_malformed() -> None:
    too_new = EXPECTED.newest_incarnation + 1
    for message in (update(incarnation=too_new), part(incarnation=2**53)):
        payload = PAYLOAD if isinstance(message, Update) else PAYLOAD[:150]
        received = receive(encode(message, payload), EXPECTED)
        assert isinstance(received, Stray)
        assert received.verdict == "malformed"


def test_a_newer_version_of_another_run_or_an_earlier_life_is_of_another_timeline() -> None:
    for changes in ({"run_id": "f" * 32}, {"incarnation": INCARNATION - 1}):
        received = receive(encode(update(base_version=9, **changes), PAYLOAD), EXPECTED)
        assert isinstance(received, Whole)
        fault = header_fault(received.update, EXPECTED)
        assert fault is not None
        assert fault.verdict == "other timeline"


GOOD = [
    encode(update(), PAYLOAD),
    encode(update(parts=3)),
    encode(part(1), PAYLOAD[150:300]),
    encode(Taken(RUN, TASK, WORKER, INCARNATION)),
]


@given(st.binary(max_size=200))
def test_any_bytes_are_something(body: bytes) -> None:
    assert isinstance(receive(body, EXPECTED), Stray)


@given(st.sampled_from(GOOD), st.data())
def test_any_flipped_byte_is_something(body: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(body) - 1))
    flipped = (
        body[:place] + bytes([body[place] ^ data.draw(st.integers(1, 255))]) + body[place + 1 :]
    )
    received = receive(flipped, EXPECTED)
    if isinstance(received, Whole):
        fault_of(received.update, received.payload, EXPECTED)


numbers = st.integers(0, 2**53)
ids = st.sampled_from([RUN, TASK, "d" * 32])
digests = st.sampled_from([BASE, LAYOUT.digest, digest_of(PAYLOAD), "e" * 64])

updates = st.builds(
    update,
    run_id=ids,
    task_id=ids,
    worker_id=st.sampled_from([WORKER, "bob"]),
    incarnation=st.integers(0, INCARNATION),
    base_version=numbers,
    base_digest=digests,
    layout_digest=digests,
    codec=st.sampled_from(["fp32", "none", "int4", "bf16+zstd", "topk:0.5"]),
    num_examples=numbers,
    metrics=st.dictionaries(
        st.text(max_size=20).filter(lambda text: text.isprintable()),
        st.floats(allow_nan=False, allow_infinity=False),
        max_size=3,
    ),
    train_s=st.floats(allow_nan=False, allow_infinity=False),
    payload_digest=digests,
    payload_bytes=numbers,
    parts=numbers,
)
parts = st.builds(
    part,
    index=numbers,
    run_id=ids,
    task_id=ids,
    incarnation=st.integers(0, INCARNATION),
    payload_bytes=numbers,
    part_bytes=numbers,
    parts=numbers,
)


@given(st.one_of(updates, parts), st.sampled_from([b"", PAYLOAD, PAYLOAD[:150], PAYLOAD[300:]]))
def test_any_well_formed_message_is_something(message: Update | UpdatePart, payload: bytes) -> None:
    received = receive(encode(message, payload), EXPECTED)
    if isinstance(received, Whole):
        fault_of(received.update, received.payload, EXPECTED)


# in the service: whatever is on the queues, it is acked and the service goes on


def hostile(world: World) -> list[bytes]:
    """Messages that are well formed, with the run's own names and the largest numbers."""
    run, names = world.run_row(), ("0" * 32, "mallory")
    task = world.open_tasks()[0].task_id
    incarnation = world.read(Work.incarnation)
    base = world.version_row(0).digest
    largest = 2**53
    bodies = []
    for task_id in (task, names[0]):
        made = update(
            run_id=run.run_id,
            task_id=task_id,
            worker_id=names[1],
            incarnation=incarnation,
            base_version=0,
            base_digest=base,
            layout_digest=run.layout_digest,
            num_examples=largest,
            metrics={"\x00": 1e308, "": -1e308},
            train_s=1e308,
            payload_bytes=32,
            payload_digest=digest_of(bytes(32)),
        )
        bodies += [encode(made, bytes(32)), encode(replace(made, parts=largest))]
        bodies.append(encode(replace(made, payload_bytes=largest, parts=1)))
        bodies.append(encode(Declined(run.run_id, task_id, names[1], incarnation, "\x00" * 500)))
        bodies.append(encode(Declined(run.run_id, task_id, names[1], largest, "newer")))
        bodies.append(encode(Taken(run.run_id, task_id, names[1], 0)))
    bodies.append(
        encode(Presence(names[1], run.run_id, largest, largest, True, False, (names[0],) * 1500))
    )
    bodies.append(encode(Presence(names[1], "", -1, 0, True, True, ())))
    return bodies


def test_hostile_messages_on_any_queue_end_nothing(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    bodies = hostile(world)
    for body in bodies:
        worker.send_bytes(body, world.run_row().run_id)
        worker.ask_bytes("presence", body)
    world.step()
    assert world.state in ("collecting", "paused")
    for name in ("update", "control", "parked"):
        assert world.ready(name) == 0
    world.restart()
    world.round(1.0, 1.0)
    assert world.version >= 1
