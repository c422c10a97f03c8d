"""Compare algorithms on many kinds of devices, in virtual time; `make experiments`.

Fashion-MNIST on 1,000 workers with skewed labels (Dirichlet 0.3), a small perceptron, one epoch a
task. What is measured is virtual time until a version has 80 % accuracy on images that no worker
has: what a user waits, where devices are the bottleneck. Writes docs/explanation/experiments.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from learning import fashion
from learning.errors import LearnerSettingError
from settings import load
from settings.command import complain
from settings.duration import format_duration
from settings.presets import PRESETS
from simulation.planning.availability import Mask
from simulation.planning.crowd import Crowd
from simulation.planning.devices import SETS, Devices
from simulation.planning.draws import Ints
from simulation.planning.experiment import Experiment, Limits, Setup, waits_for
from simulation.planning.learners import LearnerTraining
from simulation.planning.report import Report
from simulation.planning.variations import variations_of

PAGE = Path("docs/explanation/experiments.md")
WORKERS, CONCURRENCY, TARGET = 1000, 130, 0.8
UPDATES_MAX = 8000
"""A policy that has not reached the target by then is taken never to."""

MEASURED_ON = 4000  # held-out images
LAST = 20  # evaluations whose mean is what a run came to

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Trial:
    """One federation to simulate.

    Attributes:
        preset: Of the round policy.
        values: Settings by their dotted names, besides the preset's.
        rare: The kinds of clothes whose owners are there ten times more rarely.
        updates: How many are made at most.
        target: The accuracy to stop at, None to go on.
        folder: Where the pictures are.
    """

    preset: str
    devices: Devices
    seed: int
    values: Values = field(default_factory=dict)
    workers: int = WORKERS
    concurrency: int = CONCURRENCY
    alpha: float = 0.3
    rare: frozenset[int] = frozenset()
    updates: int = UPDATES_MAX
    target: float | None = TARGET
    folder: str = fashion.FOLDER


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        time_s: Virtual time to the target, None if it was not reached.
        accuracy, recall: Means of the last evaluations; the recall is that of the rare kinds.
        rare_share: Of the counted updates, those of workers that are there more rarely.
    """

    time_s: float | None
    accuracy: float
    recall: float
    rare_share: float
    staleness: float
    updates: int


def tried(trial: Trial) -> Outcome:
    """Simulate a federation."""
    parts = fashion.parts_of(trial.folder, trial.workers, trial.alpha, trial.seed)
    rare = _owners(parts, trial) if trial.rare else None
    config: dict[str, str | float] = {
        "folder": trial.folder,
        "alpha": trial.alpha,
        "partition_seed": trial.seed,
        "held_out": MEASURED_ON,
    }
    setup = _setup(trial, Crowd(trial.devices, trial.workers, trial.seed, 0, _sizes(parts), rare))
    training = LearnerTraining(fashion.learner(), trial.workers, trial.seed, config=config)
    moved = training.layout.num_bytes + training.layout.update_bytes
    crowd = Crowd(trial.devices, trial.workers, trial.seed, moved, _sizes(parts), rare)
    experiment = Experiment(setup, crowd, training, trial.seed, Limits(1e9, trial.target))
    return _outcome(trial, experiment.run(), np.asarray(experiment.fleet.roster.answers), rare)


