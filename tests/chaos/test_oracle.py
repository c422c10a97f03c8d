"""The oracle sees what it is there to see: each lie about a good record is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.chaos.oracle import Mark, Records, Training, Verdict, judge

SLOTS = 8


def verdict(name: str, worker: str, base: int, met: int, weight: float) -> Verdict:
    return Verdict(f"u-{name}", f"t-{name}", worker, base, "counted", met, weight, copies=0)


def model(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    slots = np.zeros(SLOTS, np.float32)
    slots[: len(values)] = values
    return slots


def good() -> Records:
    """Two rounds: a and b, then a again with b's late update; b's first training crashed."""
    ledger = [
        verdict("1", "a", 0, 0, 1.0),
        verdict("2", "b", 0, 0, 1.0),
        verdict("3", "a", 1, 1, 1.0),
        verdict("4", "c", 0, 1, 0.5),
        replace(verdict("5", "b", 1, 2, 0.0), verdict="after end"),
    ]
    return Records(
        trainings=[
            Training(0, "t-1", "a", 0),
            Training(1, "t-2", "b", 0),
            Training(2, "t-2", "b", 0),
            Training(3, "t-3", "a", 1),
            Training(4, "t-4", "c", 0),
            Training(5, "t-5", "b", 1),
        ],
        ledger=ledger,
        marks=[Mark(v.worker, v.update_id, v.task, v.base, v.verdict) for v in ledger],
        models=[model(), model(0.5, 0, 0.5), model(0.5, 0, 0.5, 2 / 3, 1 / 3)],
        outboxes={"a": 0, "b": 0, "c": 0},
        seen={v.update_id for v in ledger},
        told={"counted": 4, "after end": 1},
    )


def without(records: Records, place: int) -> list[Verdict]:
    return [row for number, row in enumerate(records.ledger) if number != place]


def with_row(records: Records, place: int, row: Verdict) -> list[Verdict]:
    rows = list(records.ledger)
    rows[place] = row
    return rows


LIES: dict[str, tuple[Callable[[Records], Records], str]] = {
    "an update has no verdict": (
        lambda r: replace(r, ledger=without(r, 4), seen=()),
        "lost: b finished u-5",
    ),
    "an update was seen and is nowhere": (
        lambda r: replace(r, seen={*r.seen, "u-9"}),
        "lost: u-9 was seen",
    ),
    "an outbox is not empty": (lambda r: replace(r, outboxes={"a": 1}), "a has 1 updates"),
    "two verdicts": (lambda r: replace(r, ledger=[*r.ledger, r.ledger[0]]), "has 2 verdicts"),
    "a verdict of nothing": (lambda r: replace(r, marks=r.marks[1:]), "no worker finished it"),
    "a worker was told otherwise": (
        lambda r: replace(r, marks=[replace(r.marks[0], told="late"), *r.marks[1:]]),
        "was told 'late'",
    ),
    "people are told otherwise": (lambda r: replace(r, told={"counted": 5}), "status says"),
    "a good message had no place": (lambda r: replace(r, strays=1), "could not take"),
    "twice for a version": (
        lambda r: replace(r, ledger=with_row(r, 2, replace(r.ledger[2], base=0))),
        "ledger: a is counted 2 times for 0",
    ),
    "twice for a task": (
        lambda r: replace(r, ledger=with_row(r, 2, replace(r.ledger[2], task="t-1"))),
        "ledger: a is counted 2 times for t-1",
    ),
    "both tries of a task are in the model": (
        lambda r: replace(r, models=[model(), model(0.4, 0.2, 0.4), r.models[2]]),
        "2 of these are in the model",
    ),
    "a try that was not counted is in the model": (
        lambda r: replace(r, models=[*r.models[:2], model(0.5, 0, 0.5, 2 / 3, 1 / 3, 0.1)]),
        "slot 5 grew by",
    ),
    "counted and not in the model": (
        lambda r: replace(r, models=[*r.models[:2], model(0.5, 0, 0.5, 1, 0)]),
        "0 of these are in the model",
    ),
    "a wrong weight": (
        lambda r: replace(
            r, models=[model(), model(0.6, 0, 0.4), model(0.6, 0, 0.4, 2 / 3, 1 / 3)]
        ),
        "slot 0 grew by",
    ),
    "in two rounds": (
        lambda r: replace(r, models=[*r.models[:2], model(0.6, 0, 0.5, 2 / 3, 1 / 3)]),
        "slot 0 was filled in 2 rounds",
    ),
    "a round that made no version": (
        lambda r: replace(r, models=r.models[:2]),
        "made no version",
    ),
    "a slot that nobody trained": (
        lambda r: replace(r, models=[*r.models[:2], model(0.5, 0, 0.5, 2 / 3, 1 / 3, 0, 0, 1e-9)]),
        "there was no such training",
    ),
}


def test_a_good_record_is_good() -> None:
    assert judge(good()) == []


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(lie: str) -> None:
    tell, expected = LIES[lie]
    found = judge(tell(good()))
    assert any(expected in line for line in found), found
