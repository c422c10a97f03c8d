"""What is in the images, and how each behaves alone: read-only, without a network, badly set."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.containers.figures import COORDINATOR_BYTES, WORKER_BYTES, own_bytes
from tests.containers.stack import COORDINATOR_IMAGE, DEADLINE_S, WORKER_IMAGE
from tests.support.rabbitmq_container import docker

pytestmark = pytest.mark.usefixtures("images")

LOCKED_UP = ("--rm", "--read-only", "--tmpfs=/tmp", "--network=none", "--cap-drop=ALL")

LEARN = """
import sys
from learning.learner import EvaluateRequest, TrainRequest, parameters_of
from learning.loading import load_learner
from learning.seeding import seed_everything
seed_everything(0)
learner = load_learner("fedmq:digits")
model = parameters_of(learner)
trained = learner.train(model, TrainRequest("worker-1", "0" * 32, 0, 0, "1/12")).parameters
loss = [learner.evaluate(each, EvaluateRequest(0, data="1/12", worker_id="worker-1"))["loss"]
        for each in (model, trained)]
assert loss[1] < 0.8 * loss[0], loss
print(type(learner).__name__, "torch" in sys.modules, "sklearn" in sys.modules)
"""


def python_in(image: str, program: str) -> str:
    return docker("run", *LOCKED_UP, "--entrypoint=python", image, "-c", program)


def run(image: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", "run", *LOCKED_UP, *words[:-1], image, words[-1]],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def test_the_worker_trains_the_demos_model_with_torch() -> None:
    assert python_in(WORKER_IMAGE, LEARN) == "TorchLearner True False"


def test_the_coordinator_has_no_torch_and_knows_the_demos_model() -> None:
    assert python_in(COORDINATOR_IMAGE, LEARN) == "NumpyDigits False False"


@pytest.mark.parametrize("image", [COORDINATOR_IMAGE, WORKER_IMAGE])
def test_nothing_runs_as_root_and_nothing_can_be_written(image: str) -> None:
    assert docker("run", *LOCKED_UP, "--entrypoint=id", image, "-u") == "10001"
    touch = ["touch", "/opt/fedmq/new"]
    done = run(image, f"--entrypoint={touch[0]}", touch[1])
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr


@pytest.mark.parametrize("image", [COORDINATOR_IMAGE, WORKER_IMAGE])
def test_a_file_of_the_working_directory_is_not_taken_for_ours(image: str, tmp_path: Path) -> None:
    for name in ("worker.py", "coordinator.py", "schemas.py"):
        (tmp_path / name).write_text("raise SystemExit('this one was taken')\n")
        (tmp_path / name).chmod(0o644)
    tmp_path.chmod(0o755)
    words = (f"--volume={tmp_path}:/here:ro", "--workdir=/here", "--entrypoint=python")
    checks = "import coordinator.cli, worker.cli, schemas.messages; print('ours')"
    done = docker("run", *LOCKED_UP, *words, image, "-c", checks)
    assert done == "ours"


@pytest.mark.parametrize(
    ("image", "service"), [(COORDINATOR_IMAGE, "coordinator"), (WORKER_IMAGE, "worker")]
)
def test_a_secret_that_is_wrong_is_one_line_without_it(
    image: str, service: str, tmp_path: Path
) -> None:
    (tmp_path / "url").write_text("s3cret\n")
    tmp_path.chmod(0o755)
    secret = (f"--volume={tmp_path}:/run/secrets:ro", "-eFEDMQ_BROKER_URL_FILE=/run/secrets/url")
    done = run(image, *secret, service)
    assert done.returncode == 2
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "broker.url (FEDMQ_BROKER_URL_FILE): expected an URL amqp://" in line
    assert "s3cret" not in line


def test_a_secret_that_is_not_there_is_one_line() -> None:
    done = run(WORKER_IMAGE, "-eFEDMQ_BROKER_URL_FILE=/run/secrets/none", "worker")
    assert done.returncode == 2
    (line,) = (done.stdout + done.stderr).splitlines()
    assert "FEDMQ_BROKER_URL_FILE: expected a file that can be read" in line


@pytest.mark.parametrize(
    ("image", "at_most"), [(COORDINATOR_IMAGE, COORDINATOR_BYTES), (WORKER_IMAGE, WORKER_BYTES)]
)
def test_what_we_add_to_the_base_is_within_bounds(image: str, at_most: int) -> None:
    assert own_bytes(image) <= at_most
