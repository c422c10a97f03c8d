from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.make_secrets import make, user_of
from tests.docs.pages import ROOT


def passwords(folder: Path) -> dict[str, str]:
    """What the files say, by user."""
    found = {"admin": (folder / "admin-password").read_text().strip()}
    for user in ("coordinator", "worker"):
        url = (folder / f"{user}-url").read_text()
        match = re.fullmatch(rf"amqp://{user}:([\w-]+)@broker:5672/fedmq\n", url)
        assert match is not None
        found[user] = match[1]
    return found


def users(folder: Path) -> dict[str, dict[str, Any]]:
    listed = json.loads((folder / "rabbitmq-users.json").read_text())["users"]
    return {user["name"]: user for user in listed}


def is_hash_of(hashed: str, password: str) -> bool:
    raw = base64.b64decode(hashed)
    return hashlib.sha256(raw[:4] + password.encode()).digest() == raw[4:]


def test_the_broker_knows_the_passwords_of_the_services_as_hashes(tmp_path: Path) -> None:
    make(tmp_path / "secrets")
    known, told = users(tmp_path / "secrets"), passwords(tmp_path / "secrets")
    assert set(known) == set(told)
    assert len(set(told.values())) == 3
    for user, password in told.items():
        assert is_hash_of(known[user]["password_hash"], password)
        assert len(password) >= 32
    assert [user for user in known if known[user]["tags"]] == ["admin"]


def test_a_hash_is_that_of_rabbitmqs_documentation() -> None:
    # https://www.rabbitmq.com/docs/passwords: "test12" with the salt 908D C60A
    user = user_of("any", "test12", bytes.fromhex("908dc60a"))
    assert user["password_hash"] == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_what_is_there_stays(tmp_path: Path) -> None:
    assert make(tmp_path)
    before = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert make(tmp_path) == []
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == before


def test_one_password_is_changed_by_deleting_its_file(tmp_path: Path) -> None:
    make(tmp_path)
    before = passwords(tmp_path)
    (tmp_path / "worker-url").unlink()
    assert make(tmp_path) == ["worker-url", "rabbitmq-users.json"]
    after = passwords(tmp_path)
    assert [user for user in after if after[user] != before[user]] == ["worker"]
    for user, password in after.items():
        assert is_hash_of(users(tmp_path)[user]["password_hash"], password)


def test_nobody_else_gets_past_the_folder(tmp_path: Path) -> None:
    make(tmp_path / "secrets")
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    for file in (tmp_path / "secrets").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o444


def test_nothing_is_printed_but_names(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "deploy" / "make_secrets.py"), str(tmp_path / "secrets")]
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    for password in passwords(tmp_path / "secrets").values():
        assert password not in said.stdout + said.stderr
    assert said.stdout.count("made ") == 4


def test_a_url_that_is_none_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "worker-url").write_text("s3cret")
    with pytest.raises(SystemExit) as ended:
        make(tmp_path)
    assert "expected amqp://user:password@host" in str(ended.value)
    assert "s3cret" not in str(ended.value)
