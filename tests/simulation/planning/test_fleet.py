from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest

from coordinator.algorithm import Algorithm, Rule
from coordinator.policy import RoundPolicy
from schemas.buffer import Buffer
from schemas.layout import Entry, Layout
from simulation.planning.crowd import Crowd
from simulation.planning.devices import SETS, Devices
from simulation.planning.drawer import Choice
from simulation.planning.fleet import Fleet
from simulation.planning.training import Errand, Synthetic, Trained

FEDBUFF = RoundPolicy(
    rounds=10**9,
    goal=10,
    quorum=1,
    concurrency=130,
    deadline_s=1e6,
    lease_s=1e6,
    max_staleness=10**6,
)
SYNC = replace(FEDBUFF, goal=100, late="refuse")
PHONES = SETS["phones"]


def fleet_of(policy: RoundPolicy, devices: Devices, workers: int = 1000, seed: int = 1) -> Fleet:
    return Fleet(policy, Crowd(devices, workers, seed), Synthetic(), seed)


def go(fleet: Fleet, arrivals: int) -> Fleet:
    fleet.run(math.inf, lambda fleet: fleet.tally.arrived >= arrivals)
    return fleet


def mean_staleness(fleet: Fleet, warm_up: int) -> float:
    return float(np.mean([s for s in fleet.tally.staleness[warm_up:] if s >= 0]))


# closed forms


@pytest.mark.parametrize(("concurrency", "loss"), [(130, 0.0), (130, 0.2), (40, 0.1)])
def test_mean_staleness_is_concurrency_less_the_lost_over_the_goal(
    concurrency: int, loss: float
) -> None:
    devices = replace(SETS["fedbuff"], loss=loss, loss_is_told=True)
    policy = replace(FEDBUFF, concurrency=concurrency)
    fleet = go(fleet_of(policy, devices), 45 * concurrency)
    expected = concurrency * (1 - loss) / policy.goal
    assert mean_staleness(fleet, 5 * concurrency) == pytest.approx(expected, rel=0.05)


def test_a_task_that_is_lost_unheard_holds_its_slot_until_the_lease_ends() -> None:
    lease_s, loss = 200.0, 0.1
    devices = replace(SETS["fedbuff"], loss=loss)
    policy = replace(FEDBUFF, lease_s=lease_s)
    fleet = go(fleet_of(policy, devices, 4000), 6000)
    task_s = 60.0 * math.sqrt(2 / math.pi)
    held_s = (1 - loss) * task_s + loss * lease_s
    expected = policy.concurrency * (1 - loss) * task_s / held_s / policy.goal
    assert mean_staleness(fleet, 650) == pytest.approx(expected, rel=0.05)


def test_updates_come_at_concurrency_over_the_duration_of_a_task() -> None:
    fleet = go(fleet_of(FEDBUFF, SETS["fedbuff"]), 650)
    begun, arrived = fleet.now, fleet.tally.arrived
    go(fleet, 6000)
    rate = (fleet.tally.arrived - arrived) / (fleet.now - begun)
    assert rate == pytest.approx(130 / (60.0 * math.sqrt(2 / math.pi)), rel=0.05)


def test_a_synchronous_round_takes_as_long_as_the_goal_th_of_its_cohort() -> None:
    fleet = fleet_of(SYNC, SETS["fedbuff"], 3000)
    fleet.run(math.inf, lambda fleet: fleet.models.version >= 60)
    lengths = np.diff(fleet.tally.version_at)[7:]  # 5 * 130 arrivals
    assert lengths.mean() == pytest.approx(order_statistic(100, 130), rel=0.05)


def order_statistic(which: int, of: int) -> float:
    """The mean of the `which`-th smallest of `of` half-normal numbers."""
    rng = np.random.default_rng(0)
    drawn = np.abs(rng.normal(0.0, 60.0, (20_000, of)))
    return float(np.partition(drawn, which - 1, axis=1)[:, which - 1].mean())


# laws


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("policy", [FEDBUFF, SYNC], ids=["fedbuff", "sync"])
def test_what_was_taken_was_answered_lost_or_is_in_flight(name: str, policy: RoundPolicy) -> None:
    policy = replace(policy, goal=10, quorum=3, concurrency=40, deadline_s=1800.0, lease_s=3600.0)
    fleet = fleet_of(policy, SETS[name], 300)
    tally = fleet.tally
    for arrivals in range(50, 600, 50):
        go(fleet, arrivals)
        assert tally.taken == tally.arrived + tally.dropped + tally.left + fleet.in_flight
        assert tally.arrived == sum(tally.verdicts.values())
        assert int(fleet.roster.taken.sum()) == tally.taken
        assert int(fleet.roster.busy.sum()) == fleet.in_flight
    assert tally.arrived >= 500


