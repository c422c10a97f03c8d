"""Every message is told from every other, and its fields hold what their types say."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError
from schemas.frame import decode_frame, encode_frame
from schemas.messages import (
    KINDS,
    NAMES_MAX,
    Message,
    ModelPart,
    Presence,
    Standing,
    Task,
    Update,
    UpdatePart,
    decode,
    encode,
    part_count,
    part_span,
)
from tests.schemas.strategies import MESSAGES, PRIMITIVES, messages_of

ID = "0123456789abcdef" * 2
DIGEST = ID * 2
CARRIERS = (Update, UpdatePart, ModelPart)

TASK = Task(ID, ID, "train", 1, None, "fp32", 4096, "", None, 0.0, 7)
PRESENCE = Presence("shop-1", "", -1, 0, False, False, ())
STANDING = Standing(ID, "running", 1, 0, True, 0.0, {}, {}, (), 0.0)
UPDATE = Update(
    update_id=ID,
    run_id=ID,
    task_id=ID,
    worker_id="shop-1",
    incarnation=1,
    kind="train",
    base_version=0,
    base_digest=DIGEST,
    layout_digest=DIGEST,
    codec="fp32",
    num_examples=10,
    metrics={"loss": 0.5},
    train_s=1.0,
    payload_digest=DIGEST,
    payload_bytes=4,
    parts=0,
)


def with_field(message: Message, name: str, value: Any) -> bytes:
    """The bytes of a message of which one field was changed to anything."""
    header, _ = decode_frame(encode(message))
    return encode_frame({**header, name: value})


def decoded(body: bytes | bytearray) -> Message | DecodeError:
    """The message, or the one error that may come."""
    try:
        return decode(body)[0]
    except DecodeError as error:
        return error


def refusal_of(body: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(body)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS.values())
@given(data=st.data())
def test_every_kind_of_message_comes_back_as_it_was(
    kind: type[Message], data: st.DataObject
) -> None:
    message = data.draw(messages_of(kind))
    payload = data.draw(st.binary(max_size=100)) if kind in CARRIERS else b""
    came, rest = decode(encode(message, payload))
    assert came == message
    assert type(came) is kind
    assert bytes(rest) == payload


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_decode_error(body: bytes) -> None:
    assert isinstance(decoded(body), Message | DecodeError)


@given(MESSAGES, st.data())
def test_a_message_with_some_bytes_changed_never_crashes_the_decoder(
    message: Message, data: st.DataObject
) -> None:
    body = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    came = decoded(body)
    assert not isinstance(came, DecodeError) or len(str(came)) < 1000


@given(MESSAGES, st.data())
def test_a_field_of_any_value_is_taken_or_refused_by_name(
    message: Message, data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(message)]))
    value = data.draw(PRIMITIVES)
    came = decoded(with_field(message, name, value))
    if isinstance(came, DecodeError):
        assert f"{type(message).__name__}.{name}:" in str(came)
    else:
        taken = getattr(came, name)
        assert (list(taken) if isinstance(taken, tuple) else taken) == value


@given(MESSAGES, st.data())
def test_a_message_without_one_of_its_fields_is_refused(
    message: Message, data: st.DataObject
) -> None:
    header, _ = decode_frame(encode(message))
    del header[data.draw(st.sampled_from(sorted(header)))]
    refusal_of(encode_frame(header))


@pytest.mark.parametrize("name", ["extra", "", "payload", "__class__", "x" * 4000])
def test_a_field_that_a_message_does_not_have_is_refused(name: str) -> None:
    assert len(refusal_of(with_field(TASK, name, 1))) < 200


@pytest.mark.parametrize("kind", [None, 1, True, "", "Task", "task ", "update_part", ["task"], {}])
def test_an_unknown_kind_of_message_is_refused(kind: Any) -> None:
    assert "message kind" in refusal_of(with_field(TASK, "message", kind))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_fields_of_one_kind_are_not_another(kind: str) -> None:
    if kind != "task":
        assert "missing" in refusal_of(with_field(TASK, "message", kind))


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind not in CARRIERS])
@given(data=st.data())
def test_a_message_that_carries_nothing_has_no_payload(
    kind: type[Message], data: st.DataObject
) -> None:
    assert "has no payload" in refusal_of(encode(data.draw(messages_of(kind)), b"x"))


@pytest.mark.parametrize(
    ("message", "name", "value"),
    [
        (TASK, "incarnation", True),
        (TASK, "incarnation", 1.0),
        (TASK, "incarnation", -1),
        (TASK, "incarnation", 2**53 + 1),
        (TASK, "incarnation", 2**64 - 1),
        (TASK, "incarnation", "1"),
        (TASK, "incarnation", None),
        (TASK, "time_s", True),
        (TASK, "time_s", math.nan),
        (TASK, "time_s", math.inf),
        (TASK, "time_s", -math.inf),
        (TASK, "time_s", 2**53),
        (TASK, "time_s", "0"),
        (TASK, "not_after", math.nan),
        (TASK, "base_version", -1),
        (TASK, "kind", "ponder"),
        (TASK, "kind", None),
        (TASK, "run_id", ""),
        (TASK, "run_id", ID[:-1]),
        (TASK, "run_id", ID + "0"),
        (TASK, "run_id", ID.upper()),
        (TASK, "run_id", ID[:-1] + "\n"),
        (TASK, "run_id", ID + "\n"),
        (TASK, "run_id", ID[:-1] + "٣"),
        (TASK, "run_id", ID.encode()),
        (TASK, "replaces", "0"),
        (TASK, "replaces", "\n"),
        (TASK, "codec", ""),
        (TASK, "codec", "none/../x"),
        (TASK, "codec", "x" * 201),
        (PRESENCE, "worker_id", ""),
        (PRESENCE, "worker_id", "x" * 65),
        (PRESENCE, "worker_id", "a.b"),
        (PRESENCE, "worker_id", "a#"),
        (PRESENCE, "worker_id", "../a"),
        (PRESENCE, "worker_id", "a b"),
        (PRESENCE, "worker_id", "a\n"),
        (PRESENCE, "worker_id", "ä"),
        (PRESENCE, "busy", 0),
        (PRESENCE, "busy", None),
        (PRESENCE, "last_version", -2),
        (PRESENCE, "last_version", False),
        (PRESENCE, "open_updates", ID),
        (PRESENCE, "open_updates", {ID: 1}),
        (PRESENCE, "open_updates", [ID, ""]),
        (PRESENCE, "open_updates", [[ID]]),
        (PRESENCE, "open_updates", None),
        (STANDING, "state", "sleeping"),
        (STANDING, "verdicts", []),
        (STANDING, "verdicts", {"x": "counted"}),
        (STANDING, "verdicts", {ID: 1}),
        (STANDING, "verdicts", {ID: "x" * 501}),
        (STANDING, "missing", {ID: 1}),
        (STANDING, "missing", {ID: [-1]}),
        (STANDING, "missing", {ID: [True]}),
        (UPDATE, "num_examples", -5),
        (UPDATE, "num_examples", 10.0),
        (UPDATE, "metrics", {"loss": math.nan}),
        (UPDATE, "metrics", {"loss": math.inf}),
        (UPDATE, "metrics", {"loss": True}),
        (UPDATE, "metrics", {"loss": [0.5]}),
        (UPDATE, "metrics", {"x" * 501: 0.5}),
        (UPDATE, "base_version", -1),
        (UPDATE, "payload_digest", ID),
        (UPDATE, "payload_digest", DIGEST.upper()),
        (UPDATE, "payload_digest", None),
    ],
)
def test_a_value_that_its_field_does_not_take_is_refused(
    message: Message, name: str, value: Any
) -> None:
    assert f"{type(message).__name__}.{name}" in refusal_of(with_field(message, name, value))


def test_a_whole_number_is_a_number_too() -> None:
    came, _ = decode(with_field(TASK, "time_s", 7))
    assert isinstance(came, Task)
    assert came.time_s == 7.0
    assert type(came.time_s) is float


def test_as_many_open_updates_as_are_asked_for_at_once_fit_in_a_message() -> None:
    ids = tuple(f"{number:032x}" for number in range(NAMES_MAX))
    asked = dataclasses.replace(PRESENCE, open_updates=ids)
    assert decode(encode(asked))[0] == asked
    answer = dataclasses.replace(
        STANDING, verdicts=dict.fromkeys(ids, "unsupported version"), unknown=ids
    )
    assert decode(encode(answer))[0] == answer


@pytest.mark.parametrize("name", ["open_updates"])
def test_a_list_without_end_is_refused(name: str) -> None:
    packed = {**decode_frame(encode(PRESENCE))[0], name: [0] * 5000}
    refusal_of(encode_frame(packed))


@given(st.integers(0, 10_000), st.integers(1, 1000))
def test_the_parts_of_a_payload_cover_it_once(payload_bytes: int, part_bytes: int) -> None:
    count = part_count(payload_bytes, part_bytes)
    spans = [part_span(index, payload_bytes, part_bytes) for index in range(count)]
    assert [start for start, _ in spans] == [0, *(end for _, end in spans[:-1])]
    assert spans[-1][1] == payload_bytes
    assert all(0 < end - start <= part_bytes for start, end in spans) or payload_bytes == 0
