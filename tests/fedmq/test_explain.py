"""Whoever asks why something was not counted is told, in words and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coordinator.events import Verdict
from coordinator.intake import Stray
from coordinator.store import Store
from fedmq.cli import main
from schemas.digest import digest_of, update_id_of
from tests.coordinator.feeder import Feeder
from tests.coordinator.rows import ledger_row, task_row
from tests.coordinator.world import MakeWorld, World

Capture = pytest.CaptureFixture[str]


def words(world: World, capsys: Capture, *asked: str) -> str:
    """What is said, as one text."""
    assert main(["explain", "--state-dir", str(world.folder / "state"), *asked]) == 0
    return capsys.readouterr().out


def facts(world: World, capsys: Capture, *asked: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(words(world, capsys, *asked, "--json"))
    return said


def refused(world: World, capsys: Capture, *asked: str) -> str:
    """The line on stderr of what ends with 2."""
    assert main(["explain", "--state-dir", str(world.folder / "state"), *asked]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    return said.err


# updates


def test_a_counted_update_is_in_the_sum_and_then_in_a_version(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world()
    (update_id,) = world.round(1.0)
    assert "in the sum of the open round, which will be model version 1" in words(
        world, capsys, update_id
    )
    assert facts(world, capsys, update_id)["in_open_round"] is True
    world.round(2.0)
    said = facts(world, capsys, update_id)
    assert (said["as"], said["id"], said["verdict"]) == ("update", update_id, "counted")
    assert (said["in_version"], said["in_open_round"], said["weight"]) == (1, False, 10.0)
    assert said["task_history"]["state"] == "answered"
    assert "It is in model version 1" in words(world, capsys, update_id[:6])


def test_what_was_counted_in_a_run_that_was_left_is_in_no_version(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world()
    (update_id,) = world.round(1.0)
    world.restart(new_run=True)
    assert "in no model version: another run was begun" in words(world, capsys, update_id)


def test_an_update_whose_task_was_replaced_tells_its_story(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__late="refuse", rounds__lease="20s", rounds__goal=2)
    worker = world.worker("till-9")
    task, start = world.begin_task(worker)
    world.pass_time(21.0)
    update_id = world.finish_task(worker, task, start)
    world.finish_task(worker, task, start)
    said = facts(world, capsys, update_id)
    assert (said["verdict"], said["copies"], said["in_version"]) == ("replaced", 1, None)
    assert said["task_history"]["task"] == task.task_id
    replacement = said["task_history"]["replaced_by"]
    assert world.task_row(replacement).replaces == task.task_id
    text = words(world, capsys, update_id)
    assert "the lease of its task had ended" in text
    assert f"Task {replacement[:12]} was offered in its place" in text
    assert "Worker till-9 took it" in text
    assert "delivered 1 more time" in text
    assert "What to do: Make rounds.lease longer" in text
    assert "fedmq.demo.refused" in text


def test_a_broken_update_is_told_what_to_do(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world()
    worker = world.somebody()
    update_id = world.finish_task(worker, *world.begin_task(worker), np.nan)
    text = words(world, capsys, update_id)
    assert ": non-finite (" in text
    assert "the loss has probably diverged" in text


def test_a_stray_is_found_by_its_digest(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world()
    worker = world.worker("till-1")
    task, start = world.begin_task(worker)
    payload = worker.payload(world.layout, 1.0)
    forged = replace(worker.update(task, start, world.layout, 1.0), update_id="0" * 32)
    worker.send(forged, payload)
    worker.send_bytes(b"rubbish", task.run_id)
    world.step()
    digest = digest_of(b"rubbish")
    assert "It does not say whose it is" in words(world, capsys, digest[:8])
    assert facts(world, capsys, digest)["digest"] == digest
    text = words(world, capsys, task.task_id)
    assert "took no update id: malformed" in text
    assert "unknown" not in text


@pytest.mark.parametrize(
    ("verdict", "why"),
    [
        ("malformed", "its id or digest does not hold"),
        ("unsupported version", "this coordinator cannot read it"),
        ("unauthenticated", "it may be forged"),
        ("unknown task", "it is a part of an update that nobody can be waiting for"),
        ("poison", "the coordinator never got so far as to read it"),
    ],
)
def test_why_a_stray_took_no_id_depends_on_what_it_is(
    make_world: MakeWorld,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    verdict: Verdict,
    why: str,
) -> None:
    world = make_world()
    monkeypatch.setattr("coordinator.batch.updates.receive", lambda *_: Stray(verdict, "a test"))
    world.somebody().send_bytes(b"rubbish", world.run_row().run_id)
    world.step()
    text = words(world, capsys, digest_of(b"rubbish"))
    assert why in text
    assert "may be in the broker's queue fedmq.demo.refused, if there was room" in text


# updates that never came


def test_an_update_that_never_came_is_traced_to_the_worker_that_owes_it(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world()
    worker = world.worker("till-9")
    task, _ = world.begin_task(worker)
    worker.say_present(leaving=True)
    world.step()
    update_id = update_id_of(task.incarnation, task.task_id, "till-9")
    said = facts(world, capsys, update_id)
    assert (said["known"], said["verdict"], said["worker"]) == (False, None, "till-9")
    assert said["task"] == task.task_id
    text = words(world, capsys, update_id)
    assert "never arrived, as far as this ledger knows" in text
    assert f"what worker till-9 owes task {task.task_id[:12]}" in text
    assert "in the outbox of worker till-9" in text
    assert "and was leaving" in text
    assert "What to do: start the worker" in text


def test_how_the_id_of_an_update_that_never_came_begins_is_enough(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world()
    task, _ = world.begin_task(world.worker("till-9"))
    update_id = update_id_of(task.incarnation, task.task_id, "till-9")
    for digits in (6, 8, 12):
        said = facts(world, capsys, update_id[:digits])
        assert (said["known"], said["id"], said["subject"]) == (False, update_id, update_id)
        assert (said["worker"], said["task"]) == ("till-9", task.task_id)
    assert f"Update {update_id} never arrived" in words(world, capsys, update_id[:8])
    refused(world, capsys, update_id[:8], "--as", "task")
    refused(world, capsys, update_id[:5])
    refused(world, capsys, update_id + "0")


def test_where_several_updates_that_never_came_begin_so_more_digits_are_asked_for(
    make_world: MakeWorld, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    world.begin_task(world.worker("till-8"))
    world.begin_task(world.worker("till-9"))

    def alike(incarnation: int, task_id: str, worker_id: str) -> str:
        return "abcdef" + task_id[6:]

    monkeypatch.setattr("coordinator.explaining.update.update_id_of", alike)
    assert "several updates begin with 'abcdef'" in refused(world, capsys, "abcdef")


def test_an_upload_that_is_not_complete_is_seen(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world(size=30_000)
    worker = world.worker("till-9")
    task, start = world.begin_task(worker)
    update = worker.update(task, start, world.layout, 1.0)
    worker.send_part(update, worker.payload(world.layout, 1.0), 64 * 1024, 2)
    world.step()
    assert "1 part came" in words(world, capsys, update.update_id)
    assert "1 part came" in words(world, capsys, task.task_id)


def test_an_id_that_nobody_owes_says_where_to_look(make_world: MakeWorld, capsys: Capture) -> None:
    text = words(make_world(), capsys, "f" * 32)
    assert "never arrived" in text
    assert "No task that this store knows" in text
    assert "stray" in text
    assert "outbox" in text


# tasks


def test_a_task_is_followed_from_offer_to_end(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world()
    worker = world.worker("till-9")
    offered = world.open_tasks()[-1].task_id
    assert "a worker that may take a task can have it" in words(world, capsys, offered)
    task, start = world.begin_task(worker)
    assert "its update is awaited" in words(world, capsys, task.task_id[:9])
    update_id = world.finish_task(worker, task, start)
    said = facts(world, capsys, task.task_id)
    assert (said["as"], said["state"], said["updates"]) == ("task", "answered", [update_id])
    assert f"Update {update_id[:12]} of worker till-9" in words(world, capsys, task.task_id)


def test_a_task_that_was_given_up_says_why(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world()
    worker = world.worker("till-9")
    task, _ = world.begin_task(worker)
    worker.say_declined(task, "no battery\x1b[2J")
    world.step()
    text = words(world, capsys, task.task_id)
    assert "no battery" in text
    assert "none is to be expected" in text
    assert "\x1b" not in text


# workers


def test_a_worker_that_counted_waits_for_the_next_round(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world()
    update_id = world.answer(world.worker("till-1"))
    said = facts(world, capsys, "till-1")
    assert (said["as"], said["updates"], said["may_take"]) == ("worker", {"counted": 1}, False)
    assert said["last_updates"][0]["id"] == update_id
    assert said["tasks"] == [{"state": "answered", "reason": "counted", "count": 1}]
    assert "may not take a task now: its update of version 0 is counted" in words(
        world, capsys, "till-1"
    )
    world.round(1.0)
    assert facts(world, capsys, "till-1")["may_take"] is True


def test_why_a_worker_may_not_take_a_task_is_what_the_coordinator_tells_it(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__lease="20s", rounds__concurrency=4, run__rounds=2)
    counted, holds, lapsed, broken, fresh = (world.worker(f"till-{n}") for n in range(5))
    world.begin_task(lapsed)
    world.pass_time(21.0)
    world.begin_task(holds)
    world.answer(counted)
    world.finish_task(broken, *world.begin_task(broken), np.nan)
    fresh.say_present()
    world.step()
    because = {
        "till-0": "is counted",
        "till-1": "in hand",
        "till-2": "wait to be taken",
        "till-3": "refused (non-finite)",
        "till-4": "wait to be taken",
    }
    for worker in (counted, holds, lapsed, broken, fresh):
        token = worker.say_present(run_id=world.run_row().run_id, last_version=0)
        world.step()
        said = facts(world, capsys, worker.worker_id)
        assert because[worker.worker_id] in said["why"]
        assert said["may_take"] == worker.standing_of(token).may_take, said["why"]


def told(world: World, worker: Feeder, *sent: str) -> bool:
    """What the coordinator tells a worker that knows which version is current."""
    row = world.run_row()
    token = worker.say_present(*sent, run_id=row.run_id, last_version=row.version)
    world.step()
    return worker.standing_of(token).may_take


def test_a_task_in_hand_for_an_older_version_holds_nobody(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__concurrency=4, rounds__lease="1h")
    slow = world.worker("slow")
    world.begin_task(slow)
    world.round(1.0, 1.0)
    said = facts(world, capsys, "slow")
    assert (said["may_take"], said["barred"]) == (told(world, slow), None)
    assert said["may_take"] is True


def test_who_was_refused_is_told_that_an_extension_is_another_chance(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__quorum=2, rounds__concurrency=4)
    broken = world.worker("broken")
    world.finish_task(broken, *world.begin_task(broken), np.nan)
    said = facts(world, capsys, "broken")
    assert (said["may_take"], said["barred"]) == (told(world, broken), "refused")
    assert "it may try again when the round is extended" in said["why"]
    world.pass_time(61.0)
    assert facts(world, capsys, "broken")["may_take"] is told(world, broken) is True
    task, _ = world.begin_task(broken)
    said = facts(world, capsys, "broken")
    assert (said["may_take"], said["barred"]) == (told(world, broken), "in hand")
    assert task.task_id[:12] in said["why"], "the old refusal does not hide what is awaited"


def test_what_only_the_worker_can_say_is_said_so(
    make_world: MakeWorld, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(rounds__lease="20s", rounds__deadline="10m")
    worker = world.worker("till-2")
    task, start = world.begin_task(worker)
    world.pass_time(21.0)
    monkeypatch.setattr("time.time", lambda: world.now)
    said = facts(world, capsys, "till-2")
    assert said["may_take"] is told(world, worker) is True
    assert f"unless it says that it has sent its update of task {task.task_id[:12]}" in said["why"]
    sent = worker.update(task, start, world.layout, 1.0).update_id
    assert not told(world, worker, sent)


def test_when_the_run_is_over_nobody_may_take_a_task(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(run__rounds=1)
    world.round(1.0, 1.0)
    said = facts(world, capsys, "w1")
    assert said["may_take"] is False
    assert "is over (all rounds are done)" in said["why"]


def test_a_worker_s_tasks_are_told_by_what_became_of_them(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__lease="20s")
    worker = world.worker("till-9")
    task, _ = world.begin_task(worker)
    worker.say_declined(task, "no battery")
    world.step()
    world.begin_task(worker)
    world.pass_time(21.0)
    said = facts(world, capsys, "till-9")
    assert said["tasks"] == [
        {"state": "declined", "reason": "no battery", "count": 1},
        {"state": "lapsed", "reason": "its lease ended", "count": 1},
    ]
    text = words(world, capsys, "till-9")
    assert "declined: no battery" in text
    assert "unanswered: task" in text


# rounds


def test_a_round_says_who_counted_who_did_not_and_what_became_of_its_tasks(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__late="refuse", rounds__concurrency=4, rounds__lease="20s")
    late, silent = world.worker("late"), world.worker("silent")
    begun = world.begin_task(late)
    world.begin_task(silent)
    world.pass_time(10.0)
    worker = world.worker("broken")
    broken = world.finish_task(worker, *world.begin_task(worker), np.nan)
    world.pass_time(11.0)
    counted = world.round(1.0, 2.0)
    world.pass_time(3.0)
    came_late = world.finish_task(late, *begun)
    said = facts(world, capsys, "0")
    assert (said["as"], said["round"], said["made_version"], said["open"]) == ("round", 0, 1, False)
    assert (said["why"], said["closed_at"] - said["opened_at"]) == ("goal", 21.0)
    assert [row["id"] for row in said["counted"]] == counted
    assert [row["weight"] for row in said["counted"]] == [10.0, 10.0]
    assert [(row["id"], row["verdict"]) for row in said["refused"]] == [(broken, "non-finite")]
    assert [(row["id"], row["verdict"]) for row in said["late"]] == [(came_late, "replaced")]
    ends = {(end["state"], end["reason"]): end["count"] for end in said["tasks"]}
    assert ends["lapsed", "its lease ended"] == 1
    assert ends["answered", "its lease ended"] == 1
    text = words(world, capsys, "0")
    assert "because its goal was met: version 1 is made of 2 updates of weight 20" in text
    assert f"{broken[:12]}  broken  non-finite" in text
    assert "1 answered, after its lease had ended" in text
    assert "came when its round had closed:\n  " + came_late[:12] in text


def test_an_open_round_says_how_long_it_waits_and_how_often_it_was_extended(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__max_extensions=1)
    world.pass_time(61.0)
    said = facts(world, capsys, "0")
    assert (said["open"], said["extensions"], said["why"]) == (True, 1, None)
    assert "extended 1 time" in words(world, capsys, "0")
    world.pass_time(61.0)
    assert "the run is paused" in words(world, capsys, "0")


def test_a_round_that_closed_at_its_deadline_says_so(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world()
    world.round(1.0)
    world.pass_time(61.0)
    assert "because its deadline had passed" in words(world, capsys, "0")
    assert facts(world, capsys, "0")["why"] == "deadline"


def test_a_stale_update_says_what_it_would_weigh_in_time(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__concurrency=3)
    slow = world.worker("slow")
    begun = world.begin_task(slow)
    in_time, _ = world.round(1.0, 1.0)
    late = world.finish_task(slow, *begun)
    assert "It weighs 7.07107, and would weigh 10 in time." in words(world, capsys, late)
    assert "It weighs 10." in words(world, capsys, in_time)


def test_a_round_by_another_algorithm_says_so(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world(algorithm__rule="ca2fl", algorithm__optimizer="yogi")
    assert "rule ca2fl, optimizer yogi, server_lr 0.01." in words(world, capsys, "0")


def test_each_round_says_what_it_went_by(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world(rounds__concurrency=4)
    world.change(rounds__goal=1, rounds__late="refuse")
    world.restart()
    assert "its goal is 2 updates" in words(world, capsys, "0")
    world.round(1.0, 1.0)
    world.change(rounds__goal=3)
    world.restart()
    late = "late updates weighed up to 20 versions behind"
    went_by = f"It goes by goal 2, quorum 1, {late}, dispatch pool, concurrency 4,"
    assert went_by in words(world, capsys, "0")
    assert "It goes by goal 1, quorum 1, late updates refused" in words(world, capsys, "1")
    assert [facts(world, capsys, round_)["goal"] for round_ in ("0", "1")] == [2, 1]
    assert facts(world, capsys, "1")["policy"]["late"] == "refuse"


def test_what_a_lapsed_task_can_expect_is_said_by_the_policy_of_the_open_round(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__concurrency=4, rounds__goal=2)
    task, _ = world.begin_task(world.worker("slow"))
    world.change(rounds__late="refuse")
    world.restart()
    world.pass_time(30.0)
    assert "may still be counted, by its staleness" in words(world, capsys, task.task_id)
    world.round(1.0, 1.0)
    assert "an update of it is refused now" in words(world, capsys, task.task_id)


def test_the_last_version_of_a_run_has_no_round(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world(run__rounds=1)
    world.round(1.0, 1.0)
    text = words(world, capsys, "1")
    assert "No version was made of it: the run is over" in text
    assert facts(world, capsys, "1")["open"] is False


def test_a_round_of_an_earlier_run_is_told_with_run(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world(run__rounds=1)
    earlier = world.run_row().run_id
    late = world.somebody()
    begun = world.begin_task(late)
    world.round(1.0, 1.0)
    world.pass_time(5.0)
    world.restart(new_run=True)
    world.finish_task(late, *begun)
    assert facts(world, capsys, "0")["counted"] == []
    said = facts(world, capsys, "0", "--run", earlier[:8])
    assert said["updates"] == {"counted": 2}, "what met a round of the next run is not told here"


def test_many_updates_of_a_round_are_not_all_listed_in_words(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__goal=30, rounds__concurrency=30)
    world.round(*25 * [1.0])
    text = words(world, capsys, "0")
    assert text.count("counted, weight") == 20
    assert "and 5 more: `fedmq updates --round 0`" in text
    assert len(facts(world, capsys, "0")["counted"]) == 25


# what is meant


def test_a_word_of_several_meanings_is_read_as_the_first_and_the_others_are_named(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world()
    world.answer(world.worker("0"))
    text = words(world, capsys, "0")
    assert text.startswith("Round 0")
    assert "0 was read as a round; --as worker" in text
    assert facts(world, capsys, "0")["also"] == ["worker"]
    assert words(world, capsys, "0", "--as", "worker").startswith("Worker 0")


def test_a_worker_whose_name_begins_an_id_can_be_asked_for(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world()
    (update_id,) = world.round(1.0)
    world.answer(world.worker(update_id[:7]))
    assert words(world, capsys, update_id[:7]).startswith("Update ")
    said = facts(world, capsys, update_id[:7], "--as", "worker")
    assert (said["as"], said["subject"]) == ("worker", update_id[:7])


def test_ids_that_begin_alike_are_listed(make_world: MakeWorld, capsys: Capture) -> None:
    world = make_world()
    world.kill()
    store = Store.create_or_open(world.folder / "state" / "coordinator.db", "demo", 1.0)
    store.take_epoch()
    run_id = world.run_row().run_id
    with store.transaction() as work:
        for digit in "12":
            work.insert_ledger_row(
                ledger_row(run_id=run_id, update_id="abcdef" + 26 * digit, worker_id=f"w{digit}")
            )
        work.insert_task(task_row(run_id=run_id, task_id="abcdef" + 26 * "3", number=99))
    store.close()
    assert words(world, capsys, "abcdef1").startswith("Update abcdef1")
    assert words(world, capsys, "abcdef").startswith("Task abcdef3"), "the only clear reading"
    line = refused(world, capsys, "abcdef", "--as", "update")
    assert "abcdef1" in line
    assert "give more digits" in line


@pytest.mark.parametrize("asked", ["7", "nobody", "abcde", "deadbeef", "", "../x", "\uff10"])
def test_what_nobody_knows_is_one_line_and_2(
    asked: str, make_world: MakeWorld, capsys: Capture
) -> None:
    line = refused(make_world(), capsys, asked)
    assert "this store does not know" in line
    assert "a round of run" in line


def test_a_reading_that_does_not_fit_is_one_line_and_2(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world()
    world.answer(world.worker("till-1"))
    assert "the id of a task" in refused(world, capsys, "till-1", "--as", "task")
    assert "a round of run" in refused(world, capsys, "till-1", "--as", "round")


def test_the_tasks_of_a_round_add_up_whatever_round_they_were_offered_in(
    make_world: MakeWorld, capsys: Capture
) -> None:
    world = make_world(rounds__goal=2, rounds__concurrency=3)
    world.round(1.0, 2.0)
    world.round(3.0)  # with a task that was offered in round 0
    for version in ("0", "1"):
        heading, *lines = words(world, capsys, version).partition("Tasks that ")[2].splitlines()
        counts = [int(line.split()[0]) for line in lines if line.startswith("  ")]
        said = f"were taken to train on version {version}, or offered in this round and not taken"
        assert heading == f"{said}: {sum(counts)}."
    ends = [sum(end["count"] for end in facts(world, capsys, str(v))["tasks"]) for v in (0, 1)]
    offered = [facts(world, capsys, str(version))["offered"] for version in (0, 1)]
    assert ends != offered
    assert sum(ends) == sum(offered), "each task is of one round"
