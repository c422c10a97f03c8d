"""Federations over a real RabbitMQ whose models and updates lie in a depot."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.e2e.services import Federation, wait_until
from tests.support.s3_server import BUCKET, KEY, SECRET, S3Store, s3_server

SIZE = 100_000  # float32: seven parts of 64 KiB

LEARNER = f"""
import numpy as np
from fedmq import TrainResult

class Adder:
    def initial_parameters(self):
        return {{"w": np.zeros({SIZE}, np.float32)}}

    def train(self, parameters, request):
        return TrainResult({{"w": parameters["w"] + float(request.data)}}, 1)

learner = Adder
"""


@pytest.fixture
def federation(tmp_path: Path, amqp_url: str, federation_name: str) -> Iterator[Federation]:
    (tmp_path / "adder.py").write_text(LEARNER)
    made = Federation(
        tmp_path, amqp_url, federation_name, "adder.py:learner", rounds=2, part_bytes="64KiB"
    )
    yield made
    made.close()


def lie_in(federation: Federation, url: str, *lines: str) -> None:
    """Set the depot."""
    depot = ["[depot]", f'url = "{url}"', 'min_bytes = "64KiB"', *lines, ""]
    with federation.config.open("a") as config:
        config.write("\n".join(depot))


def learn(federation: Federation) -> None:
    """Two workers see the run through; then the model is what it is by hand."""
    coordinator = federation.coordinator()
    workers = [
        federation.worker(name, "--until-run-ends", "--data", value)
        for name, value in {"a": "1", "b": "3"}.items()
    ]
    end = federation.ended(coordinator)
    assert (end["state"], end["version"], end["updates"]) == ("ended", 2, {"counted": 4})
    for worker in workers:
        assert federation.ended(worker)["verdicts"] == {"counted": 2}
    path = federation.folder / "final.safetensors"
    done = federation.run("export", "--config", str(federation.config), "-o", str(path))
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(load_file(path)["w"], np.full(SIZE, 4.0, np.float32))


@pytest.mark.slow
def test_they_lie_in_a_folder(federation: Federation, federation_name: str, tmp_path: Path) -> None:
    folder = tmp_path / "of all"
    folder.mkdir()
    label = folder / f"{federation_name}.depot"
    label.touch()
    lie_in(federation, folder.as_uri())
    learn(federation)
    left = [path.name for path in folder.iterdir() if path != label]
    assert len(left) == 3
    assert all(".models." in name for name in left), "an update stays no longer than its verdict"


@pytest.mark.slow
def test_they_lie_in_a_bucket_that_fails_now_and_then(
    federation: Federation, tmp_path: Path
) -> None:
    pytest.importorskip("obstore")
    (tmp_path / "keys").write_text(
        f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    with s3_server() as store:
        lie_in(
            federation,
            f"s3://{BUCKET}/somewhere",
            f'endpoint = "{store.url}"',
            'credentials = "keys"',
        )
        store.refuse = 7
        learn(federation)
        assert all("/models/" in name for name in store.objects)
        assert _put_updates(store) >= 4
    assert SECRET not in federation.logs()


@pytest.mark.slow
def test_a_coordinator_killed_while_it_reads_an_update_counts_it_once(
    federation: Federation, tmp_path: Path
) -> None:
    pytest.importorskip("obstore")
    (tmp_path / "keys").write_text(
        f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    with s3_server() as store:
        lie_in(
            federation,
            f"s3://{BUCKET}/somewhere",
            f'endpoint = "{store.url}"',
            'credentials = "keys"',
        )
        store.stop_reads_of = "/updates/"
        coordinator = federation.coordinator()
        workers = [
            federation.worker(name, "--until-run-ends", "--data", value)
            for name, value in {"a": "1", "b": "3"}.items()
        ]
        wait_until(lambda: store.stopped_reads > 0, "an update to be read")
        coordinator.send_signal(signal.SIGKILL)
        coordinator.wait()
        store.stop_reads_of = ""
        end = federation.ended(federation.coordinator())
        assert (end["state"], end["version"]) == ("ended", 2)
        for worker in workers:
            assert federation.ended(worker)["verdicts"] == {"counted": 2}
        path = federation.folder / "final.safetensors"
        done = federation.run("export", "--config", str(federation.config), "-o", str(path))
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(load_file(path)["w"], np.full(SIZE, 4.0, np.float32))


def _put_updates(store: S3Store) -> int:
    return sum(method == "PUT" and "/updates/" in path for method, path in store.requests)
