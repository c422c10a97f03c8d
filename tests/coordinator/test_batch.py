"""What becomes of each message: one verdict, a row, an ack, a copy of what was refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from broker.transport import Outgoing
from coordinator.intake import Stray, receive
from learning.seeding import derive_seed
from schemas.digest import digest_of, update_id_of
from schemas.layout import Layout
from schemas.messages import NAMES_MAX, Presence, Update, encode
from tests.coordinator.feeder import Feeder
from tests.coordinator.world import MakeWorld, World

OTHER_ID = "0" * 32
OTHER_DIGEST = "0" * 64


def prepared(world: World, value: float = 1.0) -> tuple[Feeder, Update, bytes]:
    """A new worker with a good update that it has not sent."""
    worker = world.somebody()
    task, start = world.begin_task(worker)
    return (
        worker,
        worker.update(task, start, world.layout, value),
        worker.payload(world.layout, value),
    )


# one verdict each


@pytest.mark.parametrize("copies", [0, 1, 2])
def test_an_update_that_comes_again_is_counted_once(make_world: MakeWorld, copies: int) -> None:
    world = make_world()
    worker, update, payload = prepared(world, 1.0)
    for _ in range(1 + copies):
        worker.send(update, payload)
    world.step()
    assert world.ledger(update.update_id).copies == copies
    world.round(3.0)
    assert world.weight() == 1.0 + 2.0
    assert world.service.look().updates == {"counted": 2}
    assert world.ready("update") == world.ready("refused") == 0


def test_an_update_that_comes_again_in_a_later_round_is_not_counted_there(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    worker.send(update, payload)
    world.round(1.0)
    worker.send(update, payload)
    world.step()
    assert world.ledger(update.update_id).copies == 1
    assert world.service.look().counted == 0


def test_what_has_its_verdict_is_not_delivered_again(make_world: MakeWorld) -> None:
    world = make_world()
    counted = world.answer(world.somebody())
    world.cut()
    assert world.ledger(counted).copies == 0


def test_a_task_trained_again_with_other_bytes_is_a_copy_of_its_first_update(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker, update, payload = prepared(world, 1.0)
    worker.send(update, payload)
    other = worker.payload(world.layout, 9.0)
    worker.send(replace(update, payload_digest=digest_of(other)), other)
    world.step()
    row = world.ledger(update.update_id)
    assert (row.verdict, row.copies, row.payload_digest) == ("counted", 1, digest_of(payload))
    world.round(1.0)
    assert world.weight() == 2.0


def test_two_workers_with_one_task_both_count(make_world: MakeWorld) -> None:
    world = make_world()
    first, second = world.worker("first"), world.worker("second")
    task, tag = first.take()
    started = world.ask_start(first, task)
    first.take_back(tag)
    again, tag = second.take()
    assert again == task
    second.transport.ack(tag)
    starts = started, world.ask_start(second, task)
    assert starts[0] == starts[1]
    assert world.task_row(task.task_id).worker_id == "first"
    ids = [
        world.finish_task(first, task, starts[0], 1.0),
        world.finish_task(second, task, starts[1], 3.0),
    ]
    assert [world.verdict(update_id) for update_id in ids] == ["counted", "counted"]
    assert world.weight() == 3.0


def test_a_worker_counts_once_in_a_version(make_world: MakeWorld) -> None:
    world = make_world(rounds__concurrency=3)
    worker = world.worker("eager")
    first, second = world.begin_task(worker), world.begin_task(worker)
    ids = [world.finish_task(worker, *first, 1.0), world.finish_task(worker, *second, 5.0)]
    assert [world.verdict(update_id) for update_id in ids] == ["counted", "repeated"]
    world.round(1.0)
    assert world.weight() == 2.0


# refused, each with its reason


def nan(layout: Layout) -> bytes:
    return np.full(layout.num_floats, np.nan, "<f4").tobytes()


def sealed(update: Update, payload: bytes) -> tuple[Update, bytes]:
    return replace(update, payload_digest=digest_of(payload), payload_bytes=len(payload)), payload


Spoil = Callable[[Update, bytes, World], tuple[Update, bytes]]

REFUSED: dict[str, tuple[str, Spoil]] = {
    "cut short": ("malformed", lambda u, p, w: sealed(u, p[:-4])),
    "too long": ("malformed", lambda u, p, w: sealed(u, p + b"0000")),
    "empty": ("malformed", lambda u, p, w: sealed(u, b"")),
    "of another layout": (
        "malformed",
        lambda u, p, w: (replace(u, layout_digest=OTHER_DIGEST), p),
    ),
    "of another codec": ("malformed", lambda u, p, w: (replace(u, codec="int8"), p)),
    "of no examples": ("malformed", lambda u, p, w: (replace(u, num_examples=0), p)),
    "with NaN": ("non-finite", lambda u, p, w: sealed(u, nan(w.layout))),
    "above the norm": ("over-norm", lambda u, p, w: sealed(u, Feeder.payload_of(w.layout, 1e3))),
    "of another base": (
        "other timeline",
        lambda u, p, w: (replace(u, base_digest=OTHER_DIGEST), p),
    ),
    "of another run": ("other timeline", lambda u, p, w: (replace(u, run_id=OTHER_ID), p)),
    "of an earlier life": (
        "other timeline",
        lambda u, p, w: (
            replace(
                u,
                incarnation=u.incarnation - 1,
                update_id=update_id_of(u.incarnation - 1, u.task_id, u.worker_id),
            ),
            p,
        ),
    ),
    "of an unknown task": (
        "unknown task",
        lambda u, p, w: (
            replace(
                u,
                task_id=OTHER_ID,
                update_id=update_id_of(u.incarnation, OTHER_ID, u.worker_id),
            ),
            p,
        ),
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_bad_update_is_refused_recorded_acked_and_kept_for_people(
    make_world: MakeWorld, what: str
) -> None:
    verdict, spoil = REFUSED[what]
    world = make_world(rounds__max_norm=100.0)
    worker, update, payload = prepared(world)
    bad, payload = spoil(update, payload, world)
    worker.send(bad, payload)
    world.step()
    assert world.verdict(bad.update_id) == verdict
    assert world.ledger(bad.update_id).reason
    assert world.ready("update") == 0
    assert world.refused() == [encode(bad, payload)]
    world.round(1.0, 3.0)
    assert world.weight(1) == 3.0
    assert world.service.look().updates == {"counted": 2, verdict: 1}


STRAYS: dict[str, tuple[str, Callable[[Update, bytes], bytes]]] = {
    "garbage": ("malformed", lambda u, p: b"garbage"),
    "nothing": ("malformed", lambda u, p: b""),
    "cut": ("malformed", lambda u, p: encode(u, p)[:-1]),
    "of a wrong id": ("malformed", lambda u, p: encode(replace(u, update_id=OTHER_ID), p)),
    "of a wrong digest": (
        "malformed",
        lambda u, p: encode(replace(u, payload_digest=OTHER_DIGEST), p),
    ),
    "a presence": ("malformed", lambda u, p: encode(Presence("w", "", -1, 0, False, False, ()))),
    "of a newer protocol": (
        "unsupported version",
        lambda u, p: (lambda body: body[:16] + b"\x02\x00" + body[18:])(encode(u, p)),
    ),
}


@pytest.mark.parametrize("what", STRAYS)
def test_bytes_that_take_no_id_are_recorded_by_their_digest(
    make_world: MakeWorld, what: str
) -> None:
    verdict, spoil = STRAYS[what]
    world = make_world()
    worker, update, payload = prepared(world)
    body = spoil(update, payload)
    for _ in range(2):
        worker.send_bytes(body, update.run_id)
    world.step()
    assert world.strays() == {verdict: 1}
    assert not world.has_verdict(update.update_id)
    assert world.ready("update") == 0
    assert set(world.refused()) == {body}
    worker.send(update, payload)
    world.step()
    assert world.verdict(update.update_id) == "counted"


def test_what_is_shown_of_verdicts_is_the_same_after_a_restart(make_world: MakeWorld) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    for body in (b"garbage", b"garbage", encode(update, payload), encode(update, payload)):
        worker.send_bytes(body, update.run_id)
    world.step()
    shown = world.service.look().updates
    world.restart()
    assert world.service.look().updates == shown


def test_late_stale_and_replaced_updates_are_refused_with_their_verdict(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__late="refuse", rounds__concurrency=3)
    slow, lapsed = world.worker("slow"), world.worker("lapsed")
    late = world.begin_task(slow)
    world.round(1.0, 1.0)
    assert world.verdict(world.finish_task(slow, *late, 50.0)) == "late"
    replaced = world.begin_task(lapsed)
    world.pass_time(31.0)
    assert world.verdict(world.finish_task(lapsed, *replaced, 50.0)) == "replaced"
    world.round(1.0, 1.0)
    assert world.weight() == 3.0


def test_an_update_too_far_behind_is_stale(make_world: MakeWorld) -> None:
    world = make_world(rounds__max_staleness=1, rounds__concurrency=3)
    slow = world.worker("slow")
    began = world.begin_task(slow)
    world.round(1.0, 1.0)
    world.round(1.0, 1.0)
    assert world.verdict(world.finish_task(slow, *began, 50.0)) == "stale"
    world.round(1.0, 1.0)
    assert world.weight() == 4.0


def test_an_update_after_the_end_is_recorded(make_world: MakeWorld) -> None:
    world = make_world(run__rounds=1, rounds__concurrency=3)
    slow = world.worker("slow")
    began = world.begin_task(slow)
    world.round(1.0, 1.0)
    assert world.state == "draining"
    assert world.verdict(world.finish_task(slow, *began)) == "after end"
    assert world.weight() == 2.0


def test_garbage_on_the_control_queue_is_recorded_and_acked(make_world: MakeWorld) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    worker.ask_bytes("taken", b"garbage")
    worker.ask_bytes("taken", encode(update, payload))
    world.step()
    assert world.strays() == {"malformed": 2}
    assert world.ready("control") == 0


def test_a_forged_copy_does_not_take_the_verdict_of_the_good_one(make_world: MakeWorld) -> None:
    world = make_world()
    worker, update, payload = prepared(world, 1.0)
    forged = worker.payload(world.layout, 99.0)
    worker.send(update, forged)
    worker.send(update, payload)
    world.step()
    row = world.ledger(update.update_id)
    assert (row.verdict, row.copies) == ("counted", 0)
    world.round(1.0)
    assert world.weight() == 2.0


# what a worker asks and says


def test_a_question_of_any_length_is_answered(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    ids = [f"{number:032x}" for number in range(1500)]
    token = worker.say_present(*ids)
    world.step()
    assert worker.standing_of(token).unknown == tuple(ids[:NAMES_MAX])
    assert world.ready("control") == 0


def test_verdicts_of_many_updates_fit_into_an_answer(make_world: MakeWorld) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    ids = []
    for number in range(NAMES_MAX):
        task_id = f"{number:032x}"
        made = update_id_of(update.incarnation, task_id, worker.worker_id)
        ids.append(made)
        worker.send(
            replace(update, update_id=made, task_id=task_id, base_digest=OTHER_DIGEST), payload
        )
    world.step()
    token = worker.say_present(*ids)
    world.step()
    standing = worker.standing_of(token)
    assert standing.verdicts == dict.fromkeys(ids, "other timeline")


def test_a_declined_task_frees_its_slot(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, _ = world.begin_task(worker)
    worker.say_declined(task, "shutting down before start")
    world.step()
    assert world.task_row(task.task_id).state == "declined"
    assert len(world.open_tasks()) == 2
    assert task.task_id not in {row.task_id for row in world.open_tasks()}


def test_what_comes_late_changes_no_task_that_has_ended(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.finish_task(worker, task, start)
    before = world.task_row(task.task_id)
    assert before.state == "answered"
    assert not world.ask_start(worker, task).wanted
    worker.say_declined(task, "too late")
    world.step()
    assert world.task_row(task.task_id) == before
    assert len(world.open_tasks()) == 2


def test_who_asks_again_gets_the_same_lease(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    world.pass_time(10.0)
    again = world.ask_start(worker, task)
    assert (start.lease_s, again.lease_s) == (30.0, 20.0)
    assert replace(again, lease_s=30.0, time_s=start.time_s) == start


def test_a_task_of_another_run_is_not_wanted(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, _ = worker.take()
    assert not world.ask_start(worker, replace(task, run_id=OTHER_ID)).wanted
    assert not world.ask_start(worker, replace(task, incarnation=0)).wanted
    assert not world.ask_start(worker, replace(task, task_id=OTHER_ID)).wanted


def test_a_start_names_a_model_that_is_on_the_stream(make_world: MakeWorld) -> None:
    world = make_world(size=30_000)
    worker = world.somebody()
    _, start = world.begin_task(worker)
    assert worker.read_model(start) == world.model(0)
    world.round(1.0, 1.0)
    _, start = world.begin_task(world.somebody())
    assert worker.read_model(start) == world.model(1)


def test_every_task_has_a_seed_of_its_own(make_world: MakeWorld) -> None:
    world = make_world()
    worker = world.somebody()
    task, start = world.begin_task(worker)
    again = world.ask_start(worker, task)
    _, other = world.begin_task(world.somebody())
    assert again.seed == start.seed == derive_seed(world.settings().run.seed, task.task_id)
    assert other.seed != start.seed


def test_what_comes_with_the_goal_is_of_the_next_round(make_world: MakeWorld) -> None:
    world = make_world(rounds__concurrency=3)
    sent = [prepared(world) for _ in range(3)]
    for worker, update, payload in sent:
        worker.send(update, payload)
    world.step()  # all of them at once
    rows = [world.ledger(update.update_id) for _, update, _ in sent]
    assert [row.round_version for row in rows] == [0, 0, 1]
    assert world.version == 1
    assert world.version_row(1).counted == 2


def test_the_same_bytes_are_no_stray_any_more_in_the_batch_that_takes_them(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    worker, update, payload = prepared(world)
    body = encode(update, payload)
    key = world.names.update_key(update.run_id, 0, worker.worker_id)
    mended = iter([False])

    def receive_once_wrongly(came: bytes, *rest: Any) -> object:
        return Stray("malformed", "a bug") if not next(mended, True) else receive(came, *rest)

    monkeypatch.setattr("coordinator.batch.updates.receive", receive_once_wrongly)
    for _ in range(3):
        worker.transport.publish(Outgoing(world.names.update_exchange, key, body))
    world.step()
    assert world.verdict(update.update_id) == "counted"
    assert world.ledger(update.update_id).copies == 1
    assert world.strays() == {}
