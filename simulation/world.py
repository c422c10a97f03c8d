"""A federation in virtual time, its faults, and whether it holds what is promised.

    World(seed).run()      faults for a while, then all is healed, and it must come to rest

The same seed gives the same history.
"""

from __future__ import annotations

import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names
from broker.transport import Outgoing
from settings import Settings, load
from simulation.clock import VirtualTime
from simulation.laws import Broken, Laws
from simulation.oracle import Oracle
from simulation.processes import AWAY_S, CoordinatorProcess, Process, Site, WorkerProcess
from worker.config import WorkerConfig
from worker.options import Options

FEDERATION = "world"
STATE = Path("/state")
HISTORY_KEPT = 2000
STEPS_MAX = 200_000  # a world that takes more is busy with itself
LONG_S = 3600.0  # how long a worker may be away
HEALED_S = 6 * 3600.0  # after all is healed, it must have come to rest in this time
CHECK_HISTORY_EVERY = 200  # steps


@dataclass(frozen=True, slots=True)
class Plan:
    """What a world is like.

    Attributes:
        faults_s: How long faults happen, in seconds.
        fault_every_s: The mean time between two.
    """

    workers: int
    settings: dict[str, object]
    slots: int
    latency_s: float
    training_s: float
    faults_s: float
    fault_every_s: float

    @classmethod
    def draw(cls, rng: random.Random) -> Plan:
        """A small federation of any kind."""
        workers = rng.randint(2, 4)
        goal = rng.randint(1, min(workers, 3))
        in_parts = rng.random() < 0.2
        rounds = 3 if in_parts else rng.randint(3, 5)
        settings: dict[str, object] = {
            "run.rounds": rounds,
            "rounds.goal": goal,
            "rounds.quorum": rng.randint(1, goal),
            "rounds.concurrency": goal + rng.randint(0, 2),
            "rounds.deadline": f"{rng.randint(30, 120)}s",
            "rounds.lease": f"{rng.randint(20, 90)}s",
            "rounds.late": rng.choice(("weigh", "refuse")),
            "rounds.max_staleness": rng.randint(0, 5),
            "rounds.max_extensions": rng.randint(0, 2),
            "rounds.drain": "120s",
            "rounds.part_bytes": "64KiB",
            "coordinator.spool_keep_rounds": rng.randint(0, 2),
        }
        return cls(
            workers=workers,
            settings=settings,
            slots=40_000 if in_parts else 256,
            latency_s=rng.choice((0.005, 0.05, 1.0)),
            training_s=rng.choice((2.0, 10.0, 40.0)),
            faults_s=rng.uniform(120.0, 600.0),
            fault_every_s=rng.choice((4.0, 10.0, 20.0)),
        )


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
        self.oracle = Oracle(self.plan.slots)
        self.history: deque[str] = deque(maxlen=HISTORY_KEPT)
        self.faults: Counter[str] = Counter()
        self.steps = 0
        self._healed = False
        self._sent: deque[Outgoing] = deque(maxlen=16)
        self._stranger = MemoryTransport(self.broker, lambda event: None, "a copier")
        self._stranger.start()
        site = Site(
            time=self.time,
            rng=self.rng,
            broker=self.broker,
            oracle=self.oracle,
            told=self.tell,
            after_step=self._look,
            on_publish=self._published,
            latency_s=self.plan.latency_s,
            training_s=self.plan.training_s,
        )
        self.coordinator = CoordinatorProcess(site, self._settings())
        self.workers = [
            WorkerProcess(site, self._config(f"w{number}")) for number in range(self.plan.workers)
        ]
        self.processes: list[Process] = [self.coordinator, *self.workers]
        self.laws = Laws(
            self.oracle,
            self.broker,
            self.coordinator.platter,
            {worker.name: worker.platter for worker in self.workers},
            STATE,
        )

    def _settings(self) -> Settings:
        fixed = {
            "federation.name": FEDERATION,
            "learner.path": "/oracle.py",
            "coordinator.state_dir": str(STATE),
            "run.evaluate": False,
        }
        return load(None, {}, {**fixed, **self.plan.settings})

    def _config(self, name: str) -> WorkerConfig:
        options = Options(name, presence_s=30.0, part_bytes_min=64 * 1024, train_timeout_s=600.0)
        return WorkerConfig(FEDERATION, STATE, "/oracle.py", options, seed=self.seed)

    # what happens

    def tell(self, who: str, what: str) -> None:
        """Add a line to the history."""
        self.history.append(f"{self.time.now:10.2f}  {who:<14} {what}")

    def run(self) -> None:
        """Faults, healing, rest.

        Raises:
            Broken: If a law does not hold; the history says how it came to that.
        """
        logging.getLogger("coordinator").setLevel(logging.CRITICAL)
        logging.getLogger("worker").setLevel(logging.CRITICAL)
        for process in self.rng.sample(self.processes, len(self.processes)):
            self.time.call_in(self.rng.uniform(0.0, 20.0), process.begin)
        self._next_fault()
        self._go_on_until(self.plan.faults_s)
        self._heal()
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

    def _look(self) -> None:
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Broken(f"{STEPS_MAX} steps, and no end")
        self.laws.check_safety()
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
        names = Names(FEDERATION)
        if message.exchange == names.update_exchange:
            self._sent.append(message)
            self.tell(who, f"publishes update {message.message_id[:8]}")
        elif message.exchange == names.control_exchange:
            self.tell(who, f"says {message.routing_key.split('.')[1]} {message.message_id[:8]}")
        elif message.exchange == names.task_exchange:
            self.tell(who, f"offers task {message.message_id[:8]}")

    # what goes wrong

    def _next_fault(self) -> None:
        delay_s = self.rng.expovariate(1 / self.plan.fault_every_s)
        self.time.call_in(delay_s, self._fault)

    def _fault(self) -> None:
        if self._healed:
            return
        kinds = list(self._kinds())
        name, fault = self.rng.choice(kinds)
        if fault():
            self.faults[name] += 1
        self._next_fault()

    def _kinds(self) -> list[tuple[str, Callable[[], bool]]]:
        anyone = self.rng.choice([self.coordinator, self.rng.choice(self.workers)])
        return [
            ("kill", partial(self._end, anyone, False)),
            ("power cut", partial(self._end, anyone, True)),
            ("crash at a step", partial(self._crash_soon, anyone)),
            ("crash at a step", partial(self._crash_soon, anyone)),
            ("training killed", self._kill_training),
            ("crash at a step of a training", self._crash_training),
            ("freeze", partial(self._freeze, anyone)),
            ("cut", partial(self._cut, anyone)),
            ("half-open", partial(self._half_open, anyone)),
            ("broker down", self._broker_down),
            ("confirms held", self._hold_confirms),
            ("queues full", self._fill_queues),
            ("disk full", partial(self._fill_disk, anyone)),
            ("sync fails", partial(self._fail_sync, anyone)),
            ("duplicate", self._send_again),
            ("clock jump", self._jump_clock),
            ("model stream lost", self._lose_stream),
        ]

    def _end(self, process: Process, power_cut: bool) -> bool:
        if not process.running:
            return False
        if self.rng.random() < 0.3:
            process.crash_in_start_at = self.rng.randint(0, 40)
        long = process is not self.coordinator and self.rng.random() < 0.1
        process.end(power_cut, self.rng.uniform(0.5, LONG_S if long else AWAY_S))
        return True

    def _crash_soon(self, process: Process) -> bool:
        if not process.running:
            return False
        process.mishaps.crash_at = process.mishaps.steps + self.rng.randint(0, 30)
        process.power_fails = self.rng.random() < 0.5
        return True

    def _kill_training(self) -> bool:
        trainers = [w.trainer for w in self.workers if w.running and w.trainer is not None]
        busy = [trainer for trainer in trainers if trainer.busy]
        if busy:
            self.rng.choice(busy).die()
        return bool(busy)

    def _crash_training(self) -> bool:
        trainers = [w.trainer for w in self.workers if w.running and w.trainer is not None]
        busy = [trainer for trainer in trainers if trainer.busy]
        if busy:
            mishaps = self.rng.choice(busy).mishaps
            mishaps.crash_at = mishaps.steps + self.rng.randint(0, 12)
        return bool(busy)

    def _freeze(self, process: Process) -> bool:
        if not process.running or process.frozen:
            return False
        for_s = self.rng.choice((1.0, 10.0, 60.0))
        self.tell(process.name, f"freezes for {for_s:.0f} s")
        process.freeze(for_s)
        return True

    def _cut(self, process: Process) -> bool:
        if process.link is None or not process.link.connected:
            return False
        self.tell(process.name, "its connection is cut")
        process.link.cut()
        return True

    def _half_open(self, process: Process) -> bool:
        if process.link is None or not process.link.connected:
            return False
        self.tell(process.name, "its connection is half-open")
        process.link.go_half_open()
        return True

    def _broker_down(self) -> bool:
        self.tell("broker", "goes down")
        self.broker.down()
        self.time.call_in(self.rng.uniform(0.5, 40.0), self._broker_up)
        return True

    def _broker_up(self) -> None:
        self.tell("broker", "is up")
        self.broker.up()
        self._stranger.start()

    def _hold_confirms(self) -> bool:
        self.tell("broker", "confirms nothing")
        self.broker.hold_confirms()
        self.time.call_in(self.rng.uniform(1.0, 20.0), self.broker.release_confirms)
        return True

    def _fill_queues(self) -> bool:
        self.tell("broker", "its queues are full")
        self.broker.refuse(True)
        self.time.call_in(self.rng.uniform(1.0, 60.0), partial(self.broker.refuse, False))
        return True

    def _fill_disk(self, process: Process) -> bool:
        rows_fit = self.rng.random() < 0.5
        self.tell(process.name, f"its disk is full{', but for rows' if rows_fit else ''}")
        process.fill_disk(True, rows_fit)
        for_s = self.rng.choice((10.0, 60.0, 600.0))
        self.time.call_in(for_s, partial(process.fill_disk, False))
        return True

    def _fail_sync(self, process: Process) -> bool:
        if not process.running:
            return False
        process.mishaps.syncs_to_fail += self.rng.randint(1, 2)
        return True

    def _send_again(self) -> bool:
        if not self._sent:
            return False
        message = self.rng.choice(self._sent)
        delay_s = self.rng.choice((0.0, 5.0, 300.0))
        self.tell("broker", f"has a copy of update {message.message_id[:8]} in {delay_s:.0f} s")
        self.time.call_in(delay_s, lambda: self._copy(message))
        return True

    def _copy(self, message: Outgoing) -> None:
        self._stranger.publish(message)

    def _jump_clock(self) -> bool:
        """The next start of the coordinator finds another time."""
        self.coordinator.clock_error_s = self.rng.choice((0.0, 3600.0, 10 * 86400.0, -86400.0))
        self.tell("coordinator", f"its clock will be {self.coordinator.clock_error_s:.0f} s off")
        return True

    def _lose_stream(self) -> bool:
        service = self.coordinator.service
        if service is None:
            return False
        self.tell("broker", "loses the models")
        self._stranger.delete(Names(FEDERATION).model_queue(service.run_id, 0))
        return True

    # and is healed

    def _heal(self) -> None:
        self._healed = True
        self.tell("world", "is healed")
        self._broker_up()
        self.broker.release_confirms()
        self.broker.refuse(False)
        for process in self.processes:
            process.fill_disk(False)
            process.mishaps.syncs_to_fail = 0
            process.mishaps.crash_at = None
            process.crash_in_start_at = None
            process.begin()
