"""Updates in parts: any order, copies, gaps and wrong ones, with one verdict in the end."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.intake import Stray
from coordinator.uploadfiles import UploadFiles
from disk import OS_DISK
from schemas.digest import digest_of, update_id_of
from schemas.messages import Start, Task, Update, UpdatePart, encode
from tests.coordinator.feeder import Feeder
from tests.coordinator.steps import Steps
from tests.coordinator.world import MakeWorld, World

ROWS = 30_000  # 240 kB: four parts
PARTS = 4
PART_BYTES = 64 * 1024
OTHER_ID = "0" * 32
OTHER_DIGEST = "0" * 64


@dataclass
class Upload:
    """A worker with an update in parts."""

    world: World
    worker: Feeder
    update: Update
    payload: bytes

    def part(self, *indices: int, payload: bytes | None = None) -> None:
        for index in indices:
            self.worker.send_part(self.update, payload or self.payload, PART_BYTES, index)
        self.world.step()

    def close(self) -> None:
        self.worker.close_upload(self.update, self.payload, PART_BYTES)
        self.world.step()

    def ask(self) -> Any:
        token = self.worker.say_present(self.update.update_id)
        self.world.step()
        return self.worker.standing_of(token)

    @property
    def parts_on_disk(self) -> int:
        parts = UploadFiles(self.world.folder / "state" / "spool", OS_DISK)
        digests = parts.uploads(self.update.update_id)
        return sum(parts.count((self.update.update_id, digest)) for digest in digests)


def upload(world: World, value: float = 1.0) -> Upload:
    worker = world.somebody()
    task, start = world.begin_task(worker)
    return upload_of(world, worker, task, start, value)


def upload_of(world: World, worker: Feeder, task: Task, start: Start, value: float) -> Upload:
    update = worker.update(task, start, world.layout, value)
    return Upload(world, worker, update, worker.payload(world.layout, value))


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(size=ROWS)


@pytest.mark.parametrize(
    "order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 0, 3, 1, 2), (1, 1, 1, 0, 3, 2)]
)
def test_parts_may_come_in_any_order_and_more_than_once(
    world: World, order: tuple[int, ...]
) -> None:
    one, other = upload(world, 1.0), upload(world, 3.0)
    one.part(*order)
    one.close()
    other.part(*order)
    other.close()
    assert world.verdict(one.update.update_id) == "counted"
    assert world.weight() == 3.0
    assert one.parts_on_disk == other.parts_on_disk == 0


def test_uploads_that_take_turns_do_not_mix(world: World) -> None:
    one, other = upload(world, 1.0), upload(world, 3.0)
    for index, each in itertools.product(range(PARTS), (one, other)):
        each.part(index)
    other.close()
    one.close()
    assert world.weight() == 3.0


def test_parts_survive_a_restart(world: World) -> None:
    one = upload(world, 1.0)
    one.part(0, 1)
    world.restart()
    one.part(2, 3)
    one.close()
    assert world.verdict(one.update.update_id) == "counted"


@pytest.mark.parametrize("parts", [(0,), ()])
def test_who_is_still_uploading_is_given_no_other_task_for_that_version(
    make_world: MakeWorld, parts: tuple[int, ...]
) -> None:
    world = make_world(size=ROWS, rounds__lease="5s")
    one = upload(world)
    one.part(*parts)
    world.pass_time(5.0)
    # A worker does not name an update while it sends it.
    token = one.worker.say_present(run_id=world.run_row().run_id, last_version=0)
    world.step()
    assert one.worker.standing_of(token).may_take == (not parts)


def test_a_worker_learns_which_parts_are_missing(world: World) -> None:
    one = upload(world, 1.0)
    assert one.ask().unknown == (one.update.update_id,)
    one.part(0, 2)
    one.close()
    assert not world.has_verdict(one.update.update_id)
    assert one.ask().missing == {one.update.update_id: (1, 3)}
    one.part(1, 3)
    assert one.ask().missing == {one.update.update_id: ()}
    one.close()
    assert one.ask().verdicts == {one.update.update_id: "counted"}


def test_an_upload_that_is_closed_twice_counts_once(world: World) -> None:
    one = upload(world, 1.0)
    one.part(*range(PARTS))
    one.close()
    one.close()
    one.part(*range(PARTS))
    one.close()
    row = world.ledger(one.update.update_id)
    assert (row.verdict, row.copies) == ("counted", 2)
    assert one.parts_on_disk == 0
    assert world.ready("update") == 0


def test_parts_that_a_crash_left_after_the_verdict_go_when_the_end_comes_again(
    world: World, steps: Steps
) -> None:
    one = upload(world, 1.0)
    one.part(*range(PARTS))
    steps.kill_at_name("before forget")
    one.close()
    assert steps.killed
    row = world.ledger(one.update.update_id)
    assert (row.verdict, row.copies) == ("counted", 1)
    assert one.parts_on_disk == 0


def test_an_upload_with_other_bytes_does_not_mix_with_the_first(world: World) -> None:
    one = upload(world, 1.0)
    payload = one.worker.payload(world.layout, 5.0)
    other = Upload(
        world, one.worker, replace(one.update, payload_digest=digest_of(payload)), payload
    )
    one.part(0, 1)
    other.part(2, 3)
    one.close()
    assert not world.has_verdict(one.update.update_id)
    other.part(0, 1)
    other.close()
    assert world.ledger(one.update.update_id).payload_digest == digest_of(payload)
    assert one.parts_on_disk == 0


def test_parts_that_do_not_have_the_digest_together_are_sent_again(world: World) -> None:
    one = upload(world, 1.0)
    one.part(0, 1, 2)
    one.part(3, payload=one.worker.payload(world.layout, 7.0))
    one.close()
    assert world.strays() == {"malformed": 1}
    assert one.ask().unknown == (one.update.update_id,)
    one.close()
    assert world.strays() == {"malformed": 1}, "without its parts it says nothing new"
    one.part(*range(PARTS))
    one.close()
    assert world.verdict(one.update.update_id) == "counted"
    assert world.strays() == {}


@pytest.mark.parametrize(
    "change",
    [
        {"part_bytes": PART_BYTES // 2},
        {"parts": PARTS + 1},
        {"index": PARTS},
        {"payload_bytes": 1},
        {"layout_digest": OTHER_DIGEST},
        {"codec": "int8"},
        {"update_id": OTHER_ID},
    ],
)
def test_a_part_that_does_not_fit_is_refused(world: World, change: dict[str, Any]) -> None:
    one = upload(world, 1.0)
    update = one.update
    part = UpdatePart(
        update_id=update.update_id,
        run_id=update.run_id,
        task_id=update.task_id,
        worker_id=update.worker_id,
        incarnation=update.incarnation,
        layout_digest=update.layout_digest,
        codec=update.codec,
        payload_digest=update.payload_digest,
        payload_bytes=len(one.payload),
        part_bytes=PART_BYTES,
        index=0,
        parts=PARTS,
    )
    one.worker.send_bytes(encode(replace(part, **change), one.payload[:PART_BYTES]), update.run_id)
    world.step()
    assert world.strays() == {"malformed": 1}
    assert one.parts_on_disk == 0
    assert world.ready("update") == 0


def test_a_part_of_a_wrong_size_is_refused(world: World) -> None:
    one = upload(world, 1.0)
    one.part(0, payload=one.payload[:-1] + b"00")
    assert world.strays() == {"malformed": 1}


@pytest.mark.parametrize(
    ("verdict", "change"),
    [
        ("other timeline", {"run_id": OTHER_ID}),
        ("other timeline", {"base_digest": OTHER_DIGEST}),
        ("malformed", {"layout_digest": OTHER_DIGEST}),
        ("malformed", {"codec": "int8"}),
        ("malformed", {"num_examples": 0}),
        ("malformed", {"payload_bytes": 4}),
        ("unknown task", {"task_id": OTHER_ID}),
    ],
)
def test_an_upload_that_can_never_count_gets_its_verdict_without_its_parts(
    world: World, verdict: str, change: dict[str, Any]
) -> None:
    one = upload(world, 1.0)
    one.update = replace(one.update, **change)
    if "task_id" in change:
        made = update_id_of(one.update.incarnation, one.update.task_id, one.worker.worker_id)
        one.update = replace(one.update, update_id=made)
    one.close()
    assert world.verdict(one.update.update_id) == verdict
    assert one.ask().verdicts == {one.update.update_id: verdict}
    assert world.refused()


def test_an_upload_of_an_earlier_life_is_told_so(world: World) -> None:
    one = upload(world, 1.0)
    one.part(0, 1)
    world.restart(restored=True)
    one.part(2, 3)
    one.close()
    assert one.ask().verdicts == {one.update.update_id: "other timeline"}
    assert one.parts_on_disk == 0


def test_parts_for_a_task_that_was_never_offered_take_no_room(world: World) -> None:
    one = upload(world, 1.0)
    made = update_id_of(one.update.incarnation, OTHER_ID, one.worker.worker_id)
    one.update = replace(one.update, update_id=made, task_id=OTHER_ID)
    one.part(*range(PARTS))
    assert one.parts_on_disk == 0
    assert world.strays() == {"unknown task": PARTS}


def test_parts_that_nobody_will_close_are_gone_with_the_run(world: World) -> None:
    one = upload(world, 1.0)
    one.part(0, 1)
    world.restart(new_run=True)
    assert not list((world.folder / "state" / "spool" / "parts").iterdir())


def test_the_copy_of_a_refused_upload_is_small(world: World) -> None:
    one = upload(world, 1.0)
    one.payload = b"\xff" * len(one.payload)
    one.update = replace(one.update, payload_digest=digest_of(one.payload))
    one.part(*range(PARTS))
    one.close()
    assert world.verdict(one.update.update_id) == "non-finite"
    assert [len(body) < 4096 for body in world.refused()] == [True]


def test_a_full_disk_while_a_part_is_stored_leaves_it_with_the_broker(
    world: World, tmp_path: Path
) -> None:
    one = upload(world, 1.0)
    world.steps.trouble["before put"] = OSError(28, "No space left on device")
    one.part(0, 1)
    assert world.state != "ended"
    world.steps.trouble.clear()
    for _ in range(3):
        world.pass_to_wake()
    one.part(2, 3)
    one.close()
    assert world.verdict(one.update.update_id) == "counted"


def test_parts_that_nobody_adds_to_are_forgotten_and_sent_again(make_world: MakeWorld) -> None:
    world = make_world(size=ROWS, coordinator__uploads_age="1h", run__rounds=1)
    one = upload(world, 1.0)
    one.part(0, 1)
    world.pass_time(3599)
    assert one.ask().missing == {one.update.update_id: (2, 3)}
    world.pass_time(2)
    assert one.ask().unknown == (one.update.update_id,)
    assert one.parts_on_disk == 0
    one.part(*range(PARTS))
    one.close()
    assert world.has_verdict(one.update.update_id)


def test_the_age_of_parts_survives_a_restart(make_world: MakeWorld) -> None:
    world = make_world(size=ROWS, coordinator__uploads_age="1h")
    one, other = upload(world, 1.0), upload(world, 2.0)
    one.part(0)
    other.part(0)
    parts = world.folder / "state" / "spool" / "parts"
    old = parts / one.update.update_id / one.update.payload_digest
    os.utime(old, (world.now - 3601, world.now - 3601))
    world.restart()
    assert one.ask().unknown == (one.update.update_id,)
    assert one.parts_on_disk == 0
    assert other.ask().missing == {other.update.update_id: (1, 2, 3)}


def test_uploads_take_only_so_much_room_and_the_rest_waits(make_world: MakeWorld) -> None:
    world = make_world(
        size=ROWS, coordinator__uploads_bytes="1MiB", rounds__goal=6, rounds__concurrency=6
    )
    uploads = [upload(world, float(number)) for number in range(6)]
    for index in range(PARTS - 1):
        for each in uploads:
            each.part(index)
    most = 2**20 // len(uploads[0].payload)
    assert [each.parts_on_disk for each in uploads] == [3] * most + [0] * (6 - most)
    for each in uploads:
        each.part(PARTS - 1)
        each.close()
    assert [world.has_verdict(each.update.update_id) for each in uploads] == [True] * most + [
        # The first had ended, so there was room for what came last: a part without the others.
        False
    ] * (6 - most)
    for each in uploads[most:]:
        standing = each.ask()
        again = standing.missing.get(each.update.update_id, tuple(range(PARTS)))
        each.part(*again)
        each.close()
    assert world.service.look().updates == {"counted": 6}
    assert not list((world.folder / "state" / "spool" / "parts").iterdir())


def test_a_part_that_is_not_taken_is_no_more_accepted_than_before(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(
        size=ROWS, coordinator__uploads_bytes="1MiB", rounds__goal=6, rounds__concurrency=6
    )
    *first, last = [upload(world, float(number)) for number in range(5)]
    with monkeypatch.context() as patched:
        patched.setattr("coordinator.batch.updates.receive", lambda *_: Stray("malformed", "a bug"))
        last.part(0)
    for each in first:
        each.part(0)
    last.part(0)
    assert last.parts_on_disk == 0
    assert world.strays() == {"malformed": 1}
    world.pass_time(601)
    last.part(0)
    assert last.parts_on_disk == 1
    assert world.strays() == {}


def test_an_upload_that_fell_silent_gives_way_and_loses_nothing(make_world: MakeWorld) -> None:
    world = make_world(
        size=ROWS,
        coordinator__uploads_bytes="1MiB",
        rounds__goal=6,
        rounds__concurrency=6,
        rounds__deadline="2h",
        rounds__lease="2h",
    )
    *first, last = [upload(world, float(number)) for number in range(5)]
    for each in first:
        each.part(0, 1)
    last.part(0)
    assert [each.parts_on_disk for each in (*first, last)] == [2, 2, 2, 2, 0]
    world.pass_time(601)
    last.part(*range(PARTS))
    assert [each.parts_on_disk for each in (*first, last)] == [0, 2, 2, 2, PARTS]
    last.close()
    assert first[0].ask().unknown == (first[0].update.update_id,)
    for each in first:
        each.part(*range(PARTS))
        each.close()
    assert world.service.look().updates == {"counted": 5}


def test_one_update_has_room_for_two_payloads_whatever_it_sends(world: World) -> None:
    one = upload(world, 1.0)
    for number in range(5):
        other = replace(one.update, payload_digest=digest_of(b"%d" % number))
        Upload(world, one.worker, other, one.payload).part(0)
    assert one.parts_on_disk == 2
    one.part(*range(PARTS))
    one.close()
    assert world.verdict(one.update.update_id) == "counted"


def test_a_coordinator_killed_while_it_forgets_an_upload_loses_nothing(
    make_world: MakeWorld,
) -> None:
    world = make_world(size=ROWS, coordinator__uploads_age="1h")
    one = upload(world, 1.0)
    one.part(0, 1)
    for step in ("before forget_one", "after forget_one"):
        world.steps.kill_at_name(step)
        world.pass_time(3601)
        one.ask()
        assert world.steps.killed == step
        one.part(0, 1)
    one.part(2, 3)
    one.close()
    assert world.has_verdict(one.update.update_id)
