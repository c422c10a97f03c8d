"""The topology is complete in itself, and its streams keep what they promise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.topology import Names, is_worker_id

NAMES = Names("hospital")


def test_bindings_join_what_is_declared() -> None:
    topology = NAMES.topology
    exchanges = {exchange.name for exchange in topology.exchanges}
    queues = {queue.name for queue in topology.queues}
    assert {binding.exchange for binding in topology.bindings} <= exchanges
    assert {binding.queue for binding in topology.bindings} <= queues
    assert {queue.dead_letter_exchange for queue in topology.queues} - {""} <= exchanges


def test_two_federations_share_nothing() -> None:
    other = Names("bank").topology
    assert {queue.name for queue in NAMES.topology.queues}.isdisjoint(
        queue.name for queue in other.queues
    )


def test_what_is_dead_lettered_at_least_once_refuses_when_full() -> None:
    for queue in NAMES.topology.queues:
        if queue.dead_letter_exchange:
            assert queue.overflow == "reject-publish"


def test_what_workers_send_is_dead_lettered_at_least_once() -> None:
    for queue in (NAMES.task_queue, NAMES.update_queue(), NAMES.control_queue):
        arguments = queue.arguments()
        assert arguments["x-dead-letter-exchange"] == NAMES.dead_exchange
        assert arguments["x-dead-letter-strategy"] == "at-least-once"
        assert arguments["x-overflow"] == "reject-publish", "at-least-once needs it"
        assert arguments["x-delivery-limit"] == 20


def test_what_is_parked_is_refused_when_full_and_never_dropped() -> None:
    assert NAMES.parked_queue.arguments()["x-overflow"] == "reject-publish"
    assert NAMES.refused_queue.arguments()["x-overflow"] == "drop-head"


@given(st.integers(1, 10**11))
def test_a_model_stream_keeps_four_models(model_bytes: int) -> None:
    queue = NAMES.model_queue("run", model_bytes)
    assert queue.max_bytes - 2 * queue.segment_bytes >= 4 * model_bytes
    assert 8_000_000 <= queue.segment_bytes <= 500_000_000


def test_a_segment_of_the_model_stream_has_many_models_and_few_bytes() -> None:
    small, middle, large = (NAMES.model_queue("run", num) for num in (400_000, 4_000_000, 10**9))
    assert small.segment_bytes // 400_000 == 128
    assert middle.segment_bytes // 4_000_000 == 16
    assert large.segment_bytes == 500_000_000


@pytest.mark.parametrize("text", ["w1", "a" * 64, "till_7-B"])
def test_a_worker_id_is_a_word(text: str) -> None:
    assert is_worker_id(text)


@pytest.mark.parametrize("text", ["", "a" * 65, "a.b", "#", "*", "a b", "é", "w1\n"])
def test_what_would_disturb_a_routing_key_is_no_worker_id(text: str) -> None:
    assert not is_worker_id(text)


def test_a_worker_s_own_queue_holds_one_message_and_gives_up_nothing_to_others() -> None:
    queue, binding = NAMES.worker_queue("w1"), NAMES.worker_binding("w1")
    assert queue.arguments() == {
        "x-queue-type": "classic",
        "x-overflow": "drop-head",
        "x-max-length": 1,
        "x-expires": 30 * 86_400_000,
    }
    assert (binding.exchange, binding.queue) == (NAMES.task_exchange, queue.name)
    assert binding.key == NAMES.worker_key("w1")


def test_each_worker_has_a_queue_that_is_no_part_of_the_fixed_topology() -> None:
    fixed = {queue.name for queue in NAMES.topology.queues}
    own = {NAMES.worker_queue(worker_id).name for worker_id in ("w1", "w2", "pool", "control")}
    assert len(own) == 4
    assert own.isdisjoint(fixed)
    assert NAMES.worker_key("pool") != NAMES.task_key
