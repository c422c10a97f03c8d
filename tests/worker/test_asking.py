from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from tests.worker.examples import a_standing, a_start, a_task
from worker.asking import (
    AWAY_MOST_S,
    Asking,
    ask_again,
    asked,
    heard,
    heard_time,
    not_asked,
    went_online,
)
from worker.events import Ref
from worker.options import Moment, Options


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


def told(**says: Any) -> Asking:
    asking = asked(went_online(Asking(), 0.0), question(1), moment(0.0))
    return heard(asking, question(1), a_standing(**says), Options("w1"), moment(0.0))


def test_where_tasks_come_from_the_coordinator_says() -> None:
    assert told(may_take=True).queue == "pool"
    assert told(may_take=True, queue="own").queue == "own"


def test_who_is_to_be_away_takes_no_task() -> None:
    asking = told(may_take=True, away_s=60.0)
    assert (asking.may_take, asking.away_s) == (False, 60.0)
    assert ask_again(asking, 9.0).away_s == 0.0, "an answer to an older question"


def test_nobody_is_sent_away_for_ever_or_into_the_past() -> None:
    assert told(away_s=1e300).away_s == AWAY_MOST_S
    assert told(away_s=-5.0).away_s == 0.0
