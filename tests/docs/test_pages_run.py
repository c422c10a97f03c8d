"""What the pages say to do works."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, blocks, name_of
from tests.docs.session import follow, needs_a_broker
from tests.learning.optional import needs

_TO_DO = [page for page in PAGES if blocks(page, "bash") or blocks(page, "python")]
_WITH_BROKER = [page for page in _TO_DO if needs_a_broker(page)]
_WITHOUT = [page for page in _TO_DO if page not in _WITH_BROKER]


@pytest.fixture(autouse=True)
def _packages() -> None:
    # Looked for, not imported: that takes seconds, and the pages' own processes do it.
    for package in ("torch", "sklearn"):
        if find_spec(package) is None:
            needs(package)


@pytest.mark.slow
@pytest.mark.parametrize("page", _WITHOUT, ids=name_of)
def test_a_page_can_be_followed(page: Path, tmp_path: Path) -> None:
    follow(page, tmp_path, {})


@pytest.mark.slow
@pytest.mark.parametrize("page", _WITH_BROKER, ids=name_of)
def test_a_page_can_be_followed_to_the_end_of_its_runs(
    page: Path, tmp_path: Path, amqp_url: str, federation_name: str
) -> None:
    variables = {"FEDMQ_BROKER_URL": amqp_url, "FEDMQ_FEDERATION_NAME": federation_name}
    follow(page, tmp_path, variables)
    folders = [file.parent.parent.parent for file in tmp_path.rglob("coordinator.db")]
    assert folders
    for folder in folders:
        status = _status(folder / "federation.toml")
        assert status["state"] == "ended"
        assert status["why"] == "all rounds are done"
        assert status["updates"]["counted"] >= status["rounds"]


def _status(settings: Path) -> dict[str, Any]:
    fedmq = Path(sys.executable).with_name("fedmq")
    done = subprocess.run(
        [fedmq, "status", "--config", settings, "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said
