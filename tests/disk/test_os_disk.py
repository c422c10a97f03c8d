"""The system's disk keeps the contract."""

from __future__ import annotations

import pytest

from disk import OS_DISK, OsDisk
from tests.contracts.disk_contract import DiskContract


class TestOsDisk(DiskContract):
    @pytest.fixture
    def disk(self) -> OsDisk:
        return OS_DISK
