"""`make chaos`: break federations at random, and prove that nothing was lost or counted twice."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

from tests.chaos.evidence import table
from tests.chaos.play import play
from tests.chaos.stage import Act
from tests.support.rabbitmq_install import NoBrokerError, find_or_install_server
from tests.support.rabbitmq_node import RabbitmqNode

ACTS = (
    Act("late is weighed", workers=8, rounds_min=20, seconds=150.0, gap_s=0.9, goal=3),
    Act(
        "late is refused", workers=8, rounds_min=20, seconds=150.0, gap_s=0.9, goal=3, late="refuse"
    ),
    Act(
        "updates in parts",
        workers=8,
        rounds_min=15,
        seconds=120.0,
        gap_s=0.9,
        goal=3,
        learner="many",
    ),
)


def main() -> int:
    """Play all acts, one after another; 0 if nothing was wrong."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _leave)
    try:
        node = RabbitmqNode(find_or_install_server())
    except NoBrokerError as error:
        print(error, file=sys.stderr)
        return 2
    outcomes = []
    folder = Path(tempfile.mkdtemp(prefix="fedmq-chaos-"))
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    try:
        node.start()
        version = node.ctl("version").strip()
        for number, act in enumerate(ACTS):
            if arguments.act not in (None, number):
                continue
            act = replace(act, seconds=act.seconds * arguments.length)
            _say(f"act {number}, {act.name}; seed {seed}; everything on disk is in {folder}")
            place = folder / str(number)
            place.mkdir()
            outcomes.append(play(act, place, node, seed, _say))
            for line in outcomes[-1].wrong:
                _say(f"WRONG: {line}")
    finally:
        node.stop()
    text = table(outcomes, seed, version)
    print(text)
    if arguments.evidence:
        arguments.evidence.write_text(_PAGE.format(table=text), encoding="utf-8")
    if any(outcome.wrong for outcome in outcomes):
        _say(f"everything on disk is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


_PAGE = """\
# Evidence of the chaos tests

<!-- Written by `make chaos EVIDENCE=docs/explanation/evidence-chaos.md`; not by hand. -->

Federations of real processes on a private RabbitMQ, each process behind a network of its own, were
broken at random: processes killed (`kill -9`) and frozen, connections cut, reset, half-open and
slow, the broker killed and frozen, updates sent again long after their round. A fault counts only
if it was seen from outside to happen. Every training filled a slot of the model of its own, so the
model versions themselves show which updates were counted in each round, and with what weights
(`tests/chaos/oracle.py`).

{table}"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="what is drawn (default: any)")
    parser.add_argument("--act", type=int, help="play only this one, counted from 0")
    parser.add_argument(
        "--length", type=float, default=1.0, help="how long faults are drawn, times the usual"
    )
    parser.add_argument("--evidence", type=Path, metavar="FILE", help="also write the table here")
    return parser


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
