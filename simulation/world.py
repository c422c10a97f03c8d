"""A federation in virtual time, its faults, and whether it holds what is promised.

    World(seed).run()      faults for a while, then all is healed, and it must come to rest

The same seed gives the same history.
"""

from __future__ import annotations

import contextlib
import logging
import random
from collections import Counter, deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names
from broker.transport import Outgoing
from settings import Settings, load
from simulation.clock import VirtualTime
from simulation.coordinator_process import CoordinatorProcess
from simulation.depot import SimulatedDepot
from simulation.faults import FAULTS, Scene, heal
from simulation.laws import Broken, Laws
from simulation.oracle import Oracle
from simulation.plan import Plan, name_of
from simulation.process import EPOCH_S, Process, Site
from simulation.reference import SETTINGS
from simulation.uploads import UploadWatch
from simulation.weather import Weather
from simulation.worker_process import WorkerProcess
from worker.config import WorkerConfig
from worker.options import Options
from worker.options import Plan as WorkerPlan

FEDERATION = "world"
STATE = Path("/state")
HISTORY_KEPT = 2000
STEPS_MAX = 200_000  # a world that takes more is busy with itself
HEALED_S = 6 * 3600.0  # after all is healed, it must have come to rest in this time
CHECK_HISTORY_EVERY = 200  # steps


class World:
    """One federation.

    Args:
        seed: All that is random follows from it.
        plan: What it is like; None: drawn from the seed.

    Attributes:
        history: The last things that happened, oldest first.
        faults: How often each kind of fault happened.
    """

    def __init__(self, seed: int, plan: Plan | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.plan = plan or Plan.draw(self.rng)
        self.time = VirtualTime()
        self.broker = MemoryBroker(lambda: self.time.now)
        self.oracle = Oracle(self.plan.slots, self.plan.codec)
        self.history: deque[str] = deque(maxlen=HISTORY_KEPT)
        self.faults: Counter[str] = Counter()
        self.steps = 0
        self._healed = False
        self._names = Names(FEDERATION)
        stranger = MemoryTransport(self.broker, lambda event: None, "a copier")
        stranger.start()
        depot, self._weather = None, None
        if self.plan.by_depot:
            depot = SimulatedDepot(lambda: EPOCH_S + self.time.now)
            rng = random.Random(f"depot {seed}")
            told = partial(self.tell, "depot")
            self._weather = Weather(depot, rng, self.time, told, self.count)
        site = Site(
            time=self.time,
            rng=self.rng,
            broker=self.broker,
            oracle=self.oracle,
            told=self.tell,
            count=self.count,
            after_step=self._look,
            on_publish=self._published,
            latency_s=self.plan.latency_s,
            training_s=self.plan.training_s,
            depot=depot,
        )
        self.coordinator = CoordinatorProcess(site, self._settings(), self.plan.segment_bytes)
        self.workers = [
            WorkerProcess(site, self._config(name_of(number), plan))
            for number, plan in enumerate(self.plan.workers)
        ]
        self.processes: list[Process] = [self.coordinator, *self.workers]
        self.laws = Laws(
            self.oracle,
            self.broker,
            self.coordinator.platter,
            {worker.name: worker.platter for worker in self.workers},
            STATE,
            self._names,
            self.plan.algorithm,
            self.plan.evaluators,
        )
        self.scene = Scene(
            names=self._names,
            rng=self.rng,
            time=self.time,
            broker=self.broker,
            stranger=stranger,
            coordinator=self.coordinator,
            workers=self.workers,
            told=self.tell,
            laws=self.laws,
        )

        self._uploads = UploadWatch(
            self.coordinator.platter,
            STATE / "spool" / "parts",
            self.broker,
            self.laws.has_verdict,
            self.count,
        )

    def _settings(self) -> Settings:
        fixed = {
            "federation.name": FEDERATION,
            "learner.path": "/oracle.py",
            "coordinator.state_dir": str(STATE),
            "run.evaluate": False,
        }
        chosen = {**self.plan.settings, **SETTINGS[self.plan.algorithm]}
        return load(None, {}, {**fixed, **chosen})

    def _config(self, name: str, plan: WorkerPlan) -> WorkerConfig:
        options = Options(
            name,
            plan,
            presence_s=30.0,
            part_bytes_min=64 * 1024,
            train_timeout_s=600.0,
            depot_min_bytes=64 * 1024,
        )
        return WorkerConfig(FEDERATION, STATE, "/oracle.py", options, seed=self.seed)

    # what happens

    def tell(self, who: str, what: str) -> None:
        """Add a line to the history."""
        self.history.append(f"{self.time.now:10.2f}  {who:<14} {what}")

    def count(self, kind: str) -> None:
        """Something of a kind went wrong."""
        self.faults[kind] += 1

    def run(self) -> None:
        """Faults, healing, rest.

        Raises:
            Broken: If a law does not hold; the history says how it came to that.
        """
        with _silence():
            self._run()

    def _run(self) -> None:
        for process in self.rng.sample(self.processes, len(self.processes)):
            self.time.call_in(self.rng.uniform(0.0, 20.0), process.begin)
        self._next_fault()
        self._go_on_until(self.plan.faults_s)
        self._healed = True
        self.tell("world", "is healed")
        heal(self.scene)
        if self._weather is not None:
            self._weather.clear()
        until = self.time.now + HEALED_S
        while not self._at_rest():
            if self.time.now >= until:
                raise Broken(f"not at rest {HEALED_S:.0f} s after all was healed: {self._why()}")
            self._go_on_until(self.time.now + 60.0)
            if not self.coordinator.running:
                self.coordinator.begin()  # what comes after the end is recorded too
        self.laws.check_history()

    def _go_on_until(self, until: float) -> None:
        while self.time.step(until):
            pass

    def _next_fault(self) -> None:
        delay_s = self.rng.expovariate(1 / self.plan.fault_every_s)
        self.time.call_in(delay_s, self._fault)

    def _fault(self) -> None:
        if self._healed:
            return
        process = self.scene.anyone()
        kind, fault = self.rng.choice(FAULTS)
        if fault(self.scene, process):
            self.count(kind)
        self._next_fault()

    def _look(self) -> None:
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Broken(f"{STEPS_MAX} steps, and no end")
        self.laws.check_safety()
        if self.plan.in_parts:
            self._uploads.look()
        if self.steps % CHECK_HISTORY_EVERY == 0:
            self.laws.check_history()

    def _at_rest(self) -> bool:
        return self._run_state() in ("draining", "ended") and not self.laws.open_updates

    def _run_state(self) -> str:
        service = self.coordinator.service
        return "down" if service is None else service.look().state

    def _why(self) -> str:
        return f"the run is {self._run_state()}, open updates: {dict(self.laws.open_updates)}"

    def _published(self, who: str, message: Outgoing) -> None:
        if message.exchange == self._names.update_exchange:
            self.scene.sent.append(message)
            if self.plan.in_parts:
                self._uploads.sent(message.message_id, message.whole())
            self.tell(who, f"publishes update {message.message_id[:8]}")
        elif message.exchange == self._names.control_exchange:
            self.tell(who, f"says {message.routing_key.split('.')[1]} {message.message_id[:8]}")
        elif message.exchange == self._names.task_exchange:
            self.tell(who, f"offers task {message.message_id[:8]}")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The services have much to complain of in a world; the history says it all."""
    loggers = [logging.getLogger(name) for name in ("coordinator", "worker")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
