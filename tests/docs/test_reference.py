"""The generated pages are current."""

from __future__ import annotations

import dataclasses

import pytest

from schemas.messages import KINDS, Message
from scripts import describe_commands, describe_messages
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"


def test_the_page_of_the_messages_is_current() -> None:
    page = (REFERENCE / "messages.md").read_text(encoding="utf-8")
    assert page == describe_messages.reference(), (
        "run: python scripts/describe_messages.py > docs/reference/messages.md"
    )


def test_the_page_of_the_commands_is_current() -> None:
    page = (REFERENCE / "command-line.md").read_text(encoding="utf-8")
    assert page == describe_commands.reference(), (
        "run: python scripts/describe_commands.py > docs/reference/command-line.md"
    )


@pytest.mark.parametrize("cls", KINDS.values())
def test_every_field_of_a_message_has_a_meaning(cls: type[Message]) -> None:
    section = describe_messages.reference().partition(
        f"\n### {next(kind for kind, each in KINDS.items() if each is cls)}\n"
    )[2]
    rows = section.partition("\n## ")[0].partition("\n### ")[0].splitlines()
    for field in dataclasses.fields(cls):
        (row,) = (row for row in rows if row.startswith(f"| `{field.name}` | "))
        assert row.count("|") == 4
        assert not row.endswith("|  |")
