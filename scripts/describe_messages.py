"""The reference page of the messages, written from their classes, the frame and the topology.

python scripts/describe_messages.py > docs/reference/messages.md
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from broker.topology import NO_DELIVERY_LIMIT, Names, Queue
from schemas import fields, frame, messages
from schemas.errors import DecodeError
from schemas.messages import KINDS, Base

FEDERATION = "<name>"
PARTS: Mapping[str, type] = {"base": Base}
"""What stands in a field of a message, and has fields of its own."""

COMMON = {
    "run_id": "The run.",
    "task_id": "The task.",
    "worker_id": "Who speaks; also the last part of the routing key.",
    "incarnation": "Of the coordinator's store: tells its lives apart.",
    "update_id": "H(incarnation, task_id, worker_id).",
    "kind": "What is to be done.",
    "state": "How the run stands.",
    "reason": "Why, in words; may be empty.",
    "base_version": "The model version that training begins with, -1 if none.",
    "layout_digest": "Names the arrays: their names, shapes, dtypes and rules.",
    "codec": "How the numbers are encoded.",
    "offset": "Where the model begins on its stream.",
    "num_examples": "How many examples it stands for.",
    "metrics": "Named numbers, for the records.",
    "train_s": "Seconds that training took.",
    "payload_digest": "Digest of the whole payload.",
    "payload_bytes": "Size of the whole payload.",
    "part_bytes": "Size of every part but the last.",
    "version": "The model version.",
    "model_digest": "The name of the parameters.",
    "model_bytes": "Size of the model's flat buffer.",
    "index": "Which part, from 0.",
    "parts": "How many parts there are.",
    "lease_s": "Seconds the coordinator waits for the answer.",
    "prox_mu": "FedProx's mu.",
    "stored": "The model lies in the depot.",
    "model_codec": "In what the parameters travel.",
    "base_digest": "Of the version itself, if that is not what travels.",
    "time_s": "The coordinator's time, in UTC seconds, when it wrote the message.",
}
"""What fields mean wherever they stand; what a message says of its own comes first."""

_HEAD = """\
# Messages

<!-- Written by `python scripts/describe_messages.py`; edit `schemas/` and `broker/` instead. -->

What coordinator and workers say to each other, in protocol version {version}. A message is a frame:
a small header of named fields and, for those that carry numbers, a payload behind it. Any other
bytes are refused; nothing on the wire is code.

```text
{diagram}
```

## The frame

```text
{frame}
```

{rules}

