"""Make the passwords of a federation in containers: files that only this user can reach.

    python deploy/make_secrets.py        # what is missing in deploy/secrets; the rest stays

    coordinator-url, worker-url   the broker's URL with user and password, for the services
    admin-password                of RabbitMQ's management pages, user admin
    rabbitmq-users.json           the users, with salted hashes of their passwords, for RabbitMQ

Rules:

- The folder is this user's alone (0700). The files in it may be read by all, since the containers
  that one is mounted into run as users of their own; from outside nobody gets past the folder.
- To change a password, delete its file and run this again; then restart what uses it.
- Standard library only, and nothing is printed but names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "secrets"
HOST = "broker"
VHOST = "fedmq"
SERVICES = ("coordinator", "worker")
_PASSWORD_OF_URL = re.compile(r"amqps?://[^:/@]*:(?P<password>[^@]*)@")


def make(folder: Path) -> list[str]:
    """Make what is missing.

    Returns:
        The names of the files that were made.

    Raises:
        SystemExit: A file that is there is not what it should be.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made: list[str] = []
    passwords: dict[str, str] = {}
    for user in SERVICES:
        text = _kept(folder / f"{user}-url", f"amqp://{user}:{_new()}@{HOST}:5672/{VHOST}", made)
        found = _PASSWORD_OF_URL.match(text)
        if found is None:
            sys.exit(f"{folder / f'{user}-url'}: expected amqp://user:password@host:5672/vhost")
        passwords[user] = found["password"]
    passwords["admin"] = _kept(folder / "admin-password", _new(), made)
    users = folder / "rabbitmq-users.json"
    if made or not users.exists():
        _write(users, json.dumps({"users": [user_of(*each) for each in passwords.items()]}))
        made.append(users.name)
    return made


def user_of(name: str, password: str, salt: bytes | None = None) -> dict[str, object]:
    """A user as RabbitMQ's definitions have it.

    Args:
        name: Of the user.
        password: In clear.
        salt: Four bytes; None draws them.
    """
    salt = secrets.token_bytes(4) if salt is None else salt
    hashed = hashlib.sha256(salt + password.encode()).digest()
    return {
        "name": name,
        "password_hash": base64.b64encode(salt + hashed).decode(),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": ["administrator"] if name == "admin" else [],
    }


def _new() -> str:
    return secrets.token_urlsafe(24)


def _kept(file: Path, new: str, made: list[str]) -> str:
    """What a file holds; `new` from now on if there is none."""
    if not file.exists():
        _write(file, new + "\n")
        made.append(file.name)
    return file.read_text("utf-8").strip()


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    beside.write_text(text, "utf-8")
    beside.chmod(0o444)
    beside.replace(file)


if __name__ == "__main__":
    chosen = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    for name in make(chosen):
        print(f"made {chosen / name}")
