"""Links lead somewhere, and paths that are named exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, anchors, inline_code, links, name_of

_FOLDERS = sorted(
    entry.name for entry in ROOT.iterdir() if entry.is_dir() and not entry.name.startswith(".")
)
_PATH = re.compile(rf"(?:{'|'.join(_FOLDERS)})/[\w./-]*|[\w-]+\.(?:toml|md|txt)|\.ci/run|Makefile")
_NOT_HERE = {  # what a reader makes
    "federation.toml",
    "accuracy.html",
    "deploy/.env",
    "deploy/secrets/",
}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target}"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_path_that_is_named_exists(page: Path) -> None:
    for code in inline_code(page):
        if _PATH.fullmatch(code) and code not in _NOT_HERE:
            assert (ROOT / code).exists() or (page.parent / code).exists(), code


def test_every_page_can_be_reached_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    reached, todo = {index}, [index]
    while todo:
        page = todo.pop()
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target in PAGES and target not in reached:
                reached.add(target)
                todo.append(target)
    missing = {name_of(page) for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert missing - {name_of(page) for page in reached} == set()
