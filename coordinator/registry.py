"""What is known of every worker, as arrays: a row for each, 60 bytes.

Rules: a row is a number, and whose it is others know (`coordinator.roster`, or a simulation, whose
workers are numbers); every change costs the same in a population of ten and of a million; the
arrays are read in blocks by `coordinator.drawing`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from coordinator.chance import Rows
from coordinator.eligibility import MINUTES, Required, Traits
from coordinator.fairness import Participation
from settings.hours import Hours

UNHEARD_MAX = 2  # leases in a row that ended without a word; then a worker must be seen again
CAPABILITIES_MAX = 64
MEAN_OVER = 5  # tasks, about, that the mean of the durations looks back

BUSY = 1  # it has an open task
LEAVING = 2  # it said that it goes
METERED = 4
SILENT = 8  # UNHEARD_MAX leases
GONE = 16  # nobody's row
_NOT_NOW = BUSY | SILENT | GONE

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

    def forget(self, row: int) -> None:
        """A worker is gone for good."""
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

    def see(self, row: int, now: float, leaving: bool = False) -> None:
        """Something came from a worker."""
        self.last_seen[row] = now
        self.unheard[row] = 0
        flags = int(self.flags[row]) & ~(SILENT | LEAVING)
        self.flags[row] = flags | LEAVING if leaving else flags

    def declare(self, row: int, traits: Traits) -> None:
        """What a worker says of itself."""
        self.examples[row] = min(traits.examples, 2**32 - 1)
        bits = [self._bit[name] for name in traits.capabilities if name in self._bit]
        self.capabilities[row] = sum(bits)
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

    def end_task(self, row: int, rest_until: float) -> None:
        """A worker's task has ended, in whatever way; it has a rest."""
        self.flags[row] &= ~BUSY & 0xFF
        if rest_until > self.rest_until[row]:
            self.rest_until[row] = rest_until

    def lapse_task(self, row: int, offered_at: float) -> None:
        """The lease of a worker's task ended, and with it the task."""
        self.flags[row] &= ~BUSY & 0xFF
        if self.last_seen[row] >= offered_at:
            self.unheard[row] = 0
            return
        unheard = min(int(self.unheard[row]) + 1, UNHEARD_MAX)
        self.unheard[row] = unheard
        if unheard == UNHEARD_MAX:
            self.flags[row] |= SILENT

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

    def measure(self, row: int, duration_s: float, loss: float | None) -> None:
        """How long a worker took, in seconds, and the loss that it reports, if it does."""
        mean = float(self.duration_s[row])
        self.duration_s[row] = mean + (duration_s - mean) / MEAN_OVER if mean else duration_s
        if loss is not None:
            self.loss[row] = loss

    # who may be given a task

    def required_bits(self, required: Required) -> int | None:
        """Required capabilities as bits; None if one is not kept here, so that nobody has it."""
        if any(name not in self._bit for name in required.capabilities):
            return None
        return sum({self._bit[name] for name in required.capabilities})

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


def _within(minutes: Any, opens: Any, closes: Any) -> Any:
    """`Hours.includes`, for arrays."""
    return (minutes - opens) % MINUTES < (closes - opens) % MINUTES
