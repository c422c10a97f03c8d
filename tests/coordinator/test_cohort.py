import pytest

from coordinator.cohort import NO_COHORT, Cohort

WORKERS = [f"worker-{n}" for n in range(20_000)]


def test_without_a_share_nobody_evaluates() -> None:
    assert not any(worker in NO_COHORT for worker in WORKERS[:100])


@pytest.mark.parametrize("share", [0.01, 0.1, 0.4])
def test_the_share_of_the_workers_evaluates(share: float) -> None:
    cohort = Cohort(7, share)
    found = sum(worker in cohort for worker in WORKERS)
    sigma = (len(WORKERS) * share * (1 - share)) ** 0.5
    assert abs(found - share * len(WORKERS)) < 4 * sigma


def test_who_evaluates_is_the_same_on_every_machine() -> None:
    assert [worker for worker in WORKERS[:40] if worker in Cohort(1, 0.1)] == EXPECTED


def test_another_seed_makes_another_cohort() -> None:
    one, other = ({worker for worker in WORKERS if worker in Cohort(seed, 0.1)} for seed in (1, 2))
    assert len(one & other) < 0.2 * len(one)


def test_a_larger_share_has_all_workers_of_a_smaller_one() -> None:
    assert all(worker in Cohort(1, 0.2) for worker in WORKERS if worker in Cohort(1, 0.1))


EXPECTED = ["worker-5", "worker-6", "worker-23", "worker-28"]
