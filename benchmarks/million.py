"""What a task costs in a federation of a million workers: the real round machine in virtual time.

    python -m benchmarks.million [--workers 1000000] [--open 1000] [--events 200000]

Updates are synthetic, so that what is measured is the machine (`coordinator.run.advance`), the
verdicts, and the simulation around them. An event is a task that is taken, or an update that
arrives. Printed are events a second of the wall clock and of this process's CPU time (the machine
may be busy with other things), the baseline of `advance` alone in the same run, bytes a worker at
rest, and how the cost grows with the population and with the open tasks, as ratios.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import time
from dataclasses import dataclass

from coordinator.events import OfferTask, TaskFacts, TaskTaken, UpdateArrived, VersionStored
from coordinator.policy import RoundPolicy
from coordinator.run import advance
from coordinator.states import Closed, Run, State
from simulation.planning.crowd import Crowd
from simulation.planning.devices import SETS
from simulation.planning.fleet import Fleet
from simulation.planning.training import Synthetic

GOAL = 10
POPULATIONS = (10_000, 100_000, 1_000_000)
OPEN_TASKS = (100, 1_000, 10_000)
STRETCHES = 8


@dataclass(frozen=True)
class Cost:
    """Of one event, the cheapest stretch of several: what else runs here only adds."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{1 / self.wall_s:>9,.0f} events/s, {1 / self.cpu_s:>9,.0f} a CPU second"


def policy_of(open_tasks: int, dispatch: str = "pool") -> RoundPolicy:
    direct = dispatch == "direct"
    return RoundPolicy(
        rounds=10**9,
        goal=GOAL,
        quorum=1,
        concurrency=open_tasks,
        deadline_s=1e6,
        lease_s=1e5,
        max_staleness=10**6,
        dispatch="direct" if direct else "pool",
    )


def fleet_cost(
    devices: str, workers: int, open_tasks: int, events: int, dispatch: str = "pool"
) -> tuple[Cost, Fleet]:
    """Run a fleet past its beginning, then measure."""
    policy = policy_of(open_tasks, dispatch)
    fleet = Fleet(policy, Crowd(SETS[devices], workers, 1), Synthetic(), 1)
    tally = fleet.tally
    go_on(fleet, 2 * open_tasks)
    best = Cost(math.inf, math.inf)
    for _ in range(STRETCHES):
        before = tally.taken + tally.arrived
        wall, cpu = time.perf_counter(), time.process_time()
        go_on(fleet, tally.arrived + events // (2 * STRETCHES))
        done = tally.taken + tally.arrived - before
        best = Cost(
            min(best.wall_s, (time.perf_counter() - wall) / done),
            min(best.cpu_s, (time.process_time() - cpu) / done),
        )
    return best, fleet


def go_on(fleet: Fleet, arrivals: int) -> None:
    fleet.run(math.inf, lambda fleet: fleet.tally.arrived >= arrivals)


def machine_cost(open_tasks: int, events: int) -> Cost:
    """The baseline: nothing but `advance`, each task answered in the order of taking."""
    state: State = Closed(Run("run", 1, policy_of(open_tasks)))
    offered: list[str] = []
    in_hand: list[tuple[str, int]] = []

    def step(event: TaskTaken | UpdateArrived | VersionStored) -> None:
        nonlocal state
        state, actions = advance(state, event, 0.0)
        offered.extend(action.task_id for action in actions if isinstance(action, OfferTask))
        if isinstance(state, Closed):
            step(VersionStored(state.run.version + 1))

    step(VersionStored(0))
    best = Cost(math.inf, math.inf)
    number = 0
    for _ in range(STRETCHES):
        wall, cpu = time.perf_counter(), time.process_time()
        done = 0
        while done < events // STRETCHES:
            for task_id in offered[:]:
                in_hand.append((task_id, state.run.version))
                step(TaskTaken(task_id, str(number), False))
                number += 1
                done += 1
            offered.clear()
            for task_id, version in in_hand[: max(open_tasks // 10, 1)]:
                facts = TaskFacts(task_id, False)
                step(UpdateArrived(task_id, "w", task_id, version, 60, facts, False))
                done += 1
            del in_hand[: max(open_tasks // 10, 1)]
        best = Cost(
            min(best.wall_s, (time.perf_counter() - wall) / done),
            min(best.cpu_s, (time.process_time() - cpu) / done),
        )
    return best


def bytes_per_worker(fleet: Fleet) -> float:
    """What a worker at rest takes: the arrays, all of them."""
    return fleet.num_bytes / fleet.crowd.workers


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=1_000_000)
    parser.add_argument("--open", type=int, default=1_000)
    parser.add_argument("--events", type=int, default=200_000)
    arguments = parser.parse_args()
    workers, open_tasks, events = arguments.workers, arguments.open, arguments.events
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores")
    print(f"cheapest of {STRETCHES} stretches, {events:,} events each run, goal {GOAL}")
    print(f"`advance` alone, {open_tasks:,} open tasks:   {machine_cost(open_tasks, events)}")
    for devices, dispatch in (("fedbuff", "pool"), ("fedbuff", "direct"), ("flaky", "pool")):
        cost, fleet = fleet_cost(devices, workers, open_tasks, events, dispatch)
        rest = f"{bytes_per_worker(fleet):.0f} bytes a worker"
        print(f"{workers:,} workers, {devices}, {dispatch}: {cost}; {rest}")
    by_workers = [fleet_cost("fedbuff", count, open_tasks, events)[0] for count in POPULATIONS]
    print_growth("population", POPULATIONS, by_workers)
    by_open = [fleet_cost("fedbuff", workers, count, events)[0] for count in OPEN_TASKS]
    print_growth("open tasks", OPEN_TASKS, by_open)


def print_growth(what: str, sizes: tuple[int, ...], costs: list[Cost]) -> None:
    ratios = ", ".join(
        f"{size:,}: {cost.cpu_s / costs[0].cpu_s:.2f}"
        for size, cost in zip(sizes, costs, strict=True)
    )
    print(f"cost of an event by {what}, the first as 1.00: {ratios}")


if __name__ == "__main__":
    main()
