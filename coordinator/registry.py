"""What is known of every worker, as arrays: a row for each, 64 bytes.

Rules: a row is a number, and whose it is others know (`coordinator.roster`, or a simulation, whose
workers are numbers); every change costs the same in a population of ten and of a million; the
arrays are read in blocks by `coordinator.drawing`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from coordinator.eligibility import MINUTES, Required, Traits
from coordinator.fairness import Participation
from schemas.chance import Rows
from settings.hours import Hours

UNHEARD_MAX = 2  # leases in a row that ended without a word; then a worker must be seen again
CAPABILITIES_MAX = 64
MEAN_OVER = 5  # tasks, about, that the mean of the durations looks back

BUSY = 1  # it has an open task
LEAVING = 2  # it said that it goes
METERED = 4
SILENT = 8  # UNHEARD_MAX leases
GONE = 16  # nobody's row
EVALUATES = 32  # it never trains
_NOT_NOW = BUSY | SILENT | GONE | EVALUATES

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]

_COLUMNS: dict[str, tuple[type[np.generic], Any]] = {
    "last_seen": (np.float64, 0.0),
    "rest_until": (np.float64, 0.0),
    "capabilities": (np.uint64, 0),
    "examples": (np.uint32, 0),
    "drawn": (np.uint32, 0),
    "counted": (np.uint32, 0),
    "tried": (np.int32, -1),
    "duration_s": (np.float32, 0.0),
    "train_s": (np.float32, 0.0),
    "loss": (np.float32, math.nan),
    "battery": (np.float32, -1.0),
    "offset": (np.int16, -1),
    "opens": (np.int16, -1),
    "closes": (np.int16, -1),
    "flags": (np.uint8, 0),
    "unheard": (np.uint8, 0),
}
ROW_BYTES = sum(np.dtype(kind).itemsize for kind, _ in _COLUMNS.values())


class Registry:
    """The rows. The arrays are read by anyone, and written here only.

    Args:
        capabilities: The names that a run may require, at most 64; others are not kept.
        workers: So many rows to begin with, of workers never seen.

    Attributes:
        last_seen: UTC seconds.
        rest_until: End of the cool-down, UTC seconds.
        capabilities: One bit for each name.
        examples: As declared, 0 for unknown.
        drawn: How many tasks it was given.
        counted: How many of its updates were counted in this run.
        tried: The newest version that a further task for would be of no use, -1 for none.
        duration_s: Mean time from offer, or from taking in the pool, to the update; 0 for unknown.
        train_s: Mean time that it trained, 0 for unknown.
        loss: Of its last update, NaN for unknown.
        battery: 0 to 1, negative for unknown.
        offset: Minutes that its clock is ahead of UTC, -1 for unknown.
        opens, closes: Its hours, -1 for none.
        flags: Bits of this module.
        unheard: Leases in a row that ended without a word from it.
        any_hours: A worker gave hours.
        participation: Of all workers, by `counted`.
    """

    last_seen: np.ndarray[tuple[int], np.dtype[np.float64]]
    rest_until: np.ndarray[tuple[int], np.dtype[np.float64]]
    capabilities: np.ndarray[tuple[int], np.dtype[np.uint64]]
    examples: np.ndarray[tuple[int], np.dtype[np.uint32]]
    drawn: np.ndarray[tuple[int], np.dtype[np.uint32]]
    counted: np.ndarray[tuple[int], np.dtype[np.uint32]]
    tried: np.ndarray[tuple[int], np.dtype[np.int32]]
    duration_s: np.ndarray[tuple[int], np.dtype[np.float32]]
    train_s: np.ndarray[tuple[int], np.dtype[np.float32]]
    loss: np.ndarray[tuple[int], np.dtype[np.float32]]
    battery: np.ndarray[tuple[int], np.dtype[np.float32]]
    offset: np.ndarray[tuple[int], np.dtype[np.int16]]
    opens: np.ndarray[tuple[int], np.dtype[np.int16]]
    closes: np.ndarray[tuple[int], np.dtype[np.int16]]
    flags: np.ndarray[tuple[int], np.dtype[np.uint8]]
    unheard: np.ndarray[tuple[int], np.dtype[np.uint8]]

    def __init__(self, capabilities: Sequence[str] = (), workers: int = 0) -> None:
        if len(capabilities) > CAPABILITIES_MAX:
            raise ValueError(
                f"expected at most {CAPABILITIES_MAX} capabilities, came {len(capabilities)}"
            )
        self._bit = {name: 1 << place for place, name in enumerate(capabilities)}
        self._free: list[int] = []  # rows of nobody below `_end`, a heap
        self._end = workers
        self.any_hours = False
        self.participation = Participation()
        self.participation.add(0, workers)
        for name, (kind, default) in _COLUMNS.items():
            setattr(self, name, np.full(workers, default, kind))

    def __len__(self) -> int:
        """How many workers there are."""
        return self._end - len(self._free)

    @classmethod
    def restore(
        cls, capabilities: Sequence[str], numbers: Rows, columns: Mapping[str, Any]
    ) -> Registry:
        """The registry that had these rows.

        Args:
            capabilities: As above.
            numbers: The rows that are somebody's.
            columns: Arrays of what they hold, by the names of the attributes; `flags` without those
                that follow from other columns. What is not given is unknown.
        """
        made = cls(capabilities, int(numbers.max()) + 1 if numbers.size else 0)
        made.flags[:] = GONE
        made.flags[numbers] = 0
        for name, values in columns.items():
            getattr(made, name)[numbers] = values
        made.flags[numbers[made.unheard[numbers] >= UNHEARD_MAX]] |= SILENT
        made.any_hours = bool((made.opens >= 0).any())
        made._free = np.flatnonzero(made.flags & GONE).tolist()  # in order, and so a heap
        counts, workers = np.unique(made.counted[numbers], return_counts=True)
        made.participation = Participation.of(
            dict(zip(counts.tolist(), workers.tolist(), strict=True))
        )
        return made

    def __eq__(self, other: object) -> bool:
        """Whether two registries hold the same of every worker."""
        return isinstance(other, Registry) and (
            self._end == other._end
            and self.participation == other.participation
            and all(
                np.array_equal(
                    getattr(self, name)[: self._end],
                    getattr(other, name)[: self._end],
                    equal_nan=np.issubdtype(kind, np.floating),
                )
                for name, (kind, _) in _COLUMNS.items()
            )
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def end(self) -> int:
        """Rows are below this; some may be nobody's."""
        return self._end

    @property
    def num_bytes(self) -> int:
        """What the arrays take in memory."""
        return sum(getattr(self, name).nbytes for name in _COLUMNS)

    # workers come and go

    def add(self) -> int:
        """The row of a new worker: the lowest that is nobody's."""
        if self._free:
            row = heapq.heappop(self._free)
        else:
            row = self._end
            self._end += 1
            if row == self.flags.size:
                self._grow(self._end)
        self.flags[row] = 0
        self.participation.add(0)
        return row

    def let_evaluate(self, row: int) -> None:
        """A worker evaluates and never trains: it has no part in how evenly others do."""
        self.flags[row] |= EVALUATES
        self.participation.add(int(self.counted[row]), -1)

    def forget(self, row: int) -> None:
        """A worker is gone for good."""
        if not self.flags[row] & EVALUATES:
            self.participation.add(int(self.counted[row]), -1)
        for name, (_, default) in _COLUMNS.items():
            getattr(self, name)[row] = default
        self.flags[row] = GONE
        heapq.heappush(self._free, row)
        while self._end and self.flags[self._end - 1] & GONE:
            self._end -= 1  # as if the row had never been, so that a loaded registry is the same
        if row >= self._end:
            self._free = [free for free in self._free if free < self._end]
            heapq.heapify(self._free)

    def _grow(self, rows: int) -> None:
        size = max(rows, self.flags.size + self.flags.size // 8 + 8)
        for name, (kind, default) in _COLUMNS.items():
            grown = np.full(size, default, kind)
            old = getattr(self, name)
            grown[: old.size] = old
            setattr(self, name, grown)

    # what they say

    def hear(self, row: int, now: float) -> None:
        """Something came from a worker."""
        self.last_seen[row] = now
        self.unheard[row] = 0
        self.flags[row] &= ~SILENT & 0xFF

    def see(self, row: int, now: float, leaving: bool = False) -> None:
        """A worker said that it is there, or that it leaves."""
        self.last_seen[row] = now
        self.unheard[row] = 0
        flags = int(self.flags[row]) & ~(SILENT | LEAVING)
        self.flags[row] = flags | LEAVING if leaving else flags

    def declare(self, row: int, traits: Traits) -> None:
        """What a worker says of itself."""
        self.examples[row] = min(traits.examples, 2**32 - 1)
        self.capabilities[row] = self.bits_of(traits.capabilities)
        self.battery[row] = traits.battery
        self.offset[row] = traits.offset
        self.opens[row], self.closes[row] = traits.hours or (-1, -1)
        self.any_hours = self.any_hours or traits.hours is not None
        flags = int(self.flags[row]) & ~METERED
        self.flags[row] = flags | METERED if traits.metered else flags

    def traits(self, row: int) -> Traits:
        """What a worker last said of itself, as far as it is kept."""
        bits = int(self.capabilities[row])
        opens = int(self.opens[row])
        return Traits(
            examples=int(self.examples[row]),
            capabilities=frozenset(name for name, bit in self._bit.items() if bits & bit),
            battery=round(float(self.battery[row]), 6),  # 0.7 is not exact in 32 bits
            metered=bool(self.flags[row] & METERED),
            offset=int(self.offset[row]),
            hours=None if opens < 0 else Hours(opens, int(self.closes[row])),
        )

    # their tasks

    def begin_task(self, row: int) -> None:
        """A task was given to a worker, or it took one: it gets no other until that ends."""
        self.flags[row] |= BUSY
        self.drawn[row] += 1

    def hold(self, row: int) -> None:
        """A worker has a task, which is among `drawn` already."""
        self.flags[row] |= BUSY

    def end_task(self, row: int, rest_until: float = 0.0) -> None:
        """A worker's task has ended, in whatever way but by its lease; it may have a rest."""
        self.flags[row] &= ~BUSY & 0xFF
        if rest_until > self.rest_until[row]:
            self.rest_until[row] = rest_until

    def rest(self, row: int, until: float) -> None:
        """A worker is given no task until then; a rest is never made shorter."""
        if until > self.rest_until[row]:
            self.rest_until[row] = until

    def shorten_rests(self, until: float) -> None:
        """No rest lasts longer."""
        np.minimum(self.rest_until, until, out=self.rest_until)

    def lapse_task(self, row: int, since: float) -> int:
        """The lease of a task that a worker had since then ended, and with it the task.

        Returns:
            The leases in a row that ended unheard.
        """
        self.flags[row] &= ~BUSY & 0xFF
        if self.last_seen[row] >= since:
            self.unheard[row] = 0
            return 0
        unheard = min(int(self.unheard[row]) + 1, UNHEARD_MAX)
        self.unheard[row] = unheard
        if unheard == UNHEARD_MAX:
            self.flags[row] |= SILENT
        return unheard

    def spend(self, row: int, version: int) -> None:
        """A worker needs no further task for this version: its update of it has its verdict."""
        if version > self.tried[row]:
            self.tried[row] = version

    def let_try_again(self, row: int) -> None:
        """A worker may be given a task for the current version once more."""
        self.tried[row] = -1

    def count(self, row: int) -> None:
        """An update of a worker was counted."""
        before = int(self.counted[row])
        self.counted[row] = before + 1
        self.participation.raise_from(before)

    def measure(
        self, row: int, duration_s: float, train_s: float = 0.0, loss: float | None = None
    ) -> None:
        """How long a worker's task took.

        Args:
            row: The worker.
            duration_s: From the offer to the update, or in the pool from taking it.
            train_s: The training alone, 0 if it does not say.
            loss: Of its data, if it reports one.
        """
        self.duration_s[row] = _moved(float(self.duration_s[row]), duration_s)
        if train_s:
            self.train_s[row] = _moved(float(self.train_s[row]), train_s)
        if loss is not None:
            self.loss[row] = loss

    def progress(self, row: int) -> dict[str, float | None]:
        """What of a row changes with its updates, by the names of the store's columns."""
        loss = float(self.loss[row])
        return {
            "last_seen": float(self.last_seen[row]),
            "unheard": int(self.unheard[row]),
            "duration_s": float(self.duration_s[row]),
            "train_s": float(self.train_s[row]),
            "loss": None if math.isnan(loss) else loss,
            "rest_until": float(self.rest_until[row]),
        }

    # all of them

    def seen_since(self, since: float, staying: bool = False) -> int:
        """How many workers were heard of since then; `staying`: and did not say that they leave."""
        end = self._end
        seen: Mask = self.last_seen[:end] >= since
        seen &= (self.flags[:end] & (GONE | LEAVING if staying else GONE)) == 0
        return int(np.count_nonzero(seen))

    def longest_unseen(self, count: int) -> list[int]:
        """So many workers that were not seen for longest, without those that have a task."""
        if count <= 0:
            return []
        rows = np.flatnonzero((self.flags[: self._end] & (GONE | BUSY)) == 0)
        if count < rows.size:
            rows = rows[np.argpartition(self.last_seen[rows], count)[:count]]
        longest: list[int] = rows.tolist()
        return longest

    # who may be given a task

    def bits_of(self, capabilities: Iterable[str]) -> int:
        """The bits of different names, as far as they are kept."""
        return sum(self._bit.get(name, 0) for name in capabilities)

    def required_bits(self, required: Required) -> int | None:
        """Required capabilities as bits; None if one is not kept here, so that nobody has it."""
        if any(name not in self._bit for name in required.capabilities):
            return None
        return self.bits_of(set(required.capabilities))

    def free(self, row: int, version: int, now: float, seen_since: float) -> bool:
        """Whether a worker may be given a task for a version, whatever is required of it."""
        flags = self.flags[row]
        return not (
            flags & _NOT_NOW
            or self.tried[row] >= version
            or self.rest_until[row] > now
            or (seen_since > -math.inf and (self.last_seen[row] < seen_since or flags & LEAVING))
        )

    def all_free(self, rows: Rows | slice, version: int, now: float, seen_since: float) -> Mask:
        """`free` for many rows at once."""
        flags = self.flags[rows]
        free: Mask = (flags & _NOT_NOW) == 0
        free &= self.tried[rows] < version
        free &= self.rest_until[rows] <= now
        if seen_since > -math.inf:
            free &= self.last_seen[rows] >= seen_since
            free &= (flags & LEAVING) == 0
        return free

    def all_idle_evaluators(self, now: float, seen_since: float) -> Mask:
        """Which of all rows may be given a task to evaluate, whatever is required of them."""
        flags = self.flags[: self._end]
        idle: Mask = (flags & _NOT_NOW) == EVALUATES
        idle &= self.rest_until[: self._end] <= now
        if seen_since > -math.inf:
            idle &= self.last_seen[: self._end] >= seen_since
            idle &= (flags & LEAVING) == 0
        return idle

    def all_meet(self, rows: Rows | slice, required: Required, now: float) -> Mask:
        """Which of the rows meet what is required, and are in the hours that they gave."""
        flags = self.flags[rows]
        meet: Mask = np.ones(flags.shape, np.bool_)
        if required.min_examples:
            meet &= self.examples[rows] >= required.min_examples
        bits = self.required_bits(required)
        if bits is None:
            meet[:] = False
        elif bits:
            meet &= (self.capabilities[rows] & np.uint64(bits)) == bits
        if required.min_battery:
            battery = self.battery[rows]
            meet &= (battery < 0) | (battery >= np.float32(required.min_battery))
        if required.unmetered:
            meet &= (flags & METERED) == 0
        if required.hours is not None or self.any_hours:
            meet &= self._in_hours(rows, required.hours, now)
        return meet

    def _in_hours(self, rows: Rows | slice, required: Hours | None, now: float) -> Mask:
        offset, opens, closes = self.offset[rows], self.opens[rows], self.closes[rows]
        minutes = offset.astype(np.int32) + int(now // 60)
        known: Mask = offset >= 0
        inside: Mask = (opens < 0) | ~known | _within(minutes, opens, closes)
        if required is not None:
            inside &= known & _within(minutes, *required)
        return inside


def _moved(mean: float, value: float) -> float:
    """A mean that forgets, with one more value; the first is the mean."""
    return mean + (value - mean) / MEAN_OVER if mean else value


def _within(minutes: Any, opens: Any, closes: Any) -> Any:
    """`Hours.includes`, for arrays."""
    return (minutes - opens) % MINUTES < (closes - opens) % MINUTES
