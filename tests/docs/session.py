"""Doing what a page says: its files are written and its blocks run, in order, in one folder.

    ```bash                 a shell script, run with the environment's fedmq and python
    ```python               a program, run with the environment's python
    ```python learner.py    a file
    ```toml federation.toml a file
    ```console, ```text     for the eye

Shell blocks that only call `make` are tried with `make -n`, in the repository.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.docs.pages import ROOT, Block, blocks, name_of

LIMIT_S = 240


def follow(page: Path, folder: Path, variables: Mapping[str, str]) -> None:
    """Do all that a page says in a folder; fails with what the failing block printed.

    Args:
        page: What to follow.
        folder: Where to; it is given the examples first, and no block leaves it.
        variables: More of the environment, such as `FEDMQ_BROKER_URL`.
    """
    shutil.copytree(ROOT / "examples", folder / "examples", dirs_exist_ok=True)
    environment = {**_clean_environment(), **variables}
    for block in blocks(page):
        words = block.language.split()
        match words:
            case ["bash"] if _is_make(block):
                _try_make(block)
            case ["bash"]:
                _run(["bash", "-euo", "pipefail", "-c", block.text], folder, environment, page)
            case ["python"]:
                _run([sys.executable, "-c", block.text], folder, environment, page)
            case ["python" | "toml", file]:
                (folder / file).write_text(block.text, encoding="utf-8")
            case ["console" | "text"]:
                pass
            case _:
                raise AssertionError(f"{name_of(page)}: what is a block of {block.language!r}?")


def needs_a_broker(page: Path) -> bool:
    """Whether a page starts a coordinator or a worker."""
    return any(
        command in block.text
        for block in blocks(page, "bash")
        for command in ("fedmq coordinator", "fedmq worker")
    )


def _clean_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FEDMQ_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path}


def _is_make(block: Block) -> bool:
    return all(line.startswith("make ") for line in _commands(block))


def _commands(block: Block) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in block.text.splitlines())
    return [line for line in lines if line]


def _try_make(block: Block) -> None:
    for line in _commands(block):
        subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, check=True, capture_output=True)


def _run(command: list[str], folder: Path, environment: Mapping[str, str], page: Path) -> None:
    # A group of its own: what a block leaves in the background ends with it.
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"{name_of(page)}: no end after {LIMIT_S} s\n{output}") from None
    assert process.returncode == 0, f"{name_of(page)}: {command[-1]}\n{output}"
