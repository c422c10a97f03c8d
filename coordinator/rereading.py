"""Reading the settings again while the coordinator runs: what of them a run takes."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from settings import Settings
from settings.agreement import check_agreement
from settings.errors import SettingsError
from settings.fields import fields
from settings.frozen import changed, changed_fields, frozen_fields

_log = logging.getLogger(__name__)

TAKEN = ("run", "rounds", "algorithm", "selection", "wire")
"""The sections that a running coordinator takes; the others are read at its next start."""


def reread(old: Settings, read: Callable[[], Settings], run_id: str) -> Settings | None:
    """Read the settings again; what is new in them is logged.

    Args:
        old: What is in force, or waits for the next version.
        read: Reads them.
        run_id: The run that keeps what is frozen.

    Returns:
        What is in force from now on, None if nothing is changed.
    """
    try:
        new = read()
    except SettingsError as error:
        _log.error("the settings are not taken: %s", error)
        return None
    kept = changed(frozen_fields(old), frozen_fields(new))
    if kept:
        _log.error(
            "the settings are not taken: run %s keeps %s. Set them back, or start another run with "
            "--new-run",
            run_id[:8],
            "; ".join(kept),
        )
        return None
    taken = msgspec.structs.replace(old, **{name: getattr(new, name) for name in TAKEN})
    try:
        check_agreement(taken, {})
    except SettingsError as error:
        _log.error(
            "the settings are not taken: with those that are read at a start only, %s. Start the "
            "coordinator again to take all of them",
            error,
        )
        return None
    later = changed_fields(taken, new)
    if later:
        _log.warning("these settings are taken at the next start: %s", "; ".join(later))
    differences = changed_fields(old, taken)
    if not differences:
        _log.warning("the settings were read again: nothing is changed")
        return None
    for name, difference in differences.items():
        when = "with the next version" if fields()[name].about.waits else "now"
        _log.warning("a setting is changed, %s: %s", when, difference)
    return taken
