"""Make `.venv`: all that running and developing fedmq needs, at the versions of constraints.txt.

Rules:

- Standard library only, and nothing outside `.venv` changes.
- A second run with nothing changed does nothing: a stamp in `.venv` names what it was made from.
- torch is resolved first, as a dry run. CUDA packages (several GB) are never installed: if they
  would come, torch is taken from PyTorch's CPU index, and if they still would, set-up stops.
- What goes wrong is one line on stderr and exit code 1.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

OLDEST_PYTHON = (3, 11)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
EXTRAS = ("torch", "demo", "depot")
GROUPS = ("dev",)
STAMP = "set-up.stamp"


class SetUpError(Exception):
    """Set-up cannot go on; the message is one line that says what to do."""


@dataclass(frozen=True)
class Package:
    """A package that pip would install, and the names of what it needs."""

    name: str
    version: str
    needs: tuple[str, ...] = ()


def normal(name: str) -> str:
    """A package's name as indexes compare it: `Foo_Bar` is `foo-bar`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_cuda(name: str, version: str = "") -> bool:
    """Whether a package is there only for a CUDA (or other accelerator) build of torch."""
    plain = normal(name)
    if plain == "torch":
        return re.search(r"\+(cu|rocm|xpu)", version) is not None
    return plain in ("nvidia", "cuda") or plain.startswith(("nvidia-", "cuda-"))


def cuda_packages(packages: Iterable[Package]) -> list[str]:
    """Names of the CUDA packages among `packages` and what they need, sorted."""
    found = set()
    for package in packages:
        if is_cuda(package.name, package.version):
            found.add(f"{normal(package.name)} {package.version}")
        found.update(normal(need) for need in package.needs if is_cuda(need))
    return sorted(found)


def choose_torch_index(
    resolve: Callable[[str | None], list[Package]], cpu_index: str
) -> str | None:
    """Decide where torch comes from.

    Args:
        resolve: What pip would install for torch from an index (`None`: the ordinary one,
            with all that torch needs; else torch alone, with the names of what it needs).
        cpu_index: The index to use when the ordinary one would bring CUDA packages.

    Returns:
        `None` for the ordinary index, else `cpu_index`.

    Raises:
        SetUpError: CUDA packages would come from both, or an index did not answer.
    """
    if not cuda_packages(resolve(None)):
        return None
    left = cuda_packages(resolve(cpu_index))
    if left:
        raise SetUpError(
            f"torch from {without_credentials(cpu_index)} would still bring {', '.join(left[:3])}; "
            "set TORCH_INDEX_URL to an index of CPU builds and run again"
        )
    return cpu_index


