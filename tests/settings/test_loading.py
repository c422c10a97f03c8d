import subprocess
import sys
from pathlib import Path

import pytest

from settings.errors import SettingsError
from settings.fields import fields
from settings.loading import load, require


def file_with(folder: Path, text: str) -> Path:
    path = folder / "federation.toml"
    path.write_text(text, encoding="utf-8")
    return path


def error_of(
    text: str, folder: Path, environ: dict[str, str] | None = None, **overrides: object
) -> str:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    with pytest.raises(SettingsError) as caught:
        load(file_with(folder, text), environ or {}, dotted)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "")


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    settings = load(file_with(tmp_path, ""), {})
    assert settings.rounds.goal == 2
    assert settings.rounds.deadline_s == 600.0
    assert settings.broker.url == "amqp://guest:guest@127.0.0.1:5672/"
    assert settings.coordinator.state_dir == tmp_path / "coordinator-state"


def test_without_a_file_paths_count_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(None, {}).worker.state_dir == tmp_path / "worker-state"


def test_a_file_sets_every_kind_of_field(tmp_path: Path) -> None:
    settings = load(
        file_with(
            tmp_path,
            """
            [learner]
            path = "model.py:shop"
            config = { lr = 0.1, hidden = 32, name = "mlp", bias = true }
            [run]
            initial = "start.safetensors"
            max_seconds = 90
            evaluate = false
            [rounds]
            deadline = "2h"
            lease = 90
            late = "refuse"
            part_bytes = "64KiB"
            [worker]
            hours = "22:00-06:00"
            device = "cuda:1"
            """,
        ),
        {},
    )
    assert settings.learner.path == f"{tmp_path}/model.py:shop"
    assert settings.learner.config == {"lr": 0.1, "hidden": 32, "name": "mlp", "bias": True}
    assert settings.run.initial == f"{tmp_path}/start.safetensors"
    assert settings.run.max_seconds == 90.0
    assert settings.run.evaluate is False
    assert (settings.rounds.deadline_s, settings.rounds.lease_s) == (7200.0, 90.0)
    assert (settings.rounds.late, settings.rounds.part_bytes) == ("refuse", 65_536)
    assert (settings.worker.hours, settings.worker.device) == ("22:00-06:00", "cuda:1")


def test_the_environment_sets_every_kind_of_field(tmp_path: Path) -> None:
    settings = load(
        file_with(tmp_path, ""),
        {
            "FEDMQ_BROKER_URL": "amqps://a:b@host/v",
            "FEDMQ_RUN_ROUNDS": "7",
            "FEDMQ_RUN_EVALUATE": "false",
            "FEDMQ_RUN_MAX_SECONDS": "1.5",
            "FEDMQ_RUN_INITIAL": "run:2026-01-01_a",
            "FEDMQ_ROUNDS_DEADLINE": "250ms",
            "FEDMQ_ROUNDS_LEASE": "45",
            "FEDMQ_ROUNDS_PART_BYTES": "65536",
            "FEDMQ_LEARNER_DATA": "",
        },
    )
    assert settings.broker.url == "amqps://a:b@host/v"
    assert settings.run.rounds == 7
    assert settings.run.evaluate is False
    assert settings.run.max_seconds == 1.5
    assert settings.run.initial == "run:2026-01-01_a"
    assert (settings.rounds.deadline_s, settings.rounds.lease_s) == (0.25, 45.0)
    assert settings.rounds.part_bytes == 65_536


@pytest.mark.parametrize("text", ['{"lr": 0.1, "name": "a"}', '{lr = 0.1, name = "a"}'])
def test_a_table_in_the_environment_is_json_or_toml(tmp_path: Path, text: str) -> None:
    path = file_with(tmp_path, "[learner.config]\nother = 1")
    config = load(path, {"FEDMQ_LEARNER_CONFIG": text}).learner.config
    assert config == {"lr": 0.1, "name": "a"}


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    path = file_with(tmp_path, "[run]\nrounds = 3\nseed = 3\n[rounds]\ngoal = 3")
    environ = {"FEDMQ_RUN_ROUNDS": "4", "FEDMQ_RUN_SEED": "4"}
    settings = load(path, environ, {"run.rounds": 5, "run.seed": None})
    assert (settings.run.rounds, settings.run.seed, settings.rounds.goal) == (5, 4, 3)


