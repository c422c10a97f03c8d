"""The table of evidence, as markdown: made of what was counted, never typed."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.faults import CELLS, Cell


@dataclass(frozen=True)
class Outcome:
    """What came of an act.

    Attributes:
        trainings: Begun, those that were killed too.
        finished: Updates that workers had on disk as finished.
        verdicts: Verdict to number of updates.
        replacements: Tasks that were offered in place of another.
        again: Copies that were sent on purpose.
        wrong: What the oracle found.
    """

    name: str
    settings: str
    workers: int
    rounds: int
    trainings: int
    finished: int
    verdicts: Mapping[str, int]
    copies: int
    replacements: int
    again: int
    parts_again: int
    faults: Mapping[Cell, int]
    seconds: float
    wrong: Sequence[str]


def table(outcomes: Sequence[Outcome], seed: int, broker: str) -> str:
    """The evidence of some acts."""
    names = [outcome.name for outcome in outcomes]
    verdicts = Counter[str]()
    for outcome in outcomes:
        verdicts.update(outcome.verdicts)
    facts = [
        _row("settings", [o.settings for o in outcomes], ""),
        _row("worker processes", [o.workers for o in outcomes], ""),
        _numbers("rounds", [o.rounds for o in outcomes]),
        _numbers("trainings begun", [o.trainings for o in outcomes]),
        _numbers("updates finished on a worker's disk", [o.finished for o in outcomes]),
        *(
            _numbers(f"… of these {verdict}", [o.verdicts.get(verdict, 0) for o in outcomes])
            for verdict, _ in verdicts.most_common()
        ),
        _numbers("copies that came and were not counted", [o.copies for o in outcomes]),
        _numbers("tasks offered in place of another", [o.replacements for o in outcomes]),
        _numbers("seconds", [round(o.seconds) for o in outcomes]),
        _numbers(
            "**wrong (lost, counted twice, sums that differ)**", [len(o.wrong) for o in outcomes]
        ),
    ]
    faults = [
        _numbers(f"{cell.actor}: {cell.fault}", [o.faults[cell] for o in outcomes])
        for cell in CELLS
    ]
    total = _numbers("**all faults**", [sum(o.faults.values()) for o in outcomes])
    parts = _numbers("beside them, parts of updates sent again", [o.parts_again for o in outcomes])
    return "\n".join(
        (
            f"RabbitMQ {broker}, Python {platform.python_version()}, {platform.system()} on "
            f"{platform.machine()}, seed {seed}.",
            "",
            _row("what there was", names, "all"),
            _row("---", ["---:"] * len(names), "---:"),
            *facts,
            "",
            _row("faults that were seen to happen", names, "all"),
            _row("---", ["---:"] * len(names), "---:"),
            *faults,
            total,
            parts,
            "",
        )
    )


def _numbers(what: str, values: Sequence[int]) -> str:
    return _row(what, list(values), sum(values))


def _row(what: str, values: Sequence[object], total: object) -> str:
    return f"| {' | '.join(str(each) for each in (what, *values, total))} |"
