"""Sees what becomes of uploads in parts: which are not taken, and which are forgotten again.

Nothing of that is a fault: the worker keeps its update until it has a verdict. But a world has to
know that it happened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from broker.memory import MemoryBroker
from schemas.buffer import Buffer
from schemas.messages import UpdatePart, decode
from simulation.platter import FolderNode, Platter

NOT_TAKEN = "upload not taken"
FORGOTTEN = "upload forgotten"


class UploadWatch:
    """Looks at the coordinator's disk after each step.

    Args:
        platter: The coordinator's disk.
        folder: Where its parts are.
        broker: What it still holds has not been refused.
        is_judged: Whether an update has its verdict, and needs no parts any more.
        count: Takes what happened.
    """

    def __init__(
        self,
        platter: Platter,
        folder: Path,
        broker: MemoryBroker,
        is_judged: Callable[[str], bool],
        count: Callable[[str], None],
    ) -> None:
        self._platter = platter
        self._folder = folder
        self._broker = broker
        self._is_judged = is_judged
        self._count = count
        self._sent: dict[str, None] = {}
        self._kept: frozenset[str] = frozenset()
        self._root = platter.root

    def sent(self, update_id: str, body: Buffer) -> None:
        """A message with an update, or some of it, has reached the broker."""
        message, _ = decode(body)
        if isinstance(message, UpdatePart):
            self._sent[update_id] = None

    def look(self) -> None:
        """What has become of those sent, and of those that were kept?"""
        node = self._platter.find(self._folder)
        kept = frozenset(node.entries) if isinstance(node, FolderNode) else frozenset[str]()
        if self._platter.root is not self._root:  # restored: nobody has forgotten anything
            self._root, self._kept = self._platter.root, kept
        for update_id in sorted(self._kept - kept):
            if not self._is_judged(update_id):
                self._count(FORGOTTEN)
        self._kept = kept
        for update_id in [each for each in self._sent if not self._broker.holds(each)]:
            del self._sent[update_id]
            if kept and update_id not in kept and not self._is_judged(update_id):
                self._count(NOT_TAKEN)