def test_the_command_line_may_give_texts(tmp_path: Path) -> None:
    overrides = {"run.rounds": "5", "rounds.deadline": "3s", "worker.state_dir": tmp_path / "w"}
    settings = load(file_with(tmp_path, ""), {}, overrides)
    assert (settings.run.rounds, settings.rounds.deadline_s) == (5, 3.0)
    assert settings.worker.state_dir == tmp_path / "w"


def test_a_relative_path_counts_from_where_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file_with(tmp_path / "site", '[learner]\npath = "../model.py"')
    environ = {"FEDMQ_WORKER_STATE_DIR": "w"}
    settings = load(Path("../site/federation.toml"), environ, {"coordinator.state_dir": "c"})
    assert settings.learner.path == f"{tmp_path}/model.py:learner"
    assert settings.worker.state_dir == tmp_path / "here" / "w"
    assert settings.coordinator.state_dir == tmp_path / "here" / "c"


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    settings = load(file_with(tmp_path, '[worker]\nstate_dir = "~/w"'), {})
    assert settings.worker.state_dir == Path("/home/alice/w")


def test_a_value_that_is_overridden_may_be_wrong(tmp_path: Path) -> None:
    path = file_with(tmp_path, "[rounds]\ngoal = -1")
    assert load(path, {"FEDMQ_ROUNDS_GOAL": "2"}).rounds.goal == 2


