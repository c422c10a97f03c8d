"""Seconds that NVFlare takes for a round; runs in NVFlare's environment.

    nvflare_rounds.py --nodes 10 --params 10000 --rounds 6

Its local deployment (POC) as its documentation starts it: a server and clients in processes of
their own, and a job made from its FedAvg recipe. A round is from one model to the next, as a client
sees it; the first is not measured. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np

LIMIT_S = 1500.0


def deployed(folder: Path, nodes: int, params: int, rounds: int, stamps: Path) -> None:
    """Run the job until all stamps are written."""
    os.environ.update({"HOME": str(folder), "NVFLARE_POC_WORKSPACE": str(folder / "poc")})
    from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
    from nvflare.recipe import PocEnv

    model = folder / "model.npy"
    np.save(model, np.zeros(params, np.float32))
    recipe = NumpyFedAvgRecipe(
        name="bench",
        initial_ckpt=str(model),
        min_clients=nodes,
        num_rounds=rounds,
        train_script=str(Path(__file__).with_name("nvflare_client.py")),
        train_args=f"--stamps {stamps}",
    )
    environment = PocEnv(num_clients=nodes)
    try:
        recipe.execute(environment)
        await_stamps(stamps, rounds)
    finally:
        with contextlib.suppress(Exception):
            environment.stop()
        end_all_below(folder)


def await_stamps(file: Path, count: int) -> None:
    """Wait until a file has so many lines."""
    end = time.monotonic() + LIMIT_S
    while not file.exists() or len(file.read_text().splitlines()) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"the job did not end in {LIMIT_S:.0f} s")
        time.sleep(0.2)


def end_all_below(folder: Path) -> None:
    """End what was started from our own folder and is still there."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if str(folder) in (entry / "cmdline").read_text().replace("\0", " "):
                os.kill(int(entry.name), signal.SIGKILL)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    for name in ("nodes", "params", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fedmq-bench-nvflare-"))
    stamps = folder / "stamps"
    rounds = given.rounds + 2  # the first, and one whose begin is the last one's end
    out = os.dup(1)
    os.dup2(2, 1)  # what it tells on its way is no result
    try:
        deployed(folder, given.nodes, given.params, rounds, stamps)
        times = [float(line) for line in stamps.read_text().splitlines()]
        seconds = [after - before for before, after in pairwise(times[1:])]
        os.dup2(out, 1)
        print(json.dumps({"version": version("nvflare"), "seconds": seconds}), flush=True)
    except BaseException:
        for log in folder.glob("poc/**/log*.txt"):
            print(f"-- {log}\n{log.read_text()[-2000:]}", file=sys.stderr)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
