from __future__ import annotations

import random

from worker.asking import Asking, asked, not_asked, went_online
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
