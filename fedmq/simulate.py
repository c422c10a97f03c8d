"""`fedmq simulate`: what a round policy would do with devices like these, in virtual time."""

from __future__ import annotations

import argparse
import json
import os
import re
from pathlib import Path

from fedmq.simulate_request import PATIENCE, SWEPT, UNTIL, Request, request_of
from fedmq.simulate_view import Watch, page_of, table_of
from learning.loading import load_learner
from settings import Settings, SettingsError
from settings.command import EXIT_INTERRUPTED, complain, say_result
from settings.presets import PRESETS
from simulation.planning.crowd import Crowd
from simulation.planning.devices import SETS
from simulation.planning.draws import Ints
from simulation.planning.encoding import EncodedTraining
from simulation.planning.errors import CannotPlan
from simulation.planning.experiment import Experiment, Setup, waits_for
from simulation.planning.learners import LearnerTraining
from simulation.planning.report import Report
from simulation.planning.summary import summary_of
from simulation.planning.training import Synthetic, Training
from simulation.planning.variations import Variation

DESCRIPTION = (
    "Simulate a federation of many devices under one or more round policies, in virtual time, to "
    "plan it: how long to a target accuracy, how stale updates are, whom it serves. The round "
    "machine, the verdicts and the aggregation are the coordinator's own; devices are only "
    "numbers, and updates are trained by the learner in this process or, without one, cost "
    "nothing. The same seed gives the same history. Several values with commas between them, such "
    "as --goal 5,10,20, are tried one after the other, with each policy. (`make simulate` is "
    "something else: it breaks the services at random, to see that nothing is lost.)"
)
DEVICES, WORKERS, MODEL_SIZE = "phones", 1000, "1MiB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fedmq simulate`."""
    # A value such as -1h is no option: it is refused by its own name, not with the whole usage.
    parser._negative_number_matcher = re.compile(r"-\d")
    parser.add_argument(
        "--config",
        type=Path,
        help="the federation.toml whose policy, learner and algorithm are meant (default: none)",
    )
    parser.add_argument(
        "--devices",
        default=DEVICES,
        metavar="NAME",
        help=f"what the devices are like: {', '.join(SETS)} (default: {DEVICES})",
    )
    parser.add_argument(
        "--workers", default=str(WORKERS), metavar="N", help=f"how many (default: {WORKERS})"
    )
    parser.add_argument(
        "--task-time",
        metavar="TIME",
        help="how long a task takes on a middling device, such as 5m (default: of the devices)",
    )
    parser.add_argument(
        "--compare",
        default="",
        metavar="POLICY,...",
        help=f"presets to compare, beside --config if it is given: {', '.join(PRESETS)} "
        "(default: fedbuff without --config)",
    )
    for option, (_, meaning) in SWEPT.items():
        parser.add_argument(
            f"--{option}", default="", metavar="VALUE,...", help=f"{meaning}; several are tried"
        )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SETTING=VALUE,...",
        help="any other setting, such as algorithm.rule=mean,ca2fl; may be given again",
    )
    parser.add_argument(
        "--learner", metavar="SPEC", help="trains the updates (default: learner.path of --config)"
    )
    parser.add_argument(
        "--data",
        metavar="TEMPLATE",
        help='each worker\'s data setting (default: "{worker}/{workers}", as in 3/12)',
    )
    parser.add_argument(
        "--synthetic", action="store_true", help="train nothing: who answers when is enough"
    )
    parser.add_argument(
        "--model-size",
        default=MODEL_SIZE,
        metavar="SIZE",
        help=f"of the model on the wire, where nothing is trained (default: {MODEL_SIZE})",
    )
    parser.add_argument(
        "--target", metavar="ACCURACY", help="stop when this accuracy is reached, such as 0.8"
    )
    parser.add_argument(
        "--until",
        metavar="TIME",
        help=f"of virtual time (default: {UNTIL}, or before it run.rounds of --config)",
    )
    parser.add_argument("--seed", metavar="N", help="default: run.seed of the settings, else 0")
    parser.add_argument(
        "--seeds", default="1", metavar="N", help="how many seeds are tried, from --seed on"
    )
    parser.add_argument("--json", action="store_true", help="print one object, a key per policy")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the plots, side by side")