def test_other_variables_are_not_read(tmp_path: Path) -> None:
    environ = {
        "FEDMQ_TEST_AMQP_URL": "x",
        "FEDMQ_LOG_LEVEL": "debug",
        "FEDMQ_": "",
        "ROUNDS_GOAL": "x",
        "fedmq_rounds_goal": "x",
    }
    assert load(file_with(tmp_path, ""), environ) == load(file_with(tmp_path, ""), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[rounds]\ngoal = 0",
            "rounds.goal (federation.toml): expected a whole number from 1 to 1000000, got 0",
        ),
        (
            "[rounds]\ngoal = 0x" + "f" * 5000,
            "rounds.goal (federation.toml): expected a whole number from 1 to 1000000, got a "
            "huge number",
        ),
        (
            '[rounds]\ngoal = "2"',
            'rounds.goal (federation.toml): expected a whole number from 1 to 1000000, got "2"',
        ),
        (
            "[rounds]\ngoal = 2.0",
            "rounds.goal (federation.toml): expected a whole number from 1 to 1000000, got 2.0",
        ),
        (
            "[rounds]\ngoal = true",
            "rounds.goal (federation.toml): expected a whole number from 1 to 1000000, got true",
        ),
        (
            '[rounds]\ndeadline = "soon"',
            'rounds.deadline (federation.toml): expected a duration such as "30s" or "10m" '
            'from 1ms to 365d, got "soon"',
        ),
        (
            "[rounds]\ndeadline = 0",
            'rounds.deadline (federation.toml): expected a duration such as "30s" or "10m" '
            "from 1ms to 365d, got 0",
        ),
        (
            '[rounds]\npart_bytes = "8MiB"',
            'rounds.part_bytes (federation.toml): expected a size such as "64KiB" or "4MiB" '
            'from 64KiB to 4MiB, got "8MiB"',
        ),
        (
            '[rounds]\nlate = "drop"',
            'rounds.late (federation.toml): expected one of "weigh", "refuse", got "drop"',
        ),
        (
            "[rounds]\nmax_norm = nan",
            "rounds.max_norm (federation.toml): expected a number from 0 to 1e+38, got nan",
        ),
        (
            "[run]\nevaluate = 1",
            "run.evaluate (federation.toml): expected true or false, got 1",
        ),
        (
            "[run]\nmax_seconds = inf",
            "run.max_seconds (federation.toml): expected a number from 0 to 1000000000, got inf",
        ),
        (
            '[run]\ninitial = "random"',
            'run.initial (federation.toml): expected "learner", the path of a .safetensors file, '
            'or "run:<run id>", got "random"',
        ),
        (
            '[federation]\nname = "My shop"',
            "federation.name (federation.toml): expected 1 to 40 of the characters a-z, 0-9 and "
            '-, got "My shop"',
        ),
        (
            '[federation]\nname = "shop\\n"',
            "federation.name (federation.toml): expected 1 to 40 of the characters a-z, 0-9 and "
            '-, got "shop "',
        ),
        (
            '[learner]\npath = "model.txt"',
            "learner.path (federation.toml): expected a Python file and a name in it, "
            '"file.py:name", or "fedmq:digits", got "model.txt"',
        ),
        (
            "[learner]\nconfig = {layers = [1, 2]}",
            "learner.config (federation.toml): expected a table of texts, finite numbers and "
            "booleans, got a table",
        ),
        (
            "[learner]\nconfig = {lr = nan}",
            "learner.config (federation.toml): expected a table of texts, finite numbers and "
            "booleans, got a table",
        ),
        (
            "[learner]\nconfig = 3",
            "learner.config (federation.toml): expected a table of texts, finite numbers and "
            "booleans, got 3",
        ),
        (
            '[worker]\nstate_dir = ""',
            'worker.state_dir (federation.toml): expected the path of a folder, got ""',
        ),
        (
            '[worker]\ndevice = "gpu"',
            'worker.device (federation.toml): expected "auto", "cpu" or "cuda:N", got "gpu"',
        ),
        (
            '[worker]\nhours = "9-5"',
            'worker.hours (federation.toml): expected hours "HH:MM-HH:MM", or "" for at any '
            'time, got "9-5"',
        ),
        (
            "[learner]\ndata = 3",
            "learner.data (federation.toml): expected a text, got 3",
        ),
    ],
)
def test_a_wrong_value_names_field_source_and_what_was_expected(
    tmp_path: Path, text: str, message: str
) -> None:
    assert error_of(text, tmp_path) == message


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret@host/",
        "user:s3cret@host",
        "amqp://user:s3cret",
        "amqp://user:s3cret@host:port/",
        "amqp://user:s3cret@host:70000/",
        "amqp://user:s3cret@",
        "amqp://user:s3 s3cret@host/",
        "amqp://user:s3cret@[::1/",
        "amqp:///s3cret@host",
    ],
)
def test_a_wrong_broker_url_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    message = error_of("", tmp_path, {"FEDMQ_BROKER_URL": url})
    assert message.startswith(
        "broker.url (FEDMQ_BROKER_URL): expected an URL amqp://user:password@host:port/vhost"
    )
    assert "s3cret" not in message


@pytest.mark.parametrize(
    "url", ["memory://", "memory://demo", "amqp://host", "amqps://u:p%40@[::1]:5671/v?a=b"]
)
def test_a_broker_url_is_kept_as_it_is(tmp_path: Path, url: str) -> None:
    assert load(file_with(tmp_path, ""), {"FEDMQ_BROKER_URL": url}).broker.url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://host/bucket",
        "s3://",
        "s3://a",
        "s3://user:s3cret@bucket",
        "s3://bucket?secret=s3cret",
        "s3://bucket/a/b?key=s3cret",
        "s3://bucket//a",
        "file://host/folder",
        "file:folder",
        "folder",
    ],
)
def test_a_wrong_depot_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    message = error_of("", tmp_path, {"FEDMQ_DEPOT_URL": url})
    assert message.startswith(
        'depot.url (FEDMQ_DEPOT_URL): expected "", an URL file:///folder, or s3://bucket/prefix'
    )
    assert "s3cret" not in message


