"""An act from beginning to end: break a federation, let it come to rest, and judge what is left."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.chaos.conductor import ChaosError, Conductor, Say
from tests.chaos.evidence import Outcome
from tests.chaos.faults import SENT_AGAIN, Tally, until
from tests.chaos.onlooker import Onlooker
from tests.chaos.oracle import Verdict, judge
from tests.chaos.reading import Standing, read_ledger
from tests.chaos.stage import Act, Stage
from tests.support.rabbitmq_node import RabbitmqNode

BEGIN_LIMIT_S = 120.0
END_LIMIT_S = 240.0
COPIES_AT_THE_END = 12
ROUNDS_AT_THE_END = 2
ENDS_MAX = 10


def play(act: Act, folder: Path, node: RabbitmqNode, seed: int, say: Say) -> Outcome:
    """Break a federation and say what came of it.

    Args:
        act: What is broken.
        folder: An empty one, for everything on disk.
        node: The broker; it is killed and frozen too.
        seed: Of what is drawn.
        say: Takes lines of progress.

    Raises:
        ChaosError: It did not come to rest, or a fault could not be made to happen.
    """
    began, tally = time.monotonic(), Tally()
    stage = Stage(folder, node, act)
    rng = random.Random(f"{seed} {act.name}")
    onlooker = Onlooker(
        node.url(stage.vhost), stage.name, random.Random(rng.random()), 3 * act.gap_s
    )
    conductor = Conductor(stage, tally, rng, say)
    try:
        _wait(stage, lambda now: now.version >= 0, BEGIN_LIMIT_S, "version 0")
        node.settle()  # from here on the broker is killed without
        conductor.play()
        say("forcing what has not happened yet")
        conductor.mop_up()
        conductor.rest()
        say("no more faults; waiting for the end")
        _end(stage, onlooker)
        outcome = _outcome(stage, onlooker, tally)
    except Exception:
        say(stage.logs())
        raise
    finally:
        conductor.halt()
        stage.close()
        conductor.close()
        stage.close()  # what was being started again meanwhile
        onlooker.close()
    return replace(outcome, seconds=time.monotonic() - began)


def _end(stage: Stage, onlooker: Onlooker) -> None:
    rounds = max(stage.standing().version + ROUNDS_AT_THE_END, stage.act.rounds_min)
    stage.end_after(rounds)
    _wait(stage, lambda now: now.state in ("draining", "ended"), END_LIMIT_S, "the run to end")
    onlooker.repeat(COPIES_AT_THE_END)  # the rounds of most of these have closed long ago
    _settle(stage, lambda: onlooker.wanted == 0, "copies to be sent again")
    _settle(stage, lambda: not stage.unsettled(), "every outbox to be empty", stage.unsettled)
    if not onlooker.lives:
        raise ChaosError("the onlooker has ended by itself")
    onlooker.close()  # or it would send copies that nobody takes any more

    def missing() -> str:
        return "; ".join(_missing_copies(onlooker, read_ledger(stage.state)[0]))

    _settle(stage, lambda: not missing(), "every confirmed copy to be in the ledger", missing)
    for worker in stage.workers:
        code = worker.stop()
        if code != 0:
            raise ChaosError(f"{worker.name} ended with code {code} when it was asked to end")
    _empty(stage)


def _empty(stage: Stage) -> None:
    """Let the coordinator take what is left in the queue, and end it.

    Only when it has ended is everything that it has not acked counted as waiting.
    """
    for _ in range(ENDS_MAX):
        _settle(stage, lambda: stage.waiting_updates() == 0, "the updates queue to be empty")
        stage.coordinator.stop()
        if stage.waiting_updates() == 0:
            return
        stage.coordinator.start()
    raise ChaosError("the updates queue does not become empty")


def _wait(stage: Stage, what: Callable[[Standing], bool], limit_s: float, words: str) -> None:
    def there() -> bool:
        died = stage.died()
        if died and stage.standing().state != "ended":
            raise ChaosError(died)
        return what(stage.standing())

    if not until(there, limit_s):
        raise ChaosError(f"waited {limit_s:.0f} s for {words}; it is {stage.standing()}")


def _settle(
    stage: Stage, there: Callable[[], bool], words: str, why: Callable[[], str] = str
) -> None:
    """Wait for something after the end; the coordinator, when its time is over, records more."""

    def so() -> bool:
        if stage.coordinator.process.poll() == 0:
            stage.coordinator.start()
        died = stage.died()
        if died and not died.startswith("coordinator has ended by itself with code 0"):
            raise ChaosError(died)
        return there()

    if not until(so, END_LIMIT_S):
        raise ChaosError(f"waited {END_LIMIT_S:.0f} s for {words}: {why()}")


def _missing_copies(onlooker: Onlooker, ledger: Sequence[Verdict]) -> list[str]:
    """Copies that the broker confirmed and the coordinator did not see: lost by one of the two."""
    copies = {row.update_id: row.copies for row in ledger}
    return [
        f"{update_id}: {count} copies were confirmed, {copies.get(update_id)} came"
        for update_id, count in onlooker.again().items()
        if copies.get(update_id, 0) < count - 1  # one of them may have come first
    ]


def _outcome(stage: Stage, onlooker: Onlooker, tally: Tally) -> Outcome:
    records = stage.records(onlooker.seen())
    copies = {row.update_id: row.copies for row in records.ledger}
    sent = onlooker.again()
    known = sum(min(count, copies.get(update_id, 0)) for update_id, count in sent.items())
    tally.count(SENT_AGAIN, known)
    wrong = judge(records)
    wrong += _missing_copies(onlooker, records.ledger)
    wrong += stage.errors()
    wrong += [f"never happened: {' '.join(cell)}" for cell, n in tally.counts().items() if not n]
    return Outcome(
        name=stage.act.name,
        settings=f'late = "{stage.act.late}"',
        workers=stage.act.workers,
        rounds=len(records.models) - 1,
        trainings=len(records.trainings),
        finished=len(records.marks),
        verdicts=Counter(row.verdict for row in records.ledger),
        copies=sum(copies.values()),
        replacements=stage.standing().lapsed,
        again=sum(sent.values()),
        parts_again=onlooker.parts_again,
        faults=tally.counts(),
        seconds=0.0,
        wrong=wrong,
    )