What the payload of an update is stands in
[decision 0013](../decisions/0013-the-payload-of-an-update.md); that of a `model-part` is a piece of
the flat buffer of the parameters.
"""


def reference() -> str:
    """The page, in Markdown."""
    head = _HEAD.format(
        version=frame.PROTOCOL_VERSION,
        diagram=_block(messages),
        frame=_block(frame),
        rules=_rules(frame),
    )
    return "".join([head, *_messages(), *_types(), *_topology()])


def main() -> int:
    """Print the page."""
    sys.stdout.write(reference())
    return 0


def _messages() -> list[str]:
    lines = ["\n## The messages\n\nThe field `message` of a header names the kind.\n"]
    for kind, cls in (*KINDS.items(), *PARTS.items()):
        summary, meanings = _documented(cls)
        lines.append(f"\n### {kind}\n\n{summary}\n\n| field | type | meaning |\n|---|---|---|\n")
        for name, hint in _hints(cls).items():
            lines.append(f"| `{name}` | {_type(hint)} | {meanings.get(name) or COMMON[name]} |\n")
    return lines


def _types() -> list[str]:
    lines = ["\n## Types of fields\n\n| type | what is accepted |\n|---|---|\n"]
    for name, check in _aliases().items():
        lines.append(f"| {name} | {_expected(check)} |\n")
    return lines


def _topology() -> list[str]:
    names = Names(FEDERATION)
    topology = names.topology
    model = names.model_queue("<run>", 0)
    lines = ["\n## Exchanges and queues\n\n", _TOPOLOGY_TEXT, "\n| exchange | kind |\n|---|---|\n"]
    lines += [f"| `{exchange.name}` | {exchange.kind} |\n" for exchange in topology.exchanges]
    lines.append(
        "\n| queue | kind | bound to | deliveries | dead letters go to | when full |\n"
        "|---|---|---|---|---|---|\n"
    )
    bound = {b.queue: f"`{b.exchange}`, key `{b.key}`" for b in topology.bindings}
    for queue in (*topology.queues, model):
        dead = f"`{queue.dead_letter_exchange}`" if queue.dead_letter_exchange else ""
        lines.append(
            f"| `{queue.name}` | {_kind(queue)} | {bound.get(queue.name, '')} "
            f"| {_deliveries(queue)} | {dead} | {_when_full(queue)} |\n"
        )
    worker, run = "<worker>", "<run>"
    keys = (
        ("task", names.task_key),
        ("update, update-part", names.update_key(run, 0, worker)),
        ("taken, declined, presence", names.control_key("<kind>", worker)),
    )
    lines.append("\n| message | routing key |\n|---|---|\n")
    lines += [f"| {kinds} | `{key}` |\n" for kinds, key in keys]
    return lines


_TOPOLOGY_TEXT = """\
The coordinator declares all of it. Every publish is persistent, mandatory and confirmed. `start`
and `standing` are answers by direct reply-to and need no queue. A `model-part` is published to its
stream by name, over the default exchange.
"""


def _kind(queue: Queue) -> str:
    return f"{queue.kind}, single active consumer" if queue.single_active else queue.kind


def _deliveries(queue: Queue) -> str:
    """How often a message may come back unsettled before the broker gives it up."""
    if queue.kind == "stream" or queue.delivery_limit == NO_DELIVERY_LIMIT:
        return "no limit"
    return f"{queue.delivery_limit}, then it is given up"


def _when_full(queue: Queue) -> str:
    if queue.kind == "stream":
        return "the oldest segments give way"
    if not queue.max_bytes:
        return ""
    limit = f"above {queue.max_bytes // 2**20} MiB "
    if queue.overflow == "drop-head":
        return limit + "the oldest give way"
    return limit + "publishes are refused"


def _block(module: types.ModuleType) -> str:
    """The indented block of a module's docstring."""
    lines = (inspect.getdoc(module) or "").splitlines()
    return "\n".join(line[4:] for line in lines if line.startswith("    "))


def _rules(module: types.ModuleType) -> str:
    text = inspect.getdoc(module) or ""
    rules = text[text.index("Rules: ") :].split("\n`")[0]
    return f"{rules[7:8].upper()}{rules[8:]}"


def _documented(cls: type) -> tuple[str, dict[str, str]]:
    """What a class's docstring says of it, and of each attribute."""
    text, _, attributes = (inspect.getdoc(cls) or "").partition("\n\nAttributes:\n")
    meanings: dict[str, str] = {}
    name = ""
    for line in attributes.splitlines():
        found = re.fullmatch(r" {4}(\w+): (.*)", line)
        if found:
            name = found[1]
            meanings[name] = found[2]
        elif line.strip():
            meanings[name] += " " + line.strip()
    return " ".join(text.split()), {name: _cell(meaning) for name, meaning in meanings.items()}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _aliases() -> dict[str, Any]:
    """The named types of fields, and the check of each."""
    return {
        name: get_args(value)[1]
        for name, value in vars(fields).items()
        if get_origin(value) is Annotated
    }


def _type(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next(name for name, check in _aliases().items() if check is arguments[1])
    if hint is bool:
        return "true or false"
    if hint in PARTS.values():
        name = next(name for name, cls in PARTS.items() if cls is hint)
        return f"map of the fields of [{name}](#{name})"
    if origin in (Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return f"{_type(inner)} or nothing"
    if origin is Literal:
        return ", ".join(f'`"{choice}"`' for choice in arguments)
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is Mapping:
        return f"map of {_type(arguments[0])} to {_type(arguments[1])}"
    raise TypeError(f"no words for the field type {hint!r}")


def _expected(check: Any) -> str:
    """What a check says that it wants, when it is given something else."""
    try:
        check(None)
    except DecodeError as error:
        return _cell(str(error).removeprefix("expected ").removesuffix(", came None"))
    raise AssertionError("no type of a field takes nothing")


if __name__ == "__main__":
    sys.exit(main())
