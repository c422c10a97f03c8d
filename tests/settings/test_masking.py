import pytest
from hypothesis import given
from hypothesis import strategies as st

from settings.masking import mask_text, mask_url, sounds_secret


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://user:pw@host:5672/vhost", "amqp://user:***@host:5672/vhost"),
        ("amqps://user:pw@host", "amqps://user:***@host"),
        ("amqp://user:@host", "amqp://user:***@host"),
        ("amqp://token@host", "amqp://***@host"),
        ("amqp://host:5672/", "amqp://host:5672/"),
        ("amqp://[::1]:5672/", "amqp://[::1]:5672/"),
        ("memory://", "memory://"),
        ("amqp://host/?heartbeat=4&password=pw&Api%5FKey=k", None),
        ("", ""),
    ],
)
def test_an_url_is_shown_without_its_credentials(url: str, shown: str | None) -> None:
    expected = "amqp://host/?heartbeat=4&password=***&Api%5FKey=***" if shown is None else shown
    assert mask_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "amqp://user:s3cret",
        "amqp://user:s3cret/",
        "amqp:/user:s3cret@host",
        "amqp:user:s3cret@host",
        "user:s3cret@host",
        "amqp://user:x@s3cret@host",
        "amqp://user:x/s3cret@host",
        "amqp://user:x?y=s3cret@host",
        "amqp://user:x#s3cret@host",
        "amqp://user:x s3cret@host",
        "amqp://user:s3cret@host:port",
        "amqp://user:s3cret@[::1",
        "amqp://s3cret@host",
        "amqp://host/?p%61ssword=s3cret",
        "amqp://user:pw@host/?a=b&client_secret=s3cret&token",
        "://user:s3cret@host",
    ],
)
def test_a_broken_url_hides_its_password_too(url: str) -> None:
    assert "s3cret" not in mask_url(url)


@given(st.text(), st.text(st.characters(exclude_characters="@")), st.sampled_from(["amqp://", ""]))
def test_no_password_before_a_host_comes_through(password: str, user: str, scheme: str) -> None:
    secret = f"<{password}>"
    assert secret not in mask_url(f"{scheme}{user}:{secret}@host")


@given(st.text())
def test_any_text_can_be_masked(text: str) -> None:
    mask_url(text)
    assert mask_text(mask_text(text)) == mask_text(text)


def test_every_url_in_a_text_is_masked() -> None:
    text = "from amqp://a:pw1@h1 to 'amqps://b:pw2@h2:1/v', user x@y"
    assert mask_text(text) == "from amqp://a:***@h1 to 'amqps://b:***@h2:1/v', user x@y"


def test_a_text_without_url_stays_as_it_is() -> None:
    assert mask_text("counted 3 of 4: a@b") == "counted 3 of 4: a@b"


@pytest.mark.parametrize("name", ["password", "API_KEY", "auth", "client-secret", "Token"])
def test_names_of_secrets_are_known(name: str) -> None:
    assert sounds_secret(name)


def test_other_names_are_no_secrets() -> None:
    assert not sounds_secret("learning_rate")
