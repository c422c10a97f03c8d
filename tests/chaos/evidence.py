"""The table of evidence, as markdown: made of what was counted, never typed."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.chaos.faults import CELLS, SENT_AGAIN, Cell
from tests.chaos.replay import Replayed

_PAGE = """\
# Evidence of the chaos tests

<!-- Written by `make chaos EVIDENCE=FILE BROKER=…`; not by hand. -->

Federations of real processes on a private RabbitMQ, each process behind a network of its own, were
broken at random: processes killed (`kill -9`) and frozen, connections cut, reset, half-open and
slow, the broker killed and frozen, updates sent again long after their round. A fault counts only
if it was seen from outside to happen. Every training filled a slot of the model of its own, so the
model versions themselves show which updates were counted in each round, and with what weights
(`tests/chaos/oracle.py`). `make chaos SEED=…` does it again.

{table}"""


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


def page(text: str) -> str:
    """The page that shows a table."""
    return _PAGE.format(table=text)


def table(outcomes: Sequence[Outcome], replayed: Replayed | None, seed: int, broker: str) -> str:
    """The evidence of some acts, and of a replay if there was one."""
    return "\n".join(
        (
            f"RabbitMQ {broker}, Python {platform.python_version()}, {platform.system()} on "
            f"{platform.machine()}, seed {seed}.",
            "",
            *_head("what there was", outcomes),
            *_facts(outcomes),
            "",
            *_head("faults that were seen to happen", outcomes),
            *_faults(outcomes),
            "",
            *([] if replayed is None else [_sentence(replayed), ""]),
        )
    )


def _facts(outcomes: Sequence[Outcome]) -> list[str]:
    verdicts = Counter[str]()
    for outcome in outcomes:
        verdicts.update(outcome.verdicts)
    return [
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
        _numbers("**lost, counted twice, or wrong otherwise**", [len(o.wrong) for o in outcomes]),
    ]


def _faults(outcomes: Sequence[Outcome]) -> list[str]:
    return [
        *(
            _numbers(f"{cell.actor}: {cell.fault}", [outcome.faults[cell] for outcome in outcomes])
            for cell in CELLS
        ),
        _numbers("**all faults**", [sum(outcome.faults.values()) for outcome in outcomes]),
        _numbers("… without copies", [_without_copies(outcome) for outcome in outcomes]),
        _numbers("besides, parts of updates sent again", [o.parts_again for o in outcomes]),
    ]


def _without_copies(outcome: Outcome) -> int:
    return sum(count for cell, count in outcome.faults.items() if cell != SENT_AGAIN)


def _sentence(replayed: Replayed) -> str:
    same = replayed.disturbed == replayed.undisturbed
    return (
        f"A coordinator that was killed {len(replayed.died_at)} times, at "
        f"{len(set(replayed.died_at))} different kinds of steps, was fed the same "
        f"{len(replayed.undisturbed.ledger)} updates in the same order as one that nobody "
        f"disturbed: the bytes of all {len(replayed.undisturbed.models)} model versions, and the "
        f"ledger, {'were the same' if same else '**differed**'}."
    )


def _head(what: str, outcomes: Sequence[Outcome]) -> list[str]:
    names = [outcome.name for outcome in outcomes]
    return [_row(what, names, "all"), _row("---", ["---:"] * len(names), "---:")]


def _numbers(what: str, values: Sequence[int]) -> str:
    return _row(what, list(values), sum(values))


def _row(what: str, values: Sequence[object], total: object) -> str:
    return f"| {' | '.join(str(each) for each in (what, *values, total))} |"
