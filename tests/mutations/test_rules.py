"""The table of rules fits the code; that each removal is noticed `make mutations` shows."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from scripts import describe_rules
from tests.docs.pages import ROOT
from tests.mutations.mutation import Mutation
from tests.mutations.rules import RULES

EXPLANATION = ROOT / "docs" / "explanation"


def name_of(mutation: Mutation) -> str:
    return f"{mutation.rule}: {mutation.what}".replace("§", "")


@cache
def text_of(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


@cache
def functions_in(file: str) -> dict[str, set[str]]:
    """The test functions of a file by their class, "" for none; a class has those of its bases."""
    tree = ast.parse(text_of(file))
    found = {"": functions_of(tree)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = functions_of(node)
            for base in node.bases:
                if isinstance(base, ast.Name):
                    found[node.name] |= inherited(tree, base.id)
    return found


def functions_of(node: ast.Module | ast.ClassDef) -> set[str]:
    return {each.name for each in node.body if isinstance(each, ast.FunctionDef)}


def inherited(tree: ast.Module, base: str) -> set[str]:
    """The tests of a contract, if it is one."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and base in {each.name for each in node.names}:
            module = str(node.module)
            if module.startswith("tests."):
                return functions_in(f"{module.replace('.', '/')}.py")[base]
    return set()


def test_every_paragraph_of_the_protocol_has_rules() -> None:
    page = text_of("docs/explanation/protocol.md")
    paragraphs = re.findall(r"^## (§\d) ", page, re.MULTILINE)
    assert paragraphs == ["§1", "§2", "§3", "§4", "§5"]
    assert list(dict.fromkeys(mutation.rule.split()[0] for mutation in RULES)) == paragraphs


def test_no_mutation_is_there_twice() -> None:
    assert len({name_of(mutation) for mutation in RULES}) == len(RULES)
    assert len({(each.file, each.old, each.new) for each in RULES}) == len(RULES)


@pytest.mark.parametrize("mutation", RULES, ids=name_of)
def test_what_is_taken_away_is_there_once_and_what_is_left_is_python(mutation: Mutation) -> None:
    text = text_of(mutation.file)
    assert text.count(mutation.old) == 1, f"{mutation.file}: {mutation.old!r}"
    assert mutation.new != mutation.old
    changed = text.replace(mutation.old, mutation.new)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(text)), "nothing but looks"


@pytest.mark.parametrize("mutation", RULES, ids=name_of)
def test_the_test_that_must_fail_is_there(mutation: Mutation) -> None:
    file, *names = mutation.test.split("::")
    assert Path(file).parts[0] == "tests"
    function = names.pop().partition("[")[0]
    assert function in functions_in(file)[names[0] if names else ""], mutation.test


def test_the_page_of_the_rules_is_current() -> None:
    page = (EXPLANATION / "rules.md").read_text(encoding="utf-8")
    assert page == describe_rules.reference(), (
        "run: python -m scripts.describe_rules > docs/explanation/rules.md"
    )


def test_a_row_of_the_page_is_one_row() -> None:
    for mutation in RULES:
        assert "|" not in mutation.rule + mutation.what
        assert "\n" not in mutation.rule + mutation.what
