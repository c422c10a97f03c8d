"""`fedmq status`: how the coordinator's run stands."""

from __future__ import annotations

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coordinator.display import updates_of
from coordinator.fairness import in_words
from coordinator.reports import status_of
from coordinator.wording import listed, policy_in_words
from settings import load
from settings.command import say_result

DESCRIPTION = (
    "How a run stands, read from the coordinator's state folder, whether or not it is running."
)
ROUNDS_SHOWN = 10
EVALUATIONS_SHOWN = 3
NO_METRIC = "num_examples"  # what metrics are means over; `evaluate` returns it among them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fedmq status`."""
    parser.add_argument("--config", type=Path, help="the federation.toml (default: none)")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="instead of coordinator.state_dir of the settings"
    )
    parser.add_argument("--run", default="", metavar="ID", help="a run's id or how it begins")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the status."""
    overrides = {"coordinator.state_dir": arguments.state_dir}
    settings = load(arguments.config, os.environ, overrides)
    status = status_of(settings, arguments.run)
    if arguments.json:
        say_result(json.dumps(status))
    else:
        say_result("\n".join(lines_of(status)))
    return 0


def lines_of(status: dict[str, Any]) -> list[str]:
    """A status in words."""
    why = f" ({status['why']})" if status["why"] else ""
    lines = [
        f"run      {status['run']}: {status['state']}{why}",
        f"version  {status['version']} of {status['rounds']}",
        *_round_of(status),
        f"policy   {policy_in_words(status['policy'])}",
        _workers(status),
        f"fairness {in_words(status['participation'])}",
        updates_of(status["updates"]),
    ]
    if status["copies"]:
        lines.append(f"copies   {status['copies']} deliveries were copies; none was counted twice")
    for reason, count in status["declined"].items():
        lines.append(f"given up {count} tasks: {reason}")
    if status["strays"]:
        lines.append(f"refused without an id: {listed(status['strays'])}")
    if status["strays_accepted"]:
        lines.append(f"refused without an id, and accepted later: {status['strays_accepted']}")
    for version in status["versions"][-ROUNDS_SHOWN:]:
        made = datetime.fromtimestamp(version["made_at"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        about = ", ".join(f"{n} {v:.4f}" for n, v in version["metrics"].items() if n != NO_METRIC)
        again = version["rolled_back_to"]
        why = version["why"] if again is None else f"version {again} again"
        lines.append(
            f"  version {version['version']:>4}  {made}  {version['counted']} updates, "
            f"{why}  {about}"
        )
    return [*lines, *_evaluations(status)]


def _workers(status: dict[str, Any]) -> str:
    """Who was seen; those that evaluate have no part in the fairness that stands below."""
    evaluators = len(status["evaluators"])
    never = f", {evaluators} of them in the cohort, which never trains" if evaluators else ""
    return f"workers  {len(status['workers'])} seen{never}"


def _evaluations(status: dict[str, Any]) -> list[str]:
    """What the cohort found, and which version is the best."""
    cohorts = [each for each in status["evaluations"] if each["by"] == "cohort"]
    lines = [f"cohort   {_found(each)}" for each in cohorts[-EVALUATIONS_SHOWN:]]
    if status["best_version"] is not None:
        early = status["stopped_early"]
        why = "" if early in status["why"] else f": {early}"  # it stands beside the run already
        stopped = f"; the run stopped early{why}" if early else ""
        lines.append(f"best     version {status['best_version']}{stopped}")
    return lines


def _found(evaluation: dict[str, Any]) -> str:
    about = f"version {evaluation['version']}: "
    if evaluation["closed_at"] is None:
        return f"{about}is being evaluated"
    who = f"{evaluation['answers']} workers, {evaluation['examples']:g} examples"
    few = "" if evaluation["conclusive"] else ", too few to go by"
    scores = "; ".join(_score(name, score) for name, score in evaluation["scores"].items())
    return f"{about}{who}{few}{': ' * bool(scores)}{scores}"


def _score(name: str, score: dict[str, Any]) -> str:
    error = score["standard_error"]
    sure = "" if error is None else f" ± {error:.4f}"
    worst = "" if score["worst_decile"] is None else f", worst decile {score['worst_decile']:.4f}"
    spread = " ".join(f"{share} {score[share]:.4f}" for share in ("p10", "p50", "p90"))
    return f"{name} {score['mean']:.4f}{sure} ({spread}{worst})"


def _round_of(status: dict[str, Any]) -> list[str]:
    if status["state"] in ("draining", "ended"):
        return []
    return [
        f"round    {status['counted']} of {status['goal']} updates, "
        f"{status['open_tasks']} tasks in flight"
    ]
