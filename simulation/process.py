"""A process of a world: it has a machine, may end at any step, and is started again.

    down ──begin──▶ running ──(crash at a step, kill, power cut)──▶ down ──(after a while)──▶ begin
                     │   ▲
                     ╰───╯ frozen for a while

Rules of the file: a process is stepped some moment after something happened to it, never within;
what ends it is a `Crash`, which nothing in it catches, or the world, or it leaves as its plan says;
it is always started again.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from broker.memory import MemoryBroker
from broker.transport import Event, Outgoing, Post, Transport
from simulation.clock import VirtualTime
from simulation.depot import SimulatedDepot
from simulation.disk import SimulatedDisk
from simulation.mishaps import FAILS, FULL, Crash, Mishaps
from simulation.network import Link
from simulation.oracle import Oracle
from simulation.platter import Platter
from simulation.porter import VirtualPorter

AWAY_S = 30.0  # at most, until a process that ended is started again
ERRAND_S = 0.3  # the mean time of one request to the depot, or a few
STEP_S = 0.01  # the mean time from what happens to what a process does about it
EPOCH_S = 1_750_000_000.0  # the true time when a world begins, in UTC seconds

Told = Callable[[str, str], None]
"""Takes who and what, for the history."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the processes of a world share.

    Attributes:
        told: Takes the history.
        count: Takes kinds of what went wrong, beside the faults that come from outside.
        after_step: Called when a process has taken a step: the moment to look whether all holds.
        depot: Where large things may lie, None for nowhere.
        on_publish: Told of each message that reached the broker.
    """

    time: VirtualTime
    rng: random.Random
    broker: MemoryBroker
    oracle: Oracle
    told: Told
    count: Callable[[str], None]
    after_step: Callable[[], None]
    on_publish: Callable[[str, Outgoing], None]
    latency_s: float
    training_s: float
    depot: SimulatedDepot | None = None


class Service(Protocol):
    """What both services are to whoever steps them."""

    def drain(self) -> None:
        """Do what is to be done now."""
        ...

    def wake_at(self) -> float | None:
        """When to drain next though nothing came, None if that may be never."""
        ...


class Process:
    """A process on a machine of its own, over its lives.

    Attributes:
        platter: The machine's disk.
        mishaps: Of the present life.
        frozen: It is stopped, and does not know.
        full: Its disk is full, in this life and the next.
        rows_fit: What a database commits still fits.
        crash_in_start_at: The step at which its next life ends, None for none.
        stays_away_s: When it next ends at a step, it is away so long; None: a moment.
        stops_with: Errors that it may stop with by itself.
        power_fails: When it next ends at a step, its machine loses power with it.
    """

    stops_with: tuple[type[Exception], ...] = ()

    def __init__(self, name: str, site: Site) -> None:
        self.name = name
        self.site = site
        self.platter = Platter(lambda: EPOCH_S + site.time.now)
        self.mishaps = Mishaps()
        self.link: Link | None = None
        self.frozen = self.full = self.power_fails = False
        self.rows_fit = True
        self.crash_in_start_at: int | None = None
        self.stays_away_s: float | None = None
        self.lives = 0
        self._service: Service | None = None
        self._poked = False
        self._wake_asked: float | None = None

    @property
    def running(self) -> bool:
        """Whether it is alive, be it frozen."""
        return self._service is not None

    # to be written for each kind

    def _open(self, disk: SimulatedDisk) -> Service | None:
        """Start the service; None if it could not start."""
        raise NotImplementedError

    def _clock(self) -> float:
        """The service's time, which its `wake_at` is in."""
        raise NotImplementedError

    def _closed(self, power_cut: bool) -> None:
        """The life is over: what belongs to it ends."""

    def _is_over(self) -> bool:
        """Whether the service has ended by itself, in good order."""
        raise NotImplementedError

    def _stopped(self) -> None:
        """It stopped with one of `stops_with`, which its owner reads."""

    def _again_in(self) -> float | None:
        """Seconds until it is started again after it ended by itself, None if nobody does that."""
        return None

    # its life

    def begin(self) -> None:
        """Start it, if it is down."""
        if self.running:
            return
        self.lives += 1
        self.mishaps = Mishaps(self._tell, self.site.rng)
        self.mishaps.crash_at, self.crash_in_start_at = self.crash_in_start_at, None
        self.mishaps.full, self.mishaps.rows_fit = self.full, self.rows_fit
        self._wake_asked, self._poked = None, False
        self._tell("begins")
        try:
            self._service = self._open(SimulatedDisk(self.platter, self.mishaps))
        except Crash:
            self._crashed()
            return
        if self._service is None:
            self.end(power_cut=False, away_s=AWAY_S)
            return
        self.poke()

    def _crashed(self) -> None:
        power_cut, self.power_fails = self.power_fails, False
        away_s, self.stays_away_s = self.stays_away_s, None
        self.end(power_cut, self.site.rng.uniform(0.5, AWAY_S) if away_s is None else away_s)

    def end(self, power_cut: bool, away_s: float | None) -> None:
        """It ends; with the power cut its disk forgets what was not synced.

        Args:
            power_cut: Whether its machine loses power.
            away_s: Seconds until it is started again, None if nobody does.
        """
        self._tell("the power is cut" if power_cut else "ends")
        self.mishaps.ended = True
        if self.link is not None:
            self.link.silence()
        self.platter.end_process(self.mishaps)
        self._closed(power_cut)
        self._service, self.link, self.frozen = None, None, False
        if power_cut:
            self.platter.cut_power(self.site.rng)
        if away_s is not None:
            self.site.time.call_in(away_s, self.begin)

    def freeze(self, for_s: float) -> None:
        """It is stopped for a while; the broker loses it if that takes long."""
        if not self.running or self.frozen:
            return
        self.frozen = True
        life = self.lives
        if self.link is not None:
            self.link.hold()
        self.site.time.call_in(for_s, lambda: self._thaw(life))

    def _thaw(self, life: int) -> None:
        if self.frozen and life == self.lives:
            self.frozen = False
            if self.link is not None:
                self.link.release()
            self.poke()

    def fill_disk(self, full: bool, rows_fit: bool = True) -> None:
        """Its disk is full from here on, or has room again."""
        self.full = self.mishaps.full = full
        self.rows_fit = self.mishaps.rows_fit = rows_fit

    def poke(self) -> None:
        """Something happened to it: let it take a step, soon."""
        if self._poked or not self.running:
            return
        self._poked = True
        life = self.lives
        self.site.time.call_in(self.site.rng.expovariate(1 / STEP_S), lambda: self._step(life))

    def _step(self, life: int) -> None:
        if life != self.lives:
            return
        self._poked = False
        service = self._service
        if service is None or self.frozen:
            return
        try:
            service.drain()
        except Crash:
            self._crashed()
        except self.stops_with as error:
            self._tell(f"stops: {error}")
            self._stopped()
            self.end(power_cut=False, away_s=self.site.rng.uniform(0.5, AWAY_S))
        else:
            if self._is_over():
                self.end(power_cut=False, away_s=self._again_in())
            else:
                self._wake_later(service)
        self.site.after_step()

    def _wake_later(self, service: Service) -> None:
        wake_at = service.wake_at()
        if wake_at is None or wake_at == self._wake_asked:
            return
        self._wake_asked = wake_at
        life = self.lives
        self.site.time.call_in(wake_at - self._clock(), lambda: self._wake(life, wake_at))

    def _wake(self, life: int, wake_at: float) -> None:
        if life == self.lives and wake_at == self._wake_asked:
            self._wake_asked = None
            self.poke()

    # what belongs to each life

    def _connect(self, post: Post) -> Transport:
        def arrive(event: Event) -> None:
            post(event)
            self.poke()

        site = self.site
        self.link = Link(
            site.broker,
            arrive,
            site.time,
            site.rng,
            self.mishaps,
            site.latency_s,
            self.name,
            lambda message: site.on_publish(self.name, message),
        )
        return self.link

    def _porter(self, name: str) -> VirtualPorter:
        """Who goes to the depot in this life."""
        assert self.site.depot is not None, "who has none needs nobody to go there"
        return VirtualPorter(
            self.site.time,
            self.site.rng,
            self.mishaps,
            lambda: self.frozen,
            self.poke,
            ERRAND_S,
            self.site.depot.take_delay,
        )

    def _tell(self, what: str) -> None:
        self.site.told(self.name, what)


def is_the_disks(error: Exception) -> bool:
    """Whether a start failed for what the disk did, and not for what is on it."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno in (FULL, FAILS)
    return isinstance(cause, SQLAlchemyError | sqlite3.OperationalError)