@pytest.mark.parametrize("url", ["", "file:///srv/of%20all", "s3://bucket", "s3://bucket/a/b-1/"])
def test_a_depot_is_kept_as_it_is(tmp_path: Path, url: str) -> None:
    assert load(file_with(tmp_path, ""), {"FEDMQ_DEPOT_URL": url}).depot.url == url


def test_a_file_of_credentials_counts_from_where_it_is_written(tmp_path: Path) -> None:
    path = file_with(tmp_path, '[depot]\ncredentials = "keys"')
    assert load(path, {}).depot.credentials == str(tmp_path / "keys")
    assert load(file_with(tmp_path, ""), {}).depot.credentials == ""


@pytest.mark.parametrize(
    "url", ["host:9000", "http://user:s3cret@host", "https://", "http://host/?token=s3cret"]
)
def test_a_wrong_endpoint_is_told_without_its_password(tmp_path: Path, url: str) -> None:
    message = error_of("", tmp_path, {"FEDMQ_DEPOT_ENDPOINT": url})
    assert message.startswith("depot.endpoint (FEDMQ_DEPOT_ENDPOINT): expected")
    assert "s3cret" not in message


@pytest.mark.parametrize("text", ["", "three", "3.5", " 3", "1_000", "null", "-1"])
def test_a_variable_that_is_no_number_is_named(tmp_path: Path, text: str) -> None:
    message = error_of("", tmp_path, {"FEDMQ_ROUNDS_GOAL": text})
    assert message == (
        "rounds.goal (FEDMQ_ROUNDS_GOAL): expected a whole number from 1 to 1000000, "
        f'got "{" ".join(text.split()) if text.strip() == text else text}"'
    )


@pytest.mark.parametrize(
    "text", ["lr = s3cret", '{"key": "s3cret"', "[1]", "{key = 's3cret'}\nother = 1", "[" * 5000]
)
def test_a_variable_that_is_no_table_is_not_shown(tmp_path: Path, text: str) -> None:
    message = error_of("", tmp_path, {"FEDMQ_LEARNER_CONFIG": text})
    assert message.startswith("learner.config (FEDMQ_LEARNER_CONFIG): expected a table of texts")
    assert "s3cret" not in message


def test_a_wrong_value_from_the_command_line_is_named(tmp_path: Path) -> None:
    message = error_of("", tmp_path, run__rounds="many")
    assert message.startswith("run.rounds (the command line): expected a whole number")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[rounds]\ngaol = 2",
            "rounds.gaol (federation.toml): expected a key of [rounds], got an unknown name; "
            'did you mean "rounds.goal"?',
        ),
        (
            "[run]\nquorum = 2",
            "run.quorum (federation.toml): expected a key of [run], got an unknown name; "
            'did you mean "rounds.quorum"?',
        ),
        (
            "[federation]\nxyz = 2",
            "federation.xyz (federation.toml): expected a key of [federation], got an unknown "
            "name; known are federation.name",
        ),
        (
            "[round]\ngoal = 2",
            "round (federation.toml): expected a section, got an unknown name; "
            'did you mean "rounds"?',
        ),
        (
            "goal = 2",
            "goal (federation.toml): expected a section, got an unknown name; "
            'did you mean "rounds.goal"?',
        ),
        (
            "rounds = 2",
            "rounds (federation.toml): expected a table [rounds], got 2",
        ),
    ],
)
def test_an_unknown_name_in_the_file_gets_a_hint(tmp_path: Path, text: str, message: str) -> None:
    assert error_of(text, tmp_path) == message


