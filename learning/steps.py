"""The steps of torch's optimisers while a user's loop trains: counted, and held near the start.

FedProx (Li et al. 2020, algorithm 2) adds mu/2 · |w - w0|^2 to what a worker minimises, w0 being
the model it was given: mu · (w - w0) is added to the gradients right before each step, with any
loop of the user's. FedNova (Wang et al. 2020, section 4) divides by the length of the accumulation
vector `a`: a number that is given the gradient 1 is taken through the same steps, and where it
arrives is that length. Of plain SGD it is the number of steps, of momentum more.

Rules: only optimisers that have a parameter of the model count. The ways of several that step the
same parameter (a new one for each epoch, say) add up; of several that step different ones (one for
each half of the model) the longest counts. Learning rates are not looked at: where they follow a
schedule, all steps count alike. Optimisers other than SGD count a step as one.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from learning.errors import TrainingError

Call = tuple[tuple[Any, ...], dict[str, Any]]


class Steps:
    """Watches the steps that are made while it is entered.

    Args:
        model: Whose parameters count.
        prox_mu: FedProx's mu, 0 for none. With it a copy of the parameters is kept.
    """

    def __init__(self, model: nn.Module, prox_mu: float) -> None:
        self._prox_mu = prox_mu
        self._received: dict[int, Tensor | None] = {
            id(parameter): parameter.detach().clone() if prox_mu else None
            for parameter in model.parameters()
        }
        self._ways: dict[int, _Way] = {}

    @property
    def local_steps(self) -> float:
        """How many steps were made, as FedNova counts them, at least 1; 0 if none were seen."""
        return max((max(1.0, way.length) for way in self._ways.values()), default=0.0)

    def __enter__(self) -> Steps:
        self._hook = register_optimizer_step_pre_hook(self._before)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._hook.remove()

    def _before(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        """Before a step of any optimiser of this process; the arguments to make it with."""
        found = self._first_of_ours(optimizer)
        if found is None:
            return None  # another model's
        first, group = found
        self._ways.setdefault(first, _Way()).go(optimizer, group, self._prox_mu)
        if not self._prox_mu:
            return None
        if len(args) > 1 and args[1] is not None:
            return (args[0], self._pulling(optimizer, args[1]), *args[2:]), kwargs
        if kwargs.get("closure") is not None:
            return args, {**kwargs, "closure": self._pulling(optimizer, kwargs["closure"])}
        self._pull(optimizer)
        return None

    def _first_of_ours(self, optimizer: Optimizer) -> tuple[int, dict[str, Any]] | None:
        """The first parameter of the model that an optimiser steps, and its group."""
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) in self._received:
                    return id(parameter), group
        return None

    def _pulling(self, optimizer: Optimizer, closure: Callable[[], Any]) -> Callable[[], Any]:
        """A closure computes the gradients anew, so the pull is added after each call of it."""

        def pulled() -> Any:
            loss = closure()
            self._pull(optimizer)
            return loss

        return pulled

    def _pull(self, optimizer: Optimizer) -> None:
        """Add mu · (w - w0) to the gradients."""
        with torch.no_grad():
            for group in optimizer.param_groups:
                # A group that maximises goes against its gradient.
                mu = -self._prox_mu if group.get("maximize") else self._prox_mu
                for parameter in group["params"]:
                    received = self._received.get(id(parameter))
                    if received is None or parameter.grad is None:
                        continue
                    if parameter.grad.is_sparse:
                        raise TrainingError(
                            "algorithm.prox_mu pulls every number of an array: it cannot be used "
                            "with sparse gradients"
                        )
                    received = received.to(parameter.device)
                    parameter.grad.add_(parameter.detach() - received, alpha=mu)


class _Way:
    """How far a number with the gradient 1 gets by an optimiser's steps, at a learning rate of 1.

    Attributes:
        length: How far it is.
    """

    def __init__(self) -> None:
        self.length = 0.0
        self._momentum: weakref.WeakKeyDictionary[Optimizer, float] = weakref.WeakKeyDictionary()

    def go(self, optimizer: Optimizer, group: dict[str, Any], prox_mu: float) -> None:
        """Make one more step."""
        if not isinstance(optimizer, SGD):
            self.length += 1.0
            return
        # It is downhill of where it began, and the pull takes a part of its gradient back.
        gradient = 1.0 - prox_mu * float(group["lr"]) * self.length
        momentum = float(group["momentum"])
        if not momentum:
            self.length += gradient
            return
        moving = gradient
        if optimizer in self._momentum:
            fresh = (1.0 - float(group["dampening"])) * gradient
            moving = momentum * self._momentum[optimizer] + fresh
        self._momentum[optimizer] = moving
        self.length += gradient + momentum * moving if group["nesterov"] else moving
