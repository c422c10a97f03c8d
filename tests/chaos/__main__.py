"""`make chaos`: break federations at random, and prove that nothing was lost or counted twice."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

from tests.chaos.evidence import page, table
from tests.chaos.play import play
from tests.chaos.replay import Replayed, replay
from tests.chaos.stage import Act
from tests.support.rabbitmq_choice import node_here
from tests.support.rabbitmq_install import NoBrokerError
from tests.support.rabbitmq_node import RabbitmqNode

ACTS = (
    Act("late is weighed", 8, rounds_min=20, seconds=150.0, gap_s=0.7, goal=3),
    Act("late is refused", 8, rounds_min=20, seconds=150.0, gap_s=0.7, goal=3, late="refuse"),
    Act("in parts", 8, rounds_min=12, seconds=100.0, gap_s=0.7, goal=3, learner="many"),
)
STRIDE = 1


def main() -> int:
    """Play all acts, one after another; 0 if nothing was wrong."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _leave)
    try:
        private_node = node_here()
    except NoBrokerError as error:
        print(error, file=sys.stderr)
        return 2
    seed = random.SystemRandom().randrange(10**6) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="fedmq-chaos-"))
    _say(f"seed {seed}; everything on disk is in {folder}")
    outcomes = []
    with _running(private_node) as node:
        version = node.ctl("version").strip()
        _say("the same updates to a coordinator that is killed at its n-th step, n = 1, 2, 3 …")
        replayed = replay(folder / "replay", node, STRIDE)
        for number, act in enumerate(ACTS):
            if arguments.act in (None, number):
                _say(f"act {number}: {act.name}")
                place = folder / str(number)
                place.mkdir()
                longer = replace(act, seconds=act.seconds * arguments.length)
                outcomes.append(play(longer, place, node, seed, _say))
                for line in outcomes[-1].wrong:
                    _say(f"WRONG: {line}")
    text = table(outcomes, replayed, seed, version)
    print(text)
    if arguments.evidence:
        arguments.evidence.write_text(page(text), encoding="utf-8")
    if _is_wrong(replayed) or any(outcome.wrong for outcome in outcomes):
        _say(f"something was wrong; everything on disk is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _is_wrong(replayed: Replayed) -> bool:
    return replayed.disturbed != replayed.undisturbed


@contextmanager
def _running(node: RabbitmqNode) -> Iterator[RabbitmqNode]:
    try:
        node.start()
        yield node
    finally:
        node.stop()


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
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; every process is ended")
