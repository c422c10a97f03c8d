from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from settings.hours import Hours
from worker import availability
from worker.availability import Availability

ALWAYS = Availability()
FLAKY = Availability(on_for_s=70.0, off_for_s=30.0)
NIGHTS = Availability(hours=Hours(22 * 60, 6 * 60))


def test_without_settings_a_worker_is_always_on() -> None:
    spell = availability.begin(ALWAYS, 5.0, random.Random(0))
    assert spell.on
    assert spell.until == math.inf
    assert availability.is_open(ALWAYS, 0.0)
    assert availability.look_again_s(ALWAYS, 0.0) == math.inf


def test_the_share_of_time_on_is_what_the_means_say() -> None:
    rng = random.Random(1)
    spell, on_s, now = availability.begin(FLAKY, 0.0, rng), 0.0, 0.0
    while now < 200_000.0:
        on_s += (spell.until - now) * spell.on
        now = spell.until
        spell = availability.advance(FLAKY, spell, now, rng)
    assert 0.67 < on_s / now < 0.73


def test_workers_start_on_in_the_same_share() -> None:
    on = sum(availability.begin(FLAKY, 0.0, random.Random(seed)).on for seed in range(1000))
    assert 650 < on < 750


@given(seed=st.integers(0, 999), jump_s=st.floats(0.0, 1000.0))
def test_the_spell_after_a_jump_is_one_that_holds_now(seed: int, jump_s: float) -> None:
    rng = random.Random(seed)
    spell = availability.begin(FLAKY, 0.0, rng)
    assert availability.advance(FLAKY, spell, jump_s, rng).until > jump_s


def test_hours_may_go_past_midnight() -> None:
    assert availability.is_open(NIGHTS, 23 * 60)
    assert availability.is_open(NIGHTS, 5 * 60 + 59.5)
    assert not availability.is_open(NIGHTS, 6 * 60)
    assert not availability.is_open(NIGHTS, 12 * 60)


@given(minute=st.floats(0.0, 1439.99))
def test_hours_are_looked_at_again_before_they_change(minute: float) -> None:
    wait_s = availability.look_again_s(NIGHTS, minute)
    assert 0.0 < wait_s <= 900.0
    just_before = (minute + max(0.0, wait_s - 1.0) / 60) % 1440
    assert availability.is_open(NIGHTS, just_before) == availability.is_open(NIGHTS, minute)


def test_hours_are_looked_at_again_when_they_change() -> None:
    wait_s = availability.look_again_s(NIGHTS, 21 * 60 + 59)
    assert availability.is_open(NIGHTS, 21 * 60 + 59 + wait_s / 60)


@given(seed=st.integers(0, 999), away_s=st.floats(0.1, 1e6))
def test_a_worker_comes_back_within_a_tenth_of_what_it_was_told(seed: int, away_s: float) -> None:
    until = availability.away_until(away_s, 100.0, random.Random(seed))
    assert 0.899 * away_s <= until - 100.0 <= 1.101 * away_s


def test_those_who_were_told_the_same_do_not_come_back_together() -> None:
    back = {availability.away_until(60.0, 0.0, random.Random(seed)) for seed in range(100)}
    assert len(back) == 100
