"""A depot in memory that does what real ones do: it is away, it forgets, it tears, it mixes up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from depot.depot import nothing, require_name
from depot.errors import DepotUnreachable, NotInDepot
from schemas.buffer import Buffer


@dataclass
class SimulatedDepot:
    """A `depot.depot.Depot` for one federation.

    Attributes:
        clock: Of the depot, in UTC seconds.
        away: It does not answer.
        fails: How many of the next requests fail; a put that fails may have put it all the same.
        tears: How many of the next puts keep only half of the bytes, and say nothing.
        mixes_up: How many of the next puts keep other bytes, and say nothing.
        hangs_s: How late the next answer comes, for a porter that asks.
        objects: Name to bytes.
        put_at: Name to when.
        puts: The names that were put, in order.
        read_bytes: Of all reads.
        before_request: Called before each.
    """

    clock: Callable[[], float] = lambda: 0.0
    away: bool = False
    fails: int = 0
    tears: int = 0
    mixes_up: int = 0
    hangs_s: float = 0.0
    objects: dict[str, bytes] = field(default_factory=dict)
    put_at: dict[str, float] = field(default_factory=dict)
    puts: list[str] = field(default_factory=list)
    read_bytes: int = 0
    before_request: Callable[[], None] = lambda: None

    def put(self, name: str, data: Buffer, moved: Callable[[], object] = nothing) -> None:
        """See `Depot.put`."""
        require_name(name)
        self.before_request()
        if self.away:
            raise DepotUnreachable("the depot is away")
        kept = bytes(memoryview(data).cast("B"))
        if self.tears > 0:
            self.tears -= 1
            kept = kept[: len(kept) // 2]
        if self.mixes_up > 0:
            self.mixes_up -= 1
            kept = bytes(byte ^ 0xFF for byte in kept)
        self.objects[name], self.put_at[name] = kept, self.clock()
        self.puts.append(name)
        moved()
        self._answer()

    def size(self, name: str) -> int | None:
        """See `Depot.size`."""
        require_name(name)
        self.before_request()
        self._answer()
        found = self.objects.get(name)
        return None if found is None else len(found)

    def read(self, name: str, start: int, length: int) -> Buffer:
        """See `Depot.read`."""
        require_name(name)
        self.before_request()
        self._answer()
        if name not in self.objects:
            raise NotInDepot(f"there is no {name}")
        data = self.objects[name][start : start + length]
        self.read_bytes += len(data)
        return data

    def delete(self, name: str) -> None:
        """See `Depot.delete`."""
        require_name(name)
        self.before_request()
        self._answer()
        self.objects.pop(name, None)

    def expire(self, prefix: str, before_s: float, spare: Callable[[str], bool]) -> int:
        """See `Depot.expire`."""
        self.before_request()
        self._answer()
        gone = [
            name
            for name in self.objects
            if name.startswith(f"{prefix}/") and self.put_at[name] < before_s and not spare(name)
        ]
        for name in gone:
            del self.objects[name]
        return len(gone)

    def take_delay(self) -> float:
        """In how many seconds the answer comes that is told next."""
        delay_s, self.hangs_s = self.hangs_s, 0.0
        return delay_s

    def _answer(self) -> None:
        if self.fails > 0:
            self.fails -= 1
            raise DepotUnreachable("the depot failed")
        if self.away:
            raise DepotUnreachable("the depot is away")