def test_an_unknown_section_without_likeness_lists_the_known_ones(tmp_path: Path) -> None:
    assert error_of("[zzz]", tmp_path).endswith(
        "known are federation, broker, depot, learner, run, rounds, algorithm, selection, wire, "
        "evaluation, coordinator, worker"
    )


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("FEDMQ_ROUNDS_GAOL", 'did you mean "FEDMQ_ROUNDS_GOAL"?'),
        ("FEDMQ_RUN_DEADLINE", 'did you mean "rounds.deadline"?'),
        ("FEDMQ_BROKER_", "known are FEDMQ_BROKER_URL, FEDMQ_BROKER_HEARTBEAT, "),
    ],
)
def test_an_unknown_variable_of_a_section_gets_a_hint(
    tmp_path: Path, variable: str, hint: str
) -> None:
    message = error_of("", tmp_path, {variable: "1"})
    assert message.startswith(f"{variable} (environment): expected a variable of [")
    assert hint in message


def test_an_unknown_name_on_the_command_line_gets_a_hint(tmp_path: Path) -> None:
    assert error_of("", tmp_path, rounds__gaol=1) == (
        "rounds.gaol (the command line): expected a setting, got an unknown name; "
        'did you mean "rounds.goal"?'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[rounds]\ngoal = 3\nquorum = 4",
            "rounds.quorum (federation.toml): expected at most rounds.goal, which is 3 "
            "(federation.toml), got 4",
        ),
        (
            "[rounds]\ngoal = 5\nconcurrency = 4",
            "rounds.goal (federation.toml): expected at most rounds.concurrency, which is 4 "
            "(federation.toml), got 5; a goal above concurrency can never be met",
        ),
        (
            "[rounds]\ngoal = 10\n[selection]\npace = 12",
            "selection.pace (federation.toml): expected 0, or at least 13, the tasks in flight, "
            "got 12; those above the pace are told to stay away, and nobody would be there for the "
            "rest",
        ),
        (
            "[coordinator]\nkeep_versions = 20",
            "rounds.max_staleness (the default): expected less than coordinator.keep_versions, "
            "which is 20 (federation.toml), got 20; a stale update is checked against the "
            "version that it began with",
        ),
        (
            '[rounds]\ngoal = 2001\n[algorithm]\nrule = "median"',
            "rounds.goal (federation.toml): expected at most 2000, since algorithm.rule is median "
            "(federation.toml), got 2001; that rule reads and sorts all updates of a round at its "
            "close",
        ),
        (
            '[rounds]\npreset = "sync"\nlate = "weigh"',
            'rounds.late (federation.toml): expected "refuse", or a rounds.max_staleness above 0, '
            'which is 0 (the preset "sync" (federation.toml)), got weigh; it would weigh nothing '
            "that is late",
        ),
        (
            '[algorithm]\nrule = "fedvarp"',
            "algorithm.rule (federation.toml): expected one for updates that may be late, since "
            'rounds.late is weigh (the default), got fedvarp; set rounds.late to "refuse", or '
            "take ca2fl, which is the same for late updates",
        ),
        (
            '[coordinator]\nkeep_versions = "some"',
            'coordinator.keep_versions (federation.toml): expected "all" or a whole number from 1 '
            'to 10000000, got "some"',
        ),
        (
            '[coordinator]\nspool_keep_rounds = "3"',
            'coordinator.spool_keep_rounds (federation.toml): expected "all" or a whole number '
            'from 0 to 10000000, got "3"',
        ),
        (
            "[coordinator]\nkeep_versions = 0",
            'coordinator.keep_versions (federation.toml): expected "all" or a whole number from 1 '
            "to 10000000, got 0",
        ),
        (
            '[worker]\non_for = "1h"',
            "worker.off_for (the default): expected more than 0s, since worker.on_for is 1h, "
            "got 0s; set both, or neither for a worker that is always online",
        ),
        (
            '[worker]\noff_for = "90s"',
            "worker.on_for (the default): expected more than 0s, since worker.off_for is 90s, "
            "got 0s; set both, or neither for a worker that is always online",
        ),
    ],
)
def test_settings_that_are_at_odds_are_both_named(tmp_path: Path, text: str, message: str) -> None:
    assert error_of(text, tmp_path) == message


