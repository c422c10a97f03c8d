"""What the process of the coordinator's learner answers; in this process."""

from __future__ import annotations

import errno
import io
import os
import sys
import threading
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import msgpack
import pytest

from coordinator import hosting
from learning.process import Link

RAISING = """
class Raising:
    def initial_parameters(self):
        raise RuntimeError("no data here")

    def train(self, parameters, request):
        raise NotImplementedError

learner = Raising()
"""


class RefusingStream(io.StringIO):
    """A log on a full disk."""

    def write(self, *_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_a_learner_raised_is_answered_though_the_log_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "learner.py").write_text(RAISING)
    ours, theirs = Pipe()
    request = {"do": "initial", "learner": f"{tmp_path / 'learner.py'}:learner", "seed": 0}
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", RefusingStream())
        hosting._handle(request, Link(theirs, threading.Lock()))
    assert msgpack.unpackb(ours.recv_bytes()) == {"error": "RuntimeError: no data here"}
    ours.close()
    theirs.close()
