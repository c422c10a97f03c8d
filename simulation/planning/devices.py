"""What the devices of a federation are like: how fast, how connected, how often there. Pure.

Six sets have a name. What a set assumes that no source says is marked "assumed".

    ideal     every task takes the same time; always there; nothing is lost
    fedbuff   half-normal durations, always there: the experiments of FedBuff (Nguyen et al. 2022)
    papaya    log-normal speed and bandwidth, 5 % lost, always there (PAPAYA, Huba et al. 2022)
    phones    speed as 333 phone models have it, there by day or night, 8 % lost
    flaky     as phones, but 20 minutes there and 60 away; a finished update comes late
    hostile   as phones, but 5 minutes there and 120 away, some workers ten times rarer, 20 % lost,
              and a tenth of the population leaves for good
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

Shape = Literal["constant", "half-normal", "log-normal"]

_MINUTE_S = 60.0
_HOUR_S = 3600.0
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Compute:
    """How long training takes.

    Attributes:
        seconds: Of a task of a middling worker: the constant; the standard deviation that a
            half-normal number is scaled with; the median of the log-normal.
        shape: How tasks differ.
        worker_sigma: Of the logarithm of a worker's speed, which it keeps.
        task_sigma: Of the logarithm from task to task.
        size_power: A worker with twice the examples takes 2 ** size_power times as long; 0: the
            same.
    """

    seconds: float
    shape: Shape = "log-normal"
    worker_sigma: float = 0.0
    task_sigma: float = 0.0
    size_power: float = 0.0


@dataclass(frozen=True, slots=True)
class Network:
    """How long the model takes to come and the update to go, one after the other.

    Attributes:
        bits_per_s: The median; 0: transfers take no time.
        sigma: Of the logarithm of a worker's bandwidth, which it keeps.
    """

    bits_per_s: float = 0.0
    sigma: float = 0.0


@dataclass(frozen=True, slots=True)
class Presence:
    """When a worker is there.

    Stretches there and away have exponential lengths, unless the share goes up and down by day.

    Attributes:
        share: Of the time that a worker is there, on average; 1: always.
        there_s: How long it stays, on average.
        swing: How much the share goes up and down over a day, as a part of it, 0 to 1.
        rare_share: Of the population, workers that are there more rarely.
        rare_duty: What their share is multiplied by.
        leaving_share: Of the population, workers that leave for good,
        leaving_s: ... on average after so long.
        when_away: What becomes of an update that is finished while its worker is away: it is
            sent when the worker is back, or a worker that goes away drops its task.
    """

    share: float = 1.0
    there_s: float = _HOUR_S
    swing: float = 0.0
    rare_share: float = 0.0
    rare_duty: float = 1.0
    leaving_share: float = 0.0
    leaving_s: float = _DAY_S
    when_away: Literal["late", "lost"] = "late"


@dataclass(frozen=True, slots=True)
class Devices:
    """What the devices of a federation are like.

    Attributes:
        name: Of the set.
        loss: The share of tasks that are never answered.
        loss_is_told: Whether a worker that drops its task says so; else its lease must end.
        examples_sigma: Of the logarithm of a worker's number of examples, where no data say it.
    """

    name: str
    compute: Compute
    network: Network = Network()
    presence: Presence = Presence()
    loss: float = 0.0
    loss_is_told: bool = False
    examples_sigma: float = 0.0

    def lasting(self, seconds: float) -> Devices:
        """The same devices with tasks that take so long on a middling worker."""
        return replace(self, compute=replace(self.compute, seconds=seconds))


_BANDWIDTH = Network(bits_per_s=5e6, sigma=1.0)  # assumed: median 5 Mbit/s

_PHONE = Compute(
    # AI Benchmark's CPU scores of 333 phone models, as FLASH (Yang et al. 2021) ships them: the
    # logarithm has a standard deviation of 0.93. Assumed: a minute for the median phone, 0.3 from
    # task to task, and the square root of the examples.
    seconds=_MINUTE_S,
    worker_sigma=0.93,
    task_sigma=0.3,
    size_power=0.5,
)

_PHONES = Devices(
    "phones",
    _PHONE,
    _BANDWIDTH,
    # Bonawitz et al. 2019: four times as many at the best hour as at the worst, and 6 to 10 % of
    # tasks without an answer. Assumed: 30 % of the time there, half an hour at a time, all hours
    # of the day equally common among the workers' nights.
    Presence(share=0.3, there_s=30 * _MINUTE_S, swing=0.6),
    loss=0.08,
    examples_sigma=1.0,
)

SETS: Mapping[str, Devices] = MappingProxyType(
    {
        "ideal": Devices("ideal", Compute(_MINUTE_S, "constant")),
        "fedbuff": Devices("fedbuff", Compute(_MINUTE_S, "half-normal")),
        "papaya": Devices(
            "papaya",
            # FedScale (Lai et al. 2022): 5 ms an example, times a log-normal number (1, 0.6).
            # Here for 60 examples, which is 0.8 s; the examples themselves are log-normal.
            Compute(0.8, worker_sigma=0.6, size_power=1.0),
            _BANDWIDTH,
            loss=0.05,
            examples_sigma=1.0,
        ),
        "phones": _PHONES,
        "flaky": replace(
            _PHONES, name="flaky", presence=Presence(share=0.25, there_s=20 * _MINUTE_S)
        ),
        "hostile": replace(
            _PHONES,
            name="hostile",
            presence=Presence(
                share=5 / 125,
                there_s=5 * _MINUTE_S,
                rare_share=0.3,
                rare_duty=0.1,
                leaving_share=0.1,
                leaving_s=6 * _HOUR_S,
            ),
            loss=0.2,
        ),
    }
)
"""The sets by name."""
