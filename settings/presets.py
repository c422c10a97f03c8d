"""Round policies by name: what `rounds.preset` sets.

Rules: a preset is data, and below everything that somebody wrote: a value in the file, in the
environment or on the command line comes before it. It names fields as the file does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Preset:
    """A round policy that has a name.

    Attributes:
        meaning: What it is, for the person who chooses.
        paper: Where it was described.
        values: Section, then key, to a value as the file would have it.
    """

    meaning: str
    paper: str
    values: Mapping[str, Mapping[str, object]]

    def dotted(self) -> dict[str, object]:
        """Its values by dotted name: `rounds.goal`."""
        return {
            f"{section}.{key}": value
            for section, table in self.values.items()
            for key, value in table.items()
        }


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "sync": Preset(
            meaning="Synchronous rounds: FedAvg with over-selection and a deadline. Everybody "
            "trains on the newest version; who comes after the round has closed is refused.",
            paper="McMahan et al. 2017, algorithm 1; Bonawitz et al. 2019, section 2.2",
            values={
                "rounds": {"late": "refuse", "concurrency": 0, "max_staleness": 0},
                "algorithm": {"example_weights": "linear", "normalise": "weight"},
            },
        ),
        "fedbuff": Preset(
            meaning="Buffered asynchronous rounds: a version is made of each ten updates, however "
            "old their base is, each shrunk by its staleness; about a hundred workers train at any "
            "time.",
            paper="Nguyen et al. 2022 (FedBuff), algorithm 1",
            values={
                "rounds": {"late": "weigh", "goal": 10, "concurrency": 100, "max_staleness": 50},
                "algorithm": {
                    "example_weights": "equal",
                    "normalise": "count",
                    "staleness": "polynomial",
                    "staleness_a": 0.5,
                },
            },
        ),
        "fedasync": Preset(
            meaning="Asynchronous rounds: every update makes a version, the step of which is the "
            "shorter the staler it is. With a hundred tasks in flight an update is about a hundred "
            "versions behind, so many versions are kept.",
            paper="Xie et al. 2019 (FedAsync), algorithm 1, in its update form",
            values={
                "rounds": {"late": "weigh", "goal": 1, "concurrency": 100, "max_staleness": 400},
                "coordinator": {"keep_versions": 512},
                "algorithm": {
                    "example_weights": "equal",
                    "normalise": "count",
                    "staleness": "polynomial",
                    "staleness_a": 0.5,
                    "server_lr": 0.6,
                    "prox_mu": 0.005,
                },
            },
        ),
    }
)
