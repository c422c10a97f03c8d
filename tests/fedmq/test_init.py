from __future__ import annotations

import subprocess
import sys

import pytest

import fedmq
from tests.learning.optional import needs


def loaded_after(statement: str) -> set[str]:
    """Which of the heavy packages a fresh interpreter has loaded after a statement."""
    code = f"import sys; {statement}; print(*({{'numpy', 'torch', 'pika'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_fedmq_brings_neither_numpy_nor_torch() -> None:
    assert loaded_after("import fedmq; fedmq.__version__; dir(fedmq)") == set()


def test_a_numpy_learner_never_imports_torch() -> None:
    assert loaded_after("from fedmq import TrainRequest, TrainResult, Learner") == {"numpy"}


def test_the_torch_learner_is_there_for_who_asks() -> None:
    needs("torch")
    from learning.pytorch import TorchLearner

    assert fedmq.TorchLearner is TorchLearner


def test_every_public_name_is_there() -> None:
    needs("torch")
    assert set(fedmq.__all__) <= set(dir(fedmq))
    for name in fedmq.__all__:
        assert getattr(fedmq, name)


def test_another_name_is_missing_as_from_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'fedmq' has no attribute 'Torch'"):
        _ = fedmq.Torch  # type: ignore[attr-defined]
