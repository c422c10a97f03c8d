"""What the coordinator's store says of a message in a dead queue, where the store can be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from coordinator.errors import StoreError, in_short
from coordinator.letters import Letter
from coordinator.records import LedgerRow, StrayRow
from coordinator.store import Store


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a message's bytes and of the update that they say they are.

    Attributes:
        known: The store could be read.
        stray: The bytes were refused without an id.
        update: The verdict of the update of that id, by these bytes or by others.
    """

    known: bool
    stray: StrayRow | None = None
    update: LedgerRow | None = None

    @property
    def verdict(self) -> str:
        """The verdict that stands for these bytes, "" if none is known."""
        row = self._row
        return row.verdict if row is not None else ""

    @property
    def reason(self) -> str:
        """Why, in words; "" if nothing is known."""
        row = self._row
        return row.reason if row is not None else ""

    @property
    def is_poison(self) -> bool:
        """Whether it ended the coordinator each time that it was taken up."""
        return self._row is self.stray and self.verdict == "poison"

    @property
    def _row(self) -> StrayRow | LedgerRow | None:
        if self.stray is not None and (self.stray.accepted_at is None or self.update is None):
            return self.stray
        return self.update


class Judgements:
    """The store of a state folder, if there is one that can be read. Used as a context manager.

    Attributes:
        trouble: Why it cannot be read, "" if it can.
    """

    def __init__(self, state_dir: Path) -> None:
        self._store: Store | None = None
        self.trouble = ""
        try:
            self._store = Store.open_to_read(state_dir / "coordinator.db")
        except (StoreError, SQLAlchemyError, OSError) as error:
            self.trouble = in_short(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._store is not None:
            self._store.close()

    def of(self, letter: Letter) -> Judged:
        """What is known of a message."""
        if self._store is None:
            return Judged(known=False)
        try:
            with self._store.reading() as work:
                row = work.ledger_row(letter.update_id) if letter.update_id else None
                return Judged(True, work.stray(letter.digest), row)
        except StoreError as error:
            self.trouble = in_short(error)
            return Judged(known=False)
