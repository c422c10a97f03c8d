"""An update is a question too: its answer is its verdict, and what comes next."""

from __future__ import annotations

import pytest

from broker.transport import Outgoing
from schemas.messages import Standing, Update, encode
from tests.coordinator.feeder import Feeder
from tests.coordinator.steps import Steps
from tests.coordinator.world import MakeWorld, World


def trained(world: World, worker: Feeder) -> Update:
    """The header of an update that a worker has trained."""
    task, start = world.begin_task(worker)
    return worker.update(task, start, world.layout, 1.0)


def sent(world: World, worker: Feeder, update: Update) -> int:
    token = worker.send_asking(update, worker.payload(world.layout, 1.0))
    world.step()
    return token


def introduced(world: World, **declared: object) -> Feeder:
    """A worker that has said that it is there."""
    worker = world.somebody()
    worker.say_present(**declared)  # type: ignore[arg-type]
    world.step()
    return worker


def tells_to_ask(standing: Standing) -> bool:
    return (standing.may_take, standing.come_back_s, standing.verdicts) == (False, 0.0, {})


def test_the_answer_is_the_verdict_and_another_one_the_next_version(make_world: MakeWorld) -> None:
    world = make_world()
    worker = introduced(world)
    update = trained(world, worker)
    token = sent(world, worker, update)
    standing = worker.standing_of(token)
    assert standing.verdicts == {update.update_id: "counted"}
    assert (standing.version, standing.may_take) == (0, False)
    world.round(1.0)
    standing = worker.standing_of(token)
    assert (standing.version, standing.may_take) == (1, True)


def test_a_copy_is_answered_too(make_world: MakeWorld) -> None:
    world = make_world()
    worker = introduced(world)
    update = trained(world, worker)
    for _ in range(2):
        token = sent(world, worker, update)
        assert worker.standing_of(token).verdicts == {update.update_id: "counted"}
    assert world.ledger(update.update_id).copies == 1


