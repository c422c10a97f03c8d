"""The page of the rules: what is taken away, and which test fails then.

python -m scripts.describe_rules > docs/explanation/rules.md
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.mutations.mutation import Mutation
from tests.mutations.rules import RULES

_HEAD = """\
# The rules, and what notices that one is gone

<!-- Written by `python -m scripts.describe_rules`; edit `tests/mutations/` instead. -->

Each rule of the [delivery protocol](protocol.md) is kept by a few lines of code, and each of those
lines has a test that fails without it. `make mutations` proves it: it takes one rule after another
out of a copy of the code ({mutations} changes for {rules} rules), runs the one test named beside
it, and says which removal was not noticed.

    make mutations                     # all of them, about {minutes} minutes on two cores
    make mutations ONLY="§4 spool"     # those with these words in rule, file or test

A rule with several halves is taken away half by half. The rules of shards, of leadership among
several processes, and of error-feedback residuals are not here: they are not built yet. That
messages are published as persistent is not here either, since a quorum queue writes every message
to disk whatever it says.
"""

_PROTOCOL = Path(__file__).parent.parent / "docs" / "explanation" / "protocol.md"
_MINUTES = 7  # measured on two cores that other work shared


def reference() -> str:
    """The page."""
    rules = {mutation.rule for mutation in RULES}
    head = _HEAD.format(mutations=len(RULES), rules=len(rules), minutes=_MINUTES)
    return "\n".join([head, *_sections()])


def _sections() -> Iterator[str]:
    headings = re.findall(r"^## (§\d) (.*)$", _PROTOCOL.read_text(encoding="utf-8"), re.MULTILINE)
    titles = dict(headings)
    for paragraph, mutations in itertools.groupby(RULES, key=_paragraph):
        yield f"## {paragraph} {titles[paragraph]}\n"
        yield "| rule | what is taken away | the test that fails |\n|---|---|---|"
        rule = ""
        for mutation in mutations:
            named = "" if mutation.rule == rule else mutation.rule.removeprefix(f"{paragraph} ")
            rule = mutation.rule
            yield f"| {named} | {mutation.what} ({_linked(mutation.file)}) | {_test(mutation)} |"
        yield ""


def _paragraph(mutation: Mutation) -> str:
    return mutation.rule.split(maxsplit=1)[0]


def _linked(file: str) -> str:
    return f"[{file}](../../{file})"


def _test(mutation: Mutation) -> str:
    file, *names = mutation.test.split("::")
    return f"[{file.removeprefix('tests/')}](../../{file}) `{names[-1]}`"


if __name__ == "__main__":
    sys.stdout.write(reference())
