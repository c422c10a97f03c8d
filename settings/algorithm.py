"""The settings of the algorithm: what an update weighs, and how updates become the next version."""

from typing import Annotated, Literal

import msgspec

from settings.about import ABOUT_WORTH, MANY, about

_STEP = "a version is made of all its updates in one way"
_BELOW_HALF = 0.499
_BELOW_ONE = 0.999999

DEFAULT_LR = {"none": 1.0, "adagrad": 0.1, "adam": 0.1, "yogi": 0.01}
"""What `server_lr` is where it is 0; "momentum" takes 1 - beta1."""


class AlgorithmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[algorithm]: how counted updates become the next model version."""

    rule: Annotated[
        Literal["mean", "nova", "median", "trimmed-mean", "ca2fl", "mifa", "fedvarp"],
        about(
            "How the updates of a round become one step: their weighted mean; FedNova's mean per "
            "local step; the median or trimmed mean of each number; or with the last update of "
            "every worker kept, as CA2FL, MIFA or FedVARP.",
            frozen="what is kept of the workers' updates belongs to it",
        ),
    ] = "mean"
    trim: Annotated[
        float,
        about(
            "The share of the updates that trimmed-mean cuts at each end.",
            at_least=0.0,
            at_most=_BELOW_HALF,
            waits=_STEP,
        ),
    ] = 0.1
    clip_norm: Annotated[
        float,
        about(
            "Updates of a larger L2 norm are shortened to it before they are added. 0: none are.",
            at_least=0.0,
            at_most=1e38,
            waits=_STEP,
        ),
    ] = 0.0
    population: Annotated[
        int,
        about(
            "How many workers there are, for the rules that keep the last update of each. 0: it is "
            "not known, and those that had an update counted stand for all.",
            unit="workers",
            at_least=0,
            at_most=1000 * MANY,
            waits=_STEP,
        ),
    ] = 0
    normalise: Annotated[
        Literal["weight", "count"],
        about(
            "What the sum of weighted updates is divided by: their weights, so that a step keeps "
            "its length; or what their examples weigh, so that stale updates make it shorter.",
            waits=_STEP,
        ),
    ] = "weight"
    example_weights: Annotated[
        Literal["linear", "equal", "sqrt", "log"],
        about(
            "How the weight of an update grows with its examples n: n, 1, sqrt(n) or ln(1 + n).",
            waits=ABOUT_WORTH,
        ),
    ] = "linear"
    staleness: Annotated[
        Literal["constant", "polynomial", "hinge"],
        about(
            "How the weight of an update falls with the versions t it is behind: not at all; by "
            "1 / (1 + t)^a; or by 1 / (1 + a (t - b)) above b.",
            waits=ABOUT_WORTH,
        ),
    ] = "polynomial"
    staleness_a: Annotated[
        float,
        about(
            "The a of staleness: how fast the weight falls.",
            at_least=0.0,
            at_most=100.0,
            waits=ABOUT_WORTH,
        ),
    ] = 0.5
    staleness_b: Annotated[
        float,
        about(
            "The b of staleness hinge: up to how many versions behind nothing is taken off.",
            unit="versions",
            at_least=0.0,
            at_most=float(MANY),
            waits=ABOUT_WORTH,
        ),
    ] = 4.0
    max_local_steps: Annotated[
        int,
        about(
            "The most local steps that one update counts with in rule nova, whatever its worker "
            "says. 0: no cap. One that says far more than the others makes everybody's step "
            "longer, so it should be little above what a training makes.",
            unit="steps",
            at_least=0,
            at_most=1000 * MANY,
            waits=ABOUT_WORTH,
        ),
    ] = 10_000
    optimizer: Annotated[
        Literal["none", "momentum", "adagrad", "adam", "yogi"],
        about(
            "The server's optimiser, which takes the step of the rule as its gradient.",
            waits=_STEP,
        ),
    ] = "none"
    server_lr: Annotated[
        float,
        about(
            "The server's learning rate. 0: the optimiser's own, which is 1 for none, 1 - beta1 "
            "for momentum, 0.1 for adagrad and adam, and 0.01 for yogi.",
            at_least=0.0,
            at_most=1000.0,
            waits=_STEP,
        ),
    ] = 0.0
    beta1: Annotated[
        float,
        about(
            "How much of the server's momentum stays from one version to the next.",
            at_least=0.0,
            at_most=_BELOW_ONE,
            waits=_STEP,
        ),
    ] = 0.9
    beta2: Annotated[
        float,
        about(
            "How much of the second moment of adam and yogi stays.",
            at_least=0.0,
            at_most=_BELOW_ONE,
            waits=_STEP,
        ),
    ] = 0.99
    tau: Annotated[
        float,
        about(
            "What adagrad, adam and yogi add to the root of the second moment; the smaller, the "
            "more adaptive they are.",
            at_least=1e-12,
            at_most=1000.0,
            waits=_STEP,
        ),
    ] = 1e-3
    prox_mu: Annotated[
        float,
        about(
            "FedProx: how strongly training is held near the model it began with. 0: not at all.",
            at_least=0.0,
            at_most=1000.0,
            waits="it decides what the workers minimise",
        ),
    ] = 0.0

    @property
    def lr(self) -> float:
        """The server's learning rate: `server_lr`, or the optimiser's own where that is 0."""
        return self.server_lr or DEFAULT_LR.get(self.optimizer, 1.0 - self.beta1)
