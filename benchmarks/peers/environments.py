"""The peers that fedmq is compared with: each in an environment of its own, never imported.

    python -m benchmarks.peers.environments        makes .peers/flower and .peers/nvflare

A script of this folder runs in a peer's environment and prints one JSON object on its last line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / ".peers"
REQUIREMENTS = {"flower": "flwr[simulation]==1.41.0", "nvflare": "nvflare==2.9.0"}
PACKAGES = {"flower": "flwr", "nvflare": "nvflare"}
LIMIT_S = 1800.0


class PeerError(Exception):
    """A peer's script failed; the message ends with what it wrote."""


def missing(peer: str) -> str:
    """Why a peer cannot be measured here; "" if it can."""
    found = FOLDER.glob(f"{peer}/lib/python*/site-packages/{PACKAGES[peer]}/__init__.py")
    return "" if any(found) else f"{peer} is not installed (make peers)"


def run(peer: str, script: str, *words: str) -> dict[str, Any]:
    """What a script of this folder finds in a peer's environment.

    Raises:
        PeerError: It failed, or took longer than half an hour.
    """
    programs = FOLDER / peer / "bin"
    environ = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}  # their own come first
    command = [str(programs / "python"), str(Path(__file__).parent / script), *words]
    try:
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        wrote = error.stdout[-3000:] + error.stderr[-3000:]
        raise PeerError(f"{script} failed:\n{wrote}") from error
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"{script} took longer than {LIMIT_S:.0f} s") from error
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def install(peer: str) -> None:
    """Make a peer's environment, if it is not there."""
    if not missing(peer):
        print(f"{peer}: there already")
        return
    folder = FOLDER / peer
    print(f"{peer}: installing {REQUIREMENTS[peer]} in {folder}", flush=True)
    venv.create(folder, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, REQUIREMENTS[peer]], check=True)


def main() -> None:
    """Install all of them."""
    for peer in REQUIREMENTS:
        try:
            install(peer)
        except subprocess.CalledProcessError:
            sys.exit(f"{peer} could not be installed; benchmarks that compare with it say so")


if __name__ == "__main__":
    main()
