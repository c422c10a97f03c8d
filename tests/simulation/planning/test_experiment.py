from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from coordinator.algorithm import Algorithm, Rule
from coordinator.policy import RoundPolicy
from settings import load
from simulation.planning.crowd import Crowd
from simulation.planning.devices import SETS, Presence
from simulation.planning.errors import CannotPlan
from simulation.planning.experiment import Experiment, Limits, Setup, patience_s, waits_for
from simulation.planning.learners import LearnerTraining
from simulation.planning.report import Bar, Report, bars_of, jain_of
from simulation.planning.summary import summary_of
from simulation.planning.training import Synthetic
from tests.simulation.planning.softmax import Softmax

POLICY = RoundPolicy(
    rounds=10**6, goal=5, quorum=1, concurrency=20, deadline_s=1e5, lease_s=1e5, max_staleness=10**6
)


def experiment(
    limits: Limits, policy: RoundPolicy = POLICY, seed: int = 1, devices: str = "fedbuff"
) -> Experiment:
    training = LearnerTraining(Softmax(), 100, seed)
    crowd = Crowd(SETS[devices], 100, seed, examples=training.examples())
    return Experiment(Setup("a policy", policy), crowd, training, seed, limits)


def synthetic(until: float, policy: RoundPolicy = POLICY, devices: str = "fedbuff") -> Report:
    crowd = Crowd(SETS[devices], 100, 1)
    return Experiment(Setup("a policy", policy), crowd, Synthetic(), 1, Limits(until)).run()


def test_it_ends_when_the_target_is_reached() -> None:
    report = experiment(Limits(1e6, target=0.8)).run()
    assert report.ended == "target"
    assert report.accuracy is not None
    assert report.accuracy >= 0.8
    assert report.time_to_target_s == report.virtual_s
    first = next(at for at in report.curve if at.metrics["accuracy"] >= 0.8)
    assert first is report.curve[-1]
    assert report.versions == first.version


def test_it_ends_when_its_time_is_over_and_says_that_the_target_was_not_reached() -> None:
    report = experiment(Limits(100.0, target=0.999)).run()
    assert (report.ended, report.time_to_target_s, report.virtual_s) == ("time", None, 100.0)
    assert report.accuracy is not None


def test_it_ends_with_the_last_round() -> None:
    report = experiment(Limits(1e6, target=0.9999), replace(POLICY, rounds=9)).run()
    assert (report.ended, report.versions) == ("rounds", 9)
    assert report.curve[-1].version == 9


def test_it_may_be_looked_at_before_its_end() -> None:
    begun = experiment(Limits(1e6))
    begun.fleet.run(50.0)
    assert begun.report().ended == "stopped"
    assert begun.report().updates > 0


def test_versions_of_few_updates_are_not_evaluated_each_time() -> None:
    report = experiment(Limits(200.0), replace(POLICY, goal=1)).run()
    assert [at.version for at in report.curve[:4]] == [0, 10, 20, 30]
    report = experiment(Limits(200.0, evaluate_every=3), replace(POLICY, goal=1)).run()
    assert [at.version for at in report.curve[:3]] == [0, 3, 6]


