"""What follows from the measurements of versions: best, stop early, go back. Pure.

    measured ─▶ much worse than the best? ── yes ─▶ RollBack (after the third in a row: Stop)
                     │ no
                     ▼
                smoothed ─▶ better than the best? ── yes ─▶ Improved
                                 │ no
                                 ▼
                            patience over? ── yes ─▶ Stop ── no ─▶ Nothing

Rules: the course is a fold over the measurements in the order in which they were made, so a restart
that reads them again comes to the same; a measurement of a version that was current when the run
went back says nothing of the versions since, and changes nothing.

Early stopping by patience: Prechelt 1998. The difference of two means has the standard error
√(a² + b²), if they are independent; that of an exponential average follows from its weights.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from coordinator.scores import Better

ROLL_BACKS_MAX = 3
"""So often in a row a run goes back; then what it does leads nowhere."""

SPOILED_TIMES = 30.0
"""An error that is so many times that of the newest measurement is a few workers' doing."""

NORMS_LEAST = 3
NORMS_KEPT = 10


@dataclass(frozen=True, slots=True)
class Rules:
    """When a version is better, and when the run stops or goes back; see `[evaluation]`.

    Attributes:
        metric: Its name, for the reasons.
        smoothing: Evaluations that are averaged over, about; 1 for none.
        patience: Versions, 0 for no end.
        guard: By what factor a value may be worse than the best, 0 for any.
    """

    metric: str = "loss"
    better: Better = "lower"
    smoothing: int = 3
    min_delta: float = 0.0
    sureness: float = 2.0
    patience: int = 0
    guard: float = 0.0

    def gain(self, value: float, best: float) -> float:
        """By how much a value is better than the best; negative if it is worse."""
        return best - value if self.better == "lower" else value - best

    def far_worse(self, value: float, best: float) -> bool:
        """Whether a value is worse by more than the guard's factor, or is no number."""
        if not self.guard:
            return False
        if not math.isfinite(value):
            return True
        if best <= 0:
            return False  # a factor of that means nothing
        return value > self.guard * best if self.better == "lower" else value * self.guard < best


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement of a version.

    Attributes:
        current: The version that was current when it was made.
        value: Of the metric; NaN if it is no finite number.
        standard_error: Of the value, 0 if it is not known.
    """

    version: int
    current: int
    value: float
    standard_error: float = 0.0


@dataclass(frozen=True, slots=True)
class Smoothed:
    """An average over the last measurements, as of a version.

    Attributes:
        value: Of the metric.
        variance: Of the value, as far as it is known.
    """

    version: int
    value: float
    variance: float


@dataclass(frozen=True, slots=True)
class Course:
    """How the versions have gone.

    Attributes:
        best: The best version, and the best average, None before the first measurement.
        own: What the best version itself was measured to be.
        held: How many measurements came since.
        since: As of which version the average was last better than before.
        newest: The average as of the newest version measured.
        muted: Measurements of versions up to this one change nothing.
        roll_backs: How often the run went back since the last improvement.
    """

    best: Smoothed | None = None
    own: float = math.nan
    held: int = 0
    since: int = -1
    newest: Smoothed | None = None
    muted: int = -1
    roll_backs: int = 0


BEGINNING = Course()


@dataclass(frozen=True, slots=True)
class Nothing:
    """The run goes on."""

    why: str


@dataclass(frozen=True, slots=True)
class Improved:
    """The version is the best so far."""

    version: int
    why: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """The next version is to have the parameters of the best."""

    version: int
    why: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is to stop early; its final model is that of the best version."""

    version: int
    why: str


Decision = Nothing | Improved | RollBack | Stop


def follow(course: Course, measured: Measured, rules: Rules) -> tuple[Course, Decision]:
    """The course with one more measurement, and what follows from it."""
    best, version = course.best, measured.version
    if version <= course.muted:
        return course, Nothing("the run went back since this version was made")
    if best is None:
        return _first(course, measured, rules)
    if rules.far_worse(measured.value, best.value):
        return _back(course, best, measured, rules)
    if not math.isfinite(measured.value):
        return course, Nothing(f"{rules.metric} is no finite number")
    newest = _smoothed(course.newest or best, measured, rules.smoothing)
    # One worker of ten that says 1e12 makes a mean of 1e11 that is as uncertain: nothing would be
    # better than that beyond doubt, however well the model does.
    doubt = 0.0 if _spoiled(best, measured) else best.variance
    course = replace(course, newest=newest, held=course.held + 1)
    gain = rules.gain(newest.value, best.value)
    needed = rules.min_delta + rules.sureness * math.sqrt(newest.variance + doubt)
    if gain > needed:
        why = f"{_named(rules, newest)} is better than {best.value:g} of version {best.version}"
        return _improved(course, best, measured, newest, rules, why)
    waited = version - course.since
    why = (
        f"{_named(rules, newest)} is not better than {best.value:g} of version {best.version} by "
        f"more than {needed:g}"
    )
    if rules.patience and waited >= rules.patience:
        versions = "1 version" if waited == 1 else f"{waited} versions"
        return course, Stop(best.version, f"no improvement for {versions}: {why}")
    return course, Nothing(why)


