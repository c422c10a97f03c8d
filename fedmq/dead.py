"""`fedmq dead`: look at dead letters, send them again, delete them."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from broker.connect import open_transport
from broker.topology import Names
from broker.transport import Delivered
from coordinator.deadqueues import DeadQueues
from coordinator.judged import Judged, Judgements
from coordinator.letters import ID_DIGITS, Letter, home_of, letter_of
from coordinator.looking import Drop, Fate, Keep, Look, Send
from coordinator.wording import count_of
from fedmq import dead_words as words
from settings import Settings, SettingsError, load
from settings.command import complain, say_result

DESCRIPTION = (
    "Dead letters. Copies of what the coordinator refused are kept in a queue for people until it "
    "is full and the oldest give way; this command shows them, sends them again, or deletes them, "
    "whether or not the coordinator is running. What the broker itself gave up on is in another "
    "queue, which the coordinator takes up by itself."
)
LISTED_MAX = 1000
_ID = re.compile(rf"[0-9a-f]{{{ID_DIGITS},64}}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `fedmq dead`."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_list(commands.add_parser("list", help="what was refused, oldest first"))
    _add_show(commands.add_parser("show", help="what one refused message says, and why not"))
    _add_requeue(
        commands.add_parser("requeue", help="send refused messages where they came from, again")
    )
    _add_purge(commands.add_parser("purge", help="delete refused messages"))


def run(arguments: argparse.Namespace) -> int:
    """Do what the subcommand says."""
    code: int = arguments.do(arguments)
    return code


def _add_common(parser: argparse.ArgumentParser, do: Callable[[argparse.Namespace], int]) -> None:
    parser.set_defaults(do=do)
    parser.add_argument("--config", type=Path, help="the federation.toml (default: none)")
    parser.add_argument(
        "--state-dir",
        metavar="DIR",
        help="instead of coordinator.state_dir of the settings; verdicts and reasons are read "
        "there, and without it the rest is still shown",
    )


def _add_list(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, list_letters)
    parser.add_argument(
        "--most",
        type=int,
        default=LISTED_MAX,
        metavar="N",
        help=f"look at no more than the N oldest (default: {LISTED_MAX}); those stand behind the "
        "others afterwards, so the same command shows the next ones",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_show(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, show_letter)
    parser.add_argument("id", metavar="ID", help="as `fedmq dead list` prints it")


def _add_requeue(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, requeue)
    parser.add_argument("ids", metavar="ID", nargs="+", help="as `fedmq dead list` prints it")


def _add_purge(parser: argparse.ArgumentParser) -> None:
    _add_common(parser, purge)
    parser.add_argument(
        "ids", metavar="ID", nargs="*", default=[], help="as `fedmq dead list` prints it"
    )
    parser.add_argument("--all", action="store_true", help="everything that was refused")
    parser.add_argument(
        "--parked",
        action="store_true",
        help="everything that the broker gave up on and the coordinator has not taken up yet: "
        "finished updates may be among them, and are lost for good",
    )
    parser.add_argument("--yes", action="store_true", help="needed for --parked")


# The subcommands.


@dataclass(slots=True)
class _Seen:
    """One message, and how many times it is in the queue."""

    letter: Letter
    judged: Judged
    times: int = 1


def list_letters(arguments: argparse.Namespace) -> int:
    """`fedmq dead list`."""
    if arguments.most < 1:
        raise SettingsError("--most", "1 or more messages", str(arguments.most))
    seen: dict[str, _Seen] = {}
    settings = _settings(arguments)
    with _opened(settings) as (queues, names), Judgements(_state_dir(settings)) as judgements:
        ready, parked = queues.count(names.refused_queue), queues.count(names.parked_queue)

        def note(delivered: Delivered) -> Fate:
            letter = letter_of(delivered)
            if letter.digest in seen:
                seen[letter.digest].times += 1
            else:
                seen[letter.digest] = _Seen(letter, judgements.of(letter))
            return Keep()

        look = queues.look(note, arguments.most)
        trouble = judgements.trouble
    found = [(each.letter, each.judged, each.times) for each in seen.values()]
    left = max(0, ready - look.taken)
    if arguments.json:
        said = {
            "refused": ready,
            "parked": parked,
            "not_looked_at": left,
            "store": trouble or "read",
            "messages": [words.as_json(*each) for each in found],
        }
        say_result(json.dumps(said))
    else:
        say_result("\n".join(words.listed(found, ready, left, parked, trouble)))
    return _stuck(look)


def show_letter(arguments: argparse.Namespace) -> int:
    """`fedmq dead show`."""
    (wanted,) = _ids([arguments.id])
    lines: list[str] = []
    settings = _settings(arguments)
    with _opened(settings) as (queues, names), Judgements(_state_dir(settings)) as judgements:

        def note(delivered: Delivered) -> Fate:
            letter = letter_of(delivered)
            if not lines and letter.digest.startswith(wanted):
                judged = judgements.of(letter)
                lines.extend(words.shown(letter, judged, delivered.body, home_of(letter, names)))
                if judgements.trouble:
                    lines.append(words.not_read(judgements.trouble))
            return Keep()

        look = queues.look(note)
    if not lines:
        return _not_found([wanted])
    say_result("\n".join(lines))
    return _stuck(look)


def requeue(arguments: argparse.Namespace) -> int:
    """`fedmq dead requeue`."""
    wanted = _ids(arguments.ids)
    settings = _settings(arguments)
    if settings.coordinator.senders == "users":
        raise SettingsError(
            "coordinator.senders",
            '"any" for a message to be sent again by anyone but its worker',
            '"users"',
            hint="the coordinator would refuse it again, as unauthenticated",
        )
    found: dict[str, list[str]] = {}
    homeless: set[str] = set()
    with _opened(settings) as (queues, names), Judgements(_state_dir(settings)) as judgements:

        def choose(delivered: Delivered) -> Fate:
            letter = letter_of(delivered)
            if not _is_wanted(letter, wanted):
                return Keep()
            judged = judgements.of(letter)
            home = home_of(letter, names)
            if judged.is_poison or (home is not None and not judged.verdict):
                # It is, or may be, poison: so that each attempt is counted before it is decoded.
                home = (names.dead_exchange, letter.routing_key)
            if letter.digest not in found:
                found[letter.digest] = words.requeued(letter, judged)
            if home is None:
                homeless.add(letter.digest)
                return Keep()
            return Send(*home, name=letter.digest)

        look = queues.look(choose)
    failed = dict(look.failures)
    for digest, lines in found.items():
        if digest in homeless:
            why = "nothing says where it came from"
            complain(f"{digest[:ID_DIGITS]}  is kept: {why}")
        elif digest in failed:
            complain(f"{digest[:ID_DIGITS]}  is kept: {failed[digest]}")
        else:
            say_result("\n".join(lines))
    if judgements.trouble:
        complain(words.not_read(judgements.trouble))
    missing = _not_found(_without(wanted, found))
    return 2 if missing or failed or homeless else _stuck(look)


def purge(arguments: argparse.Namespace) -> int:
    """`fedmq dead purge`."""
    if sum((bool(arguments.ids), arguments.all, arguments.parked)) != 1:
        raise SettingsError("fedmq dead purge", "ids, or --all, or --parked", "none or several")
    settings = _settings(arguments)
    with _opened(settings) as (queues, names):
        if arguments.parked:
            return _purge_parked(queues, names, arguments.yes)
        if arguments.all:
            ready = queues.count(names.refused_queue)
            say_result(f"deleting {count_of(ready, 'message')} in refused")
            queues.purge(names.refused_queue)
            return 0
        return _purge_chosen(queues, _ids(arguments.ids))


def _purge_chosen(queues: DeadQueues, wanted: list[str]) -> int:
    gone: dict[str, int] = {}

    def choose(delivered: Delivered) -> Fate:
        letter = letter_of(delivered)
        if not _is_wanted(letter, wanted):
            return Keep()
        gone[letter.digest] = gone.get(letter.digest, 0) + 1
        return Drop()

    look = queues.look(choose)
    for digest, times in gone.items():
        say_result(f"{digest[:ID_DIGITS]}  deleted" + (f", {times} times" if times > 1 else ""))
    return _not_found(_without(wanted, gone)) or _stuck(look)


def _purge_parked(queues: DeadQueues, names: Names, yes: bool) -> int:
    ready = queues.count(names.parked_queue)
    complain(words.parked_warning(ready))
    if not yes:
        raise SettingsError("--parked", "--yes beside it", "nothing", hint="read what it loses")
    queues.purge(names.parked_queue)
    say_result(f"deleted {count_of(ready, 'message')} in parked")
    return 0


# What they share.


def _settings(arguments: argparse.Namespace) -> Settings:
    return load(arguments.config, os.environ, {"coordinator.state_dir": arguments.state_dir})


def _state_dir(settings: Settings) -> Path:
    return settings.coordinator.state_dir


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[DeadQueues, Names]]:
    broker, names = settings.broker, Names(settings.federation.name)
    queues = DeadQueues(
        lambda post: open_transport(
            broker.url,
            post,
            "dead letters",
            heartbeat_s=math.ceil(broker.heartbeat_s),
            connect_timeout_s=broker.connect_timeout_s,
        ),
        names,
    )
    with queues, _interrupting(queues):
        yield queues, names


@contextmanager
def _interrupting(queues: DeadQueues) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM end a look in good order, and the second one at once."""
    numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def interrupt(number: int, frame: FrameType | None) -> None:
        queues.interrupt()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ids(given: list[str]) -> list[str]:
    wanted = [word.lower() for word in given]
    for word in wanted:
        if not _ID.fullmatch(word):
            raise SettingsError(
                "ID", f"{ID_DIGITS} or more hexadecimal digits", word, hint="see `fedmq dead list`"
            )
    return wanted


def _is_wanted(letter: Letter, wanted: list[str]) -> bool:
    return any(letter.digest.startswith(word) for word in wanted)


def _without(wanted: list[str], found: dict[str, int] | dict[str, list[str]]) -> list[str]:
    return [word for word in wanted if not any(digest.startswith(word) for digest in found)]


def _not_found(missing: list[str]) -> int:
    for word in missing:
        complain(f"{word}: there is no such message in refused")
    return 2 if missing else 0


def _stuck(look: Look) -> int:
    if look.stuck:
        complain(
            f"the broker took {count_of(look.stuck, 'message')} not back at the end of the queue; "
            "they are where they were"
        )
    return 2 if look.stuck else 0
