"""The `fedmq` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple

from broker.errors import BrokerError
from fedmq import __version__
from settings import SettingsError
from settings.command import run_command

DESCRIPTION = """\
Federated learning over RabbitMQ for clients that come and go.

Try it on this machine, with nothing else installed:
  fedmq demo

Run a federation: one coordinator, any number of workers, a RabbitMQ broker between them.
All read the same federation.toml (docs/reference/settings.md says what is in it):
  fedmq coordinator --config federation.toml
  fedmq worker --config federation.toml --id till-17
"""


class _Command(NamedTuple):
    """A subcommand: its line in the list, and how its module is asked for arguments and to run."""

    summary: str
    load: Callable[[], tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]]


def _demo() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from fedmq import demo

    return demo.add_arguments, demo.run, demo.DESCRIPTION


def _coordinator() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from coordinator import cli

    return cli.add_arguments, cli.run, cli.DESCRIPTION


def _worker() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from worker import cli

    return cli.add_arguments, cli.run, cli.DESCRIPTION


def _simulate() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from fedmq import simulate

    return simulate.add_arguments, simulate.run, simulate.DESCRIPTION


def _status() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from fedmq import status

    return status.add_arguments, status.run, status.DESCRIPTION


def _export() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from fedmq import export

    return export.add_arguments, export.run, export.DESCRIPTION


def _updates() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from fedmq import updates

    return updates.add_arguments, updates.run, updates.DESCRIPTION


def _explain() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from fedmq import explain

    return explain.add_arguments, explain.run, explain.DESCRIPTION


def _replay() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from fedmq import replay

    return replay.add_arguments, replay.run, replay.DESCRIPTION


def _dead() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from fedmq import dead

    return dead.add_arguments, dead.run, dead.DESCRIPTION


def _health() -> tuple[Callable[[argparse.ArgumentParser], None], Callable[..., int], str]:
    from fedmq import health

    return health.add_arguments, health.run, health.DESCRIPTION


COMMANDS = {
    "demo": _Command("a federation of flaky workers on this machine, in one command", _demo),
    "coordinator": _Command("run the coordinator of a federation", _coordinator),
    "worker": _Command("run a worker: it trains on data that stay here", _worker),
    "simulate": _Command("plan: what a round policy would do with devices like yours", _simulate),
    "health": _Command("whether a service on this machine is well", _health),
    "status": _Command("how the coordinator's run stands", _status),
    "updates": _Command("every update that came, and what became of it", _updates),
    "explain": _Command("why an update, a task, a worker or a round was not counted", _explain),
    "replay": _Command("make model versions again, and compare them", _replay),
    "export": _Command("write a model version to a file", _export),
    "dead": _Command("what was refused: look at it, send it again, delete it", _dead),
}


def main(argv: list[str] | None = None) -> int:
    """The console script `fedmq`."""
    words = sys.argv[1:] if argv is None else argv
    return run_command(lambda: _run(words))  # says first whether this system will do


def coordinator() -> int:
    """The console script `fedmq-coordinator`."""
    return main(["coordinator", *sys.argv[1:]])


def worker() -> int:
    """The console script `fedmq-worker`."""
    return main(["worker", *sys.argv[1:]])


def _run(words: list[str]) -> int:
    parser = _parser()
    name = next((word for word in words if not word.startswith("-")), "")
    if name not in COMMANDS:
        parser.parse_args(words)
        parser.print_help()
        return 0
    # Only the command that is asked for is imported: the worker must stay light.
    add_arguments, run, description = COMMANDS[name].load()
    command = argparse.ArgumentParser(prog=f"fedmq {name}", description=description)
    add_arguments(command)
    arguments = command.parse_args(words[words.index(name) + 1 :])
    _require_text(arguments)
    return run_command(lambda: run(arguments), _user_errors(name))


def _require_text(arguments: argparse.Namespace) -> None:
    """Refuse bytes that are not text, which no name, no setting and no id has; a path may.

    Raises:
        SettingsError: Naming the argument.
    """
    for name, value in vars(arguments).items():
        for word in value if isinstance(value, list) else [value]:
            if isinstance(word, str) and not _is_text(word):
                came = word.encode(errors="surrogateescape").decode(errors="backslashreplace")
                raise SettingsError(name.replace("_", "-"), "text in UTF-8", f'"{came}"')


def _is_text(word: str) -> bool:
    """Python keeps bytes that are not UTF-8 as surrogates, which cannot be written anywhere."""
    return not any("\ud800" <= char <= "\udfff" for char in word)


def _user_errors(name: str) -> tuple[type[Exception], ...]:
    """What the user of a command can mend; the worker's module is not asked for the server's."""
    if name == "health":
        return ()
    if name == "worker":
        from worker.errors import WorkerError

        return (WorkerError, BrokerError)
    from coordinator.errors import CoordinatorError

    if name == "simulate":
        from learning.errors import LearnerError
        from simulation.planning.errors import PlanningError

        return (CoordinatorError, LearnerError, PlanningError)
    return (CoordinatorError, BrokerError)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fedmq", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"fedmq {__version__}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", description="`fedmq COMMAND --help` says more"
    )
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.summary, add_help=False)
    return parser
