"""The tables of the worker's store, and what their rows say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from schemas.errors import DecodeError
from schemas.messages import Start, Task, Update, decode
from worker.errors import StoreError
from worker.parcel import Parcel

ASKS, GOES_ON, SAID = 0, 1, 2
SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS inbox (
    task_id TEXT PRIMARY KEY,
    task BLOB NOT NULL,
    start BLOB,
    said INTEGER NOT NULL, -- ASKS, GOES_ON or SAID
    attempts INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    update_id TEXT NOT NULL UNIQUE,
    header BLOB NOT NULL,
    file TEXT NOT NULL, -- or '' if the payload lies here
    payload BLOB,
    part_bytes INTEGER NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS marks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id TEXT NOT NULL UNIQUE,
    update_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL,
    base_version INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    kind TEXT NOT NULL,
    verdict TEXT
) STRICT;
INSERT OR IGNORE INTO facts VALUES ('life', lower(hex(randomblob(16))));
"""

_MessageT = TypeVar("_MessageT", Task, Start, Update)


@dataclass(frozen=True, slots=True)
class HeldTask:
    """The inbox's row.

    Attributes:
        start: What to train on, None until something was.
        said: `SAID`: somebody knows, or is told first, that the task is here. `GOES_ON`: it goes on
            from there, and is to be said. `ASKS`: the coordinator is asked before all else.
        attempts: Trainings begun; each that did not end is a crash.
    """

    task: Task
    start: Start | None
    attempts: int
    said: int


@dataclass(frozen=True, slots=True)
class OpenRow:
    """An update in the outbox.

    Attributes:
        file: The payload's, "" if it is in the row.
        payload: None if it is in a file.
    """

    update: Update
    file: str
    payload: bytes | None
    part_bytes: int


def parcel_of(update: Update, sent: bool) -> Parcel:
    """What the session knows of an update in the outbox."""
    return Parcel(
        update_id=update.update_id,
        task_id=update.task_id,
        run_id=update.run_id,
        base_version=update.base_version,
        payload_bytes=update.payload_bytes,
        parts=update.parts,
        sent=sent,
        incarnation=update.incarnation,
        kind=update.kind,
        codec=update.codec,
    )


# An update's header is read when it is done, and again when it is sent.
_remembered = lru_cache(maxsize=4)(decode)


def decoded(kind: type[_MessageT], body: bytes) -> _MessageT:
    """A message that the store was given.

    Raises:
        StoreError: It is not what was given.
    """
    try:
        message, _ = _remembered(body)
    except DecodeError as error:
        raise StoreError(f"the state folder holds a damaged {kind.__name__}: {error}") from error
    assert isinstance(message, kind), "the store holds what it was given"
    return message
