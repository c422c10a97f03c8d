"""A round of fedmq beside a round of Flower and of NVFlare, in the same minutes.

    python -m benchmarks.beside_peers [--sizes 10x10000,5x1000000,2x10000000] [--rounds 5] [--keep]

All three as they are deployed on one machine, one after the other, each client a process of its own
(fedmq's with a training process besides); clients do no work but return the model with a little
noise. Beside Flower's simulation too, in which clients are calls in a pool of processes. Peers run
in environments of their own (`make peers`); one that is not there is skipped, and that is said.
About a quarter of an hour.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass

from benchmarks.federation import federation
from benchmarks.node import Broker, broker
from benchmarks.peers.environments import PeerError, missing, run
from benchmarks.record import Record, parser_of


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer, how its rounds are run, and how many times faster fedmq is to be."""

    name: str
    environment: str
    words: tuple[str, ...]
    bounds: dict[tuple[int, int], float]  # by clients and parameters


PEERS = (
    Peer(
        "Flower",
        "flower",
        (),
        {(10, 10_000): 500.0, (5, 1_000_000): 50.0, (2, 10_000_000): 8.0},
    ),
    Peer(
        "NVFlare",
        "nvflare",
        (),
        {(10, 10_000): 100.0, (5, 1_000_000): 15.0, (2, 10_000_000): 2.0},
    ),
    Peer(
        "Flower's simulation",
        "flower",
        ("--simulation",),
        {(10, 10_000): 8.0, (5, 1_000_000): 1.5},
    ),
)


def main() -> None:
    """Measure and print."""
    parser = parser_of(__doc__)
    parser.add_argument("--sizes", default="10x10000,5x1000000,2x10000000", help="clients x params")
    parser.add_argument("--rounds", type=int, default=5, help="of each peer; ours are four times")
    given = parser.parse_args()
    record = Record("beside_peers", {"sizes": given.sizes, "rounds": given.rounds})
    for size in given.sizes.split(","):
        clients, params = map(int, size.split("x"))
        found = _peers(record, clients, params, given.rounds)
        with broker() as where:
            ours_s = _ours(where, clients, params, 4 * given.rounds)
        what = f"N={clients}, {params:,} parameters"
        record.figure(f"fedmq, {what}", clients=clients, params=params, who="fedmq", s=ours_s)
        for peer in PEERS:
            bound = peer.bounds.get((clients, params), 1.0)
            seconds = found.get(peer.name)
            claim = f"a round, {what}: faster than {peer.name}"
            if isinstance(seconds, float):
                record.at_least(claim, seconds / ours_s, bound, " times")
            elif seconds is not None:
                record.skip(claim, "at least", bound, seconds, " times")
    record.end(keep=given.keep)


def _peers(record: Record, clients: int, params: int, rounds: int) -> dict[str, float | str]:
    """Seconds of a round of each peer that is asked for, or why there are none."""
    found: dict[str, float | str] = {}
    for peer in PEERS:
        if peer.words and peer.bounds.get((clients, params)) is None:
            continue
        why = missing(peer.environment)
        if why:
            found[peer.name] = why
            continue
        words = ("--nodes", clients, "--params", params, "--rounds", rounds, *peer.words)
        try:
            made = run(peer.environment, f"{peer.environment}_rounds.py", *map(str, words))
        except PeerError as error:
            found[peer.name] = f"it failed: {str(error).splitlines()[-1]}"
            continue
        seconds = statistics.median(made["seconds"])
        found[peer.name] = seconds
        record.figure(
            f"{peer.name} {made['version']}, N={clients}, {params:,} parameters",
            clients=clients,
            params=params,
            who=peer.name,
            s=seconds,
        )
    return found


def _ours(where: Broker, clients: int, params: int, rounds: int) -> float:
    name = f"bench{os.getpid()}-{clients}-{params}"
    return statistics.median(federation(where, name, clients, rounds, params, apart=True).seconds)


if __name__ == "__main__":
    main()
