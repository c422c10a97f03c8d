"""The whole worker over the in-process broker, with models that lie in a depot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.buffer import Buffer
from simulation.depot import SimulatedDepot
from tests.worker.test_service import Federation, payloads


@pytest.fixture
def depot() -> SimulatedDepot:
    return SimulatedDepot()


@pytest.fixture
def federation(tmp_path: Path, depot: SimulatedDepot) -> Iterator[Federation]:
    made = Federation(tmp_path, depot=depot)
    yield made
    made.close()


def begin(federation: Federation, version: int = 0) -> None:
    federation.coordinator.offer()
    federation.coordinator.publish_version(version)
    federation.run()


def test_it_trains_on_a_model_of_the_depot(federation: Federation, depot: SimulatedDepot) -> None:
    federation.worker(data="3", depot=depot)
    begin(federation)
    assert payloads(federation) == [[3.0] * 4]


def test_a_model_that_is_in_the_cache_is_not_read_again(
    federation: Federation, depot: SimulatedDepot
) -> None:
    service = federation.worker(depot=depot)
    begin(federation)
    read = depot.read_bytes
    assert read > 0
    service.kill()
    federation.worker(depot=depot)
    federation.coordinator.offer()
    federation.run(60.0)
    assert depot.read_bytes == read


def test_a_worker_without_a_depot_says_what_to_set_and_sits_the_version_out(
    federation: Federation,
) -> None:
    service = federation.worker()
    begin(federation)
    (declined,) = federation.coordinator.declined
    assert declined.reason == (
        "the model lies in a depot: set depot.url here as the coordinator has it"
    )
    federation.coordinator.offer()
    federation.run(600.0)
    assert len(federation.coordinator.declined) == 1
    assert service.report.trained == 0


def test_a_model_that_is_not_there_is_given_up_as_gone(
    federation: Federation, depot: SimulatedDepot
) -> None:
    federation.worker(depot=depot)
    depot.tears = 1
    begin(federation)
    (declined,) = federation.coordinator.declined
    assert declined.reason.startswith("model gone: expected 16 bytes in the depot, found 8")


def test_other_bytes_under_its_name_are_given_up_as_gone(
    federation: Federation, depot: SimulatedDepot
) -> None:
    federation.worker(depot=depot)
    depot.mixes_up = 1
    begin(federation)
    (declined,) = federation.coordinator.declined
    assert declined.reason.startswith("model gone: expected digest")


def test_a_depot_that_is_away_for_a_while_is_waited_for(
    federation: Federation, depot: SimulatedDepot
) -> None:
    service = federation.worker(depot=depot)
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    depot.away = True
    federation.run(300.0)
    assert service.report.doing == "fetching"
    depot.away = False
    federation.run(60.0)
    assert len(payloads(federation)) == 1
    assert federation.coordinator.declined == []


def test_a_depot_that_stays_away_is_given_up_with_the_lease(
    federation: Federation, depot: SimulatedDepot
) -> None:
    federation.worker(depot=depot)
    federation.coordinator.offer()
    federation.coordinator.publish_version(0)
    depot.away = True
    federation.run(900.0)
    (declined, *_) = federation.coordinator.declined
    assert declined.reason == "model not kept: the depot is away"


def test_an_interrupted_reading_goes_on_after_the_broker_is_back(
    federation: Federation, depot: SimulatedDepot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.fetching.RANGE_BYTES", 4)
    service = federation.worker(depot=depot)
    federation.coordinator.publish_version(0)
    reads: list[int] = []
    real = depot.read

    def read(name: str, start: int, length: int) -> Buffer:
        reads.append(start)
        if len(reads) == 3:
            service.go_offline()
        return real(name, start, length)

    monkeypatch.setattr(depot, "read", read)
    federation.coordinator.offer()
    federation.run()
    assert service.report.doing == "taking"
    service.go_online()
    federation.run(60.0)
    assert len(payloads(federation)) == 1
    assert reads == [0, 4, 8, 12, 12]  # only what was on its way comes again
