from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.experiments import ALGORITHMS, Claim, Outcome, Trial, claims_of, page_of, trials, tried
from simulation.planning.devices import SETS
from tests.learning.pictures import write_pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pictures")
    write_pictures(path)
    return str(path)


def trial(folder: str) -> Trial:
    return Trial(
        "fedbuff", SETS["fedbuff"], 1, workers=20, concurrency=12, updates=300, folder=folder
    )


def test_a_federation_that_learns_reaches_the_target(folder: str) -> None:
    outcome = tried(replace(trial(folder), target=0.3))
    assert outcome.time_s is not None
    assert outcome.time_s > 0
    assert outcome.accuracy > 0


def test_the_same_seed_gives_the_same_outcome(folder: str) -> None:
    assert tried(trial(folder)) == tried(trial(folder))


def test_workers_of_rare_kinds_are_told_apart(folder: str) -> None:
    rare = replace(trial(folder), rare=frozenset({2, 4, 6}), alpha=0.1, target=None)
    outcome = tried(rare)
    assert 0 < outcome.rare_share < 1
    assert outcome.time_s is None


def test_each_algorithm_can_be_simulated(folder: str) -> None:
    for preset, values in ALGORITHMS.values():
        small = {**values, "rounds.goal": 10, "rounds.quorum": 8}
        outcome = tried(replace(trial(folder), preset=preset, values=small, updates=40))
        assert outcome.updates > 0


def outcomes(seconds: float | None, accuracy: float = 0.8) -> list[Outcome]:
    return [Outcome(seconds, accuracy, accuracy, 0.1, 1.0, 100)] * 3


def test_the_page_says_whether_each_claim_holds() -> None:
    results = {key: outcomes(3600.0) for key in trials(range(3))}
    for key in results:
        if key[0] == "concurrency" and key[1:] == ("130", "sync"):
            results[key] = outcomes(4 * 3600.0)
        if key[0] == "flaky" and key[2].startswith("sync"):
            results[key] = outcomes(None)
    results["rare", "CA2FL"] = outcomes(None, 0.9)
    held = {claim.text: claim.holds for claim in claims_of(results)}
    assert all(held.values()), held
    page = page_of(results, range(3), 1.0)
    assert "| 130 | 4.0 h | 60 min |" in page
    assert "| sync, deadline 5 min | never | never |" in page


def test_a_claim_beyond_its_bounds_does_not_hold() -> None:
    assert Claim("x", 1.0, 0.7, 1.4).holds
    assert not Claim("x", 1.5, 0.7, 1.4).holds
    assert not Claim("x", float("nan"), 0.7).holds
