"""A round of a federation, and of bare pika, measured over the same processes.

    ours:   coordinator | logical workers + their training processes | broker
    floor:  server      | clients, each a thread                     | broker
    duties: server      | clients, each a thread, + what trains      | broker

Everything that is compared is measured here between two versions: after the warm-up, and the last.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.node import Broker
from benchmarks.processes import FOLDER, ROOT, Measured

LARGE = 1_000_000  # parameters from which on the bytes are most of a round
PART_BYTES = 4 * 1024 * 1024
IDLE = ROOT / "benchmarks" / "learners" / "idle.py"
CONFIG = """\
[federation]
name = "{name}"
[broker]
url = "{url}"
[learner]
path = "{learner}"
[run]
rounds = {rounds}
evaluate = false
[rounds]
goal = {workers}
concurrency = {workers}
drain = "{drain}"
{more}
[coordinator]
state_dir = "{folder}/coordinator"
[worker]
state_dir = "{folder}/workers"
"""


def warm_up(params: int) -> int:
    """Rounds that are not measured: processes start, connections open."""
    return 2 if params >= LARGE else 5


@dataclass(frozen=True, slots=True)
class Rounds:
    """What some rounds took.

    Attributes:
        seconds: Of each round.
        cpu_s: Of each process in all of them.
        syncs: How often which file was synced in all of them, by process; only if traced.
    """

    seconds: list[float]
    cpu_s: Mapping[str, float]
    syncs: Mapping[str, Counter[str]] = field(default_factory=dict)


@contextmanager
def settings_file(
    broker: Broker, name: str, workers: int, rounds: int, more: str = "", drain: str = "1ms"
) -> Iterator[Path]:
    """A federation.toml in a folder of its own, which is gone afterwards.

    Args:
        broker: Where it is to run.
        name: Of the federation; no other on this broker has it.
        workers: Goal and concurrency.
        rounds: Of the run.
        more: Further lines of [rounds].
        drain: How long the coordinator stays when the run is over.
    """
    with tempfile.TemporaryDirectory(prefix=FOLDER) as made:
        config = Path(made) / "federation.toml"
        config.write_text(
            CONFIG.format(
                name=name,
                url=broker.url,
                learner=IDLE,
                rounds=rounds,
                workers=workers,
                folder=made,
                more=more,
                drain=drain,
            )
        )
        yield config


def federation(
    broker: Broker,
    name: str,
    workers: int,
    rounds: int,
    params: int,
    *,
    traced: bool = False,
    apart: bool = False,
) -> Rounds:
    """Rounds of our own.

    Args:
        broker: Where they run.
        name: Of the federation.
        workers: Goal and concurrency.
        rounds: That are measured.
        params: Of the model.
        traced: Count syncs too, which makes it slow.
        apart: Each worker is a process with a training process of its own; else they share one,
            and two that train.
    """
    with settings_file(broker, name, workers, rounds + warm_up(params)) as config:

        def start(module: str, *words: str) -> Measured:
            return Measured(
                f"benchmarks.roles.{module}",
                "--config",
                str(config),
                *words,
                environ={"BENCH_PARAMS": str(params)},
                syncs=config.with_name(f"{module}.strace") if traced else None,
            )

        with ExitStack() as running:
            coordinator = running.enter_context(start("coordinator"))
            hosts = [
                running.enter_context(start("workers", *words))
                for words in _hosts(workers, apart=apart)
            ]
            processes = {"coordinator": [coordinator], "workers": hosts}
            measured = _measure(processes, broker, rounds, warm_up(params))
            coordinator.line("ended")
        if not traced:
            return measured.rounds()
        return measured.rounds(
            {who: each.syncs_between(*measured.day) for who, (each,) in processes.items()}
        )


def _hosts(workers: int, *, apart: bool) -> list[tuple[str, ...]]:
    """The arguments of each process that workers live in."""
    if not apart:
        return [("--workers", str(workers))]
    return [
        ("--workers", "1", "--first", str(number), "--processes", "1") for number in range(workers)
    ]


def floor(
    broker: Broker, name: str, clients: int, rounds: int, params: int, part_bytes: int = PART_BYTES
) -> Rounds:
    """Rounds of bare pika."""
    return _bare("floor", broker, name, clients, rounds, params, part_bytes, ())


def duties(
    broker: Broker, name: str, clients: int, rounds: int, params: int, part_bytes: int = PART_BYTES
) -> Rounds:
    """Rounds of bare pika that has on disk what must be there."""
    with tempfile.TemporaryDirectory(prefix=FOLDER) as made:
        words = ("--folder", made)
        return _bare("duties", broker, name, clients, rounds, params, part_bytes, words)


def _bare(
    role: str,
    broker: Broker,
    name: str,
    clients: int,
    rounds: int,
    params: int,
    part_bytes: int,
    more: tuple[str, ...],
) -> Rounds:
    numbers = {
        "clients": clients,
        "rounds": rounds + warm_up(params),
        "params": params,
        "part-bytes": part_bytes,
    }
    words = ["--url", broker.url, "--name", name, *more]
    for word, number in numbers.items():
        words += [f"--{word}", str(number)]
    with Measured(f"benchmarks.roles.{role}", "server", *words) as server:
        server.line("declared")
        with Measured(f"benchmarks.roles.{role}", "clients", *words) as crowd:
            both = {"server": [server], "clients": [crowd]}
            return _measure(both, broker, rounds, warm_up(params)).rounds()


@dataclass(frozen=True, slots=True)
class _Window:
    """What was seen between two versions."""

    stamps: list[float]
    day: tuple[float, float]
    cpu_s: Mapping[str, float]

    def rounds(self, syncs: Mapping[str, Counter[str]] | None = None) -> Rounds:
        seconds = [after - before for before, after in pairwise(self.stamps)]
        return Rounds(seconds, self.cpu_s, syncs or {})


def _measure(
    processes: Mapping[str, Sequence[Measured]], broker: Broker, rounds: int, warm_up: int
) -> _Window:
    """Look at all processes when the warm-up is over, and after the last round."""
    (teller,) = next(iter(processes.values()))
    began: dict[str, float] = {}
    stamps: list[float] = []
    days: list[float] = []
    while len(stamps) <= rounds:
        _, version, at, day = teller.line("version")
        if int(version) >= warm_up:
            began = began or _cpu(processes, broker)
            stamps.append(float(at))
            days.append(float(day))
    ended = _cpu(processes, broker)
    spent = {who: ended[who] - began[who] for who in ended}
    return _Window(stamps, (days[0], days[-1]), spent)


def _cpu(processes: Mapping[str, Sequence[Measured]], broker: Broker) -> dict[str, float]:
    spent = {who: sum(one.cpu_s() for one in each) for who, each in processes.items()}
    return spent | {"broker": broker.cpu_s()}
