"""The child process that holds the coordinator's learner: initial parameters and evaluation.

User code runs here and not in the coordinator, which so needs neither torch nor patience.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from coordinator.models import head_of
from disk import OS_DISK
from learning.errors import LearnerError
from learning.learner import EvaluateRequest, Evaluator, Learner, parameters_of
from learning.loading import load_learner
from learning.process import Link, note_failure, serve
from learning.seeding import seed_everything
from schemas.layout import Layout
from schemas.tensors import flatten, layout_of, unflatten


def main(link_fd: int, lifeline_fd: int) -> None:
    """Serve requests until the coordinator is gone."""
    serve(link_fd, lifeline_fd, _handle)


def _handle(request: dict[str, Any], link: Link) -> None:
    try:
        learner = load_learner(request["learner"], neighbours=True)
        if request["do"] == "initial":
            link.send({"layout": _initial(learner, request)})
        else:
            link.send({"metrics": _evaluate(learner, request)})
    except LearnerError as error:  # its text says what to mend
        link.send({"error": str(error)[:500]})
    except Exception as error:  # user code may raise anything; the coordinator goes on
        note_failure()
        link.send({"error": f"{type(error).__name__}: {error}"[:500]})


def _initial(learner: Learner, request: dict[str, Any]) -> list[list[Any]]:
    seed_everything(request["seed"])
    parameters = parameters_of(learner)
    layout = layout_of(parameters, getattr(learner, "integer_rules", None))
    Path(request["file"]).write_bytes(flatten(parameters, layout))
    return layout.rows()


def _evaluate(learner: Learner, request: dict[str, Any]) -> dict[str, float] | None:
    if not isinstance(learner, Evaluator):
        return None
    layout = Layout.from_rows(request["layout"])
    model = OS_DISK.map_private(Path(request["model"]))[len(head_of(layout)) :]
    seed_everything(request["seed"])
    metrics = learner.evaluate(
        unflatten(model, layout),
        EvaluateRequest(request["version"], request["data"], "cpu", request["config"]),
    )
    numbers = {str(name): float(value) for name, value in metrics.items()}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
