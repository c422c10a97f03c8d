"""Every verdict has its sentences."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from coordinator.events import Verdict
from coordinator.meanings import MEANINGS, OF_EVALUATIONS, Meaning
from settings.fields import fields


def test_every_verdict_has_a_meaning_and_nothing_else_has() -> None:
    assert list(MEANINGS) == list(get_args(Verdict))


EACH = [*MEANINGS.values(), *OF_EVALUATIONS.values()]


@pytest.mark.parametrize("meaning", EACH)
def test_a_meaning_and_what_to_do_are_sentences(meaning: Meaning) -> None:
    for sentence in (meaning.says, meaning.remedy):
        assert sentence[0].isupper()
        assert sentence.endswith(".")


@pytest.mark.parametrize("meaning", EACH)
def test_settings_that_are_named_exist(meaning: Meaning) -> None:
    said = f"{meaning.says} {meaning.remedy}"
    named = re.findall(r"\b(?:rounds|coordinator|run|evaluation)\.\w+", said)
    assert set(named) <= set(fields())
