"""Worlds in which everything goes wrong keep what is promised."""

from __future__ import annotations

import logging
from collections import Counter

import pytest

from coordinator.handover import Handover
from coordinator.records import VersionRow
from coordinator.work import Work
from scripts.simulate import Sum
from simulation.explore import Finding, try_seed
from simulation.faults import KINDS
from simulation.laws import Broken
from simulation.reference import SETTINGS, Name
from simulation.world import World

SEEDS = 96


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return [try_seed(seed) for seed in range(SEEDS)]


@pytest.mark.slow
def test_no_law_is_broken_whatever_goes_wrong(findings: list[Finding]) -> None:
    for finding in findings:
        assert not finding.broken, f"seed {finding.seed}:\n{finding.broken}"


@pytest.mark.slow
def test_every_kind_of_fault_really_happened(findings: list[Finding]) -> None:
    faults: Counter[str] = sum((finding.faults for finding in findings), Counter())
    assert min(faults.values()) >= 5, faults
    assert faults.keys() == KINDS


@pytest.mark.slow
def test_the_worlds_count_and_refuse_for_many_reasons(findings: list[Finding]) -> None:
    verdicts: Counter[str] = sum((finding.verdicts for finding in findings), Counter())
    assert verdicts.keys() >= {"counted", "late", "replaced", "stale"}
    assert sum(verdicts.values()) == sum(finding.finished for finding in findings)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_history() -> None:
    histories = []
    for _ in range(2):
        world = World(7)
        world.run()
        histories.append((list(world.history), list(world.laws.rows), world.steps))
    assert histories[0] == histories[1]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", [name for name in SETTINGS if name != "mean"])
def test_a_law_is_broken_where_a_restart_loses_what_a_version_handed_on(
    monkeypatch: pytest.MonkeyPatch, algorithm: Name
) -> None:
    load = Handover.load

    def lose(self: Handover, row: VersionRow | None, work: Work) -> None:
        load(self, None, work)

    monkeypatch.setattr(Handover, "load", lose)
    seeds = (seed for seed in range(SEEDS) if World(seed).plan.algorithm == algorithm)
    assert any("slots" in try_seed(seed).broken for seed in seeds)


@pytest.mark.slow
def test_a_broken_law_is_told_with_the_seed_and_its_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def break_it(world: World) -> None:
        raise Broken("nothing holds")

    monkeypatch.setattr(World, "_at_rest", break_it)
    finding = try_seed(3)
    assert "nothing holds" in finding.broken
    assert "world          is healed" in finding.broken
    told = Sum([finding], 1.0)
    assert told.in_words().endswith("seeds that break a law: 3")
    assert "| **seeds that break a law** | 1 |" in told.as_page()


def test_after_a_world_the_services_log_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_it(world: World) -> None:
        assert not logging.getLogger("coordinator.service").isEnabledFor(logging.ERROR)
        raise Broken("nothing holds")

    levels = [logging.getLogger(name).level for name in ("coordinator", "worker")]
    monkeypatch.setattr(World, "_look", break_it)
    assert "nothing holds" in try_seed(0).broken
    assert [logging.getLogger(name).level for name in ("coordinator", "worker")] == levels
