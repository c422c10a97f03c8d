import pytest

from settings.about import about


@pytest.mark.parametrize("why", [{}, {"frozen": "a", "free": "b"}, {"waits": "a", "free": "b"}])
def test_a_field_is_either_frozen_or_free(why: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either"):
        about("A field.", **why)  # type: ignore[arg-type]
