"""What `fedmq coordinator` says when the state folder cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedmq.cli import main
from tests.coordinator.world import MakeWorld, World


def started(world: World, tmp_path: Path) -> int:
    config = tmp_path / "federation.toml"
    config.write_text(
        "[run]\nrounds = 3\nevaluate = false\n"
        '[rounds]\ngoal = 2\nquorum = 1\nconcurrency = 2\npart_bytes = "64KiB"\n'
        f'[learner]\npath = "{world.folder / "learner.py"}"\n'
        f'[coordinator]\nstate_dir = "{world.folder / "state"}"\n'
        '[federation]\nname = "demo"\n'
        '[broker]\nurl = "amqp://guest:guest@127.0.0.1:1/"\n'
    )
    return main(["coordinator", "--config", str(config)])


@pytest.mark.parametrize("file", ["spool", "model"])
def test_what_is_damaged_is_said_with_what_to_do(
    file: str, make_world: MakeWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    world.round(1.0, 2.0)
    world.answer(world.worker("a"), 1.0)
    state = world.folder / "state"
    path = state / "models" / world.version_row(1).file
    if file == "spool":
        path = state / "spool" / "00000001.seg"
    world.kill()
    path.write_bytes(path.read_bytes()[:-1])
    assert started(world, tmp_path) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"fedmq: {path}")
    assert said.endswith("start with --restored, or begin another run with --new-run")