@pytest.mark.parametrize(
    "text",
    [
        "[rounds]\ngoal = 4\nquorum = 4\nconcurrency = 4",
        "[rounds]\nmax_staleness = 63",
        '[worker]\non_for = "1h"\noff_for = "1s"',
        '[rounds]\nlate = "refuse"\n[algorithm]\nrule = "fedvarp"',
    ],
)
def test_settings_at_the_edge_agree(tmp_path: Path, text: str) -> None:
    load(file_with(tmp_path, text), {})


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: expected a file of settings, got no"):
        load(tmp_path / "nowhere.toml", {})


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"expected a file that can be read, got Is a dir"):
        load(tmp_path, {})


def test_a_file_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "federation.toml"
    path.write_bytes(b"# caf\xe9")
    with pytest.raises(SettingsError, match="expected text in UTF-8, got another byte at 5"):
        load(path, {})


@pytest.mark.parametrize(
    "text", ["[rounds", "a = 1\na = 2", "x = " + "[" * 5000, "a = " + "9" * 5000]
)
def test_broken_toml_is_one_line(tmp_path: Path, text: str) -> None:
    assert error_of(text, tmp_path).startswith("federation.toml: expected valid toml, got an err")


def test_a_field_that_a_command_needs_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        require(load(file_with(tmp_path, ""), {}), "learner.path")
    assert str(caught.value) == (
        'learner.path: expected a Python file and a name in it, "file.py:name", or "fedmq:digits", '
        "got nothing; set it in federation.toml or as FEDMQ_LEARNER_PATH"
    )
    require(load(file_with(tmp_path, '[learner]\npath = "a.py"'), {}), "learner.path")


def test_settings_bring_no_array_library() -> None:
    program = (
        "import sys, settings, settings.command, settings.logging\n"
        "print(*{'numpy', 'torch', 'sqlalchemy', 'tqdm', 'pika', 'tomllib'} & {*sys.modules})"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ended.stdout == "\n"


def test_a_variable_may_name_a_file_that_holds_the_value(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("amqp://till:s3cret@broker/fl\n")
    (tmp_path / "rounds").write_text("7")
    environ = {
        "FEDMQ_BROKER_URL_FILE": str(tmp_path / "url"),
        "FEDMQ_RUN_ROUNDS_FILE": str(tmp_path / "rounds"),
    }
    settings = load(file_with(tmp_path, ""), environ)
    assert settings.broker.url == "amqp://till:s3cret@broker/fl"
    assert settings.run.rounds == 7


def test_what_is_in_such_a_file_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("s3cret\n")
    message = error_of("", tmp_path, {"FEDMQ_BROKER_URL_FILE": str(tmp_path / "url")})
    assert message.startswith("broker.url (FEDMQ_BROKER_URL_FILE): expected an URL amqp://")
    assert "s3cret" not in message


def test_a_value_and_a_file_for_it_are_at_odds(tmp_path: Path) -> None:
    environ = {"FEDMQ_BROKER_URL": "amqp://a:s3cret@b/", "FEDMQ_BROKER_URL_FILE": "url"}
    message = error_of("", tmp_path, environ)
    assert message == (
        "broker.url: expected one of two variables, got FEDMQ_BROKER_URL and FEDMQ_BROKER_URL_FILE"
    )


def test_a_file_of_a_value_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    message = error_of("", tmp_path, {"FEDMQ_BROKER_URL_FILE": str(tmp_path / "none")})
    assert "FEDMQ_BROKER_URL_FILE: expected a file that can be read" in message
    assert "No such file" in message
    (tmp_path / "large").write_text("x" * 65_537)
    message = error_of("", tmp_path, {"FEDMQ_BROKER_URL_FILE": str(tmp_path / "large")})
    assert "at most 64 KiB" in message
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    message = error_of("", tmp_path, {"FEDMQ_BROKER_URL_FILE": str(tmp_path / "bytes")})
    assert "text in UTF-8" in message


def test_no_field_is_called_like_the_file_of_another() -> None:
    variables = {field.variable for field in fields().values()}
    assert not [name for name in variables if name.removesuffix("_FILE") in variables - {name}]
