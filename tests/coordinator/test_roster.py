"""The workers of a coordinator: what it knows of them is what the store says of them."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError

from coordinator import writing
from coordinator.accounts import Accounts
from coordinator.drawing import Terms, eligible
from coordinator.records import RunRow, WorkerRow
from coordinator.roster import DECLINED_REST_S, Roster
from coordinator.work import Work
from schemas.digest import update_id_of
from schemas.messages import Start, Task, decode
from tests.coordinator.world import MakeWorld, World

OLD = -1


class Fleet:
    """Workers that a test moves by hand; in direct dispatch each gets its own task."""

    def __init__(self, world: World, names: str) -> None:
        self.world = world
        self.workers = {name: world.worker(name) for name in names}
        self.hands: dict[str, tuple[Task, Start]] = {}
        self.trained: dict[str, int] = {}
        self.direct = world.service._run.state.run.policy.dispatch == "direct"

    def present(self, name: str, *open_updates: str, **declared: Any) -> int:
        run = self.world.run_row()
        token = self.workers[name].say_present(
            *open_updates,
            run_id=run.run_id,
            last_version=self.trained.get(name, -1),
            **declared,
        )
        self.world.step()
        return token

    def may_take(self, name: str, **declared: Any) -> bool:
        return self.workers[name].standing_of(self.present(name, **declared)).may_take

    def settle(self) -> None:
        """Until who can be drawn is drawn."""
        self.world.pass_time(0.2)

    def sends(self, name: str) -> tuple[str, ...]:
        """The update that a worker says it has sent, of the task in its hands."""
        if name not in self.hands:
            return ()
        task, _ = self.hands[name]
        return (update_id_of(task.incarnation, task.task_id, name),)

    def own(self, name: str) -> Task | None:
        for row in self.world.open_tasks():
            if row.worker_id == name and row.state == "offered":
                outgoing = self.world.service._run.message_of(row.task_id)
                assert outgoing is not None
                task = decode(outgoing.body)[0]
                assert isinstance(task, Task)
                return task
        return None

    def drawn(self) -> set[str]:
        return {row.worker_id for row in self.world.open_tasks() if row.direct}

    def take(self, name: str) -> bool:
        """Take its own task, or one of the pool if it may; whether it has got one."""
        worker = self.workers[name]
        if self.direct:
            task = self.own(name)
            return task is not None and self._start(name, task)
        while self.may_take(name, capabilities=("gpu",)) and self.world.ready("task"):
            task, tag = worker.take()
            wanted = self._start(name, task)
            worker.transport.ack(tag)
            self.world.step()
            if wanted:
                return True
        return False

    def _start(self, name: str, task: Task) -> bool:
        start = self.world.ask_start(self.workers[name], task)
        if start.wanted:
            self.hands[name] = task, start
        return start.wanted

    def answer(self, name: str, value: float = 1.0) -> str:
        task, start = self.hands.pop(name)
        self.trained[name] = start.base_version
        return self.world.verdict(self.world.finish_task(self.workers[name], task, start, value))


def roster_of(world: World) -> Roster:
    return world.service._run.roster


def row_of(world: World, name: str) -> WorkerRow:
    row = world.read(lambda work: Accounts(work).worker(name))
    assert isinstance(row, WorkerRow)
    return row


def stored_roster(world: World) -> Roster:
    """The roster that a start would make of the store."""
    run, writer = world.run_row(), world.service._run

    def load(work: Work) -> Roster:
        return Roster.load(work, run, work.incarnation(), writer._selection, world.now)

    roster = world.read(load)
    assert isinstance(roster, Roster)
    return roster


def assert_as_stored(world: World) -> None:
    """The roster is what a start would make of the store, but for versions that are over."""
    run = world.run_row()
    kept, stored = roster_of(world), stored_roster(world)
    tried = kept.registry.tried
    tried[tried < run.version] = OLD
    assert kept._rows == stored._rows
    for name in ("last_seen", "flags", "tried", "counted", "drawn", "rest_until"):
        theirs, ours = getattr(stored.registry, name), getattr(kept.registry, name)
        assert ours[: kept.registry.end].tolist() == theirs[: kept.registry.end].tolist(), name
    assert kept.registry == stored.registry
    assert (kept._open, kept._busy) == (stored._open, stored._busy)
    assert (kept._spent, kept._awaited) == (stored._spent, stored._awaited)


NAMES = "abcd"
SEEDS = range(2)
REST = ["leave", "nan", "decline", "gone"]
STEPS = [*["present"] * 3, *["take"] * 4, *["answer"] * 4, *["wait"] * 2, *REST]


def _step(fleet: Fleet, rng: random.Random) -> None:
    name = rng.choice(NAMES)
    worker, world = fleet.workers[name], fleet.world
    match rng.choice(STEPS):
        case "present":
            fleet.present(
                name,
                *(fleet.sends(name) if rng.random() < 0.5 else ()),
                examples=rng.randrange(30),
                capabilities=("gpu", "nfc")[: rng.randrange(3)],
                battery=rng.choice([-1.0, 0.3, 0.7]),
                metered=rng.random() < 0.5,
                local_minute=rng.randrange(-1, 1440),
                hours=rng.choice(["", "08:00-20:00", "20:00-08:00", "now and then"]),
            )
        case "leave":
            fleet.present(name, leaving=True)
        case "take" if name not in fleet.hands:
            fleet.take(name)
        case "answer" if name in fleet.hands:
            fleet.answer(name)
        case "nan" if name in fleet.hands:
            fleet.answer(name, float("nan"))
        case "decline" | "gone" as how if name in fleet.hands:
            worker.say_declined(fleet.hands.pop(name)[0], "model gone" if how == "gone" else "no")
            world.step()
        case "wait":
            world.pass_time(rng.choice([0.2, 3.0, 12.0, 31.0]))
        case _:
            pass


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dispatch", ["pool", "direct"])
@pytest.mark.parametrize("late", ["weigh", "refuse"])
def test_whatever_happens_the_roster_is_what_the_store_says(
    make_world: MakeWorld, seed: int, dispatch: str, late: str
) -> None:
    world = make_world(
        rounds__dispatch=dispatch,
        rounds__late=late,
        run__rounds=100,
        rounds__deadline="40s",
        rounds__concurrency=3,
        selection__cool_down="3s",
        selection__capabilities="gpu",
        **({} if dispatch == "pool" else {"selection__seen_within": "1m"}),
    )
    rng, fleet = random.Random(f"{seed} {dispatch} {late}"), Fleet(world, NAMES)
    for number in range(80):
        _step(fleet, rng)
        assert_as_stored(world)
        if number % 40 == 39:
            world.restart()
            assert_as_stored(world)
    assert roster_of(world).registry.drawn.sum() > 0


def test_a_restart_draws_as_the_process_before_it_would_have(make_world: MakeWorld) -> None:
    names = "abcdefghijklmnop"
    world = make_world(rounds__dispatch="direct", rounds__concurrency=3)
    fleet = Fleet(world, names)
    for name in names:
        fleet.workers[name].say_present()
    world.step()
    fleet.settle()
    assert len(fleet.drawn()) == 3
    after_a_restart = stored_roster(world).draw(8, 0, world.now)
    assert roster_of(world).draw(8, 0, world.now) == after_a_restart
    assert not {*after_a_restart} & fleet.drawn()


@pytest.mark.parametrize("name", ["before commit", "after commit"])
def test_after_a_write_that_failed_the_roster_is_what_the_store_says(
    make_world: MakeWorld, name: str
) -> None:
    world = make_world(rounds__dispatch="direct")
    fleet = Fleet(world, "ab")
    fleet.present("a")
    fleet.settle()
    assert fleet.take("a")
    world.steps.trouble[name] = OperationalError("COMMIT", None, sqlite3.OperationalError("full"))
    task, start = fleet.hands["a"]
    update = fleet.workers["a"].update(task, start, world.layout, 1.0)
    fleet.workers["a"].send(update, fleet.workers["a"].payload(world.layout, 1.0))
    fleet.workers["b"].say_present(examples=7)
    world.step()
    assert world.seen[-1].state == "connecting"
    world.steps.trouble.clear()
    for _ in range(3):
        world.pass_to_wake()
    assert_as_stored(world)
    assert world.verdict(update.update_id) == "counted"
    assert roster_of(world).participation.updates == 1


def test_a_row_number_of_a_forgotten_worker_is_given_to_the_next(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WORKERS_KEPT", 3)
    monkeypatch.setattr(writing, "LOOK_EACH", 1)
    world = make_world()
    fleet = Fleet(world, "abcdefgh")
    for name in "abcdefgh":
        world.now += 1
        fleet.present(name)
        assert_as_stored(world)
    assert set(roster_of(world)._rows) == {*"fgh"}
    assert roster_of(world).registry.end <= 4
    world.restart()
    assert_as_stored(world)


def test_who_has_a_task_is_not_forgotten_however_long_it_is_silent(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "WORKERS_KEPT", 2)
    monkeypatch.setattr(writing, "LOOK_EACH", 1)
    world = make_world()
    fleet = Fleet(world, "abcdef")
    assert fleet.take("a")
    for name in "bcdef":
        world.now += 1
        fleet.present(name)
    assert "a" in roster_of(world)._rows
    assert fleet.answer("a") == "counted"
    assert_as_stored(world)


def test_workers_that_are_seen_are_drawn_and_others_are_not(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct", rounds__concurrency=3)
    fleet = Fleet(world, "abcd")
    assert fleet.drawn() == set()
    fleet.present("a")
    fleet.present("b")
    fleet.settle()
    assert fleet.drawn() == {"a", "b"}
    fleet.present("c")
    fleet.present("d")
    fleet.settle()
    assert len(fleet.drawn()) == 3


def test_a_worker_has_one_task_in_flight(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct", rounds__concurrency=5)
    fleet = Fleet(world, "a")
    fleet.present("a")
    for _ in range(3):
        fleet.settle()
        fleet.present("a")
    assert len(world.open_tasks()) == 1


def test_who_has_counted_is_drawn_again_for_the_next_version_only(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct", rounds__goal=2, rounds__quorum=2)
    fleet = Fleet(world, "ab")
    fleet.present("a")
    fleet.settle()
    assert fleet.take("a")
    assert fleet.answer("a") == "counted"
    fleet.present("a")
    world.pass_time(15.0)
    assert fleet.drawn() == set()
    fleet.present("b")
    fleet.settle()
    assert fleet.take("b")
    assert fleet.answer("b") == "counted"
    assert world.version == 1
    assert fleet.drawn() == {"a", "b"}


def test_a_refused_worker_is_drawn_again_once_the_round_is_extended(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct")
    fleet = Fleet(world, "a")
    fleet.present("a")
    fleet.settle()
    assert fleet.take("a")
    assert fleet.answer("a", float("nan")) == "non-finite"
    world.pass_time(30.0)
    assert fleet.drawn() == set()
    world.pass_time(30.0)
    assert fleet.drawn() == {"a"}


def test_a_worker_in_cool_down_is_not_drawn(make_world: MakeWorld) -> None:
    world = make_world(
        rounds__dispatch="direct", rounds__goal=1, selection__cool_down="5m", run__rounds=9
    )
    fleet = Fleet(world, "a")
    fleet.present("a")
    fleet.settle()
    assert fleet.take("a")
    assert fleet.answer("a") == "counted"
    assert world.version == 1
    world.pass_time(290.0)
    world.restart()
    fleet.present("a")
    fleet.settle()
    assert fleet.drawn() == set()
    world.pass_time(10.0)
    fleet.present("a")
    fleet.settle()
    assert fleet.drawn() == {"a"}


def test_after_two_unheard_leases_a_worker_is_drawn_when_it_is_seen(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct", rounds__goal=1, run__rounds=100)
    fleet = Fleet(world, "ab")
    fleet.present("a")
    fleet.settle()
    assert fleet.drawn() == {"a"}
    world.pass_time(31.0)
    assert fleet.drawn() == set(), "its lease of this version ended unheard"
    assert row_of(world, "a").unheard == 1
    fleet.present("b")
    fleet.settle()
    assert fleet.take("b")
    assert fleet.answer("b") == "counted"
    assert "a" in fleet.drawn(), "there is another version"
    world.pass_time(31.0)
    assert row_of(world, "a").unheard == 2
    fleet.present("b")
    fleet.settle()
    assert fleet.take("b")
    assert fleet.answer("b") == "counted"
    world.restart()
    assert "a" not in fleet.drawn(), "two leases ended unheard"
    fleet.present("a")
    fleet.settle()
    assert "a" in fleet.drawn()


def test_who_declines_has_a_rest_or_it_would_be_asked_without_end(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct")
    fleet = Fleet(world, "a")
    fleet.present("a")
    fleet.settle()
    assert fleet.take("a")
    fleet.workers["a"].say_declined(fleet.hands.pop("a")[0], "the training crashed 3 times")
    world.step()
    fleet.settle()
    assert fleet.drawn() == set()
    world.pass_time(DECLINED_REST_S)
    fleet.present("a")
    fleet.settle()
    assert fleet.drawn() == {"a"}


def test_whose_model_is_gone_is_asked_again_at_once(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct")
    fleet = Fleet(world, "a")
    fleet.present("a")
    fleet.settle()
    assert fleet.take("a")
    fleet.workers["a"].say_declined(fleet.hands.pop("a")[0], "model gone: too late")
    world.step()
    assert fleet.drawn() == {"a"}


def test_only_workers_that_meet_what_is_required_are_drawn(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct", rounds__concurrency=5, selection__min_examples=10)
    fleet = Fleet(world, "abc")
    fleet.present("a", examples=9)
    fleet.present("b", examples=10)
    fleet.present("c")
    fleet.settle()
    assert fleet.drawn() == {"b"}
    world.restart()
    fleet.present("a", examples=12)
    fleet.settle()
    assert fleet.drawn() == {"a", "b"}


def test_who_was_not_seen_lately_is_not_drawn(make_world: MakeWorld) -> None:
    world = make_world(
        rounds__dispatch="direct", rounds__concurrency=5, selection__seen_within="20s"
    )
    fleet = Fleet(world, "abc")
    world.change(rounds__dispatch="direct")
    run: RunRow = world.run_row()
    for name, leaving in (("a", False), ("b", True)):
        fleet.present(name, leaving=leaving)
    registry = roster_of(world).registry
    rows = roster_of(world)._rows
    since = world.now - 20.0
    assert eligible(registry, Terms(run.version, world.now, since)).tolist() == [rows["a"]]
    fleet.settle()
    assert fleet.drawn() == {"a"}


def test_how_long_tasks_take_and_their_loss_are_kept(make_world: MakeWorld) -> None:
    world = make_world(rounds__dispatch="direct")
    fleet = Fleet(world, "a")
    fleet.present("a")
    fleet.settle()
    world.pass_time(4.0)
    assert fleet.take("a")
    world.pass_time(6.0)
    assert fleet.answer("a") == "counted"
    row = row_of(world, "a")
    assert row.duration_s == pytest.approx(10.0), "from the offer, since it is its own"
    assert row.train_s == pytest.approx(0.1)
    assert row.loss == 0.5


def test_who_answers_the_task_of_another_is_not_taken_to_have_done_one(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__dispatch="direct", selection__cool_down="5m")
    fleet = Fleet(world, "ab")
    fleet.present("a")
    fleet.settle()
    assert fleet.take("a")
    fleet.present("b")
    fleet.hands["b"] = fleet.hands["a"]
    world.pass_time(6.0)
    assert fleet.answer("b") == "unknown task"
    assert (row_of(world, "b").duration_s, row_of(world, "b").rest_until) == (0.0, 0.0)
    assert fleet.answer("a") == "counted"
    assert row_of(world, "a").rest_until == world.now + 300.0
    assert_as_stored(world)


def test_in_the_pool_a_task_takes_from_when_it_is_taken(make_world: MakeWorld) -> None:
    world = make_world()
    fleet = Fleet(world, "a")
    world.pass_time(20.0)
    assert fleet.take("a")
    world.pass_time(6.0)
    assert fleet.answer("a") == "counted"
    assert row_of(world, "a").duration_s == pytest.approx(6.0)


@pytest.mark.parametrize("loss", [float(np.finfo(np.float32).max) * 10, -1e300, 0.0])
def test_a_loss_that_no_training_has_harms_nothing(make_world: MakeWorld, loss: float) -> None:
    world = make_world()
    fleet = Fleet(world, "a")
    assert fleet.take("a")
    task, start = fleet.hands["a"]
    update = fleet.workers["a"].update(task, start, world.layout, 1.0)
    update = replace(update, metrics={"loss": loss}, train_s=1e300)
    fleet.workers["a"].send(update, fleet.workers["a"].payload(world.layout, 1.0))
    world.step()
    assert world.verdict(update.update_id) == "counted"
    assert_as_stored(world)


def test_in_the_pool_a_worker_in_cool_down_may_not_take_a_task_and_is_told_for_how_long(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__goal=1, selection__cool_down="2m", run__rounds=9)
    fleet = Fleet(world, "ab")
    assert fleet.take("a")
    assert fleet.answer("a") == "counted"
    assert world.version == 1
    world.pass_time(20.0)
    standing = fleet.workers["a"].standing_of(fleet.present("a"))
    assert (standing.may_take, standing.come_back_s) == (False, 100.0)
    assert fleet.may_take("b")
    world.restart()
    assert not fleet.may_take("a")
    world.pass_time(100.0)
    assert fleet.may_take("a")


def test_in_the_pool_a_worker_that_lacks_what_is_required_may_not_take_a_task(
    make_world: MakeWorld,
) -> None:
    world = make_world(selection__min_battery=0.5, selection__unmetered=True)
    fleet = Fleet(world, "a")
    assert fleet.may_take("a")
    assert fleet.may_take("a", battery=0.6)
    assert not fleet.may_take("a", battery=0.4)
    assert not fleet.may_take("a", battery=0.6, metered=True)


def test_a_new_version_calls_those_who_wait_but_not_who_rests(make_world: MakeWorld) -> None:
    world = make_world(rounds__goal=1, selection__cool_down="2m", run__rounds=9)
    fleet = Fleet(world, "ab")
    assert fleet.take("a")
    assert fleet.answer("a") == "counted"
    resting = fleet.present("a")
    assert fleet.take("b")
    assert fleet.answer("b") == "counted"
    assert world.version == 2
    answers = fleet.workers["a"].answers_of(resting)
    assert not any(getattr(answer, "may_take", False) for answer in answers)


def test_a_paused_run_does_not_wait_for_workers_that_may_take_no_task(
    make_world: MakeWorld,
) -> None:
    world = make_world(rounds__max_extensions=0, selection__min_examples=10)
    world.pass_time(61.0)
    assert world.state == "paused"
    fleet = Fleet(world, "ab")
    fleet.present("a", examples=3)
    assert world.state == "paused"
    fleet.present("b", examples=10)
    assert world.state == "collecting"


def test_above_the_pace_workers_are_told_to_stay_away_unless_they_have_work(
    make_world: MakeWorld,
) -> None:
    names = [f"w{n}" for n in range(40)]
    world = make_world(selection__pace=10)
    workers = {name: world.worker(name) for name in names}
    told = {}
    for _ in range(2):
        for name, worker in workers.items():
            token = worker.say_present()
            world.step()
            told[name] = worker.standing_of(token).away_s
        world.pass_time(5.0)
    away = [seconds for seconds in told.values() if seconds]
    assert 20 <= len(away) <= 40
    assert all(450.0 <= seconds <= 1350.0 for seconds in away), "ten presences, three turns"
    task, _ = world.begin_task(workers["w0"])
    for _ in range(20):
        token = workers["w0"].say_present()
        world.pass_time(1.0)
        assert workers["w0"].standing_of(token).away_s == 0
    assert world.task_row(task.task_id).state == "taken"


@pytest.mark.parametrize("within", ["0s", "1h"])
def test_who_was_told_to_stay_away_is_not_drawn_until_it_is_seen_again(
    make_world: MakeWorld, within: str
) -> None:
    names = [f"w{n}" for n in range(12)]
    pacing = {"selection__pace": 3, "selection__seen_within": within}
    world = make_world(rounds__dispatch="direct", rounds__goal=1, rounds__concurrency=1, **pacing)
    fleet = Fleet(world, "")
    fleet.workers = {name: world.worker(name) for name in names}
    for name in names:
        fleet.present(name)
    fleet.settle()
    (at_work,) = fleet.drawn()
    world.pass_time(5.0)
    told = [n for n in names if fleet.workers[n].standing_of(fleet.present(n)).away_s]
    assert told
    assert at_work not in told
    world.restart()
    roster = roster_of(world)
    assert all(row_of(world, name).leaving for name in told)
    drawn = roster.draw(len(names), world.run_row().version, world.now)
    assert not set(drawn) & set(told)
    world.pass_time(90.0)  # nobody else is there any more
    back = told[0]
    assert not fleet.workers[back].standing_of(fleet.present(back)).away_s
    assert back in roster_of(world).draw(len(names), world.run_row().version, world.now)


def test_below_the_pace_everyone_stays(make_world: MakeWorld) -> None:
    world = make_world(selection__pace=10)
    fleet = Fleet(world, "abcdef")
    told = [fleet.workers[name].standing_of(fleet.present(name)).away_s for name in "abcdef" * 3]
    assert set(told) == {0.0}


def test_a_version_says_how_evenly_workers_had_taken_part(make_world: MakeWorld) -> None:
    world = make_world(rounds__goal=2)
    fleet = Fleet(world, "abc")
    fleet.present("c")
    for name in "ab":
        assert fleet.take(name)
        assert fleet.answer(name) == "counted"
    record = world.version_row(1).participation
    assert record["workers"] == 3
    assert record["jain"] == pytest.approx(2 / 3)
    assert record["histogram"] == [
        {"from": 0, "to": 0, "workers": 1},
        {"from": 1, "to": 1, "workers": 2},
    ]
    assert record == roster_of(world).participation.record()
