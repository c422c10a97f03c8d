"""Who may speak for a worker."""

from __future__ import annotations

from dataclasses import replace

from coordinator.store import Store
from schemas.digest import update_id_of
from tests.coordinator.feeder import Feeder
from tests.coordinator.world import MakeWorld, World


def strays(world: World) -> dict[str, int]:
    store = Store.open_to_read(world.folder / "state" / "coordinator.db")
    with store.reading() as work:
        counts = work.count_strays()
    store.close()
    return counts


def test_where_senders_are_users_a_worker_speaks_for_itself(make_world: MakeWorld) -> None:
    world = make_world(coordinator__senders="users")
    update_id = world.answer(Feeder(world.broker, "demo", "till", user="till"))
    assert world.ledger(update_id).verdict == "counted"
    assert strays(world) == {}


def test_where_senders_are_users_nobody_speaks_for_another(make_world: MakeWorld) -> None:
    world = make_world(coordinator__senders="users")
    till = Feeder(world.broker, "demo", "till", user="till")
    thief = Feeder(world.broker, "demo", "till", user="thief")
    task, start = world.begin_task(till)
    update = thief.update(task, start, world.layout, 1e9)
    thief.send(update, thief.payload(world.layout, 1e9))
    newer = replace(
        update,
        incarnation=update.incarnation + 1,
        update_id=update_id_of(update.incarnation + 1, update.task_id, "till"),
    )
    thief.send(newer, thief.payload(world.layout, 1e9))  # would stop the coordinator
    token = thief.say_present()
    world.step()
    assert strays(world) == {"unauthenticated": 3}
    assert not thief.answers_of(token)
    assert not world.has_verdict(update.update_id)

    good = till.update(task, start, world.layout, 1.0)
    till.send(good, till.payload(world.layout, 1.0))
    world.step()
    assert world.ledger(good.update_id).verdict == "counted"


def test_where_anyone_may_send_the_user_does_not_matter(make_world: MakeWorld) -> None:
    world = make_world()
    update_id = world.answer(Feeder(world.broker, "demo", "till", user="gateway"))
    assert world.ledger(update_id).verdict == "counted"
