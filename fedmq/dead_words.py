"""Dead letters in words, and as JSON. Whatever stands in a message, it is shown on one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coordinator.judged import Judged
from coordinator.letters import Letter, hexdump
from coordinator.wording import count_of
from schemas.buffer import Buffer
from schemas.digest import digest_of
from schemas.errors import DecodeError
from schemas.fields import to_fields
from schemas.messages import Update, UpdatePart, decode
from settings.errors import one_line

Found = tuple[Letter, Judged, int]
"""A message, what is known of it, and how many times it is in the queue."""

_SHOWN_CHARS = 200
_NAMES_SHOWN = 8


def not_read(trouble: str) -> str:
    """Why verdicts are missing."""
    return f"verdicts are not known here: {one_line(trouble)}"


def parked_warning(count: int) -> str:
    """What deleting the parked messages loses."""
    return (
        f"{count_of(count, 'message')} in parked: what the broker gave up on and the coordinator "
        "has not taken up yet. Finished updates may be among them; their workers have deleted "
        "them, so they would be lost for good and never get a verdict. A coordinator that is "
        "started takes them up by itself"
    )


def listed(found: Sequence[Found], ready: int, left: int, parked: int, trouble: str) -> list[str]:
    """The lines of `fedmq dead list`."""
    lines = [f"refused: {count_of(ready, 'message')}"]
    lines += [_line(*each) for each in found]
    if left:
        more = count_of(left, "message")
        lines.append(f"  {more} more were not looked at: the same command shows the next")
    if parked:
        lines.append(
            f"parked: {count_of(parked, 'message')} that the broker gave up on; the coordinator "
            "takes them up by itself, as soon as it runs"
        )
    if trouble:
        lines.append(not_read(trouble))
    return lines


def _line(letter: Letter, judged: Judged, times: int) -> str:
    about = ""
    if letter.update_id:
        about = f"update {letter.update_id[:8]}"
    elif letter.task_id:
        about = f"task {letter.task_id[:8]}"
    parts = [
        letter.short_id,
        f"{letter.kind:<13}",
        f"{letter.worker_id or '-':<12}",
        f"{about or '-':<15}",
        f"{letter.num_bytes:>9} B",
        f"{judged.verdict or '-':<15}",
        one_line(judged.reason or letter.fault)[:_SHOWN_CHARS],
    ]
    return "  " + "  ".join(parts).rstrip() + (f"  ({times} times)" if times > 1 else "")


def as_json(letter: Letter, judged: Judged, times: int) -> dict[str, Any]:
    """A message as `fedmq dead list --json` has it."""
    return {
        "id": letter.digest,
        "kind": letter.kind,
        "worker": letter.worker_id,
        "task": letter.task_id,
        "update": letter.update_id,
        "bytes": letter.num_bytes,
        "times": times,
        "verdict": judged.verdict,
        "reason": judged.reason,
        "fault": letter.fault,
        "routing_key": letter.routing_key,
        "update_verdict": judged.update.verdict if judged.update is not None else "",
    }


def shown(letter: Letter, judged: Judged, body: Buffer, home: tuple[str, str] | None) -> list[str]:
    """The lines of `fedmq dead show`."""
    lines = [
        f"id         {letter.digest}",
        f"kind       {letter.kind}, {letter.num_bytes} bytes",
        f"came by    {_quoted(home[1]) if home else 'not known'}",
        *_verdict(judged),
    ]
    if letter.message is None:
        return [*lines, f"bytes      {one_line(letter.fault)}", *hexdump(body)]
    lines += [f"  {name} = {_value(value)}" for name, value in to_fields(letter.message).items()]
    return [*lines, *_payload(body)]


def _verdict(judged: Judged) -> list[str]:
    if not judged.known:
        return ["verdict    not known: the coordinator's state folder cannot be read"]
    if not judged.verdict:
        return ["verdict    none is on record: the oldest records give way to newer ones"]
    lines = [f"verdict    {judged.verdict}: {one_line(judged.reason)}"]
    stray, update = judged.stray, judged.update
    if stray is not None and stray.accepted_at is not None:
        before = f"{stray.verdict}: {one_line(stray.reason)}"
        lines.append(f"before     refused without an id, as {before}")
    elif stray is not None and update is not None:
        lines.append(f"update     the update of this id has its verdict: {update.verdict}")
    return lines


def requeued(letter: Letter, judged: Judged) -> list[str]:
    """What sending a message again will come to."""
    lines = [f"{letter.short_id}  sent again ({letter.kind})"]
    if judged.update is not None:
        lines.append(
            f"  its update has its verdict, {judged.update.verdict}, for ever: this will only be "
            "noted as a copy"
        )
    elif isinstance(letter.message, Update) and letter.message.parts:
        lines.append(
            "  it closes an upload in parts, which are not with it: it counts only if they are all "
            "there, or the worker sends them again"
        )
    elif judged.is_poison:
        lines.append(
            "  it ended the coordinator each time: if that has not been mended it will do so three "
            "more times, and is then refused as poison again"
        )
    elif judged.known and judged.stray is not None:
        lines.append(f"  it took no id when it was refused as {judged.verdict}: it is judged anew")
    elif not judged.verdict:
        lines.append(
            "  its verdict is not known here, and it may be poison: the coordinator takes it up as "
            "what the broker gave up on"
        )
        if not judged.known and letter.update_id:
            lines.append("  if its update has its verdict already, this is only noted as a copy")
    return lines


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        shown = [f"{key}: {item}" for key, item in list(value.items())[:_NAMES_SHOWN]]
        more = f", … {len(value)} in all" if len(value) > _NAMES_SHOWN else ""
        return one_line("{" + ", ".join(shown) + more + "}")[:_SHOWN_CHARS]
    if isinstance(value, list | tuple):
        more = f", … {len(value)} in all" if len(value) > _NAMES_SHOWN else ""
        return one_line("[" + ", ".join(map(str, value[:_NAMES_SHOWN])) + more + "]")[:_SHOWN_CHARS]
    return one_line(str(value))[:_SHOWN_CHARS]


def _quoted(text: str) -> str:
    return one_line(text)[:_SHOWN_CHARS]


def _payload(body: Buffer) -> list[str]:
    """What can be said of a payload without printing it."""
    try:
        message, payload = decode(body)
    except DecodeError:
        return []
    if not payload.nbytes:
        return ["payload    none"]
    digest = ""
    if isinstance(message, Update):
        holds = digest_of(payload) == message.payload_digest
        digest = ", its digest holds" if holds else ", of another digest than it says"
    lines = [f"payload    {payload.nbytes} bytes{digest}"]
    if isinstance(message, Update | UpdatePart) and payload.nbytes >= 4:
        numbers = np.frombuffer(payload[: payload.nbytes // 4 * 4], "<f4")
        finite = np.isfinite(numbers)
        largest = float(np.max(np.abs(numbers[finite]), initial=0.0))
        odd = int(numbers.size - finite.sum())
        lines.append(
            f"           as float32: {numbers.size} numbers, {odd} of them not finite, the largest "
            f"of the others {largest:.4g}"
        )
    return lines
