"""What `fedmq simulate` is asked for, checked before anything takes its time."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from settings import Settings, SettingsError, load
from settings.duration import parse_duration
from settings.errors import show
from settings.evaluation import EvaluationSettings
from settings.fields import fields
from settings.presets import PRESETS
from settings.size import parse_size
from simulation.planning.devices import SETS, Devices
from simulation.planning.experiment import Limits
from simulation.planning.variations import Variation, variations_of

WORKERS_MAX = 10_000_000
SEEDS_MAX = 1000
SWEPT = {
    "goal": ("rounds.goal", "updates that close a round"),
    "concurrency": ("rounds.concurrency", "tasks in flight (default: 100)"),
    "quorum": ("rounds.quorum", "fewest updates that a deadline may close a round with"),
    "deadline": ("rounds.deadline", "when a quorum is enough"),
    "adaptive-deadline": (
        "rounds.adaptive_deadline",
        "instead of the deadline, the time that such a share of the last tasks took",
    ),
    "lease": ("rounds.lease", "how long a task may stay unanswered"),
    "dispatch": ("rounds.dispatch", "pool or direct: who gets a task"),
    "max-staleness": ("rounds.max_staleness", "versions that an update may be behind"),
}
"""Options that take several values: the setting, and what it means."""

PATIENCE = ("rounds.deadline", "rounds.lease")
"""Settings that come from the devices where nobody has set them."""

ALL_ROUNDS = 10_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, checked.

    Attributes:
        remarks: What is not done of what the settings say, a line each.
    """

    config: Path | None
    environ: Mapping[str, str]
    devices: Devices
    workers: int
    variations: list[Variation]
    patience_is_set: frozenset[str]
    learner: str | None
    data: str
    synthetic: bool
    model_bytes: int
    limits: Limits
    seeds: range
    remarks: tuple[str, ...] = ()

    def settings(self, variation: Variation, patience: Mapping[str, object]) -> Settings:
        """The settings of a variation."""
        return load(
            self.config,
            self.environ,
            {
                "run.rounds": None if self.config else ALL_ROUNDS,
                "coordinator.keep_versions": "all",  # no file is kept, and every version is known
                "learner.path": self.learner,
                **patience,
                **variation.values,
            },
        )


def request_of(arguments: argparse.Namespace, environ: Mapping[str, str]) -> Request:
    """Check the arguments.

    Raises:
        SettingsError: Naming the one that is wrong.
    """
    if arguments.devices not in SETS:
        raise SettingsError("--devices", f"one of {', '.join(SETS)}", show(arguments.devices))
    devices = SETS[arguments.devices]
    if arguments.task_time is not None:
        devices = devices.lasting(_duration("--task-time", arguments.task_time))
    lists = {
        name: _listed(f"--{option}", text)
        for option, (name, _) in SWEPT.items()
        if (text := getattr(arguments, option.replace("-", "_")))
    }
    lists |= _others(arguments.set, lists)
    for name in ("rounds.goal", "rounds.concurrency"):
        for text in lists.get(name, ()):
            _whole(f"--{name.partition('.')[2]}", text, 1, 10**6)
    seed = _whole("--seed", arguments.seed, 0, 2**63 - 1)
    seeds = _whole("--seeds", arguments.seeds, 1, SEEDS_MAX)
    target = None if arguments.target is None else _share("--target", arguments.target)
    if target is not None and arguments.synthetic:
        raise SettingsError(
            "--target", "a learner, since synthetic updates learn nothing", "--synthetic"
        )
    workers = _whole("--workers", arguments.workers, 1, WORKERS_MAX)
    configured = arguments.config is not None
    request = Request(
        config=arguments.config,
        environ=environ,
        devices=devices,
        workers=workers,
        variations=variations_of(_policies(arguments), lists, configured, workers),
        patience_is_set=_patience_set(arguments.config, environ, lists),
        learner=arguments.learner,
        data="{worker}/{workers}" if arguments.data is None else arguments.data,
        synthetic=arguments.synthetic,
        model_bytes=_size("--model-size", arguments.model_size),
        limits=Limits(_duration("--until", arguments.until), target),
        seeds=range(seed, seed + seeds),
    )
    settings = [request.settings(each, {}) for each in request.variations]
    for each in settings:
        _check_goal(each.rounds.goal, workers)
    if not all(each.learner.path for each in settings):
        for option in ("target", "data"):
            if getattr(arguments, option) is not None:
                expected = "a learner (--learner, or learner.path in --config)"
                raise SettingsError(f"--{option}", expected, "none")
    return replace(request, remarks=_remarks(settings))


def _remarks(settings: Sequence[Settings]) -> tuple[str, ...]:
    found = []
    if any(each.evaluation != EvaluationSettings() for each in settings):
        cohort = max(each.evaluation.cohort for each in settings)
        trains = f", and the cohort ({cohort:g} of the workers) trains like the others"
        found.append(
            "[evaluation] is not simulated: no run stops early or goes back"
            + (trains if cohort else "")
        )
    return tuple(found)


def _check_goal(goal: int, workers: int) -> None:
    if goal > workers:
        expected = f"at most the number of --workers, which is {workers}"
        hint = "a worker counts once for a version, so a larger goal can never be met"
        raise SettingsError("rounds.goal", expected, str(goal), hint=hint)


def _policies(arguments: argparse.Namespace) -> list[str]:
    if not arguments.compare:
        return [""] if arguments.config else ["fedbuff"]
    names = _listed("--compare", arguments.compare)
    for name in names:
        if name not in PRESETS:
            raise SettingsError("--compare", f"presets of {', '.join(PRESETS)}", show(name))
    return names


def _patience_set(
    config: Path | None, environ: Mapping[str, str], lists: Mapping[str, object]
) -> frozenset[str]:
    """Which waits somebody has set; the others come from the devices."""
    if config is not None:
        return frozenset(PATIENCE)
    given = (name for name in PATIENCE if name in lists or fields()[name].variable in environ)
    return frozenset(given)


def _others(given: Sequence[str], lists: Mapping[str, object]) -> dict[str, list[str]]:
    """Values of settings that have no option of their own, from texts such as "run.rounds=5,9"."""
    others: dict[str, list[str]] = {}
    for text in given:
        name, equals, values = text.partition("=")
        if not equals or name in lists or name in others:
            expected = 'a setting and its values, each setting once: "algorithm.rule=mean,ca2fl"'
            raise SettingsError("--set", expected, show(text))
        if name.startswith("evaluation."):
            hint = "evaluations by workers are not simulated, and nothing follows from them"
            raise SettingsError("--set", "a setting that is simulated", show(text), hint=hint)
        others[name] = _listed(f"--set {name}", values)
    return others


def _listed(option: str, text: str) -> list[str]:
    values = [value.strip() for value in text.split(",")]
    if not all(values) or len(set(values)) < len(values):
        raise SettingsError(option, "values with commas between them, each once", show(text))
    return values


def _whole(option: str, text: str, low: int, high: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise SettingsError(option, f"a whole number from {low} to {high}", show(text))
    return number


def _share(option: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0.0 < number <= 1.0:
        raise SettingsError(option, "an accuracy above 0 and at most 1", show(text))
    return number


def _duration(option: str, text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise SettingsError(option, 'a duration above 0 such as "30s" or "10m"', show(text))
    return seconds


def _size(option: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError:
        raise SettingsError(option, 'a size such as "64KiB" or "4MiB"', show(text)) from None
