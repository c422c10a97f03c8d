"""The uploads in parts that are not complete: which may take room on disk, and for how long. Pure.

Rules:

- An upload is admitted with room for all of it, so that those admitted can be completed, however
  many others come. If parts were taken while there is room for parts, many uploads at once would
  push each other out for ever.
- If there is no room, who was silent for `SILENT_S` gives way, the stalest first; else a part is
  not taken. No verdict is given: the worker keeps its update until it has one, is told that it is
  unknown, and sends it again later.
- What nobody added to for `age_s` is forgotten, with the same consequence. So forgetting is
  harmless at any moment, and a crash in the middle of it too.
- One update may be uploaded with `DIGESTS_MAX` different payloads at a time (two stores of one
  worker trained it); a further one takes the place of its stalest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SILENT_S = 600.0
DIGESTS_MAX = 2
PARTS_MAX = 98_176  # of one upload: what its file has bits for, 12 KiB with what is before them

Upload = tuple[str, str]
"""Update id, and digest of the payload."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a part is taken, and which uploads are to be deleted first."""

    taken: bool
    gone: tuple[Upload, ...] = ()


class Uploads:
    """The ledger of incomplete uploads.

    Args:
        most: How many there is room for, 1 or more.
        age_s: Seconds after which an upload that nobody added to is forgotten.
        known: Those on disk, and when a part was last added to each, in the coordinator's time.
    """

    def __init__(self, most: int, age_s: float, known: Iterable[tuple[Upload, float]] = ()) -> None:
        self._most = most
        self._age_s = age_s
        self._touched: dict[Upload, float] = {}  # the one touched longest ago first
        self._of_update: dict[str, list[Upload]] = {}  # likewise
        for upload, at in sorted(known, key=lambda each: each[1]):
            self._touch(upload, at)

    def __len__(self) -> int:
        return len(self._touched)

    def add(self, upload: Upload, now: float) -> Admission:
        """A part of an upload has come."""
        if upload in self._touched:
            self._touch(upload, now)
            return Admission(True)
        same = self._of_update.get(upload[0], [])
        gone = same[: max(0, len(same) - DIGESTS_MAX + 1)]
        excess = len(self._touched) - len(gone) + 1 - self._most
        if excess > 0:
            silent = self._silent(excess, now, gone)
            if len(silent) < excess:
                return Admission(False)
            gone = [*gone, *silent]
        for each in gone:
            self._drop(each)
        self._touch(upload, now)
        return Admission(True, tuple(gone))

    def forget(self, update_id: str) -> None:
        """An update has its verdict: its uploads are of no more use."""
        for each in list(self._of_update.get(update_id, ())):
            self._drop(each)

    def expire(self, now: float) -> list[Upload]:
        """Forget, and return, what is too old; and what a smaller bound has no room for."""
        gone: list[Upload] = []
        while self._touched:
            stalest, at = next(iter(self._touched.items()))
            if now - at < self._age_s and len(self._touched) <= self._most:
                break
            self._drop(stalest)
            gone.append(stalest)
        return gone

    def _silent(self, most: int, now: float, spare: list[Upload]) -> list[Upload]:
        """The stalest of those that may give way, up to so many."""
        found: list[Upload] = []
        for each, at in self._touched.items():
            if len(found) == most or now - at < SILENT_S:
                break
            if each not in spare:
                found.append(each)
        return found

    def _touch(self, upload: Upload, now: float) -> None:
        if upload in self._touched:
            self._drop(upload)
        self._touched[upload] = now
        self._of_update.setdefault(upload[0], []).append(upload)

    def _drop(self, upload: Upload) -> None:
        del self._touched[upload]
        same = self._of_update[upload[0]]
        same.remove(upload)
        if not same:
            del self._of_update[upload[0]]
