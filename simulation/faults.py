"""What goes wrong in a world from outside: each kind of fault, and how it is done.

A fault gets the scene and a process that it may befall; it says whether it could happen.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from broker.memory import MemoryBroker, MemoryTransport
from broker.topology import Names
from broker.transport import Outgoing
from simulation.clock import VirtualTime
from simulation.coordinator_process import FOUND_OUT, RESTORED, CoordinatorProcess
from simulation.laws import Laws
from simulation.process import AWAY_S, Process, Told
from simulation.training import VirtualTrainer
from simulation.uploads import FORGOTTEN, NOT_TAKEN
from simulation.weather import DEPOT_KINDS
from simulation.worker_process import LEFT, WorkerProcess

LONG_S = 3600.0  # how long a worker may be away
RESTORES = 0.25  # how often a backup that may be made is
LOST_S = (10.0, 100.0)  # after which a backup is put back, if enough has happened
UNSENT_S = 600.0  # how long who was sending may be away
COPIED_LAST = 16  # updates that a copy may be made of


@dataclass(frozen=True, slots=True)
class Scene:
    """What faults befall.

    Attributes:
        stranger: Another connection to the broker, which is always fine.
        laws: Know the finished updates, and are told which of them rot.
        sent: The updates that were published last.
    """

    names: Names
    rng: random.Random
    time: VirtualTime
    broker: MemoryBroker
    stranger: MemoryTransport
    coordinator: CoordinatorProcess
    workers: Sequence[WorkerProcess]
    told: Told
    laws: Laws
    sent: deque[Outgoing] = field(default_factory=lambda: deque(maxlen=COPIED_LAST))

    def anyone(self) -> Process:
        """The coordinator, or as often one of the workers."""
        return self.rng.choice([self.coordinator, self.rng.choice(self.workers)])

    def training(self) -> VirtualTrainer | None:
        """One of the training processes that train."""
        trainers = [w.trainer for w in self.workers if w.running and w.trainer is not None]
        busy = [trainer for trainer in trainers if trainer.busy]
        return self.rng.choice(busy) if busy else None


Fault = Callable[[Scene, Process], bool]

# of processes


def _end(scene: Scene, process: Process, power_cut: bool) -> bool:
    if not process.running:
        return False
    if scene.rng.random() < 0.3:
        process.crash_in_start_at = scene.rng.randint(0, 40)
    long = process is not scene.coordinator and scene.rng.random() < 0.1
    process.end(power_cut, scene.rng.uniform(0.5, LONG_S if long else AWAY_S))
    return True


def _crash_soon(scene: Scene, process: Process) -> bool:
    if not process.running:
        return False
    process.mishaps.crash_at = process.mishaps.steps + scene.rng.randint(0, 30)
    process.power_fails = scene.rng.random() < 0.5
    return True


def _crash_while_sending(scene: Scene, _: Process) -> bool:
    """A worker ends before it publishes an update, or amid its parts, and may be away for long."""
    worker = scene.rng.choice(scene.workers)
    if not worker.running:
        return False
    step = f"publish to {scene.names.update_exchange}"
    worker.mishaps.crash_in = (step, scene.rng.randint(1, 6))
    worker.stays_away_s = scene.rng.uniform(AWAY_S, UNSENT_S)
    return True


def _kill_training(scene: Scene, _: Process) -> bool:
    training = scene.training()
    if training is not None:
        training.die()
    return training is not None


def _crash_training(scene: Scene, _: Process) -> bool:
    training = scene.training()
    if training is not None:
        training.mishaps.crash_at = training.mishaps.steps + scene.rng.randint(0, 12)
    return training is not None


def _freeze(scene: Scene, process: Process) -> bool:
    if not process.running or process.frozen:
        return False
    for_s = scene.rng.choice((1.0, 10.0, 60.0))
    scene.told(process.name, f"freezes for {for_s:.0f} s")
    process.freeze(for_s)
    return True


def _jump_clock(scene: Scene, _: Process) -> bool:
    """The next start of the coordinator finds another time."""
    error_s = scene.rng.choice((0.0, 3600.0, 10 * 86400.0, -86400.0))
    scene.coordinator.clock_error_s = error_s
    scene.told("coordinator", f"its clock will be {error_s:.0f} s off")
    return True


# of disks


def _fill_disk(scene: Scene, process: Process) -> bool:
    rows_fit = scene.rng.random() < 0.5
    scene.told(process.name, f"its disk is full{', but for rows' if rows_fit else ''}")
    process.fill_disk(True, rows_fit)
    for_s = scene.rng.choice((10.0, 60.0, 600.0))
    scene.time.call_in(for_s, partial(process.fill_disk, False))
    return True


def _back_up(scene: Scene, _: Process) -> bool:
    """The coordinator's disk is copied now and put back later, once in some worlds.

    Counted when it is put back.
    """
    if scene.coordinator.was_restored or scene.rng.random() > RESTORES:
        return False
    backup = scene.coordinator.platter.backup()
    scene.told("coordinator", "its disk is backed up")
    newer = scene.laws.newest_version + scene.rng.randint(0, 2)

    def restore() -> None:
        if scene.coordinator.was_restored:
            return
        if scene.laws.newest_version < newer:
            scene.time.call_in(scene.rng.uniform(*LOST_S), restore)
            return
        scene.coordinator.restore(backup)
        scene.laws.see_restored()

    scene.time.call_in(scene.rng.uniform(*LOST_S), restore)
    return False


def _fail_sync(scene: Scene, process: Process) -> bool:
    if not process.running:
        return False
    process.mishaps.syncs_to_fail += scene.rng.randint(1, 2)
    return True


def _rot(scene: Scene, _: Process) -> bool:
    """A payload in an outbox is changed behind its worker's back."""
    lying = [
        (worker, update_id)
        for update_id, name in scene.laws.open_updates.items()
        for worker in scene.workers
        if worker.name == name and scene.laws.in_outbox(update_id, name)
    ]
    if not lying:
        return False
    worker, update_id = scene.rng.choice(lying)
    outbox = worker.config.folder / "outbox"
    names = [n for n in worker.platter.folder(outbox).entries if n.startswith(update_id)]
    nodes = [worker.platter.file(outbox / name) for name in names]
    if not any(node.data for node in nodes):
        return False  # an answer to a task to evaluate has no payload
    for node in nodes:
        node.rot(scene.rng.randrange(len(node.data)))
    scene.laws.payload_changed(update_id)
    scene.told(worker.name, f"the payload of update {update_id[:8]} rots on its disk")
    return True


