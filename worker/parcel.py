"""What is known of an update that is to be sent, and of what was trained last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Trained(NamedTuple):
    """The run last worked for.

    Attributes:
        version: The newest version trained on in it, -1 if none.
        incarnation: Of the store that this version is of.
    """

    run_id: str = ""
    version: int = -1
    incarnation: int = 0


NOTHING_TRAINED = Trained()


@dataclass(frozen=True, slots=True)
class Parcel:
    """An update in the outbox.

    Attributes:
        base_version: The model version it was trained on.
        payload_bytes: Size of the whole payload.
        parts: 0 if one message carries it; else how many parts come before the closing message.
        sent: Every message of it was confirmed (only an upload in parts stays here after that).
        incarnation: Of the store that the version is of.
        kind: What the task was to do: "train" or "evaluate".
        codec: Of its payload.
    """

    update_id: str
    task_id: str
    run_id: str
    base_version: int
    payload_bytes: int
    parts: int
    sent: bool = False
    incarnation: int = 0
    kind: str = "train"
    codec: str = "fp32"
