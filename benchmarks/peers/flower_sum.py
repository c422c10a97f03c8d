"""Flower's ways of averaging updates, from its own wire bytes; runs in Flower's environment.

An update arrives as objects (record, array, chunks of the array), each in the answer to a pull.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version

import numpy as np
from flwr.common import (
    Array,
    ArrayRecord,
    Code,
    FitRes,
    MetricRecord,
    RecordDict,
    Status,
    parameters_to_ndarrays,
)
from flwr.compat.common.recorddict_compat import arrayrecord_to_parameters
from flwr.proto.message_pb2 import PullObjectResponse
from flwr.server.strategy.aggregate import aggregate, aggregate_inplace
from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from summing import measure

EXAMPLES = "num-examples"


class Arrived:
    """The answers that bring one update."""

    def __init__(self, array: np.ndarray) -> None:
        record = RecordDict(
            {"arrays": ArrayRecord({"w": Array(array)}), "metrics": MetricRecord({EXAMPLES: 10})}
        )
        self.root = record.object_id
        self.answers = {
            name: PullObjectResponse(
                object_found=True, object_available=True, object_content=each.deflate()
            ).SerializeToString()
            for name, each in get_all_nested_objects(record).items()
        }

    def record(self) -> RecordDict:
        """What the server app is given."""
        contents = {
            name: PullObjectResponse.FromString(answer).object_content
            for name, answer in self.answers.items()
        }
        return inflate_object_from_contents(self.root, contents)

    def fitted(self) -> FitRes:
        """The same for the strategies of before."""
        arrays = next(iter(self.record().array_records.values()))
        parameters = arrayrecord_to_parameters(arrays, keep_input=False)
        return FitRes(Status(Code.OK, ""), parameters, num_examples=10, metrics={})


def ways(arrays: list[np.ndarray]) -> Mapping[str, Callable[[], object]]:
    """Of its strategies: the one of today, and both of before."""
    updates = [Arrived(array) for array in arrays]
    return {
        "aggregate_inplace": lambda: aggregate_inplace([(None, each.fitted()) for each in updates]),
        "aggregate": lambda: aggregate(
            [(parameters_to_ndarrays(each.fitted().parameters), 10) for each in updates]
        ),
        "aggregate_arrayrecords": lambda: aggregate_arrayrecords(
            [each.record() for each in updates], EXAMPLES
        ),
    }


if __name__ == "__main__":
    measure(version("flwr"), ways)
