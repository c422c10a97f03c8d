"""The whole worker over the in-process broker, with models that lie in a depot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from depot import update_name
from depot.depot import nothing
from depot.porter import Porter
from schemas.buffer import Buffer
from schemas.digest import digest_of
from simulation.depot import SimulatedDepot
from tests.support.errands import HeldPorter, PromptPorter
from tests.worker.learners import Large
from tests.worker.test_service import Federation, HeldTrainer, payloads
from worker.assignment import DEPOT_SILENCE_S, MISSES
from worker.bydepot import SILENCE_S
from worker.service import WorkerService


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


def test_a_worker_that_never_finds_the_model_asks_for_it_less_and_less(
    federation: Federation, depot: SimulatedDepot
) -> None:
    """Its depot may be another than the coordinator's: others are served better."""
    service = federation.worker(depot=SimulatedDepot())
    federation.coordinator.publish_version(0)
    for _ in range(4):
        federation.coordinator.offer()
        federation.run(6.0)
    assert len(federation.coordinator.declined) > MISSES, "it may be put again"
    for _ in range(120):
        federation.coordinator.offer()
        federation.run(60.0)
    assert len(federation.coordinator.declined) < 15
    assert service.report.trained == 0


def test_a_worker_that_missed_the_model_trains_once_it_is_there(
    federation: Federation, depot: SimulatedDepot
) -> None:
    service = federation.worker(depot=depot)
    federation.coordinator.publish_version(0)
    kept = dict(depot.objects)
    depot.objects.clear()
    for _ in range(20):
        federation.coordinator.offer()
        federation.run(60.0)
    depot.objects.update(kept)
    federation.run(3600.0)
    assert service.report.trained >= 1


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


def test_while_a_depot_hangs_one_reading_of_a_model_waits_for_it(
    federation: Federation, depot: SimulatedDepot
) -> None:
    porter = HeldPorter()
    service = federation.worker(depot=depot, porter_of=lambda name: porter)
    begin(federation)
    for _ in range(5):
        service.go_offline()
        federation.run(5.0)
        service.go_online()
        federation.run(30.0)
    assert len(porter.waiting) == 2
    while porter.go():
        federation.run(1.0)
    assert len(payloads(federation)) == 1


def test_a_depot_that_hangs_is_not_said_to_have_no_model(
    federation: Federation, depot: SimulatedDepot
) -> None:
    porter = HeldPorter()
    federation.worker(depot=depot, porter_of=lambda name: porter)
    begin(federation)
    federation.run(DEPOT_SILENCE_S + 1.0)
    (declined,) = federation.coordinator.declined
    assert declined.reason == "model not kept: silence of 900 s"


# Updates.


@pytest.fixture
def large(tmp_path: Path, depot: SimulatedDepot) -> Iterator[Federation]:
    """A federation whose updates are of several parts, and may lie in the depot."""
    made = Federation(tmp_path, Large(), depot=depot, part_bytes=64, takes_stored=True)
    made.coordinator.gives_verdicts = False
    yield made
    made.close()


def worker(
    federation: Federation,
    depot: SimulatedDepot,
    porter_of: Callable[[str], Porter] = lambda name: PromptPorter(),
    **options: Any,
) -> WorkerService:
    return federation.worker(
        "Large",
        depot=depot,
        porter_of=porter_of,
        options={"depot_min_bytes": 64, "part_bytes_min": 1, **options},
    )


def objects(depot: SimulatedDepot) -> dict[str, bytes]:
    return {name: data for name, data in depot.objects.items() if name.startswith("updates/")}


def test_a_large_update_is_put_into_the_depot_and_kept_until_its_verdict(
    large: Federation, depot: SimulatedDepot
) -> None:
    service = worker(large, depot)
    begin(large)
    ((update, payload),) = large.coordinator.updates
    assert (update.stored, payload, large.coordinator.parts) == (True, b"", [])
    name = update_name(update.update_id, update.payload_digest)
    assert set(objects(depot)) == {name}
    assert digest_of(depot.objects[name]) == update.payload_digest
    assert service.report.open_updates == 1
    large.coordinator.verdicts[update.update_id] = "counted"
    large.run(60.0)
    assert service.report.open_updates == 0


def test_a_coordinator_without_a_depot_is_sent_parts(
    large: Federation, depot: SimulatedDepot
) -> None:
    large.coordinator.takes_stored = False
    worker(large, depot)
    begin(large)
    ((update, _),) = large.coordinator.updates
    assert not update.stored
    assert len(large.coordinator.parts) == update.parts
    assert objects(depot) == {}


def test_an_update_that_is_smaller_than_the_depot_is_for_goes_in_parts(
    large: Federation, depot: SimulatedDepot
) -> None:
    worker(large, depot, depot_min_bytes=2**20)
    begin(large)
    assert large.coordinator.parts
    assert objects(depot) == {}


def test_one_that_is_wanted_again_is_put_again_only_if_it_is_gone(
    large: Federation, depot: SimulatedDepot
) -> None:
    worker(large, depot)
    begin(large)
    (update, _) = large.coordinator.updates[0]
    large.coordinator.unknown.add(update.update_id)
    large.run(40.0)
    large.coordinator.unknown.clear()
    name = update_name(update.update_id, update.payload_digest)
    assert len(large.coordinator.updates) == 2
    assert depot.puts.count(name) == 1
    del depot.objects[name]
    large.coordinator.missing[update.update_id] = (1,)
    large.run(60.0)
    assert depot.puts.count(name) == 2
    assert name in depot.objects
    assert large.coordinator.parts == []


