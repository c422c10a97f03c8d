"""Draws faults at random, several at once, but one at a time for each process.

Rules: what is drawn, and when, comes from one seeded generator (what comes of it depends on the
machine); a fault counts only if it was seen to happen (`tests.chaos.faults`); the run goes on as
long as faults are drawn, also in the mop-up, which forces what chance has left out.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from tests.broker.tcp_proxy import BOTH, Side, Slowness
from tests.chaos.faults import (
    CELLS,
    SENT_AGAIN,
    Cell,
    Tally,
    freeze_broker,
    freeze_process,
    freeze_training,
    half_open,
    is_training,
    kill_broker,
    kill_training,
    slow_down,
    trainer_of,
)
from tests.chaos.stage import Actor, Stage

Say = Callable[[str], None]
Deed = Callable[[], bool]

AT_ONCE_MAX = 12
MOP_UP_LIMIT_S = 150.0
STORM_S = 10.0
CALM_LIMIT_S = 240.0
_TELL_S = 10.0
_CARDS = {"broker": 1, "coordinator": 2, "agent": 2, "training": 3}  # of each fault, in a deck
_SIDES: tuple[tuple[Side, ...], ...] = (("client",), ("broker",), BOTH)


class ChaosError(AssertionError):
    """What fedmq must not do, or a fault that cannot be made to happen."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """A fault that is about to happen to something that is held."""

    cell: Cell
    held: threading.Lock
    deed: Deed


class Conductor:
    """Breaks a stage."""

    def __init__(self, stage: Stage, tally: Tally, rng: random.Random, say: Say) -> None:
        self._stage = stage
        self._tally = tally
        self._rng = rng
        self._say = say
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(AT_ONCE_MAX)
        self._running: set[Future[None]] = set()
        self._deck: list[Cell] = []
        self._told_at = 0.0
        self._began = time.monotonic()

    def play(self) -> None:
        """Storm and calm in turn, until the time is over and enough rounds are made.

        Raises:
            ChaosError: A process ended by itself, or a calm passes without a round.
        """
        act = self._stage.act
        end = time.monotonic() + act.seconds
        while time.monotonic() < end or self._stage.standing().version < act.rounds_min:
            self._storm(min(STORM_S, max(end - time.monotonic(), STORM_S / 2)))
            self._calm()

    def _storm(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self._deck:
                self._deck = [cell for cell in CELLS for _ in range(_CARDS.get(cell.actor, 0))]
                self._rng.shuffle(self._deck)
            self._break(self._deck.pop())
            self._over.wait(self._rng.expovariate(1 / self._stage.act.gap_s))
            self._look()

    def _calm(self) -> None:
        """Nothing new is broken until a round is made: on a slow machine as on a quick one."""
        before, limit = self._stage.standing().version, time.monotonic() + CALM_LIMIT_S
        while self._stage.standing().version == before:
            if time.monotonic() > limit:
                raise ChaosError(f"no round was made in a calm of {CALM_LIMIT_S:.0f} s")
            self._over.wait(0.1)
            self._look()

    def mop_up(self) -> None:
        """Force what has not happened yet.

        Raises:
            ChaosError: Something cannot be made to happen.
        """
        limit = time.monotonic() + MOP_UP_LIMIT_S
        while missing := [
            cell for cell, n in self._tally.counts().items() if not n and cell != SENT_AGAIN
        ]:
            if time.monotonic() > limit:
                raise ChaosError(f"never happened: {', '.join(map(' '.join, missing))}")
            self._break(self._rng.choice(missing))
            self._over.wait(0.2)
            self._look()

    def rest(self) -> None:
        """Wait until everything is mended."""
        while self._running:
            self._over.wait(0.1)
            self._look()

    def halt(self) -> None:
        """Begin to end, whatever goes on: nothing is started again from here on."""
        self._over.set()

    def close(self) -> None:
        """End it."""
        self.halt()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _look(self) -> None:
        done = {future for future in self._running if future.done()}
        self._running -= done
        for future in done:
            future.result()
        died = self._stage.died()
        if died:
            raise ChaosError(died)
        if time.monotonic() > self._told_at + _TELL_S:
            self._told_at = time.monotonic()
            now = self._stage.standing()
            self._say(
                f"{time.monotonic() - self._began:5.0f} s  version {now.version} ({now.state}), "
                f"{now.updates} updates, {now.copies} copies, {now.lapsed} replacements, "
                f"{self._tally.total()} faults"
            )

    def _break(self, cell: Cell) -> None:
        drawn = self._draw(cell)
        if drawn is not None:
            self._running.add(self._pool.submit(self._carry_out, drawn))

    def _carry_out(self, drawn: _Drawn) -> None:
        try:
            happened = drawn.deed()
        finally:
            drawn.held.release()
        if happened:
            self._tally.count(drawn.cell)

    def _draw(self, cell: Cell) -> _Drawn | None:
        """Who is broken and how; None if there is nobody free of that kind now."""
        match cell.actor:
            case "coordinator":
                return self._of_process(cell, [self._stage.coordinator])
            case "agent":
                return self._of_process(cell, self._stage.workers)
            case "training":
                return self._of_training(cell)
            case "broker":
                return self._of_broker(cell)
            case _:
                return None  # the onlooker's

    def _of_process(self, cell: Cell, actors: list[Actor]) -> _Drawn | None:
        actor = self._rng.choice(actors)
        if not actor.busy.acquire(blocking=False):
            return None
        return _Drawn(cell, actor.busy, self._deed(cell, actor))

    def _deed(self, cell: Cell, actor: Actor) -> Deed:
        rng, wait, heartbeat_s = self._rng, self._over.wait, self._stage.act.heartbeat_s
        match cell.fault:
            case "kill -9":
                away_s = rng.choice((0.0, rng.uniform(0, 3)))
                return lambda: _kill(actor, away_s, wait)
            case "freeze":
                short_s = rng.uniform(0.2, heartbeat_s)
                return lambda: freeze_process(actor.pid, short_s, wait)
            case "long freeze":
                long_s = rng.uniform(2.5, 4.0) * heartbeat_s + 1.0
                return lambda: freeze_process(actor.pid, long_s, wait)
            case "cut":
                return lambda: actor.proxy.cut() > 0
            case "reset":
                return lambda: actor.proxy.reset() > 0
            case "half-open":
                sides = rng.choice(_SIDES)
                return lambda: half_open(actor.proxy, *sides)
            case "slow":
                slowness = Slowness(rng.uniform(8e3, 64e3), rng.uniform(0.02, 0.3))
                slow_s = rng.uniform(2.0, 6.0)
                return lambda: slow_down(actor.proxy, slowness, slow_s, wait)
            case _:
                raise AssertionError(cell)

    def _of_training(self, cell: Cell) -> _Drawn | None:
        workers = self._stage.workers.copy()
        self._rng.shuffle(workers)
        seconds = self._rng.uniform(0.3, 3.0)
        for worker in workers:
            mark = self._stage.training_mark(worker)
            pid = trainer_of(mark)
            if not is_training(pid, mark) or not worker.busy.acquire(blocking=False):
                continue
            if cell.fault == "kill -9":
                return _Drawn(cell, worker.busy, partial(kill_training, pid, mark))
            deed = partial(freeze_training, pid, mark, seconds, self._over.wait)
            return _Drawn(cell, worker.busy, deed)
        return None

    def _of_broker(self, cell: Cell) -> _Drawn | None:
        node, lock = self._stage.node, self._stage.broker
        seconds = self._rng.uniform(0.0, 3.0)
        if not lock.acquire(blocking=False):
            return None
        if cell.fault == "kill -9":
            return _Drawn(cell, lock, lambda: kill_broker(node, seconds, self._over.wait))
        return _Drawn(cell, lock, lambda: freeze_broker(node, 0.5 + seconds, self._over.wait))


def _kill(actor: Actor, away_s: float, wait: Callable[[float], bool]) -> bool:
    killed = actor.kill()
    if not wait(away_s):
        actor.start()
    return killed
