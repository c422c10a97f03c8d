"""Output that cannot be written is one line or none, whatever command it is, and no traceback."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from broker.memory import MemoryTransport
from broker.transport import Post, Transport
from fedmq import dead, demo
from fedmq.cli import main
from schemas.digest import digest_of
from settings.command import run_command
from tests.coordinator.world import MakeWorld, World
from tests.support.outlets import full_disk, nobody_reads

GARBAGE = digest_of(b"garbage")[:12]
READING = [
    ["status"],
    ["status", "--json"],
    ["updates"],
    ["updates", "--json"],
    ["explain", "0"],
    ["explain", "0", "--json"],
    ["replay"],
    ["replay", "--json"],
    ["export", "-o", "FILE"],
]
DEAD = [
    ["list"],
    ["list", "--json"],
    ["show", GARBAGE],
    ["requeue", GARBAGE],
    ["purge", GARBAGE],
    ["purge", "--all"],
    ["purge", "--parked", "--yes"],
]
ENDS = {
    "full disk": (
        full_disk,
        1,
        "fedmq: the output could not be written: No space left on device\n",
    ),
    "nobody reads": (nobody_reads, 141, ""),
}


@pytest.fixture(params=ENDS)
def ended(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[Callable[[], int]], None]:
    """Runs a command whose every write to stdout fails, and looks how that ends."""
    outlet: Callable[[], AbstractContextManager[int]]
    outlet, expected, complaint = ENDS[request.param]

    def run(command: Callable[[], int]) -> None:
        capsys.readouterr()
        with outlet() as descriptor, monkeypatch.context() as patched:
            # As `python -u` has it: longer output fails in the middle of a print, too.
            raw: Any = io.FileIO(descriptor, "w", closefd=False)
            patched.setattr(sys, "stdout", io.TextIOWrapper(raw, write_through=True))
            code = command()
        error = capsys.readouterr().err
        assert (code, error[len(error) - len(complaint) :]) == (expected, complaint)
        assert "Traceback" not in error

    return run


Ended = Callable[[Callable[[], int]], None]


def a_world(make_world: MakeWorld) -> World:
    world = make_world()
    world.round(1.0, 2.0)
    world.somebody().send_bytes(b"garbage", world.run_row().run_id)
    world.step()
    return world


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_what_is_read_from_the_store_may_find_no_room(
    make_world: MakeWorld, ended: Ended, words: list[str], tmp_path: Path
) -> None:
    world = a_world(make_world)
    words = [str(tmp_path / "model") if word == "FILE" else word for word in words]
    ended(lambda: main([*words, "--state-dir", str(world.folder / "state")]))


@pytest.mark.parametrize("words", DEAD, ids=" ".join)
def test_what_is_said_of_dead_letters_may_find_no_room(
    make_world: MakeWorld, ended: Ended, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = a_world(make_world)

    def opened(url: str, post: Post, name: str, **options: Any) -> Transport:
        return MemoryTransport(world.broker, post, name)

    monkeypatch.setattr(dead, "open_transport", opened)
    state = ["--state-dir", str(world.folder / "state")]
    ended(lambda: main(["dead", words[0], *state, *words[1:]]))


def test_the_demo_may_find_no_room_for_its_result(ended: Ended) -> None:
    result = {"accuracy": 0.5, "rounds": 1, "seconds": 1.0, "updates": {}, "copies": 0}

    def tell() -> int:
        demo.tell(result, Path("accuracy.html"))
        return 0

    ended(lambda: run_command(tell))


def test_a_complaint_on_the_way_may_find_no_room(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = a_world(make_world)

    def opened(url: str, post: Post, name: str, **options: Any) -> Transport:
        return MemoryTransport(world.broker, post, name)

    monkeypatch.setattr(dead, "open_transport", opened)
    with full_disk() as descriptor, monkeypatch.context() as patched:
        raw: Any = io.FileIO(descriptor, "w", closefd=False)
        patched.setattr(sys, "stderr", io.TextIOWrapper(raw, write_through=True))
        assert main(["dead", "purge", "0" * 12]) == 2
        assert main(["dead", "purge", "--parked", "--yes"]) == 0


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_result_may_find_stdout_closed(
    make_world: MakeWorld,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = a_world(make_world)
    words = [str(tmp_path / "model") if word == "FILE" else word for word in words]
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", None)  # as Python has it after `>&-`
        assert main([*words, "--state-dir", str(world.folder / "state")]) == 1
    assert capsys.readouterr().err == "fedmq: the output could not be written: stdout is closed\n"
