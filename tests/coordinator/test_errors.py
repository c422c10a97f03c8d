from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from coordinator.errors import in_short


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError("first\nsecond"), "first"),
        (OperationalError("SELECT 1", {}, Exception("disk I/O error")), "disk I/O error"),
        (OSError(), "OSError"),
        (OperationalError("SELECT 1", {}, Exception()), "OperationalError"),
        (ValueError("\n"), "ValueError"),
    ],
)
def test_an_error_is_one_line_with_or_without_a_text(error: Exception, text: str) -> None:
    assert in_short(error) == text
