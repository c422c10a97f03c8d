"""Reading a model from the depot into the cache."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from depot import RANGE_BYTES, model_name
from disk import OsDisk
from disk.durable import PARTIAL
from schemas.digest import digest_of
from simulation.depot import SimulatedDepot
from tests.support.errands import PromptPorter
from tests.worker.examples import a_start, a_task
from worker import fetching
from worker.fetching import FromDepot, ModelFetcher, RangeCame, RangeMissed
from worker.models import ModelCache, ModelGoneError

BODY = bytes(range(40))
DIGEST = digest_of(BODY)
START = a_start(a_task(), model_digest=DIGEST, model_bytes=40, stored=True)


class FullDisk(OsDisk):
    full = False

    def create(self, path: Path, *, lasting: bool = True, over: Path | None = None) -> Any:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path, lasting=lasting, over=over)


class Reading:
    """A fetcher whose events are handed in by hand; ranges are of 16 bytes."""

    def __init__(self, folder: Path) -> None:
        self.disk = FullDisk()
        self.cache = ModelCache(folder, self.disk)
        self.cache.prepare()
        self.depot = SimulatedDepot()
        self.depot.put(model_name(DIGEST), BODY)
        self.mail: list[FromDepot] = []
        self.fetcher = ModelFetcher(self.depot, PromptPorter(), self.cache, self.mail.append)

    def next_range(self) -> bytes:
        event = self.mail.pop(0)
        assert self.fetcher.is_due(event)
        assert isinstance(event, RangeCame)
        return bytes(event.data)

    def rest(self) -> str:
        while self.fetcher.take(self.next_range()) != "whole":
            pass
        return "whole"

    def missed(self) -> RangeMissed:
        event = self.mail.pop(0)
        assert self.fetcher.is_due(event)
        assert isinstance(event, RangeMissed)
        return event


@pytest.fixture
def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reading]:
    monkeypatch.setattr(fetching, "RANGE_BYTES", 16)
    made = Reading(tmp_path / "models")
    yield made
    made.fetcher.close()


def test_ranges_are_bounded() -> None:
    assert RANGE_BYTES == 4 * 2**20


def test_a_model_has_its_name_once_all_of_it_is_there(reading: Reading) -> None:
    reading.fetcher.fetch(START)
    assert reading.fetcher.take(reading.next_range()) == "range"
    assert reading.fetcher.take(reading.next_range()) == "range"
    assert not reading.cache.has(DIGEST, 40)
    assert reading.fetcher.take(reading.next_range()) == "whole"
    assert reading.cache.path_of(DIGEST).read_bytes() == BODY
    assert [path.name for path in reading.cache.folder.iterdir()] == [DIGEST]
    assert reading.mail == []


def test_a_model_that_is_not_there_is_gone(reading: Reading) -> None:
    reading.depot.objects.clear()
    reading.fetcher.fetch(START)
    assert reading.missed() == RangeMissed(1, "it is not in the depot", gone=True)


def test_a_model_of_another_size_is_gone_before_anything_is_read(reading: Reading) -> None:
    reading.depot.objects[model_name(DIGEST)] = BODY[:-1]
    reading.fetcher.fetch(START)
    missed = reading.missed()
    assert missed.gone
    assert missed.reason == "expected 40 bytes in the depot, found 39"
    assert reading.depot.read_bytes == 0


def test_a_model_that_is_deleted_meanwhile_is_gone(reading: Reading) -> None:
    reading.fetcher.fetch(START)
    reading.depot.objects.clear()
    reading.fetcher.take(reading.next_range())
    assert reading.missed().gone


def test_a_model_that_is_cut_meanwhile_is_gone_and_dropped(reading: Reading) -> None:
    reading.fetcher.fetch(START)
    reading.depot.objects[model_name(DIGEST)] = BODY[:16]
    reading.fetcher.take(reading.next_range())
    with pytest.raises(ModelGoneError, match="ends after 16 of 40"):
        reading.fetcher.take(reading.next_range())
    assert list(reading.cache.folder.iterdir()) == []


def test_another_model_under_its_name_is_gone_and_dropped(reading: Reading) -> None:
    reading.depot.objects[model_name(DIGEST)] = bytes(40)
    reading.fetcher.fetch(START)
    with pytest.raises(ModelGoneError, match="expected digest"):
        reading.rest()
    assert list(reading.cache.folder.iterdir()) == []
    assert not reading.cache.has(DIGEST, 40)


def test_a_reading_that_was_interrupted_goes_on_with_what_is_missing(reading: Reading) -> None:
    reading.fetcher.fetch(START)
    reading.fetcher.take(reading.next_range())
    reading.fetcher.stop()
    reading.mail.clear()
    reading.depot.read_bytes = 0
    reading.fetcher.fetch(START)
    assert reading.rest() == "whole"
    assert reading.depot.read_bytes == 24
    assert reading.cache.path_of(DIGEST).read_bytes() == BODY


def test_a_depot_that_fails_for_a_moment_costs_one_range(reading: Reading) -> None:
    reading.fetcher.fetch(START)
    reading.depot.fails = 1
    reading.fetcher.take(reading.next_range())
    assert reading.missed() == RangeMissed(1, "the depot failed", gone=False)
    reading.fetcher.fetch(START)
    assert reading.rest() == "whole"
    assert reading.depot.read_bytes == 40


def test_what_an_earlier_reading_asked_for_is_not_taken(reading: Reading) -> None:
    reading.fetcher.fetch(START)
    (late,) = reading.mail
    reading.fetcher.stop()
    assert not reading.fetcher.is_due(late)
    reading.fetcher.fetch(START)
    assert not reading.fetcher.is_due(late)


def test_another_model_does_not_go_on_behind_the_first(reading: Reading) -> None:
    other = bytes(reversed(BODY))
    reading.depot.put(model_name(digest_of(other)), other)
    reading.fetcher.fetch(START)
    reading.fetcher.take(reading.next_range())
    reading.mail.clear()
    reading.fetcher.fetch(a_start(a_task(), model_digest=digest_of(other), model_bytes=40))
    assert reading.rest() == "whole"
    assert reading.cache.path_of(digest_of(other)).read_bytes() == other
    assert [path.name for path in reading.cache.folder.iterdir()] == [digest_of(other)]


def test_what_the_disk_does_not_take_is_dropped(reading: Reading) -> None:
    reading.fetcher.fetch(START)
    reading.disk.full = True
    with pytest.raises(OSError, match="No space"):
        reading.fetcher.take(reading.next_range())
    reading.disk.full = False
    reading.fetcher.fetch(START)
    assert reading.rest() == "whole"


def again(reading: Reading) -> None:
    """The worker is started again."""
    reading.fetcher.close()
    reading.mail.clear()
    reading.cache.prepare()
    reading.depot.read_bytes = 0
    reading.fetcher = ModelFetcher(
        reading.depot, PromptPorter(), reading.cache, reading.mail.append
    )


def test_after_a_restart_it_goes_on_with_what_is_missing(reading: Reading) -> None:
    reading.fetcher.fetch(START)
    reading.fetcher.take(reading.next_range())
    again(reading)
    assert [path.name for path in reading.cache.folder.iterdir()] == [f"{PARTIAL}{DIGEST}"]
    reading.fetcher.fetch(START)
    assert reading.rest() == "whole"
    assert reading.depot.read_bytes == 24
    assert reading.cache.path_of(DIGEST).read_bytes() == BODY


def test_what_a_power_cut_changed_is_read_again_and_the_model_is_not_gone(
    reading: Reading,
) -> None:
    reading.fetcher.fetch(START)
    reading.fetcher.take(reading.next_range())
    again(reading)
    (reading.cache.folder / f"{PARTIAL}{DIGEST}").write_bytes(bytes(16))
    reading.fetcher.fetch(START)
    with pytest.raises(OSError, match="kept of the model is damaged"):
        reading.rest()
    reading.fetcher.fetch(START)
    assert reading.rest() == "whole"


@pytest.mark.parametrize("size", [0, 40, 41])
def test_what_cannot_be_the_beginning_of_it_is_not_gone_on_with(
    reading: Reading, size: int
) -> None:
    (reading.cache.folder / f"{PARTIAL}{DIGEST}").write_bytes(bytes(size))
    reading.fetcher.fetch(START)
    assert reading.rest() == "whole"
    assert reading.depot.read_bytes == 40


def test_it_goes_on_behind_what_came_from_the_stream(reading: Reading) -> None:
    (reading.cache.folder / f"{PARTIAL}{DIGEST}").write_bytes(BODY[:7])
    reading.fetcher.fetch(START)
    assert reading.rest() == "whole"
    assert reading.depot.read_bytes == 33
