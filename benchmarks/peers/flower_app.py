"""The federation that Flower runs: clients return the model with a little noise.

It becomes the app's only module, and is imported by Flower's processes alone. The server app writes
the time at which it begins each round, and at last ends, to the file that `stamps` names.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

server = ServerApp()
client = ClientApp()


class Timed(FedAvg):
    """FedAvg that tells when it begins a round."""

    stamps = ""

    def configure_train(self, *args, **kwargs):
        """Begin a round."""
        stamp(self.stamps)
        return super().configure_train(*args, **kwargs)


def stamp(file: str) -> None:
    """Add the time to a file."""
    with Path(file).open("a") as stamps:
        stamps.write(f"{time.monotonic()}\n")


@server.main()
def serve(grid: Grid, context: Context) -> None:
    """Run all rounds."""
    given = context.run_config or json.loads(
        os.environ["BENCH_RUN_CONFIG"]
    )  # a simulation has none
    nodes = int(given["nodes"])
    strategy = Timed(
        fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes, fraction_train=1.0
    )
    strategy.stamps = str(given["stamps"])
    model = ArrayRecord({"w": Array(np.zeros(int(given["params"]), np.float32))})
    strategy.start(grid=grid, initial_arrays=model, num_rounds=int(given["rounds"]), timeout=600)
    stamp(strategy.stamps)


@client.train()
def train(message: Message, context: Context) -> Message:
    """Add a little."""
    weights = message.content["arrays"]["w"].numpy()
    rng = np.random.default_rng()
    changed = weights + np.float32(1e-3) * rng.random(dtype=np.float32)
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(changed)}),
            "metrics": MetricRecord({"num-examples": 10}),
        }
    )
    return Message(content=content, reply_to=message)
