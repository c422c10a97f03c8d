"""`fedmq simulate` plans a federation, and says in one line what it cannot do."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fedmq.cli import main
from fedmq.simulate_view import Watch
from simulation.planning.fleet import Fleet
from tests.docs.pages import ROOT

LEARNER = str(ROOT / "tests" / "simulation" / "planning" / "softmax.py")
QUICK = ["--workers", "60", "--concurrency", "20", "--goal", "5", "--devices", "fedbuff"]

Captured = pytest.CaptureFixture[str]


def said(capsys: Captured, *words: str) -> dict[str, Any]:
    assert main(["simulate", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_policies_are_compared_until_the_target_is_reached(capsys: Captured) -> None:
    words = ["--compare", "sync,fedbuff,fedasync", "--learner", LEARNER, "--target", "0.75"]
    found = said(capsys, *words, "--workers", "100", "--concurrency", "20", "--devices", "fedbuff")
    assert list(found) == ["sync", "fedbuff", "fedasync"]
    for each in found.values():
        assert each["ended"] == "target"
        assert each["accuracy"] >= 0.75
        assert each["time_to_target_s"] > 0
        assert each["versions"] > 0
        assert each["updates"] == sum(each["verdicts"].values())


def test_staleness_is_what_sets_the_policies_apart(capsys: Captured) -> None:
    words = ["--compare", "sync,fedbuff,fedasync", "--devices", "fedbuff", "--until", "1h"]
    words += ["--workers", "100", "--concurrency", "20", "--max-staleness", "200"]
    found = said(capsys, *words)
    assert found["sync"]["mean_staleness"] == 0.0
    assert found["fedbuff"]["mean_staleness"] == pytest.approx(2.0, rel=0.1)
    assert found["fedasync"]["mean_staleness"] == pytest.approx(20.0, rel=0.1)
    assert all(each["accuracy"] is None for each in found.values())


def test_lists_of_values_are_tried_one_after_the_other(capsys: Captured) -> None:
    found = said(
        capsys, "--goal", "2,4", "--deadline", "60s,5m", "--workers", "50", "--until", "20m"
    )
    assert list(found) == [
        "fedbuff goal=2 deadline=60s",
        "fedbuff goal=2 deadline=5m",
        "fedbuff goal=4 deadline=60s",
        "fedbuff goal=4 deadline=5m",
    ]
    assert found["fedbuff goal=2 deadline=5m"]["policy"]["deadline_s"] == 300.0


def test_the_same_seed_gives_the_same_history(capsys: Captured) -> None:
    words = [*QUICK, "--devices", "flaky", "--until", "3h"]
    one, same, other = (said(capsys, *words, "--seed", seed)["fedbuff"] for seed in "112")
    assert one == same
    assert one["history"] != other["history"]


def test_several_seeds_have_their_means_and_each_is_there(capsys: Captured) -> None:
    found = said(capsys, *QUICK, "--until", "1h", "--seed", "4", "--seeds", "3")["fedbuff"]
    assert [each["seed"] for each in found["seeds"]] == [4, 5, 6]
    staleness = [each["mean_staleness"] for each in found["seeds"]]
    assert found["mean_staleness"] == pytest.approx(sum(staleness) / 3)


def test_a_configured_federation_is_simulated_as_it_is(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "softmax.py").write_text(Path(LEARNER).read_text())
    config = tmp_path / "federation.toml"
    config.write_text(
        '[learner]\npath = "softmax.py"\nconfig = { epochs = 1 }\n[run]\nrounds = 7\n'
        '[rounds]\ngoal = 4\nconcurrency = 9\ndeadline = "3m"\nlease = "11m"\n'
    )
    found = said(capsys, "--config", str(config), "--workers", "30")
    assert list(found) == ["configured"]
    each = found["configured"]
    assert (each["ended"], each["versions"]) == ("rounds", 7)
    policy = each["policy"]
    assert (policy["goal"], policy["concurrency"]) == (4, 9)
    assert (policy["deadline_s"], policy["lease_s"]) == (180.0, 660.0)
    assert each["accuracy"] is not None
    compared = said(capsys, "--config", str(config), "--compare", "sync", "--workers", "200")
    assert compared["sync"]["policy"]["late"] == "refuse"


def test_that_evaluations_are_not_simulated_is_said(tmp_path: Path, capsys: Captured) -> None:
    config = tmp_path / "federation.toml"
    config.write_text("[run]\nrounds = 3\n[evaluation]\ncohort = 0.25\n")
    words = ["simulate", "--config", str(config), "--workers", "30", "--until", "10m"]
    assert main(words) == 0
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("fedmq: [evaluation] is not simulated")
    assert "the cohort (0.25 of the workers) trains" in first
    config.write_text("[run]\nrounds = 3\n")
    assert main(words) == 0
    assert "[evaluation]" not in capsys.readouterr().err


def test_where_nobody_says_how_long_to_wait_the_devices_do(capsys: Captured) -> None:
    found = said(capsys, *QUICK, "--devices", "ideal", "--until", "10m", "--lease", "1h")
    policy = found["fedbuff"]["policy"]
    assert (policy["deadline_s"], policy["lease_s"]) == (120.0, 3600.0)


def test_a_task_lasts_as_long_as_is_asked_for(capsys: Captured) -> None:
    found = said(capsys, *QUICK, "--devices", "ideal", "--task-time", "10m", "--until", "601s")
    assert found["fedbuff"]["updates"] == 20
    assert found["fedbuff"]["policy"]["lease_s"] == 1200.0


def test_the_size_of_the_model_counts_on_the_wire(capsys: Captured) -> None:
    words = ["--devices", "papaya", "--workers", "50", "--concurrency", "20", "--until", "10m"]
    small = said(capsys, *words, "--model-size", "1KiB")["fedbuff"]
    large = said(capsys, *words, "--model-size", "10MiB")["fedbuff"]
    assert small["updates"] > 5 * large["updates"]


def test_each_dispatch_can_be_tried(capsys: Captured) -> None:
    words = ["--devices", "hostile", "--until", "6h", "--dispatch", "pool,direct"]
    found = said(capsys, *words)
    assert found["fedbuff dispatch=direct"]["policy"]["dispatch"] == "direct"
    assert found["fedbuff dispatch=direct"]["updates"] > 0
    assert found["fedbuff dispatch=pool"]["updates"] > 0


def test_any_other_setting_can_be_tried(capsys: Captured) -> None:
    words = ["--learner", LEARNER, *QUICK, "--until", "10m", "--set", "algorithm.prox_mu=0.1"]
    found = said(capsys, *words, "--set", "algorithm.rule=mean,ca2fl")
    assert list(found) == ["fedbuff algorithm.rule=mean", "fedbuff algorithm.rule=ca2fl"]
    algorithm = found["fedbuff algorithm.rule=ca2fl"]["policy"]["algorithm"]
    assert (algorithm["rule"], algorithm["prox_mu"]) == ("ca2fl", 0.1)
    accuracies = {each["accuracy"] for each in found.values()}
    assert len(accuracies) == 2


def test_in_a_terminal_a_bar_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr("fedmq.simulate_view.LOOK_EVERY_S", 0.0)
    assert main(["simulate", *QUICK, "--until", "10m", "--json"]) == 0
    shown = terminal.getvalue()
    assert "[1/1] fedbuff, seed 0" in shown
    assert "updates" in shown
    json.loads(capsys.readouterr().out)


class Terminal(io.StringIO):
    """Takes what is written for one to look at."""

    def isatty(self) -> bool:
        return True


def test_people_get_a_table_and_charts(capsys: Captured) -> None:
    words = ["--learner", LEARNER, "--target", "0.75", "--compare", "sync,fedbuff", *QUICK]
    assert main(["simulate", *words]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("60 workers, devices fedbuff\n")
    assert "time to 0.75" in captured.out
    assert "█" in captured.out
    assert "[2/2] fedbuff, seed 0: target reached after" in captured.err


def test_where_no_round_closed_none_has_a_length(capsys: Captured) -> None:
    assert main(["simulate", *QUICK, "--until", "1s"]) == 0
    head, row = capsys.readouterr().out.splitlines()[2:4]
    assert head.split()[-3:] == ["round", "updates/min", "Jain"]
    assert row.split()[-3] == "-"


def test_the_plots_are_written_to_a_file(tmp_path: Path, capsys: Captured) -> None:
    path = tmp_path / "plots.svg"
    assert main(["simulate", *QUICK, "--until", "5m", "--svg", str(path)]) == 0
    ElementTree.fromstring(path.read_text())


def test_ctrl_c_shows_what_there_is_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """The second policy is interrupted; the first is told."""
    made = 0

    def look(self: object, fleet: Fleet) -> None:
        nonlocal made
        made += 1
        if made > 100:
            raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "look", look)
    words = ["--goal", "5,6", "--workers", "60", "--concurrency", "20", "--devices", "fedbuff"]
    assert main(["simulate", *words, "--until", "15m", "--json"]) == 130
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)) == ["fedbuff goal=5"]
    assert "interrupted" in captured.err


WRONG = {
    "--devices x": "--devices: expected one of ideal, fedbuff, papaya, phones, flaky, hostile",
    "--workers 0": "--workers: expected a whole number from 1 to",
    "--compare sync,foo": "--compare: expected presets of sync, fedbuff, fedasync",
    "--compare sync,sync": "--compare: expected values with commas between them, each once",
    "--goal abc": "--goal: expected a whole number",
    "--goal 200": "at most rounds.concurrency",
    "--workers 20 --goal 30 --concurrency 40": "rounds.goal: expected at most the number of",
    "--workers 20 --goal 30 --concurrency 40 --compare sync": "rounds.goal: expected at most",
    "--workers 9": "rounds.goal: expected at most the number of --workers, which is 9, got 10",
    "--deadline 3x": "rounds.deadline (the command line): expected a duration",
    "--until never": "--until: expected a duration",
    "--until 0s": "--until: expected a duration above 0",
    "--task-time=-1": "--task-time",
    "--model-size huge": "--model-size: expected a size",
    "--target 0.8": "--target: expected a learner",
    "--target 0.8 --synthetic": "--target: expected a learner",
    "--target 2": "--target: expected an accuracy",
    "--data {worker}": "--data: expected a learner",
    "--seed=-1": "--seed",
    "--set evaluation.cohort=0.1": "--set: expected a setting that is simulated",
    "--set rounds.goal": "--set: expected a setting and its values",
    "--set rounds.gaol=3": "rounds.gaol",
    "--goal 3 --set rounds.goal=4": "--set: expected a setting and its values, each setting once",
    "--set algorithm.rule=mean,sum": "algorithm.rule (the command line): expected one of",
    "--seeds 0": "--seeds: expected a whole number",
    "--config /nope.toml": "/nope.toml: expected a file of settings",
    "--learner nope.py": "cannot read",
    "--learner fedmq:nope": "no built-in",
    f"--learner {LEARNER} --data x": "count_examples: ValueError",
    "--until 1m --svg /nope/x.svg": "--svg: expected a file that can be written",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_simulated_is_said_in_one_line(words: str, capsys: Captured) -> None:
    assert main(["simulate", *words.split()]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("fedmq: ")
    assert WRONG[words] in last
