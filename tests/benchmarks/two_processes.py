"""A process that has another like it below it, until its input closes."""

import subprocess
import sys

CHILD = "import sys; print('both', flush=True); sys.stdin.read()"

if __name__ == "__main__":
    subprocess.run([sys.executable, "-c", CHILD], check=True)