def without_credentials(url: str) -> str:
    """`url` with a user name and password in it replaced by `***`."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]).geturl()


def read_report(text: str) -> list[Package]:
    """The packages in the JSON of `pip install --report`."""
    packages = []
    for item in json.loads(text)["install"]:
        metadata = item["metadata"]
        needs = [line for line in metadata.get("requires_dist", []) if "extra ==" not in line]
        names = tuple(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in needs)
        packages.append(Package(metadata["name"], metadata["version"], names))
    return packages


def requirements(project: dict[str, Any]) -> list[str]:
    """All that pyproject.toml asks for at run time, by our extras and by our groups, sorted."""
    table = project["project"]
    found = set(table["dependencies"])
    for extra in EXTRAS:
        found.update(table["optional-dependencies"][extra])
    for group in GROUPS:
        found.update(group_requirements(project["dependency-groups"], group))
    return sorted(found)


def group_requirements(groups: dict[str, Any], name: str) -> Iterable[str]:
    """The requirements of one dependency group and of the groups it includes."""
    for entry in groups[name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from group_requirements(groups, entry["include-group"])


def stamp_of(project: dict[str, Any], constraints: bytes, root: Path, python: str) -> str:
    """What an environment is made from, as one line: it changes when set-up must run again."""
    parts = {key: project[key] for key in ("build-system", "project", "dependency-groups")}
    # The folder counts because scripts in an environment name it: a moved tree needs a new one.
    made_from = [parts, constraints.decode(), str(root), python, Path(__file__).read_text("utf-8")]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


class Environment:
    """The virtual environment of a source tree."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / ".venv"
        self.python = self.folder / "bin" / "python"
        self.constraints = root / "constraints.txt"

    def make(self) -> None:
        """Create the environment, over a broken one if need be.

        Raises:
            SetUpError: Python has no `venv`, or the environment could not be made.
        """
        if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
            raise SetUpError(
                "this Python has no venv; install it (Debian and Ubuntu: apt-get install "
                "python3-venv) and run again"
            )
        if self.works():
            return
        say(f"making {self.folder.name} with Python {sys.version.split()[0]}")
        run([sys.executable, "-m", "venv", "--clear", str(self.folder)], "could not make .venv")

    def works(self) -> bool:
        """Whether the environment is there, for this Python, and has pip."""
        probe = "import sys, pip; print(sys.prefix, *sys.version_info[:2], sep='\\n')"
        command = [str(self.python), "-c", probe]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return False
        return answer.splitlines() == [str(self.folder), *map(str, sys.version_info[:2])]

    def install(self, *arguments: str) -> None:
        """Install with pip, at the versions of constraints.txt.

        Raises:
            SetUpError: pip failed; it has said why on stderr.
        """
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--no-input"]
        run([*command, "-c", str(self.constraints), *arguments], "pip could not install it all")

    def resolve_torch(self, requirement: str, index: str | None) -> list[Package]:
        """What pip would install for torch, without downloading it.

        Raises:
            SetUpError: pip found no way, or could not reach the index.
        """
        command = [str(self.python), "-m", "pip", "install", "--dry-run", "--quiet", "--no-input"]
        command += ["--report", "-", "-c", str(self.constraints), requirement]
        if index is not None:
            command += ["--no-deps", "--index-url", index]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            where = "the ordinary index" if index is None else without_credentials(index)
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
            why = errors[0].removeprefix("ERROR: ") if errors else "pip did not say why"
            raise SetUpError(f"torch cannot be resolved from {where}: {why}")
        return read_report(done.stdout)


def say(line: str) -> None:
    """Tell what is being done."""
    print(f"set-up: {line}", flush=True)


def run(command: Sequence[str], failure: str) -> None:
    """Run a command.

    Raises:
        SetUpError: It ended with another code than 0.
    """
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise SetUpError(f"{failure} (exit code {code}, the reason is above)")


def set_up(root: Path, cpu_index: str) -> None:
    """Bring the environment of the tree at `root` up to date.

    Raises:
        SetUpError: It cannot be; the message says what to do.
    """
    import tomllib  # after the version check: older ones do not have it

    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    environment = Environment(root)
    stamp = environment.folder / STAMP
    wanted = stamp_of(project, environment.constraints.read_bytes(), root, sys.version)
    if stamp.is_file() and stamp.read_text("utf-8") == wanted and environment.python.exists():
        return
    environment.make()
    stamp.unlink(missing_ok=True)
    environment.install("pip")
    install_packages(environment, requirements(project), cpu_index)
    environment.install("--no-deps", "--no-build-isolation", "--editable", str(root))
    stamp.write_text(wanted, "utf-8")
    say("done")


def install_packages(environment: Environment, wanted: list[str], cpu_index: str) -> None:
    """Install the packages, torch from where it brings no CUDA packages."""
    torch = next(line for line in wanted if re.match(r"torch\b", line))
    index = choose_torch_index(lambda place: environment.resolve_torch(torch, place), cpu_index)
    if index is not None:
        say(f"installing torch from {without_credentials(index)}")
        environment.install("--no-deps", "--index-url", index, torch)
    say("installing packages (the first time takes a minute or two)")
    environment.install(*wanted)


def main() -> int:
    """Set up the tree that this script is in; the exit code."""
    try:
        if sys.version_info[:2] < OLDEST_PYTHON:
            wanted = ".".join(map(str, OLDEST_PYTHON))
            raise SetUpError(
                f"Python {wanted} or newer is needed, this is {sys.version.split()[0]}; "
                "run make with PYTHON=/path/to/a/newer/python3"
            )
        root = Path(__file__).resolve().parent.parent
        set_up(root, os.environ.get("TORCH_INDEX_URL") or CPU_INDEX)
    except SetUpError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
