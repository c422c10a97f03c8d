"""The settings of a federation, for all of its services: one tree, one file.

Rules:
    - A field's attribute may end in its unit (`deadline_s`); its key in the file never changes.
    - Every field has a default, so an empty file is a federation.
    - Every field says what it means, its range, and whether a run keeps it (`settings.about`).
"""

from typing import Annotated

import msgspec
from msgspec import field

from settings.about import ABOUT_TIMING, MANY, about
from settings.algorithm import AlgorithmSettings
from settings.depot import DepotSettings
from settings.evaluation import EvaluationSettings
from settings.rounds import RoundsSettings
from settings.selection import SelectionSettings
from settings.services import CoordinatorSettings, WorkerSettings
from settings.wire import WireSettings

Scalar = str | int | float | bool


class FederationSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[federation]: the project that coordinator and workers belong to."""

    name: Annotated[
        str,
        about(
            "The project's name. It is part of the name of every queue, so that several "
            "federations can share a broker.",
            pattern=r"[a-z0-9-]{1,40}",
            expected="1 to 40 of the characters a-z, 0-9 and -",
            frozen="another name is another federation, with other queues and workers",
        ),
    ] = "demo"


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[broker]: how to reach RabbitMQ."""

    url: Annotated[
        str,
        about(
            "Where the broker is, with user and password. memory:// is a broker inside the "
            "process.",
            kind="url",
            expected="an URL amqp://user:password@host:port/vhost, amqps://… or memory://",
            free="the broker may move",
        ),
    ] = "amqp://guest:guest@127.0.0.1:5672/"
    heartbeat_s: Annotated[
        float,
        about(
            "How often both sides show that the connection is alive; a dead one is noticed after "
            "about two of them. Rounded up to whole seconds.",
            kind="duration",
            at_least=1.0,
            at_most=3600.0,
            free=ABOUT_TIMING,
        ),
    ] = field(default=60.0, name="heartbeat")
    connect_timeout_s: Annotated[
        float,
        about(
            "How long one attempt to connect may take before the next one.",
            kind="duration",
            at_least=0.1,
            at_most=600.0,
            free=ABOUT_TIMING,
        ),
    ] = field(default=10.0, name="connect_timeout")


class LearnerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[learner]: what is learned, and from what."""

    path: Annotated[
        str,
        about(
            'The learner: "file.py:name", or "file.py" if its name is `learner`. A relative path '
            'counts from the folder of this file. "fedmq:digits" is the built-in one of the demo, '
            '"fedmq:fashion" learns Fashion-MNIST. Empty: none is set.',
            kind="learner",
            expected='a Python file and a name in it, "file.py:name", or "fedmq:digits"',
            frozen="another learner learns another model; its folder may change, its file name "
            "and name may not",
        ),
    ] = ""
    data: Annotated[
        str,
        about(
            "Handed to the learner as it is; usually where this machine's data are.",
            free="every machine has its own data, and they may move",
        ),
    ] = ""
    config: Annotated[
        dict[str, Scalar],
        about(
            "A table of texts, numbers and booleans, handed to the learner as it is.",
            kind="config",
            expected="a table of texts, finite numbers and booleans",
            frozen="the model's shape and its training come from it",
        ),
    ] = field(default_factory=dict)


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[run]: from the initial model to the final one."""

    rounds: Annotated[
        int,
        about(
            "How many rounds the run has; the final model has this version. If as many are "
            "made when it is set, the open round is the last.",
            unit="rounds",
            at_least=1,
            at_most=10 * MANY,
            free="a run may be made longer, and every version up to then is the same",
        ),
    ] = 10
    seed: Annotated[
        int,
        about(
            "What all random draws of the run derive from.",
            at_least=0,
            at_most=2**63 - 1,
            frozen="every draw derives from it",
        ),
    ] = 0
    initial: Annotated[
        str,
        about(
            'The initial model: "learner" (the learner\'s own), a .safetensors file, or '
            '"run:<run id>" (the final model of an earlier run of this coordinator).',
            kind="initial",
            expected='"learner", the path of a .safetensors file, or "run:<run id>"',
            frozen="it is used once; a change would silently do nothing. A file's folder may "
            "change",
        ),
    ] = "learner"
    max_seconds: Annotated[
        float,
        about(
            "How long the run may take, in seconds. Then the open round closes with the updates it "
            "has, and its version is the final one. 0: no limit.",
            unit="s",
            at_least=0.0,
            at_most=1e9,
            free="whoever pays for the run may give it more or less time",
        ),
    ] = 0.0
    evaluate: Annotated[
        bool,
        about(
            "Whether the coordinator evaluates each model version, where the learner can.",
            free="it measures the model and does not change it",
        ),
    ] = True


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings: what a `federation.toml` says, section by section."""

    federation: FederationSettings = field(default_factory=FederationSettings)
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    depot: DepotSettings = field(default_factory=DepotSettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    run: RunSettings = field(default_factory=RunSettings)
    rounds: RoundsSettings = field(default_factory=RoundsSettings)
    algorithm: AlgorithmSettings = field(default_factory=AlgorithmSettings)
    selection: SelectionSettings = field(default_factory=SelectionSettings)
    wire: WireSettings = field(default_factory=WireSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    coordinator: CoordinatorSettings = field(default_factory=CoordinatorSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
