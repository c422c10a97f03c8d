from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coordinator.errors import RunError
from fedmq import run_local

ADDS = """
import numpy as np
from fedmq import TrainResult

class Adds:
    integer_rules = {"steps": "max"}

    def initial_parameters(self):
        return {"w": np.zeros(2, np.float32), "steps": np.zeros((), np.int64)}

    def train(self, parameters, request):
        number = float(request.data)
        trained = {"w": parameters["w"] + np.float32(number), "steps": parameters["steps"] + 1}
        return TrainResult(trained, int(number))

learner = Adds()
"""
BROKEN = ADDS.replace("number = float(request.data)", 'raise ValueError("no such file")')


@pytest.mark.parametrize("dispatch", ["pool", "direct"])
def test_two_rounds_are_two_weighted_means(tmp_path: Path, dispatch: str) -> None:
    (tmp_path / "learner.py").write_text(ADDS)
    data = {"a": "1", "b": "3"}
    settings = {"run.rounds": 2, "rounds.dispatch": dispatch}
    result = run_local(tmp_path / "learner.py", data, settings)
    mean = (1 * 1 + 3 * 3) / (1 + 3)
    assert result.updates == {"counted": 4}
    np.testing.assert_allclose(result.parameters["w"], 2 * mean, rtol=1e-6)
    assert result.parameters["steps"] == 2


def test_a_run_can_begin_with_given_parameters(tmp_path: Path) -> None:
    (tmp_path / "learner.py").write_text(ADDS)
    initial = {"w": np.array([5, 6], np.float32), "steps": np.array(7)}
    result = run_local(tmp_path / "learner.py", {"a": "1"}, {"run.rounds": 1}, initial)
    assert result.parameters["w"].tolist() == [6.0, 7.0]
    assert result.parameters["steps"] == 8


def test_a_learner_that_fails_on_every_worker_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    (tmp_path / "learner.py").write_text(BROKEN)
    with pytest.raises(RunError, match="no such file"):
        run_local(tmp_path / "learner.py", {"a": "1", "b": "1"}, {"run.rounds": 1})
