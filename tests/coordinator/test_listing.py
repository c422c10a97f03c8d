"""The list of updates and strays: what is asked for, and each as JSON has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from coordinator.errors import RunError, StoreError
from coordinator.listing import Listing, facts_of
from coordinator.store import Store
from tests.coordinator.rows import ledger_row, run_row

NEXT_RUN = "f" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Two runs; an update of each, one of the first that met the second, and two strays."""
    store = Store.create_or_open(tmp_path / "coordinator.db", "demo", 1.0)
    store.take_epoch()
    with store.transaction() as work:
        work.insert_run(run_row())
        work.insert_run(run_row(run_id=NEXT_RUN, number=2, started_at=10.0))
        work.insert_ledger_row(ledger_row(update_id="1", received_at=2.0))
        work.insert_ledger_row(ledger_row(update_id="2", worker_id="late", received_at=11.0))
        work.insert_ledger_row(ledger_row(update_id="3", run_id=NEXT_RUN, received_at=12.0))
        work.record_stray("d" * 64, "malformed", "short", {"worker_id": "w"}, 3, 1.0)
        work.record_stray("e" * 64, "malformed", "short", {"worker_id": "v"}, 3, 2.0)
        work.accept_stray("e" * 64, 3.0)
    yield tmp_path
    store.close()


def names(listing: Listing) -> list[str]:
    facts = [facts_of(row) for row in listing]
    listing.close()
    return [str(fact["id"] or fact["digest"][:1]) for fact in facts]


def test_all_are_listed_strays_last(folder: Path) -> None:
    assert names(Listing(folder)) == ["1", "2", "3", "d", "e"]


def test_a_run_is_given_by_how_it_begins_and_has_no_strays(folder: Path) -> None:
    assert names(Listing(folder, run="0123")) == ["1", "2"]
    assert names(Listing(folder, run="ff")) == ["3"]


def test_a_round_is_the_newest_runs_unless_a_run_is_named(folder: Path) -> None:
    assert names(Listing(folder, round_version=0)) == ["3"]
    assert names(Listing(folder, run="0123", round_version=0)) == ["1"], "2 met the next run"


def test_a_workers_strays_are_those_that_say_so(folder: Path) -> None:
    assert names(Listing(folder, worker_id="w")) == ["1", "3", "d"]


def test_a_verdict_is_that_which_stands(folder: Path) -> None:
    assert names(Listing(folder, verdict="malformed")) == ["d"]


def test_what_is_not_there_is_said_and_the_store_let_go(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="expected the id of one run"):
        Listing(folder, run="abc")
    with pytest.raises(StoreError, match="there is no store"):
        Listing(tmp_path / "nowhere")


def test_every_row_has_the_same_facts_and_json_can_say_them(folder: Path) -> None:
    listing = Listing(folder)
    facts = [facts_of(row) for row in listing]
    listing.close()
    assert json.loads(json.dumps(facts)) == facts
    updates, strays = facts[:3], facts[3:]
    assert {frozenset(fact) for fact in updates} == {frozenset(updates[0])}
    assert {frozenset(fact) for fact in strays} == {frozenset(strays[0])}
    assert set(updates[0]) < set(strays[0])
    refused, accepted = strays
    assert (refused["verdict"], refused["accepted_at"]) == ("malformed", None)
    assert (accepted["verdict"], accepted["refused_as"]) == (None, "malformed")
    assert accepted["accepted_at"] == 3.0
