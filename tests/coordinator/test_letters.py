"""Any bytes give a letter; nothing in it is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.topology import Names
from coordinator.letters import ID_DIGITS, hexdump, home_of, kind_of, letter_of
from schemas.digest import digest_of
from schemas.messages import KINDS, Message, encode
from tests.coordinator.deliveries import delivered
from tests.schemas.strategies import MESSAGES

NAMES = Names("demo")


@given(st.binary(max_size=200), st.text(max_size=20))
def test_any_bytes_give_a_letter(body: bytes, key: str) -> None:
    letter = letter_of(delivered(body, key))
    assert letter.digest == digest_of(body)
    assert letter.short_id == letter.digest[:ID_DIGITS]
    assert (letter.num_bytes, letter.routing_key) == (len(body), key)
    assert (letter.message is None) == bool(letter.fault)
    for text in (letter.kind, letter.worker_id, letter.task_id, letter.update_id):
        assert isinstance(text, str)
    home = home_of(letter, NAMES)
    assert home is None or home[1] == key or not key.startswith(("u.", "c."))


@given(MESSAGES, st.integers(0, 400))
def test_a_message_cut_anywhere_gives_a_letter(message: Message, length: int) -> None:
    body = encode(message)[:length]
    letter = letter_of(delivered(body))
    assert letter.kind in {"not a message", *KINDS}
    assert home_of(letter, NAMES) is None or letter.message is not None


@given(MESSAGES)
def test_a_message_says_what_it_is_and_where_it_belongs(message: Message) -> None:
    letter = letter_of(delivered(encode(message)))
    assert (letter.message, letter.fault, letter.kind) == (message, "", kind_of(message))
    for name in ("worker_id", "task_id", "update_id"):
        assert getattr(letter, name) == getattr(message, name, "")
    home = home_of(letter, NAMES)
    expected = {
        "update": NAMES.update_exchange,
        "update-part": NAMES.update_exchange,
        "taken": NAMES.control_exchange,
        "declined": NAMES.control_exchange,
        "presence": NAMES.control_exchange,
    }.get(letter.kind)
    assert (home and home[0]) == expected


@pytest.mark.parametrize(
    ("key", "exchange"),
    [("u.r.0.w", NAMES.update_exchange), ("c.taken.w", NAMES.control_exchange)],
)
def test_the_key_it_came_with_is_where_it_goes(key: str, exchange: str) -> None:
    assert home_of(letter_of(delivered(b"garbage", key)), NAMES) == (exchange, key)


def test_nothing_says_where_garbage_came_from() -> None:
    assert home_of(letter_of(delivered(b"garbage", "other")), NAMES) is None


@given(st.binary(max_size=200), st.integers(0, 100))
def test_a_dump_shows_the_first_bytes_and_obeys_none_of_them(body: bytes, most: int) -> None:
    lines = hexdump(body, most)
    shown = body[:most]
    assert bytes.fromhex("".join(line[10:57] for line in lines)) == shown
    assert [int(line[:8], 16) for line in lines] == list(range(0, len(shown), 16))
    assert all(line.isprintable() for line in lines)
