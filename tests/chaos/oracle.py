"""Whether anything was lost or counted twice, from what is on disk when all is over.

Rules (PROTOCOL.md calls this the unit-vector oracle):

- Every training had a slot of the model of its own. What differs between a version and the next
  *is* the list of the updates that were counted in that round, with their weights.
- A judgement is a list of what is wrong, in words; an empty one is what we want.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-6  # of a weight: the mean is float32


@dataclass(frozen=True, slots=True)
class Training:
    """A training that was begun."""

    slot: int
    task: str
    worker: str
    base: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A row of the coordinator's ledger."""

    update_id: str
    task: str
    worker: str
    base: int
    verdict: str
    round_version: int
    weight: float
    copies: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A training that a worker has on disk as finished, and what it was told became of it."""

    worker: str
    update_id: str
    task: str
    base: int
    told: str | None


@dataclass(frozen=True)
class Records:
    """Everything there is when it is over.

    Attributes:
        models: The slots of each version, oldest first.
        outboxes: Updates that each worker still has to send.
        seen: Ids of updates that an onlooker saw at the exchange.
        strays: Messages that the coordinator gave no place in the ledger.
        told: How many updates there are by verdict, as `fedmq status` says it.
    """

    trainings: Sequence[Training]
    ledger: Sequence[Verdict]
    marks: Sequence[Mark]
    models: Sequence[NDArray[np.float32]]
    outboxes: Mapping[str, int] = field(default_factory=dict)
    seen: Collection[str] = ()
    strays: int = 0
    told: Mapping[str, int] | None = None


def judge(records: Records) -> list[str]:
    """What is wrong; nothing, if nothing was lost and nothing counted twice."""
    return [
        *_lost(records),
        *_in_disagreement(records),
        *_counted_twice(records.ledger, "ledger", [(v.task, v.worker) for v in _counted(records)]),
        *_counted_twice(records.ledger, "ledger", [(v.base, v.worker) for v in _counted(records)]),
        *_wrong_sums(records),
        *_twice_in_the_models(records),
    ]


def _counted(records: Records) -> list[Verdict]:
    return [row for row in records.ledger if row.verdict == "counted"]


def _lost(records: Records) -> Iterator[str]:
    """Every finished update has one verdict, and nothing else has one."""
    known = Counter(row.update_id for row in records.ledger)
    finished = {mark.update_id: mark for mark in records.marks}
    for worker, waiting in records.outboxes.items():
        if waiting:
            yield f"{worker} has {waiting} updates in its outbox still"
    for update_id, mark in finished.items():
        if not known[update_id]:
            yield f"lost: {mark.worker} finished {update_id} (base {mark.base}), it has no verdict"
    for update_id, count in known.items():
        if count > 1:
            yield f"{update_id} has {count} verdicts"
        if update_id not in finished:
            yield f"{update_id} has a verdict, and no worker finished it"
    for update_id in set(records.seen) - set(known):
        yield f"lost: {update_id} was seen at the exchange, it has no verdict"
    if records.strays:
        yield f"{records.strays} messages could not take an update id, and all were good"


def _in_disagreement(records: Records) -> Iterator[str]:
    """What workers were told and what people are told is what the ledger says."""
    verdicts = {row.update_id: row.verdict for row in records.ledger}
    for mark in records.marks:
        if mark.told is not None and verdicts.get(mark.update_id) != mark.told:
            said = verdicts.get(mark.update_id)
            yield f"{mark.worker} was told {mark.told!r} of {mark.update_id}, it is {said!r}"
    if records.told is not None and Counter(verdicts.values()) != Counter(records.told):
        yield f"status says {dict(records.told)}, the ledger {dict(Counter(verdicts.values()))}"


def _counted_twice(
    ledger: Sequence[Verdict], where: str, keys: Sequence[tuple[object, str]]
) -> Iterator[str]:
    for (key, worker), count in Counter(keys).items():
        if count > 1:
            yield f"{where}: {worker} is counted {count} times for {key}"


def _wrong_sums(records: Records) -> Iterator[str]:
    """In each round each counted slot has its part of the weights, and every other slot 0."""
    slots: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for training in records.trainings:
        slots[training.task, training.worker, training.base].append(training.slot)
    rounds: dict[int, list[Verdict]] = defaultdict(list)
    for row in _counted(records):
        rounds[row.round_version].append(row)
    for version in range(len(records.models) - 1):
        step = records.models[version + 1] - records.models[version]
        rows = rounds.pop(version, [])
        total = sum(row.weight for row in rows)
        expected = np.zeros_like(step)
        for row in rows:
            mine = slots[row.task, row.worker, row.base]
            filled = [slot for slot in mine if step[slot] != 0]
            if len(filled) != 1:
                yield (
                    f"round {version}: {row.worker} trained {row.task} {len(mine)} times, and "
                    f"{len(filled)} of these are in the model instead of one"
                )
                continue
            expected[filled[0]] = row.weight / total
        wrong = np.flatnonzero(
            (np.abs(step - expected) > TOLERANCE) | ((expected == 0) & (step != 0))
        )
        for slot in wrong:
            yield f"round {version}: slot {slot} grew by {step[slot]}, expected {expected[slot]}"
    for version, rows in rounds.items():
        # Those of the last version came when the run was over; none of them can be counted.
        yield f"{len(rows)} updates are counted in round {version}, which made no version"


def _twice_in_the_models(records: Records) -> Iterator[str]:
    """The same without the ledger: from the models and the trainings alone."""
    trainings = {training.slot: training for training in records.trainings}
    filled = []
    for version in range(len(records.models) - 1):
        step = records.models[version + 1] - records.models[version]
        filled += [int(slot) for slot in np.flatnonzero(step)]
    for slot, count in Counter(filled).items():
        if slot not in trainings:
            yield f"slot {slot} was filled, and there was no such training"
        if count > 1:
            yield f"slot {slot} was filled in {count} rounds"
    known = [trainings[slot] for slot in set(filled) if slot in trainings]
    yield from _counted_twice((), "models", [(t.task, t.worker) for t in known])
    yield from _counted_twice((), "models", [(t.base, t.worker) for t in known])
