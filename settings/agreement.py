"""What two settings must agree on."""

from collections.abc import Mapping

from settings.duration import format_duration
from settings.errors import SettingsError
from settings.fields import fields
from settings.model import Settings

SORTING_RULES = ("median", "trimmed-mean")
SORTED_MAX = 2_000
"""The most updates that are sorted at a close: nothing else is done meanwhile, and it takes so much
longer the more there are. At this many it is about a minute for a million parameters.
"""


def check_agreement(settings: Settings, sources: Mapping[str, str]) -> None:
    """Check the settings against each other.

    Args:
        settings: Each value is valid by itself.
        sources: Where each value came from, by dotted name, for the error.

    Raises:
        SettingsError: Two of them are at odds.
    """
    rounds, coordinator = settings.rounds, settings.coordinator
    if rounds.quorum > rounds.goal:
        expected = f"at most rounds.goal, which is {_given(settings, sources, 'rounds.goal')}"
        raise _at_odds(settings, sources, "rounds.quorum", expected)
    if rounds.goal > rounds.tasks_in_flight:
        tasks = _given(settings, sources, "rounds.concurrency")
        expected = f"at most rounds.concurrency, which is {tasks}"
        hint = "a goal above concurrency can never be met"
        raise _at_odds(settings, sources, "rounds.goal", expected, hint)
    if 0 < settings.selection.pace < rounds.tasks_in_flight:
        expected = f"0, or at least {rounds.tasks_in_flight}, the tasks in flight"
        hint = "those above the pace are told to stay away, and nobody would be there for the rest"
        raise _at_odds(settings, sources, "selection.pace", expected, hint)
    if rounds.max_staleness >= coordinator.keep_versions:
        kept = _given(settings, sources, "coordinator.keep_versions")
        expected = f"less than coordinator.keep_versions, which is {kept}"
        hint = "a stale update is checked against the version that it began with"
        raise _at_odds(settings, sources, "rounds.max_staleness", expected, hint)
    if settings.algorithm.rule == "fedvarp" and rounds.late != "refuse":
        late = _given(settings, sources, "rounds.late")
        expected = f"one for updates that may be late, since rounds.late is {late}"
        hint = 'set rounds.late to "refuse", or take ca2fl, which is the same for late updates'
        raise _at_odds(settings, sources, "algorithm.rule", expected, hint)
    if rounds.preset == "sync" and rounds.late == "weigh" and not rounds.max_staleness:
        zero = _given(settings, sources, "rounds.max_staleness")
        expected = f'"refuse", or a rounds.max_staleness above 0, which is {zero}'
        hint = "it would weigh nothing that is late"
        raise _at_odds(settings, sources, "rounds.late", expected, hint)
    if settings.algorithm.rule in SORTING_RULES and rounds.goal > SORTED_MAX:
        rule = _given(settings, sources, "algorithm.rule")
        expected = f"at most {SORTED_MAX}, since algorithm.rule is {rule}"
        hint = "that rule reads and sorts all updates of a round at its close"
        raise _at_odds(settings, sources, "rounds.goal", expected, hint)
    _check_guards(settings, sources)
    _check_availability(settings, sources)


def _check_guards(settings: Settings, sources: Mapping[str, str]) -> None:
    evaluation = settings.evaluation
    for name in ("guard_loss", "guard_norm"):
        if 0 < getattr(evaluation, name) <= 1:
            hint = "a version that is as good as the best would not be taken"
            expected = "a factor above 1, or 0 for no guard"
            raise _at_odds(settings, sources, f"evaluation.{name}", expected, hint)
    if settings.run.evaluate or (evaluation.cohort and evaluation.by == "cohort"):
        return
    hint = "nobody evaluates: set evaluation.cohort, or run.evaluate to true"
    if evaluation.cohort:
        hint = (
            "only the coordinator's measurements count (evaluation.by), and it makes none: set "
            "run.evaluate to true"
        )
    for name in ("patience", "guard_loss"):
        if getattr(evaluation, name):
            raise _at_odds(settings, sources, f"evaluation.{name}", "0", hint)


def _check_availability(settings: Settings, sources: Mapping[str, str]) -> None:
    on_for_s, off_for_s = settings.worker.on_for_s, settings.worker.off_for_s
    if bool(on_for_s) == bool(off_for_s):
        return
    zero, other, other_s = (
        ("worker.off_for", "worker.on_for", on_for_s)
        if on_for_s
        else ("worker.on_for", "worker.off_for", off_for_s)
    )
    expected = f"more than 0s, since {other} is {format_duration(other_s)}"
    hint = "set both, or neither for a worker that is always online"
    raise _at_odds(settings, sources, zero, expected, hint)


def _at_odds(
    settings: Settings, sources: Mapping[str, str], name: str, expected: str, hint: str = ""
) -> SettingsError:
    field = fields()[name]
    got = field.write(field.value_of(settings))
    return SettingsError(name, expected, got, sources.get(name, ""), hint)


def _given(settings: Settings, sources: Mapping[str, str], name: str) -> str:
    field = fields()[name]
    source = sources.get(name)
    value = field.write(field.value_of(settings))
    return f"{value} ({source})" if source else value
