"""Coordinator and workers as the processes that users start, for tests over a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DEADLINE_S = 120.0
_FEDMQ = "import sys; from fedmq.cli import main; sys.exit(main())"


class Federation:
    """A folder with a federation.toml, and the processes started on it."""

    def __init__(self, folder: Path, url: str, name: str, learner: str, **rounds: object) -> None:
        self.folder = folder
        self.config = folder / "federation.toml"
        chosen = {"goal": 2, "quorum": 1, "deadline": "60s", "drain": "1s", **rounds}
        run = {"rounds": chosen.pop("rounds", 2), "evaluate": chosen.pop("evaluate", False)}
        self.config.write_text(
            f'[federation]\nname = "{name}"\n[broker]\nurl = "{url}"\n'
            f'[learner]\npath = "{learner}"\n[run]\n{_toml(run)}[rounds]\n{_toml(chosen)}'
            '[coordinator]\nstate_dir = "coordinator"\n'
            '[worker]\nstate_dir = "workers"\npresence = "2s"\n'
        )
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *words: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start `fedmq` with some words, from a folder that is not ours."""
        with (self.folder / f"stderr-{len(self.processes)}.txt").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _FEDMQ, *words],
                cwd=self.folder,
                env={**os.environ, "FEDMQ_LOG_LEVEL": "info", **(environ or {})},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.processes.append(process)
        return process

    def coordinator(
        self, *words: str, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start the coordinator."""
        command = ("coordinator", "--config", str(self.config), "--json")
        return self.start(*command, *words, environ=environ)

    def worker(
        self, name: str, *words: str, environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start a worker."""
        command = ("worker", "--config", str(self.config), "--id", name, "--json")
        return self.start(*command, *words, environ=environ)

    def ended(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Wait for a process to end well; the JSON of its last line."""
        try:
            out, _ = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired as late:
            said = (late.output or b"").decode()[-2000:]
            raise AssertionError(f"not ended in {DEADLINE_S:.0f} s\n{said}{self.logs()}") from late
        told = f"{process.args!r}: {process.returncode}\n{out}{self.logs()}"
        assert process.returncode == 0, told
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
        return result

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `fedmq` with some words to its end."""
        return subprocess.run(
            [sys.executable, "-P", "-c", _FEDMQ, *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def logs(self) -> str:
        """What all processes wrote to stderr."""
        files = sorted(self.folder.glob("stderr-*.txt"))
        return "\n".join(f"-- {file.name}\n{file.read_text()[-2000:]}" for file in files)

    def close(self) -> None:
        """End every process that is left."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition.

    Raises:
        AssertionError: If it does not come true in time.
    """
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S:.0f} s for {what}"
        time.sleep(0.05)


def _toml(values: dict[str, object]) -> str:
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
