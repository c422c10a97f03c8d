from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fedmq import __version__
from fedmq.cli import COMMANDS, main
from tests.coordinator.world import MakeWorld

FEDMQ = [sys.executable, "-P", "-c", "import sys; from fedmq.cli import main; sys.exit(main())"]


def run(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FEDMQ, *words], cwd=folder, capture_output=True, text=True, timeout=60)


def test_without_words_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert name in said
        assert command.summary in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: fedmq {name}" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"fedmq {__version__}\n"


def test_an_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["coordinate"])
    assert ended.value.code == 2
    assert "coordinate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("[rounds]\ngoal = 0\n", "rounds.goal"),
        ("[rounds]\ngaol = 2\n", "goal"),
        ('[rounds]\ndeadline = "soon"\n', "rounds.deadline"),
        ("[rounds]\ngoal = 5\nconcurrency = 2\n", "rounds.concurrency"),
        ("[rounds\n", "federation.toml"),
        ("", "learner.path"),
        ('[learner]\npath = "none.py:learner"\n', "none.py"),
        ('[broker]\nurl = "http://x"\n[learner]\npath = "fedmq:digits"\n', "broker.url"),
    ],
)
@pytest.mark.parametrize("command", [["coordinator"], ["worker", "--id", "a"]])
def test_a_bad_setting_is_one_line_and_exit_2(
    command: list[str], toml: str, named: str, tmp_path: Path
) -> None:
    config = tmp_path / "federation.toml"
    config.write_text(toml)
    done = run(*command, "--config", str(config), folder=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("fedmq: ")
    assert named in lines[-1]


@pytest.mark.parametrize("command", ["status", "export"])
def test_where_no_coordinator_ran_it_is_said_in_one_line(command: str, tmp_path: Path) -> None:
    more = ["-o", "model.safetensors"] if command == "export" else []
    done = run(command, "--state-dir", "nowhere", *more, folder=tmp_path)
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_windows_is_refused_in_one_line_before_anything_is_imported() -> None:
    script = (
        "import sys; sys.platform = 'win32'; sys.modules['fcntl'] = None\n"
        "from fedmq.cli import main; sys.exit(main(['coordinator', '--config', 'x.toml']))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "Windows is not supported" in done.stderr


def test_a_users_own_worker_file_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("raise SystemExit('the wrong one')")
    assert run("worker", "--help", folder=tmp_path).returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ["explain", "\udcff\udcfe"],
        ["updates", "--worker", "\udcff"],
        ["updates", "--run", "\udcff"],
        ["replay", "\udcff"],
        ["dead", "show", "\udcff"],
        ["dead", "requeue", "0" * 12, "\udcff"],
    ],
    ids=ascii,
)
def test_what_is_no_text_is_one_line_and_exit_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "expected text in UTF-8" in said.err
    assert "\\xff" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("words", [[], ["--model-version", "newest"], ["--model-version", "1"]])
def test_the_newest_version_is_exported_unless_another_is_named(
    words: list[str], make_world: MakeWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    world.round(1.0, 2.0)
    path = tmp_path / "model"
    assert (
        main(["export", "--state-dir", str(world.folder / "state"), "-o", str(path), *words]) == 0
    )
    assert (
        path.read_bytes()
        == (world.folder / "state" / "models" / world.version_row(1).file).read_bytes()
    )
    assert f"{path}: version 1 of run " in capsys.readouterr().out


@pytest.mark.parametrize("number", ["99999999999999999999", "2"])
def test_a_version_that_was_never_made_cannot_be_exported(
    number: str, make_world: MakeWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    world.round(1.0, 2.0)
    words = ["--state-dir", str(world.folder / "state"), "-o", str(tmp_path / "model")]
    assert main(["export", *words, "--model-version", number]) == 2
    said = capsys.readouterr().err
    assert "expected a version 0 to 1 of run " in said
    assert said.endswith(f", came {number}\n")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        (2, "the file of version 1 is missing: expected "),
        (1, "version 1 is not kept any more (coordinator.keep_versions is 1)"),
    ],
)
def test_export_blames_the_setting_only_for_what_it_does_not_keep(
    keep: int,
    said: str,
    make_world: MakeWorld,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = make_world(run__rounds=9)
    world.round(1.0, 2.0)
    world.round(3.0, 4.0)
    config = tmp_path / "federation.toml"
    config.write_text(f"[coordinator]\nkeep_versions = {keep}\n[rounds]\nmax_staleness = 0\n")
    (world.folder / "state" / "models" / world.version_row(1).file).unlink()
    words = ["--state-dir", str(world.folder / "state"), "-o", str(tmp_path / "model")]
    assert main(["export", "--config", str(config), *words, "--model-version", "1"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, None], ids=["cut", "other", "a bit"])
def test_a_damaged_version_is_not_exported(
    damage: bytes | None, make_world: MakeWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    world.round(1.0, 2.0)
    path = world.folder / "state" / "models" / world.version_row(1).file
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)
    output = tmp_path / "model"
    assert main(["export", "--state-dir", str(world.folder / "state"), "-o", str(output)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert said.endswith("bring the file back from a backup, or export another version\n")
    assert len(said.splitlines()) == 1
    assert not output.exists()


@pytest.mark.parametrize("command", ["status", "export", "updates", "explain", "replay"])
def test_a_damaged_store_is_one_line_and_exit_2(
    command: str, make_world: MakeWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    world.round(1.0, 2.0)
    world.kill()
    store = world.folder / "state" / "coordinator.db"
    for log in store.parent.glob("coordinator.db-*"):
        log.unlink()
    data = store.read_bytes()
    page = 4096
    assert len(data) > 10 * page
    store.write_bytes(data[: 2 * page] + bytes(len(data) - 2 * page))
    more = ["-o", str(tmp_path / "model")] if command == "export" else []
    words = [command, *(["w"] if command == "explain" else []), "--state-dir", str(store.parent)]
    assert main([*words, *more]) == 2
    said = capsys.readouterr().err
    assert f"fedmq: {store} cannot be " in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("link", ["", "hard", "soft"])
def test_a_version_is_not_exported_over_its_own_file(
    link: str, make_world: MakeWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    world.round(1.0, 2.0)
    path = world.folder / "state" / "models" / world.version_row(1).file
    whole, output = path.read_bytes(), tmp_path / "link"
    if link == "hard":
        output.hardlink_to(path)
    elif link == "soft":
        output.symlink_to(path)
    else:
        output = path
    words = ["export", "--state-dir", str(world.folder / "state"), "-o", str(output)]
    assert main(words) == 2
    assert f"fedmq: {output} cannot be written: it is the version's own file\n" in (
        capsys.readouterr().err
    )
    assert path.read_bytes() == whole
