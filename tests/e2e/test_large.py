"""Models and updates of 64 MB, in parts of 1 MiB, over a link that is cut."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.broker.tcp_proxy import Side, TcpProxy
from tests.e2e.services import Federation, wait_until

SIZE = 16 * 2**20
BYTES = 4 * SIZE
RESENT_MAX = 0.05
ASIDE_BYTES = 256 * 1024  # headers of 64 parts, and all else that is said

LEARNER = f"""
import numpy as np
from fedmq import TrainResult

class Large:
    def initial_parameters(self):
        return {{"w": np.arange({SIZE}, dtype=np.float32)}}

    def train(self, parameters, request):
        return TrainResult({{"w": parameters["w"] + 1}}, 1)

learner = Large
"""


@pytest.fixture
def proxy(amqp_url: str) -> Iterator[TcpProxy]:
    broker = urlsplit(amqp_url)
    made = TcpProxy((broker.hostname or "127.0.0.1", broker.port or 5672))
    yield made
    made.close()


@pytest.fixture
def federation(tmp_path: Path, amqp_url: str, federation_name: str) -> Iterator[Federation]:
    (tmp_path / "large.py").write_text(LEARNER)
    rounds = {
        "rounds": 1,
        "goal": 1,
        "quorum": 1,
        "part_bytes": "1MiB",
        "deadline": "10m",
        "concurrency": 1,
    }
    made = Federation(tmp_path, amqp_url, federation_name, f"{tmp_path}/large.py:learner", **rounds)
    yield made
    made.close()


def cut_once_it_said(proxy: TcpProxy, side: Side, num_bytes: int) -> None:
    """Wait until one side has said so much, and cut the link."""
    wait_until(lambda: proxy.heard_bytes(side) > num_bytes, f"{num_bytes} bytes of the {side}")
    assert proxy.cut() > 0


@pytest.mark.parametrize("seed", range(2))
def test_a_link_that_is_cut_at_a_random_part_carries_hardly_more(
    federation: Federation, proxy: TcpProxy, amqp_url: str, seed: int
) -> None:
    rng = random.Random(seed)
    broker = urlsplit(amqp_url)
    through = broker._replace(netloc=broker.netloc.rpartition(":")[0] + f":{proxy.port}")
    coordinator = federation.coordinator()
    worker = federation.worker(
        "boat", "--until-run-ends", environ={"FEDMQ_BROKER_URL": through.geturl()}
    )
    for side in ("broker", "client"):  # the model comes, the update goes
        cut_once_it_said(proxy, side, int(rng.uniform(0.1, 0.9) * BYTES))
    assert federation.ended(coordinator)["updates"] == {"counted": 1}
    federation.ended(worker)
    most = (1 + RESENT_MAX) * BYTES + ASIDE_BYTES
    assert BYTES < proxy.heard_bytes("broker") < most
    assert BYTES < proxy.heard_bytes("client") < most
    out = federation.folder / "final.safetensors"
    done = federation.run("export", "--config", str(federation.config), "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert np.array_equal(load_file(out)["w"], np.arange(SIZE, dtype=np.float32) + 1)
