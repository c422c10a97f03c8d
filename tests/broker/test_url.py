"""A password is never shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.url import mask_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://host", "amqp://host"),
        ("amqp://host:5672/vhost", "amqp://host:5672/vhost"),
        ("amqp://bob:secret@host/v", "amqp://bob:***@host/v"),
        ("amqp://bob:se@cr/e:t@host/v", "amqp://bob:***@host/v"),
        ("amqps://:secret@host", "amqps://:***@host"),
        ("amqp://token@host", "amqp://***@host"),
        ("amqp://host/v?heartbeat=3&password=secret", "amqp://host/v?heartbeat=3&password=***"),
        ("cannot reach amqp://a:b@host: refused", "cannot reach amqp://a:***@host: refused"),
    ],
)
def test_credentials_are_masked_and_the_rest_is_shown(url: str, shown: str) -> None:
    assert mask_url(url) == shown


@given(st.text(st.characters(exclude_categories=("Z", "C")), min_size=1))
def test_any_password_is_masked(password: str) -> None:
    assert mask_url(f"amqp://bob:{password}@host:5672/v") == "amqp://bob:***@host:5672/v"
