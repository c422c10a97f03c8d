"""What a round costs when training costs nothing, beside what the broker itself costs.

    python -m benchmarks.rounds [--params 10000] [--workers 2,5,10] [--rounds 30] [--syncs] [--keep]

For each number of workers: seconds a round (median) of a federation over RabbitMQ, everything
durable and confirmed, and of the floor: bare pika that moves the same bytes over the same kinds of
queue, durable and confirmed, summed in place. Coordinator and workers are two processes, and so are
the floor's server and clients; the two take turns. Beside them the CPU time of each process for one
update, and with --syncs, from a run of its own, how often which files are synced. With --duties the
floor that also has on disk what must be there takes turns with them (`benchmarks.roles.duties`):
what the promises cost in one plain way.

--params takes several numbers, with as many rounds: --params 10000,1000000 --rounds 30,10.
Without --url a private RabbitMQ node is started from an installed rabbitmq-server.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.federation import LARGE, Rounds, duties, federation, floor
from benchmarks.node import Broker, broker
from benchmarks.record import Record, parser_of

SMALL_BOUND, LARGE_BOUND, CPU_BOUND_MS = 2.5, 1.5, 10.0


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    given = vars(arguments).copy()
    record = Record("rounds", {key: given[key] for key in ("params", "workers", "rounds", "turns")})
    sizes = list(map(int, arguments.params.split(",")))
    rounds = list(map(int, arguments.rounds.split(",")))
    rounds += rounds[-1:] * (len(sizes) - len(rounds))
    with broker(arguments.url) as where:
        for params, count in zip(sizes, rounds, strict=True):
            for workers in map(int, arguments.workers.split(",")):
                turns = _turns(where, workers, params, count, arguments.turns, arguments.duties)
                _compare(record, workers, params, turns)
                if arguments.syncs and params == min(sizes):
                    name = f"traced{os.getpid()}-{workers}"
                    traced = federation(where, name, workers, count, params, traced=True)
                    _tell_syncs(record, workers, params, traced)
    record.end(keep=arguments.keep)


def _arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--params", default="10000")
    parser.add_argument("--workers", default="2,5,10")
    parser.add_argument("--rounds", default="30", help="of each size, at a turn")
    parser.add_argument("--turns", type=int, default=1, help="of each way")
    parser.add_argument("--duties", action="store_true", help="the floor with what is on disk too")
    parser.add_argument("--syncs", action="store_true", help="count fsyncs, in a run of its own")
    parser.add_argument("--url", default="")
    return parser.parse_args()


def _turns(
    where: Broker, workers: int, params: int, rounds: int, turns: int, dutiful: bool
) -> dict[str, list[Rounds]]:
    """Each turn of the floor, of its duties if they are asked for, and of ours."""
    ways: dict[str, Callable[[Broker, str, int, int, int], Rounds]] = {"floor": floor}
    if dutiful:
        ways["duties"] = duties
    ways["fedmq"] = federation
    done = {way: list[Rounds]() for way in ways}
    for turn in range(turns):
        for way, go in ways.items():
            name = f"bench{os.getpid()}-{params}-{workers}-{turn}-{way}"
            done[way].append(go(where, name, workers, rounds, params))
    return done


def _compare(record: Record, workers: int, params: int, turns: dict[str, list[Rounds]]) -> None:
    bare, ours = turns["floor"], turns["fedmq"]
    floor_ms, ms = _median_ms(bare), _median_ms(ours)
    what = f"N={workers}, {params:,} parameters"
    cpu_ms = _cpu_ms(ours, workers)
    record.figure(
        what,
        workers=workers,
        params=params,
        floor_ms=floor_ms,
        fedmq_ms=ms,
        ratio=ms / floor_ms,
        floor_cpu_ms_an_update=_cpu_ms(bare, workers),
        fedmq_cpu_ms_an_update=cpu_ms,
        **_of_duties(turns.get("duties"), floor_ms, workers),
    )
    bound = LARGE_BOUND if params >= LARGE else SMALL_BOUND
    record.at_most(f"a round, {what}, over the floor", ms / floor_ms, bound, " times")
    if params <= 10_000:
        record.at_most(
            f"CPU of all processes for an update, {what}", cpu_ms["all"], CPU_BOUND_MS, " ms"
        )


def _of_duties(turns: list[Rounds] | None, floor_ms: float, workers: int) -> dict[str, Any]:
    if turns is None:
        return {}
    ms = _median_ms(turns)
    return {
        "duties_ms": ms,
        "duties_ratio": ms / floor_ms,
        "duties_cpu_ms_an_update": _cpu_ms(turns, workers),
    }


def _median_ms(turns: list[Rounds]) -> float:
    return 1e3 * statistics.median(second for rounds in turns for second in rounds.seconds)


def _cpu_ms(turns: list[Rounds], workers: int) -> Mapping[str, float]:
    """Milliseconds of CPU for one update, by process."""
    spent = dict.fromkeys(turns[0].cpu_s, 0.0)
    updates = 0
    for rounds in turns:
        updates += workers * len(rounds.seconds)
        for who, seconds in rounds.cpu_s.items():
            spent[who] += 1e3 * seconds
    each = {who: total / updates for who, total in spent.items()}
    return {"all": sum(each.values()), **each}


def _tell_syncs(record: Record, workers: int, params: int, traced: Rounds) -> None:
    updates = workers * len(traced.seconds)
    for who, syncs in traced.syncs.items():
        files = {file: round(count / updates, 2) for file, count in syncs.most_common()}
        record.figure(
            f"fsyncs for an update, N={workers}, {params:,} parameters, {who}",
            workers=workers,
            who=who,
            all=round(syncs.total() / updates, 2),
            files=files,
        )


if __name__ == "__main__":
    main()
