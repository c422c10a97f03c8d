"""What is looked at before it is sent, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.messages import Update, UpdatePart, decode
from tests.worker.examples import a_task, an_update
from worker.errors import PayloadLostError
from worker.shipping import Shipping
from worker.store import Store

PAYLOAD = bytes(range(100))
PART_BYTES = 40
TASK = a_task()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "w1")
    made.claim("w1", "federation")
    made.inbox.keep_task(TASK)
    yield made
    made.close()


@pytest.fixture
def shipping(store: Store) -> Shipping:
    return Shipping(store)


def finish(store: Store, part_bytes: int = 1000) -> str:
    update = replace(an_update(TASK), payload_digest="", payload_bytes=0, parts=0)
    return store.finish(update, part_bytes, PAYLOAD).update_id


def spoil(store: Store) -> None:
    """The disk changes what it was given."""
    (file,) = (store.path / "outbox").iterdir()
    file.write_bytes(bytes(len(PAYLOAD)))


def test_what_lies_there_is_looked_at_before_it_is_sent(store: Store, shipping: Shipping) -> None:
    update_id = finish(store)
    spoil(store)
    with pytest.raises(PayloadLostError, match="not what was written"):
        shipping.update(update_id, stored=False)


def test_what_was_written_just_now_is_looked_at_if_it_is_sent_again(
    store: Store, shipping: Shipping
) -> None:
    update_id = finish(store)
    shipping.written(update_id)
    spoil(store)
    shipping.update(update_id, stored=False)
    with pytest.raises(PayloadLostError):
        shipping.update(update_id, stored=False)


def test_what_was_written_before_the_connection_was_lost_is_looked_at(
    store: Store, shipping: Shipping
) -> None:
    update_id = finish(store)
    shipping.written(update_id)
    shipping.went_offline()
    spoil(store)
    with pytest.raises(PayloadLostError):
        shipping.update(update_id, stored=False)


def test_an_upload_is_looked_at_once_and_again_when_all_of_it_is_wanted_again(
    store: Store, shipping: Shipping
) -> None:
    update_id = finish(store, PART_BYTES)
    sent = [shipping.part(update_id, 0)]
    spoil(store)
    sent += [shipping.part(update_id, index) for index in (1, 2)]  # the coordinator looks as well
    assert [len(payload) for _, _, payload in sent] == [40, 40, 20]
    shipping.look_again(update_id)
    with pytest.raises(PayloadLostError):
        shipping.part(update_id, 0)
    with pytest.raises(PayloadLostError):
        shipping.whole(update_id)


def test_parts_say_whose_they_are_and_the_update_comes_without(
    store: Store, shipping: Shipping
) -> None:
    update_id = finish(store, PART_BYTES)
    run_id, head, payload = shipping.part(update_id, 2)
    part, carried = decode(bytes(head) + bytes(payload))
    assert isinstance(part, UpdatePart)
    assert (run_id, part.update_id, part.index, part.parts) == (TASK.run_id, update_id, 2, 3)
    assert bytes(carried) == PAYLOAD[80:]
    _, head, payload = shipping.update(update_id, stored=True)
    update, _ = decode(bytes(head) + bytes(payload))
    assert isinstance(update, Update)
    assert (update.stored, update.parts, bytes(payload)) == (True, 3, b"")
    digest, whole = shipping.whole(update_id)
    assert (digest, bytes(whole)) == (update.payload_digest, PAYLOAD)
