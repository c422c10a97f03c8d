from __future__ import annotations

import socket
import stat
import threading
from pathlib import Path

import pytest

from settings import SettingsError
from settings import health as module
from settings.health import Health, HealthSocket, Reply, ask_health

WELL = Health(True, "version 3 of 20, collecting")


def answers(reply: Reply) -> None:
    reply(WELL)


def is_silent(reply: Reply) -> None:
    """A loop that is stuck."""


def test_who_asks_hears_what_the_service_says(tmp_path: Path) -> None:
    path = str(tmp_path / "health")
    with HealthSocket(path, answers):
        assert ask_health(path) == WELL
        assert ask_health(path) == WELL


def test_the_answer_may_come_from_another_thread(tmp_path: Path) -> None:
    path = str(tmp_path / "health")
    with HealthSocket(path, lambda reply: threading.Thread(target=reply, args=(WELL,)).start()):
        assert ask_health(path) == WELL


def test_a_loop_that_does_not_answer_is_not_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 0.01)
    path = str(tmp_path / "health")
    with HealthSocket(path, is_silent):
        health = ask_health(path)
    assert not health.well
    assert "its loop has not answered for 0.01 s" in health.words


def test_where_no_service_is_nobody_is_well(tmp_path: Path) -> None:
    path = str(tmp_path / "health")
    assert ask_health(path) == Health(
        False, f"{path}: no service answers there (No such file or directory)"
    )
    with HealthSocket(path, answers):
        pass
    assert not ask_health(path).well
    assert not Path(path).exists()


def test_a_service_that_ends_while_it_is_asked_is_not_well(tmp_path: Path) -> None:
    path = str(tmp_path / "health")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        hang_up = threading.Thread(target=lambda: listening.accept()[0].close())
        hang_up.start()
        assert ask_health(path) == Health(False, f"{path}: the service ended while it was asked")
        hang_up.join()


def test_only_its_owner_may_ask(tmp_path: Path) -> None:
    path = tmp_path / "health"
    with HealthSocket(str(path), answers):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_killed_service_left_behind_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "health")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(path)
        killed.listen()
    with HealthSocket(path, answers):
        assert ask_health(path) == WELL


def test_the_socket_of_a_service_that_lives_is_left_to_it(tmp_path: Path) -> None:
    path = str(tmp_path / "health")
    with HealthSocket(path, answers):
        with (
            pytest.raises(SettingsError, match="--health: expected a socket of its own"),
            HealthSocket(path, is_silent),
        ):
            pass
        assert ask_health(path) == WELL


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "health").write_text("mine")
    with (
        pytest.raises(SettingsError, match="--health: expected a path where a socket can be made"),
        HealthSocket(str(tmp_path / "health"), answers),
    ):
        pass
    assert (tmp_path / "health").read_text() == "mine"


def test_a_path_too_long_for_a_socket_is_said_in_a_line(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match="AF_UNIX path too long"),
        HealthSocket(str(tmp_path / ("x" * 120)), answers),
    ):
        pass


def test_without_a_path_there_is_no_socket() -> None:
    with HealthSocket("", is_silent):
        assert not [thread for thread in threading.enumerate() if thread.name == "health"]
