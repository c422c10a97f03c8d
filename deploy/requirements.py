"""Print what a project needs at run time, one requirement a line, for `pip install -r`.

    python requirements.py pyproject.toml torch depot     # with the extras "torch" and "depot"

So that an image's dependencies are a layer that a change of the code leaves as it is. Standard
library only.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(project: Path, extras: list[str]) -> list[str]:
    """The requirements of a pyproject.toml and of some of its extras, each once.

    Raises:
        SystemExit: There is no such extra.
    """
    table = tomllib.loads(project.read_text("utf-8"))["project"]
    optional = table["optional-dependencies"]
    unknown = [extra for extra in extras if extra not in optional]
    if unknown:
        sys.exit(f"requirements: expected extras of {', '.join(optional)}, came {unknown[0]}")
    found = table["dependencies"] + [line for extra in extras for line in optional[extra]]
    return list(dict.fromkeys(found))


if __name__ == "__main__":
    print("\n".join(requirements(Path(sys.argv[1]), sys.argv[2:])))
