"""Measure what the codecs save and cost, on updates of a real training; `make codecs`.

Fashion-MNIST on 500 workers with skewed labels (Dirichlet 0.3), a small perceptron, one epoch a
task, synchronous rounds of 20. Size and error are means over the updates of a version halfway
through; the processor's time is that of one core for a million of their numbers; accuracy is the
mean of the last evaluations, over several seeds, each with the same workers for all codecs.

Writes the table of docs/explanation/codecs.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from learning import fashion
from learning.errors import LearnerSettingError
from schemas.codecs.payload import encode_update, numbers_of
from schemas.layout import Layout
from schemas.tensors import Floats, layout_of, update_floats
from settings import load
from settings.command import complain
from simulation.planning.crowd import Crowd
from simulation.planning.devices import SETS
from simulation.planning.encoding import EncodedTraining
from simulation.planning.experiment import Experiment, Limits, Setup
from simulation.planning.learners import LearnerTraining
from simulation.planning.training import Errand

PAGE = Path("docs/explanation/codecs.md")
BEGIN = "<!-- measured: by `make codecs`; not by hand -->\n"
END = "<!-- end of what is measured -->\n"
CODECS = (
    "fp32",
    "fp32+zstd",
    "fp16",
    "fp16+zstd",
    "bf16",
    "bf16+zstd",
    "int8",
    "int8+zstd",
    "int4",
    "int4+zstd",
    "int2",
    "topk:0.1+zstd",
    "topk:0.01+zstd",
)
SAME_NUMBERS = {"fp32+zstd": "fp32", "fp16+zstd": "fp16", "bf16+zstd": "bf16", "int8+zstd": "int8"}
"""Codecs that arrive as others do: their accuracy is that of those."""

WORKERS, GOAL, ROUNDS = 500, 20, 150
MEASURED_ON = 4000  # held-out images
LAST = 10  # evaluations whose mean is what a run came to
SAMPLE = 40  # updates that size and error are measured on
NUMBERS = 1_000_000  # that time is measured on
REPEATS = 7


@dataclass(frozen=True, slots=True)
class Cost:
    """What a codec does to real updates.

    Attributes:
        times_smaller: Than float32.
        error: Relative L2 error of one update.
        encode_ms, decode_ms: Of one core, for a MB of float32.
    """

    times_smaller: float
    error: float
    encode_ms: float
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Run:
    """A federation to simulate."""

    codec: str
    seed: int
    rounds: int = ROUNDS
    workers: int = WORKERS


def experiment_of(run: Run) -> Experiment:
    """The federation, before its first round."""
    config: dict[str, str | float] = {
        "folder": fashion.FOLDER,
        "alpha": 0.3,
        "partition_seed": run.seed,
        "held_out": MEASURED_ON,
    }
    values = {
        "rounds.preset": "sync",
        "rounds.goal": GOAL,
        "rounds.dispatch": "direct",
        "rounds.quorum": GOAL,
        "rounds.concurrency": GOAL,
        "run.rounds": run.rounds,
    }
    learner = LearnerTraining(fashion.learner(), run.workers, run.seed, config=config)
    training = EncodedTraining(learner, run.codec)
    crowd = Crowd(SETS["ideal"], run.workers, run.seed)
    setup = Setup.of("sync", load(None, {}, values))
    return Experiment(setup, crowd, training, run.seed, Limits(1e9, evaluate_every=2))


def accuracy_of(run: Run) -> float:
    """What a federation comes to."""
    report = experiment_of(run).run()
    last = [measured.metrics["accuracy"] for measured in report.curve[-LAST:]]
    return statistics.fmean(last)


def updates_halfway(rounds: int, count: int) -> tuple[list[bytes], Layout]:
    """What workers train of a version in the middle of a run."""
    run = Run("fp32", 0, rounds)
    experiment = experiment_of(run)
    experiment.run()
    fleet = experiment.fleet
    training = experiment_of(run).training
    layout = training.layout
    assert layout is not None
    errands = [Errand(worker, 0, fleet.models.version, 0) for worker in range(count)]
    return [bytes(training.train(each, fleet.models.newest).payload) for each in errands], layout


def cost_of(codec: str, updates: Sequence[bytes], layout: Layout, numbers: int = NUMBERS) -> Cost:
    """What a codec does to updates; its time is measured on so many numbers."""
    sizes, errors = [], []
    for number, update in enumerate(updates):
        sent = update_floats(update, layout)
        encoded, came = _through(codec, update, layout, f"{number:032x}")
        sizes.append(len(encoded))
        errors.append(float(np.linalg.norm(came - sent) / np.linalg.norm(sent)))
    many = np.concatenate([update_floats(update, layout) for update in updates])
    many = np.resize(many, numbers)
    large, payload, update_id = layout_of({"w": many}), many.tobytes(), "0" * 32
    encoded = b"".join(encode_update(payload, codec, large, update_id))
    coded = numbers_of(encoded, codec, large, update_id)
    per_mb = 1e3 / (len(payload) / 1e6)
    return Cost(
        times_smaller=len(updates[0]) * len(updates) / sum(sizes),
        error=statistics.fmean(errors),
        encode_ms=per_mb * _seconds(lambda: list(encode_update(payload, codec, large, update_id))),
        decode_ms=per_mb * _seconds(lambda: [None for _ in coded.blocks()]),
    )


def _through(codec: str, update: bytes, layout: Layout, update_id: str) -> tuple[bytes, Floats]:
    encoded = b"".join(encode_update(update, codec, layout, update_id))
    numbers = numbers_of(encoded, codec, layout, update_id)
    return encoded, numbers.read(0, numbers.size)


def _seconds(do: Callable[[], object]) -> float:
    """The processor's time that it takes, the median of several."""
    took = []
    for _ in range(REPEATS):
        began = time.process_time()
        do()
        took.append(time.process_time() - began)
    return statistics.median(took)


