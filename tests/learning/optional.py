"""Packages that only some learners need: skipped where absent, but never where CI=true."""

from __future__ import annotations

import importlib
import os

import pytest


def needs(package: str) -> None:
    if os.environ.get("CI") == "true":
        importlib.import_module(package)
    else:
        pytest.importorskip(package, reason=f"{package} is not installed: run `make setup`")
