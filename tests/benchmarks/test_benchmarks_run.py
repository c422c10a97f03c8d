"""The benchmarks run, and find what they look for; the figures do not matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.federation import duties, federation, floor
from benchmarks.node import Broker
from tests.docs.pages import ROOT

LIMIT_S = 180.0


def run(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.rabbitmq
@pytest.mark.slow
@pytest.mark.parametrize(("params", "apart"), [(100, True), (1_500_000, False)])
def test_rounds_and_their_floor_are_timed(amqp_url: str, params: int, apart: bool) -> None:
    where = Broker(amqp_url)
    bare = floor(where, "bench-floor", 2, 2, params)
    kept = duties(where, "bench-duties", 2, 2, params)
    ours = federation(where, "bench", 2, 2, params, apart=apart)
    assert len(bare.seconds) == len(kept.seconds) == len(ours.seconds) == 2
    assert min(bare.seconds + kept.seconds + ours.seconds) > 0
    assert set(bare.cpu_s) == set(kept.cpu_s) == {"server", "clients", "broker"}
    assert set(ours.cpu_s) == {"coordinator", "workers", "broker"}


@pytest.mark.rabbitmq
@pytest.mark.slow
def test_a_crowd_is_counted(amqp_url: str) -> None:
    words = ("--workers", "5", "--params", "100", "--rounds", "2", "--url", amqp_url)
    assert "5 workers of 100 parameters: updates_a_second" in run("benchmarks.crowd", *words)


@pytest.mark.slow
def test_sums_are_made_of_their_frames() -> None:
    out = run("benchmarks.aggregation", "--sizes", "3x1000", "--times", "1")
    assert "sum, K=3, 1,000 parameters, over one copy and one add" in out


def test_what_is_kept_can_be_read() -> None:
    for file in sorted(Path(record.RESULTS).glob("*.json")):
        kept = json.loads(file.read_text())
        assert kept["benchmark"] == file.stem
        assert kept["claims"]
