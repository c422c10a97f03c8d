from __future__ import annotations

import re

import pytest

from deploy.requirements import requirements
from tests.docs.pages import ROOT

TEXT = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")


def stage(name: str) -> str:
    """The lines of a stage."""
    return re.split(r"^FROM ", TEXT.partition(f" AS {name}\n")[2], maxsplit=1, flags=re.MULTILINE)[
        0
    ]


def test_every_install_is_pinned() -> None:
    whole = TEXT.replace("\\\n", " ")
    installs = re.findall(r"pip (?:--python \S+ )?install [^&\n]*", whole)
    assert len(installs) >= 5
    for install in installs:
        assert "-c constraints.txt" in install or "--no-deps --prefix" in install, install


@pytest.mark.parametrize("name", ["coordinator", "worker"])
def test_an_image_runs_as_a_number_that_is_not_root(name: str) -> None:
    assert "USER 10001:10001" in stage(name)
    assert "pip" not in stage(name)


def test_a_working_directory_cannot_shadow_what_is_ours() -> None:
    assert "PYTHONSAFEPATH=1" in stage("base")


def test_it_builds_without_buildkit() -> None:
    assert "--mount" not in TEXT
    assert "<<" not in TEXT
    assert "syntax=" not in TEXT


def test_requirements_are_those_of_the_project_and_its_extras() -> None:
    project = ROOT / "pyproject.toml"
    plain = requirements(project, [])
    assert not [line for line in plain if line.startswith("torch")]
    assert [line for line in requirements(project, ["torch"]) if line not in plain] == [
        "torch>=2.2"
    ]
    both = requirements(project, ["torch", "demo"])
    assert len(both) == len(set(both))


def test_an_extra_that_is_none_is_named() -> None:
    with pytest.raises(SystemExit, match="expected extras of torch, demo, depot, came tensor"):
        requirements(ROOT / "pyproject.toml", ["tensor"])
