"""What is known of an update that is to be sent, without its bytes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parcel:
    """An update in the outbox.

    Attributes:
        base_version: The model version it was trained on.
        payload_bytes: Size of the whole payload.
        parts: 0 if one message carries it; else how many parts come before the closing message.
        sent: Every message of it was confirmed (only an upload in parts stays here after that).
    """

    update_id: str
    task_id: str
    run_id: str
    base_version: int
    payload_bytes: int
    parts: int
    sent: bool = False
