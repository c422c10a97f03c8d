"""Where a `rabbitmq-server` is on this machine, and how one comes here if there is none.

The system's node is never used and never started: the package is there for its files only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Not the wrapper in /usr/sbin: Debian's refuses any user but root and rabbitmq.
_PLACES = ("/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin", "/usr/local/sbin")
_POLICY = Path("/usr/sbin/policy-rc.d")
_APT = ["apt-get", "--quiet", "-o", "DPkg::Lock::Timeout=300"]

WHAT_TO_DO = (
    "install RabbitMQ (Debian and Ubuntu: apt-get install rabbitmq-server; the tests start a "
    "private node of it), or set FEDMQ_TEST_AMQP_URL=amqp://user:password@host:5672/vhost"
)


class NoBrokerError(Exception):
    """There is no RabbitMQ to test with; the message says what to do."""


def find_server() -> Path | None:
    """The `rabbitmq-server` script that any user may start, or None."""
    for place in _PLACES:
        script = Path(place) / "rabbitmq-server"
        if script.exists():
            return script
    found = shutil.which("rabbitmq-server")
    # A wrapper that changes the user is of no use; elsewhere the script itself is on the path.
    return Path(found) if found and not found.startswith("/usr/sbin/") else None


def find_or_install_server() -> Path:
    """The `rabbitmq-server` script, installed by apt where we are root and there is none.

    Raises:
        NoBrokerError: There is none and it cannot be installed from here.
    """
    found = find_server()
    if found is not None:
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NoBrokerError(f"no RabbitMQ here: {WHAT_TO_DO}")
    with _alone():
        found = find_server()  # another process of these tests may have installed it meanwhile
        if found is None:
            _install()
            found = find_server()
    if found is None:
        raise NoBrokerError(f"apt-get installed no usable rabbitmq-server: {WHAT_TO_DO}")
    return found


def _install() -> None:
    print("installing rabbitmq-server with apt-get, its service not started", flush=True)
    with _no_service_started():
        _apt("update")
        _apt("install", "--yes", "--no-install-recommends", "rabbitmq-server")


@contextmanager
def _alone() -> Iterator[None]:
    """One process at a time: the tests run in several."""
    with (Path(tempfile.gettempdir()) / "fedmq-tests-install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _apt(*arguments: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run([*_APT, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NoBrokerError(f"apt-get {arguments[0]} failed ({why}): {WHAT_TO_DO}")


@contextmanager
def _no_service_started() -> Iterator[None]:
    """Forbid packages to start services meanwhile, as Debian's policy layer allows."""
    if _POLICY.exists():  # the machine has a policy of its own: containers forbid it anyway
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)
