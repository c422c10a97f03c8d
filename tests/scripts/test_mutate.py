"""The check of the rules tells what was noticed from what survives, and from its own errors."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import mutate
from scripts.mutate import Workshop, check, chosen
from tests.mutations.mutation import Mutation
from tests.mutations.rules import RULES

CODE = "def double(number):\n    return 2 * number\n"
TESTS = """
from code_of_ours import double

def test_double():
    assert double(3) == 6

def test_nothing():
    assert double(0) == 0

def test_of_the_copy(tmp_path):
    import os, code_of_ours
    assert code_of_ours.__file__ == os.path.join(os.getcwd(), "code_of_ours.py")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "code_of_ours.py").write_text(CODE)
    (tmp_path / "test_code.py").write_text(TESTS)
    (tmp_path / "not_ours.txt").write_text("it is not tracked")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    tracked = ["code_of_ours.py", "test_code.py"]
    subprocess.run(["git", "-C", str(tmp_path), "add", *tracked], check=True)
    return tmp_path


@pytest.fixture
def workshop(project: Path) -> Iterator[Workshop]:
    opened = Workshop(project)
    yield opened
    opened.close()


def mutation(new: str, test: str = "test_double") -> Mutation:
    return Mutation(
        "§1 twice is double", "it", "code_of_ours.py", "2 * number", new, f"test_code.py::{test}"
    )


def test_a_test_that_fails_has_noticed_and_the_rule_is_put_back(workshop: Workshop) -> None:
    outcome = workshop.try_out(mutation("3 * number"))
    assert (outcome.found, outcome.detail) == ("noticed", "")
    assert (workshop.folder / "code_of_ours.py").read_text() == CODE
    assert workshop.run_tests(["test_code.py"])[0] == 0


def test_a_test_that_passes_lets_the_removal_survive(workshop: Workshop) -> None:
    outcome = workshop.try_out(mutation("3 * number", "test_nothing"))
    assert outcome.found == "survived"
    assert "1 passed" in str(outcome)


@pytest.mark.parametrize(
    ("new", "test"), [("2 * (number", "test_double"), ("3 * number", "test_that_is_not_there")]
)
def test_what_cannot_be_tested_has_noticed_nothing(workshop: Workshop, new: str, test: str) -> None:
    assert workshop.try_out(mutation(new, test)).found == "error"


def test_a_test_that_does_not_end_has_noticed_nothing(project: Path) -> None:
    hasty = Workshop(project, timeout_s=0.0)
    outcome = hasty.try_out(mutation("3 * number"))
    hasty.close()
    assert (outcome.found, outcome.detail) == ("error", "it did not end in 0 s")


def test_a_rule_that_is_not_where_it_was_is_an_error(workshop: Workshop) -> None:
    workshop.run_tests(["test_code.py"])
    with pytest.raises(ValueError, match="expected once"):
        workshop.try_out(Mutation("§1", "it", "code_of_ours.py", "4 * number", "", "test_code.py"))


def test_the_copy_is_of_what_is_tracked_and_goes_when_it_is_closed(
    project: Path, workshop: Workshop
) -> None:
    assert sorted(path.name for path in workshop.folder.iterdir()) == [
        "code_of_ours.py",
        "test_code.py",
    ]
    workshop.close()
    workshop.close()
    assert not workshop.folder.exists()
    assert (project / "code_of_ours.py").read_text() == CODE
    assert workshop.run_tests(["test_code.py"]) == (-1, "stopped")


def test_all_are_tried_out_in_copies_of_their_own(project: Path) -> None:
    mutations = [mutation(f"{number} * number") for number in (3, 4, 5)]
    outcomes = list(check(project, mutations, workers=2))
    assert {outcome.mutation for outcome in outcomes} == set(mutations)
    assert {outcome.found for outcome in outcomes} == {"noticed"}


def test_words_choose_from_rule_file_and_test() -> None:
    some = chosen(["§4", "SPOOL"])
    assert 0 < len(some) < len(RULES)
    assert all(each.rule.startswith("§4") for each in some)
    assert chosen([]) == list(RULES)


def test_words_that_choose_nothing_are_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mutate", "no such word"])
    assert mutate.main() == 2
    assert "no mutation has these words" in capsys.readouterr().err
