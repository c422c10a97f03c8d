"""The settings of evaluation: who measures the versions, and what follows from that."""

from typing import Annotated, Literal

import msgspec
from msgspec import field

from settings.about import MANY, YEAR_S, about

_FOLLOWS = "it decides when a run ends or goes back, not what a counted update is worth"
_MEASURES = "it measures the model and does not change it"
_BELOW_HALF = 0.499


class EvaluationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[evaluation]: who measures the model versions, and what follows from what is found."""

    cohort: Annotated[
        float,
        about(
            "The share of the workers that evaluate versions on their own data and never train; "
            "which they are follows from run.seed and a worker's id. 0: none.",
            at_least=0.0,
            at_most=_BELOW_HALF,
            frozen="a worker that has trained would measure the model on examples that it has seen",
        ),
    ] = 0.0
    every: Annotated[
        int,
        about(
            "Every how many versions the cohort is asked; the last version always is.",
            unit="versions",
            at_least=1,
            at_most=MANY,
            free=_MEASURES,
        ),
    ] = 1
    goal: Annotated[
        int,
        about(
            "How many answers of the cohort close an evaluation.",
            unit="answers",
            at_least=1,
            at_most=10_000,
            free=_MEASURES,
        ),
    ] = 10
    deadline_s: Annotated[
        float,
        about(
            "How long an evaluation waits for its goal before it closes with what has come.",
            kind="duration",
            at_least=0.001,
            at_most=YEAR_S,
            free=_MEASURES,
        ),
    ] = field(default=600.0, name="deadline")
    min_examples: Annotated[
        int,
        about(
            "The fewest examples that the answers must stand for together. Below it an evaluation "
            "is recorded, and nothing follows from it.",
            unit="examples",
            at_least=1,
            at_most=2**53,
            free=_FOLLOWS,
        ),
    ] = 1
    by: Annotated[
        Literal["cohort", "coordinator"],
        about(
            "Whose measurements name the best version, stop the run early and guard it. cohort: "
            "the cohort's, and the coordinator's where there is no cohort.",
            free=_FOLLOWS,
        ),
    ] = "cohort"
    metric: Annotated[
        str,
        about(
            "The metric of the learner's `evaluate` that versions are compared by.",
            pattern=r"[^\x00-\x1f]{1,64}",
            expected="the name of a metric",
            free=_FOLLOWS,
        ),
    ] = "loss"
    better: Annotated[
        Literal["lower", "higher"],
        about("Which values of the metric are better.", free=_FOLLOWS),
    ] = "lower"
    smoothing: Annotated[
        int,
        about(
            "Over how many evaluations, about, the metric is averaged before versions are "
            "compared: each new one counts 2 / (smoothing + 1). 1: not at all.",
            unit="evaluations",
            at_least=1,
            at_most=MANY,
            free=_FOLLOWS,
        ),
    ] = 3
    min_delta: Annotated[
        float,
        about(
            "By how much the metric must be better than the best to be an improvement.",
            at_least=0.0,
            at_most=1e38,
            free=_FOLLOWS,
        ),
    ] = 0.0
    sureness: Annotated[
        float,
        about(
            "By how many standard errors, too, it must be better, where there is a cohort to know "
            "them from.",
            unit="standard errors",
            at_least=0.0,
            at_most=100.0,
            free=_FOLLOWS,
        ),
    ] = 2.0
    patience: Annotated[
        int,
        about(
            "After how many versions without an improvement the run stops early. 0: it does not.",
            unit="versions",
            at_least=0,
            at_most=MANY,
            free=_FOLLOWS,
        ),
    ] = 0
    guard_loss: Annotated[
        float,
        about(
            "By what factor the metric may be worse than the best before the run goes back to the "
            "best version; 2 is a usual one. 0: it never goes back.",
            at_least=0.0,
            at_most=1e38,
            free=_FOLLOWS,
        ),
    ] = 0.0
    guard_norm: Annotated[
        float,
        about(
            "By what factor a version's step may be longer than the median of the last ten before "
            "it is not taken; 10 is a usual one. 0: every step is taken.",
            at_least=0.0,
            at_most=1e38,
            free="a version's row says whether its step was taken",
        ),
    ] = 0.0
