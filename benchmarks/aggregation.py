"""What summing a round's updates from their wire bytes costs, beside the least that it could.

    python -m benchmarks.aggregation [--sizes 100x1000000,10x10000000] [--times 5] [--keep]

Ours: each frame decoded, its payload checked (size, finite, norm) and added, as the coordinator
does; its digest apart, which is measured beside it. No two weigh the same; what they cost if all do
is shown beside. The sum lies where that of the round before was, as in a coordinator. The least:
each payload copied into a buffer that is used again, and added to a sum of float32 that is there
already. Both add the same distinct payloads, in turns.

Where peers are installed (`make peers`), their aggregation of as many updates from their own wire
bytes runs in the same minutes, in their environments.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.examples import layout, payloads, update
from benchmarks.peers.environments import missing, run
from benchmarks.record import Record, parser_of
from benchmarks.timing import medians_s
from coordinator.aggregation.aggregation import Aggregation
from coordinator.aggregation.beginning import begin
from coordinator.aggregation.checks import inspect
from coordinator.aggregation.counted import Counted, UpdatesInMemory
from coordinator.aggregation.groups import Room
from coordinator.algorithm import Algorithm
from schemas.digest import digest_of
from schemas.layout import Layout
from schemas.messages import Update, decode, encode

BOUND = 2.0
PEERS = {  # at least so many times faster, by updates and parameters
    (100, 1_000_000): {"flower": 10.0, "nvflare": 3.0},
    (10, 10_000_000): {"flower": 3.5, "nvflare": 4.0},
}


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--sizes", default="100x1000000,10x10000000", help="updates x parameters")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    record = Record("aggregation", {"sizes": given.sizes, "times": given.times})
    for size in given.sizes.split(","):
        updates, params = map(int, size.split("x"))
        _compare(record, updates, params, given.times)
    record.end(keep=given.keep)


def _compare(record: Record, updates: int, params: int, times: int) -> None:
    made = layout(params)
    sent = payloads(params, updates)
    equal = [encode(update(made, len(each)), each) for each in sent]
    bodies = [
        encode(replace(update(made, len(each)), num_examples=600 + place), each)
        for place, each in enumerate(sent)
    ]
    views = [decode(body)[1] for body in bodies]
    rounds = Rounds(made)
    ours_s, least_s, equal_s = medians_s(
        times,
        lambda: rounds.aggregate(bodies),
        _least(params, views),
        lambda: rounds.aggregate(equal),
    )
    digest_s, result_s = medians_s(
        times, lambda: [digest_of(view) for view in views], _result(rounds, bodies)
    )
    what = f"K={updates}, {params:,} parameters"
    record.figure(
        what,
        updates=updates,
        params=params,
        fedmq_ms=1e3 * ours_s,
        equal_weights_ms=1e3 * equal_s,
        least_ms=1e3 * least_s,
        digest_ms=1e3 * digest_s,
        with_the_next_model_ms=1e3 * result_s,
    )
    record.at_most(f"sum, {what}, over one copy and one add", ours_s / least_s, BOUND, " times")
    for peer, bound in PEERS.get((updates, params), {"flower": 1.0, "nvflare": 1.0}).items():
        _beside(record, peer, updates, params, ours_s, bound)


class Rounds:
    """Rounds of a coordinator: the sum of each lies where that of the last one was."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._room: Room | None = None

    def aggregate(self, bodies: list[bytes]) -> Aggregation:
        """The sum of updates from their frames, as the coordinator makes it."""
        layout = self.layout
        made = begin(Algorithm(), layout, room=self._room)
        for body in bodies:
            message, payload = decode(body)
            assert isinstance(message, Update)
            fault = inspect(payload, layout, 0.0, message.codec, message.update_id)
            assert fault is None, fault
            weight = float(message.num_examples)
            made.add(Counted(payload, message.worker_id, message.base_version, weight, weight))
        self._room = made.room
        return made


def _least(params: int, views: list[memoryview]) -> Callable[[], object]:
    total, buffer = np.zeros(params, "<f4"), np.empty(params, "<f4")

    def least() -> None:
        for view in views:
            buffer[...] = np.frombuffer(view, "<f4")
            np.add(total, buffer, out=total)

    return least


def _result(rounds: Rounds, bodies: list[bytes]) -> Callable[[], object]:
    base = bytes(rounds.layout.num_bytes)
    none = UpdatesInMemory([], rounds.layout)
    return lambda: rounds.aggregate(bodies).result(base, none)


def _beside(
    record: Record, peer: str, updates: int, params: int, ours_s: float, bound: float
) -> None:
    claim = f"sum, K={updates}, {params:,} parameters: faster than {peer}"
    why = missing(peer)
    if why:
        record.skip(claim, "at least", bound, why, " times")
        return
    found = run(peer, f"{peer}_sum.py", "--updates", str(updates), "--params", str(params))
    ways = {way: statistics.median(each) for way, each in found["seconds"].items()}
    record.figure(
        f"{peer} {found['version']}, K={updates}, {params:,} parameters",
        **{f"{way}_ms": 1e3 * each for way, each in ways.items()},
    )
    record.at_least(claim, min(ways.values()) / ours_s, bound, " times")


if __name__ == "__main__":
    main()