def test_who_waits_since_its_update_is_asked_to_ask_again_by_the_next_process(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker = introduced(world)
    token = sent(world, worker, trained(world, worker))
    world.kill()
    world.begin()
    assert tells_to_ask(worker.standing_of(token))


def test_who_closes_the_round_is_told_of_the_next_version(make_world: MakeWorld) -> None:
    world = make_world()
    worker = introduced(world)
    world.round(1.0)
    token = sent(world, worker, trained(world, worker))
    standing = worker.standing_of(token)
    assert (standing.version, standing.may_take) == (1, True)


def test_it_is_answered_once_its_verdict_is_committed(make_world: MakeWorld, steps: Steps) -> None:
    world = make_world()
    worker = introduced(world)
    update = trained(world, worker)
    steps.begin_again()
    token = sent(world, worker, update)
    names = [name for name in steps.names if name in ("after commit", "after answer", "before ack")]
    assert names == ["after commit", "after answer", "before ack"]
    assert len(worker.answers_of(token)) == 1


def test_an_update_that_was_not_committed_is_not_answered(
    make_world: MakeWorld, steps: Steps
) -> None:
    world = make_world()
    worker = introduced(world)
    update = trained(world, worker)
    steps.kill_at_name("before commit")
    token = sent(world, worker, update)
    assert steps.killed == "before commit"
    answers = worker.answers_of(token)
    assert answers, "the next process has received it"
    assert all(isinstance(told, Standing) and tells_to_ask(told) for told in answers)


def test_of_whom_nothing_is_known_is_told_to_say_how_it_is(make_world: MakeWorld) -> None:
    world = make_world()
    stranger = world.somebody()
    update = trained(world, stranger)
    token = sent(world, stranger, update)
    assert tells_to_ask(stranger.standing_of(token))
    assert world.verdict(update.update_id) == "counted"


def test_who_said_that_it_leaves_is_told_to_say_how_it_is(make_world: MakeWorld) -> None:
    world = make_world()
    worker = introduced(world)
    update = trained(world, worker)
    worker.say_present(leaving=True)
    world.step()
    token = sent(world, worker, update)
    assert tells_to_ask(worker.standing_of(token))


def test_what_holds_a_worker_holds_it_here_too(make_world: MakeWorld) -> None:
    world = make_world(rounds__late="refuse", rounds__lease="5s", selection__min_battery=0.5)
    full, empty = introduced(world, battery=0.9), introduced(world, battery=0.2)
    late = [(worker, trained(world, worker)) for worker in (full, empty)]
    world.pass_time(5.0)
    told = [worker.standing_of(sent(world, worker, update)) for worker, update in late]
    assert [world.verdict(update.update_id) for _, update in late] == ["replaced", "replaced"]
    assert [standing.may_take for standing in told] == [True, False]


def test_bytes_that_take_no_id_are_answered_with_a_question(make_world: MakeWorld) -> None:
    world = make_world()
    worker = introduced(world)
    update = trained(world, worker)
    body = encode(update, worker.payload(world.layout, 2.0))
    key = worker.names.update_key(update.run_id, 0, worker.worker_id)
    token = worker.transport.publish(
        Outgoing(worker.names.update_exchange, key, body, answerable=True)
    )
    world.step()
    assert tells_to_ask(worker.standing_of(token))
    assert sum(world.strays().values()) == 1


def test_what_the_broker_gave_up_is_not_answered(make_world: MakeWorld) -> None:
    world = make_world()
    worker = introduced(world)
    update = trained(world, worker)
    body = encode(update, worker.payload(world.layout, 1.0))
    token = worker.transport.publish(
        Outgoing(world.names.dead_exchange, "any", body, answerable=True)
    )
    world.step()
    assert world.verdict(update.update_id) == "counted"
    assert not worker.answers_of(token)


def test_an_older_update_makes_no_worker_forget_what_it_trained_on(make_world: MakeWorld) -> None:
    world = make_world(rounds__concurrency=4)
    worker = introduced(world)
    older = trained(world, worker)
    world.round(1.0, 1.0)
    assert world.version == 1
    newer = trained(world, worker)
    world.round(1.0)
    sent(world, worker, newer)
    worker.say_present(run_id=newer.run_id, last_version=1, incarnation=newer.incarnation)
    world.step()
    assert world.version == 2
    token = sent(world, worker, older)
    assert worker.standing_of(token).may_take, "it may train on version 2"


def test_what_a_worker_trained_on_in_another_life_is_not_ahead_of_this_one(
    make_world: MakeWorld,
) -> None:
    world = make_world()
    worker = introduced(world)
    world.round(1.0, 1.0)
    before = trained(world, worker)
    world.restart(restored=True)
    worker.say_present(run_id=before.run_id, last_version=3, incarnation=before.incarnation)
    world.step()
    update = trained(world, worker)
    assert update.incarnation > before.incarnation
    token = sent(world, worker, update)
    assert worker.standing_of(token).verdicts == {update.update_id: "counted"}
    assert (world.version, world.state) == (1, "collecting")


@pytest.mark.parametrize("dispatch", ["pool", "direct"])
def test_a_worker_that_asks_with_its_updates_takes_part_in_every_round(
    make_world: MakeWorld, dispatch: str
) -> None:
    world = make_world(
        rounds__goal=1, rounds__concurrency=1, rounds__dispatch=dispatch, run__rounds=4
    )
    worker = introduced(world)
    world.pass_time(1.0)
    for version in range(3):
        found = worker.take_own() if dispatch == "direct" else worker.take()
        assert found is not None, f"no task for version {version}"
        task, tag = found
        start = world.ask_start(worker, task)
        worker.transport.ack(tag)
        token = sent(world, worker, worker.update(task, start, world.layout, 1.0))
        world.pass_time(1.0)  # where workers are drawn, that takes a moment
        standing = worker.standing_of(token)
        assert (standing.version, standing.state) == (version + 1, "running")
        assert standing.may_take