def course_of(measured: Iterable[Measured], rules: Rules) -> tuple[Course, Decision]:
    """The course of all measurements, oldest first, and what followed from the last of them."""
    course: Course = BEGINNING
    decision: Decision = Nothing("nothing was measured yet")
    for each in measured:
        course, decision = follow(course, each, rules)
    return course, decision


def first_stop(measured: Iterable[Measured], rules: Rules) -> Stop | None:
    """What stopped the run; None if nothing of it does by these rules.

    Measurements that follow were under way when it stopped, and take nothing back.
    """
    course: Course = BEGINNING
    for each in measured:
        course, decision = follow(course, each, rules)
        if isinstance(decision, Stop):
            return decision
    return None


def _first(course: Course, measured: Measured, rules: Rules) -> tuple[Course, Decision]:
    if not math.isfinite(measured.value):
        return course, Nothing(f"{rules.metric} is no finite number")
    first = Smoothed(measured.version, measured.value, measured.standard_error**2)
    why = f"{_named(rules, first)} is the first"
    course = replace(course, best=first, own=first.value, since=first.version, newest=first)
    return course, Improved(first.version, why)


def _improved(
    course: Course,
    best: Smoothed,
    measured: Measured,
    newest: Smoothed,
    rules: Rules,
    why: str,
) -> tuple[Course, Decision]:
    """The average is better than it ever was; which of the versions it is of is the best?

    An average falls for a while after the best of its versions: that one stays the best as long as
    it is among those averaged over, and the newest itself is worse.
    """
    course = replace(course, since=measured.version, roll_backs=0)
    if course.held < rules.smoothing and rules.gain(measured.value, course.own) < 0:
        course = replace(course, best=replace(newest, version=best.version))
        return course, Improved(best.version, f"{why}; of these it is the best by itself")
    course = replace(course, best=newest, own=measured.value, held=0)
    return course, Improved(measured.version, why)


def _back(
    course: Course, best: Smoothed, measured: Measured, rules: Rules
) -> tuple[Course, Decision]:
    """Measurements before the way back, and what they were averaged to, do not count any more."""
    why = (
        f"{rules.metric} {measured.value:g} of version {measured.version} is worse than "
        f"{best.value:g} of version {best.version} by more than a factor of {rules.guard:g}"
    )
    course = replace(course, newest=best, muted=measured.current, roll_backs=course.roll_backs + 1)
    if course.roll_backs > ROLL_BACKS_MAX:
        why = f"the run went back {ROLL_BACKS_MAX} times without an improvement: {why}"
        return course, Stop(best.version, why)
    return course, RollBack(best.version, why)


def _spoiled(before: Smoothed, measured: Measured) -> bool:
    """Whether an earlier value says next to nothing beside one that was measured now."""
    error = SPOILED_TIMES * measured.standard_error
    return error > 0 and math.sqrt(before.variance) > error


def _smoothed(before: Smoothed, measured: Measured, smoothing: int) -> Smoothed:
    new = 1.0 if _spoiled(before, measured) else 2.0 / (smoothing + 1)
    value = new * measured.value + (1 - new) * before.value
    variance = new**2 * measured.standard_error**2 + (1 - new) ** 2 * before.variance
    return Smoothed(measured.version, value, variance)


def _named(rules: Rules, smoothed: Smoothed) -> str:
    averaged = ", averaged," if rules.smoothing > 1 else ""
    return f"{rules.metric} {smoothed.value:g} of version {smoothed.version}{averaged}"


def norm_jump(norm: float, before: Sequence[float], factor: float) -> str:
    """Why a version's step is not to be taken, "" if it is.

    Args:
        norm: L2 norm of the step.
        before: Those of the steps before it, oldest first, whether they were taken or not: a change
            of scale that lasts is accepted after half of them.
        factor: By how much it may be longer than the median of the last ten; 0 for any length.
    """
    last = [each for each in before[-NORMS_KEPT:] if math.isfinite(each)]
    if not factor:
        return ""
    if not math.isfinite(norm):
        return "its step is not finite"
    if len(last) < NORMS_LEAST:
        return ""
    median = statistics.median(last)
    if not median or norm <= factor * median:
        return ""
    return (
        f"its step of norm {norm:g} is longer than {median:g}, the median of the last {len(last)}, "
        f"by more than a factor of {factor:g}"
    )
