"""How often the same thing is logged: a flood of refused messages must not be a flood of lines.

Pure: who calls it has the clock and the log.
"""

from __future__ import annotations

from dataclasses import dataclass, field

EVERY_S = 10.0


@dataclass(slots=True)
class _Topic:
    said_at: float
    kept: int = 0
    last: str = ""


@dataclass(slots=True)
class Sayings:
    """One line for each topic in `EVERY_S`; the next says how many there were in between.

    Topics are few and fixed, so what is remembered does not grow.
    """

    _topics: dict[str, _Topic] = field(default_factory=dict)

    def add(self, topic: str, text: str, now: float) -> str | None:
        """What to log for something that happened, None to stay silent for now."""
        known = self._topics.get(topic)
        if known is None or not 0 <= now - known.said_at < EVERY_S:
            return self._say(topic, text, 0 if known is None else known.kept, now)
        known.kept += 1
        known.last = text
        return None

    def overdue(self, now: float) -> list[str]:
        """What was kept back and is to be logged now, though no more of its topic has come.

        It waits until somebody asks: the coordinator does with each transaction.
        """
        due = [
            (topic, known)
            for topic, known in self._topics.items()
            if known.kept and now - known.said_at >= EVERY_S
        ]
        return [self._say(topic, known.last, known.kept - 1, now) for topic, known in due]

    def _say(self, topic: str, text: str, before: int, now: float) -> str:
        self._topics[topic] = _Topic(now)
        return f"{text} (and {before} like it in the {EVERY_S:g} s before)" if before else text
