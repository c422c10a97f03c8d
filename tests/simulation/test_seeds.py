"""Seeds that once broke a law, by what they found.

A seed means another history once the code has changed, so each of these findings has a test of its
own too, which is named.
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
