from __future__ import annotations

import random
from dataclasses import replace

from tests.worker.examples import a_start, a_task
from worker.asking import Asking, asked, heard_time, not_asked, went_online
from worker.events import Ref
from worker.options import Moment


def moment(now: float) -> Moment:
    return Moment(now, serial=int(now), rng=random.Random(0), online=True)


def question(serial: int) -> Ref:
    return Ref("presence", "a", 0, serial)


def test_a_broker_without_our_queues_is_asked_again_soon_however_often_it_was() -> None:
    asking = went_online(Asking(), 0.0)
    for serial in range(20):
        now = asking.ask_at
        asking = asked(asking, question(serial), moment(now))
        asking = not_asked(asking, question(serial), moment(now))
        assert now < asking.ask_at <= now + 10.0


def test_what_the_broker_did_not_take_does_not_delay_the_wait_for_an_answer() -> None:
    asking = went_online(Asking(), 0.0)
    for serial in range(5):
        now = asking.ask_at
        asking = asked(asking, question(serial), moment(now))
        asking = not_asked(asking, question(serial), moment(now))
    now = asking.ask_at
    asking = asked(asking, question(6), moment(now))
    assert asking.ask_at <= now + 10.0


def test_the_coordinators_time_is_what_it_said_and_what_has_passed_since() -> None:
    start = replace(a_start(a_task()), time_s=5_000.0)
    asking = heard_time(Asking(), start, now=100.0)
    assert Asking().coordinator_s(100.0) is None
    assert asking.coordinator_s(130.0) == 5_030.0