def table_of(costs: Mapping[str, Cost], accuracies: Mapping[str, Sequence[float]]) -> str:
    """The table, in Markdown."""
    head = (
        "| codec | times smaller | relative error | encode, ms/MB | decode, ms/MB | accuracy |\n"
        "|---|---:|---:|---:|---:|---:|\n"
    )
    return head + "".join(_row(codec, costs[codec], accuracies) for codec in costs)


def _row(codec: str, cost: Cost, accuracies: Mapping[str, Sequence[float]]) -> str:
    found = accuracies.get(SAME_NUMBERS.get(codec, codec), ())
    accuracy = f"{100 * statistics.fmean(found):.2f} %" if found else ""
    return (
        f"| `{codec}` | {cost.times_smaller:.2f} | {cost.error:.2g} | {cost.encode_ms:.2f} | "
        f"{cost.decode_ms:.2f} | {accuracy} |\n"
    )


def page_with(page: str, measured: str) -> str:
    """A page with what was measured in place of what was measured before.

    Raises:
        ValueError: There is no place for it.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected a page with {BEGIN.strip()} and {END.strip()}, came none")
    return before + BEGIN + measured + END + after


def measured_page(seeds: range, processes: int) -> str:
    """Measure all; what goes into the page."""
    updates, layout = updates_halfway(ROUNDS // 2, SAMPLE)
    costs = {codec: cost_of(codec, updates, layout) for codec in CODECS}
    runs = [Run(codec, seed) for codec in CODECS if codec not in SAME_NUMBERS for seed in seeds]
    accuracies: dict[str, list[float]] = {}
    with multiprocessing.Pool(processes) as pool:
        found = tqdm(pool.imap(accuracy_of, runs), total=len(runs))
        for run, accuracy in zip(runs, found, strict=True):
            accuracies.setdefault(run.codec, []).append(accuracy)
    deviation = statistics.stdev(accuracies["fp32"]) if len(seeds) > 1 else 0.0
    return (
        f"\n{table_of(costs, accuracies)}\n"
        f"Updates of {layout.num_floats:,} numbers after {ROUNDS // 2} of {ROUNDS} rounds of "
        f"{GOAL} among {WORKERS} workers; accuracy after all of them, mean over {len(seeds)} "
        f"seeds (from seed to seed it differs by {100 * deviation:.2f} points, for all codecs "
        f"alike). Python {platform.python_version()}, numpy {np.__version__}, "
        f"{platform.machine()}, one core.\n\n"
    )


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--page", type=Path, default=PAGE, help=f"where to (default: {PAGE})")
    arguments = parser.parse_args()
    try:
        fashion.load(fashion.FOLDER)
    except LearnerSettingError as error:
        complain(str(error))
        return 2
    page = arguments.page.read_text(encoding="utf-8")
    measured = measured_page(range(arguments.seeds), os.cpu_count() or 1)
    arguments.page.write_text(page_with(page, measured), encoding="utf-8")
    print(measured)
    return 0


if __name__ == "__main__":
    sys.exit(main())
