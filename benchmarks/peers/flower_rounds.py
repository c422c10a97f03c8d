"""Seconds that Flower takes for a round; runs in Flower's environment.

    flower_rounds.py --nodes 10 --params 10000 --rounds 4 [--simulation]

Its local deployment as its documentation starts it: a superlink, a supernode for each client, and
`flwr run`. Or its simulation, in which clients share a pool of processes of this machine. The first
round is not measured: processes start in it. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

LIMIT_S = 1500.0
PROGRAMS = Path(sys.executable).parent
PROJECT = """\
[project]
name = "bench"
version = "1.0.0"
description = ""
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "bench"
[tool.flwr.app.components]
serverapp = "bench.app:server"
clientapp = "bench.app:client"
[tool.flwr.app.config]
nodes = {nodes}
params = {params}
rounds = {rounds}
stamps = "{stamps}"
"""
CONNECTION = """\
[superlink]
default = "bench"
[superlink.bench]
address = "127.0.0.1:{port}"
insecure = true
"""


def deployed(folder: Path, nodes: int, stamps: Path, rounds: int) -> None:
    """Run the app in a local deployment, until it has written all stamps."""
    link, *ports = free_ports(1 + nodes)
    environ = {
        **os.environ,
        "HOME": str(folder),
        "FLWR_HOME": str(folder / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
    }
    (folder / "home").mkdir()
    (folder / "home" / "config.toml").write_text(CONNECTION.format(port=link))
    offline = "--disable-runtime-dependency-installation"
    commands = [["flower-superlink", "--insecure", offline, "--port", str(link)]]
    for place, port in enumerate(ports):
        node = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}"]
        config = f"partition-id={place} num-partitions={nodes}"
        commands.append([*node, "--port", str(port), "--node-config", config])
    with (folder / "log").open("w") as log:
        running = []
        try:
            for command in commands:
                running.append(
                    subprocess.Popen(
                        [str(PROGRAMS / command[0]), *command[1:]],
                        cwd=folder,
                        env=environ,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )
                if command[0] == "flower-superlink":
                    await_port(link)
            app = [str(PROGRAMS / "flwr"), "run", str(folder / "app"), "bench"]
            subprocess.run(app, env=environ, cwd=folder, stdout=log, stderr=log, check=True)
            await_stamps(stamps, rounds + 1)
        finally:
            for process in running:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def simulated(folder: Path, nodes: int, config: Mapping[str, object]) -> None:
    """Run the app in the simulation."""
    sys.path.insert(0, str(folder / "app"))
    os.environ.update({"FLWR_TELEMETRY_ENABLED": "0", "FLWR_HOME": str(folder / "home")})
    os.environ["BENCH_RUN_CONFIG"] = json.dumps(config)
    from bench.app import client, server
    from flwr.simulation import run_simulation

    run_simulation(server, client, nodes)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def await_port(port: int) -> None:
    """Wait until somebody listens."""
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def await_stamps(file: Path, count: int) -> None:
    """Wait until a file has so many lines."""
    end = time.monotonic() + LIMIT_S
    while not file.exists() or len(file.read_text().splitlines()) < count:
        if time.monotonic() > end:
            raise TimeoutError(f"the run did not end in {LIMIT_S:.0f} s")
        time.sleep(0.2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    for name in ("nodes", "params", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--simulation", action="store_true")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fedmq-bench-flower-"))
    stamps, rounds = folder / "stamps", given.rounds + 1
    try:
        (folder / "app" / "bench").mkdir(parents=True)
        (folder / "app" / "bench" / "__init__.py").touch()
        shutil.copy(Path(__file__).with_name("flower_app.py"), folder / "app" / "bench" / "app.py")
        config = {"nodes": given.nodes, "params": given.params, "rounds": rounds}
        config["stamps"] = str(stamps)
        (folder / "app" / "pyproject.toml").write_text(PROJECT.format(**config))
        if given.simulation:
            simulated(folder, given.nodes, config)
        else:
            deployed(folder, given.nodes, stamps, rounds)
        times = [float(line) for line in stamps.read_text().splitlines()]
        seconds = [after - before for before, after in pairwise(times[1:])]
        print(json.dumps({"version": version("flwr"), "seconds": seconds}))
    except BaseException:
        if (folder / "log").exists():
            print((folder / "log").read_text()[-4000:], file=sys.stderr)
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
