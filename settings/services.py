"""The settings of the services: the coordinator and a worker."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import field

from settings.about import ABOUT_MACHINE, DAY_S, MANY, YEAR_S, about
from settings.hours import Hours, parse_hours

_KIB = 2**10
_MIB = 2**20
_TIB = 2**40


class CoordinatorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[coordinator]: the server."""

    state_dir: Annotated[
        Path,
        about(
            "The folder of the coordinator's store, spool and models. A relative path counts from "
            "the folder of this file.",
            kind="path",
            expected="the path of a folder",
            free="the folder may move",
        ),
    ] = Path("coordinator-state")
    keep_versions: Annotated[
        int,
        about(
            "How many of the last model versions of each run are kept as files; more than "
            "rounds.max_staleness.",
            kind="kept",
            unit="versions",
            at_least=1,
            at_most=10 * MANY,
            free="it is about disk space",
        ),
    ] = 64
    spool_keep_rounds: Annotated[
        int,
        about(
            "For how many of the last closed rounds, of whichever run, the counted updates are "
            "kept; those of the open round always are.",
            kind="kept",
            unit="rounds",
            at_least=0,
            at_most=10 * MANY,
            free="it is about disk space",
        ),
    ] = 1
    uploads_age_s: Annotated[
        float,
        about(
            "After how long the parts of an upload that nobody added to are forgotten; its worker "
            "is told, and sends it again.",
            kind="duration",
            at_least=60.0,
            at_most=YEAR_S,
            free="it is about disk space",
        ),
    ] = field(default=3 * DAY_S, name="uploads_age")
    uploads_bytes: Annotated[
        int,
        about(
            "What all uploads that are not complete may take on disk together; one always may. "
            "When it is full, further ones are not taken yet, and their workers send them again.",
            kind="size",
            at_least=_MIB,
            at_most=_TIB,
            free="it is about disk space",
        ),
    ] = 64 * 1024 * _MIB
    senders: Annotated[
        Literal["any", "users"],
        about(
            'Who may speak for a worker. "users": only the broker\'s user of the same name as the '
            "worker's id, which the broker checks; everything else is refused as unauthenticated. "
            '"any": whoever may publish.',
            free="it says whom to trust, not what to learn",
        ),
    ] = "any"


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[worker]: a device. Each worker reads its own file; these need not agree."""

    state_dir: Annotated[
        Path,
        about(
            "The folder of the worker's inbox, outbox and model cache. A relative path counts "
            "from the folder of this file.",
            kind="path",
            expected="the path of a folder",
            free=ABOUT_MACHINE,
        ),
    ] = Path("worker-state")
    device: Annotated[
        str,
        about(
            "What to train on; auto takes a GPU if there is one.",
            pattern=r"auto|cpu|cuda:[0-9]{1,4}",
            expected='"auto", "cpu" or "cuda:N"',
            free=ABOUT_MACHINE,
        ),
    ] = "auto"
    on_for_s: Annotated[
        float,
        about(
            "Mean of the time, drawn at random, that the worker stays connected. 0s, with off_for "
            "0s too: always.",
            kind="duration",
            at_least=0.0,
            at_most=YEAR_S,
            free=ABOUT_MACHINE,
        ),
    ] = field(default=0.0, name="on_for")
    off_for_s: Annotated[
        float,
        about(
            "Mean of the time, drawn at random, that the worker then stays away.",
            kind="duration",
            at_least=0.0,
            at_most=YEAR_S,
            free=ABOUT_MACHINE,
        ),
    ] = field(default=0.0, name="off_for")
    hours: Annotated[
        str,
        about(
            'When the worker may connect, in local time: "22:00-06:00". Empty: at any time.',
            kind="hours",
            expected='hours "HH:MM-HH:MM", or "" for at any time',
            free=ABOUT_MACHINE,
        ),
    ] = ""
    max_model_bytes: Annotated[
        int,
        about(
            "The largest model that the worker takes; a larger one is declined.",
            kind="size",
            at_least=_KIB,
            at_most=_TIB,
            free=ABOUT_MACHINE,
        ),
    ] = 2048 * _MIB
    presence_s: Annotated[
        float,
        about(
            "How often an idle worker says that it is there.",
            kind="duration",
            at_least=0.1,
            at_most=DAY_S,
            free=ABOUT_MACHINE,
        ),
    ] = field(default=30.0, name="presence")
    train_timeout_s: Annotated[
        float,
        about(
            "After how much silence the training process is killed and replaced. 0s: never.",
            kind="duration",
            at_least=0.0,
            at_most=YEAR_S,
            free=ABOUT_MACHINE,
        ),
    ] = field(default=0.0, name="train_timeout")

    reader_linger_s: Annotated[
        float,
        about(
            "How long the connection that reads models is kept after use; a worker that takes one "
            "task after another need not make it each time. 0s: not at all.",
            kind="duration",
            at_least=0.0,
            at_most=1200.0,  # well below the half hour that RabbitMQ waits for an ack
            free=ABOUT_MACHINE,
        ),
    ] = field(default=60.0, name="reader_linger")

    examples: Annotated[
        int,
        about(
            "How many examples this worker has, as it tells the coordinator, which may choose by "
            "it. 0: it does not say.",
            unit="examples",
            at_least=0,
            at_most=2**53,
            free=ABOUT_MACHINE,
        ),
    ] = 0
    capabilities: Annotated[
        str,
        about(
            'What this worker can do, in names that the federation agrees on: "gpu, camera". The '
            "coordinator may choose by them.",
            pattern=r"|[A-Za-z0-9._-]{1,64}(, *[A-Za-z0-9._-]{1,64}){0,31}",
            expected="up to 32 names of A-Z a-z 0-9 . _ -, with commas between them",
            free=ABOUT_MACHINE,
        ),
    ] = ""
    metered: Annotated[
        bool,
        about(
            "Whether this worker's network is paid for by volume. The coordinator may choose by "
            "it.",
            free=ABOUT_MACHINE,
        ),
    ] = False

    @property
    def capability_names(self) -> tuple[str, ...]:
        """`capabilities` one by one, each once, in alphabetical order."""
        return tuple(sorted({name.strip() for name in self.capabilities.split(",")} - {""}))

    @property
    def open_hours(self) -> Hours | None:
        """`hours` as a span of the day; None: at any time."""
        return parse_hours(self.hours)
