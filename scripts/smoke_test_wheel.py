"""Build the wheel, install it in a clean environment outside the tree, and see that it runs.

What only shows there: a module left out of the wheel, a dependency left out of pyproject.toml, an
import that works by accident of the working directory. So the commands run in a folder that holds
a user's own `worker.py`, `coordinator.py` and `schemas.py`, which must not be taken for ours.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECOYS = ("worker.py", "coordinator.py", "schemas.py")

# Run by the clean environment's Python with the console scripts' own rule for the path: the
# working directory is not on it.
IMPORT_CHECK = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if module.name.endswith(".__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except Exception as error:
            missing = error.__cause__ or error  # ours may say which extra to install
            if getattr(missing, "name", None) not in ("torch", "sklearn"):
                raise
    assert "site-packages" in package.__file__, package.__file__
"""


def run(command: Sequence[object], cwd: Path) -> str:
    """Run a command; its output.

    Raises:
        SystemExit: It failed.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        line = " ".join(words)
        sys.exit(
            f"wheel smoke test: {line}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def build_wheel(into: Path) -> Path:
    """Build our wheel with the build tools of this environment."""
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", into]
    run([sys.executable, "-m", "pip", "wheel", *options, ROOT], cwd=into)
    return next(into.glob("*.whl"))


def install(wheel: Path, environment: Path) -> Path:
    """Install the wheel with its run-time dependencies only; the environment's `bin`."""
    # The pip of this environment installs into the other one: a clean one needs none of its own.
    run([sys.executable, "-m", "venv", "--without-pip", environment], cwd=wheel.parent)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    run([*pip, "-c", ROOT / "constraints.txt", wheel], cwd=wheel.parent)
    return python.parent


def check(bin_folder: Path, empty: Path, project: dict[str, dict[str, str]]) -> None:
    """Run each command and import each module from a folder of decoys."""
    for name in DECOYS:
        (empty / name).write_text("raise SystemExit('a file of the working directory was taken')\n")
    version = run([bin_folder / "fedmq", "--version"], cwd=empty)
    print(f"wheel smoke test: {version.strip()}")
    for name in project["scripts"]:
        assert "usage" in run([bin_folder / name, "--help"], cwd=empty).lower(), name
    python = [bin_folder / "python", "-P", "-c", IMPORT_CHECK]
    run([*python, *packages()], cwd=empty)


def packages() -> list[str]:
    """The import packages that the wheel must hold."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    found: list[str] = table["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return found


def main() -> None:
    """Build, install, check."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    with tempfile.TemporaryDirectory(prefix="fedmq-wheel-") as name:
        folder = Path(name)
        for part in ("wheel", "empty"):
            (folder / part).mkdir()
        bin_folder = install(build_wheel(folder / "wheel"), folder / "environment")
        check(bin_folder, folder / "empty", project)
    print("wheel smoke test: passed")


if __name__ == "__main__":
    main()