def run(arguments: argparse.Namespace) -> int:
    """Simulate each policy with each seed, and tell."""
    request = request_of(arguments, os.environ)
    if arguments.svg:
        check_page(arguments.svg)
    reports: dict[str, list[Report]] = {variation.label: [] for variation in request.variations}
    interrupted = False
    for remark in request.remarks:
        complain(remark)
    with Watch(len(reports) * len(request.seeds)) as watch:
        try:
            for variation in request.variations:
                for seed in request.seeds:
                    reports[variation.label].append(simulate(request, variation, seed, watch))
        except KeyboardInterrupt:
            interrupted = True
    summaries = {label: summary_of(of_label) for label, of_label in reports.items() if of_label}
    if interrupted:
        complain("interrupted; what was simulated up to then follows" if summaries else "stopped")
    if arguments.json:
        say_result(json.dumps({label: found.as_json() for label, found in summaries.items()}))
    elif summaries:
        say_result(table_of(summaries))
    if arguments.svg and summaries:
        write_page(arguments.svg, page_of(summaries))
    return EXIT_INTERRUPTED if interrupted else 0


def simulate(request: Request, variation: Variation, seed: int, watch: Watch) -> Report:
    """Simulate one policy with one seed."""
    settings = request.settings(variation, {})
    training, transfer_bytes, examples = _training(request, settings, seed)
    crowd = Crowd(request.devices, request.workers, seed, transfer_bytes, examples)
    if len(request.patience_is_set) < len(PATIENCE):
        waits = waits_for(crowd, settings.rounds.late, settings.rounds.dispatch)
        unset = {name: wait for name, wait in waits.items() if name not in request.patience_is_set}
        settings = request.settings(variation, unset)
    setup = Setup.of(variation.label, settings)
    experiment = Experiment(setup, crowd, training, seed, request.limits, watch.look)
    watch.begin(variation.label, seed, request.limits)
    return watch.end(experiment.run())


def _training(request: Request, settings: Settings, seed: int) -> tuple[Training, int, Ints | None]:
    """What is trained, the bytes that a task moves, and how many examples workers have."""
    if request.synthetic or not settings.learner.path:
        return Synthetic(), 2 * request.model_bytes, None
    learner = LearnerTraining(
        load_learner(settings.learner.path, neighbours=True),
        request.workers,
        seed,
        request.data,
        settings.learner.config,
        settings.learner.data,
    )
    if request.limits.target is not None:
        _check_target(learner)
    training = EncodedTraining(learner, settings.wire.codec, settings.wire.model_codec)
    return training, training.moved_bytes(), learner.examples()


def _check_target(learner: LearnerTraining) -> None:
    """Before anything is simulated: whether a target can be reached at all.

    Raises:
        CannotPlan: The learner measures no accuracy.
    """
    if not learner.evaluates:
        raise CannotPlan("--target: expected a learner with `evaluate`, or no target")
    metrics = learner.evaluate(0, learner.initial())
    if "accuracy" not in metrics:
        found = ", ".join(sorted(metrics)) or "nothing"
        raise CannotPlan(
            f'--target: expected a learner whose `evaluate` gives "accuracy", or no target; '
            f"it gives {found}"
        )


def check_page(path: Path) -> None:
    """Before anything takes its time: whether the plots can be written, leaving all as it is.

    Raises:
        SettingsError: They cannot.
    """
    was_there = path.exists()
    try:
        path.open("ab").close()
        if not was_there:
            path.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def write_page(path: Path, page: str) -> None:
    """Write the plots.

    Raises:
        SettingsError: If the file cannot be written.
    """
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> SettingsError:
    reason = error.strerror or type(error).__name__
    return SettingsError("--svg", "a file that can be written", f"{path}: {reason}")
