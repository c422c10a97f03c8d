"""A coordinator on RabbitMQ that is killed at its steps makes the same bytes as one that is not."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.chaos.mortal import ROUNDS
from tests.chaos.replay import replay
from tests.support.rabbitmq_node import RabbitmqNode

STRIDE = 9


@pytest.mark.slow
def test_the_same_updates_make_the_same_bytes_however_often_it_is_killed(
    rabbitmq_node: RabbitmqNode, tmp_path: Path
) -> None:
    if os.environ.get("FEDMQ_TEST_AMQP_URL"):
        pytest.skip("needs vhosts of its own")
    stride = int(os.environ.get("FEDMQ_CHAOS_STRIDE", STRIDE))
    replayed = replay(tmp_path, rabbitmq_node, stride)
    assert len(replayed.died_at) >= 4, replayed.died_at
    assert replayed.disturbed == replayed.undisturbed
    assert len(replayed.undisturbed.models) == ROUNDS + 1
    verdicts = Counter(row[5] for row in replayed.undisturbed.ledger)
    assert verdicts == {"counted": 12, "repeated": ROUNDS, "non-finite": ROUNDS - 1}
    print(len(replayed.died_at), replayed.died_at)
