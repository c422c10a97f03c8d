"""NVFlare's way of averaging updates, from its own wire bytes; runs in NVFlare's environment.

An update's arrays arrive as npz items of a download; then the helper of its FedAvg adds them up.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from importlib.metadata import version

import numpy as np
from nvflare.app_common.aggregators.weighted_aggregation_helper import WeightedAggregationHelper
from nvflare.app_common.np.np_downloader import ArrayConsumer
from summing import measure


def item(array: np.ndarray) -> bytes:
    """As its `ArrayDownloadable` makes it."""
    stream = io.BytesIO()
    np.savez(stream, w=array)
    return stream.getvalue()


def ways(arrays: list[np.ndarray]) -> Mapping[str, Callable[[], object]]:
    """The only one it has."""
    items = [item(array) for array in arrays]

    def helper() -> object:
        made = WeightedAggregationHelper()
        for place, each in enumerate(items):
            received = ArrayConsumer(None, {}).consume_items([each], None)
            made.add(received, 10.0, f"site-{place}", 0)
        return made.get_result()

    return {"WeightedAggregationHelper": helper}


if __name__ == "__main__":
    measure(version("nvflare"), ways)
