"""Putting model versions into the depot."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from broker.topology import Names
from broker.transport import Disconnected
from coordinator.mailbox import AboutModel
from coordinator.modelobjects import (
    DOUBT_S,
    KEPT,
    LEFTOVER_S,
    READ_AGAIN_S,
    RETRY_S,
    SILENCE_S,
    ModelObjects,
)
from coordinator.modelstream import ModelVersion
from depot import model_name
from depot.depot import nothing
from depot.porter import Porter
from schemas.buffer import Buffer
from schemas.codecs.model import ModelOnWire
from schemas.digest import digest_of
from schemas.tensors import layout_of
from simulation.depot import SimulatedDepot
from tests.support.errands import HeldPorter, PromptPorter

QUEUE = Names("demo").model_queue("a" * 32, 8)


def version_of(number: int, text: str = "") -> ModelVersion:
    model = (text or f"model {number}").encode()
    layout = layout_of({"w": np.zeros(1, np.float32)})  # of no account where nothing is encoded
    return ModelVersion("a" * 32, 1, number, digest_of(model), ModelOnWire(model, layout), 4)


class Objects:
    """Model objects on a clock that stands still, with a mailbox that is emptied by hand."""

    def __init__(
        self,
        depot: SimulatedDepot | None = None,
        porter: Porter | None = None,
        cleaner: Porter | None = None,
    ) -> None:
        self.now = 1e9
        self.depot = depot or SimulatedDepot(clock=lambda: self.now)
        self.mail: list[AboutModel] = []
        self.ready: list[tuple[int, int]] = []
        self.versions: list[ModelVersion] = []
        self.objects = ModelObjects(
            self.depot,
            porter or PromptPorter(),
            cleaner or PromptPorter(),
            self.mail.append,
            lambda: self.now,
            lambda version, offset: self.ready.append((version, offset)),
            lambda count: [version.digest for version in self.versions[-count:]],
        )

    def take_mail(self) -> None:
        mail, self.mail[:] = list(self.mail), []
        for event in mail:
            assert self.objects.handle(event)

    def publish(self, version: ModelVersion) -> None:
        self.versions.append(version)
        self.objects.publish(version)
        self.take_mail()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.objects.tick()
        self.take_mail()

    def doubt(self, worker_id: str = "w1") -> None:
        """After a while a worker does not find the model."""
        self.now += DOUBT_S
        self.objects.doubt(worker_id)
        self.take_mail()

    def names(self) -> list[str]:
        return sorted(self.depot.objects)


@pytest.fixture
def made() -> Objects:
    return Objects()


def test_a_version_is_put_and_known_to_be_there(made: Objects) -> None:
    made.publish(version_of(0))
    assert made.depot.objects == {model_name(version_of(0).digest): b"model 0"}
    assert made.ready == [(0, 0)]
    assert made.objects.offset == 0


def test_nobody_is_told_before_it_is_there(made: Objects) -> None:
    made.versions.append(version_of(0))
    made.objects.publish(version_of(0))
    assert (made.objects.offset, made.ready) == (None, [])
    made.take_mail()
    assert (made.objects.offset, made.ready) == (0, [(0, 0)])


def test_while_the_next_is_put_the_one_before_is_not_the_current(made: Objects) -> None:
    made.publish(version_of(0))
    made.objects.publish(version_of(1))
    assert made.objects.offset is None


def test_word_of_an_earlier_version_does_not_make_the_current_one_ready(made: Objects) -> None:
    made.objects.publish(version_of(0))
    made.objects.publish(version_of(1))
    first, second = made.mail
    made.objects.handle(first)
    assert (made.objects.offset, made.ready) == (None, [])
    made.objects.handle(second)
    assert made.ready == [(1, 0)]


def test_what_lies_there_is_not_put_again(made: Objects) -> None:
    version = version_of(0)
    made.depot.put(model_name(version.digest), b"model 0")
    made.objects.connect(QUEUE, version, None)
    made.take_mail()
    assert made.depot.puts == [model_name(version.digest)]
    assert made.ready == [(0, 0)]


def test_what_lies_there_with_another_size_is_put_again(made: Objects) -> None:
    version = version_of(0)
    made.depot.put(model_name(version.digest), b"mod")
    made.objects.connect(QUEUE, version, None)
    made.take_mail()
    assert made.depot.objects[model_name(version.digest)] == b"model 0"
    assert made.ready == [(0, 0)]


def test_a_reconnect_to_the_broker_changes_nothing(made: Objects) -> None:
    made.publish(version_of(0))
    made.objects.disconnected()
    assert not made.objects.handle(Disconnected("cut", 1.0))
    assert made.objects.offset == 0
    made.objects.connect(QUEUE, version_of(0), None)
    assert (made.objects.offset, made.mail) == (0, [])


def test_what_the_depot_does_not_take_is_tried_again_later_each_time(
    made: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    made.depot.away = True
    with caplog.at_level(logging.WARNING):
        made.publish(version_of(0))
    assert "version 0 is not in the depot: the depot is away" in caplog.text
    for seconds in (*RETRY_S, RETRY_S[-1]):
        assert made.objects.wake_at() == made.now + seconds
        made.pass_time(seconds - 0.01)
        assert made.objects.wake_at() == pytest.approx(made.now + 0.01)
        made.pass_time(0.01)
    assert made.ready == []
    made.depot.away = False
    made.pass_time(RETRY_S[-1])
    assert made.ready == [(0, 0)]
    assert made.objects.wake_at() is None


def test_a_put_that_was_torn_is_seen_by_its_size(made: Objects) -> None:
    made.depot.tears = 1
    made.publish(version_of(0))
    assert made.ready == []
    made.pass_time(RETRY_S[0])
    assert made.ready == [(0, 0)]
    assert made.depot.objects[model_name(version_of(0).digest)] == b"model 0"


def test_a_put_of_unknown_outcome_is_looked_at(made: Objects) -> None:
    made.depot.fails = 2  # the look, and then the put, which was done all the same
    made.publish(version_of(0))
    made.pass_time(RETRY_S[0])
    assert made.ready == []
    made.pass_time(RETRY_S[1])
    assert made.ready == [(0, 0)]


def test_who_does_not_find_it_has_it_put_again_over_what_is_there(made: Objects) -> None:
    made.depot.mixes_up = 1
    made.publish(version_of(0))
    made.now += DOUBT_S
    made.objects.doubt("w1")
    made.take_mail()
    assert made.objects.offset is None
    made.take_mail()
    assert made.depot.objects[model_name(version_of(0).digest)] == b"model 0"
    assert made.ready == [(0, 0), (0, 0)]


@pytest.mark.parametrize("left", [{}, {model_name(version_of(0).digest): b"mod"}])
def test_what_is_gone_or_cut_is_put_again(made: Objects, left: dict[str, bytes]) -> None:
    made.publish(version_of(0))
    made.depot.objects = left
    made.doubt()
    made.take_mail()
    assert made.depot.objects[model_name(version_of(0).digest)] == b"model 0"
    assert made.ready == [(0, 0), (0, 0)]


def test_one_worker_that_cannot_see_the_depot_hinders_nobody(
    made: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    made.publish(version_of(0))
    for _ in range(30):
        made.now += DOUBT_S
        made.objects.doubt("w1")
        assert made.objects.offset == 0
        made.take_mail()
        assert made.objects.offset == 0
    assert (len(made.depot.puts), made.ready) == (1, [(0, 0)])
    assert "worker w1 does not find version 0, which is in the depot" in caplog.text


def test_the_bytes_of_what_holds_are_not_read_each_time(made: Objects) -> None:
    made.publish(version_of(0))
    for _ in range(round(3 * READ_AGAIN_S / DOUBT_S)):
        made.doubt()
    assert made.depot.read_bytes == 3 * len("model 0")


def test_what_is_damaged_later_is_found_by_its_bytes(made: Objects) -> None:
    made.publish(version_of(0))
    made.doubt()
    made.depot.objects[model_name(version_of(0).digest)] = b"MODEL 0"
    made.doubt()
    assert made.objects.offset == 0, "its size holds"
    made.now += READ_AGAIN_S
    made.doubt()
    made.take_mail()
    assert made.depot.objects[model_name(version_of(0).digest)] == b"model 0"


def test_a_depot_that_is_away_when_it_is_looked_for_changes_nothing(made: Objects) -> None:
    made.publish(version_of(0))
    made.depot.away = True
    made.doubt()
    assert (made.objects.offset, made.objects.trouble) == (0, "")
    made.depot.away = False
    made.depot.objects.clear()
    made.doubt()
    made.take_mail()
    assert made.names() == [model_name(version_of(0).digest)]


def test_it_is_not_looked_for_for_each_of_many_who_did_not_find_it(made: Objects) -> None:
    made.publish(version_of(0))
    for number in range(5):
        made.objects.doubt(f"w{number}")
    assert made.mail == []
    made.now += DOUBT_S
    for number in range(5):
        made.objects.doubt(f"w{number}")
    assert len(made.mail) == 1


def test_what_was_seen_of_an_earlier_version_says_nothing_of_the_current_one() -> None:
    made = Objects(cleaner=(cleaner := HeldPorter()))
    made.publish(version_of(0))
    cleaner.waiting.clear()  # the sweep
    made.depot.objects.clear()
    made.doubt()
    made.publish(version_of(1))
    assert cleaner.go()
    made.take_mail()
    assert made.ready == [(0, 0), (1, 0)]
    assert len(made.depot.puts) == 2


def test_a_large_model_is_not_read_on_once_the_next_version_is_put(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("depot.putting.RANGE_BYTES", 2)
    made = Objects(cleaner=(cleaner := HeldPorter()))
    made.publish(version_of(0))
    cleaner.waiting.clear()
    made.doubt()
    made.publish(version_of(1))
    assert cleaner.go()
    assert made.depot.read_bytes == 0


# A depot that does not answer.


def test_a_depot_that_hangs_while_a_version_is_put_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Objects(porter=(porter := HeldPorter()))
    made.publish(version_of(0))
    assert made.objects.wake_at() == made.now + SILENCE_S
    made.pass_time(SILENCE_S)
    assert made.objects.trouble == "the depot has not answered for 60 s"
    assert "version 0 is not in the depot: the depot has not answered" in caplog.text
    assert made.objects.wake_at() is None, "it is said once"
    assert porter.go()
    made.take_mail()
    assert (made.ready, made.objects.trouble) == ([(0, 0)], "")
    assert "version 0 is in the depot now" in caplog.text


def test_a_put_that_goes_on_is_not_taken_for_one_that_hangs() -> None:
    made = Objects(porter=(porter := HeldPorter()))
    put = made.depot.put

    def slow(name: str, data: Buffer, moved: Callable[[], object] = nothing) -> None:
        for _ in range(3):
            made.now += SILENCE_S - 1.0
            made.objects.tick()
            assert made.objects.trouble == ""
            moved()
        put(name, data, moved)

    made.depot.put = slow  # type: ignore[method-assign]
    made.publish(version_of(0))
    assert porter.go()
    made.take_mail()
    assert made.ready == [(0, 0)]


def test_while_a_depot_hangs_only_the_newest_version_waits_for_it() -> None:
    made = Objects(porter=(porter := HeldPorter()))
    for number in range(5):
        made.publish(version_of(number))
    assert len(porter.waiting) == 2
    while porter.go():
        made.take_mail()
    assert made.ready == [(4, 0)]


def test_a_depot_that_hangs_while_a_version_is_looked_for_is_told_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Objects(cleaner=HeldPorter())
    made.publish(version_of(0))
    made.doubt()
    made.pass_time(SILENCE_S)
    assert "version 0 is looked for: the depot has not answered for 60 s" in caplog.text
    assert made.objects.offset == 0


# What is deleted.


def test_no_version_waits_for_what_is_deleted() -> None:
    made = Objects(cleaner=(cleaner := HeldPorter()))
    for number in range(2 * KEPT):
        made.publish(version_of(number))
    assert len(cleaner.waiting) == KEPT + 1, "and the sweep"
    assert made.ready[-1] == (2 * KEPT - 1, 0)


def test_a_version_like_one_that_is_being_deleted_is_put_after_that() -> None:
    made = Objects(cleaner=(cleaner := HeldPorter()))
    made.publish(version_of(0, "the same"))
    for number in range(1, KEPT + 1):
        made.publish(version_of(number))
    made.publish(version_of(KEPT + 1, "the same"))
    while cleaner.go():
        made.take_mail()
    assert made.ready[-1] == (KEPT + 1, 0)
    assert model_name(version_of(0, "the same").digest) in made.depot.objects


def test_a_sweep_that_comes_late_spares_what_was_put_meanwhile() -> None:
    made = Objects(cleaner=(cleaner := HeldPorter()))
    made.depot.put(model_name(version_of(1).digest), b"model 1")
    made.publish(version_of(0))
    made.now += LEFTOVER_S + 1
    made.publish(version_of(1))
    while cleaner.go():
        made.take_mail()
    assert model_name(version_of(1).digest) in made.depot.objects


def test_the_newest_versions_are_kept(made: Objects) -> None:
    for number in range(KEPT + 2):
        made.publish(version_of(number))
    kept = [model_name(version_of(number).digest) for number in range(2, KEPT + 2)]
    assert made.names() == sorted(kept)


def test_a_version_like_an_old_one_keeps_its_object(made: Objects) -> None:
    made.publish(version_of(0, "the same"))
    for number in range(1, KEPT):
        made.publish(version_of(number))
    made.publish(replace(version_of(KEPT, "the same")))
    for number in range(KEPT + 1, 2 * KEPT):
        made.publish(version_of(number))
    assert model_name(version_of(0, "the same").digest) in made.depot.objects
    made.publish(version_of(2 * KEPT))
    assert model_name(version_of(0, "the same").digest) not in made.depot.objects


def test_what_an_earlier_process_left_is_deleted_once_it_is_old(made: Objects) -> None:
    made.depot.put("models/" + "1" * 64, b"old")
    made.depot.put("updates/" + "1" * 32 + "/" + "2" * 64, b"old")
    made.depot.put(model_name(version_of(0).digest), b"model 0")
    made.now += LEFTOVER_S + 1
    made.depot.put("models/" + "3" * 64, b"new")
    made.objects.connect(QUEUE, version_of(0), None)
    made.take_mail()
    assert "models/" + "1" * 64 not in made.depot.objects
    assert len(made.depot.objects) == 3


def test_what_an_earlier_process_put_goes_when_the_next_versions_come(made: Objects) -> None:
    for number in range(KEPT):
        made.publish(version_of(number))
    again = Objects(made.depot)
    again.versions.extend(made.versions)
    again.objects.connect(QUEUE, version_of(KEPT - 1), None)
    again.take_mail()
    assert len(made.depot.objects) == KEPT
    for number in range(KEPT, KEPT + 2):
        again.publish(version_of(number))
        assert len(made.depot.objects) == KEPT


def test_a_deletion_that_fails_stops_nothing(made: Objects) -> None:
    for number in range(KEPT):
        made.publish(version_of(number))
    made.versions.append(version_of(KEPT))
    made.objects.publish(version_of(KEPT))
    made.depot.away = True
    made.take_mail()
    assert made.ready[-1] == (KEPT, 0)
    assert len(made.depot.objects) == KEPT + 1
