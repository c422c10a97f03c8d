from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.learning.optional import needs

EXAMPLE = Path(__file__).parents[2] / "examples" / "torch_two_files" / "learner.py"

# In a process of its own: it changes the import path, and starts processes itself.
TRAIN = """
import json, sys
from learning.learner import EvaluateRequest, TrainRequest
from learning.loading import load_learner

learner = load_learner(sys.argv[1], neighbours=True)
parameters = learner.initial_parameters()
for version in range(3):
    result = learner.train(parameters, TrainRequest("ann", "0" * 32, version, seed=version))
    parameters = result.parameters
metrics = learner.evaluate(parameters, EvaluateRequest(3))
print(json.dumps({"num_examples": result.num_examples, **metrics}))
"""


@pytest.mark.slow
def test_a_learner_of_two_files_with_a_data_loader_of_two_processes_learns() -> None:
    needs("torch")
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(EXAMPLE)], stdout=subprocess.PIPE, text=True, check=True
    )
    said = json.loads(done.stdout)
    assert said["num_examples"] == 200
    assert said["accuracy"] > 0.75
