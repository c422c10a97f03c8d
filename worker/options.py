"""What a session goes by, and the moment it is asked in."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.events import Rng

ATTEMPTS_MAX = 3
_RETRY_S, _RETRY_MOST_S = 1.0, 60.0


@dataclass(frozen=True, slots=True)
class Forever:
    """Work until told to stop."""


@dataclass(frozen=True, slots=True)
class Once:
    """Flush the outbox, take at most one task, see it through, leave.

    Attributes:
        wait_s: How long to wait for the broker, and for a task.
    """

    wait_s: float


@dataclass(frozen=True, slots=True)
class UntilRunEnds:
    """Work until the coordinator says that the run is over."""


Plan = Forever | Once | UntilRunEnds


@dataclass(frozen=True, slots=True)
class Options:
    """What a session goes by.

    Attributes:
        max_model_bytes: The largest model taken.
        presence_s: How often the worker says that it is there.
        train_timeout_s: After how much silence a training is killed; 0 is never.
        outbox_bytes_max: With more than this unsent, no new task is taken.
        outbox_updates_max: Likewise, in updates.
        leave_s: How long a goodbye may take.
        part_bytes_min: The smallest part limit that a task is believed to have.
        has_depot: Models may be read from the depot, and updates put there.
        depot_min_bytes: Updates from this size on go there if the coordinator takes them.
    """

    worker_id: str
    plan: Plan = field(default_factory=Forever)
    max_model_bytes: int = 2 * 1024**3
    presence_s: float = 30.0
    train_timeout_s: float = 0.0
    outbox_bytes_max: int = 4 * 1024**3
    outbox_updates_max: int = 1000
    leave_s: float = 5.0
    part_bytes_min: int = 1
    has_depot: bool = False
    depot_min_bytes: int = 4 * 1024**2


@dataclass(frozen=True, slots=True)
class Moment:
    """When and where an event happens.

    Attributes:
        now: Monotonic seconds.
        serial: Number of the event, which makes each `Ref` unique.
        online: The broker is reached.
        coordinator_s: The coordinator's time in UTC seconds, None if it was not heard.
    """

    now: float
    serial: int
    rng: Rng
    online: bool
    coordinator_s: float | None = None

    def retry_at(self, tries: int) -> float:
        """When to try again what broker or disk did not take."""
        return self.after(tries, _RETRY_S, _RETRY_MOST_S)

    def after(self, tries: int, first_s: float, most_s: float) -> float:
        """When to try again: twice as long each time up to a bound, with jitter."""
        wait_s: float = min(most_s, first_s * 2.0 ** min(tries, 30))
        return self.now + wait_s * (0.5 + self.rng.random() / 2)