def test_a_depot_that_is_away_for_an_update_is_gone_round(
    large: Federation, depot: SimulatedDepot, caplog: pytest.LogCaptureFixture
) -> None:
    worker(large, depot)
    large.coordinator.publish_version(0)
    large.run()
    large.coordinator.offer()

    real = depot.size

    def size(name: str) -> int | None:
        depot.away = depot.away or name.startswith("updates/")
        return real(name)

    depot.size = size  # type: ignore[method-assign]
    large.run(60.0)
    ((update, _),) = large.coordinator.updates
    assert not update.stored
    assert len(large.coordinator.parts) == update.parts
    assert caplog.text.count("an update is not put into the depot") == 1


def test_one_that_comes_to_no_verdict_by_the_depot_goes_in_parts(
    large: Federation, depot: SimulatedDepot
) -> None:
    worker(large, depot)
    begin(large)
    (update, _) = large.coordinator.updates[0]
    large.coordinator.unknown.add(update.update_id)
    large.run(600.0)
    sent = [each.stored for each, _ in large.coordinator.updates]
    assert sent[:4] == [True, True, True, False]
    assert {part.index for part, _ in large.coordinator.parts} == set(range(update.parts))


def test_a_put_that_was_torn_is_seen_and_done_again(
    large: Federation, depot: SimulatedDepot
) -> None:
    worker(large, depot)
    large.coordinator.publish_version(0)
    large.run()
    depot.tears = 1
    large.coordinator.offer()
    large.run(60.0)
    ((update, _),) = large.coordinator.updates
    name = update_name(update.update_id, update.payload_digest)
    assert len(depot.objects[name]) == update.payload_bytes


def test_a_restart_sends_it_again_and_puts_nothing(
    large: Federation, depot: SimulatedDepot
) -> None:
    worker(large, depot)
    begin(large)
    large.workers.pop().kill()
    (update, _) = large.coordinator.updates[0]
    large.coordinator.unknown.add(update.update_id)
    worker(large, depot)
    large.run(60.0)
    assert [each.stored for each, _ in large.coordinator.updates[:2]] == [True, True]
    assert len([name for name in depot.puts if name.startswith("updates/")]) == 1


def test_an_update_whose_payload_is_lost_is_given_up_before_it_is_put(
    large: Federation, depot: SimulatedDepot, tmp_path: Path
) -> None:
    service = worker(large, depot)
    service.go_offline()
    large.run()
    large.coordinator.publish_version(0)
    large.coordinator.offer()
    service.go_online()

    real = depot.size

    def size(name: str) -> int | None:
        if name.startswith("updates/"):
            raise AssertionError("it was damaged before")
        return real(name)

    depot.size = size  # type: ignore[method-assign]
    trainer = HeldTrainer()
    service._trainer = service._effects._trainer = trainer
    large.run()
    service.go_offline()
    large.run()
    trainer.release()
    service.drain()
    (payload,) = (tmp_path / "w1" / "outbox").iterdir()
    payload.write_bytes(b"x" * payload.stat().st_size)
    service.go_online()
    large.run(60.0)
    assert large.coordinator.updates == []
    assert service.report.open_updates == 0


def holding_updates(porter: HeldPorter) -> Callable[[str], Porter]:
    return lambda name: porter if name.endswith("-updates") else PromptPorter()


def test_a_depot_that_hangs_for_an_update_is_gone_round(
    large: Federation, depot: SimulatedDepot, caplog: pytest.LogCaptureFixture
) -> None:
    porter = HeldPorter()
    worker(large, depot, holding_updates(porter))
    begin(large)
    large.run(SILENCE_S - 60.0)
    assert large.coordinator.updates == []
    large.run(120.0)
    ((update, _),) = large.coordinator.updates
    assert not update.stored
    assert len(large.coordinator.parts) == update.parts
    assert len(porter.waiting) == 1, "nothing else is asked of it"
    assert "not put into the depot: it has not answered for 900 s" in caplog.text


def test_a_put_that_goes_on_is_waited_for(large: Federation, depot: SimulatedDepot) -> None:
    porter = HeldPorter()
    worker(large, depot, holding_updates(porter))
    begin(large)
    put = depot.put

    def slow(name: str, data: Buffer, moved: Callable[[], object] = nothing) -> None:
        for _ in range(3):
            large.run(SILENCE_S - 60.0)
            moved()
        put(name, data, moved)

    depot.put = slow  # type: ignore[method-assign]
    assert porter.go()
    large.run(60.0)
    ((update, _),) = large.coordinator.updates
    assert update.stored


def test_while_a_depot_hangs_one_put_waits_for_it_however_often_it_reconnects(
    large: Federation, depot: SimulatedDepot
) -> None:
    porter = HeldPorter()
    service = worker(large, depot, holding_updates(porter))
    begin(large)
    for _ in range(5):
        service.go_offline()
        large.run(5.0)
        service.go_online()
        large.run(30.0)
    assert len(porter.waiting) <= 2
    while porter.go():
        large.run(1.0)
    large.run(60.0)
    ((update, _),) = large.coordinator.updates
    assert update.stored


def test_once_it_answers_again_the_next_update_is_put(
    large: Federation, depot: SimulatedDepot
) -> None:
    porter = HeldPorter()
    worker(large, depot, holding_updates(porter))
    large.coordinator.gives_verdicts = True
    begin(large)
    large.run(2 * SILENCE_S)
    while porter.go():
        large.run(1.0)
    large.coordinator.publish_version(1)
    large.coordinator.offer()
    large.run(1.0)
    assert porter.go()
    large.run(60.0)
    assert [update.stored for update, _ in large.coordinator.updates] == [False, True]
