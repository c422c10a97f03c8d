"""Where models and large updates lie that do not go through the broker.

    coordinator ── put ──▶ models/<digest>                     ── read ──▶ workers
    coordinator ◀── read ── updates/<update id>/<digest>       ◀── put ── a worker

Rules of the file:

- An object is there whole or not at all, and never changes: its name has the digest of its bytes.
  Putting it again gives the same object. Readers compare sizes first and digests afterwards all the
  same; what does not hold counts as not there.
- A depot promises nothing: an object may be gone at any time (a cleaning, a disk that was lost).
  Whoever put it keeps the bytes until they are not needed there any more, and puts them again.
- All of it waits for a disk or a network: never on a thread that has other things to do.
- `tests/contracts/depot_contract.py` says the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from schemas.buffer import Buffer

RANGE_BYTES = 4 * 2**20
"""The most that is read at a time, so that a cut link costs no more than this again."""

_NAME = re.compile(r"[0-9a-z]+(/[0-9a-z]+)*")


def nothing() -> None:
    """Who puts an object need not hear how it goes on."""


class Depot(Protocol):
    """Objects by name. Its methods raise `NotInDepot` or `DepotUnreachable`, and may be slow."""

    def put(self, name: str, data: Buffer, moved: Callable[[], object] = nothing) -> None:
        """Put an object, also over one of that name. It is there whole on return.

        Args:
            name: Of the object.
            data: Its bytes.
            moved: Called each time that the depot has taken some of them.

        Raises:
            DepotUnreachable: It may be there or not.
        """
        ...

    def size(self, name: str) -> int | None:
        """Bytes of an object, None if there is none."""
        ...

    def read(self, name: str, start: int, length: int) -> Buffer:
        """Bytes of an object from `start` on, which is in it; fewer if it ends before.

        Raises:
            NotInDepot: There is no such object.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete an object; nothing happens if there is none."""
        ...

    def expire(self, prefix: str, before_s: float, spare: Callable[[str], bool]) -> int:
        """Delete what was put before a time, and what a crash left unfinished before it.

        What has no name of ours was put by somebody else, and stays.

        Args:
            prefix: Of the names that are looked at: "updates".
            before_s: In UTC seconds of the depot's clock.
            spare: Whether an object is kept, by its name.

        Returns:
            How many objects were deleted.
        """
        ...


def model_name(digest: str) -> str:
    """The name of a model version's flat buffer."""
    return f"models/{digest}"


def update_name(update_id: str, payload_digest: str) -> str:
    """The name of an update's payload."""
    return f"updates/{update_id}/{payload_digest}"


def is_name(name: str) -> bool:
    """Whether it is a name: words of a-z and 0-9 with "/" between them."""
    return _NAME.fullmatch(name) is not None


def require_name(name: str) -> None:
    """Check that a name is one.

    Raises:
        ValueError: It is not, and so it may lead anywhere.
    """
    if not is_name(name):
        raise ValueError(f"expected words of a-z and 0-9 with / between them, came {name!r:.80}")
