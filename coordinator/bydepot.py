"""What a coordinator has of a depot, if one is set."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from coordinator.errors import RunError
from coordinator.fetching import AT_ONCE
from depot import Depot, DepotError, DepotUnusable, model_name
from depot.porter import Porter
from settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ByDepot:
    """A depot, and who goes there.

    Attributes:
        models: Puts models there.
        cleaner: Deletes there what is of no more use; nothing waits for that.
        readers: Read updates, one each at a time.
        min_bytes: What is smaller goes through the broker.
    """

    depot: Depot
    models: Porter
    cleaner: Porter
    readers: tuple[Porter, ...]
    min_bytes: int

    def look(self) -> None:
        """Warn if it cannot be reached: it may be long before somebody needs it."""
        self.cleaner.do(lambda: self.depot.size(model_name(64 * "0")), _warn)


def _warn(came: object) -> None:
    if isinstance(came, DepotError):
        _log.warning("the depot cannot be reached; it is tried again when it is needed: %s", came)


def by_depot(
    settings: Settings,
    depot_of: Callable[[Settings], Depot | None],
    porter_of: Callable[[str], Porter],
    opened: ExitStack,
) -> ByDepot | None:
    """Open the depot that is set; None if none is.

    Args:
        settings: Of the federation.
        depot_of: Opens a depot.
        porter_of: Makes a porter, by the name of its thread.
        opened: Takes what closes it again.

    Raises:
        RunError: It cannot be used as it is set.
    """
    try:
        depot = depot_of(settings)
    except DepotUnusable as error:
        raise RunError(str(error)) from error
    if depot is None:
        return None
    names = (
        "depot-models",
        "depot-cleaning",
        *[f"depot-updates-{number}" for number in range(AT_ONCE)],
    )
    porters = [porter_of(name) for name in names]
    for porter in porters:
        opened.callback(porter.close)
    return ByDepot(depot, porters[0], porters[1], tuple(porters[2:]), settings.depot.min_bytes)
