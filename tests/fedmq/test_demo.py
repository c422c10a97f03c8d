"""The main job, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.services import wait_until
from tests.learning.optional import needs

pytestmark = pytest.mark.slow

FEDMQ = [sys.executable, "-P", "-c", "import sys; from fedmq.cli import main; sys.exit(main())"]
LIMIT_S = 300.0


@pytest.fixture(autouse=True)
def _packages() -> None:
    needs("torch")
    needs("sklearn")


def demo(folder: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [*FEDMQ, "demo", "--json", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stderr == ""
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def check(result: dict[str, Any], folder: Path) -> None:
    assert result["accuracy"] >= 0.92
    assert result["rounds"] == 30
    assert result["updates"]["counted"] >= 30 * 5  # a deadline closes with quorum at least
    assert result["seconds"] > 0
    page = (folder / "fedmq-demo" / "accuracy.html").read_text()
    assert page.count("<circle") == 31
    assert f"<td>{result['updates']['counted']}<" in page


def test_the_demo_learns_in_one_process(tmp_path: Path) -> None:
    check(demo(tmp_path, "--seed", "1"), tmp_path)


def test_the_demo_learns_over_rabbitmq_in_processes_of_their_own(
    tmp_path: Path, amqp_url: str
) -> None:
    check(demo(tmp_path, "--broker", amqp_url), tmp_path)


def test_ctrl_c_ends_the_demo_and_all_it_started(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*FEDMQ, "demo"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "FEDMQ_DEMO_MARK": str(tmp_path)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "collecting" in line and "counted" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert out.splitlines()[-1].startswith("accuracy per round: ")
    assert _marked(str(tmp_path)) == []


def test_of_a_demo_over_rabbitmq_that_was_killed_nothing_is_left(
    tmp_path: Path, amqp_url: str
) -> None:
    process = subprocess.Popen(
        [*FEDMQ, "demo", "--broker", amqp_url],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "FEDMQ_DEMO_MARK": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "collecting" in line:
            break
    assert len(_marked(str(tmp_path))) > 10
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: not _marked(str(tmp_path)), "all processes to end")


def _marked(mark: str) -> list[int]:
    """Processes whose environment says that this test started them."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                environ = (folder / "environ").read_bytes()
            except OSError:
                continue
            if f"FEDMQ_DEMO_MARK={mark}".encode() in environ.split(b"\0"):
                found.append(int(folder.name))
    return found
