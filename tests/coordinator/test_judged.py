"""Which of the store's rows stands for a message in a dead queue, and what if there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator import schema
from coordinator.judged import Judged, Judgements
from coordinator.letters import Letter, letter_of
from coordinator.records import StrayRow
from coordinator.store import Store
from tests.coordinator.deliveries import delivered
from tests.coordinator.rows import ledger_row


def stray(verdict: str = "malformed", accepted_at: float | None = None) -> StrayRow:
    return StrayRow("d" * 64, verdict, "a reason", {}, 3, 0, 1.0, accepted_at)


def letter(body: bytes = b"garbage") -> Letter:
    return letter_of(delivered(body))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.create_or_open(tmp_path / "coordinator.db", "demo", 1.0)
    store.take_epoch()
    yield store
    store.close()


UPDATE = ledger_row(verdict="late", reason="too late")


@pytest.mark.parametrize(
    ("judged", "verdict", "is_poison"),
    [
        (Judged(known=False), "", False),
        (Judged(known=True), "", False),
        (Judged(True, stray()), "malformed", False),
        (Judged(True, stray("poison")), "poison", True),
        (Judged(True, None, UPDATE), "late", False),
        (Judged(True, stray("poison"), UPDATE), "poison", True),
        (Judged(True, stray("poison", accepted_at=2.0), UPDATE), "late", False),
    ],
)
def test_the_bytes_verdict_stands_before_that_of_their_update(
    judged: Judged, verdict: str, is_poison: bool
) -> None:
    assert (judged.verdict, judged.is_poison) == (verdict, is_poison)
    assert bool(judged.reason) == bool(verdict)


def test_the_store_is_asked_by_digest(store: Store, tmp_path: Path) -> None:
    with store.transaction() as work:
        work.record_stray(letter().digest, "malformed", "short", {}, 7, 1.0)
    with Judgements(tmp_path) as judgements:
        assert judgements.of(letter()).verdict == "malformed"
        other = judgements.of(letter(b"other"))
    assert (other.known, other.verdict) == (True, "")
    assert judgements.trouble == ""


def test_without_a_store_nothing_is_known_and_why_is_said(tmp_path: Path) -> None:
    with Judgements(tmp_path) as judgements:
        assert judgements.of(letter()) == Judged(known=False)
    assert "there is no store at" in judgements.trouble


def test_a_store_that_breaks_on_the_way_is_trouble_and_no_end(store: Store, tmp_path: Path) -> None:
    with Judgements(tmp_path) as judgements:
        with store.transaction() as work:
            schema.strays.drop(work.connection)
        assert judgements.of(letter()) == Judged(known=False)
    assert "no such table" in judgements.trouble
    assert "\n" not in judgements.trouble
