"""What anyone can send without end neither fills the disk, nor the memory, nor the log."""

from __future__ import annotations

import logging

import pytest

from coordinator import copies, writing
from coordinator.enrolment import Enrolment
from schemas.digest import digest_of
from schemas.messages import Presence, encode
from tests.coordinator.world import MakeWorld


def test_rows_of_refused_messages_are_bounded_and_still_counted(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "STRAYS_KEPT", 20)
    world = make_world()
    worker = world.somebody()
    for number in range(70):
        worker.send_bytes(b"garbage %d" % number, world.run_row().run_id)
        if number % 7 == 0:
            world.now += 1
            world.step()
    world.step()
    rows = world.read(lambda work: work.count_strays())
    dropped = world.read(lambda work: work.dropped("stray"))
    assert rows == {"malformed": 70}
    assert dropped == {"malformed": 50}


def test_the_rows_that_give_way_are_the_oldest(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "STRAYS_KEPT", 2)
    world = make_world()
    worker = world.somebody()
    for body in (b"first", b"second", b"third"):
        worker.send_bytes(body, world.run_row().run_id)
        world.now += 1
        world.step()
    names = [digest_of(body) for body in (b"first", b"second", b"third")]
    rows = world.read(lambda work: [work.stray(name) for name in names])
    assert [row is not None for row in rows] == [False, True, True]


def test_a_flood_of_refused_messages_is_one_line_in_ten_seconds(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    worker = world.somebody()
    caplog.set_level(logging.WARNING, "coordinator")
    caplog.clear()
    for number in range(300):
        worker.send_bytes(b"garbage %d" % number, world.run_row().run_id)
    world.step()
    assert [record.message[:25] for record in caplog.records] == ["a message of 9 bytes is r"]
    world.pass_time(11)
    worker.say_present()
    world.step()
    assert "and 298 like it in the 10 s before" in caplog.records[-1].message
    assert len(caplog.records) == 2


def test_a_transaction_that_fails_has_refused_nothing_yet(
    make_world: MakeWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    worker = world.somebody()
    world.steps.trouble["before commit"] = OSError(28, "No space left on device")
    caplog.set_level(logging.WARNING, "coordinator")
    worker.send_bytes(b"garbage", world.run_row().run_id)
    world.step()
    assert not [record for record in caplog.records if "is refused" in record.message]
    world.steps.trouble.clear()


def test_copies_do_not_pile_up_while_the_broker_confirms_nothing(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "ON_THEIR_WAY_MAX", 10)
    world = make_world()
    worker = world.somebody()
    world.broker.hold_confirms()
    for number in range(50):
        worker.send_bytes(b"garbage %d" % number, world.run_row().run_id)
    world.step()
    assert world.strays() == {"malformed": 50}
    assert world.ready("refused") == 10
    world.broker.release_confirms()
    world.step()
    worker.send_bytes(b"rubbish", world.run_row().run_id)
    world.step()
    assert world.ready("refused") == 11


def test_rows_of_workers_are_bounded(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WORKERS_KEPT", 10)
    monkeypatch.setattr(writing, "LOOK_EACH", 5)
    world = make_world()
    feeder = world.somebody()
    for number in range(60):
        feeder.ask_bytes("presence", encode(Presence(f"p{number}", "", -1, 0, False, False, ())))
        world.now += 1
        world.step()
    rows = world.read(lambda work: Enrolment(work).ids())
    assert 10 <= len(rows) < 15
    assert {*rows} >= {f"p{number}" for number in range(50, 60)}
    assert world.read(lambda work: work.dropped("worker")) == {"": 60 - len(rows)}
