from __future__ import annotations

from scripts.measure_footprint import added, closure, start_of_agent

PACKAGES_MAX = 25
ADDED_BYTES_MAX = 40 * 10**6
AGENT_KIB_MAX = 50 * 1024


def test_few_and_small_packages_are_added_to_torch_and_scikit_learn() -> None:
    packages = added()
    assert "pika" in packages
    assert "numpy" not in packages  # scikit-learn brings it
    assert len(packages) <= PACKAGES_MAX
    assert sum(packages.values()) <= ADDED_BYTES_MAX


def test_a_closure_holds_what_is_needed_and_not_what_is_optional() -> None:
    assert {"rich", "pygments"} <= closure(["rich"])
    assert "torch" not in closure(["fedmq"])


def test_the_agent_is_small_before_it_has_work() -> None:
    _, kib = start_of_agent()
    assert kib < AGENT_KIB_MAX