# of the network and the broker


def _cut(scene: Scene, process: Process) -> bool:
    if process.link is None or not process.link.connected:
        return False
    scene.told(process.name, "its connection is cut")
    process.link.cut()
    return True


def _half_open(scene: Scene, process: Process) -> bool:
    if process.link is None or not process.link.connected:
        return False
    scene.told(process.name, "its connection is half-open")
    process.link.go_half_open()
    return True


def _broker_down(scene: Scene, _: Process) -> bool:
    scene.told("broker", "goes down")
    scene.broker.down()
    scene.time.call_in(scene.rng.uniform(0.5, 40.0), partial(_broker_up, scene))
    return True


def _broker_up(scene: Scene) -> None:
    scene.told("broker", "is up")
    scene.broker.up()
    scene.stranger.start()


def _hold_confirms(scene: Scene, _: Process) -> bool:
    scene.told("broker", "confirms nothing")
    scene.broker.hold_confirms()
    scene.time.call_in(scene.rng.uniform(1.0, 20.0), scene.broker.release_confirms)
    return True


def _fill_queues(scene: Scene, _: Process) -> bool:
    scene.told("broker", "its queues are full")
    scene.broker.refuse(True)
    scene.time.call_in(scene.rng.uniform(1.0, 60.0), partial(scene.broker.refuse, False))
    return True


def _send_again(scene: Scene, _: Process) -> bool:
    if not scene.sent:
        return False
    message = scene.rng.choice(scene.sent)
    delay_s = scene.rng.choice((0.0, 5.0, 300.0))
    scene.told("broker", f"has a copy of update {message.message_id[:8]} in {delay_s:.0f} s")

    def copy() -> None:
        scene.stranger.publish(message)

    scene.time.call_in(delay_s, copy)
    return True


def _lose_stream(scene: Scene, _: Process) -> bool:
    service = scene.coordinator.service
    if service is None:
        return False
    scene.told("broker", "loses the models")
    scene.stranger.delete(scene.names.model_queue(service.run_id, 0))
    return True


def _lose_own_queue(scene: Scene, _: Process) -> bool:
    """A worker's own queue is emptied, or deleted, by whoever may."""
    name = scene.rng.choice(scene.workers).name
    queue = scene.names.worker_queue(name)
    if not scene.broker.knows(queue):
        return False
    lose = scene.rng.choice((scene.stranger.purge, scene.stranger.delete))
    scene.told(
        "broker",
        f"loses {'the queue' if lose == scene.stranger.delete else 'what waits'} for {name}",
    )
    lose(queue)
    return True


FAULTS: tuple[tuple[str, Fault], ...] = (
    ("kill", partial(_end, power_cut=False)),
    ("power cut", partial(_end, power_cut=True)),
    ("crash at a step", _crash_soon),
    ("crash at a step", _crash_soon),
    ("crash while sending", _crash_while_sending),
    ("crash while sending", _crash_while_sending),
    ("training killed", _kill_training),
    ("crash at a step of a training", _crash_training),
    ("freeze", _freeze),
    ("cut", _cut),
    ("half-open", _half_open),
    ("broker down", _broker_down),
    ("confirms held", _hold_confirms),
    ("queues full", _fill_queues),
    ("disk full", _fill_disk),
    ("sync fails", _fail_sync),
    ("rotten bytes", _rot),
    (RESTORED, _back_up),
    ("duplicate", _send_again),
    ("clock jump", _jump_clock),
    ("model stream lost", _lose_stream),
    ("own queue lost", _lose_own_queue),
)
"""The kinds, as often as they are drawn."""

KINDS = frozenset({kind for kind, _ in FAULTS} | {LEFT, NOT_TAKEN, FORGOTTEN, FOUND_OUT}) | (
    DEPOT_KINDS
)
"""All kinds that are counted: these, and what comes of how a world is made."""


def heal(scene: Scene) -> None:
    """Nothing goes wrong any more, and whoever is down is started."""
    _broker_up(scene)
    scene.broker.release_confirms()
    scene.broker.refuse(False)
    for process in (scene.coordinator, *scene.workers):
        process.fill_disk(False)
        process.mishaps.syncs_to_fail = 0
        process.mishaps.crash_at = process.mishaps.crash_in = None
        process.crash_in_start_at = None
        process.begin()
