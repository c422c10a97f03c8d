"""Seeds that once broke a law, by what they found.

What holds are the direct tests that are named: a seed means another history once services or world
have changed, and then no longer comes to what it found. These seeds are kept to say where a bug was
found, and as some more worlds to try.
"""

from __future__ import annotations

import pytest

from simulation.explore import try_seed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [1008, 1114, 1125])
def test_a_disk_that_takes_rows_but_no_updates_does_not_wear_them_out(seed: int) -> None:
    """The broker gave a confirmed update up twice, and dropped it.

    `tests/coordinator/test_service_disk.py`: a_disk_that_is_full_for_long_loses_no_confirmed_update
    """
    assert try_seed(seed).broken == ""


def test_a_task_given_up_after_its_lease_does_not_hold_its_worker() -> None:
    """All workers were waited for, so that none might take a task, and no round could close.

    `tests/coordinator/test_service_tries.py`: who_gives_a_task_up_after_its_lease_is_not_waited_for
    """
    assert try_seed(12).broken == ""


def test_a_payload_that_rots_while_the_agent_sleeps_is_not_lost() -> None:
    """It was sent without a look, since its training process had just written it.

    `tests/worker/test_service.py`: what_rotted_while_the_agent_slept_is_not_sent
    """
    assert try_seed(102239).broken == ""
