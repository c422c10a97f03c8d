"""Asynchronous federated learning over RabbitMQ.

What a learner is written with is here, and `run_local`, which tries one out in this process. A name
is imported when it is first used, so that `import fedmq` costs neither numpy nor torch, and a numpy
learner never torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedmq.local import LocalResult, run_local
    from learning.learner import (
        EvaluateRequest,
        Learner,
        Parameters,
        TrainRequest,
        TrainResult,
    )
    from learning.pytorch import TorchLearner

__version__ = "0.1.0"

__all__ = [
    "EvaluateRequest",
    "Learner",
    "LocalResult",
    "Parameters",
    "TorchLearner",
    "TrainRequest",
    "TrainResult",
    "__version__",
    "run_local",
]

_HOMES = {
    "EvaluateRequest": "learning.learner",
    "Learner": "learning.learner",
    "LocalResult": "fedmq.local",
    "Parameters": "learning.learner",
    "TorchLearner": "learning.pytorch",
    "TrainRequest": "learning.learner",
    "TrainResult": "learning.learner",
    "run_local": "fedmq.local",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a public name from where it lives (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module 'fedmq' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _HOMES.keys())
