"""`fedmq replay` says what is the same, and its exit code whether anything is proved."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest

from fedmq import replay
from fedmq.cli import main
from settings import SettingsError
from tests.coordinator.world import MakeWorld, World
from tests.docs.pages import ROOT

KEPT = {"coordinator__spool_keep_rounds": "all", "coordinator__keep_versions": "all"}


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    world = make_world(run__rounds=9, **KEPT)
    world.round(0.1, 0.2)
    world.round(0.3, 0.4)
    return world


def replayed(world: World, *words: str) -> int:
    return main(["replay", "--state-dir", str(world.folder / "state"), *words])


def spoil(world: World) -> None:
    path = Path(world.folder, "state", "models", world.version_row(2).file)
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")


def test_json_says_of_each_version_what_it_was_found_to_be(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replayed(world, "--json") == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert said["run"] == world.run_row().run_id
    assert (said["same"], said["differs"], said["damaged"], said["not_recomputed"]) == (2, 0, 0, 0)
    assert said["proved"] is True
    assert [version["outcome"] for version in said["versions"]] == [
        "initial",
        "the same",
        "the same",
    ]
    assert said["versions"][2] == {
        "version": 2,
        "outcome": "the same",
        "file": "whole",
        "digest": world.version_row(2).digest,
        "came": world.version_row(2).digest,
        "updates": 2,
        "detail": "",
    }


def test_in_words_each_version_has_a_line(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert replayed(world, world.run_row().run_id[:8], "--versions", "1-") == 0
    *lines, summary = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["1", "2"]
    assert all("the same" in line and "2 updates" in line for line in lines)
    assert summary == "2 the same, 0 differ, 0 damaged, 0 cannot be made again"


def test_what_is_damaged_ends_with_1(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(world)
    assert replayed(world) == 1
    assert "000002.safetensors is damaged" in capsys.readouterr().out
    assert replayed(world, "--json") == 1
    assert json.loads(capsys.readouterr().out)["proved"] is False


def test_where_nothing_can_be_made_again_nothing_is_proved(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (world.folder / "state" / "spool").glob("0*.seg"):
        path.unlink()
    assert replayed(world) == 1
    said = capsys.readouterr().out
    assert said.count("not recomputed") == 2
    assert said.endswith("nothing is proved\n")


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("", (None, None)),
        ("3", (3, 3)),
        ("0", (0, 0)),
        ("3-7", (3, 7)),
        ("3-", (3, None)),
        ("-7", (None, 7)),
    ],
)
def test_a_span_of_versions_is_read(text: str, span: tuple[int | None, int | None]) -> None:
    assert replay.span_of(text) == span


@pytest.mark.parametrize("text", ["-", "a", "3-a", "7-3", "3-4-5", "1.5", " "])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--versions"):
        replay.span_of(text)


def test_versions_that_were_never_made_are_an_error_of_the_user(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replayed(world, "--versions", "7-9") == 2
    assert "expected versions from 0 to 2" in capsys.readouterr().err


class Interrupting(io.StringIO):
    """Output during which somebody presses Ctrl-C."""

    def write(self, text: str) -> int:
        if text.startswith("version    2"):
            raise KeyboardInterrupt
        return super().write(text)


def test_ctrl_c_ends_it_with_what_was_found_so_far(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.redirect_stdout(Interrupting()) as out:
        assert replayed(world) == 130
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["0", "1"]
    assert capsys.readouterr().err == ""


def test_in_a_terminal_it_shows_how_far_it_is(world: World) -> None:
    script = "import sys; from fedmq.cli import main; sys.exit(main(sys.argv[1:]))"
    mine, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", script, "replay", "--state-dir", world.folder / "state"],
            stdout=subprocess.PIPE,
            stderr=theirs,
            cwd=ROOT,
        )
        out, _ = process.communicate(timeout=60)
        os.set_blocking(mine, False)
        shown = os.read(mine, 100_000).decode()
    finally:
        os.close(mine)
        os.close(theirs)
    assert process.returncode == 0
    assert "/4 [" in shown, "the bar counts the updates of both versions"
    assert len(out.decode().splitlines()) == 4, "the results are not mixed with the bar"


def test_the_last_line_counts_and_names_damaged_and_missing_model_files(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(world)
    Path(world.folder, "state", "models", world.version_row(1).file).unlink()
    config = world.folder / "all.toml"
    config.write_text('[coordinator]\nkeep_versions = "all"\n')
    assert replayed(world, "--config", str(config)) == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    assert "000001.safetensors is missing: coordinator.keep_versions keeps it" in lines[1]
    assert "000002.safetensors is damaged" in lines[2]
    assert summary == (
        "2 the same, 0 differ, 0 damaged, 0 cannot be made again, "
        "1 model file damaged (version 2), 1 model file missing (version 1)"
    )
    assert replayed(world, "--config", str(config), "--json") == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["files_damaged"], said["files_missing"]) == ([2], [1])
    assert [version["file"] for version in said["versions"]] == ["whole", "missing", "damaged"]


def test_a_damaged_initial_model_is_not_said_to_have_its_digest(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(world.folder, "state", "models", world.version_row(0).file).write_bytes(b"")
    assert replayed(world, "--versions", "0") == 1
    said = capsys.readouterr().out
    assert "its file has its digest" not in said
    assert "1 model file damaged (version 0): nothing is proved" in said
