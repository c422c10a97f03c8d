"""Versions that have an earlier one's parameters again, and what they leave behind. Pure.

0 ─▶ 1 ─▶ 2 ─▶ 3 ─▶ 4 ─▶ 5      version 5 has the parameters of version 2 again:
          ▲              │      3 and 4 are left behind
          ╰──────────────╯
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from coordinator.guard import NORMS_KEPT
from coordinator.records import VersionRow


@dataclass(slots=True)
class Trail:
    """What the versions of a run say of the steps between them.

    Attributes:
        norms: Of the last steps, taken or not, oldest first.
    """

    norms: list[float] = field(default_factory=list)
    _back: list[tuple[int, int]] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Iterable[VersionRow]) -> Trail:
        """The trail of versions, oldest first."""
        trail = cls()
        for row in rows:
            trail.add(row)
        return trail

    def add(self, row: VersionRow) -> None:
        """One more version was made."""
        if row.norm is not None:
            self.norms = [*self.norms, row.norm][-NORMS_KEPT:]
        if 0 <= row.rolled_back_to < row.version - 1:  # else it is its own base: nothing is lost
            self._back.append((row.version, row.rolled_back_to))

    def left_behind(self, version: int) -> str:
        """Why no update that was trained on a version counts any more, "" if it may."""
        for made, again in self._back:
            if again < version < made:
                return f"version {version} was left behind when the run went back to {again}"
        return ""
