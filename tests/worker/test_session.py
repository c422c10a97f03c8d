"""The session under any order of events, duplicates, disconnects and restarts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.messages import Declined, Presence, Task
from tests.worker.examples import a_base, a_standing, a_start, a_task
from tests.worker.world import OPTIONS, World
from worker import assignment, events, session, states
from worker.known import Staying
from worker.options import Once, UntilRunEnds
from worker.owed import OPEN_MAX, PATIENCE_S
from worker.parcel import NOTHING_TRAINED

STEPS = 150


@dataclass
class AnyOrder:
    """Does one thing after another with a world, drawn by a seed: mostly what brings work on."""

    rng: random.Random
    world: World
    number: int = 0
    tag: int = 0
    tasks: dict[str, Task] = field(default_factory=dict)

    def run(self, steps: int) -> Counter[str]:
        """Take steps, then see that everything comes to an end."""
        counts: Counter[str] = Counter()
        for _ in range(steps):
            moves = [(move, weight) for move, weight in self._moves() if weight]
            (move,) = self.rng.choices([m for m, _ in moves], [w for _, w in moves])
            counts[move.__name__] += 1
            move()
            self._check()
        self._end_well()
        counts.update(self.world.counts)
        return counts

    def _moves(self) -> list[tuple[Callable[[], None], int]]:
        world, online = self.world, self.world.online
        if world.left is not None:
            return [(world.restart, 1)]
        asked = bool(self._asked())
        return [
            (world.connect, 0 if online else 20),
            (world.disconnect, 2 if online else 0),
            (world.restart, 1),
            (self.stop, 1 if self.rng.random() < 0.2 else 0),
            (self.tick, 8),
            (self.deliver, 30 if world.consuming else 1 if online else 0),
            (self.deliver_again, 1 if online and (world.done or world.inbox) else 0),
            (self.confirm, 40 if world.flying else 0),
            (self.fail, 5 if world.flying else 0),
            (self.allow, 20 if online and asked else 0),
            (self.stand, 20 if online and asked else 0),
            (self.start, 20 if online and self._taken() else 0),
            (self.model, 30 if world.fetching else 0),
            (self.train, 20 if world.training and not world.committed else 0),
            (self.commit, 2 if world.training and not world.committed else 0),
            (world.die_after_commit, 5 if world.committed else 0),
            (self.lose_payload, 1 if self._lossable() else 0),
            (self.fill_disk, 5 if world.disk_is_full else 1),
        ]

    def _asked(self) -> list[Any]:
        return [ref for ref in self.world.said if ref.about == "presence"]

    def _taken(self) -> bool:
        work = self.world.session.work
        task = assignment.task(work)
        return task is not None and any(
            ref.about == "taken" and ref.subject == task.task_id for ref in self.world.said
        )

    def _lossable(self) -> list[str]:
        """Updates that the session knows."""
        return sorted(
            update_id
            for update_id, parcel in self.world.outbox.items()
            if parcel != self.world.committed
        )

    def stop(self) -> None:
        self.world.happens(events.Stop())

    def tick(self) -> None:
        self.world.tick(self.rng.choice([0.0, 0.5, 5.0, 30.0, 200.0, 200.0]))

    def deliver(self) -> None:
        """Of what the broker has; even if it was told that nobody consumes any more."""
        self.number += 1
        self.tag += 1
        codec = self.rng.choice(["fp32"] * 9 + ["new"])
        kind = self.rng.choice(["train", "train", "train", "evaluate"])
        version = self.rng.choice([None, None, self.rng.randint(0, 9)])
        task = a_task(self.number, codec=codec, kind=kind, base_version=version)
        self.tasks[task.task_id] = task
        self.world.deliver(task, self.tag)

    def deliver_again(self) -> None:
        task_id = self.rng.choice([*self.world.done, *self.world.inbox])
        self.tag += 1
        self.world.deliver(self.tasks[task_id], self.tag)

    def fill_disk(self) -> None:
        """Or make room."""
        self.world.disk_is_full = not self.world.disk_is_full

    def confirm(self) -> None:
        self.world.confirm(self.rng.choice(self.world.flying))

    def fail(self) -> None:
        self.world.fail(self.rng.choice(self.world.flying))

    def allow(self) -> None:
        version = self.world.session.asking.version + 1
        queue = self.rng.choice(["pool", "pool", "own"])
        takes_stored = self.rng.random() < 0.5
        base = a_base(version) if self.rng.random() < 0.5 else None
        self.world.stand(
            a_standing(
                may_take=True, version=version, queue=queue, takes_stored=takes_stored, base=base
            )
        )

    def stand(self) -> None:
        """An answer to one of the last questions, about some of the updates."""
        says: dict[str, Any] = {"verdicts": {}, "missing": {}, "unknown": []}
        committed = self.world.committed  # nobody outside can know of it
        for update_id in self.world.done.values():
            if committed is not None and update_id == committed.update_id:
                continue
            match self.rng.choice(["", "", "verdict", "missing", "missing", "unknown"]):
                case "verdict":
                    says["verdicts"][update_id] = "counted"
                case "missing":
                    wanted = (0, 99) if self.rng.random() < 0.5 else ()
                    says["missing"][update_id] = wanted
                case "unknown":
                    says["unknown"].append(update_id)
                case _:
                    pass
        says["unknown"] = tuple(says["unknown"])
        state = self.rng.choice(["running"] * 8 + ["paused", "draining", "ended"])
        says["away_s"] = self.rng.choice([0.0, 0.0, 0.0, 30.0])
        says["takes_stored"] = self.rng.random() < 0.8
        standing = a_standing(version=self.rng.randint(-1, 9), state=state, **says)
        self.world.stand(standing, self.rng.choice(self._asked()[-3:]))

    def start(self) -> None:
        """An answer comes for each `Taken`, so it may come more than once."""
        work, held = self.world.session.work, self.world.session.unsaid
        unsaid = held is not None and held.task_id == self.world.task.task_id
        wanted = not (isinstance(work, states.Taking) or unsaid) or self.rng.random() < 0.9
        version = self.world.task.base_version
        if version is None or self.rng.random() < 0.1:
            version = self.rng.randint(0, 9)
        self.world.start(self.world.task, wanted, version)

    def model(self) -> None:
        world = self.world
        assert world.fetching is not None
        match self.rng.choice(["ready", "ready", "ready", "moved", "interrupted", "gone"]):
            case "ready":
                world.has_model()
            case "moved":
                world.happens(events.ModelMoved())
            case "interrupted":
                world.fetching = None
                world.happens(events.ModelInterrupted())
            case _:
                digest = str(world.fetching.model_digest)
                world.fetching = None
                world.happens(events.ModelGone(digest, "a gap"))

    def train(self) -> None:
        world = self.world
        assert world.training is not None
        outcome: Any = self.rng.choice(
            ["done", "large", "large", *["moved"] * 5, "crash", "crash", "crash", "unfit", "model"]
        )
        match outcome:
            case "done":
                world.finish_training()
            case "large":
                world.finish_training(64 * self.rng.randint(2, 9))
            case "moved":
                world.happens(events.TrainingMoved(world.training))
            case _:
                failed, world.training = world.training, None
                if outcome == "model":
                    world.cache.clear()
                world.happens(events.TrainingFailed(failed, outcome, "it failed"))

    def commit(self) -> None:
        self.world.commit_training()

    def lose_payload(self) -> None:
        update_id = self.rng.choice(self._lossable())
        self.world.happens(events.PayloadGone(update_id, NOTHING_TRAINED))

    def _check(self) -> None:
        self.world.settle_time()
        if self.world.left is None:
            known = {s.parcel.update_id for s in self.world.session.sending.shipments}
            assert known == set(self._lossable())

    def _end_well(self) -> None:
        """With a broker and a coordinator that answer, everything comes to an end."""
        world = self.world
        world.options = OPTIONS
        world.disk_is_full = False
        world.restart()
        world.connect()
        for _ in range(400):
            if not world.inbox and not world.outbox:
                return
            world.be_kind()
        raise AssertionError(f"it does not end: {world.session}")


def any_order(seed: int) -> Counter[str]:
    rng = random.Random(seed)
    plan = rng.choice([OPTIONS.plan, OPTIONS.plan, Once(30.0), UntilRunEnds()])
    options = replace(OPTIONS, plan=plan, has_depot=rng.random() < 0.5, depot_min_bytes=256)
    return AnyOrder(rng, World(options)).run(STEPS)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
@example(seed=81638)  # told to go away after a task was given up that had just been finished
def test_whatever_happens_nothing_is_lost_nor_done_twice(seed: int) -> None:
    any_order(seed)


def test_the_random_walk_gets_everywhere() -> None:
    """Or the test above would show nothing."""
    counts: Counter[str] = Counter()
    for seed in range(160):
        counts.update(any_order(seed))
    for what in (
        "Ack", "Reject", "Train", "CancelTraining", "KillTraining", "DropTask", "SendPart",
        "PutObject",
        "Release", "Settle", "MarkSent", "Forget", "Leave", "Fetch", "StopFetching",
        "die_after_commit", "fill_disk", "GoAway",
        "KeepStart", "begun at once", "begun anew", "done unsaid",
    ):  # fmt: skip
        assert counts[what] >= 2, what
    assert counts["trained a third time"] >= 2


# One thing at a time.


def online(**options: Any) -> World:
    world = World(replace(OPTIONS, **options))
    world.connect()
    return world


def allowed(**options: Any) -> World:
    world = online(**options)
    world.stand(a_standing(may_take=True))
    return world


def taking(**options: Any) -> World:
    world = allowed(**options)
    world.deliver(a_task(), 1)
    return world


def training(**options: Any) -> World:
    world = taking(**options)
    world.confirm(world.last("taken"))
    world.start(a_task())
    world.has_model()
    return world


def declines(world: World) -> list[str]:
    return [m.reason for m in world.said.values() if isinstance(m, Declined)]


def test_coming_online_the_worker_asks_how_things_stand() -> None:
    world = World()
    world.connect()
    (presence,) = world.said.values()
    assert isinstance(presence, Presence)
    assert (presence.busy, presence.leaving, presence.last_version) == (False, False, -1)


def test_a_task_is_acked_once_it_is_stored_and_its_taking_confirmed() -> None:
    world = taking()
    assert a_task().task_id in world.inbox
    assert 1 in world.tags
    world.confirm(world.last("taken"))
    assert 1 not in world.tags


def test_a_start_that_overtakes_the_confirm_counts_as_one() -> None:
    world = taking()
    world.start(a_task())
    assert 1 not in world.tags


def test_without_leave_nothing_is_consumed() -> None:
    world = online()
    world.stand(a_standing(may_take=False))
    assert not world.consuming


def test_leave_taken_back_ends_the_consumer() -> None:
    world = allowed()
    assert world.consuming
    world.stand(a_standing(may_take=False))
    assert not world.consuming


@pytest.mark.parametrize("payload_bytes", [64, 640])
def test_a_leave_that_was_heard_while_it_trained_is_void_when_it_has(payload_bytes: int) -> None:
    """It was given by what was known before: that this version was trained on is new."""
    world = training()
    world.tick(OPTIONS.presence_s)
    world.stand(a_standing(may_take=True))
    world.finish_training(payload_bytes)
    assert not world.consuming


@pytest.mark.parametrize("payload_bytes", [64, 5_000_000], ids=["a message", "parts"])
def test_a_leave_is_good_for_one_task(payload_bytes: int) -> None:
    world = training()
    world.finish_training(payload_bytes)
    assert not world.consuming
    while world.flying:
        world.confirm(world.flying[0])
        assert not world.consuming, "it asks first"
    world.stand(a_standing(may_take=True))
    assert world.consuming


def test_a_missing_queue_is_tried_again_ever_less_often() -> None:
    world = allowed()
    waits = []
    for _ in range(12):
        assert world.consuming
        lost_at, world.consuming = world.now, False
        world.happens(events.ConsumerEnded("no queue"))
        while not world.consuming:
            world.tick(0.1)
            world.stand(a_standing(may_take=True))
        waits.append(world.now - lost_at)
    assert 0.1 < waits[0] < 2.0
    assert 30.0 < waits[-1] < 61.0
    assert max(waits[:3]) < min(waits[-3:])


def test_an_answer_to_an_older_question_allows_nothing() -> None:
    world = online()
    old = world.last("presence")
    world.tick(60.0)
    assert world.last("presence") != old
    world.stand(a_standing(may_take=True), old)
    assert not world.consuming


def test_a_pushed_answer_allows_a_task() -> None:
    world = online()
    world.stand(a_standing(may_take=False))
    world.stand(a_standing(may_take=True, version=1))
    assert world.consuming


def test_whether_another_update_of_a_version_is_of_use_the_coordinator_says() -> None:
    world = training()
    world.finish_training()
    world.confirm(world.last("update"))
    world.stand(a_standing(may_take=False, version=0))
    assert not world.consuming
    world.stand(a_standing(may_take=True, version=0))  # the first try did not count
    assert world.consuming


def test_an_update_asks_what_became_of_it() -> None:
    world = training()
    asked = world.last("presence")
    parcel = world.finish_training()
    world.confirm(world.last("update"))
    world.stand(a_standing(may_take=True, verdicts={parcel.update_id: "counted"}))
    assert world.consuming
    world.tick(5.0)
    assert world.last("presence") == asked  # it was answered


def test_who_trains_again_and_again_still_says_how_it_is() -> None:
    world = training()
    asked = world.last("presence")
    for number in range(1, 5):
        world.finish_training()
        world.confirm(world.last("update"))
        world.stand(a_standing(may_take=True, version=number))
        world.tick(10.0)
        world.deliver(a_task(number), number + 1)
        world.confirm(world.last("taken"))
        world.start(a_task(number), version=number)
        world.has_model()
    assert world.last("presence") != asked


def test_an_update_that_was_not_answered_is_asked_for_and_the_worker_says_its_version() -> None:
    world = training()
    asked = world.last("presence")
    parcel = world.finish_training()
    world.confirm(world.last("update"))
    world.tick(1.0)
    assert world.last("presence") == asked  # the update first, or it would be unknown
    world.tick(1.5)
    presence = world.said[world.last("presence")]
    assert isinstance(presence, Presence)
    assert presence.last_version == 0
    assert presence.open_updates == (parcel.update_id,)


def test_a_question_without_an_answer_is_asked_again_ever_less_often() -> None:
    world = online()
    asked = []
    for _ in range(3000):
        world.tick(1.0)
        asked.append(world.last("presence").serial)
    assert 3000 / 60 <= len(set(asked)) <= 3000 / 25


def test_the_coordinator_says_when_to_ask_again_at_the_latest() -> None:
    world = online(presence_s=1000.0)
    first = world.last("presence")
    world.stand(a_standing(come_back_s=20.0))
    world.tick(15.0)
    assert world.last("presence") == first
    world.tick(10.0)
    assert world.last("presence") != first


def test_taken_is_said_again_until_a_start_comes() -> None:
    world = taking()
    first = world.last("taken")
    world.confirm(first)
    world.tick(11.0)
    assert world.last("taken") != first


def test_taken_is_said_again_when_the_connection_is_back() -> None:
    world = taking()
    world.disconnect()
    world.connect()
    assert world.last("taken").subject == a_task().task_id


def test_a_task_not_wanted_any_more_is_forgotten_and_acked() -> None:
    world = taking()
    world.start(a_task(), wanted=False)
    assert (world.inbox, world.tags, declines(world)) == ({}, {}, [])


def test_a_task_that_was_done_is_acked_and_not_trained_again() -> None:
    world = training()
    world.finish_training()
    world.confirm(world.last("update"))
    world.deliver(a_task(), 2)
    assert world.tags == {}
    assert world.trainings == [a_task().task_id]


def test_a_copy_of_a_task_that_was_done_takes_nobodys_place() -> None:
    world = training()
    world.finish_training()
    world.confirm(world.last("update"))
    world.stand(a_standing(may_take=True, version=1))
    assert world.consuming
    world.deliver(a_task(), 2)
    assert world.tags == {}
    assert world.consuming
    world.deliver(a_task(1), 3)
    assert not world.consuming


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (a_task(codec="topk"), "codec topk"),
        (a_task(not_after=999.0), "past its time"),
        (a_task(part_bytes=0), "parts of 1 to 4194304 bytes, came 0"),
        (a_task(part_bytes=4 * 1024 * 1024 + 1), "came 4194305"),
        (a_task(part_bytes=2**50), "came 1125899906842624"),
    ],
)
def test_a_task_that_cannot_be_done_is_declined_and_then_acked(task: Task, why: str) -> None:
    world = allowed()  # the coordinator said that it is 1000 s
    world.deliver(task, 1)
    assert why in declines(world)[0]
    assert task.task_id in world.inbox
    world.confirm(world.last("declined"))
    assert (world.inbox, world.tags) == ({}, {})


@pytest.mark.parametrize(("part_bytes", "fits"), [(65_535, False), (65_536, True)])
def test_a_task_in_parts_smaller_than_believed_is_declined(part_bytes: int, fits: bool) -> None:
    world = allowed(part_bytes_min=64 * 1024)
    world.deliver(a_task(part_bytes=part_bytes), 1)
    assert (declines(world) == []) == fits


def test_a_worker_that_does_not_know_the_time_trains() -> None:
    world = online()
    world.deliver(a_task(not_after=999.0), 1)
    assert declines(world) == []


def test_a_model_above_the_limit_is_declined() -> None:
    world = taking(max_model_bytes=15)
    world.start(a_task())
    assert "16 bytes" in declines(world)[0]


def test_a_model_in_a_codec_that_is_not_known_is_declined() -> None:
    world = taking()
    world.start(a_task(), model_codec="fp8")
    assert declines(world) == ["a model in codec fp8 is not known here: upgrade this worker"]


def test_a_silent_stream_means_that_the_model_is_gone() -> None:
    world = taking()
    world.start(a_task())
    for _ in range(3):
        world.tick(19.0)
        world.happens(events.ModelMoved())
    assert declines(world) == []
    world.tick(20.0)
    assert "model gone" in declines(world)[0]
    assert a_task().task_id in world.inbox, "until the coordinator knows"


def test_a_decline_that_is_in_doubt_is_said_again() -> None:
    world = taking()
    world.start(a_task())
    world.tick(20.0)
    world.disconnect()
    world.connect()
    assert len(declines(world)) == 2
    world.confirm(world.last("declined"))
    assert world.inbox == {}


def test_training_goes_on_without_a_connection_and_the_update_waits_for_it() -> None:
    world = training()
    world.disconnect()
    world.finish_training()
    assert len(world.outbox) == 1
    world.connect()
    world.confirm(world.last("update"))
    assert world.outbox == {}


def test_after_a_crash_of_the_agent_training_begins_without_the_broker() -> None:
    world = training()
    world.restart()
    world.tick(0.0)
    assert world.trainings == [a_task().task_id] * 2


def crash(world: World) -> None:
    """Three times, so that the task is declined; the broker knows."""
    for _ in range(3):
        assert world.training is not None
        failed, world.training = world.training, None
        world.happens(events.TrainingFailed(failed, "crash", "it died"))
        world.tick(2.0)
    world.confirm(world.last("declined"))


def test_three_crashes_and_the_task_is_declined_and_its_version_sat_out() -> None:
    world = training()
    crash(world)
    assert declines(world) == ["crashed 3 times on it: it died"]
    world.tick(20.0)
    world.stand(a_standing(may_take=True, version=0))
    assert not world.consuming
    world.stand(a_standing(may_take=True, version=1))
    assert world.consuming


def test_a_version_that_training_crashed_on_is_tried_again_after_a_while() -> None:
    world = training()
    crash(world)
    world.tick(20.0)
    world.stand(a_standing(may_take=True, version=0))
    wake_at = session.wake_at(world.session)
    assert wake_at is not None
    assert wake_at <= world.now + 60.0
    world.tick(60.0)
    assert world.consuming


def test_a_version_that_training_crashes_on_is_sat_out_longer_each_time_up_to_an_hour() -> None:
    world, sat_out = training(), []
    for number in range(1, 10):
        crash(world)
        since = world.now
        world.tick(30.0)
        while not world.consuming:
            world.stand(a_standing(may_take=True, version=0))
            world.tick(10.0)
        sat_out.append(world.now - since)
        world.deliver(a_task(number), number + 1)
        world.start(a_task(number))
    assert sat_out[0] <= 70.0
    assert 1800.0 <= sat_out[-1] <= 3610.0


@pytest.mark.parametrize("version", [0, 1])
def test_a_version_that_the_learner_does_not_fit_is_never_tried_again(version: int) -> None:
    world = training()
    world.training = None
    world.happens(events.TrainingFailed(a_task().task_id, "unfit", "layout differs"))
    world.confirm(world.last("declined"))
    world.tick(24 * 3600.0)
    world.stand(a_standing(may_take=True, version=version))
    assert world.consuming == (version == 1)


def test_an_attempt_that_the_disk_does_not_take_is_none_and_is_waited_for() -> None:
    world = taking()
    world.start(a_task())
    world.disk_is_full = True
    world.has_model()
    for _ in range(20):
        world.tick(60.0)
    assert world.counts["Train"] >= 10
    assert (world.trainings, declines(world)) == ([], [])
    world.disk_is_full = False
    world.tick(60.0)
    assert world.trainings == [a_task().task_id]
    assert world.inbox[a_task().task_id][2] == 1


def test_a_training_that_the_disk_ends_is_begun_again_ever_less_often() -> None:
    world = training()
    waits: list[float] = []
    for _ in range(8):
        assert world.training is not None
        world.happens(events.TrainingMoved(world.training))
        failed, world.training, at = world.training, None, world.now
        task, start, attempts = world.inbox[failed]
        world.inbox[failed] = (task, start, attempts - 1)  # the shell forgives it
        world.happens(events.TrainingFailed(failed, "disk", "no space left"))
        while world.training is None:
            world.tick(0.1)
        waits.append(world.now - at)
    assert waits[0] < 2.0
    assert waits[-1] > 20.0


def test_a_disk_that_takes_no_attempt_is_asked_ever_less_often() -> None:
    world = taking()
    world.start(a_task())
    world.disk_is_full = True
    world.has_model()
    for _ in range(600):
        world.tick(1.0)
    assert 10 <= world.counts["Train"] <= 30


def test_three_crashes_count_though_the_machine_went_down_with_them() -> None:
    world = training()
    for _ in range(3):
        world.restart()
        world.tick(0.0)
    world.connect()
    assert "crashed 3 times" in declines(world)[0]
    assert len(world.trainings) == 3


def test_a_learner_that_does_not_fit_is_declined_at_once() -> None:
    world = training()
    world.training = None
    world.happens(events.TrainingFailed(a_task().task_id, "unfit", "layout differs"))
    assert declines(world) == ["layout differs"]


def test_a_training_process_that_dies_after_its_commit_has_done_its_task() -> None:
    world = training()
    parcel = world.commit_training()
    world.die_after_commit()
    world.confirm(world.last("update"))
    assert world.updates_sent == [parcel.update_id]
    assert world.trainings == [a_task().task_id]
    assert declines(world) == []


def test_a_training_killed_for_its_silence_after_its_commit_has_done_its_task() -> None:
    world = training()
    world.happens(events.TrainingMoved(a_task().task_id))
    parcel = world.commit_training()
    world.tick(100.0)
    assert world.counts["KillTraining"] == 1
    assert world.last("update").subject == parcel.update_id
    assert world.session.work == states.Idle()


def test_a_training_given_up_after_its_commit_sends_its_update_all_the_same() -> None:
    world = training()
    parcel = world.commit_training()
    world.stand(a_standing(state="ended"))
    world.confirm(world.last("declined"))
    assert world.last("update").subject == parcel.update_id
    world.happens(events.TrainingDone(parcel.task_id, parcel))  # its process says so, too
    assert world.updates_sent == [parcel.update_id]


def test_a_training_that_says_nothing_for_too_long_is_killed() -> None:
    world = training()
    world.tick(1000.0)  # it has not begun: there may be no room for it yet
    assert world.counts["KillTraining"] == 0
    world.happens(events.TrainingMoved(a_task().task_id))
    world.tick(99.0)
    assert world.counts["KillTraining"] == 0
    world.tick(1.0)
    assert world.counts["KillTraining"] == 1


def test_a_damaged_model_is_fetched_again() -> None:
    world = training()
    world.training = None
    world.cache.clear()
    world.happens(events.TrainingFailed(a_task().task_id, "model", "damaged"))
    assert world.fetching is not None


@pytest.mark.parametrize("answered_late", [False, True])
def test_no_task_is_taken_on_a_word_from_before_the_last_was_done(answered_late: bool) -> None:
    """While it trains for the first time a worker may be told that it may take a task."""
    world = training()
    world.tick(60.0)
    question = world.questions[-1]
    if not answered_late:
        world.stand(a_standing(may_take=True), question)
    world.finish_training(64 * 6)
    if answered_late:
        world.stand(a_standing(may_take=True), question)
    assert not world.consuming


def test_an_upload_in_parts_stays_until_its_verdict() -> None:
    world = training()
    parcel = world.finish_training(64 * 6)
    while world.flying:
        world.confirm(world.flying[0])
    assert parcel.update_id in world.outbox
    world.stand(a_standing(verdicts={parcel.update_id: "counted"}))
    assert world.outbox == {}


def test_only_missing_parts_are_sent_again() -> None:
    world = training()
    parcel = world.finish_training(64 * 6)
    while world.flying:
        world.confirm(world.flying[0])
    sent = world.counts["SendPart"]
    world.stand(a_standing(missing={parcel.update_id: (2, 4)}))
    assert world.counts["SendPart"] == sent, "the question may have overtaken the upload"
    world.tick(60.0)
    world.stand(a_standing(missing={parcel.update_id: (2, 4)}))
    assert {ref.index for ref in world.flying if ref.about == "part"} == {2, 4}
    assert world.counts["SendPart"] == sent + 2


def test_an_upload_just_sent_is_not_sent_again_because_it_is_unknown() -> None:
    world = training()
    parcel = world.finish_training(64 * 6)
    while world.flying:
        world.confirm(world.flying[0])
    world.stand(a_standing(unknown=(parcel.update_id,)))
    assert world.counts["SendPart"] == 6
    world.tick(60.0)
    world.stand(a_standing(unknown=(parcel.update_id,)))
    assert world.counts["SendPart"] == 6 + 4


def test_a_cut_upload_goes_on_where_it_was() -> None:
    world = training()
    parcel = world.finish_training(64 * 6)
    for ref in [ref for ref in world.flying if ref.about == "part"]:
        world.confirm(ref)
    world.disconnect()
    world.connect()
    assert not [ref for ref in world.flying if ref.about == "part"], "they may have arrived"
    world.stand(a_standing(missing={parcel.update_id: (3, 5)}))
    indices = {ref.index for ref in world.flying if ref.about == "part"}
    assert indices == {5}, "the other may not have come to the coordinator yet"


def owing(count: int, codec: str = "topk:0.1") -> World:
    """A world in which so many updates are in safe hands, and have no verdict."""
    world = online()
    for number in range(count):
        world.stand(a_standing(may_take=True, version=number))
        task = a_task(number, codec=codec)
        world.deliver(task, number)
        world.confirm(world.last("taken"))
        world.start(task, version=number)
        world.has_model()
        world.finish_training()
        world.confirm(world.last("update"))
    world.stand(a_standing(may_take=True, version=count))
    return world


def test_a_worker_that_is_owed_too_many_verdicts_of_what_it_left_takes_no_task() -> None:
    assert owing(OPEN_MAX - 1).consuming
    assert owing(OPEN_MAX, codec="int8").consuming
    world = owing(OPEN_MAX)
    assert not world.consuming
    oldest = next(iter(world.done.values()))
    world.tick(30.0)
    world.stand(a_standing(may_take=True, version=OPEN_MAX, verdicts={oldest: "counted"}))
    assert world.consuming


def test_after_a_long_time_it_takes_one_and_says_what_that_costs() -> None:
    world = owing(OPEN_MAX)
    world.tick(PATIENCE_S)
    world.stand(a_standing(may_take=True, version=OPEN_MAX))
    assert world.consuming
    task = a_task(OPEN_MAX, codec="topk:0.1")
    world.deliver(task, OPEN_MAX)
    world.confirm(world.last("taken"))
    world.start(task, version=OPEN_MAX)
    world.has_model()
    world.finish_training()
    oldest = next(iter(world.done.values()))
    (warning,) = warnings(world)
    assert warning.startswith(f"what update {oldest} left out is not sent any more: ")
    world.stand(a_standing(may_take=True, version=OPEN_MAX + 1))
    assert not world.consuming


def test_a_full_outbox_takes_no_task() -> None:
    world = training(outbox_updates_max=1)
    world.finish_training(64 * 6)
    world.stand(a_standing(may_take=True, version=1))
    assert not world.consuming


def test_stopping_before_training_declines_the_task_and_says_goodbye() -> None:
    world = taking()
    world.happens(events.Stop())
    assert declines(world) == ["shutting down"]
    assert world.left is None
    for ref in list(world.flying):
        world.confirm(ref)
    assert world.left == 0
    assert world.inbox == {}
    last = world.said[[ref for ref in world.said if ref.about == "presence"][-1]]
    assert isinstance(last, Presence)
    assert last.leaving


def test_stopping_while_training_keeps_the_task_and_forgives_the_attempt() -> None:
    world = training()
    world.happens(events.Stop())
    assert world.training is None
    assert world.inbox[a_task().task_id][2] == 0
    assert declines(world) == []


def test_stopping_after_a_training_was_cut_short_keeps_the_task() -> None:
    """A service manager ends a service's processes all at once: the training's may go first."""
    world = training()
    world.training = None
    world.happens(events.TrainingFailed(a_task().task_id, "crash", "killed by SIGTERM"))
    world.happens(events.Stop())
    assert declines(world) == []
    assert a_task().task_id in world.inbox


def test_stopping_before_a_first_attempt_began_declines_the_task() -> None:
    world = taking()
    world.start(a_task())
    world.disk_is_full = True
    world.has_model()
    world.happens(events.Stop())
    assert declines(world) == ["shutting down"]


def test_a_goodbye_that_nobody_hears_does_not_keep_the_worker() -> None:
    world = taking()
    world.happens(events.Stop())
    world.tick(OPTIONS.leave_s)
    assert world.left == 0
    assert a_task().task_id in world.inbox


def test_stopping_without_a_connection_is_immediate() -> None:
    world = World()
    world.happens(events.Stop())
    assert world.left == 0


@pytest.mark.parametrize("state", ["draining", "ended", "failed"])
def test_a_training_for_a_run_that_is_over_is_given_up(state: Any) -> None:
    world = training()
    world.stand(a_standing(state=state))
    assert world.training is None
    assert "over" in declines(world)[0]


def test_once_leaves_with_an_error_if_there_is_no_broker() -> None:
    world = World(replace(OPTIONS, plan=Once(30.0)))
    world.tick(29.0)
    assert world.left is None
    world.tick(1.0)
    assert world.left == 1


def test_once_leaves_in_order_if_nothing_was_due() -> None:
    world = online(plan=Once(30.0))
    world.stand(a_standing(may_take=False))
    world.tick(30.0)
    world.confirm(world.last("presence"))
    world.tick(5.0)
    assert world.left == 0


def test_once_sees_one_task_through_however_long_it_takes() -> None:
    world = training(plan=Once(30.0))
    world.tick(5000.0)
    world.finish_training()
    assert world.left is None
    world.confirm(world.last("update"))
    world.tick(5.0)
    assert world.left == 0
    assert not world.consuming


def test_once_leaves_with_an_error_if_training_failed() -> None:
    world = training(plan=Once(30.0))
    world.training = None
    world.happens(events.TrainingFailed(a_task().task_id, "unfit", "layout differs"))
    world.confirm(world.last("declined"))
    world.tick(5.0)
    assert world.left == 1


def test_once_waits_some_more_when_a_task_turns_out_not_to_be_wanted() -> None:
    world = World(replace(OPTIONS, plan=Once(30.0)))
    world.connect()
    for number in range(5):  # the pool begins with tasks that ended while nobody took them
        world.stand(a_standing(may_take=True))
        assert world.consuming
        world.deliver(a_task(number), tag=number + 1)
        world.confirm(world.last("taken"))
        world.start(a_task(number), wanted=False)
        world.tick(20.0)
        assert world.left is None
    world.tick(31.0)
    world.confirm(world.last("presence"))
    assert (world.left, world.reason) == (0, "nothing was due")


def test_once_waits_a_little_for_a_fresh_task_when_the_model_was_gone() -> None:
    world = taking(plan=Once(30.0))
    world.start(a_task())
    world.tick(25.0)
    world.confirm(world.last("declined"))
    world.tick(10.0)
    assert world.session.phase == Staying()
    world.tick(20.0)
    world.confirm(world.last("presence"))
    assert (world.left, world.reason) == (0, "nothing was due")


def test_until_the_run_ends_leaves_when_its_outbox_is_empty() -> None:
    world = training(plan=UntilRunEnds())
    world.finish_training()
    world.stand(a_standing(state="draining"))
    assert world.session.phase == Staying()
    world.confirm(world.last("update"))
    world.tick(5.0)
    assert world.left == 0


def test_until_the_run_ends_leaves_though_the_broker_is_gone_and_keeps_its_outbox() -> None:
    world = training(plan=UntilRunEnds())
    parcel = world.finish_training()
    world.stand(a_standing(state="ended"))
    world.disconnect()
    world.tick(59.0)
    assert world.left is None, "it may come back"
    wake_at = session.wake_at(world.session)
    assert wake_at is not None
    world.tick(wake_at - world.now)
    assert world.left == 0
    assert "updates kept for the next start: 1" in world.reason
    assert parcel.update_id in world.outbox


def test_until_the_run_ends_leaves_though_a_decline_cannot_be_said() -> None:
    world = training(plan=UntilRunEnds())
    world.stand(a_standing(state="ended"))
    world.disconnect()
    world.tick(60.0)
    assert world.left == 0
    assert a_task().task_id in world.inbox


def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_worker_rests() -> None:
    world = allowed()
    world.tags[1] = a_task()
    world.happens(events.NonsenseCame(1, "not a message"))
    assert world.tags == {}
    assert not world.consuming


def without_room() -> World:
    world = allowed()
    world.disk_is_full = True
    world.deliver(a_task(), 1)
    return world


def test_a_task_that_the_disk_does_not_take_is_held_and_tried_again() -> None:
    world = without_room()
    for _ in range(9):
        world.tick(60.0)
    assert 1 in world.tags
    world.disk_is_full = False
    world.tick(60.0)
    assert a_task().task_id in world.inbox
    assert world.last("taken").subject == a_task().task_id


def test_a_worker_without_room_gives_one_task_back_once_and_takes_no_other() -> None:
    world = without_room()
    for _ in range(24 * 60):
        world.tick(60.0)
        world.stand(a_standing(may_take=True))
        assert not world.consuming
    assert world.counts["Reject"] == 1
    assert (world.tags, world.inbox) == ({}, {})


def test_a_connection_that_flaps_makes_no_difference_to_a_worker_without_room() -> None:
    world = without_room()
    for _ in range(60):
        world.disconnect()
        world.connect()
        world.stand(a_standing(may_take=True))
        assert not world.consuming
        world.tick(60.0)


def test_a_worker_that_has_room_again_asks_and_takes_a_task_within_ten_minutes() -> None:
    world = without_room()
    for _ in range(24 * 60):
        world.tick(60.0)
    world.disk_is_full = False
    for _ in range(10):
        world.tick(60.0)
    assert world.inbox == {}, "what was given back is another's"
    world.stand(a_standing(may_take=True))
    world.deliver(a_task(1), 2)
    assert a_task(1).task_id in world.inbox


def test_a_worker_without_room_leaves_when_it_is_told_to() -> None:
    world = without_room()
    for _ in range(20):
        world.tick(60.0)
    world.happens(events.Stop())
    world.tick(OPTIONS.leave_s)
    assert world.left == 0


def test_once_leaves_with_an_error_if_the_disk_has_no_room() -> None:
    world = allowed(plan=Once(30.0))
    world.disk_is_full = True
    world.deliver(a_task(), 1)
    for _ in range(20):
        world.tick(60.0)
    assert world.left == 1


def test_a_model_that_the_disk_does_not_take_is_read_again_within_its_lease() -> None:
    world = taking()
    world.disk_is_full = True
    world.start(a_task())
    for _ in range(9):  # the lease is ten minutes
        world.tick(60.0)
    assert declines(world) == []
    world.disk_is_full = False
    world.tick(60.0)
    assert world.fetching is not None


def test_a_model_that_the_disk_does_not_take_is_given_up_in_the_end_with_the_true_reason() -> None:
    world = taking()
    world.disk_is_full = True
    world.start(a_task())
    for _ in range(12):
        world.tick(60.0)
    assert declines(world) == ["model not kept: no space left"]


def warnings(world: World) -> list[str]:
    remarks = [each for each in world.actions if isinstance(each, events.Remark)]
    return [remark.text for remark in remarks if remark.level == "warning"]


def test_a_depot_that_refuses_is_told_of_once_with_what_to_look_at() -> None:
    world = taking(has_depot=True)
    world.start(a_task(), stored=True)
    assert world.fetching is not None
    digest = str(world.fetching.model_digest)
    refused = events.ModelNotKept(digest, "403 Forbidden", from_depot=True)
    world.happens(refused)
    for _ in range(5):
        world.tick(60.0)
        world.happens(refused)
    (warning,) = warnings(world)
    assert warning.startswith("a model is not read from the depot (403 Forbidden); ")
    assert (
        "trying again in 1 s, later each time, until its lease ends; look at depot.url" in warning
    )


def test_a_depot_that_gave_something_in_between_is_told_of_again() -> None:
    world = taking(has_depot=True)
    world.start(a_task(), stored=True)
    assert world.fetching is not None
    refused = events.ModelNotKept(str(world.fetching.model_digest), "no route", from_depot=True)
    for _ in range(2):
        world.happens(refused)
        world.tick(60.0)
        world.happens(events.ModelMoved())
    assert len(warnings(world)) == 2


def test_a_disk_that_does_not_take_a_model_is_told_of_once() -> None:
    world = taking()
    world.disk_is_full = True
    world.start(a_task())
    for _ in range(5):
        world.tick(60.0)
    (warning,) = warnings(world)
    assert warning.startswith("a model is not kept here (no space left); trying again in 1 s, ")
    assert warning.endswith("; look at the room on the disk of the state folder")


@pytest.mark.parametrize("other", [{"run_id": "0" * 32}, {"incarnation": 2}])
def test_a_start_for_another_run_is_not_followed(other: dict[str, Any]) -> None:
    world = taking()
    world.confirm(world.last("taken"))
    world.happens(events.StartCame(a_start(a_task(), **other)))
    assert "start for another run" in declines(world)[0]
    assert world.fetching is None


def test_a_task_of_an_earlier_incarnation_can_still_be_called_unwanted() -> None:
    world = taking()
    world.unwanted.add(a_task().task_id)
    world.taken_known.add(a_task().task_id)
    world.happens(events.StartCame(a_start(a_task(), wanted=False, incarnation=2)))
    assert (world.inbox, declines(world)) == ({}, [])


def test_the_session_is_a_value_and_its_past_does_not_change() -> None:
    world = training()
    before = world.session
    world.finish_training()
    assert before != world.session
    assert isinstance(before.work, states.Training)


# A queue of its own, and being sent away.


def chosen(**options: Any) -> World:
    """A worker that takes its tasks from its own queue."""
    world = online(**options)
    world.stand(a_standing(may_take=True, queue="own"))
    return world


def sources(world: World) -> list[str]:
    return [action.queue for action in world.actions if isinstance(action, events.Consume)]


def test_a_worker_consumes_the_queue_that_it_is_told_to() -> None:
    assert sources(allowed()) == ["pool"]
    assert sources(chosen()) == ["own"]


def test_another_word_changes_the_queue() -> None:
    world = allowed()
    world.stand(a_standing(may_take=True, queue="own"))
    world.stand(a_standing(may_take=True, queue="own"))
    assert sources(world) == ["pool", "own"]
    assert world.consuming


def test_a_task_that_pins_a_version_is_trained_on_that_one() -> None:
    world = chosen()
    world.deliver(a_task(base_version=4), 1)
    world.start(a_task(), version=4)
    world.has_model()
    assert world.trainings == [a_task().task_id]


def test_a_start_for_another_version_than_the_task_pins_is_declined() -> None:
    world = chosen()
    world.deliver(a_task(base_version=4), 1)
    world.start(a_task(), version=5)
    assert declines(world) == ["expected a start for version 4, came one for 5"]


def crash_three_times(world: World) -> None:
    for _ in range(3):
        world.tick(60.0)
        failed, world.training = world.training, None
        assert failed is not None
        world.happens(events.TrainingFailed(failed, "crash", "it failed"))
    world.confirm(world.last("declined"))


def test_who_is_chosen_for_a_version_that_failed_here_says_so_at_once() -> None:
    world = chosen()
    world.deliver(a_task(base_version=0), 1)
    world.start(a_task())
    world.has_model()
    crash_three_times(world)
    world.tick(2.0)
    world.stand(a_standing(may_take=True, queue="own"))
    world.tick(2.0)
    assert world.consuming, "it cannot be seen from outside that it sits out"
    world.deliver(a_task(2, base_version=0), 2)
    world.start(a_task(2))
    assert declines(world)[-1] == "version 0 could not be trained on here before"
    world.confirm(world.last("declined"))
    world.tick(10.0)
    world.stand(a_standing(may_take=True, version=1, queue="own"))
    world.deliver(a_task(3, base_version=1), 3)
    world.start(a_task(3), version=1)
    assert world.fetching is not None, "another version may be trained on"


def test_who_cannot_evaluate_a_version_may_still_train_on_it() -> None:
    world = chosen()
    world.deliver(a_task(kind="evaluate", base_version=0), 1)
    world.start(a_task())
    world.has_model()
    crash_three_times(world)
    assert world.session.sat_out is None
    world.tick(2.0)
    world.stand(a_standing(may_take=True))
    assert world.consuming


def test_an_evaluation_is_no_training() -> None:
    world = chosen()
    world.deliver(a_task(kind="evaluate", base_version=3), 1)
    world.start(a_task(), version=3)
    world.has_model()
    world.finish_training(0)
    world.confirm(world.last("update"))
    presence = world.said[world.last("presence")]
    assert isinstance(presence, Presence)
    assert presence.last_version == -1
    assert world.outbox == {}


def test_with_nothing_open_a_worker_goes_away_as_it_is_told() -> None:
    world = allowed()
    world.stand(a_standing(may_take=True, away_s=60.0))
    assert world.counts["GoAway"] == 1
    assert not world.online
    assert not world.consuming
    world.connect()
    world.stand(a_standing(may_take=True))
    assert world.consuming, "it is told anew"


@pytest.mark.parametrize("state", ["task", "update"])
def test_with_something_open_a_worker_stays(state: str) -> None:
    world = training()
    if state == "update":
        world.finish_training()
    world.stand(a_standing(away_s=60.0))
    world.tick(60.0)
    world.stand(a_standing(away_s=60.0))
    assert world.counts["GoAway"] == 0
    assert world.online


def test_it_goes_once_nothing_is_open_any_more() -> None:
    world = training()
    world.finish_training()
    world.stand(a_standing(away_s=60.0))
    world.confirm(world.last("update"))
    world.stand(a_standing(away_s=60.0))
    assert world.counts["GoAway"] == 1


def test_an_answer_to_an_older_question_sends_nobody_away() -> None:
    world = online()
    old = world.last("presence")
    world.tick(60.0)
    world.stand(a_standing(away_s=60.0), old)
    assert world.online


def test_once_leaves_if_it_is_not_wanted() -> None:
    world = online(plan=Once(30.0))
    world.stand(a_standing(away_s=60.0))
    assert world.counts["GoAway"] == 0
    world.confirm(world.last("presence"))
    assert (world.left, world.reason) == (0, "nothing is due; wanted again in about 60 s")
