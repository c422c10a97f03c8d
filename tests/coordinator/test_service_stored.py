"""Updates that lie in the depot: read part by part, with one verdict whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from coordinator import evaluation, fetching
from coordinator.connection import Connection
from coordinator.fetching import AT_ONCE, HOLD_S, RETRY_S, ROOM_S, SWEEP_EACH_S
from coordinator.startup import Surroundings
from coordinator.uploads import SILENT_S
from depot import update_name
from schemas.digest import digest_of
from schemas.messages import Start, Task, Update, encode, part_count
from simulation.depot import SimulatedDepot
from tests.coordinator.feeder import Feeder
from tests.coordinator.steps import Steps
from tests.coordinator.test_roster import assert_as_stored, roster_of
from tests.coordinator.test_service_unsaid import begun, may_take
from tests.coordinator.world import World
from tests.support.errands import HeldPorter, PromptPorter

MakeWorld = Callable[..., World]
ROWS = 30_000  # 240 kB: four parts
PARTS = 4
PART_BYTES = 64 * 1024


@dataclass
class Stored:
    """A worker with an update that goes by the depot."""

    world: World
    depot: SimulatedDepot
    worker: Feeder
    update: Update
    payload: bytes

    @property
    def name(self) -> str:
        return update_name(self.update.update_id, self.update.payload_digest)

    def put(self) -> None:
        self.depot.put(self.name, self.payload)

    def send(self) -> None:
        """Put it into the depot, and close the upload."""
        self.put()
        self.close()

    def close(self, step: bool = True) -> None:
        parts = part_count(len(self.payload), PART_BYTES)
        self.worker.send(replace(self.update, parts=parts, stored=True), b"")
        if step:
            self.world.step()

    def ask(self) -> Any:
        token = self.worker.say_present(self.update.update_id)
        self.world.step()
        return self.worker.standing_of(token)

    @property
    def unsettled(self) -> int:
        """How many of its messages the coordinator has and has not acked."""
        clients = self.world.broker._clients.values()
        held = [lease.message.message_id for client in clients for lease in client.leases.values()]
        return held.count(self.update.update_id)

    @property
    def verdict(self) -> str:
        has = self.world.has_verdict(self.update.update_id)
        return self.world.verdict(self.update.update_id) if has else ""


@pytest.fixture
def depot() -> SimulatedDepot:
    return SimulatedDepot()


class Porters:
    """Makes porters that are prompt, or wait; of every life of a coordinator."""

    def __init__(self) -> None:
        self.held: list[HeldPorter] = []
        self.are_prompt = True

    def __call__(self, name: str) -> Any:
        if self.are_prompt or not name.startswith("depot-updates"):
            return PromptPorter()
        self.held.append(HeldPorter())
        return self.held[-1]

    def go(self) -> bool:
        """One errand of each that waits; whether there was one."""
        return sum(porter.go() for porter in self.held) > 0


@pytest.fixture
def porters() -> Porters:
    return Porters()


@pytest.fixture
def make(make_world: MakeWorld, depot: SimulatedDepot, porters: Porters) -> MakeWorld:
    def make_one(**options: Any) -> World:
        around = Surroundings(
            initial_of=evaluation.initial_of,
            depot_of=lambda settings: depot,
            porter_of=porters,
        )
        world = make_world(size=ROWS, around=around, **options)
        depot.clock = world.clock
        return world

    return make_one


@pytest.fixture
def world(make: MakeWorld) -> World:
    return make()


@pytest.fixture
def slow(make: MakeWorld, porters: Porters) -> World:
    """A world in which updates are read when a test says so."""
    porters.are_prompt = False
    return make()


def stored(world: World, depot: SimulatedDepot, value: float = 1.0) -> Stored:
    worker = world.somebody()
    return stored_of(world, depot, worker, *world.begin_task(worker), value)


def stored_of(
    world: World, depot: SimulatedDepot, worker: Feeder, task: Task, start: Start, value: float
) -> Stored:
    update = worker.update(task, start, world.layout, value)
    return Stored(world, depot, worker, update, worker.payload(world.layout, value))


def test_an_update_of_the_depot_counts_like_any_other(world: World, depot: SimulatedDepot) -> None:
    for value in (1.0, 3.0):
        one = stored(world, depot, value)
        one.send()
        assert one.verdict == "counted"
        assert one.name not in depot.objects
    assert world.weight() == 3.0


def test_a_worker_is_told_that_updates_may_lie_there(
    world: World, make_world: MakeWorld, depot: SimulatedDepot
) -> None:
    assert stored(world, depot).ask().takes_stored


def test_its_spooled_bytes_are_those_of_one_that_came_in_parts(
    world: World, depot: SimulatedDepot
) -> None:
    one = stored(world, depot)
    one.send()
    row = world.ledger(one.update.update_id)
    world.service._spool.close()
    segment = world.folder / "state" / "spool" / f"{row.segment:08d}.seg"
    kept = segment.read_bytes()[row.place : row.place + row.length]
    assert kept == encode(one.update, one.payload)


def test_one_that_is_not_there_is_unknown(world: World, depot: SimulatedDepot) -> None:
    one = stored(world, depot)
    one.close()
    assert one.verdict == ""
    assert one.ask().unknown == (one.update.update_id,)
    one.send()
    assert one.verdict == "counted"


def test_one_that_was_torn_is_deleted_and_unknown(world: World, depot: SimulatedDepot) -> None:
    one = stored(world, depot)
    depot.tears = 1
    one.send()
    assert one.verdict == ""
    assert one.name not in depot.objects
    assert one.ask().unknown == (one.update.update_id,)


def test_a_torn_one_is_not_read_at_all(world: World, depot: SimulatedDepot) -> None:
    one = stored(world, depot)
    depot.tears = 1
    one.send()
    assert depot.read_bytes == 0


def test_one_that_holds_other_bytes_takes_no_id_and_is_deleted(
    world: World, depot: SimulatedDepot
) -> None:
    one = stored(world, depot)
    depot.mixes_up = 1
    one.send()
    assert one.verdict == ""
    assert world.strays() == {"malformed": 1}
    assert one.name not in depot.objects
    one.send()
    assert one.verdict == "counted"


def test_one_of_another_size_is_refused_before_anything_is_read(
    world: World, depot: SimulatedDepot
) -> None:
    one = stored(world, depot)
    one.put()
    one.update = replace(one.update, payload_bytes=len(one.payload) + 4)
    one.close()
    assert one.verdict == "malformed"
    assert depot.read_bytes == 0


def test_a_depot_that_fails_for_a_moment_is_asked_again(
    world: World, depot: SimulatedDepot
) -> None:
    one = stored(world, depot)
    one.put()
    depot.fails = 2
    one.close()
    assert one.verdict == ""
    world.pass_time(RETRY_S[0])
    assert one.verdict == ""
    world.pass_time(RETRY_S[1])
    assert one.verdict == "counted"


def test_a_depot_that_stays_away_gives_the_closing_message_back(
    world: World, depot: SimulatedDepot
) -> None:
    one = stored(world, depot)
    one.put()
    depot.away = True
    one.close()
    world.pass_time(HOLD_S / 2)
    assert one.unsettled == 1
    assert one.ask().unknown == ()
    world.pass_time(HOLD_S / 2)
    assert one.unsettled == 0
    assert one.ask().unknown == (one.update.update_id,)
    depot.away = False
    one.close()
    assert one.verdict == "counted"


def test_while_it_is_read_nothing_is_wanted_of_the_worker(
    slow: World, depot: SimulatedDepot, porters: Porters
) -> None:
    one = stored(slow, depot)
    one.send()
    for _ in range(PARTS):
        standing = one.ask()
        assert (standing.unknown, standing.missing, standing.verdicts) == ((), {}, {})
        assert porters.go()
        slow.step()
    assert one.ask().verdicts == {one.update.update_id: "counted"}


def test_small_updates_are_counted_while_a_large_one_is_read(
    slow: World, depot: SimulatedDepot
) -> None:
    one = stored(slow, depot)
    one.send()
    answered = slow.answer(slow.somebody())
    assert slow.verdict(answered) == "counted"
    assert one.verdict == ""


def test_a_second_closing_message_is_acked_at_once(
    slow: World, depot: SimulatedDepot, porters: Porters
) -> None:
    one = stored(slow, depot)
    one.put()
    one.close(step=False)
    one.close(step=False)
    one.close()
    assert one.unsettled == 1
    while porters.go():
        slow.step()
    row = slow.ledger(one.update.update_id)
    assert (row.verdict, row.copies) == ("counted", 0)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch, make: MakeWorld, porters: Porters) -> World:
    """A slow world in which one closing message may stay unsettled."""
    monkeypatch.setattr(Connection, "prefetch", 2)
    porters.are_prompt = False
    return make()


def two_closed(world: World, depot: SimulatedDepot) -> tuple[Stored, Stored]:
    """The first is not acked while it is held, the second is."""
    one, other = stored(world, depot, 1.0), stored(world, depot, 3.0)
    for each in (one, other):
        each.send()
    assert (one.unsettled, other.unsettled) == (1, 0)
    return one, other


def test_more_than_may_be_unsettled_are_acked_and_stay_in_hand(
    narrow: World, depot: SimulatedDepot, porters: Porters
) -> None:
    pair = two_closed(narrow, depot)
    for each in pair:
        standing = each.ask()
        assert (standing.in_hand, standing.unknown) == ((each.update.update_id,), ())
    while porters.go():
        narrow.step()
    assert [each.verdict for each in pair] == ["counted", "counted"]
    assert [narrow.ledger(each.update.update_id).copies for each in pair] == [0, 0]
    assert narrow.weight() == narrow.weight(0) + 2.0


def test_more_than_are_held_are_given_back(
    slow: World, depot: SimulatedDepot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "HELD_MAX", 1)
    one, other = stored(slow, depot), stored(slow, depot)
    one.close()
    other.close()
    assert (one.unsettled, other.unsettled) == (1, 0)
    assert one.ask().unknown == ()
    assert other.ask().unknown == (other.update.update_id,)


def test_half_of_those_that_may_be_unsettled_are_held(world: World) -> None:
    fetches = world.service._fetches
    assert fetches is not None
    assert fetches._unsettled_max == world.service._connection._prefetch // 2 >= 4


WIDE = {
    "rounds__goal": 6,
    "rounds__concurrency": 6,
    "rounds__deadline": "9h",
    "rounds__lease": "9h",
}


def test_one_whose_turn_has_not_come_is_held_for_as_long_as_others_are_read(
    make: MakeWorld, depot: SimulatedDepot, porters: Porters
) -> None:
    porters.are_prompt = False
    slow = make(**WIDE)
    several = [stored(slow, depot) for _ in range(AT_ONCE + 1)]
    for each in several:
        each.send()
    last = several[-1]
    for _ in range(PARTS - 1):
        slow.pass_time(HOLD_S * 0.9)
        assert last.ask().in_hand == (last.update.update_id,)
        porters.go()
        slow.step()
    assert [each.unsettled for each in several] == [0, 0, 0], "the broker waits for no ack so long"
    while porters.go():
        slow.step()
    assert [each.verdict for each in several] == ["counted"] * 3


def test_if_the_depot_is_silent_about_all_they_are_let_go_together(
    make: MakeWorld, depot: SimulatedDepot, porters: Porters
) -> None:
    porters.are_prompt = False
    slow = make(**WIDE)
    several = [stored(slow, depot) for _ in range(AT_ONCE + 2)]
    for each in several:
        each.send()
    slow.pass_time(HOLD_S)
    for each in several:
        assert each.ask().unknown == (each.update.update_id,)
        assert each.unsettled == 0


def test_who_hangs_is_not_asked_while_another_is_free(
    slow: World, depot: SimulatedDepot, porters: Porters
) -> None:
    one = stored(slow, depot)
    one.send()
    (free,) = (porter for porter in porters.held if not porter.waiting)
    slow.cut()
    while free.go():
        slow.step()
    assert one.verdict == "counted"


def test_while_the_depot_hangs_one_reading_waits_for_each_who_reads(
    slow: World, depot: SimulatedDepot, porters: Porters
) -> None:
    for _ in range(AT_ONCE):
        each = stored(slow, depot)
        each.send()
    for _ in range(5):
        slow.cut()
    assert [len(porter.waiting) for porter in porters.held] == [2] * AT_ONCE


def test_that_the_depot_hangs_is_logged(
    slow: World, depot: SimulatedDepot, caplog: pytest.LogCaptureFixture
) -> None:
    one = stored(slow, depot)
    one.send()
    with caplog.at_level(logging.WARNING):
        slow.pass_time(HOLD_S)
    assert "updates are not read from the depot, which was silent for 600 s: 1" in caplog.text


def test_one_that_there_is_no_room_for_waits_for_it(
    make: MakeWorld, porters: Porters, depot: SimulatedDepot
) -> None:
    porters.are_prompt = False
    slow = make(coordinator__uploads_bytes="1MiB", **WIDE)
    *others, one = [stored(slow, depot) for _ in range(2**20 // (ROWS * 8) + 1)]
    for each in others:
        each.worker.send_part(each.update, each.payload, PART_BYTES, 0)
    one.send()
    for _ in range(2):
        porters.go()
        slow.step()
        assert one.ask().in_hand == (one.update.update_id,)
        slow.pass_time(ROOM_S)
    first = others[0]
    for index in range(1, PARTS):
        first.worker.send_part(first.update, first.payload, PART_BYTES, index)
    first.worker.close_upload(first.update, first.payload, PART_BYTES)
    slow.step()
    assert first.verdict == "counted"
    while porters.go():
        slow.step()
    assert one.verdict == "counted"


def test_one_that_gave_way_while_it_was_read_is_read_from_its_beginning(
    make: MakeWorld, porters: Porters, depot: SimulatedDepot
) -> None:
    porters.are_prompt = False
    slow = make(coordinator__uploads_bytes="1MiB", coordinator__uploads_age="1h", **WIDE)
    one, *others = [stored(slow, depot) for _ in range(2**20 // (ROWS * 8) + 1)]
    one.send()
    porters.go()
    slow.step()
    slow.service._run._uploads.forget(one.update.update_id)
    slow.service._spool.parts.forget(one.update.update_id)
    for each in others:
        each.worker.send_part(each.update, each.payload, PART_BYTES, 0)
    slow.step()
    for wait_s in (ROOM_S, ROOM_S, SILENT_S):
        porters.go()
        slow.step()
        assert one.ask().in_hand
        slow.pass_time(wait_s)
    while porters.go():
        slow.step()
    assert one.verdict == "counted"


def test_while_there_is_no_room_only_as_many_look_for_it_as_are_read_at_a_time(
    make: MakeWorld, porters: Porters, depot: SimulatedDepot
) -> None:
    porters.are_prompt = False
    slow = make(coordinator__uploads_bytes="1MiB", **{**WIDE, "rounds__concurrency": 12})
    most = 2**20 // (ROWS * 8)
    several = [stored(slow, depot) for _ in range(most + 5)]
    for each in several[:most]:
        each.worker.send_part(each.update, each.payload, PART_BYTES, 0)
    for each in several[most:]:
        each.send()
    for looks in range(1, 4):
        while porters.go():
            slow.step()
        assert depot.read_bytes == looks * AT_ONCE * PART_BYTES
        slow.pass_time(ROOM_S)


@pytest.mark.parametrize("read", range(PARTS))
def test_one_that_was_acked_is_not_lost_with_the_connection(
    narrow: World, depot: SimulatedDepot, porters: Porters, read: int
) -> None:
    pair = two_closed(narrow, depot)
    for _ in range(read):
        porters.go()
        narrow.step()
    before = depot.read_bytes
    narrow.cut()
    assert pair[1].ask().in_hand == (pair[1].update.update_id,)
    while porters.go():
        narrow.step()
    assert [each.verdict for each in pair] == ["counted", "counted"]
    assert [narrow.ledger(each.update.update_id).copies for each in pair] == [0, 0]
    assert depot.read_bytes - before <= 2 * (PARTS - read + 1) * PART_BYTES


@pytest.mark.parametrize("read", [0, PARTS - 1])
@pytest.mark.parametrize("place", ["before put", "before commit", "after commit", "before adopt"])
def test_one_that_was_acked_is_not_lost_when_the_disk_refuses(
    narrow: World, depot: SimulatedDepot, porters: Porters, place: str, read: int
) -> None:
    pair = two_closed(narrow, depot)
    for _ in range(read):
        porters.go()
        narrow.step()
    narrow.steps.trouble[place] = OSError(28, "No space left on device")
    while narrow.seen[-1].state != "connecting":
        porters.go()
        narrow.step()
    narrow.steps.trouble.clear()
    for _ in range(3):
        narrow.pass_to_wake()
    while porters.go():
        narrow.step()
    assert [each.verdict for each in pair] == ["counted", "counted"]
    assert [narrow.ledger(each.update.update_id).copies for each in pair] == [0, 0]
    assert narrow.weight() == narrow.weight(0) + 2.0


def test_one_that_was_acked_is_unknown_after_a_restart_and_closed_again(
    narrow: World, depot: SimulatedDepot, porters: Porters
) -> None:
    one, other = two_closed(narrow, depot)
    narrow.restart()
    assert one.ask().in_hand == (one.update.update_id,)
    assert other.ask().unknown == (other.update.update_id,)
    other.close()
    while porters.go():
        narrow.step()
    assert [each.verdict for each in (one, other)] == ["counted", "counted"]


def test_a_cut_connection_reads_nothing_twice(
    slow: World, depot: SimulatedDepot, porters: Porters
) -> None:
    one = stored(slow, depot)
    one.send()
    for _ in range(2):
        porters.go()
        slow.step()
    slow.cut()
    while porters.go():
        slow.step()
    assert one.verdict == "counted"
    assert depot.read_bytes <= len(one.payload) + PART_BYTES  # what was on its way


def test_a_restart_reads_only_what_is_missing(
    slow: World, depot: SimulatedDepot, porters: Porters
) -> None:
    one = stored(slow, depot)
    one.send()
    for _ in range(2):
        porters.go()
        slow.step()
    slow.restart()
    before = depot.read_bytes
    while porters.go():
        slow.step()
    assert one.verdict == "counted"
    assert depot.read_bytes - before == len(one.payload) - 2 * PART_BYTES


def test_it_may_go_on_in_parts_over_the_broker(
    slow: World, depot: SimulatedDepot, porters: Porters
) -> None:
    one = stored(slow, depot)
    one.send()
    porters.go()
    slow.step()
    slow.pass_time(HOLD_S)
    assert one.ask().missing == {one.update.update_id: (1, 2, 3)}
    for index in (1, 2, 3):
        one.worker.send_part(one.update, one.payload, PART_BYTES, index)
    one.worker.close_upload(one.update, one.payload, PART_BYTES)
    slow.step()
    assert one.verdict == "counted"


def test_two_payloads_of_one_update_give_one_verdict(world: World, depot: SimulatedDepot) -> None:
    one = stored(world, depot)
    other_payload = one.worker.payload(world.layout, 2.0)
    digest = digest_of(other_payload)
    other = replace(one, update=replace(one.update, payload_digest=digest), payload=other_payload)
    for each in (one, other):
        each.send()
    row = world.ledger(one.update.update_id)
    assert (row.verdict, row.copies) == ("counted", 1)
    assert not [name for name in depot.objects if name.startswith("updates/")]


def test_one_of_an_unknown_task_is_not_read(world: World, depot: SimulatedDepot) -> None:
    one = stored(world, depot)
    one.put()
    one.update = replace(one.update, run_id="0" * 32)
    one.close()
    assert depot.read_bytes == 0
    assert one.name not in depot.objects


def test_what_nobody_asks_for_expires(make: MakeWorld, depot: SimulatedDepot) -> None:
    world = make(coordinator__uploads_age="60s")
    one, other = stored(world, depot), stored(world, depot)
    one.put()
    world.pass_time(SWEEP_EACH_S - 30)
    other.put()
    world.pass_time(30)
    assert one.name not in depot.objects
    assert other.name in depot.objects


def test_without_a_depot_its_parts_are_missing(
    make_world: MakeWorld, depot: SimulatedDepot
) -> None:
    world = make_world(size=ROWS)
    one = stored(world, depot)
    one.send()
    standing = one.ask()
    assert standing.unknown == (one.update.update_id,)
    assert not standing.takes_stored
    assert one.unsettled == 0


def test_a_coordinator_that_ends_at_any_step_counts_it_once(
    make: MakeWorld, steps: Steps, depot: SimulatedDepot
) -> None:
    """After each end it is started again; then all is as if nothing had happened."""
    world = make(run__rounds=1000)
    killed: set[str] = set()
    for kill_at in range(1000):
        before = world.version
        one, other = stored(world, depot, 1.0), stored(world, depot, 3.0)
        one.put()
        other.put()
        one.close()
        steps.begin_again(kill_at)
        other.close()
        world.step()
        if not steps.killed:
            break
        killed.add(steps.killed)
        steps.begin_again()
        world.step()
        assert [each.verdict for each in (one, other)] == ["counted", "counted"]
        assert world.version == before + 1
        assert world.weight() == world.weight(before) + 2.0
        assert not [name for name in depot.objects if name.startswith("updates/")], steps.killed
    else:
        raise AssertionError("it never came to the end of its steps")
    assert {"before put", "after put", "before sync", "after sync", "before adopt"} <= killed
    assert {"before commit", "after commit", "before ack", "after ack"} <= killed


def test_one_that_was_acked_early_counts_once_wherever_the_coordinator_ends(
    monkeypatch: pytest.MonkeyPatch,
    make: MakeWorld,
    steps: Steps,
    depot: SimulatedDepot,
    porters: Porters,
) -> None:
    """The coordinator may forget it; its worker then closes it again."""
    monkeypatch.setattr(Connection, "prefetch", 2)
    porters.are_prompt = False
    world = make(run__rounds=1000)
    closed_again = 0
    for kill_at in range(1000):
        before = world.version
        one, other = stored(world, depot, 1.0), stored(world, depot, 3.0)
        one.put()
        other.put()
        one.close()
        steps.begin_again(kill_at)
        other.close()
        while porters.go():
            world.step()
        if not steps.killed:
            break
        steps.begin_again()
        if not other.verdict and not other.ask().in_hand:
            closed_again += 1
            other.close()
        while porters.go():
            world.step()
        assert [each.verdict for each in (one, other)] == ["counted", "counted"]
        assert world.version == before + 1
        assert world.weight() == world.weight(before) + 2.0
    else:
        raise AssertionError("it never came to the end of its steps")
    assert closed_again > 0


# Its closing message says who has its task, where nobody has said so.


def unsaid(world: World, depot: SimulatedDepot) -> Stored:
    """A worker is done with a task, and nobody knows that it took it."""
    worker = world.somebody()
    one = stored_of(world, depot, worker, *begun(world, worker), 1.0)
    one.update = replace(one.update, train_s=2.0)
    return one


def test_while_it_is_read_its_task_is_taken(slow: World, depot: SimulatedDepot) -> None:
    one = unsaid(slow, depot)
    slow.pass_time(5.0)
    one.send()
    row = slow.task_row(one.update.task_id)
    assert (row.state, row.worker_id, row.base_version) == ("taken", one.worker.worker_id, 0)
    assert (row.taken_at, row.lease_end) == (slow.now - 2.0, slow.now + 30.0)
    slow.restart()
    assert not may_take(slow, one.worker, one.update)


def test_a_deadline_does_not_offer_its_task_to_others(
    make: MakeWorld, depot: SimulatedDepot, porters: Porters
) -> None:
    porters.are_prompt = False
    world = make(rounds__deadline="20s", rounds__quorum=1)
    one = unsaid(world, depot)
    one.send()
    world.pass_time(20.0)
    assert world.run_row().extensions == 1
    assert world.task_row(one.update.task_id).state == "taken"
    porters.are_prompt = True
    while porters.go():
        world.step()
    assert (one.verdict, world.weight()) == ("counted", 1.0)


def test_leases_end_in_their_order_also_of_what_is_read(
    make: MakeWorld, depot: SimulatedDepot, porters: Porters
) -> None:
    porters.are_prompt = False
    world = make(rounds__deadline="10m", rounds__lease="30s")
    one = unsaid(world, depot)
    one.send()
    world.pass_time(1.0)
    task, _ = world.begin_task(world.somebody())
    world.pass_time(30.0)
    assert world.task_row(one.update.task_id).state == "lapsed"
    assert world.task_row(task.task_id).state == "lapsed"


def test_who_sent_it_was_heard_and_has_its_task_since_it_took_it(
    slow: World, depot: SimulatedDepot
) -> None:
    one = unsaid(slow, depot)
    slow.pass_time(5.0)
    one.send()
    assert_as_stored(slow)
    slow.pass_time(31.0)
    assert slow.task_row(one.update.task_id).state == "lapsed"
    assert_as_stored(slow)
    roster = roster_of(slow)
    assert roster.registry.unheard[roster._rows[one.worker.worker_id]] == 0