@pytest.mark.parametrize("name", ["fedbuff", "hostile"])
def test_the_same_seed_gives_the_same_history(name: str) -> None:
    policy = replace(FEDBUFF, concurrency=30, lease_s=3600.0)
    digests = [go(fleet_of(policy, SETS[name], 200, seed), 300).tally.digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_going_on_is_the_same_as_going_at_once() -> None:
    policy = replace(FEDBUFF, concurrency=30, lease_s=3600.0)
    at_once, in_steps = (fleet_of(policy, SETS["flaky"], 200) for _ in range(2))
    at_once.run(4e4)
    for number in range(1, 21):
        in_steps.run(2e3 * number)
    assert at_once.tally.digest == in_steps.tally.digest
    assert at_once.now == in_steps.now == 4e4


def test_a_worker_counts_once_for_a_version_and_has_one_task_at_a_time() -> None:
    policy = replace(FEDBUFF, goal=5, quorum=5, concurrency=8, lease_s=400.0, deadline_s=900.0)
    fleet = go(fleet_of(policy, replace(SETS["flaky"], loss=0.3, loss_is_told=True), 12), 400)
    assert fleet.tally.verdicts["repeated"] == 0
    assert fleet.tally.counted > 300


# rounds


def test_late_updates_are_refused_where_the_policy_says_so() -> None:
    fleet = go(fleet_of(SYNC, SETS["fedbuff"]), 3000)
    assert fleet.tally.verdicts["late"] > 300
    assert set(fleet.tally.staleness) == {0, -1}


def test_updates_that_are_too_stale_are_refused() -> None:
    fleet = go(fleet_of(replace(FEDBUFF, max_staleness=12), SETS["fedbuff"]), 3000)
    assert fleet.tally.verdicts["stale"] > 300
    assert max(fleet.tally.staleness) == 12


def test_a_deadline_closes_a_round_with_its_quorum() -> None:
    policy = replace(SYNC, quorum=60, deadline_s=90.0)
    fleet = fleet_of(policy, replace(SETS["fedbuff"], loss=0.3), 3000)
    fleet.run(math.inf, lambda fleet: fleet.models.version >= 20)
    assert fleet.tally.closed["deadline"] == 20
    assert np.diff(fleet.tally.version_at) == pytest.approx([90.0] * 20)


def test_a_run_that_too_few_attend_is_paused_and_goes_on_by_itself() -> None:
    policy = replace(SYNC, goal=8, quorum=8, concurrency=11, deadline_s=60.0, max_extensions=1)
    fleet = go(fleet_of(policy, SETS["flaky"], 14), 60)
    assert fleet.tally.paused > 0
    assert fleet.models.version > 3


def test_a_run_ends_with_its_last_version() -> None:
    fleet = fleet_of(replace(FEDBUFF, rounds=7), SETS["fedbuff"])
    fleet.run(math.inf)
    assert fleet.over
    assert fleet.models.version == 7


def test_time_stands_where_it_was_asked_to_stop() -> None:
    fleet = fleet_of(FEDBUFF, SETS["ideal"])
    fleet.run(59.0)
    assert (fleet.now, fleet.tally.arrived, fleet.in_flight) == (59.0, 0, 130)
    fleet.run(61.0)
    assert fleet.tally.arrived == 130


# training


LAYOUT = Layout.of([Entry("seen", "float32", (3,), "mean")])


@dataclass
class Recorder:
    """Each update adds (1, worker, version of its base); the base says what was given."""

    given: list[tuple[Errand, float]]

    @property
    def layout(self) -> Layout:
        return LAYOUT

    def initial(self) -> bytes:
        return bytes(LAYOUT.num_bytes)

    def train(self, errand: Errand, base: Buffer) -> Trained:
        self.given.append((errand, float(np.frombuffer(base, "<f4")[0])))
        update = np.array([1.0, errand.worker, errand.version], "<f4")
        return Trained(update.tobytes(), 5)

    def evaluate(self, version: int, model: Buffer) -> Mapping[str, float]:
        return {}


def test_each_update_is_trained_on_the_model_that_its_task_began_with() -> None:
    recorder = Recorder([])
    fleet = Fleet(FEDBUFF, Crowd(PHONES, 1000, 1), recorder, 1)
    go(fleet, 800)
    assert len(recorder.given) == fleet.tally.counted
    for errand, first in recorder.given:
        assert first == errand.version  # each version is one more than the last


def test_what_would_be_refused_is_not_trained() -> None:
    recorder = Recorder([])
    fleet = go(Fleet(SYNC, Crowd(SETS["fedbuff"], 1000, 1), recorder, 1), 1500)
    assert fleet.tally.verdicts["late"] > 100
    assert len(recorder.given) == fleet.tally.counted


def test_a_version_is_the_weighted_mean_of_what_was_counted() -> None:
    recorder = Recorder([])
    policy = replace(FEDBUFF, goal=4, concurrency=4)
    fleet = Fleet(policy, Crowd(SETS["ideal"], 4, 1), recorder, 1)
    fleet.run(math.inf, lambda fleet: fleet.models.version == 1)
    model = np.frombuffer(fleet.models.newest, "<f4")
    assert model.tolist() == [1.0, 1.5, 0.0]


def test_versions_are_kept_only_while_a_task_in_flight_needs_them() -> None:
    fleet = Fleet(FEDBUFF, Crowd(SETS["fedbuff"], 1000, 1), Recorder([]), 1)
    go(fleet, 3000)
    needed = {entry.version for _, _, entry in fleet._heap} | {fleet.models.version}
    assert len(fleet.models) == len(needed) < 60
    assert fleet.models.version == 300


def test_an_update_with_a_fault_is_refused() -> None:
    class Diverged(Recorder):
        def train(self, errand: Errand, base: Buffer) -> Trained:
            return Trained(np.full(3, np.nan, "<f4").tobytes(), 5)

    fleet = go(Fleet(FEDBUFF, Crowd(SETS["fedbuff"], 1000, 1), Diverged([]), 1), 50)
    assert fleet.tally.verdicts == {"non-finite": 50}


def test_an_update_that_the_rule_cannot_use_is_refused() -> None:
    policy = replace(FEDBUFF, algorithm=Algorithm(rule="nova"))
    fleet = go(Fleet(policy, Crowd(SETS["fedbuff"], 1000, 1), Recorder([]), 1), 50)
    assert fleet.tally.verdicts == {"malformed": 50}


def test_workers_are_told_how_strongly_they_are_held() -> None:
    recorder = Recorder([])
    policy = replace(FEDBUFF, algorithm=Algorithm(prox_mu=0.25))
    go(Fleet(policy, Crowd(SETS["fedbuff"], 1000, 1), recorder, 1), 20)
    assert {errand.prox_mu for errand, _ in recorder.given} == {0.25}


# direct dispatch


DIRECT = replace(FEDBUFF, dispatch="direct", concurrency=60)


def test_direct_dispatch_has_the_same_staleness_where_workers_are_always_there() -> None:
    fleet = go(fleet_of(DIRECT, SETS["fedbuff"]), 3000)
    assert mean_staleness(fleet, 300) == pytest.approx(6.0, rel=0.05)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("late", ["weigh", "refuse"])
def test_no_direct_task_is_lost_from_sight(name: str, late: Literal["weigh", "refuse"]) -> None:
    policy = replace(DIRECT, concurrency=40, quorum=3, late=late, deadline_s=1800.0, lease_s=3600.0)
    fleet = fleet_of(policy, SETS[name], 300)
    tally = fleet.tally
    for arrivals in range(50, 400, 50):
        go(fleet, arrivals)
        assert tally.taken == tally.arrived + tally.dropped + tally.left + fleet.in_flight
        assert int(fleet.roster.busy.sum()) == fleet.in_flight
        assert tally.verdicts["repeated"] == tally.verdicts["unknown task"] == 0
        held = {entry.version for _, _, entry in fleet._heap} | {fleet.models.version}
        assert len(fleet.models) <= len(held) + len(fleet._letters)
    assert tally.arrived >= 350


def test_a_direct_task_waits_in_its_worker_s_own_queue_and_pins_its_version() -> None:
    policy = replace(DIRECT, concurrency=100, max_staleness=10**6)
    fleet = go(fleet_of(policy, replace(SETS["flaky"], loss=0.0), 400), 1500)
    pool = go(
        fleet_of(replace(policy, dispatch="pool"), replace(SETS["flaky"], loss=0.0), 400), 1500
    )
    # Who is away when it is drawn trains later, and on the version of then.
    assert mean_staleness(fleet, 500) == pytest.approx(100 / 10, rel=0.05)
    assert mean_staleness(fleet, 500) > 1.3 * mean_staleness(pool, 500)


def test_direct_dispatch_serves_more_evenly_than_a_shared_queue() -> None:
    """Rare workers have a third of the population; the queue serves whoever is there."""
    presence = replace(SETS["hostile"].presence, leaving_share=0.0, share=0.5, there_s=1800.0)
    devices = replace(SETS["hostile"], presence=presence, loss=0.0)
    policy = replace(DIRECT, concurrency=20, goal=10)
    direct = go(fleet_of(policy, devices, 200), 1500)
    pool = go(fleet_of(replace(policy, dispatch="pool"), devices, 200), 1500)
    rare = direct.crowd.availability.are_rare(np.arange(200))

    def share(fleet: Fleet) -> float:
        return float(fleet.roster.answers[rare].sum() / fleet.roster.answers.sum())

    assert share(direct) > 1.5 * share(pool)


def test_only_workers_that_were_there_lately_are_drawn_where_that_is_asked_for() -> None:
    devices = replace(SETS["flaky"], loss=0.0)
    waiting = []
    for choice in (Choice(seen_within_s=1.0), Choice()):
        fleet = Fleet(DIRECT, Crowd(devices, 400, 1), Synthetic(), 1, choice=choice)
        waiting.append(len(go(fleet, 200)._letters))
    there, any_of_them = waiting
    assert there <= 2  # it may have gone a second ago
    assert any_of_them > 20


def test_a_drawn_worker_that_was_not_heard_is_drawn_again_when_it_comes() -> None:
    policy = replace(DIRECT, concurrency=100, lease_s=138.0)
    fleet = fleet_of(policy, SETS["hostile"], 200)
    fleet.run(86400.0)
    # The rare ones come about once a day; each of the others many times.
    assert fleet.tally.arrived > 400
    assert fleet.models.version > 30


@pytest.mark.parametrize("dispatch", ["pool", "direct"])
def test_a_worker_has_its_rest_after_a_task(dispatch: Literal["pool", "direct"]) -> None:
    policy = replace(FEDBUFF, dispatch=dispatch, goal=2, concurrency=5)
    crowd = Crowd(SETS["ideal"], 10, 1)
    fleet = Fleet(policy, crowd, Synthetic(), 1, choice=Choice(cool_down_s=540.0))
    fleet.run(6000.0)
    # A minute of work, nine of rest: each of ten workers has ten tasks in that time.
    assert fleet.tally.arrived == pytest.approx(100, abs=6)
    assert fleet.roster.taken.max() <= 11


@pytest.mark.parametrize("dispatch", ["pool", "direct"])
def test_the_same_seed_gives_the_same_history_in_each_dispatch(
    dispatch: Literal["pool", "direct"],
) -> None:
    policy = replace(FEDBUFF, dispatch=dispatch, concurrency=30, lease_s=3600.0)
    one, same = (go(fleet_of(policy, SETS["hostile"], 5000), 150) for _ in range(2))
    assert one.tally.digest == same.tally.digest


# algorithms


def test_a_rule_that_keeps_updates_finds_those_of_the_rounds_before() -> None:
    class Constant(Recorder):
        """Worker k's update is always k."""

        def train(self, errand: Errand, base: Buffer) -> Trained:
            super().train(errand, base)
            return Trained(np.full(3, errand.worker, "<f4").tobytes(), 5)

    recorder = Constant([])
    algorithm = Algorithm(rule="mifa", population=4)
    policy = replace(FEDBUFF, goal=2, concurrency=2, algorithm=algorithm)
    fleet = Fleet(policy, Crowd(SETS["ideal"], 4, 1), recorder, 1)
    fleet.run(math.inf, lambda fleet: fleet.models.version == 2)
    workers = [errand.worker for errand, _ in recorder.given]
    assert len(set(workers)) == 4
    first = np.frombuffer(fleet.models.newest, "<f4")[0]
    # The second step is the mean of all four, not of the two that came.
    assert first == pytest.approx((sum(workers[:2]) + sum(workers)) / 4, rel=1e-3)


@pytest.mark.parametrize("rule", ["median", "ca2fl", "trimmed-mean"])
def test_rules_that_read_the_updates_again_can(rule: Rule) -> None:
    policy = replace(FEDBUFF, goal=4, concurrency=4, algorithm=Algorithm(rule=rule))
    fleet = Fleet(policy, Crowd(SETS["ideal"], 4, 1), Recorder([]), 1)
    fleet.run(math.inf, lambda fleet: fleet.models.version == 2)
    assert np.frombuffer(fleet.models.newest, "<f4")[0] == pytest.approx(2.0, rel=1e-3)
