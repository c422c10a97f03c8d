"""What the project costs where it is installed: packages, disk, and the agent's start.

    python scripts/measure_footprint.py

Prints one line for each figure. What torch and scikit-learn bring by themselves is not counted, nor
are development tools.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

HEAVY = ("torch", "scikit-learn")
REPEATS = 7
AGENT = "import worker.cli, broker.rabbitmq"
# The kernel's own high-water mark: what getrusage says begins with the size of the parent.
_MEASURE = (
    "import json, time; t = time.perf_counter(); {imports}; s = time.perf_counter() - t; "
    "peak = [line for line in open('/proc/self/status') if line.startswith('VmHWM')][0]; "
    "print(json.dumps([s, int(peak.split()[1])]))"
)
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def closure(names: list[str]) -> set[str]:
    """The installed packages that some packages need, themselves included."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = _normal(todo.pop())
        if name in found:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:  # needed on other machines only
            continue
        found.add(name)
        todo.extend(_needs(package))
    return found


def added() -> dict[str, int]:
    """Each package that set-up adds to torch and scikit-learn, and its bytes on disk."""
    ours = closure(["fedmq"]) - closure(list(HEAVY)) - {"fedmq"}
    return {name: _bytes(distribution(name)) for name in sorted(ours)}


def start_of_agent() -> tuple[float, int]:
    """Seconds (median) and KiB of memory at most, for importing all that the agent needs."""
    runs = [_start() for _ in range(REPEATS)]
    return statistics.median(s for s, _ in runs), max(kib for _, kib in runs)


def _start() -> tuple[float, int]:
    words = [sys.executable, "-P", "-c", _MEASURE.format(imports=AGENT)]
    seconds, kib = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return seconds, kib


def _needs(package: Distribution) -> list[str]:
    lines = [line for line in package.requires or [] if "extra ==" not in line]
    return [match.group() for line in lines if (match := _NAME.match(line))]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _bytes(package: Distribution) -> int:
    paths = [package.locate_file(file) for file in package.files or []]
    return sum(path.stat().st_size for path in paths if path.is_file())  # type: ignore[attr-defined]  # paths of files on disk


def main() -> None:
    """Print all figures."""
    packages = added()
    total = sum(packages.values())
    print(f"packages added to {' and '.join(HEAVY)}: {len(packages)}, {total / 2**20:.1f} MB")
    for name, size in sorted(packages.items(), key=lambda item: -item[1]):
        print(f"  {name:24} {size / 2**20:6.1f} MB")
    seconds, kib = start_of_agent()
    print(f"agent's imports: {seconds:.3f} s (median of {REPEATS}), {kib / 1024:.1f} MB of memory")


if __name__ == "__main__":
    main()
