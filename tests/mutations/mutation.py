"""What a mutation is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutation:
    """One rule of the delivery protocol taken away, and the test that must then fail.

    Attributes:
        rule: The rule, with its paragraph in docs/explanation/protocol.md.
        what: What is taken away, in words.
        file: The source file.
        old: A text that stands in it exactly once.
        new: What stands there instead.
        test: The pytest node id of the test that must fail.
    """

    rule: str
    what: str
    file: str
    old: str
    new: str
    test: str
