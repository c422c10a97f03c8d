"""deploy/rabbitmq: keys that a node knows, and rights that are enough and no more."""

from __future__ import annotations

import json
import re

import pytest

from broker.topology import Names, Queue
from tests.docs.pages import ROOT

FOLDER = ROOT / "deploy" / "rabbitmq"
SETTINGS = dict(
    re.findall(r"^([a-z_.]+) = (.+)$", (FOLDER / "rabbitmq.conf").read_text("utf-8"), re.MULTILINE)
)
DEFINITIONS = json.loads((FOLDER / "definitions.json").read_text("utf-8"))
NAMES = Names("shop")


def right(user: str, what: str) -> re.Pattern[str]:
    (found,) = (each for each in DEFINITIONS["permissions"] if each["user"] == user)
    assert found["vhost"] == "fedmq"
    return re.compile(found[what])


def test_users_come_from_the_folder_that_compose_mounts() -> None:
    assert SETTINGS["definitions.local.path"] == "/etc/fedmq/definitions"
    compose = (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
    mounted = re.findall(r":(/etc/fedmq/definitions/\S+\.json):ro", compose)
    assert mounted == sorted(mounted), "users must be read before their rights"
    assert "10-users" in mounted[0]


def test_no_password_and_no_user_is_in_what_git_keeps() -> None:
    assert "users" not in DEFINITIONS
    assert not [key for key in SETTINGS if key.startswith("default_")]


def test_a_message_may_be_as_large_as_a_part_and_more() -> None:
    assert int(SETTINGS["max_message_size"]) == 16 * 1024 * 1024


@pytest.mark.parametrize(
    "queue",
    [NAMES.task_queue, NAMES.worker_queue("till-17"), NAMES.model_queue("0" * 32, 1)],
    ids=lambda queue: queue.name,
)
def test_a_worker_reads_tasks_and_models(queue: Queue) -> None:
    assert right("worker", "read").search(queue.name)


def test_a_worker_declares_nothing_and_reads_no_updates() -> None:
    assert not right("worker", "configure").search("fedmq.shop.updates")
    for name in ("fedmq.shop.updates", "fedmq.shop.control", "fedmq.shop.refused"):
        assert not right("worker", "read").search(name)
    for name in ("fedmq.shop.tasks", "amq.default", "fedmq.shop.updates.x"):
        assert not right("worker", "write").search(name)
    for name in ("fedmq.shop.updates", "fedmq.shop.control"):
        assert right("worker", "write").search(name)


def test_a_coordinator_has_what_is_called_fedmq_and_nothing_else() -> None:
    for what in ("configure", "write", "read"):
        assert right("coordinator", what).search("fedmq.shop.updates")
        assert not right("coordinator", what).search("other")