def _setup(trial: Trial, crowd: Crowd) -> Setup:
    lists = {"rounds.concurrency": [str(trial.concurrency)]}
    chosen = variations_of([trial.preset], lists)[0].values
    late: Literal["weigh", "refuse"] = "refuse" if trial.preset == "sync" else "weigh"
    dispatch: Any = trial.values.get("rounds.dispatch", "pool")
    found = waits_for(crowd, late, dispatch)
    waits = {name: format_duration(seconds) for name, seconds in found.items()}
    values = {**chosen, **waits, **trial.values}
    goal = int(str(values.get("rounds.goal") or PRESETS[trial.preset].dotted()["rounds.goal"]))
    values["run.rounds"] = max(trial.updates // goal, 1)
    return Setup.of(trial.preset, load(None, {}, values))


def _sizes(parts: list[Ints]) -> Ints:
    return np.array([len(part) for part in parts])


def _owners(parts: list[Ints], trial: Trial) -> Mask:
    """Workers most of whose pictures are of the rare kinds."""
    labels, rare = fashion.load(trial.folder)[0].labels, list(trial.rare)
    return np.array([np.isin(labels[part], rare).mean() > 0.5 for part in parts])


def _outcome(trial: Trial, report: Report, answers: Ints, rare: Mask | None) -> Outcome:
    last = [measured.metrics for measured in report.curve[-LAST:]]
    kinds = trial.rare or frozenset(range(10))
    return Outcome(
        time_s=report.time_to_target_s,
        accuracy=float(np.mean([metrics["accuracy"] for metrics in last])),
        recall=float(np.mean([[m.get(f"recall_{kind}", 0.0) for kind in kinds] for m in last])),
        rare_share=0.0 if rare is None else float(answers[rare].sum() / max(answers.sum(), 1)),
        staleness=report.staleness.mean,
        updates=report.updates,
    )


# what is compared

ALGORITHMS: Mapping[str, tuple[str, Values]] = {
    "FedAvg (`sync`)": ("sync", {}),
    "FedAvg, adaptive deadline 0.7": (
        "sync",
        {"rounds.adaptive_deadline": 0.7, "rounds.quorum": 20},
    ),
    "FedProx, mu 0.1": ("sync", {"algorithm.prox_mu": 0.1}),
    "FedNova": ("sync", {"algorithm.rule": "nova"}),
    "trimmed mean": ("sync", {"algorithm.rule": "trimmed-mean"}),
    "coordinate median": ("sync", {"algorithm.rule": "median"}),
    "FedBuff (`fedbuff`)": ("fedbuff", {}),
    "FedBuff, momentum": ("fedbuff", {"algorithm.optimizer": "momentum"}),
    "FedBuff, Adam": ("fedbuff", {"algorithm.optimizer": "adam", "algorithm.server_lr": 0.01}),
    "FedBuff, hinge staleness": ("fedbuff", {"algorithm.staleness": "hinge"}),
    "CA2FL": ("fedbuff", {"algorithm.rule": "ca2fl"}),
    "FedAsync (`fedasync`)": ("fedasync", {}),
}
RARE_KINDS = frozenset({2, 4, 6})  # pullover, coat, shirt: hard to tell apart
RARE_RULES: Mapping[str, Values] = {
    "FedBuff": {},
    "CA2FL": {"algorithm.rule": "ca2fl"},
    "MIFA": {"algorithm.rule": "mifa"},
}
FLAKY: Mapping[str, tuple[str, Values]] = {
    "sync, waits from the devices": ("sync", {}),
    "sync, deadline 5 min": ("sync", {"rounds.deadline": "5m", "rounds.quorum": 20}),
    "sync, deadline 10 min": ("sync", {"rounds.deadline": "10m", "rounds.quorum": 20}),
    "sync, deadline and lease 2 min": (
        "sync",
        {"rounds.deadline": "2m", "rounds.lease": "2m", "rounds.quorum": 20},
    ),
    "fedbuff, waits from the devices": ("fedbuff", {}),
    "fedbuff, lease 2 min": ("fedbuff", {"rounds.lease": "2m"}),
    "fedbuff, lease 5 min": ("fedbuff", {"rounds.lease": "5m"}),
    "fedbuff, lease 10 min": ("fedbuff", {"rounds.lease": "10m"}),
    "fedbuff, lease 30 min": ("fedbuff", {"rounds.lease": "30m"}),
}


def rare_devices() -> Devices:
    """Flaky devices, some of which are there ten times more rarely."""
    flaky = SETS["flaky"]
    return replace(flaky, presence=replace(flaky.presence, rare_share=0.3, rare_duty=0.1))


def trials(seeds: range) -> dict[tuple[str, ...], list[Trial]]:
    """All federations to simulate, one for each seed under a key."""

    def many(preset: str, devices: Devices, values: Values, **others: object) -> list[Trial]:
        return [Trial(preset, devices, s, values, **others) for s in seeds]  # type: ignore[arg-type]

    made: dict[tuple[str, ...], list[Trial]] = {}
    for name, (preset, values) in ALGORITHMS.items():
        for devices in SETS.values():
            made["table", name, devices.name] = many(preset, devices, values)
    for concurrency in (13, 130, 520):
        for preset in ("sync", "fedbuff"):
            key = ("concurrency", str(concurrency), preset)
            made[key] = many(preset, SETS["fedbuff"], {}, concurrency=concurrency)
    for dispatch in ("pool", "direct"):
        for name, (preset, values) in FLAKY.items():
            set_values = {**values, "rounds.dispatch": dispatch}
            made["flaky", dispatch, name] = many(preset, SETS["flaky"], set_values)
    for name, values in RARE_RULES.items():
        made["rare", name] = many(
            "fedbuff",
            rare_devices(),
            {**values, "rounds.lease": "30m"},
            workers=300,
            concurrency=30,
            alpha=0.1,
            rare=RARE_KINDS,
            updates=4000,
            target=None,
        )
    return made


# what came of it

Results = Mapping[tuple[str, ...], list[Outcome]]


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that the documentation says, and what was measured."""

    text: str
    measured: float
    low: float
    high: float = float("inf")

    @property
    def holds(self) -> bool:
        """Whether the measurement is within the bounds."""
        return self.low <= self.measured <= self.high

    def row(self) -> str:
        """A row of a table."""
        bound = f"at least {self.low:g}" if self.high == float("inf") else ""
        bound = bound or f"{self.low:g} to {self.high:g}"
        return f"| {self.text} | {bound} | {self.measured:.3g} | {'yes' if self.holds else 'NO'} |"


def claims_of(results: Results) -> list[Claim]:
    """What must hold."""

    def ratio(concurrency: str) -> float:
        sync, fedbuff = (results["concurrency", concurrency, p] for p in ("sync", "fedbuff"))
        return _median_ratio(sync, fedbuff)

    def best(dispatch: str, preset: str) -> list[Outcome]:
        named = [name for name, (whose, _) in FLAKY.items() if whose == preset]
        return min((results["flaky", dispatch, name] for name in named), key=_time)

    fedbuff, ca2fl = results["rare", "FedBuff"], results["rare", "CA2FL"]
    return [
        Claim("sync / FedBuff, 130 tasks in flight", ratio("130"), 3.0),
        Claim("sync / FedBuff, 13 tasks in flight", ratio("13"), 0.7, 1.4),
        Claim(
            "sync / FedBuff on `flaky` from the pool, each with its best deadline and lease",
            _median_ratio(best("pool", "sync"), best("pool", "fedbuff")),
            2.0,
        ),
        Claim("CA2FL - FedBuff, accuracy", _gain(ca2fl, fedbuff, "accuracy"), 1e-9),
        Claim("CA2FL - FedBuff, recall of the rare kinds", _gain(ca2fl, fedbuff, "recall"), 1e-9),
    ]


def _time(outcomes: Iterable[Outcome]) -> float:
    """The median time to the target; never is later than any time."""
    return statistics.median(
        float("inf") if outcome.time_s is None else outcome.time_s for outcome in outcomes
    )


def _median_ratio(over: list[Outcome], under: list[Outcome]) -> float:
    return _time(over) / _time(under)


def _gain(of: list[Outcome], over: list[Outcome], what: str) -> float:
    pairs = zip(of, over, strict=True)
    return float(np.mean([getattr(a, what) - getattr(b, what) for a, b in pairs]))


def _shown(outcomes: list[Outcome]) -> str:
    seconds = _time(outcomes)
    if seconds == float("inf"):
        return "never"
    hours = seconds / 3600
    return f"{seconds / 60:.0f} min" if hours < 3 else f"{hours:.1f} h"


def page_of(results: Results, seeds: range, seconds: float) -> str:
    """The page, in Markdown."""
    names = list(SETS)
    table = [
        f"| {algorithm} | "
        + " | ".join(_shown(results["table", algorithm, name]) for name in names)
        + " |"
        for algorithm in ALGORITHMS
    ]
    concurrency = [
        f"| {tasks} | {_shown(results['concurrency', tasks, 'sync'])} | "
        f"{_shown(results['concurrency', tasks, 'fedbuff'])} | "
        f"{_staleness(results['concurrency', tasks, 'fedbuff'])} |"
        for tasks in ("13", "130", "520")
    ]
    flaky = [
        f"| {name} | {_shown(results['flaky', 'pool', name])} | "
        f"{_shown(results['flaky', 'direct', name])} |"
        for name in FLAKY
    ]
    rare = [
        f"| {name} | {statistics.mean(o.accuracy for o in results['rare', name]):.3f} | "
        f"{statistics.mean(o.recall for o in results['rare', name]):.3f} | "
        f"{statistics.mean(o.rare_share for o in results['rare', name]):.1%} |"
        for name in RARE_RULES
    ]
    return _PAGE.format(
        seeds=len(seeds),
        seconds=seconds,
        python=platform.python_version(),
        machine=platform.machine(),
        cores=os.cpu_count(),
        devices=" | ".join(f"`{name}`" for name in names),
        bars="|".join("---:" for _ in names),
        table="\n".join(table),
        concurrency="\n".join(concurrency),
        flaky="\n".join(flaky),
        rare="\n".join(rare),
        claims="\n".join(claim.row() for claim in claims_of(results)),
    )


def _staleness(outcomes: list[Outcome]) -> str:
    return f"{statistics.median(outcome.staleness for outcome in outcomes):.1f}"


_PAGE = """\
# Which algorithm for which devices

<!-- Written by `make experiments`; not by hand. -->

Fashion-MNIST shared out to 1,000 workers with skewed labels (Dirichlet 0.3), a perceptron of 25,450
numbers, one epoch of SGD a task, 130 tasks in flight; the round policies of the presets `sync`
(FedAvg with over-selection), `fedbuff` and `fedasync`, each with the changes its row names. The
round machine, the verdicts and the aggregation are the coordinator's own; devices are
[simulated](../how-to/plan-a-federation.md). Where nothing else is said, workers take tasks from the
pool, and the waits are those that `fedmq simulate` takes from the devices: a deadline of twice what
95 % of the answers take, and the same for the lease, or where late updates are weighed twice what
half of them take. A time is the median over {seeds} seeds; "never" is not within 8,000 updates.

Python {python} on {machine}, {cores} cores, {seconds:.0f} s.

## Virtual time to 80 % accuracy

| algorithm | {devices} |
|---|{bars}|
{table}

Learning rates were not tuned for each cell: the worker's is 0.05 everywhere, the server's is the
preset's. So compare within a column, and only large differences. On `ideal` devices all tasks in
flight end at one moment, and all but the first few updates of such a wave are stale. On `hostile`
devices there are 40 workers at a time or fewer, and no policy has 130 tasks in flight. The median
of each number is no mean: with labels as skewed as these it leaves out what few workers know.

## What asynchrony buys, by tasks in flight

Half-normal durations (`fedbuff` devices), as in the experiments of Nguyen et al. 2022.

| tasks in flight | `sync` | `fedbuff` | mean staleness |
|---:|---:|---:|---:|
{concurrency}

**With few tasks in flight asynchrony buys nothing**: a synchronous round of ten out of thirteen
waits little for its slowest, and its updates are all fresh. With many, a synchronous round puts a
hundred updates into one step where ten steps of ten would have learned more, and waits for the
hundredth.

## Flaky devices

Twenty minutes there, an hour away, 8 % of all tasks lost. In the pool only who is there takes a
task; in direct dispatch whoever is drawn is waited for, there or not.

| policy | pool | direct |
|---|---:|---:|
{flaky}

The lease is to an asynchronous run what the deadline is to a synchronous one: until it ends, a
lost task holds one of the tasks in flight. In direct dispatch short waits help both, since they let
go of whoever is away.

## Availability that goes with the labels

300 workers (Dirichlet 0.1); those with mostly pullovers, coats and shirts are there ten times more
rarely. After 4,000 updates, mean of the last {last} evaluations:

| rule | accuracy | recall of the three kinds | their owners' share of updates |
|---|---:|---:|---:|
{rare}

## What must hold

| | expected | measured | holds |
|---|---|---:|---|
{claims}
""".replace("{last}", str(LAST))


def run_all(wanted: Mapping[tuple[str, ...], list[Trial]], processes: int) -> Results:
    """Simulate all, several at a time."""
    flat = [(key, trial) for key, group in wanted.items() for trial in group]
    found: dict[tuple[str, ...], list[Outcome]] = {}
    with multiprocessing.Pool(processes) as pool:
        outcomes = pool.imap(tried, [trial for _, trial in flat])
        for (key, _), outcome in zip(flat, tqdm(outcomes, total=len(flat)), strict=False):
            found.setdefault(key, []).append(outcome)
    return found


def main() -> int:
    """Run the experiments; 1 if something does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--page", type=Path, default=PAGE, help=f"where to (default: {PAGE})")
    arguments = parser.parse_args()
    try:
        fashion.load(fashion.FOLDER)
    except LearnerSettingError as error:
        complain(str(error))
        return 2
    began, seeds = time.monotonic(), range(arguments.seeds)
    try:
        results = run_all(trials(seeds), os.cpu_count() or 1)
    except KeyboardInterrupt:
        complain("stopped; nothing is written")
        return 130
    page = page_of(results, seeds, time.monotonic() - began)
    arguments.page.write_text(page)
    claims = claims_of(results)
    print("\n".join(claim.row() for claim in claims))
    return int(not all(claim.holds for claim in claims))


if __name__ == "__main__":
    sys.exit(main())
