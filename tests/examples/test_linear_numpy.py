from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from learning.learner import EvaluateRequest, Evaluator, Learner, TrainRequest
from learning.loading import load_learner

EXAMPLE = Path(__file__).parents[2] / "examples" / "linear_numpy.py"


@pytest.fixture
def learner() -> Any:
    return load_learner(str(EXAMPLE))


def request(worker_id: str = "ann", **changes: Any) -> TrainRequest:
    return TrainRequest(worker_id, "0" * 32, 0, 1, **changes)


def test_it_is_a_learner_that_can_evaluate(learner: Any) -> None:
    assert isinstance(learner, Learner)
    assert isinstance(learner, Evaluator)


def test_it_finds_the_line_and_leaves_what_it_was_given(learner: Any) -> None:
    initial = learner.initial_parameters()
    result = learner.train(initial, request(config={"steps": 200}))
    assert np.allclose(result.parameters["weights"], [2, -1], atol=0.1)
    assert np.allclose(result.parameters["bias"], 0.5, atol=0.1)
    assert initial["weights"].tolist() == [0, 0]
    assert result.parameters["bias"].shape == initial["bias"].shape == ()
    before, after = (
        learner.evaluate(parameters, EvaluateRequest(0))["loss"]
        for parameters in (initial, result.parameters)
    )
    assert after < before / 10


def test_it_learns_from_a_file_of_rows(learner: Any, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("0,0,1\n1,0,1\n0,1,1\n1,1,1\n")
    result = learner.train(learner.initial_parameters(), request(data=str(file)))
    assert result.num_examples == 4


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from learning.loading import load_learner;"
        f"load_learner({str(EXAMPLE)!r}).initial_parameters(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
