"""When to look whether a segment of the model stream was begun, so that it is known soon. Pure.

    lost ── looks at each step ── it was begun just now ──▶ known ── looks at about its end ──╮
     ▲                                                        │ ▲                             │
     ╰────────────── it was begun, and nobody knows when ─────╯ ╰──── it was begun just now ──╯

What is written is counted, but what the broker makes of it is not known to the byte. So how much
there is from one beginning to the next is learned: a first guess that is too small costs a look or
two, and one that is too large is made smaller until looks come before the segment ends.
"""

from __future__ import annotations

STEPS = 32  # in a segment: so exactly its beginning is known


class StreamPace:
    """The pace of a stream's segments, as one that writes to it sees it.

    Args:
        segment_bytes: Of a segment, by the stream's settings.
        is_new: Nothing was written to the stream before.
    """

    def __init__(self, segment_bytes: int, *, is_new: bool) -> None:
        self._least, self._most = segment_bytes // 2, 2 * segment_bytes
        self._step = max(segment_bytes // STEPS, 1)
        self._segment = segment_bytes  # counted from one beginning to the next
        self._since_beginning: int | None = 0 if is_new else None
        self._since_look = 0
        self._newest = 0

    def wrote(self, num_bytes: int) -> None:
        """A version was written."""
        self._newest = num_bytes
        self._since_look += num_bytes
        if self._since_beginning is not None:
            self._since_beginning += num_bytes

    @property
    def is_due(self) -> bool:
        """Whether to look now: the next version may begin a segment, or one may have begun."""
        if self._since_look < self._step:
            return False
        # Of small versions some have gone by when a beginning is seen.
        slack = 0 if self._newest >= self._step else 2 * self._step
        near = self._segment - self._newest - slack
        return self._since_beginning is None or self._since_beginning >= near

    def looked(self, begun: int) -> None:
        """So many segments were begun since the last look."""
        just_now = self._since_look <= max(2 * self._step, self._newest)
        if begun and just_now:
            if begun == 1 and self._since_beginning is not None:
                self._learn(self._since_beginning)
            self._since_beginning = self._newest
        elif begun:
            if self._since_beginning is not None:  # it was expected later
                self._learn(self._segment - 2 * self._step)
            self._since_beginning = None
        self._since_look = 0

    def _learn(self, segment: int) -> None:
        self._segment = min(max(segment, self._least), self._most)
