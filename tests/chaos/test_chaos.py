"""A short act of chaos; `make chaos` plays the long ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.evidence import table
from tests.chaos.play import play
from tests.chaos.stage import Act
from tests.support.rabbitmq_node import RabbitmqNode

SHORT = Act("short", workers=4, rounds_min=1, seconds=10.0, gap_s=0.4, goal=2)


@pytest.mark.slow
def test_whatever_is_broken_nothing_is_lost_and_nothing_counted_twice(
    rabbitmq_node: RabbitmqNode, tmp_path: Path
) -> None:
    if os.environ.get("FEDMQ_TEST_AMQP_URL"):
        pytest.skip("needs a broker that it may kill")
    seed = int(os.environ.get("FEDMQ_CHAOS_SEED", "1"))
    outcome = play(SHORT, tmp_path, rabbitmq_node, seed, lambda line: print(line, flush=True))
    print(table([outcome], None, seed, rabbitmq_node.ctl("version").strip()))
    assert outcome.wrong == []