def test_the_same_seed_gives_the_same_report() -> None:
    one, same, other = (
        json.dumps(experiment(Limits(400.0), seed=seed, devices="flaky").run().as_json())
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_means_leave_the_beginning_out_if_there_is_enough_besides() -> None:
    short, long = synthetic(100.0), synthetic(2000.0)
    assert (short.warm, long.warm) == (False, True)
    assert long.staleness.mean == pytest.approx(20 / 5, rel=0.06)
    assert long.updates_per_s == pytest.approx(20 / (60 * math.sqrt(2 / math.pi)), rel=0.06)
    assert long.round_s.mean == pytest.approx(5 / long.updates_per_s, rel=0.02)


def test_a_report_says_where_all_tasks_are() -> None:
    report = synthetic(2e4, devices="hostile")
    tasks = report.tasks
    found = tasks["answered"] + tasks["dropped"] + tasks["left"] + tasks["in_flight"]
    assert tasks["taken"] == found
    assert sum(report.verdicts.values()) == report.updates == tasks["answered"]
    assert sum(bar.count for bar in report.by_staleness) <= report.counted
    assert sum(bar.count for bar in report.by_participation) == 100


def test_a_report_that_never_began_can_be_made() -> None:
    report = synthetic(1e-3)
    assert (report.versions, report.updates, report.staleness.mean) == (0, 0, 0.0)
    assert report.jain == 1.0
    json.dumps(report.as_json())


def test_json_has_what_a_plan_is_made_of() -> None:
    said = experiment(Limits(500.0, target=0.99)).run().as_json()
    assert {"time_to_target_s", "mean_staleness", "versions", "updates", "accuracy"} <= said.keys()
    assert said["mean_staleness"] == said["staleness"]["mean"]
    assert said["policy"]["goal"] == 5
    assert said["curve"][0].keys() == {"at_s", "version", "updates", "accuracy"}


def test_jain_s_index_is_one_for_equals_and_the_share_of_those_who_serve_alone() -> None:
    assert jain_of(np.array([3, 3, 3])) == pytest.approx(1.0)
    assert jain_of(np.array([4, 0, 0, 0])) == pytest.approx(0.25)


def test_a_histogram_has_every_number_once() -> None:
    assert bars_of(np.array([0, 0, 2])) == [Bar(0, 1, 2), Bar(1, 2, 0), Bar(2, 3, 1)]
    wide = bars_of(np.arange(1000))
    assert len(wide) <= 24
    assert sum(bar.count for bar in wide) == 1000
    assert bars_of(np.array([], int)) == []


def test_patience_is_twice_what_most_answers_take() -> None:
    assert patience_s(Crowd(SETS["ideal"], 50, 1)) == 120.0
    half_normal = 2 * 60.0 * 1.96
    assert patience_s(Crowd(SETS["fedbuff"], 5000, 1)) == pytest.approx(half_normal, rel=0.06)
    assert patience_s(Crowd(SETS["flaky"], 500, 1)) > 3600.0


def test_where_late_updates_count_a_lease_may_be_short() -> None:
    crowd = Crowd(SETS["flaky"], 500, 1)
    refused, weighed = waits_for(crowd, "refuse"), waits_for(crowd, "weigh")
    assert refused["rounds.deadline"] == weighed["rounds.deadline"] == refused["rounds.lease"]
    assert weighed["rounds.lease"] == patience_s(crowd, 0.5) < 0.2 * refused["rounds.lease"]


def test_a_direct_task_is_waited_for_until_its_worker_has_come() -> None:
    crowd = Crowd(SETS["hostile"], 200, 1)
    pool, direct = waits_for(crowd, "weigh"), waits_for(crowd, "weigh", "direct")
    assert pool["rounds.lease"] < 600.0
    assert direct["rounds.lease"] > 3600.0  # they are away for two hours
    assert direct["rounds.deadline"] > pool["rounds.deadline"]
    always = Crowd(SETS["fedbuff"], 200, 1)
    assert waits_for(always, "weigh", "direct") == waits_for(always, "weigh")


def test_where_nobody_ever_answers_there_is_nothing_to_plan() -> None:
    gone = Presence(share=0.5, leaving_share=1.0, leaving_s=1e-3)
    with pytest.raises(CannotPlan, match="none of these workers"):
        patience_s(Crowd(replace(SETS["ideal"], presence=gone), 20, 1))


def test_several_seeds_have_means() -> None:
    reports = [experiment(Limits(2e4, target=0.8), seed=seed).run() for seed in (1, 2)]
    found = summary_of(reports)
    times = [report.time_to_target_s or math.nan for report in reports]
    assert found.time_to_target_s == pytest.approx(sum(times) / 2)
    assert found.as_json()["seeds"][1]["seed"] == 2
    assert found.as_json()["time_to_target_s"] == found.time_to_target_s
    never = replace(reports[1], time_to_target_s=None)
    assert summary_of([reports[0], never]).time_to_target_s is None
    assert summary_of(reports[:1]).as_json() == reports[0].as_json()


def test_a_setup_is_what_the_settings_say() -> None:
    settings = load(
        None,
        {},
        {
            "rounds.goal": 7,
            "rounds.dispatch": "direct",
            "algorithm.rule": "ca2fl",
            "algorithm.optimizer": "adam",
            "selection.by": "loss",
            "selection.cool_down": "3m",
        },
    )
    setup = Setup.of("mine", settings)
    assert (setup.label, setup.policy.goal, setup.policy.dispatch) == ("mine", 7, "direct")
    algorithm = setup.policy.algorithm
    assert (algorithm.rule, algorithm.stepping.name) == ("ca2fl", "adam")
    assert (setup.choice.by, setup.choice.cool_down_s) == ("loss", 180.0)


@pytest.mark.parametrize("rule", ["mean", "ca2fl", "nova"])
def test_each_algorithm_learns(rule: Rule) -> None:
    training = LearnerTraining(Softmax(), 100, 1)
    crowd = Crowd(SETS["fedbuff"], 100, 1, examples=training.examples())
    setup = Setup(rule, replace(POLICY, algorithm=Algorithm(rule=rule)))
    report = Experiment(setup, crowd, training, 1, Limits(2000.0)).run()
    assert report.accuracy is not None
    assert report.accuracy > 0.75
