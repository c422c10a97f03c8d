"""Bob has two rows, Alice has two: one model learned from all four in three ways.

Run it: `python examples/bob_and_alice.py`. The loss printed is always the *global* one, over all
four rows; the loss of whoever trained last would flatter.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from fedmq import Parameters, TorchLearner, TrainRequest, run_local

INPUTS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
TARGETS = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
ROWS = {"bob": slice(0, 2), "alice": slice(2, 4), "both": slice(0, 4)}
LEARNING_RATE = 0.1


def build() -> nn.Module:
    return nn.Linear(2, 1)


def squared_errors(model: nn.Module, rows: slice) -> torch.Tensor:
    return (model(INPUTS[rows]) - TARGETS[rows]).square().sum()


def fit(model: nn.Module, request: TrainRequest) -> tuple[int, dict[str, float]]:
    rows = ROWS[request.data]
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for _ in range(int(request.config.get("steps", 10))):
        optimizer.zero_grad()
        loss = squared_errors(model, rows)
        loss.backward()
        optimizer.step()
    return len(INPUTS[rows]), {"loss": squared_errors(model, rows).item()}


learner = TorchLearner(build, fit)


def global_loss(parameters: Parameters) -> float:
    """Sum of squared errors over all four rows."""
    model = build()
    model.load_state_dict({name: torch.tensor(array) for name, array in parameters.items()})
    with torch.no_grad():
        return squared_errors(model, ROWS["both"]).item()


def visit(parameters: Parameters, whose: str, steps: int) -> Parameters:
    """The parameters after some steps on one's rows."""
    request = TrainRequest(whose, "0" * 32, 0, seed=0, data=whose, config={"steps": steps})
    return learner.train(parameters, request).parameters


def central(initial: Parameters, steps: int = 20) -> Parameters:
    """All rows in one place."""
    return visit(initial, "both", steps)


def sequential(initial: Parameters, passes: int = 10, steps: int = 10) -> Parameters:
    """The model visits Bob, then Alice, and so on; the rows stay where they are."""
    parameters = initial
    for _ in range(passes):
        for whose in ("bob", "alice"):
            parameters = visit(parameters, whose, steps)
    return parameters


def federated(initial: Parameters, rounds: int = 10, steps: int = 10) -> Parameters:
    """Bob and Alice train at the same time, and fedmq averages what they learned."""
    here = f"{Path(__file__).resolve()}:learner"
    settings = {"run.rounds": rounds, "learner.config": {"steps": steps}}
    return run_local(here, {"bob": "bob", "alice": "alice"}, settings, initial).parameters


WAYS = {"centrally": central, "sequentially": sequential, "federated": federated}


def main() -> None:
    torch.manual_seed(0)
    initial = learner.initial_parameters()
    print(f"{'untrained':14} {global_loss(initial):.1e}")
    for way, learn in WAYS.items():
        print(f"{way:14} {global_loss(learn(initial)):.1e}")


if __name__ == "__main__":
    main()
