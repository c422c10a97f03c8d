"""The reference page of the commands, written from their parsers.

python scripts/describe_commands.py > docs/reference/command-line.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from fedmq.cli import COMMANDS, DESCRIPTION
from settings.command import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, EXIT_UNSAID, EXIT_USER_ERROR

_HEAD = """\
# The command line

<!-- Written by `python scripts/describe_commands.py`; edit the parsers instead. -->

```text
{description}
```

`fedmq coordinator` and `fedmq worker` are also there as `fedmq-coordinator` and `fedmq-worker`.
`fedmq --version` prints the version, and `fedmq COMMAND --help` what is below.

| exit code | meaning |
|---|---|
| 0 | done as asked; a worker that was told to stop |
| 1 | a worker did not get done: the broker could not be reached or refuses it, or a task failed |
| 1 | `fedmq replay` found something wrong, or could make nothing again |
| 1 | `fedmq health` found a service that is not well |
| {unsaid} | the output could not be written: the disk is full, say, or stdout is closed |
| {user_error} | something that the user can mend; one line on stderr says what |
| {interrupted} | a coordinator, a demo or a replay that was stopped before the end |
| {broken_pipe} | whoever read the output went away early, as in `fedmq updates \\| head -1` |

`FEDMQ_LOG_LEVEL` sets `--log-level`, and `FEDMQ_HEALTH` sets `--health`. Every setting can be given
in the environment too ([settings](settings.md)).
"""


def reference() -> str:
    """The page, in Markdown."""
    head = _HEAD.format(
        description=DESCRIPTION.strip(),
        user_error=EXIT_USER_ERROR,
        interrupted=EXIT_INTERRUPTED,
        unsaid=EXIT_UNSAID,
        broken_pipe=EXIT_BROKEN_PIPE,
    )
    return head + "".join(_command(name) for name in COMMANDS)


def main() -> int:
    """Print the page."""
    sys.stdout.write(reference())
    return 0


def _command(name: str) -> str:
    add_arguments, _, description = COMMANDS[name].load()
    parser = argparse.ArgumentParser(prog=f"fedmq {name}", add_help=False)
    add_arguments(parser)
    # argparse offers no other way to list what was added to a parser.
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return f"\n## fedmq {name}\n\n{description}\n" + "".join(_subcommands(name, action))
    return f"\n## fedmq {name}\n\n{description}\n{_table(parser)}"


def _subcommands(name: str, action: argparse._SubParsersAction[Any]) -> Iterator[str]:
    meanings = {choice.dest: choice.help for choice in action._choices_actions}
    for word, parser in action.choices.items():
        meaning = str(meanings[word])
        text = f"{meaning[0].upper()}{meaning[1:]}."
        yield f"\n### fedmq {name} {word}\n\n{text}\n{_table(parser)}"


def _table(parser: argparse.ArgumentParser) -> str:
    return f"\n| argument | meaning |\n|---|---|\n{''.join(_rows(parser))}"


def _rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.dest == "help":
            continue
        names = ", ".join(action.option_strings)
        value = _value(action) if action.nargs != 0 else ""
        shown = f"{names} {value}".strip()
        needed = "required: " if action.required else ""
        meaning = needed + (action.help or "").replace("|", "\\|")
        yield f"| `{shown}` | {meaning} |\n"


def _value(action: argparse.Action) -> str:
    if action.choices is not None:
        return "{" + ",".join(str(choice) for choice in action.choices) + "}"
    return str(action.metavar or action.dest.upper())


if __name__ == "__main__":
    sys.exit(main())
