"""What `make up` brings up: the demo's federation, and workers whose names outlive containers."""

from __future__ import annotations

from tests.containers.conftest import MakeStack
from tests.containers.stack import Stack, state_of, wait_until


def names_of(stack: Stack) -> list[str]:
    """The workers' ids, as they say."""
    asked = [stack.health(container).partition(":")[0] for container in stack.containers("worker")]
    return sorted(asked)


def await_names(stack: Stack, *names: str) -> None:
    wait_until(lambda: names_of(stack) == sorted(names), f"workers {', '.join(names)}")


def test_the_demos_federation_learns_and_its_workers_keep_their_names(
    make_stack: MakeStack,
) -> None:
    stack = make_stack()
    stack.up(3)
    status = stack.wait_for("the last version", lambda now: now["state"] == "draining")
    status = stack.wait_for("its accuracy", lambda now: now["evaluated"] == now["rounds"])
    assert status["updates"]["counted"] == 2 * status["rounds"]
    assert set(status["updates"]) <= {"counted", "after end"}  # one may be on its way at the end
    # Who guesses has 0.1. Which two of three workers count in a round is chance, and each has
    # mostly some of the digits: where the same two were faster throughout, it is 0.75, else more.
    assert status["metrics"]["accuracy"] > 0.7
    await_names(stack, "worker-1", "worker-2", "worker-3")
    coordinator = stack.one("coordinator")
    wait_until(
        lambda: state_of(coordinator)["Health"]["Status"] == "healthy", "a healthy coordinator"
    )

    # One fewer, one more: whoever comes takes the number that is free, with what is in its folder.
    stack.up(2)
    wait_until(lambda: len(names_of(stack)) == 2, "two workers")
    left = names_of(stack)
    assert set(left) < {"worker-1", "worker-2", "worker-3"}
    stack.up(3)
    await_names(stack, "worker-1", "worker-2", "worker-3")

    # Down and up again: new containers, the same workers, the same run.
    stack.compose("down", "--timeout", "20")
    stack.up(3)
    await_names(stack, "worker-1", "worker-2", "worker-3")
    again = stack.wait_for("the run to be there", lambda now: now["state"] == "draining")
    assert again["run"] == status["run"]
    assert again["updates"]["counted"] == status["updates"]["counted"]
