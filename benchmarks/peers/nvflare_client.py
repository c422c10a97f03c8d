"""The client script that NVFlare runs: it returns the model with a little noise.

One of the clients writes the time at which it is given each model to the file `--stamps` names.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import nvflare.client as flare
from nvflare.app_common.np.constants import NPConstants


def main() -> None:
    """Train as often as asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stamps", type=Path, required=True)
    stamps = parser.parse_args().stamps
    flare.init()
    first = flare.get_site_name() == "site-1"
    rng = np.random.default_rng()
    while flare.is_running():
        model = flare.receive()
        if model is None:
            break
        if first:
            with stamps.open("a") as file:
                file.write(f"{time.monotonic()}\n")
        weights = model.params[NPConstants.NUMPY_KEY]
        changed = weights + np.float32(1e-3) * rng.random(dtype=np.float32)
        flare.send(
            flare.FLModel(
                params={NPConstants.NUMPY_KEY: changed},
                params_type=flare.ParamsType.FULL,
                meta={"NUM_STEPS_CURRENT_ROUND": 10},
            )
        )


if __name__ == "__main__":
    main()
